//! Gadgets as programs of `testdata/exec`: what the compiler emits now is what the file holds, and the results on its
//! `; run:` lines are those of a formula.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use compiler::lower::Lowered;
use compiler::lower::builder::Builder;
use compiler::lower::requant::Formula;
use compiler::pipeline::program_of;
use ir::eval::{eval, threshold};
use ir::program::DType;
use ir::{Holders, Interface, Op, Party, Port, Value};
use std::fs;
use std::path::Path;

const OWNER: Party = Party(1);

/// A gadget: what it does to a held input, and its results.
pub struct Gadget<'a> {
    pub name: String,
    pub comment: String,
    pub inputs: Vec<i64>,
    /// From a sharing to a sharing or to opened integers.
    pub build: &'a dyn Fn(&mut Builder, Value) -> Value,
    /// Ring in which the input is shared.
    pub ring: u8,
    pub results: Vec<i64>,
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
    let (inputs, outputs) = (vec![port("x", g.inputs.len())], vec![port("y", g.results.len())]);
    let interface = Interface { inputs, outputs, weights: vec![], weight_owner: Party(0) };
    let mut b = Builder::new(interface, ir::Protocol::Rep3.facts().scheme);
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
    let got = eval(&p, &typed, std::slice::from_ref(&g.inputs), &[]);
    assert_eq!(got, std::slice::from_ref(&g.results), "{}", g.name);
    let body = ir::text::print(&p, false).expect("verified");
    format!("; test exec\n; {}\n; run: [{}] == [{}]\n{body}", g.comment, list(&g.inputs), list(&g.results))
}

/// Compares a file with its gadget, or writes it.
pub fn settle(g: &Gadget<'_>) {
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

/// The results of a function of each element.
pub fn each(inputs: &[i64], f: impl Fn(i64) -> i64) -> Vec<i64> {
    inputs.iter().map(|x| f(*x)).collect()
}

pub fn signed(x: i64, k: u8) -> i64 {
    let shift = 64 - u32::from(k);
    x << shift >> shift
}

/// Smallest, largest and neighbours of zero in a ring of k bits.
pub fn extremes(k: u8) -> Vec<i64> {
    let (lo, hi) = (signed(1 << (k - 1), k), signed((1u64 << (k - 1)).wrapping_sub(1) as i64, k));
    let mut all =
        vec![lo, signed(lo.wrapping_add(1), k), signed(-1, k), 0, signed(1, k), signed(hi.wrapping_sub(1), k), hi];
    all.sort_unstable();
    all.dedup();
    all
}

/// Constants of a requantization per element: slope, shift, offsets above and below the split, clamp.
#[derive(Clone, Copy)]
pub struct Stair {
    pub m: i64,
    pub s: u8,
    pub above: i64,
    pub below: i64,
    pub lo: i64,
    pub split: i64,
    pub hi: i64,
}

impl Stair {
    pub const fn one(m: i64, s: u8, b: i64, lo: i64, hi: i64) -> Stair {
        Stair { m, s, above: b, below: b, lo, split: lo, hi }
    }

    pub fn floor(&self, b: i64, acc: i64) -> i64 {
        ((i128::from(self.m) * i128::from(acc) + i128::from(b)) >> self.s) as i64
    }

    /// The formula, piece by piece.
    pub fn at(&self, acc: i64) -> i64 {
        let above = self.floor(self.above, acc).clamp(self.split, self.hi);
        above + self.floor(self.below, acc).clamp(self.lo, self.split) - self.split
    }

    pub fn thresholds(&self) -> Vec<i64> {
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
pub fn formula(b: &mut Builder, stairs: &[Stair], two: bool, bound: i64) -> Formula {
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
        exact: true,
    }
}
