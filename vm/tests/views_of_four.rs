//! What one of four parties sees does not depend on the others' secrets: with all that it knows by itself kept fixed, every bit
//! that it receives is uniform, alone and in pairs. Each kind of message fails this as soon as its pad is taken away.
mod common;
use common::four::{ROUTES, run};
use common::tile::{Numbers, Tile};
use compiler::pipeline::Route;
use ir::verify::type_program;
use ir::{Domain, Form, Holders, Op, Party, Program};
use std::collections::BTreeMap;

const RUNS: usize = 256;
type Bits = [u64; RUNS / 64];

/// Standard errors of the count of ones.
fn bias(b: &Bits) -> f64 {
    let ones: u32 = b.iter().map(|w| w.count_ones()).sum();
    (f64::from(ones) - RUNS as f64 / 2.0).abs() / (RUNS as f64 / 4.0).sqrt()
}

/// Largest deviation of a bit, and of a pair of bits, in standard errors.
fn look(p: &Program, acc: &[i64], me: usize, bare: Option<u32>) -> (f64, f64) {
    let mut columns: Vec<Bits> = Vec::new();
    for r in 0..RUNS {
        let mut rng = Numbers(1000 + r as u64);
        let mut seeds = [[1u8; 32], [2; 32], [3; 32], [4; 32]];
        seeds[me].chunks_mut(8).for_each(|c| c.copy_from_slice(&rng.draw().to_le_bytes()));
        let (records, _) = run(p, acc, &seeds, bare);
        // The last round opens what is agreed.
        let last = p.rounds.len() as u32;
        let mine = records.iter().filter(|m| m.to.index() == me && m.round < last);
        let bits = mine.flat_map(|m| &m.payload).flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1));
        for (i, bit) in bits.enumerate() {
            if columns.len() <= i {
                columns.push([0; RUNS / 64]);
            }
            columns[i][r / 64] |= u64::from(bit) << (r % 64);
        }
    }
    let single = columns.iter().map(bias).fold(0.0, f64::max);
    let xor = |a: &Bits, b: &Bits| -> Bits { std::array::from_fn(|i| a[i] ^ b[i]) };
    let of = |(i, a): (usize, &Bits)| columns[..i].iter().map(|b| bias(&xor(a, b))).fold(0.0, f64::max);
    (single, columns.iter().enumerate().map(of).fold(0.0, f64::max))
}

/// Ten thousand bits deviate by up to 4, their pairs by up to 6.
fn suspicious((single, pair): (f64, f64)) -> bool {
    single > 5.5 || pair > 7.5
}

/// One instruction of each kind of message, and who receives it.
fn kinds(p: &Program) -> BTreeMap<String, (u32, u8)> {
    let typed = type_program(p).expect("verified");
    let mut found = BTreeMap::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let Op::Reshare { x, .. } = &inst.op else { continue };
        let ty = &typed.types[x.index()];
        let domain = if matches!(ty.domain, Domain::Bits(_)) { "bits" } else { "numbers" };
        match ty.form {
            Form::Held(h) if h.count() == 1 => {
                let owner = h.0.trailing_zeros() as u8;
                for k in [1, 2] {
                    found.entry(format!("sharing, to {k} places after")).or_insert((i as u32, (owner + k) % 4));
                }
            }
            form => {
                for (pair, to) in ROUTES {
                    let own = Holders::pair(Party(pair[0]), Party(pair[1]));
                    match form {
                        Form::Held(h) if h == own => found.entry(format!("{domain} of {h}")).or_insert((i as u32, to)),
                        Form::Held(_) => continue,
                        _ => found.entry(format!("products of {domain}, {own} to {to}")).or_insert((i as u32, to)),
                    };
                }
            }
        }
    }
    found
}

#[test]
fn views_are_uniform_and_bare_messages_show() {
    let mut rng = Numbers(5);
    let t = Tile::draw(&mut rng, 16, 12, false, 16);
    let p = t.program(Route::Circuit);
    assert_eq!(run(&p, &t.acc, &[[1; 32], [2; 32], [3; 32], [4; 32]], None).1, t.wanted());
    for me in 0..4 {
        let seen = look(&p, &t.acc, me, None);
        println!("party {me}: {seen:?}");
        assert!(!suspicious(seen), "what party {me} receives depends on secrets: {seen:?}");
    }
    let kinds = kinds(&p);
    assert_eq!(kinds.len(), 2 + 4 + 12, "kinds of messages: {:?}", kinds.keys());
    for (name, (instruction, to)) in kinds {
        let seen = look(&p, &t.acc, to.into(), Some(instruction));
        println!("{name} bare, party {to}: {seen:?}");
        assert!(suspicious(seen), "nobody notices {name} without pad: {seen:?}");
    }
}
