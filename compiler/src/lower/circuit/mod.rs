//! The circuit route, for protocols without roles: nobody deals, and nobody learns an operand together with a mask.
//!
//! A sharing comes apart into operands, each held by a group ([`Op::Operand`]), without a message. A group computes what it
//! likes of its own operand, over the integers, and enters bits and ring values of it as sharings. All that follows are
//! products of sharings and linear steps. So this route needs of a protocol: operands, entering what a group holds, products.
//!
//! `x = v − u mod 2^n` with two operands, u the negative of one of them. Numbers are compared in chunks of four planes: both
//! sides enter one-hot vectors, and what a chunk of v says of a chunk of u is a sum of products of entries. A product of a bit
//! and a number takes bits of both groups apart once more, so that each side multiplies over the integers ([`Mixed`]).
//!
//! *What each message reveals.* Nothing: only [`Op::Reshare`] sends, and the protocol makes what it sends uniform to its
//! receiver. Nothing is opened.
pub mod compare;
mod leaves;
pub mod requant;
pub mod table;

use super::builder::Builder;
use super::compare::pick;
use ir::{Form, Op, Value};

/// What a group holds as a sharing: no message where all but one party hold it, else one exchange.
pub fn enter(b: &mut Builder, x: Value, bits: u8) -> Value {
    let all_but_one = u32::from(b.scheme.parties) - 1;
    match b.ty(x).form {
        Form::Held(h) if h.count() == all_but_one => b.one(Op::Embed { x, bits }),
        _ => b.one(Op::Reshare { x, bits }),
    }
}

/// The operands that u and v are made of. Layers take turns: the group of v has more to send.
fn sides(b: &Builder) -> [u8; 2] {
    if b.layer.is_multiple_of(2) { [1, 0] } else { [0, 1] }
}

/// Both operands of x = v − u mod 2^n (u xor v on bits), n at most 63.
fn operands(b: &mut Builder, x: Value) -> (Value, Value) {
    assert_eq!(b.scheme.operands.len(), 2, "protocols with more operands add them up first");
    let [first, v] = sides(b).map(|index| b.one(Op::Operand { x, index }));
    let ir::Domain::Ring(n) = b.ty(x).domain else { return (first, v) };
    let minus = b.scalar(-1);
    let negative = b.one(Op::MulP { x: first, p: minus });
    let bits = b.scalar(n.into());
    (b.one(Op::AlignHp { x: negative, p: bits, to: n }), v)
}

/// Bits `lo .. lo + width` of a held number.
fn planes(b: &mut Builder, x: Value, lo: u8, width: u8) -> Value {
    b.one(Op::PlanesH { x, lo, width })
}

/// The XOR of all planes.
fn parity(b: &mut Builder, x: Value) -> Value {
    let planes = u32::from(b.ty(x).domain.width());
    if planes == 1 {
        return x;
    }
    let table = b.constant(&[planes + 1], std::iter::once(0).chain((0..planes).map(|_| 1)).collect());
    b.one(Op::MixP { x, table, width: 1 })
}

/// A shared bit taken apart: b = α xor β = α + β − 2αβ, α known to the group of u, β to that of v, as numbers.
#[derive(Clone, Copy)]
struct Halves {
    alpha: Value,
    beta: Value,
}

/// Shared planes taken apart.
fn halves(b: &mut Builder, bits: Value) -> Vec<Halves> {
    let [alpha, beta] = sides(b).map(|index| b.one(Op::Operand { x: bits, index }));
    let number = |b: &mut Builder, x: Value, i: u32| {
        let plane = pick(b, x, vec![i]);
        b.one(Op::NumberH { x: plane })
    };
    (0..u32::from(b.ty(bits).domain.width()))
        .map(|i| Halves { alpha: number(b, alpha, i), beta: number(b, beta, i) })
        .collect()
}

/// 1 − 2x.
fn sign(b: &mut Builder, x: Value) -> Value {
    let minus = b.scalar(-2);
    let x = b.one(Op::MulP { x, p: minus });
    b.add_scalar(x, 1)
}

fn times(b: &mut Builder, x: Value, y: Value) -> Value {
    b.one(Op::MulHh { a: x, b: y })
}

/// A sum in a ring of products of what one group knows and what the other knows, and of what one knows alone.
struct Mixed {
    k: u8,
    /// Summands that a group knows.
    own: [Option<Value>; 2],
    /// Summands at all.
    sum: Option<Value>,
}

impl Mixed {
    fn new(k: u8) -> Mixed {
        Mixed { k, own: [None, None], sum: None }
    }

    /// Adds what the group of u (`i` = 0) or of v knows.
    fn own(&mut self, b: &mut Builder, i: usize, x: Value) {
        self.own[i] = Some(match self.own[i] {
            None => x,
            Some(sum) => b.one(Op::Add { a: sum, b: x }),
        });
    }

    /// Adds summands at all parties.
    fn add(&mut self, b: &mut Builder, x: Value) {
        self.sum = Some(match self.sum {
            None => x,
            Some(sum) => b.one(Op::Add { a: sum, b: x }),
        });
    }

    /// Adds `x·y`, x known to the group of u, y to that of v.
    fn product(&mut self, b: &mut Builder, x: Value, y: Value) {
        let (x, y) = (enter(b, x, self.k), enter(b, y, self.k));
        let product = b.one(Op::MulSs { a: x, b: y });
        self.add(b, product);
    }

    /// Adds `c·bit`, c public: `c·α + c·β − 2c·αβ`.
    fn bit(&mut self, b: &mut Builder, bit: Halves, c: Value) {
        let [alpha, beta] = [bit.alpha, bit.beta].map(|x| b.one(Op::MulP { x, p: c }));
        self.own(b, 0, alpha);
        self.own(b, 1, beta);
        let minus = b.scalar(-2);
        let twice = b.one(Op::MulP { x: beta, p: minus });
        self.product(b, bit.alpha, twice);
    }

    /// Adds `bit·x` for x known to the group of v: `βx + α·(1 − 2β)x`.
    fn bit_times_v(&mut self, b: &mut Builder, bit: Halves, x: Value) {
        let own = times(b, bit.beta, x);
        self.own(b, 1, own);
        let sign = sign(b, bit.beta);
        let signed = times(b, sign, x);
        self.product(b, bit.alpha, signed);
    }

    /// Adds `bit·x` for x known to the group of u: `αx + (1 − 2α)x·β`.
    fn bit_times_u(&mut self, b: &mut Builder, bit: Halves, x: Value) {
        let own = times(b, bit.alpha, x);
        self.own(b, 0, own);
        let sign = sign(b, bit.alpha);
        let signed = times(b, sign, x);
        self.product(b, signed, bit.beta);
    }

    /// The sum, as summands at all parties.
    fn summands(mut self, b: &mut Builder) -> Value {
        let (at, bits) = (b.all(), self.k);
        for x in std::mem::take(&mut self.own).into_iter().flatten() {
            let x = b.one(Op::AsSum { x, at, bits });
            self.add(b, x);
        }
        self.sum.expect("there is a summand")
    }

    /// The sum, shared.
    fn shared(self, b: &mut Builder) -> Value {
        let bits = self.k;
        let x = self.summands(b);
        b.one(Op::Reshare { x, bits })
    }
}

/// A shared bit in a ring of `k` bits: two exchanges.
pub fn bit_to_ring(b: &mut Builder, bit: Value, k: u8) -> Value {
    let halves = halves(b, bit)[0];
    let mut sum = Mixed::new(k);
    let one = b.scalar(1);
    sum.bit(b, halves, one);
    sum.shared(b)
}

/// Shared planes as an unsigned number in a ring of `k` bits: two exchanges.
pub fn number(b: &mut Builder, bits: Value, k: u8) -> Value {
    let mut sum = Mixed::new(k);
    for (i, bit) in halves(b, bits).into_iter().enumerate() {
        let weight = b.scalar(1 << i);
        sum.bit(b, bit, weight);
    }
    sum.shared(b)
}
