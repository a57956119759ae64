//! SOFTMAX, LOG_SOFTMAX and L2_NORMALIZATION: each row of the last axis by itself.
use super::pointwise::store;
use super::{Evaluated, Operand};
use crate::qgraph::{Multiplier, Output, fixed};

/// Applies `one` to every row of the last axis.
fn rows(x: &Operand<'_>, one: impl Fn(&[i32]) -> Vec<i32>) -> Evaluated<Vec<i32>> {
    let row = *x.shape.last().ok_or("needs at least one axis")?;
    Ok(x.data.chunks(row.max(1)).flat_map(one).collect())
}

pub(super) fn softmax(multiplier: Multiplier, dmin: i32, lo: i32, bits: u32, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    if bits != 8 && bits != 16 {
        return Err("the output must have 8 or 16 bits");
    }
    rows(x, |row| softmax_row(multiplier, dmin, lo, bits, row))
}

/// SOFTMAX of one row of stored integers; the output counts from `lo` in `bits` (8 or 16) bits.
///
/// Elements more than `-dmin` below the largest give `lo` and take no part. Where the exponentials sum to 512 or more
/// (long, nearly uniform rows) the kernel's last shift is undefined in C++; this is the shift it means.
pub fn softmax_row(multiplier: Multiplier, dmin: i32, lo: i32, bits: u32, row: &[i32]) -> Vec<i32> {
    let Some(&max) = row.iter().max() else { return Vec::new() };
    let exp = |q: i32| softmax_exponential(multiplier, dmin, i64::from(q) - i64::from(max));
    let sum = row.iter().filter_map(|&q| exp(q)).fold(0u32, |sum, e| sum.wrapping_add(softmax_term(e)));
    let inverse = SoftmaxInverse::of(sum, bits);
    row.iter().map(|&q| exp(q).map_or(lo, |e| inverse.result(e, lo, bits))).collect()
}

/// The exponential of a difference to the largest element, unless that is below `dmin`.
pub fn softmax_exponential(multiplier: Multiplier, dmin: i32, difference: i64) -> Option<i32> {
    let d = i32::try_from(difference).ok().filter(|&d| d >= dmin)?;
    Some(exponential(scaled(multiplier, d)))
}

/// What an exponential adds to the sum, which has twelve integer bits.
pub fn softmax_term(exponential: i32) -> u32 {
    u32::try_from(fixed::rs(exponential.into(), 12)).expect("an exponential is not negative")
}

/// The reciprocal of a sum of exponentials.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxInverse {
    /// Leading zeros of the sum.
    pub headroom: u32,
    /// The reciprocal of the sum with its leading zeros shifted out.
    pub inverse: i32,
    shift: u32,
}

impl SoftmaxInverse {
    /// Of a sum, for results of `bits` bits.
    pub fn of(sum: u32, bits: u32) -> Self {
        let headroom = sum.leading_zeros();
        // sum · 2^headroom − 2^31: the top bit is set, without it the rest is the fraction beyond one.
        let fraction = i32::try_from(sum.checked_shl(headroom).unwrap_or(0) & 0x7fff_ffff).expect("31 bits");
        SoftmaxInverse { headroom, inverse: fixed::recip(fraction), shift: (43 - bits).saturating_sub(headroom) }
    }

    /// The stored result for an exponential.
    pub fn result(&self, exponential: i32, lo: i32, bits: u32) -> i32 {
        let y = fixed::rs(fixed::hp(self.inverse, exponential).into(), self.shift) + i64::from(lo);
        i32::try_from(y.clamp(lo.into(), i64::from(lo) + (1 << bits) - 1)).expect("a stored integer")
    }
}

/// What is below the largest of a row, unless it is too small to count. A difference of 8- or 16-bit integers; `dmin`
/// keeps the shifted one within int32.
fn difference(q: i32, max: i32, dmin: i32) -> Option<i32> {
    i32::try_from(i64::from(q) - i64::from(max)).ok().filter(|&d| d >= dmin)
}

/// With five integer bits.
fn scaled(multiplier: Multiplier, d: i32) -> i32 {
    let left = u32::try_from(multiplier.e).unwrap_or(0);
    fixed::hp(fixed::shl_saturating(d, left), multiplier.m)
}

fn exponential(d: i32) -> i32 {
    fixed::exp(d, 5)
}

pub(super) fn log_softmax(
    multiplier: Multiplier,
    dmin: i32,
    reverse: Multiplier,
    out: &Output,
    x: &Operand<'_>,
) -> Evaluated<Vec<i32>> {
    rows(x, |row| {
        let Some(&max) = row.iter().max() else { return Vec::new() };
        let sum = row
            .iter()
            .filter_map(|&q| Some(exponential(scaled(multiplier, difference(q, max, dmin)?))))
            .fold(0u32, |sum, e| sum.wrapping_add(softmax_term(e)));
        let sum = LogSum::of(sum, dmin, reverse);
        row.iter().map(|&q| sum.result(i64::from(q) - i64::from(max), multiplier, out)).collect()
    })
}

/// The logarithm of a sum of exponentials.
#[derive(Clone, Copy, Debug)]
pub struct LogSum {
    /// With five integer bits.
    pub log: i32,
    /// Differences up to this one give the smallest result.
    least: i32,
}

impl LogSum {
    /// Of a sum.
    pub fn of(sum: u32, dmin: i32, reverse: Multiplier) -> Self {
        let log = fixed::log(i32::try_from(sum).unwrap_or(i32::MAX));
        LogSum { log, least: (dmin - 1).max(fixed::rescale(log.wrapping_add(i32::MIN), reverse)) }
    }

    /// The stored result for a difference to the largest element.
    pub fn result(&self, difference: i64, multiplier: Multiplier, out: &Output) -> i32 {
        match i32::try_from(difference).ok().filter(|&d| d >= self.least.saturating_add(1)) {
            None => out.lo,
            Some(d) => store(fixed::rs(i64::from(scaled(multiplier, d)) - i64::from(self.log), 22), out),
        }
    }
}

pub(super) fn l2_normalize(
    input_zero_point: i32,
    left_shift: u32,
    gain: i32,
    out: &Output,
    x: &Operand<'_>,
) -> Evaluated<Vec<i32>> {
    if left_shift > 15 {
        return Err("the left shift exceeds the word");
    }
    rows(x, |row| {
        let centred = |q: &i32| q.wrapping_sub(input_zero_point);
        let sum = row.iter().fold(0i32, |sum, q| sum.wrapping_add(centred(q).wrapping_mul(centred(q))));
        row.iter().map(|q| l2_normalized(centred(q), sum, left_shift, gain, out)).collect()
    })
}

/// The stored result for a centred element of a row with a sum of squares.
pub fn l2_normalized(x: i32, sum: i32, left_shift: u32, gain: i32, out: &Output) -> i32 {
    let Multiplier { m, e } = fixed::inverse_sqrt(sum);
    store(fixed::rescale(x << left_shift, Multiplier { m, e: e + gain }).into(), out)
}

/// Value of a table of 513 samples over int16, straight lines between them.
fn interpolate(table: &[i32], x: i64) -> i32 {
    let x = x.clamp(-32768, 32767);
    let at = usize::try_from(256 + (x >> 7)).expect("0 to 511");
    let (base, next) = (i64::from(table[at]), i64::from(table[at + 1]));
    i32::try_from(base + (((next - base) * (x & 127) + 64) >> 7)).expect("between 16-bit samples")
}

/// The exponential of a difference to the largest element of a row, from its table.
pub fn softmax16_exponential(multiplier: Multiplier, table: &[i32], difference: i32) -> i32 {
    interpolate(table, i64::from(fixed::rescale(difference, multiplier)) + 32767)
}

/// The reciprocal of `1 + fraction / 2^16`, from its table.
pub fn softmax16_inverse(table: &[i32], fraction: i64) -> i32 {
    interpolate(table, fraction - (1 << 15))
}

pub(super) fn softmax_16(
    multiplier: Multiplier,
    exponential: &[i32],
    inverse: &[i32],
    x: &Operand<'_>,
) -> Evaluated<Vec<i32>> {
    if exponential.len() != 513 || inverse.len() != 513 {
        return Err("its tables must have 513 entries");
    }
    rows(x, |row| {
        let Some(&max) = row.iter().max() else { return Vec::new() };
        let exp = |q: &i32| softmax16_exponential(multiplier, exponential, q - max);
        let exponentials: Vec<i32> = row.iter().map(exp).collect();
        let sum = exponentials.iter().fold(0u32, |sum, e| sum.wrapping_add(e.cast_unsigned()));
        let headroom = sum.leading_zeros();
        // 1 + x with 15 bits after the point, x then centred for the table.
        let shifted = ((u64::from(sum) << (headroom.max(1) - 1)) + (1 << 13)) >> 14;
        let inverse = i64::from(softmax16_inverse(inverse, i64::try_from(shifted).expect("18 bits") - (1 << 16)));
        let shift = 31 - headroom.min(30);
        let one = |&e: &i32| {
            let y = (i64::from(e) * inverse + (1 << (shift - 1))) >> shift;
            i32::try_from(y.clamp(0, 32767)).expect("15 bits")
        };
        exponentials.iter().map(one).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `beta · s_x = 1/8`, so `qm(2^23)` and `dmin = -floor(31 · 2^26 / 2^24)`.
    const MULTIPLIER: Multiplier = Multiplier { m: 1 << 30, e: 24 };
    const DMIN: i32 = -124;

    #[test]
    fn softmax_rows() {
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[]), Vec::<i32>::new());
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[5]), [127]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 8, &[9; 4]), [64; 4]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, -128, 8, &[127, 3, 2, -128]), [127, -128, -128, -128]);
        // One part in a thousand is less than half of 1/256, and more than half of 1/65536.
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 8, &[0; 1000]), [0; 1000]);
        assert_eq!(softmax_row(MULTIPLIER, DMIN, 0, 16, &[0; 1000]), [66; 1000]);
    }

    #[test]
    fn softmax_is_close_to_the_real_function() {
        let row: Vec<i32> = (0..20).map(|i| (i * 37) % 60 - 30).collect();
        let exps: Vec<f64> = row.iter().map(|&q| (f64::from(q) / 8.0).exp()).collect();
        let sum: f64 = exps.iter().sum();
        for (y, e) in softmax_row(MULTIPLIER, DMIN, 0, 8, &row).into_iter().zip(exps) {
            assert!((f64::from(y) - 256.0 * e / sum).abs() < 0.51, "{y} for {}", 256.0 * e / sum);
        }
    }
}
