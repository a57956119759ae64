//! A client: it owns inputs or weights, or receives outputs, and computes nothing but what it holds alone.
//!
//! It follows the program as the parties do. What it holds it computes in the clear, where an instruction shares that it makes
//! the messages to the parties, and where one opens to it it joins their answers. How a sharing is made and joined is the
//! protocol's; that nothing else meets what a client holds was verified (rule V15).
use crate::exec::{LoadError, Pieces, exchange_of, flat};
use crate::protocols::{Client, Protocol};
use ir::eval::{Plain, local, signed};
use ir::verify::{Typed, verify};
use ir::weights::Weights;
use ir::{Domain, Form, Holders, Op, Party, Program};
use runtime_protocols::data::Data;
use runtime_protocols::runtime::{Exchange, Flat};
use zeroize::{Zeroize, Zeroizing};

/// Which part of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The weights, once.
    Setup,
    /// One inference.
    Inference,
}

impl Phase {
    fn instructions(self, p: &Program) -> std::ops::Range<usize> {
        let setup_end = p.setup_end() as usize;
        match self {
            Phase::Setup => 0..setup_end,
            Phase::Inference => setup_end..p.insts.len(),
        }
    }
}

/// An exchange with a client, which is in no message between parties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Beside {
    /// The client has shared it.
    Comes,
    /// It is opened to the client.
    Goes,
}

pub(crate) fn beside(what: Exchange, form: Form) -> Option<Beside> {
    match what {
        Exchange::Reshare { .. } if form == Form::Held(Holders::CLIENT) => Some(Beside::Comes),
        Exchange::Open { to: Holders::CLIENT } => Some(Beside::Goes),
        _ => None,
    }
}

/// The exchanges of a phase that go one way: instruction, and type of the sharing.
fn exchanges(p: &Program, typed: &Typed, phase: Phase, way: Beside) -> Vec<(u32, Flat)> {
    let one = |i: usize| {
        let (x, what) = exchange_of(&p.insts[i].op)?;
        let ty = flat(typed, x);
        // What comes has the type of the result, what goes that of the operand.
        let shared = if way == Beside::Comes { flat(typed, ir::Value(typed.results(i).start as u32)) } else { ty };
        (beside(what, ty.form) == Some(way)).then_some((i as u32, shared))
    };
    phase.instructions(p).filter_map(one).collect()
}

/// Why a client gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program cannot run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A party owns or receives something.
    #[error("{what}; compile it with `{option}`")]
    Owner {
        /// Who.
        what: String,
        /// What puts it right.
        option: &'static str,
    },
    /// Inputs or weights are not those of the program.
    #[error("{0}")]
    Data(String),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// An answer is no answer of this program.
    #[error("the answer of {party} has {got} bytes where {expected} are due; do all run the same release?")]
    Length {
        /// Whose.
        party: Party,
        /// Its length.
        got: usize,
        /// Length due.
        expected: u64,
    },
    /// The summands add up to what no run of the program gives.
    #[error("the answers do not fit together: output {0} is outside its type; at least one party has computed wrong")]
    Inconsistent(usize),
}

/// A client of a verified program.
pub struct ClientSide {
    program: Program,
    typed: Typed,
    rules: Client,
    /// What it shares in set-up, and in an inference: instruction and type of the sharing.
    shared: [Vec<(u32, Flat)>; 2],
    /// What is opened to it.
    opened: Vec<Flat>,
}

impl ClientSide {
    /// Verifies `program`.
    pub fn new(program: Program, protocol: Protocol) -> Result<ClientSide, ClientError> {
        let typed = verify(&program).map_err(LoadError::Verify)?;
        let rules = protocol.client.ok_or_else(|| LoadError::Client(program.protocol.clone()))?;
        let shared = [Phase::Setup, Phase::Inference].map(|phase| exchanges(&program, &typed, phase, Beside::Comes));
        let opened =
            exchanges(&program, &typed, Phase::Inference, Beside::Goes).into_iter().map(|(_, ty)| ty).collect();
        Ok(ClientSide { program, typed, rules, shared, opened })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Refuses a program that needs more of a run than one client: all inputs and outputs are its own.
    pub fn owns_inputs_and_outputs(&self) -> Result<(), ClientError> {
        let face = &self.program.interface;
        if let Some((i, port)) = face.inputs.iter().enumerate().find(|(_, port)| port.party != Party::CLIENT) {
            let what = format!("input {i} belongs to {}", port.party);
            return Err(ClientError::Owner { what, option: "--input-owner NAME=client" });
        }
        if let Some((i, port)) = face.outputs.iter().enumerate().find(|(_, port)| port.party != Party::CLIENT) {
            let what = format!("output {i} goes to {}", port.party);
            return Err(ClientError::Owner { what, option: "--receiver client" });
        }
        if self.program.stored().next().is_some() {
            let what =
                "the program keeps state from call to call, which requests of several clients would share".into();
            return Err(ClientError::Owner { what, option: "a model without state" });
        }
        Ok(())
    }

    /// Bytes of the message to a party.
    pub fn message_bytes(&self, phase: Phase, to: Party) -> u64 {
        (self.rules.message_bytes)(to, &self.shared[phase as usize])
    }

    /// At a party: its pieces of a client's message; `None` where its length is wrong.
    pub fn pieces(&self, phase: Phase, me: Party, message: &[u8]) -> Option<Pieces> {
        let shared = &self.shared[phase as usize];
        let values = (self.rules.pieces)(me, shared, message)?;
        Some(Pieces(shared.iter().map(|(i, _)| *i).zip(values).collect()))
    }

    /// Bytes of a party's answer.
    pub fn answer_bytes(&self) -> u64 {
        (self.rules.summand_bytes)(&self.opened)
    }

    /// The messages to all parties that share stored integers of every input.
    pub fn share(&self, inputs: &[Vec<i64>]) -> Result<Vec<Zeroizing<Vec<u8>>>, ClientError> {
        let ports = &self.program.interface.inputs;
        if inputs.len() != ports.len() {
            return Err(ClientError::Data(format!("{} inputs, the program has {}", inputs.len(), ports.len())));
        }
        for (i, (data, port)) in inputs.iter().zip(ports).enumerate() {
            let (low, high) = port.dtype.range();
            let elements = port.shape.iter().fold(1u64, |n, d| n.saturating_mul((*d).into()));
            if data.len() as u64 != elements || data.iter().any(|x| !(low..=high).contains(x)) {
                let what = format!("input {i} is not {elements} elements of {}", port.dtype.name());
                return Err(ClientError::Data(what));
            }
        }
        self.messages(Phase::Inference, |op| match op {
            Op::Input { index } => Some(inputs[*index as usize].iter().map(|x| *x as u64).collect()),
            _ => None,
        })
    }

    /// The messages to all parties that share the weights.
    pub fn share_weights(&self, weights: &Weights) -> Result<Vec<Zeroizing<Vec<u8>>>, ClientError> {
        let owner = self.program.interface.weight_owner;
        if owner != Party::CLIENT {
            return Err(ClientError::Owner {
                what: format!("the weights belong to {owner}"),
                option: "--model-owner client",
            });
        }
        let shapes = &self.program.interface.weights;
        let size = |shape: &[u32]| shape.iter().fold(1u64, |n, d| n.saturating_mul((*d).into()));
        let fits = weights.tensors.iter().zip(shapes).all(|(t, shape)| t.len() as u64 == size(shape));
        if weights.tensors.len() != shapes.len() || !fits {
            return Err(ClientError::Data("the weights are not those of the program".into()));
        }
        self.messages(Phase::Setup, |op| match op {
            Op::Weight { index } => {
                Some(weights.tensors[*index as usize].iter().map(|x| i64::from(*x) as u64).collect())
            }
            _ => None,
        })
    }

    fn messages(
        &self,
        phase: Phase,
        given: impl Fn(&Op<ir::Value>) -> Option<Vec<u64>>,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, ClientError> {
        let mut seeds = Zeroizing::new([[0; 32]; 2]);
        for seed in seeds.iter_mut() {
            getrandom::fill(seed).map_err(|e| ClientError::Random(e.to_string()))?;
        }
        let mut values = Vec::new();
        let mut held = Held::new(self);
        for i in phase.instructions(&self.program) {
            let op = &self.program.insts[i].op;
            if let Op::Reshare { x, .. } = op
                && let Some(Plain::Ring(x)) = held.get(*x)
            {
                let ty = flat(&self.typed, ir::Value(self.typed.results(i).start as u32));
                values.push((i as u32, ty, Data::W64(x.clone())));
                continue;
            }
            held.step(i, given(op).map(Plain::Ring));
        }
        Ok((self.rules.share)(&values, &seeds))
    }

    /// The outputs, from the answers of all parties, by party.
    pub fn open(&self, answers: &[&[u8]]) -> Result<Vec<Vec<i64>>, ClientError> {
        let expected = self.answer_bytes();
        if let Some((p, a)) = answers.iter().enumerate().find(|(_, a)| a.len() as u64 != expected) {
            return Err(ClientError::Length { party: Party(p as u8), got: a.len(), expected });
        }
        let opened = (self.rules.open)(&self.opened, answers)
            .ok_or_else(|| ClientError::Data(format!("{} answers, not one of each party", answers.len())))?;
        let mut opened = opened.into_iter();
        let mut outputs = vec![Vec::new(); self.program.interface.outputs.len()];
        let mut held = Held::new(self);
        for i in Phase::Inference.instructions(&self.program) {
            match &self.program.insts[i].op {
                Op::Open { x, to: Holders::CLIENT } => {
                    let ty = flat(&self.typed, *x);
                    let value = opened.next().map(|data| plain(&data, ty.domain));
                    held.step(i, value);
                }
                Op::Output { x, index } => {
                    if let Some(Plain::Ring(x)) = held.get(*x) {
                        outputs[*index as usize] = x.iter().map(|v| *v as i64).collect();
                    }
                }
                _ => held.step(i, None),
            }
        }
        for (i, (data, port)) in outputs.iter().zip(&self.program.interface.outputs).enumerate() {
            let (low, high) = port.dtype.range();
            if data.iter().any(|x| !(low..=high).contains(x)) {
                return Err(ClientError::Inconsistent(i));
            }
        }
        Ok(outputs)
    }
}

/// An opened value in the clear.
fn plain(data: &Data, domain: Domain) -> Plain {
    match (data, domain) {
        (Data::W32(x), Domain::Ring(k)) => Plain::Ring(x.iter().map(|v| signed((*v).into(), k)).collect()),
        (Data::W64(x), Domain::Ring(k)) => Plain::Ring(x.iter().map(|v| signed(*v, k)).collect()),
        (Data::Planes { words, len }, _) => {
            let plane = |w: &[u64]| (0..*len).map(|e| (w[e / 64] >> (e % 64) & 1) as u8).collect();
            Plain::Bits(words.chunks(runtime_protocols::data::plane_words(*len).max(1)).map(plane).collect())
        }
        _ => unreachable!("read by its domain"),
    }
}

/// What the client holds, and public values, by value.
struct Held<'a> {
    side: &'a ClientSide,
    values: Vec<Option<Plain>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.values.iter_mut().flatten().for_each(|value| match value {
            Plain::Ring(x) => x.zeroize(),
            Plain::Bits(x) => x.iter_mut().for_each(Zeroize::zeroize),
        });
    }
}

impl<'a> Held<'a> {
    fn new(side: &'a ClientSide) -> Self {
        let mut held = Held { side, values: vec![None; side.typed.types.len()] };
        // Constants of set-up serve inferences too.
        (0..side.program.insts.len()).for_each(|i| {
            let public = held.side.typed.results(i).all(|v| held.side.typed.types[v].form == Form::Public);
            if public && !held.side.typed.results(i).is_empty() {
                held.step(i, None);
            }
        });
        held
    }

    fn get(&self, v: ir::Value) -> Option<&Plain> {
        self.values[v.index()].as_ref()
    }

    /// Computes an instruction whose operands are there, or takes its result as `given`.
    fn step(&mut self, i: usize, given: Option<Plain>) {
        let (p, typed) = (&self.side.program, &self.side.typed);
        let op = &p.insts[i].op;
        let results = typed.results(i);
        let Some(ty) = typed.types.get(results.start).filter(|_| results.len() == 1) else { return };
        let ours = matches!(ty.form, Form::Public | Form::Held(Holders::CLIENT));
        if !ours || self.values[results.start].is_some() {
            return;
        }
        let value = match (given, op) {
            (Some(value), _) => value,
            (None, Op::Constant { index }) => {
                Plain::Ring(p.consts[*index as usize].data.iter().map(|x| *x as u64).collect())
            }
            (None, Op::Input { .. } | Op::Weight { .. } | Op::Open { .. }) => return,
            (None, op) if op.operands().iter().all(|v| self.get(*v).is_some()) => {
                let arg = |v: ir::Value| (self.get(v).expect("all are there"), &typed.types[v.index()]);
                local(&op.map(arg), ty)
            }
            _ => return,
        };
        self.values[results.start] = Some(value);
    }
}
