//! Requantization, the Boolean route: `y = clamp(floor((m·acc + b) / 2^s), lo, hi)` in ten exchanges.
//!
//! `acc = v − u mod 2^n` after adding 2^(n−2), u known to role A, v to B and C. With `V = m·(v − 2^(n−2)) + b` and
//! `Û = m·u` if msb(v) is set, else `m·(u − 2^n·msb(u))`, `m·acc + b = V − Û` over the integers, so
//! `floor = (V>>s) − (Û>>s) − [V mod 2^s < Û mod 2^s]`. The clamp compares acc with the thresholds of lo+1 and of hi.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | B and C join v; A shares the bits of u and of Û mod 2^s, and both versions of Û>>s |
//! | 2 | leaves of the comparisons; `X = (V>>s) − (Û>>s)` |
//! | 3 to 7 | carry trees, all side by side (6 levels if s > 32) |
//! | 8 | `g = ok·c`; A's part of ok and over as ring values |
//! | 9 | ok as a ring value; A's part of g |
//! | 10 | `ok·(X − lo) − g + over·(hi − lo)` |
//!
//! Two pieces share m and s; values above `split` come from the first, those below from the second.
use super::builder::Builder;
use super::compare::{carry_trees, pick, stack};
use ir::infer::roles;
use ir::{Holders, Op, Value};

/// What to compute, with public tensors that broadcast to the accumulator.
pub struct Formula {
    /// Slope numerators.
    pub m: Value,
    /// Shifts.
    pub s: Value,
    /// Offsets: above the split, and below it if there are two pieces.
    pub b: [Option<Value>; 2],
    /// Value from which the first piece starts; with one piece the lower clamp.
    pub split: Value,
    /// First threshold of the second piece; equal to `split` where a channel has one piece only.
    pub below: Option<Value>,
    /// Lower clamp.
    pub lo: Value,
    /// Upper clamp.
    pub hi: Value,
    /// Largest shift.
    pub width: u8,
    /// Bits of the accumulator's ring: |acc| < 2^(n−2).
    pub n: u8,
    /// |acc − threshold| < 2^a for every threshold; used by the Boolean route.
    pub a: u8,
    /// |floor − bound| < 2^(h−1) for every bound of the clamp; used by the dealer route.
    pub h: u8,
    /// Whether the floor is taken; else, on the dealer route, it or one more at random.
    pub exact: bool,
}

/// Where the accumulator comes from.
#[derive(Clone, Copy)]
pub enum Source {
    /// Summands at all parties, in the ring of `n` bits.
    Sum(Value),
    /// A sharing in the ring of `n` bits.
    Shared(Value),
}

impl Source {
    /// Another value of the same form.
    pub fn of(self, x: Value) -> Source {
        match self {
            Source::Sum(_) => Source::Sum(x),
            Source::Shared(_) => Source::Shared(x),
        }
    }
}

/// Both operands of acc + offset: u at A, v at B and C.
pub(super) fn operands(b: &mut Builder, source: Source, offset: i64, rot: u8) -> (Value, Value) {
    match source {
        Source::Sum(x) => {
            let x = b.add_scalar(x, offset);
            let (u, w) = b.two(Op::Split { x, rot });
            (u, b.one(Op::Join { x: w }))
        }
        Source::Shared(x) => {
            let x = b.add_scalar(x, offset);
            b.two(Op::SplitShared { x, rot })
        }
    }
}

/// Emits the gadget; the result is shared in a ring of `k` bits.
pub fn requantize(b: &mut Builder, source: Source, f: &Formula, k: u8, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    let pair = Holders::pair(rb, rc);
    let (n, a, width) = (f.n, f.a, f.width);
    let offset = 1i64 << (n - 2);

    // Exchange 1: the two operands, and A's shares.
    let (u, v) = operands(b, source, offset, rot);
    let signed_u = b.one(Op::SextH { x: u, bits: n });
    let full = b.one(Op::MulP { x: u, p: f.m });
    let wrapped = b.one(Op::MulP { x: signed_u, p: f.m });
    let low_of = |b: &mut Builder, x| {
        let x = b.one(Op::AlignHp { x, p: f.s, to: width });
        b.one(Op::PlanesH { x, lo: 0, width })
    };
    // The two versions of Û differ in bits n and above only.
    let differ = width.saturating_sub(n);
    let u_bits = b.one(Op::PlanesH { x: u, lo: 0, width: a + 1 });
    let mut bits = vec![u_bits, low_of(b, full)];
    if differ > 0 {
        let other = low_of(b, wrapped);
        let both = b.one(Op::Add { a: bits[1], b: other });
        bits.push(pick(b, both, (u32::from(width - differ)..u32::from(width)).collect()));
        // The base version is the wrapped one.
        bits[1] = other;
    }
    let bits = stack(b, bits);
    let bits = b.one(Op::Reshare { x: bits, bits: 1 });
    let (a1, w32) = (u32::from(a) + 1, u32::from(width));
    let u_bits = pick(b, bits, (0..a1).collect());
    let low_u = pick(b, bits, (a1..a1 + w32).collect());
    let high = b.one(Op::SarHp { x: full, p: f.s });
    let high_wrapped = b.one(Op::SarHp { x: wrapped, p: f.s });
    let step = b.one(Op::Sub { a: high, b: high_wrapped });
    let high_wrapped = b.one(Op::Reshare { x: high_wrapped, bits: k });
    let step = b.one(Op::Reshare { x: step, bits: k });

    // Exchange 2: leaves and X.
    let v0 = b.add_scalar(v, -offset);
    let msb = b.one(Op::PlanesH { x: v, lo: n - 1, width: 1 });
    let scaled = b.one(Op::MulP { x: v0, p: f.m });
    let pieces: Vec<Value> =
        f.b.iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .map(|p| b.one(Op::AddP { x: scaled, p }))
            .collect();
    let two = pieces.len() == 2;
    let differ32 = u32::from(differ);
    let mut lt = Vec::new();
    let mut eq = Vec::new();
    let mut widths = Vec::new();
    for piece in &pieces {
        let low_v = low_of(b, *piece);
        let not_v = b.one(Op::Not { x: low_v });
        let mut leaves = b.one(Op::MulSh { a: low_u, h: not_v });
        let same = b.one(Op::Embed { x: not_v, bits: 1 });
        let mut equal = b.one(Op::Add { a: low_u, b: same });
        if differ > 0 {
            // Û's upper bits: base xor msb(v)·difference.
            let diff = pick(b, bits, (a1 + w32..a1 + w32 + differ32).collect());
            let top = pick(b, msb, vec![0; differ as usize]);
            let not_top = pick(b, not_v, (w32 - differ32..w32).collect());
            let both = b.one(Op::MulHh { a: top, b: not_top });
            let extra = b.one(Op::MulSh { a: diff, h: both });
            let upper = pick(b, leaves, (w32 - differ32..w32).collect());
            let upper = b.one(Op::Add { a: upper, b: extra });
            let mut parts = vec![];
            if w32 > differ32 {
                parts.push(pick(b, leaves, (0..w32 - differ32).collect()));
            }
            parts.push(upper);
            leaves = stack(b, parts);
            let change = b.one(Op::MulSh { a: diff, h: top });
            let change = b.one(Op::Reshare { x: change, bits: 1 });
            let upper = pick(b, equal, (w32 - differ32..w32).collect());
            let upper = b.one(Op::Add { a: upper, b: change });
            let mut parts = vec![];
            if w32 > differ32 {
                parts.push(pick(b, equal, (0..w32 - differ32).collect()));
            }
            parts.push(upper);
            equal = stack(b, parts);
        }
        lt.push(leaves);
        eq.push(equal);
        widths.push(w32);
    }
    // Signs of acc − t: first and last threshold of each piece.
    let first_above = {
        let minus = b.scalar(-1);
        b.one(Op::SubPp { a: f.split, b: minus })
    };
    let mut bounds = vec![(f.b[0], first_above), (f.b[0], f.hi)];
    if let (true, Some(below)) = (two, f.below) {
        bounds.extend([(f.b[1], below), (f.b[1], f.split)]);
    }
    let mut sign_v = Vec::new();
    let u_low = pick(b, u_bits, (0..u32::from(a)).collect());
    for (offset_b, j) in bounds {
        let offset_b = offset_b.expect("a piece has an offset");
        let [m, s, bb, j] = same_shape(b, [f.m, f.s, offset_b, j]);
        let t = b.one(Op::ThresholdPp { m, s, b: bb, j });
        let x = b.one(Op::SubP { x: v0, p: t });
        // v0 = v − 2^(n−2), and u is the mask of acc + 2^(n−2): acc − t = (v − 2^(n−2) − t) − u mod 2^n.
        let low_v = b.one(Op::PlanesH { x, lo: 0, width: a });
        let not_v = b.one(Op::Not { x: low_v });
        lt.push(b.one(Op::MulSh { a: u_low, h: not_v }));
        let same = b.one(Op::Embed { x: not_v, bits: 1 });
        eq.push(b.one(Op::Add { a: u_low, b: same }));
        widths.push(u32::from(a));
        let top = b.one(Op::PlanesH { x, lo: a, width: 1 });
        sign_v.push(b.one(Op::Embed { x: top, bits: 1 }));
    }
    let lt = stack(b, lt);
    let lt = b.one(Op::Reshare { x: lt, bits: 1 });
    let eq = stack(b, eq);
    let number = b.one(Op::NumberH { x: msb });
    let picked = b.one(Op::MulSh { a: step, h: number });
    let negated = {
        let minus = b.scalar(-1);
        let base = b.one(Op::AsSum { x: high_wrapped, at: pair, bits: k });
        let sum = b.one(Op::Add { a: base, b: picked });
        b.one(Op::MulP { x: sum, p: minus })
    };
    let floor_v: Vec<Value> = pieces.iter().map(|x| b.one(Op::SarHp { x: *x, p: f.s })).collect();
    let own = b.one(Op::AsSum { x: floor_v[0], at: pair, bits: k });
    let x0 = b.one(Op::Add { a: own, b: negated });
    let x0 = b.one(Op::Reshare { x: x0, bits: k });
    let mut floors = vec![x0];
    if two {
        let change = b.one(Op::Sub { a: floor_v[1], b: floor_v[0] });
        let change = b.one(Op::Embed { x: change, bits: k });
        floors.push(b.one(Op::Add { a: x0, b: change }));
    }

    // Exchanges 3 to 7.
    let borrows = carry_trees(b, lt, eq, &widths);
    let c: Vec<Value> = (0..pieces.len() as u32).map(|i| pick(b, borrows, vec![i])).collect();
    let u_top = pick(b, u_bits, vec![u32::from(a)]);
    let negative: Vec<Value> = (0..sign_v.len())
        .map(|i| {
            let borrow = pick(b, borrows, vec![pieces.len() as u32 + i as u32]);
            let x = b.one(Op::Add { a: u_top, b: borrow });
            b.one(Op::Add { a: x, b: sign_v[i] })
        })
        .collect();

    // Exchange 8: g, and the bits on their way into the ring.
    let mut select: Vec<Value> = vec![b.one(Op::Add { a: negative[0], b: negative[1] })];
    if two {
        select.push(b.one(Op::Add { a: negative[2], b: negative[3] }));
    }
    let over = b.one(Op::Not { x: negative[1] });
    let mut g = b.one(Op::MulSs { a: select[0], b: c[0] });
    if two {
        let other = b.one(Op::MulSs { a: select[1], b: c[1] });
        g = b.one(Op::Add { a: g, b: other });
    }
    let g = b.one(Op::Reshare { x: g, bits: 1 });
    let over = bit_to_ring(b, over, k, rot);
    let factors: Vec<Value> = select
        .iter()
        .map(|bit| {
            let x = bit_to_ring(b, *bit, k, rot);
            b.one(Op::Reshare { x, bits: k })
        })
        .collect();
    let under = two.then(|| bit_to_ring(b, negative[2], k, rot));

    // Exchange 10: select, subtract, clamp.
    let everyone = b.all();
    let mut total: Option<Value> = None;
    for (factor, floor) in factors.iter().zip(&floors) {
        let rest = b.one(Op::SubP { x: *floor, p: f.split });
        let product = b.one(Op::MulSs { a: *factor, b: rest });
        total = Some(match total {
            None => product,
            Some(t) => b.one(Op::Add { a: t, b: product }),
        });
    }
    let total = total.expect("there is a piece");
    let g = bit_to_ring(b, g, k, rot);
    let reach = b.one(Op::SubPp { a: f.hi, b: f.split });
    let mut two_party = b.one(Op::MulP { x: over, p: reach });
    two_party = b.one(Op::Sub { a: two_party, b: g });
    if let Some(under) = under {
        let drop = b.one(Op::SubPp { a: f.lo, b: f.split });
        let under = b.one(Op::MulP { x: under, p: drop });
        two_party = b.one(Op::Add { a: two_party, b: under });
    }
    let two_party = b.one(Op::AsSum { x: two_party, at: everyone, bits: k });
    let total = b.one(Op::Add { a: total, b: two_party });
    let y = b.one(Op::Reshare { x: total, bits: k });
    b.one(Op::AddP { x: y, p: f.split })
}

/// A shared bit as summands at B and C in a ring: b = α + β − 2αβ, α = A's two parts, β = the part of B and C. One
/// exchange: A shares α.
pub fn bit_to_ring(b: &mut Builder, bit: Value, k: u8, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    let (alpha, beta) = b.two(Op::SplitShared { x: bit, rot });
    let alpha = b.one(Op::NumberH { x: alpha });
    let alpha = b.one(Op::Reshare { x: alpha, bits: k });
    let beta = b.one(Op::NumberH { x: beta });
    let minus_two = b.scalar(-2);
    let factor = b.one(Op::MulP { x: beta, p: minus_two });
    let factor = b.add_scalar(factor, 1);
    let product = b.one(Op::MulSh { a: alpha, h: factor });
    let own = b.one(Op::AsSum { x: beta, at: Holders::pair(rb, rc), bits: k });
    b.one(Op::Add { a: product, b: own })
}

/// Public tensors of one shape: scalars are repeated by subtracting them from a zero tensor of the largest shape.
fn same_shape(b: &mut Builder, xs: [Value; 4]) -> [Value; 4] {
    let largest = xs.iter().copied().max_by_key(|v| b.ty(*v).len()).expect("four tensors");
    let shape = b.ty(largest).shape.clone();
    let nothing = b.one(Op::SubPp { a: largest, b: largest });
    xs.map(|x| {
        if b.ty(x).shape == shape {
            return x;
        }
        let minus = b.one(Op::SubPp { a: nothing, b: x });
        b.one(Op::SubPp { a: nothing, b: minus })
    })
}
