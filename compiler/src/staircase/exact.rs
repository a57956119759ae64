//! Constants that need no search: the kernels' rules *are* floors of affine functions.
//!
//! `high(x, M) = floor((x·M + 2^30) / 2^31)` whatever the sign, and `rs(h, r)`, halves away from zero, is
//! `floor((h + 2^(r-1) - [h < 0]) / 2^r)`. Floors compose: `floor((floor(a / p) + c) / q) = floor((a + c·p) / (p·q))` for
//! whole c. So with the operand shifted left by l before (`p = 2^(31-l)`),
//!
//! ```text
//! rs(high(x << l, M), r) = floor((M·x + b) / 2^(31-l+r)),   b = p/2 + p·2^(r-1) where high >= 0, less p where high < 0.
//! ```
//!
//! Results above 0 need `high > 0`, and for `high < 0` the first offset gives at most `floor((2^(r-1) - 1) / 2^r) = 0`;
//! for `high >= 0` the second gives at least that. So each value above 0 begins where the first piece says and each up to 0
//! where the second does: two pieces split at 0, at the zero point once that is added. With `r = 0` both pieces are one.
//! `R64` is one floor by definition, a rounding shift is the case `M = 1, p = 1`.
//!
//! Numerators are large (31 bits), so where a search finds smaller constants they are taken: [`best_fit`].
use super::affine::{Fit, Numbers, fit, fit_large};
use super::proof::{ProofError, prove};
use super::rule::{Rule, Staircase, wide};
use super::{MAX_STEPS, StaircaseError};
use crate::qgraph::{Multiplier, Output};

/// `floor((m·x + b) / 2^s)` before the zero point: `above` for results above 0, `below` for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Floor {
    m: i128,
    s: u32,
    above: i128,
    below: i128,
}

/// `rs(x·m / 2^s + half, right)` where the first division rounds halves up.
fn twice(m: i64, left: u32, right: u32) -> Floor {
    // Beyond 31 nothing is cut off by the high product.
    let (m, s) = (i128::from(m) << left.saturating_sub(31), 31u32.saturating_sub(left));
    let p = 1i128 << s;
    let first = p >> 1;
    match right {
        0 => Floor { m, s, above: first, below: first },
        _ => {
            let above = first + (p << (right - 1));
            Floor { m, s: s + right, above, below: above - p }
        }
    }
}

impl Rule {
    /// The rule as a floor, where it is one; `left` is by how much the operand is shifted up first.
    fn floor(self, left: u32) -> Option<Floor> {
        match self {
            Rule::Twice(Multiplier { m, e }) => {
                Some(twice(m.into(), left + e.max(0).unsigned_abs(), e.min(0).unsigned_abs()))
            }
            Rule::Wide(m) => {
                let (cut, shift) = wide(m);
                let half = 1i128 << shift >> 1;
                Some(Floor { m: i128::from(cut) << left, s: shift.unsigned_abs(), above: half, below: half })
            }
            Rule::Shift(n) => Some(twice(1, 31 + left, n)),
            Rule::AverageSigned { count } if count.is_power_of_two() => {
                Some(twice(1, 31 + left, count.trailing_zeros()))
            }
            Rule::Once(_) | Rule::AverageSigned { .. } | Rule::AverageUnsigned { .. } => None,
        }
    }
}

/// Constants of `staircase` on `from..=to` without a search; `None` for a rule that is no such floor.
pub fn exact(staircase: &Staircase, from: i64, to: i64) -> Option<Result<Fit, StaircaseError>> {
    exact_shifted(staircase, 0, from, to)
}

/// The same for operands that are shifted left by `left` first, given without the shift.
pub fn exact_shifted(staircase: &Staircase, left: u32, from: i64, to: i64) -> Option<Result<Fit, StaircaseError>> {
    let floor = staircase.rule.floor(left)?;
    Some(place(staircase, floor, left, from, to))
}

fn place(staircase: &Staircase, floor: Floor, left: u32, from: i64, to: i64) -> Result<Fit, StaircaseError> {
    super::affine::check_range(from, to)?;
    let reference = |x: i64| Staircase { input_offset: staircase.input_offset << left, ..*staircase }.eval(x << left);
    let (lo, hi) = (reference(from), reference(to));
    if lo >= hi {
        return Ok(Fit::Constant(lo));
    }
    let z = staircase.out.zero_point;
    let Floor { m, s, above, below } = floor;
    let shift = m * i128::from(staircase.input_offset) + (i128::from(z) << s);
    let (above, below) = (above + shift, below + shift);
    let (above, below, split) = match () {
        () if above == below || lo >= z => (above, above, lo),
        () if hi <= z => (below, below, lo),
        () => (above, below, z),
    };
    let mut found = Numbers { m, s, above, below }.words(lo, hi, split, from, to)?;
    // Every threshold where there are not too many. Else the formula holds by its derivation, and samples, which prove nothing
    // and are not counted, guard against slips.
    let reached = Staircase { out: Output { lo, hi, ..staircase.out }, ..*staircase };
    if left == 0 && i64::from(hi) - i64::from(lo) <= MAX_STEPS {
        found.checked = prove(&found, &reached.thresholds()?.within(from, to), reference)?;
        return Ok(Fit::Affine(found));
    }
    for input in samples(from, to) {
        let (reference, emitted) = (reference(input), found.eval(input));
        if reference != emitted {
            return Err(ProofError::Differs { input, reference, emitted }.into());
        }
    }
    Ok(Fit::Affine(found))
}

/// Both ends, zero and around powers of two, and 4096 inputs spread evenly.
fn samples(from: i64, to: i64) -> impl Iterator<Item = i64> {
    let powers = (0..62).flat_map(|n| [1i64 << n, -(1i64 << n)]).flat_map(|p| [p - 1, p, p + 1]);
    let spread =
        (0..=4096i128).map(move |i| (i128::from(from) + (i128::from(to) - i128::from(from)) * i / 4096) as i64);
    powers.filter(move |x| (from..=to).contains(x)).chain(spread)
}

/// Steps of a staircase from which on the search is left out for rules that have small constants anyway.
const MANY: usize = 1 << 10;

/// Constants of `staircase`: those of the search, which are small, or those that need none, or large ones.
pub fn best_fit(staircase: &Staircase, from: i64, to: i64) -> Result<Fit, StaircaseError> {
    let many = i64::from(staircase.out.hi) - i64::from(staircase.out.lo) > MANY as i64;
    if let (Rule::Wide(_), true) = (staircase.rule, many)
        && let Some(Ok(found)) = exact(staircase, from, to)
    {
        return Ok(found);
    }
    let searched = match fit(staircase, from, to) {
        Err(StaircaseError::Proof(refused)) => return Err(refused.into()),
        Err(none) => none,
        found => return found,
    };
    match exact(staircase, from, to) {
        Some(Ok(found)) => Ok(found),
        _ => fit_large(staircase, from, to).map_err(|_| searched),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::draw::Draw;
    use crate::qgraph::{Rescale, fixed};

    const SHIFTED: [u32; 4] = [0, 7, 15, 20];

    /// The kernel's own code, zero point and clamp.
    fn kernel(rule: Rule, out: Output, x: i64) -> i64 {
        let rescale = match rule {
            Rule::Twice(m) => Rescale::Twice(vec![m]),
            Rule::Wide(m) => Rescale::Wide(vec![m]),
            Rule::Shift(n) => Rescale::Shift(n),
            other => panic!("{other:?} has no exact form"),
        };
        let y = fixed::requantize(&rescale, 0, x) + i64::from(out.zero_point);
        y.max(out.lo.into()).min(out.hi.into())
    }

    fn check(rule: Rule, left: u32, out: Output, bound: i64, draw: &mut Draw) {
        let staircase = Staircase::new(rule, out);
        let found = exact_shifted(&staircase, left, -bound, bound).expect("a floor");
        let found = found.unwrap_or_else(|e| panic!("{rule:?} {left} {out:?} {bound}: {e}"));
        let near = |at: i64| (at - 2..=at + 2).collect::<Vec<_>>();
        let mut inputs: Vec<i64> = [-bound + 2, -1, 0, bound - 2].into_iter().flat_map(near).collect();
        inputs.extend((0..40).flat_map(|n| [1i64 << n, -(1i64 << n)]).flat_map(near));
        inputs.extend((0..300).map(|_| (draw.next() as i64).rem_euclid(2 * bound + 1) - bound));
        for x in inputs.into_iter().filter(|x| x.abs() <= bound) {
            let y = match &found {
                Fit::Constant(y) => *y,
                Fit::Affine(found) => found.eval(x),
            };
            assert_eq!(i64::from(y), kernel(rule, out, x << left), "{rule:?} {left} {out:?} at {x}");
        }
    }

    #[test]
    fn rules_equal_the_kernels() {
        let mut draw = Draw(11);
        for i in 0..600 {
            let below = |draw: &mut Draw, n: u64| draw.below(n) as i32;
            let m = (1 << 30) + below(&mut draw, 1 << 30);
            let z = below(&mut draw, 400) - 200;
            let out = match i % 3 {
                0 => Output { zero_point: z, lo: -128, hi: 127 },
                1 => Output { zero_point: z, lo: -32768, hi: 32767 },
                _ => Output { zero_point: 0, lo: i32::MIN, hi: i32::MAX },
            };
            let left = SHIFTED[i % 4];
            // The shifted operand stays an int32, as the kernels have it.
            let e = below(&mut draw, 24) - 18;
            let e = e.min(30 - left as i32);
            let bound = (1i64 << (30 - left as i32 - e.max(0))).min(1 << 29);
            check(Rule::Twice(Multiplier { m, e }), left, out, bound, &mut draw);
            let bound = 1 << (20 + below(&mut draw, 20));
            let e = below(&mut draw, 20) - 18;
            check(Rule::Wide(Multiplier { m, e: e.min(-6) }), 0, Output { lo: out.lo / 2, ..out }, bound, &mut draw);
            check(Rule::Shift(below(&mut draw, 20) as u32), 0, out, 1 << 29, &mut draw);
        }
    }

    #[test]
    fn ends_and_ties() {
        let mut draw = Draw(12);
        let all = Output { zero_point: 0, lo: i32::MIN, hi: i32::MAX };
        for e in -20..=0 {
            for m in [1 << 30, (1 << 30) + 1, i32::MAX - 1, i32::MAX, 3 << 29] {
                check(Rule::Twice(Multiplier { m, e }), 0, all, (1 << 29) - 1, &mut draw);
                check(Rule::Twice(Multiplier { m, e }), 15, all, 1 << 15, &mut draw);
            }
        }
    }

    #[test]
    fn one_piece_where_only_one_side_occurs() {
        let rule = Rule::Twice(Multiplier { m: 3 << 29, e: -4 });
        let out = Output { zero_point: -100, lo: -100, hi: 100 };
        let two = |from, to| match exact(&Staircase::new(rule, out), from, to) {
            Some(Ok(Fit::Affine(found))) => found.two_pieces(),
            other => panic!("{other:?}"),
        };
        assert!(!two(-5000, 5000));
        assert!(!two(0, 5000));
        assert_eq!(exact(&Staircase::new(Rule::Once(0.3), out), 0, 9), None);
        assert!(matches!(exact(&Staircase::new(rule, out), -9000, -10), Some(Ok(Fit::Constant(-100)))));
    }
}
