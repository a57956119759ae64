//! Puts instructions into rounds. Each exchange goes into the first round after all it depends on, so the number of
//! rounds equals the longest chain of exchanges, and independent exchanges share a round. What a dealer can deal at any
//! time goes into the last round that serves, so that it waits nowhere. Weights are shared in rounds of their own, before
//! the first inference.
mod order;

use crate::passes::{Function, opened_bits};
use crate::profile::Profile;
use ir::check::claims;
use ir::memory;
use ir::ops::Class;
use ir::verify::type_program;
use ir::{Inst, Messages, Op, Party, Program, Round, Value};
use order::{Region, Rounds, order};

/// Kernel set whose rounding the program reproduces.
pub const KERNELS: &str = "tflite-ref";

/// Puts the instructions of a function into rounds, in an order that takes little memory.
pub fn schedule(function: &mut Function, profile: &Profile) {
    arrange(function, |r| order(r, profile));
}

/// Puts the instructions of a function into rounds, each as early as it can, in the order in which they came.
pub fn schedule_plainly(function: &mut Function) {
    arrange(function, |r| r.plain());
}

fn arrange(function: &mut Function, order: impl FnOnce(&Rounds<'_>) -> Vec<Region>) {
    // The verifier has typed it behind the pass before.
    let Ok(typed) = type_program(&function.program) else { return };
    let insts = std::mem::take(&mut function.program.insts);
    // The round after which each instruction can run.
    let mut setup = vec![false; insts.len()];
    let mut after = vec![0u32; insts.len()];
    for (i, inst) in insts.iter().enumerate() {
        let operands = inst.op.operands();
        let from = || operands.iter().map(|v| typed.origin[v.index()] as usize);
        setup[i] = match &inst.op {
            Op::Weight { .. } => true,
            Op::Reshare { .. } => from().all(|j| matches!(insts[j].op, Op::Weight { .. })),
            Op::Echo { .. } => from().all(|j| setup[j]),
            _ => false,
        };
        // Set-up is over before an inference begins.
        let ready = from().map(|j| if setup[i] || !setup[j] { after[j] } else { 0 }).max().unwrap_or(0);
        after[i] = ready + u32::from(inst.op.class() == Class::Round);
    }
    let last = |of: bool| (0..insts.len()).filter(|i| setup[*i] == of).map(|i| after[i]).max();
    // A set-up that only reads weights is a round without an exchange.
    let setup_rounds = last(true).map_or(0, |r| r.max(1));
    let rounds = last(false).unwrap_or(0);
    postpone_deals(&insts, &typed.origin, &mut after, rounds);
    let r = Rounds { insts: &insts, typed: &typed, setup: &setup, after: &after, setup_rounds, rounds };
    let regions = order(&r);

    let mut renamed = vec![Value(0); typed.types.len()];
    let mut next = 0u32;
    let mut scheduled = Vec::with_capacity(insts.len());
    let mut bounds = Vec::with_capacity(regions.len());
    for region in &regions {
        for &i in region.local.iter().chain(&region.exchanges) {
            for v in typed.results(i) {
                renamed[v] = Value(next);
                next += 1;
            }
            scheduled.push(Inst { op: insts[i].op.map(|v| renamed[v.index()]), layer: insts[i].layer });
        }
        bounds.push((scheduled.len() - region.exchanges.len(), scheduled.len()));
    }
    // What follows the last round is local.
    bounds.pop();
    let p = &mut function.program;
    let none = || Messages::none(p.parties);
    let round =
        |(local, end): (usize, usize)| Round { local_end: local as u32, exchange_end: end as u32, messages: none() };
    p.rounds = bounds.into_iter().map(round).collect();
    p.setup_rounds = setup_rounds;
    p.insts = scheduled;
    function.rename(|v| Some(renamed[v.index()]));
}

/// Fills in the length of every message, and the bits that are opened.
pub fn measure(p: &mut Program, profile: &Profile) {
    let Ok(typed) = type_program(p) else { return };
    let checks = claims(p, &typed);
    for round in &mut p.rounds {
        let exchanges = &p.insts[round.local_end as usize..round.exchange_end as usize];
        let of = |op: &Op<Value>| op.operands().first().map(|v| &typed.types[v.index()]);
        let exchanges: Vec<_> = exchanges.iter().map(|inst| (&inst.op, of(&inst.op))).collect();
        for (from, to, bytes) in profile.round(&exchanges, checks.as_ref()).into_iter().flatten() {
            round.messages.add(p.parties, from, to, bytes);
        }
    }
    p.opened_bits = opened_bits(p, &typed.types);
}

/// Moves deals, masks that a dealer knows, and local work on them to the last round before their first use.
fn postpone_deals(insts: &[Inst], origin: &[u32], after: &mut [u32], rounds: u32) {
    let mut movable = vec![false; insts.len()];
    for (i, inst) in insts.iter().enumerate() {
        let operands = inst.op.operands();
        movable[i] = match inst.op.class() {
            Class::Round => matches!(inst.op, Op::Deal { .. }),
            Class::Local => {
                matches!(inst.op, Op::Beta { .. }) || operands.iter().any(|v| movable[origin[v.index()] as usize])
            }
        };
    }
    // Latest position of each instruction: a local one after that round, a deal in it.
    let mut latest = vec![rounds; insts.len()];
    for (i, inst) in insts.iter().enumerate().rev() {
        if movable[i] {
            after[i] = after[i].max(latest[i]);
        }
        let before = after[i] - u32::from(inst.op.class() == Class::Round).min(after[i]);
        for v in inst.op.operands() {
            let from = &mut latest[origin[v.index()] as usize];
            *from = (*from).min(before);
        }
    }
}

/// Bytes of values and messages alive at once in the party that needs most.
pub fn peak_memory(p: &Program, profile: &Profile) -> u64 {
    let Ok(typed) = type_program(p) else { return 0 };
    (0..p.parties).map(Party).map(|me| memory::peak(p, &typed, me, |form| profile.pieces(form, me))).max().unwrap_or(0)
}
