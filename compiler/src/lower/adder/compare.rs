//! Signs, equality and choices of shared numbers.
use super::super::builder::Builder;
use super::super::compare::pick;
use super::{bit_to_ring, product, sum};
use ir::{Op, Value};

/// [x < 0] for −2^m ≤ x < 2^m, as a shared plane.
pub fn negative(b: &mut Builder, x: Value, m: u8) -> Value {
    let top = u32::from(m);
    sum::bits(b, &[(x, vec![top])])[0]
}

/// [x = 0] for −2^m ≤ x < 2^m, as a shared plane.
pub fn zero(b: &mut Builder, x: Value, m: u8) -> Value {
    let bits = sum::bits(b, &[(x, (0..=u32::from(m)).collect())])[0];
    let mut same = b.one(Op::Not { x: bits });
    loop {
        let n = u32::from(b.ty(same).domain.width());
        if n == 1 {
            return same;
        }
        // The middle one of an odd number is multiplied by itself.
        let (low, high) = (pick(b, same, (0..n.div_ceil(2)).collect()), pick(b, same, (n / 2..n).collect()));
        same = product(b, low, high);
    }
}

/// `bit·x`, shared in the ring of x.
pub fn bit_times(b: &mut Builder, bit: Value, x: Value) -> Value {
    let k = b.ty(x).domain.width();
    let bit = bit_to_ring(b, bit, k);
    product(b, bit, x)
}
