//! Clients that do not compute: they share inputs or weights, and join what the parties send them.
mod common;

use common::{in_threads, npy, testdata};
use compiler::pipeline::{CompileError, Compiled, Options, Owners, Protocol, Reveal, compile_for};
use ir::Party;
use ir::verify::verify;
use runtime_protocols::link::memory::network;
use runtime_protocols::link::{Link, exchange_keys};
use vm::client::{ClientError, ClientSide, Phase};
use vm::exec::{Inputs, Machine, Outcome};

fn owners() -> Owners {
    Owners { inputs: vec![("0".into(), Party::CLIENT)], receiver: Party::CLIENT, weights: Party::CLIENT }
}

fn compile(name: &str, options: Options, owners: Owners) -> Compiled {
    let model = std::fs::read(testdata(&format!("{name}.tflite"))).expect("model");
    compile_for(&model, options, owners).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn side(c: &Compiled) -> ClientSide {
    ClientSide::new(c.program.clone(), vm::protocols::of(&c.program).expect("protocol")).expect("verified")
}

/// The parties run a batch of what a client shares; the outputs of each sample, and what the parties counted.
fn run(c: &Compiled, inputs: &[Vec<i64>]) -> (Vec<Vec<Vec<i64>>>, Vec<Outcome>) {
    let client = side(c);
    let by_client = c.program.interface.weight_owner == Party::CLIENT;
    let weights = by_client.then(|| client.share_weights(&c.weights).expect("weights"));
    let shared: Vec<_> = inputs.iter().map(|x| client.share(std::slice::from_ref(x)).expect("inputs")).collect();
    let outcomes = in_threads(network(3), |mut link| {
        let keys = exchange_keys(&mut link).expect("keys");
        let (me, session) = (link.me(), link.session());
        let runtime = (vm::protocols::of(&c.program).expect("protocol").make)(me, keys.as_slice(), &session);
        let mut m = Machine::new(c.program.clone(), runtime).expect("verified");
        let pieces = weights.as_ref().map(|w| client.pieces(Phase::Setup, me, &w[me.index()]).expect("length"));
        let own = (!by_client && me == Party(0)).then_some(&c.weights);
        m.setup_from(own, pieces.as_ref(), &mut link).expect("set-up");
        let pieces: Vec<_> =
            shared.iter().map(|s| client.pieces(Phase::Inference, me, &s[me.index()]).expect("length")).collect();
        let nothing: Vec<Option<Vec<i64>>> = vec![None; c.program.interface.inputs.len()];
        let samples: Vec<&Inputs> = vec![&nothing; inputs.len()];
        let outcome = m.infer_shared(&samples, &pieces.iter().collect::<Vec<_>>(), &mut link).expect("inference");
        link.close().expect("close");
        outcome
    });
    let sample = |k: usize| {
        let answers: Vec<&[u8]> = outcomes.iter().map(|o| o.for_client[k].as_slice()).collect();
        client.open(&answers).expect("answers")
    };
    ((0..inputs.len()).map(sample).collect(), outcomes)
}

#[test]
fn results_are_the_recorded_ones() {
    for name in ["digits", "digits_u8", "digits_mlp"] {
        for weights in [Party::CLIENT, Party(0)] {
            let c = compile(name, Options::default(), Owners { weights, ..owners() });
            let inputs: Vec<_> = (0..2).map(|i| npy(&format!("{name}.input_{i}.npy"))).collect();
            let (outputs, outcomes) = run(&c, &inputs);
            for (i, output) in outputs.iter().enumerate() {
                assert_eq!(output[..], [npy(&format!("{name}.output_{i}.npy"))], "{name}, sample {i}");
            }
            let predicted = c.program.predicted_bytes();
            for (o, bytes) in outcomes.iter().zip(predicted) {
                assert_eq!(o.payload_sent, 2 * bytes, "{name}: bytes between parties");
                assert!(o.outputs.iter().all(Option::is_none), "no party learns an output");
                assert_eq!(o.opened_bits, 2 * c.program.opened_bits);
            }
            assert_eq!(outcomes.iter().map(|o| o.rounds).max(), Some(c.program.predicted_rounds()));
        }
    }
}

#[test]
fn a_client_costs_the_parties_less_than_an_owner_among_them() {
    let ours = compile("digits", Options::default(), owners()).program;
    let theirs = compile("digits", Options::default(), Owners::default()).program;
    assert!(ours.predicted_rounds() < theirs.predicted_rounds());
    assert!(ours.predicted_bytes().iter().sum::<u64>() < theirs.predicted_bytes().iter().sum());
}

#[test]
fn less_than_the_output_is_revealed_on_demand() {
    for reveal in ["argmax", "topk:3", "logits"] {
        let options = Options { reveal: Reveal::from_name(reveal).expect("policy"), ..Options::default() };
        let c = compile("digits", options, owners());
        let input = npy("digits.input_0.npy");
        let (outputs, _) = run(&c, std::slice::from_ref(&input));
        let typed = verify(&c.program).expect("verified");
        let want = ir::eval::eval(&c.program, &typed, &[input], &c.weights.tensors);
        assert_eq!(outputs[0], want, "{reveal}");
    }
}

#[test]
fn two_sharings_of_one_input_have_nothing_in_common() {
    let c = compile("digits", Options::default(), owners());
    let client = side(&c);
    let input = npy("digits.input_0.npy");
    let [a, b] = [0, 1].map(|_| client.share(std::slice::from_ref(&input)).expect("inputs"));
    for (p, (a, b)) in a.iter().zip(&b).enumerate() {
        assert_eq!(a.len() as u64, client.message_bytes(Phase::Inference, Party(p as u8)));
        let same = a.iter().zip(b.iter()).filter(|(x, y)| x == y).count();
        // By chance one byte in 256.
        assert!(same * 32 < a.len().max(256), "party {p}: {same} of {} bytes", a.len());
    }
}

#[test]
fn what_is_not_a_message_is_refused() {
    let c = compile("digits", Options::default(), owners());
    let client = side(&c);
    assert!(matches!(client.share(&[vec![0; 3]]), Err(ClientError::Data(_))));
    assert!(matches!(client.share(&[vec![1 << 20; npy("digits.input_0.npy").len()]]), Err(ClientError::Data(_))));
    assert!(matches!(client.open(&[&[], &[], &[]]), Err(ClientError::Length { .. })));
    let whole = vec![0u8; client.answer_bytes() as usize];
    assert!(client.open(&[&whole, &whole]).is_err(), "two answers of three");
    for p in 0..3u8 {
        let due = client.message_bytes(Phase::Inference, Party(p)) as usize;
        for length in [0, 1, 31, 63, due - 1, due + 1] {
            assert!(client.pieces(Phase::Inference, Party(p), &vec![7; length]).is_none(), "party {p}, {length} bytes");
        }
        assert!(client.pieces(Phase::Inference, Party(p), &vec![7; due]).is_some());
    }
}

#[test]
fn answers_of_different_runs_do_not_fit() {
    // The ring of an output is as wide as its type and a sign, so most sums of strangers are outside the type.
    let c = compile("digits", Options::default(), owners());
    let input = npy("digits.input_0.npy");
    let (_, first) = run(&c, std::slice::from_ref(&input));
    let (_, second) = run(&c, &[input]);
    let mixed: [&[u8]; 3] = [&first[0].for_client[0], &second[1].for_client[0], &first[2].for_client[0]];
    let opened = side(&c).open(&mixed);
    assert!(!matches!(opened, Ok(outputs) if outputs[0] == npy("digits.output_0.npy")));
}

#[test]
fn a_dealer_has_no_clients() {
    let model = std::fs::read(testdata("digits.tflite")).expect("model");
    let options = Options { protocol: Protocol::Dealer2, ..Options::default() };
    let refused = compile_for(&model, options, owners()).err();
    assert!(matches!(&refused, Some(CompileError::Lower(_))), "{:?}", refused.map(|e| e.to_string()));
}

#[test]
fn the_text_form_keeps_clients() {
    let c = compile("digits", Options::default(), owners());
    let again = ir::bytecode::decode(&c.bytes).expect("bytecode");
    assert!(again.has_client() && again == c.program);
    let text = ir::text::print(&c.program, false).expect("verified");
    assert_eq!(ir::bytecode::encode(&ir::text::parse(&text).expect("text")), c.bytes);
}
