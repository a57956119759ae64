//! ADD, SUB, MUL, tables, QUANTIZE, PAD and SOFTMAX, and the last step of every requantization.
use super::{Evaluated, Operand, dense_strides, offsets};
use crate::qgraph::{AddOperand, Multiplier, Output, fixed};

/// Adds the zero point and clamps; the upper bound wins.
pub(super) fn store(scaled: i64, out: &Output) -> i32 {
    let value = scaled.saturating_add(out.zero_point.into()).max(out.lo.into()).min(out.hi.into());
    i32::try_from(value).expect("clamped to int32 bounds")
}

pub(super) fn add(
    left_shift: u32,
    sides: &[AddOperand; 2],
    multiplier: Multiplier,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    sums(left_shift, sides, operands, shape, |a, b| store(fixed::rescale(a.wrapping_add(b), multiplier).into(), out))
}

pub(super) fn sub(
    left_shift: u32,
    sides: &[AddOperand; 2],
    multiplier: Multiplier,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    sums(left_shift, sides, operands, shape, |a, b| store(fixed::rescale(a.wrapping_sub(b), multiplier).into(), out))
}

/// Brings both operands to one scale, then finishes.
fn sums(
    left_shift: u32,
    sides: &[AddOperand; 2],
    operands: [&Operand<'_>; 2],
    shape: &[usize],
    finish: impl Fn(i32, i32) -> i32,
) -> Evaluated<Vec<i32>> {
    if left_shift > 31 {
        return Err("the left shift exceeds the word");
    }
    let side = |i: usize, q: i32| {
        let AddOperand { zero_point, multiplier } = sides[i];
        fixed::rescale(q.wrapping_sub(zero_point).wrapping_shl(left_shift), multiplier)
    };
    pairs(operands, shape, |a, b| finish(side(0, a), side(1, b)))
}

pub(super) fn mul(
    zero_points: [i32; 2],
    multiplier: Multiplier,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    pairs(operands, shape, |a, b| {
        let product = a.wrapping_sub(zero_points[0]).wrapping_mul(b.wrapping_sub(zero_points[1]));
        store(fixed::rescale(product, multiplier).into(), out)
    })
}

/// One result for each pair of elements that broadcasting puts together.
pub(super) fn pairs(
    operands: [&Operand<'_>; 2],
    shape: &[usize],
    one: impl Fn(i32, i32) -> i32,
) -> Evaluated<Vec<i32>> {
    let from = [broadcast(operands[0].shape, shape)?, broadcast(operands[1].shape, shape)?];
    Ok(from[0].iter().zip(&from[1]).map(|(&a, &b)| one(operands[0].data[a], operands[1].data[b])).collect())
}

pub(super) fn look_up(table: &[i32], x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    let (lo, _) = x.dtype.range();
    let one = |&q: &i32| usize::try_from(i64::from(q) - lo).ok().and_then(|at| table.get(at)).copied();
    x.data.iter().map(one).collect::<Option<_>>().ok_or("the table does not have every value")
}

/// For each element of `out`: where NumPy broadcasting reads it from.
fn broadcast(shape: &[usize], out: &[usize]) -> Evaluated<Vec<usize>> {
    let missing = out.len().checked_sub(shape.len()).ok_or("an operand has more axes than the result")?;
    let mut strides = vec![0; missing];
    for ((&size, stride), &to) in shape.iter().zip(dense_strides(shape)).zip(&out[missing..]) {
        if size != to && size != 1 {
            return Err("an operand does not broadcast to the result");
        }
        strides.push(if size == 1 { 0 } else { stride });
    }
    Ok(offsets(out, &strides))
}

pub(super) fn quantize(input_zero_point: i32, multiplier: Multiplier, out: &Output, data: &[i32]) -> Vec<i32> {
    let one = |q: &i32| store(fixed::rescale(q.wrapping_sub(input_zero_point), multiplier).into(), out);
    data.iter().map(one).collect()
}

pub(super) fn pad(amounts: &[(usize, usize)], value: i32, x: &Operand<'_>, out: &[usize]) -> Evaluated<Vec<i32>> {
    let fits = amounts.len() == x.shape.len()
        && out.len() == x.shape.len()
        && amounts.iter().zip(x.shape).zip(out).all(|((&(before, after), &size), &to)| {
            before.checked_add(after).and_then(|padding| padding.checked_add(size)) == Some(to)
        });
    if !fits {
        return Err("the paddings do not fit the shapes");
    }
    let strides = dense_strides(out);
    let origin: usize = amounts.iter().zip(&strides).map(|(&(before, _), stride)| before * stride).sum();
    let mut result = vec![value; out.iter().product()];
    for (&q, to) in x.data.iter().zip(offsets(x.shape, &strides)) {
        result[origin + to] = q;
    }
    Ok(result)
}

pub(super) fn softmax(multiplier: Multiplier, dmin: i32, lo: i32, bits: u32, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    if bits != 8 && bits != 16 {
        return Err("the output must have 8 or 16 bits");
    }
    let row = *x.shape.last().ok_or("needs at least one axis")?;
    Ok(x.data.chunks(row).flat_map(|row| softmax_row(multiplier, dmin, lo, bits, row)).collect())
}

/// SOFTMAX of one row of stored integers; the output counts from `lo` in `bits` (8 or 16) bits.
///
/// Elements more than `-dmin` below the largest give `lo` and take no part. Where the exponentials sum to 512 or more
/// (long, nearly uniform rows) the kernel's last shift is undefined in C++; this is the shift it means.
pub fn softmax_row(multiplier: Multiplier, dmin: i32, lo: i32, bits: u32, row: &[i32]) -> Vec<i32> {
    let Some(&max) = row.iter().max() else { return Vec::new() };
    let exp = |q: i32| softmax_exponential(multiplier, dmin, i64::from(q) - i64::from(max));
    let sum = row.iter().filter_map(|&q| exp(q)).fold(0u32, |sum, e| sum.wrapping_add(softmax_term(e)));
    let inverse = SoftmaxInverse::of(sum, bits);
    row.iter().map(|&q| exp(q).map_or(lo, |e| inverse.result(e, lo, bits))).collect()
}

/// The exponential of a difference to the largest element, unless that is below `dmin`.
pub fn softmax_exponential(multiplier: Multiplier, dmin: i32, difference: i64) -> Option<i32> {
    // A difference of 8- or 16-bit integers; `dmin` keeps the shifted one within int32.
    let d = i32::try_from(difference).ok().filter(|&d| d >= dmin)?;
    let left = u32::try_from(multiplier.e).unwrap_or(0);
    Some(fixed::exp(fixed::hp(fixed::shl_saturating(d, left), multiplier.m), 5))
}

/// What an exponential adds to the sum, which has twelve integer bits.
pub fn softmax_term(exponential: i32) -> u32 {
    u32::try_from(fixed::rs(exponential.into(), 12)).expect("an exponential is not negative")
}

/// The reciprocal of a sum of exponentials.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxInverse {
    /// Leading zeros of the sum.
    pub headroom: u32,
    /// The reciprocal of the sum with its leading zeros shifted out.
    pub inverse: i32,
    shift: u32,
}

impl SoftmaxInverse {
    /// Of a sum, for results of `bits` bits.
    pub fn of(sum: u32, bits: u32) -> Self {
        let headroom = sum.leading_zeros();
        // sum · 2^headroom − 2^31: the top bit is set, without it the rest is the fraction beyond one.
        let fraction = i32::try_from(sum.checked_shl(headroom).unwrap_or(0) & 0x7fff_ffff).expect("31 bits");
        SoftmaxInverse { headroom, inverse: fixed::recip(fraction), shift: (43 - bits).saturating_sub(headroom) }
    }

    /// The stored result for an exponential.
    pub fn result(&self, exponential: i32, lo: i32, bits: u32) -> i32 {
        let y = fixed::rs(fixed::hp(self.inverse, exponential).into(), self.shift) + i64::from(lo);
        i32::try_from(y.clamp(lo.into(), i64::from(lo) + (1 << bits) - 1)).expect("a stored integer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::DType;

    /// `beta · s_x = 1/8`, so `qm(2^23)` and `dmin = -floor(31 · 2^26 / 2^24)`.
    const MULTIPLIER: Multiplier = Multiplier { m: 1 << 30, e: 24 };
    const DMIN: i32 = -124;

    #[test]
    fn softmax_rows() {
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[]), Vec::<i32>::new());
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[5]), [127]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 8, &[9; 4]), [64; 4]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[127, 3, 2, -128]), [127, -128, -128, -128]);
        // One part in a thousand is less than half of 1/256, and more than half of 1/65536.
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 8, &[0; 1000]), [0; 1000]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 16, &[0; 1000]), [66; 1000]);
    }

    #[test]
    fn softmax_is_close_to_the_real_function() {
        let row: Vec<i32> = (0..20).map(|i| (i * 37) % 60 - 30).collect();
        let exps: Vec<f64> = row.iter().map(|&q| (f64::from(q) / 8.0).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (y, e) in softmax_row(MULTIPLIER, DMIN, 0, 8, &row).into_iter().zip(exps) {
            assert!((f64::from(y) - 256.0 * e / sum).abs() < 0.51, "{y} for {}", 256.0 * e / sum);
        }
    }

    #[test]
    fn shapes() {
        let x = Operand { dtype: DType::I8, shape: &[2, 2], data: &[1, 2, 3, 4] };
        let padded = pad(&[(1, 0), (0, 2)], 9, &x, &[3, 4]);
        assert_eq!(padded, Ok(vec![9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9, 9]));
        assert!(pad(&[(1, 0), (0, 1)], 9, &x, &[3, 4]).is_err());
        assert_eq!(broadcast(&[2, 1], &[2, 2, 2]), Ok(vec![0, 0, 1, 1, 0, 0, 1, 1]));
        assert!(broadcast(&[3], &[2]).is_err() && broadcast(&[1, 1], &[1]).is_err());
    }

    #[test]
    fn the_upper_bound_wins() {
        assert_eq!(store(i64::MIN, &Output { zero_point: -5, lo: 7, hi: 3 }), 3);
    }
}
