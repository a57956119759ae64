//! Cells: groups of one server per party that have nothing to do with each other, from one set of files.
mod common;

use common::launch::{Dir, error_text, qnnvm};
use common::ports::Block;
use common::serve::owners;
use common::testdata;
use compiler::pipeline::Options;
use std::fs;
use std::process::{Child, Stdio};

const CELLS: u32 = 3;

struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn three_cells_of_three_parties() {
    let dir = Dir::new();
    dir.compile_for("digits_mlp", &testdata("digits_mlp.tflite"), Options::default(), owners());
    let program = dir.file("digits_mlp.mpcb");
    let out = qnnvm()
        .arg("deploy")
        .arg(&program)
        .arg("-w")
        .arg(dir.file("digits_mlp.mpcw"))
        .arg("-o")
        .arg(dir.file(""))
        .output();
    assert!(out.is_ok_and(|o| o.status.success()));
    // The last digits of a port are the cell and what it is for.
    let block = Block::claim();
    let prefix = block.first / 100;
    let entry = |i: u32| {
        let at = |k: u32| format!("127.0.0.1:{prefix}{{cell}}{k}");
        format!("[[party]]\nindex = {i}\naddress = \"{}\"\nclient = \"{}\"\n", at(i), at(3 + i))
    };
    fs::write(dir.file("net.toml"), (0..3).map(entry).collect::<String>()).expect("net.toml");

    let mut running = Running(Vec::new());
    for cell in 0..CELLS {
        for party in 0..3 {
            let mut command = qnnvm();
            command.args(["serve", "--party", &party.to_string(), "--net"]).arg(dir.file("net.toml"));
            command.arg("--weights-share").arg(dir.file(&format!("digits_mlp.{party}.mpcs"))).arg(&program);
            // As a pod is told, by the index of a job or by its name.
            match party {
                0 => command.arg("--cell-from-env").env("JOB_COMPLETION_INDEX", cell.to_string()),
                1 => command
                    .arg("--cell-from-env")
                    .env_remove("JOB_COMPLETION_INDEX")
                    .env("HOSTNAME", format!("qnn-{cell}")),
                _ => command.args(["--cell", &cell.to_string()]),
            };
            let log = fs::File::create(dir.file(&format!("log.{cell}.{party}"))).expect("log");
            running.0.push(command.stdout(Stdio::null()).stderr(log).spawn().expect("a server"));
        }
    }
    for cell in (0..CELLS).rev() {
        let i = cell as usize % 4;
        let output = dir.file(&format!("y{cell}.npy"));
        let mut command = qnnvm();
        command.arg("query").arg(&program).arg("--net").arg(dir.file("net.toml")).args(["--cell", &cell.to_string()]);
        command.arg("--input").arg(testdata(&format!("digits_mlp.input_{i}.npy"))).arg("--output").arg(&output);
        let out = command.args(["--retries", "100"]).output().expect("qnnvm");
        assert_eq!(out.status.code(), Some(0), "cell {cell}: {}", error_text(&out));
        assert_eq!(fs::read(output).ok(), fs::read(testdata(&format!("digits_mlp.output_{i}.npy"))).ok());
    }
    // A cell that ends is missed by nobody else.
    running.0[0].kill().expect("kill");
    let output = dir.file("again.npy");
    let mut command = qnnvm();
    command.arg("query").arg(&program).arg("--net").arg(dir.file("net.toml")).args(["--cell", "1"]);
    command.arg("--input").arg(testdata("digits_mlp.input_1.npy")).arg("--output").arg(&output);
    assert_eq!(command.output().expect("qnnvm").status.code(), Some(0));
    // Without a number, or with one where addresses have no place for it, nobody is contacted.
    for (more, net, text) in
        [(vec![], "net.toml", "--cell N"), (vec!["--cell", "1"], "fixed.toml", "same for all cells")]
    {
        fs::write(
            dir.file("fixed.toml"),
            fs::read_to_string(dir.file("net.toml")).expect("net").replace("{cell}", "0"),
        )
        .expect("fixed.toml");
        let mut command = qnnvm();
        command.args(["serve", "--party", "0", "--net"]).arg(dir.file(net)).args(more).arg(&program);
        let out = command.arg("--weights-share").arg(dir.file("digits_mlp.0.mpcs")).output().expect("qnnvm");
        assert_eq!(out.status.code(), Some(6), "{}", error_text(&out));
        assert!(error_text(&out).contains(text), "{}", error_text(&out));
    }
}

#[test]
fn a_manifest_is_shared_out_among_cells() {
    let dir = Dir::new();
    dir.compile("digits_mlp", &testdata("digits_mlp.tflite"));
    let block = Block::claim();
    let prefix = block.first / 100;
    let entry = |i: u32| format!("[[party]]\nindex = {i}\naddress = \"127.0.0.1:{prefix}{{cell}}{i}\"\n");
    fs::write(dir.file("net.toml"), (0..3).map(entry).collect::<String>()).expect("net.toml");
    let mut lines = String::new();
    for i in 0..4 {
        let file = dir.file(&format!("sample-{i}.npy"));
        fs::copy(testdata(&format!("digits_mlp.input_{i}.npy")), &file).expect("input");
        lines += &format!("{{\"id\":\"sample-{i}\",\"bytes\":{}}}\n", fs::metadata(&file).expect("input").len());
    }
    fs::write(dir.file("manifest.jsonl"), &lines).expect("manifest");
    fs::create_dir(dir.file("out")).expect("directory");
    let party = |cell: u32, party: usize, manifest: &str| {
        let mut command = qnnvm();
        command
            .args(["--party", &party.to_string()])
            .arg(dir.file("digits_mlp.mpcb"))
            .arg("--net")
            .arg(dir.file("net.toml"));
        command
            .args(["--cell-from-env", "--cells", "3", "--batch", "2", "--timeout", "30", "--manifest"])
            .arg(dir.file(manifest));
        command.env("JOB_COMPLETION_INDEX", cell.to_string());
        match party {
            0 => command.arg("-w").arg(dir.file("digits_mlp.mpcw")),
            1 => command.arg("--input-dir").arg(dir.file("")).arg("--output-dir").arg(dir.file("out")),
            _ => &mut command,
        };
        command
    };
    // Two, two, and nothing left for the last, who need not wait for anybody.
    assert_eq!(party(2, 1, "manifest.jsonl").status().expect("qnnvm").code(), Some(0));
    let mut running = Running(Vec::new());
    for cell in [1, 0] {
        for p in 0..3 {
            running.0.push(party(cell, p, "manifest.jsonl").spawn().expect("a party"));
        }
    }
    for child in running.0.drain(..) {
        let out = child.wait_with_output().expect("a party");
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    }
    for i in 0..4 {
        let got = fs::read(dir.file(&format!("out/sample-{i}.npy"))).expect("output");
        assert_eq!(got, fs::read(testdata(&format!("digits_mlp.output_{i}.npy"))).expect("recorded"));
    }
    // Another manifest is a disagreement, another length an input that is refused at its owner before anybody is contacted.
    fs::write(dir.file("other.jsonl"), lines.replace("sample-3", "sample-9")).expect("manifest");
    for p in 0..3 {
        running.0.push(party(0, p, if p == 2 { "other.jsonl" } else { "manifest.jsonl" }).spawn().expect("a party"));
    }
    for child in running.0.drain(..) {
        let out = child.wait_with_output().expect("a party");
        assert_eq!(out.status.code(), Some(13), "{}", error_text(&out));
        assert!(error_text(&out).contains("`manifest`"), "{}", error_text(&out));
    }
    fs::write(dir.file("sample-0.npy"), b"short").expect("input");
    assert_eq!(party(0, 1, "manifest.jsonl").status().expect("qnnvm").code(), Some(30));
}
