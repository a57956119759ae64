//! Walks the operators of a model: checks the flow of data, hands each operator to its function and collects what is wrong.

use planus::Vector;

use super::fault::{Fault, Stop, damaged, limit, unsupported};
use super::raw::{MAX_RANK, Raw, RawOperator, RawQuant, RawTensor};
use super::{Category, Problem, codes, names, ops};
use crate::qgraph::{DType, Graph, Kind, Op, Quant, Tensor, TensorId};

/// Most elements of a tensor.
pub(super) const MAX_ELEMENTS: usize = 1 << 28;
/// Longest report.
const MAX_PROBLEMS: usize = 1000;
/// Newest operator version that is not refused out of hand.
const MAX_VERSION: i32 = 16;

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
            format!("its type is {:?} where the operator's input is {dtype:?}", self.dtype),
            "insert a QUANTIZE operator, or quantize the whole model to one type",
        )
        .at(self.id.index()))
    }
}

/// A shape of known rank.
pub(super) fn dims<const N: usize>(shape: &[usize]) -> Result<[usize; N], Fault> {
    <[usize; N]>::try_from(shape).map_err(|_| damaged(codes::SHAPE, format!("its shape is {shape:?}, the operator needs {N} dimensions")))
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
    tensors: Vec<Tensor>,
    is_input: Vec<bool>,
    /// Elements that may still be copied out of the file; operators may share constants.
    allowance: usize,
}

/// One operator during its import.
pub(super) struct Site<'a> {
    pub(super) operator: &'a RawOperator<'a>,
    pub(super) name: &'static str,
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

    /// The only result.
    pub(super) fn result(&self) -> Result<usize, Fault> {
        match self.operator.outputs[..] {
            [index] => usize::try_from(index).map_err(|_| damaged(codes::OPERANDS, "its result is absent")),
            _ => Err(damaged(codes::OPERANDS, format!("it has {} results, expected 1", self.operator.outputs.len()))),
        }
    }
}

/// Options that are missing or belong to another operator.
pub(super) fn no_options() -> Fault {
    damaged(codes::OPTIONS, "its options are missing or belong to another operator")
}

impl<'a> Context<'a> {
    fn new(raw: &'a Raw<'a>) -> Context<'a> {
        let facts: Vec<Facts> =
            raw.tensors.iter().map(|tensor| Facts { shape: shape(tensor), dtype: element_type(tensor), reported: false }).collect();
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
        Context { raw, facts, tensors, is_input: vec![false; raw.tensors.len()], allowance: raw.file_len.saturating_mul(8) }
    }

    /// Passes on what is wrong with a tensor, once.
    fn stop(&mut self, index: usize, fault: Fault) -> Stop {
        if std::mem::replace(&mut self.facts[index].reported, true) { Stop::Known } else { Stop::New(fault.at(index)) }
    }

    fn take(&mut self, elements: usize) -> Result<(), Fault> {
        self.allowance = self
            .allowance
            .checked_sub(elements)
            .ok_or_else(|| limit(codes::BUDGET, "operators share constants so often that they would take many times the size of the file"))?;
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
                format!("its type is {dtype:?}; data must be int8 or uint8"),
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
            self.take(bytes.len())?;
            let stored = |&byte: &u8| match activation.dtype {
                DType::U8 => i32::from(byte),
                _ => i32::from(byte.cast_signed()),
            };
            self.tensors[index].constant = Some(bytes.iter().map(stored).collect());
        }
        Ok(activation)
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
            Some(unsupported(codes::NOT_CONSTANT, format!("{what}; the operator needs a constant here"), "store it in the model as a constant"))
        } else if elements.checked_mul(dtype.size()) != Some(bytes.len()) {
            Some(damaged(codes::DATA_LENGTH, format!("it has {} bytes of data for {elements} elements of {} bytes", bytes.len(), dtype.size())))
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
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let elements = shape.iter().product();
        if elements > 2 * MAX_RANK {
            return Err(damaged(codes::SHAPE, format!("it has {elements} elements, more than any list of axes")).at(index).into());
        }
        let bytes = self.constant(index, dtype, elements)?;
        match dtype {
            DType::I32 => Ok(bytes.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect()),
            DType::I64 => Ok(bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect()),
            other => Err(damaged(codes::OPERANDS, format!("its type is {other:?}, expected int32 or int64")).at(index).into()),
        }
    }

    /// Weights with one scale, or one for each index of dimension `axis`.
    pub(super) fn weights(&mut self, index: usize, axis: usize) -> Result<Weights<'a>, Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        let data = self.constant(index, dtype, shape.iter().product())?;
        self.take(data.len())?;
        if !matches!(dtype, DType::I8 | DType::U8) {
            return Err(unsupported(codes::TYPE, format!("weights are {dtype:?}, expected int8 or uint8"), "quantize the weights to 8 bits").at(index).into());
        }
        match weight_quant(&self.raw.tensors[index], dtype, &shape, axis) {
            Ok((scales, zero_point)) => Ok(Weights { index, dtype, shape, data, scales, zero_point }),
            Err(fault) => Err(self.stop(index, fault)),
        }
    }

    /// A bias of `channels` elements and its scale, which is 0 where it has none.
    pub(super) fn bias(&mut self, index: usize, channels: usize) -> Result<(Vec<i64>, f32), Stop> {
        let shape = self.shape(index)?;
        let dtype = self.dtype(index)?;
        if dtype != DType::I32 {
            return Err(unsupported(codes::TYPE, format!("the bias is {dtype:?}, expected int32"), "quantize the model again").at(index).into());
        }
        let elements = shape.iter().product::<usize>();
        if elements != channels {
            return Err(damaged(codes::SHAPE, format!("the bias has {elements} elements for {channels} output channels")).at(index).into());
        }
        let bytes = self.constant(index, dtype, elements)?;
        self.take(elements.saturating_mul(2))?;
        let scale = self.raw.tensors[index].quant.as_ref().and_then(|quant| quant.scales).and_then(Vector::first).unwrap_or(0.0);
        Ok((bytes.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(), scale))
    }
}

fn tensor_id(index: usize) -> Result<TensorId, Fault> {
    u32::try_from(index).map(TensorId).map_err(|_| limit(codes::BUDGET, "the model has too many tensors"))
}

fn shape(tensor: &RawTensor<'_>) -> Result<Vec<usize>, Fault> {
    if tensor.rank > MAX_RANK {
        return Err(limit(codes::ELEMENTS, format!("it has {} dimensions, at most {MAX_RANK} are accepted", tensor.rank)));
    }
    let mut shape = Vec::with_capacity(tensor.rank);
    for &dim in &tensor.dims {
        match usize::try_from(dim) {
            Err(_) => return Err(damaged(codes::SHAPE, format!("it has the dimension {dim}"))),
            Ok(0) => return Err(unsupported(codes::EMPTY, "it has no elements", "export the model with fixed, non-zero dimensions")),
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

fn element_type(tensor: &RawTensor<'_>) -> Result<DType, Fault> {
    if tensor.is_variable {
        return Err(unsupported(codes::STORAGE, "it keeps state between runs", "make the state an input and an output of the model"));
    }
    match tensor.type_code {
        2 => Ok(DType::I32),
        3 => Ok(DType::U8),
        4 => Ok(DType::I64),
        6 => Ok(DType::Bool),
        7 => Ok(DType::I16),
        9 => Ok(DType::I8),
        code => match names::element_type(code) {
            Some(name) => {
                Err(unsupported(codes::TYPE, format!("its type is {name}"), "quantize the whole model to 8-bit integers, inputs and outputs included"))
            }
            None => Err(damaged(codes::TYPE, format!("its type has the unknown code {code}"))),
        },
    }
}

/// Number of scales; checks that there are as many zero points.
fn scale_count(quant: &RawQuant<'_>) -> Result<usize, Fault> {
    if quant.has_details {
        return Err(unsupported(codes::QUANT_UNSUPPORTED, "it has custom or block-wise quantization", "quantize per tensor or per channel"));
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

fn per_tensor(tensor: &RawTensor<'_>, dtype: DType) -> Result<Quant, Fault> {
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

fn weight_quant(tensor: &RawTensor<'_>, dtype: DType, shape: &[usize], axis: usize) -> Result<(Vec<f32>, i32), Fault> {
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
            return Err(damaged(codes::QUANT_INVALID, format!("its quantized dimension is {}, the operator needs {axis}", quant.axis)));
        }
        if count != channels {
            return Err(damaged(codes::QUANT_INVALID, format!("it has {count} scales for {channels} channels")));
        }
        if dtype == DType::U8 {
            return Err(unsupported(codes::QUANT_UNSUPPORTED, "uint8 weights have several scales", "use int8 for per-channel weights"));
        }
    }
    let scales: Vec<f32> = scales.iter().collect();
    if let Some(bad) = scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        return Err(damaged(codes::QUANT_INVALID, format!("one of its scales is {bad}")));
    }
    let first = zero_point(zero_points.first(), dtype)?;
    if count > 1 && zero_points.iter().any(|value| value != 0) {
        return Err(unsupported(codes::QUANT_UNSUPPORTED, "per-channel weights have zero points other than 0", "quantize the weights symmetrically"));
    }
    Ok((scales, first))
}

/// A fault with its place in words.
pub(super) fn problem(fault: Fault, raw: Option<&Raw<'_>>, place: Option<(usize, Option<String>)>) -> Problem {
    let tensor = fault.tensor.and_then(|index| Some((index, raw?.tensors.get(index)?)));
    let (operator, op_name) = place.unzip();
    Problem {
        code: fault.code,
        category: fault.category,
        operator,
        op_name: op_name.flatten(),
        tensor: tensor.map(|(index, tensor)| if tensor.name.is_empty() { format!("#{index}") } else { names::printable(&tensor.name) }),
        reason: fault.reason,
        next_step: fault.next_step,
    }
}

/// Who defines a tensor so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Nothing,
    Constant,
    Input,
    Operator,
}

/// Checks the model and makes the graph.
pub(super) fn import(raw: &Raw<'_>) -> Result<Graph, Vec<Problem>> {
    let mut cx = Context::new(raw);
    let mut problems: Vec<Problem> = Vec::new();
    let mut report = |fault: Fault, place: Option<(usize, Option<String>)>| {
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem(fault, Some(raw), place));
        }
    };
    raw.faults.iter().for_each(|fault| report(fault.clone(), None));

    let mut origins: Vec<Origin> = raw
        .tensors
        .iter()
        .map(|tensor| if tensor.data.as_ref().is_ok_and(|data| data.is_empty()) { Origin::Nothing } else { Origin::Constant })
        .collect();
    let inputs = interface(&raw.inputs, raw, "input", &mut report);
    let outputs = interface(&raw.outputs, raw, "output", &mut report);
    for &index in &inputs {
        cx.is_input[index] = true;
        match origins[index] {
            Origin::Nothing => origins[index] = Origin::Input,
            Origin::Input => {
                report(unsupported(codes::INTERFACE, "it is listed twice as input of the model", "list each input once").at(index), None);
            }
            _ => report(unsupported(codes::INTERFACE, "it is an input of the model and a constant", "list only real inputs").at(index), None),
        }
    }

    let mut graph_ops = Vec::with_capacity(raw.operators.len());
    for (index, operator) in raw.operators.iter().enumerate() {
        let name = operator.code.as_ref().and_then(|code| names::operator(code.builtin));
        match import_operator(&mut cx, &mut origins, operator, index) {
            Ok(op) => graph_ops.push(op),
            Err(Stop::Known) => {}
            Err(Stop::New(fault)) => report(fault, Some((index, name.map(str::to_owned)))),
        }
    }

    for &index in inputs.iter().chain(&outputs) {
        if origins[index] == Origin::Nothing {
            report(damaged(codes::DATAFLOW, "it is an output of the model but nothing computes it").at(index), None);
        } else if let Err(Stop::New(fault)) = cx.data(index) {
            report(fault, None);
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let ids = |list: Vec<usize>| list.into_iter().map(tensor_id).collect::<Result<Vec<_>, _>>();
    match (ids(inputs), ids(outputs)) {
        (Ok(inputs), Ok(outputs)) => Ok(Graph { tensors: cx.tensors, ops: graph_ops, inputs, outputs }),
        (Err(fault), _) | (_, Err(fault)) => Err(vec![problem(fault, Some(raw), None)]),
    }
}

/// The model's inputs or outputs that exist; the others are reported.
fn interface(list: &[i32], raw: &Raw<'_>, what: &str, report: &mut impl FnMut(Fault, Option<(usize, Option<String>)>)) -> Vec<usize> {
    if list.is_empty() {
        report(unsupported(codes::INTERFACE, format!("the model has no {what}"), "export the model with inputs and outputs"), None);
    }
    let mut found = Vec::with_capacity(list.len());
    for &index in list {
        match usize::try_from(index) {
            Ok(index) if index < raw.tensors.len() => found.push(index),
            _ => report(damaged(codes::INDEX, format!("an {what} of the model is tensor {index}, there are {}", raw.tensors.len())), None),
        }
    }
    found
}

fn import_operator(cx: &mut Context<'_>, origins: &mut [Origin], operator: &RawOperator<'_>, index: usize) -> Result<Op, Stop> {
    let checked = check_flow(origins, operator);
    let code = operator.code.as_ref().ok_or_else(|| damaged(codes::INDEX, "its operator code is not in the model"))?;
    let Some(name) = names::operator(code.builtin) else {
        return Err(unsupported(
            codes::UNKNOWN_OPERATOR,
            format!("operator code {} is not known", code.builtin),
            "use a newer release of this compiler or an older converter",
        )
        .into());
    };
    if name == "CUSTOM" {
        let custom = names::printable(&code.custom);
        return Err(unsupported(codes::CUSTOM, format!("`{custom}` is a custom operator"), "convert the model with built-in operators only").into());
    }
    let Some(import) = ops::importer(name) else {
        checked.or_else(|fault| if fault.category == Category::Damaged && fault.code == codes::INDEX { Err(fault) } else { Ok(()) })?;
        return Err(unsupported(codes::OPERATOR, format!("the operator {name} is not supported"), "replace it before quantizing, or cut the model here").into());
    };
    checked?;
    if code.version > MAX_VERSION {
        return Err(unsupported(codes::OP_VERSION, format!("version {} of {name} is not known", code.version), "use an older converter").into());
    }
    let site = Site { operator, name };
    let output = site.result()?;
    let (kind, inputs): (Kind, Vec<TensorId>) = import(cx, &site)?;
    Ok(Op { index, name, kind, inputs, output: tensor_id(output)? })
}

/// Operands are defined, results are not; then they are.
fn check_flow(origins: &mut [Origin], operator: &RawOperator<'_>) -> Result<(), Fault> {
    let mut verdict = Ok(());
    for &index in &operator.inputs {
        let found = match usize::try_from(index) {
            Ok(at) => match origins.get(at) {
                Some(Origin::Nothing) => Err(damaged(codes::DATAFLOW, "it is read before any operator has written it").at(at)),
                Some(_) => Ok(()),
                None => Err(out_of_range(index, origins.len())),
            },
            Err(_) if index == -1 => Ok(()),
            Err(_) => Err(out_of_range(index, origins.len())),
        };
        verdict = verdict.and(found);
    }
    for &index in &operator.outputs {
        let found = match usize::try_from(index).ok().and_then(|at| Some((at, origins.get_mut(at)?))) {
            None => Err(out_of_range(index, origins.len())),
            Some((_, origin)) if *origin == Origin::Nothing => {
                *origin = Origin::Operator;
                Ok(())
            }
            Some((at, Origin::Operator)) => Err(damaged(codes::DATAFLOW, "two operators write it").at(at)),
            Some((at, Origin::Input)) => Err(damaged(codes::DATAFLOW, "an operator writes an input of the model").at(at)),
            Some((at, _)) => Err(damaged(codes::DATAFLOW, "an operator writes a constant").at(at)),
        };
        verdict = verdict.and(found);
    }
    verdict
}

fn out_of_range(index: i32, tensors: usize) -> Fault {
    damaged(codes::INDEX, format!("it refers to tensor {index}, the model has {tensors}"))
}
