//! Fixed-point building blocks of TFLite's reference kernels, in integers only.
//!
//! Names follow the kernels: a "high product" is `SaturatingRoundingDoublingHighMul`, a "rounding shift" is
//! `RoundingDivideByPOT`. *Away* and *up* name what happens to halves. A fixed-point number with `i` integer bits is
//! `raw / 2^(31-i)`. Where the kernels overflow int32 (undefined in C++) these functions wrap, as the machine does.
use super::{Multiplier, Rescale};

/// High product `(a·b + 2^30) >> 31`, halves up; the one product that does not fit saturates.
pub fn hp(a: i32, b: i32) -> i32 {
    let product = (i64::from(a) * i64::from(b) + (1 << 30)) >> 31;
    i32::try_from(product).unwrap_or(i32::MAX)
}

/// Rounding shift `x / 2^n`, halves away from zero, for any `n`.
pub fn rs(x: i64, n: u32) -> i64 {
    let magnitude = match n {
        0 => return x,
        1..=64 => (u128::from(x.unsigned_abs()) + (1 << (n - 1))) >> n,
        _ => 0,
    };
    let magnitude = i64::try_from(magnitude).expect("at most 2^62 after a shift by one or more");
    if x < 0 { -magnitude } else { magnitude }
}

/// Left shift by `n`, limited to int32.
pub fn shl_saturating(x: i32, n: u32) -> i32 {
    let wide = if n < 32 { i64::from(x) << n } else { i64::from(x.signum()) << 32 };
    saturate(wide)
}

/// Left shift by `n` in int32, upper bits lost.
fn shl(x: i32, n: u32) -> i32 {
    x.checked_shl(n).unwrap_or(0)
}

/// The nearest int32.
fn saturate(x: i64) -> i32 {
    i32::try_from(x).unwrap_or(if x < 0 { i32::MIN } else { i32::MAX })
}

/// `rs` of an int32, which stays one.
fn rs32(x: i32, n: u32) -> i32 {
    i32::try_from(rs(x.into(), n)).expect("a right shift does not grow its argument")
}

/// `R(x, m)`: high product, then rounding shift. Two roundings with different tie rules; they cannot be merged.
///
/// The left shift of a multiplier of 1 or more wraps in int32.
pub fn rescale(x: i32, m: Multiplier) -> i32 {
    let (left, right) = if m.e > 0 { (m.e.unsigned_abs(), 0) } else { (0, m.e.unsigned_abs()) };
    rs32(hp(shl(x, left), m.m), right)
}

/// `R64(x, m)`: one rounding, halves up, with the multiplier cut to 15 bits. Wraps in int64.
pub fn rescale64(x: i64, m: Multiplier) -> i64 {
    let cut = if m.m < 0x7fff_0000 { (i64::from(m.m) + (1 << 15)) >> 16 } else { 0x7fff };
    let shift = (15 - m.e).unsigned_abs().min(62);
    x.wrapping_mul(cut).wrapping_add(1 << shift >> 1) >> shift
}

/// Result of a requantization of channel `c`, before zero point and clamp. Sums that the kernels keep in int32 wrap.
pub fn requantize(rescale_by: &Rescale, c: usize, acc: i64) -> i64 {
    fn pick<T: Copy>(all: &[T], c: usize) -> T {
        if all.len() == 1 { all[0] } else { all[c] }
    }
    match rescale_by {
        Rescale::Twice(all) => rescale(wrap(acc), pick(all, c)).into(),
        Rescale::Once(all) => round_product(acc, pick(all, c)),
        Rescale::Wide(all) => rescale64(acc, pick(all, c)),
        Rescale::Shift(n) => rs(wrap(acc).into(), *n),
    }
}

/// The lower 32 bits.
pub fn wrap(x: i64) -> i32 {
    x as i32
}

/// `1/sqrt(v)` as `M · 2^(e−31)`, `v` not negative.
pub fn inverse_sqrt(v: i32) -> Multiplier {
    if v <= 1 {
        return Multiplier { m: i32::MAX, e: 0 };
    }
    let (mut v, mut shift) = (v, 11);
    while v >= 1 << 29 {
        v /= 4;
        shift += 1;
    }
    let pairs = (v.leading_zeros() - 1) / 2 - 1;
    shift -= pairs.cast_signed();
    v <<= 2 * pairs;
    // With three integer bits: Newton steps for 1/sqrt.
    const THREE_HALVES: i32 = (1 << 28) + (1 << 27);
    let half = rs32(v >> 1, 1);
    let mut x = 1 << 28;
    for _ in 0..5 {
        let cube = shl_saturating(hp(hp(x, x), x), 6);
        x = shl_saturating(hp(THREE_HALVES, x).wrapping_sub(hp(half, cube)), 3);
    }
    let m = hp(x, SQRT_HALF);
    if shift < 0 { Multiplier { m: shl(m, shift.unsigned_abs()), e: 0 } } else { Multiplier { m, e: -shift } }
}

/// Square root of one half, no integer bits.
const SQRT_HALF: i32 = 1518500250;

/// Logarithm of `z ≥ 1`, given with twelve integer bits; the result has five.
pub fn log(z: i32) -> i32 {
    const LOG_2: i32 = 1488522236;
    const MIDDLE: i32 = 1805811301;
    const QUARTER: i32 = 1 << 23;
    let left = |v: i32, n: i32| if n < 0 { rs32(v, n.unsigned_abs()) } else { shl_saturating(v, n.unsigned_abs()) };
    let zeros = |v: i32| v.leading_zeros().cast_signed();
    let first = shl_saturating(hp(left(z, zeros(z) - 1), SQRT_HALF), 1);
    let first_power = left(12 - zeros(z), 25).saturating_add(QUARTER);
    let headroom = zeros(hp(z, SQRT_HALF)) - 1;
    let second = left(z, headroom);
    let second_power = left(12 - headroom, 25).saturating_sub(QUARTER);
    let (r, power) = (first.min(second), first_power.max(second_power));
    let sum = i64::from(r) + i64::from(MIDDLE);
    let p = saturate(if sum >= 0 { (sum + 1) / 2 } else { (sum - 1) / 2 });
    let q = r.wrapping_sub(MIDDLE).wrapping_mul(2);
    let square = hp(q, q);
    let numerator = hp(q, r).wrapping_add(hp(hp(q, square), 117049297));
    let inner = q.wrapping_add(1057819769).wrapping_add(hp(127690142, square));
    let denominator = hp(p, inner).wrapping_add(hp(638450708, q));
    let fraction = hp(rs32(numerator, 6), recip(denominator.max(0)));
    shl_saturating(hp(power, LOG_2).wrapping_add(fraction), 1)
}

/// `round(x · k)` as C computes it in double: the product is rounded to 53 bits, halves to even, and the result to an
/// integer, halves away from zero. Emulated in integers; `k` must be finite. Results beyond int64 saturate.
pub fn round_product(x: i64, k: f64) -> i64 {
    debug_assert!(k.is_finite(), "a multiplier is a finite number");
    let bits = k.to_bits();
    let biased = i32::try_from((bits >> 52) & 0x7ff).expect("eleven bits");
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    let (x_rounded, x_exponent) = to_53_bits(x.unsigned_abs().into());
    let (product, dropped) = to_53_bits(u128::from(x_rounded) * u128::from(mantissa));
    let magnitude = scale_away(product, exponent + x_exponent + dropped);
    let negative = (x < 0) != (bits >> 63 == 1);
    i64::try_from(if negative { -magnitude } else { magnitude }).unwrap_or(if negative { i64::MIN } else { i64::MAX })
}

/// `v` rounded to 53 significant bits, halves to even, as `(m, e)` with `v ≈ m · 2^e`.
fn to_53_bits(v: u128) -> (u64, i32) {
    let drop = (128 - v.leading_zeros()).saturating_sub(53);
    let mut kept = v >> drop;
    if drop > 0 {
        let rest = v & ((1 << drop) - 1);
        let half = 1 << (drop - 1);
        if rest > half || (rest == half && kept & 1 == 1) {
            kept += 1;
        }
    }
    (u64::try_from(kept).expect("at most 2^53"), i32::try_from(drop).expect("at most 75"))
}

/// `m · 2^e` to the nearest integer, halves away from zero, for `0 ≤ m ≤ 2^53`; huge results stop at 2^100 or more.
fn scale_away(m: u64, e: i32) -> i128 {
    let m = i128::from(m);
    let n = e.unsigned_abs();
    if e >= 0 {
        m << n.min(70)
    } else if n > 60 {
        0
    } else {
        (m + (1 << (n - 1))) >> n
    }
}

/// `e^a` for `a ≤ 0` with `integer_bits` (0 to 28) integer bits; the result has none.
pub fn exp(a: i32, integer_bits: u32) -> i32 {
    debug_assert!(a <= 0 && integer_bits <= 28);
    if a == 0 {
        return i32::MAX;
    }
    let fraction_bits = 31 - integer_bits;
    // a = -remainder + part, remainder a multiple of 1/4, part in [-1/4, 0).
    let quarter = 1 << (fraction_bits - 2);
    let part = (a & (quarter - 1)) - quarter;
    let mut y = exp_near_eighth(shl_saturating(part, integer_bits));
    let remainder = part.wrapping_sub(a);
    // e^-(1/4), e^-(1/2), e^-1, e^-2, …
    const FACTORS: [i32; 7] = [1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242];
    for (bit, factor) in (fraction_bits - 2..31).zip(FACTORS) {
        if (remainder >> bit) & 1 == 1 {
            y = hp(y, factor);
        }
    }
    let too_small = integer_bits > 5 && a < -(32 << fraction_bits);
    if too_small { 0 } else { y }
}

/// `e^a` for `a` in [-1/4, 0), no integer bits: Taylor polynomial around -1/8.
fn exp_near_eighth(a: i32) -> i32 {
    const EXP_MINUS_EIGHTH: i32 = 1895147668;
    const THIRD: i32 = 715827883;
    let t = a + (1 << 28);
    let t2 = hp(t, t);
    let t3 = hp(t2, t);
    let t4 = hp(t2, t2);
    let tail = rs32(hp(rs32(t4, 2) + t3, THIRD) + t2, 1);
    EXP_MINUS_EIGHTH + hp(EXP_MINUS_EIGHTH, t + tail)
}

/// `1/(1+a)` for `a` in [0, 1), no integer bits on either side: three Newton steps.
pub fn recip(a: i32) -> i32 {
    debug_assert!(a >= 0);
    // With two integer bits.
    const ONE: i32 = 1 << 29;
    const START: i32 = 1515870810;
    const SLOPE: i32 = -1010580540;
    let sum = i64::from(a) + i64::from(i32::MAX);
    let half_denominator = saturate((sum + 1) / 2);
    let mut x = START + hp(half_denominator, SLOPE);
    for _ in 0..3 {
        let error = ONE - hp(half_denominator, x);
        x += shl_saturating(hp(x, error), 2);
    }
    shl_saturating(x, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::draw::Draw;

    /// The C code of gemmlowp, with its own way to round.
    fn hp_gemmlowp(a: i32, b: i32) -> i32 {
        if a == i32::MIN && b == i32::MIN {
            return i32::MAX;
        }
        let ab = i64::from(a) * i64::from(b);
        let nudge = if ab >= 0 { 1 << 30 } else { 1 - (1 << 30) };
        ((ab + nudge) / (1i64 << 31)) as i32
    }

    fn rs_gemmlowp(x: i32, n: u32) -> i32 {
        let mask = ((1i64 << n) - 1) as i32;
        let threshold = (mask >> 1) + i32::from(x < 0);
        (x >> n) + i32::from(x & mask > threshold)
    }

    #[test]
    fn hp_and_rs_equal_gemmlowp() {
        let mut rng = Draw(1);
        for _ in 0..300_000 {
            let (a, b) = (rng.int32(), rng.int32());
            assert_eq!(hp(a, b), hp_gemmlowp(a, b), "{a} {b}");
            let n = rng.below(31) as u32;
            assert_eq!(rs(a.into(), n), i64::from(rs_gemmlowp(a, n)), "{a} {n}");
        }
    }

    #[test]
    fn tie_rules_differ() {
        // Halves up in the product, away from zero in the shift.
        assert_eq!((hp(1 << 30, 1), hp(-(1 << 30), 1), hp(-(1 << 30) - 1, 1)), (1, 0, -1));
        assert_eq!((rs(1, 1), rs(-1, 1), rs(3, 1), rs(-3, 1), rs(-5, 2)), (1, -1, 2, -2, -1));
        assert_eq!((rs(i64::MIN, 64), rs(i64::MIN, 63), rs(i64::MAX, 65)), (-1, -1, 0));
        assert_eq!(hp(i32::MIN, i32::MIN), i32::MAX);
    }

    #[test]
    fn rescale_at_the_edges() {
        let dead = Multiplier { m: 0, e: 0 };
        assert_eq!((rescale(i32::MAX, dead), rescale(i32::MIN, dead)), (0, 0));
        // 3 · 2^0.5 with a left shift, and the two roundings: 5 · 0.25 + … = 1.25 → 1; 2.5 · 0.5 first rounds to 3.
        assert_eq!(rescale(3, Multiplier { m: 1 << 30, e: 3 }), 12);
        assert_eq!(rescale(5, Multiplier { m: 1 << 30, e: -1 }), 2);
        assert_eq!(rescale(-5, Multiplier { m: 1 << 30, e: -1 }), -1);
        assert_eq!(rescale(i32::MAX, Multiplier { m: i32::MAX, e: -31 }), 1);
    }

    #[test]
    fn round_product_equals_double() {
        let mut rng = Draw(2);
        let check = |x: i64, k: f64| {
            assert_eq!(round_product(x, k), (x as f64 * k).round() as i64, "{x} · {k:e} ({:#x})", k.to_bits());
        };
        for _ in 0..1_000_000 {
            let x = i64::from(rng.int32());
            let half = rng.below(500) as f64 + 0.5;
            let k = match rng.below(5) {
                // Any number of a sensible size, short fractions, ties and their neighbours, quotients as in models.
                0 => f64::from_bits((900 << 52) + rng.below(150 << 52)),
                1 => rng.below(2000) as f64 / (1u64 << rng.below(20)) as f64,
                2 => half / (x.max(1) as f64),
                3 => (half / (x.max(1) as f64)).next_down(),
                _ => rng.unit() * rng.unit() / (rng.unit() + 0.01),
            };
            check(x, k);
            check(x, -k);
        }
        // The product itself a tie of 53 bits: x·k = (2^53 + 1)/2^j exactly before rounding.
        for j in 0..60 {
            for (x, m) in
                [(3i64, 3002399751580331u64), (321, 28059810762433), (107, 84179432287299), (5, 1801439850948199)]
            {
                check(x, m as f64 / 2f64.powi(j));
                check(-x, m as f64 / 2f64.powi(j));
            }
        }
        for x in [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1, (1 << 54) + 2, -(1 << 62) - 257] {
            for k in [0.0, 0.5, 1.0, 2.0, 0.1, 1e-300, f64::MIN_POSITIVE / 4.0, 1e300, f64::MAX, 0.5f64.next_down()] {
                check(x, k);
            }
        }
    }

    #[test]
    fn exp_and_recip_are_close_to_the_real_functions() {
        let unit = 2f64.powi(31);
        assert_eq!(exp(0, 5), i32::MAX);
        for i in 0..20_000 {
            let a = -1 - i * 107_374;
            let real = (f64::from(a) / 2f64.powi(26)).exp();
            assert!((f64::from(exp(a, 5)) / unit - real).abs() < 3e-7, "exp {a}");
            let a = i * 107_374;
            let real = 1.0 / (1.0 + f64::from(a) / unit);
            assert!((f64::from(recip(a)) / unit - real).abs() < 1e-8, "recip {a}");
        }
        assert!((f64::from(exp(i32::MIN, 0)) / unit - (-1f64).exp()).abs() < 3e-7);
        assert_eq!((exp(i32::MIN, 6), recip(0)), (0, i32::MAX));
    }

    #[test]
    fn roots_and_logarithms_are_close_to_the_real_functions() {
        for v in [2, 3, 4, 5, 100, 4095, 4096, 65_535, 1 << 20, (1 << 29) - 1, 1 << 29, i32::MAX] {
            let Multiplier { m, e } = inverse_sqrt(v);
            let got = f64::from(m) * 2f64.powi(e - 31);
            assert!((got * f64::from(v).sqrt() - 1.0).abs() < 2e-6, "1/sqrt {v}: {got}");
        }
        assert_eq!(inverse_sqrt(1), Multiplier { m: i32::MAX, e: 0 });
        for i in 1..1000 {
            let z = (1 << 19) + i * 1_000_003;
            let real = (f64::from(z) / 2f64.powi(19)).ln();
            assert!((f64::from(log(z)) / 2f64.powi(26) - real).abs() < 1e-6, "log {z}");
        }
    }

    #[test]
    fn the_wide_rescale_rounds_once_halves_up() {
        let half = Multiplier { m: 1 << 30, e: 0 };
        assert_eq!([3, -3, 1, -1].map(|x| rescale64(x, half)), [2, -1, 1, 0]);
        assert_eq!(rescale64(1 << 40, Multiplier { m: i32::MAX, e: 1 }), 0x7fff << 26);
        assert_eq!(requantize(&Rescale::Shift(1), 0, -3), -2);
    }

    #[test]
    fn shifts_saturate() {
        assert_eq!(
            (shl_saturating(1, 31), shl_saturating(-1, 31), shl_saturating(-1, 32)),
            (i32::MAX, i32::MIN, i32::MIN)
        );
        assert_eq!((shl_saturating(0, 99), shl_saturating(-3, 2)), (0, -12));
    }
}
