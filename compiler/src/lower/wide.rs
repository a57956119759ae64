//! Sums and products whose inner values have more bits than their operands.
//!
//! A sum of two operands that no single floor describes is computed as the kernel does: each operand rescaled to a number
//! with fraction bits, `q = R(x << l, m)`, then `R(q1 ± q2, m)`. Each step is a floor ([`crate::staircase::exact`]); an
//! operand whose multiplier is a power of two, the one with the larger scale, is only multiplied. What the kernels compute
//! in 32 bits must not wrap: [`Planner::no_wrap`] refuses where it could.
use super::choose::{self, Unary};
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas, bits_for};
use super::plan::{Plan, Planner};
use super::requant::Source;
use super::{LowerError, shape32};
use crate::qgraph::{AddOperand, DType, Kind, Linear, Multiplier, Op as QOp, Output, Rescale};
use crate::staircase::{Fit, Rule, Staircase, best_fit, exact_shifted};
use ir::{Op, Value};

/// Every int32: no clamp.
const WHOLE: Output = Output { zero_point: 0, lo: i32::MIN, hi: i32::MAX };

/// How an operand becomes a summand.
#[derive(Clone, Debug)]
pub enum Side {
    /// Times this.
    Times(i64),
    /// A function of it.
    Function(Unary),
    /// A constant of the model: the summands themselves, which are private.
    Weight(Vec<i64>),
}

/// A sum of rescaled operands.
#[derive(Clone, Debug)]
pub struct FineSum {
    pub sides: [Side; 2],
    /// Factor of the second summand: 1 or −1.
    pub sign: i64,
    /// What the sum goes through, if anything changes it.
    pub formulas: Option<Formulas>,
    /// Ring of the sum.
    pub sum: u8,
    /// Ring that the operands need.
    pub ring: u8,
}

/// `2^k` that the multiplier is for operands shifted up by `left`, without any rounding.
fn power(m: Multiplier, left: u32) -> Option<u32> {
    let exponent = i64::from(left) + i64::from(m.e) - 1;
    (m.m == 1 << 30).then(|| u32::try_from(exponent).ok()).flatten()
}

/// The middle of a range of many bits, if less it has fewer; else 0.
pub fn middle(from: i64, to: i64) -> i64 {
    let (bound, middle) = (from.abs().max(to.abs()), from + (to - from) / 2);
    let narrower = bits_for((to - middle).max(middle - from)) < bits_for(bound);
    if bound >= 1 << 30 && narrower { middle } else { 0 }
}

impl Planner<'_> {
    fn refuse_wrap<T>(&self, op: &QOp, what: &str) -> Result<T, LowerError> {
        let reason =
            format!("{what} may exceed 32 bits, which TFLite lets overflow; use scales that are closer to each other");
        Err(LowerError::Unsupported { index: op.index, name: op.name, reason })
    }

    /// Largest magnitude of a centred operand.
    fn largest(&self, op: &QOp, i: usize) -> i64 {
        let (lo, hi) = self.centred(op.inputs[i]);
        lo.saturating_abs().max(hi.saturating_abs())
    }

    /// Refuses what the kernel computes in 32 bits that could overflow: formulas here do not.
    pub(super) fn no_wrap(&self, op: &QOp) -> Result<(), LowerError> {
        let wraps = |x: i64, shift: u32| i128::from(x) << shift >= 1 << 31;
        let by = |m: &Multiplier| m.e.max(0).unsigned_abs();
        // Of the model's own weights: what is refused depends on them, what is emitted does not.
        let sums = |linear: &Linear| -> bool {
            let channels = linear.bias.len().max(1);
            let mut sums: Vec<i128> = linear.bias.iter().map(|b| i128::from(b.unsigned_abs())).collect();
            let taps = (linear.weights.len() / channels).max(1);
            let last = matches!(op.kind, Kind::DepthwiseConv2d { .. });
            for (i, w) in linear.weights.iter().enumerate() {
                let c = if last { i % channels } else { i / taps };
                if let Some(sum) = sums.get_mut(c) {
                    *sum += i128::from(w.unsigned_abs()) * i128::from(self.largest(op, 0));
                }
            }
            sums.iter().any(|sum| *sum >= 1 << 31)
        };
        match &op.kind {
            Kind::Mul { rescale: Rescale::Twice(m), .. } => {
                let product = self.largest(op, 0) * self.largest(op, 1);
                if m.iter().any(|m| wraps(product, by(m))) {
                    self.refuse_wrap(op, "its product, shifted,")
                } else {
                    Ok(())
                }
            }
            Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear }
                if self.g.tensor(op.inputs[0]).dtype == DType::I16 && matches!(linear.rescale, Rescale::Twice(_)) =>
            {
                if sums(linear) {
                    self.refuse_wrap(op, "its sum of products")
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// The function `R(x << left, m)` of an operand, in a ring of `k` bits.
    fn side(&mut self, op: &QOp, i: usize, m: Multiplier, left: u32, k: u8) -> Result<Side, LowerError> {
        let (from, to) = self.centred(op.inputs[i]);
        let staircase = Staircase::new(Rule::Twice(m), WHOLE);
        let one = |x: i64| i64::from(staircase.eval(x << left));
        let t = self.g.tensor(op.inputs[i]);
        if let Some(stored) = &t.constant {
            let z = super::plan::zero_point(t);
            return Ok(Side::Weight(stored.iter().map(|q| one(i64::from(*q) - z)).collect()));
        }
        if let Some(power) = power(m, left) {
            return Ok(Side::Times(1 << power));
        }
        let found = exact_shifted(&staircase, left, from, to).ok_or_else(|| self.no_multiplier(op, 0))?;
        let bound = from.abs().max(to.abs());
        let class = match found.map_err(|e| Self::constants(op, 0, e))? {
            Fit::Constant(y) => Class::constant(y.into(), bound),
            Fit::Affine(c) => {
                self.thresholds += c.checked() as u64;
                Class::of(&c, 0)
            }
        };
        let formulas = Self::fits_in(op, Formulas::new(vec![class], 0, bound), k);
        let stairs = if choose::is_byte(from, to) { formulas.ok() } else { Some(formulas?) };
        Ok(Side::Function(choose::unary(from, to, one, stairs, k, self.way(op))))
    }

    /// ADD, SUB step by step; `why` no single floor serves.
    pub(super) fn fine_sum(&mut self, op: &QOp, sign: i64, why: LowerError) -> Result<Plan, LowerError> {
        let (Kind::Add { left_shift, operands, multiplier, out } | Kind::Sub { left_shift, operands, multiplier, out }) =
            &op.kind
        else {
            return Err(why);
        };
        let left = *left_shift;
        let mut ends = (0, 0);
        for (i, AddOperand { multiplier: m, .. }) in operands.iter().enumerate() {
            if i128::from(self.largest(op, i)) << (left + m.e.max(0).unsigned_abs()) >= 1 << 31 {
                return self.refuse_wrap(op, "an operand, shifted,");
            }
            let (from, to) = self.centred(op.inputs[i]);
            let staircase = Staircase::new(Rule::Twice(*m), WHOLE);
            let [a, b] = [from, to].map(|x| i64::from(staircase.eval(x << left)) * if i == 1 { sign } else { 1 });
            ends = (ends.0 + a.min(b), ends.1 + a.max(b));
        }
        let (from, to) = ends;
        if i128::from(from.abs().max(to.abs())) << multiplier.e.max(0) >= 1 << 31 {
            return self.refuse_wrap(op, "its sum");
        }
        let whole = (i64::from(out.lo)..=i64::from(out.hi)).contains(&(from + i64::from(out.zero_point)))
            && (i64::from(out.lo)..=i64::from(out.hi)).contains(&(to + i64::from(out.zero_point)));
        let formulas = if power(*multiplier, 0) == Some(0) && whole {
            None
        } else {
            let staircase = Staircase::new(Rule::Twice(*multiplier), *out);
            Some(self.single(op, best_fit(&staircase, from, to), from, to)?)
        };
        let sum = formulas.as_ref().map_or(self.ring, |f| f.n);
        let sides = [
            self.side(op, 0, operands[0].multiplier, left, sum)?,
            self.side(op, 1, operands[1].multiplier, left, sum)?,
        ];
        let needs = |side: &Side| match side {
            Side::Function(how) => how.ring(sum),
            _ => sum,
        };
        let ring = sides.iter().map(needs).max().unwrap_or(sum);
        Ok(Plan::FineSum(Box::new(FineSum { sides, sign, formulas, sum, ring })))
    }

    /// A 32-bit operand that the kernel shifts up by `left` bits: of it count its lower 32 − `left` bits, as a signed
    /// number, `x − 2^bits·floor((x + 2^(bits−1)) / 2^bits)`.
    pub(super) fn folded(&mut self, op: &QOp, multiplier: Multiplier, out: Output) -> Result<Plan, LowerError> {
        let (from, to) = self.centred(op.inputs[0]);
        if from < i32::MIN.into() || to > i32::MAX.into() {
            return self.refuse_wrap(op, "its operand, centred,");
        }
        let bits = 32 - multiplier.e.clamp(1, 30).unsigned_abs();
        let half = 1i64 << (bits - 1);
        let staircase = Staircase::new(Rule::Twice(multiplier), out);
        let then = self.single(op, best_fit(&staircase, -half, half - 1), -half, half - 1)?;
        let (lo, hi) = ((from + half) >> bits, (to + half) >> bits);
        let bound = from.abs().max(to.abs());
        let class = Class::floor(1, bits, half, [lo, hi]);
        let fold = Self::fits_in(op, Formulas::new(vec![class], 0, bound), then.n)?;
        Ok(Plan::Folded { fold, bits, then })
    }

    /// Whether the kernel's shift of the operand leaves 32 bits.
    pub(super) fn leaves_int32(&self, op: &QOp, multiplier: Multiplier) -> bool {
        let (from, to) = self.centred(op.inputs[0]);
        let shift = multiplier.e.max(0);
        i128::from(from) << shift < i32::MIN.into() || i128::from(to) << shift > i32::MAX.into()
    }

    /// A product, less the middle of its range where it is wide.
    pub(super) fn mul(&mut self, op: &QOp, rescale: &Rescale, out: Output) -> Result<Plan, LowerError> {
        let [(a, b), (c, d)] = [0, 1].map(|i| self.centred(op.inputs[i]));
        let all = [a * c, a * d, b * c, b * d];
        let square = op.inputs[0] == op.inputs[1];
        let from = if square { 0 } else { all.into_iter().min().unwrap_or(0) };
        let to = all.into_iter().max().unwrap_or(0);
        let bound = from.abs().max(to.abs());
        let middle = middle(from, to);
        let rule = Rule::of_channel(rescale, 0).ok_or_else(|| self.no_multiplier(op, 0))?;
        let staircase = Staircase { input_offset: middle, ..Staircase::new(rule, out) };
        let (from, to) = match middle {
            0 if !square => (-bound, bound),
            _ => (from - middle, to - middle),
        };
        let formulas = self.single(op, best_fit(&staircase, from, to), from, to)?;
        Ok(Plan::Mul { middle, formulas })
    }
}

impl Emitter<'_> {
    /// The planned sum.
    pub(super) fn fine_sum(&mut self, op: &QOp, p: &FineSum) -> Result<Value, LowerError> {
        let mut total: Option<Value> = None;
        for (i, side) in p.sides.iter().enumerate() {
            let sign = if i == 1 { p.sign } else { 1 };
            let x = match side {
                Side::Weight(data) => {
                    let shape = shape32(&self.g.tensor(op.inputs[i]).shape);
                    self.shared_weight(&shape, data.iter().map(|q| (q * sign) as i32).collect(), p.sum)
                }
                Side::Times(factor) => {
                    let x = self.operand(op, i, p.ring)?;
                    let x = self.b.cast(x, p.sum);
                    let by = self.b.scalar(factor * sign);
                    if factor * sign == 1 { x } else { self.b.one(Op::MulP { x, p: by }) }
                }
                Side::Function(how) => {
                    let x = self.operand(op, i, p.ring)?;
                    let x = self.function(x, how, p.sum);
                    let by = self.b.scalar(sign);
                    if sign == 1 { x } else { self.b.one(Op::MulP { x, p: by }) }
                }
            };
            let x = self.whole(op, x);
            total = Some(match total {
                None => x,
                Some(sum) => self.b.one(Op::Add { a: sum, b: x }),
            });
        }
        let Some(sum) = total else {
            return Err(LowerError::Model(format!("operator {} ({}) adds nothing", op.index, op.name)));
        };
        Ok(match &p.formulas {
            Some(f) => self.finish(op, Source::Shared(sum), f, None),
            None => sum,
        })
    }

    /// The planned folding, and what follows.
    pub(super) fn folded(
        &mut self,
        op: &QOp,
        fold: &Formulas,
        bits: u32,
        then: &Formulas,
    ) -> Result<Value, LowerError> {
        let x = self.input(op, 0)?;
        let (whole, rot) = (self.b.cast(x, fold.n), self.rot());
        let quotient = emit::staircase(&mut self.b, Source::Shared(whole), fold, None, then.n, self.route, rot);
        let by = self.b.scalar(1 << bits);
        let high = self.b.one(Op::MulP { x: quotient, p: by });
        let x = self.b.cast(x, then.n);
        let x = self.b.one(Op::Sub { a: x, b: high });
        Ok(self.finish(op, Source::Shared(x), then, None))
    }

    /// A function of a sharing, in a ring of `k` bits.
    fn function(&mut self, x: Value, how: &Unary, k: u8) -> Value {
        match how {
            Unary::Same => self.b.cast(x, k),
            Unary::Stairs(f) => {
                let x = self.b.cast(x, f.n);
                let rot = self.rot();
                emit::staircase(&mut self.b, Source::Shared(x), f, None, k, self.route, rot)
            }
            Unary::Table(entries) => {
                let rot = self.rot();
                super::table::by(&mut self.b, x, entries, k, self.route, rot)
            }
        }
    }
}
