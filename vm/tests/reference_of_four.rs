//! The wire of one requantization among four parties against a description of the protocol in another language, byte by byte,
//! pads and hashes included.
mod common;
use common::four::{SESSION, run};
use common::testdata;
use common::tile::{Numbers, Tile};
use compiler::pipeline::Route;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").expect("a string takes it");
        s
    })
}

/// Messages of the reference: round, sender, receiver, bytes. None where there is no Python.
fn reference(case: &serde_json::Value) -> Option<Vec<(u32, u8, u8, String)>> {
    let script = testdata("../tools/reference_rep4.py");
    let mut child =
        Command::new("python3").arg(script).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    child.stdin.take().expect("piped").write_all(case.to_string().as_bytes()).expect("the reference reads");
    let out = child.wait_with_output().expect("the reference ends");
    assert!(out.status.success(), "the reference failed on {case}");
    Some(serde_json::from_slice(&out.stdout).expect("messages"))
}

#[test]
fn wire_equals_the_reference() {
    let mut rng = Numbers(1);
    for (n, width, two) in [(32, 28, false), (32, 20, true), (25, 30, true), (16, 3, false), (20, 14, true)] {
        let t = Tile::draw(&mut rng, n, width, two, 5);
        let p = t.program(Route::Circuit);
        let seeds = [0u8, 1, 2, 3].map(|i| [10 * i + n; 32]);
        let case = serde_json::json!({
            "program": ir::text::print(&p, false).expect("typed"), "inputs": [t.acc],
            "seeds": seeds.map(|s| hex(&s)), "session": hex(&SESSION), "inference": 1,
        });
        let Some(mut want) = reference(&case) else {
            println!("skipped: no python3");
            return;
        };
        let (records, result) = run(&p, &t.acc, &seeds, None);
        assert_eq!(result, t.wanted(), "{t:?}");
        let sent = records.iter().filter(|r| !r.payload.is_empty());
        let mut got: Vec<_> = sent.map(|r| (r.round, r.from.0, r.to.0, hex(&r.payload))).collect();
        got.sort();
        want.sort();
        assert_eq!(got.len(), want.len(), "messages, {t:?}");
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(g, w, "round {} from {} to {}, {t:?}", w.0, w.1, w.2);
        }
    }
}
