//! Bits that B and C have as summands, opened to them under masks that A knows.
//!
//! B and C see t = x xor β, uniform to both; A, who knows β and neither t nor x, deals what they need to go on with it:
//! β in a ring, or β times its operand of a sharing. With b = t xor β = t + (1 − 2t)·β:
//!
//! - the bit itself as a ring value is a choice, by t, between β and 1 − β ([`Opened::number`]);
//! - the bit times y = v − u, u known to A and v to B and C, is `t·y + (1 − 2t)·(β·v − [β·u])`: β·v is local, β·u is
//!   dealt, and summands of y come from its sharing ([`Opened::times`]).
//!
//! *Messages.* B and C exchange x xor β: each lacks one of the two pads of β. A sends B the dealt values, each minus a
//! fresh pad that A shares with C. A receives nothing.
use super::builder::Builder;
use super::compare::pick;
use super::dealer::{choose_ring, reveal};
use super::poly::open_masked;
use ir::infer::roles;
use ir::{Holders, Op, Value};

/// Planes that B and C have opened under masks.
pub struct Opened {
    /// What B and C see.
    pub t: Value,
    /// The masks, at A.
    pub beta: Value,
    rot: u8,
}

impl Opened {
    /// Opens summands of B and C: one exchange.
    pub fn new(b: &mut Builder, x: Value, rot: u8) -> Opened {
        let (t, beta) = open_masked(b, x, rot);
        Opened { t, beta, rot }
    }

    /// Plane `i`.
    pub fn plane(&self, b: &mut Builder, i: u32) -> Opened {
        Opened { t: pick(b, self.t, vec![i]), beta: pick(b, self.beta, vec![i]), rot: self.rot }
    }

    /// The mask of the one plane as a ring value of `k` bits, dealt.
    fn dealt(&self, b: &mut Builder, k: u8) -> Value {
        let number = b.one(Op::NumberH { x: self.beta });
        b.one(Op::Deal { x: number, bits: k })
    }

    /// The one plane as summands in a ring of `k` bits.
    pub fn number(&self, b: &mut Builder, k: u8) -> Value {
        let dealt = self.dealt(b, k);
        reveal(b, dealt, self.t)
    }

    /// All planes as summands of an unsigned number in a ring of `k` bits. Plane i takes k − i bits of the dealer.
    pub fn numbers(&self, b: &mut Builder, k: u8) -> Value {
        let planes = b.ty(self.t).domain.width().min(k);
        let one = |b: &mut Builder, i: u8| {
            let bit = self.plane(b, i.into()).number(b, k - i);
            if i == 0 { bit } else { b.one(Op::Raise { x: bit, by: i }) }
        };
        let first = one(b, 0);
        (1..planes).fold(first, |sum, i| {
            let bit = one(b, i);
            b.one(Op::Add { a: sum, b: bit })
        })
    }

    /// The one plane times a sharing, as summands.
    pub fn times(&self, b: &mut Builder, y: Value) -> Value {
        let k = b.ty(y).domain.width();
        let [_, rb, rc] = roles(self.rot);
        let (u, v) = b.two(Op::SplitShared { x: y, rot: self.rot });
        let kept = b.one(Op::KeepH { x: u, bit: self.beta });
        let kept = b.one(Op::Deal { x: kept, bits: k });
        let dealt = self.dealt(b, k);
        let own = b.one(Op::MulSh { a: dealt, h: v });
        let masked = b.one(Op::Sub { a: own, b: kept });
        let whole = b.one(Op::AsSum { x: y, at: Holders::pair(rb, rc), bits: k });
        let rest = b.one(Op::Sub { a: whole, b: masked });
        choose_ring(b, masked, rest, self.t)
    }
}
