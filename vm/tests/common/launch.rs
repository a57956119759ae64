//! The program `qnnvm` as a user starts it: by the launcher, or party by party.
use super::ports::Block;
use compiler::npy::{Array, Values, format_npy_f32, write_npy};
use compiler::pipeline::{Compiled, Options, Owners, compile_for};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A directory of a test, removed at its end.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("qnnvm-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("temporary directory");
        Dir(dir)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Compiles a model into `name.mpcb` and `name.mpcw`.
    pub fn compile(&self, name: &str, model: &Path) -> Compiled {
        self.compile_for(name, model, Options::default(), Owners::default())
    }

    /// The same, as the user chose.
    pub fn compile_for(&self, name: &str, model: &Path, options: Options, owners: Owners) -> Compiled {
        let bytes = fs::read(model).expect("model file");
        let compiled = compile_for(&bytes, options, owners).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
        fs::write(self.file(&format!("{name}.mpcb")), &compiled.bytes).expect("program");
        fs::write(self.file(&format!("{name}.mpcw")), ir::weights::encode(&compiled.weights, &[7; 32]))
            .expect("weights");
        compiled
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a recorded array as a file of its own.
pub fn write(path: &Path, a: &Array) {
    match &a.values {
        Values::Int(_) => {
            let data: Vec<i32> = super::ints(a).iter().map(|v| i32::try_from(*v).expect("32 bits")).collect();
            write_npy(path, a.element, &a.shape, &data).expect("npy");
        }
        Values::Float(reals) => {
            let reals: Vec<f32> = reals.iter().map(|x| *x as f32).collect();
            std::fs::write(path, format_npy_f32(&a.shape, &reals).expect("npy")).expect("npy");
        }
    }
}

pub fn qnnvm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qnnvm"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn error_text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The launcher with `model.mpcb` and its weights.
pub fn local(dir: &Dir, name: &str, input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = qnnvm();
    command.arg("local").arg(dir.file(&format!("{name}.mpcb"))).arg("-w").arg(dir.file(&format!("{name}.mpcw")));
    command.arg("--input").arg(input).arg("--output").arg(output).args(more);
    command.output().expect("the launcher runs")
}

/// Runs all parties and checks the result and the counts.
pub fn check(dir: &Dir, name: &str, compiled: &Compiled, input: &Path, want: &[u8]) -> Value {
    let output = dir.file("out.npy");
    let out = local(dir, name, input, &output, &["--json"]);
    assert_eq!(out.status.code(), Some(0), "{name}: {}", error_text(&out));
    assert_eq!(fs::read(&output).expect("output"), want, "{name}, {}", input.display());
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    let p = &compiled.program;
    for kind in ["predicted", "measured"] {
        assert_eq!(report["rounds"][kind], p.predicted_rounds(), "{name}: rounds {kind}");
        assert_eq!(report["payload_bytes"][kind], serde_json::json!(p.predicted_bytes()), "{name}: bytes {kind}");
    }
    let layers = report["layers"].as_array().expect("layers");
    let sum: u64 = layers.iter().filter_map(|l| l["payload_bytes"].as_u64()).sum();
    assert_eq!(sum, p.predicted_bytes().iter().sum::<u64>(), "{name}: bytes of the layers");
    assert_eq!(report["result"], "ok");
    report
}

/// Three parties started one by one, as in production.
pub struct Three {
    pub dir: Dir,
    block: Block,
    pub children: Vec<Child>,
}

impl Three {
    pub fn new(dir: Dir) -> Three {
        let block = Block::claim();
        let net = |(i, p): (usize, &u16)| format!("[[party]]\nindex = {i}\naddress = \"127.0.0.1:{p}\"\n");
        fs::write(dir.file("net.toml"), block.ports(3).iter().enumerate().map(net).collect::<String>())
            .expect("net.toml");
        Three { dir, block, children: Vec::new() }
    }

    pub fn command(&self, party: usize, name: &str) -> Command {
        let mut command = qnnvm();
        command.args(["--party", &party.to_string()]).arg(self.dir.file(&format!("{name}.mpcb")));
        command.arg("--net").arg(self.dir.file("net.toml"));
        match party {
            0 => drop(command.arg("-w").arg(self.dir.file(&format!("{name}.mpcw")))),
            1 => drop(command.arg("--input").arg(self.dir.file("in.npy")).arg("--output").arg(self.dir.file("y.npy"))),
            _ => {}
        }
        command
    }

    pub fn start(&mut self, mut command: Command) {
        self.children.push(command.spawn().expect("a party starts"));
    }

    /// Waits for the rest, at most `limit`.
    pub fn finish(&mut self, limit: Duration) -> Vec<Output> {
        let deadline = Instant::now() + limit;
        while self.children.iter_mut().any(|c| c.try_wait().expect("child").is_none()) {
            assert!(Instant::now() < deadline, "a party still runs after {limit:?}");
            sleep(Duration::from_millis(5));
        }
        self.children.drain(..).map(|c| c.wait_with_output().expect("child")).collect()
    }

    pub fn ports_are_free(&self) {
        assert!(self.block.is_free(3), "somebody still listens");
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
