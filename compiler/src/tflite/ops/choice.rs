//! Comparisons, SELECT, DIV, FLOOR_DIV, FLOOR_MOD, ARG_MAX, ARG_MIN and TOPK_V2.

use super::super::arith::{self, Activation as Fused};
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::super::{codes, names};
use super::elementwise::{broadcast, pair};
use super::{axis, field};
use crate::qgraph::{AddOperand, DType, Kind, Relation, TensorId};

/// Each side is rescaled by its own scale.
pub(super) fn compare(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (a, b) = (cx.data(site.operand(0)?)?, cx.data(site.operand(1)?)?);
    let output = cx.plain(site.result()?, &[DType::Bool])?;
    b.expect_type(a.dtype)?;
    a.expect_8_bit(site.name)?;
    output.expect_shape(&broadcast(&a.shape, &b.shape)?)?;
    let side = |x: &Activation| -> Result<AddOperand, Fault> {
        if x.quant.scale >= 1.0 {
            let reason = format!("its scale {} is not below 1, which the kernel needs", x.quant.scale);
            return Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "scale the values down").at(x.id.index()));
        }
        let multiplier = arith::multiplier(x.quant.scale.into())?;
        Ok(AddOperand { zero_point: x.quant.zero_point, multiplier })
    };
    let relation = match site.name {
        "EQUAL" => Relation::Equal,
        "NOT_EQUAL" => Relation::NotEqual,
        "LESS" => Relation::Less,
        "LESS_EQUAL" => Relation::LessEqual,
        "GREATER" => Relation::Greater,
        _ => Relation::GreaterEqual,
    };
    Ok((Kind::Compare { relation, left_shift: 8, operands: [side(&a)?, side(&b)?] }, vec![a.id, b.id]))
}

pub(super) fn select(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(3, 3)?;
    let condition = cx.plain(site.operand(0)?, &[DType::Bool])?;
    let (a, b) = (cx.data(site.operand(1)?)?, cx.data(site.operand(2)?)?);
    let output = cx.activation(site.result()?)?;
    b.expect_type(a.dtype)?;
    output.expect_type(a.dtype)?;
    for x in [&a, &b] {
        if x.quant != output.quant {
            let reason = "its scale or zero point differs from the result's";
            let fault = unsupported(codes::QUANT_UNSUPPORTED, reason, "insert a QUANTIZE operator");
            return Err(fault.at(x.id.index()).into());
        }
    }
    if site.name == "SELECT" {
        // No broadcasting, except of a condition along the first axis.
        b.expect_shape(&a.shape)?;
        output.expect_shape(&a.shape)?;
        if condition.shape != a.shape {
            if condition.shape.len() != 1 || condition.shape.first() != a.shape.first() {
                return Err(condition.expect_shape(&a.shape).expect_err("the shapes differ").into());
            }
            let mut shape = vec![1; a.shape.len()];
            shape[0] = a.shape[0];
            let wide = cx.step(Kind::Reshape, vec![condition.id], (DType::Bool, 0), &shape)?;
            return Ok((Kind::Select, vec![wide, a.id, b.id]));
        }
    } else {
        output.expect_shape(&broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?)?;
    }
    Ok((Kind::Select, vec![condition.id, a.id, b.id]))
}

/// The constant second operand, without `forbidden`: TFLite stops at a zero divisor, a secret one cannot be looked at.
fn divisor(cx: &Context<'_>, b: &Activation, forbidden: i32) -> Result<Vec<i32>, Fault> {
    let Some(stored) = &cx.tensors[b.id.index()].constant else {
        let reason = "the divisor is not constant: whether it is zero would have to be revealed";
        return Err(unsupported(codes::NOT_CONSTANT, reason, "divide by a constant").at(b.id.index()));
    };
    if stored.contains(&forbidden) {
        let reason = "a divisor is zero, where TFLite stops";
        return Err(unsupported(codes::VARIANT, reason, "divide by non-zero constants").at(b.id.index()));
    }
    Ok(stored.clone())
}

/// Refused where the last shift of the kernel could exceed 31, which is undefined.
pub(super) fn div(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::DivOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    let [a, b, output] = pair(cx, site)?;
    a.expect_8_bit(site.name)?;
    let out = Fused::of(field(options.activation())?)?.output(output.dtype, output.quant)?;
    let multiplier = arith::multiplier(f64::from(a.quant.scale / (b.quant.scale * output.quant.scale)))?;
    let zero = b.quant.zero_point;
    let largest = divisor(cx, &b, zero)?.into_iter().map(|q| (q - zero).unsigned_abs()).max().unwrap_or(1);
    // A dividend of 0 has 31 bits of room.
    let shift = i64::from(largest.ilog2()) + 31 - i64::from(multiplier.e);
    if !(0..=31).contains(&shift) || multiplier.m == 0 {
        let reason = format!(
            "TFLite's kernel shifts by up to {shift} places here, which is undefined: for divisors up to {largest} steps \
             its multiplier must be at least {}",
            largest.next_power_of_two()
        );
        return Err(unsupported(codes::MULTIPLIER, reason, "multiply by the reciprocal instead").into());
    }
    let zero_points = [a.quant.zero_point, zero];
    Ok((Kind::Div { zero_points, multiplier, out }, vec![a.id, b.id]))
}

/// FLOOR_DIV, FLOOR_MOD: on stored integers.
pub(super) fn floor_div(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let [a, b, _] = pair(cx, site)?;
    a.expect_one_of(&[DType::I8], site.name)?;
    let divisors = divisor(cx, &b, 0)?;
    if site.name == "FLOOR_DIV" && divisors.contains(&-1) {
        let reason = "a divisor is -1, whose quotient of -128 leaves int8";
        return Err(unsupported(codes::VARIANT, reason, "negate instead").at(b.id.index()).into());
    }
    Ok((Kind::FloorDiv { remainder: site.name == "FLOOR_MOD" }, vec![a.id, b.id]))
}

/// One number.
fn number(cx: &mut Context<'_>, index: usize, what: &str) -> Result<i64, Stop> {
    match cx.integers(index)?[..] {
        [value] => Ok(value),
        _ => Err(damaged(codes::OPERANDS, format!("{what} must be one number")).at(index).into()),
    }
}

pub(super) fn arg_extremum(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let stated = match site.operator.options {
        Some(BuiltinOptionsRef::ArgMaxOptions(options)) => field(options.output_type())?,
        Some(BuiltinOptionsRef::ArgMinOptions(options)) => field(options.output_type())?,
        _ => return Err(no_options().into()),
    };
    site.operands(2, 2)?;
    let input = cx.data(site.operand(0)?)?;
    input.expect_8_bit(site.name)?;
    let listed = site.operand(1)?;
    let at = axis(number(cx, listed, "the axis")?, input.shape.len()).map_err(|fault| fault.at(listed))?;
    let output = cx.plain(site.result()?, &[DType::I32, DType::I64])?;
    let named = names::element_type(stated);
    if named != Some(names::dtype(output.dtype)) && named.is_some_and(|name| name != "float32") {
        let reason = format!("its options state another type than {}", names::dtype(output.dtype));
        return Err(damaged(codes::OPTIONS, reason).into());
    }
    let mut shape = input.shape.clone();
    shape.remove(at);
    output.expect_shape(&shape)?;
    Ok((Kind::Top { axis: at, k: 1, largest: site.name == "ARG_MAX", indices: true }, vec![input.id]))
}

/// Values, then positions.
pub(super) fn top_k(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let input = cx.data(site.operand(0)?)?;
    input.expect_8_bit(site.name)?;
    let listed = site.operand(1)?;
    let stated = number(cx, listed, "the count")?;
    let indices = match (site.part, site.operator.outputs.len()) {
        (part, 2) => part == 1,
        (_, count) => return Err(damaged(codes::OPERANDS, format!("it has {count} results, expected 2")).into()),
    };
    let output = if indices { cx.plain(site.result()?, &[DType::I32])? } else { cx.activation(site.result()?)? };
    if !indices {
        output.expect_type(input.dtype)?;
    }
    let Some((&size, rows)) = input.shape.split_last() else {
        return Err(damaged(codes::SHAPE, "it has no dimension to work along").at(input.id.index()).into());
    };
    let k = usize::try_from(stated).ok().filter(|&k| k > 0 && k <= size);
    let k = k.ok_or_else(|| damaged(codes::OPTIONS, format!("it asks for {stated} of {size}")).at(listed))?;
    let mut shape = rows.to_vec();
    shape.push(k);
    output.expect_shape(&shape)?;
    Ok((Kind::Top { axis: rows.len(), k, largest: true, indices }, vec![input.id]))
}
