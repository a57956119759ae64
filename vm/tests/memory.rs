//! Three parties in one process: opened outputs equal the recorded ones, costs equal the prediction.
mod common;
use common::{build, check, models, npy, sample, testdata};

#[test]
fn own_models() {
    for name in ["digits", "digits_mlp", "digits_u8"] {
        let c = build(&testdata(&format!("{name}.tflite")));
        let samples: Vec<_> =
            (0..4).map(|k| (npy(&format!("{name}.input_{k}.npy")), npy(&format!("{name}.output_{k}.npy")))).collect();
        check(&c, &samples, name);
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
        let c = build(&dir.join(format!("{name}.tflite")));
        let samples: Vec<_> = (0..3).map(|i| sample(&dir, name, i)).collect();
        check(&c, &samples, name);
    }
}
