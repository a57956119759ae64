//! What models compute about shapes. Shapes are static, so SHAPE, RANK and integer arithmetic on them are constants.

use super::super::codes;
use super::super::context::{Context, Site};
use super::super::fault::{Stop, damaged, unsupported};
use super::view::strides;
use crate::qgraph::{DType, Kind, TensorId};

/// The result of an operator on numbers that are known, or `None` if it is something else.
pub(in super::super) fn known(cx: &mut Context<'_>, site: &Site<'_>) -> Result<Option<Vec<i32>>, Stop> {
    let values = match site.name {
        "SHAPE" => cx.shape(site.operand(0)?)?.iter().map(|&size| i64::try_from(size).ok()).collect(),
        "RANK" => Some(vec![i64::try_from(cx.shape(site.operand(0)?)?.len()).unwrap_or(0)]),
        "ADD" | "SUB" | "MUL" | "MAXIMUM" | "MINIMUM" | "FLOOR_DIV" => return pairs(cx, site),
        _ => return Ok(None),
    };
    finish(cx, site, values)
}

/// Says why an operator on shapes has no value; those that have one are not imported.
pub(super) fn unknown(_: &mut Context<'_>, _: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    Err(unsupported(codes::VARIANT, "its result is no list of integers", "export with static shapes").into())
}

fn pairs(cx: &mut Context<'_>, site: &Site<'_>) -> Result<Option<Vec<i32>>, Stop> {
    let (a, b) = (site.operand(0)?, site.operand(1)?);
    if !cx.is_constant(a) || !cx.is_constant(b) || !cx.is_integer(a) || !cx.is_integer(b) {
        return Ok(None);
    }
    let shape = cx.shape(site.result()?)?;
    let mut sides = Vec::with_capacity(2);
    for index in [a, b] {
        let (from, values) = (cx.shape(index)?, cx.numbers(index)?);
        sides.push(
            broadcast(&from, &values, &shape)
                .ok_or_else(|| damaged(codes::SHAPE, format!("{from:?} cannot be broadcast to {shape:?}")))?,
        );
    }
    let one = |(a, b): (&i64, &i64)| match site.name {
        "ADD" => a.checked_add(*b),
        "SUB" => a.checked_sub(*b),
        "MUL" => a.checked_mul(*b),
        "MAXIMUM" => Some(*a.max(b)),
        "MINIMUM" => Some(*a.min(b)),
        _ => (*b != 0).then(|| (a - a.rem_euclid(*b)) / b),
    };
    let values = sides[0].iter().zip(&sides[1]).map(one).collect();
    finish(cx, site, values)
}

fn broadcast(from: &[usize], values: &[i64], to: &[usize]) -> Option<Vec<i64>> {
    let missing = to.len().checked_sub(from.len())?;
    let mut places = vec![0];
    for (axis, &size) in to.iter().enumerate() {
        let own = axis.checked_sub(missing).map_or(1, |axis| from[axis]);
        if own != size && own != 1 {
            return None;
        }
        let step = if own == 1 { 0 } else { strides(from)[axis - missing].unsigned_abs() };
        places = places.into_iter().flat_map(|at| (0..size).map(move |i| at + i * step)).collect();
    }
    places.into_iter().map(|at| values.get(at).copied()).collect()
}

fn finish(cx: &mut Context<'_>, site: &Site<'_>, values: Option<Vec<i64>>) -> Result<Option<Vec<i32>>, Stop> {
    let result = site.result()?;
    let output = cx.carried_result(result)?;
    if !matches!(output.dtype, DType::I32 | DType::I64) {
        return Ok(None);
    }
    let values = values.filter(|values| values.len() == output.len()).ok_or_else(|| {
        damaged(codes::SHAPE, format!("its result does not have the shape {:?}", output.shape)).at(result)
    })?;
    cx.take(values.len(), size_of::<i32>())?;
    let stored: Result<Vec<i32>, _> = values.into_iter().map(i32::try_from).collect();
    match stored {
        Ok(values) => Ok(Some(values)),
        Err(_) => Err(damaged(codes::SHAPE, "a shape has a number beyond 32 bits").at(result).into()),
    }
}
