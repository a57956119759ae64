//! Three parties in one process: opened outputs equal the recorded ones, costs equal the prediction.
mod common;
use common::{build_by, build_with, check, models, npy, sample, testdata, ways};
use compiler::pipeline::{Options, Route, compile_with};

#[test]
fn own_models() {
    for name in ["digits", "digits_mlp", "digits_u8"] {
        let samples: Vec<_> =
            (0..4).map(|k| (npy(&format!("{name}.input_{k}.npy")), npy(&format!("{name}.output_{k}.npy")))).collect();
        for (options, by) in ways() {
            check(&build_with(&testdata(&format!("{name}.tflite")), options), &samples, &format!("{name} by {by}"));
        }
    }
}

#[test]
fn recorded_models() {
    let Some(dir) = models() else { return };
    for name in [
        "hello_world",
        "digits_cnn",
        "mnist_valid",
        "mnist_resnet",
        "ad01_autoencoder",
        "micro_speech",
        "resnet8_cifar10",
        "kws_dscnn",
        "person_detect",
        "vww_96",
        "mobilenet_v1_0.25_128_quant",
    ] {
        let samples: Vec<_> = (0..3).map(|i| sample(&dir, name, i)).collect();
        for (options, by) in ways() {
            // Checks take long, and are tried on processes as well.
            let samples = if by == "rep3-mal" { &samples[..1] } else { &samples[..] };
            check(&build_with(&dir.join(format!("{name}.tflite")), options), samples, &format!("{name} by {by}"));
        }
    }
}

/// Models with branches, recurrent layers unrolled, several inputs and outputs, or state that comes back as an input.
#[test]
fn recorded_models_of_other_shapes() {
    let Some(dir) = models() else { return };
    for name in [
        "digits_inception",
        "digits_lstm",
        "digits_unet",
        "digits_mobile",
        "split_concat",
        "rnnoise_gru",
        "hps_presence",
        "digits_transformer",
    ] {
        let c = build_by(&dir.join(format!("{name}.tflite")), Route::Dealer);
        let read =
            |kind: &str| compiler::npy::read_npz(dir.join(format!("{name}.{kind}.npz"))).expect("recorded samples");
        let (given, recorded) = (read("inputs"), read("reference"));
        let get = |arrays: &std::collections::BTreeMap<String, compiler::npy::Array>, side: &str, i: usize, count| {
            let key = |j: usize| if j == 0 { format!("{side}_{i}") } else { format!("{side}_{i}_{j}") };
            (0..count).map(|j| common::ints(&arrays[&key(j)])).collect::<Vec<_>>()
        };
        let face = &c.program.interface;
        let sample = |i| (get(&given, "input", i, face.inputs.len()), get(&recorded, "output", i, face.outputs.len()));
        common::check_all(&c, &[sample(0), sample(1)], name);
    }
}

/// Conformance cases that compile, first four samples, all parties in memory: all by both routes of rep3, a part by other ways, all with
/// `QNN_SLOW=1`. `QNN_CASES` names parts of names, with commas between, to look at some only.
#[test]
fn conformance() {
    ways()
        .iter()
        .filter(|(_, by)| !matches!(*by, "rep3-wan" | "rep4" | "rep3-mal"))
        .for_each(|(options, by)| conformance_by(*options, by));
}

/// The same for four parties.
#[test]
fn conformance_of_four() {
    conformance_by(common::four(), "rep4");
}

/// The same for three parties whose products are checked.
#[test]
fn conformance_of_checked() {
    conformance_by(common::checked(), "rep3-mal");
}

/// The same for two parties without a dealer.
#[test]
fn conformance_of_two() {
    conformance_by(common::among(2), "semi");
}

fn conformance_by(options: Options, by: &str) {
    let Some(dir) = common::conformance() else { return };
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("folder")
        .filter_map(|e| e.expect("entry").file_name().into_string().ok()?.strip_suffix(".tflite").map(str::to_owned))
        .collect();
    let only = std::env::var("QNN_CASES").unwrap_or_default();
    names.retain(|name| only.split(',').any(|part| name.contains(part)));
    names.sort();
    let sequences = common::sequences(&dir);
    // How many cases are equal by each way at least, and of how many one is taken where nobody waits. A dealer that receives nothing takes
    // no part in resharing a sum of all three, and the compiler refuses what it has no gadgets for. A session of two without a
    // dealer takes long to start, checks take a dozen rounds each.
    let slow = !only.is_empty() || std::env::var_os("QNN_SLOW").is_some_and(|v| v == "1");
    let (all, each, most) = match by {
        "dealer2" => (919, 2, 4),
        "semi" => (640, 16, 1),
        "rep4" => (880, 2, 4),
        "rep3-mal" => (880, 4, 4),
        "rep3-far" => (954, 4, 4),
        _ => (954, 1, 4),
    };
    let each = if slow { 1 } else { each };
    let mut equal = 0;
    for name in names.into_iter().step_by(each) {
        let model = std::fs::read(dir.join(format!("{name}.tflite"))).expect("model");
        let Ok(c) = compile_with(&model, options) else { continue };
        let arrays = compiler::npy::read_npz(dir.join(format!("{name}.npz"))).expect("samples");
        let face = &c.program.interface;
        // The reference kernel reads the bytes of an int8 SUM as unsigned; the other kernel does not.
        let side = if name.starts_with("sum_int8") { "builtin_output" } else { "output" };
        let get = |side: &str, i: usize, ports: &[ir::Port]| -> Vec<Vec<i64>> {
            let key = |j: usize| if j == 0 { format!("{side}_{i}") } else { format!("{side}_{i}_{j}") };
            ports.iter().enumerate().map(|(j, p)| common::stored(&arrays[&key(j)], p, side != "input")).collect()
        };
        let calls = if sequences.contains(&name) { common::Calls::Sequence } else { common::Calls::Apart };
        let samples: Vec<_> = (0..most)
            .take_while(|i| arrays.contains_key(&format!("input_{i}")))
            .map(|i| (get("input", i, &face.inputs), get(side, i, &face.outputs)))
            .collect();
        common::check_calls(&c, &samples, calls, &format!("{name} by {by}"));
        equal += 1;
    }
    println!("{equal} conformance cases equal by {by}");
    // Those that are refused lie together.
    let least = if each == 1 { all } else { all / each * 9 / 10 };
    assert!(!only.is_empty() || equal >= least, "only {equal} cases were compared");
}
