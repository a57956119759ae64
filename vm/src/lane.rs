//! One sample of a batch: its values, and the instructions on them.
//!
//! Lanes share nothing that changes, so those of a batch can go side by side.
use crate::checking::{Checking, Planned};
use crate::client::{self, Beside};
use crate::exec::{Inputs, LayerStats, Pieces, exchange_of, flat, other_of};
use crate::{local, replace};
use ir::memory;
use ir::ops::Class;
use ir::verify::Typed;
use ir::weights::Weights;
use ir::{Op, Party, Program};
use runtime_protocols::check::Cheating;
use runtime_protocols::data::{Data, Value};
use runtime_protocols::runtime::{Exchange, Mismatch, Pad, Runtime};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Sharings that outlive a call, by index.
pub(crate) type States = BTreeMap<u32, Value>;

/// How many exchanges of the round before each instruction of a round needs.
pub(crate) fn needs(program: &Program, typed: &Typed) -> Vec<u32> {
    let mut needs = vec![0; program.insts.len()];
    let ends = program.rounds.iter().map(|r| r.exchange_end).chain([program.insts.len() as u32]);
    let mut before = 0..0;
    for (end, round) in ends.zip(program.rounds.iter().map(Some).chain([None])) {
        for i in before.end..end {
            let operands = program.insts[i as usize].op.operands();
            let made = operands.iter().map(|v| typed.origin[v.index()]).filter(|j| before.contains(j));
            needs[i as usize] = made.max().map_or(0, |j| j + 1 - before.start);
        }
        before = round.map_or(end, |r| r.local_end)..end;
    }
    needs
}

/// What all lanes read.
pub(crate) struct Code {
    pub(crate) program: Program,
    pub(crate) typed: Typed,
    /// The order in which instructions run.
    pub(crate) order: Vec<u32>,
    /// How many exchanges of the round before must be over before each instruction runs.
    pub(crate) needs: Vec<u32>,
    /// Values whose last use is each instruction.
    pub(crate) dead_after: Vec<Vec<u32>>,
    /// Made in set-up, for every inference.
    pub(crate) kept: Vec<Option<Value>>,
    /// What is checked before anything is opened.
    pub(crate) planned: Option<Planned>,
}

/// What set-up or a sample brings along.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) weights: Option<&'a Weights>,
    /// None where there is no client.
    pub(crate) pieces: Option<&'a Pieces>,
}

/// Why a lane stops: somebody cheats.
pub(crate) enum Fault {
    /// What was received is not what another vouches for.
    Mismatch(Mismatch),
    /// The check of the products fails.
    Cheating(Cheating),
}

/// One sample.
pub(crate) struct Lane {
    pub(crate) values: Vec<Option<Value>>,
    /// What the last call stored.
    pub(crate) before: States,
    /// What this call stores.
    pub(crate) stored: States,
    /// Number of the inference, which its pads are named by.
    pub(crate) inference: u64,
    /// Where it is in the order of instructions.
    pub(crate) at: usize,
    /// What it keeps of its messages until the replies are there, and the second operand.
    sent: VecDeque<(Value, Value)>,
    /// Stored integers of each output, at its receiver.
    pub(crate) outputs: Vec<Option<Vec<i64>>>,
    /// Per layer; rounds and waiting are not counted here.
    pub(crate) layers: Vec<LayerStats>,
    /// Bits that openings showed to anybody.
    pub(crate) opened_bits: u64,
    /// Summands of the results for the client.
    pub(crate) for_client: Vec<u8>,
    /// How far the check of the products is.
    check: Checking,
}

impl Lane {
    /// Begins at a place of the order.
    pub(crate) fn new(code: &Code, at: usize, before: States, inference: u64) -> Lane {
        Lane {
            values: vec![None; code.typed.types.len()],
            before,
            stored: States::new(),
            inference,
            at,
            sent: VecDeque::new(),
            outputs: vec![None; code.program.interface.outputs.len()],
            layers: vec![LayerStats::default(); code.program.layers.len()],
            opened_bits: 0,
            for_client: Vec::new(),
            check: code.planned.as_ref().filter(|_| inference > 0).map(Planned::begin).unwrap_or_default(),
        }
    }

    fn value<'a>(&'a self, code: &'a Code, v: ir::Value) -> &'a Value {
        let here = self.values[v.index()].as_ref().or(code.kept[v.index()].as_ref());
        here.expect("verified: defined before use, alive until its last use")
    }

    fn set(&mut self, code: &Code, i: usize, results: impl IntoIterator<Item = Value>) {
        for (v, x) in code.typed.results(i).zip(results) {
            self.values[v] = Some(x);
        }
    }

    fn drop_dead(&mut self, code: &Code, i: usize) {
        for v in &code.dead_after[i] {
            self.values[*v as usize] = None;
        }
    }

    /// The same before the results are there.
    fn drop_operands(&mut self, code: &Code, i: usize) {
        let results = code.typed.results(i);
        for v in code.dead_after[i].iter().filter(|v| !results.contains(&(**v as usize))) {
            self.values[*v as usize] = None;
        }
    }

    /// Runs instructions before `end` of which the operands are there, where so many exchanges of the round before are over, up to the
    /// first message, which it appends; `false` when there was none.
    pub(crate) fn go_on(
        &mut self,
        code: &Code,
        runtime: &mut dyn Runtime,
        (end, over): (usize, u32),
        given: Given<'_>,
        out: &mut [Vec<u8>],
    ) -> bool {
        while self.at < end {
            let i = code.order[self.at] as usize;
            if code.needs[i] > over {
                return false;
            }
            self.at += 1;
            let start = Instant::now();
            if code.program.insts[i].op.class() == Class::Round {
                let before: usize = out.iter().map(Vec::len).sum();
                self.send(code, runtime, (i, i + 1 == end_of_round(code, i)), given, out);
                self.account(code, i, start, out.iter().map(Vec::len).sum::<usize>() - before);
                return true;
            }
            let results = self.step(code, runtime, i, given);
            self.set(code, i, results);
            self.drop_dead(code, i);
            self.account(code, i, start, 0);
        }
        false
    }

    /// The results of a local instruction.
    fn step(&mut self, code: &Code, runtime: &dyn Runtime, i: usize, given: Given<'_>) -> Vec<Value> {
        // The verifier lets only programs use roles whose protocol has them.
        let roles = || runtime.roles().expect("verified, and compared with the runtime at load");
        match &code.program.insts[i].op {
            Op::State { x, index } => {
                let before = self.before.remove(index);
                vec![before.unwrap_or_else(|| self.value(code, *x).clone())]
            }
            Op::Store { x, index } => {
                let x = self.value(code, *x).clone();
                self.stored.insert(*index, x);
                vec![]
            }
            Op::Input { index } => {
                let input = given.inputs.get(*index as usize).and_then(Option::as_ref);
                vec![owned(code, runtime, i, input, |x| *x)]
            }
            Op::Weight { index } => {
                let tensor = given.weights.and_then(|w| w.tensors.get(*index as usize));
                vec![owned(code, runtime, i, tensor, |x| i64::from(*x))]
            }
            Op::Output { x, index } => {
                let part = self.value(code, *x).parts.first().cloned();
                if let Some(part) = part {
                    self.outputs[*index as usize] = Some(part.w64().iter().map(|v| *v as i64).collect());
                }
                vec![]
            }
            Op::Split { x, rot } => {
                roles().split(self.pad(i), self.value(code, *x), flat(&code.typed, *x), *rot).into()
            }
            Op::SplitShared { x, rot } => {
                roles().split_shared(self.value(code, *x), flat(&code.typed, *x), *rot).into()
            }
            Op::Beta { tag, rot, .. } => {
                let ty = &code.typed.types[code.typed.results(i).start];
                vec![roles().beta(self.pad(*tag as usize), ty.domain, ty.len(), *rot)]
            }
            Op::Mask { x, tag } => {
                vec![roles().mask(self.pad(*tag as usize), self.value(code, *x), flat(&code.typed, *x))]
            }
            op => vec![self.plain(code, runtime, i, op)],
        }
    }

    /// An instruction without randomness. Its result takes the memory of an operand where it can.
    fn plain(&mut self, code: &Code, runtime: &dyn Runtime, i: usize, op: &Op<ir::Value>) -> Value {
        let types = &code.typed.types;
        let dies = |v: ir::Value| code.dead_after[i].contains(&(v.index() as u32)) && self.values[v.index()].is_some();
        let Some(own) = memory::in_place(op, dies, |v| &types[v.index()]) else {
            let typed = op.map(|v| (self.value(code, v), &types[v.index()]));
            return local::run(&typed, &types[code.typed.results(i).start], &code.program, runtime);
        };
        let x = self.values[own.index()].take().expect("it dies here");
        let none = Value::none();
        let (mut place, mut second) = (0, false);
        let typed = op.map(|v| {
            second |= v == own && place > 0;
            place += 1;
            (if v == own { &none } else { self.value(code, v) }, &types[v.index()])
        });
        replace::run(&typed, x, second, runtime)
    }

    /// The pad of an instruction, or of a tag.
    fn pad(&self, i: usize) -> Pad {
        Pad { inference: self.inference, instruction: i as u32 }
    }

    /// Appends what this lane sends in exchange `i`.
    fn send(
        &mut self,
        code: &Code,
        runtime: &mut dyn Runtime,
        (i, last): (usize, bool),
        given: Given<'_>,
        out: &mut [Vec<u8>],
    ) {
        if let (Op::Check { step, .. }, Some(planned)) = (&code.program.insts[i].op, &code.planned) {
            let keys = runtime.checked().expect("compared with the runtime at load");
            self.check.send((planned, *step), runtime.me(), (keys, self.pad(i)), out);
            self.sent.push_back((Value::none(), Value::none()));
            return;
        }
        let (x, what) = exchange_of(&code.program.insts[i].op).expect("verified: exchanges stand here");
        let (mut value, ty, pad) = (self.value(code, x).clone(), flat(&code.typed, x), self.pad(i));
        let other = other_of(&code.program.insts[i].op).map(|v| self.value(code, v).clone());
        let other = match (what, other) {
            (Exchange::Mul, Some(factor)) => {
                value.parts.extend(factor.parts);
                Value::none()
            }
            (_, other) => other.unwrap_or_default(),
        };
        if let Exchange::Open { .. } = what {
            self.opened_bits += ty.len as u64 * u64::from(ty.domain.width());
        }
        let kept = match client::beside(what, ty.form) {
            Some(Beside::Comes) => {
                given.pieces.expect("a client shares its inputs of every sample").0[&(i as u32)].clone()
            }
            Some(Beside::Goes) => {
                runtime.for_client(pad, &value, ty, &mut self.for_client);
                Value::none()
            }
            None => runtime.send(pad, what, &value, ty, out),
        };
        self.sent.push_back((kept, other));
        if last {
            runtime.seal(out);
        }
        drop(value);
        // Factors are kept to the end of the round where their products are recorded.
        if code.planned.is_none() || !last {
            self.drop_operands(code, i);
        }
    }

    /// Adds the cost of an instruction to its layer.
    fn account(&mut self, code: &Code, i: usize, start: Instant, sent: usize) {
        if let Some(l) = self.layers.get_mut(code.program.insts[i].layer as usize) {
            l.payload_bytes += sent as u64;
            l.compute_s += start.elapsed().as_secs_f64();
        }
    }

    /// Senders and lengths of the messages that this party gets in exchange `i`, of a protocol that vouches for none.
    pub(crate) fn replies(&self, code: &Code, runtime: &dyn Runtime, i: usize) -> impl Iterator<Item = (Party, usize)> {
        let (x, what) = exchange_of(&code.program.insts[i].op).expect("verified: exchanges stand here");
        let (ty, me) = (flat(&code.typed, x), runtime.me());
        let messages = match client::beside(what, ty.form) {
            Some(_) => vec![],
            None => runtime.messages(what, ty),
        };
        messages.into_iter().filter(move |m| m.to == me).map(|m| (m.from, m.bytes as usize))
    }

    /// Reads the replies in exchange `i` from the front of `incoming`. After a mismatch nothing that was received may be used.
    pub(crate) fn receive(
        &mut self,
        code: &Code,
        runtime: &mut dyn Runtime,
        i: usize,
        incoming: &mut [&[u8]],
    ) -> Result<(), Fault> {
        let start = Instant::now();
        let (kept, other) = self.sent.pop_front().expect("a reply follows a message");
        if let Op::Check { step, .. } = code.program.insts[i].op {
            self.check_step(code, runtime.me(), step, incoming).map_err(Fault::Cheating)?;
            let handed = code.program.insts[i].op.operands();
            let handed: Vec<Value> = handed.into_iter().map(|x| self.value(code, x).clone()).collect();
            self.set(code, i, handed);
            self.drop_dead(code, i);
            self.account(code, i, start, 0);
            return Ok(());
        }
        let (x, what) = exchange_of(&code.program.insts[i].op).expect("verified: exchanges stand here");
        let (op, ty) = (&code.program.insts[i].op, flat(&code.typed, x));
        let mut result = match client::beside(what, ty.form) {
            Some(_) => kept,
            None => runtime.receive(what, kept, ty, incoming),
        };
        if let Exchange::Linear { .. } = what {
            let types = &code.typed.types;
            let to = &types[code.typed.results(i).start];
            result = local::with_weights(op, &types[x.index()], to, result, &other);
        }
        if i + 1 == end_of_round(code, i) {
            // Before anything that was received is used, and before this party sends anything else.
            runtime.check(incoming).map_err(Fault::Mismatch)?;
        }
        self.record(code, i, &result);
        self.set(code, i, [result]);
        self.drop_dead(code, i);
        self.account(code, i, start, 0);
        Ok(())
    }

    /// Reads the messages of a step of the check.
    fn check_step(&mut self, code: &Code, me: Party, step: u32, incoming: &mut [&[u8]]) -> Result<(), Cheating> {
        let mut mine: Vec<&[u8]> = vec![&[]; incoming.len()];
        let messages = code.planned.iter().flat_map(|p| p.claims.messages(step));
        for (from, _, bytes) in messages.filter(|(_, to, _)| *to == me) {
            let from = from.index();
            mine[from] = incoming[from].split_off(..bytes as usize).expect("lengths were compared at load");
        }
        self.check.receive(&mine)
    }

    /// Records a product that was shared.
    fn record(&mut self, code: &Code, i: usize, result: &Value) {
        let Some(planned) = &code.planned else { return };
        let mut check = std::mem::take(&mut self.check);
        planned.record(i, (&code.program, &code.typed), |v| self.value(code, v), result, &mut check);
        self.check = check;
    }
}

/// The first instruction after the round of an exchange.
fn end_of_round(code: &Code, i: usize) -> usize {
    let at = code.program.rounds.partition_point(|r| r.exchange_end as usize <= i);
    code.program.rounds[at].exchange_end as usize
}

/// A value that only its owner has.
fn owned<T>(code: &Code, runtime: &dyn Runtime, i: usize, data: Option<&Vec<T>>, number: impl Fn(&T) -> i64) -> Value {
    let ty = &code.typed.types[code.typed.results(i).start];
    if runtime.pieces(ty.form) == 0 {
        return Value::none();
    }
    let mut words = vec![0u64; ty.len()];
    // An owner whose file has the wrong length was refused at load.
    if let Some(data) = data {
        words.iter_mut().zip(data).for_each(|(w, x)| *w = number(x) as u64);
    }
    Value::one(Data::W64(words))
}
