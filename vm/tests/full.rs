//! A disk that is full, a limit of file sizes, a folder that may not be changed: exit code 5, what stood there before still
//! stands there, and nothing half-written is left.
mod common;
use common::hosts::Hosts;
use common::launch::{Dir, error_text, local, qnnvm};
use common::serve::owners;
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

/// Neither a key without its certificate nor half a key stays in the way of the next try.
#[test]
fn keys_at_every_size() {
    let dir = Dir::new();
    let home = dir.file("home");
    let mut keygen = qnnvm();
    keygen.args(["keygen", "--name", "clinic", "-o"]).arg(&home);
    for bytes in (0..).step_by(20) {
        let Some(out) = limited(&keygen, bytes) else { return };
        if out.status.success() {
            assert!(bytes > 200, "{bytes} bytes are no key and certificate");
            break;
        }
        assert_eq!(out.status.code(), Some(5), "{bytes} bytes: {}", error_text(&out));
        assert!(names(&home).is_empty(), "{bytes} bytes: {:?}", names(&home));
    }
    assert_eq!(names(&home), ["party.crt", "party.key"]);
    let out = keygen.output().expect("runs");
    assert!(out.status.code() == Some(6) && error_text(&out).contains("there is a key already"));
}

#[test]
fn who_the_parties_are_at_every_size() {
    let hosts = Hosts::new("digits_mlp");
    let path = hosts.home(0).join("net.toml");
    let before = fs::read(&path).expect("net.toml");
    let mut add = qnnvm();
    add.args(["net", "add-peer"]).arg(hosts.home(1).join("party.crt")).args(["example.org:7700", "--party", "1"]);
    add.args(["--replace", "--dir"]).arg(hosts.home(0));
    let files = names(&hosts.home(0));
    for bytes in (0..before.len() - 80).step_by(25) {
        let Some(out) = limited(&add, bytes) else { return };
        assert_eq!(out.status.code(), Some(5), "{bytes} bytes: {}", error_text(&out));
        assert_eq!(fs::read(&path).expect("still there"), before, "{bytes} bytes");
        assert_eq!(names(&hosts.home(0)), files, "{bytes} bytes");
    }
}

#[test]
fn shares_of_weights_at_every_size() {
    let dir = Dir::new();
    dir.compile_for("m", &testdata("digits_mlp.tflite"), Options::default(), owners());
    let first = alone(&dir, "m.0.mpcs", b"before");
    let mut deploy = qnnvm();
    deploy.arg("deploy").arg(dir.file("m.mpcb")).arg("-w").arg(dir.file("m.mpcw")).arg("-o").arg(dir.file("out"));
    assert!(deploy.output().expect("runs").status.success());
    // Parties 0 and 1 get a seed and a part, party 2 gets seeds.
    let sizes = names(&dir.file("out")).into_iter().map(|f| fs::metadata(dir.file("out").join(f)).expect("made").len());
    let largest = sizes.max().expect("shares") as usize;
    for bytes in (0..largest).step_by(largest / 12).chain([largest - 1]) {
        alone(&dir, "m.0.mpcs", b"before");
        let Some(out) = limited(&deploy, bytes) else { return };
        assert_eq!(out.status.code(), Some(5), "{bytes} of {largest} bytes: {}", error_text(&out));
        assert_eq!(fs::read(&first).expect("still there"), b"before", "{bytes} bytes");
        assert_eq!(names(&dir.file("out")), ["m.0.mpcs"], "{bytes} bytes");
    }
}

/// A session that cannot be noted is not begun, and half a line does not hide the next one.
#[test]
fn used_sessions_at_every_size() {
    let mut hosts = Hosts::new("digits_mlp");
    let store = hosts.home(2).join("sessions");
    let run = |hosts: &mut Hosts, bytes: usize| -> Option<i32> {
        let command = |p: usize| {
            let mut command = hosts.command(p);
            command.args(["--session", "monday", "--connect-timeout", "10"]);
            command
        };
        let [first, second, last] = [0, 1, 2].map(command);
        hosts.start(0, first);
        hosts.start(1, second);
        let out = limited(&last, bytes)?;
        let others = hosts.finish(&[0, 1], std::time::Duration::from_secs(20));
        assert!(others.iter().all(|o| o.status.success() == out.status.success()), "{}", error_text(&out));
        // What they have noted stays, and would stop them.
        (0..2).for_each(|p| fs::remove_file(hosts.home(p).join("sessions")).expect("sessions"));
        Some(out.status.code().expect("an end"))
    };
    for bytes in [0, 1, 20, 32, 39] {
        let Some(code) = run(&mut hosts, bytes) else { return };
        assert_eq!(code, 5, "{bytes} bytes");
        assert_eq!(fs::read(&store).ok().as_deref(), Some(&[][..]), "{bytes} bytes");
    }
    // 32 digits, a space, a name, the end of the line.
    assert_eq!(run(&mut hosts, 40), Some(0));
    assert_eq!(fs::read_to_string(&store).map(|text| text.lines().count()).ok(), Some(1));
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
