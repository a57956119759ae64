//! Gadgets at their boundaries, as programs of `testdata/exec`: what the compiler emits now is what the file holds, and
//! the results on its `; run:` lines are those of the formula. `QNN_BLESS=1` rewrites the files.
use compiler::lower::builder::Builder;
use compiler::lower::compare::{carry_trees, pick};
use compiler::lower::requant::{Formula, Source, bit_to_ring, requantize};
use compiler::lower::{Lowered, dealer};
use compiler::pipeline::program_of;
use ir::eval::{eval, threshold};
use ir::program::DType;
use ir::{Holders, Interface, Op, Party, Port, Value};
use std::fs;
use std::path::Path;

const OWNER: Party = Party(1);

/// A gadget: what it does to a held input, and what its result is, element by element.
struct Gadget<'a> {
    name: String,
    comment: String,
    inputs: Vec<i64>,
    /// From a sharing to a sharing or to opened integers.
    build: &'a dyn Fn(&mut Builder, Value) -> Value,
    /// Ring in which the input is shared.
    ring: u8,
    meaning: &'a dyn Fn(i64) -> i64,
}

fn port(name: &str, len: usize) -> Port {
    let (name, dtype) = (name.to_owned(), DType::I32);
    Port { name, dtype, shape: vec![len as u32], scale: 1.0, zero_point: 0, party: OWNER, float: false }
}

fn list(x: &[i64]) -> String {
    x.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

/// The text of a gadget's file, after the evaluator agreed with its meaning.
fn text(g: &Gadget<'_>) -> String {
    let n = g.inputs.len();
    let interface =
        Interface { inputs: vec![port("x", n)], outputs: vec![port("y", n)], weights: vec![], weight_owner: Party(0) };
    let mut b = Builder::new(interface, 3);
    let x = b.one(Op::Input { index: 0 });
    let x = b.one(Op::Reshare { x, bits: g.ring });
    let y = (g.build)(&mut b, x);
    let y = match b.ty(y).domain {
        ir::Domain::Ring(_) => b.one(Op::Open { x: y, to: Holders::one(OWNER) }),
        ir::Domain::Bits(_) => {
            let y = b.one(Op::Open { x: y, to: Holders::one(OWNER) });
            b.one(Op::NumberH { x: y })
        }
    };
    b.emit(Op::Output { x: y, index: 0 });
    let (reveal, parts, results) = ("output".into(), vec![], vec![]);
    let p = program_of(Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, notes: vec![], results });
    let typed = ir::verify::verify(&p).unwrap_or_else(|bad| panic!("{}: {}", g.name, bad[0]));
    let want: Vec<i64> = g.inputs.iter().map(|x| (g.meaning)(*x)).collect();
    let got = eval(&p, &typed, std::slice::from_ref(&g.inputs), &[]);
    assert_eq!(got, std::slice::from_ref(&want), "{}", g.name);
    let body = ir::text::print(&p, false).expect("verified");
    format!("; test exec\n; {}\n; run: [{}] == [{}]\n{body}", g.comment, list(&g.inputs), list(&want))
}

/// Compares a file with its gadget, or writes it.
fn settle(g: &Gadget<'_>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/exec").join(format!("{}.qir", g.name));
    let now = text(g);
    if std::env::var_os("QNN_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("has a folder")).expect("folder");
        fs::write(&path, &now).expect("writable");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let file = path.display();
    assert!(kept == now, "{file}: the compiler emits another program; QNN_BLESS=1 rewrites it, review the diff");
}

fn signed(x: i64, k: u8) -> i64 {
    let shift = 64 - u32::from(k);
    x << shift >> shift
}

/// Smallest, largest and neighbours of zero in a ring of k bits.
fn extremes(k: u8) -> Vec<i64> {
    let (lo, hi) = (signed(1 << (k - 1), k), signed((1u64 << (k - 1)).wrapping_sub(1) as i64, k));
    let mut all =
        vec![lo, signed(lo.wrapping_add(1), k), signed(-1, k), 0, signed(1, k), signed(hi.wrapping_sub(1), k), hi];
    all.sort_unstable();
    all.dedup();
    all
}

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
            meaning: &|x| i64::from(x < 0),
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
            meaning: &|x| x.max(0),
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
            meaning: &|x| signed(x & 1, k),
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
            meaning: &|x| signed(x.wrapping_mul(x).wrapping_add(x), k),
        });
    }
}

/// Constants of a requantization per element: slope, shift, offsets above and below the split, clamp.
#[derive(Clone, Copy)]
struct Stair {
    m: i64,
    s: u8,
    above: i64,
    below: i64,
    lo: i64,
    split: i64,
    hi: i64,
}

impl Stair {
    const fn one(m: i64, s: u8, b: i64, lo: i64, hi: i64) -> Stair {
        Stair { m, s, above: b, below: b, lo, split: lo, hi }
    }

    fn floor(&self, b: i64, acc: i64) -> i64 {
        ((i128::from(self.m) * i128::from(acc) + i128::from(b)) >> self.s) as i64
    }

    /// The formula, piece by piece.
    fn at(&self, acc: i64) -> i64 {
        let above = self.floor(self.above, acc).clamp(self.split, self.hi);
        above + self.floor(self.below, acc).clamp(self.lo, self.split) - self.split
    }

    fn thresholds(&self) -> Vec<i64> {
        let at = |b, j| threshold(self.m, u64::from(self.s), b, j);
        let above = [at(self.above, self.split + 1), at(self.above, self.hi)];
        let below = [at(self.below, self.lo + 1), at(self.below, self.split)];
        if self.lo < self.split { [above, below].concat() } else { above.to_vec() }
    }
}

fn bits_for(x: i128) -> u8 {
    (128 - x.unsigned_abs().leading_zeros()) as u8
}

/// The formula for accumulators up to `bound`; one stair for all elements, or one each.
fn formula(b: &mut Builder, stairs: &[Stair], two: bool, bound: i64) -> Formula {
    let furthest = stairs.iter().flat_map(Stair::thresholds).map(i64::abs).max().unwrap_or(0);
    let a = bits_for(i128::from(bound) + i128::from(furthest) + 1);
    let reach = stairs.iter().flat_map(|c| {
        let lowest = c.floor(c.above, -bound).min(c.floor(c.below, -bound));
        let highest = c.floor(c.above, bound).max(c.floor(c.below, bound));
        [i128::from(highest) - i128::from(c.lo), i128::from(c.hi) + 1 - i128::from(lowest)]
    });
    let h = reach.map(bits_for).max().unwrap_or(1).max(1) + 1;
    let mut get = |of: fn(&Stair) -> i64| b.channels(stairs.iter().map(of).collect());
    let below = two.then(|| get(|c| c.below));
    Formula {
        m: get(|c| c.m),
        s: get(|c| c.s.into()),
        b: [Some(get(|c| c.above)), below],
        split: get(|c| c.split),
        below: two.then(|| get(|c| if c.lo < c.split { c.lo + 1 } else { c.split })),
        lo: get(|c| c.lo),
        hi: get(|c| c.hi),
        width: stairs.iter().map(|c| c.s).max().unwrap_or(1).max(1),
        n: (bits_for(bound.into()) + 2).max(a + 1).max(4),
        a,
        h,
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
        let next = std::cell::Cell::new(0);
        settle(&Gadget {
            name: format!("requant-{name}-{route}"),
            comment: format!("{comment}, by the {route} route."),
            inputs: inputs.clone(),
            ring: 32,
            build: &build,
            meaning: &|_| {
                next.set(next.get() + 1);
                results[next.get() - 1]
            },
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
