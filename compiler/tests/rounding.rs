//! Rounding at random (`--rounding=probabilistic`): every value of every layer is within one of what the oracle makes of the
//! same operands, and that costs less than the exact way.
#[path = "common/data.rs"]
mod data;
use compiler::observed::results;
use compiler::pipeline::{Options, Protocol, Route, compile_with};
use compiler::qgraph::eval::{TensorData, eval};
use compiler::qgraph::{Graph, TensorId};
use data::files;
use ir::Modes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn at_random() -> Options {
    Options { modes: Modes { probabilistic: true, ..Modes::default() }, ..Options::default() }
}

/// Input data without pattern.
fn drawn(g: &Graph) -> Vec<TensorData> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let one = |id: &TensorId| {
        let t = g.tensor(*id);
        let (lo, hi) = t.dtype.range();
        // Neighbours alike, so that results are not all in the middle.
        let middle = (next() % (hi - lo + 1) as u64) as i64 + lo;
        let data = (0..t.len()).map(|_| (middle + (next() % 81) as i64 - 40).clamp(lo, hi) as i32).collect();
        TensorData { shape: t.shape.clone(), data }
    };
    g.inputs.iter().map(one).collect()
}

/// Results that differ by one, of how many.
fn check(name: &str, model: &[u8]) -> Option<(usize, usize)> {
    let c = compile_with(model, at_random()).ok()?;
    let given = drawn(&c.graph);
    let inputs: Vec<Vec<i64>> = given.iter().map(|t| t.data.iter().map(|x| i64::from(*x)).collect()).collect();
    let mut seen: BTreeMap<TensorId, Vec<i32>> =
        results(&c, &inputs).into_iter().map(|(id, x)| (id, x.iter().map(|x| *x as i32).collect())).collect();
    seen.extend(c.graph.inputs.iter().zip(&given).map(|(id, t)| (*id, t.data.clone())));
    let (mut differ, mut all) = (0, 0);
    for op in &c.graph.ops {
        let inputs: Vec<TensorId> =
            op.inputs.iter().copied().filter(|t| c.graph.tensor(*t).constant.is_none()).collect();
        let data =
            |id: &TensorId| Some(TensorData { shape: c.graph.tensor(*id).shape.clone(), data: seen.get(id)?.clone() });
        let (Some(operands), Some(got)) = (inputs.iter().map(data).collect::<Option<Vec<_>>>(), seen.get(&op.output))
        else {
            continue;
        };
        let alone =
            Graph { ops: vec![op.clone()], inputs, outputs: vec![op.output], states: vec![], ..c.graph.clone() };
        let Ok(values) = eval(&alone, &operands) else { continue };
        let want = &values[op.output.index()].as_ref().expect("computed").data;
        let most = got.iter().zip(want).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        assert!(most <= 1, "{name}, operator {} ({}): off by {most}", op.index, op.name);
        differ += got.iter().zip(want).filter(|(a, b)| a != b).count();
        all += got.len();
    }
    Some((differ, all))
}

#[test]
fn every_value_is_within_one() {
    let own = ["digits", "digits_mlp", "digits_u8"];
    let own =
        own.map(|n| Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(n).with_extension("tflite"));
    let named = |p: &PathBuf| {
        let name = p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        ["digits_cnn", "resnet8_cifar10", "kws_dscnn", "digits_inception"].contains(&name.as_str())
    };
    let recorded = files("models").unwrap_or_default().into_iter().filter(named);
    let cases = files("conformance").unwrap_or_default().into_iter().step_by(3);
    let (mut models, mut differ, mut all) = (0, 0, 0);
    for path in own.into_iter().chain(recorded).chain(cases) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((d, n)) = check(&name, &std::fs::read(&path).expect("model")) else { continue };
        if n > 10_000 {
            println!("{name}: {d} of {n} differ by one");
        }
        (models, differ, all) = (models + 1, differ + d, all + n);
    }
    println!("{models} models: {differ} of {all} results differ by one");
    assert!(differ > 0 && differ < all / 2, "rounding at random is neither exact nor mostly wrong");
}

#[test]
fn it_is_said_costs_less_and_is_refused_elsewhere() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/digits_mlp.tflite");
    let model = std::fs::read(path).expect("model");
    for protocol in [Protocol::Rep3, Protocol::Dealer2] {
        let [random, exact] = [at_random().modes, Modes::default()]
            .map(|modes| compile_with(&model, Options { protocol, modes, ..Options::default() }).expect("compiles"));
        let [now, before] = [&random, &exact].map(|c| (c.program.predicted_rounds(), c.program.predicted_bytes()));
        println!("{}: {now:?}, exact {before:?}", random.program.protocol);
        assert!(random.program.modes.probabilistic && random.program.thresholds == 0);
        assert!(now.0 < before.0);
        assert!(now.1.iter().sum::<u64>() * 10 < before.1.iter().sum::<u64>() * 9);
    }
    for (protocol, route) in [
        (Protocol::Rep3, Route::Boolean),
        (Protocol::Rep4, Route::Dealer),
        (Protocol::Rep3Mal, Route::Dealer),
        (Protocol::Semi { parties: 2 }, Route::Dealer),
    ] {
        let refused = compile_with(&model, Options { protocol, route, ..at_random() });
        let Err(e) = refused else { panic!("{protocol:?} rounds at random") };
        assert!(e.to_string().contains("--rounding=probabilistic") && e.exit_code() == 3, "{e}");
    }
}
