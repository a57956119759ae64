//! Bits of a shared number: its three operands p, q, r are added up.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | carries of p + q + r: `(p xor r)·(q xor r) xor r`, moved up by one, leave two numbers |
//! | 2 | where these both have a bit |
//! | 3 … | a tree: an interval carries if its upper part does, or passes on what the lower part carries |
//!
//! Only those intervals are joined from which a wanted bit follows: of the low bits one, of the others those of a parallel prefix
//! (J. Sklansky, Conditional-Sum Addition Logic, 1960).
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::{product, xor};
use ir::{Op, Value};
use std::collections::BTreeMap;

/// A plane of a value.
type Plane = (Value, u32);
/// Bits `from .. to`.
type Interval = (u32, u32);

/// Most planes of a value.
const MOST: usize = 255;

/// Planes as one value.
fn collect(b: &mut Builder, planes: &[Plane]) -> Value {
    let runs = planes.chunk_by(|x, y| x.0 == y.0).map(<[Plane]>::to_vec).collect::<Vec<_>>();
    let parts = runs.into_iter().map(|run| pick(b, run[0].0, run.iter().map(|p| p.1).collect())).collect();
    stack(b, parts)
}

/// Products of planes, in one exchange.
fn and(b: &mut Builder, pairs: &[(Plane, Plane)]) -> Vec<Plane> {
    let mut out = Vec::new();
    for pairs in pairs.chunks(MOST) {
        let (left, right): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let (left, right) = (collect(b, &left), collect(b, &right));
        let x = product(b, left, right);
        out.extend((0..pairs.len() as u32).map(|i| (x, i)));
    }
    out
}

/// Sums of planes.
fn add(b: &mut Builder, pairs: &[(Plane, Plane)]) -> Vec<Plane> {
    let mut out = Vec::new();
    for pairs in pairs.chunks(MOST) {
        let (left, right): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let (left, right) = (collect(b, &left), collect(b, &right));
        let x = xor(b, left, right);
        out.extend((0..pairs.len() as u32).map(|i| (x, i)));
    }
    out
}

/// Where an interval is cut: at the place with most zeros at its end, so that intervals have parts in common.
fn middle((from, to): Interval) -> u32 {
    (from + 1..to).max_by_key(|m| m.trailing_zeros()).expect("an interval of two bits or more")
}

/// Height of the tree of an interval.
fn height(x: Interval) -> u32 {
    match x.1 - x.0 {
        1 => 0,
        _ => 1 + height((x.0, middle(x))).max(height((middle(x), x.1))),
    }
}

/// Bits of the numbers that `xs` share, each in a ring of its own: for each the wanted ones, as planes of one value. All side by
/// side.
pub(super) fn bits(b: &mut Builder, xs: &[(Value, Vec<u32>)]) -> Vec<Value> {
    let mut adders: Vec<Adder> = xs.iter().map(|(x, wanted)| Adder::new(b, *x, wanted)).collect();
    let most = adders.iter().flat_map(|a| a.wanted.keys()).map(|x| height(*x)).max().unwrap_or(0);
    for level in 1..=most {
        adders.iter_mut().for_each(|a| a.level(b, level));
    }
    adders.iter().map(|a| a.sums(b)).collect()
}

struct Adder {
    /// `a xor b` of the two numbers that are left, from bit 0.
    sum: Value,
    outputs: Vec<u32>,
    /// Intervals that must be known, and whether one must be known to pass a carry on.
    wanted: BTreeMap<Interval, bool>,
    carries: BTreeMap<Interval, Plane>,
    passes: BTreeMap<Interval, Plane>,
}

impl Adder {
    fn new(b: &mut Builder, x: Value, outputs: &[u32]) -> Adder {
        let outputs = outputs.to_vec();
        let n = outputs.iter().max().map_or(1, |top| top + 1);
        let [p, q, r] = [0, 1, 2].map(|index| {
            let x = b.one(Op::Operand { x, index });
            let x = b.one(Op::PlanesH { x, lo: 0, width: n as u8 });
            b.one(Op::Embed { x, bits: 1 })
        });
        let (pr, qr) = (xor(b, p, r), xor(b, q, r));
        let three = xor(b, pr, q);
        let mut adder =
            Adder { sum: three, outputs, wanted: BTreeMap::new(), carries: BTreeMap::new(), passes: BTreeMap::new() };
        if n == 1 {
            return adder;
        }
        let low = |b: &mut Builder, x| pick(b, x, (0..n - 1).collect());
        let (left, right, rest) = (low(b, pr), low(b, qr), low(b, r));
        let carry = product(b, left, right);
        let carry = xor(b, carry, rest);
        // Bit 0 has no carry from below, and bit 1 none from the sum of both.
        let upper = pick(b, three, (1..n).collect());
        let pass = xor(b, upper, carry);
        let first = pick(b, three, vec![0]);
        adder.sum = stack(b, vec![first, pass]);
        for i in adder.outputs.clone().into_iter().filter(|i| *i > 1) {
            adder.want((1, i), false);
        }
        if n > 2 {
            let inner = |b: &mut Builder, x, from: u32| pick(b, x, (from..from + n - 2).collect());
            let (left, right) = (inner(b, upper, 0), inner(b, carry, 0));
            let both = product(b, left, right);
            for i in 1..n - 1 {
                adder.carries.insert((i, i + 1), (both, i - 1));
                adder.passes.insert((i, i + 1), (adder.sum, i));
            }
        }
        adder
    }

    fn want(&mut self, x: Interval, pass: bool) {
        let known = self.wanted.insert(x, pass | self.wanted.get(&x).copied().unwrap_or(false));
        if x.1 - x.0 == 1 || known.is_some_and(|before| before || !pass) {
            return;
        }
        let m = middle(x);
        self.want((m, x.1), true);
        self.want((x.0, m), pass);
    }

    /// Joins the intervals of one height.
    fn level(&mut self, b: &mut Builder, level: u32) {
        let here: Vec<(Interval, bool)> =
            self.wanted.iter().filter(|(x, _)| height(**x) == level).map(|(x, pass)| (*x, *pass)).collect();
        if here.is_empty() {
            return;
        }
        let halves = |x: Interval| ((x.0, middle(x)), (middle(x), x.1));
        let carried = here.iter().map(|(x, _)| (self.passes[&halves(*x).1], self.carries[&halves(*x).0]));
        let passing: Vec<Interval> = here.iter().filter(|(_, pass)| *pass).map(|(x, _)| *x).collect();
        let passed = passing.iter().map(|x| (self.passes[&halves(*x).1], self.passes[&halves(*x).0]));
        let pairs: Vec<(Plane, Plane)> = carried.chain(passed).collect();
        let products = and(b, &pairs);
        let sums: Vec<(Plane, Plane)> =
            here.iter().zip(&products).map(|((x, _), p)| (self.carries[&halves(*x).1], *p)).collect();
        let carries = add(b, &sums);
        self.carries.extend(here.iter().map(|(x, _)| *x).zip(carries));
        self.passes.extend(passing.into_iter().zip(products[here.len()..].iter().copied()));
    }

    /// The wanted bits.
    fn sums(&self, b: &mut Builder) -> Value {
        let own: Vec<Plane> = self.outputs.iter().map(|i| (self.sum, *i)).collect();
        if self.outputs.iter().all(|i| *i < 2) {
            return collect(b, &own);
        }
        let high: Vec<u32> = self.outputs.iter().copied().filter(|i| *i > 1).collect();
        let pairs: Vec<(Plane, Plane)> = high.iter().map(|i| ((self.sum, *i), self.carries[&(1, *i)])).collect();
        let high_bits: BTreeMap<u32, Plane> = high.iter().copied().zip(add(b, &pairs)).collect();
        let all: Vec<Plane> =
            self.outputs.iter().map(|i| high_bits.get(i).copied().unwrap_or((self.sum, *i))).collect();
        collect(b, &all)
    }
}
