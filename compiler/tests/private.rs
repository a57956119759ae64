//! Programs do not depend on what belongs to the model owner: with other weights, biases, constant operands and first
//! values of states, of the same types and quantization, the bytes of the program are the same.
#[path = "common/data.rs"]
mod data;
use compiler::passes::Unit;
use compiler::pipeline::{Compiled, Options, PASSES, Reveal, Route, finish};
use compiler::qgraph::{DType, Graph, Kind, Op};
use compiler::tflite::import;
use data::files;
use std::path::{Path, PathBuf};

/// Every pass behind the import.
fn compile(graph: &Graph, options: &Options) -> Option<Compiled> {
    let mut unit = Unit::new(&[], *options);
    unit.graph = Some(graph.clone());
    PASSES[1..].iter().try_for_each(|pass| (pass.run)(&mut unit)).ok()?;
    Some(finish(unit).unwrap_or_else(|e| panic!("{e}")))
}

/// The next stored integer of a type; the first after the last.
fn next(dtype: DType, q: i32) -> i32 {
    let (lo, hi) = dtype.range();
    if i64::from(q) < hi { q + 1 } else { i32::try_from(lo).unwrap_or(i32::MIN) }
}

/// Other private values; how many tensors of each kind have them: weights, constant operands, first values.
fn changed(graph: &Graph) -> (Graph, [usize; 3]) {
    let (mut g, mut count) = (graph.clone(), [0; 3]);
    for op in &mut g.ops {
        if let Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear } =
            &mut op.kind
        {
            linear.weights = linear.weights.iter().rev().copied().collect();
            linear.bias.iter_mut().for_each(|b| *b = *b / 2 + 1);
            count[0] += 1;
        }
    }
    // Not every number is a divisor, so these change places.
    let divides = |op: &Op| matches!(op.kind, Kind::Div { .. } | Kind::FloorDiv { .. });
    let divisors: Vec<usize> = g.ops.iter().filter(|op| divides(op)).map(|op| op.inputs[1].index()).collect();
    for (i, t) in g.tensors.iter_mut().enumerate() {
        let Some(stored) = &mut t.constant else { continue };
        match divisors.contains(&i) {
            true => stored.reverse(),
            false => stored.iter_mut().for_each(|q| *q = next(t.dtype, *q)),
        }
        count[1] += 1;
    }
    for state in &mut g.states {
        let dtype = graph.tensor(state.tensor).dtype;
        state.initial.iter_mut().for_each(|q| *q = next(dtype, *q));
        count[2] += 1;
    }
    (g, count)
}

#[test]
fn programs_do_not_depend_on_private_values() {
    let own = ["digits", "digits_mlp", "digits_u8"].map(|name| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(name).with_extension("tflite")
    });
    let cases = files("conformance").unwrap_or_default();
    let small = |p: &PathBuf| p.metadata().is_ok_and(|m| m.len() < 200 << 10);
    let models: Vec<PathBuf> = files("models").unwrap_or_default().into_iter().filter(small).collect();
    let mut total = [0; 3];
    for path in own.iter().chain(&cases).chain(&models) {
        let Ok(graph) = import(&std::fs::read(path).expect("model")) else { continue };
        let (other, count) = changed(&graph);
        if count == [0; 3] {
            continue;
        }
        // Unrolled recurrent layers take long, and are made of what the others have by both routes.
        let ways = [(Route::Dealer, Reveal::Output), (Route::Boolean, Reveal::Logits)];
        let ways = if graph.ops.len() < 50 { &ways[..] } else { &ways[..1] };
        for (route, reveal) in ways.iter().copied() {
            let options = Options { route, reveal, ..Options::default() };
            let Some(a) = compile(&graph, &options) else { continue };
            let name = path.display();
            // Sums that could overflow are refused by the weights that there are; this changes no program.
            let Some(b) = compile(&other, &options) else { continue };
            assert!(a.bytes == b.bytes, "{name}, {route:?}: the program tells something about the model's constants");
            assert!(a.weights.tensors != b.weights.tensors || count[0] == 0, "{name}: nothing changed");
            total.iter_mut().zip(count).for_each(|(t, n)| *t += n);
        }
    }
    println!("{total:?} weights, constant operands and first values changed");
    assert!(total[0] >= 6, "{total:?}");
    assert!(cases.is_empty() || total.iter().zip([300, 60, 2]).all(|(n, least)| *n >= least), "{total:?}");
}
