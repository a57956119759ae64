//! Requantization: `y = clamp(floor((m·acc + b) / 2^s), lo, hi)`.
//!
//! As in the dealer route `m·acc + b = V − Û` with two versions of Û, of which msb(v) picks one; c the borrow of the low s
//! bits; and for each bound T of the clamp `[floor < T] = a_T xor e_T·c` ([`super::super::dealer`] has the identities).
//!
//! | exchange | content |
//! |---|---|
//! | 1 | the product, shared |
//! | 2 | both groups enter one-hot vectors of the chunks of Û and V, low and high, and top bits |
//! | 3 | leaves |
//! | 4 – 6 | trees: for 28 bits of three levels |
//! | 7 | `ok = X xor E·c`, `g = Z·c`, `[floor < T]` of the outer bound |
//! | 8 | both groups enter what they know of these bits, times Û>>s and V>>s where it has to be |
//! | 9 | `y = split + Σ ok·((V>>s) − split) − ok·(Û>>s) − g + over·(hi − split) + under·(lo − split)` |
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::super::requant::{Formula, Source};
use super::leaves::{Against, Hot, Leaves, Version, and_all, join};
use super::{Halves, Mixed, enter, halves, operands, planes, sign, times};
use ir::{Op, Value};

/// Enters both versions of a number, given as planes; they agree below plane `agree`.
fn versions(b: &mut Builder, wrapped: Value, full: Value, agree: u8) -> Version {
    let width = b.ty(wrapped).domain.width();
    let base = Hot::new(b, wrapped);
    let other = (agree < width).then(|| {
        let from = agree / super::leaves::CHUNK;
        let upper = pick(b, full, (u32::from(from * super::leaves::CHUNK)..u32::from(width)).collect());
        (usize::from(from), Hot::new(b, upper))
    });
    Version { base, other }
}

/// Enters a number to compare with versions, of which the held bit picks one.
fn against(b: &mut Builder, x: Value, u: &Version, held: Value, bit: Value) -> Against {
    let whole = Hot::new(b, x);
    let upper = u.other.map(|(from, _)| {
        let width = u32::from(b.ty(x).domain.width());
        let upper = pick(b, x, (from as u32 * u32::from(super::leaves::CHUNK)..width).collect());
        Hot::kept(b, upper, held)
    });
    Against { whole, upper, bit: Some(bit) }
}

/// A piece of the staircase.
struct Piece {
    /// `V>>s`, held.
    floor: Value,
    /// Top bit of `(V>>s) − T` for both bounds, shared.
    tops: [Value; 2],
}

/// Emits the gadget; the result is shared in a ring of `k` bits.
pub fn requantize(b: &mut Builder, source: Source, f: &Formula, k: u8) -> Value {
    let (n, width, h) = (f.n, f.width, f.h);
    let offset = 1i64 << (n - 2);
    let x = match source {
        Source::Sum(x) => b.one(Op::Reshare { x, bits: n }),
        Source::Shared(x) => x,
    };
    let x = b.add_scalar(x, offset);
    let (u, v) = operands(b, x);

    // The group of u: both versions of Û.
    let signed_u = b.one(Op::SextH { x: u, bits: n });
    let [full, wrapped] = [u, signed_u].map(|x| b.one(Op::MulP { x, p: f.m }));
    let low_of = |b: &mut Builder, x| {
        let x = b.one(Op::AlignHp { x, p: f.s, to: width });
        planes(b, x, 0, width)
    };
    let [low_wrapped, low_full] = [wrapped, full].map(|x| low_of(b, x));
    let low = versions(b, low_wrapped, low_full, n);
    let [floor_wrapped, floor_full] = [wrapped, full].map(|x| b.one(Op::SarHp { x, p: f.s }));
    let agree = n.saturating_sub(width);
    let [high_wrapped, high_full] = [floor_wrapped, floor_full].map(|x| planes(b, x, 0, h - 1));
    let high = versions(b, high_wrapped, high_full, agree);
    let [top_wrapped, top_full] = [floor_wrapped, floor_full].map(|x| planes(b, x, h - 1, 1));
    let top_u = enter(b, top_wrapped, 1);

    // The group of v: each piece, low bits and distances to its bounds.
    let msb_held = planes(b, v, n - 1, 1);
    let msb = enter(b, msb_held, 1);
    let v0 = b.add_scalar(v, -offset);
    let scaled = b.one(Op::MulP { x: v0, p: f.m });
    let minus = b.scalar(-1);
    let above = [f.split, f.hi].map(|p| b.one(Op::SubPp { a: p, b: minus }));
    let mut given = vec![(f.b[0].expect("there is a piece"), above)];
    if let Some(below) = f.b[1] {
        given.push((below, [f.lo, f.split]));
    }
    let (mut pieces, mut leaves) = (Vec::new(), Vec::new());
    for (offset, bounds) in given {
        let x = b.one(Op::AddP { x: scaled, p: offset });
        let low_v = low_of(b, x);
        let low_v = against(b, low_v, &low, msb_held, msb);
        leaves.push(Leaves::new(b, &low, &low_v, false));
        let floor = b.one(Op::SarHp { x, p: f.s });
        let tops = bounds.map(|t| {
            let x = b.one(Op::SubP { x: floor, p: t });
            let distance = planes(b, x, 0, h - 1);
            let distance = against(b, distance, &high, msb_held, msb);
            leaves.push(Leaves::new(b, &high, &distance, true));
            let top = planes(b, x, h - 1, 1);
            enter(b, top, 1)
        });
        pieces.push(Piece { floor, tops });
    }
    // The top bit of Û changes with its version.
    let extra = if agree < h {
        let change = b.one(Op::Add { a: top_wrapped, b: top_full });
        let change = enter(b, change, 1);
        vec![b.one(Op::MulSs { a: change, b: msb })]
    } else {
        vec![]
    };
    let (compared, extra) = join(b, leaves, extra);
    let top_u = extra.first().map_or(top_u, |change| b.one(Op::Add { a: top_u, b: *change }));

    // Whether the floor lies inside, whether it borrows there, and whether it lies outside.
    let (mut left, mut right, mut inside, mut outside) = (vec![], vec![], vec![], vec![]);
    for (i, (piece, compared)) in pieces.iter().zip(compared.chunks(3)).enumerate() {
        let c = compared[0].less;
        let ends = [0, 1].map(|j| {
            let tops = b.one(Op::Add { a: top_u, b: piece.tops[j] });
            let less = b.one(Op::Add { a: compared[j + 1].less, b: tops });
            (less, compared[j + 1].equal.expect("asked for"))
        });
        let x = b.one(Op::Add { a: ends[0].0, b: ends[1].0 });
        let e = b.one(Op::Add { a: ends[0].1, b: ends[1].1 });
        let z = b.one(Op::Add { a: x, b: e });
        // The first piece ends at hi, the second begins at lo.
        let (a, end) = ends[1 - i];
        left.extend([e, end, z]);
        right.extend([c, c, c]);
        inside.push(x);
        outside.push(a);
    }
    let products = and_all(b, left, right);
    let mut bits = Vec::new();
    bits.extend((0..pieces.len()).map(|i| b.one(Op::Add { a: inside[i], b: products[3 * i] })));
    bits.extend((0..pieces.len()).map(|i| b.one(Op::Add { a: outside[i], b: products[3 * i + 1] })));
    let borrows = (0..pieces.len()).map(|i| products[3 * i + 2]);
    bits.push(borrows.reduce(|x, y| b.one(Op::Add { a: x, b: y })).expect("there is a piece"));
    if pieces.len() == 2 {
        // At most one piece has the floor inside.
        bits.push(b.one(Op::Add { a: bits[0], b: bits[1] }));
    }
    let stacked = stack(b, bits);
    let bits = halves(b, stacked);
    let (ok, rest) = bits.split_at(pieces.len());
    let (ends, rest) = rest.split_at(pieces.len());
    let merged = *rest.get(1).unwrap_or(&ok[0]);

    let mut sum = Mixed::new(k);
    for (ok, piece) in ok.iter().zip(&pieces) {
        let from = b.one(Op::SubP { x: piece.floor, p: f.split });
        sum.bit_times_v(b, *ok, from);
    }
    let negative = |b: &mut Builder, x| b.one(Op::MulP { x, p: minus });
    let lost = negative(b, floor_wrapped);
    sum.bit_times_u(b, merged, lost);
    if agree < k {
        let change = b.one(Op::Sub { a: floor_wrapped, b: floor_full });
        picked(b, &mut sum, merged, change, msb_held);
    }
    sum.bit(b, rest[0], minus);
    // `over` is the complement of [floor < hi + 1].
    let reach = b.one(Op::SubPp { a: f.hi, b: f.split });
    let not_reach = b.one(Op::SubPp { a: f.split, b: f.hi });
    sum.bit(b, ends[0], not_reach);
    if let Some(under) = ends.get(1) {
        let drop = b.one(Op::SubPp { a: f.lo, b: f.split });
        sum.bit(b, *under, drop);
    }
    let y = sum.shared(b);
    let y = b.one(Op::AddP { x: y, p: reach });
    b.one(Op::AddP { x: y, p: f.split })
}

/// Adds `bit·m·x`, x known to the group of u, the bit m to that of v: `αx·m + (1 − 2α)x·βm`.
fn picked(b: &mut Builder, sum: &mut Mixed, bit: Halves, x: Value, m: Value) {
    let m = b.one(Op::NumberH { x: m });
    let kept = times(b, bit.alpha, x);
    sum.product(b, kept, m);
    let sign = sign(b, bit.alpha);
    let signed = times(b, sign, x);
    let both = times(b, bit.beta, m);
    sum.product(b, signed, both);
}
