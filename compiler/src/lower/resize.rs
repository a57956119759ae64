//! RESIZE_BILINEAR: weighted sums with public weights along width, then height, and the rounding as a requantization.
use super::LowerError;
use super::emit::Emitter;
use super::formulas::Formulas;
use super::plan::zero_point;
use super::requant::Source;
use crate::qgraph::{Interpolation, Op as QOp, Tap, TensorId};
use ir::{Op, Value};

impl Emitter<'_> {
    pub(super) fn interpolated(
        &mut self,
        op: &QOp,
        how: &Interpolation,
        formulas: Option<&Formulas>,
    ) -> Result<Value, LowerError> {
        let x = self.input(op, 0)?;
        let x = self.b.cast(x, formulas.map_or(self.plans.rings[op.output.index()], |f| f.n));
        // The weights add up to the unit, so the sum is centred as the operand is.
        let x = self.along(x, 2, &how.axes[1]);
        let x = self.along(x, 1, &how.axes[0]);
        let z = |id: TensorId| zero_point(self.g.tensor(id));
        let apart = z(op.inputs[0]) - z(op.output);
        Ok(match formulas {
            Some(f) => self.finish(op, Source::Shared(x), f, None),
            None => self.b.add_scalar(x, apart),
        })
    }

    fn along(&mut self, x: Value, axis: u32, taps: &[Tap]) -> Value {
        let mut sum = None;
        for side in 0..2 {
            if taps.iter().all(|tap| tap.weights[side] == 0) {
                continue;
            }
            let index = taps.iter().map(|tap| tap.from[side] as i64).collect();
            let index = self.b.constant(&[taps.len() as u32], index);
            let part = self.b.one(Op::Gather { x, index, axis });
            if taps.iter().all(|tap| tap.weights[side] == 1) {
                sum = Some(part);
                continue;
            }
            let mut shape = vec![taps.len() as u32];
            shape.resize(4 - axis as usize, 1);
            let weights = self.b.constant(&shape, taps.iter().map(|tap| tap.weights[side]).collect());
            let part = self.b.one(Op::MulP { x: part, p: weights });
            sum = Some(match sum {
                None => part,
                Some(sum) => self.b.one(Op::Add { a: sum, b: part }),
            });
        }
        sum.expect("weights add up to a positive unit")
    }
}
