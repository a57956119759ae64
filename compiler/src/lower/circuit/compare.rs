//! Signs, equality and choices of shared numbers.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | both groups enter one-hot vectors of their chunks, and the top bit |
//! | 2 | leaves |
//! | 3 | the tree, for 8 bits of one level |
//! | 4 | both groups enter what they know of the bit and of the numbers |
//! | 5 | the result |
use super::super::builder::Builder;
use super::leaves::{Against, Hot, Leaves, Version, and_all, join, share_planes};
use super::{Mixed, enter, halves, operands, planes, sides, sign, times};
use ir::{Op, Value};

/// Both numbers of a comparison of one version.
fn versions(b: &mut Builder, u: Value, v: Value) -> (Version, Against) {
    let (u, v) = (Hot::new(b, u), Hot::new(b, v));
    (Version { base: u, other: None }, Against { whole: v, upper: None, bit: None })
}

/// [x < 0] for −2^m ≤ x < 2^m, as a shared plane.
pub fn negative(b: &mut Builder, x: Value, m: u8) -> Value {
    let (u, v) = operands(b, x);
    let [top_u, top_v] = [u, v].map(|x| {
        let top = planes(b, x, m, 1);
        enter(b, top, 1)
    });
    let tops = b.one(Op::Add { a: top_u, b: top_v });
    if m == 0 {
        return tops;
    }
    let [low_u, low_v] = [u, v].map(|x| planes(b, x, 0, m));
    let (u, v) = versions(b, low_u, low_v);
    let leaves = Leaves::new(b, &u, &v, false);
    let borrow = join(b, vec![leaves], vec![]).0[0].less;
    b.one(Op::Add { a: tops, b: borrow })
}

/// [x = 0] for −2^m ≤ x < 2^m, as a shared plane.
pub fn zero(b: &mut Builder, x: Value, m: u8) -> Value {
    let (u, v) = operands(b, x);
    let [u, v] = [u, v].map(|x| planes(b, x, 0, m + 1));
    let (u, v) = versions(b, u, v);
    let leaves = Leaves::new(b, &u, &v, true);
    let (summands, same) = leaves.equalities();
    let shared = share_planes(b, &summands);
    let mut equal: Vec<Value> =
        shared.into_iter().zip(same).map(|(x, same)| b.one(Op::Add { a: x, b: same })).collect();
    while equal.len() > 1 {
        let half = equal.len() / 2;
        let rest = equal.split_off(2 * half);
        let right = equal.split_off(half);
        equal = and_all(b, equal, right);
        equal.extend(rest);
    }
    equal[0]
}

/// `bit·x`, as summands at all parties in the ring of x.
pub fn bit_times(b: &mut Builder, bit: Value, x: Value) -> Value {
    let k = b.ty(x).domain.width();
    let bit = halves(b, bit)[0];
    let [p, q] = sides(b).map(|index| b.one(Op::Operand { x, index }));
    // b·(p + q), b = α + β − 2αβ.
    let mut sum = Mixed::new(k);
    let own = [times(b, bit.alpha, p), times(b, bit.beta, q)];
    own.into_iter().enumerate().for_each(|(i, x)| sum.own(b, i, x));
    let signs = [sign(b, bit.alpha), sign(b, bit.beta)];
    let signed = [times(b, signs[0], p), times(b, signs[1], q)];
    sum.product(b, signed[0], bit.beta);
    sum.product(b, bit.alpha, signed[1]);
    sum.summands(b)
}
