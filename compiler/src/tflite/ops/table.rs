//! Operators of one operand: the result for each of its 256 values, by the reference formula in single precision. int16
//! data go to `sampled`.

use super::super::arith::{self, Activation as Fused};
use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::{field, sampled};
use crate::qgraph::{DType, Kind, Multiplier, Output, TensorId, fixed};

pub(super) fn table(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    output.expect_shape(&input.shape)?;
    if matches!(site.name, "ABS" | "EXP" | "LOG" | "NEG" | "SQRT" | "RSQRT") {
        input.expect_one_of(&[DType::I8, DType::I16], site.name)?;
    }
    if input.dtype == DType::I16 {
        return match site.name {
            "LEAKY_RELU" => leaky_relu_16(cx, site, &input, &output),
            _ => sampled::table(cx, site, &input, &output),
        };
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
        "LEAKY_RELU" => {
            let slopes = Slopes::new(site, &input, &output)?;
            stored().map(|q| store(slopes.apply(q - input.quant.zero_point).into(), &out)).collect()
        }
        "SQRT" => {
            let root = |q: i32| (input.quant.scale * small(q - input.quant.zero_point)).sqrt() / output.quant.scale;
            // Towards zero, as the kernel converts it; values below the zero point stop TFLite.
            stored().map(|q| store(root(q.max(input.quant.zero_point)) as i64, &out)).collect()
        }
        "RSQRT" => rsqrt(&input, &output, stored(), &out)?,
        name => {
            let function: fn(f32) -> f32 = match name {
                "EXP" => f32::exp,
                "GELU" => gelu(site)?.0,
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
    Ok((Kind::Table { table: table.into() }, vec![input.id]))
}

/// A function of a real number.
pub(super) type Real = fn(f32) -> f32;

/// GELU as the options say, with the error function or with the tangent, and a name for it.
pub(super) fn gelu(site: &Site<'_>) -> Result<(Real, &'static str), Fault> {
    let Some(BuiltinOptionsRef::GeluOptions(options)) = site.operator.options else {
        return Err(no_options());
    };
    let approximate = field(options.approximate())?;
    Ok(if approximate { (gelu_approximate, "approximate GELU") } else { (gelu_exact, "GELU") })
}

fn gelu_exact(x: f32) -> f32 {
    0.5 * x * libm::erfcf(x * -std::f32::consts::FRAC_1_SQRT_2)
}

fn gelu_approximate(x: f32) -> f32 {
    // sqrt(2/pi)
    const SLOPE: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
    0.5 * x * (1.0 + (SLOPE * (x + 0.044715 * x * x * x)).tanh())
}

/// Two multipliers in single precision: above zero, and by magnitude below.
struct Slopes {
    above: Multiplier,
    below: Multiplier,
    /// The slope below zero is negative.
    falls: bool,
}

impl Slopes {
    fn new(site: &Site<'_>, input: &Activation, output: &Activation) -> Result<Slopes, Fault> {
        let Some(BuiltinOptionsRef::LeakyReluOptions(options)) = site.operator.options else {
            return Err(no_options());
        };
        let alpha = field(options.alpha())?;
        if !alpha.is_finite() {
            return Err(damaged(codes::OPTIONS, format!("its slope is {alpha}")));
        }
        let (s_x, s_y) = (input.quant.scale, output.quant.scale);
        let below = arith::multiplier((s_x * alpha.abs() / s_y).into())?;
        Ok(Slopes { above: arith::multiplier((s_x / s_y).into())?, below, falls: alpha < 0.0 })
    }

    fn apply(&self, x: i32) -> i32 {
        let scaled = fixed::rescale(x, if x >= 0 { self.above } else { self.below });
        if x < 0 && self.falls { -scaled } else { scaled }
    }
}

fn leaky_relu_16(
    cx: &mut Context<'_>,
    site: &Site<'_>,
    input: &Activation,
    output: &Activation,
) -> Result<(Kind, Vec<TensorId>), Stop> {
    let slopes = Slopes::new(site, input, output)?;
    let numbers = [slopes.above.m, slopes.below.m, slopes.above.e << 16 | slopes.below.e & 0xffff];
    let name = if slopes.falls { "LEAKY_RELU falling" } else { "LEAKY_RELU" };
    let table = cx.wide_table(name, numbers.map(i32::cast_unsigned), |q| {
        slopes.apply(q.into()).clamp(i16::MIN.into(), i16::MAX.into())
    })?;
    Ok((Kind::Table { table }, vec![input.id]))
}

/// 1/sqrt in the kernel's fixed point; the largest result at zero and, where TFLite stops, below.
fn rsqrt(
    input: &Activation,
    output: &Activation,
    stored: impl Iterator<Item = i32>,
    out: &Output,
) -> Result<Vec<i32>, Fault> {
    const SHIFT: i32 = 20;
    let real = 1.0 / f64::from(input.quant.scale.sqrt() * output.quant.scale);
    let last = arith::multiplier(real)?;
    let last = Multiplier { m: last.m, e: last.e - SHIFT };
    let one = |q: i32| {
        let x = q - input.quant.zero_point;
        if x <= 0 {
            return out.hi;
        }
        let root = fixed::inverse_sqrt(x);
        let fine = fixed::rescale(1, Multiplier { m: root.m, e: root.e + SHIFT });
        store(fixed::rescale(fine, last).into(), out)
    };
    Ok(stored.map(one).collect())
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
