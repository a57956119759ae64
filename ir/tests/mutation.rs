//! Small programs, weights files and texts with every byte changed, every length cut, and thousands of random changes: each
//! is refused with an error or is a program that verifies, prints, reads back and evaluates. Never a panic.
#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/qir.rs"]
mod qir;
use ir::text::{parse, print};
use ir::verify::{Typed, verify};
use ir::weights::{self, Weights};
use ir::{Op, Program, bytecode};
use numbers::Numbers;

/// Random changes of bytecode, weights and text.
const RANDOM: usize = 20_000;

/// Texts that are short programs, a few of each folder.
fn texts() -> Vec<String> {
    let all = ["ir", "exec"].into_iter().flat_map(qir::files).map(|(_, text)| text);
    let all: Vec<String> = all.filter(|t| t.len() < 2500 && parse(t).is_ok()).collect();
    assert!(all.len() >= 60, "{} short programs", all.len());
    all
}

fn programs() -> Vec<Program> {
    texts().iter().map(|t| parse(t).expect("chosen so")).collect()
}

/// The same bytes with a right checksum at the end.
fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len().saturating_sub(32);
    bytes.truncate(body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

#[derive(Default, Debug)]
struct Counts {
    refused: usize,
    unverified: usize,
    verified: usize,
    evaluated: usize,
}

/// Whether evaluating takes little time and memory.
fn is_small(p: &Program, typed: &Typed) -> bool {
    let cells: usize = typed.types.iter().map(|t| t.len() * usize::from(t.domain.width())).sum();
    let steps = |op: &Op<ir::Value>| match op {
        Op::WindowSum { window, .. } | Op::WindowCount { window, .. } => {
            window.kernel.iter().chain(&window.out).map(|n| *n as usize).product()
        }
        Op::Conv2dSs { w, .. } | Op::DepthwiseSs { w, .. } | Op::Conv2dP { w, .. } | Op::DepthwiseP { w, .. } => {
            typed.types[w.index()].len()
        }
        _ => 1,
    };
    cells < 1 << 18 && p.insts.iter().all(|i| steps(&i.op) < 1 << 12)
}

/// A program that was read, whatever it is.
fn check_program(p: &Program, counts: &mut Counts) {
    let Ok(typed) = verify(p) else {
        // What is shown of a program may be asked before it is verified.
        let _ = print(p, true);
        counts.unverified += 1;
        return;
    };
    counts.verified += 1;
    let printed = print(p, false).expect("verified");
    let again = parse(&printed).unwrap_or_else(|bad| panic!("{}\n{printed}", bad[0]));
    assert!(bytecode::encode(&again) == bytecode::encode(p), "printed and read, it differs:\n{printed}");
    assert!(p.predicted_rounds() as usize <= p.rounds.len() && p.predicted_bytes().len() == usize::from(p.parties));
    if is_small(p, &typed) {
        let len = |shape: &[u32]| shape.iter().product::<u32>() as usize;
        let inputs: Vec<Vec<i64>> = p.interface.inputs.iter().map(|port| vec![-3; len(&port.shape)]).collect();
        let weights: Vec<Vec<i32>> = p.interface.weights.iter().map(|shape| vec![5; len(shape)]).collect();
        let _ = ir::eval::eval(p, &typed, &inputs, &weights);
        counts.evaluated += 1;
    }
}

fn check_bytes(bytes: &[u8], counts: &mut Counts) {
    match bytecode::decode(bytes) {
        Ok(p) => {
            assert!(bytecode::encode(&p) == bytes, "two encodings of one program");
            check_program(&p, counts);
        }
        Err(_) => counts.refused += 1,
    }
}

/// Other values of a byte: each bit flipped, all bits flipped, the ends of its range.
fn others(byte: u8) -> impl Iterator<Item = u8> {
    (0..8).map(move |bit| byte ^ 1 << bit).chain([!byte, 0, 0x7f, 0x80]).filter(move |b| *b != byte)
}

#[test]
fn every_byte_of_small_programs() {
    let mut counts = Counts::default();
    for p in programs() {
        let original = bytecode::encode(&p);
        for at in 0..original.len() {
            let mut bytes = original.clone();
            bytes[at] = !bytes[at];
            assert!(bytecode::decode(&bytes).is_err(), "a wrong checksum at byte {at}");
            assert!(bytecode::decode(&original[..at]).is_err(), "cut at byte {at}");
            check_bytes(&repaired(original[..at].to_vec()), &mut counts);
            if at < original.len() - 32 {
                for byte in others(original[at]) {
                    bytes[at] = byte;
                    check_bytes(&repaired(bytes.clone()), &mut counts);
                }
            }
        }
    }
    println!("{counts:?}");
    assert!(counts.refused > 10_000 && counts.unverified > 10_000 && counts.evaluated > 10_000, "{counts:?}");
}

/// One to four changes: bytes, cut or doubled pieces, pieces of another file.
fn changed(all: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = all[numbers.below(all.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        let to = (at + 1 + numbers.below(8)).min(bytes.len());
        match numbers.below(6) {
            0 => bytes[at] = numbers.below(256) as u8,
            1 => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][numbers.below(6)],
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            4 => {
                let other = &all[numbers.below(all.len())];
                let from = numbers.below(other.len());
                drop(bytes.splice(at..to, other[from..(from + 8).min(other.len())].to_vec()));
            }
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

#[test]
fn random_changes_of_programs() {
    let all: Vec<Vec<u8>> = programs().iter().map(bytecode::encode).collect();
    let (mut numbers, mut counts) = (Numbers(0x3a7e), Counts::default());
    for round in 0..RANDOM {
        let bytes = changed(&all, &mut numbers);
        check_bytes(&if round % 8 == 0 { bytes } else { repaired(bytes) }, &mut counts);
    }
    println!("{counts:?}");
    assert!(counts.refused > 1000 && counts.unverified > 200 && counts.evaluated > 200, "{counts:?}");
}

fn check_weights(bytes: &[u8]) -> bool {
    let Ok(w) = weights::decode(bytes) else { return false };
    assert!(
        weights::encode(&w, bytes[40..].first_chunk().expect("a salt")) == bytes,
        "two encodings of one weights file"
    );
    true
}

#[test]
fn weights_files() {
    let tensors = vec![vec![1, -128, 127], vec![], vec![40_000, -1], vec![i32::MIN, i32::MAX], vec![300; 20]];
    let files: Vec<Vec<u8>> = [tensors, vec![], vec![vec![0]]]
        .map(|tensors| weights::encode(&Weights { program: [7; 32], tensors }, &[9; 32]))
        .into();
    let (mut read, mut refused) = (0, 0);
    let mut count = |ok: bool| if ok { read += 1 } else { refused += 1 };
    for original in &files {
        for at in 0..original.len() {
            let mut bytes = original.clone();
            bytes[at] = !bytes[at];
            assert!(!check_weights(&bytes), "a wrong checksum at byte {at}");
            assert!(!check_weights(&original[..at]), "cut at byte {at}");
            count(check_weights(&repaired(original[..at].to_vec())));
            if at < original.len() - 32 {
                for byte in 0..=255 {
                    bytes[at] = byte;
                    count(check_weights(&repaired(bytes.clone())));
                }
            }
        }
    }
    let mut numbers = Numbers(0x57a7);
    for round in 0..RANDOM {
        let bytes = changed(&files, &mut numbers);
        count(check_weights(&if round % 8 == 0 { bytes } else { repaired(bytes) }));
    }
    println!("{read} read, {refused} refused");
    assert!(read > 5000 && refused > 5000, "{read} read, {refused} refused");
}

#[test]
fn every_byte_of_small_texts() {
    let mut counts = Counts::default();
    let mut check = |bytes: Vec<u8>| {
        // Text that is no UTF-8 does not reach the parser.
        let Ok(text) = String::from_utf8(bytes) else { return };
        match parse(&text) {
            Ok(p) => check_program(&p, &mut counts),
            Err(errors) => {
                assert!(!errors.is_empty() && errors.iter().all(|e| e.place.line > 0), "{text}");
                counts.refused += 1;
            }
        }
    };
    for text in texts().iter().filter(|t| t.len() < 900) {
        // Comments hold what is tested, not the program.
        let body: String = text.lines().filter(|l| !l.starts_with(';')).map(|l| l.to_owned() + "\n").collect();
        let original = body.as_bytes();
        for at in 0..original.len() {
            check(original[..at].to_vec());
            let with = |piece: &[u8]| [&original[..at], piece, &original[at + 1..]].concat();
            check(with(&[]));
            for byte in [original[at] ^ 1, original[at] ^ 0x20, b'0', b' ', b'"', b'\n', 0x80] {
                check(with(&[byte]));
            }
        }
    }
    println!("{counts:?}");
    assert!(counts.refused > 10_000 && counts.unverified > 500 && counts.evaluated > 5_000, "{counts:?}");
}
