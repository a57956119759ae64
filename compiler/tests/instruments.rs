//! The commands that answer questions: their output is recorded under `testdata/cli` (`QNN_BLESS=1` rewrites), their JSON
//! has the promised members, and names from a model cannot do harm.
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A directory of its own with the model in it, removed at the end; commands run inside, so outputs name no place.
struct Desk(PathBuf);

impl Desk {
    fn new(test: &str) -> Desk {
        let path = std::env::temp_dir().join(format!("qnnc-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("writable");
        for file in ["digits_mlp.tflite", "digits_mlp.input_0.npy", "digits.tflite"] {
            fs::copy(root().join("testdata/models").join(file), path.join(file)).expect("part of the repository");
        }
        let desk = Desk(path);
        desk.check("digits_mlp.tflite -o mlp.mpcb", 0);
        desk
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_qnnc")).args(args).current_dir(&self.0).output().expect("the binary runs")
    }

    /// Runs a command line without quotes, compares its exit code, gives stdout and stderr.
    fn check(&self, line: &str, code: i32) -> (String, String) {
        let out = self.run(&line.split_whitespace().collect::<Vec<_>>());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(code), "qnnc {line}\n{stdout}\n{stderr}");
        (stdout, stderr)
    }

    fn json(&self, line: &str) -> Value {
        let (stdout, _) = self.check(line, 0);
        assert_eq!(stdout.lines().count(), 1, "{line}: one line");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Compares stdout with a recorded file.
    fn recorded(&self, line: &str, file: &str) {
        let (stdout, _) = self.check(line, 0);
        let path = root().join("testdata/cli").join(file);
        if std::env::var_os("QNN_BLESS").is_some() {
            fs::create_dir_all(root().join("testdata/cli")).expect("writable");
            fs::write(&path, &stdout).expect("writable");
        }
        let want = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stdout, want, "qnnc {line} differs from testdata/cli/{file}; QNN_BLESS=1 rewrites it");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn outputs_are_as_recorded() {
    let desk = Desk::new("recorded");
    desk.check("digits.tflite -o digits.mpcb", 0);
    for (line, file) in [
        ("passes", "passes.txt"),
        ("stats mlp.mpcb", "stats-layer.txt"),
        ("stats mlp.mpcb --by op", "stats-op.txt"),
        ("stats mlp.mpcb --by phase", "stats-phase.txt"),
        ("stats mlp.mpcb --by cause", "stats-cause.txt"),
        ("stats mlp.mpcb --by round", "stats-round.txt"),
        ("inspect mlp.mpcb", "inspect.txt"),
        ("inspect mlp.mpcb --leakage", "inspect-leakage.txt"),
        ("estimate mlp.mpcb --net wan", "estimate.txt"),
        ("diff mlp.mpcb digits.mpcb", "diff.txt"),
        ("digits_mlp.tflite --remarks=rounds", "remarks-rounds.txt"),
        ("digits_mlp.tflite --remarks=ranges", "remarks-ranges.txt"),
        ("digits.tflite --remarks=missed", "remarks-missed.txt"),
        ("compare digits_mlp.tflite mlp.mpcb --input digits_mlp.input_0.npy", "compare.txt"),
        ("digits_mlp.tflite --print-ir-after=import", "print-import.txt"),
        ("digits_mlp.tflite --stop-after=plan", "print-plan.txt"),
        ("digits_mlp.tflite --print-ir-after=schedule --filter=1", "print-schedule.txt"),
        ("ops", "ops.txt"),
        ("explain rounds", "explain-rounds.txt"),
        ("explain security", "explain-security.txt"),
    ] {
        desk.recorded(line, file);
    }
}

fn number(v: &Value) -> u64 {
    v.as_u64().unwrap_or_else(|| panic!("{v} is no number"))
}

fn list(v: &Value) -> &Vec<Value> {
    v.as_array().unwrap_or_else(|| panic!("{v} is no list"))
}

#[test]
fn statistics_add_up_in_every_table() {
    let desk = Desk::new("sums");
    let json = desk.json("stats mlp.mpcb --json");
    assert_eq!((&json["schema"], &json["result"]), (&1.into(), &"ok".into()));
    let total: u64 = list(&json["payload_bytes"]).iter().map(number).sum();
    for table in ["layers", "ops", "phases", "causes"] {
        let sum = |key: &str| list(&json[table]).iter().map(|row| number(&row[key])).sum::<u64>();
        assert_eq!(sum("payload_bytes"), total, "{table}");
        assert_eq!(sum("setup_bytes"), list(&json["layers"]).iter().map(|l| number(&l["setup_bytes"])).sum::<u64>());
        for row in list(&json[table]) {
            assert!(row["name"].is_string() && row["rounds"].is_array(), "{row}");
            let by_party: u64 = list(&row["payload_bytes_by_party"]).iter().map(number).sum();
            assert_eq!(by_party, number(&row["payload_bytes"]), "{row}");
        }
    }
    let rounds = list(&json["schedule"]);
    // Messages that need not wait for each other may stand in rounds of their own.
    assert!(rounds.len() as u64 >= number(&json["rounds"]), "every round is listed");
    let mut sum = 0;
    for (i, round) in rounds.iter().enumerate() {
        assert_eq!(number(&round["round"]), i as u64 + 1);
        let links: u64 = list(&round["links"]).iter().flat_map(list).map(number).sum();
        let groups: u64 = list(&round["exchanges"]).iter().map(|e| number(&e["payload_bytes"])).sum();
        assert_eq!(links, groups, "round {i}");
        sum += links;
        for e in list(&round["exchanges"]) {
            assert!((number(&e["layer"]) as usize) < list(&json["layers"]).len() && e["cause"].is_string());
        }
        assert!(list(&round["exchanges"]).iter().any(|e| e["slack"] == 0), "round {i} is on the longest chain");
    }
    assert_eq!(sum, total);
}

#[test]
fn estimates_follow_the_formula() {
    let desk = Desk::new("estimate");
    let json = desk.json("estimate mlp.mpcb --net rtt=40ms,bw=100Mbit --ops-per-second 1e6 --json");
    let seconds = &json["seconds"];
    let part = |name: &str| seconds[name].as_f64().expect("a number");
    assert!((part("latency") - number(&json["rounds"]) as f64 * 0.02).abs() < 1e-9, "{json}");
    assert!((part("inference") - part("latency") - part("transfer") - part("compute")).abs() < 1e-9, "{json}");
    let busiest = list(&json["operations"]).iter().filter_map(Value::as_f64).fold(0.0, f64::max);
    assert!((part("compute") - busiest / 1e6).abs() < 1e-9 && busiest > 0.0, "{json}");
    // No round is faster than its busiest party, and no party sends in two rounds at once.
    let most = list(&json["payload_bytes"]).iter().map(number).max().expect("parties") as f64;
    let all: u64 = list(&json["payload_bytes"]).iter().map(number).sum();
    assert!(part("transfer") >= most * 8e-8 && part("transfer") <= all as f64 * 8e-8, "{json}");
    // Without a number each kind of work has its measured speed, all far above that.
    let measured = desk.json("estimate mlp.mpcb --net rtt=40ms,bw=100Mbit --json");
    assert!(measured["ops_per_second"].is_null(), "{measured}");
    let compute = measured["seconds"]["compute"].as_f64().expect("a number");
    assert!(compute > 1e-6 && compute < part("compute"), "{measured}");
    for wrong in ["rtt=40", "rtt=40ms", "bw=0Gbit,rtt=1ms", "rtt=-1ms,bw=1Gbit", "moon", "x=1", ""] {
        let (stdout, stderr) = desk.check_words(&["estimate", "mlp.mpcb", "--net", wrong], 2);
        assert!(stdout.is_empty() && stderr.starts_with("error: "), "{wrong}: {stderr}");
    }
}

impl Desk {
    fn check_words(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}");
        (String::from_utf8_lossy(&out.stdout).into(), String::from_utf8_lossy(&out.stderr).into())
    }
}

#[test]
fn differences_are_told() {
    let desk = Desk::new("diff");
    assert_eq!(desk.check("diff mlp.mpcb mlp.mpcb", 0).0, "the programs are the same\n");
    let json = desk.json("diff mlp.mpcb mlp.mpcb --json");
    assert_eq!((&json["equal"], list(&json["layers"]).len()), (&true.into(), 0));
    desk.check("digits.tflite -o digits.mpcb", 0);
    let json = desk.json("diff mlp.mpcb digits.mpcb --json");
    assert_eq!(json["equal"], false);
    let [a, b] = ["mlp.mpcb", "digits.mpcb"].map(|f| number(&desk.json(&format!("stats {f} --json"))["rounds"]));
    assert_eq!(json["totals"]["rounds"], serde_json::json!([a, b]));
    assert!(list(&json["layers"]).iter().any(|l| l["first"].is_null() && l["second"].is_object()), "{json}");
    desk.check("diff mlp.mpcb absent.mpcb", 30);
    desk.check("diff mlp.mpcb digits.tflite", 4);
}

#[test]
fn comparisons_find_the_first_difference() {
    let desk = Desk::new("compare");
    let json = desk.json("compare digits_mlp.tflite mlp.mpcb --input digits_mlp.input_0.npy --json");
    assert_eq!(json["result"], "equal");
    // RESHAPE, three FULLY_CONNECTED and SOFTMAX: also where passes folded the result of a layer into the next.
    assert!(list(&json["layers"]).len() == 5 && list(&json["layers"]).iter().all(|l| l["differ"] == 0), "{json}");
    // Another program has no counterpart; other recorded values differ.
    desk.check("digits.tflite -o digits.mpcb", 0);
    let (_, stderr) = desk.check("compare digits_mlp.tflite digits.mpcb --input digits_mlp.input_0.npy", 4);
    assert!(stderr.contains("Q1203"), "{stderr}");
    desk.check("compare digits_mlp.tflite", 30);
    desk.check("compare digits_mlp.tflite --input digits_mlp.input_0.npy --against absent.npz", 30);
}

fn models() -> PathBuf {
    std::env::var_os("QNN_MODELS_DIR").map_or_else(|| root().join("../shared/models"), PathBuf::from)
}

/// The first sample of a recorded model as a file.
fn recorded_input(desk: &Desk, name: &str) -> PathBuf {
    let arrays = compiler::npy::read_npz(models().join(format!("{name}.inputs.npz"))).expect("an archive");
    let x = &arrays["input_0"];
    let ints: Vec<i32> = x.ints().expect("integers").iter().map(|v| *v as i32).collect();
    let input = desk.0.join(format!("{name}.npy"));
    compiler::npy::write_npy(&input, x.element, &x.shape, &ints).expect("writable");
    input
}

#[test]
fn every_layer_is_compared() {
    let desk = Desk::new("every-layer");
    let own = |name: &str| {
        let path = |end: &str| root().join("testdata/models").join(format!("{name}.{end}"));
        (path("tflite"), path("input_0.npy"))
    };
    let mut list_of: Vec<(PathBuf, PathBuf)> = ["digits", "digits_u8"].map(own).into();
    for name in ["digits_cnn", "digits_inception", "digits_lstm", "digits_unet", "mnist_resnet", "resnet8_cifar10"] {
        let model = models().join(format!("{name}.tflite"));
        if model.exists() {
            list_of.push((model, recorded_input(&desk, name)));
        }
    }
    for (model, input) in list_of {
        let path = |p: &Path| p.to_str().expect("UTF-8").to_owned();
        let args = ["compare", &path(&model), "--input", &path(&input), "--json"];
        let (stdout, _) = desk.check_words(&args, 0);
        let json: Value = serde_json::from_str(&stdout).expect("JSON");
        let graph = compiler::tflite::import(&fs::read(&model).expect("readable")).expect("imports");
        let (compared, all) = (list(&json["layers"]).len(), graph.ops.len());
        println!("{}: {compared} of {all} operators", model.display());
        // The first step of the LSTM forgets a state of zeros: what computes how much of it is not in the program.
        let unused = if model.ends_with("digits_lstm.tflite") { 1 } else { 0 };
        assert_eq!(compared, all - unused, "{}", model.display());
    }
}

#[test]
fn recorded_intermediates_equal_the_oracle() {
    let dir = models();
    let desk = Desk::new("recordings");
    for name in ["digits_cnn", "mnist_resnet"] {
        let (model, recorded) = (dir.join(format!("{name}.tflite")), dir.join(format!("{name}.intermediate.npz")));
        if !recorded.exists() {
            println!("skipped: {} not found", recorded.display());
            continue;
        }
        let input = recorded_input(&desk, name);
        let path = |p: &Path| p.to_str().expect("UTF-8").to_owned();
        let args = ["compare", &path(&model), "--input", &path(&input), "--against", &path(&recorded), "--json"];
        let (stdout, _) = desk.check_words(&args, 0);
        let json: Value = serde_json::from_str(&stdout).expect("JSON");
        println!("{name}: {} layers equal", list(&json["layers"]).len());
        assert!(list(&json["layers"]).len() >= 4, "{json}");
    }
}

#[test]
fn passes_can_be_watched() {
    let desk = Desk::new("watch");
    let names: Vec<String> = compiler::pipeline::PASSES.iter().map(|p| p.name.to_owned()).collect();
    let (stdout, _) = desk.check("digits_mlp.tflite --print-ir-after=all", 0);
    for (i, name) in names.iter().enumerate() {
        assert!(stdout.contains(&format!("; after {name} (pass {} of {})\n", i + 1, names.len())), "{name}");
    }
    let (changed, _) = desk.check("digits_mlp.tflite --print-ir-changed", 0);
    assert!(changed.contains("; after encode") && changed.contains(": nothing changed\n"), "encode changes nothing");
    assert!(changed.len() < stdout.len());
    let (_, stderr) = desk.check("digits_mlp.tflite --time-passes", 0);
    names.iter().for_each(|n| assert!(stderr.lines().any(|l| l.starts_with(n) && l.ends_with(" ms")), "{n}: {stderr}"));

    desk.check("digits_mlp.tflite --dump-ir-dir dumps -o dumped.mpcb", 0);
    let mut files: Vec<String> = fs::read_dir(desk.0.join("dumps"))
        .expect("written")
        .map(|e| e.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    files.sort();
    let want: Vec<String> = names.iter().enumerate().map(|(i, n)| format!("{:02}-{n}.qir", i + 1)).collect();
    assert_eq!(files, want);
    // What is dumped last assembles to what was compiled.
    let last = format!("as dumps/{} -o again.mpcb", want[want.len() - 1]);
    desk.check(&last, 0);
    assert_eq!(
        fs::read(desk.0.join("again.mpcb")).expect("written"),
        fs::read(desk.0.join("mlp.mpcb")).expect("written")
    );

    let (part, _) = desk.check("digits_mlp.tflite --print-ir-after=encode --filter=output", 0);
    assert!(part.contains("open v") && !part.contains("conv2d_ss") && part.contains("  round "), "{part}");
    let (text, _) = desk.check("digits_mlp.tflite --stop-after=lower", 0);
    assert!(text.contains("conv2d_ss") && !text.contains("  round ") && text.starts_with("; after lower"), "{text}");
    desk.check("digits_mlp.tflite --stop-after=lower -o x.mpcb", 2);
    desk.check("digits_mlp.tflite --print-ir-after=nothing", 2);
    desk.check("digits_mlp.tflite --print-ir-after=all --json -o x.mpcb", 2);
    assert!(!desk.0.join("x.mpcb").exists());
}

/// Control characters, an escape sequence, quotes, a right-to-left override.
const HOSTILE: &str = "a\u{1b}[31m\u{7}\"'`\\\n\r\u{202e}\u{9b}b";

fn assert_harmless(what: &str, text: &str) {
    let bad = text.chars().find(|c| !matches!(c, '\n' | ' ' | '…') && !c.is_ascii_graphic());
    assert_eq!(bad, None, "{what}: {text:?}");
    assert!(!text.lines().any(|l| l.starts_with('\r')), "{what}");
}

#[test]
fn names_from_a_program_are_escaped_everywhere() {
    let desk = Desk::new("hostile");
    let mut p = ir::bytecode::decode(&fs::read(desk.0.join("mlp.mpcb")).expect("written")).expect("a program");
    p.layers.iter_mut().for_each(|l| l.name = HOSTILE.into());
    p.interface.inputs.iter_mut().chain(&mut p.interface.outputs).for_each(|port| port.name = HOSTILE.into());
    p.kernels = HOSTILE.into();
    fs::write(desk.0.join("bad.mpcb"), ir::bytecode::encode(&p)).expect("writable");
    for line in [
        "inspect bad.mpcb",
        "inspect bad.mpcb --leakage",
        "inspect bad.mpcb --json",
        "stats bad.mpcb",
        "stats bad.mpcb --by round",
        "stats bad.mpcb --json",
        "estimate bad.mpcb",
        "estimate bad.mpcb --json",
        "diff bad.mpcb mlp.mpcb",
        "diff bad.mpcb mlp.mpcb --json",
        "dis bad.mpcb",
    ] {
        let (stdout, stderr) = desk.check(line, 0);
        assert_harmless(line, &stdout);
        assert_harmless(line, &stderr);
        assert!(!line.ends_with("--json") || stdout.lines().count() == 1, "{line}: one line");
    }
    // The name itself is still there for machines.
    assert_eq!(desk.json("inspect bad.mpcb --json")["inputs"][0]["name"], HOSTILE);
    p.protocol = HOSTILE.into();
    fs::write(desk.0.join("odd.mpcb"), ir::bytecode::encode(&p)).expect("writable");
    for (line, code) in [("inspect odd.mpcb", 0), ("inspect odd.mpcb --json", 0), ("stats odd.mpcb", 4)] {
        let (stdout, stderr) = desk.check(line, code);
        assert_harmless(line, &stdout);
        assert_harmless(line, &stderr);
    }
}

#[test]
fn names_from_a_model_are_escaped_everywhere() {
    let desk = Desk::new("model-names");
    let model = fs::read(desk.0.join("digits_mlp.tflite")).expect("copied");
    let graph = compiler::tflite::import(&model).expect("reads");
    let name = &graph.tensor(graph.outputs[0]).name;
    let bad: String = HOSTILE.chars().filter(char::is_ascii).collect();
    // A name of the same length in bytes keeps the file whole.
    let bad: Vec<u8> = bad.bytes().cycle().take(name.len()).collect();
    let mut bytes = model.clone();
    let places: Vec<usize> =
        (0..bytes.len() - bad.len()).filter(|i| &bytes[*i..*i + bad.len()] == name.as_bytes()).collect();
    assert!(!places.is_empty(), "`{name}` stands in the file");
    places.iter().for_each(|i| bytes[*i..*i + bad.len()].copy_from_slice(&bad));
    fs::write(desk.0.join("bad.tflite"), &bytes).expect("writable");
    for line in [
        "check bad.tflite",
        "check bad.tflite --json",
        "bad.tflite -o bad.mpcb",
        "bad.tflite --remarks=rounds,ranges,missed",
        "bad.tflite --print-ir-after=all",
        "simulate bad.tflite --input digits_mlp.input_0.npy",
        "simulate bad.tflite --input digits_mlp.input_0.npy --json",
        "compare bad.tflite --input digits_mlp.input_0.npy",
        "compare bad.tflite --input digits_mlp.input_0.npy --json",
    ] {
        let (stdout, stderr) = desk.check(line, 0);
        assert_harmless(line, &stdout);
        assert_harmless(line, &stderr);
    }
    let (_, stderr) = desk.check("simulate bad.tflite", 30);
    assert_harmless("no input", &stderr);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let desk = Desk::new("leaving");
    for line in ["stats mlp.mpcb --json", "passes", "digits_mlp.tflite --print-ir-after=all", "inspect mlp.mpcb", "ops"]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_qnnc"))
            .args(line.split(' '))
            .current_dir(&desk.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let out = child.wait_with_output().expect("ends");
        assert_eq!(out.status.code(), Some(0), "{line}");
        assert!(!String::from_utf8_lossy(&out.stderr).contains("panic"), "{line}");
    }
}
