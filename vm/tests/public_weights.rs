//! Weights as constants of the program (`--weights=public`): outputs equal the recorded ones by every protocol, costs equal the
//! prediction, and what is saved is saved.
mod common;
use common::cases::cases;
use common::launch::{Dir, error_text, qnnvm};
use common::{Calls, among, build_with, check, check_calls, check_recorded, npy, testdata, ways};
use compiler::pipeline::{Options, compile_with};
use ir::{Modes, Op};

/// Every protocol, with public weights.
fn public() -> Vec<(Options, &'static str)> {
    let all = ways().into_iter().filter(|(_, by)| *by != "rep3-wan").chain([(among(2), "semi")]);
    all.map(|(options, by)| (with_public(options), by)).collect()
}

fn with_public(options: Options) -> Options {
    Options { modes: Modes { public_weights: true, ..Modes::default() }, ..options }
}

#[test]
fn own_models() {
    for name in ["digits", "digits_mlp", "digits_u8"] {
        let samples: Vec<_> =
            (0..2).map(|k| (npy(&format!("{name}.input_{k}.npy")), npy(&format!("{name}.output_{k}.npy")))).collect();
        let path = testdata(&format!("{name}.tflite"));
        for (options, by) in public() {
            let c = build_with(&path, options);
            assert!(
                c.weights.tensors.is_empty() && c.program.setup_rounds == 0,
                "{name} by {by}: nothing is shared ahead"
            );
            let products =
                |op: &Op<_>| matches!(op, Op::Conv2dSs { .. } | Op::Conv2dSh { .. } | Op::DepthwiseSs { .. });
            assert!(!c.program.insts.iter().any(|i| products(&i.op)), "{name} by {by}: products are local");
            check(&c, &samples, &format!("{name} by {by}"));
            let secret = build_with(&path, Options { modes: Modes::default(), ..options });
            let [now, before] = [&c, &secret].map(|c| (c.program.predicted_rounds(), c.program.predicted_bytes()));
            println!("{name} by {by}: {now:?}, with secret weights {before:?}");
            assert!(now.1.iter().sum::<u64>() < before.1.iter().sum(), "{name} by {by}: bytes");
            assert!(now.0 <= before.0, "{name} by {by}: rounds");
            // An exchange less for each of the linear layers, but for one behind an opening or the like; where A deals, if all
            // layers have the same roles.
            let far = by == "rep3-far" || !by.starts_with("rep3");
            assert!(!far || now.0 + 2 <= before.0, "{name} by {by}: rounds");
        }
    }
}

#[test]
fn recorded_models() {
    check_recorded(&["digits_cnn", "resnet8_cifar10"], &public());
}

/// Some of the conformance cases; all that `QNN_CASES` names.
#[test]
fn conformance() {
    for (options, by) in public() {
        let mut equal = 0;
        let cases = cases(if by == "semi" { 40 } else { 12 });
        for case in &cases {
            let Ok(c) = compile_with(&case.model, options) else { continue };
            let calls = if case.sequence { Calls::Sequence } else { Calls::Apart };
            check_calls(&c, &case.samples(&c, 2), calls, &format!("{} by {by}", case.name));
            equal += 1;
        }
        println!("{equal} of {} cases equal by {by}", cases.len());
        assert!(equal * 2 > cases.len() || cases.len() < 10, "{by}: most cases compile");
    }
}

/// Processes need no file of weights, and say so.
#[test]
fn processes_need_no_weights() {
    let dir = Dir::new();
    let c = build_with(&testdata("digits_mlp.tflite"), with_public(Options::default()));
    std::fs::write(dir.file("m.mpcb"), &c.bytes).expect("program");
    let mut local = qnnvm();
    local.arg("local").arg(dir.file("m.mpcb")).arg("--json").arg("--input").arg(testdata("digits_mlp.input_1.npy"));
    let out = local.arg("--output").arg(dir.file("y.npy")).output().expect("the launcher runs");
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    let got = compiler::npy::read_npy(dir.file("y.npy")).expect("output");
    assert_eq!(common::ints(&got), npy("digits_mlp.output_1.npy"));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    assert_eq!(report["modes"], serde_json::json!(["weights=public"]));
    assert!(report["security"].as_str().is_some_and(|s| s.contains("weights are public")), "{report}");
}
