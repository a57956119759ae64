//! Lowered programs, evaluated in the plain, equal the oracle.
#[path = "common/data.rs"]
mod data;
use compiler::npy::{Array, Values, read_npz};
use compiler::observed::results;
use compiler::pipeline::{Apart, Options, Route, compile, compile_with};
use compiler::qgraph::eval::{TensorData, eval, outputs};
use data::folder;
use ir::{Op, Port, real};
use std::path::Path;

fn check(name: &str) {
    let Some(dir) = folder("models") else { return };
    let ways = [
        Options::default(),
        Options { route: Route::Boolean, ..Options::default() },
        Options { apart: ALL, ..Options::default() },
        Options { apart: ALL, modes: ir::Modes { public_weights: true, ..Default::default() }, ..Options::default() },
    ];
    let shown: Vec<usize> = ways.into_iter().map(|options| check_by(&dir, name, options)).collect();
    assert!(shown[2] >= shown[0], "{name}: {} results are found, {} where rows are apart", shown[0], shown[2]);
}

/// Rows of layers of any size are computed apart.
const ALL: Apart = Apart(0);

/// Compares outputs and the results that are found of layers; how many these are.
fn check_by(dir: &Path, name: &str, options: Options) -> usize {
    let model = std::fs::read(dir.join(format!("{name}.tflite"))).unwrap();
    let compiled = compile_with(&model, options).unwrap();
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
    let got = ir::eval::eval(&compiled.program, &typed, std::slice::from_ref(&data), &compiled.weights.tensors);
    assert_eq!(got, want, "{name}");
    let shown = results(&compiled, &[data]);
    for (id, got) in &shown {
        let want = oracle[id.index()].as_ref().unwrap();
        assert!(got.iter().copied().eq(want.data.iter().map(|v| i64::from(*v))), "{name}, tensor {}", id.index());
    }
    println!(
        "{name}: {} instructions, {} rounds, {} bytes of program",
        compiled.program.insts.len(),
        compiled.program.predicted_rounds(),
        compiled.bytes.len()
    );
    shown.len()
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
    let Some(dir) = folder("models") else { return };
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

/// A recorded array as stored integers; of floats those that the owner makes of them, or of which the receiver makes them.
fn stored(array: &Array, port: &Port, output: bool) -> Vec<i64> {
    let Values::Float(reals) = &array.values else { return array.ints().unwrap().to_vec() };
    assert!(port.float, "recorded floats of a port of integers");
    let (low, high) = port.dtype.range();
    let one = |x: &f64| {
        let q = real::quantize(*x as f32, port.scale, port.zero_point).clamp(low, high);
        let back = f64::from(real::dequantize(q, port.scale, port.zero_point));
        assert!(!output || back.to_bits() == x.to_bits(), "{x} is not {back}");
        q
    };
    reals.iter().map(one).collect()
}

/// Cases that are refused, by how their names start, and what the refusal says. What is not listed must lower.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("div_uint8", "shifts by up to"),
    // A sum of weighted bytes half-way between two results: the direction depends on how float32 rounds.
    ("resize_bilinear_uint8", "TFLite computes it in float32, and ties depend on how that rounds"),
];

/// Every conformance case but the listed ones: the evaluated program equals the recorded output on all samples.
/// `QNN_CASES` names parts of names, with commas between, to look at some only.
#[test]
fn conformance() {
    let only = std::env::var("QNN_CASES").unwrap_or_default();
    let Some((equal, _)) = conformance_with(Options::default(), &only) else { return };
    assert!(!only.is_empty() || equal >= 954, "only {equal} cases were compared");
}

/// Operators of which rows are computed apart: windows, steps, gaps, borders, operands of other shapes.
const CUT: &str = "conv2d,depthwise,add_,sub_,mul_,average_pool,mean,fc_,graph,batch_matmul";

/// The same for rows computed apart, which layers of this size are not otherwise.
#[test]
fn conformance_of_rows() {
    let only = std::env::var("QNN_CASES").unwrap_or_else(|_| CUT.into());
    let Some((_, cut)) = conformance_with(Options { apart: ALL, ..Options::default() }, &only) else { return };
    println!("{cut} of them with rows apart");
    assert!(only != CUT || cut >= 100, "only {cut} cases have rows that are computed apart");
}

/// Cases whose names have one of the parts, if the folder is there: how many are equal, and how many of these join rows.
fn conformance_with(options: Options, only: &str) -> Option<(usize, usize)> {
    let dir = folder("conformance")?;
    let index = std::fs::read_to_string(dir.join("INDEX.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let (mut equal, mut cut, mut samples, mut refused) = (0, 0, 0, Vec::new());
    for case in index["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !only.split(',').any(|part| name.contains(part)) {
            continue;
        }
        let compiled = match compile_with(&std::fs::read(dir.join(format!("{name}.tflite"))).unwrap(), options) {
            Ok(c) => c,
            Err(e) => {
                refused.push((name.to_owned(), e.to_string()));
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
        let mut session = ir::eval::Session::new(&compiled.program, &typed);
        for i in 0.. {
            // Only a sequence carries its state from sample to sample.
            if case["reset"] != false {
                session = ir::eval::Session::new(&compiled.program, &typed);
            }
            if !arrays.contains_key(&key("input", i, 0)) {
                break;
            }
            let get = |side, ports: &[Port]| -> Vec<Vec<i64>> {
                let array = |j: usize| &arrays[&key(side, i, j)];
                ports.iter().enumerate().map(|(j, port)| stored(array(j), port, side != "input")).collect()
            };
            let inputs = get("input", &compiled.program.interface.inputs);
            // The reference kernel reads the bytes of an int8 SUM as unsigned; the other kernel does not.
            let side = if name.starts_with("sum_int8") { "builtin_output" } else { "output" };
            let want = get(side, &compiled.program.interface.outputs);
            let got = session.run(&inputs, &compiled.weights.tensors);
            assert_eq!(got, want, "{name}, sample {i}");
            samples += 1;
        }
        equal += 1;
        cut += usize::from(compiled.program.insts.iter().any(joins_rows));
    }
    println!("{equal} cases equal on {samples} samples");
    for (name, said) in &refused {
        let listed = EXCEPTIONS.iter().find(|(start, _)| name.starts_with(start));
        println!("{name}: refused, {said}");
        let (_, reason) = listed.unwrap_or_else(|| panic!("{name} is refused and not listed: {said}"));
        assert!(said.contains(reason), "{name} is refused for another reason than `{reason}`: {said}");
    }
    Some((equal, cut))
}

/// The parts of a layer are joined, unless a test model does so itself.
fn joins_rows(inst: &ir::Inst) -> bool {
    matches!(&inst.op, Op::Concat { parts, axis: 1 } if parts.len() == 3)
}
