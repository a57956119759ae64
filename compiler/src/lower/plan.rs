//! What each operator becomes: proved constants, accumulator widths, ring of each tensor. Looks at no weight.
use super::choose::{self, Unary, Way};
use super::softmax_table::{MAX_ROW, NoTable, SoftmaxTable};
use super::{BYTE_RING, LowerError, Options, Reveal, ranges};
use crate::qgraph::{DType, Graph, Kind, Linear, Op, Output, Tensor, TensorId, Window};
use crate::staircase::{
    AddFit, Channel, ChannelKind, Constants, Fit, Rule, Staircase, StaircaseError, Thresholds, dead_channel, fit,
    fit_thresholds, linear_channel, search_add, search_sub,
};
use rayon::prelude::*;

/// Largest accumulator: 2^(n−2) > 2^30 − 1 for n = 32.
const MAX_ACC: i64 = (1 << 30) - 1;

/// Constants of one class of elements (a channel, a pooling count, or all), relative to [`Formulas::base`].
#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub m: i64,
    pub s: u32,
    pub above: i64,
    pub below: i64,
    pub lo: i64,
    pub hi: i64,
    pub split: i64,
    /// First threshold below the split; `split` if there is none.
    pub first_below: i64,
    pub kind: ClassKind,
    /// Largest |acc|; 0 where the layer's is to be taken.
    pub bound: i64,
}

/// What a class computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClassKind {
    /// A staircase.
    Stairs,
    /// `[acc ≥ 0]`.
    Sign,
    /// `lo`, whatever acc is.
    Constant,
}

/// Constants of a requantization.
#[derive(Clone, Debug)]
pub struct Formulas {
    pub classes: Vec<Class>,
    /// What to add to the result to have stored integers.
    pub base: i64,
    /// Ring of the accumulator.
    pub n: u8,
    /// |acc − threshold| < 2^a.
    pub a: u8,
    /// Largest shift.
    pub width: u8,
    /// |floor − bound| < 2^(h−1) for every bound of the clamp; known in the form for the dealer route.
    pub h: u8,
    pub two: bool,
}

/// A linear operator.
#[derive(Clone, Debug)]
pub struct LinearPlan {
    pub formulas: Formulas,
    pub channels: Vec<Channel>,
}

/// How an operator is lowered.
#[derive(Clone, Debug)]
pub enum Plan {
    Linear(Box<LinearPlan>),
    Add {
        m: [i64; 2],
        formulas: Formulas,
    },
    Mul {
        formulas: Formulas,
    },
    /// Larger or smaller of two stored integers.
    Extremum,
    /// Sum of centred values, then one class per count (index = count) or a single one.
    Average {
        formulas: Formulas,
        per_count: bool,
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
    /// The receiver finishes.
    Logits,
    /// Inside the computation.
    Softmax(Box<SoftmaxTable>),
    /// On a value that the receiver holds already: moves the zero point.
    Finish,
    /// No output depends on it.
    Dead,
}

impl Plan {
    /// Constants of its requantization, if it has one.
    pub fn formulas(&self) -> Option<&Formulas> {
        match self {
            Plan::Linear(p) => Some(&p.formulas),
            Plan::Add { formulas, .. } | Plan::Mul { formulas } | Plan::Mean { formulas } => Some(formulas),
            Plan::Average { formulas, .. } => Some(formulas),
            Plan::Interpolate(f) => f.as_ref(),
            Plan::Unary(Unary::Stairs(f)) | Plan::Max(Unary::Stairs(f)) => Some(f),
            Plan::Unary(_) | Plan::Max(_) | Plan::Extremum | Plan::Pad | Plan::Reshape | Plan::Move => None,
            Plan::Logits | Plan::Softmax(_) | Plan::Finish | Plan::Dead => None,
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
    /// Thresholds proved.
    pub thresholds: u64,
    /// Whether the receiver holds the tensor in the clear.
    pub opened: Vec<bool>,
}

fn bits_for(bound: i64) -> u8 {
    (64 - bound.unsigned_abs().leading_zeros()) as u8
}

/// Zero point of a tensor.
pub fn zero_point(t: &Tensor) -> i64 {
    t.quant.map_or(0, |q| i64::from(q.zero_point))
}

/// Middle of the stored type: results are computed relative to it, so that constants are small.
fn base_of(t: &Tensor) -> i64 {
    if t.dtype == DType::U8 { 128 } else { 0 }
}

impl Class {
    fn of(c: &Constants, base: i64) -> Class {
        let two = c.two_pieces();
        let (lo, hi, split) = (i64::from(c.lo()) - base, i64::from(c.hi()) - base, i64::from(c.split()) - base);
        Class {
            m: c.m() as i64,
            s: c.s(),
            above: c.b_above() - (base << c.s()),
            below: if two { c.b_below() - (base << c.s()) } else { c.b_above() - (base << c.s()) },
            lo,
            hi,
            split: if two { split } else { lo },
            first_below: if two { lo + 1 } else { lo },
            kind: ClassKind::Stairs,
            bound: 0,
        }
    }

    /// Always `y`: its one threshold lies above `bound`.
    fn constant(y: i64, bound: i64) -> Class {
        let below = y - bound;
        let kind = ClassKind::Constant;
        Class { m: 1, s: 0, above: below, below, lo: y, hi: y + 1, split: y, first_below: y, kind, bound: 0 }
    }

    /// `[acc ≥ 0]`.
    fn sign() -> Class {
        let kind = ClassKind::Sign;
        Class { m: 1, s: 0, above: 1, below: 1, lo: 0, hi: 1, split: 0, first_below: 0, kind, bound: 0 }
    }

    /// Whether a second piece lies below the split.
    fn two(&self) -> bool {
        self.first_below < self.split || self.split > self.lo
    }

    /// The same function with floors that stay close to the clamp, where shifts are up to `width`.
    fn for_dealer(&self, width: u32) -> Class {
        match self.kind {
            ClassKind::Stairs => *self,
            // floor((acc + 2^s) / 2^s), clamped to 0 and 1.
            ClassKind::Sign => Class { s: width, above: 1 << width, below: 1 << width, ..*self },
            ClassKind::Constant => Class { m: 0, s: 0, above: self.lo, below: self.lo, hi: self.lo, ..*self },
        }
    }

    /// Bits of the largest distance of a floor to a bound of the clamp.
    fn reach(&self) -> u8 {
        let bound = i128::from(self.bound);
        let floor = |acc: i128, b: i64| (i128::from(self.m) * acc + i128::from(b)) >> self.s;
        [self.above, self.below]
            .into_iter()
            .flat_map(|b| [floor(bound, b) - i128::from(self.lo), i128::from(self.hi) + 1 - floor(-bound, b)])
            .map(|d| (128 - d.unsigned_abs().leading_zeros()) as u8)
            .max()
            .unwrap_or(1)
    }

    fn thresholds(&self) -> impl Iterator<Item = i64> {
        let at = |b: i64, j: i64| ir::eval::threshold(self.m, self.s.into(), b, j);
        let mut all = vec![at(self.above, self.split + 1), at(self.above, self.hi)];
        if self.first_below < self.split {
            all.extend([at(self.below, self.first_below), at(self.below, self.split)]);
        }
        all.into_iter()
    }
}

impl Formulas {
    fn new(classes: Vec<Class>, base: i64, bound: i64) -> Formulas {
        let furthest = classes.iter().flat_map(|c| c.thresholds()).map(i64::abs).max().unwrap_or(0);
        let n = (bits_for(bound) + 2).max(bits_for(bound + furthest + 1) + 1).max(4);
        let width = classes.iter().map(|c| c.s).max().unwrap_or(1).max(1) as u8;
        let two = classes.iter().any(Class::two);
        let classes = classes.into_iter().map(|c| Class { bound: if c.bound == 0 { bound } else { c.bound }, ..c });
        Formulas { classes: classes.collect(), base, n, a: bits_for(bound + furthest + 1), width, h: 0, two }
    }

    /// Those of some channels.
    pub fn of(&self, channels: &[u32]) -> Formulas {
        let classes: Vec<Class> = channels.iter().map(|c| self.classes[*c as usize]).collect();
        let two = classes.iter().any(Class::two);
        Formulas { classes, two, ..self.clone() }
    }

    /// The same with constants for the dealer route.
    pub fn for_dealer(&self) -> Formulas {
        let stairs = self.classes.iter().filter(|c| c.kind == ClassKind::Stairs);
        let width = stairs.map(|c| c.s).max().unwrap_or(u32::from(self.n)).max(1);
        let classes: Vec<Class> = self.classes.iter().map(|c| c.for_dealer(width)).collect();
        let h = classes.iter().map(|c| c.reach()).max().unwrap_or(1).max(1) + 1;
        Formulas { classes, width: width as u8, h, ..self.clone() }
    }
}

impl Formulas {
    /// Ring, bounds, shifts and pieces in a line.
    pub fn summary(&self) -> String {
        let stairs = || self.classes.iter().filter(|c| c.kind == ClassKind::Stairs);
        let bound = self.classes.iter().map(|c| c.bound).max().unwrap_or(0);
        let dealer = self.for_dealer();
        let range = |least: Option<u32>, most: Option<u32>| match (least, most) {
            (Some(a), Some(b)) if a != b => format!("{a} to {b}"),
            (Some(a), _) => a.to_string(),
            _ => "none".into(),
        };
        let other = self.classes.len() - stairs().count();
        format!(
            "accumulator |acc| <= {bound} in ring {}; thresholds within 2^{}; {} staircases in {} {}, {other} with one step or none; \
             shift {}; floor within 2^{} of the clamp",
            self.n,
            self.a,
            stairs().count(),
            if self.two { "two" } else { "one" },
            if self.two { "pieces" } else { "piece" },
            range(stairs().map(|c| c.s).min(), stairs().map(|c| c.s).max()),
            dealer.h.saturating_sub(1),
        )
    }
}

fn window_taps(w: &Window) -> i64 {
    (w.kernel[0] * w.kernel[1]) as i64
}

struct Planner<'a> {
    g: &'a Graph,
    options: Options,
    thresholds: u64,
    /// Smallest and largest stored integer of each tensor.
    stored: &'a [(i64, i64)],
}

impl Planner<'_> {
    /// Smallest and largest centred value of a tensor.
    fn centred(&self, id: TensorId) -> (i64, i64) {
        ranges::centred(self.g, id, self.stored[id.index()])
    }

    /// How a function of each element of an operator's result is chosen.
    fn way(&self, op: &Op) -> Way {
        let Options { route, aim, .. } = self.options;
        Way { route, aim, elements: self.g.tensor(op.output).len() }
    }

    fn constants(op: &Op, channel: usize, source: StaircaseError) -> LowerError {
        LowerError::Constants { index: op.index, name: op.name, channel, source }
    }

    fn no_multiplier(&self, op: &Op, channel: usize) -> LowerError {
        LowerError::Model(format!("operator {}: channel {channel} has no multiplier", op.index))
    }

    fn fits(&self, op: &Op, f: Formulas) -> Result<Formulas, LowerError> {
        if f.n > 32 {
            let reason = format!("the accumulator needs a ring of {} bits, this version computes in up to 32", f.n);
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
        Ok(f)
    }

    fn linear(&mut self, op: &Op, linear: &Linear, taps: i64, channels: usize) -> Result<Plan, LowerError> {
        let y = self.g.tensor(op.output);
        let (lo, hi) = self.centred(op.inputs[0]);
        let largest = i64::from(linear.weight_range.0.abs().max(linear.weight_range.1.abs()));
        let products = taps * lo.abs().max(hi.abs()) * largest;
        let per_channel: Vec<Channel> = (0..channels)
            .into_par_iter()
            .map(|c| {
                let rule = Rule::of_channel(&linear.rescale, c).ok_or_else(|| self.no_multiplier(op, c))?;
                // A dead channel costs one comparison only, so it is preferred.
                match dead_channel(products, rule, linear.out, MAX_ACC) {
                    Ok(Some(dead)) => Ok(dead),
                    _ => linear_channel(products, rule, linear.out, MAX_ACC).map_err(|e| Self::constants(op, c, e)),
                }
            })
            .collect::<Result<_, _>>()?;
        let base = base_of(y);
        let bound = per_channel.iter().map(|c| c.acc_bound).max().unwrap_or(1);
        let classes = per_channel
            .iter()
            .map(|c| match c.kind {
                ChannelKind::Live(k) => Class { bound: c.acc_bound, ..Class::of(&k, base) },
                ChannelKind::Dead => Class { bound: c.acc_bound, ..Class::sign() },
                ChannelKind::Constant(v) => Class::constant(i64::from(v) - base, bound),
            })
            .collect();
        self.thresholds += per_channel.iter().map(|c| c.checked as u64).sum::<u64>();
        let formulas = self.fits(op, Formulas::new(classes, base, bound))?;
        Ok(Plan::Linear(Box::new(LinearPlan { formulas, channels: per_channel })))
    }

    /// One staircase for all elements, on `from..=to`.
    fn single(
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
        let (from, to) = self.centred(op.inputs[0]);
        let base = base_of(y);
        let bound = most * from.abs().max(to.abs());
        let first = if per_count { 0 } else { most };
        let mut classes = Vec::new();
        for count in first..=most {
            let z = zero_point(x) as i32;
            let used = counts.contains(&count);
            let staircase = Staircase::average(count.max(1) as u64, x.dtype == DType::I8, z, lo, hi);
            classes.push(match fit(&staircase, count * from, count * to) {
                Ok(Fit::Affine(c)) => {
                    self.thresholds += c.checked() as u64;
                    Class::of(&c, base)
                }
                Ok(Fit::Constant(v)) => Class::constant(i64::from(v) - base, bound),
                Err(e) if used => return Err(Self::constants(op, 0, e)),
                Err(_) => Class::constant(0, bound),
            });
        }
        let formulas = self.fits(op, Formulas::new(classes, base, bound))?;
        Ok(Plan::Average { formulas, per_count })
    }

    /// The result goes into a ring of `ring` bits.
    fn op(&mut self, op: &Op, ring: u8) -> Result<Plan, LowerError> {
        let x = self.g.tensor(op.inputs[0]);
        let y = self.g.tensor(op.output);
        let (from, to) = self.centred(op.inputs[0]);
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
                Ok(Plan::Mean { formulas: self.single(op, fit(&staircase, from, to), from, to)? })
            }
            Kind::Add { left_shift, operands, multiplier, out } => {
                let ranges = self.stored_ranges(op);
                self.sum(op, search_add(*left_shift, *operands, *multiplier, *out, ranges), 1)
            }
            Kind::Sub { left_shift, operands, multiplier, out } => {
                let ranges = self.stored_ranges(op);
                self.sum(op, search_sub(*left_shift, *operands, *multiplier, *out, ranges), -1)
            }
            Kind::Pad { .. } => Ok(Plan::Pad),
            Kind::Reshape => Ok(Plan::Reshape),
            Kind::Quantize { multiplier, out, .. } => {
                let staircase = Staircase::new(Rule::Twice(*multiplier), *out);
                let f = |a: i64| i64::from(staircase.eval(a)) - i64::from(out.zero_point);
                let stairs = self.single(op, fit(&staircase, from, to), from, to).ok();
                Ok(Plan::Unary(choose::unary(from, to, f, stairs, ring, self.way(op))))
            }
            Kind::Table { table } => {
                let (z_x, z_y) = (zero_point(x), zero_point(y));
                let least = x.dtype.range().0;
                let f = |a: i64| i64::from(table[(a + z_x - least) as usize]) - z_y;
                Ok(Plan::Unary(choose::unary(from, to, f, None, ring, self.way(op))))
            }
            Kind::Softmax { .. } if self.options.reveal == Reveal::Logits => Ok(Plan::Logits),
            Kind::Softmax { multiplier, dmin, bits, .. } => {
                let row = x.shape.last().copied().unwrap_or(1);
                let refuse = |reason: String| LowerError::Unsupported {
                    index: op.index,
                    name: op.name,
                    reason: format!("{reason}; compile with `--reveal=logits` to let the receiver finish it"),
                };
                if *bits != 8 {
                    return Err(refuse(format!("results of {bits} bits are not computed inside")));
                }
                let table = SoftmaxTable::new(*multiplier, *dmin, row).map_err(|why| match why {
                    NoTable::Long => refuse(format!("rows of {row} elements, at most {MAX_ROW} are computed inside")),
                    NoTable::Rises => refuse("a threshold on the sum of exponentials does not hold".into()),
                })?;
                self.thresholds += table.count() as u64;
                Ok(Plan::Softmax(Box::new(table)))
            }
            Kind::Mul { rescale, out, .. } => {
                let largest = |t: TensorId| {
                    let (lo, hi) = self.centred(t);
                    lo.abs().max(hi.abs())
                };
                let bound = largest(op.inputs[0]) * largest(op.inputs[1]);
                let rule = Rule::of_channel(rescale, 0).ok_or_else(|| self.no_multiplier(op, 0))?;
                let staircase = Staircase::new(rule, *out);
                Ok(Plan::Mul { formulas: self.single(op, fit(&staircase, -bound, bound), -bound, bound)? })
            }
            Kind::Extremum { .. } => Ok(Plan::Extremum),
            Kind::Move { .. } => Ok(Plan::Move),
            Kind::Interpolate { interpolation } => {
                if !interpolation.exact() {
                    let reason = "TFLite computes it in float32, and ties depend on how that rounds; this version \
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
                Ok(Plan::Interpolate(Some(self.single(op, fit(&staircase, from, to), from, to)?)))
            }
            Kind::Softmax16 { .. }
            | Kind::LogSoftmax { .. }
            | Kind::L2Normalize { .. }
            | Kind::MatMul { .. }
            | Kind::Div { .. }
            | Kind::FloorDiv { .. }
            | Kind::Compare { .. }
            | Kind::Select
            | Kind::ReduceExtremum { .. }
            | Kind::ReduceProduct { .. }
            | Kind::Top { .. } => Err(LowerError::Unsupported {
                index: op.index,
                name: op.name,
                reason: "this version computes it in `simulate` only".into(),
            }),
        }
    }

    fn stored_ranges(&self, op: &Op) -> [(i32, i32); 2] {
        [op.inputs[0], op.inputs[1]].map(|t| {
            let (lo, hi) = self.stored[t.index()];
            (lo as i32, hi as i32)
        })
    }

    /// Sum of the first operand and `sign` times the second.
    fn sum(&mut self, op: &Op, found: Result<AddFit, StaircaseError>, sign: i64) -> Result<Plan, LowerError> {
        let base = base_of(self.g.tensor(op.output));
        let (m, class, bound) = match found.map_err(|e| Self::constants(op, 0, e))? {
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
    for op in &g.ops {
        if !ranges::lowers(g, op) {
            let reason = "it has values other than 8-bit ones, which this version computes in `simulate` only".into();
            return Err(LowerError::Unsupported { index: op.index, name: op.name, reason });
        }
    }
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
    let mut planner = Planner { g, options, thresholds: 0, stored: &stored };
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
        ops[i] = planner.op(op, out)?;
        let need = match &ops[i] {
            Plan::Linear(p) => p.formulas.n,
            Plan::Add { formulas, .. } | Plan::Average { formulas, .. } | Plan::Mean { formulas } => formulas.n,
            Plan::Mul { formulas } | Plan::Interpolate(Some(formulas)) => formulas.n,
            Plan::Unary(how) | Plan::Max(how) => how.ring(out).max(BYTE_RING),
            Plan::Interpolate(None) | Plan::Pad | Plan::Reshape | Plan::Move | Plan::Extremum => out,
            Plan::Logits | Plan::Softmax(_) | Plan::Finish | Plan::Dead => BYTE_RING,
        };
        for t in &op.inputs {
            let ring = &mut rings[t.index()];
            *ring = (*ring).max(need).max(least[t.index()]);
        }
    }
    for t in &g.inputs {
        rings[t.index()] = rings[t.index()].max(least[t.index()]);
    }
    Ok(Plans { ops, rings, least, thresholds: planner.thresholds, opened })
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
                "rescales the result of a SOFTMAX, which only the receiver knows; this version moves zero points only",
            )
        }
        _ => refuse("uses the result of a SOFTMAX, which this version opens to the receiver: SOFTMAX must come last"),
    }
}
