//! Servers with keys: links between parties and of clients are encrypted, and each side is who it should be.
mod common;

use common::launch::error_text;
use common::serve::Servers;
use common::testdata;
use std::fs;

fn ask(servers: &Servers, more: &[&str]) -> (Option<i32>, String) {
    let target = servers.dir.file("y.npy");
    let _ = fs::remove_file(&target);
    let out = servers.query(&testdata("digits_mlp.input_1.npy"), &target, more);
    if out.status.success() {
        assert_eq!(fs::read(&target).ok(), fs::read(testdata("digits_mlp.output_1.npy")).ok());
    }
    (out.status.code(), error_text(&out))
}

fn start(servers: &mut Servers) {
    (0..3).for_each(|p| servers.start(p));
    (0..3).for_each(|p| servers.await_ready(p));
}

#[test]
fn anybody_may_ask_on_loopback_and_knows_whom() {
    let mut servers = Servers::new("digits_mlp", &[]);
    servers.secure();
    start(&mut servers);
    let (code, said) = ask(&servers, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("TLS 1.3") && servers.log(0).contains("TLS 1.3"), "{said}{}", servers.log(0));
    let expiry = servers.metric(0, "qnnvm_certificate_expiry_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs_f64();
    assert!((700.0..731.0).contains(&((expiry - now) / 86_400.0)), "{expiry}");
    // A party with another key than the one that is written down.
    let net = fs::read_to_string(servers.dir.file("net.toml")).expect("net.toml");
    let other = servers.keygen("other");
    let own = net.lines().rfind(|l| l.starts_with("cert_sha256")).expect("a fingerprint");
    fs::write(servers.dir.file("net.toml"), net.replace(own, &format!("cert_sha256 = \"{other}\""))).expect("net.toml");
    let (code, said) = ask(&servers, &["--retries", "3"]);
    assert!(code == Some(21) && said.contains("party 2") && said.contains(&other), "{code:?} {said}");
}

#[test]
fn clients_may_be_pinned() {
    let mut servers = Servers::new("digits_mlp", &[]);
    servers.secure();
    let known = servers.keygen("known");
    servers.keygen("stranger");
    fs::write(servers.dir.file("clients"), format!("# who may ask\n{known} known\n")).expect("list");
    let list = servers.dir.file("clients");
    servers.more(&["--clients", list.to_str().expect("text")]);
    start(&mut servers);
    let identity = |name: &str| servers.dir.file(name).to_str().expect("text").to_owned();
    let (code, said) = ask(&servers, &["--identity", &identity("known")]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = ask(&servers, &["--identity", &identity("stranger")]);
    assert!(code == Some(21) && said.contains("--clients"), "{code:?} {said}");
    let (code, said) = ask(&servers, &[]);
    assert!(code == Some(21) && said.contains("--identity"), "{code:?} {said}");
    assert_eq!(servers.metric(0, "qnnvm_samples_total"), 1.0);
}

#[test]
fn beyond_loopback_clients_are_known_or_nobody_cares() {
    let run = |servers: &Servers, more: &[&str]| {
        let mut command = servers.command(0);
        let code = command.args(["--listen-client", "0.0.0.0:0"]).args(more).status().expect("qnnvm").code();
        (code, servers.log(0))
    };
    let mut servers = Servers::new("digits_mlp", &[]);
    let (code, said) = run(&servers, &["--anonymous-clients"]);
    assert!(code == Some(6) && said.contains("not encrypted"), "{code:?} {said}");
    servers.secure();
    let (code, said) = run(&servers, &[]);
    assert!(code == Some(6) && said.contains("--anonymous-clients"), "{code:?} {said}");
    fs::write(servers.dir.file("clients"), "# nobody\n").expect("list");
    let (code, said) = run(&servers, &["--clients", servers.dir.file("clients").to_str().expect("text")]);
    assert!(code == Some(6) && said.contains("nobody could connect"), "{code:?} {said}");
    fs::write(servers.dir.file("clients"), "abc\n").expect("list");
    let (code, said) = run(&servers, &["--clients", servers.dir.file("clients").to_str().expect("text")]);
    assert!(code == Some(6) && said.contains("line 1"), "{code:?} {said}");
}
