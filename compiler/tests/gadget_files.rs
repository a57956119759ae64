//! Gadgets at their boundaries, as programs of `testdata/exec`: widths from one bit to those of the ring, extremes, both
//! sides of each threshold. `QNN_BLESS=1` rewrites the files.
#[path = "common/gadget.rs"]
mod gadget;
use compiler::lower::builder::Builder;
use compiler::lower::compare::{carry_trees, pick};
use compiler::lower::dealer;
use compiler::lower::requant::{Source, bit_to_ring, requantize};
use gadget::{Gadget, Stair, each, extremes, formula, settle, signed};
use ir::{Holders, Op, Party, Value};

/// The sign of a sharing in a ring of w + 1 bits: a comparison of w bits.
fn sign(b: &mut Builder, x: Value, w: u8) -> Value {
    let (u, v) = b.two(Op::SplitShared { x, rot: 2 });
    let bits = b.one(Op::PlanesH { x: u, lo: 0, width: w + 1 });
    let bits = b.one(Op::Reshare { x: bits, bits: 1 });
    let low = pick(b, bits, (0..u32::from(w)).collect());
    let low_v = b.one(Op::PlanesH { x: v, lo: 0, width: w });
    let not_v = b.one(Op::Not { x: low_v });
    let lt = b.one(Op::MulSh { a: low, h: not_v });
    let lt = b.one(Op::Reshare { x: lt, bits: 1 });
    let same = b.one(Op::Embed { x: not_v, bits: 1 });
    let eq = b.one(Op::Add { a: low, b: same });
    let borrow = carry_trees(b, lt, eq, &[u32::from(w)]);
    let top_u = pick(b, bits, vec![u32::from(w)]);
    let top_v = b.one(Op::PlanesH { x: v, lo: w, width: 1 });
    let top_v = b.one(Op::Embed { x: top_v, bits: 1 });
    let sign = b.one(Op::Add { a: borrow, b: top_u });
    b.one(Op::Add { a: sign, b: top_v })
}

#[test]
fn comparisons() {
    for w in [1, 2, 3, 31, 32, 33, 62, 63] {
        settle(&Gadget {
            name: format!("compare-{w:02}"),
            comment: format!("[x < 0] by a comparison of {w} bits, from the smallest number to the largest."),
            inputs: extremes(w + 1),
            ring: w + 1,
            build: &|b, x| sign(b, x, w),
            results: each(&extremes(w + 1), |x| i64::from(x < 0)),
        });
    }
}

#[test]
fn maxima() {
    for w in [1, 8, 31, 32, 63] {
        settle(&Gadget {
            name: format!("max-zero-{w:02}"),
            comment: format!("max(x, 0) = x - [x < 0]*x in a ring of {} bits.", w + 1),
            inputs: extremes(w + 1),
            ring: w + 1,
            build: &|b, x| {
                let less = sign(b, x, w);
                let less = bit_to_ring(b, less, w + 1, 0);
                let less = b.one(Op::Reshare { x: less, bits: w + 1 });
                let cut = b.one(Op::MulSs { a: less, b: x });
                let cut = b.one(Op::Reshare { x: cut, bits: w + 1 });
                b.one(Op::Sub { a: x, b: cut })
            },
            results: each(&extremes(w + 1), |x| x.max(0)),
        });
    }
}

#[test]
fn bits_become_numbers() {
    for k in [1, 2, 31, 32, 33, 63, 64] {
        settle(&Gadget {
            name: format!("bit-to-ring-{k:02}"),
            comment: format!("The low bit of each number as a number in a ring of {k} bits."),
            inputs: vec![0, 1, -1, -2],
            ring: 2,
            build: &|b, x| {
                let (u, v) = b.two(Op::SplitShared { x, rot: 1 });
                let u = b.one(Op::PlanesH { x: u, lo: 0, width: 1 });
                let u = b.one(Op::Reshare { x: u, bits: 1 });
                let v = b.one(Op::PlanesH { x: v, lo: 0, width: 1 });
                let v = b.one(Op::Embed { x: v, bits: 1 });
                let bit = b.one(Op::Add { a: u, b: v });
                let y = bit_to_ring(b, bit, k, 2);
                b.one(Op::Reshare { x: y, bits: k })
            },
            results: each(&[0, 1, -1, -2], |x| signed(x & 1, k)),
        });
    }
}

#[test]
fn rings() {
    for k in [1, 2, 31, 32, 33, 63, 64] {
        let everyone = Holders::all(3);
        settle(&Gadget {
            name: format!("ring-{k:02}"),
            comment: format!("x*x + x in a ring of {k} bits, by way of a split, a join, a deal and an opening."),
            inputs: extremes(k),
            ring: k,
            build: &|b, x| {
                let square = b.one(Op::MulSs { a: x, b: x });
                let (u, w) = b.two(Op::Split { x: square, rot: 0 });
                let v = b.one(Op::Join { x: w });
                let u = b.one(Op::Deal { x: u, bits: k });
                let v = b.one(Op::AsSum { x: v, at: Holders::pair(Party(1), Party(2)), bits: k });
                let square = b.one(Op::Sub { a: v, b: u });
                let square = b.one(Op::AsSum { x: square, at: everyone, bits: k });
                let own = b.one(Op::AsSum { x, at: everyone, bits: k });
                let sum = b.one(Op::Add { a: square, b: own });
                b.one(Op::Reshare { x: sum, bits: k })
            },
            results: each(&extremes(k), |x| signed(x.wrapping_mul(x).wrapping_add(x), k)),
        });
    }
}

/// The same accumulators through both routes, from a sharing and from summands.
fn requantization(name: &str, comment: &str, stairs: &[Stair], bound: i64) {
    let two = stairs.iter().any(|c| c.lo < c.split);
    // Ends, zero, and both sides of each threshold: where a rounding tie would fall the other way.
    let mut all: Vec<(i64, Stair)> = Vec::new();
    for c in stairs {
        let near = c.thresholds().into_iter().flat_map(|t| [t - 1, t]);
        let mut accs: Vec<i64> = near.chain([-bound, -1, 0, 1, bound]).filter(|x| x.abs() <= bound).collect();
        accs.sort_unstable();
        accs.dedup();
        all.extend(accs.into_iter().map(|x| (x, *c)));
    }
    let inputs: Vec<i64> = all.iter().map(|(x, _)| *x).collect();
    let results: Vec<i64> = all.iter().map(|(x, c)| c.at(*x)).collect();
    let each: Vec<Stair> = all.iter().map(|(_, c)| *c).collect();
    let stairs = if stairs.len() == 1 { stairs } else { &each[..] };
    for (route, summands) in [("dealer", false), ("boolean", true)] {
        let build = |b: &mut Builder, x: Value| {
            let f = formula(b, stairs, two, bound);
            let x = b.cast(x, f.n);
            let source = match summands {
                true => {
                    let at = b.all();
                    Source::Sum(b.one(Op::AsSum { x, at, bits: f.n }))
                }
                false => Source::Shared(x),
            };
            match route {
                "dealer" => dealer::requantize(b, source, &f, 10, 1),
                _ => requantize(b, source, &f, 10, 2),
            }
        };
        settle(&Gadget {
            name: format!("requant-{name}-{route}"),
            comment: format!("{comment}, by the {route} route."),
            inputs: inputs.clone(),
            ring: 32,
            build: &build,
            results: results.clone(),
        });
    }
}

#[test]
fn requantizations() {
    let byte = |m, s, b| Stair::one(m, s, b, -128, 127);
    let half = |s: u8| 1i64 << (s - 1);
    requantization("shift-00", "Clamp only, no shift", &[byte(1, 0, 0)], 300);
    requantization("shift-01", "Halves, ties up", &[byte(1, 1, half(1))], 300);
    requantization("shift-02", "Quarters, ties up", &[byte(1, 2, half(2))], 700);
    requantization("shift-31", "A slope just above 2^-10, shift 31", &[byte((1 << 21) + 1, 31, half(31))], 1 << 20);
    requantization("shift-32", "A slope just below 2^-10, shift 32", &[byte((1 << 22) - 1, 32, half(32))], 1 << 20);
    requantization("shift-33", "A slope of 2^-10, shift 33", &[byte(1 << 23, 33, half(33))], 1 << 20);
    requantization("shift-40", "A slope of about 0.003, shift 40", &[byte(3_298_534_883, 40, half(40))], 1 << 20);
    requantization("shift-52", "A slope just above 2^-10, shift 52", &[byte((1 << 42) + 1, 52, half(52))], 1 << 17);
    requantization(
        "relu",
        "Negative numbers become the smallest value",
        &[Stair::one(5, 4, 8 - (128 << 4), -128, 127)],
        2000,
    );
    requantization("wide", "The largest accumulators of a ring of 32 bits", &[byte(257, 31, half(31))], (1 << 30) - 1);
    requantization(
        "constant",
        "A clamp of one value",
        &[Stair { m: 1, s: 0, above: -1000, below: -1000, lo: 7, split: 7, hi: 8 }],
        100,
    );
    requantization("dead", "A dead channel: [acc >= 0]", &[Stair::one(1, 12, 1 << 12, 0, 1)], 1 << 11);
    let pieces = Stair { m: 3, s: 3, above: 4, below: 3, lo: -128, split: 0, hi: 127 };
    requantization("two-pieces", "Ties away from zero: above zero up, below it down", &[pieces], 500);
    let wide = Stair { m: (1 << 22) + 3, s: 33, above: half(33), below: half(33) - 1, lo: -128, split: 5, hi: 127 };
    requantization("two-pieces-33", "Two pieces, shift 33", &[wide], 1 << 20);
    let mixed = [byte(1, 1, 1), byte((1 << 21) + 1, 31, half(31)), byte(1 << 23, 33, half(33))];
    requantization("channels", "Shifts 1, 31 and 33 side by side", &mixed, 1 << 19);
    requantization("channels-two", "One piece and two side by side", &[pieces, byte(3, 3, 4)], 500);
}
