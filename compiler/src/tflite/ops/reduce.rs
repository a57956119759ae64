//! MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD.

use super::super::arith::{self, Activation as Fused};
use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Stop, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::{axis, field};
use crate::qgraph::{DType, Kind, Multiplier, Rescale, TensorId};

/// Operand, result and axes of a reduction, each axis once.
fn reduction(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Activation, Activation, Vec<usize>), Stop> {
    let keep = match site.operator.options {
        Some(BuiltinOptionsRef::ReducerOptions(options)) => field(options.keep_dims())?,
        _ => return Err(no_options().into()),
    };
    site.operands(2, 2)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    let listed = site.operand(1)?;
    let mut axes = Vec::new();
    for value in cx.integers(listed)? {
        axes.push(axis(value, input.shape.len()).map_err(|fault| fault.at(listed))?);
    }
    axes.sort_unstable();
    axes.dedup();
    let kept = |axis: usize, size: usize| match (axes.contains(&axis), keep) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    let shape: Vec<usize> = input.shape.iter().enumerate().filter_map(|(axis, &size)| kept(axis, size)).collect();
    output.expect_shape(&shape)?;
    Ok((input, output, axes))
}

/// MEAN and SUM, which differ in the multiplier.
///
/// int8 SUM is the deliberate exception to the reference kernels, which take int8 data as uint8 there: it is computed
/// as it is meant, with one rounding, which is also what TFLite's optimized kernels give.
pub(super) fn mean(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let (input, output, axes) = reduction(cx, site)?;
    let real = f64::from(input.quant.scale) / f64::from(output.quant.scale);
    let multiplier = arith::multiplier(real)?;
    let rescale = match (site.name, input.dtype) {
        ("SUM", DType::I8) => Rescale::Once(vec![real]),
        ("SUM", _) => {
            input.expect_8_bit(site.name)?;
            Rescale::Twice(vec![multiplier])
        }
        _ => {
            let count = axes.iter().map(|&axis| input.shape[axis]).product();
            Rescale::Twice(vec![divided(multiplier, count).ok_or_else(arith::scales_apart)?])
        }
    };
    let out = Fused::None.output(output.dtype, output.quant)?;
    Ok((Kind::Mean { axes, input_zero_point: input.quant.zero_point, rescale, out }, vec![input.id]))
}

/// REDUCE_MAX, REDUCE_MIN: scales are not looked at.
pub(super) fn extremum(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let (input, output, axes) = reduction(cx, site)?;
    if input.quant != output.quant {
        let reason = "its scale or zero point differs from the operand's, which TFLite refuses";
        let fault = unsupported(codes::QUANT_UNSUPPORTED, reason, "insert a QUANTIZE operator");
        return Err(fault.at(output.id.index()).into());
    }
    Ok((Kind::ReduceExtremum { axes, largest: site.name == "REDUCE_MAX" }, vec![input.id]))
}

pub(super) fn product(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let (input, output, axes) = reduction(cx, site)?;
    input.expect_one_of(&[DType::I8, DType::I16], site.name)?;
    let count: usize = axes.iter().map(|&axis| input.shape[axis]).product();
    let root = f64::from(output.quant.scale).powf(1.0 / count as f64);
    let multiplier = arith::multiplier(f64::from(input.quant.scale) / root)?;
    if multiplier.e > 14 {
        return Err(arith::scales_apart().into());
    }
    let out = Fused::None.output(output.dtype, output.quant)?;
    Ok((Kind::ReduceProduct { axes, input_zero_point: input.quant.zero_point, multiplier, out }, vec![input.id]))
}

/// Divides by the number of summands in integers, after shifting up as far as the kernel does.
fn divided(by: Multiplier, count: usize) -> Option<Multiplier> {
    let shift = count.checked_ilog2()?.min(32).min(u32::try_from(31 + by.e).ok()?);
    let mantissa = (i64::from(by.m) << shift) / i64::try_from(count).ok()?;
    Some(Multiplier { m: i32::try_from(mantissa).ok()?, e: by.e - i32::try_from(shift).ok()? })
}
