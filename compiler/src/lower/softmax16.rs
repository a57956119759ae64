//! SOFTMAX of 16-bit numbers, exactly as the reference kernel, opening nothing.
//!
//! The kernel takes exponentials of distances to the maximum from a table, and the reciprocal of their sum S from another,
//! at S with its leading zeros shifted out, rounded to 17 bits. With `2^(16+t) ≤ S < 2^(17+t)`:
//!
//! - the place in the second table is `I = (S·2^-t rounded, at most 2^17 − 1) − 2^16`. For each t alone
//!   `clamp(floor((S + 2^(t−1)) / 2^t), 2^16, 2^17 − 1) − 2^16` is 0 for smaller S and 2^16 − 1 for larger ones, so I is the
//!   sum of these and of the bits [S ≥ 2^(17+t)], mod 2^16. For t < 0 the floor is 2^-t·S, and the bit counts 2^-t times;
//! - the kernel's shift is 16 + t. As all shift by 16 + T, T the largest t, the reciprocal takes the factor 2^(T−t), which
//!   is a sum of those bits with public factors.
//!
//! So a row takes its maximum ([`super::maximum`]), staircases of S ([`super::requant`], [`super::dealer`]), one look-up
//! and one product; an element takes one look-up ([`super::table16`]), one product and one staircase. Their messages are
//! all there are.
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas, bits_for};
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::{LowerError, maximum, shape32, table16};
use crate::qgraph::eval::{softmax16_exponential, softmax16_inverse};
use crate::qgraph::{Multiplier, Op as QOp};
use ir::{Axes, Dims, Op, Value};

/// Bits of a distance.
const DISTANCE: u8 = 16;

/// A softmax of rows.
#[derive(Clone, Debug)]
pub struct Softmax16 {
    /// Exponential by distance.
    exponentials: Vec<i64>,
    /// Reciprocal by place.
    inverses: Vec<i64>,
    /// Smallest t.
    first: i32,
    /// For each t: the part of the place.
    places: Vec<Formulas>,
    /// For each t but the last: [S ≥ 2^(17+t)].
    beyond: Vec<Formulas>,
    /// Results from products.
    result: Formulas,
    /// Ring of S.
    ring: u8,
}

fn stairs(m: i64, s: u32, offset: i64, lo: i64, hi: i64, bound: i64) -> Formulas {
    Formulas::new(vec![Class::floor(m, s, offset, [lo, hi])], 0, bound)
}

impl Planner<'_> {
    pub(super) fn softmax16(
        &mut self,
        op: &QOp,
        multiplier: Multiplier,
        exponential: &[i32],
        inverse: &[i32],
    ) -> Result<Plan, LowerError> {
        let row = self.g.tensor(op.inputs[0]).shape.last().copied().unwrap_or(1) as i64;
        let exponentials: Vec<i64> =
            (0..1 << DISTANCE).map(|d| softmax16_exponential(multiplier, exponential, -d).into()).collect();
        let inverses: Vec<i64> = (0..1 << 16).map(|i| softmax16_inverse(inverse, i).into()).collect();
        let (least, most) = (exponentials[0], exponentials.iter().copied().max().unwrap_or(0).saturating_mul(row));
        let bounded = exponentials.iter().all(|e| (0..=least).contains(e));
        if least < 1 << 14 || !bounded || most >= 1 << 30 {
            let reason = "its sums of exponentials leave the range that this version computes in".into();
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        let class = |sum: i64| i32::from(bits_for(sum)) - 17;
        let (first, last) = (class(least), class(most));
        let (from, to) = (1i64 << 16, 1i64 << 17);
        let mut places = Vec::new();
        let mut beyond = Vec::new();
        for t in first..=last {
            let (m, s) = (1i64 << (-t).max(0), t.max(0).unsigned_abs());
            places.push(stairs(m, s, 1 << s >> 1, from, to - m, most));
            if t < last {
                let next = 1i64 << (17 + t);
                beyond.push(stairs(1, 0, 1 - next, 0, 1, most + next));
            }
        }
        let largest = inverses.iter().copied().max().unwrap_or(0);
        let shift = (16 + last).unsigned_abs();
        let result = stairs(1, shift, 1 << (shift - 1), 0, 32767, (least * largest) << (last - first));
        let result = self.fits(op, result)?;
        for f in &places {
            self.fits_in(op, f.clone(), DISTANCE)?;
        }
        for f in &beyond {
            self.fits_in(op, f.clone(), result.n)?;
        }
        let ring = places.iter().chain(&beyond).map(|f| f.n).max().unwrap_or(0);
        Ok(Plan::Softmax16(Box::new(Softmax16 { exponentials, inverses, first, places, beyond, result, ring })))
    }
}

impl Emitter<'_> {
    pub(super) fn softmax16(&mut self, op: &QOp, p: &Softmax16) -> Result<Value, LowerError> {
        let out = shape32(&self.g.tensor(op.output).shape);
        let n = out.last().copied().unwrap_or(1);
        let (least, _) = self.range(op.inputs[0]);
        let x = self.input(op, 0)?;
        let rows = self.b.ty(x).len() as u32 / n;
        let x = self.b.reshape(x, &[rows, n]);
        let x = self.b.cast(x, DISTANCE + 2);
        let rot = self.rot();
        let distance = maximum::row_distances(&mut self.b, x, least, DISTANCE, self.route, rot);
        let (k, rot) = (p.ring.max(p.result.n), self.rot());
        let e = table16::table(&mut self.b, distance, &p.exponentials, k, rot);
        let sum = self.b.cast(e, p.ring);
        let sum = self.b.one(Op::ReduceSum { x: sum, axes: Axes(vec![1]) });

        let staircase = |me: &mut Self, f: &Formulas, k: u8| {
            let (x, rot) = (me.b.cast(sum, f.n), me.rot());
            emit::staircase(&mut me.b, Source::Shared(x), f, None, k, me.route, rot)
        };
        let wide = p.result.n;
        let bits: Vec<Value> = p.beyond.iter().map(|f| staircase(self, f, wide)).collect();
        let mut place: Option<Value> = None;
        let add = |me: &mut Self, sum: Option<Value>, x: Value| match sum {
            None => x,
            Some(sum) => me.b.one(Op::Add { a: sum, b: x }),
        };
        for f in &p.places {
            // 2^16 of each vanish.
            let part = staircase(self, f, DISTANCE);
            place = Some(add(self, place, part));
        }
        // 2^(T−t): half of it is taken off at each bit.
        let mut factor: Option<Value> = None;
        for (i, bit) in bits.iter().enumerate() {
            let by = self.b.scalar(1 << (-(p.first + i as i32)).max(0));
            let low = self.b.cast(*bit, DISTANCE);
            let low = self.b.one(Op::MulP { x: low, p: by });
            place = Some(add(self, place, low));
            let by = self.b.scalar(-(1i64 << (bits.len() - 1 - i)));
            let part = self.b.one(Op::MulP { x: *bit, p: by });
            factor = Some(add(self, factor, part));
        }
        let place = place.expect("there is a smallest t");
        let rot = self.rot();
        let inverse = table16::table(&mut self.b, place, &p.inverses, wide, rot);
        let inverse = match factor {
            None => inverse,
            Some(factor) => {
                let factor = self.b.add_scalar(factor, 1 << bits.len());
                let product = self.b.one(Op::MulSs { a: inverse, b: factor });
                self.b.one(Op::Reshare { x: product, bits: wide })
            }
        };
        let inverse = self.b.one(Op::Expand { x: inverse, shape: Dims(vec![rows, n]) });
        let e = self.b.cast(e, wide);
        let product = self.b.one(Op::MulSs { a: e, b: inverse });
        let y = self.finish(op, Source::Sum(product), &p.result, None);
        Ok(self.b.reshape(y, &out))
    }
}
