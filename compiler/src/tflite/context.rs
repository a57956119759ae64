//! What an operator's function sees: its operands, checked, and the memory it may still take.

use planus::Vector;

use super::checks::{element_type, per_tensor, shape, weight_quant};
use super::fault::{Fault, Stop, damaged, limit, unsupported};
use super::raw::{MAX_RANK, Raw, RawOperator};
use super::{codes, names, ops};
use crate::qgraph::{DType, Quant, Tensor, TensorId};

/// Most bytes in the graph for each byte of the file. Honest models stay well below.
const GROWTH: usize = 16;

/// A data tensor of an operator, checked.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    pub(super) id: TensorId,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) quant: Quant,
}

impl Activation {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape, if it has the rank `N`.
    pub(super) fn dims<const N: usize>(&self) -> Result<[usize; N], Fault> {
        dims(&self.shape).map_err(|fault| fault.at(self.id.index()))
    }

    /// Refuses a stated shape other than the computed one.
    pub(super) fn expect_shape(&self, computed: &[usize]) -> Result<(), Fault> {
        if self.shape == computed {
            return Ok(());
        }
        let reason = format!("its shape is {:?} but the operator computes {computed:?}", self.shape);
        Err(damaged(codes::SHAPE, reason).at(self.id.index()))
    }

    /// Refuses a tensor of another type.
    pub(super) fn expect_type(&self, dtype: DType) -> Result<(), Fault> {
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
pub(super) fn dims<const N: usize>(shape: &[usize]) -> Result<[usize; N], Fault> {
    <[usize; N]>::try_from(shape)
        .map_err(|_| damaged(codes::SHAPE, format!("its shape is {shape:?}, the operator needs {N} dimensions")))
}

/// Constant weights, not yet centred.
pub(super) struct Weights<'a> {
    pub(super) index: usize,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) data: &'a [u8],
    /// One, or one per output channel.
    pub(super) scales: Vec<f32>,
    pub(super) zero_point: i32,
}

/// What one can say about a tensor without looking at its uses.
struct Facts {
    shape: Result<Vec<usize>, Fault>,
    dtype: Result<DType, Fault>,
    /// Its tensor has been reported.
    reported: bool,
}

/// State of an import.
pub(super) struct Context<'a> {
    raw: &'a Raw<'a>,
    facts: Vec<Facts>,
    /// The graph's tensors.
    pub(super) tensors: Vec<Tensor>,
    /// Which tensors are inputs of the model.
    pub(super) is_input: Vec<bool>,
    /// Bytes that may still be taken up by what is copied out of the file; operators may share constants.
    allowance: usize,
}

/// One operator during its import.
pub(super) struct Site<'a> {
    pub(super) operator: &'a RawOperator<'a>,
    pub(super) name: &'static str,
    /// Position of the result that is imported; operators with several are imported once for each.
    pub(super) part: usize,
}

impl Site<'_> {
    /// A required operand.
    pub(super) fn operand(&self, position: usize) -> Result<usize, Fault> {
        self.optional(position).ok_or_else(|| damaged(codes::OPERANDS, format!("operand {position} is missing")))
    }

    /// An operand that may be left out or −1.
    pub(super) fn optional(&self, position: usize) -> Option<usize> {
        self.operator.inputs.get(position).and_then(|&index| usize::try_from(index).ok())
    }

    /// Bounds the number of operands.
    pub(super) fn operands(&self, least: usize, most: usize) -> Result<(), Fault> {
        let count = self.operator.inputs.len();
        if count < least || count > most {
            return Err(damaged(codes::OPERANDS, format!("it has {count} operands, expected {least} to {most}")));
        }
        Ok(())
    }

    /// The result: the only one, except for operators that have parts.
    pub(super) fn result(&self) -> Result<usize, Fault> {
        match self.operator.outputs.get(self.part) {
            Some(&index) if self.operator.outputs.len() == 1 || ops::has_parts(self.name) => {
                usize::try_from(index).map_err(|_| damaged(codes::OPERANDS, "its result is absent"))
            }
            _ => Err(damaged(codes::OPERANDS, format!("it has {} results, expected 1", self.operator.outputs.len()))),
        }
    }
}

/// Options that are missing or belong to another operator.
pub(super) fn no_options() -> Fault {
    damaged(codes::OPTIONS, "its options are missing or belong to another operator")
}

impl<'a> Context<'a> {
    /// Looks at every tensor.
    pub(super) fn new(raw: &'a Raw<'a>) -> Context<'a> {
        let facts: Vec<Facts> = raw
            .tensors
            .iter()
            .map(|tensor| Facts { shape: shape(tensor), dtype: element_type(tensor), reported: false })
            .collect();
        let tensors = raw
            .tensors
            .iter()
            .zip(&facts)
            .map(|(tensor, facts)| Tensor {
                name: tensor.name.clone(),
                dtype: facts.dtype.as_ref().copied().unwrap_or(DType::I8),
                shape: facts.shape.as_ref().cloned().unwrap_or_default(),
                quant: None,
                constant: None,
            })
            .collect();
        Context {
            raw,
            facts,
            tensors,
            is_input: vec![false; raw.tensors.len()],
            allowance: raw.file_len.saturating_mul(GROWTH),
        }
    }

    /// Passes on what is wrong with a tensor, once.
    fn stop(&mut self, index: usize, fault: Fault) -> Stop {
        if std::mem::replace(&mut self.facts[index].reported, true) { Stop::Known } else { Stop::New(fault.at(index)) }
    }

    /// Accounts for memory that the graph will hold.
    pub(super) fn take(&mut self, elements: usize, bytes_each: usize) -> Result<(), Fault> {
        self.allowance = self.allowance.checked_sub(elements.saturating_mul(bytes_each)).ok_or_else(|| {
            limit(
                codes::BUDGET,
                "operators share constants so often that they would take many times the size of the file",
            )
        })?;
        Ok(())
    }

    /// Shape of a tensor.
    pub(super) fn shape(&mut self, index: usize) -> Result<Vec<usize>, Stop> {
        match &self.facts[index].shape {
            Ok(shape) => Ok(shape.clone()),
            Err(fault) => {
                let fault = fault.clone();
                Err(self.stop(index, fault))
            }
        }
    }

    /// Number of dimensions in the file.
    pub(super) fn rank(&self, index: usize) -> usize {
        self.raw.tensors[index].rank
    }

    fn dtype(&mut self, index: usize) -> Result<DType, Stop> {
        match &self.facts[index].dtype {
            Ok(dtype) => Ok(*dtype),
            Err(fault) => {
                let fault = fault.clone();
                Err(self.stop(index, fault))
            }
        }
    }

    /// A tensor that carries 8-bit data with one scale.
    pub(super) fn activation(&mut self, index: usize) -> Result<Activation, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let tensor = &self.raw.tensors[index];
        let quant = match dtype {
            DType::I8 | DType::U8 => per_tensor(tensor, dtype),
            _ => Err(unsupported(
                codes::TYPE,
                format!("its type is {}; data must be int8 or uint8", names::dtype(dtype)),
                "quantize the model to 8-bit integers",
            )),
        };
        match quant {
            Ok(quant) => {
                self.tensors[index].quant = Some(quant);
                Ok(Activation { id: tensor_id(index)?, dtype, shape, quant })
            }
            Err(fault) => Err(self.stop(index, fault)),
        }
    }

    /// A data operand: the model's input, a result, or a constant, which is then kept with the tensor.
    pub(super) fn data(&mut self, index: usize) -> Result<Activation, Stop> {
        let activation = self.activation(index)?;
        if self.tensors[index].constant.is_none() && !self.bytes(index)?.is_empty() {
            let bytes = self.constant(index, activation.dtype, activation.len())?;
            self.take(bytes.len(), size_of::<i32>())?;
            let stored = |&byte: &u8| match activation.dtype {
                DType::U8 => i32::from(byte),
                _ => i32::from(byte.cast_signed()),
            };
            self.tensors[index].constant = Some(bytes.iter().map(stored).collect());
        }
        Ok(activation)
    }

    /// A data operand of an operator that only copies: quantized data, or integers without scale.
    pub(super) fn carried(&mut self, index: usize) -> Result<Activation, Stop> {
        match self.dtype(index)? {
            DType::I8 | DType::U8 | DType::I16 => self.data(index),
            dtype => {
                let activation = self.unscaled(index, dtype)?;
                if self.tensors[index].constant.is_none() && !self.bytes(index)?.is_empty() {
                    let bytes = self.constant(index, dtype, activation.len())?;
                    self.take(activation.len(), size_of::<i32>())?;
                    let stored: Option<Vec<i32>> = match dtype {
                        DType::Bool => Some(bytes.iter().map(|byte| i32::from(*byte != 0)).collect()),
                        DType::I64 => {
                            bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b).try_into().ok()).collect()
                        }
                        _ => Some(bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()),
                    };
                    self.tensors[index].constant = Some(stored.ok_or_else(|| {
                        unsupported(codes::TYPE, "it has numbers beyond 32 bits", "use int32").at(index)
                    })?);
                }
                Ok(activation)
            }
        }
    }

    /// The result of an operator that only copies.
    pub(super) fn carried_result(&mut self, index: usize) -> Result<Activation, Stop> {
        match self.dtype(index)? {
            DType::I8 | DType::U8 | DType::I16 => self.activation(index),
            dtype => self.unscaled(index, dtype),
        }
    }

    fn unscaled(&mut self, index: usize, dtype: DType) -> Result<Activation, Stop> {
        let quant = Quant { scale: 1.0, zero_point: 0 };
        Ok(Activation { id: tensor_id(index)?, dtype, shape: self.shape(index)?, quant })
    }

    /// Whether a tensor's value is known: stored in the file, or computed from such.
    pub(super) fn is_constant(&self, index: usize) -> bool {
        let stored = self.raw.tensors[index].data.as_ref().is_ok_and(|data| !data.is_empty());
        stored || self.tensors[index].constant.is_some()
    }

    /// Whether a tensor holds integers without scale.
    pub(super) fn is_integer(&self, index: usize) -> bool {
        matches!(self.facts[index].dtype, Ok(DType::I32 | DType::I64))
    }

    /// A constant list of integers of any length.
    pub(super) fn numbers(&mut self, index: usize) -> Result<Vec<i64>, Stop> {
        let dtype = self.dtype(index)?;
        if !matches!(dtype, DType::I32 | DType::I64) {
            let reason = format!("its type is {}, expected int32 or int64", names::dtype(dtype));
            return Err(damaged(codes::OPERANDS, reason).at(index).into());
        }
        self.carried(index)?;
        match self.tensors[index].constant.clone() {
            Some(values) => Ok(values.into_iter().map(i64::from).collect()),
            None => self.constant(index, dtype, usize::MAX).map(|_| Vec::new()),
        }
    }

    fn bytes(&mut self, index: usize) -> Result<&'a [u8], Stop> {
        match &self.raw.tensors[index].data {
            Ok(data) => Ok(data),
            Err(fault) => Err(self.stop(index, fault.clone())),
        }
    }

    /// Data of a constant.
    fn constant(&mut self, index: usize, dtype: DType, elements: usize) -> Result<&'a [u8], Stop> {
        let bytes = self.bytes(index)?;
        let tensor = &self.raw.tensors[index];
        let fault = if tensor.is_sparse {
            Some(unsupported(codes::STORAGE, "it is stored sparsely", "convert without sparsity"))
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
    pub(super) fn integers(&mut self, index: usize) -> Result<Vec<i64>, Stop> {
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

    /// Weights with one scale, or one for each index of dimension `axis`.
    pub(super) fn weights(&mut self, index: usize, axis: usize) -> Result<Weights<'a>, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let data = self.constant(index, dtype, shape.iter().product())?;
        self.take(data.len(), size_of::<i16>())?;
        if !matches!(dtype, DType::I8 | DType::U8) {
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

    /// A bias of `channels` elements and its scale, which is 0 where it has none.
    pub(super) fn bias(&mut self, index: usize, channels: usize) -> Result<(Vec<i64>, f32), Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        if dtype != DType::I32 {
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
        Ok((bytes.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(), scale))
    }
}

/// The graph's name of a tensor.
pub(super) fn tensor_id(index: usize) -> Result<TensorId, Fault> {
    u32::try_from(index).map(TensorId).map_err(|_| limit(codes::BUDGET, "the model has too many tensors"))
}
