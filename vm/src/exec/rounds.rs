//! The rounds of a program: instructions, and one exchange of messages each.
//!
//! Of one sample, where nobody vouches for messages as a whole, messages are made and used in parts: what is ready travels while
//! the rest is computed, and what has come is used, up to the messages of the next round, while the rest is under way. The
//! order of instructions is fixed ([`ir::memory::order`]), whatever the network does.
use super::{Beside, Machine, Outcome};
use crate::lane::{Code, Fault, Given, Lane};
use ir::Party;
use rayon::prelude::*;
use runtime_protocols::link::{Link, LinkError, Place, Work};
use runtime_protocols::runtime::{Mismatch, Runtime};
use smallvec::SmallVec;
use std::ops::Range;
use std::time::{Duration, Instant};

/// More exchanges of the round before than there are.
const ALL: u32 = u32::MAX;

/// One entry for each party.
type Lengths = SmallVec<[usize; 8]>;

/// One sample whose messages of a round are made and used in parts.
struct Parts<'a> {
    lane: &'a mut Lane,
    code: &'a Code,
    runtime: &'a mut dyn Runtime,
    given: Given<'a>,
    /// Exchanges of the round that are not over.
    exchanges: Range<usize>,
    first: usize,
    /// Where the instructions of this round and of the next one end.
    ends: [usize; 2],
    /// Messages of the next round.
    next: &'a mut [Vec<u8>],
    /// Bytes of the messages that were used.
    used: Lengths,
    fault: Option<Fault>,
    /// Time that this took.
    busy: Duration,
}

impl Work for Parts<'_> {
    fn produce(&mut self, out: &mut [Vec<u8>]) -> bool {
        let start = Instant::now();
        let more = self.lane.go_on(self.code, self.runtime, (self.ends[0], ALL), self.given, out);
        self.busy += start.elapsed();
        more
    }

    fn consume(&mut self, incoming: &[Vec<u8>], got: &[usize]) {
        let start = Instant::now();
        while self.fault.is_none() && self.has_come(got) {
            let i = self.exchanges.start;
            self.exchanges.start += 1;
            let mut readers: SmallVec<[&[u8]; 8]> =
                incoming.iter().zip(&self.used).map(|(all, used)| &all[*used..]).collect();
            self.fault = self.lane.receive(self.code, self.runtime, i, &mut readers).err();
            self.used = incoming.iter().zip(&readers).map(|(all, left)| all.len() - left.len()).collect();
            let over = (self.exchanges.start - self.first) as u32;
            while self.fault.is_none()
                && self.lane.go_on(self.code, self.runtime, (self.ends[1], over), self.given, self.next)
            {}
        }
        self.busy += start.elapsed();
    }
}

impl Parts<'_> {
    /// Whether the replies of the next exchange are there.
    fn has_come(&self, got: &[usize]) -> bool {
        if self.exchanges.is_empty() {
            return false;
        }
        let mut needs = self.used.clone();
        for (from, bytes) in self.lane.replies(self.code, self.runtime, self.exchanges.start) {
            needs[from.index()] += bytes;
        }
        needs.iter().zip(got).all(|(needs, got)| needs <= got)
    }
}

impl Machine {
    /// Runs what is in the rounds, and what follows up to the instruction `end`.
    pub(super) fn run(
        &mut self,
        lanes: &mut [Lane],
        given: &[Given<'_>],
        link: &mut dyn Link,
        (rounds, end): (Range<usize>, usize),
        outcome: &mut Outcome,
    ) -> Result<(), LinkError> {
        let parties = usize::from(self.code.program.parties);
        // One sample, or a protocol whose instructions must follow each other, uses the machine's own runtime.
        while lanes.len() > 1 && self.beside.len() < lanes.len() {
            let Some(runtime) = self.runtime.fork() else { break };
            self.beside.push(Beside { runtime, out: vec![Vec::new(); parties] });
        }
        // Kept from round to round and from inference to inference.
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.iter_mut().for_each(|side| {
            side.resize(parties, Vec::new());
            side.iter_mut().for_each(Vec::clear);
        });
        let in_parts = lanes.len() == 1 && self.code.program.scheme().roles;
        for r in rounds {
            match lanes {
                [lane] if in_parts => self.parts(lane, given[0], (r, end), link, &mut buffers, outcome)?,
                _ => self.whole(lanes, given, r, link, &mut buffers, outcome)?,
            }
        }
        self.go_on(lanes, given, end, &mut buffers[0]);
        self.buffers = buffers;
        Ok(())
    }

    /// Instructions of all samples before `end`, with their messages.
    fn go_on(&mut self, lanes: &mut [Lane], given: &[Given<'_>], end: usize, out: &mut [Vec<u8>]) {
        let (code, count) = (&self.code, lanes.len());
        if let Some(beside) = (count > 1).then_some(()).and(self.beside.get_mut(..count)) {
            lanes.par_iter_mut().zip(beside.par_iter_mut()).zip(given).for_each(|((lane, own), given)| {
                while lane.go_on(code, own.runtime.as_mut(), (end, ALL), *given, &mut own.out) {}
            });
            for own in beside.iter_mut() {
                out.iter_mut().zip(&mut own.out).for_each(|(all, own)| {
                    all.extend_from_slice(own);
                    own.clear();
                });
            }
        } else {
            for (lane, given) in lanes.iter_mut().zip(given) {
                while lane.go_on(code, self.runtime.as_mut(), (end, ALL), *given, out) {}
            }
        }
    }

    /// Bytes that this party sends to and receives from each in a round.
    fn lengths(&self, r: usize) -> [Lengths; 2] {
        let (me, n) = (self.runtime.me(), self.code.program.parties);
        let Some(round) = self.code.program.rounds.get(r) else { return Default::default() };
        let all = || (0..n).map(Party);
        [
            all().map(|p| round.messages.get(n, me, p) as usize).collect(),
            all().map(|p| round.messages.get(n, p, me) as usize).collect(),
        ]
    }

    /// A round of one sample in parts; `end` is where the last round's successors end.
    fn parts(
        &mut self,
        lane: &mut Lane,
        given: Given<'_>,
        (r, end): (usize, usize),
        link: &mut dyn Link,
        [even, odd, incoming]: &mut [Vec<Vec<u8>>; 3],
        outcome: &mut Outcome,
    ) -> Result<(), LinkError> {
        let (out, next) = if r.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        let [sends, receives] = self.lengths(r);
        let rounds = &self.code.program.rounds;
        let exchanges = rounds[r].local_end as usize..rounds[r].exchange_end as usize;
        let behind = rounds.get(r + 1).map_or(end, |r| r.exchange_end as usize).min(end);
        reserve(out, &sends);
        if behind > exchanges.end {
            reserve(next, &self.lengths(r + 1)[0]);
        }
        reserve(incoming, &receives);
        let mut parts = Parts {
            lane,
            code: &self.code,
            runtime: self.runtime.as_mut(),
            given,
            first: exchanges.start,
            ends: [exchanges.end, behind],
            exchanges: exchanges.clone(),
            next,
            used: SmallVec::from_elem(0, sends.len()),
            fault: None,
            busy: Duration::ZERO,
        };
        let what = place(&self.code, exchanges.start);
        let place = Place { round: r as u32 + 1, what: &what };
        let start = Instant::now();
        link.exchange_parts(&place, out, [&sends, &receives], incoming, &mut parts)?;
        let waited = start.elapsed().saturating_sub(parts.busy);
        if let Some(fault) = parts.fault {
            return Err(refuse(link, fault, &place));
        }
        debug_assert!(parts.exchanges.is_empty(), "message lengths were compared at load");
        account(&self.code, exchanges, waited, outcome);
        out.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    /// A round of all samples: all messages to a party travel together, one sample after the other.
    fn whole(
        &mut self,
        lanes: &mut [Lane],
        given: &[Given<'_>],
        r: usize,
        link: &mut dyn Link,
        [out, _, incoming]: &mut [Vec<Vec<u8>>; 3],
        outcome: &mut Outcome,
    ) -> Result<(), LinkError> {
        let count = lanes.len();
        let [sends, receives] = self.lengths(r);
        let round = &self.code.program.rounds[r];
        let exchanges = round.local_end as usize..round.exchange_end as usize;
        let of_all = |each: &Lengths| -> Lengths { each.iter().map(|bytes| count * bytes).collect() };
        let expect = of_all(&receives);
        out.iter_mut().for_each(Vec::clear);
        reserve(out, &of_all(&sends));
        if count > 1 {
            self.beside.iter_mut().take(count).for_each(|own| reserve(&mut own.out, &sends));
        }
        reserve(incoming, &expect);
        self.go_on(lanes, given, exchanges.end, out);
        let what = place(&self.code, exchanges.start);
        let place = Place { round: r as u32 + 1, what: &what };
        let start = Instant::now();
        link.exchange(&place, out, &expect, incoming)?;
        account(&self.code, exchanges.clone(), start.elapsed(), outcome);
        let (code, incoming) = (&self.code, &*incoming);
        let read = |at: usize, lane: &mut Lane, runtime: &mut dyn Runtime| -> Result<(), Fault> {
            let mut readers: Vec<&[u8]> =
                receives.iter().zip(incoming).map(|(bytes, all)| &all[at * bytes..][..*bytes]).collect();
            for i in exchanges.clone() {
                lane.receive(code, runtime, i, &mut readers)?;
            }
            debug_assert!(readers.iter().all(|r| r.is_empty()), "message lengths were compared at load");
            Ok(())
        };
        let beside = (count > 1).then_some(()).and(self.beside.get_mut(..count));
        let checked = if let Some(beside) = beside {
            let all = lanes.par_iter_mut().zip(beside).enumerate();
            all.map(|(at, (lane, own))| read(at, lane, own.runtime.as_mut())).collect()
        } else {
            let runtime = self.runtime.as_mut();
            lanes.iter_mut().enumerate().try_for_each(|(at, lane)| read(at, lane, runtime))
        };
        checked.map_err(|fault| refuse(link, fault, &place))
    }
}

/// Room for messages of these lengths. What is in buffers for messages to come is written over, so that they need not be cleared
/// first.
fn reserve(buffers: &mut [Vec<u8>], lengths: &[usize]) {
    buffers
        .iter_mut()
        .zip(lengths)
        .for_each(|(buffer, bytes)| buffer.reserve_exact(bytes.saturating_sub(buffer.len())));
}

/// Where an exchange stands, for error messages.
fn place(code: &Code, i: usize) -> String {
    let layer = code.program.insts.get(i).map_or(0, |inst| inst.layer as usize);
    let name = code.program.layers.get(layer).map_or("", |l| l.name.as_str());
    format!("layer {layer} {}", ir::text::escape(name))
}

/// Adds a round to the layers that talk in it, and an equal part of the time.
fn account(code: &Code, exchanges: Range<usize>, waited: Duration, outcome: &mut Outcome) {
    let mut seen: Vec<usize> = exchanges.map(|i| code.program.insts[i].layer as usize).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.retain(|layer| *layer < outcome.layers.len());
    let share = waited.as_secs_f64() / seen.len().max(1) as f64;
    for l in seen {
        outcome.layers[l].rounds += 1;
        outcome.layers[l].wait_s += share;
    }
}

/// Ends a run in which somebody cheats.
fn refuse(link: &mut dyn Link, fault: Fault, at: &Place<'_>) -> LinkError {
    let (round, what) = (at.round, at.what.to_owned());
    let e = match fault {
        Fault::Mismatch(Mismatch { vouching: peer }) => LinkError::Inconsistent { peer, round, what },
        Fault::Cheating(fault) => LinkError::Cheating { round, what, fault },
    };
    link.abort(e.exit_code(), &e.to_string());
    e
}
