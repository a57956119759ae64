//! Executes one party's side of a verified program: local instructions, then one exchange per round.
//!
//! It orders work and moves values; what an op means is said by the op table, how shares behave by the runtime. No branch
//! and no index here depends on a secret.
use crate::checking::{Checking, Planned};
use crate::local;
use ir::memory;
use ir::verify::{Typed, Violation, verify};
use ir::weights::Weights;
use ir::{Op, Party, Program};
use runtime_protocols::check::Cheating;
use runtime_protocols::data::{Data, Value};
use runtime_protocols::link::{Link, LinkError, Place};
use runtime_protocols::runtime::{DIGEST, Exchange, Flat, Mismatch, Pad, Roles, Runtime};
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
    /// The values take more than the program says.
    #[error("the program declares {declared} bytes of memory, a party needs {needed}; compile the model again")]
    Memory {
        /// In the program.
        declared: u64,
        /// Counted here.
        needed: u64,
    },
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
    /// Seconds of local work.
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
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outcome({} outputs, {} rounds)", self.outputs.len(), self.rounds)
    }
}

/// One party with a program.
pub struct Machine {
    program: Program,
    typed: Typed,
    /// Values whose last use is each instruction.
    dead_after: Vec<Vec<u32>>,
    runtime: Box<dyn Runtime>,
    /// Made in set-up, for every inference.
    kept: Vec<Option<Value>>,
    /// One list per sample of the batch.
    lanes: Vec<Vec<Option<Value>>>,
    /// What the last call stored, per sample of the batch.
    states: Vec<States>,
    /// What this call stores.
    stored: Vec<States>,
    /// What is checked before anything is opened, and how far it is, per sample of the batch.
    planned: Option<Planned>,
    checks: Vec<Checking>,
    /// Inferences so far, those of the present batch not counted. Set-up is 0, so the first has number 1.
    inferences: u64,
    /// Messages to and from each party.
    buffers: [Vec<Vec<u8>>; 2],
    needed: u64,
}

/// Sharings that outlive a call, by index.
type States = BTreeMap<u32, Value>;

/// Stored integers of each input of the program that this party owns.
pub type Inputs = [Option<Vec<i64>>];

/// What set-up or a batch brings along.
struct Given<'a> {
    samples: &'a [&'a Inputs],
    weights: Option<&'a Weights>,
}

/// The exchange that an op is, with its operand.
pub fn exchange_of(op: &Op<ir::Value>) -> Option<(ir::Value, Exchange)> {
    match op {
        Op::Reshare { x, bits } => Some((*x, Exchange::Reshare { bits: *bits })),
        Op::Echo { x, from } => Some((*x, Exchange::Echo { from: from.iter().next().unwrap_or(ir::Party(0)) })),
        Op::Join { x } => Some((*x, Exchange::Join)),
        Op::Deal { x, bits } => Some((*x, Exchange::Deal { bits: *bits })),
        Op::Open { x, to } => Some((*x, Exchange::Open { to: *to })),
        _ => None,
    }
}

impl Machine {
    /// Verifies `program` and compares its messages with those of the protocol.
    pub fn new(program: Program, runtime: Box<dyn Runtime>) -> Result<Machine, LoadError> {
        let typed = verify(&program).map_err(LoadError::Verify)?;
        let n = program.parties;
        if n != runtime.parties() {
            return Err(LoadError::Parties { program: n, runtime: runtime.parties() });
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
                    planned.messages(*step).into_iter().for_each(|m| sent.add(n, m.from, m.to, m.bytes));
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
        let dead_after = memory::dead_after(&program, &typed);
        let kept = vec![None; typed.types.len()];
        let (lanes, states, stored, checks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let buffers = Default::default();
        Ok(Machine {
            program,
            typed,
            dead_after,
            runtime,
            kept,
            lanes,
            states,
            stored,
            planned,
            checks,
            inferences: 0,
            buffers,
            needed,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes of values and messages alive at once in this party, at most.
    pub fn memory(&self) -> u64 {
        self.needed
    }

    /// Shares the weights, once per session. Only their owner has them.
    pub fn setup(&mut self, weights: Option<&Weights>, link: &mut dyn Link) -> Result<(), LinkError> {
        link.begin();
        let mut outcome = self.fresh_outcome();
        let rounds = self.program.setup_rounds as usize;
        self.lanes = vec![vec![None; self.typed.types.len()]];
        self.run(&Given { samples: &[], weights }, link, 0..rounds, &mut outcome)?;
        self.kept = self.lanes.pop().expect("one lane was made");
        Ok(())
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
        link.begin();
        let start = Instant::now();
        let mut outcome = Outcome { samples: samples.len() as u64, ..self.fresh_outcome() };
        let rounds = self.program.setup_rounds as usize..self.program.rounds.len();
        self.lanes = vec![vec![None; self.typed.types.len()]; samples.len()];
        self.states.resize_with(samples.len().max(self.states.len()), States::new);
        self.stored = vec![States::new(); samples.len()];
        let begin = || self.planned.as_ref().map_or(Checking::Nothing, Planned::begin);
        self.checks = samples.iter().map(|_| begin()).collect();
        self.inferences += 1;
        let given = Given { samples, weights: None };
        let result = self.run(&given, link, rounds, &mut outcome).map(|at| {
            // What follows the last round.
            self.steps(at..self.program.insts.len(), &given, &mut outcome);
        });
        // Pads of a batch that failed are not used again.
        self.inferences += (samples.len() as u64).saturating_sub(1);
        self.lanes.clear();
        self.checks.clear();
        let stored = std::mem::take(&mut self.stored);
        if result.is_err() {
            self.states.clear();
        }
        result?;
        self.states.iter_mut().zip(stored).for_each(|(before, now)| *before = now);
        let stats = link.stats();
        outcome.rounds = stats.level;
        outcome.payload_sent = stats.payload_sent.iter().sum();
        outcome.wire_sent = stats.wire_sent.iter().sum();
        outcome.seconds = start.elapsed().as_secs_f64();
        Ok(outcome)
    }

    fn fresh_outcome(&self) -> Outcome {
        Outcome {
            outputs: vec![None; self.program.interface.outputs.len()],
            layers: vec![LayerStats::default(); self.program.layers.len()],
            ..Outcome::default()
        }
    }

    /// Returns the first instruction after the rounds.
    fn run(
        &mut self,
        given: &Given<'_>,
        link: &mut dyn Link,
        rounds: std::ops::Range<usize>,
        outcome: &mut Outcome,
    ) -> Result<usize, LinkError> {
        let parties = usize::from(self.program.parties);
        // Kept from round to round and from inference to inference.
        let mut buffers = std::mem::take(&mut self.buffers);
        let [out, incoming] = &mut buffers;
        [&mut *out, &mut *incoming].into_iter().for_each(|side| side.resize(parties, Vec::new()));
        let mut at = match rounds.start {
            0 => 0,
            r => self.program.rounds[r - 1].exchange_end as usize,
        };
        for r in rounds {
            let (local, end) =
                (self.program.rounds[r].local_end as usize, self.program.rounds[r].exchange_end as usize);
            self.steps(at..local, given, outcome);
            self.exchange(r, local..end, link, out, incoming, outcome)?;
            at = end;
        }
        self.buffers = buffers;
        Ok(at)
    }

    /// The steps of roles, which the verifier lets only programs use whose protocol has them.
    fn roles(&self) -> &dyn Roles {
        self.runtime.roles().expect("verified, and compared with the runtime at load")
    }

    fn value(&self, lane: usize, v: ir::Value) -> &Value {
        let here = self.lanes[lane][v.index()].as_ref().or(self.kept[v.index()].as_ref());
        here.expect("verified: defined before use, alive until its last use")
    }

    fn set(&mut self, lane: usize, i: usize, results: impl IntoIterator<Item = Value>) {
        for (v, x) in self.typed.results(i).zip(results) {
            self.lanes[lane][v] = Some(x);
        }
    }

    fn drop_dead(&mut self, lane: usize, i: usize) {
        for v in &self.dead_after[i] {
            self.lanes[lane][*v as usize] = None;
        }
    }

    /// The same before the results are there.
    fn drop_operands(&mut self, lane: usize, i: usize) {
        let results = self.typed.results(i);
        for v in self.dead_after[i].iter().filter(|v| !results.contains(&(**v as usize))) {
            self.lanes[lane][*v as usize] = None;
        }
    }

    /// Local instructions, sample after sample.
    fn steps(&mut self, insts: std::ops::Range<usize>, given: &Given<'_>, outcome: &mut Outcome) {
        for lane in 0..self.lanes.len() {
            insts.clone().for_each(|i| self.step(lane, i, given, outcome));
        }
    }

    /// A local instruction.
    fn step(&mut self, lane: usize, i: usize, given: &Given<'_>, outcome: &mut Outcome) {
        let start = Instant::now();
        let inst = &self.program.insts[i];
        let layer = inst.layer as usize;
        let results: Vec<Value> = match &inst.op {
            Op::State { x, index } => {
                let before = self.states.get_mut(lane).and_then(|s| s.remove(index));
                vec![before.unwrap_or_else(|| self.value(lane, *x).clone())]
            }
            Op::Store { x, index } => {
                let x = self.value(lane, *x).clone();
                self.stored[lane].insert(*index, x);
                vec![]
            }
            Op::Input { index } => {
                let input = given.samples.get(lane).and_then(|s| s.get(*index as usize)?.as_ref());
                vec![self.owned(i, input, |x| *x)]
            }
            Op::Weight { index } => {
                let tensor = given.weights.and_then(|w| w.tensors.get(*index as usize));
                vec![self.owned(i, tensor, |x| i64::from(*x))]
            }
            Op::Output { x, index } => {
                if let Some(part) = self.value(lane, *x).parts.first() {
                    let output = outcome.outputs[*index as usize].get_or_insert_default();
                    output.extend(part.w64().iter().map(|v| *v as i64));
                }
                vec![]
            }
            Op::Split { x, rot } => {
                let (x, ty, rot) = (self.value(lane, *x).clone(), flat(&self.typed, *x), *rot);
                let pad = self.pad(lane, i);
                self.roles().split(pad, &x, ty, rot).into()
            }
            Op::SplitShared { x, rot } => {
                self.roles().split_shared(self.value(lane, *x), flat(&self.typed, *x), *rot).into()
            }
            Op::Beta { tag, rot, .. } => {
                let ty = &self.typed.types[self.typed.results(i).start];
                let (pad, domain, len) = (self.pad(lane, *tag as usize), ty.domain, ty.len());
                vec![self.roles().beta(pad, domain, len, *rot)]
            }
            Op::Mask { x, tag } => {
                let (x, ty) = (self.value(lane, *x).clone(), flat(&self.typed, *x));
                let pad = self.pad(lane, *tag as usize);
                vec![self.roles().mask(pad, &x, ty)]
            }
            op => {
                let typed = op.map(|v| (self.value(lane, v), &self.typed.types[v.index()]));
                let ty = &self.typed.types[self.typed.results(i).start];
                vec![local::run(&typed, ty, &self.program, self.runtime.as_ref())]
            }
        };
        self.set(lane, i, results);
        self.drop_dead(lane, i);
        if let Some(l) = outcome.layers.get_mut(layer) {
            l.compute_s += start.elapsed().as_secs_f64();
        }
    }

    /// A value that only its owner has.
    fn owned<T>(&self, i: usize, data: Option<&Vec<T>>, number: impl Fn(&T) -> i64) -> Value {
        let ty = &self.typed.types[self.typed.results(i).start];
        if self.runtime.pieces(ty.form) == 0 {
            return Value::none();
        }
        let mut words = vec![0u64; ty.len()];
        // An owner whose file has the wrong length was refused at load.
        if let Some(data) = data {
            words.iter_mut().zip(data).for_each(|(w, x)| *w = number(x) as u64);
        }
        Value::one(Data::W64(words))
    }

    /// The pad of an instruction, or of a tag.
    fn pad(&self, lane: usize, i: usize) -> Pad {
        Pad { inference: self.inferences + lane as u64, instruction: i as u32 }
    }

    /// Reads the messages of a step of the check.
    fn check_step(&mut self, lane: usize, step: u32, readers: &mut [&[u8]]) -> Result<(), Cheating> {
        let me = self.runtime.me();
        let mut mine: Vec<&[u8]> = vec![&[]; readers.len()];
        for m in self.planned.iter().flat_map(|p| p.messages(step)).filter(|m| m.to == me) {
            mine[m.from.index()] =
                readers[m.from.index()].split_off(..m.bytes as usize).expect("lengths were compared at load");
        }
        self.checks[lane].receive(&mine)
    }

    /// Records a product that was shared.
    fn record(&mut self, lane: usize, i: usize, result: &Value) {
        let (Some(planned), Some(mut check)) = (&self.planned, self.checks.get_mut(lane).map(std::mem::take)) else {
            return;
        };
        planned.record(i, (&self.program, &self.typed), |v| self.value(lane, v), result, &mut check);
        self.checks[lane] = check;
    }

    /// The exchanges of one round: all messages to a party travel together.
    fn exchange(
        &mut self,
        r: usize,
        insts: std::ops::Range<usize>,
        link: &mut dyn Link,
        out: &mut [Vec<u8>],
        incoming: &mut [Vec<u8>],
        outcome: &mut Outcome,
    ) -> Result<(), LinkError> {
        let me = self.runtime.me();
        let n = self.program.parties;
        let lanes = self.lanes.len();
        for (p, buffer) in out.iter_mut().enumerate() {
            buffer.clear();
            buffer.reserve_exact(lanes * self.program.rounds[r].messages.get(n, me, Party(p as u8)) as usize);
        }
        let order = || (0..lanes).flat_map(|lane| insts.clone().map(move |i| (lane, i)));
        let mut kept = Vec::with_capacity(lanes * insts.len());
        let mut seen = Vec::new();
        for (lane, i) in order() {
            let start = Instant::now();
            let before: usize = out.iter().map(Vec::len).sum();
            let layer = self.program.insts[i].layer as usize;
            let pad = self.pad(lane, i);
            if let Op::Check { .. } = &self.program.insts[i].op {
                let keys = self.runtime.checked().expect("compared with the runtime at load");
                self.checks[lane].send(me, keys, pad, out);
                kept.push(Value::none());
            } else {
                let (x, what) = exchange_of(&self.program.insts[i].op).expect("verified: exchanges stand here");
                let (value, ty) = (self.value(lane, x).clone(), flat(&self.typed, x));
                if let Exchange::Open { .. } = what {
                    outcome.opened_bits += ty.len as u64 * u64::from(ty.domain.width());
                }
                kept.push(self.runtime.send(pad, what, &value, ty, out));
                if i + 1 == insts.end {
                    self.runtime.seal(out);
                }
                drop(value);
                // Factors are kept to the end of the round: their products are recorded.
                if self.planned.is_none() || i + 1 < insts.end {
                    self.drop_operands(lane, i);
                }
            }
            if let Some(l) = outcome.layers.get_mut(layer) {
                l.payload_bytes += (out.iter().map(Vec::len).sum::<usize>() - before) as u64;
                l.compute_s += start.elapsed().as_secs_f64();
                if !seen.contains(&layer) {
                    seen.push(layer);
                    l.rounds += 1;
                }
            }
        }
        let expect: Vec<usize> =
            (0..n).map(|p| lanes * self.program.rounds[r].messages.get(n, Party(p), me) as usize).collect();
        for (buffer, bytes) in incoming.iter_mut().zip(&expect) {
            buffer.clear();
            buffer.reserve_exact(*bytes);
        }
        let layer = self.program.insts[insts.start].layer as usize;
        let name = self.program.layers.get(layer).map_or("", |l| l.name.as_str());
        let start = Instant::now();
        let what = format!("layer {layer} {}", ir::text::escape(name));
        let place = Place { round: r as u32 + 1, what: &what };
        link.exchange(&place, out, &expect, incoming)?;
        let share = start.elapsed().as_secs_f64() / seen.len().max(1) as f64;
        for l in seen {
            outcome.layers[l].wait_s += share;
        }
        let mut readers: Vec<&[u8]> = incoming.iter().map(Vec::as_slice).collect();
        for ((lane, i), kept) in order().zip(kept) {
            let start = Instant::now();
            if let Op::Check { step, .. } = self.program.insts[i].op {
                self.check_step(lane, step, &mut readers).map_err(|fault| {
                    let what = place.what.to_owned();
                    refuse(link, LinkError::Cheating { round: place.round, what, fault })
                })?;
                let handed = self.program.insts[i].op.operands().into_iter();
                let handed: Vec<Value> = handed.map(|x| self.value(lane, x).clone()).collect();
                self.set(lane, i, handed);
                self.drop_dead(lane, i);
                continue;
            }
            let (x, what) = exchange_of(&self.program.insts[i].op).expect("verified: exchanges stand here");
            let ty = flat(&self.typed, x);
            let result = self.runtime.receive(what, kept, ty, &mut readers);
            if i + 1 == insts.end {
                // Before anything that was received is used, and before this party sends anything else.
                self.runtime.check(&mut readers).map_err(|Mismatch { vouching: peer }| {
                    let what = place.what.to_owned();
                    refuse(link, LinkError::Inconsistent { peer, round: place.round, what })
                })?;
            }
            self.record(lane, i, &result);
            self.set(lane, i, [result]);
            self.drop_dead(lane, i);
            let layer = self.program.insts[i].layer as usize;
            if let Some(l) = outcome.layers.get_mut(layer) {
                l.compute_s += start.elapsed().as_secs_f64();
            }
        }
        debug_assert!(readers.iter().all(|r| r.is_empty()), "message lengths were compared at load");
        Ok(())
    }
}

/// Ends a run in which somebody cheats.
fn refuse(link: &mut dyn Link, e: LinkError) -> LinkError {
    link.abort(e.exit_code(), &e.to_string());
    e
}

fn flat(typed: &Typed, v: ir::Value) -> Flat {
    let t = &typed.types[v.index()];
    Flat { domain: t.domain, form: t.form, len: t.len() }
}
