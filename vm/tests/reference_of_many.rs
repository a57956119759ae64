//! The wire of an inference without a dealer against a description of the protocol in another language, message by message.
mod common;
use common::python::{hex, messages};
use common::{among, build_with, in_threads, npy, testdata};
use ir::{Op, Party, Program};
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::Network;
use runtime_protocols::semi::prep::Prep;
use runtime_protocols::semi::{Semi, Stock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vm::exec::Machine;

const SESSION: [u8; 16] = [7; 16];

/// The seed of two parties; of one and itself the one that nobody else has.
fn seed(p: usize, q: usize) -> [u8; 32] {
    [(16 * p.min(q) + p.max(q)) as u8; 32]
}

/// Hands over what was written for each other: `messages[p][q]` is of p to q.
fn incoming(messages: &[Vec<Vec<u8>>], me: usize) -> Vec<&[u8]> {
    messages.iter().map(|of| of[me].as_slice()).collect()
}

/// What all parties make ahead of one inference, by instruction and party, and the number of exchanges before it.
fn ahead(p: &Program, weights: &ir::weights::Weights) -> (BTreeMap<String, Value>, usize) {
    let n = usize::from(p.parties);
    let typed = ir::verify::verify(p).expect("verified");
    let needs = ir::offline::needs(p, &typed);
    let tensor = |i: usize| match &p.insts[i].op {
        Op::Conv2dSh { w, .. } => match &p.insts[typed.origin[w.index()] as usize].op {
            Op::Weight { index } => Some(weights.tensors[*index as usize].clone()),
            _ => None,
        },
        _ => None,
    };
    let own: Vec<_> = needs.iter().map(|(i, _)| tensor(*i)).collect();
    let all: Vec<_> = needs.iter().map(|(_, need)| need.clone()).collect();
    let mut preps: Vec<Prep> =
        (0..n).map(|me| Prep::new(Party(me as u8), n, &seed(me, me), SESSION, all.clone())).collect();
    let nothing = || vec![vec![Vec::new(); n]; n];
    let first = preps[0].session_steps();
    for step in 0..first {
        let mut sent = nothing();
        preps.iter_mut().zip(&mut sent).for_each(|(prep, out)| prep.session_send(step, &own, out));
        for (me, prep) in preps.iter_mut().enumerate() {
            prep.session_receive(step, &incoming(&sent, me)).expect("well-formed");
        }
    }
    let mut sent = nothing();
    preps.iter_mut().zip(&mut sent).for_each(|(prep, out)| prep.begin(1, out));
    let steps = preps[0].steps();
    for _ in 0..steps {
        let mut next = nothing();
        for (me, (prep, out)) in preps.iter_mut().zip(&mut next).enumerate() {
            prep.receive(&incoming(&sent, me), out).expect("well-formed");
        }
        sent = next;
    }
    let stocks: Vec<Vec<Stock>> = preps.iter_mut().map(|prep| prep.finish().expect("made")).collect();
    let parts = |stock: &Stock| match stock {
        Stock::And(x) | Stock::Ring(x) => json!(x),
        Stock::Bits(x) | Stock::Linear(x) => json!(x),
    };
    let of = |k: usize| Value::Array(stocks.iter().map(|own| parts(&own[k])).collect());
    (needs.iter().enumerate().map(|(k, (i, _))| (i.to_string(), of(k))).collect(), first + steps)
}

#[test]
fn wire_equals_the_reference() {
    let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    for n in [2usize, 3, 5] {
        let c = build_with(&testdata("digits_mlp.tflite"), among(n as u8));
        let (stock, before) = ahead(&c.program, &c.weights);
        let pairs: Vec<Value> = (0..n).flat_map(|p| (p + 1..n).map(move |q| json!([p, q, hex(&seed(p, q))]))).collect();
        let case = json!({
            "program": ir::text::print(&c.program, false).expect("typed"), "parties": n, "inputs": [input],
            "weights": c.weights.tensors, "pairs": pairs, "session": hex(&SESSION), "inference": 1, "ahead": stock,
        });
        let Some(mut reference) = messages("reference_semi.py", &case) else { return };
        let (links, transcript) = Network::new(n).recorded();
        let done = in_threads(links, |mut link| {
            let me = link.me().index();
            let seeds: Vec<[u8; 32]> = (0..n).map(|p| seed(me, p)).collect();
            let runtime = Semi::new(link.me(), &seeds, &SESSION);
            let mut m = Machine::new(c.program.clone(), Box::new(runtime)).expect("verified");
            m.setup((me == 0).then_some(&c.weights), &mut link).expect("set-up");
            let o = m.infer(&[(me == 1).then(|| input.clone())], &mut link).expect("inference");
            link.close().expect("close");
            o.outputs[0].clone()
        });
        assert_eq!(done[1].as_ref(), Some(&want), "among {n}");
        reference.sort();
        let mut sent: Vec<_> = transcript
            .records()
            .into_iter()
            .filter(|r| !r.payload.is_empty())
            .map(|r| (r.from.0, r.to.0, r.sequence, r.round, hex(&r.payload)))
            .collect();
        sent.sort();
        for p in 0..n as u8 {
            for q in (0..n as u8).filter(|q| *q != p) {
                let got: Vec<_> = sent.iter().filter(|r| (r.0, r.1) == (p, q)).map(|r| (r.3, &r.4)).collect();
                let want: Vec<_> = reference.iter().filter(|r| (r.1, r.2) == (p, q)).map(|r| (r.0, &r.3)).collect();
                // First what was made ahead.
                let first = got.len().checked_sub(want.len()).expect("as many messages as in the reference");
                assert!(first <= before, "{first} messages from {p} to {q} before the inference, at most {before}");
                for (g, w) in got[first..].iter().zip(&want) {
                    assert_eq!(g, w, "from {p} to {q} among {n}");
                }
            }
        }
        println!("among {n}: {} messages equal", reference.len());
    }
}
