//! Servers as a user starts them, and what a client says to them.
use super::launch::{Dir, error_text, qnnvm};
use super::ports::Block;
use super::testdata;
use compiler::pipeline::{Compiled, Options, Owners};
use ir::{Party, Program};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vm::client::ClientSide;
use vm::query::{Connection, Door};

/// A client owns everything.
pub fn owners() -> Owners {
    Owners { inputs: vec![("0".into(), Party::CLIENT)], receiver: Party::CLIENT, weights: Party::CLIENT }
}

/// The program as its client sees it.
pub fn side(program: &Program) -> ClientSide {
    ClientSide::new(program.clone(), vm::protocols::of(program).expect("protocol")).expect("verified")
}

/// Three servers of a model, and their files.
pub struct Servers {
    pub dir: Dir,
    pub name: String,
    pub compiled: Compiled,
    pub side: ClientSide,
    pub clients: Vec<SocketAddr>,
    pub doors: Vec<Door>,
    http: Vec<u16>,
    keys: bool,
    more: Vec<String>,
    children: Vec<Option<Child>>,
    _block: Block,
}

impl Servers {
    /// Compiles and deploys; nothing runs yet. `more` options go to each server.
    pub fn new(name: &str, more: &[&str]) -> Servers {
        let dir = Dir::new();
        let compiled = dir.compile_for(name, &testdata(&format!("{name}.tflite")), Options::default(), owners());
        let block = Block::claim();
        let ports = block.ports(9);
        let entry = |i: usize| {
            format!(
                "[[party]]\nindex = {i}\naddress = \"127.0.0.1:{}\"\nclient = \"127.0.0.1:{}\"\n",
                ports[i],
                ports[3 + i]
            )
        };
        fs::write(dir.file("net.toml"), (0..3).map(entry).collect::<String>()).expect("net.toml");
        let clients: Vec<SocketAddr> = ports[3..6].iter().map(|p| (Ipv4Addr::LOCALHOST, *p).into()).collect();
        let servers = Servers {
            side: side(&compiled.program),
            dir,
            name: name.to_owned(),
            compiled,
            doors: clients.iter().map(|a| Door::plain(*a)).collect(),
            clients,
            http: ports[6..].to_vec(),
            keys: false,
            more: more.iter().map(|m| (*m).to_owned()).collect(),
            children: vec![None, None, None],
            _block: block,
        };
        servers.deploy();
        servers
    }

    /// With keys of their own, in folders `k0` to `k2`: all links are encrypted.
    pub fn secure(&mut self) {
        let net = fs::read_to_string(self.dir.file("net.toml")).expect("net.toml");
        let pins: Vec<String> = (0..3).map(|p| self.keygen(&format!("k{p}"))).collect();
        let mut entries = net.split_inclusive("[[party]]\n");
        let mut text = entries.next().expect("the first entry").to_owned();
        for (pin, entry) in pins.iter().zip(entries) {
            text += &format!("cert_sha256 = \"{pin}\"\n{entry}");
        }
        fs::write(self.dir.file("net.toml"), text).expect("net.toml");
        self.keys = true;
    }

    /// Further options of each server.
    pub fn more(&mut self, more: &[&str]) {
        self.more.extend(more.iter().map(|m| (*m).to_owned()));
    }

    /// Makes a key in a folder; its fingerprint.
    pub fn keygen(&self, folder: &str) -> String {
        let out = qnnvm().args(["keygen", "--name", folder, "-o"]).arg(self.dir.file(folder)).output().expect("qnnvm");
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().find_map(|l| l.strip_prefix("fingerprint")).expect("a fingerprint").trim().to_owned()
    }

    /// The same, running and ready.
    pub fn started(name: &str, more: &[&str]) -> Servers {
        let mut servers = Servers::new(name, more);
        (0..3).for_each(|p| servers.start(p));
        (0..3).for_each(|p| servers.await_ready(p));
        servers
    }

    pub fn deploy(&self) {
        let mut command = qnnvm();
        command.arg("deploy").arg(self.file("mpcb")).arg("-w").arg(self.file("mpcw")).arg("-o").arg(self.dir.file(""));
        let out = command.output().expect("qnnvm");
        assert_eq!(out.status.code(), Some(0), "{}", error_text(&out));
    }

    pub fn file(&self, end: &str) -> std::path::PathBuf {
        self.dir.file(&format!("{}.{end}", self.name))
    }

    pub fn hash(&self) -> [u8; 32] {
        ir::bytecode::program_hash(&self.compiled.bytes)
    }

    pub fn command(&self, party: usize) -> Command {
        let mut command = qnnvm();
        command.args(["serve", "--party", &party.to_string(), "--net"]).arg(self.dir.file("net.toml"));
        command.args(["--http", &format!("127.0.0.1:{}", self.http[party])]).args(&self.more);
        command.arg("--weights-share").arg(self.file(&format!("{party}.mpcs"))).arg(self.file("mpcb"));
        if self.keys {
            let folder = self.dir.file(&format!("k{party}"));
            command.arg("--identity").arg(&folder).arg("--state").arg(&folder);
        }
        // Nobody reads while it runs.
        let log = fs::File::create(self.dir.file(&format!("log.{party}"))).expect("log");
        command.stdout(std::process::Stdio::null()).stderr(log);
        command
    }

    pub fn log(&self, party: usize) -> String {
        fs::read_to_string(self.dir.file(&format!("log.{party}"))).unwrap_or_default()
    }

    pub fn start(&mut self, party: usize) {
        self.children[party] = Some(self.command(party).spawn().expect("a server starts"));
    }

    pub fn pid(&self, party: usize) -> u32 {
        self.children[party].as_ref().expect("it runs").id()
    }

    /// Ends it without a word.
    pub fn kill(&mut self, party: usize) {
        let mut child = self.children[party].take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Asks it to leave; its exit code and how long it took.
    pub fn terminate(&mut self, party: usize) -> (Option<i32>, Duration) {
        let mut child = self.children[party].take().expect("it runs");
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        while start.elapsed() < Duration::from_secs(35) {
            if let Some(status) = child.try_wait().expect("child") {
                return (status.code(), start.elapsed());
            }
            sleep(Duration::from_millis(5));
        }
        let _ = child.kill().and_then(|()| child.wait());
        panic!("party {party} does not leave: {}", self.log(party));
    }

    /// Waits until a server has ended by itself.
    pub fn await_end(&mut self, party: usize) -> Option<i32> {
        let mut child = self.children[party].take().expect("it runs");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(status) = child.try_wait().expect("child") {
                return status.code();
            }
            sleep(Duration::from_millis(5));
        }
        let _ = child.kill().and_then(|()| child.wait());
        panic!("party {party} still runs: {}", self.log(party));
    }

    /// Status and body of a page.
    pub fn page(&self, party: usize, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http[party])).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// A metric without labels, or with these.
    pub fn metric(&self, party: usize, name: &str) -> f64 {
        let (_, text) = self.page(party, "/metrics").expect("metrics");
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    pub fn is_ready(&self, party: usize) -> bool {
        self.page(party, "/readyz").is_some_and(|(status, _)| status == 200)
    }

    pub fn await_ready(&self, party: usize) {
        self.await_readiness(party, true, Duration::from_secs(30));
    }

    pub fn await_readiness(&self, party: usize, ready: bool, limit: Duration) {
        let start = Instant::now();
        while self.is_ready(party) != ready {
            assert!(start.elapsed() < limit, "party {party} ready: not {ready} after {limit:?}: {}", self.log(party));
            sleep(Duration::from_millis(20));
        }
    }

    pub fn connection(&self) -> Connection<'_> {
        self.try_connection().unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn try_connection(&self) -> Result<Connection<'_>, vm::query::QueryError> {
        Connection::open(&self.side, self.hash(), &self.doors, Duration::from_secs(20))
    }

    pub fn query(&self, input: &std::path::Path, output: &std::path::Path, more: &[&str]) -> Output {
        let mut command = qnnvm();
        command.arg("query").arg(self.file("mpcb")).arg("--net").arg(self.dir.file("net.toml"));
        command.arg("--input").arg(input).arg("--output").arg(output).args(more);
        command.output().expect("qnnvm")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
