//! AVERAGE_POOL_2D and MAX_POOL_2D.
use super::{Evaluated, Operand, inside, nhwc};
use crate::qgraph::Window;

pub(super) fn average(window: &Window, lo: i32, hi: i32, x: &Operand<'_>, out: &[usize]) -> Evaluated<Vec<i32>> {
    pool(window, x, out, 0, i32::wrapping_add, |sum, count| {
        // Halves away from zero: C divides towards zero.
        let half = count / 2;
        let mean = if sum > 0 { (sum + half) / count } else { (sum - half) / count };
        mean.max(lo).min(hi)
    })
}

pub(super) fn max(window: &Window, lo: i32, hi: i32, x: &Operand<'_>, out: &[usize]) -> Evaluated<Vec<i32>> {
    pool(window, x, out, i32::MIN, i32::max, |max, _| max.max(lo).min(hi))
}

/// Folds the positions of each window that lie inside the input, then finishes with their number.
fn pool(
    window: &Window,
    x: &Operand<'_>,
    out: &[usize],
    start: i32,
    fold: impl Fn(i32, i32) -> i32,
    finish: impl Fn(i32, i32) -> i32,
) -> Evaluated<Vec<i32>> {
    let ([_, height, width, channels], [batch, out_h, out_w, out_c]) = (nhwc(x.shape)?, nhwc(out)?);
    if batch != x.shape[0] || channels != out_c {
        return Err("batch or channels do not fit");
    }
    let mut result = vec![start; batch * out_h * out_w * channels];
    for (position, folded) in result.chunks_exact_mut(channels).enumerate() {
        let (n, oy, ox) = (position / (out_h * out_w), position / out_w % out_h, position % out_w);
        let (start_y, start_x) = (oy * window.stride[0], ox * window.stride[1]);
        let rows = inside(start_y, window.pad[0], window.kernel[0], window.dilation[0], height);
        let columns = inside(start_x, window.pad[1], window.kernel[1], window.dilation[1], width);
        let count = i32::try_from(rows.len() * columns.len()).map_err(|_| "the window is too large")?;
        if count == 0 {
            return Err("a window lies outside the input");
        }
        for ky in rows {
            let y = start_y + ky * window.dilation[0] - window.pad[0];
            for kx in columns.clone() {
                let column = start_x + kx * window.dilation[1] - window.pad[1];
                let pixel = &x.data[((n * height + y) * width + column) * channels..][..channels];
                for (folded, &q) in folded.iter_mut().zip(pixel) {
                    *folded = fold(*folded, q);
                }
            }
        }
        for value in folded {
            *value = finish(*value, count);
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::DType;

    #[test]
    fn averages_round_halves_away_and_leave_padding_out() {
        let window = Window { kernel: [1, 2], stride: [1, 2], dilation: [1, 1], pad: [0, 1] };
        let x = Operand { dtype: DType::I8, shape: &[1, 1, 5, 1], data: &[7, -1, -2, 1, 2] };
        // Windows: (padding, 7), (-1, -2), (1, 2).
        assert_eq!(average(&window, -128, 127, &x, &[1, 1, 3, 1]), Ok(vec![7, -2, 2]));
        assert_eq!(max(&window, 0, 2, &x, &[1, 1, 3, 1]), Ok(vec![2, 0, 2]));
        assert!(average(&window, -128, 127, &x, &[1, 1, 9, 1]).is_err());
    }
}
