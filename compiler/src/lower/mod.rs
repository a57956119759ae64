//! Lowers a quantized graph to ops of at most one exchange, with proved constants and ring widths per value.
//!
//! Activations are shared *centred* (stored integer minus zero point), so padding is zero. Each tensor lives in the
//! widest ring that a consumer asks for. First every operator is planned (constants, accumulator width), from the last to
//! the first so that ring widths are known, then the instructions are emitted in order.
pub mod builder;
pub mod compare;
pub mod dealer;
mod emit;
mod plan;
pub mod requant;

use crate::qgraph::{DType, Graph, TensorId};
use crate::staircase::StaircaseError;
use builder::Builder;
use ir::{Interface, Party, Port};

/// Why a model that was read cannot be lowered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LowerError {
    /// No constants for an operator.
    #[error("operator {index} ({name}), channel {channel}: {source}")]
    Constants {
        /// Operator in the model file.
        index: usize,
        /// Its TFLite name.
        name: &'static str,
        /// Output channel.
        channel: usize,
        /// What the search says.
        source: StaircaseError,
    },
    /// Something this version does not do.
    #[error("operator {index} ({name}): {reason}")]
    Unsupported {
        /// Operator in the model file.
        index: usize,
        /// Its TFLite name.
        name: &'static str,
        /// What and what to do.
        reason: String,
    },
    /// More operators than are lowered in reasonable time.
    #[error("the model has {0} operators, at most {MAX_OPERATORS} are compiled; use a smaller model")]
    Operators(usize),
    /// The model as a whole.
    #[error("{0}")]
    Model(String),
}

/// A lowered model: instructions to schedule, and the private weights in the order of the interface.
pub struct Lowered {
    /// Instructions.
    pub builder: Builder,
    /// Private tensors.
    pub weights: Vec<Vec<i32>>,
    /// Thresholds proved.
    pub thresholds: u64,
    /// `output`, or `logits` where the receiver finishes a softmax.
    pub reveal: &'static str,
}

/// Party that owns the model.
pub const MODEL_OWNER: Party = Party(0);
/// Party that owns the inputs and receives the outputs.
pub const DATA_OWNER: Party = Party(1);

/// Most operators: each costs a search for constants.
const MAX_OPERATORS: usize = 1024;

/// Bits that hold every centred 8-bit value with its sign.
const BYTE_RING: u8 = 10;

fn shape32(shape: &[usize]) -> Vec<u32> {
    shape.iter().map(|d| *d as u32).collect()
}

fn port(g: &Graph, id: TensorId) -> Result<Port, LowerError> {
    let t = g.tensor(id);
    let dtype = match t.dtype {
        DType::I8 => ir::program::DType::I8,
        DType::U8 => ir::program::DType::U8,
        _ => return Err(LowerError::Model(format!("tensor {} is neither int8 nor uint8", ir::text::escape(&t.name)))),
    };
    let quant = t.quant.unwrap_or(crate::qgraph::Quant { scale: 1.0, zero_point: 0 });
    // A program carries only so much of a name.
    let name: String = t.name.chars().take(200).collect();
    Ok(Port {
        name,
        dtype,
        shape: shape32(&t.shape),
        scale: quant.scale,
        zero_point: quant.zero_point,
        party: DATA_OWNER,
    })
}

/// How requantizations are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Route {
    /// Comparison trees on bits that all parties share: ten exchanges.
    Boolean,
    /// The party that knows one operand deals to the two that know the other: five exchanges.
    #[default]
    Dealer,
}

/// Lowers `g`.
pub fn lower(g: &Graph, route: Route) -> Result<Lowered, LowerError> {
    if g.ops.len() > MAX_OPERATORS {
        return Err(LowerError::Operators(g.ops.len()));
    }
    let plans = plan::plan(g)?;
    let inputs = g.inputs.iter().map(|t| port(g, *t)).collect::<Result<_, _>>()?;
    let outputs = g.outputs.iter().map(|t| port(g, *t)).collect::<Result<_, _>>()?;
    let interface = Interface { inputs, outputs, weights: vec![], weight_owner: MODEL_OWNER };
    emit::emit(g, &plans, Builder::new(interface, 3), route)
}
