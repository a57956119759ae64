//! The search for `clamp(floor((m·a + b) / 2^s), lo, hi)`: smallest `s` with one piece, else smallest `s` with two.
//!
//! Two pieces share `m` and `s`: `b_above` is right for every threshold above the split (the output zero point, where
//! the sign of the reference's intermediate value changes), `b_below` for those up to it.
use super::interval::{Point, Slope, Slopes, slopes};
use super::proof::{ProofError, prove};
use super::rule::{Staircase, Thresholds};
use super::{MAX_SHIFT, MAX_STEPS, REACH, StaircaseError};

/// Bits of a large numerator.
pub(super) const LARGE: u32 = 45;

/// Proved constants of one staircase. Only this module makes them, and only after [`prove`] has accepted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    pub(super) m: u64,
    pub(super) s: u32,
    pub(super) b_above: i64,
    pub(super) b_below: i64,
    pub(super) lo: i32,
    pub(super) hi: i32,
    pub(super) split: i32,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) checked: usize,
}

impl Constants {
    /// Slope numerator, `0 < m < 2^31` unless made by [`fit_large`].
    pub fn m(&self) -> u64 {
        self.m
    }

    /// Shift, at most 60.
    pub fn s(&self) -> u32 {
        self.s
    }

    /// Offset for the values above [`Constants::split`]; the only one if there is one piece.
    pub fn b_above(&self) -> i64 {
        self.b_above
    }

    /// Offset for the values up to [`Constants::split`].
    pub fn b_below(&self) -> i64 {
        self.b_below
    }

    /// True if the two offsets differ in meaning: `lo < split < hi`.
    pub fn two_pieces(&self) -> bool {
        self.split > self.lo
    }

    /// Smallest output that occurs on the range: the lower clamp.
    pub fn lo(&self) -> i32 {
        self.lo
    }

    /// Largest output that occurs on the range: the upper clamp.
    pub fn hi(&self) -> i32 {
        self.hi
    }

    /// Two pieces: `y = split + (clamp(above, split, hi) - split) + (clamp(below, lo, split) - split)`. One piece: `lo`.
    pub fn split(&self) -> i32 {
        self.split
    }

    /// Accumulators for which the constants are proved and 64-bit words suffice.
    pub fn range(&self) -> (i64, i64) {
        (self.from, self.to)
    }

    /// Thresholds that the proof has checked: every one in the range, or none where the formula follows from the rule
    /// ([`super::exact`]).
    pub fn checked(&self) -> usize {
        self.checked
    }

    /// The emitted formula. `a` is in [`Constants::range`].
    pub fn eval(&self, a: i64) -> i32 {
        let floor = |b: i64| (i128::from(self.m) * i128::from(a) + i128::from(b)) >> self.s;
        let (lo, hi, split) = (i128::from(self.lo), i128::from(self.hi), i128::from(self.split));
        let y = if self.two_pieces() {
            floor(self.b_above).clamp(split, hi) + floor(self.b_below).clamp(lo, split) - split
        } else {
            floor(self.b_above).clamp(lo, hi)
        };
        y as i32
    }

    /// Smallest `h >= 2` with `|floor(D/2^s) - T| < 2^(h-1)` for every clamp bound T in `lo..=hi+1` and every `D = m·a + b`
    /// of the range: how many bits above `s` a comparison needs.
    pub fn high_bits(&self) -> u32 {
        let floor = |a: i64, b: i64| (i128::from(self.m) * i128::from(a) + i128::from(b)) >> self.s;
        let (lowest, highest) = (self.b_above.min(self.b_below), self.b_above.max(self.b_below));
        let down = (i128::from(self.hi) + 1 - floor(self.from, lowest)).max(0);
        let up = (floor(self.to, highest) - i128::from(self.lo)).max(0);
        (129 - down.max(up).leading_zeros()).max(2)
    }

    /// The same function with a larger shift: numerator and denominator times `2^(s-self.s)`, so nothing to prove again.
    pub fn with_shift(&self, s: u32) -> Result<Constants, StaircaseError> {
        let by = s.saturating_sub(self.s).min(MAX_SHIFT + 1);
        let wide = Numbers {
            m: i128::from(self.m) << by,
            s: self.s + by,
            above: i128::from(self.b_above) << by,
            below: i128::from(self.b_below) << by,
        };
        wide.words(self.lo, self.hi, self.split, self.from, self.to).map(|c| Constants { checked: self.checked, ..c })
    }
}

/// What a staircase is on the range asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// One value.
    Constant(i32),
    /// An affine floor, clamped.
    Affine(Constants),
}

/// Constants of `staircase` for accumulators `from..=to`.
pub fn fit(staircase: &Staircase, from: i64, to: i64) -> Result<Fit, StaircaseError> {
    check_range(from, to)?;
    let thresholds = staircase.thresholds()?.within(from, to);
    fit_thresholds(&thresholds, staircase.out.zero_point, |a| staircase.eval(a), from, to)
}

/// Constants of `staircase` with numerators up to 2^[`LARGE`], where the smaller ones of [`fit`] do not suffice. Sums of
/// products may leave 64-bit words: whoever uses them must see to it that only bits within words count.
pub fn fit_large(staircase: &Staircase, from: i64, to: i64) -> Result<Fit, StaircaseError> {
    check_range(from, to)?;
    let thresholds = staircase.thresholds()?.within(from, to);
    if thresholds.at.is_empty() {
        return fit(staircase, from, to);
    }
    let mut found = search(&thresholds, staircase.out.zero_point, from, to, true)?;
    found.checked = prove(&found, &thresholds, |a| staircase.eval(a))?;
    Ok(Fit::Affine(found))
}

/// Constants of any monotone function given by its thresholds; `reference` is the function itself, for the proof.
pub fn fit_thresholds(
    thresholds: &Thresholds,
    split: i32,
    reference: impl Fn(i64) -> i32,
    from: i64,
    to: i64,
) -> Result<Fit, StaircaseError> {
    check_range(from, to)?;
    let thresholds = thresholds.clone().within(from, to);
    if thresholds.at.is_empty() {
        let y = thresholds.lo;
        for a in [from, to] {
            if reference(a) != y {
                return Err(ProofError::Differs { input: a, reference: reference(a), emitted: y }.into());
            }
        }
        return Ok(Fit::Constant(y));
    }
    let mut found = search(&thresholds, split, from, to, false)?;
    found.checked = prove(&found, &thresholds, reference)?;
    Ok(Fit::Affine(found))
}

/// `y = [a >= 0]` for `|a| <= bound`, with a shift chosen by the caller: the comparison of a dead channel.
pub fn sign(s: u32, bound: i64) -> Result<Constants, StaircaseError> {
    check_range(-bound, bound)?;
    let wide = Numbers { m: 1, s, above: 1 << s.min(MAX_SHIFT + 1), below: 1 << s.min(MAX_SHIFT + 1) };
    let mut found = wide.words(0, 1, 0, -bound, bound)?;
    found.checked = prove(&found, &Thresholds { lo: 0, at: vec![0] }, |a| (a >= 0).into())?;
    Ok(found)
}

pub(super) fn check_range(from: i64, to: i64) -> Result<(), StaircaseError> {
    if from > to || from <= -REACH || to >= REACH {
        return Err(StaircaseError::Range { from, to });
    }
    Ok(())
}

/// Constants before the word check.
pub(super) struct Numbers {
    pub m: i128,
    pub s: u32,
    pub above: i128,
    pub below: i128,
}

impl Numbers {
    /// Conditions of the 64-bit evaluation: `0 < m < 2^31`, `s <= 60`, `|b| < 2^61`, `|m·a + b| < 2^62`.
    pub(super) fn words(self, lo: i32, hi: i32, split: i32, from: i64, to: i64) -> Result<Constants, StaircaseError> {
        let Numbers { m, s, above, below } = self;
        for b in [above, below] {
            let reach = m * i128::from(from.abs().max(to.abs())) + b.abs();
            if !(1..1 << 31).contains(&m) || s > MAX_SHIFT || b.abs() >= 1 << 61 || reach >= 1 << 62 {
                return Err(StaircaseError::Word { m, s, b, from, to });
            }
        }
        Ok(self.unchecked(lo, hi, split, from, to))
    }

    /// Conditions of [`fit_large`].
    fn large(self, lo: i32, hi: i32, split: i32, from: i64, to: i64) -> Result<Constants, StaircaseError> {
        let Numbers { m, s, above, below } = self;
        for b in [above, below] {
            if !(1..1 << LARGE).contains(&m) || s > MAX_SHIFT || b.abs() >= 1 << 62 {
                return Err(StaircaseError::Word { m, s, b, from, to });
            }
        }
        Ok(self.unchecked(lo, hi, split, from, to))
    }

    fn unchecked(self, lo: i32, hi: i32, split: i32, from: i64, to: i64) -> Constants {
        let (m, s, b_above, b_below) = (self.m as u64, self.s, self.above as i64, self.below as i64);
        Constants { m, s, b_above, b_below, lo, hi, split, from, to, checked: 0 }
    }
}

/// The points of consecutive thresholds, relative to the first one and to `lo`.
struct Piece {
    lower: Vec<Point>,
    upper: Vec<Point>,
}

impl Piece {
    fn slopes(&self) -> Option<Slopes> {
        slopes(&self.lower, &self.upper)
    }

    /// An offset for this `m` and `s`, in the middle of those that fit.
    fn offset(&self, m: i128, s: u32) -> Option<i128> {
        let least = self.lower.iter().map(|p| (i128::from(p.y) << s) - m * i128::from(p.x)).max()?;
        let most = self.upper.iter().map(|p| (i128::from(p.y) << s) - 1 - m * i128::from(p.x)).min()?;
        (least <= most).then(|| least + (most - least) / 2)
    }
}

/// One piece if it exists and fits words, else two. Where numerators may be large, what has the smaller shift.
fn search(thresholds: &Thresholds, split: i32, from: i64, to: i64, large: bool) -> Result<Constants, StaircaseError> {
    let (lo, hi) = (thresholds.lo, thresholds.hi());
    let at = &thresholds.at;
    let (first, last) = (at[0], at[at.len() - 1]);
    if let Some(i) = at.windows(2).position(|w| w[0] > w[1]) {
        return Err(StaircaseError::NotMonotone { value: lo + i as i32 + 2 });
    }
    if at.len() as i64 > MAX_STEPS {
        return Err(StaircaseError::Steps { lo, hi });
    }
    let span = last - first;
    if (i128::from(span) + 2) * (at.len() as i128 + 2) >= 1 << 60 {
        return Err(StaircaseError::TooWide { steps: at.len(), span });
    }
    // Relative to the first threshold and to lo: threshold i begins the value i + 1.
    let piece = |range: std::ops::Range<usize>| {
        let point = |i: usize, back: i64| Point { x: at[i] - first - back, y: i as i64 + 1 };
        Piece { lower: range.clone().map(|i| point(i, 0)).collect(), upper: range.map(|i| point(i, 1)).collect() }
    };
    // Back to absolute coordinates.
    let absolute = |b: i128, m: i128, s: u32| b - m * i128::from(first) + (i128::from(lo) << s);

    let whole = piece(0..at.len());
    let mut refusal = StaircaseError::NoConstants { lo, hi, split };
    let mut one = None;
    if let Some((m, s)) = whole.slopes().and_then(smallest)
        && let Some(b) = whole.offset(m, s)
    {
        let b = absolute(b, m, s);
        let numbers = Numbers { m, s, above: b, below: b };
        match if large { numbers.large(lo, hi, lo, from, to) } else { numbers.words(lo, hi, lo, from, to) } {
            Err(words) => refusal = words,
            Ok(found) if large => one = Some(found),
            found => return found,
        }
    }
    if split <= lo || split >= hi {
        return one.ok_or(refusal);
    }
    let middle = (i64::from(split) - i64::from(lo)) as usize;
    let (below, above) = (piece(0..middle), piece(middle..at.len()));
    let both = below.slopes().zip(above.slopes()).and_then(|(x, y)| x.and(y));
    let Some((m, s)) = both.and_then(smallest) else { return one.ok_or(refusal) };
    let (Some(b_below), Some(b_above)) = (below.offset(m, s), above.offset(m, s)) else { return one.ok_or(refusal) };
    let wide = Numbers { m, s, above: absolute(b_above, m, s), below: absolute(b_below, m, s) };
    if !large {
        return wide.words(lo, hi, split, from, to);
    }
    match (one, wide.large(lo, hi, split, from, to)) {
        (Some(one), Ok(two)) => Ok(if two.s < one.s { two } else { one }),
        (Some(one), Err(_)) => Ok(one),
        (None, two) => two,
    }
}

/// The smallest `s` with a positive `m/2^s` inside.
fn smallest(slopes: Slopes) -> Option<(i128, u32)> {
    let positive = slopes.and(Slopes { above: Some(Slope { p: 0, q: 1 }), below: None })?;
    (0..=MAX_SHIFT).map(|s| (positive.first(s), s)).find(|&(m, s)| positive.is_below(m, s))
}
