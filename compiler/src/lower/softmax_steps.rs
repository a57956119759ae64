//! SOFTMAX of bytes step by step as the reference kernel, opening nothing: results of 16 bits, and rows too long for
//! [`super::softmax_table`].
//!
//! S is the sum of public functions of the distances to the maximum, `2^(19+t) ≤ S < 2^(20+t)`, T the largest t. The kernel
//! shifts the leading zeros out of S, takes the reciprocal by three steps of Newton's, and shifts by t once more:
//!
//! - `F = 2^(T−t)` is a sum of the bits [S ≥ 2^(20+t)] with public factors, and the kernel's half denominator is
//!   `H = 2^(11−T)·F·S`, from 2^30 up to 2^31;
//! - `x = 1515870810 + floor((2^28 − 252645135·H) / 2^29)`, then three times `e = 2^29 − hp(H, x)`, `x += 4·hp(x, e)`; hp is the floor
//!   `floor((a·b + 2^30) / 2^31)`. As H·x is close to 2^60, e is `−floor((H·x − 2^60 + 2^30) / 2^31)`;
//! - `c = min(2x, 2^31 − 1)`; of each exponential E, `q = hp(c, E)` and `y = floor((F·q + 2^(30−w+T)) / 2^(31−w+T))` for
//!   results of w bits, clamped: the kernel's rounding shift by 31 − w + t. What is below `dmin` has E = 0 and y = 0.
//!
//! *Ranges.* The first x is off by 1/17 of the reciprocal at most, and each step squares that: `|e| ≤ 2^29/16` and
//! `x ≤ 17/16·2^30` throughout, roundings included.
//!
//! | exchanges | content |
//! |---|---|
//! | – | the maximum ([`super::maximum`]); E and the summands of S, two look-ups of each distance ([`super::table`]); S, reshared |
//! | floors | [S ≥ 2^(20+t)] for each t but T, side by side; then F·S, reshared |
//! | floors | the first x; e and the step's product, one after the other, three times; c |
//! | floors | q of each element, then y |
//!
//! Floors, of numbers and of products, are those of [`super::requant`] and [`super::dealer`]: five exchanges each by the
//! dealer. *What each message reveals.* Nothing: there are no messages but theirs, shares that are reshared, dealt values
//! less fresh pads and numbers under fresh masks, which a simulator draws at random. T depends on the row's length only.
use super::builder::Builder;
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas, bits_for};
use super::masked::Opened;
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::{BYTE_RING, LowerError, maximum, shape32, table};
use crate::qgraph::eval::{softmax_exponential, softmax_term};
use crate::qgraph::{Multiplier, Op as QOp};
use ir::{Axes, Dims, Op, Value};

/// Longest row: sums stay below 2^31.
pub const MAX_ROW: usize = 4095;

/// The kernel's first reciprocal at H = 0.
const START: i64 = 1_515_870_810;
/// By how much it falls with H, by 2^29.
const SLOPE: i64 = 252_645_135;
/// Steps of Newton's.
const STEPS: usize = 3;
/// Largest error of a reciprocal, by 2^29.
const ERROR: i64 = 1 << 25;
/// Largest reciprocal.
const LARGEST: i64 = 17 << 26;
/// A multiple of 2^31 in the middle of products of reciprocals and exponentials.
const MIDDLE: i64 = (1 << 61) - (1 << 31);

/// A softmax of rows.
#[derive(Clone, Debug)]
pub struct Stepwise {
    /// Exponential by distance.
    exponentials: Vec<u64>,
    /// Summand by distance.
    terms: Vec<u64>,
    /// [S ≥ 2^(20+t)] for each t but the last.
    beyond: Vec<Formulas>,
    /// The first reciprocal less `START`, from −H.
    first: Formulas,
    /// −e, from H·x − 2^60.
    error: Formulas,
    /// hp(x, e), from products.
    step: Formulas,
    /// c, from x.
    reciprocal: Formulas,
    /// q, from c·E less `MIDDLE`.
    scaled: Formulas,
    /// Results, from F·q.
    result: Formulas,
    /// Ring of what rows have.
    ring: u8,
}

/// `clamp(floor((m·acc + offset) / 2^s), lo, hi) + base`.
fn floor(m: i64, s: u32, offset: i64, [lo, hi]: [i64; 2], base: i64, bound: i64) -> Formulas {
    Formulas::new(vec![Class::floor(m, s, offset, [lo, hi])], base, bound)
}

/// hp of factors whose product is at most `bound`.
fn high(bound: i64) -> Formulas {
    let most = (bound >> 31) + 1;
    floor(1, 31, 1 << 30, [-most, most], 0, bound)
}

impl Planner<'_> {
    /// For rows of `n` elements, at most [`MAX_ROW`].
    pub(super) fn stepwise(
        &mut self,
        op: &QOp,
        multiplier: Multiplier,
        dmin: i32,
        [lo, bits]: [i32; 2],
        n: usize,
    ) -> Result<Plan, LowerError> {
        let exponentials: Vec<i32> = (0..256).map(|t| softmax_exponential(multiplier, dmin, -t).unwrap_or(0)).collect();
        let terms: Vec<u64> = exponentials.iter().map(|e| softmax_term(*e).into()).collect();
        let most = n as i64 * terms[0] as i64;
        let last = bits_for(most) - 20;
        let beyond = |t: u8| {
            let next = 1i64 << (20 + t);
            floor(1, 0, 1 - next, [0, 1], 0, most + next)
        };
        let beyond: Vec<Formulas> = (0..last).map(beyond).collect();
        let first = floor(SLOPE, 29, 1 << 28, [-SLOPE << 2, 0], 0, 1 << 31);
        let error = floor(1, 31, 1 << 30, [-ERROR, ERROR], 0, ERROR << 31);
        let step = high(LARGEST * ERROR);
        let reciprocal = floor(2, 0, 0, [1 << 29, i64::from(i32::MAX)], 0, LARGEST);
        let most = (1 << 30) - 1;
        let scaled = floor(1, 31, 1 << 30, [-most, most], 0, MIDDLE + 1);
        let shift = 31 - bits.unsigned_abs() + u32::from(last);
        let result = floor(1, shift, 1 << (shift - 1), [0, (1 << bits) - 1], lo.into(), 1 << (31 + last));
        let ring = beyond.iter().chain([&first, &error, &step, &reciprocal]).map(|f| f.n).max().unwrap_or(0);
        let ring = ring.max(result.n);
        // What each floor's result goes into.
        for f in beyond.iter().chain([&first, &error, &step]) {
            self.fits_in(op, f.clone(), ring)?;
        }
        self.fits_in(op, reciprocal.clone(), scaled.n)?;
        self.fits_in(op, scaled.clone(), result.n)?;
        let result = self.fits(op, result)?;
        let exponentials = exponentials.into_iter().map(|e| e.unsigned_abs().into()).collect();
        Ok(Plan::Stepwise(Box::new(Stepwise {
            exponentials,
            terms,
            beyond,
            first,
            error,
            step,
            reciprocal,
            scaled,
            result,
            ring,
        })))
    }
}

/// A public function of distances, as summands.
fn look_up(b: &mut Builder, hot: Value, entries: &[u64], k: u8, rot: u8) -> Value {
    let width = entries.iter().map(|e| 64 - e.leading_zeros() as u8).max().unwrap_or(0).max(1);
    let bits = table::look_up(b, hot, entries, width);
    Opened::new(b, bits, rot).numbers(b, k)
}

impl Emitter<'_> {
    fn floor(&mut self, x: Value, f: &Formulas, k: u8) -> Value {
        let (x, rot) = (self.b.cast(x, f.n), self.rot());
        emit::staircase(&mut self.b, Source::Shared(x), f, None, k, self.route, rot)
    }

    /// The floor of a product less `middle`.
    fn floor_of_product(&mut self, factors: [Value; 2], middle: i64, f: &Formulas, k: u8) -> Value {
        let [x, y] = factors.map(|x| self.b.cast(x, f.n));
        let product = self.b.one(Op::MulSs { a: x, b: y });
        let product = self.b.add_scalar(product, -middle);
        let rot = self.rot();
        emit::staircase(&mut self.b, Source::Sum(product), f, None, k, self.route, rot)
    }

    fn times(&mut self, x: Value, by: i64) -> Value {
        let p = self.b.scalar(by);
        self.b.one(Op::MulP { x, p })
    }

    pub(super) fn stepwise(&mut self, op: &QOp, p: &Stepwise) -> Result<Value, LowerError> {
        let out = shape32(&self.g.tensor(op.output).shape);
        let n = out.last().copied().unwrap_or(1);
        let (least, _) = self.range(op.inputs[0]);
        let x = self.input(op, 0)?;
        let rows = self.b.ty(x).len() as u32 / n;
        let x = self.b.reshape(x, &[rows, n]);
        let x = self.b.cast(x, BYTE_RING);
        let rot = self.rot();
        let distance = maximum::row_distances(&mut self.b, x, least, maximum::BYTES, self.route, rot);
        let (ring, wide, rot) = (p.ring, p.scaled.n, self.rot());
        let hot = table::onehot(&mut self.b, distance, rot);
        let exponential = look_up(&mut self.b, hot, &p.exponentials, wide, rot);
        let exponential = self.b.one(Op::Reshare { x: exponential, bits: wide });
        let terms = look_up(&mut self.b, hot, &p.terms, ring, rot);
        let sum = self.b.one(Op::ReduceSum { x: terms, axes: Axes(vec![1]) });
        let sum = self.b.one(Op::Reshare { x: sum, bits: ring });

        // F, or nothing where it is one; then H.
        let last = p.beyond.len();
        let mut factor: Option<Value> = None;
        for (t, f) in p.beyond.iter().enumerate() {
            let bit = self.floor(sum, f, ring);
            let part = self.times(bit, -(1i64 << (last - 1 - t)));
            factor = Some(match factor {
                None => part,
                Some(factor) => self.b.one(Op::Add { a: factor, b: part }),
            });
        }
        let factor = factor.map(|x| self.b.add_scalar(x, 1 << last));
        let normal = match factor {
            None => sum,
            Some(factor) => {
                let product = self.b.one(Op::MulSs { a: sum, b: factor });
                self.b.one(Op::Reshare { x: product, bits: ring })
            }
        };
        let half = self.times(normal, 1 << (11 - last));

        let minus = self.times(half, -1);
        let first = self.floor(minus, &p.first, ring);
        let mut x = self.b.add_scalar(first, START);
        for _ in 0..STEPS {
            let minus_error = self.floor_of_product([half, x], 1 << 60, &p.error, ring);
            let error = self.times(minus_error, -1);
            let step = self.floor_of_product([x, error], 0, &p.step, ring);
            let step = self.times(step, 4);
            x = self.b.one(Op::Add { a: x, b: step });
        }
        let reciprocal = self.floor(x, &p.reciprocal, wide);

        let spread = |b: &mut Builder, x| b.one(Op::Expand { x, shape: Dims(vec![rows, n]) });
        let reciprocal = spread(&mut self.b, reciprocal);
        let scaled = self.floor_of_product([exponential, reciprocal], MIDDLE, &p.scaled, p.result.n);
        let scaled = self.b.add_scalar(scaled, MIDDLE >> 31);
        let source = match factor {
            None => Source::Shared(scaled),
            Some(factor) => {
                let factor = self.b.cast(factor, p.result.n);
                let factor = spread(&mut self.b, factor);
                Source::Sum(self.b.one(Op::MulSs { a: scaled, b: factor }))
            }
        };
        let y = self.finish(op, source, &p.result, None);
        Ok(self.b.reshape(y, &out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::draw::Draw;
    use crate::qgraph::eval::SoftmaxInverse;

    fn hp(a: i64, b: i64) -> i64 {
        (a * b + (1 << 30)) >> 31
    }

    /// Sums at both ends of each octave and windows in between: bounds hold, and the reciprocal is the kernel's.
    #[test]
    fn reciprocals_stay_in_their_ranges() {
        let mut rng = Draw(4);
        let ends = (19..31).flat_map(|i| [1i64 << i, (1i64 << (i + 1)) - 3000]);
        let within = (0..600).map(|_| (1 << 19) + rng.below(4094 << 19) as i64).collect::<Vec<i64>>();
        for sum in ends.chain(within).flat_map(|start| start..start + 3000) {
            let half = sum << (31 - bits_for(sum));
            let mut x = START + ((-SLOPE * half + (1 << 28)) >> 29);
            for _ in 0..STEPS {
                assert!((half * x - (1 << 60)).abs() <= ERROR << 31 && x <= LARGEST, "{sum}");
                x += 4 * hp(x, (1 << 29) - hp(half, x));
            }
            let c = (2 * x).clamp(1 << 29, i32::MAX.into());
            assert!(x <= LARGEST && c == i64::from(SoftmaxInverse::of(sum as u32, 16).inverse), "{sum}");
        }
    }
}
