//! DIV, FLOOR_DIV and FLOOR_MOD by constants of the model owner: a table of its own for each element, in two exchanges.
//!
//! **Who holds what.** x = v − u mod 2^8 from its sharing, u known to A, v to B and C. A is the model owner: for each
//! element it knows the divisor, and so the table T of results over all 256 dividends, which comes with the weights.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | A deals T', T'(j) = T(j − u mod 2^8), in the ring of the result |
//! | 2 | T'(v) = T(v − u) = T(x), reshared |
//!
//! A turns its table by u in eight steps, one for each bit of u; B and C halve the list eight times, by the bits of v, on
//! summands. Neither looks anything up at a secret place.
//!
//! *What each message reveals.* Nothing: A sends B the turned table minus a fresh pad that A shares with C; a simulator
//! draws it at random. The reshare is between B and C, as every reshare of summands of two: each sends its part minus a pad
//! that the other lacks. A receives nothing. 256 entries for each element: what is divided should be small.
use super::builder::Builder;
use super::dealer::choose_ring;
use super::emit::Emitter;
use super::plan::{Plan, Planner, zero_point};
use super::{LowerError, MODEL_OWNER, choose};
use crate::qgraph::eval::{broadcast, floor_quotient, quotient};
use crate::qgraph::{Kind, Op as QOp};
use ir::{Dims, Op, Strided, Value};

/// Entries of a table: dividends mod 2^8.
const ENTRIES: u32 = 256;
/// Most elements of a result: a party holds several lists of 64-bit words as long as all tables.
const MOST: usize = 1 << 18;

impl Planner<'_> {
    /// Whether the tables fit.
    pub(super) fn quotient(&self, op: &QOp) -> Result<Plan, LowerError> {
        let refuse = |reason| Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        let profile = crate::profile::of(self.options.protocol);
        if profile.dealer.is_some_and(|dealer| dealer != MODEL_OWNER) {
            let name = profile.name;
            return refuse(format!(
                "protocol {name} cannot divide yet: the model owner would have to deal; compile it with `--protocol rep3`"
            ));
        }
        let len = self.g.tensor(op.output).len();
        if self.options.modes.public_weights {
            return refuse("its divisors make tables that the model owner deals; leave `--weights=public` out".into());
        }
        if len <= MOST {
            return Ok(Plan::Quotient);
        }
        refuse(format!("it divides {len} elements, at most {MOST} are divided; multiply by the reciprocal instead"))
    }
}

impl Emitter<'_> {
    /// The quotient or the remainder of each element.
    pub(super) fn quotient(&mut self, op: &QOp) -> Result<Value, LowerError> {
        let (a, b, y) = (self.g.tensor(op.inputs[0]), self.g.tensor(op.inputs[1]), self.g.tensor(op.output));
        let refuse = |reason: &str| LowerError::Unsupported { index: op.index, name: op.name, reason: reason.into() };
        let divisors = b.constant.as_ref().ok_or_else(|| refuse("divides by what is not constant"))?;
        let (z_a, z_y) = (zero_point(a), zero_point(y));
        let result = |x: i64, d: i32| -> i64 {
            let stored = match &op.kind {
                Kind::Div { zero_points, multiplier, out } => quotient(x as i32, d - zero_points[1], *multiplier, out),
                Kind::FloorDiv { remainder } => floor_quotient((x + z_a) as i32, d, *remainder),
                _ => unreachable!("the planner made a quotient of it"),
            };
            i64::from(stored) - z_y
        };
        let (from, to) = self.range(op.inputs[0]);
        let tables = divisors.iter().flat_map(|d| choose::entries(from, to, |x| result(x, *d))).map(|y| y as i32);
        let (rows, shape) = (divisors.len() as u32, super::shape32(&y.shape));
        if self.b.interface.weight_owner != MODEL_OWNER {
            return Err(LowerError::Unsupported {
                index: op.index,
                name: op.name,
                reason: format!(
                    "the tables of a quotient are dealt by {MODEL_OWNER}: it must own the weights, not a client"
                ),
            });
        }
        let table = self.weight(&[rows, ENTRIES], tables.collect());

        let len = y.len() as u32;
        let table = match rows {
            1 => self.b.one(Op::Expand { x: table, shape: Dims(vec![len, ENTRIES]) }),
            rows if rows == len => table,
            _ => {
                let places = broadcast(&b.shape, &y.shape).map_err(refuse)?;
                let index = self.b.constant(&[len], places.into_iter().map(|at| at as i64).collect());
                self.b.one(Op::Gather { x: table, index, axis: 0 })
            }
        };
        let x = self.input(op, 0)?;
        let x = self.whole(op, x);
        let k = self.ring(op.output);
        self.fixed();
        let y = look_up(&mut self.b, x, table, k);
        Ok(self.b.reshape(y, &shape))
    }
}

/// Entry x mod 2^8 of each of the tables `[… 256]` of the model owner, shared in a ring of `k` bits.
pub fn look_up(b: &mut Builder, x: Value, table: Value, k: u8) -> Value {
    let len = b.ty(x).len() as u32;
    let x = b.reshape(x, &[len, 1]);
    let (u, v) = b.two(Op::SplitShared { x, rot: MODEL_OWNER.0 });
    let bit = |b: &mut Builder, x: Value, i: u8, n: u32| {
        let one = b.one(Op::PlanesH { x, lo: i, width: 1 });
        b.one(Op::Expand { x: one, shape: Dims(vec![len, n]) })
    };
    let mut turned = table;
    for i in 0..8 {
        let from = (0..ENTRIES).map(|j| i64::from((j + ENTRIES - (1 << i)) % ENTRIES)).collect();
        let index = b.constant(&[ENTRIES], from);
        let next = b.one(Op::Gather { x: turned, index, axis: 1 });
        let bit = bit(b, u, i, ENTRIES);
        turned = choose_ring(b, turned, next, bit);
    }
    let mut rest = b.one(Op::Deal { x: turned, bits: k });
    for i in (0..8).rev() {
        let n = 1u32 << i;
        let half = |b: &mut Builder, start: u32| {
            let part = Strided { start: vec![0, start], size: vec![len, n], stride: vec![1, 1] };
            b.one(Op::Slice { x: rest, part })
        };
        let (low, high) = (half(b, 0), half(b, n));
        let bit = bit(b, v, i, n);
        rest = choose_ring(b, low, high, bit);
    }
    b.one(Op::Reshare { x: rest, bits: k })
}
