//! The walk-through of `docs/three-hosts.md`, command by command, on three machines: network namespaces of this one.
mod common;

use common::launch::Dir;
use common::testdata;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Namespaces with a switch between them, removed at the end.
struct Machines {
    prefix: String,
}

fn ip(args: &str) -> Result<(), String> {
    let out = Command::new("ip").args(args.split(' ')).output().map_err(|e| e.to_string())?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("ip {args}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

impl Machines {
    fn new() -> Result<Machines, String> {
        let machines = Machines { prefix: format!("qnn{}", std::process::id()) };
        let n = &machines.prefix;
        ip(&format!("netns add {n}s"))?;
        ip(&format!("-n {n}s link add br0 type bridge"))?;
        ip(&format!("-n {n}s link set br0 up"))?;
        for (i, h) in HOSTS.iter().enumerate() {
            ip(&format!("netns add {n}{h}"))?;
            ip(&format!("link add eth0 netns {n}{h} type veth peer name port{h} netns {n}s"))?;
            ip(&format!("-n {n}s link set port{h} master br0 up"))?;
            ip(&format!("-n {n}{h} addr add 10.77.0.{}/24 dev eth0", i + 1))?;
            ip(&format!("-n {n}{h} link set eth0 up"))?;
            ip(&format!("-n {n}{h} link set lo up"))?;
        }
        Ok(machines)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for h in ["a", "b", "c", "s"] {
            let _ = ip(&format!("netns del {}{h}", self.prefix));
        }
    }
}

/// A block of commands: machine, whether it runs beside others, text.
struct Block {
    host: String,
    beside: bool,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some("") => open = false,
            Some(kind) => {
                let mut words = kind.split(' ');
                open = words.next() == Some("sh");
                if open {
                    let host = words.next().expect("a machine").to_owned();
                    blocks.push(Block { host, beside: words.next() == Some("&"), text: String::new() });
                }
            }
            None if open => {
                let text = &mut blocks.last_mut().expect("a block is open").text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

fn judge(text: &str, out: &Output) -> String {
    let said = [&out.stdout, &out.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(out.status.success(), "{text}\n{said}");
    said
}

#[test]
fn the_walk_through_works() {
    let machines = match Machines::new() {
        Ok(machines) => machines,
        Err(e) => return println!("skipped: no network namespaces here ({e})"),
    };
    let dir = Dir::new();
    let home = |h: &str| dir.file(h);
    HOSTS.iter().for_each(|h| fs::create_dir(home(h)).expect("folder"));
    dir.compile("a/model", &testdata("digits.tflite"));
    fs::copy(testdata("digits.input_2.npy"), home("b").join("input.npy")).expect("input");
    // Copies between the machines of this test as the real one does between real machines.
    let tools = dir.file("tools");
    fs::create_dir(&tools).expect("folder");
    let root = dir.file("");
    let script = format!("#!/bin/sh\nexec cp {}\"$(echo \"$1\" | tr : /)\" \"$2\"\n", root.display());
    fs::write(tools.join("scp"), script).expect("scp");
    fs::set_permissions(tools.join("scp"), fs::Permissions::from_mode(0o755)).expect("mode");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_qnnvm"), tools.join("qnnvm")).expect("link");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path"));

    let start = |block: &Block| -> Child {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}{}", machines.prefix, block.host), "sh", "-ec", &block.text]);
        command.current_dir(home(&block.host)).env("PATH", &path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a shell")
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/three-hosts.md");
    let blocks = blocks(&fs::read_to_string(page).expect("the page"));
    assert_eq!(blocks.len(), 12, "keys, peers, check and run of three machines");
    let mut beside: Vec<(&Block, Child)> = Vec::new();
    let mut said = String::new();
    for block in &blocks {
        beside.push((block, start(block)));
        if !block.beside || beside.len() == HOSTS.len() {
            for (block, child) in beside.drain(..) {
                said += &judge(&block.text, &child.wait_with_output().expect("a shell"));
            }
        }
    }
    let output = home("b").join("output.npy");
    assert_eq!(fs::read(output).ok(), fs::read(testdata("digits.output_2.npy")).ok());
    assert_eq!(said.matches("compile with  --net rtt=").count(), 3, "{said}");
    assert!(said.contains("links TLS 1.3") && !said.contains("PRIVATE"), "{said}");
    for h in HOSTS {
        let mode = fs::metadata(home(h).join("party.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
