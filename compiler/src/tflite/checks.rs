//! What can be said about a tensor without looking at its uses: shape, type, scales and zero points.

use planus::Vector;

use super::fault::{Fault, damaged, limit, unsupported};
use super::raw::{MAX_RANK, RawQuant, RawTensor};
use super::{codes, names};
use crate::qgraph::{DType, Quant};

/// Most elements of a tensor.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Shape of a tensor, if there can be one.
pub(super) fn shape(tensor: &RawTensor<'_>) -> Result<Vec<usize>, Fault> {
    if tensor.rank > MAX_RANK {
        return Err(limit(
            codes::ELEMENTS,
            format!("it has {} dimensions, at most {MAX_RANK} are accepted", tensor.rank),
        ));
    }
    let mut shape = Vec::with_capacity(tensor.rank);
    for &dim in &tensor.dims {
        match usize::try_from(dim) {
            Err(_) => return Err(damaged(codes::SHAPE, format!("it has the dimension {dim}"))),
            Ok(0) => {
                return Err(unsupported(
                    codes::EMPTY,
                    "it has no elements",
                    "export the model with fixed, non-zero dimensions",
                ));
            }
            Ok(dim) => shape.push(dim),
        }
    }
    elements(&shape)?;
    Ok(shape)
}

/// Number of elements, if within the limit.
pub(super) fn elements(shape: &[usize]) -> Result<usize, Fault> {
    shape
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(dim).filter(|&count| count <= MAX_ELEMENTS))
        .ok_or_else(|| limit(codes::ELEMENTS, format!("the shape {shape:?} has more than {MAX_ELEMENTS} elements")))
}

/// Stored type of a tensor, if it has one of ours.
pub(super) fn element_type(tensor: &RawTensor<'_>) -> Result<DType, Fault> {
    match tensor.type_code {
        2 => Ok(DType::I32),
        3 => Ok(DType::U8),
        4 => Ok(DType::I64),
        6 => Ok(DType::Bool),
        7 => Ok(DType::I16),
        9 => Ok(DType::I8),
        code => match names::element_type(code) {
            Some(name) => Err(unsupported(
                codes::TYPE,
                format!("its type is {name}"),
                "quantize the whole model to 8-bit integers, inputs and outputs included",
            )),
            None => Err(damaged(codes::TYPE, format!("its type has the unknown code {code}"))),
        },
    }
}

/// Number of scales; checks that there are as many zero points.
fn scale_count(quant: &RawQuant<'_>) -> Result<usize, Fault> {
    if quant.has_details {
        return Err(unsupported(
            codes::QUANT_UNSUPPORTED,
            "it has custom or block-wise quantization",
            "quantize per tensor or per channel",
        ));
    }
    let scales = quant.scales.map_or(0, Vector::len);
    let zero_points = quant.zero_points.map_or(0, Vector::len);
    if scales != zero_points && scales > 0 {
        return Err(damaged(codes::QUANT_INVALID, format!("it has {scales} scales and {zero_points} zero points")));
    }
    Ok(scales)
}

fn unquantized() -> Fault {
    unsupported(codes::QUANT_MISSING, "it is not quantized: it has no scale", "convert with full-integer quantization")
}

fn zero_point(value: Option<i64>, dtype: DType) -> Result<i32, Fault> {
    let (lo, hi) = dtype.range();
    let value = value.unwrap_or(0);
    if value < lo || value > hi {
        return Err(damaged(codes::QUANT_INVALID, format!("its zero point {value} is outside {lo} to {hi}")));
    }
    i32::try_from(value).map_err(|_| damaged(codes::QUANT_INVALID, format!("its zero point is {value}")))
}

/// The only scale and zero point of a tensor that carries data.
pub(super) fn per_tensor(tensor: &RawTensor<'_>, dtype: DType) -> Result<Quant, Fault> {
    let quant = tensor.quant.as_ref().ok_or_else(unquantized)?;
    match scale_count(quant)? {
        0 => return Err(unquantized()),
        1 => {}
        count => {
            return Err(unsupported(
                codes::QUANT_UNSUPPORTED,
                format!("it has {count} scales; only weights may be quantized per channel"),
                "quantize activations per tensor",
            ));
        }
    }
    let scale = quant.scales.and_then(Vector::first).unwrap_or(0.0);
    if !(scale.is_normal() && scale > 0.0) {
        return Err(damaged(codes::QUANT_INVALID, format!("its scale is {scale}")));
    }
    Ok(Quant { scale, zero_point: zero_point(quant.zero_points.and_then(Vector::first), dtype)? })
}

/// Scales and zero point of weights.
pub(super) fn weight_quant(
    tensor: &RawTensor<'_>,
    dtype: DType,
    shape: &[usize],
    axis: usize,
) -> Result<(Vec<f32>, i32), Fault> {
    let quant = tensor.quant.as_ref().ok_or_else(unquantized)?;
    let count = scale_count(quant)?;
    let (Some(scales), Some(zero_points)) = (quant.scales, quant.zero_points) else {
        return Err(unquantized());
    };
    if count == 0 {
        return Err(unquantized());
    }
    let channels = shape.get(axis).copied().unwrap_or(0);
    if count > 1 {
        if usize::try_from(quant.axis) != Ok(axis) {
            return Err(damaged(
                codes::QUANT_INVALID,
                format!("its quantized dimension is {}, the operator needs {axis}", quant.axis),
            ));
        }
        if count != channels {
            return Err(damaged(codes::QUANT_INVALID, format!("it has {count} scales for {channels} channels")));
        }
        if dtype == DType::U8 {
            return Err(unsupported(
                codes::QUANT_UNSUPPORTED,
                "uint8 weights have several scales",
                "use int8 for per-channel weights",
            ));
        }
    }
    let scales: Vec<f32> = scales.iter().collect();
    if let Some(bad) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        return Err(damaged(codes::QUANT_INVALID, format!("one of its scales is {bad}")));
    }
    let first = zero_point(zero_points.first(), dtype)?;
    if count > 1 && zero_points.iter().any(|value| value != 0) {
        return Err(unsupported(
            codes::QUANT_UNSUPPORTED,
            "per-channel weights have zero points other than 0",
            "quantize the weights symmetrically",
        ));
    }
    Ok((scales, first))
}
