//! The model as it stands in the file: every offset followed once, every list bounded, nothing interpreted.
//!
//! Lists in a file may share their bytes, so that a short file can describe a very long model; hence the limits.

use planus::errors::ErrorKind;
use planus::{ReadAsRoot, Vector};

use super::codes;
use super::fault::{Fault, damaged, limit, unsupported};
use super::schema::tflite as fb;

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 8;
const MAX_TENSORS: usize = 1 << 17;
const MAX_OPERATORS: usize = 1 << 16;
const MAX_BUFFERS: usize = 1 << 17;
const MAX_CODES: usize = 1 << 12;
const MAX_OPERANDS: usize = 1 << 19;
/// Most subgraphs that are looked at.
const MAX_GRAPHS: usize = 16;
/// What `planus` reports for an operator whose table ends between tag and value of its options: it has none. No damaged
/// table has this length, which is even and large enough.
const OPTIONS_LEFT_OUT: u16 = 12;

/// A model file, taken apart.
pub(super) struct Raw<'a> {
    pub(super) tensors: Vec<RawTensor<'a>>,
    pub(super) operators: Vec<RawOperator<'a>>,
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    /// Subgraphs 1, 2, …, which CALL_ONCE may name.
    pub(super) others: Vec<RawGraph<'a>>,
    /// Found wrong with the model as a whole.
    pub(super) faults: Vec<Fault>,
    /// Length of the file.
    pub(super) file_len: usize,
}

/// A subgraph that initializes variables.
pub(super) struct RawGraph<'a> {
    pub(super) tensors: Vec<RawTensor<'a>>,
    pub(super) operators: Vec<RawOperator<'a>>,
}

/// A tensor.
pub(super) struct RawTensor<'a> {
    pub(super) name: String,
    /// At most [`MAX_RANK`] of them.
    pub(super) dims: Vec<i32>,
    /// Dimensions in the file.
    pub(super) rank: usize,
    pub(super) type_code: i8,
    /// Empty where the tensor has no data.
    pub(super) data: Result<&'a [u8], Fault>,
    pub(super) quant: Option<RawQuant<'a>>,
    pub(super) is_variable: bool,
    pub(super) is_sparse: bool,
}

/// Quantization parameters of a tensor.
pub(super) struct RawQuant<'a> {
    pub(super) scales: Option<Vector<'a, f32>>,
    pub(super) zero_points: Option<Vector<'a, i64>>,
    pub(super) axis: i32,
    /// Parameters beyond scale and zero point.
    pub(super) has_details: bool,
}

/// An operator.
pub(super) struct RawOperator<'a> {
    /// `None` where the index of the operator code is wrong.
    pub(super) code: Option<RawCode>,
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    /// Tensors that only describe what is inside the operator.
    pub(super) intermediates: Vec<i32>,
    /// `None`: absent, or of an operator not read here.
    pub(super) options: Option<fb::BuiltinOptionsRef<'a>>,
}

/// An operator code.
#[derive(Clone)]
pub(super) struct RawCode {
    pub(super) builtin: i32,
    pub(super) custom: String,
    pub(super) version: i32,
}

/// Takes a file apart. An error means that nothing more can be said about it.
pub(super) fn read(bytes: &[u8]) -> Result<Raw<'_>, Fault> {
    if bytes.get(4..8) != Some(b"TFL3") {
        return Err(damaged(codes::NOT_TFLITE, "this is not a TFLite model: the identifier `TFL3` is missing"));
    }
    parse(bytes).map_err(|failure| match failure {
        Failure::Format(error) => damaged(codes::BROKEN, format!("table structure is broken: {error}")),
        Failure::Fault(fault) => fault,
    })
}

enum Failure {
    Format(planus::Error),
    Fault(Fault),
}

impl From<planus::Error> for Failure {
    fn from(error: planus::Error) -> Failure {
        Failure::Format(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Fault(fault)
    }
}

/// Counts down what may still be copied out of the file.
struct Allowance {
    left: usize,
    what: &'static str,
}

impl Allowance {
    fn take(&mut self, n: usize) -> Result<(), Fault> {
        self.left = self
            .left
            .checked_sub(n)
            .ok_or_else(|| limit(codes::BUDGET, format!("the model has too many {}", self.what)))?;
        Ok(())
    }
}

fn bounded(count: usize, most: usize, what: &str) -> Result<(), Fault> {
    if count > most {
        return Err(limit(codes::BUDGET, format!("the model has {count} {what}, at most {most} are accepted")));
    }
    Ok(())
}

fn integers(list: Option<Vector<'_, i32>>, operands: &mut Allowance) -> Result<Vec<i32>, Fault> {
    operands.take(list.map_or(0, Vector::len))?;
    Ok(list.map_or_else(Vec::new, |list| list.iter().collect()))
}

fn text(name: Option<&[u8]>, names: &mut Allowance) -> Result<String, Fault> {
    let name = name.unwrap_or_default();
    names.take(name.len())?;
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn parse(bytes: &[u8]) -> Result<Raw<'_>, Failure> {
    let model = fb::ModelRef::read_as_root(bytes)?;
    match model.version()? {
        3 => {}
        0 => return Err(damaged(codes::VERSION, "schema version 0 does not exist").into()),
        other => {
            return Err(unsupported(
                codes::VERSION,
                format!("schema version is {other}, expected 3"),
                "convert the model with a current converter",
            )
            .into());
        }
    }
    let mut faults = Vec::new();
    let mut names = Allowance { left: bytes.len().saturating_mul(4), what: "long names" };
    let mut operands = Allowance { left: MAX_OPERANDS, what: "operands" };

    let mut opcodes = Vec::new();
    if let Some(list) = model.operator_codes()? {
        bounded(list.len(), MAX_CODES, "operator codes")?;
        for code in list {
            let code = code?;
            opcodes.push(RawCode {
                builtin: code.builtin_code()?.max(i32::from(code.deprecated_builtin_code()?)),
                custom: text(code.custom_code()?, &mut names)?,
                version: code.version()?,
            });
        }
    }

    let mut buffers = Vec::new();
    if let Some(list) = model.buffers()? {
        bounded(list.len(), MAX_BUFFERS, "buffers")?;
        for buffer in list {
            buffers.push(buffer_data(bytes, &buffer?)?);
        }
    }
    if buffers.first().is_some_and(|first| first.as_ref().is_ok_and(|data| !data.is_empty())) {
        faults.push(damaged(codes::INDEX, "buffer 0 holds data; it must be empty"));
    }

    let mut graphs = model.subgraphs()?.into_iter().flatten().take(MAX_GRAPHS);
    let Some(graph) = graphs.next() else {
        return Err(damaged(codes::BROKEN, "the model has no subgraph").into());
    };
    let graph = graph?;
    let lists = Lists { opcodes: &opcodes, buffers: &buffers };
    let RawGraph { tensors, operators } = lists.read(&graph, &mut names, &mut operands)?;
    let inputs = integers(graph.inputs()?, &mut operands)?;
    let outputs = integers(graph.outputs()?, &mut operands)?;
    let mut others = Vec::new();
    for graph in graphs {
        others.push(lists.read(&graph?, &mut names, &mut operands)?);
    }
    Ok(Raw { tensors, operators, inputs, outputs, others, faults, file_len: bytes.len() })
}

/// What subgraphs refer to.
struct Lists<'l, 'a> {
    opcodes: &'l [RawCode],
    buffers: &'l [Result<&'a [u8], Fault>],
}

impl<'a> Lists<'_, 'a> {
    fn read(
        &self,
        graph: &fb::SubGraphRef<'a>,
        names: &mut Allowance,
        operands: &mut Allowance,
    ) -> Result<RawGraph<'a>, Failure> {
        let mut tensors = Vec::new();
        if let Some(list) = graph.tensors()? {
            bounded(list.len(), MAX_TENSORS, "tensors")?;
            for tensor in list {
                tensors.push(read_tensor(&tensor?, self.buffers, names)?);
            }
        }
        let mut operators = Vec::new();
        if let Some(list) = graph.operators()? {
            bounded(list.len(), MAX_OPERATORS, "operators")?;
            for operator in list {
                let operator = operator?;
                let code = usize::try_from(operator.opcode_index()?).ok().and_then(|index| self.opcodes.get(index));
                if let Some(code) = code {
                    names.take(code.custom.len())?;
                }
                operators.push(RawOperator {
                    code: code.cloned(),
                    inputs: integers(operator.inputs()?, operands)?,
                    outputs: integers(operator.outputs()?, operands)?,
                    intermediates: integers(operator.intermediates()?, operands)?,
                    options: options(&operator)?,
                });
            }
        }
        Ok(RawGraph { tensors, operators })
    }
}

fn options<'a>(operator: &fb::OperatorRef<'a>) -> Result<Option<fb::BuiltinOptionsRef<'a>>, planus::Error> {
    operator.builtin_options().or_else(|error| match error.error_kind {
        ErrorKind::UnknownUnionTag { .. } | ErrorKind::InvalidVtableLength { length: OPTIONS_LEFT_OUT } => Ok(None),
        _ => Err(error),
    })
}

/// Data inside the buffer table or, in files above 2 GiB, elsewhere in the file.
fn buffer_data<'a>(bytes: &'a [u8], buffer: &fb::BufferRef<'a>) -> Result<Result<&'a [u8], Fault>, planus::Error> {
    let offset = buffer.offset()?;
    if offset <= 1 {
        return Ok(Ok(buffer.data()?.unwrap_or_default()));
    }
    let range =
        usize::try_from(offset).ok().zip(offset.checked_add(buffer.size()?).and_then(|end| usize::try_from(end).ok()));
    let data = range.and_then(|(start, end)| bytes.get(start..end));
    Ok(data.ok_or_else(|| damaged(codes::DATA_LENGTH, "its buffer lies outside the file")))
}

fn read_tensor<'a>(
    tensor: &fb::TensorRef<'a>,
    buffers: &[Result<&'a [u8], Fault>],
    names: &mut Allowance,
) -> Result<RawTensor<'a>, Failure> {
    let shape = tensor.shape()?;
    let index = tensor.buffer()?;
    let data = match usize::try_from(index).ok().and_then(|index| buffers.get(index)) {
        // Buffer 0 stands for "no data" whatever it holds.
        Some(_) if index == 0 => Ok(&[][..]),
        Some(data) => data.clone(),
        None => Err(damaged(codes::INDEX, format!("buffer index is {index}, the model has {} buffers", buffers.len()))),
    };
    let quant = match tensor.quantization()? {
        None => None,
        Some(quant) => Some(RawQuant {
            scales: quant.scale()?,
            zero_points: quant.zero_point()?,
            axis: quant.quantized_dimension()?,
            has_details: quant.details_type()? != 0,
        }),
    };
    Ok(RawTensor {
        name: text(tensor.name()?, names)?,
        dims: shape.map_or_else(Vec::new, |shape| shape.iter().take(MAX_RANK).collect()),
        rank: shape.map_or(0, Vector::len),
        type_code: tensor.element_type()?,
        data,
        quant,
        is_variable: tensor.is_variable()?,
        is_sparse: tensor.sparsity()?.is_some(),
    })
}
