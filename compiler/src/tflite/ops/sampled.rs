//! Functions of int16 data, as TFLite's kernels compute them: by straight lines between samples.

use super::super::arith;
use super::super::codes;
use super::super::context::{Activation, Context, Site};
use super::super::fault::{Fault, Stop, unsupported};
use super::table::gelu;
use crate::qgraph::{Kind, TensorId, fixed};

/// 513 samples of a function over int16, each moved a little so that the lines between them err less.
pub(super) fn samples(
    input_scale: f64,
    input_zero_point: i32,
    output_scale: f64,
    output_zero_point: i32,
    function: impl Fn(f64) -> f64,
) -> Vec<i32> {
    let real = |scale: f64, q: i32, z: i32| scale * f64::from(q - z);
    let (from, to) = (real(input_scale, -32768, input_zero_point), real(input_scale, 32767, input_zero_point));
    let span = real(output_scale, 32767, output_zero_point) - real(output_scale, -32768, output_zero_point);
    let (step, inverse) = ((to - from) / 512.0, 65536.0 / span);
    let half = step / 2.0;
    let at = |i: i32| from + f64::from(i) * step;
    // Exact: limited to int16.
    let store = |y: f64| y.clamp(-32768.0, 32767.0) as i32;
    let sample = |i: i32| {
        let (value, next) = (function(at(i)), function(at(i + 1)));
        let middle = (function(at(i) + half) * inverse).round();
        let line = ((next * inverse + (value * inverse).round()) / 2.0).round();
        store((value * inverse).round() - ((line - middle) / 2.0).round())
    };
    let mut table: Vec<i32> = (0..512).map(sample).collect();
    table.push(store((function(to) * inverse).round()));
    table
}

/// The same in single precision.
fn samples_single(input: &Activation, output: &Activation, function: impl Fn(f32) -> f32) -> Vec<i32> {
    let (scale, out_scale) = (input.quant.scale, output.quant.scale);
    let (from, to) = (scale * -32768.0, scale * 32767.0);
    let (step, inverse) = ((to - from) / 512.0, 65536.0 / (out_scale * 32767.0 - out_scale * -32768.0));
    let half = step / 2.0;
    let at = |i: u16| from + f32::from(i) * step;
    // Exact: limited to int16.
    let store = |y: f32| y.clamp(-32768.0, 32767.0) as i32;
    let sample = |i: u16| {
        let (value, next) = (function(at(i)), function(at(i + 1)));
        let middle = (function(at(i) + half) * inverse).round();
        let line = ((next * inverse + (value * inverse).round()) / 2.0).round();
        store((value * inverse).round() - ((line - middle) / 2.0).round())
    };
    let mut table: Vec<i32> = (0..512).map(sample).collect();
    table.push(store((function(to) * inverse).round()));
    table
}

/// Value of a table of samples.
fn look_up(table: &[i32], q: i16) -> i32 {
    let at = usize::try_from(256 + (q >> 7)).expect("0 to 511");
    let slope = table[at + 1] - table[at];
    table[at] + ((slope * i32::from(q & 127) + 64) >> 7)
}

/// int16 operators of one operand: a table of all values.
pub(super) fn table(
    cx: &mut Context<'_>,
    site: &Site<'_>,
    input: &Activation,
    output: &Activation,
) -> Result<(Kind, Vec<TensorId>), Stop> {
    let (s_x, s_y) = (input.quant.scale, output.quant.scale);
    let key = [s_x.to_bits(), s_y.to_bits(), 0];
    let store = |y: i32| y.clamp(-32768, 32767);
    let table = match site.name {
        "NEG" => cx.wide_table("NEG", [0; 3], |q| i32::from(q.wrapping_neg()))?,
        "ABS" => {
            let multiplier = arith::multiplier((s_x / s_y).into())?;
            cx.wide_table("ABS", key, |q| {
                let x = i32::from(q).abs();
                store(if s_x == s_y { x } else { fixed::rescale(x, multiplier) })
            })?
        }
        "EXP" => {
            let samples = samples_single(input, output, f32::exp);
            cx.wide_table("EXP", key, |q| look_up(&samples, q))?
        }
        "GELU" => {
            let (function, name) = gelu(site)?;
            let samples = samples_single(input, output, function);
            cx.wide_table(name, key, |q| look_up(&samples, q))?
        }
        "LOGISTIC" | "TANH" => {
            let scale = Curve::new(site.name, input, output)?;
            let curve = if site.name == "LOGISTIC" { Curve::logistic } else { Curve::tanh };
            cx.wide_table(site.name, key, |q| curve(&scale, q))?
        }
        name => {
            input.expect_8_bit(name)?;
            return Err(arith::scales_apart().into());
        }
    };
    Ok((Kind::Table { table }, vec![input.id]))
}

/// LOGISTIC and TANH: the operand brought to steps of 1/(3·4096), then lines between samples of the logistic function.
struct Curve {
    multiplier: i32,
    shift: u32,
}

impl Curve {
    fn new(name: &'static str, input: &Activation, output: &Activation) -> Result<Curve, Fault> {
        if log_2(output.quant.scale) != Some(-15) {
            let reason = format!("int16 {name} needs the output scale 1/32768, not {}", output.quant.scale);
            let fault = unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again");
            return Err(fault.at(output.id.index()));
        }
        let most = if name == "TANH" { 1 } else { 0 };
        if let Some(left) = log_2(input.quant.scale).map(|log| log + 12).filter(|left| (0..=most).contains(left)) {
            return Ok(Curve { multiplier: 3 << left, shift: 0 });
        }
        let mut multiplier = f64::from(input.quant.scale) * 4096.0 * 3.0;
        let mut shift = 0;
        while multiplier <= 32767.0 / 2.0 && shift <= 30 {
            shift += 1;
            multiplier *= 2.0;
        }
        if multiplier > 32767.0 {
            return Err(arith::scales_apart());
        }
        // Towards zero, as the kernel converts it.
        Ok(Curve { multiplier: multiplier as i32, shift })
    }

    fn scaled(&self, q: i16) -> i32 {
        let product = i64::from(q) * i64::from(self.multiplier);
        let rounded = (product + (1i64 << self.shift >> 1)) >> self.shift;
        i32::try_from(rounded).expect("a product of 16-bit numbers")
    }

    /// Between two samples of the logistic function, `bits` bits from one to the next; one beyond the last.
    fn interpolate(x: i32, bits: u32, beyond: u32) -> i32 {
        let magnitude = x.unsigned_abs();
        let at = magnitude >> bits;
        let part = magnitude & ((1 << bits) - 1);
        let value = if at >= 255 { beyond } else { (sigmoid(at) << bits) + part * (sigmoid(at + 1) - sigmoid(at)) };
        i32::try_from(value).expect("25 bits")
    }

    fn logistic(&self, q: i16) -> i32 {
        let x = self.scaled(q);
        let value = Curve::interpolate(x, 9, 0x7fff << 10);
        let rounded = if x >= 0 { value + (1 << 9) } else { (1 << 25) - value + (1 << 9) - 1 };
        rounded >> 10
    }

    fn tanh(&self, q: i16) -> i32 {
        let x = self.scaled(q);
        let value = Curve::interpolate(x, 8, 0xffff << 8);
        let rounded = if x >= 0 { value - (1 << 23) + (1 << 7) } else { -value + (1 << 23) + (1 << 7) - 1 };
        rounded >> 8
    }
}

/// The kernel's sample `i` of 256: the logistic function at i/24, in 65536ths, moved by half of what a line to the next
/// sample errs in the middle. The last one saturates.
fn sigmoid(i: u32) -> u32 {
    if i >= 255 {
        return 65535;
    }
    let real = |x: f64| 65536.0 / (1.0 + (-x / 24.0).exp());
    let x = f64::from(i);
    let line = (real(x) + real(x + 1.0)) / 2.0;
    // Exact: between 32768 and 65536.
    (real(x) + (real(x + 0.5) - line) / 2.0).round() as u32
}

/// The power of two that a scale is, within the tolerance of the kernels.
fn log_2(scale: f32) -> Option<i32> {
    let log = scale.ln() * (1.0 / std::f32::consts::LN_2);
    // Exact: between -149 and 128.
    ((log - log.round()).abs() < 1e-3).then(|| log.round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_the_logistic_function() {
        let samples: Vec<u32> = (0..256).map(sigmoid).collect();
        assert_eq!(samples[..5], [32768, 33451, 34133, 34813, 35493]);
        assert!(samples.is_sorted());
        for (i, &sample) in samples.iter().enumerate() {
            let real = 65536.0 / (1.0 + (-(i as f64) / 24.0).exp());
            assert!((f64::from(sample) - real).abs() < 1.2, "{i}: {sample}, {real}");
        }
    }

    #[test]
    fn scales_near_a_power_of_two_count_as_one() {
        assert_eq!((log_2(1.0 / 4096.0), log_2(1.0005 / 4096.0), log_2(1.01)), (Some(-12), Some(-12), None));
    }
}
