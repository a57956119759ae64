//! What is said about each operator that can be imported: what it costs at most, which stored types it takes, what its
//! shapes must be. Written once, here; a test compares it with what cases of each operator take.

/// What an operator costs in a program at most, by the dealer route.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cost {
    /// Known when the model is compiled.
    Known,
    /// Local work only.
    Local,
    /// A function of one value, by table or, where that is cheaper, by a requantization.
    Table,
    /// Local sums or products, then one requantization.
    Requantization,
    /// One comparison of two values and a choice.
    Comparison,
    /// Comparisons level after level: a logarithm of the number of values.
    Tournament,
    /// Several of these, one after the other.
    Several,
}

impl Cost {
    /// All, in order.
    pub const ALL: [Cost; 7] = [
        Cost::Known,
        Cost::Local,
        Cost::Table,
        Cost::Requantization,
        Cost::Comparison,
        Cost::Tournament,
        Cost::Several,
    ];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Cost::Known => "known",
            Cost::Local => "local",
            Cost::Table => "table",
            Cost::Requantization => "requantization",
            Cost::Comparison => "comparison",
            Cost::Tournament => "tournament",
            Cost::Several => "several",
        }
    }

    /// Rounds that it takes at most, where that does not depend on shapes.
    pub fn rounds(self) -> Option<usize> {
        match self {
            Cost::Known | Cost::Local => Some(0),
            Cost::Table | Cost::Requantization => Some(5),
            Cost::Comparison => Some(4),
            Cost::Tournament | Cost::Several => None,
        }
    }

    /// What its exchanges are, in words.
    pub fn about(self) -> &'static str {
        match self {
            Cost::Known => "known when the model is compiled",
            Cost::Local => "no exchange",
            Cost::Table => "a table in 3 rounds or a requantization in 5",
            Cost::Requantization => "a requantization in 5 rounds",
            Cost::Comparison => "a comparison and a choice in 4 rounds",
            Cost::Tournament => "4 rounds for each level of comparisons, and a table at the end",
            Cost::Several => "several of these, one after the other",
        }
    }
}

/// What is said about an operator.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    /// The most that it costs.
    pub cost: Cost,
    /// Whether it takes 16-bit values as well as 8-bit ones.
    pub wide: bool,
    /// What shapes and operands must be.
    pub limits: &'static str,
}

/// Operators that take 16-bit values.
const WIDE: &str = "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE EXP FULLY_CONNECTED GELU \
    LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL NEG PAD QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RESHAPE \
    RESIZE_BILINEAR SOFTMAX SQUARED_DIFFERENCE STRIDED_SLICE SUB SVDF TANH TRANSPOSE TRANSPOSE_CONV \
    UNIDIRECTIONAL_SEQUENCE_LSTM";

/// What is said about the operators of this name.
pub fn support(name: &str) -> Support {
    let limits = match name {
        "CONV_2D" | "DEPTHWISE_CONV_2D" | "TRANSPOSE_CONV" => "NHWC, constant weights",
        "FULLY_CONNECTED" | "SVDF" | "UNIDIRECTIONAL_SEQUENCE_LSTM" => "constant weights",
        "AVERAGE_POOL_2D" | "MAX_POOL_2D" | "RESIZE_BILINEAR" | "RESIZE_NEAREST_NEIGHBOR" => "NHWC",
        "ADD" | "SUB" | "MUL" | "MAXIMUM" | "MINIMUM" | "SQUARED_DIFFERENCE" | "PRELU" | "EQUAL" | "NOT_EQUAL"
        | "LESS" | "LESS_EQUAL" | "GREATER" | "GREATER_EQUAL" | "SELECT" | "SELECT_V2" => "shapes that broadcast",
        "DIV" | "FLOOR_DIV" | "FLOOR_MOD" => "a divisor without zeros",
        "MEAN" | "SUM" | "REDUCE_MAX" | "REDUCE_MIN" | "REDUCE_PROD" | "ARG_MAX" | "ARG_MIN" | "REVERSE_V2" => {
            "constant axes"
        }
        "SOFTMAX" => "last axis; long rows with --reveal=logits only",
        "LOG_SOFTMAX" | "L2_NORMALIZATION" => "last axis",
        "GATHER" => "one axis; positions constant, computed or given",
        "GATHER_ND" | "SCATTER_ND" | "DYNAMIC_UPDATE_SLICE" | "REVERSE_SEQUENCE" => "constant indices",
        "PAD" | "PADV2" | "MIRROR_PAD" | "BATCH_TO_SPACE_ND" | "SPACE_TO_BATCH_ND" => "constant paddings",
        "RESHAPE" | "BROADCAST_TO" | "SLICE" | "STRIDED_SLICE" | "SPLIT" | "SPLIT_V" | "TILE" | "TRANSPOSE"
        | "EXPAND_DIMS" | "TOPK_V2" => "constant sizes",
        _ => "any",
    };
    let cost = match name {
        "SHAPE" | "RANK" | "VAR_HANDLE" | "CALL_ONCE" => Cost::Known,
        "ABS" | "EXP" | "GELU" | "HARD_SWISH" | "LEAKY_RELU" | "LOG" | "LOGISTIC" | "NEG" | "RSQRT" | "SQRT"
        | "TANH" | "RELU" | "RELU6" | "RELU_0_TO_1" | "RELU_N1_TO_1" | "QUANTIZE" | "CAST" | "CONCATENATION" => {
            Cost::Table
        }
        "CONV_2D" | "DEPTHWISE_CONV_2D" | "TRANSPOSE_CONV" | "FULLY_CONNECTED" | "BATCH_MATMUL" | "ADD" | "SUB"
        | "MUL" | "SQUARED_DIFFERENCE" | "AVERAGE_POOL_2D" | "MEAN" | "SUM" | "RESIZE_BILINEAR" => Cost::Requantization,
        "MAXIMUM" | "MINIMUM" => Cost::Comparison,
        "MAX_POOL_2D" | "REDUCE_MAX" | "REDUCE_MIN" | "ARG_MAX" | "ARG_MIN" | "TOPK_V2" => Cost::Tournament,
        "SOFTMAX"
        | "LOG_SOFTMAX"
        | "L2_NORMALIZATION"
        | "DIV"
        | "FLOOR_DIV"
        | "FLOOR_MOD"
        | "REDUCE_PROD"
        | "PRELU"
        | "EQUAL"
        | "NOT_EQUAL"
        | "LESS"
        | "LESS_EQUAL"
        | "GREATER"
        | "GREATER_EQUAL"
        | "SELECT"
        | "SELECT_V2"
        | "SVDF"
        | "UNIDIRECTIONAL_SEQUENCE_LSTM" => Cost::Several,
        _ => Cost::Local,
    };
    let wide = WIDE.split_whitespace().any(|other| other == name);
    Support { cost, wide, limits }
}
