//! Four processes, as a user starts them; and what is refused.
mod common;
use common::launch::{Dir, check, error_text, local, qnnvm};
use common::{four, models, testdata};
use compiler::pipeline::{Options, Owners, Protocol, compile_with};
use std::fs;

#[test]
fn four_processes_equal_the_recorded_outputs() {
    let dir = Dir::new();
    for name in ["digits_mlp", "digits_u8"] {
        let model = testdata(&format!("{name}.tflite"));
        let compiled = dir.compile_for(name, &model, four(), Owners::default());
        for i in 0..2 {
            let want = fs::read(testdata(&format!("{name}.output_{i}.npy"))).expect("recorded output");
            let report = check(&dir, name, &compiled, &testdata(&format!("{name}.input_{i}.npy")), &want);
            assert_eq!(report["protocol"], "rep4");
            let security = report["security"].as_str().expect("a line");
            assert!(security.contains("4 parties") && security.contains("malicious"), "{security}");
        }
    }
    // Several samples at once, and again.
    let (input, output) = (testdata("digits_mlp.input_0.npy"), dir.file("y.npy"));
    let path = input.to_str().expect("path");
    let more = ["--input", path, "--input", path, "--batch", "3", "--repeat", "2", "--json"];
    let out = local(&dir, "digits_mlp", &input, &output, &more);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
}

/// Owners and receivers can be any of the four.
#[test]
fn the_last_party_owns_and_receives() {
    let dir = Dir::new();
    let owners = Owners { inputs: vec![("0".to_owned(), ir::Party(3))], receiver: ir::Party(2) };
    dir.compile_for("digits_mlp", &testdata("digits_mlp.tflite"), four(), owners);
    let out = local(&dir, "digits_mlp", &testdata("digits_mlp.input_0.npy"), &dir.file("y.npy"), &[]);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    let want = fs::read(testdata("digits_mlp.output_0.npy")).expect("recorded output");
    assert_eq!(fs::read(dir.file("y.npy")).expect("output"), want);
}

#[test]
fn what_is_missing_is_named() {
    let model = fs::read(testdata("digits.tflite")).expect("model");
    let options = Options { protocol: Protocol::Rep4, ..Options::default() };
    let all = [compile_with(&model, options).err(), {
        let Some(dir) = models() else { return };
        let model = fs::read(dir.join("kws_dscnn.tflite")).expect("model");
        compile_with(&model, options).err()
    }];
    let said: Vec<String> = all.into_iter().flatten().map(|e| e.to_string()).collect();
    assert!(!said.is_empty());
    for what in said {
        assert!(what.contains("rep4") && what.contains("SOFTMAX") && what.contains("--reveal=logits"), "{what}");
    }
}

#[test]
fn the_list_of_protocols_says_against_whom() {
    let out = qnnvm().arg("protocols").output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    for f in Protocol::ALL.map(Protocol::facts) {
        assert!(text.contains(f.name) && text.contains(f.about) && text.contains(f.adversary.name()), "{text}");
    }
    assert!(text.contains("product: 1 exchange, 6k bits") && text.contains("product: 1 exchange, 3k bits"), "{text}");
}
