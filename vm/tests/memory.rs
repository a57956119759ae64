//! Three parties in one process: opened outputs equal the recorded ones, costs equal the prediction.
mod common;
use common::cases::cases;
use common::{Calls, build_by, build_with, check, check_calls, models, npy, sample, testdata, ways};
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
    if common::conformance().is_none() {
        return;
    }
    // Of how many cases one is taken, how many of these are equal by each way at least, and how many of all. A dealer that receives
    // nothing takes no part in resharing a sum of all three, and the compiler refuses what it has no gadgets for. A session of two
    // without a dealer takes long to start, checks take a dozen rounds each.
    let (each, part, all, most) = match by {
        "dealer2" => (2, 459, 919, 4),
        "semi" => (16, 51, 853, 1),
        "rep4" => (2, 439, 880, 4),
        "rep3-mal" => (4, 218, 880, 4),
        "rep3-far" => (4, 238, 954, 4),
        _ => (1, 954, 954, 4),
    };
    let slow = std::env::var_os("QNN_SLOW").is_some_and(|v| v == "1");
    let cases = cases(if slow { 1 } else { each });
    let mut equal = 0;
    for case in &cases {
        let Ok(c) = compile_with(&case.model, options) else { continue };
        let calls = if case.sequence { Calls::Sequence } else { Calls::Apart };
        check_calls(&c, &case.samples(&c, most), calls, &format!("{} by {by}", case.name));
        equal += 1;
    }
    println!("{equal} of {} conformance cases equal by {by}", cases.len());
    let some = std::env::var_os("QNN_CASES").is_some_and(|v| !v.is_empty());
    let least = if slow { all } else { part };
    assert!(some || equal >= least, "only {equal} cases were compared by {by}, at least {least} are");
}
