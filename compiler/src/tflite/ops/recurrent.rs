//! UNIDIRECTIONAL_SEQUENCE_LSTM and SVDF, taken apart into linear layers, sums, products and tables; their states.

use std::sync::Arc;

use super::super::arith;
use super::super::codes;
use super::super::context::{Activation, Context, NO_AXIS, Site, Weights, dims, no_options, stored};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::elementwise::IDENTITY;
use super::field;
use crate::qgraph::{
    AddOperand, DType, Kind, Linear, Movement, Multiplier, Output, Rescale, State, TensorId, Window, fixed16,
};

const INT16: Output = Output { zero_point: 0, lo: -32768, hi: 32767 };
/// A sum of an int16 and what is limited to this, limited to int16, is as without this limit.
const TWO_INT16: Output = Output { zero_point: 0, lo: -65536, hi: 65535 };
/// Type and zero point of gates and cell state.
const WIDE: (DType, i32) = (DType::I16, 0);
/// Integer bits of the gates before their activation.
const GATE_BITS: u32 = 3;

/// Weights of shape `[rows, columns]` with one scale and the zero point 0.
fn matrix<'a>(cx: &mut Context<'a>, index: usize, rows: usize, columns: usize) -> Result<Weights<'a>, Stop> {
    let weights = cx.weights(index, NO_AXIS)?;
    let wrong = if weights.shape != [rows, columns] {
        damaged(codes::SHAPE, format!("its shape is {:?}, expected [{rows}, {columns}]", weights.shape))
    } else if weights.zero_point != 0 {
        let reason = format!("its zero point is {}, expected 0", weights.zero_point);
        unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the weights symmetrically")
    } else {
        return Ok(weights);
    };
    Err(wrong.at(index).into())
}

/// Input and hidden state of the four gates, one after the other.
struct Gates {
    weights: Vec<i16>,
    bias: Vec<i64>,
    multipliers: Vec<Multiplier>,
}

impl Gates {
    fn new() -> Gates {
        Gates { weights: Vec::new(), bias: Vec::new(), multipliers: Vec::new() }
    }

    fn push(&mut self, weights: &Weights<'_>, bias: Vec<i64>, scale: f32) -> Result<(), Fault> {
        // In single precision; the gates have twelve bits after the point.
        let multiplier = arith::multiplier((weights.scales[0] * scale / (1.0 / 4096.0)).into())?;
        self.weights.extend(weights.data.iter().map(|byte| i16::from(byte.cast_signed())));
        self.multipliers.extend(bias.iter().map(|_| multiplier));
        self.bias.extend(bias);
        Ok(())
    }

    fn linear(self, input_zero_point: i32, out: Output) -> Linear {
        let rescale = Rescale::Twice(self.multipliers);
        let weight_range = (-128, 127);
        Linear { weights: self.weights.into(), weight_range, bias: self.bias, input_zero_point, rescale, out }
    }
}

/// Numbers of an LSTM.
struct Lstm {
    batch: usize,
    steps: usize,
    units: usize,
    time_major: bool,
    /// The cell's scale is 2^exponent.
    exponent: i32,
    clip: i32,
    /// Without input gate: it is one minus the forget gate.
    coupled: bool,
    /// From products of two int16 to the hidden state.
    hidden: Multiplier,
    hidden_zero_point: i32,
}

pub(super) fn lstm(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::UnidirectionalSequenceLstmOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(24, 24)?;
    for (positions, what) in [(9..12, "peephole connections"), (16..18, "a projection"), (20..24, "normalized layers")]
    {
        if positions.clone().any(|position| site.optional(position).is_some()) {
            let reason = format!("it has {what}, which this version does not compute");
            return Err(unsupported(codes::VARIANT, reason, "use a plain LSTM").into());
        }
    }
    if field(options.activation())? != 4 {
        return Err(unsupported(codes::VARIANT, "its activation is not TANH", "use a plain LSTM").into());
    }
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    for x in [&input, &output] {
        x.expect_one_of(&[DType::I8], site.name)?;
    }
    let (hidden, cell) = (cx.variable(site.operand(18)?)?, cx.variable(site.operand(19)?)?);
    let time_major = field(options.time_major())?;
    let [first, second, depth] = input.dims()?;
    let (steps, batch) = if time_major { (first, second) } else { (second, first) };
    let [_, units] = hidden.dims()?;
    hidden.expect_shape(&[batch, units])?;
    cell.expect_shape(&[batch, units])?;
    output.expect_shape(&[first, second, units])?;
    hidden.expect_one_of(&[DType::I8], site.name)?;
    cell.expect_one_of(&[DType::I16], "this state")?;

    let coupled = site.optional(1).is_none();
    let (mut from_input, mut from_hidden) = (Gates::new(), Gates::new());
    for gate in usize::from(coupled)..4 {
        let weights = matrix(cx, site.operand(1 + gate)?, units, depth)?;
        let bias = cx.bias(site.operand(12 + gate)?, units, false)?;
        from_input.push(&weights, bias.values, input.quant.scale)?;
        let weights = matrix(cx, site.operand(5 + gate)?, units, units)?;
        from_hidden.push(&weights, vec![0; units], hidden.quant.scale)?;
    }
    let (scale, hidden_zero_point) = hidden_quant(cx, site)?;
    if hidden_zero_point != hidden.quant.zero_point {
        let reason = "its zero point differs from that of the hidden state inside the operator";
        let fault = unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again");
        return Err(fault.at(hidden.id.index()).into());
    }
    let clip = f64::from(field(options.cell_clip())? / cell.quant.scale).clamp(0.0, 32767.0);
    let lstm = Lstm {
        batch,
        steps,
        units,
        time_major,
        exponent: exponent(&cell)?,
        // Towards zero, as the kernel converts it.
        clip: clip as i32,
        coupled,
        hidden: arith::multiplier(((2f64.powi(-15) / f64::from(scale) * 2f64.powi(-15)) as f32).into())?,
        hidden_zero_point,
    };
    lstm.expand(cx, &input, (hidden.id, cell.id), [from_input, from_hidden])
}

/// The scale of the cell state as a power of two, small enough for the kernel's tangent.
fn exponent(cell: &Activation) -> Result<i32, Fault> {
    let found = (-15..=-9).find(|&exponent| cell.quant.scale == 2f32.powi(exponent));
    found.ok_or_else(|| {
        let reason = format!("its scale {} is not a power of two from 2^-15 to 2^-9", cell.quant.scale);
        unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again").at(cell.id.index())
    })
}

/// Scale and zero point of the hidden state inside the operator: its fifth intermediate tensor has them.
fn hidden_quant(cx: &Context<'_>, site: &Site<'_>) -> Result<(f32, i32), Fault> {
    let index = site.operator.intermediates.get(4).and_then(|&index| usize::try_from(index).ok());
    let tensor = index.and_then(|index| cx.raw(index));
    let missing = || unsupported(codes::QUANT_MISSING, "its hidden state has no scale", "quantize the model again");
    let tensor = tensor.ok_or_else(missing)?;
    let quant = super::super::checks::per_tensor(tensor, DType::I8)?;
    Ok((quant.scale, quant.zero_point))
}

impl Lstm {
    fn expand(
        &self,
        cx: &mut Context<'_>,
        input: &Activation,
        (hidden, cell): (TensorId, TensorId),
        [from_input, from_hidden]: [Gates; 2],
    ) -> Result<(Kind, Vec<TensorId>), Stop> {
        let &Lstm { batch, steps, units, time_major, hidden_zero_point, .. } = self;
        let gates = from_input.bias.len();
        let linear = from_input.linear(input.quant.zero_point, INT16);
        let all = cx.step(Kind::FullyConnected { linear }, vec![input.id], WIDE, &[batch * steps, gates])?;
        let linear = from_hidden.linear(hidden_zero_point, TWO_INT16);
        let (mut h, mut c) = (hidden, cell);
        let mut outputs = Vec::with_capacity(steps);
        let wide = gates.cast_signed();
        for t in 0..steps {
            let (start, stride) = if time_major { (t * batch, wide) } else { (t, steps.cast_signed() * wide) };
            let view = view(start * gates, &[batch, gates], &[stride, 1]);
            let now = cx.step(view, vec![all], WIDE, &[batch, gates])?;
            cx.take(gates, size_of::<i64>() + size_of::<Multiplier>())?;
            let kind = Kind::FullyConnected { linear: linear.clone() };
            let before = cx.step(kind, vec![h], (DType::I32, 0), &[batch, gates])?;
            let sum = cx.step(sum(INT16), vec![now, before], WIDE, &[batch, gates])?;
            (h, c) = self.cell(cx, sum, c)?;
            outputs.push(h);
        }
        let zero = vec![hidden_zero_point; batch * units];
        cx.states.push(State { tensor: hidden, next: h, initial: zero });
        cx.states.push(State { tensor: cell, next: c, initial: vec![0; batch * units] });
        Ok((Kind::Move { movement: Movement::Concat { rows: if time_major { 1 } else { batch } } }, outputs))
    }

    /// Next hidden and cell state, from the gates before their activation.
    fn cell(&self, cx: &mut Context<'_>, gates: TensorId, c: TensorId) -> Result<(TensorId, TensorId), Fault> {
        let &Lstm { batch, units, exponent, coupled, .. } = self;
        let shape = [batch, units];
        let first = usize::from(coupled);
        let wide = ((4 - first) * units).cast_signed();
        let gate = |cx: &mut Context<'_>, at: usize, table: Arc<[i32]>| {
            let part = cx.step(view((at - first) * units, &shape, &[wide, 1]), vec![gates], WIDE, &shape)?;
            cx.step(Kind::Table { table }, vec![part], WIDE, &shape)
        };
        let logistic = cx.wide_table("logistic", [GATE_BITS, 0, 0], |x| fixed16::logistic(x, GATE_BITS))?;
        let tanh = cx.wide_table("tanh", [GATE_BITS, 0, 0], |x| fixed16::tanh(x, GATE_BITS))?;
        let forget = gate(cx, 1, Arc::clone(&logistic))?;
        let admit = if coupled {
            let rest = cx.wide_table("1 - logistic", [GATE_BITS, 0, 0], |x| 32767 - fixed16::logistic(x, GATE_BITS))?;
            gate(cx, 1, rest)?
        } else {
            gate(cx, 0, Arc::clone(&logistic))?
        };
        let candidate = gate(cx, 2, tanh)?;
        let open = gate(cx, 3, logistic)?;
        let kept = cx.step(product(Rescale::Shift(15), INT16), vec![forget, c], WIDE, &shape)?;
        let shift = (30 + exponent).unsigned_abs();
        let new = cx.step(product(Rescale::Shift(shift), INT16), vec![admit, candidate], WIDE, &shape)?;
        let limit = if self.clip > 0 { Output { zero_point: 0, lo: -self.clip, hi: self.clip } } else { INT16 };
        let c = cx.step(sum(limit), vec![kept, new], WIDE, &shape)?;
        let bits = (15 + exponent).unsigned_abs();
        let table = cx.wide_table("tanh", [bits, 0, 0], |x| fixed16::tanh(x, bits))?;
        let squashed = cx.step(Kind::Table { table }, vec![c], WIDE, &shape)?;
        let out = Output { zero_point: self.hidden_zero_point, lo: -128, hi: 127 };
        let kind = product(Rescale::Twice(vec![self.hidden]), out);
        let h = cx.step(kind, vec![open, squashed], (DType::I8, self.hidden_zero_point), &shape)?;
        Ok((h, c))
    }
}

fn view(start: usize, dims: &[usize], strides: &[isize]) -> Kind {
    Kind::Move { movement: Movement::View { start, dims: dims.to_vec(), strides: strides.to_vec() } }
}

/// Sum of stored integers, limited.
fn sum(out: Output) -> Kind {
    let operand = AddOperand { zero_point: 0, multiplier: IDENTITY };
    Kind::Add { left_shift: 0, operands: [operand; 2], multiplier: IDENTITY, out }
}

/// Product of stored integers, rescaled.
fn product(rescale: Rescale, out: Output) -> Kind {
    Kind::Mul { zero_points: [0, 0], rescale, out }
}

/// Each filter remembers its last results; a unit sums over the memory of its filters.
pub(super) fn svdf(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::SvdfOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(5, 5)?;
    if field(options.activation())? != 1 {
        let reason = "its fused activation is not RELU, which TFLite refuses";
        return Err(unsupported(codes::VARIANT, reason, "use RELU").into());
    }
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    for x in [&input, &output] {
        x.expect_one_of(&[DType::I8], site.name)?;
    }
    let state = cx.variable(site.operand(4)?)?;
    state.expect_one_of(&[DType::I16], "this state")?;
    let ([batch, depth], [_, units]) = (input.dims()?, output.dims()?);
    output.expect_shape(&[batch, units])?;
    let rank = usize::try_from(field(options.rank())?).ok().filter(|&rank| rank > 0);
    let rank = rank.ok_or_else(|| damaged(codes::OPTIONS, "its rank is not positive"))?;
    let filters = rank.saturating_mul(units);
    let time = site.operand(2)?;
    let [_, memory] = dims(&cx.shape(time)?).map_err(|fault| fault.at(time))?;
    let feature = matrix(cx, site.operand(1)?, filters, depth)?;
    let time = matrix(cx, time, filters, memory)?;
    if (feature.dtype, time.dtype) != (DType::I8, DType::I16) {
        let reason = "TFLite has the form with int8 features and int16 weights over time only";
        return Err(unsupported(codes::TYPE, reason, "quantize the model again").at(time.index).into());
    }
    state.expect_shape(&[batch, filters * memory])?;
    let bias = match site.optional(3) {
        Some(index) => cx.bias(index, units, false)?.values,
        None => vec![0; units],
    };
    cx.take(filters + units, size_of::<i64>())?;
    let (s_x, s_state, s_y) = (input.quant.scale, state.quant.scale, output.quant.scale);

    let newest = Linear {
        weights: stored(DType::I8, feature.data).iter().map(|&w| narrow(w)).collect(),
        weight_range: (-128, 127),
        bias: vec![0; filters],
        input_zero_point: input.quant.zero_point,
        rescale: Rescale::Twice(vec![arith::multiplier((s_x * feature.scales[0] / s_state).into())?]),
        out: INT16,
    };
    let newest = cx.step(Kind::FullyConnected { linear: newest }, vec![input.id], WIDE, &[batch, filters])?;
    let rows = batch * filters;
    let mut parts = vec![newest];
    if memory > 1 {
        let kind = view(1, &[rows, memory - 1], &[memory.cast_signed(), 1]);
        parts.insert(0, cx.step(kind, vec![state.id], WIDE, &[rows, memory - 1])?);
    }
    let concat = Kind::Move { movement: Movement::Concat { rows } };
    let next = cx.step(concat, parts, WIDE, &[batch, filters * memory])?;
    cx.states.push(State { tensor: state.id, next, initial: vec![0; rows * memory] });

    let over_time = Linear {
        weights: stored(DType::I16, time.data).iter().map(|&w| narrow(w)).collect(),
        weight_range: (-32768, 32767),
        bias,
        input_zero_point: 0,
        rescale: Rescale::Twice(vec![arith::multiplier((s_state * time.scales[0] / s_y).into())?]),
        out: Output { zero_point: output.quant.zero_point, lo: -128, hi: 127 },
    };
    let line = cx.step(Kind::Reshape, vec![next], WIDE, &[batch, 1, 1, filters * memory])?;
    let window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pad: [0, 0] };
    let kind = Kind::Conv2d { window, groups: units, linear: over_time };
    let like = (DType::I8, output.quant.zero_point);
    let result = cx.step(kind, vec![line], like, &[batch, 1, 1, units])?;
    Ok((Kind::Reshape, vec![result]))
}

fn narrow(weight: i32) -> i16 {
    i16::try_from(weight).expect("stored in 8 or 16 bits")
}
