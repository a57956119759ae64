//! Puts instructions into rounds. Each exchange goes into the first round after all it depends on, so the number of
//! rounds equals the longest chain of exchanges, and independent exchanges share a round. What a dealer can deal at any
//! time goes into the last round that serves, so that it waits nowhere. Weights are shared in rounds of their own, before
//! the first inference.
use crate::passes::{Function, opened_bits, results_of};
use crate::profile::Profile;
use ir::memory;
use ir::ops::Class;
use ir::verify::type_program;
use ir::{Form, Inst, Messages, Op, Party, Program, Round, Value};

/// Kernel set whose rounding the program reproduces.
pub const KERNELS: &str = "tflite-ref";

/// Puts the instructions of a function into rounds.
pub fn schedule(function: &mut Function) {
    let insts = std::mem::take(&mut function.program.insts);
    let count = insts.iter().map(|inst| results_of(&inst.op)).sum::<usize>();
    // Definition of each value, and the round after which each instruction can run; `None` is set-up.
    let mut origin = Vec::with_capacity(count);
    let mut first = Vec::with_capacity(insts.len());
    for (i, inst) in insts.iter().enumerate() {
        first.push(origin.len());
        let results = results_of(&inst.op);
        origin.extend(std::iter::repeat_n(i, results));
    }
    let setup = |inst: &Inst| match &inst.op {
        Op::Weight { .. } => true,
        Op::Reshare { x, .. } => matches!(insts[origin[x.index()]].op, Op::Weight { .. }),
        _ => false,
    };
    let mut after = vec![0u32; insts.len()];
    for (i, inst) in insts.iter().enumerate() {
        if setup(inst) {
            continue;
        }
        let ready = inst.op.operands().iter().map(|v| after[origin[v.index()]]).max().unwrap_or(0);
        after[i] = ready + u32::from(inst.op.class() == Class::Round);
    }
    let rounds = after.iter().copied().max().unwrap_or(0);
    postpone_deals(&insts, &origin, &mut after, rounds);

    let mut order: Vec<usize> = Vec::with_capacity(insts.len());
    let mut bounds = Vec::new();
    let mut setup_rounds = 0;
    let is_round = |i: usize| insts[i].op.class() == Class::Round;
    let setups: Vec<usize> = (0..insts.len()).filter(|i| setup(&insts[*i])).collect();
    if !setups.is_empty() {
        order.extend(setups.iter().filter(|i| !is_round(**i)));
        let local = order.len();
        order.extend(setups.iter().filter(|i| is_round(**i)));
        bounds.push((local, order.len()));
        setup_rounds = 1;
    }
    let mut by_round: Vec<(Vec<usize>, Vec<usize>)> = vec![(vec![], vec![]); rounds as usize + 1];
    for i in (0..insts.len()).filter(|i| !setup(&insts[*i])) {
        let slot = &mut by_round[after[i] as usize];
        if is_round(i) { slot.1.push(i) } else { slot.0.push(i) }
    }
    for (r, (local_ops, exchanges)) in by_round.iter().enumerate() {
        if r > 0 {
            let local = order.len();
            order.extend(exchanges);
            bounds.push((local, order.len()));
        }
        order.extend(local_ops);
    }

    let mut renamed = vec![Value(0); count];
    let mut next = 0u32;
    for &i in &order {
        let results = results_of(&insts[i].op);
        for v in &mut renamed[first[i]..first[i] + results] {
            *v = Value(next);
            next += 1;
        }
    }
    let scheduled: Vec<Inst> =
        order.iter().map(|&i| Inst { op: insts[i].op.map(|v| renamed[v.index()]), layer: insts[i].layer }).collect();
    let p = &mut function.program;
    let none = || Messages::none(p.parties);
    let round =
        |(local, end): (usize, usize)| Round { local_end: local as u32, exchange_end: end as u32, messages: none() };
    (p.rounds, p.setup_rounds) = (bounds.into_iter().map(round).collect(), setup_rounds);
    p.insts = scheduled;
    function.rename(|v| Some(renamed[v.index()]));
}

/// Fills in the length of every message, and the bits that are opened.
pub fn measure(p: &mut Program, profile: &Profile) {
    let Ok(typed) = type_program(p) else { return };
    for round in &mut p.rounds {
        for inst in &p.insts[round.local_end as usize..round.exchange_end as usize] {
            let x = &typed.types[inst.op.operands()[0].index()];
            for (from, to, bytes) in profile.messages(&inst.op, x) {
                round.messages.add(p.parties, from, to, bytes);
            }
        }
    }
    p.opened_bits = opened_bits(p, &typed.types);
}

/// Moves deals, masks that a dealer knows, and local work on them to the last round before their first use.
fn postpone_deals(insts: &[Inst], origin: &[usize], after: &mut [u32], rounds: u32) {
    let mut movable = vec![false; insts.len()];
    for (i, inst) in insts.iter().enumerate() {
        let operands = inst.op.operands();
        movable[i] = match inst.op.class() {
            Class::Round => matches!(inst.op, Op::Deal { .. }),
            Class::Local => matches!(inst.op, Op::Beta { .. }) || operands.iter().any(|v| movable[origin[v.index()]]),
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
            let from = &mut latest[origin[v.index()]];
            *from = (*from).min(before);
        }
    }
}

/// Bytes of values and messages alive at once in the party that needs most.
pub fn peak_memory(p: &Program) -> u64 {
    let Ok(typed) = type_program(p) else { return 0 };
    let pieces = |form: Form, party: Party| match form {
        Form::Public => 1,
        Form::Shared => 2,
        Form::Sum(h) | Form::Held(h) => u64::from(h.contains(party)),
    };
    (0..p.parties).map(Party).map(|me| memory::peak(p, &typed, me, |form| pieces(form, me))).max().unwrap_or(0)
}
