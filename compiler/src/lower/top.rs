//! The places of the largest entries of shared rows, and nothing else, opened.
//!
//! Entry i of a row of n gets the key `value·2^b + (n − 1 − i)`, 2^b ≥ n: keys differ, and of equal values the first has the
//! largest key. Keys are sorted as far as needed by comparisons ([`super::maximum`]): a tournament for one, a tree of
//! Batcher's odd-even merges that keeps the first entries for several. What is opened are the low b bits of the keys that
//! are left, in order: `n − 1` minus the place, so the receiver learns the places and their order.
//!
//! K. E. Batcher, "Sorting networks and their applications" (AFIPS 1968). Each message is one of [`super::maximum`].
use super::builder::Builder;
use super::masked::Opened;
use super::maximum::negative;
use ir::infer::roles;
use ir::{Amounts, Holders, Op, Strided, Value};

/// Bits of a place in a row of `n`.
pub fn place_bits(n: u32) -> u8 {
    (32 - (n - 1).leading_zeros()).max(1) as u8
}

/// Keys, in order, of the `count` largest entries of each row of a sharing `[rows n]` of non-negative numbers, as
/// `[rows count]`; keys have `m` bits, `place` of them for the place, and their ring has `place` bits more than that of x.
pub fn sorted(b: &mut Builder, x: Value, place: u8, m: u8, count: u32, rot: u8) -> Value {
    let [rows, n] = [0, 1].map(|i| b.ty(x).shape[i]);
    let x = b.one(Op::Raise { x, by: place });
    let places = b.constant(&[n], (0..n).rev().map(i64::from).collect());
    let keys = b.one(Op::AddP { x, p: places });
    let keys = b.reshape(keys, &[rows, 1, n]);
    let sorted = largest(b, keys, count.next_power_of_two(), m, rot);
    let [first, _] = part(b, sorted, 1, count);
    b.reshape(first, &[rows, count])
}

/// Opens to the receiver the places of the `count` largest entries of each row of a sharing `[rows n]` of numbers that are
/// `least` or more and differ by less than 2^m, as `[rows count]`.
pub fn open_places(b: &mut Builder, x: Value, least: i64, m: u8, count: u32, rot: u8) -> Value {
    let n = b.ty(x).shape[1];
    let place = place_bits(n);
    let x = b.cast(x, m + 2);
    let x = b.add_scalar(x, -least);
    // Keys need one bit more than they have.
    let x = b.cast(x, m + 1);
    let first = sorted(b, x, place, place + m, count, rot);
    let low = b.cast(first, place);
    let to = Holders::one(b.receiver());
    let opened = b.one(Op::Open { x: low, to });
    let unsigned = b.one(Op::PlanesH { x: opened, lo: 0, width: place });
    let number = b.one(Op::NumberH { x: unsigned });
    let minus = b.scalar(-1);
    let number = b.one(Op::MulP { x: number, p: minus });
    b.add_scalar(number, i64::from(n) - 1)
}

/// Of sorted lists `[rows length lists]` of non-negative keys that differ by less than 2^m the `keep` largest of all.
fn largest(b: &mut Builder, mut x: Value, keep: u32, m: u8, rot: u8) -> Value {
    loop {
        let [rows, length, lists] = [0, 1, 2].map(|i| b.ty(x).shape[i]);
        if lists == 1 {
            // A short row: nothing follows.
            let missing = keep.saturating_sub(length);
            let amounts = Amounts(vec![0, 0, 0, missing, 0, 0]);
            return if missing == 0 { x } else { b.one(Op::Pad { x, amounts }) };
        }
        if lists % 2 == 1 {
            // Zeros are no larger than any key, and come last.
            x = b.one(Op::Pad { x, amounts: Amounts(vec![0, 0, 0, 0, 0, 1]) });
        }
        let half = |b: &mut Builder, start: u32| {
            let size = vec![rows, length, lists.div_ceil(2)];
            let part = Strided { start: vec![0, 0, start], size, stride: vec![1, 1, 2] };
            b.one(Op::Slice { x, part })
        };
        let (a, c) = (half(b, 0), half(b, 1));
        x = if length == keep && keep == 1 {
            sort(b, a, c, m, false, rot)[0]
        } else {
            let merged = merge(b, a, c, m, rot);
            if 2 * length > keep { part(b, merged, 1, keep)[0] } else { merged }
        };
    }
}

/// Merges sorted lists along axis 1.
fn merge(b: &mut Builder, a: Value, c: Value, m: u8, rot: u8) -> Value {
    let [rows, length, lists] = [0, 1, 2].map(|i| b.ty(a).shape[i]);
    let [high, low] = sort(b, a, c, m, true, rot);
    let mut x = join(b, high, low, 1);
    let mut step = length / 2;
    while step > 0 {
        let [head, rest] = part(b, x, 1, step);
        let [middle, tail] = part(b, rest, 1, 2 * (length - step));
        let pairs = b.reshape(middle, &[rows, (length - step) / step, 2, step, lists]);
        let [a, c] = part(b, pairs, 2, 1);
        let [high, low] = sort(b, a, c, m, true, rot);
        let pairs = join(b, high, low, 2);
        let middle = b.reshape(pairs, &[rows, 2 * (length - step), lists]);
        let front = join(b, head, middle, 1);
        x = join(b, front, tail, 1);
        step /= 2;
    }
    x
}

/// The larger, and if asked for the smaller, of each pair.
fn sort(b: &mut Builder, a: Value, c: Value, m: u8, both: bool, rot: u8) -> [Value; 2] {
    let k = b.ty(a).domain.width();
    let [_, rb, rc] = roles(rot);
    let difference = b.one(Op::Sub { a, b: c });
    let less = negative(b, difference, m, rot);
    let gain = Opened::new(b, less, rot).times(b, difference);
    let own = |b: &mut Builder, x| b.one(Op::AsSum { x, at: Holders::pair(rb, rc), bits: k });
    let a = own(b, a);
    let high = b.one(Op::Sub { a, b: gain });
    let high = b.one(Op::Reshare { x: high, bits: k });
    if !both {
        return [high, high];
    }
    let c = own(b, c);
    let low = b.one(Op::Add { a: c, b: gain });
    [high, b.one(Op::Reshare { x: low, bits: k })]
}

/// The first `count` entries along an axis, and the others; the same twice if there are no others.
fn part(b: &mut Builder, x: Value, axis: usize, count: u32) -> [Value; 2] {
    let shape = b.ty(x).shape.clone();
    let slice = |b: &mut Builder, from: u32, to: u32| {
        let mut part = Strided { start: vec![0; shape.len()], size: shape.clone(), stride: vec![1; shape.len()] };
        part.start[axis] = from;
        part.size[axis] = to - from;
        b.one(Op::Slice { x, part })
    };
    if count >= shape[axis] {
        return [x, x];
    }
    [slice(b, 0, count), slice(b, count, shape[axis])]
}

/// One after the other along an axis.
fn join(b: &mut Builder, x: Value, y: Value, axis: usize) -> Value {
    let (rank, [nx, ny]) = (b.ty(x).shape.len(), [x, y].map(|v| b.ty(v).shape[axis]));
    let amounts = |before: u32, after: u32| {
        let mut all = vec![0; 2 * rank];
        (all[2 * axis], all[2 * axis + 1]) = (before, after);
        Amounts(all)
    };
    let x = b.one(Op::Pad { x, amounts: amounts(0, ny) });
    let y = b.one(Op::Pad { x: y, amounts: amounts(nx, 0) });
    b.one(Op::Add { a: x, b: y })
}
