//! REDUCE_PROD: one factor after the other, each product rescaled as the kernel does, `R64` as one floor.
//!
//! The order of the factors is the kernel's: rounding makes it matter. Ranges of the products in between follow from those
//! of the operand. The kernel keeps them in 32 bits, so where one could have more its lower 32 bits are taken, as a signed
//! number: `x − 2^32·floor((x + 2^31) / 2^32)`.
use super::LowerError;
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas};
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::shape32;
use super::wide::middle;
use crate::qgraph::{Multiplier, Op as QOp, Output};
use crate::staircase::rule::wide;
use crate::staircase::{Rule, Staircase, best_fit};
use ir::{Op, Strided, Value};

/// Half of the numbers of 32 bits.
const HALF: i64 = 1 << 31;

/// What follows a product in between.
#[derive(Clone, Debug)]
pub struct Step {
    /// Taken off the product, so that it has fewer bits.
    pub middle: i64,
    /// Its rescaling.
    pub formulas: Formulas,
    /// Its division by 2^32, where it may leave 32 bits.
    pub fold: Option<Formulas>,
}

impl Planner<'_> {
    /// The constants after each product but the last, then those of the result.
    pub(super) fn product(
        &mut self,
        op: &QOp,
        axes: &[usize],
        multiplier: Multiplier,
        out: Output,
    ) -> Result<Plan, LowerError> {
        let factor = self.centred(op.inputs[0]);
        let count: usize = axes.iter().map(|a| self.g.tensor(op.inputs[0]).shape[*a]).product();
        let (cut, shift) = wide(multiplier);
        let half = 1i64 << shift >> 1;
        let floor = |x: i64| (i128::from(x) * i128::from(cut) + i128::from(half)) >> shift;
        let int32 = |x: i128| i32::try_from(x).is_ok();
        // What each product can be, and what is kept of it.
        let (mut kept, mut products) = (factor, Vec::with_capacity(count));
        for _ in 1..count {
            let all = [kept.0 * factor.0, kept.0 * factor.1, kept.1 * factor.0, kept.1 * factor.1];
            let (lo, hi) = (all.into_iter().min().unwrap_or(0), all.into_iter().max().unwrap_or(0));
            let (least, most) = (floor(lo), floor(hi));
            let whole = int32(least) && int32(most);
            products.push(((lo, hi), least as i64, most as i64, !whole));
            kept = if whole { (least as i64, most as i64) } else { (i32::MIN.into(), i32::MAX.into()) };
        }
        let last = Staircase::new(Rule::Wide(multiplier), out);
        let last = self.single(op, best_fit(&last, kept.0, kept.1), kept.0, kept.1)?;
        let mut steps = Vec::with_capacity(count);
        let stairs = |m: i64, s: u32, offset: i64, lo: i64, hi: i64, bound: i64| {
            let one = if lo < hi { Class::floor(m, s, offset, [lo, hi]) } else { Class::constant(lo, bound) };
            Formulas::new(vec![one], 0, bound)
        };
        // From the last product to the first, since each needs the ring of the next.
        let mut ring = last.n;
        for ((lo, hi), least, most, wraps) in products.into_iter().rev() {
            let fold = if wraps {
                let bound = least.abs().max(most.abs());
                let (lo, hi) = ((least + HALF) >> 32, (most + HALF) >> 32);
                Some(self.fits_in(op, stairs(1, 32, HALF, lo, hi, bound), ring)?)
            } else {
                None
            };
            ring = fold.as_ref().map_or(ring, |f| f.n.max(ring));
            let middle = middle(lo, hi);
            let bound = (lo - middle).abs().max((hi - middle).abs());
            let offset = half + cut * middle;
            let formulas = self.fits_in(op, stairs(cut, shift.unsigned_abs(), offset, least, most, bound), ring)?;
            ring = formulas.n;
            steps.push(Step { middle, formulas, fold });
        }
        steps.reverse();
        Ok(Plan::Product { steps, last })
    }
}

impl Emitter<'_> {
    pub(super) fn reduced_product(
        &mut self,
        op: &QOp,
        axes: &[usize],
        steps: &[Step],
        last: &Formulas,
    ) -> Result<Value, LowerError> {
        let x = self.input(op, 0)?;
        let x = self.in_rows(op.inputs[0], x, axes);
        let [rows, n] = [0, 1].map(|i| self.b.ty(x).shape[i]);
        let factor = |me: &mut Self, i: u32, ring: u8| {
            let part = Strided { start: vec![0, i], size: vec![rows, 1], stride: vec![1, 1] };
            let x = if n == 1 { x } else { me.b.one(Op::Slice { x, part }) };
            me.b.cast(x, ring)
        };
        let mut product = factor(self, 0, steps.first().map_or(last.n, |s| s.formulas.n));
        for (i, Step { middle, formulas, fold }) in steps.iter().enumerate() {
            let next = factor(self, i as u32 + 1, formulas.n);
            let sum = self.b.one(Op::MulSs { a: product, b: next });
            let source = self.b.settle(sum);
            let (Source::Sum(sum) | Source::Shared(sum)) = source;
            let sum = source.of(self.b.add_scalar(sum, -middle));
            let (next, rot) = (steps.get(i + 1).map_or(last.n, |s| s.formulas.n), self.rot());
            let k = fold.as_ref().map_or(next, |f| f.n.max(next));
            product = emit::staircase(&mut self.b, sum, formulas, None, k, self.route, rot);
            if let Some(fold) = fold {
                let (x, rot) = (self.b.cast(product, fold.n), self.rot());
                let wraps = emit::staircase(&mut self.b, Source::Shared(x), fold, None, next, self.route, rot);
                let by = self.b.scalar(1 << 32);
                let high = self.b.one(Op::MulP { x: wraps, p: by });
                let x = self.b.cast(product, next);
                product = self.b.one(Op::Sub { a: x, b: high });
            }
        }
        let y = self.finish(op, Source::Shared(product), last, None);
        Ok(self.b.reshape(y, &shape32(&self.g.tensor(op.output).shape)))
    }
}
