//! Gadgets of each protocol in each ring: products, signs, zeros, numbers of bits, tables and requantizations equal a formula at the
//! extremes of the ring and at both sides of thresholds, all parties in memory, rounds and bytes as predicted.
mod common;
use common::in_threads;
use compiler::lower::builder::Builder;
use compiler::lower::formulas::{Class, ClassKind, Formulas};
use compiler::lower::requant::Source;
use compiler::lower::{Lowered, Route, adder, circuit, staircase, table};
use compiler::pipeline::program_for;
use ir::program::DType;
use ir::{Domain, Holders, Interface, Op, Party, Port, Protocol, Value};
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::network;
use vm::exec::Machine;

/// Owner of what comes in, and receiver of what goes out.
const OWNER: Party = Party(1);

/// Protocols without roles; those with roles have files of gadgets.
const PROTOCOLS: [(Protocol, Route); 4] = [
    (Protocol::Rep4, Route::Circuit),
    (Protocol::Rep3Mal, Route::Adder),
    (Protocol::Semi { parties: 2 }, Route::Circuit),
    (Protocol::Semi { parties: 3 }, Route::Circuit),
];

const WIDTHS: [u8; 10] = [1, 2, 3, 8, 31, 32, 33, 40, 63, 64];

fn signed(x: i64, k: u8) -> i64 {
    let shift = 64 - u32::from(k);
    x << shift >> shift
}

/// Smallest, largest and neighbours of zero in a ring of k bits.
fn extremes(k: u8) -> Vec<i64> {
    let (lo, hi) = (i64::MIN >> (64 - k), i64::MAX >> (64 - k));
    let mut all = vec![lo, lo.wrapping_add(1), -1, 0, 1, hi.wrapping_sub(1), hi];
    all.iter_mut().for_each(|x| *x = signed(*x, k));
    all.sort_unstable();
    all.dedup();
    all
}

fn port(name: &str, len: usize) -> Port {
    let shape = vec![len as u32];
    Port { name: name.into(), dtype: DType::I32, shape, scale: 1.0, zero_point: 0, party: OWNER, float: false }
}

/// What `body` makes of an input that its owner holds.
fn run(protocol: Protocol, x: &[i64], body: impl FnOnce(&mut Builder, Value) -> Value) -> Vec<i64> {
    let (inputs, outputs) = (vec![port("x", x.len())], vec![port("y", x.len())]);
    let interface = Interface { inputs, outputs, weights: vec![], weight_owner: Party(0) };
    let mut b = Builder::new(interface, protocol.facts().scheme);
    b.layers.push(ir::Layer { operator: 0, name: "gadget".into() });
    let held = b.one(Op::Input { index: 0 });
    let y = body(&mut b, held);
    let bits = matches!(b.ty(y).domain, Domain::Bits(_));
    let y = b.one(Op::Open { x: y, to: Holders::one(OWNER) });
    let y = if bits { b.one(Op::NumberH { x: y }) } else { y };
    b.emit(Op::Output { x: y, index: 0 });
    let (reveal, parts, results) = ("output".into(), vec![], vec![]);
    let lowered = Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, notes: vec![], results };
    let p = program_for(lowered, compiler::profile::of(protocol));
    ir::verify::verify(&p).unwrap_or_else(|bad| panic!("{}", bad[0]));
    let outcomes = in_threads(network(p.parties.into()), |mut link| {
        let protocol = vm::protocols::of(&p).expect("a protocol of this build");
        let seeds = (protocol.agree)(&mut link).expect("keys");
        let runtime = (protocol.make)(link.me(), &seeds, &link.session());
        let mut m = Machine::new(p.clone(), runtime).expect("verified");
        m.setup(None, &mut link).expect("set-up");
        let outcome = m.infer(&[(link.me() == OWNER).then(|| x.to_vec())], &mut link).expect("inference");
        link.close().expect("close");
        outcome
    });
    assert_eq!(outcomes.iter().map(|o| o.rounds).max(), Some(p.predicted_rounds()));
    assert_eq!(outcomes.iter().map(|o| o.payload_sent).collect::<Vec<_>>(), p.predicted_bytes());
    outcomes[OWNER.index()].outputs[0].clone().expect("the receiver has it")
}

fn each(x: &[i64], f: impl Fn(i64) -> i64) -> Vec<i64> {
    x.iter().map(|x| f(*x)).collect()
}

#[test]
fn products() {
    for (protocol, _) in PROTOCOLS {
        for k in WIDTHS {
            let x = extremes(k);
            let y = run(protocol, &x, |b, x| {
                let x = b.share(x, k);
                let square = b.one(Op::MulSs { a: x, b: x });
                let square = b.one(Op::Reshare { x: square, bits: k });
                b.one(Op::Add { a: square, b: x })
            });
            let want = each(&x, |x| signed(x.wrapping_mul(x).wrapping_add(x), k));
            assert_eq!(y, want, "x·x + x mod 2^{k} by {protocol:?}");
        }
    }
}

/// Narrowest ring in which bits become numbers by a product.
fn narrowest(protocol: Protocol) -> u8 {
    if protocol.facts().scheme.additive { 2 } else { 1 }
}

/// Widest ring whose sign a protocol takes: two operands of one number have one bit less.
fn widest(protocol: Protocol) -> u8 {
    if protocol == Protocol::Rep4 { 63 } else { 64 }
}

#[test]
fn signs_and_zeros() {
    for (protocol, route) in PROTOCOLS {
        for k in WIDTHS.into_iter().filter(|k| *k <= widest(protocol)) {
            let (x, m) = (extremes(k), k - 1);
            let y = run(protocol, &x, |b, x| {
                let x = b.share(x, k);
                match route {
                    Route::Adder => adder::compare::negative(b, x, m),
                    _ => circuit::compare::negative(b, x, m),
                }
            });
            assert_eq!(y, each(&x, |x| i64::from(x < 0)), "[x < 0] of {k} bits by {protocol:?}");
            let y = run(protocol, &x, |b, x| {
                let x = b.share(x, k);
                match route {
                    Route::Adder => adder::compare::zero(b, x, m),
                    _ => circuit::compare::zero(b, x, m),
                }
            });
            assert_eq!(y, each(&x, |x| i64::from(x == 0)), "[x = 0] of {k} bits by {protocol:?}");
        }
    }
}

#[test]
fn bits_and_numbers() {
    for (protocol, route) in PROTOCOLS {
        let offered = |k: &u8| *k >= narrowest(protocol);
        for k in WIDTHS.into_iter().filter(offered) {
            let planes = k.min(5);
            let x: Vec<i64> = (0..1 << planes).collect();
            let y = run(protocol, &x, |b, x| {
                let bits = b.one(Op::PlanesH { x, lo: 0, width: planes });
                let bits = b.share(bits, 1);
                match route {
                    Route::Adder => adder::number(b, bits, k),
                    _ => circuit::number(b, bits, k),
                }
            });
            assert_eq!(y, each(&x, |x| signed(x, k)), "{planes} bits as a number of {k} by {protocol:?}");
        }
        for k in WIDTHS.into_iter().filter(offered).filter(|k| *k <= widest(protocol)) {
            let x = extremes(k);
            let y = run(protocol, &x, |b, x| {
                let x = b.share(x, k);
                match route {
                    Route::Adder => {
                        let bit = adder::compare::negative(b, x, k - 1);
                        adder::compare::bit_times(b, bit, x)
                    }
                    _ => {
                        let bit = circuit::compare::negative(b, x, k - 1);
                        let sum = circuit::compare::bit_times(b, bit, x);
                        b.one(Op::Reshare { x: sum, bits: k })
                    }
                }
            });
            assert_eq!(y, each(&x, |x| x.min(0)), "min(x, 0) of {k} bits by {protocol:?}");
        }
    }
}

#[test]
fn tables() {
    let x: Vec<i64> = (-128..128).collect();
    let entries: Vec<i64> = (0..256).map(|x| (x * x * 37 + x * 5) % 256 - 128).collect();
    for (protocol, route) in PROTOCOLS {
        for k in WIDTHS.into_iter().filter(|k| *k >= 8) {
            let y = run(protocol, &x, |b, x| {
                let x = b.share(x, 8);
                table::by(b, x, &entries, k, route, 0)
            });
            assert_eq!(y, each(&x, |x| entries[x as u8 as usize]), "a table of bytes in {k} bits by {protocol:?}");
        }
    }
}

/// A slope of about `slope` with shift `s`, ties up, or away from zero in two pieces.
fn class(s: u32, slope: f64, two: bool) -> Class {
    let (m, half) = ((slope * f64::from(s).exp2()).round().max(1.0) as i64, 1i64 << s >> 1);
    let below = if two { half - 1 } else { half };
    let (lo, hi, kind) = (-128, 127, ClassKind::Stairs);
    let (split, first_below) = if two { (0, lo + 1) } else { (lo, lo) };
    Class { m, s, above: half, below, lo, hi, split, first_below, kind, bound: 0 }
}

/// Piece by piece.
fn wanted(c: &Class, acc: i64) -> i64 {
    let floor = |b: i64| ((i128::from(c.m) * i128::from(acc) + i128::from(b)) >> c.s) as i64;
    floor(c.above).clamp(c.split, c.hi) + floor(c.below).clamp(c.lo, c.split) - c.split
}

#[test]
fn requantizations() {
    for (protocol, route) in PROTOCOLS {
        let (mut done, mut left) = (0, Vec::new());
        for (s, two) in [0, 1, 2, 15, 31, 32, 33, 40, 50].into_iter().flat_map(|s| [(s, false), (s, true)]) {
            let slope = if s < 3 { 0.5f64.max(f64::from(s).exp2().recip()) } else { 1.0 / 128.0 };
            let (c, bound) = (class(s, slope, two && s > 0), 1i64 << 14);
            let f = Formulas::new(vec![c], 0, bound);
            let (fits, n) = match route {
                Route::Adder => (adder::requant::ring(&f) <= 64, adder::requant::ring(&f)),
                _ if protocol.facts().scheme.additive => (f.for_additive().n <= 64, f.for_additive().n),
                _ => (f.stays_in_words(64), f.n),
            };
            if !fits {
                left.push((s, two));
                continue;
            }
            let at = |b: i64, j: i64| ir::eval::threshold(c.m, s.into(), b, j);
            let near = [(c.above, 0), (c.above, 1), (c.above, 127), (c.below, -127), (c.below, 0)];
            let near = near.into_iter().flat_map(|(b, j)| [at(b, j) - 1, at(b, j), at(b, j) + 1]);
            let mut x: Vec<i64> = near.chain([-bound, -1, 0, 1, bound]).filter(|x| x.abs() <= bound).collect();
            x.sort_unstable();
            x.dedup();
            let f = Formulas { n, ..f };
            for k in [8, 32, 33, 64] {
                let y = run(protocol, &x, |b, x| {
                    let x = b.share(x, n);
                    staircase(b, Source::Shared(x), &f, None, k, route, 0)
                });
                assert_eq!(
                    y,
                    each(&x, |x| wanted(&c, x)),
                    "shift {s}, two pieces: {two}, into {k} bits, by {protocol:?}"
                );
                done += 1;
            }
        }
        println!("{protocol:?}: {done} requantizations; of shifts {left:?} the ring is too narrow");
        assert!(done >= 40, "{protocol:?}: only {done}");
    }
}
