//! ADD, QUANTIZE, PAD and SOFTMAX, and the last step of every requantization.
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
    if left_shift > 31 {
        return Err("the left shift exceeds the word");
    }
    let from = [broadcast(operands[0].shape, shape)?, broadcast(operands[1].shape, shape)?];
    let side = |i: usize, at: usize| {
        let AddOperand { zero_point, multiplier } = sides[i];
        fixed::rescale(operands[i].data[at].wrapping_sub(zero_point).wrapping_shl(left_shift), multiplier)
    };
    let sum = |(&a, &b): (&usize, &usize)| {
        let sum = side(0, a).wrapping_add(side(1, b));
        store(fixed::rescale(sum, multiplier).into(), out)
    };
    Ok(from[0].iter().zip(&from[1]).map(sum).collect())
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
/// Elements more than `-dmin` below the largest give `lo` and take no part.
pub fn softmax_row(multiplier: Multiplier, dmin: i32, lo: i32, bits: u32, row: &[i32]) -> Vec<i32> {
    let Some(&max) = row.iter().max() else { return Vec::new() };
    let exp = |q: i32| {
        let d = i64::from(q) - i64::from(max);
        // A difference of 8- or 16-bit integers; `dmin` keeps the shifted one within int32.
        let d = i32::try_from(d).ok().filter(|&d| d >= dmin)?;
        let left = u32::try_from(multiplier.e).unwrap_or(0);
        Some(fixed::exp(fixed::hp(fixed::shl_saturating(d, left), multiplier.m), 5))
    };
    // Twelve integer bits.
    let sum = row.iter().filter_map(|&q| exp(q)).fold(0u32, |sum, e| {
        sum.wrapping_add(u32::try_from(fixed::rs(e.into(), 12)).expect("an exponential is not negative"))
    });
    let headroom = sum.leading_zeros();
    // sum · 2^headroom − 2^31: the top bit is set, without it the rest is the fraction beyond one.
    let fraction = i32::try_from(sum.checked_shl(headroom).unwrap_or(0) & 0x7fff_ffff).expect("31 bits");
    let inverse = fixed::recip(fraction);
    let shift = (43 - bits).saturating_sub(headroom);
    let hi = i64::from(lo) + (1 << bits) - 1;
    let one = |&q: &i32| match exp(q) {
        None => lo,
        Some(e) => {
            let y = fixed::rs(fixed::hp(inverse, e).into(), shift) + i64::from(lo);
            i32::try_from(y.clamp(lo.into(), hi)).expect("a stored integer")
        }
    };
    row.iter().map(one).collect()
}
