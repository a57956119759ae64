//! The only floating-point arithmetic of the compiler: from scales to the integers that the reference kernels compute with.

use super::fault::{Fault, unsupported};
use super::{Category, codes};
use crate::qgraph::{DType, Multiplier, Output, Quant};

/// `m = f · 2^e` with `0.5 ≤ f < 1`; (0, 0) for zero. `m` must be finite and not negative.
fn frexp(m: f64) -> (f64, i32) {
    if m == 0.0 {
        return (0.0, 0);
    }
    // Subnormal numbers are brought into the normal range first.
    let (m, shift) = if m.is_normal() { (m, 0) } else { (m * 2f64.powi(64), 64) };
    let bits = m.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).expect("eleven bits fit");
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent - 1022 - shift)
}

/// Integer form of a real multiplier. Too large ones, for which the kernels' shift is undefined, are refused.
pub(super) fn multiplier(real: f64) -> Result<Multiplier, Fault> {
    if !real.is_finite() || real < 0.0 {
        return Err(scales_apart());
    }
    let (fraction, mut e) = frexp(real);
    // Exact: at most 2^31, far below 2^53.
    let mut mantissa = (fraction * 2f64.powi(31)).round() as i64;
    if mantissa == 1 << 31 {
        mantissa = 1 << 30;
        e += 1;
    }
    if mantissa == 0 || e < -31 {
        return Ok(Multiplier { m: 0, e: 0 });
    }
    if e > 30 {
        return Err(scales_apart());
    }
    Ok(Multiplier { m: i32::try_from(mantissa).expect("below 2^31"), e })
}

/// The refusal for multipliers outside the defined range.
pub(super) fn scales_apart() -> Fault {
    unsupported(
        codes::MULTIPLIER,
        "scales of operands and result are too far apart for integer arithmetic",
        "check the calibration of this layer and quantize again",
    )
}

/// A fused activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
    ReluN1To1,
    Relu6,
    /// Only as an operator of its own.
    Relu0To1,
}

impl Activation {
    /// Of the code in operator options.
    pub(super) fn of(code: i8) -> Result<Activation, Fault> {
        match code {
            0 => Ok(Activation::None),
            1 => Ok(Activation::Relu),
            2 => Ok(Activation::ReluN1To1),
            3 => Ok(Activation::Relu6),
            4 | 5 => Err(unsupported(
                codes::VARIANT,
                format!(
                    "fused activation {} is not computed by TFLite's integer kernels",
                    if code == 4 { "TANH" } else { "SIGN_BIT" }
                ),
                "use NONE, RELU, RELU6 or RELU_N1_TO_1, or a separate operator",
            )),
            _ => Err(Fault::new(
                Category::Damaged,
                codes::OPTIONS,
                format!("fused activation {code} does not exist"),
                "export the model again",
            )),
        }
    }

    /// Bounds on stored integers; quotients in single precision, halves away from zero.
    pub(super) fn output(self, dtype: DType, quant: Quant) -> Result<Output, Fault> {
        let (lo, hi) = dtype.range();
        let stored = |real: f32| -> Result<i64, Fault> {
            let quotient = (real / quant.scale).round();
            if quotient.abs() >= 2f32.powi(31) {
                return Err(scales_apart());
            }
            // Exact: integral and below 2^31.
            Ok(quotient as i64 + i64::from(quant.zero_point))
        };
        let (lo, hi) = match self {
            Activation::None => (lo, hi),
            Activation::Relu => (lo.max(stored(0.0)?), hi),
            Activation::Relu6 => (lo.max(stored(0.0)?), hi.min(stored(6.0)?)),
            Activation::ReluN1To1 => (lo.max(stored(-1.0)?), hi.min(stored(1.0)?)),
            Activation::Relu0To1 => (lo.max(stored(0.0)?), hi.min(stored(1.0)?)),
        };
        let fit = |bound: i64| i32::try_from(bound).map_err(|_| scales_apart());
        Ok(Output { zero_point: quant.zero_point, lo: fit(lo)?, hi: fit(hi)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_are_fractions_of_two_to_the_31() {
        let qm = |m: f64| multiplier(m).map(|q| (q.m, q.e)).map_err(|f| f.code);
        assert_eq!(qm(0.5), Ok((1 << 30, 0)));
        assert_eq!(qm(1.0), Ok((1 << 30, 1)));
        assert_eq!(qm(0.75), Ok((3 << 29, 0)));
        assert_eq!(qm(1.0 - 2f64.powi(-40)), Ok((1 << 30, 1)));
        assert_eq!(qm(0.0), Ok((0, 0)));
        assert_eq!(qm(2f64.powi(-32)), Ok((1 << 30, -31)));
        assert_eq!(qm(2f64.powi(-33)), Ok((0, 0)));
        assert_eq!(qm(f64::MIN_POSITIVE / 4.0), Ok((0, 0)));
        assert_eq!(qm(2f64.powi(40)), Err(codes::MULTIPLIER));
        assert_eq!(qm(f64::NAN), Err(codes::MULTIPLIER));
    }

    #[test]
    fn activation_bounds_may_be_empty() {
        let out = |a: Activation, scale, zero_point| {
            a.output(DType::I8, Quant { scale, zero_point }).map(|o| (o.lo, o.hi)).ok()
        };
        assert_eq!(out(Activation::None, 0.1, 3), Some((-128, 127)));
        assert_eq!(out(Activation::Relu, 0.1, 3), Some((3, 127)));
        assert_eq!(out(Activation::Relu6, 0.1, 3), Some((3, 63)));
        assert_eq!(out(Activation::ReluN1To1, 0.01, 127), Some((27, 127)));
        assert_eq!(out(Activation::ReluN1To1, 0.001, -128), Some((-128, 127)));
        assert_eq!(out(Activation::Relu6, 1e-30, 0), None);
    }
}
