//! Rows of large tensors, computed apart. Each part of a layer has roles of its own, so that in each exchange all parties
//! send and all compute, in place of one after the other, and what is ready can travel while the rest is computed.
use super::builder::Builder;
use ir::{Op, Strided, Type, Value, Window};
use std::ops::Range;

/// Parts of a layer: one for each party that can play A.
pub const PARTS: u32 = 3;
/// The axis that is cut.
pub const AXIS: usize = 1;

/// The least number of elements of a layer whose rows are computed apart: for less, instructions cost more than they save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Apart(pub usize);

impl Default for Apart {
    fn default() -> Self {
        Apart(1 << 14)
    }
}

impl Apart {
    /// Rows of each part of a tensor, if it is large enough.
    pub fn cuts(self, ty: &Type) -> Option<Vec<Range<u32>>> {
        let rows = *ty.shape.get(AXIS)?;
        // Channels are not cut.
        if ty.shape.len() < AXIS + 2 || rows < PARTS || ty.len() < self.0 {
            return None;
        }
        Some((0..PARTS).map(|i| i * rows / PARTS..(i + 1) * rows / PARTS).collect())
    }
}

/// Some rows of a value, made from no more than the rows of operands that they need.
pub fn of(b: &mut Builder, x: Value, rows: &Range<u32>) -> Value {
    let shape = b.ty(x).shape.clone();
    if *rows == (0..shape[AXIS]) {
        return x;
    }
    let mut op = b.op_of(x).clone();
    match &mut op {
        Op::Add { a, b: c } | Op::Sub { a, b: c } => (*a, *c) = (side(b, *a, &shape, rows), side(b, *c, &shape, rows)),
        Op::AddP { x, p } | Op::MulP { x, p } if varies(b, *p, &shape).is_none() => *x = of(b, *x, rows),
        Op::Cast { x, .. } => *x = of(b, *x, rows),
        Op::Conv2dSs { x: from, window, .. }
        | Op::Conv2dP { x: from, window, .. }
        | Op::DepthwiseSs { x: from, window, .. }
        | Op::DepthwiseP { x: from, window, .. }
        | Op::WindowSum { x: from, window } => match windowed(b, *from, window, rows) {
            Some((part, own)) => (*from, *window) = (part, own),
            None => op = slice(x, &shape, AXIS, rows),
        },
        Op::Concat { parts, axis } if *axis as usize == AXIS => {
            let mut at = 0;
            let part = parts.iter().find(|part| {
                let start = at;
                at += b.ty(**part).shape[AXIS];
                (start..at) == *rows
            });
            match part {
                Some(part) => return *part,
                None => op = slice(x, &shape, AXIS, rows),
            }
        }
        _ => op = slice(x, &shape, AXIS, rows),
    }
    b.one(op)
}

/// The axis along which an operand that is repeated to `shape` has rows; none where it is the same in all of them.
fn varies(b: &Builder, v: Value, shape: &[u32]) -> Option<usize> {
    let own = &b.ty(v).shape;
    // Shapes are aligned at their ends.
    let axis = (AXIS + own.len()).checked_sub(shape.len())?;
    (own[axis] == shape[AXIS]).then_some(axis)
}

/// What rows of a result of `shape` need of an operand.
fn side(b: &mut Builder, v: Value, shape: &[u32], rows: &Range<u32>) -> Value {
    match varies(b, v, shape) {
        None => v,
        Some(AXIS) => of(b, v, rows),
        Some(axis) => {
            let own = b.ty(v).shape.clone();
            b.one(slice(v, &own, axis, rows))
        }
    }
}

fn slice(x: Value, shape: &[u32], axis: usize, rows: &Range<u32>) -> Op<Value> {
    let (mut start, mut size) = (vec![0; shape.len()], shape.to_vec());
    (start[axis], size[axis]) = (rows.start, rows.end - rows.start);
    Op::Slice { x, part: Strided { start, size, stride: vec![1; shape.len()] } }
}

/// The operand's rows under the windows of some output rows, and the windows there; `None` where all is padding.
fn windowed(b: &mut Builder, x: Value, window: &Window, rows: &Range<u32>) -> Option<(Value, Window)> {
    let (from, to, pad) = reach(window, rows, b.ty(x).shape[AXIS]);
    if from >= to {
        return None;
    }
    let mut own = window.clone();
    (own.out[0], own.pad[0]) = (rows.end - rows.start, pad);
    Some((of(b, x, &(from..to)), own))
}

/// First and last row, of `height` there are, that the windows of some output rows look at, and the padding before them.
fn reach(window: &Window, rows: &Range<u32>, height: u32) -> (u32, u32, u32) {
    // In rows of the padded operand.
    let at = |row: u32| row.saturating_mul(window.stride[0]);
    let tall = (window.kernel[0] - 1).saturating_mul(window.dilation[0]).saturating_add(1);
    let (start, end) = (at(rows.start), at(rows.end - 1).saturating_add(tall));
    let pad = window.pad[0];
    (start.saturating_sub(pad), end.saturating_sub(pad).min(height), pad.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::Lowered;
    use crate::pipeline::program_of;
    use ir::program::DType;
    use ir::{Dims, Holders, Interface, Party, Port};

    const OWNER: Party = Party(1);

    fn port(shape: &[u32]) -> Port {
        let (name, dtype) = (String::new(), DType::I32);
        Port { name, dtype, shape: shape.to_vec(), scale: 1.0, zero_point: 0, party: OWNER, float: false }
    }

    /// Numbers without pattern.
    fn drawn(shape: &[u32], seed: i64) -> Vec<i64> {
        (0..shape.iter().product::<u32>().into()).map(|i: i64| (i * 7919 + seed * 31) % 23 - 11).collect()
    }

    /// Any rows of what `build` makes of sharings of these shapes are those rows of the whole.
    fn check(shapes: &[&[u32]], build: impl Fn(&mut Builder, &[Value]) -> Value) {
        let scheme = ir::Protocol::Rep3.facts().scheme;
        let inputs: Vec<Port> = shapes.iter().map(|s| port(s)).collect();
        let start = |outputs| {
            let interface = Interface { inputs: inputs.clone(), outputs, weights: vec![], weight_owner: Party(0) };
            let mut b = Builder::new(interface, scheme);
            let share = |b: &mut Builder, index| {
                let x = b.one(Op::Input { index });
                b.share(x, 40)
            };
            let given: Vec<Value> = (0..shapes.len() as u32).map(|i| share(&mut b, i)).collect();
            let y = build(&mut b, &given);
            (b, y)
        };
        let (b, y) = start(vec![]);
        let shape = b.ty(y).shape.clone();
        let height = shape[AXIS];
        let cuts: Vec<Range<u32>> = (0..height).flat_map(|i| (i + 1..=height).map(move |j| i..j)).collect();
        let of_rows = |cut: &Range<u32>| [&shape[..AXIS], &[cut.end - cut.start], &shape[AXIS + 1..]].concat();
        let (mut b, y) = start(cuts.iter().map(|cut| port(&of_rows(cut))).collect());
        for (index, cut) in (0..).zip(&cuts) {
            let x = of(&mut b, y, cut);
            assert_eq!(b.ty(x).shape, of_rows(cut));
            let x = if b.ty(x).form == ir::Form::Shared { x } else { b.one(Op::Reshare { x, bits: 40 }) };
            let x = b.one(Op::Open { x, to: Holders::one(OWNER) });
            b.emit(Op::Output { x, index });
        }
        let (reveal, parts, notes) = ("output".into(), vec![], vec![]);
        let p =
            program_of(Lowered { builder: b, weights: vec![], thresholds: 0, reveal, parts, notes, results: vec![] });
        let typed = ir::verify::verify(&p).expect("verified");
        let data: Vec<Vec<i64>> = (1..).zip(shapes).map(|(seed, s)| drawn(s, seed)).collect();
        let got = ir::eval::eval(&p, &typed, &data, &[]);
        let all = &got[cuts.iter().position(|cut| *cut == (0..height)).expect("among them")];
        let row: usize = shape[AXIS + 1..].iter().map(|d| *d as usize).product();
        for (cut, got) in cuts.iter().zip(&got) {
            let want: Vec<i64> = all
                .chunks(row * height as usize)
                .flat_map(|sample| &sample[cut.start as usize * row..cut.end as usize * row])
                .copied()
                .collect();
            assert_eq!(*got, want, "rows {cut:?} of {shape:?}");
        }
    }

    fn window(out: u32, kernel: u32, stride: u32, dilation: u32, pad: u32) -> Window {
        // Wide by another kernel, so that axes are not mixed up.
        Window { out: [out, 3], kernel: [kernel, 2], stride: [stride, 1], dilation: [dilation, 2], pad: [pad, 1] }
    }

    #[test]
    fn windows_see_the_same_rows() {
        // Out of the middle, borders of padding on one side and both, steps, gaps, and windows that see padding only.
        for (height, out, kernel, stride, dilation, pad) in [
            (7, 5, 3, 1, 1, 0),
            (7, 7, 3, 1, 1, 1),
            (8, 4, 3, 2, 1, 0),
            (8, 4, 3, 2, 1, 1),
            (9, 5, 1, 2, 1, 0),
            (9, 9, 3, 1, 3, 3),
            (5, 5, 2, 1, 4, 2),
            (7, 3, 2, 3, 1, 0),
            (2, 7, 2, 1, 1, 3),
            (3, 8, 1, 1, 1, 4),
            (4, 6, 3, 5, 2, 6),
        ] {
            let w = || window(out, kernel, stride, dilation, pad);
            let x = &[2, height, 4, 2][..];
            check(&[x, &[4, kernel, 2, 1]], |b, v| b.conv2d(v[0], v[1], w(), 2));
            check(&[x, &[3, kernel, 2, 2]], |b, v| b.conv2d(v[0], v[1], w(), 1));
            check(&[x, &[kernel, 2, 4]], |b, v| b.depthwise(v[0], v[1], w()));
            check(&[x], |b, v| b.one(Op::WindowSum { x: v[0], window: w() }));
            check(&[x], |b, v| {
                let weights = b.constant(&[3, kernel, 2, 2], drawn(&[3, kernel, 2, 2], 5));
                b.conv2d(v[0], weights, w(), 1)
            });
            check(&[x], |b, v| {
                let weights = b.constant(&[kernel, 2, 2], drawn(&[kernel, 2, 2], 5));
                b.depthwise(v[0], weights, w())
            });
        }
    }

    #[test]
    fn repeated_operands_give_their_rows() {
        let x = &[2, 5, 3, 4][..];
        for other in [&[4][..], &[3, 1], &[5, 1, 1], &[5, 3, 4], &[1, 5, 1, 1], &[2, 1, 1, 4], &[2, 5, 1, 1], x, &[]] {
            check(&[x, other], |b, v| b.one(Op::Add { a: v[0], b: v[1] }));
            check(&[x, other], |b, v| b.one(Op::Sub { a: v[1], b: v[0] }));
            check(&[x], |b, v| {
                let p = b.constant(other, drawn(other, 3));
                let x = b.one(Op::AddP { x: v[0], p });
                b.one(Op::MulP { x, p })
            });
        }
        check(&[&[2, 5, 3], &[3]], |b, v| b.one(Op::Add { a: v[0], b: v[1] }));
        check(&[&[2, 5, 3], &[5, 1]], |b, v| b.one(Op::Add { a: v[0], b: v[1] }));
    }

    #[test]
    fn joined_rows_come_apart() {
        check(&[&[2, 2, 3], &[2, 3, 3], &[2, 1, 3], &[2, 6, 1]], |b, v| {
            let x = b.one(Op::Concat { parts: v[..3].to_vec(), axis: AXIS as u32 });
            let x = b.one(Op::Cast { x, bits: 20 });
            let y = b.one(Op::Expand { x: v[3], shape: Dims(vec![2, 6, 3]) });
            let y = b.one(Op::Cast { x: y, bits: 20 });
            b.one(Op::Sub { a: x, b: y })
        });
    }
}
