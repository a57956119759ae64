//! Parties that do not agree: both sides name the field, and not one byte travels that could depend on a secret.
mod common;

use common::hosts::Hosts;
use common::launch::error_text;
use common::serve::Servers;
use common::testdata;
use compiler::pipeline::{Options, Owners};
use ir::Modes;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// All bytes that one party has sent to another, by these two.
type Wires = BTreeMap<[usize; 2], Vec<u8>>;
/// How party 2 is started.
type Odd = fn(&Hosts) -> Command;

fn tapped(hosts: &Hosts) -> Arc<Mutex<Wires>> {
    let wires = Arc::<Mutex<Wires>>::default();
    let tap = wires.clone();
    hosts.relay(move |who, piece| {
        tap.lock().expect("wires").entry(who).or_default().extend_from_slice(piece);
        true
    });
    wires
}

/// Bytes of messages of the program, keys included, in what one party has sent to another over plain links.
fn payload(mut bytes: &[u8]) -> usize {
    fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        *bytes[at..].first_chunk().expect("a whole header")
    }
    let mut total = 0;
    // A header that is cut belongs to nobody.
    while bytes.len() >= 17 {
        // A handshake, as the party says it each time it connects: magic, version, party, parties, length of the body.
        if bytes.starts_with(b"QNNVMLNK") {
            bytes = bytes.get(16 + u32::from_le_bytes(number(bytes, 12)) as usize..).unwrap_or_default();
            continue;
        }
        // Other frames: length, level, sequence, kind.
        let length = u64::from_le_bytes(number(bytes, 0)) as usize;
        let (sequence, kind) = (u32::from_le_bytes(number(bytes, 12)), bytes[16]);
        match (kind, sequence) {
            // Which nonces it has met.
            (1, 0) => assert_eq!(length, 3 * 16),
            (1, _) => total += length,
            // The end, with a reason or without; a sign of life.
            (2..=4, _) => assert!(length <= 1001),
            _ => panic!("a frame of kind {kind}"),
        }
        bytes = bytes.get(17 + length..).unwrap_or_default();
    }
    total
}

fn text(identity: &[u8]) -> String {
    identity.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quick(mut command: Command) -> Command {
    command.args(["--connect-timeout", "10"]);
    command
}

/// Runs three parties; `odd` makes the command of party 2. Exit codes, what they said, what was sent.
fn run(secure: bool, odd: &dyn Fn(&Hosts) -> Command) -> (Vec<Option<i32>>, Vec<String>, Wires) {
    let mut hosts = Hosts::new("digits_mlp");
    if !secure {
        hosts.expose();
    }
    let wires = tapped(&hosts);
    (0..2).for_each(|p| hosts.start(p, quick(hosts.command(p))));
    hosts.start(2, quick(odd(&hosts)));
    let outs = hosts.finish(&[0, 1, 2], Duration::from_secs(20));
    let wires = wires.lock().expect("wires").clone();
    (outs.iter().map(|out| out.status.code()).collect(), outs.iter().map(error_text).collect(), wires)
}

/// A difference, and how party 2 comes to it.
const DIFFERENCES: [(&str, Odd); 4] = [
    ("`program`", |hosts| {
        hosts.dir.compile("other", &testdata("digits.tflite"));
        let mut command = common::launch::qnnvm();
        command.args(["--party", "2"]).arg(hosts.dir.file("other.mpcb"));
        command.arg("--net").arg(hosts.home(2).join("net.toml"));
        command
    }),
    ("`batch`", |hosts| {
        let mut command = hosts.command(2);
        command.args(["--batch", "2"]);
        command
    }),
    ("`weights`", |hosts| {
        // Those of another file of the same program.
        let bytes = std::fs::read(hosts.dir.file("m.mpcw")).expect("weights");
        let weights = ir::weights::decode(&bytes).expect("weights");
        let other = ir::weights::identity(&ir::weights::encode(&weights, &[8; 32]));
        let mut command = hosts.command(2);
        command.args(["--weights-id", &text(&other)]);
        command
    }),
    ("`session`", |hosts| {
        let mut command = hosts.command(2);
        command.args(["--session", "monday"]);
        command
    }),
];

#[test]
fn nothing_travels_before_all_agree() {
    for (field, odd) in DIFFERENCES {
        let (codes, said, wires) = run(false, &odd);
        assert_eq!(codes, [Some(13); 3], "{said:?}");
        assert!(wires.keys().any(|[from, _]| *from == 2), "party 2 has spoken");
        assert!(said.iter().all(|text| text.contains(field)), "{field}: {said:?}");
        for (who, bytes) in wires {
            assert_eq!(payload(&bytes), 0, "{field}: from and to {who:?}");
        }
    }
    let (codes, said, wires) = run(false, &|hosts| hosts.command(2));
    assert_eq!(codes, [Some(0); 3], "{said:?}");
    assert!(wires.len() == 6 && wires.values().all(|bytes| payload(bytes) > 0), "what agrees is counted");
}

/// Everybody may name the weights, its owner too, who finds a wrong file alone.
#[test]
fn weights_that_are_expected() {
    let dir = common::launch::Dir::new();
    dir.compile("m", &testdata("digits_mlp.tflite"));
    let verify = |weights: &str| {
        let mut command = common::launch::qnnvm();
        let out = command.arg("verify").arg(dir.file("m.mpcb")).arg("-w").arg(dir.file(weights)).output();
        let said = String::from_utf8(out.expect("runs").stdout).expect("text");
        let id = said.split_once("`--weights-id` ").expect("an identity").1;
        id[..64].to_owned()
    };
    let expected = verify("m.mpcw");
    // The hosts have files of their own, made of the same model with the same salt.
    let (codes, said, _) = run(true, &|hosts| {
        assert!(std::fs::read(hosts.dir.file("m.mpcw")).ok() == std::fs::read(dir.file("m.mpcw")).ok());
        let mut command = hosts.command(2);
        command.args(["--weights-id", &expected.to_uppercase()]);
        command
    });
    assert_eq!(codes, [Some(0); 3], "{said:?}");
    for (id, code, words) in [("0".repeat(64), 4, expected.as_str()), ("0123".to_owned(), 2, "64 hexadecimal digits")] {
        let mut command = common::launch::qnnvm();
        command.args(["--party", "0"]).arg(dir.file("m.mpcb")).arg("-w").arg(dir.file("m.mpcw"));
        let out = command.args(["--weights-id", &id]).output().expect("runs");
        assert!(out.status.code() == Some(code) && error_text(&out).contains(words), "{}", error_text(&out));
    }
}

/// Where no party owns weights there are none to name.
#[test]
fn weights_that_nobody_can_name() {
    let id = "0".repeat(64);
    let public = Options { modes: Modes { public_weights: true, ..Modes::default() }, ..Options::default() };
    let dir = common::launch::Dir::new();
    dir.compile_for("m", &testdata("digits_mlp.tflite"), public, Owners::default());
    let mut command = common::launch::qnnvm();
    command.args(["--party", "2"]).arg(dir.file("m.mpcb")).args(["--weights-id", &id]);
    let out = command.output().expect("runs");
    let said = error_text(&out);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("the weights are public") && said.contains("leave `--weights-id` out"), "{said}");

    let mut servers = Servers::new("digits_mlp", &["--weights-id", &id]);
    servers.start(0);
    let (code, said) = (servers.await_end(0), servers.log(0));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("a client owns the weights") && said.contains("leave `--weights-id` out"), "{said}");
}

/// The same is true of encrypted links, where only lengths can be seen.
#[test]
fn refusals_are_short_under_encryption() {
    // Of one direction: TLS, a handshake, a reason.
    const MOST: usize = 4096;
    for (field, odd) in DIFFERENCES {
        let (codes, said, wires) = run(true, &odd);
        assert_eq!(codes, [Some(13); 3], "{said:?}");
        for (who, bytes) in wires {
            assert!(bytes.len() < MOST, "{field}: {} bytes from and to {who:?}", bytes.len());
        }
    }
    let (codes, said, wires) = run(true, &|hosts| hosts.command(2));
    assert_eq!(codes, [Some(0); 3], "{said:?}");
    assert!(wires.values().map(Vec::len).max().is_some_and(|most| most > 2 * MOST), "what agrees is longer");
}
