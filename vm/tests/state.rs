//! Programs that keep state between calls: in memory, in batches and as three processes.
mod common;
#[path = "common/play.rs"]
mod play;

use common::launch::{Dir, error_text, local};
use compiler::pipeline::{Options, Owners, Protocol};
use compiler::qgraph::eval::{TensorData, outputs};
use ir::eval::Session;
use ir::{Party, Program};
use play::{PROTOCOLS, declare, machines};
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::{MemoryLink, network};
use std::fs;

/// A running sum that begins with a private weight.
fn running_sum() -> Program {
    let mut p = ir::text::parse(include_str!("../../testdata/ir/eval-state.qir")).expect("part of the repository");
    declare(&mut p, &PROTOCOLS[0]);
    p.protocol = "rep3".into();
    p
}

const FIRST: [i32; 4] = [10, 20, 30, 40];

/// Outputs of batches, one sample after the other; before some of them the machines forget.
fn run(p: &Program, batches: &[Vec<[i64; 4]>], forget_before: &[usize]) -> Vec<Vec<i64>> {
    let all = machines(p, &PROTOCOLS[0]).expect("verified");
    let mut links = network(3);
    let side = |(mut m, link): (vm::exec::Machine, &mut MemoryLink)| {
        let me = link.me();
        let weights = ir::weights::Weights { program: [0; 32], tensors: vec![FIRST.to_vec()] };
        m.setup((me == Party(0)).then_some(&weights), link).expect("set-up");
        let mut call = |(i, batch): (usize, &Vec<[i64; 4]>)| {
            if forget_before.contains(&i) {
                m.reset();
            }
            let own: Vec<Vec<Option<Vec<i64>>>> =
                batch.iter().map(|x| vec![(me == Party(1)).then(|| x.to_vec())]).collect();
            let own: Vec<&[Option<Vec<i64>>]> = own.iter().map(Vec::as_slice).collect();
            m.infer_batch(&own, link).expect("inference").outputs.remove(0)
        };
        batches.iter().enumerate().map(&mut call).collect::<Vec<_>>()
    };
    let mut said: Vec<_> = std::thread::scope(|s| {
        let parties: Vec<_> = all.into_iter().zip(&mut links).map(|both| s.spawn(move || side(both))).collect();
        parties.into_iter().map(|p| p.join().expect("no party panics")).collect()
    });
    said.swap_remove(1).into_iter().map(|y| y.expect("the receiver learns")).collect()
}

/// What the evaluator says to successive calls.
fn sequence(p: &Program, calls: &[[i64; 4]]) -> Vec<Vec<i64>> {
    let typed = ir::verify::verify(p).expect("verified");
    let mut session = Session::new(p, &typed);
    calls.iter().map(|x| session.run(&[x.to_vec()], &[FIRST.to_vec()]).remove(0)).collect()
}

const A: [[i64; 4]; 3] = [[1, 2, 3, 4], [-5, 0, 5, 10], [100, -100, 7, 7]];
const B: [[i64; 4]; 3] = [[0, 0, 0, 1], [9, 9, 9, 9], [-1, -2, -3, -4]];

#[test]
fn places_of_a_batch_are_sequences() {
    let p = running_sum();
    let (a, b) = (sequence(&p, &A), sequence(&p, &B));
    assert_ne!(a[2], sequence(&p, &A[2..])[0], "the state has no effect");
    let both: Vec<Vec<[i64; 4]>> = A.iter().zip(B).map(|(x, y)| vec![*x, y]).collect();
    let want: Vec<Vec<i64>> = a.iter().zip(&b).map(|(x, y)| [x.clone(), y.clone()].concat()).collect();
    assert_eq!(run(&p, &both, &[]), want);
    // One that is not in a batch goes on later.
    let pause = [both[0].clone(), vec![A[1]], vec![A[2], B[1]]];
    assert_eq!(run(&p, &pause, &[]), [want[0].clone(), a[1].clone(), [a[2].clone(), b[1].clone()].concat()]);
}

#[test]
fn a_reset_begins_a_sequence() {
    let p = running_sum();
    let calls = [vec![A[0]], vec![A[1]], vec![A[0]], vec![A[1]]];
    let twice = [sequence(&p, &A[..2]), sequence(&p, &A[..2])].concat();
    assert_eq!(run(&p, &calls, &[2]), twice);
    assert_ne!(run(&p, &calls, &[]), twice);
}

#[test]
fn what_is_kept_counts_as_memory() {
    let p = running_sum();
    let typed = ir::verify::verify(&p).expect("verified");
    let mut without = p.clone();
    // An output instead of the store leaves the numbers of all values as they are.
    let store = without.insts.iter_mut().find(|i| matches!(i.op, ir::Op::Store { .. })).expect("it stores");
    let x = store.op.operands()[0];
    store.op = ir::Op::Output { x, index: 0 };
    let peak = |p: &Program| ir::memory::peak(p, &typed, Party(0), |_| 2);
    assert_eq!(peak(&p), peak(&without) + 2 * 4 * 4);
}

#[test]
fn samples_are_successive_calls_of_three_processes() {
    let dir = Dir::new();
    let p = running_sum();
    let bytes = ir::bytecode::encode(&p);
    let weights = ir::weights::Weights { program: ir::bytecode::program_hash(&bytes), tensors: vec![FIRST.to_vec()] };
    fs::write(dir.file("sum.mpcb"), &bytes).expect("program");
    fs::write(dir.file("sum.mpcw"), ir::weights::encode(&weights, &[7; 32])).expect("weights");
    let file = |i: usize| dir.file(&format!("in{i}.npy"));
    for (i, x) in A.iter().enumerate() {
        let x: Vec<i32> = x.iter().map(|v| *v as i32).collect();
        compiler::npy::write_npy(file(i), compiler::npy::Element::I8, &[4], &x).expect("npy");
    }
    let (second, third) = (file(1), file(2));
    let more = ["--input", second.to_str().expect("UTF-8"), "--input", third.to_str().expect("UTF-8"), "--repeat", "2"];
    let output = dir.file("out.npy");
    let out = local(&dir, "sum", &file(0), &output, &more);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    let got = common::ints(&compiler::npy::read_npy(&output).expect("output"));
    assert_eq!(got, sequence(&p, &A).concat());
    let out = local(&dir, "sum", &file(0), &output, &["--batch", "2"]);
    assert_eq!(out.status.code(), Some(2), "{}", error_text(&out));
    assert!(error_text(&out).contains("keeps state"), "{}", error_text(&out));
}

/// A model with a variable, as TFLite recorded successive calls.
#[test]
fn a_recorded_sequence_of_three_processes() {
    let Some(cases) = common::conformance() else { return };
    let dir = Dir::new();
    let arrays = compiler::npy::read_npz(cases.join("variable_int8.npz")).expect("samples");
    let count = (0..).take_while(|i| arrays.contains_key(&format!("input_{i}"))).count();
    let file = |i: usize| dir.file(&format!("in{i}.npy")).to_string_lossy().into_owned();
    let mut more = Vec::new();
    for i in 0..count {
        let x = &arrays[&format!("input_{i}")];
        let data: Vec<i32> = common::ints(x).iter().map(|v| *v as i32).collect();
        compiler::npy::write_npy(file(i), x.element, &x.shape, &data).expect("npy");
        more.extend((i > 0).then(|| ["--input".to_owned(), file(i)]).into_iter().flatten());
    }
    let output = dir.file("out.npy");
    let want: Vec<i64> = (0..count).flat_map(|i| common::ints(&arrays[&format!("output_{i}")])).collect();
    for (protocol, offline) in [(Protocol::Rep3, false), (Protocol::Dealer2, false), (Protocol::Dealer2, true)] {
        let options = Options { protocol, ..Options::default() };
        let c = dir.compile_for("variable", &cases.join("variable_int8.tflite"), options, Owners::default());
        assert_eq!(c.program.stored().count(), 1);
        let mut more: Vec<&str> = more.iter().map(String::as_str).collect();
        more.extend(offline.then_some("--offline"));
        let out = local(&dir, "variable", file(0).as_ref(), &output, &more);
        assert_eq!(out.status.code(), Some(0), "{protocol:?}: {}", error_text(&out));
        assert_eq!(common::ints(&compiler::npy::read_npy(&output).expect("output")), want, "{protocol:?}");
        // Preprocessing goes through one sequence only.
        let out = local(&dir, "variable", file(0).as_ref(), &output, &[&more[..], &["--repeat", "2"]].concat());
        assert_eq!(out.status.code(), Some(if offline { 2 } else { 0 }), "{protocol:?}: {}", error_text(&out));
    }
}

/// Recurrent models over successive calls, by both routes: what the oracle says to them.
#[test]
fn recurrent_models_equal_the_oracle_over_several_calls() {
    let Some(models) = common::models() else { return };
    for (name, states) in [("digits_lstm", false), ("rnnoise_gru", false), ("mnist_lstm", true)] {
        let arrays = compiler::npy::read_npz(models.join(format!("{name}.inputs.npz"))).expect("samples");
        for (route, by) in common::ROUTES {
            let c = common::build_by(&models.join(format!("{name}.tflite")), route);
            assert_eq!(c.program.stored().next().is_some(), states, "{name} keeps state");
            let get = |i: usize, j: usize| {
                let key = if j == 0 { format!("input_{i}") } else { format!("input_{i}_{j}") };
                common::ints(&arrays[&key])
            };
            let calls: Vec<Vec<Vec<i64>>> =
                (0..3).map(|i| (0..c.graph.inputs.len()).map(|j| get(i, j)).collect()).collect();
            let mut oracle = compiler::qgraph::eval::Session::new(&c.graph);
            let mut want = Vec::new();
            for call in &calls {
                let tensor = |(id, data): (&compiler::qgraph::TensorId, &Vec<i64>)| TensorData {
                    shape: c.graph.tensor(*id).shape.clone(),
                    data: data.iter().map(|v| *v as i32).collect(),
                };
                let given: Vec<TensorData> = c.graph.inputs.iter().zip(call).map(tensor).collect();
                let results = outputs(&c.graph, &oracle.run(&given).expect("fits")).expect("computed");
                want.push(results.iter().map(|t| t.data.iter().map(|v| i64::from(*v)).collect()).collect::<Vec<_>>());
            }
            let samples: Vec<_> = calls.into_iter().zip(want).collect();
            common::check_calls(&c, &samples, common::Calls::Sequence, &format!("{name} by {by}"));
        }
    }
}
