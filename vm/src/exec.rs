//! Executes one party's side of a verified program: local instructions and one exchange per round.
//!
//! It orders work and moves values; what an op means is said by the op table, how shares behave by the runtime. No branch
//! and no index here depends on a secret.
mod offline;
mod rounds;

use crate::checking::Planned;
use crate::lane::{self, Code, Given, Lane, States};
use ir::memory;
use ir::verify::{Typed, Violation, verify};
use ir::weights::Weights;
use ir::{Op, Party, Program};
use runtime_protocols::data::Value;
use runtime_protocols::link::{Link, LinkError};
use runtime_protocols::runtime::{DIGEST, Exchange, Flat, Runtime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Why a program cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The verifier refuses it.
    #[error("the program breaks {} rules, first {}", .0.len(), .0[0])]
    Verify(Vec<Violation>),
    /// The runtime is one of another number of parties.
    #[error("the program is for {program} parties, the protocol has {runtime}; compile it for this protocol")]
    Parties {
        /// In the program.
        program: u8,
        /// In the runtime.
        runtime: u8,
    },
    /// The program uses roles, the runtime has none.
    #[error("the program is for a protocol with roles; compile it for this protocol")]
    Roles,
    /// The program has its products checked, the runtime cannot.
    #[error("the program is for a protocol that checks products; compile it for this protocol")]
    Checked,
    /// The program uses products made ahead, the runtime has none.
    #[error("the program is for a protocol that makes products ahead; compile it for this protocol")]
    Ahead,
    /// The values take more than the program says.
    #[error("the program declares {declared} bytes of memory, a party needs {needed}; compile the model again")]
    Memory {
        /// In the program.
        declared: u64,
        /// Counted here.
        needed: u64,
    },
    /// The program has a client, the protocol has none.
    #[error("the program is for a client that does not compute, protocol `{0}` has none; compile it for `rep3`")]
    Client(String),
    /// The runtime's messages differ from those the program declares.
    #[error("round {round}: the program declares messages that the protocol does not send")]
    Messages {
        /// Index of the round, set-up included.
        round: usize,
    },
}

/// What one layer cost this party in one inference.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerStats {
    /// Rounds in which it talks.
    pub rounds: u32,
    /// Payload bytes that this party sends for it.
    pub payload_bytes: u64,
    /// Seconds of local work, summed over samples that go side by side.
    pub compute_s: f64,
    /// Seconds of waiting, shared among the layers of a round by their instructions.
    pub wait_s: f64,
}

/// Result of one inference.
#[derive(Clone, Default)]
pub struct Outcome {
    /// Stored integers of each output, at its receiver; of a batch one sample after the other.
    pub outputs: Vec<Option<Vec<i64>>>,
    /// Samples of the batch.
    pub samples: u64,
    /// Per layer of the program.
    pub layers: Vec<LayerStats>,
    /// Counted by the link.
    pub rounds: u32,
    /// Counted by the link.
    pub payload_sent: u64,
    /// Counted by the link, with headers.
    pub wire_sent: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Bits that openings showed to anybody, counted.
    pub opened_bits: u64,
    /// What was made ahead for it.
    pub offline: OfflineStats,
    /// Of each sample, what this party has to send to the client: its summands of the results.
    pub for_client: Vec<Vec<u8>>,
}

/// What making things ahead took, apart from the inference.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct OfflineStats {
    /// Counted by the link.
    pub rounds: u32,
    /// Counted by the link.
    pub payload_sent: u64,
    /// Wall-clock time.
    pub seconds: f64,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outcome({} outputs, {} rounds)", self.outputs.len(), self.rounds)
    }
}

/// One party with a program.
pub struct Machine {
    code: Code,
    runtime: Box<dyn Runtime>,
    /// What the last call stored, per sample of the batch.
    states: Vec<States>,
    /// Inferences so far, those of the present batch not counted. Set-up is 0, so the first has number 1.
    inferences: u64,
    /// Messages to each party in rounds of even and of odd number, and from each.
    buffers: [Vec<Vec<u8>>; 3],
    /// For the samples of a batch, where the protocol lets them go side by side: a runtime and messages each.
    beside: Vec<Beside>,
    needed: u64,
}

/// What a lane needs to go beside the others.
struct Beside {
    runtime: Box<dyn Runtime>,
    out: Vec<Vec<u8>>,
}

/// Stored integers of each input of the program that this party owns.
pub type Inputs = [Option<Vec<i64>>];

/// This party's pieces of what a client shares, by instruction.
#[derive(Clone)]
pub struct Pieces(pub(crate) BTreeMap<u32, Value>);

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pieces({})", self.0.len())
    }
}

/// The exchange that an op is, with its operand.
pub fn exchange_of(op: &Op<ir::Value>) -> Option<(ir::Value, Exchange)> {
    match op {
        Op::Reshare { x, bits } => Some((*x, Exchange::Reshare { bits: *bits })),
        Op::Echo { x, from } => Some((*x, Exchange::Echo { from: from.iter().next().unwrap_or(ir::Party(0)) })),
        Op::Join { x } => Some((*x, Exchange::Join)),
        Op::Deal { x, bits } => Some((*x, Exchange::Deal { bits: *bits })),
        Op::Open { x, to } => Some((*x, Exchange::Open { to: *to })),
        Op::Mul { a, .. } => Some((*a, Exchange::Mul)),
        Op::ToRing { x, bits } => Some((*x, Exchange::ToRing { bits: *bits })),
        Op::Conv2dSh { x, at, .. } | Op::DepthwiseSh { x, at, .. } => {
            Some((*x, Exchange::Linear { owner: at.iter().next().unwrap_or(ir::Party(0)) }))
        }
        _ => None,
    }
}

/// The second operand of an exchange.
pub(crate) fn other_of(op: &Op<ir::Value>) -> Option<ir::Value> {
    match op {
        Op::Mul { b, .. } => Some(*b),
        Op::Conv2dSh { w, .. } | Op::DepthwiseSh { w, .. } => Some(*w),
        _ => None,
    }
}

impl Machine {
    /// Verifies `program` and compares its messages with those of the protocol.
    pub fn new(program: Program, mut runtime: Box<dyn Runtime>) -> Result<Machine, LoadError> {
        let typed = verify(&program).map_err(LoadError::Verify)?;
        let n = program.parties;
        if n != runtime.parties() {
            return Err(LoadError::Parties { program: n, runtime: runtime.parties() });
        }
        if program.has_client() && !runtime.has_clients() {
            return Err(LoadError::Client(program.protocol.clone()));
        }
        if program.scheme().roles && runtime.roles().is_none() {
            return Err(LoadError::Roles);
        }
        let planned = Planned::of(&program, &typed);
        if planned.is_some() != runtime.checked().is_some() {
            return Err(LoadError::Checked);
        }
        let mut at = 0usize;
        for (r, round) in program.rounds.iter().enumerate() {
            let mut sent = ir::Messages::none(n);
            let mut vouched = BTreeSet::new();
            for inst in &program.insts[at..round.exchange_end as usize] {
                if let (Op::Check { step, .. }, Some(planned)) = (&inst.op, &planned) {
                    planned
                        .claims
                        .messages(*step)
                        .into_iter()
                        .for_each(|(from, to, bytes)| sent.add(n, from, to, bytes));
                }
                if let Some((x, what)) = exchange_of(&inst.op) {
                    for m in runtime.messages(what, flat(&typed, x)) {
                        sent.add(n, m.from, m.to, m.bytes);
                    }
                    vouched.extend(runtime.vouches(what, flat(&typed, x)));
                }
            }
            vouched.into_iter().for_each(|(from, to)| sent.add(n, from, to, DIGEST as u64));
            if sent != round.messages {
                return Err(LoadError::Messages { round: r });
            }
            at = round.exchange_end as usize;
        }
        // A program that declares no memory is one that somebody wrote by hand.
        let (declared, needed) =
            (program.peak_memory, memory::peak(&program, &typed, runtime.me(), |form| runtime.pieces(form) as u64));
        if declared != 0 && needed > declared {
            return Err(LoadError::Memory { declared, needed });
        }
        let needs = ir::offline::needs(&program, &typed);
        match runtime.offline() {
            Some(offline) => offline.plan(needs.into_iter().map(|(i, need)| (i as u32, need)).collect()),
            None if needs.is_empty() => {}
            None => return Err(LoadError::Ahead),
        }
        let (order, needs) = (memory::order(&program, &typed), lane::needs(&program, &typed));
        let dead_after = memory::dead_after(&program, &typed, &order);
        let kept = vec![None; typed.types.len()];
        let code = Code { program, typed, order, needs, dead_after, kept, planned };
        let (states, buffers, beside) = (Vec::new(), Default::default(), Vec::new());
        Ok(Machine { code, runtime, states, inferences: 0, buffers, beside, needed })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.code.program
    }

    /// Bytes of values and messages alive at once in this party, at most.
    pub fn memory(&self) -> u64 {
        self.needed
    }

    /// Shares the weights, once per session. Only their owner has them.
    pub fn setup(&mut self, weights: Option<&Weights>, link: &mut dyn Link) -> Result<(), LinkError> {
        self.setup_from(weights, None, link)
    }

    /// The same, where a client owns the weights and has shared them.
    ///
    /// # Panics
    /// When a client owns the weights and there are no pieces, or the other way round.
    pub fn setup_from(
        &mut self,
        weights: Option<&Weights>,
        pieces: Option<&Pieces>,
        link: &mut dyn Link,
    ) -> Result<(), LinkError> {
        let by_client = self.code.program.interface.weight_owner == Party::CLIENT;
        assert_eq!(by_client, pieces.is_some(), "pieces of the weights come from a client that owns them");
        link.begin();
        let rounds = self.code.program.setup_rounds as usize;
        let mut lanes = [Lane::new(&self.code, 0, States::new(), 0)];
        let given = [Given { inputs: &[], weights, pieces }];
        let end = self.code.program.setup_end() as usize;
        self.run(&mut lanes, &given, link, (0..rounds, end), &mut self.fresh_outcome())?;
        let [lane] = lanes;
        self.code.kept = lane.values;
        self.start_offline(weights, link)
    }

    /// Forgets what calls have stored: the next one is a first call.
    pub fn reset(&mut self) {
        self.states.clear();
    }

    /// Runs one inference. `inputs` has the stored integers of each input that this party owns.
    pub fn infer(&mut self, inputs: &Inputs, link: &mut dyn Link) -> Result<Outcome, LinkError> {
        self.infer_batch(&[inputs], link)
    }

    /// Runs several inferences in the rounds of one. All parties give as many samples; who owns no input gives lists of
    /// `None`. Where the program keeps state, each place of the batch is a sequence of its own: what it stores, the same
    /// place of the next batch begins with. A call that fails ends the sequences.
    pub fn infer_batch(&mut self, samples: &[&Inputs], link: &mut dyn Link) -> Result<Outcome, LinkError> {
        self.infer_shared(samples, &[], link)
    }

    /// The same, where a client owns inputs: per sample, this party's pieces of them.
    ///
    /// # Panics
    /// When a client owns an input and there are not as many pieces as samples.
    pub fn infer_shared(
        &mut self,
        samples: &[&Inputs],
        pieces: &[&Pieces],
        link: &mut dyn Link,
    ) -> Result<Outcome, LinkError> {
        let by_client = self.code.program.interface.inputs.iter().any(|port| port.party == Party::CLIENT);
        assert!(!by_client || pieces.len() == samples.len(), "a client shares its inputs of every sample");
        let offline = self.make_offline(self.inferences + 1, samples.len(), link)?;
        link.begin();
        let start = Instant::now();
        let mut outcome = Outcome { offline, samples: samples.len() as u64, ..self.fresh_outcome() };
        let rounds = self.code.program.setup_rounds as usize..self.code.program.rounds.len();
        self.states.resize_with(samples.len().max(self.states.len()), States::new);
        let first = self.inferences + 1;
        // Pads of a batch that fails are not used again.
        self.inferences += samples.len().max(1) as u64;
        let at = self.code.program.setup_end() as usize;
        let mut lanes: Vec<Lane> = self
            .states
            .iter_mut()
            .zip(first..)
            .take(samples.len())
            .map(|(before, number)| Lane::new(&self.code, at, std::mem::take(before), number))
            .collect();
        let of = |(at, inputs)| Given { inputs, weights: None, pieces: pieces.get(at).copied() };
        let given: Vec<Given<'_>> = samples.iter().copied().enumerate().map(of).collect();
        let end = self.code.program.insts.len();
        let result = self.run(&mut lanes, &given, link, (rounds, end), &mut outcome);
        if result.is_err() {
            self.states.clear();
        }
        result?;
        for (lane, state) in lanes.into_iter().zip(&mut self.states) {
            *state = lane.stored;
            outcome.opened_bits += lane.opened_bits;
            outcome.for_client.push(lane.for_client);
            for (all, own) in outcome.outputs.iter_mut().zip(lane.outputs) {
                if let Some(own) = own {
                    all.get_or_insert_default().extend(own);
                }
            }
            for (all, own) in outcome.layers.iter_mut().zip(lane.layers) {
                all.payload_bytes += own.payload_bytes;
                all.compute_s += own.compute_s;
            }
        }
        let stats = link.stats();
        outcome.rounds = stats.level;
        outcome.payload_sent = stats.payload_sent.iter().sum();
        outcome.wire_sent = stats.wire_sent.iter().sum();
        outcome.seconds = start.elapsed().as_secs_f64();
        Ok(outcome)
    }

    fn fresh_outcome(&self) -> Outcome {
        Outcome {
            outputs: vec![None; self.code.program.interface.outputs.len()],
            layers: vec![LayerStats::default(); self.code.program.layers.len()],
            ..Outcome::default()
        }
    }
}

pub(crate) fn flat(typed: &Typed, v: ir::Value) -> Flat {
    let t = &typed.types[v.index()];
    Flat { domain: t.domain, form: t.form, len: t.len() }
}
