//! What each operator becomes: proved constants, accumulator widths, ring of each tensor. Looks at no weight.
use super::choice::Choice;
use super::choose::{self, Unary, Way};
use super::formulas::{Class, ClassKind, Formulas};
use super::linear::LinearPlan;
use super::normalize::Normal;
use super::private::{self, PrivatePlan};
use super::product::Step;
use super::softmax_steps::{MAX_ROW, Stepwise};
use super::softmax_table::SoftmaxTable;
use super::softmax16::Softmax16;
use super::wide::FineSum;
use super::{BYTE_RING, LowerError, Options, Reveal, ranges};
use crate::qgraph::{DType, Graph, Kind, Op, Output, Tensor, TensorId, Window};
use crate::staircase::{
    AddFit, Channel, Fit, Rule, Staircase, StaircaseError, Thresholds, best_fit, fit_thresholds, search_add, search_sub,
};
use std::collections::HashMap;

/// How an operator is lowered.
#[derive(Clone, Debug)]
pub enum Plan {
    Linear(Box<LinearPlan>),
    /// By secret constants.
    Private(Box<PrivatePlan>),
    Add {
        m: [i64; 2],
        formulas: Formulas,
    },
    /// Product less a public number, so that it has fewer bits.
    Mul {
        middle: i64,
        formulas: Formulas,
    },
    /// Each operand rescaled, with more bits than the result, then their sum.
    FineSum(Box<FineSum>),
    /// Larger or smaller of two stored integers.
    Extremum,
    /// Sum of centred values, then one class per count (index = count) or a single one.
    Average {
        formulas: Formulas,
        per_count: bool,
    },
    /// What is left of an operand whose shift overflows, by its division by 2^bits, and its rescaling.
    Folded {
        fold: Formulas,
        bits: u32,
        then: Formulas,
    },
    /// Rescaled products of all but the last factor, then the result.
    Product {
        steps: Vec<Step>,
        last: Formulas,
    },
    /// Maximum over windows, then the clamp.
    Max(Unary),
    Mean {
        formulas: Formulas,
    },
    Pad,
    Reshape,
    /// Elements are copied.
    Move,
    /// Weighted means; no rounding where every weight is whole.
    Interpolate(Option<Formulas>),
    /// A function of each element.
    Unary(Unary),
    /// A function of 16 bits: the centred result for each centred operand mod 2^16.
    Table16(Vec<i64>),
    /// The receiver finishes.
    Logits,
    /// Inside the computation.
    Softmax(Box<SoftmaxTable>),
    /// The same for 16-bit numbers.
    Softmax16(Box<Softmax16>),
    /// With results of 16 bits, or of long rows.
    Stepwise(Box<Stepwise>),
    /// Comparisons and what is built of them.
    Choice(Box<Choice>),
    /// Products of two matrices.
    MatMul {
        formulas: Formulas,
    },
    /// LOG_SOFTMAX, L2_NORMALIZATION.
    Normal(Box<Normal>),
    /// Slices at secret positions; the division of a position by 2^8 where there are so many.
    Lookup(Option<Formulas>),
    /// By constants of the model owner.
    Quotient,
    /// On a value that the receiver holds already: moves the zero point.
    Finish,
    /// No output depends on it.
    Dead,
}

impl Plan {
    /// Ring of the sums of a linear operator.
    pub(super) fn accumulator(&self) -> u8 {
        match self {
            Plan::Linear(p) => p.formulas.n,
            _ => private::RING,
        }
    }

    /// Constants of its requantization, if it has one.
    pub fn formulas(&self) -> Option<&Formulas> {
        match self {
            Plan::Linear(p) => Some(&p.formulas),
            Plan::Add { formulas, .. } | Plan::Mul { formulas, .. } | Plan::Mean { formulas } => Some(formulas),
            Plan::FineSum(p) => p.formulas.as_ref(),
            Plan::Folded { then, .. } => Some(then),
            Plan::Product { last, .. } => Some(last),
            Plan::MatMul { formulas } => Some(formulas),
            Plan::Lookup(high) => high.as_ref(),
            Plan::Choice(choice) => choice.formulas(),
            Plan::Average { formulas, .. } => Some(formulas),
            Plan::Interpolate(f) => f.as_ref(),
            Plan::Unary(Unary::Stairs(f)) | Plan::Max(Unary::Stairs(f)) => Some(f),
            Plan::Unary(_)
            | Plan::Table16(_)
            | Plan::Softmax16(_)
            | Plan::Stepwise(_)
            | Plan::Private(_)
            | Plan::Max(_)
            | Plan::Extremum
            | Plan::Pad
            | Plan::Reshape
            | Plan::Move => None,
            Plan::Logits | Plan::Softmax(_) | Plan::Normal(_) | Plan::Quotient | Plan::Finish | Plan::Dead => None,
        }
    }
}

/// Plans and rings.
pub struct Plans {
    pub ops: Vec<Plan>,
    /// Ring of each tensor, 0 where nothing needs it.
    pub rings: Vec<u8>,
    /// Smallest ring that holds each tensor.
    pub least: Vec<u8>,
    /// Smallest and largest stored integer of each tensor.
    pub stored: Vec<(i64, i64)>,
    /// Thresholds proved.
    pub thresholds: u64,
    /// Whether the receiver holds the tensor in the clear.
    pub opened: Vec<bool>,
}

/// Zero point of a tensor.
pub fn zero_point(t: &Tensor) -> i64 {
    t.quant.map_or(0, |q| i64::from(q.zero_point))
}

/// Middle of the stored type: results are computed relative to it, so that constants are small.
pub(super) fn base_of(t: &Tensor) -> i64 {
    if t.dtype == DType::U8 { 128 } else { 0 }
}

fn window_taps(w: &Window) -> i64 {
    (w.kernel[0] * w.kernel[1]) as i64
}

pub(super) struct Planner<'a> {
    pub(super) g: &'a Graph,
    pub(super) options: Options,
    pub(super) thresholds: u64,
    /// Smallest and largest stored integer of each tensor.
    pub(super) stored: &'a [(i64, i64)],
    /// Ring of the result that is being planned.
    pub(super) ring: u8,
    /// Channels found so far.
    pub(super) found: HashMap<super::linear::Key, Channel>,
}

impl Planner<'_> {
    /// Smallest and largest centred value of a tensor.
    pub(super) fn centred(&self, id: TensorId) -> (i64, i64) {
        ranges::centred(self.g, id, self.stored[id.index()])
    }

    /// How a function of each element of an operator's result is chosen.
    pub(super) fn way(&self, op: &Op) -> Way {
        let Options { route, aim, .. } = self.options;
        Way { profile: crate::profile::of(self.options.protocol), route, aim, elements: self.g.tensor(op.output).len() }
    }

    pub(super) fn constants(op: &Op, channel: usize, source: StaircaseError) -> LowerError {
        LowerError::Constants { index: op.index, name: op.name, channel, source }
    }

    pub(super) fn no_multiplier(&self, op: &Op, channel: usize) -> LowerError {
        LowerError::Model(format!("operator {}: channel {channel} has no multiplier", op.index))
    }

    /// Refuses constants with which the gadget would leave 64-bit words.
    pub(super) fn fits(&self, op: &Op, f: Formulas) -> Result<Formulas, LowerError> {
        self.fits_in(op, f, self.ring)
    }

    /// The same where the result goes into a ring of `k` bits. The ring of the accumulator becomes the one that the gadget needs.
    pub(super) fn fits_in(&self, op: &Op, f: Formulas, k: u8) -> Result<Formulas, LowerError> {
        if self.options.route == super::Route::Adder {
            return self.in_ring(op, super::adder::requant::ring(&f), f);
        }
        if self.options.protocol.facts().scheme.additive {
            return self.in_ring(op, f.for_additive().n, f);
        }
        if !f.stays_in_words(k) {
            let reason = format!(
                "{} and a result in a ring of {k} bits do not fit 64-bit words; use scales that are closer to each other",
                f.summary()
            );
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        Ok(f)
    }

    /// With an accumulator of `n` bits, if there is such a ring.
    fn in_ring(&self, op: &Op, n: u8, f: Formulas) -> Result<Formulas, LowerError> {
        if n > 64 {
            let what = f.summary();
            let reason = format!(
                "{what} needs a ring of {n} bits, there are at most 64; use scales that are closer to each other"
            );
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        Ok(Formulas { n, ..f })
    }

    /// One staircase for all elements, on `from..=to`.
    pub(super) fn single(
        &mut self,
        op: &Op,
        found: Result<Fit, StaircaseError>,
        from: i64,
        to: i64,
    ) -> Result<Formulas, LowerError> {
        let base = base_of(self.g.tensor(op.output));
        let bound = from.abs().max(to.abs());
        let class = match found.map_err(|e| Self::constants(op, 0, e))? {
            Fit::Constant(y) => Class::constant(i64::from(y) - base, bound),
            Fit::Affine(c) => {
                self.thresholds += c.checked() as u64;
                Class::of(&c, base)
            }
        };
        self.fits(op, Formulas::new(vec![class], base, bound))
    }

    fn average(&mut self, op: &Op, window: &Window, lo: i32, hi: i32) -> Result<Plan, LowerError> {
        let (x, y) = (self.g.tensor(op.inputs[0]), self.g.tensor(op.output));
        let counts =
            ir::shape::window_count(&[x.shape[1] as u32, x.shape[2] as u32], &super::emit::window(window, &y.shape));
        let most = counts.iter().copied().max().unwrap_or(1);
        let per_count = counts.iter().any(|c| *c != most);
        // Where the zero point is secret, stored integers are added up.
        let private = self.options.modes.private_scales;
        let (from, to) = if private { self.stored[op.inputs[0].index()] } else { self.centred(op.inputs[0]) };
        let z = if private { 0 } else { zero_point(x) as i32 };
        let base = base_of(y);
        let bound = most * from.abs().max(to.abs());
        let first = if per_count { 0 } else { most };
        let mut classes = Vec::new();
        for count in first..=most {
            let used = counts.contains(&count);
            let staircase = Staircase::average(count.max(1) as u64, x.dtype != DType::U8, z, lo, hi);
            classes.push(match best_fit(&staircase, count * from, count * to) {
                Ok(Fit::Affine(c)) => {
                    self.thresholds += c.checked() as u64;
                    Class::of(&c, base)
                }
                Ok(Fit::Constant(v)) => Class::constant(i64::from(v) - base, bound),
                Err(e) if used => return Err(Self::constants(op, 0, e)),
                Err(_) => Class::constant(0, bound),
            });
        }
        let mut formulas = self.fits(op, Formulas::new(classes, base, bound))?;
        if self.options.route == super::Route::Adder && per_count {
            // Which count an element has cannot be told by its place: all of them in one ring.
            formulas = self.in_ring(op, super::adder::requant::together(&formulas), formulas)?;
        }
        Ok(Plan::Average { formulas, per_count })
    }

    /// The result goes into a ring of `ring` bits.
    fn op(&mut self, op: &Op, ring: u8) -> Result<Plan, LowerError> {
        self.ring = ring;
        self.no_wrap(op)?;
        let x = self.g.tensor(op.inputs[0]);
        let y = self.g.tensor(op.output);
        let (from, to) = self.centred(op.inputs[0]);
        let bytes = matches!(x.dtype, DType::I8 | DType::U8 | DType::Bool);
        if !bytes && matches!(op.kind, Kind::Compare { .. } | Kind::Top { .. }) {
            let reason = "it has values other than 8-bit ones, which this version computes in `simulate` only".into();
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        match &op.kind {
            Kind::Conv2d { window, groups, linear } => {
                let depth = x.shape.last().copied().unwrap_or(1) / groups;
                self.linear(op, linear, window_taps(window) * depth as i64, y.shape[3])
            }
            Kind::DepthwiseConv2d { window, linear, .. } => self.linear(op, linear, window_taps(window), y.shape[3]),
            Kind::FullyConnected { linear } => {
                let channels = linear.bias.len();
                self.linear(op, linear, (linear.weights.len() / channels.max(1)) as i64, channels)
            }
            Kind::AveragePool2d { window, lo, hi } => self.average(op, window, *lo, *hi),
            Kind::MaxPool2d { window, lo, hi } => {
                let (least, most) = y.dtype.range();
                if i64::from(*lo) <= least && i64::from(*hi) >= most {
                    let count = window.kernel[0] * window.kernel[1];
                    if !choose::is_byte(from, to) {
                        return Ok(Plan::Max(Unary::Same));
                    }
                    return Ok(Plan::Max(choose::after_maximum(from, to, count, ring, self.way(op))));
                }
                let z = zero_point(x);
                let out = Output { zero_point: z as i32, lo: *lo, hi: *hi };
                let stairs = self.clamp(op, out, from, to)?;
                let clamped = |x: i64| (x + z).max(i64::from(*lo)).min(i64::from(*hi)) - z;
                Ok(Plan::Max(choose::unary(from, to, clamped, Some(stairs), ring, self.way(op))))
            }
            Kind::Mean { axes, rescale, out, .. } => {
                let count: i64 = axes.iter().map(|a| x.shape[*a] as i64).product();
                let rule = Rule::of_channel(rescale, 0).ok_or_else(|| self.no_multiplier(op, 0))?;
                let staircase = Staircase::new(rule, *out);
                let (from, to) = (count * from, count * to);
                Ok(Plan::Mean { formulas: self.single(op, best_fit(&staircase, from, to), from, to)? })
            }
            Kind::Add { left_shift, operands, multiplier, out } => {
                let found = |ranges| search_add(*left_shift, *operands, *multiplier, *out, ranges);
                self.sum(op, &found, 1).or_else(|why| self.fine_sum(op, 1, why))
            }
            Kind::Sub { left_shift, operands, multiplier, out } => {
                let found = |ranges| search_sub(*left_shift, *operands, *multiplier, *out, ranges);
                self.sum(op, &found, -1).or_else(|why| self.fine_sum(op, -1, why))
            }
            Kind::Pad { .. } => Ok(Plan::Pad),
            Kind::Reshape => Ok(Plan::Reshape),
            Kind::Quantize { multiplier, out, .. } if self.leaves_int32(op, *multiplier) => {
                self.folded(op, *multiplier, *out)
            }
            Kind::Quantize { multiplier, out, .. } => {
                let staircase = Staircase::new(Rule::Twice(*multiplier), *out);
                let f = |a: i64| i64::from(staircase.eval(a)) - i64::from(out.zero_point);
                let stairs = self.single(op, best_fit(&staircase, from, to), from, to);
                let stairs = if choose::is_byte(from, to) { stairs.ok() } else { Some(stairs?) };
                Ok(Plan::Unary(choose::unary(from, to, f, stairs, ring, self.way(op))))
            }
            Kind::Table { table } => {
                let (z_x, z_y) = (zero_point(x), zero_point(y));
                let least = x.dtype.range().0;
                let f = |a: i64| i64::from(table[(a + z_x - least) as usize]) - z_y;
                if !choose::is_byte(from, to) {
                    return Ok(wide_table(from, to, f));
                }
                Ok(Plan::Unary(choose::unary(from, to, f, None, ring, self.way(op))))
            }
            Kind::Softmax { .. } if self.options.reveal == Reveal::Logits => Ok(Plan::Logits),
            Kind::Softmax { multiplier, dmin, lo, bits } => {
                let row = x.shape.last().copied().unwrap_or(1);
                if *bits == 8
                    && let Ok(table) = SoftmaxTable::new(*multiplier, *dmin, row)
                {
                    self.thresholds += table.count() as u64;
                    return Ok(Plan::Softmax(Box::new(table)));
                }
                if row > MAX_ROW {
                    let reason = format!(
                        "rows of {row} elements, at most {MAX_ROW} are computed inside; compile with `--reveal=logits` to \
                         let the receiver finish it"
                    );
                    return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
                }
                self.stepwise(op, *multiplier, *dmin, [*lo, *bits as i32], row)
            }
            Kind::Mul { rescale, out, .. } => self.mul(op, rescale, *out),
            Kind::Extremum { .. } => Ok(Plan::Extremum),
            Kind::Move { .. } => Ok(Plan::Move),
            Kind::Interpolate { interpolation } => {
                if !interpolation.exact() {
                    let reason = "TFLite computes it in float32, and ties depend on how that rounds: this version \
                                  computes it in `simulate` only"
                        .into();
                    return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
                }
                let unit = interpolation.unit();
                if unit == 1 {
                    return Ok(Plan::Interpolate(None));
                }
                let ((lo, hi), z) = (y.dtype.range(), zero_point(x) as i32);
                let staircase = Staircase::average(unit as u64, x.dtype != DType::U8, z, lo as i32, hi as i32);
                let (from, to) = (unit * from, unit * to);
                Ok(Plan::Interpolate(Some(self.single(op, best_fit(&staircase, from, to), from, to)?)))
            }
            Kind::MatMul { rescale, out, .. } => self.mat_mul(op, rescale, *out),
            Kind::ReduceExtremum { axes, .. } => Ok(Plan::Choice(Box::new(self.extremum(op, axes, ring)))),
            Kind::Compare { relation, left_shift, operands } => {
                Ok(Plan::Choice(Box::new(self.relation(op, *relation, *left_shift, operands))))
            }
            Kind::ReduceProduct { axes, multiplier, out, .. } => self.product(op, axes, *multiplier, *out),
            Kind::Lookup { size, .. } => self.lookup(op, *size),
            Kind::LogSoftmax { .. } | Kind::L2Normalize { .. } => self.normal(op),
            Kind::Div { .. } | Kind::FloorDiv { .. } => self.quotient(op),
            Kind::Select => Ok(Plan::Choice(Box::new(Choice::Select))),
            Kind::Top { axis, indices, .. } => Ok(Plan::Choice(Box::new(self.top(op, *axis, *indices, ring)?))),
            Kind::Softmax16 { multiplier, exponential, inverse } => {
                self.softmax16(op, *multiplier, exponential, inverse)
            }
        }
    }

    fn stored_ranges(&self, op: &Op) -> [(i32, i32); 2] {
        [op.inputs[0], op.inputs[1]].map(|t| {
            let (lo, hi) = self.stored[t.index()];
            (lo as i32, hi as i32)
        })
    }

    /// Sum of the first operand and `sign` times the second.
    fn sum(
        &mut self,
        op: &Op,
        search: &dyn Fn([(i32, i32); 2]) -> Result<AddFit, StaircaseError>,
        sign: i64,
    ) -> Result<Plan, LowerError> {
        let base = base_of(self.g.tensor(op.output));
        let (m, class, bound) = match search(self.stored_ranges(op)).map_err(|e| Self::constants(op, 0, e))? {
            AddFit::Constant(v) => ([0, 0], Class::constant(i64::from(v) - base, 1), 1),
            AddFit::Affine(c) => {
                self.thresholds += c.checked() as u64;
                let reach = |i: usize| {
                    let (lo, hi) = self.centred(op.inputs[i]);
                    lo.abs().max(hi.abs())
                };
                let bound = c.m1() * reach(0) + c.m2() * reach(1);
                let two = c.two_pieces();
                let (lo, hi) = (i64::from(c.lo()) - base, i64::from(c.hi()) - base);
                let shift = base << c.s();
                let class = Class {
                    m: 1,
                    s: c.s(),
                    above: c.b_above() - shift,
                    below: if two { c.b_below() } else { c.b_above() } - shift,
                    lo,
                    hi,
                    split: if two { i64::from(c.split()) - base } else { lo },
                    first_below: if two { lo + 1 } else { lo },
                    kind: ClassKind::Stairs,
                    bound,
                };
                ([c.m1(), sign * c.m2()], class, bound)
            }
        };
        let formulas = self.fits(op, Formulas::new(vec![class], base, bound))?;
        Ok(Plan::Add { m, formulas })
    }

    /// `clamp(x)` of stored integers, on centred input.
    fn clamp(&mut self, op: &Op, out: Output, from: i64, to: i64) -> Result<Formulas, LowerError> {
        let z = i64::from(out.zero_point);
        let stored = |a: i64| (a + z).max(out.lo.into()).min(out.hi.into()) as i32;
        let steps = Thresholds { lo: out.lo, at: (out.lo + 1..=out.hi).map(|j| i64::from(j) - z).collect() };
        let found = if out.lo >= out.hi {
            Ok(Fit::Constant(stored(0)))
        } else {
            fit_thresholds(&steps, out.lo, stored, from, to)
        };
        self.single(op, found, from, to)
    }
}

/// A function of centred 16-bit numbers between `from` and `to`.
fn wide_table(from: i64, to: i64, f: impl Fn(i64) -> i64) -> Plan {
    if (from..=to).all(|x| f(x) == x) {
        return Plan::Unary(Unary::Same);
    }
    let mut entries = vec![f(from); 1 << 16];
    (from..=to).for_each(|x| entries[x.rem_euclid(1 << 16) as usize] = f(x));
    Plan::Table16(entries)
}

/// Plans every operator of `g`. What the next call begins with must come in the ring in which this one reads it: rings
/// only grow from try to try and have a largest width, so this ends.
pub fn plan(g: &Graph, options: Options) -> Result<Plans, LowerError> {
    let mut kept = vec![0; g.states.len()];
    loop {
        let plans = plan_with(g, options, &kept)?;
        let read: Vec<u8> = g.states.iter().map(|s| plans.rings[s.tensor.index()]).collect();
        if read == kept {
            return Ok(plans);
        }
        kept = read;
    }
}

/// The same with a ring of at least `kept` bits for each state.
fn plan_with(g: &Graph, options: Options, kept: &[u8]) -> Result<Plans, LowerError> {
    let reveal = options.reveal;
    let stored = ranges::stored(g);
    let ids = (0..g.tensors.len() as u32).map(TensorId);
    let least: Vec<u8> = ids.map(|id| ranges::ring(g, id, stored[id.index()])).collect();
    let mut rings = vec![0u8; g.tensors.len()];
    let mut opened = vec![false; g.tensors.len()];
    for op in &g.ops {
        opened[op.output.index()] = match op.kind {
            Kind::Softmax { .. } if reveal == Reveal::Logits => true,
            _ => op.inputs.first().is_some_and(|t| opened[t.index()]),
        };
    }
    for id in &g.outputs {
        let id = super::revealed(g, *id, reveal);
        rings[id.index()] = least[id.index()];
    }
    for (state, kept) in g.states.iter().zip(kept) {
        if opened[state.next.index()] {
            let reason = "the model keeps the result of a SOFTMAX between calls, which `--reveal=logits` opens";
            return Err(LowerError::Model(reason.to_owned()));
        }
        for t in [state.tensor, state.next] {
            rings[t.index()] = rings[t.index()].max(*kept).max(least[t.index()]);
        }
    }
    let mut planner = Planner { g, options, thresholds: 0, stored: &stored, ring: 0, found: HashMap::new() };
    let mut ops = vec![Plan::Dead; g.ops.len()];
    for (i, op) in g.ops.iter().enumerate().rev() {
        let out = rings[op.output.index()];
        if out == 0 {
            continue;
        }
        if op.inputs.iter().any(|t| opened[t.index()]) {
            ops[i] = finish(g, op)?;
            rings[op.inputs[0].index()] = least[op.inputs[0].index()];
            continue;
        }
        ops[i] = match options.modes.private_scales {
            false => planner.op(op, out)?,
            // Constants that are multiplied by secrets have no width of their own.
            true => planner.op(op, BYTE_RING).and_then(|plan| planner.private(op, plan))?,
        };
        offered(op, &ops[i], options)?;
        let need = match &ops[i] {
            plan @ (Plan::Linear(_) | Plan::Private(_)) => plan.accumulator(),
            Plan::Add { formulas, .. } | Plan::Average { formulas, .. } | Plan::Mean { formulas } => formulas.n,
            Plan::Mul { formulas, .. } | Plan::Interpolate(Some(formulas)) | Plan::MatMul { formulas } => formulas.n,
            Plan::FineSum(p) => p.ring,
            Plan::Choice(choice) => choice.ring(out),
            Plan::Normal(normal) => normal.ring(),
            Plan::Lookup(high) => high.as_ref().map_or(BYTE_RING, |f| f.n).max(out),
            Plan::Table16(_) => 16,
            Plan::Softmax16(_) => 18,
            Plan::Folded { fold, then, .. } => fold.n.max(then.n),
            Plan::Product { steps, last } => steps.iter().map(|s| s.formulas.n).max().unwrap_or(0).max(last.n),
            Plan::Unary(how) | Plan::Max(how) => how.ring(out).max(BYTE_RING),
            Plan::Interpolate(None) | Plan::Pad | Plan::Reshape | Plan::Move | Plan::Extremum => out,
            Plan::Logits | Plan::Softmax(_) | Plan::Stepwise(_) => BYTE_RING,
            Plan::Quotient | Plan::Finish | Plan::Dead => BYTE_RING,
        };
        for t in &op.inputs {
            let ring = &mut rings[t.index()];
            *ring = (*ring).max(need).max(least[t.index()]);
        }
    }
    for t in &g.inputs {
        rings[t.index()] = rings[t.index()].max(least[t.index()]);
    }
    let thresholds = planner.thresholds;
    Ok(Plans { ops, rings, least, stored, thresholds, opened })
}

/// Refuses what the circuit route has no gadgets for.
fn offered(op: &Op, plan: &Plan, options: Options) -> Result<(), LowerError> {
    let additive = options.protocol.facts().scheme.additive;
    let missing = match plan {
        Plan::Table16(_) => "look-ups of 16 bits",
        Plan::Softmax(_) | Plan::Softmax16(_) | Plan::Stepwise(_) => "a softmax inside the computation",
        Plan::Choice(choice) if !choice.by_circuits() => "places of the largest",
        Plan::Normal(_) => "norms",
        Plan::Lookup(_) => "slices at secret positions",
        Plan::Quotient => "division",
        Plan::MatMul { .. } if additive => "products of two secret matrices",
        Plan::FineSum(_) | Plan::Folded { .. } | Plan::Product { .. } if additive => "results rescaled in steps",
        _ => return Ok(()),
    };
    if !matches!(options.route, super::Route::Circuit | super::Route::Adder) {
        return Ok(());
    }
    let logits = matches!(plan, Plan::Softmax(_) | Plan::Stepwise(_));
    let hint = if logits { ", or with `--reveal=logits` so that the receiver finishes it" } else { "" };
    let name = options.protocol.facts().name;
    let reason = format!("protocol {name} does not offer {missing} yet; compile it with `--protocol rep3`{hint}");
    Err(LowerError::Unsupported { index: op.index, name: op.name, reason })
}

/// An operator after the softmax, on a value that the receiver holds.
fn finish(g: &Graph, op: &Op) -> Result<Plan, LowerError> {
    let refuse = |reason: &str| Err(LowerError::Unsupported { index: op.index, name: op.name, reason: reason.into() });
    match &op.kind {
        Kind::Reshape => Ok(Plan::Finish),
        Kind::Quantize { multiplier, out, .. } => {
            let (from, to) = ranges::centred(g, op.inputs[0], g.tensor(op.inputs[0]).dtype.range());
            let staircase = Staircase::new(Rule::Twice(*multiplier), *out);
            if (from..=to).all(|a| i64::from(staircase.eval(a)) - i64::from(out.zero_point) == a) {
                return Ok(Plan::Finish);
            }
            refuse(
                "rescales the result of a SOFTMAX, which only the receiver knows: this version moves zero points only",
            )
        }
        _ => refuse("uses the result of a SOFTMAX, which this version opens to the receiver: SOFTMAX must come last"),
    }
}
