//! RESIZE_BILINEAR, in integers or, where the reference kernel computes in float32, with the same float32 operations.
use super::{Evaluated, Operand, nhwc};
use crate::qgraph::Interpolation;

pub(super) fn interpolate(how: &Interpolation, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    let [n, h, w, c] = nhwc(x.shape)?;
    let inside = |axis: usize, size: usize| how.axes[axis].iter().all(|tap| tap.from.iter().all(|at| *at < size));
    if !inside(0, h) || !inside(1, w) || how.unit() <= 0 {
        return Err("the weights do not fit the operand");
    }
    let mut out = Vec::with_capacity(n * how.axes[0].len() * how.axes[1].len() * c);
    for b in 0..n {
        for row in &how.axes[0] {
            for column in &how.axes[1] {
                let at = |y: usize, x: usize, depth: usize| ((b * h + row.from[y]) * w + column.from[x]) * c + depth;
                for depth in 0..c {
                    let q = |i: usize, j: usize| x.data[at(i, j, depth)];
                    out.push(if how.in_single {
                        single(row.single, column.single, q)
                    } else {
                        whole(how, row.weights, column.weights, q)
                    });
                }
            }
        }
    }
    Ok(out)
}

/// Rounded once, halves away from zero.
fn whole(how: &Interpolation, rows: [i64; 2], columns: [i64; 2], q: impl Fn(usize, usize) -> i32) -> i32 {
    let product = |i: usize, j: usize| i64::from(q(i, j)) * rows[i] * columns[j];
    let sum = product(0, 0) + product(0, 1) + product(1, 0) + product(1, 1);
    let half = how.unit() / 2;
    let mean = if sum >= 0 { (sum + half) / how.unit() } else { (sum - half) / how.unit() };
    i32::try_from(mean).unwrap_or(if mean < 0 { i32::MIN } else { i32::MAX })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the kernel's float32 arithmetic")]
fn single(rows: [f32; 2], columns: [f32; 2], q: impl Fn(usize, usize) -> i32) -> i32 {
    let product = |i: usize, j: usize| q(i, j) as f32 * rows[i] * columns[j];
    (product(0, 0) + product(1, 0) + product(0, 1) + product(1, 1) + 0.5) as i32
}
