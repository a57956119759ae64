//! Three parties, one of whom may cheat: recorded outputs, and what the program predicts of rounds and bytes.
mod common;
use common::{build_with, check, check_recorded, checked, checked_early, npy, testdata};

/// Models of the project, from their recorded inputs.
#[test]
fn own_models_equal_the_recorded_outputs() {
    for name in ["digits_mlp", "digits_u8", "digits"] {
        let c = build_with(&testdata(&format!("{name}.tflite")), checked());
        let one = |i| (npy(&format!("{name}.input_{i}.npy")), npy(&format!("{name}.output_{i}.npy")));
        check(&c, &[one(0), one(1)], name);
    }
}

/// Early checks take no round, and leave the last one less to do.
#[test]
fn early_checks_equal_the_recorded_outputs() {
    for name in ["digits_mlp", "digits_u8", "digits"] {
        let path = testdata(&format!("{name}.tflite"));
        let c = checked_early(&path, 1 << 17);
        let one = |i| (npy(&format!("{name}.input_{i}.npy")), npy(&format!("{name}.output_{i}.npy")));
        check(&c, &[one(0), one(1)], name);
        let once = build_with(&path, checked()).program;
        assert!(c.program.predicted_rounds() <= once.predicted_rounds(), "{name}");
        assert!(c.program.peak_memory < once.peak_memory, "{name}");
    }
}

/// Models of others, where present.
#[test]
fn models_equal_the_recorded_outputs() {
    let names = ["digits_cnn", "kws_dscnn", "resnet8_cifar10", "mobilenet_v1_0.25_128_quant"];
    check_recorded(&names, &[(checked(), "rep3-mal")]);
}
