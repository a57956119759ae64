//! CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and BATCH_MATMUL.
//!
//! The input is centred first, so padding is zero. Sums of 8-bit inputs are int32 and wrap, those of 16-bit inputs int64.
use super::{DType, Evaluated, Operand, inside, nhwc};
use crate::qgraph::{Linear, Output, Rescale, Window, fixed};
use rayon::prelude::*;

pub(super) fn conv_2d(
    window: &Window,
    groups: usize,
    linear: &Linear,
    x: &Operand<'_>,
    out: &[usize],
) -> Evaluated<Vec<i32>> {
    let ([_, height, width, channels], [batch, out_h, out_w, out_c]) = (nhwc(x.shape)?, nhwc(out)?);
    if batch != x.shape[0] || groups == 0 || channels % groups != 0 || out_c % groups != 0 {
        return Err("batch or channels and groups do not fit");
    }
    let (in_g, out_g) = (channels / groups, out_c / groups);
    let [kernel_h, kernel_w] = window.kernel;
    let patch = kernel_h * kernel_w * in_g;
    if patch == 0 {
        return Err("the kernel is empty");
    }
    let linear = Checked::new(linear, x.dtype, out_c, out_c * patch)?;
    let centred = linear.centre(x)?;

    let mut result = vec![0; batch * out_h * out_w * out_c];
    result.par_chunks_mut(out_w * out_c).enumerate().for_each(|(row, result)| {
        let (n, oy) = (row / out_h, row % out_h);
        let start_y = oy * window.stride[0];
        let mut patches = vec![0i16; out_w * patch];
        for group in 0..groups {
            patches.fill(0);
            for (ox, patch) in patches.chunks_exact_mut(patch).enumerate() {
                let start_x = ox * window.stride[1];
                for ky in inside(start_y, window.pad[0], kernel_h, window.dilation[0], height) {
                    let y = start_y + ky * window.dilation[0] - window.pad[0];
                    for kx in inside(start_x, window.pad[1], kernel_w, window.dilation[1], width) {
                        let x = start_x + kx * window.dilation[1] - window.pad[1];
                        let from = ((n * height + y) * width + x) * channels + group * in_g;
                        let to = (ky * kernel_w + kx) * in_g;
                        patch[to..to + in_g].copy_from_slice(&centred[from..from + in_g]);
                    }
                }
            }
            for c in group * out_g..(group + 1) * out_g {
                let weights = &linear.weights[c * patch..(c + 1) * patch];
                for (ox, patch) in patches.chunks_exact(patch).enumerate() {
                    result[ox * out_c + c] = linear.finish(linear.dot(patch, weights), c);
                }
            }
        }
    });
    Ok(result)
}

pub(super) fn depthwise_conv_2d(
    window: &Window,
    multiplier: usize,
    linear: &Linear,
    x: &Operand<'_>,
    out: &[usize],
) -> Evaluated<Vec<i32>> {
    let ([_, height, width, channels], [batch, out_h, out_w, out_c]) = (nhwc(x.shape)?, nhwc(out)?);
    if batch != x.shape[0] || channels.checked_mul(multiplier) != Some(out_c) {
        return Err("batch or channels and multiplier do not fit");
    }
    let [kernel_h, kernel_w] = window.kernel;
    let linear = Checked::new(linear, x.dtype, out_c, kernel_h * kernel_w * out_c)?;
    let centred = linear.centre(x)?;

    let mut result = vec![0; batch * out_h * out_w * out_c];
    result.par_chunks_mut(out_w * out_c).enumerate().for_each(|(row, result)| {
        let (n, oy) = (row / out_h, row % out_h);
        let start_y = oy * window.stride[0];
        let mut wide = vec![0i64; if linear.wide { out_c } else { 0 }];
        for (ox, sums) in result.chunks_exact_mut(out_c).enumerate() {
            wide.fill(0);
            let start_x = ox * window.stride[1];
            for ky in inside(start_y, window.pad[0], kernel_h, window.dilation[0], height) {
                let y = start_y + ky * window.dilation[0] - window.pad[0];
                for kx in inside(start_x, window.pad[1], kernel_w, window.dilation[1], width) {
                    let x = start_x + kx * window.dilation[1] - window.pad[1];
                    let pixel = &centred[((n * height + y) * width + x) * channels..][..channels];
                    let weights = &linear.weights[(ky * kernel_w + kx) * out_c..][..out_c];
                    if linear.wide {
                        accumulate(&mut wide, pixel, weights, multiplier, |sum, x, w| {
                            sum + i64::from(x) * i64::from(w)
                        });
                    } else {
                        accumulate(sums, pixel, weights, multiplier, |sum: i32, x, w| {
                            sum.wrapping_add(i32::from(x) * i32::from(w))
                        });
                    }
                }
            }
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = linear.finish(if linear.wide { wide[c] } else { i64::from(*sum) }, c);
            }
        }
    });
    Ok(result)
}

pub(super) fn fully_connected(linear: &Linear, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    let units = linear.bias.len();
    if units == 0 || linear.weights.is_empty() || !linear.weights.len().is_multiple_of(units) {
        return Err("weights and bias do not fit");
    }
    let depth = linear.weights.len() / units;
    if !x.data.len().is_multiple_of(depth) {
        return Err("the input is not made of whole rows");
    }
    let linear = Checked::new(linear, x.dtype, units, units * depth)?;
    let centred = linear.centre(x)?;
    let row = |row: &[i16]| -> Vec<i32> {
        linear
            .weights
            .chunks_exact(depth)
            .enumerate()
            .map(|(c, weights)| linear.finish(linear.dot(row, weights), c))
            .collect()
    };
    Ok(centred.par_chunks_exact(depth).flat_map_iter(row).collect())
}

/// Sum of products; the loop compiles to multiply-and-add instructions.
fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0i32, |sum, (&a, &b)| sum.wrapping_add(i32::from(a) * i32::from(b)))
}

/// One window position of a depthwise convolution; `add` adds a product to a sum.
fn accumulate<T: Copy>(
    sums: &mut [T],
    pixel: &[i16],
    weights: &[i16],
    multiplier: usize,
    add: impl Fn(T, i16, i16) -> T,
) {
    if multiplier == 1 {
        for ((sum, &x), &w) in sums.iter_mut().zip(pixel).zip(weights) {
            *sum = add(*sum, x, w);
        }
        return;
    }
    for ((sums, &x), weights) in sums.chunks_exact_mut(multiplier).zip(pixel).zip(weights.chunks_exact(multiplier)) {
        for (sum, &w) in sums.iter_mut().zip(weights) {
            *sum = add(*sum, x, w);
        }
    }
}

pub(super) fn mat_mul(
    zero_points: [i32; 2],
    rescale: &Rescale,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    let [a, b] = operands;
    let ([.., m, k], [.., k_b, n], [.., m_out, n_out]) = (a.shape, b.shape, shape) else {
        return Err("needs tensors of rank 2 or more");
    };
    let same = |x: &[usize]| x.len() == shape.len() && x[..x.len() - 2] == shape[..shape.len() - 2];
    if (k, m, n) != (k_b, m_out, n_out) || !same(a.shape) || !same(b.shape) {
        return Err("the matrices do not fit");
    }
    if rescale.channels().is_some_and(|channels| channels != 1) {
        return Err("takes one multiplier");
    }
    let centred = |q: i32, side: usize| i64::from(q) - i64::from(zero_points[side]);
    let batches = a.data.chunks(m * k).zip(b.data.chunks(k * n));
    let one = |(a, b): (&[i32], &[i32])| -> Vec<i32> {
        let element = |at: usize| {
            let (row, column) = (at / n, at % n);
            let products = (0..*k).map(|j| centred(a[row * k + j], 0) * centred(b[j * n + column], 1));
            super::pointwise::store(fixed::requantize(rescale, 0, products.sum()), out)
        };
        (0..m * n).map(element).collect()
    };
    Ok(batches.flat_map(one).collect())
}

/// A [`Linear`] whose lists have the lengths that the geometry asks for.
struct Checked<'a> {
    linear: &'a Linear,
    weights: &'a [i16],
    /// Sums are int64.
    wide: bool,
}

impl<'a> Checked<'a> {
    fn new(linear: &'a Linear, dtype: DType, channels: usize, weights: usize) -> Evaluated<Self> {
        if linear.weights.len() != weights {
            return Err("the number of weights does not fit the geometry");
        }
        if linear.rescale.channels().is_some_and(|multipliers| multipliers != 1 && multipliers != channels) {
            return Err("the number of multipliers does not fit the output channels");
        }
        if linear.bias.len() != channels {
            return Err("the number of biases does not fit the output channels");
        }
        let wide = match dtype {
            DType::I8 | DType::U8 => false,
            DType::I16 => true,
            _ => return Err("the input of a linear operator must have 8 or 16 bits"),
        };
        Ok(Checked { linear, weights: &linear.weights, wide })
    }

    /// Sum of products, of 8-bit inputs modulo 2^32.
    fn dot(&self, a: &[i16], b: &[i16]) -> i64 {
        if self.wide {
            return a.iter().zip(b).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        }
        dot(a, b).into()
    }

    /// `q − z` of every input.
    fn centre(&self, x: &Operand<'_>) -> Evaluated<Vec<i16>> {
        let centred = |&q: &i32| i16::try_from(i64::from(q) - i64::from(self.linear.input_zero_point));
        x.data.iter().map(centred).collect::<Result<_, _>>().map_err(|_| "an input or its zero point exceeds its type")
    }

    /// From a sum of products to a stored integer of channel `c`.
    fn finish(&self, sum: i64, c: usize) -> i32 {
        let acc = sum.wrapping_add(self.linear.bias[c]);
        let acc = if self.wide { acc } else { fixed::wrap(acc).into() };
        super::pointwise::store(fixed::requantize(&self.linear.rescale, c, acc), &self.linear.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::Multiplier;
    use crate::qgraph::draw::Draw;

    /// A random convolution: its weights are `[out, kh, kw, in/groups]`.
    struct Case {
        window: Window,
        groups: usize,
        linear: Linear,
        x: Vec<i32>,
        shape: [usize; 4],
        out: [usize; 4],
    }

    fn case(draw: &mut Draw, depthwise: bool) -> Case {
        let mut below = |n: u64| usize::try_from(draw.below(n)).expect("small");
        let groups = 1 + below(3);
        let (in_g, out_g) = if depthwise { (1, 1 + below(3)) } else { (1 + below(20), 1 + below(4)) };
        let window = Window {
            kernel: [1 + below(3), 1 + below(3)],
            stride: [1 + below(3), 1 + below(3)],
            dilation: [1 + below(2), 1 + below(2)],
            pad: [below(3), below(3)],
        };
        let shape = [1 + below(2), 1 + below(7), 1 + below(7), in_g * groups];
        // May ask for positions far beyond the input: padding.
        let out = [shape[0], 1 + below(6), 1 + below(6), out_g * groups];
        let taps = window.kernel[0] * window.kernel[1] * in_g;
        let mut value = |n: usize| i32::try_from(below(u64::try_from(n).expect("small"))).expect("small");
        let weights = (0..taps * out[3]).map(|_| i16::try_from(value(511) - 255).expect("9 bits")).collect();
        let linear = Linear {
            weights,
            weight_range: (-255, 255),
            bias: (0..out[3]).map(|_| i64::from(value(2001) - 1000)).collect(),
            input_zero_point: value(256) - 128,
            rescale: Rescale::Twice((0..out[3]).map(|_| Multiplier { m: (1 << 30) + value(1 << 30), e: -9 }).collect()),
            out: Output { zero_point: value(256) - 128, lo: -128, hi: 127 },
        };
        let x = (0..shape.iter().product()).map(|_| value(256) - 128).collect();
        Case { window, groups, linear, x, shape, out }
    }

    /// The formula, element by element.
    fn direct(case: &Case) -> Vec<i32> {
        let Case { window, groups, linear, x, shape, out } = case;
        let [kernel_h, kernel_w] = window.kernel;
        let (in_g, out_g) = (shape[3] / groups, out[3] / groups);
        let position = |o: usize, k: usize, axis: usize| {
            (o * window.stride[axis] + k * window.dilation[axis]).checked_sub(window.pad[axis])
        };
        let mut result = Vec::new();
        for n in 0..out[0] {
            for (oy, ox) in (0..out[1]).flat_map(|oy| (0..out[2]).map(move |ox| (oy, ox))) {
                for c in 0..out[3] {
                    let mut acc = linear.bias[c];
                    for (ky, kx) in (0..kernel_h).flat_map(|ky| (0..kernel_w).map(move |kx| (ky, kx))) {
                        let (Some(y), Some(column)) = (position(oy, ky, 0), position(ox, kx, 1)) else { continue };
                        if y >= shape[1] || column >= shape[2] {
                            continue;
                        }
                        for i in 0..in_g {
                            let q = x[((n * shape[1] + y) * shape[2] + column) * shape[3] + c / out_g * in_g + i];
                            let w = linear.weights[((c * kernel_h + ky) * kernel_w + kx) * in_g + i];
                            acc += i64::from(q - linear.input_zero_point) * i64::from(w);
                        }
                    }
                    let Rescale::Twice(m) = &linear.rescale else { panic!("cases round twice") };
                    let y = fixed::rescale(i32::try_from(acc).expect("small sums"), m[c]) + linear.out.zero_point;
                    result.push(y.clamp(linear.out.lo, linear.out.hi));
                }
            }
        }
        result
    }

    #[test]
    fn convolutions_equal_the_formula() {
        let mut draw = Draw(3);
        for i in 0..400 {
            let case = case(&mut draw, false);
            let x = Operand { dtype: DType::I8, shape: &case.shape, data: &case.x };
            let got = conv_2d(&case.window, case.groups, &case.linear, &x, &case.out);
            assert_eq!(got, Ok(direct(&case)), "case {i}: {:?}", case.window);
        }
    }

    #[test]
    fn depthwise_convolutions_equal_the_formula() {
        let mut draw = Draw(4);
        for i in 0..400 {
            let case = case(&mut draw, true);
            let expected = direct(&case);
            // From `[out, kh, kw, 1]` to `[kh, kw, out]`.
            let taps = case.window.kernel[0] * case.window.kernel[1];
            let mut linear = case.linear.clone();
            linear.weights =
                (0..taps).flat_map(|t| case.linear.weights.iter().skip(t).step_by(taps).copied()).collect();
            let x = Operand { dtype: DType::I8, shape: &case.shape, data: &case.x };
            let got = depthwise_conv_2d(&case.window, case.out[3] / case.groups, &linear, &x, &case.out);
            assert_eq!(got, Ok(expected), "case {i}: {:?}", case.window);
        }
    }

    #[test]
    fn contradictions_are_reported() {
        let mut draw = Draw(5);
        let mut case = case(&mut draw, false);
        case.linear.weights = case.linear.weights[1..].into();
        let x = Operand { dtype: DType::I8, shape: &case.shape, data: &case.x };
        assert!(conv_2d(&case.window, case.groups, &case.linear, &x, &case.out).is_err());
        case.linear.bias.clear();
        assert!(fully_connected(&case.linear, &x).is_err());
    }
}
