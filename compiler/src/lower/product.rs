//! REDUCE_PROD: one factor after the other, each product rescaled as the kernel does, `R64` as one floor.
//!
//! The order of the factors is the kernel's: rounding makes it matter. Ranges of the products in between follow from those
//! of the operand; where one could leave 32 bits, in which the kernel keeps it, the operator is refused.
use super::LowerError;
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas};
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::shape32;
use crate::qgraph::{Multiplier, Op as QOp, Output};
use crate::staircase::{Fit, Rule, Staircase, exact};
use ir::{Op, Strided, Value};

/// Every int32: no clamp.
const WHOLE: Output = Output { zero_point: 0, lo: i32::MIN, hi: i32::MAX };

impl Planner<'_> {
    /// The constants after each product but the last, then those of the result.
    pub(super) fn product(
        &mut self,
        op: &QOp,
        axes: &[usize],
        multiplier: Multiplier,
        out: Output,
    ) -> Result<Plan, LowerError> {
        let refuse = |reason: &str| LowerError::Unsupported { index: op.index, name: op.name, reason: reason.into() };
        let factor = self.centred(op.inputs[0]);
        let count: usize = axes.iter().map(|a| self.g.tensor(op.inputs[0]).shape[*a]).product();
        let staircase = Staircase::new(Rule::Wide(multiplier), WHOLE);
        let mut ranges = vec![factor];
        for _ in 1..count {
            let (a, b) = ranges[ranges.len() - 1];
            let all = [a * factor.0, a * factor.1, b * factor.0, b * factor.1];
            let product = (all.into_iter().min().unwrap_or(0), all.into_iter().max().unwrap_or(0));
            let unbounded = Staircase { out: Output { lo: i32::MIN, ..WHOLE }, ..staircase };
            let next = (i64::from(unbounded.eval(product.0)), i64::from(unbounded.eval(product.1)));
            if next.0 <= i32::MIN.into() || next.1 >= i32::MAX.into() {
                return Err(refuse(
                    "a product in between may exceed 32 bits, which TFLite lets overflow; use a larger result scale",
                ));
            }
            ranges.push(next);
        }
        let result = self.ring;
        let mut steps = Vec::with_capacity(count);
        let (from, to) = ranges[count - 1];
        let last = Staircase::new(Rule::Wide(multiplier), out);
        let last = self.single(op, crate::staircase::best_fit(&last, from, to), from, to)?;
        let mut ring = last.n;
        // From the last product to the first, since each needs the ring of the next.
        for (a, b) in ranges[..count - 1].iter().rev() {
            let bound = a.abs().max(b.abs()) * factor.0.abs().max(factor.1.abs());
            let found = exact(&staircase, -bound, bound).ok_or_else(|| self.no_multiplier(op, 0))?;
            let class = match found.map_err(|e| Self::constants(op, 0, e))? {
                Fit::Constant(y) => Class::constant(y.into(), bound),
                Fit::Affine(c) => {
                    self.thresholds += c.checked() as u64;
                    Class::of(&c, 0)
                }
            };
            self.ring = ring;
            let formulas = self.fits(op, Formulas::new(vec![class], 0, bound))?;
            ring = formulas.n;
            steps.push(formulas);
        }
        self.ring = result;
        steps.reverse();
        Ok(Plan::Product { steps, last })
    }
}

impl Emitter<'_> {
    pub(super) fn reduced_product(
        &mut self,
        op: &QOp,
        axes: &[usize],
        steps: &[Formulas],
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
        let mut product = factor(self, 0, steps.first().map_or(last.n, |f| f.n));
        for (i, formulas) in steps.iter().enumerate() {
            let next = factor(self, i as u32 + 1, formulas.n);
            let sum = self.b.one(Op::MulSs { a: product, b: next });
            let (k, rot) = (steps.get(i + 1).map_or(last.n, |f| f.n), self.rot());
            product = emit::staircase(&mut self.b, Source::Sum(sum), formulas, None, k, self.route, rot);
        }
        let y = self.finish(op, Source::Shared(product), last, None);
        Ok(self.b.reshape(y, &shape32(&self.g.tensor(op.output).shape)))
    }
}
