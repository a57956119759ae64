//! Lowered programs, evaluated in the plain, equal the oracle.
use compiler::npy::read_npz;
use compiler::passes::Pass;
use compiler::pipeline::{Options, PASSES, Route, compile, compile_with, finish, run};
use compiler::qgraph::Tensor;
use compiler::qgraph::eval::{TensorData, eval, outputs};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn models() -> Option<PathBuf> {
    let dir = std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: {} not found", dir.display());
    None
}

fn check(name: &str) {
    let Some(dir) = models() else { return };
    [Route::Dealer, Route::Boolean].into_iter().for_each(|route| check_by(&dir, name, route));
}

fn check_by(dir: &Path, name: &str, route: Route) {
    let model = std::fs::read(dir.join(format!("{name}.tflite"))).unwrap();
    let compiled = compile_with(&model, Options { route, ..Options::default() }).unwrap();
    let typed = ir::verify::verify(&compiled.program).unwrap();
    let inputs = read_npz(dir.join(format!("{name}.inputs.npz"))).unwrap();
    let x = &inputs["input_0"];
    let data: Vec<i64> = x.ints().unwrap().to_vec();
    let shape = compiled.graph.tensor(compiled.graph.inputs[0]).shape.clone();
    let oracle =
        eval(&compiled.graph, &[TensorData { shape, data: data.iter().map(|v| *v as i32).collect() }]).unwrap();
    let want: Vec<Vec<i64>> = outputs(&compiled.graph, &oracle)
        .unwrap()
        .iter()
        .map(|t| t.data.iter().map(|v| i64::from(*v)).collect())
        .collect();
    let got = ir::eval::eval(&compiled.program, &typed, &[data], &compiled.weights.tensors);
    assert_eq!(got, want, "{name}");
    println!(
        "{name}: {} instructions, {} rounds, {} bytes of program",
        compiled.program.insts.len(),
        compiled.program.predicted_rounds(),
        compiled.bytes.len()
    );
}

#[test]
fn small_models() {
    for name in [
        "hello_world",
        "digits_cnn",
        "mnist_valid",
        "mnist_resnet",
        "ad01_autoencoder",
        "micro_speech",
        "digits_transformer",
    ] {
        check(name);
    }
}

/// Largest of 21 classes for each of 257 by 257 pixels: compiles, and a party needs less than 8 GiB.
#[test]
fn a_segmentation_model_compiles() {
    let Some(dir) = models() else { return };
    let compiled = compile(&std::fs::read(dir.join("deeplab_mnv2_dm05.tflite")).unwrap()).unwrap();
    let p = &compiled.program;
    println!("{} instructions, {} rounds, {} bytes of memory", p.insts.len(), p.predicted_rounds(), p.peak_memory);
    assert!(p.peak_memory < 8 << 30, "{} bytes", p.peak_memory);
}

#[test]
fn medium_models() {
    for name in ["resnet8_cifar10", "kws_dscnn", "person_detect", "vww_96"] {
        check(name);
    }
}

fn conformance_dir() -> PathBuf {
    std::env::var_os("QNN_CONFORMANCE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from)
}

/// Every conformance case that imports and lowers: the evaluated program equals the recorded output on all samples.
/// `QNN_CASES` names parts of names, with commas between, to look at some only.
#[test]
fn conformance() {
    let dir = conformance_dir();
    let Ok(index) = std::fs::read_to_string(dir.join("INDEX.json")) else {
        println!("skipped: {} not found", dir.display());
        return;
    };
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let only = std::env::var("QNN_CASES").unwrap_or_default();
    let (mut equal, mut samples, mut refused) = (0, 0, Vec::new());
    for case in index["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !only.split(',').any(|part| name.contains(part)) {
            continue;
        }
        let compiled = match compile(&std::fs::read(dir.join(format!("{name}.tflite"))).unwrap()) {
            Ok(c) => c,
            Err(compiler::pipeline::CompileError::Import(_)) => continue,
            Err(e) => {
                refused.push(format!("{name}: {e}"));
                continue;
            }
        };
        let typed = ir::verify::verify(&compiled.program).unwrap();
        if !only.is_empty() {
            let p = &compiled.program;
            let outputs: usize = compiled.graph.outputs.iter().map(|t| compiled.graph.tensor(*t).len()).sum();
            let bits = p.predicted_bytes().iter().sum::<u64>() * 8;
            println!("{name}: {} rounds, {} bits for each output element", p.predicted_rounds(), bits / outputs as u64);
        }
        let arrays = read_npz(dir.join(format!("{name}.npz"))).unwrap();
        let key =
            |side: &str, i: usize, j: usize| if j == 0 { format!("{side}_{i}") } else { format!("{side}_{i}_{j}") };
        for i in 0.. {
            if !arrays.contains_key(&key("input", i, 0)) {
                break;
            }
            let get = |side, count| -> Vec<Vec<i64>> {
                (0..count).map(|j| arrays[&key(side, i, j)].ints().unwrap().to_vec()).collect()
            };
            let inputs = get("input", compiled.graph.inputs.len());
            // The reference kernel reads the bytes of an int8 SUM as unsigned; the other kernel does not.
            let side = if name.starts_with("sum_int8") { "builtin_output" } else { "output" };
            let want = get(side, compiled.graph.outputs.len());
            let got = ir::eval::eval(&compiled.program, &typed, &inputs, &compiled.weights.tensors);
            assert_eq!(got, want, "{name}, sample {i}");
            samples += 1;
        }
        equal += 1;
    }
    println!("{equal} cases equal on {samples} samples");
    let later = |r: &&String| r.contains("in `simulate` only");
    let (known, unknown): (Vec<_>, Vec<_>) = refused.iter().partition(later);
    println!("{} cases for the oracle only", known.len());
    assert!(unknown.is_empty(), "imported but not lowered: {unknown:#?}");
    assert!(!only.is_empty() || equal >= 921, "only {equal} cases were compared");
}

/// Recurrent layers, their states turned into inputs and outputs: one call equals the oracle, whatever it begins with.
#[test]
fn steps_of_recurrent_layers() {
    let dir = conformance_dir();
    let Ok(files) = std::fs::read_dir(&dir) else {
        println!("skipped: {} not found", dir.display());
        return;
    };
    let names =
        files.filter_map(|f| f.ok()?.file_name().into_string().ok()?.strip_suffix(".tflite").map(str::to_owned));
    let mut names: Vec<String> = names.filter(|n| n.starts_with("lstm") || n.starts_with("svdf")).collect();
    names.sort();
    let opened = Pass {
        name: "open-states",
        about: "turns states into inputs and outputs",
        run: |u| {
            let g = u.graph.as_mut().expect("stands behind `import`");
            for state in std::mem::take(&mut g.states) {
                g.inputs.push(state.tensor);
                g.outputs.push(state.next);
            }
            Ok(())
        },
    };
    let mut passes = PASSES.to_vec();
    passes.insert(1, opened);
    for name in &names {
        for route in [Route::Dealer, Route::Boolean] {
            let model = std::fs::read(dir.join(format!("{name}.tflite"))).unwrap();
            let options = Options { route, ..Options::default() };
            let unit = run(&model, options, &passes, |_, _, _| ControlFlow::Continue(())).unwrap();
            let c = finish(unit).unwrap();
            let typed = ir::verify::verify(&c.program).unwrap();
            for sample in 0..2u64 {
                let inputs: Vec<TensorData> =
                    c.graph.inputs.iter().map(|id| drawn(c.graph.tensor(*id), sample)).collect();
                let oracle = outputs(&c.graph, &eval(&c.graph, &inputs).unwrap()).unwrap();
                let wide = |t: &TensorData| t.data.iter().map(|q| i64::from(*q)).collect::<Vec<_>>();
                let given: Vec<_> = inputs.iter().map(wide).collect();
                let got = ir::eval::eval(&c.program, &typed, &given, &c.weights.tensors);
                assert_eq!(got, oracle.iter().map(wide).collect::<Vec<_>>(), "{name} by {route:?}, sample {sample}");
            }
        }
    }
    println!("{} cases", names.len());
}

/// Any values of a tensor; the first sample has the ends of its type.
fn drawn(t: &Tensor, sample: u64) -> TensorData {
    let (lo, hi) = t.dtype.range();
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(sample + 1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as i64
    };
    let mut one =
        || if sample == 0 && next() % 4 == 0 { [lo, hi][next() as usize % 2] } else { lo + next() % (hi - lo + 1) };
    TensorData { shape: t.shape.clone(), data: (0..t.len()).map(|_| one() as i32).collect() }
}
