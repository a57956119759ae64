//! Operators that only copy, as ops that only copy: no message.
use super::LowerError;
use super::emit::Emitter;
use super::plan::zero_point;
use crate::qgraph::{Movement, Op as QOp, joined};
use ir::{Amounts, Dims, Op, Strides, Value};

/// Most axes of a value.
const MAX_RANK: usize = 8;

impl Emitter<'_> {
    /// The result of a movement in the ring of the result's tensor.
    pub(super) fn moved(&mut self, op: &QOp, movement: &Movement) -> Result<Value, LowerError> {
        let ring = self.plans.rings[op.output.index()];
        let (out, z) = (self.g.tensor(op.output), zero_point(self.g.tensor(op.output)));
        let mut operands = Vec::with_capacity(op.inputs.len());
        for (i, id) in op.inputs.iter().enumerate() {
            let x = self.input(op, i)?;
            let x = self.b.cast(x, ring);
            // Stored integers are copied, so what is centred on another zero point moves.
            operands.push(self.b.add_scalar(x, zero_point(self.g.tensor(*id)) - z));
        }
        let y = self.step(movement, &operands, z);
        let shape = super::shape32(&out.shape);
        Ok(self.b.reshape(y, &shape))
    }

    fn step(&mut self, movement: &Movement, operands: &[Value], z: i64) -> Value {
        let x = operands[0];
        let len = self.b.ty(x).len();
        match movement {
            Movement::Concat { .. } if operands.len() == 1 => x,
            Movement::Concat { rows } => {
                let parts = operands.iter().map(|x| self.rows(*x, *rows)).collect();
                self.b.one(Op::Concat { parts, axis: 1 })
            }
            Movement::View { start, dims, strides } => self.view(x, *start, dims, strides),
            Movement::Gather { rows, size, index, value } => {
                let shape = [*rows, *size, len / (rows * size)].map(|d| d as u32);
                let value = i64::from(*value) - z;
                let outside = index.contains(&None);
                let x = self.b.reshape(x, &shape);
                // What is outside is zero; another value is made zero for the time being.
                let x = if outside { self.b.add_scalar(x, -value) } else { x };
                let list = index.iter().map(|at| at.map_or(-1, |at| at as i64)).collect();
                let index = self.b.constant(&[index.len() as u32], list);
                let y = self.b.one(Op::Gather { x, index, axis: 1 });
                if outside { self.b.add_scalar(y, value) } else { y }
            }
            Movement::Fill { rows, before, after, value } => {
                let value = i64::from(*value) - z;
                let x = self.rows(x, *rows);
                let x = self.b.add_scalar(x, -value);
                let y = self.b.one(Op::Pad { x, amounts: Amounts(vec![0, 0, *before as u32, *after as u32]) });
                self.b.add_scalar(y, value)
            }
            Movement::Chain(steps) => {
                let mut values = operands.to_vec();
                for step in steps {
                    values = vec![self.step(step, &values, z)];
                }
                values[0]
            }
        }
    }

    fn rows(&mut self, x: Value, rows: usize) -> Value {
        let len = self.b.ty(x).len();
        self.b.reshape(x, &[rows as u32, (len / rows) as u32])
    }

    fn view(&mut self, x: Value, start: usize, dims: &[usize], strides: &[isize]) -> Value {
        let len = self.b.ty(x).len();
        let (sizes, steps) = joined(dims, strides);
        if start == 0 && (sizes.is_empty() && len == 1 || sizes == [len] && steps == [1]) {
            return x;
        }
        if sizes.len() > MAX_RANK {
            let mut index = vec![start as i64];
            for (&size, &step) in sizes.iter().zip(&steps) {
                index = index.into_iter().flat_map(|at| (0..size as i64).map(move |i| at + i * step as i64)).collect();
            }
            let x = self.b.reshape(x, &[len as u32]);
            let index = self.b.constant(&[index.len() as u32], index);
            return self.b.one(Op::Gather { x, index, axis: 0 });
        }
        let strides = Strides(steps.iter().map(|step| *step as i32).collect());
        self.b.one(Op::View { x, start: start as u32, shape: Dims(super::shape32(&sizes)), strides })
    }
}
