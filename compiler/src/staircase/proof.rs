//! The proof that stands between a search and the program: the emitted formula against the reference arithmetic.
//!
//! Both functions are monotone and have values in `lo..=hi`, so they are equal on the whole range if every value begins
//! at the same input in both. For each threshold T of value j that means `reference(T) >= j`, `reference(T-1) < j`, and
//! the same results from the formula at T and T-1. The range ends are compared as well.
use super::add::{AddReference, Constants2};
use super::affine::Constants;
use super::rule::Thresholds;

/// Why constants were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named in the message")]
pub enum ProofError {
    /// Formula and reference give different outputs.
    #[error("input {input}: the formula gives {emitted}, the reference {reference}")]
    Differs { input: i64, reference: i32, emitted: i32 },
    /// The value does not begin where it was said to.
    #[error("value {value} does not begin at input {input} in the reference")]
    Threshold { value: i32, input: i64 },
    /// The thresholds are not those of `lo..=hi`, or not all in the range.
    #[error("thresholds do not belong to outputs {lo}..{hi}")]
    Values { lo: i32, hi: i32 },
    /// The formula would leave 64-bit words, or divides by less than 1.
    #[error("m = {m}, s = {s} leaves 64-bit words")]
    Word { m: i128, s: u32 },
    /// A sum of two operands differs.
    #[error("inputs ({first}, {second}): the formula gives {emitted}, the reference {reference}")]
    PairDiffers { first: i32, second: i32, reference: i32, emitted: i32 },
}

/// Checks `constants` on all of their range; gives the number of thresholds checked.
pub fn prove(
    constants: &Constants,
    thresholds: &Thresholds,
    reference: impl Fn(i64) -> i32,
) -> Result<usize, ProofError> {
    let &Constants { m, s, b_above, b_below, lo, hi, split, from, to, .. } = constants;
    if thresholds.lo != lo || thresholds.hi() != hi || !(lo..=hi).contains(&split) {
        return Err(ProofError::Values { lo, hi });
    }
    let reach = u128::from(from.unsigned_abs().max(to.unsigned_abs())) * u128::from(m);
    let offset = u128::from(b_above.unsigned_abs().max(b_below.unsigned_abs()));
    let whole = m >= 1 << 31 || reach.saturating_add(offset) < 1 << 62;
    if m == 0 || m >= 1 << super::affine::LARGE || s > super::MAX_SHIFT || !whole {
        return Err(ProofError::Word { m: m.into(), s });
    }
    let same = |input: i64| {
        let (reference, emitted) = (reference(input), constants.eval(input));
        if reference != emitted {
            return Err(ProofError::Differs { input, reference, emitted });
        }
        Ok(reference)
    };
    same(from)?;
    same(to)?;
    for (&input, value) in thresholds.at.iter().zip(lo + 1..) {
        if input <= from || input > to {
            return Err(ProofError::Values { lo, hi });
        }
        if same(input)? < value || same(input - 1)? >= value {
            return Err(ProofError::Threshold { value, input });
        }
    }
    Ok(thresholds.at.len())
}

/// Checks `constants` on every pair of their ranges; gives the number of pairs checked.
pub fn prove_add(constants: &Constants2, reference: &AddReference) -> Result<usize, ProofError> {
    if !constants.fits_words() {
        return Err(ProofError::Word { m: constants.m1.max(constants.m2).into(), s: constants.s });
    }
    let [first_range, second_range] = constants.ranges;
    let mut pairs = 0;
    for first in first_range.0..=first_range.1 {
        for second in second_range.0..=second_range.1 {
            let (reference, emitted) = (reference.eval(first, second), constants.eval(first, second));
            if reference != emitted {
                return Err(ProofError::PairDiffers { first, second, reference, emitted });
            }
            pairs += 1;
        }
    }
    Ok(pairs)
}
