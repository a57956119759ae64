//! Lowers a quantized graph to ops of at most one exchange, with proved constants and ring widths per value.
//!
//! Activations are shared *centred* (stored integer minus zero point), so padding is zero. Each tensor lives in the
//! widest ring that a consumer asks for. First every operator is planned (constants, accumulator width), from the last to
//! the first so that ring widths are known, then the instructions are emitted in order.
pub mod adder;
mod balance;
pub mod builder;
mod choice;
mod choose;
pub mod circuit;
pub mod compare;
mod cost;
pub mod dealer;
mod emit;
pub mod formulas;
mod groups;
#[cfg(test)]
mod handmade;
mod linear;
mod lookup;
mod masked;
mod matmul;
pub mod maximum;
mod movement;
mod normalize;
mod owners;
pub(crate) mod plan;
mod poly;
mod private;
mod product;
pub mod quotient;
mod ranges;
pub mod requant;
mod resize;
mod rows;
mod softmax;
mod softmax16;
mod softmax_steps;
mod softmax_table;
mod states;
mod sum_table;
pub mod table;
pub mod table16;
mod top;
mod wide;

use crate::profile::{self, Protocol};
use crate::qgraph::{DType, Graph, Kind, TensorId};
use crate::staircase::StaircaseError;
use builder::Builder;
pub use cost::Aim;
pub use emit::staircase;
use ir::{Interface, Modes, Party, Port};
pub use owners::Owners;
use plan::Plans;
pub use rows::Apart;

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
    /// An owner or a receiver that cannot be.
    #[error("{0}")]
    Owner(String),
}

/// A part of a program with roles of its own.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its first instruction.
    pub start: usize,
    /// Whether any party can play any role.
    pub free: bool,
    /// Which of the parts of its layer's rows it computes; none where the rows are not computed apart.
    pub rows: Option<u32>,
}

/// A lowered model: instructions to schedule, and the private weights in the order of the interface.
pub struct Lowered {
    /// The parts with roles of their own: each lasts until the next one begins.
    pub parts: Vec<Part>,
    /// Instructions.
    pub builder: Builder,
    /// Private tensors.
    pub weights: Vec<Vec<i32>>,
    /// Thresholds proved.
    pub thresholds: u64,
    /// `output`, `logits` where the receiver finishes a softmax, `argmax` or `topk:N`.
    pub reveal: String,
    /// What was chosen for a layer, and why.
    pub notes: Vec<(u32, String)>,
    /// The result of each layer.
    pub results: Vec<Option<ir::Value>>,
}

/// Party that owns the model.
pub const MODEL_OWNER: Party = Party(0);
/// Party that owns the inputs and receives the outputs, unless the user says otherwise.
pub const DATA_OWNER: Party = Party(1);

/// Most operators: each costs a search for constants.
const MAX_OPERATORS: usize = 1024;

/// Bits that hold every centred 8-bit value with its sign.
const BYTE_RING: u8 = 10;

fn shape32(shape: &[usize]) -> Vec<u32> {
    shape.iter().map(|d| *d as u32).collect()
}

fn port(g: &Graph, id: TensorId) -> Port {
    let t = g.tensor(id);
    let dtype = match t.dtype {
        DType::I8 => ir::program::DType::I8,
        DType::U8 => ir::program::DType::U8,
        DType::I16 => ir::program::DType::I16,
        DType::I32 => ir::program::DType::I32,
        DType::I64 => ir::program::DType::I64,
        DType::Bool => ir::program::DType::Bool,
    };
    let quant = t.quant.unwrap_or(crate::qgraph::Quant { scale: 1.0, zero_point: 0 });
    // A program carries only so much of a name.
    let name: String = t.name.chars().take(200).collect();
    Port {
        name,
        dtype,
        shape: shape32(&t.shape),
        scale: quant.scale,
        zero_point: quant.zero_point,
        party: DATA_OWNER,
        float: t.float,
    }
}

/// How requantizations are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Route {
    /// Comparison trees on bits that all parties share: ten exchanges.
    Boolean,
    /// The party that knows one operand deals to the two that know the other: five exchanges.
    #[default]
    Dealer,
    /// Each group that holds an operand enters bits and numbers of its own; all else are products of sharings. For protocols
    /// without roles, which take it whatever is asked for.
    Circuit,
    /// All three operands are added up bit by bit, by products that are checked. Of protocols that check products, which take it
    /// whatever is asked for.
    Adder,
}

/// Choices a user has.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Options {
    /// Who computes.
    pub protocol: Protocol,
    /// How requantizations are computed.
    pub route: Route,
    /// What the receiver learns.
    pub reveal: Reveal,
    /// What the cheaper of two ways has less of.
    pub aim: Aim,
    /// What is public, secret and exact otherwise than usual.
    pub modes: Modes,
    /// From which size on the rows of a layer are computed apart.
    pub apart: Apart,
}

impl Options {
    /// With the route that the protocol has.
    fn resolved(self) -> Options {
        let route = match (self.protocol.facts().scheme.roles, self.route) {
            (true, Route::Circuit | Route::Adder) => Route::Boolean,
            (true, route) => route,
            (false, _) if self.protocol.facts().scheme.checked => Route::Adder,
            (false, _) => Route::Circuit,
        };
        Options { route, ..self }
    }
}

/// What the receiver learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reveal {
    /// The outputs of the model.
    #[default]
    Output,
    /// The operand of a last SOFTMAX, which the receiver finishes in the clear.
    Logits,
    /// Places of the largest entries along the last axis of each output, in order, and no value. Behind a SOFTMAX its
    /// operand is compared, which has the order of the result and fewer ties.
    Places {
        /// How many.
        count: u32,
        /// Whether the axis stays: for one place it need not.
        axis: bool,
    },
}

impl Route {
    /// Reads `dealer` or `boolean`.
    pub fn from_name(name: &str) -> Option<Route> {
        match name {
            "dealer" => Some(Route::Dealer),
            "boolean" => Some(Route::Boolean),
            _ => None,
        }
    }
}

impl Reveal {
    /// Reads `output`, `logits`, `argmax` or `topk:N`.
    pub fn from_name(name: &str) -> Option<Reveal> {
        match (name, name.strip_prefix("topk:")) {
            ("output", _) => Some(Reveal::Output),
            ("logits", _) => Some(Reveal::Logits),
            ("argmax", _) => Some(Reveal::Places { count: 1, axis: false }),
            (_, Some(n)) => {
                let count = n.parse().ok().filter(|n| (1..=64).contains(n))?;
                Some(Reveal::Places { count, axis: true })
            }
            _ => None,
        }
    }

    /// As in programs.
    fn name(self) -> String {
        match self {
            Reveal::Output => "output".into(),
            Reveal::Logits => "logits".into(),
            Reveal::Places { axis: false, .. } => "argmax".into(),
            Reveal::Places { count, .. } => format!("topk:{count}"),
        }
    }
}

/// The tensor whose entries are compared in place of those of output `id`: of the same order, before rescaling steps
/// that can only make ties.
fn ranked(g: &Graph, id: TensorId) -> TensorId {
    let made = g.ops.iter().find(|op| op.output == id);
    match made.map(|op| (&op.kind, op.inputs[0])) {
        Some((Kind::Softmax { .. } | Kind::Quantize { .. }, x)) => ranked(g, x),
        Some((Kind::Reshape, x)) if g.tensor(x).shape.last() == g.tensor(id).shape.last() => ranked(g, x),
        _ => id,
    }
}

/// What is opened of output `id`.
fn revealed(g: &Graph, id: TensorId, reveal: Reveal) -> TensorId {
    if matches!(reveal, Reveal::Places { .. }) { ranked(g, id) } else { id }
}

/// The port of an output of which places are opened.
fn places_port(g: &Graph, id: TensorId, count: u32, axis: bool) -> Result<Port, LowerError> {
    let whole = port(g, id);
    let (row, rows) = whole.shape.split_last().ok_or_else(|| LowerError::Model("an output has no axis".into()))?;
    if g.tensor(id).dtype == DType::I64 {
        return Err(LowerError::Model("places of 64-bit numbers are not compared; end the model with int32".into()));
    }
    if count > *row {
        let name = ir::text::escape(&whole.name);
        return Err(LowerError::Model(format!("output {name} has {row} entries, {count} places are asked for")));
    }
    let mut shape = rows.to_vec();
    if axis || shape.is_empty() {
        shape.push(count);
    }
    Ok(Port { dtype: ir::program::DType::I32, shape, scale: 1.0, zero_point: 0, float: false, ..whole })
}

/// Plans every operator of `g`: constants and ring widths.
pub fn plan(g: &Graph, options: Options) -> Result<Plans, LowerError> {
    if g.ops.len() > MAX_OPERATORS {
        return Err(LowerError::Operators(g.ops.len()));
    }
    let options = options.resolved();
    let Modes { public_weights, probabilistic, private_scales } = options.modes;
    if private_scales {
        if public_weights || probabilistic {
            let what = "`--scales=private` goes with secret weights and exact rounding: leave the other option out";
            return Err(LowerError::Model(what.into()));
        }
        if !options.protocol.facts().scheme.roles {
            let name = options.protocol.facts().name;
            let what = format!("protocol {name} does not offer `--scales=private` yet; `rep3` and `dealer2` do");
            return Err(LowerError::Model(what));
        }
        if !g.states.is_empty() {
            return Err(LowerError::Model("private scales are not offered for models that keep state".into()));
        }
    }
    if probabilistic && options.route != Route::Dealer {
        let name = options.protocol.facts().name;
        let what = format!(
            "protocol {name} does not offer `--rounding=probabilistic` by this route; `rep3` and `dealer2` do by the dealer route"
        );
        return Err(LowerError::Model(what));
    }
    if matches!(options.route, Route::Circuit | Route::Adder) && matches!(options.reveal, Reveal::Places { .. }) {
        let name = options.protocol.facts().name;
        let what = format!("protocol {name} does not offer places of the largest yet; reveal `output` or `logits`");
        return Err(LowerError::Model(what));
    }
    plan::plan(g, options)
}

/// Emits the instructions of a planned graph.
pub fn lower(g: &Graph, plans: &Plans, options: Options, owners: &Owners) -> Result<Lowered, LowerError> {
    let inputs = g.inputs.iter().map(|t| port(g, *t)).collect();
    let output = |t: &TensorId| match options.reveal {
        Reveal::Places { count, axis } => places_port(g, *t, count, axis),
        _ => Ok(port(g, *t)),
    };
    let outputs = g.outputs.iter().map(output).collect::<Result<_, _>>()?;
    let mut interface = Interface { inputs, outputs, weights: vec![], weight_owner: MODEL_OWNER };
    let options = options.resolved();
    let profile = profile::of(options.protocol);
    if profile.dealer.is_some() && options.route == Route::Boolean {
        let what = format!("protocol {} has no Boolean route: its dealer would have to receive", profile.name);
        return Err(LowerError::Model(what));
    }
    owners.apply(&mut interface, profile)?;
    if options.modes.public_weights && interface.weight_owner != MODEL_OWNER {
        return Err(LowerError::Owner("public weights are in the program: no client shares them".into()));
    }
    let builder = || Builder::new(interface.clone(), profile.scheme);
    balance::balanced(options, |rotations| emit::emit(g, plans, builder(), options, rotations))
}
