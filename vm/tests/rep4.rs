//! The protocol of four: models in memory equal recorded outputs, rounds and bytes as predicted.
mod common;
use common::{build_with, check, four, models, npy, sample, testdata};

/// Models of the project, with their samples.
#[test]
fn own_models_are_exact() {
    for name in ["digits_mlp", "digits", "digits_u8"] {
        let c = build_with(&testdata(&format!("{name}.tflite")), four());
        let samples = [(npy(&format!("{name}.input_0.npy")), npy(&format!("{name}.output_0.npy")))];
        check(&c, &samples, name);
        println!("{name}: {} rounds, {:?} bytes", c.program.predicted_rounds(), c.program.predicted_bytes());
    }
}

/// Third-party models.
#[test]
fn recorded_models_are_exact() {
    let Some(dir) = models() else { return };
    for name in ["digits_cnn", "kws_dscnn", "resnet8_cifar10"] {
        let c = build_with(&dir.join(format!("{name}.tflite")), four());
        check(&c, &[sample(&dir, name, 0)], name);
        println!("{name}: {} rounds, {:?} bytes", c.program.predicted_rounds(), c.program.predicted_bytes());
    }
}
