//! Requantization, the dealer route: `y = clamp(floor((m·acc + b) / 2^s), lo, hi)` in five exchanges.
//!
//! As in the Boolean route `acc = v − u`, u known to role A, v to B and C, and `m·acc + b = V − Û` with two versions of Û
//! of which msb(v) picks one. A deals what concerns u and receives nothing; B and C compute between them.
//!
//! With `c = [V mod 2^s < Û mod 2^s]` and a bound T on the floor, h bits wide enough for floor − T and its sign:
//! `[floor < T] = a_T xor e_T·c`, where of the low h−1 bits of `(V>>s) − T` and `Û>>s` e_T says that they are equal and
//! a_T = [the first is less] xor both bits h−1. A piece has two bounds T < T'; with `X = a_T xor a_T'`,
//! `E = e_T xor e_T'`, `Z = X xor E`: inside them, `ok = X xor E·c`, and borrow there, `g = ok·c = Z·c`.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | B and C join v; A deals one-hot vectors of chunks of Û |
//! | 2 | masked leaves; A deals products of their masks |
//! | 3 | masked a, e, and the parts of c; A deals products of their masks |
//! | 4 | masked ok, over, g; A deals their masks as ring values, Û>>s, and ok's mask times Û>>s |
//! | 5 | `y = split + Σ ok·((V>>s) − split) − ok·(Û>>s) − g + over·(hi − split) + under·(lo − split)`, reshared |
//!
//! A product of opened bits is a sum of dealt products of their masks with coefficients that B and C know ([`Op::Unmask`]).
use super::builder::Builder;
use super::compare::pick;
use super::requant::{Formula, Source};
use ir::infer::{chunks, roles};
use ir::{Holders, Op, Terms, Value};
use std::collections::BTreeSet;

/// Planes of a chunk. Measured in bits sent: 3 and less take a larger tree, 5 and more longer one-hot vectors.
const CHUNK: u8 = 4;
/// Chunks of a group: products of masks double with each.
const GROUP: usize = 5;

/// A plane of a value.
type Plane = (Value, u32);

/// The planes in order, as one value.
fn gather(b: &mut Builder, planes: &[Plane]) -> Value {
    let mut parts: Vec<(Value, Vec<u32>)> = Vec::new();
    for (v, p) in planes {
        match parts.last_mut() {
            Some((last, list)) if last == v => list.push(*p),
            _ => parts.push((*v, vec![*p])),
        }
    }
    let parts: Vec<Value> = parts.into_iter().map(|(v, list)| pick(b, v, list)).collect();
    super::compare::stack(b, parts)
}

fn add_planes(b: &mut Builder, planes: &[Plane]) -> Plane {
    let first = planes[0];
    planes[1..].iter().fold(first, |sum, p| {
        let (x, y) = (gather(b, &[sum]), gather(b, &[*p]));
        (b.one(Op::Add { a: x, b: y }), 0)
    })
}

/// A polynomial over bits: the sets of variables whose products it adds, bit i for variable i.
#[derive(Clone, Default)]
struct Poly(BTreeSet<u64>);

impl Poly {
    fn one() -> Self {
        Poly([0].into())
    }

    fn flip(&mut self, set: u64) {
        if !self.0.remove(&set) {
            self.0.insert(set);
        }
    }

    fn add(&self, other: &Poly) -> Poly {
        let mut sum = self.clone();
        other.0.iter().for_each(|s| sum.flip(*s));
        sum
    }

    fn mul(&self, other: &Poly) -> Poly {
        let mut product = Poly::default();
        for a in &self.0 {
            other.0.iter().for_each(|b| product.flip(a | b));
        }
        product
    }

    fn is_linear(&self) -> bool {
        self.0.iter().all(|s| s.count_ones() == 1)
    }
}

/// Bits that two parties have as summands, by number.
#[derive(Default)]
struct Vars(Vec<Plane>);

impl Vars {
    fn var(&mut self, plane: Plane) -> Poly {
        self.0.push(plane);
        Poly([1 << (self.0.len() - 1)].into())
    }

    /// The same bit, as one variable if it is a sum of some.
    fn joined(&mut self, b: &mut Builder, p: Poly) -> Poly {
        if !p.is_linear() || p.0.len() < 2 {
            return p;
        }
        let planes: Vec<Plane> = p.0.iter().map(|s| self.0[s.trailing_zeros() as usize]).collect();
        let sum = add_planes(b, &planes);
        self.var(sum)
    }

    /// Evaluates polynomials without constant term: masks and opens the variables that stand in products.
    fn evaluate(&self, b: &mut Builder, polys: &[&Poly], rot: u8) -> Vec<Plane> {
        let products = |p: &Poly| -> Vec<u64> { p.0.iter().copied().filter(|s| s.count_ones() > 1).collect() };
        let used = polys.iter().flat_map(|p| products(p)).fold(0, |a, s| a | s);
        let opened: Vec<usize> = (0..self.0.len()).filter(|i| used >> i & 1 == 1).collect();
        let numbered = |set: u64| -> u64 {
            opened.iter().enumerate().filter(|(_, v)| set >> **v & 1 == 1).map(|(i, _)| 1u64 << i).sum()
        };
        let terms: Vec<Vec<u64>> = polys
            .iter()
            .map(|p| products(p).into_iter().map(numbered).collect::<Vec<u64>>())
            .filter(|t| !t.is_empty())
            .collect();
        let unmasked = (!terms.is_empty()).then(|| {
            let planes: Vec<Plane> = opened.iter().map(|i| self.0[*i]).collect();
            let x = gather(b, &planes);
            let (t, beta) = open_masked(b, x, rot);
            let of = Terms(terms);
            let dealt = b.one(Op::ProductsH { x: beta, of: of.clone() });
            let dealt = b.one(Op::Deal { x: dealt, bits: 1 });
            b.one(Op::Unmask { t, x, products: dealt, of })
        });
        let mut next = 0;
        polys
            .iter()
            .map(|p| {
                let linear = p.0.iter().filter(|s| s.count_ones() == 1).map(|s| self.0[s.trailing_zeros() as usize]);
                let mut planes: Vec<Plane> = linear.collect();
                if let (Some(v), true) = (unmasked, p.0.iter().any(|s| s.count_ones() > 1)) {
                    planes.push((v, next));
                    next += 1;
                }
                add_planes(b, &planes)
            })
            .collect()
    }
}

/// B and C see x xor β; A knows β.
pub(super) fn open_masked(b: &mut Builder, x: Value, rot: u8) -> (Value, Value) {
    let tag = b.tag();
    let (width, shape) = (b.ty(x).domain.width(), b.ty(x).shape.clone());
    let beta = b.one(Op::Beta { tag, width, shape: ir::Dims(shape), rot });
    let masked = b.one(Op::Mask { x, tag });
    (b.one(Op::Join { x: masked }), beta)
}

/// Dealt one-hot vectors of a number of which two versions agree below a bit.
struct Hot {
    width: u8,
    /// Of the version for msb(v) = 0.
    base: Value,
    /// Of the chunks from this one on of the other version.
    other: Option<(usize, Value)>,
}

/// What leaves say of each chunk: [v < chunk], [v = chunk].
struct Leaves {
    lt: Vec<Plane>,
    eq: Vec<Plane>,
}

/// Deals both versions, given as planes; they agree below plane `agree`.
fn deal_hot(b: &mut Builder, wrapped: Value, full: Value, agree: u8) -> Hot {
    let width = b.ty(wrapped).domain.width();
    let deal = |b: &mut Builder, x| {
        let x = b.one(Op::OnehotH { x, chunk: CHUNK });
        b.one(Op::Deal { x, bits: 1 })
    };
    let base = deal(b, wrapped);
    let other = (agree < width).then(|| {
        let from = agree / CHUNK;
        let upper = pick(b, full, (u32::from(from * CHUNK)..u32::from(width)).collect());
        (usize::from(from), deal(b, upper))
    });
    Hot { width, base, other }
}

/// `x` where the bit `msb` is clear, `y` where it is set.
fn choose(b: &mut Builder, x: Value, y: Value, msb: Value) -> Value {
    let planes = usize::from(b.ty(x).domain.width());
    let difference = b.one(Op::Add { a: x, b: y });
    let h = pick(b, msb, vec![0; planes]);
    let change = b.one(Op::MulSh { a: difference, h });
    b.one(Op::Add { a: x, b: change })
}

/// Compares the held planes v with the dealt number.
fn leaves(b: &mut Builder, hot: &Hot, v: Value, msb: Value) -> Leaves {
    let n = chunks(hot.width, CHUNK).count();
    let base = b.one(Op::LeavesSh { hot: hot.base, v, chunk: CHUNK });
    let planes = |v: Value, from: usize, to: usize| -> Vec<Plane> { (from..to).map(|p| (v, p as u32)).collect() };
    let Some((from, other)) = hot.other else {
        return Leaves { lt: planes(base, 0, n), eq: planes(base, n, 2 * n) };
    };
    let upper = pick(b, v, (from as u32 * u32::from(CHUNK)..u32::from(hot.width)).collect());
    let other = b.one(Op::LeavesSh { hot: other, v: upper, chunk: CHUNK });
    let same: Vec<u32> = (from..n).chain(n + from..2 * n).map(|p| p as u32).collect();
    let same = pick(b, base, same);
    let chosen = choose(b, same, other, msb);
    let (lt, eq) = (planes(chosen, 0, n - from), planes(chosen, n - from, 2 * (n - from)));
    Leaves { lt: [planes(base, 0, from), lt].concat(), eq: [planes(base, n, n + from), eq].concat() }
}

/// Joins chunks in groups: per group from the least significant, [less] and, where wanted, [equal].
fn groups(b: &mut Builder, l: &Leaves, least: usize, lowest_eq: bool, rot: u8) -> Vec<(Plane, Option<Plane>)> {
    let n = l.lt.len();
    let count = least.max(n.div_ceil(GROUP)).min(n);
    // Sizes differ by at most one, the smaller groups, which are asked for eq, on top.
    let bounds: Vec<usize> = (0..=count).map(|i| (i * n).div_ceil(count)).collect();
    bounds
        .windows(2)
        .enumerate()
        .map(|(i, w)| {
            let mut vars = Vars::default();
            let range = w[0]..w[1];
            let lt: Vec<Poly> = range.clone().map(|k| vars.var(l.lt[k])).collect();
            let eq: Vec<Poly> = range.map(|k| vars.var(l.eq[k])).collect();
            let (less, equal) = chain(&lt, &eq);
            if i > 0 || lowest_eq {
                let out = vars.evaluate(b, &[&less, &equal], rot);
                (out[0], Some(out[1]))
            } else {
                (vars.evaluate(b, &[&less], rot)[0], None)
            }
        })
        .collect()
}

/// `lt = lt_top xor eq_top·(lt_next xor …)` and the product of all eq, from entries in ascending order.
fn chain(lt: &[Poly], eq: &[Poly]) -> (Poly, Poly) {
    let (mut less, mut equal) = (Poly::default(), Poly::one());
    for (l, e) in lt.iter().zip(eq) {
        less = l.add(&e.mul(&less));
        equal = equal.mul(e);
    }
    (less, equal)
}

/// A number that A holds, dealt to be compared with numbers that B and C hold.
pub(super) struct Comparison(Hot);

impl Comparison {
    /// Deals the one-hot vectors of the chunks of the held planes.
    pub(super) fn new(b: &mut Builder, u: Value) -> Comparison {
        let width = b.ty(u).domain.width();
        Comparison(deal_hot(b, u, u, width))
    }

    /// The same for another shape, as broadcasting repeats elements.
    pub(super) fn expand(&self, b: &mut Builder, shape: &[u32]) -> Comparison {
        let base = b.one(Op::Expand { x: self.0.base, shape: ir::Dims(shape.to_vec()) });
        Comparison(Hot { width: self.0.width, base, other: None })
    }

    /// [v < u] for held planes v, as one plane of summands: one exchange, two where there are several groups.
    pub(super) fn less(&self, b: &mut Builder, v: Value, rot: u8) -> Value {
        let l = leaves(b, &self.0, v, v);
        let parts = groups(b, &l, 1, false, rot);
        let mut vars = Vars::default();
        let lt: Vec<Poly> = parts.iter().map(|p| vars.var(p.0)).collect();
        let eq: Vec<Poly> = parts.iter().map(|p| p.1.map_or_else(Poly::default, |e| vars.var(e))).collect();
        let (less, _) = chain(&lt, &eq);
        let plane = vars.evaluate(b, &[&less], rot)[0];
        gather(b, &[plane])
    }

    /// [v = u] for held planes v of up to 20 bits, as one plane of summands: one exchange.
    pub(super) fn equal(&self, b: &mut Builder, v: Value, rot: u8) -> Value {
        let l = leaves(b, &self.0, v, v);
        let mut vars = Vars::default();
        let equal = l.eq.iter().fold(Poly::one(), |product, e| product.mul(&vars.var(*e)));
        let plane = vars.evaluate(b, &[&equal], rot)[0];
        gather(b, &[plane])
    }
}

/// Emits the gadget; the result is shared in a ring of `k` bits.
pub fn requantize(b: &mut Builder, source: Source, f: &Formula, k: u8, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    let pair = Holders::pair(rb, rc);
    let (n, width, h) = (f.n, f.width, f.h);
    let offset = 1i64 << (n - 2);
    let (u, v) = super::requant::operands(b, source, offset, rot);

    // A: both versions of Û.
    let signed_u = b.one(Op::SextH { x: u, bits: n });
    let full = b.one(Op::MulP { x: u, p: f.m });
    let wrapped = b.one(Op::MulP { x: signed_u, p: f.m });
    let low_of = |b: &mut Builder, x| {
        let x = b.one(Op::AlignHp { x, p: f.s, to: width });
        b.one(Op::PlanesH { x, lo: 0, width })
    };
    let (low_wrapped, low_full) = (low_of(b, wrapped), low_of(b, full));
    let low = deal_hot(b, low_wrapped, low_full, n);
    let floor_wrapped = b.one(Op::SarHp { x: wrapped, p: f.s });
    let floor_full = b.one(Op::SarHp { x: full, p: f.s });
    let agree = n.saturating_sub(width);
    let part = |b: &mut Builder, x, lo, width| b.one(Op::PlanesH { x, lo, width });
    let (high_wrapped, high_full) = (part(b, floor_wrapped, 0, h - 1), part(b, floor_full, 0, h - 1));
    let high = deal_hot(b, high_wrapped, high_full, agree);
    let msb = part(b, v, n - 1, 1);
    let top_u = {
        let x = part(b, floor_wrapped, h - 1, 1);
        let x = b.one(Op::Deal { x, bits: 1 });
        if agree >= h {
            x
        } else {
            let y = part(b, floor_full, h - 1, 1);
            let y = b.one(Op::Deal { x: y, bits: 1 });
            choose(b, x, y, msb)
        }
    };

    // B and C: leaves and groups of each piece.
    let v0 = b.add_scalar(v, -offset);
    let scaled = b.one(Op::MulP { x: v0, p: f.m });
    let above = {
        let minus = b.scalar(-1);
        let next = |b: &mut Builder, p| b.one(Op::SubPp { a: p, b: minus });
        [next(b, f.split), next(b, f.hi)]
    };
    let mut pieces = vec![(f.b[0].expect("there is a piece"), above)];
    if let Some(below) = f.b[1] {
        pieces.push((below, [f.lo, f.split]));
    }
    let two = pieces.len() == 2;
    let mut vars = Vars::default();
    let mut floors = Vec::new();
    let (mut oks, mut outs, mut g) = (vec![], vec![], Poly::default());
    for (i, (offset_b, bounds)) in pieces.into_iter().enumerate() {
        let x = b.one(Op::AddP { x: scaled, p: offset_b });
        let low_v = low_of(b, x);
        let l = leaves(b, &low, low_v, msb);
        let parts = groups(b, &l, 2, false, rot);
        let lt: Vec<Poly> = parts.iter().map(|p| vars.var(p.0)).collect();
        // Nothing lies below the lowest group, so its eq has no use.
        let eq: Vec<Poly> = parts.iter().map(|p| p.1.map_or_else(Poly::default, |e| vars.var(e))).collect();
        let (c, _) = chain(&lt, &eq);
        let floor = b.one(Op::SarHp { x, p: f.s });
        floors.push(floor);
        let mut ends = Vec::new();
        for t in bounds {
            let x = b.one(Op::SubP { x: floor, p: t });
            let low_v = part(b, x, 0, h - 1);
            let l = leaves(b, &high, low_v, msb);
            let parts = groups(b, &l, 1, true, rot);
            let top_v = part(b, x, h - 1, 1);
            let top_v = b.one(Op::AsSum { x: top_v, at: pair, bits: 1 });
            let tops = b.one(Op::Add { a: top_u, b: top_v });
            let (lt, eq): (Vec<Poly>, Vec<Poly>) =
                parts.iter().map(|(l, e)| (vars.var(*l), vars.var(e.expect("asked for")))).unzip();
            let (less, e) = chain(&lt, &eq);
            let a = less.add(&vars.var((tops, 0)));
            ends.push((vars.joined(b, a), e));
        }
        let x = ends[0].0.add(&ends[1].0);
        let x = vars.joined(b, x);
        let e = ends[0].1.add(&ends[1].1);
        let e = vars.joined(b, e);
        let z = x.add(&e);
        let z = vars.joined(b, z);
        oks.push(x.add(&e.mul(&c)));
        // The first piece ends at hi, the second begins at lo.
        let (a, e) = &ends[1 - i];
        outs.push(a.add(&e.mul(&c)));
        g = g.add(&z.mul(&c));
    }
    let mut results: Vec<&Poly> = oks.iter().chain(&outs).collect();
    results.push(&g);
    let results = vars.evaluate(b, &results, rot);

    // Exchange 4: the results, masked; their masks as ring values.
    let results = gather(b, &results);
    let (t, beta) = open_masked(b, results, rot);
    let count = oks.len() as u32;
    let bit = |b: &mut Builder, i: u32| {
        let (t, beta) = (pick(b, t, vec![i]), pick(b, beta, vec![i]));
        let number = b.one(Op::NumberH { x: beta });
        let dealt = b.one(Op::Deal { x: number, bits: k });
        reveal(b, dealt, t)
    };
    let ok: Vec<Value> = (0..count).map(|i| bit(b, i)).collect();
    let ends: Vec<Value> = (count..2 * count).map(|i| bit(b, i)).collect();
    let g = bit(b, 2 * count);

    // ok·(Û>>s): of the pieces at most one has ok set, so their bits add.
    let merged = |b: &mut Builder, x: Value| {
        let one = pick(b, x, vec![0]);
        if !two {
            return one;
        }
        let other = pick(b, x, vec![1]);
        b.one(Op::Add { a: one, b: other })
    };
    let (t_ok, beta_ok) = (merged(b, t), merged(b, beta));
    let mut deal_both = |x: Value| {
        let kept = b.one(Op::KeepH { x, bit: beta_ok });
        (b.one(Op::Deal { x, bits: k }), b.one(Op::Deal { x: kept, bits: k }))
    };
    let (mut whole, mut kept) = deal_both(floor_wrapped);
    if agree < k {
        let (whole_full, kept_full) = deal_both(floor_full);
        whole = choose_ring(b, whole, whole_full, msb);
        kept = choose_ring(b, kept, kept_full, msb);
    }
    let rest = b.one(Op::Sub { a: whole, b: kept });
    let lost = choose_ring(b, kept, rest, t_ok);

    // Exchange 5.
    let mut total = b.one(Op::Add { a: lost, b: g });
    let minus = b.scalar(-1);
    total = b.one(Op::MulP { x: total, p: minus });
    for (ok, floor) in ok.iter().zip(&floors) {
        let from = b.one(Op::SubP { x: *floor, p: f.split });
        let product = b.one(Op::MulSh { a: *ok, h: from });
        total = b.one(Op::Add { a: total, b: product });
    }
    // `over` is the complement of [floor < hi + 1].
    let reach = b.one(Op::SubPp { a: f.hi, b: f.split });
    let not_over = b.one(Op::MulP { x: ends[0], p: reach });
    total = b.one(Op::AddP { x: total, p: reach });
    total = b.one(Op::Sub { a: total, b: not_over });
    if let Some(under) = ends.get(1) {
        let drop = b.one(Op::SubPp { a: f.lo, b: f.split });
        let under = b.one(Op::MulP { x: *under, p: drop });
        total = b.one(Op::Add { a: total, b: under });
    }
    let y = b.one(Op::Reshare { x: total, bits: k });
    b.one(Op::AddP { x: y, p: f.split })
}

/// t xor β as a ring value, from summands of β.
pub(super) fn reveal(b: &mut Builder, beta: Value, t: Value) -> Value {
    let minus = b.scalar(-1);
    let flipped = b.one(Op::MulP { x: beta, p: minus });
    let flipped = b.add_scalar(flipped, 1);
    choose_ring(b, beta, flipped, t)
}

/// `x` where the held bit is clear, `y` where it is set.
pub(super) fn choose_ring(b: &mut Builder, x: Value, y: Value, bit: Value) -> Value {
    let difference = b.one(Op::Sub { a: y, b: x });
    let change = b.one(Op::KeepH { x: difference, bit });
    b.one(Op::Add { a: x, b: change })
}
