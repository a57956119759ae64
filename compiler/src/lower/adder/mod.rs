//! The adder route, for three parties of which one may lie: all that is sent are sums of products of sharings, so all of it can
//! be checked at once.
//!
//! A sharing comes apart into three operands, each held by two parties, whose bits are sharings without a message
//! ([`Op::Embed`]). Adding them up bit by bit gives the bits of the number ([`sum`]); bits go back into a ring by two products
//! ([`number`]).
//!
//! *What each message reveals.* Nothing: only products are sent, and the protocol makes what it sends uniform to its receiver.
//! *What a party can change.* An error in a product, which the check finds.
pub mod compare;
pub mod requant;
mod sum;
pub mod table;

use super::builder::Builder;
use super::compare::pick;
use ir::{Op, Value};

/// The product of two sharings, element by element.
pub fn product(b: &mut Builder, x: Value, y: Value) -> Value {
    inner(b, &[(x, y)])
}

/// Σ of products of sharings, element by element: one exchange.
pub fn inner(b: &mut Builder, pairs: &[(Value, Value)]) -> Value {
    let products: Vec<Value> = pairs.iter().map(|(x, y)| b.one(Op::MulSs { a: *x, b: *y })).collect();
    let x = products.into_iter().reduce(|x, y| b.one(Op::Add { a: x, b: y })).expect("there is a product");
    let bits = b.ty(x).domain.width();
    b.one(Op::Reshare { x, bits })
}

/// The XOR of sharings of bits.
fn xor(b: &mut Builder, x: Value, y: Value) -> Value {
    b.one(Op::Add { a: x, b: y })
}

/// Operand `index` of each of some planes, as sharings of numbers 0 and 1 in a ring of `k` bits.
fn numbers(b: &mut Builder, bits: Value, index: u8, k: u8) -> Vec<Value> {
    let x = b.one(Op::Operand { x: bits, index });
    let planes = u32::from(b.ty(bits).domain.width());
    let number = |i| {
        let plane = pick(b, x, vec![i]);
        let number = b.one(Op::NumberH { x: plane });
        b.one(Op::Embed { x: number, bits: k })
    };
    (0..planes).map(number).collect()
}

/// Σ weight·bit over planes, in a ring of `k` bits: two exchanges. With a bit as p xor q xor r, `c = p + q − 2pq` and
/// `bit = c + r − 2cr`.
pub fn weighted(b: &mut Builder, bits: Value, weights: &[Value], k: u8) -> Value {
    let [p, q, r] = [0, 1, 2].map(|index| numbers(b, bits, index, k));
    let minus = b.scalar(-2);
    let (mut pairs, mut own) = (vec![], None);
    for (i, weight) in weights.iter().enumerate() {
        let both = product(b, p[i], q[i]);
        let twice = b.one(Op::MulP { x: both, p: minus });
        let c = b.one(Op::Add { a: p[i], b: q[i] });
        let c = b.one(Op::Add { a: c, b: twice });
        let sum = b.one(Op::Add { a: c, b: r[i] });
        let sum = b.one(Op::MulP { x: sum, p: *weight });
        own = Some(own.map_or(sum, |own| b.one(Op::Add { a: own, b: sum })));
        let factor = b.one(Op::MulP { x: r[i], p: *weight });
        let factor = b.one(Op::MulP { x: factor, p: minus });
        pairs.push((c, factor));
    }
    let mixed = inner(b, &pairs);
    b.one(Op::Add { a: own.expect("there is a bit"), b: mixed })
}

/// A shared bit in a ring of `k` bits.
pub fn bit_to_ring(b: &mut Builder, bit: Value, k: u8) -> Value {
    let one = b.scalar(1);
    weighted(b, bit, &[one], k)
}

/// Shared planes as an unsigned number in a ring of `k` bits.
pub fn number(b: &mut Builder, bits: Value, k: u8) -> Value {
    let weights: Vec<Value> = (0..b.ty(bits).domain.width()).map(|i| b.scalar(1 << i)).collect();
    weighted(b, bits, &weights, k)
}
