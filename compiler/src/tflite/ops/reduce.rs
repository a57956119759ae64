//! MEAN, SOFTMAX.

use super::super::arith::{self, Activation as Fused};
use super::super::codes;
use super::super::context::{Context, Site, no_options};
use super::super::fault::{Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::{axis, field};
use crate::qgraph::{DType, Kind, Multiplier, TensorId};

pub(super) fn mean(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
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
    let count: usize = axes.iter().map(|&axis| input.shape[axis]).product();
    let kept = |axis: usize, size: usize| match (axes.contains(&axis), keep) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    let shape: Vec<usize> = input.shape.iter().enumerate().filter_map(|(axis, &size)| kept(axis, size)).collect();
    output.expect_shape(&shape)?;
    let real = arith::multiplier(f64::from(input.quant.scale) / f64::from(output.quant.scale))?;
    let multiplier = divided(real, count).ok_or_else(arith::scales_apart)?;
    let out = Fused::None.output(output.dtype, output.quant)?;
    Ok((Kind::Mean { axes, input_zero_point: input.quant.zero_point, multiplier, out }, vec![input.id]))
}

/// Divides by the number of summands in integers, after shifting up as far as the kernel does.
fn divided(by: Multiplier, count: usize) -> Option<Multiplier> {
    let shift = count.checked_ilog2()?.min(32).min(u32::try_from(31 + by.e).ok()?);
    let mantissa = (i64::from(by.m) << shift) / i64::try_from(count).ok()?;
    Some(Multiplier { m: i32::try_from(mantissa).ok()?, e: by.e - i32::try_from(shift).ok()? })
}

pub(super) fn softmax(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let beta = match site.operator.options {
        Some(BuiltinOptionsRef::SoftmaxOptions(options)) => field(options.beta())?,
        _ => return Err(no_options().into()),
    };
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    output.expect_shape(&input.shape)?;
    if input.shape.is_empty() {
        return Err(damaged(codes::SHAPE, "it has no dimension to work along").at(input.id.index()).into());
    }
    if input.dtype == DType::I8 && !(output.quant.scale == 1.0 / 256.0 && output.quant.zero_point == -128) {
        let reason = format!(
            "int8 SOFTMAX needs scale 1/256 and zero point -128, not {} and {}",
            output.quant.scale, output.quant.zero_point
        );
        return Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again")
            .at(output.id.index())
            .into());
    }
    if !beta.is_finite() || beta <= 0.0 {
        return Err(damaged(codes::OPTIONS, format!("its beta is {beta}")).into());
    }
    let real = (f64::from(beta) * f64::from(input.quant.scale) * f64::from(1 << 26)).min(f64::from(i32::MAX));
    // The kernel is defined for multipliers above 1 only.
    if real <= 1.0 {
        return Err(arith::scales_apart().into());
    }
    // The exponent may be 31 here, one more than elsewhere: halve before, count after.
    let half = arith::multiplier(real / 2.0)?;
    let multiplier = Multiplier { m: half.m, e: half.e + 1 };
    let radius = (31i64 << 26) >> multiplier.e;
    let dmin = i32::try_from(-radius).map_err(|_| arith::scales_apart())?;
    let lo = if input.dtype == DType::I8 { -128 } else { 0 };
    Ok((Kind::Softmax { multiplier, dmin, lo, bits: 8 }, vec![input.id]))
}
