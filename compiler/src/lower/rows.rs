//! Rows of large tensors, computed apart. Each part of a layer has roles of its own, so that in each exchange all parties send and
//! all compute, in place of one after the other, and what is ready can travel while the rest is computed.
use super::builder::Builder;
use ir::{Op, Strided, Type, Value, Window};
use std::ops::Range;

/// Parts of a layer: one for each party that can play A.
pub const PARTS: u32 = 3;
/// Fewer elements are not taken apart: instructions cost more than they save.
const LEAST: usize = 1 << 14;
/// The axis that is cut.
pub const AXIS: usize = 1;

/// Rows of each part of a tensor, if it is worth it.
pub fn cuts(ty: &Type) -> Option<Vec<Range<u32>>> {
    let rows = *ty.shape.get(AXIS)?;
    if ty.shape.len() < 3 || rows < PARTS || ty.len() < LEAST {
        return None;
    }
    Some((0..PARTS).map(|i| i * rows / PARTS..(i + 1) * rows / PARTS).collect())
}

/// Some rows of a value, made from no more than the rows of operands that they need.
pub fn of(b: &mut Builder, x: Value, rows: &Range<u32>) -> Value {
    let shape = b.ty(x).shape.clone();
    if *rows == (0..shape[AXIS]) {
        return x;
    }
    // What is smaller is repeated along the rows.
    let side = |b: &mut Builder, v: Value| if b.ty(v).shape == shape { of(b, v, rows) } else { v };
    let op = match b.op_of(x).clone() {
        Op::Add { a, b: c } => Op::Add { a: side(b, a), b: side(b, c) },
        Op::AddP { x, p } if b.ty(p).shape.len() < 2 => Op::AddP { x: of(b, x, rows), p },
        Op::MulP { x, p } if b.ty(p).shape.len() < 2 => Op::MulP { x: of(b, x, rows), p },
        Op::Cast { x, bits } => Op::Cast { x: of(b, x, rows), bits },
        Op::Conv2dSs { x: from, w, window, groups } => match windowed(b, from, &window, rows) {
            Some((x, window)) => Op::Conv2dSs { x, w, window, groups },
            None => slice(x, &shape, rows),
        },
        Op::DepthwiseSs { x: from, w, window } => match windowed(b, from, &window, rows) {
            Some((x, window)) => Op::DepthwiseSs { x, w, window },
            None => slice(x, &shape, rows),
        },
        Op::Concat { parts, axis } if axis as usize == AXIS => {
            let mut at = 0;
            let part = parts.into_iter().find(|part| {
                let start = at;
                at += b.ty(*part).shape[AXIS];
                (start..at) == *rows
            });
            return part.unwrap_or_else(|| b.one(slice(x, &shape, rows)));
        }
        _ => slice(x, &shape, rows),
    };
    b.one(op)
}

fn slice(x: Value, shape: &[u32], rows: &Range<u32>) -> Op<Value> {
    let (mut start, mut size) = (vec![0; shape.len()], shape.to_vec());
    (start[AXIS], size[AXIS]) = (rows.start, rows.end - rows.start);
    Op::Slice { x, part: Strided { start, size, stride: vec![1; shape.len()] } }
}

/// The operand's rows under the windows of some output rows, and the windows there; `None` where all is padding.
fn windowed(b: &mut Builder, x: Value, window: &Window, rows: &Range<u32>) -> Option<(Value, Window)> {
    let (stride, pad) = (window.stride[0], window.pad[0]);
    let height = b.ty(x).shape[AXIS];
    let (first, last) =
        (rows.start * stride, (rows.end - 1) * stride + (window.kernel[0] - 1) * window.dilation[0] + 1);
    let (from, to) = (first.saturating_sub(pad), last.saturating_sub(pad).min(height));
    if from >= to {
        return None;
    }
    let x = of(b, x, &(from..to));
    let mut own = window.clone();
    (own.out[0], own.pad[0]) = (rows.end - rows.start, pad.saturating_sub(first));
    Some((x, own))
}
