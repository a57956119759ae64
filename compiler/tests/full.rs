//! `qnnc` on a disk that is full: exit code 5, what stood there before still stands there, nothing half-written is left.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/digits_mlp.tflite")
}

/// Runs `qnnc` where no file may grow beyond `bytes`; `None` where the system has no tool for it.
fn limited(args: &[&str], bytes: usize) -> Option<Output> {
    let text = format!("trap '' XFSZ; exec prlimit --fsize={bytes} \"$0\" \"$@\"");
    let out = Command::new("sh").arg("-c").arg(text).arg(env!("CARGO_BIN_EXE_qnnc")).args(args).output().expect("sh");
    if out.status.code() == Some(127) {
        println!("skipped: no prlimit");
        return None;
    }
    Some(out)
}

struct Dir(PathBuf);

impl Dir {
    /// A folder with these files, and nothing else.
    fn with(files: &[&str]) -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qnnc-full-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("folder");
        files.iter().for_each(|f| fs::write(path.join(f), b"before").expect("file"));
        Dir(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn names(&self) -> Vec<String> {
        let list = fs::read_dir(&self.0).expect("folder");
        let mut names: Vec<String> =
            list.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes two or more files under every limit from nothing to the largest of them.
fn at_every_size(args: &dyn Fn(&Dir) -> Vec<String>, files: &[&str]) {
    let made = Dir::with(files);
    let run = |dir: &Dir, bytes| {
        let args = args(dir);
        limited(&args.iter().map(String::as_str).collect::<Vec<_>>(), bytes)
    };
    let Some(out) = run(&made, 1 << 30) else { return };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let sizes: Vec<usize> = files.iter().map(|f| fs::metadata(made.path(f)).expect("made").len() as usize).collect();
    drop(made);
    let largest = *sizes.iter().max().expect("files");
    let steps = (0..largest).step_by((largest / 16).max(1));
    for bytes in steps.chain(sizes.iter().map(|s| s - 1)).chain([1, 2, 3]).filter(|b| *b < largest) {
        let dir = Dir::with(files);
        let out = run(&dir, bytes).expect("as before");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(5), "{bytes} of {sizes:?} bytes: {said}");
        assert!(said.contains("Q1201"), "{said}");
        assert_eq!(dir.names(), files, "{bytes} of {sizes:?} bytes");
        for f in files {
            assert_eq!(fs::read(dir.path(f)).expect("there"), b"before", "{f}, {bytes} of {sizes:?} bytes");
        }
    }
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|a| (*a).to_owned()).collect()
}

#[test]
fn a_program_and_its_weights() {
    let model = model().display().to_string();
    at_every_size(&|dir| strings(&[&model, "-o", &dir.path("m.mpcb")]), &["m.mpcb", "m.mpcw"]);
}

#[test]
fn a_report() {
    let dir = Dir::with(&[]);
    let (model, program) = (model().display().to_string(), dir.path("m.mpcb"));
    let out = Command::new(env!("CARGO_BIN_EXE_qnnc")).args([&model, "-o", &program]).output().expect("runs");
    assert!(out.status.success());
    at_every_size(&|to| strings(&["report", &program, "-o", &to.path("r.html")]), &["r.html"]);
}

/// A file of the project.
fn testdata(name: &str) -> String {
    model().with_file_name(name).display().to_string()
}

#[test]
fn a_program_from_its_text() {
    let text = Dir::with(&[]);
    let (model, program) = (model().display().to_string(), text.path("m.mpcb"));
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_qnnc")).args(args).output().expect("runs");
    assert!(run(&[&model, "-o", &program]).status.success());
    fs::write(text.path("m.qir"), run(&["dis", &program]).stdout).expect("text");
    at_every_size(&|dir| strings(&["as", &text.path("m.qir"), "-o", &dir.path("again.mpcb")]), &["again.mpcb"]);
}

#[test]
fn outputs_in_the_clear() {
    let (model, input) = (model().display().to_string(), testdata("digits_mlp.input_0.npy"));
    at_every_size(&|dir| strings(&["simulate", &model, "-i", &input, "-o", &dir.path("y.npy")]), &["y.npy"]);
}

/// One file after each pass: those that are there are whole.
#[test]
fn what_passes_leave() {
    let model = model().display().to_string();
    let whole = Dir::with(&[]);
    let run = |to: &str, bytes| limited(&[&model, "--dump-ir-dir", to], bytes);
    let Some(out) = run(&whole.path("passes"), 1 << 30) else { return };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let read = |dir: &Dir| -> Vec<(String, Vec<u8>)> {
        let list = fs::read_dir(dir.path("passes")).expect("folder");
        let entry = |e: fs::DirEntry| (e.file_name().into_string().expect("UTF-8"), fs::read(e.path()).expect("file"));
        list.map(|e| entry(e.expect("entry"))).collect()
    };
    let all: std::collections::BTreeMap<String, Vec<u8>> = read(&whole).into_iter().collect();
    let largest = all.values().map(Vec::len).max().expect("passes");
    for bytes in (0..largest).step_by(largest / 12) {
        let dir = Dir::with(&[]);
        let out = run(&dir.path("passes"), bytes).expect("as before");
        assert_eq!(out.status.code(), Some(5), "{bytes} bytes: {}", String::from_utf8_lossy(&out.stderr));
        for (name, text) in read(&dir) {
            assert!(all.get(&name) == Some(&text), "{name}, {bytes} bytes");
        }
    }
}

#[test]
fn standard_output_that_is_full() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        println!("skipped: no /dev/full");
        return;
    };
    let model = model().display().to_string();
    for args in [&["ops"][..], &["check", &model], &["explain", "rounds"], &["man"], &["completions", "bash"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qnnc"));
        let out = command.args(args).stdout(full.try_clone().expect("file")).output().expect("runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(5), "{args:?}: {said}");
        assert!(said.contains("Q1201") && said.contains("stdout"), "{args:?}: {said}");
    }
}
