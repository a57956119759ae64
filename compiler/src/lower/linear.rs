//! Linear operators: products with secret weights, a bias, and one staircase per output channel.
//!
//! Where no constants of a channel stay in 64-bit words (int16 results of one rounding in double precision), the results
//! are computed in parts: with `lo = t_0 < t_1 < … = hi`, `clamp(f, lo, hi) = lo + Σ (clamp(f, t_i, t_i+1) − t_i)`, and a
//! part, which has fewer thresholds, needs smaller constants. Parts share the accumulator and its exchange.
use super::LowerError;
use super::emit::Emitter;
use super::formulas::{Class, Formulas, bits_for};
use super::plan::{Plan, Planner, base_of, zero_point};
use super::requant::Source;
use crate::qgraph::{Linear, Op as QOp, Output};
use crate::staircase::{Channel, ChannelKind, Rule, StaircaseError, dead_channel, linear_part};
use ir::{Op, Value};
use rayon::prelude::*;
use std::collections::HashSet;

/// Largest accumulator: what comes of it is checked against 64-bit words where its constants are known.
const MAX_ACC: i64 = (1 << 58) - 1;
/// Most parts of the results.
const MOST_PARTS: i64 = 8;

/// A linear operator.
#[derive(Clone, Debug)]
pub struct LinearPlan {
    pub formulas: Formulas,
    /// How biases are placed.
    pub channels: Vec<Channel>,
    /// Further parts of the results: where each begins, and its constants.
    pub parts: Vec<(i64, Formulas)>,
}

/// What constants are searched for.
#[derive(Clone, Copy, PartialEq)]
struct Sought {
    products: i64,
    rule: Rule,
    out: Output,
    part: Output,
}

/// Numbers that say what is sought; channels and steps of recurrent layers often agree.
pub(super) type Key = (i64, [i64; 3], [i32; 5]);

impl Sought {
    fn key(&self) -> Key {
        let rule = match self.rule {
            Rule::Twice(m) => [0, m.m.into(), m.e.into()],
            Rule::Once(k) => [1, k.to_bits().cast_signed(), 0],
            Rule::Wide(m) => [2, m.m.into(), m.e.into()],
            Rule::Shift(n) => [3, n.into(), 0],
            Rule::AverageSigned { count } => [4, count as i64, 0],
            Rule::AverageUnsigned { count } => [5, count as i64, 0],
        };
        let Output { zero_point, lo, hi } = self.out;
        (self.products, rule, [zero_point, lo, hi, self.part.lo, self.part.hi])
    }

    fn find(&self) -> Result<Channel, StaircaseError> {
        let Sought { products, rule, out, part } = *self;
        // A dead channel costs one comparison only, so it is preferred.
        match dead_channel(products, rule, out, MAX_ACC) {
            Ok(Some(dead)) => Ok(dead),
            _ => linear_part(products, rule, out, part, MAX_ACC),
        }
    }
}

impl Planner<'_> {
    pub(super) fn linear(&mut self, op: &QOp, linear: &Linear, taps: i64, channels: usize) -> Result<Plan, LowerError> {
        let whole = self.linear_in(op, linear, taps, channels, 1);
        let steps = i64::from(linear.out.hi) - i64::from(linear.out.lo);
        let mut parts = 2;
        let mut found = whole;
        while found.is_err() && parts <= MOST_PARTS && steps > 256 {
            if let Ok(plan) = self.linear_in(op, linear, taps, channels, parts) {
                found = Ok(plan);
            }
            parts *= 2;
        }
        found
    }

    /// The results in a number of parts.
    fn linear_in(
        &mut self,
        op: &QOp,
        linear: &Linear,
        taps: i64,
        channels: usize,
        parts: i64,
    ) -> Result<Plan, LowerError> {
        let (lo, hi) = self.centred(op.inputs[0]);
        let largest = i64::from(linear.weight_range.0.abs().max(linear.weight_range.1.abs()));
        let products = taps * lo.abs().max(hi.abs()) * largest;
        let out = linear.out;
        let end = |i: i64| (i64::from(out.lo) + (i64::from(out.hi) - i64::from(out.lo)) * i / parts) as i32;
        let base = base_of(self.g.tensor(op.output));
        let mut all: Vec<Vec<Channel>> = Vec::new();
        for i in 0..parts {
            let part = if parts == 1 { out } else { Output { lo: end(i), hi: end(i + 1), ..out } };
            let rule = |c: usize| Rule::of_channel(&linear.rescale, c).ok_or_else(|| self.no_multiplier(op, c));
            let sought = |c: usize| rule(c).map(|rule| Sought { products, rule, out, part });
            let sought = (0..channels).map(sought).collect::<Result<Vec<_>, _>>()?;
            let mut seen = HashSet::new();
            let is_new = |(_, s): &(usize, &Sought)| !self.found.contains_key(&s.key()) && seen.insert(s.key());
            let new: Vec<(usize, &Sought)> = sought.iter().enumerate().filter(is_new).collect();
            let find = |(c, s): (usize, &Sought)| Ok((s.key(), s.find().map_err(|e| Self::constants(op, c, e))?));
            let new = new.into_par_iter().map(find).collect::<Result<Vec<_>, _>>()?;
            self.found.extend(new);
            all.push(sought.iter().map(|s| self.found[&s.key()]).collect());
        }
        let bound = all.iter().flatten().map(|c| c.acc_bound).max().unwrap_or(1);
        let class = |c: &Channel, i: usize| match c.kind {
            ChannelKind::Live(k) => Class { bound: c.acc_bound, ..Class::of(&k, base) },
            ChannelKind::Dead if i == 0 => Class { bound: c.acc_bound, ..Class::sign() },
            ChannelKind::Dead => Class::constant(i64::from(end(i as i64)) - base, bound),
            ChannelKind::Constant(v) => Class::constant(i64::from(v) - base, bound),
        };
        let of =
            |(i, part): (usize, &Vec<Channel>)| Formulas::new(part.iter().map(|c| class(c, i)).collect(), base, bound);
        let mut formulas: Vec<Formulas> = all.iter().enumerate().map(of).collect();
        let n = formulas.iter().map(|f| f.n).max().unwrap_or(0);
        formulas.iter_mut().for_each(|f| f.n = n);
        let mut formulas = formulas.into_iter().map(|f| self.fits(op, f)).collect::<Result<Vec<_>, _>>()?;
        // Parts share the accumulator.
        let n = formulas.iter().map(|f| f.n).max().unwrap_or(0);
        formulas.iter_mut().for_each(|f| f.n = n);
        let mut formulas = formulas.into_iter();
        self.thresholds += all.iter().flatten().map(|c| c.checked as u64).sum::<u64>();
        let live = |c: &&Channel| matches!(c.kind, ChannelKind::Live(_));
        let placed = |c: usize| all.iter().map(|part| &part[c]).find(live).unwrap_or(&all[0][c]);
        let channels = (0..channels).map(placed).cloned().collect();
        let first = formulas.next().ok_or_else(|| self.no_multiplier(op, 0))?;
        let parts = (1..).map(|i| i64::from(end(i))).zip(formulas).collect();
        Ok(Plan::Linear(Box::new(LinearPlan { formulas: first, channels, parts })))
    }
}

impl Emitter<'_> {
    /// Weights in the layer's ring, or public ones.
    pub(super) fn linear_weights(&mut self, shape: &[u32], linear: &Linear, n: u8) -> Value {
        if self.modes.public_weights {
            return self.b.constant(shape, linear.weights.iter().map(|w| i64::from(*w)).collect());
        }
        let data = linear.weights.iter().map(|w| i32::from(*w)).collect();
        let (lo, hi) = linear.weight_range;
        let width = bits_for(i64::from(lo.max(-1 - lo).max(hi))) + 1;
        let x = self.weight(shape, data);
        self.b.share_weights(x, n, width)
    }

    /// Adds the bias, requantizes, and adds the secret base of dead channels.
    pub(super) fn linear(
        &mut self,
        op: &QOp,
        products: Value,
        linear: &Linear,
        plan: &Plan,
    ) -> Result<Value, LowerError> {
        let p = match plan {
            Plan::Private(p) => return Ok(self.private_linear(op, products, p)),
            Plan::Linear(p) => p,
            _ => unreachable!("the plan of a linear operator"),
        };
        let placed: Vec<crate::staircase::PlacedBias> = p
            .channels
            .iter()
            .zip(&linear.bias)
            .enumerate()
            .map(|(c, (channel, bias))| {
                channel.place_bias(*bias).map_err(|source| LowerError::Constants {
                    index: op.index,
                    name: op.name,
                    channel: c,
                    source,
                })
            })
            .collect::<Result<_, _>>()?;
        let (n, channels) = (p.formulas.n, placed.len() as u32);
        let most = p.channels.iter().map(|c| c.bias_hi.max(-c.bias_lo)).max().unwrap_or(0);
        let all: Vec<i64> = placed.iter().map(|b| b.bias).collect();
        let acc = if self.modes.public_weights {
            let p = self.b.channels(all);
            Source::Shared(self.b.one(Op::AddP { x: products, p }))
        } else {
            let bias = self.biases(&all, most, n);
            let source = self.b.settle(products);
            let (Source::Sum(products) | Source::Shared(products)) = source;
            source.of(self.b.one(Op::Add { a: products, b: bias }))
        };
        let dead = |c: &Channel| matches!(c.kind, ChannelKind::Dead);
        let base =
            p.channels.iter().zip(&placed).map(|(c, b)| if dead(c) { b.base - p.formulas.base as i32 } else { 0 });
        let (k, any) = (self.ring(op.output), p.channels.iter().any(dead));
        let base = any.then(|| self.shared_weight(&[channels], base.collect(), k));
        Ok(self.by_rows(acc, |e, acc, whole| {
            let mut y = e.finish_rows(op, acc, &p.formulas, None, whole);
            for (start, formulas) in &p.parts {
                let part = e.finish_rows(op, acc, formulas, None, whole);
                let part = e.b.add_scalar(part, zero_point(e.g.tensor(op.output)) - start);
                y = e.b.one(Op::Add { a: y, b: part });
            }
            match base {
                Some(base) => e.b.one(Op::Add { a: y, b: base }),
                None => y,
            }
        }))
    }

    /// Biases of at most `most`, as summands of all parties in a ring of `n` bits. A weights file holds 32 bits of a
    /// number: larger ones come in two parts.
    fn biases(&mut self, placed: &[i64], most: i64, n: u8) -> Value {
        const LOW: u8 = 31;
        let channels = [placed.len() as u32];
        let everyone = self.b.all();
        let bias = if most <= i64::from(i32::MAX) {
            self.shared_weight(&channels, placed.iter().map(|b| *b as i32).collect(), n)
        } else {
            let low = placed.iter().map(|b| (b & ((1 << LOW) - 1)) as i32).collect();
            let high = placed.iter().map(|b| (b >> LOW) as i32).collect();
            let low = self.shared_weight(&channels, low, n);
            let high = self.shared_weight(&channels, high, n - LOW);
            let high = self.b.one(Op::Raise { x: high, by: LOW });
            self.b.one(Op::Add { a: low, b: high })
        };
        if self.b.scheme.checked { bias } else { self.b.one(Op::AsSum { x: bias, at: everyone, bits: n }) }
    }
}
