//! A disk that is full, a limit of file sizes, a folder that may not be changed: exit code 5, what stood there before still
//! stands there, and nothing half-written is left.
mod common;
use common::launch::{Dir, error_text, local, qnnvm};
use common::testdata;
use compiler::pipeline::{Options, Owners, Protocol};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs `command` where no file may grow beyond `bytes`; `None` where the system has no tool for it.
fn limited(command: &Command, bytes: usize) -> Option<Output> {
    let text = format!("trap '' XFSZ; exec prlimit --fsize={bytes} \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(text).arg(command.get_program()).args(command.get_args());
    let out = shell.stdin(Stdio::null()).output().expect("sh");
    if out.status.code() == Some(127) {
        println!("skipped: no prlimit");
        return None;
    }
    Some(out)
}

fn names(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).expect("folder");
    let mut names: Vec<String> = list.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file in an otherwise empty folder.
fn alone(dir: &Dir, name: &str, content: &[u8]) -> PathBuf {
    let folder = dir.file("out");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join(name), content).expect("file");
    folder.join(name)
}

#[test]
fn outputs_and_preprocessing_at_every_size() {
    let dir = Dir::new();
    let options = Options { protocol: Protocol::Dealer2, ..Options::default() };
    dir.compile_for("mlp", &testdata("digits_mlp.tflite"), options, Owners::default());
    let deal = |prefix: &Path| {
        let mut command = qnnvm();
        command.arg("deal").arg(dir.file("mlp.mpcb")).arg("-o").arg(prefix);
        command
    };
    let whole = alone(&dir, "p.0.mpcd", b"before");
    let prefix = whole.with_file_name("p");
    assert!(deal(&prefix).output().expect("runs").status.success());
    let size = fs::metadata(&whole).expect("made").len() as usize;
    // Every byte of the header, every block after it, the end.
    let sizes = (0..=110).step_by(5).chain((110..size).step_by(size / 24)).chain([size - 33, size - 32, size - 1]);
    for bytes in sizes {
        let file = alone(&dir, "p.0.mpcd", b"before");
        let Some(out) = limited(&deal(&prefix), bytes) else { return };
        assert_eq!(out.status.code(), Some(5), "{bytes} bytes: {}", error_text(&out));
        assert!(error_text(&out).contains("Q2005") && error_text(&out).contains("p."), "{}", error_text(&out));
        assert_eq!(fs::read(&file).expect("still there"), b"before", "{bytes} bytes");
        assert_eq!(names(&dir.file("out")), ["p.0.mpcd"], "{bytes} bytes");
    }
    alone(&dir, "p.0.mpcd", b"before");
    let out = limited(&deal(&prefix), size).expect("as before");
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
}

/// The launcher's own files are written first, so what is limited here is everything that a run writes.
#[test]
fn a_run_at_every_size() {
    let dir = Dir::new();
    dir.compile("mlp", &testdata("digits_mlp.tflite"));
    let largest = ["mlp.mpcb", "mlp.mpcw"].map(|f| fs::metadata(dir.file(f)).expect("compiled").len() as usize);
    let largest = *largest.iter().max().expect("two");
    let run = |output: &Path| {
        let mut command = qnnvm();
        command.arg("local").arg(dir.file("mlp.mpcb")).arg("-w").arg(dir.file("mlp.mpcw"));
        command.arg("--input").arg(testdata("digits_mlp.input_0.npy")).arg("--output").arg(output);
        command
    };
    for bytes in (0..largest).step_by(largest / 12) {
        let file = alone(&dir, "y.npy", b"before");
        let Some(out) = limited(&run(&file), bytes) else { return };
        assert_eq!(out.status.code(), Some(5), "{bytes} of {largest} bytes: {}", error_text(&out));
        assert_eq!(fs::read(&file).expect("still there"), b"before");
        assert_eq!(names(&dir.file("out")), ["y.npy"]);
    }
    let file = alone(&dir, "y.npy", b"before");
    // The system asks whether there is more to copy, which takes room for one byte.
    let out = limited(&run(&file), largest + 1).expect("as before");
    assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    assert_eq!(fs::read(&file).ok(), fs::read(testdata("digits_mlp.output_0.npy")).ok());
}

#[test]
fn standard_output_that_is_full() {
    let dir = Dir::new();
    dir.compile("mlp", &testdata("digits_mlp.tflite"));
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: no /dev/full");
        return;
    };
    let program = dir.file("mlp.mpcb").display().to_string();
    let weights = dir.file("mlp.mpcw").display().to_string();
    let input = testdata("digits_mlp.input_0.npy").display().to_string();
    let run = ["local", &program, "-w", &weights, "--input", &input];
    let commands = [
        &["verify", &program][..],
        &["protocols"],
        &["man"],
        &["completions", "bash"],
        &run,
        &[&run[..], &["--json"]].concat(),
        &["bench", &program, "-w", &weights, "--runs", "1", "--json"],
    ];
    for args in commands {
        let out = qnnvm().args(args).stdout(full.try_clone().expect("file")).output().expect("runs");
        assert_eq!(out.status.code(), Some(5), "{args:?}: {}", error_text(&out));
        assert!(error_text(&out).contains("standard output"), "{args:?}: {}", error_text(&out));
        assert!(!error_text(&out).contains("panicked"), "{args:?}: {}", error_text(&out));
    }
}

/// A folder in which nobody makes files, the superuser neither.
#[test]
fn a_folder_that_may_not_be_changed() {
    let dir = Dir::new();
    dir.compile("mlp", &testdata("digits_mlp.tflite"));
    let target = Path::new("/sys/qnnvm-test.npy");
    if fs::File::create(target).is_ok() || !Path::new("/sys").is_dir() {
        println!("skipped: /sys is not as on Linux");
        return;
    }
    let out = local(&dir, "mlp", &testdata("digits_mlp.input_0.npy"), target, &[]);
    assert_eq!(out.status.code(), Some(5), "{}", error_text(&out));
    // A folder that is not there is a wrong setting, found before anybody computes.
    let out = local(&dir, "mlp", &testdata("digits_mlp.input_0.npy"), &dir.file("none/y.npy"), &[]);
    assert_eq!(out.status.code(), Some(6), "{}", error_text(&out));
}
