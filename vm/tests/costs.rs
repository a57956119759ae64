//! Rounds, bytes and size of each program against a checked-in baseline, so that a change shows. `QNN_BLESS=1` rewrites
//! the lines of the models that are there.
mod common;
use common::{among, build_by, build_with, models, testdata, ways};
use compiler::pipeline::{Options, Route};
use compiler::profile::REP3;
use ir::verify::type_program;
use ir::{Form, Holders, Op, Program};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

const OWN: [&str; 3] = ["digits", "digits_mlp", "digits_u8"];
const OTHERS: [&str; 14] = [
    "ad01_autoencoder",
    "digits_cnn",
    "hello_world",
    "kws_dscnn",
    "micro_speech",
    "mnist_resnet",
    "mnist_valid",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_1.0_224_quant",
    "mobilenet_v2_1.0_224_ptq",
    "mobilenet_v2_1.0_224_quant",
    "person_detect",
    "resnet8_cifar10",
    "vww_96",
];

fn line(path: PathBuf, options: Options) -> String {
    let c = build_with(&path, options);
    let p = &c.program;
    let list = |bytes: &[u64]| bytes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let typed = type_program(p).expect("the compiler verified it");
    let needs: Vec<_> = ir::offline::needs(p, &typed).into_iter().map(|(_, n)| n).collect();
    let ahead = ir::offline::messages(&needs, p.parties.into());
    let sent = |from: usize| ahead.iter().map(|step| step[from].iter().sum::<u64>()).sum();
    let ahead = match ahead.len() {
        0 => String::new(),
        rounds => format!(" ahead {rounds} bytes {}", list(&(0..p.parties.into()).map(sent).collect::<Vec<_>>())),
    };
    format!(
        "rounds {} bytes {}{ahead} opened-bits {} thresholds {} program {} memory {}",
        p.predicted_rounds(),
        list(&p.predicted_bytes()),
        p.opened_bits,
        p.thresholds,
        c.bytes.len(),
        p.peak_memory
    )
}

/// Bits that a party sends per result of a layer that multiplies, on average over parties and such layers.
fn bits_per_activation(p: &Program) -> u64 {
    let typed = type_program(p).expect("the compiler verified it");
    let of = |v: &ir::Value| &typed.types[v.index()];
    let mut results = vec![0u64; p.layers.len()];
    let mut bytes = vec![0u64; p.layers.len()];
    for inst in &p.insts {
        match &inst.op {
            Op::Split { x, .. } => results[inst.layer as usize] += of(x).len() as u64,
            // Weights are shared once per session.
            Op::Reshare { x, .. } if of(x).form == Form::Held(Holders::one(p.interface.weight_owner)) => {}
            op => {
                if let Some(x) = op.operands().first() {
                    let sent = REP3.messages(op, of(x));
                    bytes[inst.layer as usize] += sent.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
                }
            }
        }
    }
    let multiplies = || (0..p.layers.len()).filter(|l| results[*l] > 0);
    let all: u64 = multiplies().map(|l| results[l]).sum();
    multiplies().map(|l| bytes[l]).sum::<u64>() * 8 / 3 / all.max(1)
}

/// Three parties send about as much, and no more than the route promises.
#[test]
fn load_is_even_and_bounded() {
    let Some(dir) = models() else { return };
    for (name, most) in [
        ("mobilenet_v1_0.25_128_quant", 255),
        ("mobilenet_v1_1.0_224_quant", 255),
        ("mobilenet_v2_1.0_224_quant", 255),
        ("mobilenet_v2_1.0_224_ptq", 255),
        ("kws_dscnn", 255),
        ("resnet8_cifar10", 290),
    ] {
        let c = build_by(&dir.join(format!("{name}.tflite")), Route::Dealer);
        let bits = bits_per_activation(&c.program);
        println!("{name}: {bits} bits per activation and party");
        assert!(bits <= most, "{name}: {bits} bits per activation, at most {most}");
        let sent = c.program.predicted_bytes();
        let mean = sent.iter().sum::<u64>() / 3;
        assert!(
            sent.iter().all(|s| *s * 20 <= mean * 21),
            "{name}: parties send {sent:?}, more than 5 % above the mean"
        );
    }
}

/// In each layer of many elements, whose rows are computed apart, all parties send at once, and about as much.
#[test]
fn load_is_even_in_large_layers() {
    let Some(dir) = models() else { return };
    for (name, layers) in [("mobilenet_v1_1.0_224_quant", 27), ("mobilenet_v2_1.0_224_ptq", 40)] {
        let c = build_by(&dir.join(format!("{name}.tflite")), Route::Dealer);
        let p = &c.program;
        let typed = type_program(p).expect("the compiler verified it");
        let of = |v: &ir::Value| &typed.types[v.index()];
        let (mut elements, mut sent) = (vec![0; p.layers.len()], vec![[0u64; 3]; p.layers.len()]);
        for inst in &p.insts[p.setup_end() as usize..] {
            let Some(x) = inst.op.operands().first().copied() else { continue };
            if matches!(inst.op, Op::Split { .. } | Op::SplitShared { .. }) {
                elements[inst.layer as usize] += of(&x).len();
            }
            for (from, _, bytes) in REP3.messages(&inst.op, of(&x)) {
                sent[inst.layer as usize][from.index()] += bytes;
            }
        }
        let large: Vec<usize> =
            (0..elements.len()).filter(|l| elements[*l] >= 1 << 14 && p.layers[*l].name != "SOFTMAX").collect();
        assert!(large.len() >= layers, "{name}: {} large layers", large.len());
        for l in large {
            let (most, all) = (sent[l].iter().max().unwrap_or(&0), sent[l].iter().sum::<u64>());
            println!("{name}, layer {l}: {} elements, the busiest party sends {most} of {all}", elements[l]);
            assert!(most * 100 <= all * 40, "{name}, layer {l}: one party sends {most} of {all} bytes");
        }
    }
}

#[test]
fn costs_equal_the_baseline() {
    ways().iter().for_each(|(options, name)| check(*options, name));
}

/// Two parties and three, without a dealer, with what is made ahead.
#[test]
fn costs_without_a_dealer_equal_the_baseline() {
    let others = ["ad01_autoencoder", "digits_cnn", "kws_dscnn", "mobilenet_v1_0.25_128_quant", "resnet8_cifar10"];
    [2, 3].into_iter().for_each(|n| check_of(&others, among(n), &format!("semi-{n}")));
}

fn check(options: Options, by: &str) {
    check_of(&OTHERS, options, by);
}

fn check_of(others: &[&str], options: Options, by: &str) {
    let file = testdata(&format!("../baseline/{by}.txt"));
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut known: BTreeMap<String, String> =
        text.lines().filter_map(|l| l.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let mut now: Vec<(&str, String)> =
        OWN.iter().map(|n| (*n, line(testdata(&format!("{n}.tflite")), options))).collect();
    if let Some(dir) = models() {
        now.extend(others.iter().map(|n| (*n, line(dir.join(format!("{n}.tflite")), options))));
    }
    if std::env::var_os("QNN_BLESS").is_some() {
        known.extend(now.into_iter().map(|(n, l)| (n.to_owned(), l)));
        let mut out = String::new();
        known.iter().for_each(|(n, l)| writeln!(out, "{n}: {l}").expect("a string takes it"));
        std::fs::create_dir_all(file.parent().expect("has a folder")).expect("folder");
        std::fs::write(&file, out).expect("baseline");
        return;
    }
    for (name, got) in now {
        assert_eq!(
            known.get(name),
            Some(&got),
            "{name} by {by}: cost changed; if meant, QNN_BLESS=1 and review the diff"
        );
    }
}

/// One requantized layer, SOFTMAX apart, takes five rounds; ten by the Boolean route, eleven where a shift is above 32.
#[test]
fn rounds_of_a_layer() {
    assert_rounds(Route::Dealer, 5);
    assert_rounds(Route::Boolean, 10);
}

fn assert_rounds(route: Route, expected: usize) {
    let Some(dir) = models() else { return };
    let c = build_by(&dir.join("mobilenet_v1_0.25_128_quant.tflite"), route);
    let p = &c.program;
    let mut rounds: BTreeMap<u32, std::collections::BTreeSet<usize>> = BTreeMap::new();
    for (r, round) in p.rounds.iter().enumerate().skip(p.setup_rounds as usize) {
        for inst in &p.insts[round.local_end as usize..round.exchange_end as usize] {
            if p.layers[inst.layer as usize].name != "SOFTMAX" {
                rounds.entry(inst.layer).or_default().insert(r);
            }
        }
    }
    let most = rounds.values().map(|r| r.len()).max();
    assert_eq!(most, Some(expected));
}
