//! BATCH_MATMUL of two tensors, either of which may be secret.
//!
//! Matrices side by side are a convolution in groups: the rows of `a` are positions, one group for each matrix, and the
//! columns of `b` are output channels. One local product of sharings; then the sums are rescaled as those of every linear
//! operator.
use super::emit::Emitter;
use super::formulas::Formulas;
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::{LowerError, shape32};
use crate::qgraph::{Op as QOp, Output, Rescale};
use crate::staircase::{Rule, Staircase, fit};
use ir::{Op, Value};

impl Planner<'_> {
    /// The sum of k products is bounded by the types of the operands.
    pub(super) fn mat_mul(&mut self, op: &QOp, rescale: &Rescale, out: Output) -> Result<Plan, LowerError> {
        let largest = |i: usize| {
            let (lo, hi) = self.centred(op.inputs[i]);
            lo.abs().max(hi.abs())
        };
        let depth = self.g.tensor(op.inputs[0]).shape.last().map_or(1, |k| *k as i64);
        let bound = depth * largest(0) * largest(1);
        let rule = Rule::of_channel(rescale, 0).ok_or_else(|| self.no_multiplier(op, 0))?;
        let found = fit(&Staircase::new(rule, out), -bound, bound);
        Ok(Plan::MatMul { formulas: self.single(op, found, -bound, bound)? })
    }
}

impl Emitter<'_> {
    /// Sums of products, rescaled.
    pub(super) fn mat_mul(&mut self, op: &QOp, formulas: &Formulas) -> Result<Value, LowerError> {
        let out = shape32(&self.g.tensor(op.output).shape);
        let depth = self.g.tensor(op.inputs[0]).shape.last().map_or(1, |k| *k as u32);
        let (m, n) = (out[out.len() - 2], out[out.len() - 1]);
        let groups: u32 = out[..out.len() - 2].iter().product();
        let [a, b] = [self.input(op, 0)?, self.input(op, 1)?].map(|x| self.b.cast(x, formulas.n));
        let rows = self.transposed(a, &[groups, m, depth], [1, 0, 2]);
        let x = self.b.reshape(rows, &[m, 1, 1, groups * depth]);
        let columns = self.transposed(b, &[groups, depth, n], [0, 2, 1]);
        let w = self.b.reshape(columns, &[groups * n, 1, 1, depth]);
        let sums = self.b.one(Op::Conv2dSs { x, w, window: ir::Window::POINT, groups });
        let source = self.b.settle(sums);
        let (Source::Sum(sums) | Source::Shared(sums)) = source;
        let sums = self.transposed(sums, &[m, groups, n], [1, 0, 2]);
        let sums = self.b.reshape(sums, &out);
        Ok(self.finish(op, source.of(sums), formulas, None))
    }
}
