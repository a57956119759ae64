//! The oracle against recorded results of TFLite's reference kernels, bit for bit.
//!
//! Data: `QNN_MODELS_DIR` and `QNN_CONFORMANCE_DIR`, else `../shared/models` and `../shared/conformance` beside the
//! workspace. `QNN_SLOW=1` runs every sample of the largest models too.
#[path = "common/data.rs"]
mod data;
use compiler::npy::{Array, Values, read_npz};
use compiler::qgraph::eval::{EvalError, Session, TensorData, eval, outputs};
use compiler::qgraph::{DType, Graph, Tensor, TensorId};
use compiler::tflite;
use data::folder;
use ir::real;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Models that must import and be equal wherever the directory of models exists.
const MODELS: [&str; 23] = [
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_1.0_224_quant",
    "mobilenet_v2_1.0_224_quant",
    "mobilenet_v2_1.0_224_ptq",
    "resnet8_cifar10",
    "kws_dscnn",
    "vww_96",
    "person_detect",
    "ad01_autoencoder",
    "micro_speech",
    "hello_world",
    "mnist_valid",
    "mnist_resnet",
    "digits_cnn",
    "deeplab_mnv2_dm05",
    "digits_inception",
    "digits_lstm",
    "digits_mobile",
    "digits_transformer",
    "hps_presence",
    "mnist_lstm",
    "digits_unet",
    "split_concat",
];

/// Models of which two samples are enough in an ordinary run.
const LARGEST: [&str; 4] =
    ["mobilenet_v1_1.0_224_quant", "mobilenet_v2_1.0_224_quant", "mobilenet_v2_1.0_224_ptq", "deeplab_mnv2_dm05"];

/// Cases that are not compared, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("div_uint8_0", "DIV shifts by more than 31 places, which is undefined in the reference kernel"),
    ("div_uint8_1", "DIV shifts by more than 31 places, which is undefined in the reference kernel"),
];

/// Cases whose recorded `output_*` are a bug of the reference kernel: it takes int8 data as uint8. The optimized kernels'
/// results count instead.
const REFERENCE_BUG: &str = "sum_int8_";

/// Arrays of a file by name.
type Arrays = BTreeMap<String, Array>;

/// What was compared and found equal.
#[derive(Default)]
struct Counts {
    samples: usize,
    outputs: usize,
    intermediates: usize,
}

/// A recorded array as stored integers of a tensor; of floats those that QUANTIZE makes of them.
fn stored(array: &Array, t: &Tensor) -> TensorData {
    let data = match &array.values {
        Values::Int(data) => data.iter().map(|&v| i32::try_from(v).expect("32 bits")).collect(),
        Values::Float(reals) => {
            assert!(t.float, "recorded floats of a tensor of integers");
            let ((lo, hi), q) = (t.dtype.range(), t.quant.expect("floats have a scale"));
            reals.iter().map(|x| real::quantize(*x as f32, q.scale, q.zero_point).clamp(lo, hi) as i32).collect()
        }
    };
    TensorData { shape: array.shape.clone(), data }
}

/// Array `prefix_sample`, or `prefix_sample_position` for positions above 0.
fn recorded<'a>(arrays: &'a Arrays, prefix: &str, sample: usize, position: usize) -> Result<&'a Array, String> {
    let name = match position {
        0 => format!("{prefix}_{sample}"),
        _ => format!("{prefix}_{sample}_{position}"),
    };
    arrays.get(&name).ok_or(format!("no array {name}"))
}

/// Fails at the first difference, with its place.
fn check_equal(what: &str, t: &Tensor, got: &TensorData, recorded: &Array) -> Result<(), String> {
    let expected = stored(recorded, t);
    if let (Values::Float(reals), Some(q)) = (&recorded.values, t.quant) {
        // Then the floats are equal as well, to the bit.
        let float = |v: &i32| f64::from(real::dequantize((*v).into(), q.scale, q.zero_point)).to_bits();
        if let Some(i) = (0..reals.len()).find(|&i| float(&expected.data[i]) != reals[i].to_bits()) {
            return Err(format!("{what}: no stored integer gives {}", reals[i]));
        }
    }
    if got.shape != expected.shape {
        return Err(format!("{what}: shape {:?}, recorded {:?}", got.shape, expected.shape));
    }
    let wrong: Vec<usize> = (0..got.data.len()).filter(|&i| got.data[i] != expected.data[i]).collect();
    match wrong.first() {
        None => Ok(()),
        Some(&at) => Err(format!(
            "{what}: {} of {} elements differ, first at {at}: {}, recorded {}",
            wrong.len(),
            got.data.len(),
            got.data[at],
            expected.data[at]
        )),
    }
}

/// The operator that writes a tensor, for messages.
fn writer(g: &Graph, id: TensorId) -> String {
    let op = g.ops.iter().find(|op| op.output == id);
    op.map_or("no operator".to_owned(), |op| format!("operator {} {}", op.index, op.name))
}

/// Runs one sample and compares its outputs, arrays named `prefix_…`, and the intermediates if they are given.
fn check_sample(
    (g, session): (&Graph, &mut Session<'_>),
    inputs: &Arrays,
    (reference, prefix): (&Arrays, &str),
    intermediates: Option<&Arrays>,
    sample: usize,
    counts: &mut Counts,
) -> Result<Duration, String> {
    let given = (0..).zip(&g.inputs).map(|(i, id)| Ok(stored(recorded(inputs, "input", sample, i)?, g.tensor(*id))));
    let given = given.collect::<Result<Vec<_>, String>>()?;
    let start = Instant::now();
    let values = session.run(&given).map_err(|e| e.to_string())?;
    let elapsed = start.elapsed();
    for (name, array) in intermediates.into_iter().flatten() {
        let id = name.strip_prefix("tensor_").and_then(|t| t.parse().ok()).ok_or(format!("unknown array {name}"))?;
        let id = TensorId(id);
        let what = format!("{name} of {}", writer(g, id));
        let value = values.get(id.index()).and_then(Option::as_ref).ok_or(format!("{what} has no value"))?;
        check_equal(&what, g.tensor(id), value, array)?;
        counts.intermediates += 1;
    }
    for (i, output) in outputs(g, &values).map_err(|e| e.to_string())?.iter().enumerate() {
        let what = format!("output {i} of sample {sample} of {}", writer(g, g.outputs[i]));
        check_equal(&what, g.tensor(g.outputs[i]), output, recorded(reference, prefix, sample, i)?)?;
        counts.outputs += 1;
    }
    counts.samples += 1;
    Ok(elapsed)
}

fn import(path: &Path) -> Result<Graph, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    tflite::import(&bytes).map_err(|report| report.to_string())
}

fn check_model(dir: &Path, name: &str, counts: &mut Counts) -> Result<(), String> {
    let g = import(&dir.join(format!("{name}.tflite")))?;
    let arrays = |kind: &str| read_npz(dir.join(format!("{name}.{kind}.npz"))).map_err(|e| format!("{kind}: {e}"));
    let (inputs, reference) = (arrays("inputs")?, arrays("reference")?);
    let has_intermediates = dir.join(format!("{name}.intermediate.npz")).exists();
    let intermediates = if has_intermediates { Some(arrays("intermediate")?) } else { None };
    let all = !LARGEST.contains(&name) || std::env::var_os("QNN_SLOW").is_some_and(|v| v == "1");
    let samples = (0..).take_while(|i| inputs.contains_key(&format!("input_{i}"))).count();
    let samples = if all { samples } else { samples.min(2) };
    if samples == 0 {
        return Err("no samples".to_owned());
    }
    let (before, mut elapsed) = (counts.intermediates, Duration::ZERO);
    for sample in 0..samples {
        let intermediates = intermediates.as_ref().filter(|_| sample == 0);
        let place = (&g, &mut Session::new(&g));
        elapsed += check_sample(place, &inputs, (&reference, "output"), intermediates, sample, counts)?;
    }
    let per_sample = elapsed / u32::try_from(samples).expect("few samples");
    eprintln!("{name}: {samples} samples, {} intermediates equal, {per_sample:?} each", counts.intermediates - before);
    Ok(())
}

#[test]
fn models_equal_recorded_results() {
    let Some(dir) = folder("models") else { return };
    let mut names: BTreeSet<String> = MODELS.iter().map(|&name| name.to_owned()).collect();
    for entry in std::fs::read_dir(&dir).expect("the directory of models can be listed") {
        let path = entry.expect("the directory of models can be listed").path();
        if path.extension().is_some_and(|e| e == "tflite") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    let (mut counts, mut failures, mut equal) = (Counts::default(), Vec::new(), 0);
    for name in &names {
        let required = MODELS.contains(&&name[..]);
        if !required && import(&dir.join(format!("{name}.tflite"))).is_err() {
            eprintln!("{name}: not supported");
            continue;
        }
        match check_model(&dir, name, &mut counts) {
            Ok(()) => equal += 1,
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    let Counts { samples, outputs, intermediates } = counts;
    eprintln!("{equal} models equal: {samples} samples, {outputs} outputs, {intermediates} intermediate tensors");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// All samples of a case, or `None` if the importer refuses it and may.
fn check_case(dir: &Path, case: &Value) -> Option<Result<Counts, String>> {
    let name = case["name"].as_str().expect("cases have names");
    let g = match import(&dir.join(format!("{name}.tflite"))) {
        Ok(g) => g,
        Err(e) => return is_required(case).then(|| Err(format!("{name}: refused: {e}"))),
    };
    if EXCEPTIONS.iter().any(|(case, _)| *case == name) {
        return Some(Err(format!("{name}: imported, but listed as an exception")));
    }
    let samples = case["samples"].as_array().expect("cases list samples").len();
    let run = || {
        let arrays = read_npz(dir.join(format!("{name}.npz"))).map_err(|e| e.to_string())?;
        let mut counts = Counts::default();
        let prefix = if name.starts_with(REFERENCE_BUG) { "builtin_output" } else { "output" };
        let mut session = Session::new(&g);
        for sample in 0..samples {
            if case["reset"] != false {
                session = Session::new(&g);
            }
            check_sample((&g, &mut session), &arrays, (&arrays, prefix), None, sample, &mut counts)?;
        }
        Ok(counts)
    };
    Some(run().map_err(|e: String| format!("{name}: {e}")))
}

/// Whether a case must import and be equal: all but the exceptions.
fn is_required(case: &Value) -> bool {
    let name = case["name"].as_str().expect("cases have names");
    !EXCEPTIONS.iter().any(|(case, _)| *case == name)
}

#[test]
fn conformance_cases_equal_recorded_results() {
    let Some(dir) = folder("conformance") else { return };
    let text = std::fs::read_to_string(dir.join("INDEX.json")).expect("INDEX.json can be read");
    let index: Value = serde_json::from_str(&text).expect("INDEX.json is JSON");
    let cases = index["cases"].as_array().expect("INDEX.json lists cases");
    let outcomes: Vec<_> = cases.par_iter().map(|case| check_case(&dir, case)).collect();
    let (mut failures, mut equal, mut required, mut samples) = (Vec::new(), 0, 0, 0);
    for (case, outcome) in cases.iter().zip(outcomes) {
        match outcome {
            None => {}
            Some(Err(e)) => failures.push(e),
            Some(Ok(counts)) => {
                equal += 1;
                required += usize::from(is_required(case));
                samples += counts.samples;
            }
        }
    }
    eprintln!("{equal} of {} cases equal, {required} of them required; {samples} samples", cases.len());
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(required, cases.iter().filter(|case| is_required(case)).count());
    assert!(required >= 900, "only {required} required cases: is INDEX.json complete?");
}

#[test]
fn inputs_are_checked() {
    let x =
        Tensor { name: "x".to_owned(), dtype: DType::I8, shape: vec![1, 2], quant: None, constant: None, float: false };
    let g =
        Graph { tensors: vec![x], ops: vec![], inputs: vec![TensorId(0)], outputs: vec![TensorId(0)], states: vec![] };
    let data = |shape: &[usize], data: &[i32]| TensorData { shape: shape.to_vec(), data: data.to_vec() };
    let good = data(&[1, 2], &[-128, 127]);
    let values = eval(&g, std::slice::from_ref(&good)).expect("the input fits");
    assert_eq!(outputs(&g, &values), Ok(vec![good]));
    assert!(matches!(eval(&g, &[]), Err(EvalError::InputCount { expected: 1, got: 0 })));
    assert!(matches!(eval(&g, &[data(&[2], &[0, 0])]), Err(EvalError::InputShape { input: 0, .. })));
    assert!(matches!(eval(&g, &[data(&[1, 2], &[0])]), Err(EvalError::InputShape { elements: 1, .. })));
    let range = eval(&g, &[data(&[1, 2], &[0, 128])]);
    assert!(matches!(range, Err(EvalError::InputRange { element: 1, value: 128, lo: -128, hi: 127, .. })));
    assert_eq!(outputs(&g, &[None]), Err(EvalError::NoOutput { output: 0 }));
}
