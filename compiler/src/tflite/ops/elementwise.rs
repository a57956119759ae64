//! ADD, SUB, MUL, MAXIMUM, MINIMUM, QUANTIZE, RELU and its relatives.

use super::super::arith::{self, Activation as Fused};
use super::super::checks::elements;
use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::field;
use crate::qgraph::{AddOperand, Kind, TensorId};

/// Bits by which the operands of an 8-bit ADD are shifted up before they are rescaled.
const LEFT_SHIFT: u32 = 20;

pub(super) fn add(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let subtracts = site.name == "SUB";
    let fused = match site.operator.options {
        Some(BuiltinOptionsRef::AddOptions(options)) if !subtracts => field(options.activation())?,
        Some(BuiltinOptionsRef::SubOptions(options)) if subtracts => field(options.activation())?,
        _ => return Err(no_options().into()),
    };
    site.operands(2, 2)?;
    let (a, b) = (cx.data(site.operand(0)?)?, cx.data(site.operand(1)?)?);
    let output = cx.activation(site.result()?)?;
    b.expect_type(a.dtype)?;
    output.expect_type(a.dtype)?;
    let out = Fused::of(fused)?.output(output.dtype, output.quant)?;
    let (s1, s2, s_out) = (f64::from(a.quant.scale), f64::from(b.quant.scale), f64::from(output.quant.scale));
    let twice = 2.0 * s1.max(s2);
    let operand = |scale: f64, zero_point: i32| {
        arith::multiplier(scale / twice).map(|multiplier| AddOperand { zero_point, multiplier })
    };
    let operands = [operand(s1, a.quant.zero_point)?, operand(s2, b.quant.zero_point)?];
    let multiplier = arith::multiplier(twice / (f64::from(1 << LEFT_SHIFT) * s_out))?;
    if multiplier.e > 0 && !subtracts {
        return Err(arith::scales_apart().into());
    }
    output.expect_shape(&broadcast(&a.shape, &b.shape)?)?;
    let kind = if subtracts {
        Kind::Sub { left_shift: LEFT_SHIFT, operands, multiplier, out }
    } else {
        Kind::Add { left_shift: LEFT_SHIFT, operands, multiplier, out }
    };
    Ok((kind, vec![a.id, b.id]))
}

/// The common shape of two operands: dimensions are matched from the last, and a dimension of 1 is repeated.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let from = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let shape = (0..rank)
        .map(|axis| match (from(a, axis), from(b, axis)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(damaged(codes::SHAPE, format!("shapes {a:?} and {b:?} cannot be broadcast to one"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    elements(&shape)?;
    Ok(shape)
}

pub(super) fn quantize(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    let multiplier = arith::multiplier(f64::from(input.quant.scale) / f64::from(output.quant.scale))?;
    let out = Fused::None.output(output.dtype, output.quant)?;
    output.expect_shape(&input.shape)?;
    Ok((Kind::Quantize { input_zero_point: input.quant.zero_point, multiplier, out }, vec![input.id]))
}

/// RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1: a requantization with a multiplier in single precision, then a clamp.
pub(super) fn relu(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    let clamp = match site.name {
        "RELU" => Fused::Relu,
        "RELU6" => Fused::Relu6,
        "RELU_N1_TO_1" => Fused::ReluN1To1,
        _ => Fused::Relu0To1,
    };
    let multiplier = arith::multiplier(f64::from(input.quant.scale / output.quant.scale))?;
    let out = clamp.output(output.dtype, output.quant)?;
    output.expect_shape(&input.shape)?;
    Ok((Kind::Quantize { input_zero_point: input.quant.zero_point, multiplier, out }, vec![input.id]))
}

pub(super) fn mul(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::MulOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    let [a, b, output] = pair(cx, site)?;
    let out = Fused::of(field(options.activation())?)?.output(output.dtype, output.quant)?;
    // In single precision, the product first.
    let multiplier = arith::multiplier(f64::from(a.quant.scale * b.quant.scale / output.quant.scale))?;
    let zero_points = [a.quant.zero_point, b.quant.zero_point];
    Ok((Kind::Mul { zero_points, multiplier, out }, vec![a.id, b.id]))
}

/// MAXIMUM, MINIMUM: scales are not looked at.
pub(super) fn extremum(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let [a, b, _] = pair(cx, site)?;
    Ok((Kind::Extremum { largest: site.name == "MAXIMUM" }, vec![a.id, b.id]))
}

/// Two operands that broadcast to the result, all of one type.
fn pair(cx: &mut Context<'_>, site: &Site<'_>) -> Result<[Activation; 3], Stop> {
    site.operands(2, 2)?;
    let (a, b) = (cx.data(site.operand(0)?)?, cx.data(site.operand(1)?)?);
    let output = cx.activation(site.result()?)?;
    b.expect_type(a.dtype)?;
    output.expect_type(a.dtype)?;
    output.expect_shape(&broadcast(&a.shape, &b.shape)?)?;
    Ok([a, b, output])
}
