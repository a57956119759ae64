//! Operators of one 8-bit operand: the result for each of its 256 values, by the reference formula in single precision.

use super::super::arith::{self, Activation as Fused};
use super::super::codes;
use super::super::context::{Activation, Context, Site};
use super::super::fault::{Fault, Stop, unsupported};
use crate::qgraph::{DType, Kind, Multiplier, Output, TensorId, fixed};

pub(super) fn table(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    output.expect_shape(&input.shape)?;
    if input.dtype == DType::U8 && matches!(site.name, "ABS" | "EXP" | "LOG" | "NEG") {
        let reason = format!("TFLite has no uint8 form of {}", site.name);
        return Err(unsupported(codes::TYPE, reason, "quantize the model to int8").at(input.id.index()).into());
    }
    if site.name == "LOGISTIC" && output.quant.scale != 1.0 / 256.0 {
        let reason = format!("LOGISTIC needs the output scale 1/256, not {}", output.quant.scale);
        return Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again")
            .at(output.id.index())
            .into());
    }
    let out = Fused::None.output(output.dtype, output.quant)?;
    let (lo, hi) = input.dtype.range();
    let stored = || (lo..=hi).map(|q| i32::try_from(q).expect("an 8-bit value"));
    let table: Vec<i32> = match site.name {
        "ABS" => absolute(&input, &output, stored(), &out)?,
        "HARD_SWISH" => hard_swish(&input, &output, stored(), &out)?,
        "NEG" => stored().map(|q| if q == -128 { q } else { -q }).collect(),
        name => {
            let function = match name {
                "EXP" => f32::exp,
                "LOG" => f32::ln,
                "TANH" => f32::tanh,
                _ => |x: f32| 1.0 / (1.0 + (-x).exp()),
            };
            let inverse = 1.0 / output.quant.scale;
            let one = |q: i32| {
                let x = input.quant.scale * small(q - input.quant.zero_point);
                if name == "LOG" && x <= 0.0 {
                    return out.lo;
                }
                // A conversion from float saturates.
                store((function(x) * inverse).round() as i64, &out)
            };
            stored().map(one).collect()
        }
    };
    cx.take(table.len(), size_of::<i32>())?;
    Ok((Kind::Table { table }, vec![input.id]))
}

/// A difference of 8-bit integers.
fn small(x: i32) -> f32 {
    f32::from(i16::try_from(x).expect("a difference of 8-bit integers"))
}

fn store(scaled: i64, out: &Output) -> i32 {
    let value = scaled.saturating_add(out.zero_point.into()).clamp(out.lo.into(), out.hi.into());
    i32::try_from(value).expect("clamped to an 8-bit type")
}

fn absolute(
    input: &Activation,
    output: &Activation,
    stored: impl Iterator<Item = i32>,
    out: &Output,
) -> Result<Vec<i32>, Fault> {
    let same = input.quant.scale == output.quant.scale;
    let multiplier = arith::multiplier(f64::from(input.quant.scale / output.quant.scale))?;
    let one = |q: i32| {
        let x = (q - input.quant.zero_point).abs();
        store(if same { x } else { fixed::rescale(x, multiplier) }.into(), out)
    };
    Ok(stored.map(one).collect())
}

/// 16-bit arithmetic.
fn hard_swish(
    input: &Activation,
    output: &Activation,
    stored: impl Iterator<Item = i32>,
    out: &Output,
) -> Result<Vec<i32>, Fault> {
    let fine = input.quant.scale / 128.0;
    let [m1, m2] = [fine / output.quant.scale, fine / (3.0 / 32768.0)].map(|real| arith::multiplier(real.into()));
    let (m1, m2) = (m1?, m2?);
    if m1.e > 0 {
        return Err(arith::scales_apart());
    }
    let half = |m: Multiplier| ((i64::from(m.m) + (1 << 15)) >> 16).min(32767);
    let hp16 = |a: i64, b: i64| ((a * b + (1 << 14)) >> 15).clamp(-32768, 32767);
    let sat16 = |x: i64| x.clamp(-32768, 32767);
    let one = |q: i32| {
        let v = i64::from(q - input.quant.zero_point) << 7;
        let p = hp16(v, half(m1));
        let mut u = v;
        if m2.e > 0 {
            u = sat16(u << (m2.e - 1));
        }
        u = hp16(u, half(m2));
        if m2.e > 0 {
            u = sat16(u << 1);
        } else {
            u = fixed::rs(u, m2.e.unsigned_abs());
        }
        u = (u + (1 << 15)) >> 1;
        store(fixed::rs(u * p / (1 << 15), m1.e.unsigned_abs()), out)
    };
    Ok(stored.map(one).collect())
}
