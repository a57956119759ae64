//! Constants of the model: weights, biases, short lists. What is read here goes into the graph or decides its shape.
use planus::Vector;

use super::{Context, NO_AXIS};
use crate::qgraph::DType;
use crate::tflite::checks::weight_quant;
use crate::tflite::fault::{Stop, damaged, unsupported};
use crate::tflite::raw::MAX_RANK;
use crate::tflite::{codes, names};

/// Constant weights, not yet centred.
pub(in crate::tflite) struct Weights<'a> {
    pub(in crate::tflite) index: usize,
    pub(in crate::tflite) dtype: DType,
    pub(in crate::tflite) shape: Vec<usize>,
    pub(in crate::tflite) data: &'a [u8],
    /// One, or one per output channel.
    pub(in crate::tflite) scales: Vec<f32>,
    pub(in crate::tflite) zero_point: i32,
}

/// A constant bias.
pub(in crate::tflite) struct Bias {
    pub(in crate::tflite) values: Vec<i64>,
    pub(in crate::tflite) dtype: DType,
    /// 0 where it has none.
    pub(in crate::tflite) scale: f32,
}

/// Stored integers of 8- or 16-bit data.
pub(in crate::tflite) fn stored(dtype: DType, bytes: &[u8]) -> Vec<i32> {
    match dtype {
        DType::I16 => bytes.as_chunks::<2>().0.iter().map(|&pair| i16::from_le_bytes(pair).into()).collect(),
        DType::U8 => bytes.iter().map(|&byte| i32::from(byte)).collect(),
        _ => bytes.iter().map(|&byte| i32::from(byte.cast_signed())).collect(),
    }
}

impl<'a> Context<'a> {
    pub(super) fn bytes(&mut self, index: usize) -> Result<&'a [u8], Stop> {
        match &self.raw.tensors[index].data {
            Ok(data) => Ok(data),
            Err(fault) => Err(self.stop(index, fault.clone())),
        }
    }

    /// Data of a constant.
    pub(super) fn constant(&mut self, index: usize, dtype: DType, elements: usize) -> Result<&'a [u8], Stop> {
        let bytes = self.bytes(index)?;
        let tensor = &self.raw.tensors[index];
        let fault = if tensor.is_sparse {
            Some(unsupported(codes::STORAGE, "it is stored sparsely", "convert without sparsity"))
        } else if tensor.is_variable {
            Some(unsupported(codes::STORAGE, "it is a variable with data", "store it as a constant"))
        } else if bytes.is_empty() {
            let what = if self.is_input[index] { "it is an input of the model" } else { "it has no data in the file" };
            Some(unsupported(
                codes::NOT_CONSTANT,
                format!("{what}; the operator needs a constant here"),
                "store it in the model as a constant",
            ))
        } else if elements.checked_mul(dtype.size()) != Some(bytes.len()) {
            Some(damaged(
                codes::DATA_LENGTH,
                format!("it has {} bytes of data for {elements} elements of {} bytes", bytes.len(), dtype.size()),
            ))
        } else {
            None
        };
        match fault {
            Some(fault) => Err(self.stop(index, fault)),
            None => Ok(bytes),
        }
    }

    /// A short constant list: axes, a shape, paddings.
    pub(in crate::tflite) fn integers(&mut self, index: usize) -> Result<Vec<i64>, Stop> {
        // An empty list is how a scalar's shape is written.
        if self.raw.tensors[index].dims == [0] && self.bytes(index)?.is_empty() {
            return Ok(Vec::new());
        }
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let elements = shape.iter().product();
        if elements > 2 * MAX_RANK {
            return Err(damaged(codes::SHAPE, format!("it has {elements} elements, more than any list of axes"))
                .at(index)
                .into());
        }
        if let Some(values) = self.tensors[index].constant.as_ref().filter(|_| !matches!(dtype, DType::I8 | DType::U8))
        {
            return Ok(values.iter().map(|value| i64::from(*value)).collect());
        }
        let bytes = self.constant(index, dtype, elements)?;
        match dtype {
            DType::I32 => Ok(bytes.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect()),
            DType::I64 => Ok(bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect()),
            other => {
                Err(damaged(codes::OPERANDS, format!("its type is {}, expected int32 or int64", names::dtype(other)))
                    .at(index)
                    .into())
            }
        }
    }

    /// Weights with one scale, or one for each index of dimension `axis`; [`NO_AXIS`] stands for one scale.
    pub(in crate::tflite) fn weights(&mut self, index: usize, axis: usize) -> Result<Weights<'a>, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let data = self.constant(index, dtype, shape.iter().product())?;
        self.take(data.len(), size_of::<i16>())?;
        let known = matches!(dtype, DType::I8 | DType::U8) || dtype == DType::I16 && axis == NO_AXIS;
        if !known {
            return Err(unsupported(
                codes::TYPE,
                format!("weights are {}, expected int8 or uint8", names::dtype(dtype)),
                "quantize the weights to 8 bits",
            )
            .at(index)
            .into());
        }
        match weight_quant(&self.raw.tensors[index], dtype, &shape, axis) {
            Ok((scales, zero_point)) => {
                self.take(scales.len(), size_of::<f32>() + size_of::<f64>())?;
                Ok(Weights { index, dtype, shape, data, scales, zero_point })
            }
            Err(fault) => Err(self.stop(index, fault)),
        }
    }

    /// A bias of `channels` elements, its type, and its scale, which is 0 where it has none. int64 only where `wide`.
    pub(in crate::tflite) fn bias(&mut self, index: usize, channels: usize, wide: bool) -> Result<Bias, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        if dtype != DType::I32 && !(wide && dtype == DType::I64) {
            return Err(unsupported(
                codes::TYPE,
                format!("the bias is {}, expected int32", names::dtype(dtype)),
                "quantize the model again",
            )
            .at(index)
            .into());
        }
        let elements = shape.iter().product::<usize>();
        if elements != channels {
            return Err(damaged(
                codes::SHAPE,
                format!("the bias has {elements} elements for {channels} output channels"),
            )
            .at(index)
            .into());
        }
        let bytes = self.constant(index, dtype, elements)?;
        self.take(elements, size_of::<i64>())?;
        let scale = self.raw.tensors[index]
            .quant
            .as_ref()
            .and_then(|quant| quant.scales)
            .and_then(Vector::first)
            .unwrap_or(0.0);
        let values: Vec<i64> = match dtype {
            DType::I64 => bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        };
        if values.iter().any(|value| value.unsigned_abs() > 1 << 60) {
            return Err(damaged(codes::DATA_LENGTH, "the bias exceeds 60 bits").at(index).into());
        }
        Ok(Bias { values, dtype, scale })
    }
}
