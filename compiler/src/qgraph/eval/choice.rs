//! Comparisons, SELECT, and quotients.
use super::pointwise::{broadcast, pairs, store, sums};
use super::{Evaluated, Operand};
use crate::qgraph::{AddOperand, Multiplier, Output, Relation, fixed};

pub(super) fn compare(
    relation: Relation,
    left_shift: u32,
    sides: &[AddOperand; 2],
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    let holds: fn(i32, i32) -> bool = match relation {
        Relation::Equal => |a, b| a == b,
        Relation::NotEqual => |a, b| a != b,
        Relation::Less => |a, b| a < b,
        Relation::LessEqual => |a, b| a <= b,
        Relation::Greater => |a, b| a > b,
        Relation::GreaterEqual => |a, b| a >= b,
    };
    sums(left_shift, sides, operands, shape, |a, b| i32::from(holds(a, b)))
}

pub(super) fn select(operands: [&Operand<'_>; 3], shape: &[usize]) -> Evaluated<Vec<i32>> {
    let [condition, a, b] = operands;
    let from = [broadcast(condition.shape, shape)?, broadcast(a.shape, shape)?, broadcast(b.shape, shape)?];
    let one = |((&c, &i), &j): ((&usize, &usize), &usize)| if condition.data[c] != 0 { a.data[i] } else { b.data[j] };
    Ok(from[0].iter().zip(&from[1]).zip(&from[2]).map(one).collect())
}

/// Slices at positions.
pub(super) fn look_up(rows: usize, size: usize, operands: [&Operand<'_>; 2]) -> Evaluated<Vec<i32>> {
    let [table, positions] = operands.map(|x| x.data);
    let slices = rows.checked_mul(size).filter(|slices| table.len().checked_rem(*slices) == Some(0));
    let inner = table.len() / slices.ok_or("the table does not fit its rows")?;
    let mut result = Vec::with_capacity(rows * positions.len() * inner);
    for row in table.chunks(size * inner) {
        for at in positions {
            let at = usize::try_from(*at).ok().filter(|at| *at < size).ok_or("a position is outside the table")?;
            result.extend_from_slice(&row[at * inner..(at + 1) * inner]);
        }
    }
    Ok(result)
}

/// A zero in the second operand, which the importer excludes.
const ZERO: &str = "divides by zero";

pub(super) fn div(
    zero_points: [i32; 2],
    multiplier: Multiplier,
    out: &Output,
    operands: [&Operand<'_>; 2],
    shape: &[usize],
) -> Evaluated<Vec<i32>> {
    if operands[1].data.contains(&zero_points[1]) {
        return Err(ZERO);
    }
    pairs(operands, shape, |a, b| {
        quotient(a.wrapping_sub(zero_points[0]), b.wrapping_sub(zero_points[1]), multiplier, out)
    })
}

/// The rescaled quotient of two centred numbers, the second of which is not zero.
pub fn quotient(x: i32, d: i32, multiplier: Multiplier, out: &Output) -> i32 {
    let (x, d) = if d < 0 { (x.wrapping_neg(), d.wrapping_neg()) } else { (x, d) };
    let zeros = d.leading_zeros();
    let fraction = i32::try_from((d.cast_unsigned() << zeros) & 0x7fff_ffff).expect("31 bits");
    let room = if x < 0 { (!x).leading_zeros() - 1 } else { x.leading_zeros() - 1 };
    let quotient = fixed::hp(x << room, fixed::recip(fraction));
    let shift = i64::from(31 - zeros) + i64::from(room) - i64::from(multiplier.e);
    let product = i64::from(fixed::hp(quotient, multiplier.m));
    let scaled = match u32::try_from(shift) {
        Ok(right) => fixed::rs(product, right),
        Err(_) => product << (-shift).min(31),
    };
    store(scaled, out)
}

pub(super) fn floor_div(remainder: bool, operands: [&Operand<'_>; 2], shape: &[usize]) -> Evaluated<Vec<i32>> {
    if operands[1].data.contains(&0) {
        return Err(ZERO);
    }
    pairs(operands, shape, |a, b| floor_quotient(a, b, remainder))
}

/// The quotient of stored integers, rounded down, or its remainder; the second is not zero.
pub fn floor_quotient(a: i32, b: i32, remainder: bool) -> i32 {
    let rest = a.wrapping_rem(b);
    let opposite = rest != 0 && (rest < 0) != (b < 0);
    match (remainder, opposite) {
        (true, true) => rest + b,
        (true, false) => rest,
        (false, _) => a.wrapping_div(b) - i32::from(opposite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::DType;

    #[test]
    fn quotients_round_down() {
        let (a, b) = ([7, -7, 7, -7, 6], [2, 2, -2, -2, -3]);
        let side = |data| Operand { dtype: DType::I8, shape: &[5], data };
        assert_eq!(floor_div(false, [&side(&a), &side(&b)], &[5]), Ok(vec![3, -4, -4, 3, -2]));
        assert_eq!(floor_div(true, [&side(&a), &side(&b)], &[5]), Ok(vec![1, 1, -1, -1, 0]));
        assert_eq!(floor_div(true, [&side(&a), &side(&[0; 5])], &[5]), Err(ZERO));
    }
}
