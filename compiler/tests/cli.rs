//! The `qnnc` binary as a user or a script meets it: exit codes, streams, files.
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Kilobytes of address space a command may use on a hostile file.
const MEMORY_KIB: u64 = 256 << 10;

fn testdata(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(file);
    path.to_str().expect("UTF-8").to_owned()
}

fn qnnc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qnnc")).args(args).output().expect("the binary runs")
}

/// Runs a command, compares its exit code, gives stdout and stderr.
fn check(args: &[&str], code: i32) -> (String, String) {
    let out = qnnc(args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "qnnc {}\n{stdout}\n{stderr}", args.join(" "));
    assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "colour");
    (stdout, stderr)
}

/// An empty directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("qnnc-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("writable");
        Dir(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("readable")
            .map(|e| e.expect("an entry").file_name().to_str().expect("UTF-8").to_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A `.npy` file made by hand.
fn npy(path: &str, descr: &str, shape: &str, data: &[u8]) {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    fs::write(path, bytes).expect("writable");
}

/// What only the chosen protocol or option stands in the way of is not blamed on the model, and the advice helps.
#[test]
fn refusals_say_what_helps() {
    let dir = Dir::new("advice");
    let (model, program) = (testdata("digits_mlp.tflite"), dir.path("m.mpcb"));
    let with = |options: &[&str], code| check(&[&[model.as_str(), "-o", &program][..], options].concat(), code).1;
    for protocol in ["rep4", "rep3-mal", "semi"] {
        let said = with(&["--protocol", protocol], 3);
        let advice = said.lines().next().and_then(|line| line.rsplit_once("; ")).expect("what and what to do").1;
        let helps = "compile it with `--protocol rep3`, or with `--reveal=logits` so that the receiver finishes it";
        assert!(said.contains(&format!("protocol {protocol} does not offer")) && advice == helps, "{said}");
        with(&["--protocol", protocol, "--reveal=logits"], 0);
        let said = with(&["--protocol", protocol, "--reveal=argmax"], 3);
        assert!(said.contains("yet; reveal `output` or `logits`\n"), "{said}");
    }
    with(&["--protocol", "rep3"], 0);
    let said = with(&["--scales=private"], 3);
    assert!(said.contains("; compile it with `--scales=public`\n"), "{said}");
}

/// Each mode is said in the line about security, by `inspect`, `stats`, `--leakage` and for machines.
#[test]
fn modes_are_said() {
    for (mode, policy, said) in [
        ("weights=public", "output", "weights are public"),
        ("rounding=probabilistic", "output", "results differ from TFLite's"),
        ("scales=private", "argmax", "multipliers and zero points"),
    ] {
        let dir = Dir::new(mode);
        let (program, option) = (dir.path("m.mpcb"), format!("--{mode}"));
        let (_, stderr) = check(&[&testdata("digits.tflite"), "-o", &program, &option, "--reveal", policy], 0);
        assert!(stderr.contains(said), "{stderr}");
        let files: &[&str] = if mode == "weights=public" { &["m.mpcb"] } else { &["m.mpcb", "m.mpcw"] };
        assert_eq!(dir.names(), files, "{mode}");
        for shown in [&["inspect", &program][..], &["inspect", "--leakage", &program], &["stats", &program]] {
            let (text, _) = check(shown, 0);
            assert!(text.contains(said), "{shown:?}: {text}");
        }
        for shown in [["inspect", "--json", &program], ["stats", "--json", &program]] {
            let object: Value = serde_json::from_str(&check(&shown, 0).0).expect("JSON");
            assert_eq!(object["modes"], serde_json::json!([mode]), "{shown:?}");
        }
        // The text form says it too, and reads back.
        let (text, again) = (dir.path("m.qir"), dir.path("n.mpcb"));
        fs::write(&text, check(&["dis", &program], 0).0).expect("writable");
        check(&["as", &text, "-o", &again], 0);
        assert!(fs::read(&program).expect("program") == fs::read(&again).expect("program"), "{mode}");
    }
}

#[test]
fn what_is_revealed_is_chosen_and_said() {
    let dir = Dir::new("reveal");
    let program = dir.path("m.mpcb");
    for (policy, shown) in [("output", "result"), ("logits", "operand"), ("argmax", "places"), ("topk:3", "places")] {
        let option = format!("--reveal={policy}");
        let (_, stderr) = check(&[&testdata("digits.tflite"), "-o", &program, &option], 0);
        assert!(stderr.contains(&format!("reveals {policy} to party 1")), "{policy}: {stderr}");
        assert_eq!(stderr.contains("logits: saves "), policy == "logits", "{policy}: {stderr}");
        let (text, _) = check(&["inspect", &program, "--leakage"], 0);
        assert!(text.contains(&format!("revealed  {policy} ({shown}")), "{policy}: {text}");
    }
    let (_, stderr) = check(&[&testdata("digits.tflite"), "-o", &program, "--reveal=topk:0"], 2);
    assert!(stderr.contains("`topk:N` with N from 1 to 64"), "{stderr}");
}

#[test]
fn compiling_writes_program_and_private_weights() {
    let dir = Dir::new("compile");
    let (program, weights) = (dir.path("m.mpcb"), dir.path("m.mpcw"));
    let (stdout, stderr) = check(&[&testdata("digits.tflite"), "-o", &program], 0);
    assert_eq!(stdout, "");
    for word in ["operators", "rounds per inference", "payload bytes per party", "thresholds proved", "peak memory"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    assert!(stderr.contains("security: rep3, 3 parties, semi-honest, 1 corruption; weights, inputs and intermediate"));
    assert!(stderr.contains("reveals output to party 1; not audited"));
    assert_eq!(dir.names(), ["m.mpcb", "m.mpcw"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &str| fs::metadata(p).expect("written").permissions().mode() & 0o777;
        assert_eq!(mode(&weights), 0o600);
        // An older file that others may read is replaced, not refilled.
        fs::set_permissions(&weights, fs::Permissions::from_mode(0o644)).expect("ours");
        check(&[&testdata("digits.tflite"), "-o", &program], 0);
        assert_eq!(mode(&weights), 0o600);
    }
    let decoded = ir::bytecode::decode(&fs::read(&program).expect("written")).expect("a program");
    ir::verify::verify(&decoded).unwrap_or_else(|bad| panic!("{bad:?}"));
    let bound = ir::weights::decode(&fs::read(&weights).expect("written")).expect("weights");
    assert_eq!(bound.program, ir::bytecode::program_hash(&fs::read(&program).expect("written")));

    let other = dir.path("secret.bin");
    let (stdout, _) = check(&[&testdata("digits.tflite"), "-o", &program, "-w", &other, "--json"], 0);
    let json: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((&json["result"], &json["weights_file"]), (&"ok".into(), &other.as_str().into()));
    assert_eq!(json["payload_bytes"].as_array().map(Vec::len), Some(3));
}

#[test]
fn failures_leave_no_files() {
    let dir = Dir::new("failures");
    let model = testdata("digits.tflite");
    let text = dir.path("text.tflite");
    fs::write(&text, "not a model").expect("writable");
    let (_, stderr) = check(&[&text, "-o", &dir.path("m.mpcb")], 4);
    assert!(stderr.starts_with("error: Q1001: ") && stderr.contains("qnnc explain Q1001"), "{stderr}");
    check(&[&dir.path("absent.tflite"), "-o", &dir.path("m.mpcb")], 30);
    check(&[&dir.path("."), "-o", &dir.path("m.mpcb")], 30);
    let (_, stderr) = check(&[&model, "-o", &dir.path("nowhere/m.mpcb")], 6);
    assert!(stderr.contains("Q1201"), "{stderr}");
    // The weights cannot be written, so the program is not either.
    check(&[&model, "-o", &dir.path("m.mpcb"), "-w", &dir.path("nowhere/m.mpcw")], 6);
    check(&[&model, "-o", &dir.path(".")], 6);
    check(&[&model, "-o", &dir.path("same"), "-w", &dir.path("./same")], 2);
    check(&[&text, "-o", &text], 2);
    assert_eq!(dir.names(), ["text.tflite"]);
    assert_eq!(fs::read(&text).expect("still there"), b"not a model");
}

#[test]
fn usage_errors_exit_with_2() {
    let model = testdata("digits.tflite");
    for args in [
        &[][..] as &[&str],
        &[model.as_str()],
        &["-o", "x"],
        &["inspect"],
        &["check", "--nope", model.as_str()],
        &["explain"],
    ] {
        let (stdout, stderr) = check(args, 2);
        assert_eq!(stdout, "");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    let (stdout, _) = check(&["--version"], 0);
    assert_eq!(stdout, format!("qnnc {}, program format {}\n", env!("CARGO_PKG_VERSION"), ir::bytecode::FORMAT));
    assert!(check(&["--help"], 0).0.contains("simulate"));
}

#[test]
fn simulation_equals_recorded_results() {
    let dir = Dir::new("simulate");
    for (model, inputs) in [("digits", "digits"), ("digits_u8", "digits_u8"), ("digits_mlp", "digits_mlp")] {
        for sample in 0..4 {
            let out = dir.path("y.npy");
            let input = testdata(&format!("{inputs}.input_{sample}.npy"));
            let (stdout, stderr) =
                check(&["simulate", &testdata(&format!("{model}.tflite")), "--input", &input, "--output", &out], 0);
            assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""));
            let read = |path: &str| compiler::npy::read_npy(path).expect("an array");
            assert_eq!(read(&out), read(&testdata(&format!("{model}.output_{sample}.npy"))), "{model} {sample}");
        }
    }
    let input = testdata("digits.input_0.npy");
    let named = format!("v={input}");
    let (stdout, _) = check(&["simulate", &testdata("digits.tflite"), "--input", &named], 0);
    assert!(stdout.starts_with("`Identity` (int8 [1x10]): "), "{stdout}");
    let (stdout, _) = check(&["simulate", &testdata("digits.tflite"), "--input", &input, "--json"], 0);
    let json: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!(json["outputs"][0]["values"].as_array().map(Vec::len), Some(10));
}

#[test]
fn inputs_that_do_not_fit_exit_with_30() {
    let dir = Dir::new("inputs");
    let model = testdata("digits.tflite");
    let good = testdata("digits.input_0.npy");
    let x = dir.path("x.npy");
    let refused = |word: &str| {
        let (stdout, stderr) = check(&["simulate", &model, "--input", &x], 30);
        assert_eq!(stdout, "");
        assert!(stderr.contains("Q1204") && stderr.contains(word), "{word}: {stderr}");
    };
    npy(&x, "|i1", "(1, 8, 8)", &[0; 64]);
    refused("wrong shape: the array is int8 [1x8x8]; expected int8 [1x8x8x1]");
    npy(&x, "|u1", "(1, 8, 8, 1)", &[0; 64]);
    refused("wrong type: the array is uint8");
    npy(&x, "<i8", "(1, 8, 8, 1)", &[0; 512]);
    refused("wrong type");
    npy(&x, "<f4", "(1, 8, 8, 1)", &f32::NAN.to_le_bytes().repeat(64));
    refused("not a number");
    npy(&x, "|i1", "(1, 8, 8, 1)", &[0; 63]);
    refused("ends within the array");
    fs::write(&x, "this is no array at all").expect("writable");
    refused("not an npy file");
    fs::remove_file(&x).expect("there");
    refused("cannot access");
    check(&["simulate", &model], 30);
    check(&["simulate", &model, "--input", &good, "--input", &good], 30);
    check(&["simulate", &model, "--input", &format!("nobody={good}").replace('/', "_")], 30);
    check(&["simulate", &model, "--input", &good, "--output", &dir.path("nowhere/y.npy")], 6);
    check(&["simulate", &model, "--input", &good, "--output", &x, "--output", &x], 2);
    check(&["simulate", &model, "--input", &format!("v={good}"), "--input", &format!("v={good}")], 2);
}

#[test]
fn floats_are_quantized_and_said_so() {
    let dir = Dir::new("floats");
    let model = testdata("digits.tflite");
    let stored = compiler::npy::read_npy(testdata("digits.input_1.npy")).expect("an array");
    let real = |v: &i64| (*v + 128) as f64 * f64::from(0.003_921_569_f32);
    let bytes: Vec<u8> = stored.ints().expect("integers").iter().flat_map(|v| (real(v) as f32).to_le_bytes()).collect();
    let x = dir.path("x.npy");
    npy(&x, "<f4", "(1, 8, 8, 1)", &bytes);
    let (from_floats, stderr) = check(&["simulate", &model, "--input", &x], 0);
    assert!(stderr.contains("quantized to int8 with scale") && stderr.contains("zero point -128"), "{stderr}");
    let (from_integers, _) = check(&["simulate", &model, "--input", &testdata("digits.input_1.npy")], 0);
    assert_eq!(from_floats, from_integers);
}

#[test]
fn inputs_and_outputs_go_to_the_parties_asked_for() {
    let dir = Dir::new("owners");
    let (model, program) = (testdata("digits.tflite"), dir.path("m.mpcb"));
    check(&[&model, "-o", &program, "--input-owner", "v=2", "--receiver", "0"], 0);
    let (text, _) = check(&["inspect", &program], 0);
    assert!(text.contains("owned by party 2") && text.contains("received by party 0"), "{text}");
    let (text, _) = check(&["inspect", &program, "--leakage"], 0);
    assert!(text.contains("known to its owner, party 2, alone") && text.contains("bits, to party 0"), "{text}");
    // Compared with the oracle as it was compiled.
    check(&["compare", &model, &program, "--input", &testdata("digits.input_0.npy")], 0);
    for wrong in
        [&["--input-owner", "w=2"][..], &["--input-owner", "v=3"], &["--input-owner", "v"], &["--receiver", "3"]]
    {
        check(&[&[model.as_str(), "-o", &program][..], wrong].concat(), 2);
    }
    let (_, stderr) = check(&[&model, "-o", &program, "--protocol", "dealer2", "--receiver", "2"], 2);
    assert!(stderr.contains("owns and receives nothing"), "{stderr}");
}

#[test]
fn what_stays_between_calls_is_listed() {
    let dir = Dir::new("state");
    let text = fs::read_to_string(testdata("../ir/eval-state.qir")).expect("part of the repository");
    let (source, program) = (dir.path("s.qir"), dir.path("s.mpcb"));
    fs::write(&source, text).expect("writable");
    check(&["as", &source, "-o", &program], 0);
    let (text, _) = check(&["inspect", &program, "--leakage"], 0);
    assert!(text.contains("never opened; it begins as a weight: arith<10>[4]"), "{text}");
}

/// Files of models whose edges are float32 hold float32.
#[test]
fn float_edges_are_simulated_to_the_bit() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let cases = std::env::var_os("QNN_CONFORMANCE_DIR").map_or(beside, PathBuf::from);
    let dir = Dir::new("edges");
    let (x, y) = (dir.path("x.npy"), dir.path("y.npy"));
    for name in ["quantize_float32_to_uint8_1", "graph_dequantized_output", "cast_int8_to_float32"] {
        let Ok(arrays) = compiler::npy::read_npz(cases.join(format!("{name}.npz"))) else {
            println!("skipped: no {name} in {}", cases.display());
            continue;
        };
        let model = cases.join(format!("{name}.tflite")).to_str().expect("UTF-8").to_owned();
        let write = |path: &str, a: &compiler::npy::Array| {
            let bytes = match &a.values {
                compiler::npy::Values::Float(v) => {
                    compiler::npy::format_npy_f32(&a.shape, &v.iter().map(|x| *x as f32).collect::<Vec<_>>())
                }
                compiler::npy::Values::Int(v) => {
                    compiler::npy::format_npy(a.element, &a.shape, &v.iter().map(|x| *x as i32).collect::<Vec<_>>())
                }
            };
            fs::write(path, bytes.expect("an array")).expect("writable");
        };
        write(&x, &arrays["input_0"]);
        check(&["simulate", &model, "--input", &x, "--output", &y], 0);
        let got = fs::read(&y).expect("written");
        write(&y, &arrays["output_0"]);
        assert!(got == fs::read(&y).expect("written"), "{name}");
    }
}

#[test]
fn programs_are_shown() {
    let dir = Dir::new("show");
    let program = dir.path("m.mpcb");
    check(&[&testdata("digits.tflite"), "-o", &program], 0);
    let (text, _) = check(&["dis", &program], 0);
    assert!(text.starts_with("program protocol=\"rep3\" parties=3 reveal=\"output\" kernels=\"tflite-ref\"\n"));
    let (short, _) = check(&["dis", &program, "--elide"], 0);
    assert!(short.len() < text.len() && short.contains(" …]"));
    let (text, _) = check(&["inspect", &program], 0);
    for word in ["rounding: kernels tflite-ref", "CONV_2D", "owned by party 1", "received by party 1", "security: "] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (text, _) = check(&["inspect", &program, "--leakage"], 0);
    for word in ["public ", "secret    weights", "secret    input \"v\"", "revealed  output", "10 elements"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (text, _) = check(&["inspect", &program, "--json"], 0);
    let json: Value = serde_json::from_str(&text).expect("one JSON object");
    let layers = json["layers"].as_array().expect("a list");
    let number = |v: &Value| v.as_u64().expect("a number");
    let sum: u64 = layers.iter().map(|l| number(&l["payload_bytes"])).sum();
    let total: u64 = json["payload_bytes"].as_array().expect("a list").iter().map(number).sum();
    assert_eq!(sum, total, "layers add up");
    let last = layers.iter().flat_map(|l| l["rounds"].as_array().expect("a list")).map(number).max();
    // Messages that need not wait for each other may stand in rounds of their own.
    assert!(last >= json["rounds"].as_u64());

    let mut bytes = fs::read(&program).expect("written");
    bytes[100] ^= 1;
    fs::write(&program, &bytes).expect("writable");
    for command in ["dis", "inspect"] {
        let (stdout, stderr) = check(&[command, &program], 4);
        assert!(stdout.is_empty() && stderr.contains("Q1203") && stderr.contains("checksum"), "{stderr}");
    }
    check(&["inspect", &testdata("digits.tflite")], 4);
    check(&["inspect", &dir.path("absent")], 30);
}

#[test]
fn operators_and_codes_are_explained() {
    let (text, _) = check(&["ops"], 0);
    assert!(text.lines().any(|l| l.starts_with("CONV_2D ")));
    let (text, _) = check(&["ops", "--json"], 0);
    let json: Value = serde_json::from_str(&text).expect("one JSON object");
    let all = json["operators"].as_array().expect("a list");
    assert!(all.iter().any(|o| o["name"] == "SOFTMAX" && o["code"] == 25 && o["cost"] == "several"));
    assert!(all.iter().all(|o| o["cost"].is_string() && o["limits"].is_string() && o["types"].is_array()), "{text}");
    assert!(all.iter().any(|o| o["name"] == "CONV_2D" && o["rounds"] == 5 && json["limits"]["dimensions"] == 8));
    for (code, _) in compiler::tflite::CODES {
        assert!(check(&["explain", code], 0).0.starts_with(&format!("{code}: ")));
    }
    for topic in ["security", "rounds", "Q1100", "Q1101", "Q1102", "Q1200", "Q1201", "Q1204", "q1205"] {
        check(&["explain", topic], 0);
    }
    let (stdout, stderr) = check(&["explain", "securty"], 2);
    assert!(stdout.is_empty() && stderr.contains("nearest: `security`"), "{stderr}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let dir = Dir::new("pipe");
    let program = dir.path("m.mpcb");
    check(&[&testdata("digits.tflite"), "-o", &program], 0);
    for args in [&["dis", &program][..], &["--help"], &["explain", "nothing"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_qnnc"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        drop(child.stderr.take());
        let code = child.wait().expect("ends").code();
        assert!(matches!(code, Some(0 | 2)), "{args:?}: {code:?}");
    }
}

#[test]
fn check_reports_for_people_and_machines() {
    let (stdout, _) = check(&["check", &testdata("digits.tflite")], 0);
    assert!(stdout.starts_with("compiles: 10 operators, "), "{stdout}");
    let (stdout, _) = check(&["check", "--json", &testdata("digits.tflite")], 0);
    let json: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((&json["result"], json["problems"].as_array().map(Vec::len)), (&"ok".into(), Some(0)));
    let dir = Dir::new("check");
    let text = dir.path("text.tflite");
    fs::write(&text, "not a model").expect("writable");
    let (stdout, stderr) = check(&["check", &text], 4);
    assert!(stdout.starts_with("Q1001: ") && stderr.starts_with("1 problem; "), "{stdout}{stderr}");
    let (stdout, _) = check(&["check", &text, "--json"], 4);
    let json: Value = serde_json::from_str(&stdout).expect("one JSON object");
    assert_eq!((&json["result"], &json["exit_code"]), (&"damaged".into(), &4.into()));
    assert_eq!(json["problems"][0]["code"], "Q1001");
}

#[test]
fn hostile_models_are_refused_quickly_and_in_little_memory() {
    let dir = std::env::var_os("QNN_CONFORMANCE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from)
        .join("bad");
    let Ok(expected) = fs::read(dir.join("EXPECTED.json")) else {
        println!("skipped: {} not found", dir.display());
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    let mut wrong = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for (name, verdict) in expected.as_object().expect("an object") {
        let model = dir.join(format!("{name}.tflite"));
        let start = Instant::now();
        // Address space bounds memory from above; with one worker thread it is not far from it.
        let out = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" check --json \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_qnnc"))
            .arg(&model)
            .env("RAYON_NUM_THREADS", "1")
            .output()
            .expect("sh runs");
        let took = start.elapsed();
        if took > slowest.0 {
            slowest = (took, name.clone());
        }
        let code = out.status.code();
        let got = match code {
            Some(0) => "accept",
            Some(3) => "unsupported",
            Some(4) => "damaged",
            Some(5) => "limit",
            _ => "failed",
        };
        let json: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let problems = json["problems"].as_array().cloned().unwrap_or_default();
        let also = verdict["also_accepted"].as_array().expect("a list");
        if verdict["category"] != got && !also.iter().any(|a| a == got) {
            let stderr = String::from_utf8_lossy(&out.stderr);
            wrong.push(format!("{name}: {got} ({:?}), expected {}: {stderr}", out.status, verdict["category"]));
        }
        if (got == "accept") != problems.is_empty() || (json["exit_code"] != code.unwrap_or(-1)) {
            wrong.push(format!("{name}: exit code and report differ"));
        }
        if took > Duration::from_secs(1) {
            wrong.push(format!("{name}: took {took:?}"));
        }
    }
    println!("slowest: {} in {:?}", slowest.1, slowest.0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let commands =
        ["check", "simulate", "dis", "as", "inspect", "passes", "stats", "estimate", "diff", "compare", "report"];
    for shell in ["bash", "zsh", "fish"] {
        let (text, _) = check(&["completions", shell], 0);
        commands.iter().for_each(|c| assert!(text.contains(c), "{shell}: {c}"));
    }
    let (text, _) = check(&["man"], 0);
    assert!(text.contains(".TH qnnc") && commands.iter().all(|c| text.contains(c)), "{text}");
    check(&["completions", "dos"], 2);
}
