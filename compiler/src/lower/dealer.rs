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
//! Products of bits: see [`super::poly`]. With [`Tree::Flat`] exchange 3 falls away: longer one-hot vectors give so few
//! leaves that ok, over and g are evaluated on them in exchange 2. The messages are of the same kinds under the same pads.
//!
//! **Rounding at random.** Without c the result is floor + c, where c = 1 with the probability that u leaves, about
//! `((m·acc + b) mod 2^s) / 2^s`: nothing of the low bits is dealt or compared, and exchange 3 falls away with up to 20 high bits.
//! The messages are some of those above, so nobody learns more from them. But c is no independent coin: it is a function of acc
//! and of u, which A knows, or of v, which B and C know. So this realizes a functionality that draws u, tells A u and the others v,
//! and keeps `(V>>s) − (Û>>s)`. Who also gets a result learns a bit about `acc mod 2^s` from it, which the exact route hides.
use super::builder::Builder;
use super::compare::pick;
use super::poly::{Plane, Poly, Vars, gather, open_masked};
use super::requant::{Formula, Source};
use ir::infer::{chunks, roles};
use ir::{Holders, Op, Value};

/// Planes of a chunk. Measured in bits sent: 3 and less take a larger tree, 5 and more longer one-hot vectors.
const CHUNK: u8 = 4;
/// Chunks of a group: products of masks double with each.
const GROUP: usize = 5;
/// Why groups can be evaluated.
const SMALL: &str = "a group has few products";

/// How the chunks of a comparison are joined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Tree {
    /// Chunks of four planes, joined in groups, these in another exchange: five exchanges, the fewest bits.
    #[default]
    Grouped,
    /// Chunks of so many planes, joined at once: four exchanges.
    Flat(u8),
}

impl Tree {
    /// What there is to choose from.
    pub const ALL: [Tree; 5] = [Tree::Grouped, Tree::Flat(5), Tree::Flat(6), Tree::Flat(7), Tree::Flat(8)];

    fn chunk(self) -> u8 {
        match self {
            Tree::Grouped => CHUNK,
            Tree::Flat(planes) => planes,
        }
    }
}

/// Dealt one-hot vectors of a number of which two versions agree below a bit. One value has as many chunks as fit it.
struct Hot {
    width: u8,
    chunk: u8,
    /// Of the version for msb(v) = 0.
    base: Vec<Value>,
    /// Of the chunks from this one on of the other version.
    other: Option<(usize, Vec<Value>)>,
}

/// What leaves say of each chunk: [v < chunk], [v = chunk].
#[derive(Default)]
struct Leaves {
    lt: Vec<Plane>,
    eq: Vec<Plane>,
}

/// Planes of a number whose one-hot vectors make one value.
fn portions(width: u8, chunk: u8) -> impl Iterator<Item = Vec<u32>> {
    let entries = (1u32 << chunk) - 1;
    chunks(width, (255 / entries) as u8 * chunk).map(|p| p.map(|i| i as u32).collect())
}

/// Deals the one-hot vectors of a number's chunks.
fn deal_chunks(b: &mut Builder, x: Value, chunk: u8) -> Vec<Value> {
    let width = b.ty(x).domain.width();
    portions(width, chunk)
        .map(|planes| {
            let x = pick(b, x, planes);
            let x = b.one(Op::OnehotH { x, chunk });
            b.one(Op::Deal { x, bits: 1 })
        })
        .collect()
}

/// Deals both versions, given as planes; they agree below plane `agree`.
fn deal_hot(b: &mut Builder, wrapped: Value, full: Value, agree: u8, chunk: u8) -> Hot {
    let width = b.ty(wrapped).domain.width();
    let base = deal_chunks(b, wrapped, chunk);
    let other = (agree < width).then(|| {
        let from = agree / chunk;
        let upper = pick(b, full, (u32::from(from * chunk)..u32::from(width)).collect());
        (usize::from(from), deal_chunks(b, upper, chunk))
    });
    Hot { width, chunk, base, other }
}

/// `x` where the bit `msb` is clear, `y` where it is set.
fn choose(b: &mut Builder, x: Value, y: Value, msb: Value) -> Value {
    let planes = usize::from(b.ty(x).domain.width());
    let difference = b.one(Op::Add { a: x, b: y });
    let h = pick(b, msb, vec![0; planes]);
    let change = b.one(Op::MulSh { a: difference, h });
    b.one(Op::Add { a: x, b: change })
}

/// Compares the held planes v with the chunks of one version.
fn leaves_of(b: &mut Builder, hot: &[Value], v: Value, chunk: u8) -> Leaves {
    let mut all = Leaves::default();
    for (hot, planes) in hot.iter().zip(portions(b.ty(v).domain.width(), chunk)) {
        let n = planes.len().div_ceil(usize::from(chunk)) as u32;
        let v = pick(b, v, planes);
        let x = b.one(Op::LeavesSh { hot: *hot, v, chunk });
        all.lt.extend((0..n).map(|p| (x, p)));
        all.eq.extend((n..2 * n).map(|p| (x, p)));
    }
    all
}

/// Compares the held planes v with the dealt number.
fn leaves(b: &mut Builder, hot: &Hot, v: Value, msb: Value) -> Leaves {
    let base = leaves_of(b, &hot.base, v, hot.chunk);
    let Some((from, other)) = &hot.other else { return base };
    let from = *from;
    let upper = pick(b, v, (from as u32 * u32::from(hot.chunk)..u32::from(hot.width)).collect());
    let other = leaves_of(b, other, upper, hot.chunk);
    let same = gather(b, &[&base.lt[from..], &base.eq[from..]].concat());
    let other = gather(b, &[other.lt, other.eq].concat());
    let chosen = choose(b, same, other, msb);
    let n = (base.lt.len() - from) as u32;
    let planes = |from: u32| (from..from + n).map(|p| (chosen, p)).collect::<Vec<Plane>>();
    Leaves { lt: [&base.lt[..from], &planes(0)].concat(), eq: [&base.eq[..from], &planes(n)].concat() }
}

/// [less] and [equal] of two numbers in variables, of at least so many groups; without `whole` [equal] is of no use. One
/// exchange, or none if flat.
fn joined(
    b: &mut Builder,
    vars: &mut Vars,
    l: &Leaves,
    tree: Tree,
    (least, whole): (usize, bool),
    rot: u8,
) -> (Poly, Poly) {
    let parts: Vec<(Plane, Option<Plane>)> = match tree {
        Tree::Grouped => groups(b, l, least, whole, rot),
        Tree::Flat(_) => l.lt.iter().copied().zip(l.eq.iter().copied().map(Some)).collect(),
    };
    let lt: Vec<Poly> = parts.iter().map(|p| vars.var(p.0)).collect();
    // Nothing lies below the lowest part, so its eq may have no use.
    let eq: Vec<Poly> = parts.iter().map(|p| p.1.map_or_else(Poly::default, |e| vars.var(e))).collect();
    chain(&lt, &eq)
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
                let out = vars.evaluate(b, &[&less, &equal], rot).expect(SMALL);
                (out[0], Some(out[1]))
            } else {
                (vars.evaluate(b, &[&less], rot).expect(SMALL)[0], None)
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
        Comparison(deal_hot(b, u, u, width, CHUNK))
    }

    /// The same for another shape, as broadcasting repeats elements.
    pub(super) fn expand(&self, b: &mut Builder, shape: &[u32]) -> Comparison {
        let shape = ir::Dims(shape.to_vec());
        let base = self.0.base.iter().map(|x| b.one(Op::Expand { x: *x, shape: shape.clone() })).collect();
        Comparison(Hot { base, other: None, ..self.0 })
    }

    /// [v < u] for held planes v, as one plane of summands: one exchange, two where there are several groups.
    pub(super) fn less(&self, b: &mut Builder, v: Value, rot: u8) -> Value {
        let l = leaves(b, &self.0, v, v);
        let parts = groups(b, &l, 1, false, rot);
        let mut vars = Vars::default();
        let lt: Vec<Poly> = parts.iter().map(|p| vars.var(p.0)).collect();
        let eq: Vec<Poly> = parts.iter().map(|p| p.1.map_or_else(Poly::default, |e| vars.var(e))).collect();
        let (less, _) = chain(&lt, &eq);
        let plane = vars.evaluate(b, &[&less], rot).expect(SMALL)[0];
        gather(b, &[plane])
    }

    /// [v = u] for held planes v of up to 20 bits, as one plane of summands: one exchange.
    pub(super) fn equal(&self, b: &mut Builder, v: Value, rot: u8) -> Value {
        let l = leaves(b, &self.0, v, v);
        let mut vars = Vars::default();
        let equal = l.eq.iter().fold(Poly::one(), |product, e| product.mul(&vars.var(*e)));
        let plane = vars.evaluate(b, &[&equal], rot).expect(SMALL)[0];
        gather(b, &[plane])
    }
}

/// Emits the gadget with the fewest bits; the result is shared in a ring of `k` bits.
pub fn requantize(b: &mut Builder, source: Source, f: &Formula, k: u8, rot: u8) -> Value {
    requantize_by(b, source, f, k, rot, Tree::Grouped).expect(SMALL)
}

/// Emits the gadget with another tree; `None` where that would take too many products.
pub fn requantize_by(b: &mut Builder, source: Source, f: &Formula, k: u8, rot: u8, tree: Tree) -> Option<Value> {
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
    let low = f.exact.then(|| deal_hot(b, low_wrapped, low_full, n, tree.chunk()));
    let floor_wrapped = b.one(Op::SarHp { x: wrapped, p: f.s });
    let floor_full = b.one(Op::SarHp { x: full, p: f.s });
    let agree = n.saturating_sub(width);
    let part = |b: &mut Builder, x, lo, width| b.one(Op::PlanesH { x, lo, width });
    let (high_wrapped, high_full) = (part(b, floor_wrapped, 0, h - 1), part(b, floor_full, 0, h - 1));
    let high = deal_hot(b, high_wrapped, high_full, agree, tree.chunk());
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
    let parts = |width: u8| usize::from(width.div_ceil(tree.chunk()));
    if tree != Tree::Grouped && 2 * pieces.len() * (parts(width) + 2 * parts(h - 1) + 4) > Vars::MOST {
        return None;
    }
    let mut vars = Vars::default();
    let mut floors = Vec::new();
    let (mut oks, mut outs, mut g) = (vec![], vec![], Poly::default());
    for (i, (offset_b, bounds)) in pieces.into_iter().enumerate() {
        let x = b.one(Op::AddP { x: scaled, p: offset_b });
        let c = low.as_ref().map_or_else(Poly::default, |low| {
            let low_v = low_of(b, x);
            let l = leaves(b, low, low_v, msb);
            joined(b, &mut vars, &l, tree, (2, false), rot).0
        });
        let floor = b.one(Op::SarHp { x, p: f.s });
        floors.push(floor);
        let mut ends = Vec::new();
        for t in bounds {
            let x = b.one(Op::SubP { x: floor, p: t });
            let low_v = part(b, x, 0, h - 1);
            let l = leaves(b, &high, low_v, msb);
            let top_v = part(b, x, h - 1, 1);
            let top_v = b.one(Op::AsSum { x: top_v, at: pair, bits: 1 });
            let tops = b.one(Op::Add { a: top_u, b: top_v });
            let (less, e) = joined(b, &mut vars, &l, tree, (1, f.exact), rot);
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
    results.extend(f.exact.then_some(&g));
    let results = vars.evaluate(b, &results, rot)?;

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
    let g = f.exact.then(|| bit(b, 2 * count));

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
    let mut total = g.map_or(lost, |g| b.one(Op::Add { a: lost, b: g }));
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
    Some(b.one(Op::AddP { x: y, p: f.split }))
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
