//! Operators that compare: largest of rows, relations, SELECT, places and values of the largest.
//!
//! *Relations.* Both operands are rescaled by functions f, g of the stored integer that do not fall. So f(a) ≤ g(b) where
//! b ≥ t(a), t(a) = min {b : g(b) ≥ f(a)}, one above every b if there is none: at most one look-up, and the sign of
//! b − t(a). Where both rescalings are one and tell all integers apart t(a) = a, and nothing is looked up. f(a) = g(b) where
//! t(a), if it is reached with equality, is the smallest b' with g(b') = g(b): a test for zero.
//!
//! *SELECT.* The condition is 0 or 1 in the ring of the result: `b + c·(a − b)`.
//!
//! *Places.* Keys as in [`super::top`], sorted as far as needed; `floor(key / 2^b)` is the value, the rest says the place.
//!
//! Every message is one of [`super::maximum`], [`super::table`], [`super::requant`] or [`super::dealer`], or a reshare.
use super::choose::{self, Unary};
use super::emit::{self, Emitter};
use super::formulas::{Class, Formulas, bits_for};
use super::plan::Planner;
use super::requant::Source;
use super::{BYTE_RING, LowerError, maximum, shape32, table, top};
use crate::qgraph::{AddOperand, Kind, Op as QOp, Relation, TensorId, fixed};
use ir::{Dims, Op, Strides, Value};

/// How an operator that compares is computed.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Largest of each row, or smallest; numbers differ by less than 2^bits.
    Extremum {
        bits: u8,
        /// What follows.
        after: Unary,
    },
    /// A relation of two keys, made of the operands.
    Relation { keys: [Unary; 2], test: Test },
    /// One of two by a shared bit.
    Select,
    /// Places or values of the largest: the number of a key's bits for the place, its ring, its division by 2^place.
    Top { place: u8, ring: u8, formulas: Formulas },
}

/// What was sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sorted {
    id: TensorId,
    axis: usize,
    k: usize,
    largest: bool,
}

/// What is asked of the keys of the first and the second operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Test {
    /// Whether they are equal.
    Equal { negated: bool },
    /// Whether the second is less than the first, or the other way round.
    Less { swapped: bool, negated: bool },
}

impl Choice {
    /// Constants of its requantization, if it has one.
    pub fn formulas(&self) -> Option<&Formulas> {
        match self {
            Choice::Top { formulas, .. } => Some(formulas),
            _ => None,
        }
    }

    /// Whether the circuit route has gadgets for it.
    pub fn by_circuits(&self) -> bool {
        !matches!(self, Choice::Top { .. })
    }

    /// Ring that operands need, where the result goes into one of `out` bits.
    pub fn ring(&self, out: u8) -> u8 {
        match self {
            Choice::Extremum { bits, after } => after.ring(out).max(bits + 2),
            Choice::Relation { .. } => BYTE_RING,
            Choice::Select => out,
            Choice::Top { place, ring, .. } => ring - place,
        }
    }
}

/// A centred number, rescaled for a comparison.
fn rescaled(side: &AddOperand, left_shift: u32, x: i64) -> i32 {
    fixed::rescale((x as i32) << left_shift, side.multiplier)
}

impl Planner<'_> {
    /// REDUCE_MAX, REDUCE_MIN.
    pub(super) fn extremum(&self, op: &QOp, axes: &[usize], ring: u8) -> Choice {
        let x = op.inputs[0];
        let (from, to) = self.centred(x);
        let count = axes.iter().map(|a| self.g.tensor(x).shape[*a]).product();
        let bits = bits_for(to - from).max(1);
        let after = match bits <= maximum::BYTES {
            true => choose::after_maximum(from, to, count, ring, self.way(op)),
            false => Unary::Same,
        };
        Choice::Extremum { bits, after }
    }

    /// Relations of bytes.
    pub(super) fn relation(&self, op: &QOp, relation: Relation, left_shift: u32, sides: &[AddOperand; 2]) -> Choice {
        let of = |i: usize| (self.centred(op.inputs[i]), &sides[i]);
        let key = |(range, side): ((i64, i64), &AddOperand), to: ((i64, i64), &AddOperand), equal: bool| {
            let f = |x: i64| {
                let wanted = rescaled(side, left_shift, x);
                let reached = (to.0.0..=to.0.1).find(|y| rescaled(to.1, left_shift, *y) >= wanted);
                let exact = |y: &i64| !equal || rescaled(to.1, left_shift, *y) == wanted;
                reached.filter(exact).unwrap_or(to.0.1 + 1)
            };
            choose::unary(range.0, range.1, f, None, BYTE_RING, self.way(op))
        };
        let equal = |negated| Choice::Relation {
            keys: [key(of(0), of(1), true), key(of(1), of(1), true)],
            test: Test::Equal { negated },
        };
        // a ≤ b unless b's key is less than a's.
        let below = |negated| Choice::Relation {
            keys: [key(of(0), of(1), false), Unary::Same],
            test: Test::Less { swapped: false, negated },
        };
        let above = |negated| Choice::Relation {
            keys: [Unary::Same, key(of(1), of(0), false)],
            test: Test::Less { swapped: true, negated },
        };
        match relation {
            Relation::Equal => equal(false),
            Relation::NotEqual => equal(true),
            Relation::LessEqual => below(true),
            Relation::Greater => below(false),
            Relation::GreaterEqual => above(true),
            Relation::Less => above(false),
        }
    }

    /// ARG_MAX, ARG_MIN, TOPK_V2.
    pub(super) fn top(&self, op: &QOp, axis: usize, indices: bool, ring: u8) -> Result<Choice, LowerError> {
        let (from, to) = self.centred(op.inputs[0]);
        let place = top::place_bits(self.g.tensor(op.inputs[0]).shape[axis] as u32);
        let value = bits_for(to - from).max(1);
        let bound = 1i64 << (place + value);
        let class = Class::floor(1, place.into(), 0, [0, (1 << value) - 1]);
        let formulas = self.fits(op, Formulas::new(vec![class], 0, bound))?;
        let ring = if indices { ring } else { 0 }.max(formulas.n).max(place + BYTE_RING);
        Ok(Choice::Top { place, ring, formulas })
    }
}

impl Emitter<'_> {
    /// An operator that compares.
    pub(super) fn choice(&mut self, op: &QOp, choice: &Choice) -> Result<Value, LowerError> {
        match (&op.kind, choice) {
            (Kind::ReduceExtremum { axes, largest }, Choice::Extremum { bits, after }) => {
                let x = self.input(op, 0)?;
                let x = self.b.cast(x, after.ring(self.ring(op.output)).max(bits + 2));
                let (from, to) = self.range(op.inputs[0]);
                let x = self.in_rows(op.inputs[0], x, axes);
                let (x, least) = if *largest { (x, from) } else { (self.negated(x), -to) };
                let rot = self.rot();
                let y = maximum::row_largest(&mut self.b, x, least, *bits, self.route, rot);
                let y = if *largest { y } else { self.negated(y) };
                let y = self.b.reshape(y, &shape32(&self.g.tensor(op.output).shape));
                Ok(self.unary(op, y, after))
            }
            (Kind::Compare { .. }, Choice::Relation { keys, test }) => self.related(op, keys, *test),
            (Kind::Select, Choice::Select) => {
                let k = self.ring(op.output);
                let mut sides = Vec::with_capacity(3);
                for i in 0..3 {
                    let x = self.input(op, i)?;
                    let x = self.b.cast(x, k);
                    sides.push(self.whole(op, x));
                }
                let difference = self.b.one(Op::Sub { a: sides[1], b: sides[2] });
                let change = self.b.one(Op::MulSs { a: sides[0], b: difference });
                if self.b.scheme.checked {
                    let change = self.b.one(Op::Reshare { x: change, bits: k });
                    return Ok(self.b.one(Op::Add { a: change, b: sides[2] }));
                }
                let at = self.b.all();
                let other = self.b.one(Op::AsSum { x: sides[2], at, bits: k });
                let y = self.b.one(Op::Add { a: change, b: other });
                Ok(self.b.one(Op::Reshare { x: y, bits: k }))
            }
            (Kind::Top { axis, k, largest, indices }, Choice::Top { place, ring, formulas }) => {
                let id = op.inputs[0];
                let (from, to) = self.range(id);
                let n = self.g.tensor(id).shape[*axis];
                let asked = Sorted { id, axis: *axis, k: *k, largest: *largest };
                let keys = match self.sorted.filter(|(what, keys)| {
                    // The positions of a TOPK_V2 follow its values.
                    *what == asked && self.b.ty(*keys).domain.width() >= *ring
                }) {
                    Some((_, keys)) => keys,
                    None => self.keys(op, asked, *place, *ring)?,
                };
                let bits = self.ring(op.output);
                let source = self.b.cast(keys, formulas.n);
                let rot = self.rot();
                let value = emit::staircase(&mut self.b, Source::Shared(source), formulas, None, bits, self.route, rot);
                let y = match (indices, largest) {
                    (false, true) => self.b.add_scalar(value, from),
                    (false, false) => {
                        let y = self.negated(value);
                        self.b.add_scalar(y, to)
                    }
                    (true, _) => {
                        let whole = self.b.cast(keys, bits);
                        let by = self.b.scalar(1 << place);
                        let high = self.b.one(Op::MulP { x: value, p: by });
                        let rest = self.b.one(Op::Sub { a: high, b: whole });
                        self.b.add_scalar(rest, n as i64 - 1)
                    }
                };
                // [outer inner k] to [outer k inner].
                let inner: usize = self.g.tensor(id).shape[axis + 1..].iter().product();
                let (inner, k) = (inner as u32, *k as u32);
                let outer = self.b.ty(y).len() as u32 / (inner * k);
                let y = self.transposed(y, &[outer, inner, k], [0, 2, 1]);
                Ok(self.b.reshape(y, &shape32(&self.g.tensor(op.output).shape)))
            }
            _ => unreachable!("the planner made a choice of the operator's kind"),
        }
    }

    /// Sorts keys.
    fn keys(&mut self, op: &QOp, asked: Sorted, place: u8, ring: u8) -> Result<Value, LowerError> {
        let (from, to) = self.range(asked.id);
        let x = self.input(op, 0)?;
        let x = self.b.cast(x, ring - place);
        let x = self.in_rows(asked.id, x, &[asked.axis]);
        let (x, least) = if asked.largest { (x, from) } else { (self.negated(x), -to) };
        let x = self.b.add_scalar(x, -least);
        let (m, rot) = (place + bits_for(to - from).max(1), self.rot());
        let keys = top::sorted(&mut self.b, x, place, m, asked.k as u32, rot);
        self.sorted = Some((asked, keys));
        Ok(keys)
    }

    fn related(&mut self, op: &QOp, keys: &[Unary; 2], test: Test) -> Result<Value, LowerError> {
        let k = self.ring(op.output);
        let mut sides = Vec::with_capacity(2);
        for (i, key) in keys.iter().enumerate() {
            let x = self.input(op, i)?;
            let x = match key {
                Unary::Table(entries) => {
                    let rot = self.rot();
                    table::by(&mut self.b, x, entries, BYTE_RING, self.route, rot)
                }
                _ => self.b.cast(x, BYTE_RING),
            };
            sides.push(self.whole(op, x));
        }
        if matches!(test, Test::Less { swapped: true, .. }) {
            sides.swap(0, 1);
        }
        let difference = self.b.one(Op::Sub { a: sides[1], b: sides[0] });
        let (m, route, rot) = (maximum::BYTES, self.route, self.rot());
        let (bit, negated) = match test {
            Test::Equal { negated } => (maximum::zero(&mut self.b, difference, m, k, route, rot), negated),
            Test::Less { negated, .. } => (maximum::sign(&mut self.b, difference, m, k, route, rot), negated),
        };
        if !negated {
            return Ok(bit);
        }
        let flipped = self.negated(bit);
        Ok(self.b.add_scalar(flipped, 1))
    }

    fn negated(&mut self, x: Value) -> Value {
        let minus = self.b.scalar(-1);
        self.b.one(Op::MulP { x, p: minus })
    }

    /// `[rows n]` of a tensor, n over the elements of some axes in order.
    pub(super) fn in_rows(&mut self, id: TensorId, x: Value, axes: &[usize]) -> Value {
        let shape = shape32(&self.g.tensor(id).shape);
        let n: u32 = axes.iter().map(|a| shape[*a]).product();
        let (kept, moved): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|a| !axes.contains(a));
        let y = self.permuted(x, &shape, &[kept, moved].concat());
        let len = self.b.ty(y).len() as u32;
        self.b.reshape(y, &[len / n, n])
    }

    /// Axes of a value of three axes in another order.
    pub(super) fn transposed(&mut self, x: Value, shape: &[u32; 3], order: [usize; 3]) -> Value {
        self.permuted(x, shape, &order)
    }

    fn permuted(&mut self, x: Value, shape: &[u32], order: &[usize]) -> Value {
        let mut steps = vec![1i32; shape.len()];
        for axis in (1..shape.len()).rev() {
            steps[axis - 1] = steps[axis] * shape[axis] as i32;
        }
        let to: Vec<u32> = order.iter().map(|a| shape[*a]).collect();
        let moved: Vec<usize> = order.iter().copied().filter(|a| shape[*a] > 1).collect();
        if moved.is_sorted() {
            return self.b.reshape(x, &to);
        }
        let strides = Strides(order.iter().map(|a| steps[*a]).collect());
        self.b.one(Op::View { x, start: 0, shape: Dims(to), strides })
    }
}
