//! Requantization: `y = clamp(floor((m·acc + b) / 2^s), lo, hi)`.
//!
//! In a ring of `h + width` bits, `z = (m·acc + b)·2^(width − s) − split·2^width` does not wrap, so that its bits from `width` on are
//! those of `t = floor − split`. The ring of the accumulator is that wide already: z is linear. With R = hi − split,
//! `under = [t < 0]`, `over = [t − R − 1 ≥ 0]`, and `y = split + Σ 2^j·t_j·(1 − under − over) + R·over`. Where there are two pieces,
//! `y = lo + clamp(t, 0, hi − split) + clamp(t', 0, split − lo)`, t' = floor' − lo.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | the accumulator, shared |
//! | 2 … | bits of z and signs ([`super::sum`]): 8 for 40 bits |
//! | then 1 | `t_j·(1 − under − over)` |
//! | then 2 | the result in its ring |
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::super::formulas::{Class, Formulas, bits_for};
use super::super::requant::Source;
use super::{product, sum, weighted, xor};
use ir::{Op, Value};

/// Bits of the ring in which all classes are computed side by side.
pub fn together(f: &Formulas) -> u8 {
    let f = f.for_adder();
    f.h + f.width
}

/// Bits of the ring of the accumulator.
pub fn ring(f: &Formulas) -> u8 {
    groups(f).iter().map(|g| together(&f.of(g))).max().unwrap_or(1)
}

/// Classes that are computed side by side: all of them, or, where shifts differ so much that no ring is wide enough, as many of
/// similar shifts as one ring has room for.
fn groups(f: &Formulas) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..f.classes.len() as u32).collect();
    if together(f) <= 64 {
        return vec![order];
    }
    order.sort_by_key(|c| f.classes[*c as usize].s);
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for class in order {
        let fits = |g: &Vec<u32>| together(&f.of(&[&g[..], &[class]].concat())) <= 64;
        match groups.last_mut().filter(|g| fits(g)) {
            Some(group) => group.push(class),
            None => groups.push(vec![class]),
        }
    }
    groups
}

/// A piece: what is subtracted of the floor, the largest result, and the offset.
struct Piece {
    z: Value,
    /// `z − (R + 1)·2^width`.
    beyond: Value,
    /// Most results of each class.
    reach: Vec<i64>,
}

/// Emits the gadget; the result is shared in a ring of `k` bits. `index` picks the class of each element; without it classes
/// lie along the last axis.
pub fn requantize(b: &mut Builder, source: Source, f: &Formulas, index: Option<Value>, k: u8) -> Value {
    let x = match source {
        Source::Sum(x) => {
            let bits = b.ty(x).domain.width();
            b.one(Op::Reshare { x, bits })
        }
        Source::Shared(x) => x,
    };
    let groups = groups(f);
    if groups.len() > 1 && index.is_none() {
        return apart(b, x, f, &groups, k);
    }
    let n = together(f);
    let f = f.for_adder();
    let (width, h) = (u32::from(f.width), u32::from(f.h));
    let x = b.cast(x, n);
    let get = |b: &mut Builder, of: &dyn Fn(&Class) -> i64| {
        let data: Vec<i64> = f.classes.iter().map(of).collect();
        match index {
            None => b.channels(data),
            Some(index) => {
                let table = b.constant(&[data.len() as u32], data);
                b.one(Op::TakePp { table, index })
            }
        }
    };
    // Mod 2^64, of which the ring is a part.
    let up = |x: i64, by: u32| ((x as u64) << by) as i64;
    let m = get(b, &|c| up(c.m, width - c.s));
    let scaled = b.one(Op::MulP { x, p: m });
    let from = |c: &Class, i: usize| if i == 0 { c.split } else { c.lo };
    let reach = |c: &Class, i: usize| if i == 0 { c.hi - c.split } else { c.split - c.lo };
    let pieces: Vec<Piece> = (0..1 + usize::from(f.two))
        .map(|i| {
            let offset = |c: &Class| up(if i == 0 { c.above } else { c.below }, width - c.s);
            let z = get(b, &|c| offset(c).wrapping_sub(up(from(c, i), width)));
            let z = b.one(Op::AddP { x: scaled, p: z });
            let beyond = get(b, &|c| up(reach(c, i) + 1, width));
            let beyond = b.one(Op::SubP { x: z, p: beyond });
            Piece { z, beyond, reach: f.classes.iter().map(|c| reach(c, i)).collect() }
        })
        .collect();

    let top = width + h - 1;
    let most = |p: &Piece| bits_for(p.reach.iter().copied().max().unwrap_or(0)).max(1);
    let wanted: Vec<_> = pieces
        .iter()
        .flat_map(|p| {
            let results = width..width + u32::from(most(p)).min(h - 1);
            [(p.z, results.chain([top]).collect()), (p.beyond, vec![top])]
        })
        .collect();
    let found = sum::bits(b, &wanted);
    let (mut left, mut right, mut overs) = (vec![], vec![], vec![]);
    for bits in found.chunks(2) {
        let (bits, not_over) = (bits[0], bits[1]);
        let count = u32::from(b.ty(bits).domain.width()) - 1;
        let under = pick(b, bits, vec![count]);
        // Inside: neither under nor over.
        let inside = xor(b, under, not_over);
        left.push(pick(b, bits, (0..count).collect()));
        right.push(pick(b, inside, vec![0; count as usize]));
        overs.push(b.one(Op::Not { x: not_over }));
    }
    let (left, right) = (stack(b, left), stack(b, right));
    let kept = product(b, left, right);
    let (mut at, mut planes, mut weights) = (0, vec![], vec![]);
    for (i, (piece, over)) in pieces.iter().zip(overs).enumerate() {
        let count = u32::from(most(piece)).min(h - 1);
        let own = pick(b, kept, (at..at + count).collect());
        at += count;
        weights.extend((0..count).map(|j| b.scalar(1 << j)));
        let full = (1i64 << count) - 1;
        if piece.reach.iter().all(|r| *r == full) {
            let over = pick(b, over, vec![0; count as usize]);
            planes.push(xor(b, own, over));
        } else {
            planes.extend([own, over]);
            weights.push(get(b, &|c| reach(c, i)));
        }
    }
    let planes = stack(b, planes);
    let y = weighted(b, planes, &weights, k);
    let least = get(b, &|c| c.lo);
    b.one(Op::AddP { x: y, p: least })
}

/// Groups of channels one beside the other.
fn apart(b: &mut Builder, x: Value, f: &Formulas, groups: &[Vec<u32>], k: u8) -> Value {
    let axis = b.ty(x).shape.len() as u32 - 1;
    let mut parts = Vec::new();
    for group in groups {
        let index = b.constant(&[group.len() as u32], group.iter().map(|c| i64::from(*c)).collect());
        let x = b.one(Op::Gather { x, index, axis });
        parts.push(requantize(b, Source::Shared(x), &f.of(group), None, k));
    }
    let mut order = vec![0; f.classes.len()];
    groups.iter().flatten().enumerate().for_each(|(at, c)| order[*c as usize] = at as i64);
    let joined = b.one(Op::Concat { parts, axis });
    let index = b.constant(&[order.len() as u32], order);
    b.one(Op::Gather { x: joined, index, axis })
}
