//! Multipliers and zero points that only the model owner knows (`--scales=private`).
//!
//! **What is computed.** As always `y = clamp(floor((m·acc + b) / 2^s), lo, hi)` with proved constants, but m and b come with the
//! weights, and s is [`SHIFT`] for every channel of every model: constants for a smaller shift are multiplied by a power of two,
//! which changes no floor. So t = m·acc + b is a sum of products of sharings, and what follows is one requantization whose constants
//! are all public: m = 1, b = 0, s, and the ends of the type. Two pieces differ in b alone: the one for negative results is taken
//! where acc < 0, so `t = m·acc + b + [acc < 0]·(b' − b)`. Zero points are secret numbers that are taken off the result, so that
//! values stay centred, as everywhere.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | acc, shared: B and C join v, A shares u |
//! | 2 … | [acc < 0], where a result can be negative and its kernel rounds twice |
//! | +1 | t, in place of the product of the usual requantization |
//! | +4 | the usual requantization |
//!
//! **What each message reveals.** They are messages of products, reshares, signs and requantizations as everywhere, under fresh pads of
//! their own; m, b and zero points are sharings as weights are.
//!
//! **What the program tells.** Its widths come from [`RING`] and [`SHIFT`], not from scales: programs of models that differ in scales and
//! zero points between input and output are equal, which a test says. Public are scale and zero point of inputs and outputs, whose
//! owners convert; with `--reveal=logits` the scale of the logits; and of each layer that rounds twice, whether its zero point is
//! the lowest number of its type, as behind a ReLU. A model whose constants do not fit is refused, and that is all that tells.
use super::emit::{self, Emitter};
use super::formulas::{Class, ClassKind, Formulas};
use super::linear::LinearPlan;
use super::plan::{Plan, Planner, base_of, zero_point};
use super::requant::Source;
use super::{LowerError, maximum};
use crate::qgraph::{DType, Kind, Op as QOp, Rescale, TensorId};
use crate::staircase::ChannelKind;
use ir::{Axes, Dims, Op, Value};

/// Every shift.
const SHIFT: u32 = 38;
/// |m·acc + b| is less.
const MOST: i64 = 1 << 59;
/// Bits of the ring of accumulators and of what is floored.
pub(super) const RING: u8 = 61;
/// |acc| < 2^30 where its sign is asked for.
const SIGNED: u8 = 30;
/// Bits of the lower part of a secret number; a weights file holds 32 bits.
const LOW: u8 = 31;

/// A requantization with secret constants, one of each for all elements, or one for each channel.
#[derive(Clone, Debug)]
pub struct PrivatePlan {
    /// By operand of the sum that is rescaled.
    slopes: Vec<Vec<i64>>,
    offsets: Vec<i64>,
    /// What the offset for negative accumulators has more, where it differs in kind.
    change: Option<Vec<i64>>,
    /// Placed biases of a linear layer.
    biases: Vec<i64>,
    /// The requantization with public constants.
    formulas: Formulas,
}

impl Planner<'_> {
    /// The private form of a plan that was made with public constants.
    pub(super) fn private(&self, op: &QOp, plan: Plan) -> Result<Plan, LowerError> {
        let refuse = |reason: &str| {
            let reason = format!("{reason}; compile it with `--scales=public`");
            Err(LowerError::Unsupported { index: op.index, name: op.name, reason })
        };
        let y = self.g.tensor(op.output);
        let bytes = |t: &TensorId| matches!(self.g.tensor(*t).dtype, DType::I8 | DType::U8);
        if !op.inputs.iter().chain([&op.output]).all(bytes) {
            return refuse("private scales are for 8-bit tensors");
        }
        let whole = |lo: i32, hi: i32| (i64::from(lo), i64::from(hi)) == y.dtype.range();
        let same = |a: TensorId| zero_point(self.g.tensor(a)) == zero_point(y);
        let clamp = match &op.kind {
            Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear } => {
                (linear.out.lo, linear.out.hi)
            }
            Kind::Add { out, .. } | Kind::Sub { out, .. } | Kind::Mean { out, .. } => (out.lo, out.hi),
            Kind::AveragePool2d { lo, hi, .. } | Kind::MaxPool2d { lo, hi, .. } => (*lo, *hi),
            _ => (y.dtype.range().0 as i32, y.dtype.range().1 as i32),
        };
        if !whole(clamp.0, clamp.1) {
            return refuse("an activation clamps within the range of its type, at a place that its scale decides");
        }
        match (&op.kind, plan) {
            (
                Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear },
                Plan::Linear(p),
            ) => {
                let twice = matches!(linear.rescale, Rescale::Twice(_));
                self.private_linear(op, &p, &linear.bias, twice && y.dtype.range().0 < zero_point(y))
            }
            (Kind::Mean { .. }, Plan::Mean { formulas }) => {
                self.private_sum(op, &formulas, &[1], y.dtype.range().0 < zero_point(y))
            }
            (Kind::Add { .. } | Kind::Sub { .. }, Plan::Add { m, formulas }) => {
                self.private_sum(op, &formulas, &m, false)
            }
            (Kind::AveragePool2d { .. }, plan @ Plan::Average { .. }) if same(op.inputs[0]) => Ok(plan),
            (Kind::MaxPool2d { .. }, plan @ Plan::Max(super::choose::Unary::Same)) if same(op.inputs[0]) => Ok(plan),
            (Kind::Reshape, plan) if same(op.inputs[0]) => Ok(plan),
            (Kind::Pad { value, .. }, plan) if i64::from(*value) == zero_point(y) && same(op.inputs[0]) => Ok(plan),
            (Kind::Softmax { .. }, plan @ Plan::Logits) => Ok(plan),
            (Kind::Softmax { .. }, _) => {
                refuse("its steps follow from a scale; `--reveal=argmax` and `logits` need none of them")
            }
            _ => refuse("private scales are not offered for this operator yet"),
        }
    }

    fn private_linear(&self, op: &QOp, p: &LinearPlan, bias: &[i64], signed: bool) -> Result<Plan, LowerError> {
        let mut classes = p.formulas.classes.clone();
        let mut biases = Vec::with_capacity(bias.len());
        for (c, (channel, bias)) in p.channels.iter().zip(bias).enumerate() {
            let placed = channel.place_bias(*bias).map_err(|e| Self::constants(op, c, e))?;
            if matches!(channel.kind, ChannelKind::Dead) {
                // k + [acc ≥ 0] as a floor: all that is below 2^SHIFT is one step.
                let k = i64::from(placed.base) - p.formulas.base;
                let b = (k + 1) << SHIFT;
                classes[c] = Class { s: SHIFT, above: b, below: b, ..classes[c] };
            }
            biases.push(placed.bias);
        }
        if !p.parts.is_empty() {
            return Err(Self::too_wide(op, 0));
        }
        self.private_classes(op, &classes, &[1], biases, signed)
    }

    fn private_sum(&self, op: &QOp, f: &Formulas, m: &[i64], signed: bool) -> Result<Plan, LowerError> {
        self.private_classes(op, &f.classes, m, vec![], signed)
    }

    fn too_wide(op: &QOp, channel: usize) -> LowerError {
        let reason = format!(
            "channel {channel} has no constants of shift {SHIFT} in {RING} bits, which private scales have; \
             compile it with `--scales=public`"
        );
        LowerError::Unsupported { index: op.index, name: op.name, reason }
    }

    /// Constants for the one shift, checked: they leave no words, and the type's own clamp and the sign of acc give the same.
    fn private_classes(
        &self,
        op: &QOp,
        classes: &[Class],
        m: &[i64],
        biases: Vec<i64>,
        signed: bool,
    ) -> Result<Plan, LowerError> {
        let y = self.g.tensor(op.output);
        let base = base_of(y);
        let (lo, hi) = (y.dtype.range().0 - base, y.dtype.range().1 - base);
        let fits = |c: &Class| -> Option<[i64; 3]> {
            let by = SHIFT.checked_sub(c.s)?;
            let floor = |acc: i64, b: i64| (i128::from(c.m) * i128::from(acc) + i128::from(b)) >> c.s;
            let [m, above, below] = match c.kind {
                ClassKind::Constant => return Some([0, c.lo << SHIFT, c.lo << SHIFT]),
                _ => [c.m, c.above, c.below].map(|x| i128::from(x) << by),
            };
            let largest = m * i128::from(c.bound) + above.abs().max(below.abs());
            let (least, most) = (floor(-c.bound, c.below.min(c.above)), floor(c.bound, c.above.max(c.below)));
            let ends = (c.lo == lo || least >= c.lo.into()) && (c.hi == hi || most <= c.hi.into());
            // A dead channel has two results, wherever they are.
            let ends = ends || c.kind == ClassKind::Sign;
            // From acc = 0 on both floors are at the split or above it, before it at it or below.
            let split = i128::from(c.split);
            let sides = [c.above, c.below].iter().all(|b| floor(0, *b) >= split && floor(-1, *b) <= split);
            let dead = c.kind != ClassKind::Sign || c.bound < 1 << SHIFT;
            let pieces = c.above == c.below || signed && sides && c.bound < 1 << SIGNED;
            let right = largest < i128::from(MOST) && ends && pieces && dead;
            right.then(|| [m, above, below].map(|x| x as i64))
        };
        let found = classes.iter().enumerate().map(|(i, c)| fits(c).ok_or_else(|| Self::too_wide(op, i)));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        if signed && classes.iter().any(|c| c.bound >= 1 << SIGNED) {
            return Err(Self::too_wide(op, 0));
        }
        let slopes = m.iter().map(|m| found.iter().map(|c| c[0] * m).collect()).collect();
        let offsets = found.iter().map(|c| c[1]).collect();
        let change = signed.then(|| found.iter().map(|c| c[2] - c[1]).collect());
        let formulas = Formulas::new(vec![Class::floor(1, SHIFT, 0, [lo, hi])], base, MOST - 1);
        Ok(Plan::Private(Box::new(PrivatePlan { slopes, offsets, change, biases, formulas })))
    }
}

impl Emitter<'_> {
    /// Secret numbers, shared in [`RING`] bits: always in two parts, whatever they are.
    fn secret(&mut self, numbers: &[i64]) -> Value {
        // One number has no axis, so that it fits every shape.
        let shape = if numbers.len() == 1 { vec![] } else { vec![numbers.len() as u32] };
        let low = numbers.iter().map(|x| (x & ((1 << LOW) - 1)) as i32).collect();
        let high = numbers.iter().map(|x| (x >> LOW) as i32).collect();
        let low = self.shared_weight(&shape, low, RING);
        let high = self.shared_weight(&shape, high, RING - LOW);
        let high = self.b.one(Op::Raise { x: high, by: LOW });
        self.b.one(Op::Add { a: low, b: high })
    }

    /// A centred sharing plus `zero point − from`, where the zero point may be secret.
    pub(super) fn lifted(&mut self, x: Value, id: TensorId, from: i64) -> Value {
        let z = zero_point(self.g.tensor(id)) - from;
        match self.secret_zero(id, z, x) {
            Some(b) => self.b.one(Op::Add { a: x, b }),
            None => self.b.add_scalar(x, z),
        }
    }

    /// The other way.
    pub(super) fn centred(&mut self, x: Value, id: TensorId, from: i64) -> Value {
        let z = zero_point(self.g.tensor(id)) - from;
        match self.secret_zero(id, z, x) {
            Some(b) => self.b.one(Op::Sub { a: x, b }),
            None => self.b.add_scalar(x, -z),
        }
    }

    /// A secret number in the ring of `like`. The zero point of an input of the model is public.
    fn secret_zero(&mut self, id: TensorId, z: i64, like: Value) -> Option<Value> {
        if !self.modes.private_scales || self.g.inputs.contains(&id) {
            return None;
        }
        let bits = self.b.ty(like).domain.width();
        Some(self.shared_weight(&[], vec![z as i32], bits))
    }

    /// Rescales a sum by secret constants; its operands are sharings, or summands of a linear layer.
    pub(super) fn private(&mut self, op: &QOp, p: &PrivatePlan) -> Result<Value, LowerError> {
        let out = super::shape32(&self.g.tensor(op.output).shape);
        let operands = match &op.kind {
            Kind::Mean { axes, .. } => {
                let x = self.input(op, 0)?;
                let x = self.b.cast(x, RING);
                let axes = Axes(axes.iter().map(|a| *a as u8).collect());
                vec![self.b.one(Op::ReduceSum { x, axes })]
            }
            _ => {
                let mut sides = vec![];
                for i in 0..p.slopes.len() {
                    let x = self.operand(op, i, RING)?;
                    sides.push(self.whole(op, x));
                }
                sides
            }
        };
        let y = self.rescaled(op, &operands, p);
        Ok(self.b.reshape(y, &out))
    }

    /// The same for a linear layer.
    pub(super) fn private_linear(&mut self, op: &QOp, products: Value, p: &PrivatePlan) -> Value {
        let (bias, at) = (self.secret(&p.biases), self.b.all());
        let bias = self.b.one(Op::AsSum { x: bias, at, bits: RING });
        let x = self.b.one(Op::Add { a: products, b: bias });
        // Both operands, shared by those who hold them: one exchange, in which a dealer only sends.
        let rot = self.rot();
        let (u, v) = self.b.two(Op::Split { x, rot });
        let v = self.b.one(Op::Join { x: v });
        let u = self.b.one(Op::Reshare { x: u, bits: RING });
        let v = self.b.one(Op::Embed { x: v, bits: RING });
        let acc = self.b.one(Op::Sub { a: v, b: u });
        self.rescaled(op, &[acc], p)
    }

    fn rescaled(&mut self, op: &QOp, operands: &[Value], p: &PrivatePlan) -> Value {
        let (at, shape) = (self.b.all(), Dims(self.b.ty(operands[0]).shape.clone()));
        let offsets = self.secret(&p.offsets);
        let mut t = self.b.one(Op::AsSum { x: offsets, at, bits: RING });
        let mut add = |me: &mut Self, numbers: &[i64], x: Value| {
            let m = me.secret(numbers);
            let m = me.b.one(Op::Expand { x: m, shape: shape.clone() });
            let product = me.b.one(Op::MulSs { a: x, b: m });
            t = me.b.one(Op::Add { a: product, b: t });
        };
        for (x, slopes) in operands.iter().zip(&p.slopes) {
            add(self, slopes, *x);
        }
        if let Some(change) = &p.change {
            let rot = self.rot();
            let negative = maximum::sign(&mut self.b, operands[0], SIGNED, RING, self.route, rot);
            add(self, change, negative);
        }
        let (k, rot) = (self.ring(op.output), self.rot());
        let y = emit::staircase(&mut self.b, Source::Sum(t), &p.formulas, None, k, self.route, rot);
        self.centred(y, op.output, p.formulas.base)
    }
}
