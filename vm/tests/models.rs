//! Every recorded model that compiles, as three processes on one sample: outputs to the byte, rounds and bytes as
//! predicted.
mod common;

use common::launch::{Dir, error_text, qnnvm, write};
use common::{models, stored};
use compiler::npy::{Array, read_npz};
use compiler::pipeline::{CompileError, Options, compile_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Models that take long, run where somebody waits: in CI, or with `QNN_SLOW=1`.
const SLOW: [&str; 4] =
    ["deeplab_mnv2_dm05", "mobilenet_v1_1.0_224_quant", "mobilenet_v2_1.0_224_ptq", "mobilenet_v2_1.0_224_quant"];

/// Array `side_0` or `side_0_j`.
fn recorded<'a>(arrays: &'a BTreeMap<String, Array>, side: &str, j: usize) -> &'a Array {
    let name = if j == 0 { format!("{side}_0") } else { format!("{side}_0_{j}") };
    arrays.get(&name).unwrap_or_else(|| panic!("no array {name}"))
}

/// Whether it compiles; then it must be equal.
fn check(models: &Path, name: &str) -> bool {
    let model = std::fs::read(models.join(format!("{name}.tflite"))).expect("model");
    let c = match compile_with(&model, Options::default()) {
        Ok(c) => c,
        Err(e @ (CompileError::Import(_) | CompileError::Lower(_))) => {
            println!("{name}: {}", e.to_string().lines().next().unwrap_or_default());
            return false;
        }
        Err(e) => panic!("{name}: {e}"),
    };
    let dir = Dir::new();
    std::fs::write(dir.file("m.mpcb"), &c.bytes).expect("program");
    std::fs::write(dir.file("m.mpcw"), ir::weights::encode(&c.weights, &[7; 32])).expect("weights");
    let read = |kind: &str| read_npz(models.join(format!("{name}.{kind}.npz"))).expect("recorded arrays");
    let (given, want, face) = (read("inputs"), read("reference"), &c.program.interface);
    let mut command = qnnvm();
    command.arg("local").arg(dir.file("m.mpcb")).arg("-w").arg(dir.file("m.mpcw")).arg("--json");
    for j in 0..face.inputs.len() {
        write(&dir.file(&format!("x{j}.npy")), recorded(&given, "input", j));
        command.arg("--input").arg(dir.file(&format!("x{j}.npy")));
    }
    for j in 0..face.outputs.len() {
        command.arg("--output").arg(dir.file(&format!("y{j}.npy")));
    }
    let out = command.output().expect("the launcher runs");
    assert_eq!(out.status.code(), Some(0), "{name}: {}", error_text(&out));
    for (j, port) in face.outputs.iter().enumerate() {
        let got = compiler::npy::read_npy(dir.file(&format!("y{j}.npy"))).expect("output");
        let want = recorded(&want, "output", j);
        assert_eq!((got.element, &got.shape), (want.element, &want.shape), "{name}: output {j}");
        assert!(stored(&got, port, true) == stored(want, port, true), "{name}: output {j} differs");
    }
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    for kind in ["predicted", "measured"] {
        assert_eq!(report["rounds"][kind], c.program.predicted_rounds(), "{name}: rounds {kind}");
        let bytes = serde_json::json!(c.program.predicted_bytes());
        assert_eq!(report["payload_bytes"][kind], bytes, "{name}: bytes {kind}");
    }
    println!(
        "{name}: {} rounds, {} bytes, {} s, set-up {} s",
        report["rounds"]["measured"],
        report["payload_bytes"]["measured"],
        report["seconds"]["inference"],
        report["seconds"]["setup"]
    );
    true
}

#[test]
fn every_recorded_model_equals_its_output() {
    let Some(dir) = models() else { return };
    let slow = std::env::var_os("CI").is_some() || std::env::var_os("QNN_SLOW").is_some_and(|v| v == "1");
    let list = std::fs::read_dir(&dir).expect("folder");
    let mut names: Vec<String> = list
        .filter_map(|e| e.expect("entry").file_name().into_string().ok()?.strip_suffix(".tflite").map(str::to_owned))
        .collect();
    names.sort();
    let (waiting, now): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| !slow && SLOW.contains(&n.as_str()));
    let equal = now.iter().filter(|name| check(&dir, name)).count();
    println!("{equal} of {} models equal; not run without QNN_SLOW=1: {waiting:?}", now.len());
    let least = if slow { 24 } else { 20 };
    assert!(equal >= least, "only {equal} models were compared");
}
