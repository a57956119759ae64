//! What goes in and out: inputs of several owners, a receiver of the user's choice, float32 at the edges.
mod common;

use common::launch::{Dir, Three, error_text, local, qnnvm};
use common::{check_all, conformance, ints};
use compiler::npy::{Array, Values, format_npy, format_npy_f32, read_npy, read_npz, write_npy};
use compiler::pipeline::{Compiled, Options, Owners, Route, compile_for};
use ir::Party;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A recorded model of two inputs.
const MODEL: &str = "add_int8_broadcast_channel";

fn owners(inputs: &[(&str, u8)], receiver: u8) -> Owners {
    let inputs = inputs.iter().map(|(name, party)| ((*name).to_owned(), Party(*party))).collect();
    Owners { inputs, receiver: Party(receiver), ..Owners::default() }
}

struct Recorded {
    model: PathBuf,
    arrays: BTreeMap<String, Array>,
}

fn recorded(cases: &Path) -> Recorded {
    let arrays = read_npz(cases.join(format!("{MODEL}.npz"))).expect("samples");
    Recorded { model: cases.join(format!("{MODEL}.tflite")), arrays }
}

impl Recorded {
    fn get(&self, name: &str) -> Vec<i64> {
        ints(&self.arrays[name])
    }

    fn write(&self, dir: &Dir, name: &str) -> PathBuf {
        let (x, path) = (&self.arrays[name], dir.file(&format!("{name}.npy")));
        let data: Vec<i32> = ints(x).iter().map(|v| i32::try_from(*v).expect("small")).collect();
        write_npy(&path, x.element, &x.shape, &data).expect("npy");
        path
    }
}

#[test]
fn owners_and_receiver_are_those_asked_for() {
    let Some(cases) = conformance() else { return };
    let r = recorded(&cases);
    let (dir, model) = (Dir::new(), std::fs::read(&r.model).expect("model"));
    let owned = |c: &Compiled| c.program.interface.inputs.iter().map(|p| p.party.0).collect::<Vec<_>>();
    let c = dir.compile("default", &r.model);
    assert_eq!((owned(&c), c.program.interface.outputs[0].party), (vec![1, 1], Party(1)));
    let second = c.program.interface.inputs[1].name.clone();
    for (named, receiver, want) in
        [(vec![(second.as_str(), 2)], 0, vec![1, 2]), (vec![("0", 2), (second.as_str(), 0)], 2, vec![2, 0])]
    {
        for route in [Route::Dealer, Route::Boolean] {
            let options = Options { route, ..Options::default() };
            let c = compile_for(&model, options, owners(&named, receiver)).expect("compiles");
            assert_eq!(owned(&c), want);
            assert_eq!(c.program.interface.outputs[0].party, Party(receiver));
            let sample = |i: usize| {
                let inputs = vec![r.get(&format!("input_{i}")), r.get(&format!("input_{i}_1"))];
                (inputs, vec![r.get(&format!("output_{i}"))])
            };
            check_all(&c, &[sample(0), sample(1)], MODEL);
        }
    }
    for (named, receiver) in
        [(vec![("nothing", 2)], 1), (vec![("0", 3)], 1), (vec![("0", 1), ("0", 2)], 1), (vec![], 3)]
    {
        let e = compile_for(&model, Options::default(), owners(&named, receiver)).err().expect("refused");
        assert_eq!(e.exit_code(), 2, "{e}");
    }
}

#[test]
fn the_launcher_gives_each_owner_its_input_alone() {
    let Some(cases) = conformance() else { return };
    let (r, dir) = (recorded(&cases), Dir::new());
    let second = dir.compile("default", &r.model).program.interface.inputs[1].name.clone();
    dir.compile_for("two", &r.model, Options::default(), owners(&[(&second, 2)], 0));
    let (a, b, output) = (r.write(&dir, "input_0"), r.write(&dir, "input_0_1"), dir.file("y.npy"));
    let (c, d) = (r.write(&dir, "input_1"), r.write(&dir, "input_1_1"));
    let run = |files: &[String]| {
        let mut command = qnnvm();
        command.arg("local").arg(dir.file("two.mpcb")).arg("-w").arg(dir.file("two.mpcw")).arg("--output").arg(&output);
        command.args(files.iter().flat_map(|f| ["--input", f]));
        command.output().expect("the launcher runs")
    };
    let text = |p: &PathBuf| p.to_string_lossy().into_owned();
    let named = format!("{second}={}", text(&b));
    for files in [vec![text(&a), text(&b)], vec![named.clone(), text(&a)]] {
        let out = run(&files);
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
        assert_eq!(ints(&read_npy(&output).expect("output")), r.get("output_0"));
        assert!(String::from_utf8_lossy(&out.stdout).contains("to party 0"), "{}", error_text(&out));
    }
    let out = run(&[text(&a), text(&b), text(&c), text(&d)]);
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    assert_eq!(ints(&read_npy(&output).expect("output")), [r.get("output_0"), r.get("output_1")].concat());
    for (files, what) in [(vec![text(&a)], "owns the input"), (vec![text(&a), text(&b), text(&c)], "samples")] {
        let out = run(&files);
        assert_eq!(out.status.code(), Some(2), "{}", error_text(&out));
        assert!(error_text(&out).contains(what), "{}", error_text(&out));
    }
}

#[test]
fn each_party_started_alone_reads_its_own_input() {
    let Some(cases) = conformance() else { return };
    let (r, dir) = (recorded(&cases), Dir::new());
    let second = dir.compile("default", &r.model).program.interface.inputs[1].name.clone();
    dir.compile_for("two", &r.model, Options::default(), owners(&[(&second, 2)], 2));
    let files = [r.write(&dir, "input_0"), r.write(&dir, "input_0_1")];
    let mut three = Three::new(dir);
    let command = |party: u8, three: &Three| {
        let mut command = qnnvm();
        command.args(["--party", &party.to_string()]).arg(three.dir.file("two.mpcb"));
        command.arg("--net").arg(three.dir.file("net.toml"));
        command
    };
    // What belongs to another is refused before anyone is contacted.
    let mut wrong = command(1, &three);
    let foreign = format!("{second}={}", files[1].display());
    let out = wrong.arg("--input").arg(&files[0]).args(["--input", &foreign]).output().expect("a party runs");
    assert_eq!(out.status.code(), Some(2), "{}", error_text(&out));
    let mut all = [command(0, &three), command(1, &three), command(2, &three)];
    all[0].arg("-w").arg(three.dir.file("two.mpcw"));
    all[1].arg("--input").arg(&files[0]);
    all[2].arg("--input").arg(&files[1]).arg("--output").arg(three.dir.file("y.npy"));
    all.into_iter().for_each(|c| three.start(c));
    for out in three.finish(Duration::from_secs(60)) {
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    }
    assert_eq!(ints(&read_npy(three.dir.file("y.npy")).expect("output")), r.get("output_0"));
}

/// A model that quantizes float32 itself, and one that dequantizes: the files hold floats, the parties see integers.
#[test]
fn floats_are_quantized_by_their_owner_and_made_by_the_receiver() {
    let Some(cases) = conformance() else { return };
    for name in
        ["quantize_float32_to_int8_1", "quantize_float32_to_uint8_0", "graph_dequantized_output", "dequantize_int16_1"]
    {
        let dir = Dir::new();
        let c = dir.compile("model", &cases.join(format!("{name}.tflite")));
        let arrays = read_npz(cases.join(format!("{name}.npz"))).expect("samples");
        for i in 0..3 {
            let (given, want) = (&arrays[&format!("input_{i}")], &arrays[&format!("output_{i}")]);
            let (input, output) = (dir.file("x.npy"), dir.file("y.npy"));
            std::fs::write(&input, npy_bytes(given)).expect("npy");
            let out = local(&dir, "model", &input, &output, &[]);
            assert_eq!(out.status.code(), Some(0), "{name}: {}", error_text(&out));
            assert_eq!(std::fs::read(&output).expect("output"), npy_bytes(want), "{name}, sample {i}");
        }
        let port = &c.program.interface.inputs[0];
        if port.float {
            // Stored integers are not what the model takes.
            let shape: Vec<usize> = port.shape.iter().map(|d| *d as usize).collect();
            let zeros = vec![0; shape.iter().product()];
            write_npy(dir.file("x.npy"), compiler::npy::Element::I8, &shape, &zeros).expect("npy");
            let out = local(&dir, "model", &dir.file("x.npy"), &dir.file("y.npy"), &[]);
            assert_eq!(out.status.code(), Some(30), "{name}: {}", error_text(&out));
            assert!(error_text(&out).contains("the model takes floats"), "{}", error_text(&out));
        }
    }
}

fn npy_bytes(a: &Array) -> Vec<u8> {
    match &a.values {
        Values::Int(data) => {
            let data: Vec<i32> = data.iter().map(|v| i32::try_from(*v).expect("32 bits")).collect();
            format_npy(a.element, &a.shape, &data).expect("npy")
        }
        Values::Float(data) => {
            format_npy_f32(&a.shape, &data.iter().map(|x| *x as f32).collect::<Vec<_>>()).expect("npy")
        }
    }
}
