//! The quantized tensor graph: what a TFLite model means, made explicit.
//!
//! Padding is in numbers, a fused activation is a clamp on stored integers, multipliers are integers (or, where the
//! reference kernel keeps a real number, the double itself). Shapes are static, operators stand in topological order.
//! `tflite` builds it, [`eval`] is the oracle, `lower` turns it into `ir`.
#[cfg(test)]
pub(crate) mod draw;
pub mod eval;
pub mod fixed;
pub mod fixed16;
mod interpolation;
mod movement;

use std::sync::Arc;

pub use interpolation::{Interpolation, Tap};
pub use movement::{Movement, joined};

/// Index of a tensor in [`Graph::tensors`]; equals the index in the model's subgraph 0. Values inside an operator that
/// is made of several ops come after those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

impl TensorId {
    /// Position in [`Graph::tensors`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Stored integer type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 8 bits, signed.
    I8,
    /// 8 bits, unsigned.
    U8,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Smallest and largest stored value.
    pub fn range(self) -> (i64, i64) {
        match self {
            DType::I8 => (-128, 127),
            DType::U8 => (0, 255),
            DType::I16 => (-32768, 32767),
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::I64 => (i64::MIN, i64::MAX),
            DType::Bool => (0, 1),
        }
    }

    /// Bytes of one element in a model file.
    pub fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I16 => 2,
            DType::I32 => 4,
            DType::I64 => 8,
        }
    }
}

/// Per-tensor quantization: real value = `scale · (stored − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    /// Finite, positive.
    pub scale: f32,
    /// In the range of the tensor's type.
    pub zero_point: i32,
}

/// A tensor of the model.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// As in the file, unescaped: escape before printing.
    pub name: String,
    /// Stored type.
    pub dtype: DType,
    /// Static, every dimension at least 1.
    pub shape: Vec<usize>,
    /// Absent for weights (see [`Linear`]), biases and integer tensors.
    pub quant: Option<Quant>,
    /// Stored integers of a constant that is an *operand* of an element-wise operator (weights live in [`Linear`]).
    pub constant: Option<Vec<i32>>,
    /// Whether it is an input or output that the model has as float32: outside, it is quantized or dequantized with
    /// `quant`.
    pub float: bool,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never: shapes have no zero dimension.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `qm(m)` of the reference kernels: `m ≈ m0 · 2^(e−31)`, `2^30 ≤ m0 < 2^31`, or (0, 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// Mantissa.
    pub m: i32,
    /// Exponent, may be positive.
    pub e: i32,
}

/// The rounding rule of a requantization, with its multipliers: one entry, or one per output channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Rescale {
    /// `R`: saturating rounding doubling high product, then rounding shift (two roundings).
    Twice(Vec<Multiplier>),
    /// `round(acc · k)` with the product in double and halves away from zero (FULLY_CONNECTED).
    Once(Vec<f64>),
    /// `R64`: one rounding, halves up, of a 64-bit sum times a 15-bit multiplier (int16 activations).
    Wide(Vec<Multiplier>),
    /// Rounding shift, halves away from zero (LSTM).
    Shift(u32),
}

impl Rescale {
    /// How many output channels it tells apart, if that is fixed.
    pub fn channels(&self) -> Option<usize> {
        match self {
            Rescale::Twice(all) | Rescale::Wide(all) => Some(all.len()),
            Rescale::Once(all) => Some(all.len()),
            Rescale::Shift(_) => None,
        }
    }
}

/// Output side of a requantizing operator: add `zero_point`, then `max(lo)`, then `min(hi)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Zero point of the output tensor.
    pub zero_point: i32,
    /// Lower activation bound, stored integer.
    pub lo: i32,
    /// Upper activation bound, stored integer; may be below `lo`, then `hi` wins.
    pub hi: i32,
}

/// Weights, bias and requantization of a linear operator.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `q_w − z_w`, in the layout named at the operator.
    pub weights: Arc<[i16]>,
    /// Smallest and largest centred weight that the stored type allows: public, unlike the weights.
    pub weight_range: (i32, i32),
    /// One per output channel; zeros where the model has none.
    pub bias: Vec<i64>,
    /// Zero point of the input.
    pub input_zero_point: i32,
    /// Multipliers, one or one per output channel.
    pub rescale: Rescale,
    /// Zero point and clamp.
    pub out: Output,
}

/// Geometry of a 2-D window over NHWC. Padding contributes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Padding before (top, left). Positions beyond the far edge are padding as well.
    pub pad: [usize; 2],
}

/// One side of an ADD: `R((q − zero_point) << left_shift, multiplier)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddOperand {
    /// Zero point of the operand.
    pub zero_point: i32,
    /// Its multiplier.
    pub multiplier: Multiplier,
}

/// A comparison of two rescaled numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Equal,
    /// `≠`
    NotEqual,
    /// `<`
    Less,
    /// `≤`
    LessEqual,
    /// `>`
    Greater,
    /// `≥`
    GreaterEqual,
}

/// What an operator computes. Formulas: TFLite's reference kernels.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are explained at their variant")]
pub enum Kind {
    /// Weights `[out, kh, kw, in/groups]`.
    Conv2d { window: Window, groups: usize, linear: Linear },
    /// Weights `[kh, kw, in·multiplier]`; output channel c reads input channel c / multiplier.
    DepthwiseConv2d { window: Window, multiplier: usize, linear: Linear },
    /// Weights `[out, in]`; the input is read as rows of `in`.
    FullyConnected { linear: Linear },
    /// Mean over the positions inside the input, then clamp.
    AveragePool2d { window: Window, lo: i32, hi: i32 },
    /// Maximum over the positions inside the input, then clamp.
    MaxPool2d { window: Window, lo: i32, hi: i32 },
    /// `Σ(q − input_zero_point)`, rescaled, for MEAN (the multiplier already has the count divided in) and SUM.
    Mean { axes: Vec<usize>, input_zero_point: i32, rescale: Rescale, out: Output },
    /// Both operands brought to one scale, added, rescaled; NumPy broadcasting.
    Add { left_shift: u32, operands: [AddOperand; 2], multiplier: Multiplier, out: Output },
    /// Pads each axis (before, after) with a stored integer.
    Pad { amounts: Vec<(usize, usize)>, value: i32 },
    /// RESHAPE, SQUEEZE, EXPAND_DIMS: same elements, other shape.
    Reshape,
    /// `R(q − input_zero_point, multiplier)`.
    Quantize { input_zero_point: i32, multiplier: Multiplier, out: Output },
    /// As `Add`, with the difference.
    Sub { left_shift: u32, operands: [AddOperand; 2], multiplier: Multiplier, out: Output },
    /// `(q1 − z1)·(q2 − z2)`, rescaled; NumPy broadcasting.
    Mul { zero_points: [i32; 2], rescale: Rescale, out: Output },
    /// The larger (or smaller) of two stored integers; NumPy broadcasting.
    Extremum { largest: bool },
    /// The first operand is `rows` rows of `size` slices; each row of the result has the slices at the positions that the
    /// second operand holds, in order. A position outside stops the kernel.
    Lookup { rows: usize, size: usize },
    /// Stored integers are copied.
    Move { movement: Movement },
    /// Weighted means of up to four elements, height and width (axes 1 and 2).
    Interpolate { interpolation: Box<Interpolation> },
    /// One result for each stored value, from the smallest of the input's type on.
    Table { table: Arc<[i32]> },
    /// Rows of the last axis; differences below `dmin` give `lo`; output counts from `lo` in `bits` bits.
    Softmax { multiplier: Multiplier, dmin: i32, lo: i32, bits: u32 },
    /// SOFTMAX of 16-bit integers, by interpolation in two tables of 513 entries: `e^x` for x in [−10, 0], `1/(1+x)` for
    /// x in [0, 1].
    Softmax16 { multiplier: Multiplier, exponential: Arc<[i32]>, inverse: Arc<[i32]> },
    /// Rows of the last axis; `multiplier` and `dmin` as in `Softmax`, `reverse` takes a logarithm back to differences.
    LogSoftmax { multiplier: Multiplier, dmin: i32, reverse: Multiplier, out: Output },
    /// Rows of the last axis: `R((q − input_zero_point) << left_shift, 2^gain / sqrt(Σ (q − input_zero_point)²))`.
    L2Normalize { input_zero_point: i32, left_shift: u32, gain: i32, out: Output },
    /// `Σ (a − z1)·(b − z2)`, rescaled: matrices `a` `[…, m, k]` and `b` `[…, k, n]` with equal dimensions before.
    MatMul { zero_points: [i32; 2], rescale: Rescale, out: Output },
    /// `R((q1 − z1) / (q2 − z2), multiplier)` with the quotient to 31 bits; the second operand has no zero in it.
    Div { zero_points: [i32; 2], multiplier: Multiplier, out: Output },
    /// Quotient of two stored integers, rounded down, or its remainder; the second operand has no zero in it.
    FloorDiv { remainder: bool },
    /// 1 where `relation` holds between `R((q − z) << left_shift, multiplier)` of both operands; NumPy broadcasting.
    Compare { relation: Relation, left_shift: u32, operands: [AddOperand; 2] },
    /// The second operand where the first is not 0, else the third; NumPy broadcasting.
    Select,
    /// Largest or smallest stored integer along `axes`.
    ReduceExtremum { axes: Vec<usize>, largest: bool },
    /// Product of `q − input_zero_point` along `axes`, `R64` after each factor but the first and once more at the end.
    ReduceProduct { axes: Vec<usize>, input_zero_point: i32, multiplier: Multiplier, out: Output },
    /// The `k` largest (or smallest) stored integers along `axis` in order, or their positions; the first of equals
    /// comes first.
    Top { axis: usize, k: usize, largest: bool, indices: bool },
}

/// One operator. `inputs` are data operands only (weights and biases are inside [`Kind`]).
#[derive(Clone, Debug)]
pub struct Op {
    /// Index of the operator in the model file.
    pub index: usize,
    /// TFLite name, for people.
    pub name: &'static str,
    /// Meaning.
    pub kind: Kind,
    /// Data operands.
    pub inputs: Vec<TensorId>,
    /// Result.
    pub output: TensorId,
}

/// A tensor whose value outlives a call.
#[derive(Clone, Debug)]
pub struct State {
    /// Holds the value at the beginning of a call.
    pub tensor: TensorId,
    /// Holds what the next call begins with.
    pub next: TensorId,
    /// Stored integers that the first call begins with.
    pub initial: Vec<i32>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Every tensor of subgraph 0, then values inside operators.
    pub tensors: Vec<Tensor>,
    /// Topological order.
    pub ops: Vec<Op>,
    /// Inputs of the model.
    pub inputs: Vec<TensorId>,
    /// Outputs of the model; may be intermediates or inputs as well.
    pub outputs: Vec<TensorId>,
    /// What is kept between calls.
    pub states: Vec<State>,
}

impl Graph {
    /// The tensor of an id made by the importer.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }
}
