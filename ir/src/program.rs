//! A program: interface, constants, instructions in order, rounds, layers.
use crate::modes::Modes;
use crate::ops::Op;
use crate::types::Party;
use std::fmt;

/// A value: results are numbered in program order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value(pub u32);

impl Value {
    /// Position in per-value tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Stored integer type at the program's border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DType {
    /// Signed 8 bits.
    I8 = 0,
    /// Unsigned 8 bits.
    U8 = 1,
    /// Signed 16 bits.
    I16 = 2,
    /// Signed 32 bits.
    I32 = 3,
    /// Signed 64 bits.
    I64 = 4,
    /// One byte, 0 or 1.
    Bool = 5,
}

impl DType {
    const ALL: [DType; 6] = [DType::I8, DType::U8, DType::I16, DType::I32, DType::I64, DType::Bool];

    /// From the byte in a file.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|d| *d as u8 == code)
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Smallest and largest value.
    pub fn range(self) -> (i64, i64) {
        match self {
            DType::I8 => (-128, 127),
            DType::U8 => (0, 255),
            DType::I16 => (-32768, 32767),
            DType::I32 => (i32::MIN.into(), i32::MAX.into()),
            DType::I64 => (i64::MIN, i64::MAX),
            DType::Bool => (0, 1),
        }
    }

    /// Name as in NumPy.
    pub fn name(self) -> &'static str {
        match self {
            DType::I8 => "int8",
            DType::U8 => "uint8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::Bool => "bool",
        }
    }
}

/// An input or an output.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// Tensor name in the model. Escape before printing.
    pub name: String,
    /// Stored type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<u32>,
    /// Quantization scale, to convert pictures and floats.
    pub scale: f32,
    /// Zero point.
    pub zero_point: i32,
    /// Owner of an input, receiver of an output.
    pub party: Party,
    /// Whether the model has float32 here: then the owner quantizes, or the receiver dequantizes, in the clear
    /// ([`crate::real`]).
    pub float: bool,
}

impl Port {
    /// Name of the element type outside, as in NumPy.
    pub fn element_name(&self) -> &'static str {
        if self.float { "float32" } else { self.dtype.name() }
    }
}

/// What goes in and out.
#[derive(Clone, PartialEq, Debug)]
pub struct Interface {
    /// Inputs of the model.
    pub inputs: Vec<Port>,
    /// Outputs of the model.
    pub outputs: Vec<Port>,
    /// Shapes of the tensors in the weights file.
    pub weights: Vec<Vec<u32>>,
    /// Who reads the weights file.
    pub weight_owner: Party,
}

/// A public constant.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Const {
    /// Shape.
    pub shape: Vec<u32>,
    /// Elements.
    pub data: Vec<i64>,
}

/// One instruction; its results are the next free values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inst {
    /// What to do.
    pub op: Op<Value>,
    /// Index into [`Program::layers`].
    pub layer: u32,
}

/// Payload bytes from each party to each: row = sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Messages(pub Vec<u64>);

impl Messages {
    /// None, among `n` parties.
    pub fn none(n: u8) -> Self {
        Messages(vec![0; usize::from(n) * usize::from(n)])
    }

    /// Bytes from one party to another.
    pub fn get(&self, n: u8, from: Party, to: Party) -> u64 {
        self.0[usize::from(from.0) * usize::from(n) + usize::from(to.0)]
    }

    /// Adds bytes.
    pub fn add(&mut self, n: u8, from: Party, to: Party, bytes: u64) {
        self.0[usize::from(from.0) * usize::from(n) + usize::from(to.0)] += bytes;
    }
}

/// One round: local instructions, then exchanges that share it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// End of the local instructions.
    pub local_end: u32,
    /// End of the exchanges.
    pub exchange_end: u32,
    /// Exact length of every message.
    pub messages: Messages,
}

/// The operator of the model that instructions come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layer {
    /// Index in the model file.
    pub operator: u32,
    /// Name for people.
    pub name: String,
}

/// What the parties run.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// Protocol it was compiled for.
    pub protocol: String,
    /// Number of computing parties.
    pub parties: u8,
    /// What the receiver learns: `output` or `logits`.
    pub reveal: String,
    /// Kernel set whose rounding is reproduced.
    pub kernels: String,
    /// What it does otherwise than usual.
    pub modes: Modes,
    /// Bits that the openings of one inference show.
    pub opened_bits: u64,
    /// Thresholds that were proved at compile time.
    pub thresholds: u64,
    /// Predicted bytes of values alive at once in one party, at most.
    pub peak_memory: u64,
    /// Inputs, outputs, weights.
    pub interface: Interface,
    /// Public constants.
    pub consts: Vec<Const>,
    /// Instructions in execution order.
    pub insts: Vec<Inst>,
    /// How many of the first rounds share the weights, once per session.
    pub setup_rounds: u32,
    /// Rounds in order; what follows the last is local.
    pub rounds: Vec<Round>,
    /// Layers, for reports.
    pub layers: Vec<Layer>,
}

/// Rounds of the program as they are counted, and the index of the first instruction after set-up.
impl Program {
    /// Who holds what.
    pub fn scheme(&self) -> crate::Scheme {
        crate::Scheme::of(&self.protocol, self.parties)
    }

    /// First instruction of an inference.
    pub fn setup_end(&self) -> u32 {
        match self.setup_rounds {
            0 => 0,
            n => self.rounds.get(n as usize - 1).map_or(0, |r| r.exchange_end),
        }
    }

    /// Whether a number is left for a client, which computes nothing.
    pub fn may_have_client(&self) -> bool {
        self.parties <= Party::CLIENT.0
    }

    /// Whether a client owns something or receives something.
    pub fn has_client(&self) -> bool {
        let face = &self.interface;
        let ports = face.inputs.iter().chain(&face.outputs).map(|port| port.party);
        self.may_have_client() && ports.chain([face.weight_owner]).any(|party| party == Party::CLIENT)
    }

    /// The sharings that outlive a call.
    pub fn stored(&self) -> impl Iterator<Item = Value> {
        self.insts.iter().filter_map(|inst| match inst.op {
            Op::Store { x, .. } => Some(x),
            _ => None,
        })
    }

    /// Rounds of one inference: the largest level of its message graph. A message has level 1 + the largest level its
    /// sender had received before the round.
    pub fn predicted_rounds(&self) -> u32 {
        let n = self.parties;
        let mut level = vec![0u32; usize::from(n)];
        let mut most = 0;
        for round in self.rounds.iter().skip(self.setup_rounds as usize) {
            let before = level.clone();
            for from in 0..n {
                for to in 0..n {
                    if round.messages.get(n, Party(from), Party(to)) > 0 {
                        let l = before[usize::from(from)] + 1;
                        level[usize::from(to)] = level[usize::from(to)].max(l);
                        most = most.max(l);
                    }
                }
            }
        }
        most
    }

    /// Payload bytes that each party sends in one inference.
    pub fn predicted_bytes(&self) -> Vec<u64> {
        let n = self.parties;
        let inference = &self.rounds[(self.setup_rounds as usize).min(self.rounds.len())..];
        let sent = |from| {
            let messages =
                inference.iter().flat_map(|r| (0..n).map(move |to| r.messages.get(n, Party(from), Party(to))));
            messages.fold(0, u64::saturating_add)
        };
        (0..n).map(sent).collect()
    }
}
