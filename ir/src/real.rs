//! Real numbers at the edges of a model: what TFLite's QUANTIZE makes of float32, and its DEQUANTIZE of stored integers.
//!
//! The owner of an input quantizes before it shares, the receiver of an output dequantizes what was opened to it. So no
//! secret is ever a float inside the computation.

/// `x / scale` in single precision, to the nearest integer, halves away from zero, plus the zero point; to be clamped to
/// the stored type.
pub fn quantize(x: f32, scale: f32, zero_point: i32) -> i64 {
    // The conversion saturates.
    ((x / scale).round() as i64).saturating_add(zero_point.into())
}

/// `scale · (stored − zero point)`, in double precision, rounded once.
pub fn dequantize(stored: i64, scale: f32, zero_point: i32) -> f32 {
    (f64::from(scale) * (stored - i64::from(zero_point)) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero_and_ends_saturate() {
        assert_eq!([0.25, -0.25, 0.2, f32::INFINITY].map(|x| quantize(x, 0.5, 3)), [4, 2, 3, i64::MAX]);
    }

    #[test]
    fn stored_integers_come_back() {
        for scale in [0.003_338_457_8, 0.25, 1.0, 1.0e-5] {
            (-128..128).for_each(|q| assert_eq!(quantize(dequantize(q, scale, -7), scale, -7), q));
        }
    }
}
