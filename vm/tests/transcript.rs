//! What travels: fixed under fixed keys, different under fresh ones, of one shape whatever the secrets; and the checks can
//! fail.
mod common;
use common::{ROUTES, build, build_by, in_threads, npy, run, testdata};
use compiler::pipeline::Compiled;
use ir::Party;
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::{Fate, Network, Record};
use runtime_protocols::rep3::Rep3;
use std::fmt::Write;
use vm::exec::Machine;

/// Runs with keys that the test chooses and returns all messages and the output.
fn fixed(c: &Compiled, input: &[i64], key: u8) -> (Vec<Record>, Vec<i64>) {
    let (links, transcript) = Network::new(3).recorded();
    let outputs = in_threads(links, |mut link| {
        let me = link.me();
        // The seed of a pair is named by the party outside.
        let seeds: Vec<[u8; 32]> = (0..3u8).map(|p| [key + (3 - (me.0 + p) % 3) % 3; 32]).collect();
        let seeds: Vec<[u8; 32]> =
            seeds.iter().enumerate().map(|(p, s)| if p == me.index() { [0; 32] } else { *s }).collect();
        let runtime = Rep3::new(me, &seeds, &[7; 16]);
        let mut m = Machine::new(c.program.clone(), Box::new(runtime)).expect("verified");
        m.setup((me == Party(0)).then_some(&c.weights), &mut link).expect("set-up");
        let o = m.infer(&[(me == Party(1)).then(|| input.to_vec())], &mut link).expect("inference");
        link.close().expect("close");
        o.outputs[0].clone()
    });
    (transcript.records(), outputs[1].clone().expect("the receiver has it"))
}

/// A digest per message: where, length, blake3.
fn digest(records: &[Record]) -> String {
    let mut out = String::new();
    for r in records {
        let hash = blake3::hash(&r.payload).to_hex();
        let _ = writeln!(out, "{} {}->{} {} {}", r.sequence, r.from.0, r.to.0, r.payload.len(), &hash[..16]);
    }
    out
}

#[test]
fn wire_transcript_is_fixed() {
    for (route, by) in ROUTES {
        let c = build_by(&testdata("digits_mlp.tflite"), route);
        let (records, output) = fixed(&c, &npy("digits_mlp.input_0.npy"), 1);
        assert_eq!(output, npy("digits_mlp.output_0.npy"));
        let got = digest(&records);
        let file = testdata(&format!("../transcripts/digits_mlp.{by}.txt"));
        if std::env::var_os("QNN_BLESS").is_some() {
            std::fs::create_dir_all(file.parent().expect("has a folder")).expect("folder");
            std::fs::write(&file, &got).expect("transcript");
        }
        let want = std::fs::read_to_string(&file).expect("recorded transcript");
        assert!(want == got, "{by}: the bytes on the wire changed; if meant, QNN_BLESS=1 and say why");
    }
}

#[test]
fn shape_does_not_depend_on_secrets() {
    let c = build(&testdata("digits_mlp.tflite"));
    let shape = |r: &[Record]| r.iter().map(|r| (r.sequence, r.from, r.to, r.payload.len())).collect::<Vec<_>>();
    let (a, _) = fixed(&c, &npy("digits_mlp.input_0.npy"), 1);
    let (b, _) = fixed(&c, &[-128; 64], 1);
    assert_eq!(shape(&a), shape(&b));
}

#[test]
fn fresh_keys_change_every_long_message() {
    let c = build(&testdata("digits_mlp.tflite"));
    let input = npy("digits_mlp.input_0.npy");
    let ((a, x), (b, y)) = (fixed(&c, &input, 1), fixed(&c, &input, 9));
    assert_eq!(x, y);
    // Openings show the output and nothing else, so two parts of three stay random there as well.
    for (r, s) in a.iter().zip(&b).filter(|(r, _)| r.payload.len() >= 8) {
        assert_ne!(r.payload, s.payload, "message {} from {} to {}", r.sequence, r.from, r.to);
    }
}

#[test]
fn two_inferences_of_a_session_share_no_pad() {
    // The key stream panics on a reused segment in this build; and no long message repeats.
    let c = build(&testdata("digits_mlp.tflite"));
    let input = npy("digits_mlp.input_0.npy");
    let (links, transcript) = Network::new(3).recorded();
    let outcomes = run(&c, links, &[input.clone(), input]);
    assert_eq!(outcomes[1][0].outputs, outcomes[1][1].outputs);
    let mut seen = std::collections::HashSet::new();
    for r in transcript.records().into_iter().filter(|r| r.payload.len() >= 16) {
        assert!(seen.insert(r.payload), "a message came twice");
    }
}

#[test]
fn a_flipped_share_changes_the_output() {
    let c = build(&testdata("digits_mlp.tflite"));
    let input = npy("digits_mlp.input_0.npy");
    let want = npy("digits_mlp.output_0.npy");
    let mut changed = 0;
    let rounds = c.program.rounds.len() as u32;
    for round in [rounds - 1, rounds - 2, rounds] {
        let links = Network::new(3)
            .intercept(move |sent, payload| {
                if sent.at.round == round {
                    payload.iter_mut().for_each(|b| *b ^= 0x55);
                }
                Fate::Deliver
            })
            .links();
        let outcomes = run(&c, links, std::slice::from_ref(&input));
        changed += usize::from(outcomes[1][0].outputs[0].as_ref() != Some(&want));
    }
    assert!(changed > 0, "no damage was noticed");
}

#[test]
fn received_bits_are_unbiased() {
    // Bits of every message of many runs on one input, counted by receiver: within five standard errors of one half.
    // Round 1 shares weights, round 2 the input, then five rounds, or ten, each for 32 and 16 activations: no message of
    // these has unused bits. Planes of the last layer's ten activations do.
    for ((route, by), whole) in ROUTES.into_iter().zip([2..=12, 2..=22]) {
        unbiased(&build_by(&testdata("digits_mlp.tflite"), route), by, whole);
    }
}

fn unbiased(c: &Compiled, by: &str, whole: std::ops::RangeInclusive<u32>) {
    let input = npy("digits_mlp.input_0.npy");
    let (mut ones, mut total) = ([0u64; 3], [0u64; 3]);
    for _ in 0..20 {
        let (links, transcript) = Network::new(3).recorded();
        run(c, links, std::slice::from_ref(&input));
        for r in transcript.records().iter().filter(|r| whole.contains(&r.round)) {
            ones[r.to.index()] += r.payload.iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
            total[r.to.index()] += 8 * r.payload.len() as u64;
        }
    }
    for p in 0..3 {
        let (n, k) = (total[p] as f64, ones[p] as f64);
        println!("party {p}: {k} ones of {n} bits");
        assert!((k - n / 2.0).abs() < 5.0 * (n / 4.0).sqrt(), "{by}: party {p} receives biased bits: {k} of {n}");
    }
}

#[test]
fn machines_refuse_programs_with_other_messages() {
    let mut c = build(&testdata("digits_mlp.tflite"));
    c.program.rounds[3].messages.0[1] += 1;
    let links = Network::new(3).links();
    let refused = in_threads(links, |mut link| {
        let me = link.me();
        let runtime = Rep3::new(me, &[[0; 32]; 3], &[0; 16]);
        let refused = Machine::new(c.program.clone(), Box::new(runtime)).is_err();
        link.close().expect("close");
        refused
    });
    assert_eq!(refused, [true; 3]);
}
