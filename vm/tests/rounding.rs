//! Rounding at random (`--rounding=probabilistic`) with the pads of the protocol: how often one is added is what the dropped bits
//! say, results of single operators are within one of the recorded ones, rounds and bytes are those predicted.
mod common;
use common::cases::cases;
use common::{Calls, Tensors, build_with, in_threads, models, npy, run_session, sample, testdata};
use compiler::lower::builder::Builder;
use compiler::lower::requant::{Formula, Source};
use compiler::lower::{Lowered, dealer};
use compiler::pipeline::{Compiled, Options, Protocol, compile_with, program_of};
use ir::program::DType;
use ir::{Holders, Interface, Modes, Op, Party, Port};
use runtime_protocols::link::memory::network;
use runtime_protocols::link::{Link, exchange_keys};
use runtime_protocols::rep3::Rep3;
use vm::exec::Machine;

fn at_random(protocol: Protocol) -> Options {
    Options { protocol, modes: Modes { probabilistic: true, ..Modes::default() }, ..Options::default() }
}

/// Outputs of each call; rounds and bytes are those predicted.
fn outputs(c: &Compiled, inputs: &[Tensors], calls: Calls, what: &str) -> Vec<Tensors> {
    let parties = run_session(c, network(c.program.parties.into()), inputs, calls);
    let receiver = c.program.interface.outputs[0].party.index();
    let of = |i: usize| {
        assert_eq!(parties.iter().map(|p| p[i].rounds).max(), Some(c.program.predicted_rounds()), "{what}: rounds");
        let sent: Vec<u64> = parties.iter().map(|p| p[i].payload_sent).collect();
        assert_eq!(sent, c.program.predicted_bytes(), "{what}: payload bytes");
        parties[receiver][i].outputs.iter().map(|y| y.clone().expect("the receiver has it")).collect()
    };
    (0..inputs.len()).map(of).collect()
}

fn furthest(a: &Tensors, b: &Tensors) -> u64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| x.abs_diff(*y)).max().unwrap_or(0)
}

/// Models whose layers round at random: results as a whole, and what they cost.
#[test]
fn whole_models() {
    let own = ["digits", "digits_mlp", "digits_u8"];
    let path = |name: &str| testdata(&format!("{name}.tflite"));
    let recorded = |name: &str| (npy(&format!("{name}.input_0.npy")), npy(&format!("{name}.output_0.npy")));
    let mut all: Vec<_> = own.iter().map(|name| (*name, path(name), recorded(name))).collect();
    if let Some(dir) = models() {
        for name in ["digits_cnn", "resnet8_cifar10"] {
            all.push((name, dir.join(format!("{name}.tflite")), sample(&dir, name, 0)));
        }
    }
    for (name, path, (input, want)) in all {
        for protocol in [Protocol::Rep3, Protocol::Dealer2] {
            let c = build_with(&path, at_random(protocol));
            let exact = build_with(&path, Options { protocol, ..Options::default() });
            let got = outputs(&c, &[vec![input.clone()]], Calls::Apart, name).remove(0);
            let [now, before] = [&c, &exact].map(|c| (c.program.predicted_rounds(), c.program.predicted_bytes()));
            println!(
                "{name} by {}: {now:?}, exact {before:?}; the result is off by up to {}",
                c.program.protocol,
                furthest(&got, &vec![want.clone()])
            );
            assert!(now.0 <= before.0 && now.1.iter().sum::<u64>() < before.1.iter().sum(), "{name}");
        }
    }
}

/// Cases that are one operator.
#[test]
fn single_operators_are_within_one() {
    let (mut count, mut differ) = (0, 0);
    for case in cases(8).into_iter().filter(|case| !case.sequence) {
        let Ok(c) = compile_with(&case.model, at_random(Protocol::Rep3)) else { continue };
        if c.graph.ops.len() != 1 || c.program.interface.outputs.iter().any(|port| port.float) {
            continue;
        }
        let samples = case.samples(&c, 2);
        let inputs: Vec<Tensors> = samples.iter().map(|s| s.0.clone()).collect();
        for (got, (_, want)) in outputs(&c, &inputs, Calls::Apart, &case.name).iter().zip(&samples) {
            assert!(furthest(got, want) <= 1, "{}: off by {}", case.name, furthest(got, want));
            differ += got.iter().flatten().zip(want.iter().flatten()).filter(|(a, b)| a != b).count();
        }
        count += 1;
    }
    println!("{count} operators, {differ} results differ by one");
    assert!(count == 0 || differ > 0, "nothing was rounded at random");
}

/// `floor(acc / 16)` and one more, as often as `acc mod 16` says.
#[test]
fn one_is_added_as_often_as_the_rest_says() {
    const TIMES: i64 = 64;
    let acc: Vec<i64> = (0..256 * TIMES).map(|i| i % 256 - 100).collect();
    let len = acc.len() as u32;
    let port = |party| Port {
        name: "x".into(),
        dtype: DType::I32,
        shape: vec![len],
        scale: 1.0,
        zero_point: 0,
        party: Party(party),
        float: false,
    };
    let interface =
        Interface { inputs: vec![port(0)], outputs: vec![port(1)], weights: vec![], weight_owner: Party(0) };
    let mut b = Builder::new(interface, Protocol::Rep3.facts().scheme);
    b.layers.push(ir::Layer { operator: 0, name: "gadget".into() });
    let x = b.one(Op::Input { index: 0 });
    let x = b.share(x, 16);
    let at = b.all();
    let x = b.one(Op::AsSum { x, at, bits: 16 });
    let [one, four, none, lo, hi] = [1, 4, 0, -20, 20].map(|c| b.scalar(c));
    let formula = Formula {
        m: one,
        s: four,
        b: [Some(none), None],
        split: lo,
        below: None,
        lo,
        hi,
        width: 4,
        n: 16,
        a: 15,
        h: 8,
        exact: false,
    };
    let y = dealer::requantize(&mut b, Source::Sum(x), &formula, 16, 0);
    let y = b.one(Op::Open { x: y, to: Holders::one(Party(1)) });
    b.emit(Op::Output { x: y, index: 0 });
    let (reveal, parts, results) = ("output".into(), vec![], vec![]);
    let p = program_of(Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, notes: vec![], results });
    let outcomes = in_threads(network(3), |mut link| {
        let keys = exchange_keys(&mut link).expect("keys");
        let runtime = Rep3::new(link.me(), keys.as_slice(), &link.session());
        let mut m = Machine::new(p.clone(), Box::new(runtime)).expect("verified");
        let outcome = m.infer(&[(link.me() == Party(0)).then(|| acc.clone())], &mut link).expect("inference");
        link.close().expect("close");
        outcome
    });
    let got = outcomes[1].outputs[0].clone().expect("the receiver has it");
    let (mut up, mut all) = ([0i64; 16], [0i64; 16]);
    for (acc, y) in acc.iter().zip(&got) {
        let (more, rest) = (y - acc.div_euclid(16), acc.rem_euclid(16) as usize);
        assert!(more == 0 || more == 1 && rest > 0, "{acc} gives {y}");
        up[rest] += more;
        all[rest] += 1;
    }
    println!("{up:?} of {all:?}");
    for (rest, (up, all)) in up.iter().zip(&all).enumerate() {
        let (share, all) = (rest as f64 / 16.0, *all as f64);
        let deviation = (all * share * (1.0 - share)).sqrt();
        // Keys are drawn anew in each run: five deviations are exceeded about once in 10^5 runs.
        assert!((*up as f64 - all * share).abs() <= 5.0 * deviation, "rest {rest}: {up} of {all}");
    }
}
