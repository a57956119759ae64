//! The oracle: integer-only interpreter of a [`Graph`], equal bit for bit to TFLite's reference kernels.
//!
//! No float is computed; the doubles of [`super::Rescale::Once`] are multiplied by [`super::fixed::round_product`].
//! Sums of products are int32 and wrap, as the kernels' do (the compiler refuses models that could overflow). A graph
//! made by the importer never gives [`EvalError::Malformed`]; a graph put together by hand may.
use super::{DType, Graph, Kind, Op, Tensor, TensorId};

mod choice;
mod linear;
mod pointwise;
mod pool;
mod reduce;
mod resize;
mod rows;

pub use choice::{floor_quotient, quotient};
pub(crate) use pointwise::broadcast;
pub use rows::{
    LogSum, SoftmaxInverse, l2_normalized, softmax_exponential, softmax_row, softmax_term, softmax16_exponential,
    softmax16_inverse,
};

/// The value of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorData {
    /// Static shape of the tensor.
    pub shape: Vec<usize>,
    /// Stored integers, last axis fastest.
    pub data: Vec<i32>,
}

/// Why a graph could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// Too few or too many inputs.
    #[error("the model has {expected} inputs, got {got}")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// Another shape than the model's, or not as many elements as the shape says.
    #[error("input {input} has shape {got:?} and {elements} elements, the model expects shape {expected:?}")]
    InputShape {
        /// Position in [`Graph::inputs`].
        input: usize,
        /// Shape in the model.
        expected: Vec<usize>,
        /// Shape given.
        got: Vec<usize>,
        /// Elements given.
        elements: usize,
    },
    /// A value that the input's type cannot hold.
    #[error("input {input} has value {value} at element {element}, outside {lo}..={hi}")]
    InputRange {
        /// Position in [`Graph::inputs`].
        input: usize,
        /// Position in the data.
        element: usize,
        /// The value.
        value: i32,
        /// Smallest allowed value.
        lo: i64,
        /// Largest allowed value.
        hi: i64,
    },
    /// The graph contradicts itself.
    #[error("operator {index} ({op}): {what}")]
    Malformed {
        /// Index of the operator in the model file.
        index: usize,
        /// TFLite name.
        op: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A model output that nothing computes.
    #[error("output {output} of the model has no value")]
    NoOutput {
        /// Position in [`Graph::outputs`].
        output: usize,
    },
}

/// Every tensor's value (`None` for tensors no operator writes and that are not inputs or constants).
///
/// Inputs are checked for shape and range. States are as at the first call.
pub fn eval(g: &Graph, inputs: &[TensorData]) -> Result<Vec<Option<TensorData>>, EvalError> {
    Session::new(g).run(inputs)
}

/// Successive calls of a model that keeps state between them.
pub struct Session<'a> {
    g: &'a Graph,
    states: Vec<TensorData>,
}

impl<'a> Session<'a> {
    /// Before the first call.
    pub fn new(g: &'a Graph) -> Session<'a> {
        let initial = |state: &super::State| TensorData {
            shape: g.tensor(state.tensor).shape.clone(),
            data: state.initial.clone(),
        };
        Session { g, states: g.states.iter().map(initial).collect() }
    }

    /// The next call: every tensor's value, as [`eval`].
    pub fn run(&mut self, inputs: &[TensorData]) -> Result<Vec<Option<TensorData>>, EvalError> {
        let values = eval_from(self.g, inputs, &self.states)?;
        for (state, kept) in self.g.states.iter().zip(&mut self.states) {
            if let Some(value) = &values[state.next.index()] {
                kept.data.clone_from(&value.data);
            }
        }
        Ok(values)
    }
}

fn eval_from(g: &Graph, inputs: &[TensorData], states: &[TensorData]) -> Result<Vec<Option<TensorData>>, EvalError> {
    if inputs.len() != g.inputs.len() {
        return Err(EvalError::InputCount { expected: g.inputs.len(), got: inputs.len() });
    }
    let mut values: Vec<Option<TensorData>> = g
        .tensors
        .iter()
        .map(|t| t.constant.as_ref().map(|data| TensorData { shape: t.shape.clone(), data: data.clone() }))
        .collect();
    for (position, (&id, given)) in g.inputs.iter().zip(inputs).enumerate() {
        check_input(position, g.tensor(id), given)?;
        values[id.index()] = Some(given.clone());
    }
    for (state, kept) in g.states.iter().zip(states) {
        values[state.tensor.index()] = Some(kept.clone());
    }
    for op in &g.ops {
        let operands = op.inputs.iter().map(|&id| operand(g, &values, op, id)).collect::<Result<Vec<_>, _>>()?;
        let tensor = g.tensor(op.output);
        let data = eval_op(&op.kind, &operands, tensor).map_err(|what| malformed(op, what))?;
        if data.len() != tensor.len() {
            return Err(malformed(op, "the result does not fill the output tensor"));
        }
        values[op.output.index()] = Some(TensorData { shape: tensor.shape.clone(), data });
    }
    Ok(values)
}

/// The value of an op whose operands are all constants; `None` where there is none.
pub(crate) fn constant(tensors: &[Tensor], op: &Op) -> Option<Vec<i32>> {
    let operand = |id: &TensorId| {
        let t = &tensors[id.index()];
        Some(Operand { dtype: t.dtype, shape: &t.shape, data: t.constant.as_deref()? })
    };
    let operands = op.inputs.iter().map(operand).collect::<Option<Vec<_>>>()?;
    let tensor = &tensors[op.output.index()];
    eval_op(&op.kind, &operands, tensor).ok().filter(|data| data.len() == tensor.len())
}

/// The model's outputs among the values of [`eval`].
pub fn outputs(g: &Graph, values: &[Option<TensorData>]) -> Result<Vec<TensorData>, EvalError> {
    let value = |(output, id): (usize, &TensorId)| {
        values.get(id.index()).cloned().flatten().ok_or(EvalError::NoOutput { output })
    };
    g.outputs.iter().enumerate().map(value).collect()
}

/// A data operand with its type.
struct Operand<'a> {
    dtype: DType,
    shape: &'a [usize],
    data: &'a [i32],
}

/// What is wrong with an operator, or its result.
pub(crate) type Evaluated<T> = Result<T, &'static str>;

fn malformed(op: &Op, what: &'static str) -> EvalError {
    EvalError::Malformed { index: op.index, op: op.name, what }
}

fn operand<'a>(g: &Graph, values: &'a [Option<TensorData>], op: &Op, id: TensorId) -> Result<Operand<'a>, EvalError> {
    let value = values.get(id.index()).and_then(Option::as_ref).ok_or_else(|| malformed(op, "operand has no value"))?;
    if value.data.len() != value.shape.iter().product::<usize>() {
        return Err(malformed(op, "a constant does not fill its tensor"));
    }
    Ok(Operand { dtype: g.tensor(id).dtype, shape: &value.shape, data: &value.data })
}

fn check_input(input: usize, tensor: &Tensor, given: &TensorData) -> Result<(), EvalError> {
    if given.shape != tensor.shape || given.data.len() != tensor.len() {
        return Err(EvalError::InputShape {
            input,
            expected: tensor.shape.clone(),
            got: given.shape.clone(),
            elements: given.data.len(),
        });
    }
    let (lo, hi) = tensor.dtype.range();
    match given.data.iter().position(|&v| !(lo..=hi).contains(&v.into())) {
        Some(element) => Err(EvalError::InputRange { input, element, value: given.data[element], lo, hi }),
        None => Ok(()),
    }
}

fn eval_op(kind: &Kind, operands: &[Operand<'_>], out: &Tensor) -> Evaluated<Vec<i32>> {
    if let Kind::Move { movement } = kind {
        let data: Vec<&[i32]> = operands.iter().map(|x| x.data).collect();
        return movement.apply(&data, &|value| value).ok_or("the operands do not fit the movement");
    }
    match operands {
        [x] => eval_one(kind, x, out),
        [a, b] => eval_two(kind, [a, b], &out.shape),
        [condition, a, b] if matches!(kind, Kind::Select) => choice::select([condition, a, b], &out.shape),
        _ => Err("has another number of operands"),
    }
}

/// Operators of two operands.
fn eval_two(kind: &Kind, sides: [&Operand<'_>; 2], shape: &[usize]) -> Evaluated<Vec<i32>> {
    match kind {
        Kind::Add { left_shift, operands, multiplier, out } => {
            pointwise::add(*left_shift, operands, *multiplier, out, sides, shape)
        }
        Kind::Sub { left_shift, operands, multiplier, out } => {
            pointwise::sub(*left_shift, operands, *multiplier, out, sides, shape)
        }
        Kind::Mul { zero_points, rescale, out } => pointwise::mul(*zero_points, rescale, out, sides, shape),
        Kind::Extremum { largest: true } => pointwise::pairs(sides, shape, i32::max),
        Kind::Extremum { largest: false } => pointwise::pairs(sides, shape, i32::min),
        Kind::MatMul { zero_points, rescale, out } => linear::mat_mul(*zero_points, rescale, out, sides, shape),
        Kind::Div { zero_points, multiplier, out } => choice::div(*zero_points, *multiplier, out, sides, shape),
        Kind::Lookup { rows, size } => choice::look_up(*rows, *size, sides),
        Kind::FloorDiv { remainder } => choice::floor_div(*remainder, sides, shape),
        Kind::Compare { relation, left_shift, operands } => {
            choice::compare(*relation, *left_shift, operands, sides, shape)
        }
        _ => Err("does not take two operands"),
    }
}

/// Operators of one operand.
fn eval_one(kind: &Kind, x: &Operand<'_>, out: &Tensor) -> Evaluated<Vec<i32>> {
    match kind {
        Kind::Conv2d { window, groups, linear } => linear::conv_2d(window, *groups, linear, x, &out.shape),
        Kind::DepthwiseConv2d { window, multiplier, linear } => {
            linear::depthwise_conv_2d(window, *multiplier, linear, x, &out.shape)
        }
        Kind::FullyConnected { linear } => linear::fully_connected(linear, x),
        Kind::AveragePool2d { window, lo, hi } => pool::average(window, *lo, *hi, x, &out.shape),
        Kind::MaxPool2d { window, lo, hi } => pool::max(window, *lo, *hi, x, &out.shape),
        Kind::Mean { axes, input_zero_point, rescale, out } => reduce::mean(axes, *input_zero_point, rescale, out, x),
        Kind::ReduceExtremum { axes, largest } => reduce::extremum(axes, *largest, x),
        Kind::ReduceProduct { axes, input_zero_point, multiplier, out } => {
            reduce::product(axes, *input_zero_point, *multiplier, out, x)
        }
        Kind::Top { axis, k, largest, indices } => reduce::top(*axis, *k, *largest, *indices, x),
        Kind::Table { table } => pointwise::look_up(table, x),
        Kind::Pad { amounts, value } => pointwise::pad(amounts, *value, x, &out.shape),
        Kind::Reshape => Ok(x.data.to_vec()),
        Kind::Interpolate { interpolation } => resize::interpolate(interpolation, x),
        Kind::Quantize { input_zero_point, multiplier, out } => {
            Ok(pointwise::quantize(*input_zero_point, *multiplier, out, x.data))
        }
        Kind::Softmax { multiplier, dmin, lo, bits } => rows::softmax(*multiplier, *dmin, *lo, *bits, x),
        Kind::Softmax16 { multiplier, exponential, inverse } => rows::softmax_16(*multiplier, exponential, inverse, x),
        Kind::LogSoftmax { multiplier, dmin, reverse, out } => rows::log_softmax(*multiplier, *dmin, *reverse, out, x),
        Kind::L2Normalize { input_zero_point, left_shift, gain, out } => {
            rows::l2_normalize(*input_zero_point, *left_shift, *gain, out, x)
        }
        _ => Err("does not take one operand"),
    }
}

/// Batch, height, width and channels.
fn nhwc(shape: &[usize]) -> Evaluated<[usize; 4]> {
    <[usize; 4]>::try_from(shape).map_err(|_| "needs a tensor of rank 4")
}

/// Range of window positions `k` for which `origin + k·dilation` lies inside `0..size`; `origin` may be negative:
/// it is `start − pad`.
fn inside(start: usize, pad: usize, kernel: usize, dilation: usize, size: usize) -> std::ops::Range<usize> {
    let dilation = dilation.max(1);
    let first = pad.saturating_sub(start).div_ceil(dilation);
    let end = (size + pad).saturating_sub(start).div_ceil(dilation).min(kernel);
    first.min(end)..end
}

/// For each element of `shape`, in order: its offset by `strides`.
fn offsets(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut all = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        all = all.into_iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect();
    }
    all
}

/// Strides of a dense tensor, last axis fastest.
fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
