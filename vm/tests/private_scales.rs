//! Multipliers and zero points as secrets of the model owner (`--scales=private`): outputs equal the recorded ones, costs equal the
//! prediction, and programs of models that differ in them are equal.
mod common;
use common::cases::cases;
use common::{Calls, build_with, check, check_calls, check_recorded, models, npy, testdata};
use compiler::passes::Unit;
use compiler::pipeline::{Compiled, Options, PASSES, Protocol, Reveal, Route, compile_with, finish};
use compiler::qgraph::eval::{TensorData, eval};
use compiler::qgraph::{Graph, Kind, Multiplier, Rescale};
use compiler::tflite::import;
use ir::Modes;

fn private(options: Options) -> Options {
    Options { reveal: Reveal::Logits, modes: Modes { private_scales: true, ..Modes::default() }, ..options }
}

fn ways() -> [(Options, &'static str); 3] {
    [
        (private(Options::default()), "rep3"),
        (private(Options { route: Route::Boolean, ..Options::default() }), "rep3-boolean"),
        (private(Options { protocol: Protocol::Dealer2, ..Options::default() }), "dealer2"),
    ]
}

#[test]
fn own_models() {
    for name in ["digits", "digits_mlp", "digits_u8"] {
        let samples: Vec<_> =
            (0..2).map(|k| (npy(&format!("{name}.input_{k}.npy")), npy(&format!("{name}.output_{k}.npy")))).collect();
        for (options, by) in ways() {
            let c = build_with(&testdata(&format!("{name}.tflite")), options);
            check(&c, &samples, &format!("{name} by {by}"));
            let known =
                build_with(&testdata(&format!("{name}.tflite")), Options { modes: Modes::default(), ..options });
            let cost = |c: &Compiled| (c.program.predicted_rounds(), c.program.predicted_bytes());
            println!("{name} by {by}: {:?}, with public scales {:?}", cost(&c), cost(&known));
        }
    }
}

#[test]
fn recorded_models() {
    check_recorded(&["digits_cnn", "resnet8_cifar10", "mobilenet_v1_0.25_128_quant"], &ways());
}

/// Some of the conformance cases; all that `QNN_CASES` names. What is refused is refused by a reason.
#[test]
fn conformance() {
    let mut refused = std::collections::BTreeMap::<String, usize>::new();
    for (options, by) in ways() {
        let mut equal = 0;
        let cases = cases(7);
        for case in &cases {
            let c = match compile_with(&case.model, options) {
                Ok(c) => c,
                Err(e) => {
                    *refused.entry(e.to_string().split(')').next_back().unwrap_or_default().to_owned()).or_default() +=
                        1;
                    continue;
                }
            };
            let calls = if case.sequence { Calls::Sequence } else { Calls::Apart };
            check_calls(&c, &case.samples(&c, 2), calls, &format!("{} by {by}", case.name));
            equal += 1;
        }
        println!("{equal} of {} cases equal by {by}", cases.len());
        assert!(equal >= 30 || cases.len() < 100, "{by}: only {equal} cases compile");
    }
    refused.iter().for_each(|(reason, n)| println!("{n} refused{reason}"));
}

/// Every pass behind the import.
fn compile(graph: &Graph, options: &Options) -> Compiled {
    let mut unit = Unit::new(&[], *options);
    unit.graph = Some(graph.clone());
    PASSES[1..].iter().for_each(|pass| (pass.run)(&mut unit).unwrap_or_else(|e| panic!("{}: {e}", pass.name)));
    finish(unit).unwrap_or_else(|e| panic!("{e}"))
}

/// Other multipliers everywhere, and other zero points of what is between input and output and has neighbours on both sides.
fn changed(g: &Graph) -> (Graph, [usize; 2]) {
    let (mut other, mut count) = (g.clone(), [0; 2]);
    let less = |m: &Multiplier| Multiplier { m: m.m - m.m / 16, ..*m };
    let halved = |m: i32| m >= 1 << 30;
    for (i, op) in other.ops.iter_mut().enumerate() {
        let lowest = g.tensor(op.output).dtype.range().0;
        let inner = !g.outputs.contains(&op.output);
        match &mut op.kind {
            Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear } => {
                match &mut linear.rescale {
                    Rescale::Twice(all) => all.iter_mut().filter(|m| halved(less(m).m)).for_each(|m| {
                        *m = less(m);
                        count[0] += 1;
                    }),
                    Rescale::Once(all) => all.iter_mut().for_each(|k| {
                        *k *= 0.9375;
                        count[0] += 1;
                    }),
                    _ => {}
                }
                // Its readers must be sums, which say whose zero point it is.
                let readers = || g.ops[i + 1..].iter().filter(|r| r.inputs.contains(&op.output));
                let sums = readers().all(|r| matches!(r.kind, Kind::Add { .. })) && readers().next().is_some();
                if sums && inner && lowest < i64::from(linear.out.zero_point) {
                    linear.out.zero_point -= 1;
                    count[1] += 1;
                    let id = op.output;
                    other.tensors[id.index()].quant.as_mut().expect("quantized").zero_point -= 1;
                }
            }
            _ => {}
        }
    }
    for op in &mut other.ops {
        let Kind::Add { operands, .. } = &mut op.kind else { continue };
        for (operand, id) in operands.iter_mut().zip(&op.inputs) {
            operand.zero_point = other.tensors[id.index()].quant.expect("quantized").zero_point;
        }
    }
    (other, count)
}

#[test]
fn programs_do_not_tell_scales_and_zero_points() {
    let mut files = vec![testdata("digits.tflite"), testdata("digits_mlp.tflite"), testdata("digits_u8.tflite")];
    files.extend(models().map(|dir| dir.join("resnet8_cifar10.tflite")));
    let mut total = [0; 2];
    for path in files {
        let g = import(&std::fs::read(&path).expect("model")).expect("reads");
        let (other, count) = changed(&g);
        for (options, by) in ways() {
            let options = Options { reveal: Reveal::Places { count: 1, axis: false }, ..options };
            let [a, b] = [&g, &other].map(|g| compile(g, &options));
            assert!(a.bytes == b.bytes, "{} by {by}: the program tells scales or zero points", path.display());
            assert!(a.weights.tensors != b.weights.tensors, "{}: nothing changed", path.display());
        }
        // And both are computed: the largest entry of what the oracle says, through the evaluator.
        let options = Options { reveal: Reveal::Places { count: 1, axis: false }, ..private(Options::default()) };
        for g in [&g, &other] {
            let c = compile(g, &options);
            let t = g.tensor(g.inputs[0]);
            let data: Vec<i32> = (0..t.len()).map(|i| (i * i % 97) as i32).collect();
            let given = TensorData { shape: t.shape.clone(), data: data.clone() };
            let values = eval(g, &[given]).expect("evaluates");
            let typed = ir::verify::verify(&c.program).expect("verified");
            let input: Vec<i64> = data.iter().map(|x| i64::from(*x)).collect();
            let place = ir::eval::eval(&c.program, &typed, &[input], &c.weights.tensors)[0][0] as usize;
            let logits =
                g.ops.iter().rev().find(|op| matches!(op.kind, Kind::Softmax { .. })).expect("ends so").inputs[0];
            let logits = &values[logits.index()].as_ref().expect("computed").data;
            let first = logits.iter().position(|x| Some(x) == logits.iter().max());
            assert_eq!(Some(place), first, "{}", path.display());
        }
        total.iter_mut().zip(count).for_each(|(t, n)| *t += n);
    }
    println!("{total:?} multipliers and zero points changed");
    assert!(total[0] > 50, "{total:?}");
}
