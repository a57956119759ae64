//! Three parties with keys of their own, each in its folder, as three organisations would have them.
use super::launch::{Dir, error_text, qnnvm};
use super::ports::Block;
use super::testdata;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Folders `h0` to `h2` with keys and `net.toml`.
pub struct Hosts {
    pub dir: Dir,
    ports: Vec<u16>,
    block: Block,
    pub children: Vec<Option<Child>>,
}

fn done(mut command: Command) -> Output {
    let out = command.output().expect("it runs");
    assert_eq!(out.status.code(), Some(0), "{command:?}: {}", error_text(&out));
    out
}

impl Hosts {
    /// With a small program, the keys exchanged.
    pub fn new(model: &str) -> Hosts {
        let dir = Dir::new();
        dir.compile(model, &testdata(&format!("{model}.tflite")));
        fs::rename(dir.file(&format!("{model}.mpcb")), dir.file("m.mpcb")).expect("program");
        fs::rename(dir.file(&format!("{model}.mpcw")), dir.file("m.mpcw")).expect("weights");
        fs::copy(testdata(&format!("{model}.input_1.npy")), dir.file("in.npy")).expect("input");
        let block = Block::claim();
        let hosts = Hosts { dir, ports: block.ports(3), block, children: vec![None, None, None] };
        for me in 0..3 {
            let mut keygen = qnnvm();
            keygen.args(["keygen", "--name", &format!("org{me}"), "-o"]).arg(hosts.home(me));
            done(keygen);
        }
        (0..3).for_each(|me| hosts.introduce(me));
        hosts
    }

    pub fn home(&self, me: usize) -> PathBuf {
        self.dir.file(&format!("h{me}"))
    }

    /// Writes the `net.toml` of a party with the certificates as they are now.
    pub fn introduce(&self, me: usize) {
        let address = |p: usize| format!("127.0.0.1:{}", self.ports[p]);
        let _ = fs::remove_file(self.home(me).join("net.toml"));
        let mut init = qnnvm();
        init.args(["net", "init", "--party", &me.to_string(), "--address", &address(me), "--dir"]).arg(self.home(me));
        done(init);
        for peer in (0..3).filter(|p| *p != me) {
            let mut add = qnnvm();
            add.args(["net", "add-peer"]).arg(self.home(peer).join("party.crt")).arg(address(peer));
            add.args(["--party", &peer.to_string(), "--dir"]).arg(self.home(me));
            done(add);
        }
    }

    /// One party, in its own folder.
    pub fn command(&self, me: usize) -> Command {
        self.command_as(me, me)
    }

    /// The party `me` as another would have it.
    pub fn command_as(&self, me: usize, claimed: usize) -> Command {
        let mut command = qnnvm();
        command.args(["--party", &claimed.to_string()]).arg(self.dir.file("m.mpcb"));
        command.arg("--net").arg(self.home(me).join("net.toml"));
        match claimed {
            0 => drop(command.arg("-w").arg(self.dir.file("m.mpcw"))),
            1 => drop(command.arg("--input").arg(self.dir.file("in.npy")).arg("--output").arg(self.dir.file("y.npy"))),
            _ => {}
        }
        command
    }

    pub fn start(&mut self, me: usize, mut command: Command) {
        self.children[me] = Some(command.spawn().expect("a party starts"));
    }

    pub fn signal(&self, me: usize, name: &str) {
        let pid = self.children[me].as_ref().expect("started").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    }

    pub fn running(&mut self, me: usize) -> bool {
        self.children[me].as_mut().is_some_and(|c| c.try_wait().expect("child").is_none())
    }

    /// Waits for these, at most `limit`.
    pub fn finish(&mut self, who: &[usize], limit: Duration) -> Vec<Output> {
        let deadline = Instant::now() + limit;
        while who.iter().any(|p| self.running(*p)) {
            let left: Vec<_> = who.iter().copied().filter(|p| self.running(*p)).collect();
            assert!(Instant::now() < deadline, "parties {left:?} still run after {limit:?}");
            thread::sleep(Duration::from_millis(5));
        }
        who.iter().map(|p| self.children[*p].take().expect("started").wait_with_output().expect("child")).collect()
    }

    pub fn ports_are_free(&self) {
        assert!(self.block.is_free(3), "somebody still listens");
    }

    /// Takes the certificates out of every `net.toml`: links are plain, and what travels can be read.
    pub fn expose(&self) {
        for me in 0..3 {
            let path = self.home(me).join("net.toml");
            let text = fs::read_to_string(&path).expect("net.toml");
            let plain = |line: &&str| !line.starts_with("cert_sha256");
            fs::write(path, text.lines().filter(plain).flat_map(|l| [l, "\n"]).collect::<String>()).expect("net.toml");
        }
    }

    /// Puts a relay into every connection. `see` is told of each piece before it travels, with the parties that send and
    /// receive it, and says whether it may.
    pub fn relay(&self, see: impl Fn([usize; 2], &[u8]) -> bool + Send + Sync + 'static) {
        let see: See = Arc::new(see);
        for dialler in 1..3 {
            let path = self.home(dialler).join("net.toml");
            let mut text = fs::read_to_string(&path).expect("net.toml");
            for target in 0..dialler {
                let far: SocketAddr = (Ipv4Addr::LOCALHOST, self.ports[target]).into();
                let near = relay(far, [dialler, target], see.clone());
                text = text.replace(&far.to_string(), &near.to_string());
            }
            fs::write(path, text).expect("net.toml");
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type See = Arc<dyn Fn([usize; 2], &[u8]) -> bool + Send + Sync>;

fn relay(far: SocketAddr, ends: [usize; 2], see: See) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("address");
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(far) else { continue };
            let back = [ends[1], ends[0]];
            let pairs = [(near.try_clone(), far.try_clone(), ends), (Ok(far), Ok(near), back)];
            for (from, to, who) in pairs {
                let (Ok(mut from), Ok(mut to), see) = (from, to, see.clone()) else { continue };
                thread::spawn(move || {
                    let mut piece = vec![0; 64 << 10];
                    while let Ok(n @ 1..) = from.read(&mut piece) {
                        if see(who, &piece[..n]) && to.write_all(&piece[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}
