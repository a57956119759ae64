//! PAD, PADV2, RESHAPE, SQUEEZE, EXPAND_DIMS: stored integers are copied; scales are not looked at.

use super::super::checks::elements;
use super::super::codes;
use super::super::context::{Activation, Context, Site, dims, no_options};
use super::super::fault::{Fault, Stop, damaged, limit, unsupported};
use super::super::names;
use super::super::raw::MAX_RANK;
use super::super::schema::tflite::BuiltinOptionsRef;
use super::{axis, field};
use crate::qgraph::{DType, Kind, Movement, Quant, TensorId};

pub(super) fn pad(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let stated = site.name == "PADV2";
    let operands = if stated { 3 } else { 2 };
    site.operands(operands, operands)?;
    let (input, output) = ends(cx, site)?;
    let listed = site.operand(1)?;
    let [rank, two] = dims(&cx.shape(listed)?).map_err(|fault| fault.at(listed))?;
    if rank != input.shape.len() || two != 2 {
        return Err(damaged(
            codes::SHAPE,
            format!("its paddings have the shape {rank}x{two} for {} dimensions", input.shape.len()),
        )
        .at(listed)
        .into());
    }
    let listed_amounts = cx.integers(listed)?;
    let mut amounts = Vec::with_capacity(rank);
    let mut shape = Vec::with_capacity(rank);
    for (pair, &size) in listed_amounts.as_chunks::<2>().0.iter().zip(&input.shape) {
        let amount = |value: i64| {
            usize::try_from(value).map_err(|_| damaged(codes::OPTIONS, format!("padding of {value}")).at(listed))
        };
        let (before, after) = (amount(pair[0])?, amount(pair[1])?);
        let padded = size.checked_add(before).and_then(|size| size.checked_add(after));
        shape.push(padded.ok_or_else(|| limit(codes::ELEMENTS, "its paddings exceed every limit").at(listed))?);
        amounts.push((before, after));
    }
    elements(&shape).map_err(|fault| fault.at(listed))?;
    output.expect_shape(&shape)?;
    let mut value = output.quant.zero_point;
    if stated {
        let index = site.operand(2)?;
        let filler = cx.data(index)?;
        filler.expect_type(input.dtype)?;
        let Some([only]) = cx.tensors[index].constant.as_deref() else {
            let reason = "it must be one constant";
            return Err(unsupported(codes::NOT_CONSTANT, reason, "store it in the model").at(index).into());
        };
        value = *only;
    }
    Ok((Kind::Pad { amounts, value }, vec![input.id]))
}

pub(super) fn reshape(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 2)?;
    let wanted = match (site.optional(1), &site.operator.options) {
        // An operand of rank 1 wins over the options.
        (Some(index), options) => {
            let from_options = matches!(options, Some(BuiltinOptionsRef::ReshapeOptions(_))) && cx.rank(index) != 1;
            if from_options { stated_shape(site)? } else { cx.integers(index)? }
        }
        (None, _) => stated_shape(site)?,
    };
    let (input, output) = ends(cx, site)?;
    let shape = resolve(&wanted, input.len())?;
    output.expect_shape(&shape)?;
    Ok((Kind::Reshape, vec![input.id]))
}

/// The shape in the options.
fn stated_shape(site: &Site<'_>) -> Result<Vec<i64>, Fault> {
    let Some(BuiltinOptionsRef::ReshapeOptions(options)) = site.operator.options else {
        return Err(no_options());
    };
    let list = field(options.new_shape())?.ok_or_else(no_options)?;
    if list.len() > MAX_RANK {
        return Err(damaged(codes::SHAPE, format!("its new shape has {} dimensions", list.len())));
    }
    let list: Vec<i64> = list.iter().map(i64::from).collect();
    // How old converters write a scalar.
    Ok(if list == [0] { Vec::new() } else { list })
}

/// Replaces a dimension of −1 by what remains.
fn resolve(wanted: &[i64], count: usize) -> Result<Vec<usize>, Fault> {
    let mismatch = || damaged(codes::SHAPE, format!("{count} elements cannot take the shape {wanted:?}"));
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (position, &size) in wanted.iter().enumerate() {
        if size == -1 && open.replace(position).is_none() {
            shape.push(1);
        } else {
            shape.push(usize::try_from(size).ok().filter(|&size| size > 0).ok_or_else(mismatch)?);
        }
    }
    let known = elements(&shape)?;
    if let Some(position) = open {
        shape[position] = count / known;
    }
    if elements(&shape)? != count { Err(mismatch()) } else { Ok(shape) }
}

pub(super) fn squeeze(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::SqueezeOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(1, 1)?;
    let (input, output) = ends(cx, site)?;
    let mut removed: Vec<bool> = vec![false; input.shape.len()];
    match field(options.squeeze_dims())? {
        Some(list) if !list.is_empty() => {
            if list.len() > MAX_RANK {
                return Err(damaged(codes::OPTIONS, format!("it removes {} dimensions", list.len())).into());
            }
            for value in list {
                let axis = axis(value.into(), input.shape.len())?;
                if input.shape[axis] != 1 {
                    return Err(damaged(
                        codes::SHAPE,
                        format!("it removes dimension {axis}, which has size {}", input.shape[axis]),
                    )
                    .into());
                }
                removed[axis] = true;
            }
        }
        _ => removed.iter_mut().zip(&input.shape).for_each(|(removed, &size)| *removed = size == 1),
    }
    let shape: Vec<usize> =
        input.shape.iter().zip(&removed).filter(|(_, removed)| !**removed).map(|(&size, _)| size).collect();
    output.expect_shape(&shape)?;
    Ok((Kind::Reshape, vec![input.id]))
}

pub(super) fn expand_dims(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let listed = site.operand(1)?;
    let [value] = cx.integers(listed)?[..] else {
        return Err(damaged(codes::OPERANDS, "the axis must be one number").at(listed).into());
    };
    let at = axis(value, input.shape.len() + 1).map_err(|fault| fault.at(listed))?;
    let mut shape = input.shape.clone();
    shape.insert(at, 1);
    output.expect_shape(&shape)?;
    Ok((Kind::Reshape, vec![input.id]))
}

/// CAST: stored integers are copied, or wrapped where the result's type is not wider.
pub(super) fn cast(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let input = cx.carried(site.operand(0)?)?;
    let result = site.result()?;
    if cx.is_float_edge(result) && input.dtype.size() <= 4 {
        // The number itself: a scale of 1.
        let output = cx.float_edge(result, input.dtype, Quant { scale: 1.0, zero_point: 0 })?;
        output.expect_shape(&input.shape)?;
        return Ok((Kind::Reshape, vec![input.id]));
    }
    let output = cx.cast_result(result)?;
    output.expect_shape(&input.shape)?;
    let ((lo, hi), (least, most)) = (input.dtype.range(), output.dtype.range());
    if least <= lo && hi <= most {
        let whole = Movement::View { start: 0, dims: vec![input.len()], strides: vec![1] };
        return Ok((Kind::Move { movement: whole }, vec![input.id]));
    }
    if input.dtype.size() > 1 {
        let reason = format!("it casts {} to {}", names::dtype(input.dtype), names::dtype(output.dtype));
        return Err(unsupported(codes::TYPE, reason, "use a QUANTIZE operator").into());
    }
    let one = |q: i64| match output.dtype {
        DType::Bool => i64::from(q != 0),
        _ => (q - least).rem_euclid(most - least + 1) + least,
    };
    let table = (lo..=hi).map(|q| i32::try_from(one(q)).unwrap_or(0)).collect();
    Ok((Kind::Table { table }, vec![input.id]))
}

/// Input and result, which have the same type.
pub(super) fn ends(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Activation, Activation), Stop> {
    let (input, output) = (cx.carried(site.operand(0)?)?, cx.carried_result(site.result()?)?);
    output.expect_type(input.dtype)?;
    Ok((input, output))
}
