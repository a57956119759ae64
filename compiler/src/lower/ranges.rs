//! Which stored integers a tensor can hold, from types and public constants only, and the ring that they need.
use crate::qgraph::{DType, Graph, Kind, Op, Output, TensorId};

/// Smallest and largest stored integer of each tensor.
pub fn stored(g: &Graph) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = g.tensors.iter().map(|t| t.dtype.range()).collect();
    for op in &g.ops {
        let range = result(g, op, &all);
        let (lo, hi) = all[op.output.index()];
        all[op.output.index()] = (range.0.max(lo), range.1.min(hi));
    }
    all
}

fn result(g: &Graph, op: &Op, all: &[(i64, i64)]) -> (i64, i64) {
    let of = |id: &TensorId| all[id.index()];
    let hull = |ids: &[TensorId]| {
        let joined = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        ids.iter().map(of).reduce(joined).unwrap_or((i64::MIN, i64::MAX))
    };
    let clamp = |out: &Output| (i64::from(out.lo.min(out.hi)), i64::from(out.hi));
    match &op.kind {
        Kind::Compare { .. } => (0, 1),
        Kind::Top { axis, indices: true, .. } => (0, g.tensor(op.inputs[0]).shape[*axis] as i64 - 1),
        Kind::Top { indices: false, .. } | Kind::ReduceExtremum { .. } | Kind::Reshape | Kind::Lookup { .. } => {
            hull(&op.inputs[..1])
        }
        Kind::Extremum { .. } => hull(&op.inputs),
        Kind::Select => hull(&op.inputs[1..]),
        Kind::Table { table } => {
            (table.iter().min().map_or(0, |y| i64::from(*y)), table.iter().max().map_or(0, |y| i64::from(*y)))
        }
        Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear } => {
            clamp(&linear.out)
        }
        Kind::Mean { out, .. } | Kind::Add { out, .. } | Kind::Sub { out, .. } | Kind::Mul { out, .. } => clamp(out),
        Kind::Quantize { out, .. } | Kind::MatMul { out, .. } => clamp(out),
        _ => (i64::MIN, i64::MAX),
    }
}

/// Smallest and largest centred value of a tensor whose stored integers are in `range`.
pub fn centred(g: &Graph, id: TensorId, range: (i64, i64)) -> (i64, i64) {
    let z = super::plan::zero_point(g.tensor(id));
    (range.0.saturating_sub(z), range.1.saturating_sub(z))
}

/// Bits of the smallest ring that holds every centred value of a tensor with its sign and a bit to spare.
pub fn ring(g: &Graph, id: TensorId, range: (i64, i64)) -> u8 {
    if matches!(g.tensor(id).dtype, DType::I8 | DType::U8) {
        return super::BYTE_RING;
    }
    let (lo, hi) = centred(g, id, range);
    let largest = lo.unsigned_abs().max(hi.unsigned_abs());
    (66 - largest.leading_zeros() as u8).min(64)
}
