//! Three processes over loopback: results, costs, disagreements, damaged files, lost parties.
mod common;

use common::launch::{Dir, Three, check, error_text, local, qnnvm};
use common::{build, models, testdata};
use compiler::npy::{Element, read_npz, write_npy};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[test]
fn recorded_outputs_of_project_models() {
    let dir = Dir::new();
    for name in ["digits", "digits_u8", "digits_mlp"] {
        let compiled = dir.compile(name, &testdata(&format!("{name}.tflite")));
        for i in 0..4 {
            let want = fs::read(testdata(&format!("{name}.output_{i}.npy"))).expect("recorded output");
            check(&dir, name, &compiled, &testdata(&format!("{name}.input_{i}.npy")), &want);
        }
    }
}

#[test]
fn the_json_object_has_the_agreed_shape() {
    let dir = Dir::new();
    let compiled = dir.compile("digits", &testdata("digits.tflite"));
    let want = fs::read(testdata("digits.output_0.npy")).expect("recorded output");
    let report = check(&dir, "digits", &compiled, &testdata("digits.input_0.npy"), &want);
    let keys: Vec<&str> = report.as_object().expect("object").keys().map(String::as_str).collect();
    let mut agreed = vec![
        "schema",
        "protocol",
        "program",
        "security",
        "insecure",
        "rounds",
        "payload_bytes",
        "wire_bytes",
        "seconds",
        "peak_memory_bytes",
        "layers",
        "result",
        "samples",
        "batch",
        "inferences",
        "modes",
    ];
    agreed.sort_unstable();
    assert_eq!(keys, agreed);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["protocol"], "rep3");
    assert_eq!(report["insecure"], serde_json::json!(["plaintext"]));
    for list in ["wire_bytes", "peak_memory_bytes"] {
        let list = report[list].as_array().expect("one entry per party");
        assert!(list.len() == 3 && list.iter().all(|n| n.as_u64() > Some(0)));
    }
    for key in ["setup", "offline", "inference", "sample"] {
        assert!(report["seconds"][key].is_number());
    }
    for key in ["op", "name", "rounds", "payload_bytes", "compute_s", "wait_s"] {
        assert!(report["layers"].as_array().expect("layers").iter().all(|l| !l[key].is_null()), "{key}");
    }
}

#[test]
fn a_picture_with_labels_repeated() {
    let dir = Dir::new();
    dir.compile("digits", &testdata("digits.tflite"));
    let labels = testdata("digits.labels.txt");
    let output = dir.file("out.npy");
    let more = ["--labels", labels.to_str().expect("path"), "--top", "3", "--repeat", "3"];
    let out = local(&dir, "digits", &testdata("digits.png"), &output, &more);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    assert_eq!(fs::read(&output).ok(), fs::read(testdata("digits.output_0.npy")).ok());
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("security: rep3, 3 parties") && text.contains("set-up, once"), "{text}");
    assert!(error_text(&out).contains("pixels mapped to"), "{}", error_text(&out));
}

fn digits() -> Three {
    let dir = Dir::new();
    dir.compile("digits", &testdata("digits.tflite"));
    fs::copy(testdata("digits.input_1.npy"), dir.file("in.npy")).expect("input");
    Three::new(dir)
}

#[test]
fn parties_started_one_by_one() {
    let mut three = digits();
    for party in [2, 0, 1] {
        three.start(three.command(party, "digits"));
    }
    for out in three.finish(Duration::from_secs(60)) {
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    }
    assert_eq!(fs::read(three.dir.file("y.npy")).ok(), fs::read(testdata("digits.output_1.npy")).ok());
    three.ports_are_free();
}

#[test]
fn another_program_is_a_disagreement() {
    for odd in 0..3 {
        let mut three = digits();
        three.dir.compile("digits_u8", &testdata("digits_u8.tflite"));
        if odd == 1 {
            fs::copy(testdata("digits_u8.input_1.npy"), three.dir.file("in.npy")).expect("input");
        }
        for party in 0..3 {
            let name = if party == odd { "digits_u8" } else { "digits" };
            three.start(three.command(party, name));
        }
        for out in three.finish(Duration::from_secs(40)) {
            assert_eq!(out.status.code(), Some(13), "{}", error_text(&out));
            assert!(error_text(&out).contains("`program`"), "{}", error_text(&out));
        }
        assert!(!three.dir.file("y.npy").exists());
        three.ports_are_free();
    }
}

#[test]
fn a_killed_party_is_noticed_by_the_others() {
    for killed in 0..3 {
        let dir = Dir::new();
        match models() {
            Some(models) => {
                let name = "mobilenet_v1_0.25_128_quant";
                dir.compile("model", &models.join(format!("{name}.tflite")));
                let array = &read_npz(models.join(format!("{name}.inputs.npz"))).expect("inputs")["input_0"];
                let data: Vec<i32> = common::ints(array).iter().map(|v| i32::try_from(*v).expect("small")).collect();
                write_npy(dir.file("in.npy"), Element::U8, &array.shape, &data).expect("npy");
            }
            None => {
                dir.compile("model", &testdata("digits.tflite"));
                fs::copy(testdata("digits.input_1.npy"), dir.file("in.npy")).expect("input");
            }
        }
        let mut three = Three::new(dir);
        for party in 0..3 {
            let mut command = three.command(party, "model");
            command.args(["--repeat", "100000"]);
            three.start(command);
        }
        sleep(Duration::from_millis(2500));
        assert!(three.children.iter_mut().all(|c| c.try_wait().expect("child").is_none()), "they still compute");
        three.children[killed].kill().expect("kill");
        let outs = three.finish(Duration::from_secs(2));
        for (party, out) in outs.iter().enumerate().filter(|(p, _)| *p != killed) {
            let text = error_text(out);
            assert_eq!(out.status.code(), Some(11), "party {party}: {text}");
            assert!(text.contains("round ") && text.contains("layer ") && text.contains("party "), "{text}");
        }
        assert!(!three.dir.file("y.npy").exists());
        three.ports_are_free();
    }
}

#[test]
fn damaged_files_are_refused_before_anyone_is_contacted() {
    let three = digits();
    let good = |name: &str| fs::read(three.dir.file(name)).expect("compiled");
    let refused = |party: usize, name: &str, what: &str| {
        let out = three.command(party, name).output().expect("a party runs");
        assert_eq!(out.status.code(), Some(4), "{what}: {}", error_text(&out));
        assert!(!error_text(&out).contains("panicked"), "{what}: {}", error_text(&out));
        three.ports_are_free();
    };
    let (program, weights) = (good("digits.mpcb"), good("digits.mpcw"));
    let damage = |bytes: &[u8]| {
        let mut all: Vec<Vec<u8>> = [0, 1, 7, bytes.len() / 2, bytes.len() - 1].map(|n| bytes[..n].to_vec()).to_vec();
        for at in [0, 5, 9, bytes.len() / 3, bytes.len() - 1] {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            all.push(changed);
        }
        all.push([bytes, &[0]].concat());
        all
    };
    for (i, bad) in damage(&program).into_iter().enumerate() {
        fs::write(three.dir.file("bad.mpcb"), bad).expect("program");
        fs::write(three.dir.file("bad.mpcw"), &weights).expect("weights");
        (0..3).for_each(|party| refused(party, "bad", &format!("program {i}")));
    }
    fs::write(three.dir.file("bad.mpcb"), &program).expect("program");
    for (i, bad) in damage(&weights).into_iter().enumerate() {
        fs::write(three.dir.file("bad.mpcw"), bad).expect("weights");
        refused(0, "bad", &format!("weights {i}"));
    }
    let other = build(&testdata("digits_u8.tflite"));
    fs::write(three.dir.file("bad.mpcw"), ir::weights::encode(&other.weights, &[7; 32])).expect("weights");
    refused(0, "bad", "weights of another program");
    let out = local(&three.dir, "bad", &three.dir.file("in.npy"), &three.dir.file("y.npy"), &[]);
    assert_eq!(out.status.code(), Some(4), "{}", error_text(&out));
    let verify = qnnvm().arg("verify").arg(three.dir.file("digits.mpcb")).output().expect("verify");
    assert_eq!(verify.status.code(), Some(0), "{}", error_text(&verify));
}

#[test]
fn wrong_use_is_refused_with_its_code() {
    let three = digits();
    let code = |command: &mut Command| {
        let out = command.output().expect("it runs");
        (out.status.code(), error_text(&out))
    };
    let net = fs::read_to_string(three.dir.file("net.toml")).expect("written");
    fs::write(three.dir.file("far.toml"), net.replacen("127.0.0.1", "192.0.2.1", 1)).expect("net.toml");
    let program = three.dir.file("digits.mpcb");
    let weights = three.dir.file("digits.mpcw");
    let helper = |more: &[&Path]| {
        let mut c = qnnvm();
        c.args(["--party", "2"]).arg(&program).args(more);
        c
    };
    let cases: Vec<(Command, i32, &str)> = vec![
        (helper(&[Path::new("--net"), &three.dir.file("far.toml")]), 6, "loopback"),
        (helper(&[Path::new("-w"), &weights]), 2, "must not have weights"),
        (helper(&[Path::new("--memory-limit"), Path::new("1000")]), 5, "memory"),
        (helper(&[Path::new("--input"), &weights]), 2, "too many"),
        (qnnvm_with(&["--party", "7"], &program), 2, "does not exist"),
        (qnnvm_with(&["--party", "0"], &program), 2, "-w"),
        (qnnvm_with(&["--party", "1"], &program), 2, "--input"),
        (qnnvm_with(&["local"], &program), 2, "-w"),
        (qnnvm(), 2, "--party"),
    ];
    for (mut command, want, message) in cases {
        let (got, text) = code(&mut command);
        assert_eq!(got, Some(want), "{command:?}: {text}");
        assert!(text.contains(message), "{command:?}: {text}");
    }
    let out = local(&three.dir, "digits", &testdata("digits_u8.input_0.npy"), &three.dir.file("y.npy"), &[]);
    assert_eq!(out.status.code(), Some(30), "{}", error_text(&out));
    let out = local(&three.dir, "digits", &weights, &three.dir.file("y.npy"), &[]);
    assert_eq!(out.status.code(), Some(30), "{}", error_text(&out));
    let mut alone = three.command(2, "digits");
    let (got, text) = code(alone.args(["--timeout", "1"]));
    assert_eq!(got, Some(10), "{text}");
    three.ports_are_free();
}

fn qnnvm_with(args: &[&str], program: &Path) -> Command {
    let mut command = qnnvm();
    command.args(args).arg(program);
    command
}

/// Processes whose command line names `what`.
fn processes(what: &str) -> usize {
    let all = fs::read_dir("/proc").expect("a Linux system").flatten();
    all.filter(|e| {
        fs::read(e.path().join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(what))
            || fs::read_link(e.path().join("cwd")).is_ok_and(|d| d.to_string_lossy().contains(what))
    })
    .count()
}

#[test]
fn the_launcher_leaves_nothing_behind() {
    for signal in ["-TERM", "-KILL"] {
        let three = digits();
        let temporary = three.dir.file("tmp");
        fs::create_dir(&temporary).expect("directory");
        let mut command = qnnvm();
        command.env("TMPDIR", &temporary).arg("local").arg(three.dir.file("digits.mpcb"));
        command.arg("-w").arg(three.dir.file("digits.mpcw")).arg("--input").arg(three.dir.file("in.npy"));
        command.args(["--repeat", "1000000"]);
        let mut launcher = command.spawn().expect("the launcher starts");
        let here = temporary.to_string_lossy().into_owned();
        let deadline = Instant::now() + Duration::from_secs(20);
        while processes(&here) < 3 {
            assert!(Instant::now() < deadline, "the parties do not start");
            sleep(Duration::from_millis(10));
        }
        sleep(Duration::from_millis(300));
        let house = fs::read_dir(&temporary).expect("directory").flatten().next().expect("directory of the run").path();
        for (party, own) in [(0, "weights.mpcw"), (1, "input0"), (2, "net.toml")] {
            let dir = house.join(format!("party{party}"));
            assert!(dir.join(own).exists());
            assert_eq!(dir.join("weights.mpcw").exists(), party == 0);
            assert_eq!(dir.join("input0").exists(), party == 1);
        }
        let kill = Command::new("kill").arg(signal).arg(launcher.id().to_string()).status().expect("kill");
        assert!(kill.success());
        launcher.wait().expect("launcher");
        let deadline = Instant::now() + Duration::from_secs(2);
        while processes(&here) > 0 {
            assert!(Instant::now() < deadline, "parties outlive their launcher after {signal}");
            sleep(Duration::from_millis(10));
        }
        if signal == "-TERM" {
            assert_eq!(fs::read_dir(&temporary).expect("directory").count(), 0, "files are left");
        }
    }
}

/// Four samples, three at a time and all at once: each result as if it had been alone, in the rounds of one.
#[test]
fn samples_share_the_rounds_of_a_batch() {
    let dir = Dir::new();
    let compiled = dir.compile("digits", &testdata("digits.tflite"));
    let want: Vec<i64> = (0..4).flat_map(|i| common::npy(&format!("digits.output_{i}.npy"))).collect();
    let inputs: Vec<PathBuf> = (1..4).map(|i| testdata(&format!("digits.input_{i}.npy"))).collect();
    for batch in ["1", "3", "4"] {
        let output = dir.file("out.npy");
        let mut more: Vec<&str> = vec!["--json", "--batch", batch];
        inputs.iter().for_each(|i| more.extend(["--input", i.to_str().expect("UTF-8")]));
        let out = local(&dir, "digits", &testdata("digits.input_0.npy"), &output, &more);
        assert_eq!(out.status.code(), Some(0), "batch {batch}: {}", error_text(&out));
        assert_eq!(common::ints(&compiler::npy::read_npy(&output).expect("output")), want, "batch {batch}");
        let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
        assert_eq!(report["rounds"]["measured"], compiled.program.predicted_rounds());
        assert_eq!(report["payload_bytes"]["measured"], serde_json::json!(compiled.program.predicted_bytes()));
        assert_eq!(
            (&report["samples"], &report["batch"]),
            (&4.into(), &batch.parse::<u32>().expect("a number").into())
        );
    }
}

/// A slow network costs at least half a round trip a round, and changes no result.
#[test]
fn measurements_over_a_slow_network() {
    let dir = Dir::new();
    let compiled = dir.compile("digits_mlp", &testdata("digits_mlp.tflite"));
    let mut command = qnnvm();
    command.arg("bench").arg(dir.file("digits_mlp.mpcb")).arg("-w").arg(dir.file("digits_mlp.mpcw"));
    command.args(["--runs", "2", "--warmup", "1", "--json", "--net", "loopback", "--net", "rtt=4ms,bw=1gbit"]);
    let out = command.output().expect("it runs");
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    let rows: Vec<Value> =
        String::from_utf8_lossy(&out.stdout).lines().map(|l| serde_json::from_str(l).expect("a JSON object")).collect();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(row["rounds"], compiled.program.predicted_rounds());
        assert_eq!(row["payload_bytes"], serde_json::json!(compiled.program.predicted_bytes()));
        assert_eq!(row["runs"], 2);
    }
    let fastest = rows[1]["seconds"][1].as_f64().expect("seconds");
    assert!(fastest >= f64::from(compiled.program.predicted_rounds()) * 0.002, "{fastest} s");
    let bad = qnnvm().args(["bench", "x.mpcb", "-w", "x.mpcw", "--net", "fast"]).output().expect("it runs");
    assert_ne!(bad.status.code(), Some(0));
}
