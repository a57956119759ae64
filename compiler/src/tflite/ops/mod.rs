//! The operators that can be imported: one function each, from operands and options to its [`Kind`].

mod choice;
mod elementwise;
mod linear;
mod movement;
mod pool;
mod rearrange;
mod recurrent;
mod reduce;
mod resize;
mod rows;
mod sampled;
pub(super) mod shapes;
mod table;
mod view;

use super::Category;
use super::codes;
use super::context::{Context, Site};
use super::fault::{Fault, Stop, damaged, limit};
use super::variables;
use crate::qgraph::{Kind, TensorId, Window};

/// Imports one operator: its meaning and its data operands.
pub(super) type Importer = fn(&mut Context<'_>, &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop>;

/// The function that imports operators of this name.
pub(super) fn importer(name: &str) -> Option<Importer> {
    Some(match name {
        "ADD" => elementwise::add,
        "AVERAGE_POOL_2D" | "MAX_POOL_2D" => pool::pool,
        "CONV_2D" => linear::conv,
        "DEPTHWISE_CONV_2D" => linear::depthwise,
        "EXPAND_DIMS" => movement::expand_dims,
        "FULLY_CONNECTED" => linear::fully_connected,
        "MEAN" | "SUM" => reduce::mean,
        "REDUCE_MAX" | "REDUCE_MIN" => reduce::extremum,
        "REDUCE_PROD" => reduce::product,
        "ARG_MAX" | "ARG_MIN" => choice::arg_extremum,
        "TOPK_V2" => choice::top_k,
        "EQUAL" | "NOT_EQUAL" | "LESS" | "LESS_EQUAL" | "GREATER" | "GREATER_EQUAL" => choice::compare,
        "SELECT" | "SELECT_V2" => choice::select,
        "DIV" => choice::div,
        "FLOOR_DIV" | "FLOOR_MOD" => choice::floor_div,
        "SQUARED_DIFFERENCE" => elementwise::squared_difference,
        "PRELU" => elementwise::prelu,
        "TRANSPOSE_CONV" => linear::transpose_conv,
        "BATCH_MATMUL" => linear::batch_matmul,
        "LOG_SOFTMAX" => rows::log_softmax,
        "L2_NORMALIZATION" => rows::l2_normalize,
        "UNIDIRECTIONAL_SEQUENCE_LSTM" => recurrent::lstm,
        "SVDF" => recurrent::svdf,
        "READ_VARIABLE" => variables::read,
        "PAD" => movement::pad,
        "QUANTIZE" => elementwise::quantize,
        "DEQUANTIZE" => elementwise::dequantize,
        "RELU" | "RELU6" | "RELU_0_TO_1" | "RELU_N1_TO_1" => elementwise::relu,
        "RESHAPE" => movement::reshape,
        "SOFTMAX" => rows::softmax,
        "SQUEEZE" => movement::squeeze,
        "BROADCAST_TO" => view::broadcast_to,
        "CONCATENATION" => view::concatenation,
        "ABS" | "EXP" | "GELU" | "HARD_SWISH" | "LEAKY_RELU" | "LOG" | "LOGISTIC" | "NEG" | "RSQRT" | "SQRT"
        | "TANH" => table::table,
        "MAXIMUM" | "MINIMUM" => elementwise::extremum,
        "MUL" => elementwise::mul,
        "SUB" => elementwise::add,
        "PADV2" => movement::pad,
        "REVERSE_V2" => view::reverse,
        "PACK" => rearrange::pack,
        "UNPACK" => rearrange::unpack,
        "SPACE_TO_DEPTH" | "DEPTH_TO_SPACE" => rearrange::space_to_depth,
        "BATCH_TO_SPACE_ND" => rearrange::batch_to_space,
        "SPACE_TO_BATCH_ND" => rearrange::space_to_batch,
        "MIRROR_PAD" => rearrange::mirror_pad,
        "GATHER" => rearrange::gather,
        "GATHER_ND" => rearrange::gather_nd,
        "SCATTER_ND" => rearrange::scatter_nd,
        "MATRIX_DIAG" => rearrange::matrix_diag,
        "REVERSE_SEQUENCE" => rearrange::reverse_sequence,
        "DYNAMIC_UPDATE_SLICE" => rearrange::dynamic_update_slice,
        "RESIZE_NEAREST_NEIGHBOR" => resize::nearest,
        "RESIZE_BILINEAR" => resize::bilinear,
        "CAST" => movement::cast,
        "SHAPE" | "RANK" => shapes::unknown,
        "SLICE" => view::slice,
        "SPLIT" | "SPLIT_V" => view::split,
        "STRIDED_SLICE" => view::strided_slice,
        "TILE" => view::tile,
        "TRANSPOSE" => view::transpose,
        _ => return None,
    })
}

/// Whether TFLite's reference kernels compute the operator on floating-point data only.
pub(super) fn is_float_only(name: &str) -> bool {
    matches!(
        name,
        "ADD_N"
            | "CEIL"
            | "COS"
            | "CUMSUM"
            | "ELU"
            | "FLOOR"
            | "REDUCE_ANY"
            | "ROUND"
            | "SIGN"
            | "SIN"
            | "SQUARE"
            | "ZEROS_LIKE"
    )
}

/// Operators with several results, which are imported one by one.
pub(super) fn has_parts(name: &str) -> bool {
    matches!(name, "SPLIT" | "SPLIT_V" | "TOPK_V2" | "UNPACK")
}

/// Most positions between the first and the last of a dilated window.
const MAX_REACH: usize = 1 << 31;

/// Padding, strides and dilations as in the options.
struct WindowOptions {
    padding: i8,
    stride: [i32; 2],
    dilation: [i32; 2],
}

/// The window over a height and width, and the size of what it yields.
fn window(options: &WindowOptions, input: [usize; 2], kernel: [usize; 2]) -> Result<(Window, [usize; 2]), Fault> {
    let positive = |what: &str, value: i32| match usize::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(damaged(codes::OPTIONS, format!("its {what} is {value}"))),
    };
    let mut made = Window { kernel, stride: [0; 2], dilation: [0; 2], pad: [0; 2] };
    let mut output = [0; 2];
    for axis in 0..2 {
        let stride = positive("stride", options.stride[axis])?;
        let dilation = positive("dilation", options.dilation[axis])?;
        let reach = (kernel[axis].saturating_sub(1)).saturating_mul(dilation).saturating_add(1);
        if reach > MAX_REACH {
            return Err(limit(codes::ELEMENTS, format!("its dilated window reaches over {reach} positions")));
        }
        (output[axis], made.pad[axis]) = match options.padding {
            0 => {
                let size = input[axis].div_ceil(stride);
                let covered = (size - 1).saturating_mul(stride).saturating_add(reach);
                (size, covered.saturating_sub(input[axis]) / 2)
            }
            1 if reach > input[axis] => {
                return Err(damaged(
                    codes::SHAPE,
                    format!("its window reaches over {reach} positions of an input that has {}", input[axis]),
                ));
            }
            1 => ((input[axis] - reach) / stride + 1, 0),
            other => return Err(damaged(codes::OPTIONS, format!("padding {other} does not exist"))),
        };
        made.stride[axis] = stride;
        made.dilation[axis] = dilation;
    }
    Ok((made, output))
}

/// An axis, counted from the end where negative.
fn axis(value: i64, rank: usize) -> Result<usize, Fault> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let wrapped = if value < 0 { value.saturating_add(signed) } else { value };
    match usize::try_from(wrapped) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => Err(Fault::new(
            Category::Damaged,
            codes::OPTIONS,
            format!("axis {value} does not exist in {rank} dimensions"),
            "export the model again",
        )),
    }
}

/// A field of the options; an offset that leads astray is damage.
pub(super) fn field<T>(field: Result<T, planus::Error>) -> Result<T, Fault> {
    field.map_err(|error| damaged(codes::BROKEN, format!("its options cannot be read: {error}")))
}
