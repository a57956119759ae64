//! The reference arithmetic of a requantization, and its thresholds in closed form.
//!
//! [`Staircase::eval`] is the oracle of the proofs: it is written from the kernels, over unbounded integers, and
//! shares nothing with [`Staircase::thresholds`].
use super::{MAX_STEPS, REACH, StaircaseError};
use crate::qgraph::{Multiplier, Output, Rescale};

/// A threshold that no accumulator reaches (or, negated, that each has passed).
const NEVER: i64 = REACH;

/// How an accumulator becomes an output, before zero point and clamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `R`: high product with halves up, then rounding shift with halves away from zero.
    Twice(Multiplier),
    /// `round(a · k)`, product in double, halves away from zero.
    Once(f64),
    /// `R64`: a 15-bit multiplier, one rounding, halves up.
    Wide(Multiplier),
    /// Rounding shift, halves away from zero.
    Shift(u32),
    /// Mean of `count` stored integers, given their sum: halves away from zero.
    AverageSigned {
        /// How many.
        count: u64,
    },
    /// Mean of `count` stored integers, given their sum: `(sum + count/2) / count`.
    AverageUnsigned {
        /// How many.
        count: u64,
    },
}

impl Rule {
    /// The rule of an output channel; `None` if there is no such channel.
    pub fn of_channel(rescale: &Rescale, channel: usize) -> Option<Rule> {
        fn pick<T: Copy>(all: &[T], channel: usize) -> Option<T> {
            if let [only] = all { Some(*only) } else { all.get(channel).copied() }
        }
        match rescale {
            Rescale::Twice(all) => pick(all, channel).map(Rule::Twice),
            Rescale::Once(all) => pick(all, channel).map(Rule::Once),
            Rescale::Wide(all) => pick(all, channel).map(Rule::Wide),
            Rescale::Shift(n) => Some(Rule::Shift(*n)),
        }
    }

    fn check(self) -> Result<(), StaircaseError> {
        match self {
            Rule::Twice(Multiplier { m: 0, e: 0 }) => Ok(()),
            Rule::Twice(Multiplier { m, e }) if m <= 0 || !(-31..=30).contains(&e) => {
                Err(StaircaseError::Multiplier { m, e })
            }
            Rule::Wide(Multiplier { m, e }) if m < 0 || !(-31..=14).contains(&e) => {
                Err(StaircaseError::Multiplier { m, e })
            }
            Rule::Shift(n) if n > 60 => Err(StaircaseError::Multiplier { m: 0, e: n.cast_signed() }),
            Rule::Once(k) if !k.is_finite() || k < 0.0 => Err(StaircaseError::Real { k }),
            Rule::AverageSigned { count } | Rule::AverageUnsigned { count } if count == 0 || count > 1 << 31 => {
                Err(StaircaseError::Count { count })
            }
            _ => Ok(()),
        }
    }

    /// True if the result does not depend on the accumulator.
    fn is_constant(self) -> bool {
        matches!(self, Rule::Twice(Multiplier { m: 0, .. }) | Rule::Wide(Multiplier { m: 0, .. }))
            || self == Rule::Once(0.0)
    }

    /// The reference result for `a`, `|a| < 2^62`.
    fn apply(self, a: i64) -> i64 {
        match self {
            Rule::Twice(m) => twice(a, m),
            Rule::Once(k) => (a as f64 * k).round() as i64,
            Rule::Wide(m) => {
                let (cut, shift) = wide(m);
                let rounded = (i128::from(a) * i128::from(cut) + (1 << shift >> 1)) >> shift;
                rounded.clamp(i64::MIN.into(), i64::MAX.into()) as i64
            }
            Rule::Shift(0) => a,
            Rule::Shift(n) => {
                let magnitude = (a.abs() + (1 << (n - 1))) >> n;
                if a < 0 { -magnitude } else { magnitude }
            }
            Rule::AverageSigned { count } => {
                let n = count as i64;
                if a > 0 { (a + n / 2) / n } else { (a - n / 2) / n }
            }
            Rule::AverageUnsigned { count } => {
                let n = count as i64;
                (a + n / 2) / n
            }
        }
    }

    /// Smallest sum whose result is at least `x`, saturating at ±[`NEVER`].
    fn threshold(self, x: i64) -> i64 {
        match self {
            Rule::Twice(Multiplier { m, e }) => threshold_twice(m.into(), e, x),
            Rule::Once(k) => threshold_once(k, x),
            Rule::Wide(m) => {
                let (cut, shift) = wide(m);
                let numerator = (i128::from(x) << shift) - (1 << shift >> 1);
                // Rounded up.
                let at = -(-numerator).div_euclid(cut.into());
                at.clamp((-NEVER).into(), NEVER.into()) as i64
            }
            Rule::Shift(0) => x,
            Rule::Shift(n) if x >= 1 => (x << n) - (1 << (n - 1)),
            Rule::Shift(n) => (x << n) - (1 << (n - 1)) + 1,
            Rule::AverageSigned { count } => {
                let n = count as i64;
                if x >= 1 { x * n - n / 2 } else { (x - 1) * n + n / 2 + 1 }
            }
            Rule::AverageUnsigned { count } => {
                let n = count as i64;
                if x >= 1 { x * n - n / 2 } else { (x - 1) * n - n / 2 + 1 }
            }
        }
    }
}

/// The 15-bit multiplier and the shift of `R64`.
pub(crate) fn wide(Multiplier { m, e }: Multiplier) -> (i64, i32) {
    let cut = if m < 0x7fff_0000 { (i64::from(m) + (1 << 15)) >> 16 } else { 0x7fff };
    (cut, 15 - e)
}

/// `R(a, m)` of the reference kernels over unbounded integers (the kernel's left shift wraps where this does not).
pub fn twice(a: i64, Multiplier { m, e }: Multiplier) -> i64 {
    let high = ((i128::from(a) << e.max(0)) * i128::from(m) + (1 << 30)) >> 31;
    let r = (-e).max(0);
    if r == 0 {
        return high.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    }
    let half = 1i128 << (r - 1);
    let rounded = if high >= 0 { (high + half) >> r } else { -((half - high) >> r) };
    rounded as i64
}

fn threshold_twice(q: i64, e: i32, x: i64) -> i64 {
    let (l, r) = (e.max(0), (-e).max(0));
    // Smallest high product that the rounding shift takes to x.
    let high = match r {
        0 => x,
        _ if x >= 1 => (x << r) - (1 << (r - 1)),
        _ => (x << r) - (1 << (r - 1)) + 1,
    };
    // ceil((high·2^31 - 2^30) / q), then ceil of the division by 2^l.
    let before = match high.checked_mul(1 << 31).and_then(|wide| wide.checked_sub(1 << 30)) {
        Some(wide) => -(-wide).div_euclid(q),
        None => {
            let wide = (i128::from(high) << 31) - (1 << 30);
            -(-wide).div_euclid(q.into()).clamp(-i128::from(NEVER), NEVER.into()) as i64
        }
    };
    -(-before >> l)
}

fn threshold_once(k: f64, x: i64) -> i64 {
    let edge = x as f64 - 0.5;
    // round(a·k) >= x, halves away from zero.
    let passed = |a: i64| {
        let product = a as f64 * k;
        if x >= 1 { product >= edge } else { product > edge }
    };
    let guess = (edge / k).floor();
    if guess.abs() >= NEVER as f64 {
        return if guess > 0.0 { NEVER } else { -NEVER };
    }
    // The quotient is off by one or two, or by a few units in the last place of a large double.
    let (mut from, mut to) = (guess as i64 - 1, guess as i64 + 1);
    let mut step = 1;
    while passed(from) {
        (to, from, step) = (from, from - step, step * 2);
    }
    step = 1;
    while !passed(to) {
        (from, to, step) = (to, to + step, step * 2);
    }
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if passed(middle) {
            to = middle;
        } else {
            from = middle;
        }
    }
    to
}

/// One monotone function of an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Staircase {
    /// The rounding rule.
    pub rule: Rule,
    /// Added to the input first: `zero_point · count` where the caller has the sum of *centred* values.
    pub input_offset: i64,
    /// Zero point (0 for averages, which are of stored integers) and clamp.
    pub out: Output,
}

impl Staircase {
    /// `a` straight into `rule`.
    pub fn new(rule: Rule, out: Output) -> Staircase {
        Staircase { rule, input_offset: 0, out }
    }

    /// AVERAGE_POOL_2D of `count` elements on the sum of `stored - input_zero_point`.
    pub fn average(count: u64, signed: bool, input_zero_point: i32, lo: i32, hi: i32) -> Staircase {
        let rule = if signed { Rule::AverageSigned { count } } else { Rule::AverageUnsigned { count } };
        let offset = i64::from(input_zero_point).saturating_mul(count.min(1 << 31) as i64);
        Staircase { rule, input_offset: offset, out: Output { zero_point: 0, lo, hi } }
    }

    /// The reference result: `max(lo)`, then `min(hi)`.
    pub fn eval(&self, a: i64) -> i32 {
        let y = self.rule.apply(a + self.input_offset).saturating_add(self.out.zero_point.into());
        y.max(self.out.lo.into()).min(self.out.hi.into()) as i32
    }

    /// All thresholds, those that no accumulator reaches left out.
    pub fn thresholds(&self) -> Result<Thresholds, StaircaseError> {
        self.rule.check()?;
        let Output { zero_point, lo, hi } = self.out;
        if lo >= hi || self.rule.is_constant() {
            return Ok(Thresholds { lo: self.eval(0), at: Vec::new() });
        }
        if i64::from(hi) - i64::from(lo) > MAX_STEPS {
            return Err(StaircaseError::Steps { lo, hi });
        }
        let zero_point = i64::from(zero_point);
        let at = (lo + 1..=hi).map(|j| self.rule.threshold(i64::from(j) - zero_point) - self.input_offset).collect();
        Ok(Thresholds { lo, at }.within(-NEVER + 1, NEVER - 1))
    }
}

/// The values `lo..=hi` of a staircase and where each begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Smallest value.
    pub lo: i32,
    /// `at[i]` is the smallest input whose value is above `lo + i`; not decreasing.
    pub at: Vec<i64>,
}

impl Thresholds {
    /// Largest value.
    pub fn hi(&self) -> i32 {
        self.lo + self.at.len() as i32
    }

    /// The same function on inputs `from..=to`, without the values that do not occur there.
    pub fn within(mut self, from: i64, to: i64) -> Thresholds {
        let passed = self.at.partition_point(|&t| t <= from);
        self.at.truncate(self.at.partition_point(|&t| t <= to));
        self.at.drain(..passed.min(self.at.len()));
        self.lo += passed as i32;
        self
    }

    /// The function for inputs that are larger by `by`: sums of stored integers to sums of centred ones with
    /// `by = -zero_point · count`.
    pub fn shifted(mut self, by: i64) -> Thresholds {
        self.at.iter_mut().for_each(|t| *t += by);
        self
    }

    /// Largest absolute threshold.
    pub fn largest(&self) -> i64 {
        let ends = [self.at.first(), self.at.last()];
        ends.into_iter().flatten().map(|t| t.abs()).max().unwrap_or(0)
    }

    /// Smallest distance of neighbours, `i64::MAX` if there are none.
    pub fn smallest_gap(&self) -> i64 {
        self.at.windows(2).map(|w| w[1] - w[0]).min().unwrap_or(i64::MAX)
    }
}
