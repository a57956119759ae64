//! ADD, SUB, MUL, tables, QUANTIZE and PAD, and the last step of every requantization.
use super::{Evaluated, Operand, dense_strides, offsets};
use crate::qgraph::{AddOperand, Multiplier, Output, Rescale, fixed};

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
pub(super) fn sums(
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
    rescale: &Rescale,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    if rescale.channels().is_some_and(|channels| channels != 1) {
        return Err("takes one multiplier");
    }
    pairs(operands, shape, |a, b| {
        let product = i64::from(a.wrapping_sub(zero_points[0])) * i64::from(b.wrapping_sub(zero_points[1]));
        store(fixed::requantize(rescale, 0, product), out)
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
pub(crate) fn broadcast(shape: &[usize], out: &[usize]) -> Evaluated<Vec<usize>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::DType;

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
