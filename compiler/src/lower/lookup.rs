//! GATHER at secret positions, as of an embedding: the one-hot vector of each position times the table.
//!
//! Entries of the vector become numbers in the ring of the result; then the product is one convolution, local, and a
//! reshare. The table may be secret too. Where it has more than 2^8 slices, a position is `256·h + l`: the vector of l takes
//! one slice for each h, the vector of h one of those.
//!
//! | exchange | content |
//! |---|---|
//! | – | more than 2^8 slices: h ([`super::requant`], [`super::dealer`]) |
//! | 1 | A deals the one-hot vector of the position's low 8 bits ([`super::table`]) |
//! | 2 | its entries, masked; A deals their masks in the ring ([`super::masked`]) |
//! | 3 | the entries, reshared |
//! | 4 | the product, reshared; with h one more product and reshare |
//!
//! *A position outside the table.* TFLite stops there; parties that see no position cannot. The result is then another
//! slice of the table, or its zero point. Who owns the input should check its range.
//!
//! Every message is one of those gadgets', or a reshare.
use super::compare::pick;
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas};
use super::masked::Opened;
use super::plan::{Plan, Planner, zero_point};
use super::requant::Source;
use super::{BYTE_RING, LowerError, shape32, table};
use crate::qgraph::Op as QOp;
use ir::{Amounts, Axes, Dims, Op, Value};

/// Slices that the low bits of a position tell apart.
const LOW: usize = 256;
/// Most slices: the high part of a position is a byte.
const MOST: usize = LOW * LOW;

impl Planner<'_> {
    /// How positions are cut.
    pub(super) fn lookup(&self, op: &QOp, size: usize) -> Result<Plan, LowerError> {
        if size <= LOW {
            return Ok(Plan::Lookup(None));
        }
        if size > MOST {
            let reason = format!("a table of {size} slices, at most {MOST} are looked up at secret positions");
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        let hi = size.div_ceil(LOW) as i64 - 1;
        let class = Class::floor(1, LOW.ilog2(), 0, [0, hi]);
        Ok(Plan::Lookup(Some(self.fits(op, Formulas::new(vec![class], 0, size as i64))?)))
    }
}

impl Emitter<'_> {
    /// The slices of each row at each position.
    pub(super) fn lookup(
        &mut self,
        op: &QOp,
        rows: usize,
        size: usize,
        high: Option<&Formulas>,
    ) -> Result<Value, LowerError> {
        let k = self.ring(op.output);
        let (rows, size) = (rows as u32, size as u32);
        let (x, positions) = (self.input(op, 0)?, self.input(op, 1)?);
        let x = self.b.cast(x, k);
        let inner = self.b.ty(x).len() as u32 / (rows * size);
        let count = self.b.ty(positions).len() as u32;
        let positions = self.b.reshape(positions, &[count]);
        let low = size.min(LOW as u32);
        let parts = size.div_ceil(low);

        // One output channel for each row, part and inner element.
        let x = self.b.reshape(x, &[rows, size, inner]);
        let missing = parts * low - size;
        let amounts = Amounts(vec![0, 0, 0, missing, 0, 0]);
        let x = if missing == 0 { x } else { self.b.one(Op::Pad { x, amounts }) };
        let x = self.transposed(x, &[rows * parts, low, inner], [0, 2, 1]);
        let w = self.b.reshape(x, &[rows * parts * inner, 1, 1, low]);
        let entries = self.entries(positions, low, k);
        let entries = self.b.reshape(entries, &[count, 1, 1, low]);
        let mut y = self.b.one(Op::Conv2dSs { x: entries, w, window: ir::Window::POINT, groups: 1 });
        if let Some(formulas) = high {
            let slices = self.b.one(Op::Reshare { x: y, bits: k });
            let (source, rot) = (self.b.cast(positions, formulas.n), self.rot());
            let source = Source::Shared(source);
            let high = emit::staircase(&mut self.b, source, formulas, None, BYTE_RING, self.route, rot);
            let entries = self.entries(high, parts, k);
            let shape = vec![count, rows, parts, inner];
            let entries = self.b.reshape(entries, &[count, 1, parts, 1]);
            let entries = self.b.one(Op::Expand { x: entries, shape: Dims(shape.clone()) });
            let slices = self.b.reshape(slices, &shape);
            let chosen = self.b.one(Op::MulSs { a: entries, b: slices });
            y = self.b.one(Op::ReduceSum { x: chosen, axes: Axes(vec![2]) });
        }
        let y = self.b.one(Op::Reshare { x: y, bits: k });
        let y = self.transposed(y, &[count, rows, inner], [1, 0, 2]);
        let y = self.b.reshape(y, &shape32(&self.g.tensor(op.output).shape));
        let [from, to] = [op.inputs[0], op.output].map(|t| zero_point(self.g.tensor(t)));
        Ok(self.b.add_scalar(y, from - to))
    }

    /// The first entries of the one-hot vectors of numbers mod 2^8, shared in a ring of `k` bits, one after the other.
    fn entries(&mut self, x: Value, count: u32, k: u8) -> Value {
        let rot = self.rot();
        let b = &mut self.b;
        let len = b.ty(x).len() as u32;
        let hot = table::onehot(b, x, rot);
        // Entry 0 has no plane of its own.
        let first: Vec<u64> = (0..256).map(|i| u64::from(i == 0)).collect();
        let mut planes = vec![table::look_up(b, hot, &first, 1)];
        if count > 1 {
            planes.push(pick(b, hot, (0..count - 1).collect()));
        }
        let opened: Vec<Opened> = planes.into_iter().map(|x| Opened::new(b, x, rot)).collect();
        let parts: Vec<Value> = (0..count)
            .map(|i| {
                let bit = if i == 0 { opened[0].number(b, k) } else { opened[1].plane(b, i - 1).number(b, k) };
                b.reshape(bit, &[len, 1])
            })
            .collect();
        let all = if count == 1 { parts[0] } else { b.one(Op::Concat { parts, axis: 1 }) };
        b.one(Op::Reshare { x: all, bits: k })
    }
}
