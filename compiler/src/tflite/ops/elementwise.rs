//! ADD, SUB, MUL, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM, PRELU, QUANTIZE, RELU and its relatives.

use super::super::arith::{self, Activation as Fused};
use super::super::checks::elements;
use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::field;
use crate::qgraph::{AddOperand, DType, Kind, Multiplier, Output, Rescale, TensorId};

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
    // Bits by which the operands are shifted up before they are rescaled.
    let left_shift = if a.dtype == DType::I16 { 15 } else { 20 };
    let multiplier = arith::multiplier(twice / (f64::from(1 << left_shift) * s_out))?;
    if multiplier.e > 0 && !subtracts {
        return Err(arith::scales_apart().into());
    }
    output.expect_shape(&broadcast(&a.shape, &b.shape)?)?;
    let kind = if subtracts {
        Kind::Sub { left_shift, operands, multiplier, out }
    } else {
        Kind::Add { left_shift, operands, multiplier, out }
    };
    Ok((kind, vec![a.id, b.id]))
}

/// The common shape of two operands: dimensions are matched from the last, and a dimension of 1 is repeated.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
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
    let (operand, result) = (site.operand(0)?, site.result()?);
    if cx.is_float_edge(operand) {
        let output = cx.activation(result)?;
        let input = cx.float_edge(operand, output.dtype, output.quant)?;
        output.expect_shape(&input.shape)?;
        return Ok((Kind::Reshape, vec![input.id]));
    }
    let wide = cx.dtype(operand)? == DType::I32;
    let input = if wide { cx.activation_or_int32(operand)? } else { cx.data(operand)? };
    let output = if input.dtype == DType::I16 { cx.activation_or_int32(result)? } else { cx.activation(result)? };
    let multiplier = arith::multiplier(f64::from(input.quant.scale) / f64::from(output.quant.scale))?;
    let out = Fused::None.output(output.dtype, output.quant)?;
    output.expect_shape(&input.shape)?;
    Ok((Kind::Quantize { input_zero_point: input.quant.zero_point, multiplier, out }, vec![input.id]))
}

/// DEQUANTIZE, behind all other operators: its result is float32 for the receiver alone.
pub(super) fn dequantize(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let input = cx.data(site.operand(0)?)?;
    let output = cx.float_edge(site.result()?, input.dtype, input.quant)?;
    output.expect_shape(&input.shape)?;
    Ok((Kind::Reshape, vec![input.id]))
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
    Ok((Kind::Mul { zero_points, rescale: Rescale::Twice(vec![multiplier]), out }, vec![a.id, b.id]))
}

/// Multiplier that changes nothing.
pub(super) const IDENTITY: Multiplier = Multiplier { m: 1 << 30, e: 1 };

/// As SUB up to the difference, which has seven bits more than the operands, then its square.
pub(super) fn squared_difference(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let [a, b, output] = pair(cx, site)?;
    a.expect_one_of(&[DType::I8], site.name)?;
    const LEFT_SHIFT: u32 = 7;
    let (s1, s2) = (f64::from(a.quant.scale), f64::from(b.quant.scale));
    let twice = 2.0 * s1.max(s2);
    let operand = |scale: f64, zero_point: i32| {
        arith::multiplier(scale / twice).map(|multiplier| AddOperand { zero_point, multiplier })
    };
    let operands = [operand(s1, a.quant.zero_point)?, operand(s2, b.quant.zero_point)?];
    let (lo, hi) = (i32::from(i16::MIN), i32::from(i16::MAX));
    let exact = Output { zero_point: 0, lo, hi };
    let difference = Kind::Sub { left_shift: LEFT_SHIFT, operands, multiplier: IDENTITY, out: exact };
    let difference = cx.step(difference, vec![a.id, b.id], (DType::I16, 0), &output.shape)?;
    let fine = (1 << (2 * LEFT_SHIFT)) as f32 * output.quant.scale;
    let multiplier = arith::multiplier(twice * twice / f64::from(fine))?;
    let out = Fused::None.output(output.dtype, output.quant)?;
    let rescale = Rescale::Twice(vec![multiplier]);
    Ok((Kind::Mul { zero_points: [0, 0], rescale, out }, vec![difference, difference]))
}

/// `R(x, s_x/s_y)` where x is not negative, else `R(x·a, s_x·s_a/s_y)`.
pub(super) fn prelu(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let [x, a, output] = pair(cx, site)?;
    x.expect_8_bit(site.name)?;
    let (s_x, s_a, s_y) = (x.quant.scale, a.quant.scale, output.quant.scale);
    let plain = arith::multiplier(f64::from(s_x / s_y))?;
    let sloped = arith::multiplier(f64::from(s_x * s_a / s_y))?;
    let out = Fused::None.output(output.dtype, output.quant)?;
    let like = (output.dtype, output.quant.zero_point);
    let z = x.quant.zero_point;
    let sign: Vec<i32> = (x.dtype.range().0..=x.dtype.range().1).map(|q| i32::from(q >= i64::from(z))).collect();
    cx.take(sign.len(), size_of::<i32>())?;
    let sign = cx.step(Kind::Table { table: sign.into() }, vec![x.id], (DType::Bool, 0), &x.shape)?;
    let above = Kind::Quantize { input_zero_point: z, multiplier: plain, out };
    let above = cx.step(above, vec![x.id], like, &x.shape)?;
    let zero_points = [z, a.quant.zero_point];
    let below = Kind::Mul { zero_points, rescale: Rescale::Twice(vec![sloped]), out };
    let below = cx.step(below, vec![x.id, a.id], like, &output.shape)?;
    Ok((Kind::Select, vec![sign, above, below]))
}

/// MAXIMUM, MINIMUM: scales are not looked at.
pub(super) fn extremum(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let [a, b, _] = pair(cx, site)?;
    Ok((Kind::Extremum { largest: site.name == "MAXIMUM" }, vec![a.id, b.id]))
}

/// Two operands that broadcast to the result, all of one type.
pub(super) fn pair(cx: &mut Context<'_>, site: &Site<'_>) -> Result<[Activation; 3], Stop> {
    site.operands(2, 2)?;
    let (a, b) = (cx.data(site.operand(0)?)?, cx.data(site.operand(1)?)?);
    let output = cx.activation(site.result()?)?;
    b.expect_type(a.dtype)?;
    output.expect_type(a.dtype)?;
    output.expect_shape(&broadcast(&a.shape, &b.shape)?)?;
    Ok([a, b, output])
}
