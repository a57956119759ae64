//! The error codes of the importer and their long explanations.

macro_rules! codes {
    ($($name:ident = $code:literal: $text:literal;)*) => {
        $(pub(super) const $name: &str = $code;)*
        /// Code and explanation of everything the importer can report.
        pub const CODES: &[(&str, &str)] = &[$(($code, $text)),*];
    };
}

codes! {
    NOT_TFLITE = "Q1001": "The file does not begin like a TFLite model (bytes 4 to 7 must be `TFL3`). Check that it is the .tflite file itself and not an \
        archive, a download page or a Keras or ONNX model.";
    BROKEN = "Q1002": "The model's table structure leads out of the file or contradicts itself. The file is truncated or damaged: fetch or export it again.";
    VERSION = "Q1003": "The file states a schema version other than 3, the only one that TFLite has published for `TFL3` files.";
    INDEX = "Q1004": "A tensor, buffer or operator code is referred to by a number that the model does not have. The file is damaged or was written by a faulty tool.";
    DATAFLOW = "Q1005": "Tensors must be constants, inputs, or results of an earlier operator, and each may be written once. This model reads a tensor before it is \
        written, or writes one twice. Export it again.";
    INTERFACE = "Q1006": "The list of inputs or outputs of the model is not usable: it is empty, names a constant, or names one tensor twice.";
    OPERATOR = "Q1010": "The operator has no secure implementation here (yet). Replace it in the model before quantizing, or cut the model before it and run the rest \
        in the clear.";
    CUSTOM = "Q1011": "Custom and Flex operators are code outside TFLite; their meaning is not in the file. Convert with built-in operators only.";
    OP_VERSION = "Q1012": "The operator is of a version newer than any known one, so its meaning may have changed.";
    UNKNOWN_OPERATOR = "Q1013": "The operator code is not one of TFLite's built-in operators.";
    TYPE = "Q1020": "A tensor has a type that cannot be computed with here. Quantize the whole model to 8-bit integers, inputs and outputs included \
        (`inference_input_type`, `inference_output_type`).";
    SHAPE = "Q1021": "A tensor's shape is impossible, or has another rank or size than the operator requires, or disagrees with what the operator computes.";
    EMPTY = "Q1022": "A tensor has a dimension of zero, so there is nothing to compute.";
    ELEMENTS = "Q1023": "A tensor is larger than the importer's limit on elements or dimensions.";
    DATA_LENGTH = "Q1024": "The stored data of a constant is not as long as its shape and type say, or the buffer lies outside the file.";
    NOT_CONSTANT = "Q1025": "Weights, biases, shapes, axes and paddings must be constants stored in the model.";
    STORAGE = "Q1026": "The constant is stored in a special form (sparse, variable, shuffled) that is not read here. Convert without it.";
    QUANT_MISSING = "Q1030": "A tensor has no scale. Convert with full-integer quantization, with a representative data set.";
    QUANT_INVALID = "Q1031": "A scale or zero point is impossible: scales are finite and positive, zero points lie in the range of the type, and both come in equal \
        number, one or one per channel.";
    QUANT_UNSUPPORTED = "Q1032": "The quantization is valid but of a kind that the operator does not accept, in TFLite either.";
    OPERANDS = "Q1040": "The operator has fewer or more operands or results than its definition allows.";
    OPTIONS = "Q1041": "The operator's options are missing, belong to another operator or hold an impossible value.";
    VARIANT = "Q1042": "The operator is supported, but not with this combination of options or operands.";
    MULTIPLIER = "Q1043": "Scales of operands and result differ so much that TFLite's integer arithmetic is undefined.";
    BUDGET = "Q1050": "The model exceeds a limit of the importer on tables, operators, names or repeated data. Such limits keep a hostile file from using up memory.";
}
