//! The 16-bit functions of TFLite's reference kernels, in integers: gates of the LSTM.
//!
//! As in [`super::fixed`], with `raw / 2^(15-i)` for a number with `i` integer bits.
use super::fixed::rs;

/// The nearest int16.
fn saturate(x: i64) -> i64 {
    x.clamp(-(1 << 15), (1 << 15) - 1)
}

/// High product of 16-bit numbers, halves up.
pub fn hp16(a: i64, b: i64) -> i64 {
    saturate((a * b + (1 << 14)) >> 15)
}

/// A constant of the 32-bit functions.
fn constant(c: i64) -> i64 {
    rs(c, 16)
}

/// `e^a` for `a ≤ 0` with `integer_bits` integer bits; the result has none.
fn exp(a: i64, integer_bits: u32) -> i64 {
    if a == 0 {
        return (1 << 15) - 1;
    }
    let fraction_bits = 15 - integer_bits;
    // a = -remainder + part, remainder a multiple of 1/4, part in [-1/4, 0). With 14 or more integer bits there is no
    // part: quarters are below the last bit.
    let quarter = 1i64 << fraction_bits >> 2;
    let part = if quarter == 0 { 0 } else { (a & (quarter - 1)) - quarter };
    let t = (part << integer_bits) + (1 << 12);
    let t2 = hp16(t, t);
    let (t3, t4) = (hp16(t2, t), hp16(t2, t2));
    let tail = rs(hp16(rs(t4, 2) + t3, constant(715827883)) + t2, 1);
    let mut y = saturate(constant(1895147668) + hp16(constant(1895147668), t + tail));
    let remainder = part - a;
    const FACTORS: [i64; 7] = [1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242];
    for (k, factor) in (-2i32..).zip(FACTORS) {
        let bit = fraction_bits.cast_signed() + k;
        if bit >= 0 && integer_bits.cast_signed() > k && (remainder >> bit) & 1 == 1 {
            y = hp16(y, constant(factor));
        }
    }
    let too_small = integer_bits > 5 && a < -(32 << fraction_bits);
    if too_small { 0 } else { y }
}

/// Twice `1/(1+a)`, two integer bits, for `a` in [0, 1): three Newton steps.
fn half_recip(a: i64) -> i64 {
    let half_denominator = saturate((a + (1 << 15)) / 2);
    let mut x = constant(1515870810) + hp16(half_denominator, constant(-1010580540));
    for _ in 0..3 {
        let error = (1 << 13) - hp16(half_denominator, x);
        x += saturate(hp16(x, error) << 2);
    }
    x
}

/// Logistic function of a number with `integer_bits` integer bits; the result has none.
pub fn logistic(x: i16, integer_bits: u32) -> i32 {
    let x = i64::from(x);
    let positive = saturate(half_recip(exp(-x.abs(), integer_bits)) << 1);
    let y = match x {
        0 => 1 << 14,
        1.. => positive,
        _ => (1 << 15) - 1 - positive,
    };
    i32::try_from(y).expect("16 bits")
}

/// Hyperbolic tangent of a number with `integer_bits` integer bits; the result has none.
pub fn tanh(x: i16, integer_bits: u32) -> i32 {
    let x = i64::from(x);
    // (1−a)/(1+a) with a = e^(−2|x|): one integer bit more doubles.
    let a = exp((-x.abs()).max(-(1 << 15)), integer_bits + 1);
    let y = saturate((half_recip(a) - (1 << 13)) << 2);
    i32::try_from(if x == 0 { 0 } else { y * x.signum() }).expect("16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_close_to_the_real_ones() {
        for integer_bits in [0, 1, 3, 4, 6] {
            for x in (-32768i32..32768).step_by(37) {
                let x = i16::try_from(x).expect("16 bits");
                let real = f64::from(x) / f64::from(1 << (15 - integer_bits));
                let y = f64::from(logistic(x, integer_bits)) / 32768.0;
                assert!((y - 1.0 / (1.0 + (-real).exp())).abs() < 1e-3, "logistic {real}: {y}");
                let y = f64::from(tanh(x, integer_bits)) / 32768.0;
                assert!((y - real.tanh()).abs() < 1e-3, "tanh {real}: {y}");
            }
        }
        assert_eq!((logistic(0, 3), tanh(0, 3)), (1 << 14, 0));
    }
}
