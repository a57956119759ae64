//! A data tensor of an operator, and what the operator may demand of it.
use crate::qgraph::{DType, Quant, TensorId};
use crate::tflite::fault::{Fault, damaged, unsupported};
use crate::tflite::{codes, names};

/// A data tensor of an operator, checked.
#[derive(Clone, Debug)]
pub(in crate::tflite) struct Activation {
    pub(in crate::tflite) id: TensorId,
    pub(in crate::tflite) dtype: DType,
    pub(in crate::tflite) shape: Vec<usize>,
    pub(in crate::tflite) quant: Quant,
}

impl Activation {
    /// Number of elements.
    pub(in crate::tflite) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape, if it has the rank `N`.
    pub(in crate::tflite) fn dims<const N: usize>(&self) -> Result<[usize; N], Fault> {
        dims(&self.shape).map_err(|fault| fault.at(self.id.index()))
    }

    /// Refuses a stated shape other than the computed one.
    pub(in crate::tflite) fn expect_shape(&self, computed: &[usize]) -> Result<(), Fault> {
        if self.shape == computed {
            return Ok(());
        }
        let reason = format!("its shape is {:?} but the operator computes {computed:?}", self.shape);
        Err(damaged(codes::SHAPE, reason).at(self.id.index()))
    }

    /// Refuses other than 8-bit data, for the operator `name`.
    pub(in crate::tflite) fn expect_8_bit(&self, name: &str) -> Result<(), Fault> {
        self.expect_one_of(&[DType::I8, DType::U8], name)
    }

    /// Refuses data of other types than TFLite's kernel of the operator `name` takes.
    pub(in crate::tflite) fn expect_one_of(&self, allowed: &[DType], name: &str) -> Result<(), Fault> {
        if allowed.contains(&self.dtype) {
            return Ok(());
        }
        let reason = format!("TFLite has no {} form of {name}", names::dtype(self.dtype));
        Err(unsupported(codes::TYPE, reason, "quantize the model to int8").at(self.id.index()))
    }

    /// Refuses a tensor of another type.
    pub(in crate::tflite) fn expect_type(&self, dtype: DType) -> Result<(), Fault> {
        if self.dtype == dtype {
            return Ok(());
        }
        Err(unsupported(
            codes::TYPE,
            format!("its type is {} where the operator's input is {}", names::dtype(self.dtype), names::dtype(dtype)),
            "insert a QUANTIZE operator, or quantize the whole model to one type",
        )
        .at(self.id.index()))
    }
}

/// A shape of known rank.
pub(in crate::tflite) fn dims<const N: usize>(shape: &[usize]) -> Result<[usize; N], Fault> {
    <[usize; N]>::try_from(shape)
        .map_err(|_| damaged(codes::SHAPE, format!("its shape is {shape:?}, the operator needs {N} dimensions")))
}
