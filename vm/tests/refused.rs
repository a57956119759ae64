//! Parties that do not agree: both sides name the field, and not one byte travels that could depend on a secret.
mod common;

use common::hosts::Hosts;
use common::launch::error_text;
use common::testdata;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// All bytes that one party has sent to another, by these two.
type Wires = Arc<Mutex<BTreeMap<[usize; 2], Vec<u8>>>>;

fn tapped(hosts: &Hosts) -> Wires {
    let wires = Wires::default();
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

fn quick(mut command: Command) -> Command {
    command.args(["--connect-timeout", "10"]);
    command
}

/// Runs three parties; `odd` makes the command of party 2. Exit codes, what they said, what was sent.
fn run(
    secure: bool,
    odd: &dyn Fn(&Hosts) -> Command,
) -> (Vec<Option<i32>>, Vec<String>, BTreeMap<[usize; 2], Vec<u8>>) {
    let mut hosts = Hosts::new("digits_mlp");
    if !secure {
        hosts.expose();
    }
    let wires = tapped(&hosts);
    (0..2).for_each(|p| hosts.start(p, quick(hosts.command(p))));
    hosts.start(2, quick(odd(&hosts)));
    let outs = hosts.finish(&[0, 1, 2], Duration::from_secs(20));
    let wires = wires.lock().expect("wires").clone();
    assert_eq!(wires.len(), 6, "each has said something to each");
    (outs.iter().map(|out| out.status.code()).collect(), outs.iter().map(error_text).collect(), wires)
}

/// A difference, and how party 2 comes to it.
const DIFFERENCES: [(&str, fn(&Hosts) -> Command); 3] = [
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
        assert!(said.iter().all(|text| text.contains(field)), "{field}: {said:?}");
        for (who, bytes) in wires {
            assert_eq!(payload(&bytes), 0, "{field}: from and to {who:?}");
        }
    }
    let (codes, said, wires) = run(false, &|hosts| hosts.command(2));
    assert_eq!(codes, [Some(0); 3], "{said:?}");
    assert!(wires.values().all(|bytes| payload(bytes) > 0), "what agrees is counted");
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
