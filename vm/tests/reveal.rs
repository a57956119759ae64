//! What the receiver learns: the output itself, the operand of a last softmax, or places of the largest entries.
mod common;
use common::{ROUTES, check_all, npy, run_all, testdata};
use compiler::pipeline::{Compiled, Options, Reveal, Route, compile_with};
use compiler::qgraph::Kind;
use compiler::qgraph::eval::{TensorData, eval};
use runtime_protocols::link::memory::network;

const MODELS: [&str; 3] = ["digits", "digits_mlp", "digits_u8"];

fn build(name: &str, route: Route, reveal: Reveal) -> Compiled {
    let model = std::fs::read(testdata(&format!("{name}.tflite"))).expect("part of the repository");
    compile_with(&model, Options { route, reveal, ..Options::default() }).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn samples(name: &str) -> Vec<(common::Tensors, common::Tensors)> {
    let one = |kind: &str, k: usize| vec![npy(&format!("{name}.{kind}_{k}.npy"))];
    (0..4).map(|k| (one("input", k), one("output", k))).collect()
}

#[test]
fn every_policy_that_shows_the_output_shows_the_same() {
    for name in MODELS {
        for (route, by) in ROUTES {
            let [output, logits] = [Reveal::Output, Reveal::Logits].map(|r| build(name, route, r));
            check_all(&output, &samples(name), &format!("{name} by {by}, output"));
            check_all(&logits, &samples(name), &format!("{name} by {by}, logits"));
            let has_softmax = logits.graph.ops.iter().any(|op| matches!(op.kind, Kind::Softmax { .. }));
            assert_eq!(logits.program.reveal == "logits", has_softmax, "{name}");
            assert_eq!(output.program.reveal, "output");
            assert_eq!(output.program.predicted_rounds() > logits.program.predicted_rounds(), has_softmax, "{name}");
        }
    }
}

/// Places of the largest operands of the last softmax, the first of equal ones first.
fn places(c: &Compiled, input: &[i64], count: usize) -> Vec<i64> {
    let shape = c.graph.tensor(c.graph.inputs[0]).shape.clone();
    let data = input.iter().map(|x| *x as i32).collect();
    let values = eval(&c.graph, &[TensorData { shape, data }]).expect("evaluates");
    let mut id = c.graph.outputs[0];
    while let Some(op) = c.graph.ops.iter().find(|op| op.output == id && matches!(op.kind, Kind::Softmax { .. })) {
        id = op.inputs[0];
    }
    let row = &values[id.index()].as_ref().expect("computed").data;
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(row[*i]));
    order[..count].iter().map(|i| *i as i64).collect()
}

#[test]
fn places_are_opened_and_no_value() {
    for name in MODELS {
        for policy in ["argmax", "topk:1", "topk:2", "topk:3", "topk:10"] {
            let c = build(name, Route::Dealer, Reveal::from_name(policy).expect("a policy"));
            assert_eq!(c.program.reveal, policy);
            let count: usize = policy.strip_prefix("topk:").map_or(1, |n| n.parse().expect("a number"));
            // Ten entries, so four bits each.
            assert_eq!(c.program.opened_bits, 4 * count as u64, "{name} {policy}");
            let inputs: Vec<_> = samples(name).into_iter().map(|s| s.0).collect();
            let parties = run_all(&c, network(3), &inputs);
            for (i, input) in inputs.iter().enumerate() {
                let want = vec![Some(places(&c, &input[0], count))];
                assert_eq!(parties[1][i].outputs, want, "{name} {policy}, sample {i}");
                assert_eq!(parties[1][i].opened_bits, c.program.opened_bits, "{name} {policy}");
            }
        }
    }
}

#[test]
fn policies_have_names() {
    assert_eq!(Reveal::from_name("output"), Some(Reveal::Output));
    assert_eq!(Reveal::from_name("logits"), Some(Reveal::Logits));
    for wrong in ["", "all", "topk", "topk:", "topk:0", "topk:65", "topk:-1", "argmax:2"] {
        assert_eq!(Reveal::from_name(wrong), None, "{wrong}");
    }
    let model = std::fs::read(testdata("digits.tflite")).expect("part of the repository");
    let options = Options { reveal: Reveal::Places { count: 11, axis: true }, ..Options::default() };
    let refused = compile_with(&model, options).map(|_| ()).expect_err("ten entries have no eleven places");
    assert!(refused.to_string().contains("has 10 entries, 11 places"), "{refused}");
}
