//! What the exchanges of a scheduled program cost, why each is there, and how far it could move.
//!
//! Reads a program only, so it answers for a file as well as for what was just compiled. Rounds are numbered as the text
//! form numbers them: from 1, set-up apart.
mod cause;

pub use cause::Cause;

use crate::profile::{Profile, Protocol};
use ir::ops::Class;
use ir::verify::Typed;
use ir::{Party, Program};
use std::collections::BTreeSet;

/// One exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Index of the instruction.
    pub inst: usize,
    /// Index into [`Program::layers`].
    pub layer: usize,
    /// Once per session, before the first inference.
    pub setup: bool,
    /// Round, from 1, within set-up or within the inference.
    pub round: u32,
    /// Last round in which it could stand without adding one.
    pub latest: u32,
    /// The exchange whose result arrives last; none if it waits for nothing.
    pub waits_for: Option<usize>,
    /// Why it is there.
    pub cause: Cause,
    /// Sender, receiver, bytes.
    pub messages: Vec<(Party, Party, u64)>,
}

impl Exchange {
    /// Bytes of all its messages.
    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(|m| m.2).sum()
    }

    /// Rounds by which it could be later.
    pub fn slack(&self) -> u32 {
        self.latest.saturating_sub(self.round)
    }

    /// Part of a run that it belongs to.
    pub fn phase(&self) -> Phase {
        match self.cause {
            _ if self.setup => Phase::Setup,
            Cause::Input => Phase::Input,
            Cause::Check => Phase::Check,
            Cause::Open => Phase::Output,
            _ => Phase::Compute,
        }
    }
}

/// Part of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Sharing the weights, once per session.
    Setup,
    /// Sharing the inputs.
    Input,
    /// Everything between.
    Compute,
    /// The check of all products.
    Check,
    /// Opening the outputs.
    Output,
}

impl Phase {
    /// In order.
    pub const ALL: [Phase; 5] = [Phase::Setup, Phase::Input, Phase::Compute, Phase::Check, Phase::Output];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Setup => "setup",
            Phase::Input => "input",
            Phase::Compute => "compute",
            Phase::Check => "check",
            Phase::Output => "output",
        }
    }
}

/// Sums over some exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub exchanges: usize,
    /// Rounds of the inference in which they talk.
    pub rounds: BTreeSet<u32>,
    /// Bytes sent by each party in one inference.
    pub bytes: Vec<u64>,
    /// Bytes of all parties during set-up.
    pub setup_bytes: u64,
}

impl Total {
    fn of<'a>(parties: u8, exchanges: impl Iterator<Item = &'a Exchange>) -> Total {
        let bytes = vec![0; usize::from(parties)];
        let mut total = Total { exchanges: 0, rounds: BTreeSet::new(), bytes, setup_bytes: 0 };
        for e in exchanges {
            total.exchanges += 1;
            if e.setup {
                total.setup_bytes += e.bytes();
                continue;
            }
            total.rounds.insert(e.round);
            e.messages.iter().for_each(|(from, _, bytes)| total.bytes[from.index()] += bytes);
        }
        total
    }

    /// Bytes of all parties in one inference.
    pub fn payload(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

/// The exchanges of a program.
#[derive(Clone, Debug)]
pub struct Costs {
    /// In the order of the program.
    pub exchanges: Vec<Exchange>,
    /// Rounds of one inference.
    pub rounds: u32,
    parties: u8,
}

/// The profile that a program was compiled for, if this release knows it.
pub fn profile_of(p: &Program) -> Option<&'static Profile> {
    Protocol::of(&p.protocol, p.parties).map(crate::profile::of)
}

/// Finds every exchange of a verified program.
pub fn analyse(p: &Program, typed: &Typed, profile: &Profile) -> Costs {
    let setup_rounds = p.setup_rounds as usize;
    let rounds = (p.rounds.len() - setup_rounds.min(p.rounds.len())) as u32;
    let latest = latest_rounds(p, typed, rounds);
    let checks = ir::check::claims(p, typed);
    // The exchange that each instruction waits for longest.
    let mut waits: Vec<Option<usize>> = vec![None; p.insts.len()];
    let mut round_at: Vec<(bool, u32)> = vec![(true, 0); p.insts.len()];
    let mut exchanges = Vec::new();
    let mut at = 0usize;
    let ends = p.rounds.iter().map(|r| r.exchange_end as usize).chain([p.insts.len()]);
    for (r, end) in ends.enumerate() {
        let setup = r < setup_rounds;
        let talking = (at..end).filter(|i| p.insts[*i].op.class() == Class::Round);
        let operand = |i: usize| p.insts[i].op.operands().first().map(|v| &typed.types[v.index()]);
        let here: Vec<_> = talking.map(|i| (&p.insts[i].op, operand(i))).collect();
        let mut messages = profile.round(&here, checks.as_ref()).into_iter();
        let round = if setup { r + 1 } else { r + 1 - setup_rounds } as u32;
        for i in at..end {
            let inst = &p.insts[i];
            let operands = inst.op.operands();
            let given = operands.iter().filter_map(|v| {
                let from = typed.origin[v.index()] as usize;
                if p.insts[from].op.class() == Class::Round { Some(from) } else { waits[from] }
            });
            // Set-up is over before an inference begins.
            let given = given.filter(|e| setup || !round_at[*e].0);
            waits[i] = given.max_by_key(|e| round_at[*e].1);
            if inst.op.class() != Class::Round {
                continue;
            }
            round_at[i] = (setup, round);
            exchanges.push(Exchange {
                inst: i,
                layer: inst.layer as usize,
                setup,
                round,
                latest: if setup { round } else { latest[i] },
                waits_for: waits[i],
                cause: Cause::of(p, typed, i),
                messages: messages.next().expect("one list for each exchange"),
            });
        }
        at = end;
    }
    Costs { exchanges, rounds, parties: p.parties }
}

/// Last round after which each instruction may be done.
fn latest_rounds(p: &Program, typed: &Typed, rounds: u32) -> Vec<u32> {
    let mut latest = vec![rounds; p.insts.len()];
    for (i, inst) in p.insts.iter().enumerate().rev() {
        let before = latest[i].saturating_sub(u32::from(inst.op.class() == Class::Round));
        for v in inst.op.operands() {
            let from = &mut latest[typed.origin[v.index()] as usize];
            *from = (*from).min(before);
        }
    }
    latest
}

impl Costs {
    /// Sums over what a condition picks.
    pub fn total(&self, of: impl Fn(&Exchange) -> bool) -> Total {
        Total::of(self.parties, self.exchanges.iter().filter(|e| of(e)))
    }

    /// Exchanges of one round of the inference.
    pub fn in_round(&self, round: u32) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(move |e| !e.setup && e.round == round)
    }

    /// Causes that occur, in the order of [`Cause`].
    pub fn causes(&self) -> BTreeSet<Cause> {
        self.exchanges.iter().map(|e| e.cause).collect()
    }
}

/// `1-5 7` for the rounds 1, 2, 3, 4, 5, 7.
pub fn spans(rounds: &BTreeSet<u32>) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for &r in rounds {
        match spans.last_mut() {
            Some((_, end)) if *end + 1 == r => *end = r,
            _ => spans.push((r, r)),
        }
    }
    let text = |(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    if spans.is_empty() { "-".into() } else { spans.iter().map(text).collect::<Vec<_>>().join(" ") }
}
