//! Emits the instructions of planned operators.
use super::builder::Builder;
use super::choice::Sorted;
use super::choose::Unary;
use super::formulas::{Class, Formulas};
use super::groups::Costs;
use super::masked::Opened;
use super::plan::{Plan, Plans, zero_point};
use super::requant::{Formula, Source, requantize};
use super::{
    Aim, Apart, BYTE_RING, LowerError, Lowered, Options, Part, Reveal, Route, adder, circuit, dealer, maximum, rows,
    shape32, softmax, table, table16, top,
};
use crate::qgraph::{Graph, Kind, Op as QOp, TensorId, Window};
use ir::{Amounts, Axes, Dims, Holders, Layer, Modes, Op, SoftmaxRule, Strided, Value};

/// A window with its output size.
pub fn window(w: &Window, out: &[usize]) -> ir::Window {
    let two = |v: [usize; 2]| v.map(|x| x as u32);
    ir::Window {
        out: [out[1] as u32, out[2] as u32],
        kernel: two(w.kernel),
        stride: two(w.stride),
        dilation: two(w.dilation),
        pad: two(w.pad),
    }
}

pub(super) struct Emitter<'a> {
    pub(super) g: &'a Graph,
    pub(super) plans: &'a Plans,
    pub(super) b: Builder,
    weights: Vec<Vec<i32>>,
    /// Centred sharing of each tensor, or stored integers at the receiver where opened.
    pub(super) values: Vec<Option<Value>>,
    logits: bool,
    /// Keys that were sorted last.
    pub(super) sorted: Option<(Sorted, Value)>,
    pub(super) route: Route,
    pub(super) modes: Modes,
    aim: Aim,
    /// From which size on rows are computed apart, if each party can play A.
    apart: Option<Apart>,
    /// Which part of the rows is being computed, if they are computed apart.
    rows: Option<u32>,
    notes: Vec<(u32, String)>,
    /// Rotation of each part with roles of its own, 0 where there is none.
    rotations: &'a [u8],
    parts: Vec<Part>,
    costs: Costs,
}

/// Emits everything; `rotations` says which party plays which role in each part, in order.
pub fn emit(g: &Graph, plans: &Plans, b: Builder, options: Options, rotations: &[u8]) -> Result<Lowered, LowerError> {
    let Options { route, reveal, aim, modes, apart, .. } = options;
    let turns = route == Route::Dealer && options.protocol.facts().dealer.is_none();
    let mut e = Emitter {
        g,
        plans,
        b,
        weights: vec![],
        values: vec![None; g.tensors.len()],
        logits: false,
        sorted: None,
        route,
        modes,
        aim,
        apart: turns.then_some(apart),
        rows: None,
        notes: vec![],
        rotations,
        parts: vec![],
        costs: Costs::default(),
    };
    e.b.layers.push(Layer { operator: 0, name: "input".into() });
    for (i, id) in g.inputs.iter().enumerate() {
        let t = g.tensor(*id);
        let x = e.b.one(Op::Input { index: i as u32 });
        let x = e.b.add_scalar(x, -zero_point(t));
        e.values[id.index()] = Some(e.b.share(x, plans.rings[id.index()]));
    }
    e.states();
    let mut results = vec![None];
    for (op, plan) in g.ops.iter().zip(&plans.ops) {
        if matches!(plan, Plan::Dead) {
            continue;
        }
        e.b.layer = e.b.layers.len() as u32;
        e.b.layers.push(Layer { operator: op.index as u32, name: op.name.into() });
        let y = e.op(op, plan)?;
        e.values[op.output.index()] = Some(y);
        results.push(Some(y));
    }
    results.push(None);
    e.b.layer = e.b.layers.len() as u32;
    e.b.layers.push(Layer { operator: g.ops.len() as u32, name: "output".into() });
    for (i, id) in g.outputs.iter().enumerate() {
        let id = super::revealed(g, *id, reveal);
        let Some(x) = e.tensor(id) else {
            return Err(LowerError::Model(format!("output {i} has no value")));
        };
        let held = match reveal {
            Reveal::Places { count, .. } => e.places(x, id, i, count),
            _ if plans.opened[id.index()] => x,
            _ => e.open(x, id),
        };
        e.b.emit(Op::Output { x: held, index: i as u32 });
    }
    e.store_states()?;
    // The word says what happens: without a last SOFTMAX nothing is left to the receiver.
    let reveal = if reveal == Reveal::Logits && !e.logits { Reveal::Output.name() } else { reveal.name() };
    let (parts, notes) = (e.parts, e.notes);
    Ok(Lowered { builder: e.b, weights: e.weights, thresholds: plans.thresholds, reveal, parts, results, notes })
}

/// A public number of each class.
pub(super) fn per_class(b: &mut Builder, f: &Formulas, index: Option<Value>, of: &dyn Fn(&Class) -> i64) -> Value {
    let data: Vec<i64> = f.classes.iter().map(of).collect();
    match index {
        None => b.channels(data),
        Some(index) => {
            let table = b.constant(&[data.len() as u32], data);
            b.one(Op::TakePp { table, index })
        }
    }
}

/// Public tensors of a formula with classes along the last axis, or picked by an index tensor.
fn formula(b: &mut Builder, f: &Formulas, index: Option<Value>) -> Formula {
    let get = |b: &mut Builder, of: &dyn Fn(&Class) -> i64| per_class(b, f, index, of);
    let above = get(b, &|c| c.above);
    Formula {
        m: get(b, &|c| c.m),
        s: get(b, &|c| c.s.into()),
        b: [Some(above), f.two.then(|| get(b, &|c| c.below))],
        split: get(b, &|c| c.split),
        below: f.two.then(|| get(b, &|c| c.first_below)),
        lo: get(b, &|c| c.lo),
        hi: get(b, &|c| c.hi),
        width: f.width,
        n: f.n,
        a: f.a,
        h: f.h,
        exact: true,
    }
}

/// Requantizes; relative to the base, shared in a ring of `k` bits.
pub fn staircase(
    b: &mut Builder,
    source: Source,
    f: &Formulas,
    index: Option<Value>,
    k: u8,
    route: Route,
    rot: u8,
) -> Value {
    match route {
        Route::Boolean => {
            let formula = formula(b, f, index);
            requantize(b, source, &formula, k, rot)
        }
        Route::Dealer => {
            let formula = formula(b, &f.for_dealer(), index);
            dealer::requantize(b, source, &formula, k, rot)
        }
        Route::Circuit if b.scheme.additive => circuit::additive::requantize(b, source, &f.for_additive(), index, k),
        Route::Circuit => {
            let formula = formula(b, &f.for_dealer(), index);
            circuit::requant::requantize(b, source, &formula, k)
        }
        Route::Adder => adder::requant::requantize(b, source, f, index, k),
    }
}

impl Emitter<'_> {
    /// Opens a centred sharing to the receiver, as stored integers.
    fn open(&mut self, x: Value, id: TensorId) -> Value {
        let zero_point = zero_point(self.g.tensor(id));
        let x = self.b.cast(x, self.plans.least[id.index()]);
        let to = Holders::one(self.b.receiver());
        if self.modes.private_scales {
            let x = self.lifted(x, id, 0);
            return self.b.one(Op::Open { x, to });
        }
        let x = self.b.one(Op::Open { x, to });
        self.b.add_scalar(x, zero_point)
    }

    /// Opens to the receiver the places of the largest entries of output `i`.
    fn places(&mut self, x: Value, id: TensorId, i: usize, count: u32) -> Value {
        let (t, shape) = (self.g.tensor(id), self.b.interface.outputs[i].shape.clone());
        let n = t.shape.last().map_or(1, |n| *n as u32);
        let rows = self.b.ty(x).len() as u32 / n;
        let x = self.b.reshape(x, &[rows, n]);
        let rot = self.rot();
        let (least, m) = (t.dtype.range().0, self.bits(id));
        let (x, least) = match self.modes.private_scales {
            true => (self.lifted(x, id, 0), least),
            false => (x, least - zero_point(t)),
        };
        let places = top::open_places(&mut self.b, x, least, m, count, rot);
        self.b.reshape(places, &shape)
    }

    /// Bits of the stored type of a tensor: two values differ by less than 2 to that.
    fn bits(&self, id: TensorId) -> u8 {
        let (lo, hi) = self.g.tensor(id).dtype.range();
        super::formulas::bits_for(hi - lo)
    }

    /// Ring of a tensor.
    pub(super) fn ring(&self, id: TensorId) -> u8 {
        self.plans.rings[id.index()]
    }

    /// Smallest and largest centred value of a tensor.
    pub(super) fn range(&self, id: TensorId) -> (i64, i64) {
        super::ranges::centred(self.g, id, self.plans.stored[id.index()])
    }

    /// A sharing of an operand.
    pub(super) fn input(&mut self, op: &QOp, i: usize) -> Result<Value, LowerError> {
        self.tensor(op.inputs[i]).ok_or_else(|| LowerError::Unsupported {
            index: op.index,
            name: op.name,
            reason: format!("operand {i} has no value"),
        })
    }

    /// A tensor's centred sharing; a constant of the model comes from the weights file, or the program, when first asked for.
    pub(super) fn tensor(&mut self, id: TensorId) -> Option<Value> {
        if let Some(x) = self.values[id.index()] {
            return Some(x);
        }
        let shape = shape32(&self.g.tensor(id).shape);
        let data = self.centred_constant(id)?;
        let x = self.shared_weight(&shape, data, self.plans.rings[id.index()]);
        self.values[id.index()] = Some(x);
        Some(x)
    }

    /// Centred values of a constant of the model.
    fn centred_constant(&self, id: TensorId) -> Option<Vec<i32>> {
        let t = self.g.tensor(id);
        let z = zero_point(t);
        Some(t.constant.as_ref()?.iter().map(|q| (i64::from(*q) - z) as i32).collect())
    }

    /// Begins a part with roles of its own.
    pub(super) fn rot(&mut self) -> u8 {
        self.parts.push(Part { start: self.b.insts.len(), free: true, rows: self.rows });
        self.rotations.get(self.parts.len() - 1).copied().unwrap_or(0)
    }

    /// Begins a part in which the model owner is A.
    pub(super) fn fixed(&mut self) {
        self.parts.push(Part { start: self.b.insts.len(), free: false, rows: None });
    }

    pub(super) fn weight(&mut self, shape: &[u32], data: Vec<i32>) -> Value {
        let index = self.weights.len() as u32;
        self.b.interface.weights.push(shape.to_vec());
        self.weights.push(data);
        self.b.one(Op::Weight { index })
    }

    pub(super) fn shared_weight(&mut self, shape: &[u32], data: Vec<i32>, bits: u8) -> Value {
        if self.modes.public_weights {
            let p = self.b.constant(shape, data.into_iter().map(i64::from).collect());
            return self.b.one(Op::ShareP { p, bits });
        }
        let x = self.weight(shape, data);
        self.b.share(x, bits)
    }

    /// Requantizes and centres on the output's zero point.
    pub(super) fn finish(&mut self, op: &QOp, source: Source, f: &Formulas, index: Option<Value>) -> Value {
        match index {
            None => self.by_rows(source, |e, source, whole| e.finish_rows(op, source, f, None, whole)),
            Some(_) => self.finish_rows(op, source, f, index, None),
        }
    }

    /// What is computed of an accumulator: at once, or of a third of its rows after the other, where it is large and each
    /// party can play A. `each` is told the number of elements of the whole if it has a third.
    pub(super) fn by_rows(
        &mut self,
        source: Source,
        mut each: impl FnMut(&mut Self, Source, Option<usize>) -> Value,
    ) -> Value {
        let (Source::Sum(x) | Source::Shared(x)) = source;
        let ty = self.b.ty(x);
        let whole = ty.len();
        let Some(cuts) = self.apart.and_then(|apart| apart.cuts(ty)) else { return each(self, source, None) };
        let mut parts = Vec::new();
        for (i, cut) in (0..).zip(&cuts) {
            let part = source.of(rows::of(&mut self.b, x, cut));
            self.rows = Some(i);
            parts.push(each(self, part, Some(whole)));
        }
        self.rows = None;
        self.b.one(Op::Concat { parts, axis: rows::AXIS as u32 })
    }

    /// [`Emitter::finish`] of all rows, or of a third of `whole` elements.
    pub(super) fn finish_rows(
        &mut self,
        op: &QOp,
        source: Source,
        f: &Formulas,
        index: Option<Value>,
        whole: Option<usize>,
    ) -> Value {
        let k = self.plans.rings[op.output.index()];
        let y = match self.route {
            Route::Boolean => {
                let (formula, rot) = (formula(&mut self.b, f, index), self.rot());
                requantize(&mut self.b, source, &formula, k, rot)
            }
            Route::Dealer => match f.probabilistic(k).filter(|_| self.modes.probabilistic) {
                Some(f) => {
                    let (formula, rot) = (Formula { exact: false, ..formula(&mut self.b, &f, index) }, self.rot());
                    dealer::requantize(&mut self.b, source, &formula, k, rot)
                }
                None => self.deal(source, f, index, k, whole),
            },
            Route::Circuit | Route::Adder => staircase(&mut self.b, source, f, index, k, self.route, 0),
        };
        self.centred(y, op.output, f.base)
    }

    /// The dealer route, channels of one layout at a time, all side by side. What is decided for a third of `whole` elements
    /// is decided for the whole.
    fn deal(&mut self, source: Source, f: &Formulas, index: Option<Value>, k: u8, whole: Option<usize>) -> Value {
        let (Source::Sum(x) | Source::Shared(x)) = source;
        let elements = whole.unwrap_or(self.b.ty(x).len());
        let each = elements / f.classes.len().max(1);
        let groups = match index {
            None if f.classes.len() > 1 => self.costs.groups(f, each, k),
            _ => vec![],
        };
        let parts = if groups.len() < 2 { vec![f.clone()] } else { groups.iter().map(|g| f.of(g)).collect() };
        let sizes: Vec<(Formulas, usize)> = match &parts[..] {
            [one] => vec![(one.for_dealer(), elements)],
            _ => parts.iter().map(|p| (p.for_dealer(), each * p.classes.len())).collect(),
        };
        let (trees, note) = self.costs.trees(&sizes, k, self.aim, whole.is_some());
        let note = note.map(|n| (self.b.layer, n)).filter(|n| self.notes.last() != Some(n));
        self.notes.extend(note);
        if groups.len() < 2 {
            let (formula, rot) = (formula(&mut self.b, &sizes[0].0, index), self.rot());
            return dealer::requantize_by(&mut self.b, source, &formula, k, rot, trees[0]).expect("its cost is known");
        }
        let axis = self.b.ty(x).shape.len() as u32 - 1;
        let mut parts = Vec::new();
        for ((group, (f, _)), tree) in groups.iter().zip(&sizes).zip(trees) {
            let index = self.b.constant(&[group.len() as u32], group.iter().map(|c| i64::from(*c)).collect());
            let part = self.b.one(Op::Gather { x, index, axis });
            let part = match source {
                Source::Sum(_) => Source::Sum(part),
                Source::Shared(_) => Source::Shared(part),
            };
            let (formula, rot) = (formula(&mut self.b, f, None), self.rot());
            let y = dealer::requantize_by(&mut self.b, part, &formula, k, rot, tree);
            parts.push(y.expect("its cost is known"));
        }
        let mut order = vec![0; f.classes.len()];
        groups.iter().flatten().enumerate().for_each(|(at, c)| order[*c as usize] = at as i64);
        let joined = self.b.one(Op::Concat { parts, axis });
        let index = self.b.constant(&[order.len() as u32], order);
        self.b.one(Op::Gather { x: joined, index, axis })
    }

    /// A function of each element of a centred sharing.
    pub(super) fn unary(&mut self, op: &QOp, x: Value, how: &Unary) -> Value {
        let k = self.plans.rings[op.output.index()];
        match how {
            Unary::Same => self.b.cast(x, k),
            Unary::Stairs(f) => {
                let x = self.b.cast(x, f.n);
                self.finish(op, Source::Shared(x), f, None)
            }
            Unary::Table(entries) => {
                let rot = self.rot();
                table::by(&mut self.b, x, entries, k, self.route, rot)
            }
        }
    }

    fn op(&mut self, op: &QOp, plan: &Plan) -> Result<Value, LowerError> {
        let out = &self.g.tensor(op.output).shape;
        let out32 = shape32(out);
        let x = self.input(op, 0);
        match (&op.kind, plan) {
            (Kind::Conv2d { window: w, groups, linear }, Plan::Linear(_) | Plan::Private(_)) => {
                let x = self.b.cast(x?, plan.accumulator());
                let depth = self.b.ty(x).shape[3] / *groups as u32;
                let shape = [out32[3], w.kernel[0] as u32, w.kernel[1] as u32, depth];
                let weights = self.linear_weights(&shape, linear, plan.accumulator());
                let y = self.b.conv2d(x, weights, window(w, out), *groups as u32);
                self.linear(op, y, linear, plan)
            }
            (Kind::DepthwiseConv2d { window: w, linear, .. }, Plan::Linear(_) | Plan::Private(_)) => {
                let x = self.b.cast(x?, plan.accumulator());
                let shape = [w.kernel[0] as u32, w.kernel[1] as u32, out32[3]];
                let weights = self.linear_weights(&shape, linear, plan.accumulator());
                let y = self.b.depthwise(x, weights, window(w, out));
                self.linear(op, y, linear, plan)
            }
            (Kind::FullyConnected { linear }, Plan::Linear(_) | Plan::Private(_)) => {
                let x = self.b.cast(x?, plan.accumulator());
                let channels = linear.bias.len() as u32;
                let depth = linear.weights.len() as u32 / channels;
                let rows = self.b.ty(x).len() as u32 / depth;
                let x = self.b.reshape(x, &[rows, 1, 1, depth]);
                let weights = self.linear_weights(&[channels, 1, 1, depth], linear, plan.accumulator());
                let y = self.b.conv2d(x, weights, ir::Window::POINT, 1);
                let y = self.linear(op, y, linear, plan)?;
                Ok(self.b.reshape(y, &out32))
            }
            (_, Plan::Private(p)) => self.private(op, p),
            (Kind::Interpolate { interpolation }, Plan::Interpolate(formulas)) => {
                self.interpolated(op, interpolation, formulas.as_ref())
            }
            (Kind::Move { movement }, Plan::Move) => self.moved(op, movement),
            (Kind::Add { .. } | Kind::Sub { .. }, Plan::Add { m, formulas }) => {
                let sum = self.sum(op, *m, formulas.n)?;
                Ok(self.finish(op, Source::Shared(sum), formulas, None))
            }
            (Kind::Add { .. } | Kind::Sub { .. }, Plan::FineSum(p)) => self.fine_sum(op, p),
            (Kind::Mul { .. }, Plan::Mul { middle, formulas }) => {
                let product = match self.product(op, formulas.n)? {
                    Source::Sum(x) => Source::Sum(self.b.add_scalar(x, -middle)),
                    Source::Shared(x) => Source::Shared(self.b.add_scalar(x, -middle)),
                };
                Ok(self.finish(op, product, formulas, None))
            }
            (Kind::Extremum { largest }, Plan::Extremum) => {
                let ring = self.plans.rings[op.output.index()];
                let sides = [self.stored(op, 0, ring)?, self.stored(op, 1, ring)?];
                let (rot, m) = (self.rot(), self.bits(op.output));
                let most = maximum::maximum(&mut self.b, sides[0], sides[1], m, self.route, rot);
                let y = if *largest {
                    most
                } else {
                    let sum = self.b.one(Op::Add { a: sides[0], b: sides[1] });
                    self.b.one(Op::Sub { a: sum, b: most })
                };
                Ok(self.b.add_scalar(y, -zero_point(self.g.tensor(op.output))))
            }
            (Kind::AveragePool2d { window: w, .. }, Plan::Average { formulas, per_count }) => {
                let x = self.b.cast(x?, formulas.n);
                // Stored integers, where the zero point is secret.
                let x = if self.modes.private_scales { self.lifted(x, op.inputs[0], 0) } else { x };
                let shape = self.b.ty(x).shape.clone();
                let w = window(w, out);
                let sum = self.b.one(Op::WindowSum { x, window: w.clone() });
                let index =
                    per_count.then(|| self.b.one(Op::WindowCount { size: Dims(shape[1..3].to_vec()), window: w }));
                Ok(self.finish(op, Source::Shared(sum), formulas, index))
            }
            (Kind::Mean { axes, .. }, Plan::Mean { formulas }) => {
                let x = self.b.cast(x?, formulas.n);
                let axes = Axes(axes.iter().map(|a| *a as u8).collect());
                let sum = self.b.one(Op::ReduceSum { x, axes });
                let y = self.finish(op, Source::Shared(sum), formulas, None);
                Ok(self.b.reshape(y, &out32))
            }
            (Kind::MaxPool2d { window: w, .. }, Plan::Max(how)) => {
                let ring = how.ring(self.plans.rings[op.output.index()]);
                let y = self.max_pool(x?, op, w, ring);
                Ok(self.unary(op, y, how))
            }
            (Kind::Pad { amounts, value }, Plan::Pad) => {
                let x = self.b.cast(x?, self.plans.rings[op.output.index()]);
                // Padding adds zeros; another value is made zero for the time being.
                let value = i64::from(*value) - zero_point(self.g.tensor(op.inputs[0]));
                let x = self.b.add_scalar(x, -value);
                let amounts = amounts.iter().flat_map(|(a, b)| [*a as u32, *b as u32]).collect();
                let y = self.b.one(Op::Pad { x, amounts: Amounts(amounts) });
                Ok(self.b.add_scalar(y, value))
            }
            (Kind::Reshape, Plan::Reshape) => {
                let x = self.b.cast(x?, self.plans.rings[op.output.index()]);
                let x = self.recentred(x, op.inputs[0], op.output);
                Ok(self.b.reshape(x, &out32))
            }
            (Kind::Quantize { .. } | Kind::Table { .. }, Plan::Unary(how)) => {
                let x = x?;
                Ok(self.unary(op, x, how))
            }
            (Kind::Quantize { .. }, Plan::Folded { fold, bits, then }) => self.folded(op, fold, *bits, then),
            (Kind::ReduceProduct { axes, .. }, Plan::Product { steps, last }) => {
                self.reduced_product(op, axes, steps, last)
            }
            (Kind::Table { .. }, Plan::Table16(entries)) => {
                let (x, k, rot) = (x?, self.ring(op.output), self.rot());
                Ok(table16::table(&mut self.b, x, entries, k, rot))
            }
            (Kind::Softmax16 { .. }, Plan::Softmax16(p)) => self.softmax16(op, p),
            (Kind::Softmax { .. }, Plan::Stepwise(p)) => self.stepwise(op, p),
            (Kind::Softmax { lo, .. }, Plan::Softmax(table)) => {
                let (x, k, rot) = (x?, self.plans.rings[op.output.index()], self.rot());
                let n = out32.last().copied().unwrap_or(1);
                let rows = self.b.ty(x).len() as u32 / n;
                let x = self.b.reshape(x, &[rows, n]);
                let t = self.g.tensor(op.inputs[0]);
                let least = t.dtype.range().0 - zero_point(t);
                let bits = softmax::softmax(&mut self.b, x, least, table, self.route, rot);
                let y = Opened::new(&mut self.b, bits, rot).numbers(&mut self.b, k);
                let y = self.b.one(Op::Reshare { x: y, bits: k });
                let y = self.b.add_scalar(y, i64::from(*lo) - zero_point(self.g.tensor(op.output)));
                Ok(self.b.reshape(y, &out32))
            }
            (Kind::Softmax { multiplier, dmin, lo, bits }, Plan::Logits) => {
                self.logits = true;
                let logits = self.open(x?, op.inputs[0]);
                let rule = SoftmaxRule { m: multiplier.m, e: multiplier.e, dmin: *dmin, lo: *lo, bits: *bits };
                Ok(self.b.one(Op::SoftmaxH { x: logits, rule }))
            }
            (_, Plan::Choice(choice)) => self.choice(op, choice),
            (_, Plan::Normal(normal)) => self.normal(op, normal),
            (Kind::Lookup { rows, size }, Plan::Lookup(high)) => self.lookup(op, *rows, *size, high.as_ref()),
            (_, Plan::Quotient) => self.quotient(op),
            (Kind::MatMul { .. }, Plan::MatMul { formulas }) => self.mat_mul(op, formulas),
            (Kind::Reshape, Plan::Finish) => Ok(self.b.reshape(x?, &out32)),
            (Kind::Quantize { input_zero_point, out: o, .. }, Plan::Finish) => {
                let x = x?;
                Ok(self.b.add_scalar(x, i64::from(o.zero_point) - i64::from(*input_zero_point)))
            }
            _ => unreachable!("the planner made a plan of the operator's kind"),
        }
    }

    /// m1·x1 + m2·x2 in a ring of n bits.
    fn sum(&mut self, op: &QOp, m: [i64; 2], n: u8) -> Result<Value, LowerError> {
        let mut scaled = |i: usize| -> Result<Value, LowerError> {
            let (x, p) = (self.operand(op, i, n)?, self.b.scalar(m[i]));
            Ok(self.b.one(Op::MulP { x, p }))
        };
        let (a, b) = (scaled(0)?, scaled(1)?);
        let out = shape32(&self.g.tensor(op.output).shape);
        let (a, b) = if self.b.ty(b).shape == out { (b, a) } else { (a, b) };
        let a = self.whole(op, a);
        Ok(self.b.one(Op::Add { a, b }))
    }

    /// An operand of a two-operand op in a ring of `n` bits.
    pub(super) fn operand(&mut self, op: &QOp, i: usize, n: u8) -> Result<Value, LowerError> {
        let x = self.input(op, i)?;
        Ok(self.b.cast(x, n))
    }

    /// Repeated to the shape of the result.
    pub(super) fn whole(&mut self, op: &QOp, x: Value) -> Value {
        let out = shape32(&self.g.tensor(op.output).shape);
        match self.b.ty(x).shape == out {
            true => x,
            false => self.b.one(Op::Expand { x, shape: Dims(out) }),
        }
    }

    /// Product of two operands in a ring of `n` bits.
    fn product(&mut self, op: &QOp, n: u8) -> Result<Source, LowerError> {
        let known = |i: usize| self.centred_constant(op.inputs[i]).filter(|_| self.modes.public_weights);
        if let Some((i, data)) = (0..2).find_map(|i| Some((i, known(i)?))) {
            let shape = shape32(&self.g.tensor(op.inputs[i]).shape);
            let p = self.b.constant(&shape, data.into_iter().map(i64::from).collect());
            let x = self.operand(op, 1 - i, n)?;
            let x = self.whole(op, x);
            return Ok(Source::Shared(self.b.one(Op::MulP { x, p })));
        }
        let (a, b) = (self.operand(op, 0, n)?, self.operand(op, 1, n)?);
        let (a, b) = (self.whole(op, a), self.whole(op, b));
        let product = self.b.one(Op::MulSs { a, b });
        Ok(self.b.settle(product))
    }

    /// Stored integers of an operand as a sharing of the result's shape.
    fn stored(&mut self, op: &QOp, i: usize, n: u8) -> Result<Value, LowerError> {
        let x = self.operand(op, i, n)?;
        let x = self.whole(op, x);
        Ok(self.b.add_scalar(x, zero_point(self.g.tensor(op.inputs[i]))))
    }

    /// Maximum over windows: a tournament of pairs. Values are shifted to be non-negative, so that padding loses.
    fn max_pool(&mut self, x: Value, op: &QOp, w: &Window, ring: u8) -> Value {
        let t = self.g.tensor(op.inputs[0]);
        let x = self.b.cast(x, ring.max(BYTE_RING));
        let lowest = t.dtype.range().0;
        let x = self.lifted(x, op.inputs[0], lowest);
        let out = &self.g.tensor(op.output).shape;
        let reach = |i: usize| (out[i + 1] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1;
        let shape = self.b.ty(x).shape.clone();
        let after = |i: usize| reach(i).saturating_sub(shape[i + 1] as usize + w.pad[i]) as u32;
        let amounts = vec![0, 0, w.pad[0] as u32, after(0), w.pad[1] as u32, after(1), 0, 0];
        let x = if amounts.iter().all(|a| *a == 0) { x } else { self.b.one(Op::Pad { x, amounts: Amounts(amounts) }) };
        let mut parts = Vec::new();
        for i in 0..w.kernel[0] {
            for j in 0..w.kernel[1] {
                let part = Strided {
                    start: vec![0, (i * w.dilation[0]) as u32, (j * w.dilation[1]) as u32, 0],
                    size: vec![shape[0], out[1] as u32, out[2] as u32, shape[3]],
                    stride: vec![1, w.stride[0] as u32, w.stride[1] as u32, 1],
                };
                parts.push(self.b.one(Op::Slice { x, part }));
            }
        }
        let (rot, m) = (self.rot(), self.bits(op.inputs[0]));
        let most = maximum::largest(&mut self.b, parts, m, self.route, rot);
        let y = self.centred(most, op.inputs[0], lowest);
        self.b.cast(y, ring)
    }
}
