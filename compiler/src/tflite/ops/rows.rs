//! SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION: rows of the last axis.

use std::sync::Arc;

use super::super::arith::{self, Activation as Fused};
use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::field;
use super::sampled::samples;
use crate::qgraph::{DType, Kind, Multiplier, Output, TensorId};

/// Operand and result of one shape, with at least one axis.
fn rows(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Activation, Activation), Stop> {
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_shape(&input.shape)?;
    if input.shape.is_empty() {
        return Err(damaged(codes::SHAPE, "it has no dimension to work along").at(input.id.index()).into());
    }
    Ok((input, output))
}

/// Refuses a result of another scale and zero point than the kernel writes.
fn expect_quant(output: &Activation, name: &str, scale: f32, zero_point: i32) -> Result<(), Fault> {
    if output.quant.scale == scale && output.quant.zero_point == zero_point {
        return Ok(());
    }
    let reason = format!(
        "{name} needs scale {scale} and zero point {zero_point}, not {} and {}",
        output.quant.scale, output.quant.zero_point
    );
    Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again").at(output.id.index()))
}

/// From differences of stored integers to exponents with five integer bits, and the smallest difference that counts.
fn to_exponents(beta: f32, scale: f32) -> Result<(Multiplier, i32), Fault> {
    let real = (f64::from(beta) * f64::from(scale) * f64::from(1 << 26)).min(f64::from(i32::MAX));
    // The kernel is defined for multipliers above 1 only.
    if real <= 1.0 {
        return Err(arith::scales_apart());
    }
    // The exponent may be 31 here, one more than elsewhere: halve before, count after.
    let half = arith::multiplier(real / 2.0)?;
    let multiplier = Multiplier { m: half.m, e: half.e + 1 };
    let radius = (31i64 << 26) >> multiplier.e;
    let dmin = i32::try_from(-radius).map_err(|_| arith::scales_apart())?;
    Ok((multiplier, dmin))
}

pub(super) fn softmax(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let beta = match site.operator.options {
        Some(BuiltinOptionsRef::SoftmaxOptions(options)) => field(options.beta())?,
        _ => return Err(no_options().into()),
    };
    site.operands(1, 1)?;
    let (input, output) = rows(cx, site)?;
    if !beta.is_finite() || beta <= 0.0 {
        return Err(damaged(codes::OPTIONS, format!("its beta is {beta}")).into());
    }
    if output.dtype == DType::I16 {
        return softmax_16(cx, &input, &output, beta);
    }
    output.expect_type(input.dtype)?;
    if input.dtype == DType::I8 {
        expect_quant(&output, "int8 SOFTMAX", 1.0 / 256.0, -128)?;
    }
    let (multiplier, dmin) = to_exponents(beta, input.quant.scale)?;
    let lo = if input.dtype == DType::I8 { -128 } else { 0 };
    Ok((Kind::Softmax { multiplier, dmin, lo, bits: 8 }, vec![input.id]))
}

/// int8 or int16 operand, int16 result.
fn softmax_16(
    cx: &mut Context<'_>,
    input: &Activation,
    output: &Activation,
    beta: f32,
) -> Result<(Kind, Vec<TensorId>), Stop> {
    expect_quant(output, "int16 SOFTMAX", 1.0 / 32768.0, 0)?;
    if input.dtype != DType::I16 {
        input.expect_one_of(&[DType::I8], "SOFTMAX with an int16 result")?;
        let (multiplier, dmin) = to_exponents(beta, input.quant.scale)?;
        return Ok((Kind::Softmax { multiplier, dmin, lo: -32768, bits: 16 }, vec![input.id]));
    }
    let real = f64::from(input.quant.scale * beta) / (10.0 / 65535.0);
    let multiplier = arith::multiplier(real)?;
    cx.take(2 * 513, size_of::<i32>())?;
    let exponential: Arc<[i32]> = samples(10.0 / 65535.0, 32767, 2.0 / 65535.0, 0, f64::exp).into();
    let inverse: Arc<[i32]> = samples(1.0 / 65535.0, -32768, 2.0 / 65535.0, 0, |x| 1.0 / (1.0 + x)).into();
    Ok((Kind::Softmax16 { multiplier, exponential, inverse }, vec![input.id]))
}

pub(super) fn log_softmax(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let (input, output) = rows(cx, site)?;
    output.expect_type(input.dtype)?;
    input.expect_8_bit(site.name)?;
    let (lo, hi) = if input.dtype == DType::I8 { (-128, 127) } else { (0, 255) };
    expect_quant(&output, site.name, 1.0 / 16.0, hi)?;
    let (multiplier, dmin) = to_exponents(1.0, input.quant.scale)?;
    let reverse = arith::multiplier(2f64.powi(31 - multiplier.e) / f64::from(multiplier.m))?;
    Ok((Kind::LogSoftmax { multiplier, dmin, reverse, out: Output { zero_point: hi, lo, hi } }, vec![input.id]))
}

pub(super) fn l2_normalize(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::L2NormOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(1, 1)?;
    let (input, output) = rows(cx, site)?;
    if field(options.activation())? != 0 {
        return Err(unsupported(codes::VARIANT, "it has a fused activation", "use a separate operator").into());
    }
    output.expect_type(input.dtype)?;
    input.expect_8_bit(site.name)?;
    let signed = input.dtype == DType::I8;
    expect_quant(&output, site.name, 1.0 / 128.0, if signed { 0 } else { 128 })?;
    let (left_shift, gain) = if signed { (0, 7) } else { (7, 0) };
    let out = Fused::None.output(output.dtype, output.quant)?;
    Ok((Kind::L2Normalize { input_zero_point: input.quant.zero_point, left_shift, gain, out }, vec![input.id]))
}
