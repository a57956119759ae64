//! Comparisons and maxima of shared numbers.
//!
//! **Dealer route**, four exchanges. x = v − u, |x| < 2^m, u known to A, v to B and C; the sign of x is bit m of v − u:
//! `u_m xor v_m xor [v mod 2^m < u mod 2^m]`.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | A deals one-hot vectors of the chunks of u mod 2^m, and u_m |
//! | 2 | masked leaves of the comparison; A deals products of their masks |
//! | 3 | the sign, masked; A deals its mask β, and β·u |
//! | 4 | the result, reshared |
//!
//! `max(a, c) = a − [d < 0]·d`, d = a − c. [d = 0] likewise: leaves say which chunks are equal, and are multiplied. Every message is one of [`super::dealer`] or [`super::masked`]: a value under a
//! fresh pad of the key that its receiver lacks. A receives nothing.
//!
//! **Boolean route**: the sign by a carry tree on bits that all three share, then a product of sharings.
//!
//! **Circuit route**: [`super::circuit::compare`]. **Adder route**: [`super::adder::compare`].
use super::builder::Builder;
use super::compare::{carry_trees, pick};
use super::dealer::Comparison;
use super::masked::Opened;
use super::requant::bit_to_ring;
use super::{Route, adder, circuit};
use ir::infer::roles;
use ir::{Amounts, Dims, Holders, Op, Strided, Value};

/// Bits of a difference of two bytes, without its sign.
pub const BYTES: u8 = 8;

/// [x < 0] for −2^m ≤ x < 2^m, as one plane of summands of B and C. Two exchanges up to 20 bits, else three.
pub fn negative(b: &mut Builder, x: Value, m: u8, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    let (u, v) = b.two(Op::SplitShared { x, rot });
    let low = |b: &mut Builder, x| b.one(Op::PlanesH { x, lo: 0, width: m });
    let top = |b: &mut Builder, x| b.one(Op::PlanesH { x, lo: m, width: 1 });
    let (low_u, low_v) = (low(b, u), low(b, v));
    let borrow = Comparison::new(b, low_u).less(b, low_v, rot);
    let top_u = top(b, u);
    let top_u = b.one(Op::Deal { x: top_u, bits: 1 });
    let top_v = top(b, v);
    let top_v = b.one(Op::AsSum { x: top_v, at: Holders::pair(rb, rc), bits: 1 });
    let tops = b.one(Op::Add { a: top_u, b: top_v });
    b.one(Op::Add { a: borrow, b: tops })
}

/// [x < 0] for −2^m ≤ x < 2^m, shared in a ring of `k` bits.
pub fn sign(b: &mut Builder, x: Value, m: u8, k: u8, route: Route, rot: u8) -> Value {
    match route {
        Route::Dealer => {
            let bit = negative(b, x, m, rot);
            opened(b, bit, k, rot)
        }
        Route::Boolean => negative_boolean(b, x, m, k, rot),
        Route::Circuit => {
            let bit = circuit::compare::negative(b, x, m);
            circuit::bit_to_ring(b, bit, k)
        }
        Route::Adder => {
            let bit = adder::compare::negative(b, x, m);
            adder::bit_to_ring(b, bit, k)
        }
    }
}

/// [x = 0] for −2^m ≤ x < 2^m, shared in a ring of `k` bits.
pub fn zero(b: &mut Builder, x: Value, m: u8, k: u8, route: Route, rot: u8) -> Value {
    if route == Route::Circuit {
        let bit = circuit::compare::zero(b, x, m);
        return circuit::bit_to_ring(b, bit, k);
    }
    if route == Route::Adder {
        let bit = adder::compare::zero(b, x, m);
        return adder::bit_to_ring(b, bit, k);
    }
    let (u, v) = b.two(Op::SplitShared { x, rot });
    let [u, v] = [u, v].map(|x| b.one(Op::PlanesH { x, lo: 0, width: m + 1 }));
    if route == Route::Dealer {
        let bit = Comparison::new(b, u).equal(b, v, rot);
        return opened(b, bit, k, rot);
    }
    let u = b.one(Op::Reshare { x: u, bits: 1 });
    let not_v = b.one(Op::Not { x: v });
    let not_v = b.one(Op::Embed { x: not_v, bits: 1 });
    let mut same = b.one(Op::Add { a: u, b: not_v });
    loop {
        let n = u32::from(b.ty(same).domain.width());
        if n == 1 {
            let bit = bit_to_ring(b, same, k, rot);
            return b.one(Op::Reshare { x: bit, bits: k });
        }
        // The middle one of an odd number is multiplied by itself.
        let (low, high) = (pick(b, same, (0..n.div_ceil(2)).collect()), pick(b, same, (n / 2..n).collect()));
        let both = b.one(Op::MulSs { a: low, b: high });
        same = b.one(Op::Reshare { x: both, bits: 1 });
    }
}

/// A plane of summands as a sharing in a ring of `k` bits.
fn opened(b: &mut Builder, bit: Value, k: u8, rot: u8) -> Value {
    let number = Opened::new(b, bit, rot).number(b, k);
    b.one(Op::Reshare { x: number, bits: k })
}

/// The bit [a < c] of two shared numbers, for choosing between pairs.
pub enum Less {
    /// Opened to B and C under a mask.
    Opened(Opened),
    /// A sharing in the ring of the numbers.
    Shared(Value),
    /// A shared plane.
    Bit(Value),
}

/// [a < c] of numbers in one ring of m + 1 bits or more that differ by less than 2^m.
pub fn less(b: &mut Builder, a: Value, c: Value, m: u8, route: Route, rot: u8) -> Less {
    let difference = b.one(Op::Sub { a, b: c });
    match route {
        Route::Dealer => {
            let sign = negative(b, difference, m, rot);
            Less::Opened(Opened::new(b, sign, rot))
        }
        Route::Boolean => {
            let k = b.ty(difference).domain.width();
            Less::Shared(negative_boolean(b, difference, m, k, rot))
        }
        Route::Circuit => Less::Bit(circuit::compare::negative(b, difference, m)),
        Route::Adder => Less::Bit(adder::compare::negative(b, difference, m)),
    }
}

impl Less {
    /// `c` where a < c, else `a`.
    pub fn choose(&self, b: &mut Builder, a: Value, c: Value, rot: u8) -> Value {
        let k = b.ty(a).domain.width();
        let difference = b.one(Op::Sub { a, b: c });
        let sum = match self {
            Less::Opened(bit) => {
                let [_, rb, rc] = roles(rot);
                let gain = bit.times(b, difference);
                let own = b.one(Op::AsSum { x: a, at: Holders::pair(rb, rc), bits: k });
                b.one(Op::Sub { a: own, b: gain })
            }
            Less::Bit(bit) if b.scheme.checked => {
                let gain = adder::compare::bit_times(b, *bit, difference);
                return b.one(Op::Sub { a, b: gain });
            }
            Less::Bit(bit) => {
                let gain = circuit::compare::bit_times(b, *bit, difference);
                let everyone = b.all();
                let own = b.one(Op::AsSum { x: a, at: everyone, bits: k });
                b.one(Op::Sub { a: own, b: gain })
            }
            Less::Shared(bit) => {
                let gain = b.one(Op::MulSs { a: *bit, b: difference });
                let everyone = b.all();
                let own = b.one(Op::AsSum { x: a, at: everyone, bits: k });
                b.one(Op::Sub { a: own, b: gain })
            }
        };
        b.one(Op::Reshare { x: sum, bits: k })
    }
}

/// The larger of two shared numbers in one ring of m + 1 bits or more that differ by less than 2^m.
pub fn maximum(b: &mut Builder, a: Value, c: Value, m: u8, route: Route, rot: u8) -> Value {
    less(b, a, c, m, route, rot).choose(b, a, c, rot)
}

/// The largest of several: a tournament, each level in one go.
pub fn largest(b: &mut Builder, mut parts: Vec<Value>, m: u8, route: Route, rot: u8) -> Value {
    while parts.len() > 1 {
        let pairs: Vec<Vec<Value>> = parts.chunks(2).map(<[Value]>::to_vec).collect();
        let one = |p: Vec<Value>| if let [x, y] = p[..] { maximum(b, x, y, m, route, rot) } else { p[0] };
        parts = pairs.into_iter().map(one).collect();
    }
    parts[0]
}

/// Largest of each row of a sharing `[rows n]` of numbers that are `least` or more and differ by less than 2^m, as
/// `[rows 1]`.
pub fn row_largest(b: &mut Builder, x: Value, least: i64, m: u8, route: Route, rot: u8) -> Value {
    // From zero on, so that padding is not larger.
    let mut x = b.add_scalar(x, -least);
    loop {
        let [rows, n] = [0, 1].map(|i| b.ty(x).shape[i]);
        if n == 1 {
            return b.add_scalar(x, least);
        }
        if n % 2 == 1 {
            x = b.one(Op::Pad { x, amounts: Amounts(vec![0, 0, 0, 1]) });
        }
        let mut half = |start: u32| {
            let part = Strided { start: vec![0, start], size: vec![rows, n.div_ceil(2)], stride: vec![1, 2] };
            b.one(Op::Slice { x, part })
        };
        let (a, c) = (half(0), half(1));
        x = maximum(b, a, c, m, route, rot);
    }
}

/// How far each element of a row is below the largest; operands as of [`row_largest`].
pub fn row_distances(b: &mut Builder, x: Value, least: i64, m: u8, route: Route, rot: u8) -> Value {
    let shape = b.ty(x).shape.clone();
    let most = row_largest(b, x, least, m, route, rot);
    let most = b.one(Op::Expand { x: most, shape: Dims(shape) });
    b.one(Op::Sub { a: most, b: x })
}

/// [x < 0] as a sharing in a ring of `k` bits, by shared bits, for −2^m ≤ x < 2^m.
fn negative_boolean(b: &mut Builder, x: Value, m: u8, k: u8, rot: u8) -> Value {
    let (u, v) = b.two(Op::SplitShared { x, rot });
    let bits = b.one(Op::PlanesH { x: u, lo: 0, width: m + 1 });
    let bits = b.one(Op::Reshare { x: bits, bits: 1 });
    let low = pick(b, bits, (0..u32::from(m)).collect());
    let low_v = b.one(Op::PlanesH { x: v, lo: 0, width: m });
    let not_v = b.one(Op::Not { x: low_v });
    let lt = b.one(Op::MulSh { a: low, h: not_v });
    let lt = b.one(Op::Reshare { x: lt, bits: 1 });
    let same = b.one(Op::Embed { x: not_v, bits: 1 });
    let eq = b.one(Op::Add { a: low, b: same });
    let borrow = carry_trees(b, lt, eq, &[u32::from(m)]);
    let top_u = pick(b, bits, vec![u32::from(m)]);
    let top_v = b.one(Op::PlanesH { x: v, lo: m, width: 1 });
    let top_v = b.one(Op::Embed { x: top_v, bits: 1 });
    let sign = b.one(Op::Add { a: borrow, b: top_u });
    let sign = b.one(Op::Add { a: sign, b: top_v });
    let less = bit_to_ring(b, sign, k, rot);
    b.one(Op::Reshare { x: less, bits: k })
}
