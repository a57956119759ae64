//! What an operator's function sees: its operands, checked, and the memory it may still take.
mod activation;
mod constants;

pub(super) use activation::{Activation, dims};
pub(super) use constants::{Weights, stored};

use std::collections::HashMap;
use std::sync::Arc;

use super::checks::{element_type, elements, per_tensor, shape};
use super::fault::{Fault, Stop, damaged, limit, unsupported};
use super::raw::{Raw, RawOperator, RawTensor};
use super::variables::Variables;
use super::{codes, names, ops};
use crate::qgraph::{DType, Kind, Quant, State, Tensor, TensorId};

/// Most bytes in the graph for each byte of the file. Honest models stay well below.
const GROWTH: usize = 16;
/// Bytes of the graph that any file may ask for: tables and unrolled steps of small models.
const START: usize = 16 << 20;
/// For weights that must have one scale.
pub(super) const NO_AXIS: usize = usize::MAX;
/// Bytes that an op inside an operator counts for.
const STEP: usize = 512;

/// What one can say about a tensor without looking at its uses.
struct Facts {
    shape: Result<Vec<usize>, Fault>,
    dtype: Result<DType, Fault>,
    /// Its tensor has been reported.
    reported: bool,
}

/// Code of float32 in the file.
const FLOAT32: i8 = 0;

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
    /// Ops that the operator at hand needs before its last one, with their results.
    steps: Vec<(Kind, Vec<TensorId>, TensorId)>,
    /// What is kept between calls.
    pub(super) states: Vec<State>,
    /// Resource variables.
    pub(super) variables: Variables<'a>,
    /// Tables of 65536 entries made so far, by function and the numbers that determine it.
    tables: HashMap<(&'static str, [u32; 3]), Arc<[i32]>>,
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
                float: false,
            })
            .collect();
        Context {
            raw,
            facts,
            tensors,
            is_input: vec![false; raw.tensors.len()],
            allowance: raw.file_len.saturating_mul(GROWTH).saturating_add(START),
            steps: Vec::new(),
            states: Vec::new(),
            variables: Variables::default(),
            tables: HashMap::new(),
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

    /// Stored type of a tensor.
    pub(super) fn dtype(&mut self, index: usize) -> Result<DType, Stop> {
        match &self.facts[index].dtype {
            Ok(dtype) => Ok(*dtype),
            Err(fault) => {
                let fault = fault.clone();
                Err(self.stop(index, fault))
            }
        }
    }

    /// A tensor that carries 8- or 16-bit data with one scale.
    pub(super) fn activation(&mut self, index: usize) -> Result<Activation, Stop> {
        if self.raw.tensors[index].is_variable {
            let fault = unsupported(
                codes::STORAGE,
                "it keeps state between runs, which is read here for LSTM and SVDF only",
                "make the state an input and an output of the model",
            );
            return Err(self.stop(index, fault));
        }
        self.quantized(index)
    }

    /// The same, also of int32 data.
    pub(super) fn activation_or_int32(&mut self, index: usize) -> Result<Activation, Stop> {
        if self.dtype(index)? != DType::I32 {
            return self.activation(index);
        }
        let mut activation = self.plain(index, &[DType::I32])?;
        activation.quant = per_tensor(&self.raw.tensors[index], DType::I32).map_err(|fault| fault.at(index))?;
        self.tensors[index].quant = Some(activation.quant);
        Ok(activation)
    }

    /// The same, whether or not it keeps state.
    fn quantized(&mut self, index: usize) -> Result<Activation, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let tensor = &self.raw.tensors[index];
        let quant = match dtype {
            DType::I8 | DType::U8 => per_tensor(tensor, dtype),
            DType::I16 => per_tensor(tensor, dtype).and_then(|quant| match quant.zero_point {
                0 => Ok(quant),
                other => Err(unsupported(
                    codes::QUANT_UNSUPPORTED,
                    format!("its type is int16 and its zero point {other}; TFLite's kernels need 0"),
                    "quantize the model again",
                )),
            }),
            _ => Err(unsupported(
                codes::TYPE,
                format!("its type is {}; data must be int8, uint8 or int16", names::dtype(dtype)),
                "quantize the model to integers",
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
            self.tensors[index].constant = Some(stored(activation.dtype, bytes));
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

    fn has_scale(&self, index: usize) -> bool {
        let scales = self.raw.tensors[index].quant.as_ref().and_then(|quant| quant.scales);
        scales.is_some_and(|scales| !scales.is_empty())
    }

    /// The result of a CAST, which may have no scale whatever its type.
    pub(super) fn cast_result(&mut self, index: usize) -> Result<Activation, Stop> {
        match self.dtype(index)? {
            dtype if !self.has_scale(index) => self.unscaled(index, dtype),
            _ => self.carried_result(index),
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

    /// Whether a tensor is float32 and stands only where float32 may: before all operators or behind them.
    pub(super) fn is_float_edge(&self, index: usize) -> bool {
        let is_output = self.raw.outputs.iter().any(|i| usize::try_from(*i) == Ok(index));
        self.raw.tensors[index].type_code == FLOAT32 && self.is_input[index] != is_output
    }

    /// Makes a float32 input or output of the model stand for stored integers: its owner quantizes, its receiver
    /// dequantizes.
    pub(super) fn float_edge(&mut self, index: usize, dtype: DType, quant: Quant) -> Result<Activation, Stop> {
        let shape = self.shape(index)?;
        if !self.is_float_edge(index) {
            self.dtype(index)?;
            return Err(damaged(codes::TYPE, "its type is not float32").at(index).into());
        }
        let tensor = &mut self.tensors[index];
        if std::mem::replace(&mut tensor.float, true) && (tensor.dtype, tensor.quant) != (dtype, Some(quant)) {
            let reason = "it is float32 and quantized in two ways";
            return Err(unsupported(codes::TYPE, reason, "quantize an input in one way").at(index).into());
        }
        (tensor.dtype, tensor.quant) = (dtype, Some(quant));
        Ok(Activation { id: tensor_id(index)?, dtype, shape, quant })
    }

    /// An input or output of the model.
    pub(super) fn interface(&mut self, index: usize) -> Result<(), Stop> {
        if self.tensors[index].float {
            return Ok(());
        }
        let dtype = self.dtype(index)?;
        match dtype {
            // Positions and conditions are plain integers.
            DType::I32 | DType::I64 | DType::Bool if !self.is_input[index] || !self.has_scale(index) => {
                self.plain(index, &[dtype]).map(|_| ())
            }
            DType::I32 => self.activation_or_int32(index).map(|_| ()),
            // The operator that writes a result has said whether it needs a scale.
            _ if !self.is_input[index] && !self.has_scale(index) => self.plain(index, &[dtype]).map(|_| ()),
            _ => self.data(index).map(|_| ()),
        }
    }

    /// A result or operand without scale, of one of the types `allowed`; a constant is kept with the tensor.
    pub(super) fn plain(&mut self, index: usize, allowed: &[DType]) -> Result<Activation, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let activation = Activation { id: tensor_id(index)?, dtype, shape, quant: Quant { scale: 1.0, zero_point: 0 } };
        if !allowed.contains(&dtype) {
            let listed: Vec<_> = allowed.iter().map(|dtype| names::dtype(*dtype)).collect();
            let reason = format!("its type is {}, expected {}", names::dtype(dtype), listed.join(" or "));
            return Err(unsupported(codes::TYPE, reason, "export the model again").at(index).into());
        }
        if dtype == DType::Bool && self.tensors[index].constant.is_none() && !self.bytes(index)?.is_empty() {
            let bytes = self.constant(index, dtype, activation.len())?;
            self.take(bytes.len(), size_of::<i32>())?;
            self.tensors[index].constant = Some(bytes.iter().map(|&byte| i32::from(byte != 0)).collect());
        }
        Ok(activation)
    }

    /// A variable tensor: its value at the beginning of a call is kept from the one before, and is `initial` at first.
    /// The caller says in [`Context::states`] what follows.
    pub(super) fn variable(&mut self, index: usize) -> Result<Activation, Stop> {
        if !self.raw.tensors[index].is_variable {
            return Err(damaged(codes::STORAGE, "the operator keeps state in it but it is no variable")
                .at(index)
                .into());
        }
        if self.states.iter().any(|state| state.tensor.index() == index) {
            return Err(unsupported(codes::STORAGE, "two operators keep state in it", "give each its own")
                .at(index)
                .into());
        }
        self.quantized(index)
    }

    /// The tensor as in the file.
    pub(super) fn raw(&self, index: usize) -> Option<&'a RawTensor<'a>> {
        self.raw.tensors.get(index)
    }

    /// The file.
    pub(super) fn model(&self) -> &'a Raw<'a> {
        self.raw
    }

    /// Adds an op inside the operator at hand; its result has the given type, shape and zero point.
    pub(super) fn step(
        &mut self,
        kind: Kind,
        inputs: Vec<TensorId>,
        (dtype, zero_point): (DType, i32),
        shape: &[usize],
    ) -> Result<TensorId, Fault> {
        self.take(STEP, 1)?;
        let quant = Some(Quant { scale: 1.0, zero_point });
        let result = self.add_tensor(Tensor {
            name: "inside an operator".to_owned(),
            dtype,
            shape: shape.to_vec(),
            quant,
            constant: None,
            float: false,
        })?;
        self.steps.push((kind, inputs, result));
        Ok(result)
    }

    /// Adds a tensor that is not in the file.
    pub(super) fn add_tensor(&mut self, tensor: Tensor) -> Result<TensorId, Fault> {
        elements(&tensor.shape)?;
        let id = tensor_id(self.tensors.len())?;
        self.tensors.push(tensor);
        Ok(id)
    }

    /// The ops added since the last call.
    pub(super) fn take_steps(&mut self) -> Vec<(Kind, Vec<TensorId>, TensorId)> {
        std::mem::take(&mut self.steps)
    }

    /// A table over int16, made once for each function `name` and numbers `key`.
    pub(super) fn wide_table(
        &mut self,
        name: &'static str,
        key: [u32; 3],
        of: impl Fn(i16) -> i32,
    ) -> Result<Arc<[i32]>, Fault> {
        if let Some(table) = self.tables.get(&(name, key)) {
            return Ok(Arc::clone(table));
        }
        self.take(1 << 16, size_of::<i32>())?;
        let table: Arc<[i32]> = (i16::MIN..=i16::MAX).map(of).collect();
        self.tables.insert((name, key), Arc::clone(&table));
        Ok(table)
    }
}

/// The graph's name of a tensor.
pub(super) fn tensor_id(index: usize) -> Result<TensorId, Fault> {
    u32::try_from(index).map(TensorId).map_err(|_| limit(codes::BUDGET, "the model has too many tensors"))
}
