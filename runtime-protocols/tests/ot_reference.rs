//! Messages and results of oblivious transfer against a description of it in another language, byte for byte.
use ir::Party;
use ir::offline::{Map, Shape};
use runtime_protocols::ot::bits;
use runtime_protocols::ot::extend::Field;
use runtime_protocols::ot::products::{Other, Owner};
use runtime_protocols::ot::setup::{MESSAGES, Pair, Setup};
use runtime_protocols::prg::KeyStream;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").expect("a string takes it");
        s
    })
}

/// What the reference says; none where there is no Python.
fn reference(case: &Value) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/tools/reference_ot.py");
    let mut child = Command::new("python3")
        .arg("-B")
        .arg(script)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().expect("piped").write_all(case.to_string().as_bytes()).expect("the reference reads");
    let out = child.wait_with_output().expect("the reference ends");
    assert!(out.status.success(), "the reference failed on {case}");
    Some(serde_json::from_slice(&out.stdout).expect("messages"))
}

struct Case {
    field: Field,
    choices: u64,
    count: usize,
    triples: usize,
    weights: [[i32; 3]; 2],
    ring: u32,
    a: [[[u32; 3]; 2]; 2],
}

/// What the runtime sends and gives, in the reference's words.
fn run(case: &Case, session: [u8; 16], seeds: [[u8; 32]; 2]) -> Value {
    let own = seeds.map(|seed| KeyStream::new(&seed, &session));
    let mut sides = [0u8, 1].map(|p| Setup::new(Party(p), Party(1 - p), session, case.field, &own[usize::from(p)]));
    let mut messages: Vec<(&str, u8, String)> = Vec::new();
    let mut first: Vec<[Vec<u8>; 2]> = Vec::new();
    for _ in MESSAGES {
        let mut out = [Vec::new(), Vec::new()];
        sides.iter_mut().zip(&mut out).for_each(|(s, m)| s.send(m));
        (0..2).for_each(|p| sides[p].receive(&own[p], &out[1 - p]).expect("an honest peer"));
        first.push(out);
    }
    // The reference makes one direction after the other.
    for receiver in [0usize, 1] {
        messages.push(("element", receiver as u8, hex(&first[0][receiver])));
        messages.push(("choices", 1 - receiver as u8, hex(&first[1][1 - receiver])));
        messages.push(("sums", receiver as u8, hex(&first[2][receiver])));
    }
    let mut sides = sides.map(Setup::finish);
    let [zero, one] = &mut sides;

    let mut out = Vec::new();
    let r = one.receiver.extend(Some(&[case.choices]), case.count, &mut out);
    let s = zero.sender.extend(false, case.count, &out).expect("an honest peer");
    messages.push(("transfers", 1, hex(&out)));
    let string = |hash: &runtime_protocols::ot::hash::Hash, row: u128, i: usize| {
        let mut block = [0];
        hash.strings(&[row], r.first + i as u64, 0, 1, &mut block);
        format!("{:032x}", block[0])
    };
    let rows = zero.sender.absorbed(&s, 0..case.count);
    let strings: Vec<[String; 3]> = (0..case.count)
        .map(|i| {
            let mine = string(&one.receiver.hash, r.rows[i], i);
            [mine, string(&zero.sender.hash, rows[0][i], i), string(&zero.sender.hash, rows[1][i], i)]
        })
        .collect();

    let mut pairs: Vec<Vec<Option<Pair>>> = Vec::new();
    let [zero, one] = sides;
    pairs.push(vec![None, Some(zero)]);
    pairs.push(vec![Some(one), None]);
    let mut sent = vec![vec![Vec::new(); 2]; 2];
    let begun: Vec<_> =
        (0..2).map(|p| bits::begin(Party(p as u8), &mut pairs[p], case.triples, &mut sent[p])).collect();
    (0..2).for_each(|p| messages.push(("transfers", p as u8, hex(&sent[p][1 - p]))));
    let mut triples = Vec::new();
    for (p, begun) in begun.into_iter().enumerate() {
        let incoming: Vec<&[u8]> = (0..2).map(|q| &sent[q][p][..]).collect();
        let corrected = begun.receive(&mut pairs[p], &incoming, &mut [vec![], vec![]]).expect("an honest peer");
        let t = corrected.receive(&[&[], &[]]).expect("nothing is due");
        let low = |x: &[u64]| format!("{:x}", x[0] & ((1 << case.triples) - 1));
        triples.push([low(&t.a), low(&t.b), low(&t.c)]);
    }

    let shape = Shape { map: Map::dense(2, 3, 2), bits: 4, ring: case.ring };
    let (mut owner, mut other) = (pairs[0][1].take().expect("a pair"), pairs[1][0].take().expect("a pair"));
    let mut out = Vec::new();
    let mut mine = Owner::new(shape.clone(), case.weights.as_flattened(), &mut owner, &mut out);
    messages.push(("transfers", 0, hex(&out)));
    let mut theirs = Other::new(shape, &mut other, &out).expect("an honest peer");
    let mask = (1u64 << case.ring) - 1;
    let rows = |x: &[u32]| -> Vec<Vec<u64>> {
        x.chunks(2).map(|r| r.iter().map(|v| u64::from(*v) & mask).collect()).collect()
    };
    let mut summands = Vec::new();
    for a in &case.a {
        let mut out = Vec::new();
        let sent = theirs.send(&other, a.as_flattened(), &mut out);
        messages.push(("products", 1, hex(&out)));
        let got: Vec<u32> = mine.receive(&owner.receiver.hash, &out).expect("an honest peer");
        summands.push([rows(&got), rows(&sent)]);
    }
    json!({ "strings": strings, "triples": triples, "summands": summands, "messages": messages })
}

#[test]
fn messages_equal_the_reference() {
    let weights = [[7, -8, 3], [-1, 0, 5]];
    let a = [[[1, 511, 300], [2, 77, 400]], [[9, 8, 7], [65, 4, 3]]];
    for (field, k, session) in [(Field::Sixteen, 4, [9u8; 16]), (Field::Four, 2, [0xa5; 16])] {
        let case = Case { field, choices: 0x1b2d_f035, count: 29, triples: 13, weights, ring: 9, a };
        let seeds = [[k as u8; 32], [0x71; 32]];
        let choices: Vec<u64> = (0..case.count).map(|i| case.choices >> i & 1).collect();
        let asked = json!({
            "session": hex(&session), "seeds": seeds.map(|s| hex(&s)), "k": k, "choices": choices, "triples": case.triples,
            "weights": case.weights, "bits": 4, "ring": case.ring, "a": case.a,
        });
        let Some(want) = reference(&asked) else {
            println!("skipped: no python3");
            return;
        };
        let got = run(&case, session, seeds);
        for part in ["strings", "triples", "summands"] {
            assert_eq!(got[part], want[part], "{part}, k = {k}");
        }
        let (got, want) = (got["messages"].as_array().unwrap(), want["messages"].as_array().unwrap());
        assert_eq!(got.len(), want.len(), "messages, k = {k}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert_eq!(g, w, "message {i}, k = {k}");
        }
    }
}
