//! How much memory a party needs to run a program: values alive at once, and the messages of a round.
use crate::ops::{Class, Op};
use crate::program::{Inst, Program};
use crate::types::{Form, Party};
use crate::verify::{Typed, last_uses};

/// Values that nothing uses after each instruction.
pub fn dead_after(p: &Program, typed: &Typed) -> Vec<Vec<u32>> {
    let mut dead = vec![vec![]; p.insts.len()];
    for (v, i) in last_uses(p, typed).into_iter().enumerate() {
        if i != u32::MAX {
            dead[i as usize].push(v as u32);
        }
    }
    dead
}

/// Bytes of values and messages alive at once in party `me`, who has `pieces` pieces of a value. What one instruction
/// needs for itself while it runs is not counted. What is stored for the next call is counted all along.
pub fn peak(p: &Program, typed: &Typed, me: Party, pieces: impl Fn(Form) -> u64) -> u64 {
    let size = |v: usize| pieces(typed.types[v].form).saturating_mul(typed.types[v].memory_bytes());
    let buffers = |i: usize| {
        let round = p.rounds.get(p.rounds.partition_point(|r| r.exchange_end as usize <= i));
        let both = |q| round.map_or(0, |r| r.messages.get(p.parties, me, q) + r.messages.get(p.parties, q, me));
        (0..p.parties).map(Party).map(both).fold(0, u64::saturating_add)
    };
    let stored = |inst: &Inst| match inst.op {
        Op::Store { x, .. } => size(x.index()),
        _ => 0,
    };
    let mut now = p.insts.iter().map(stored).fold(0, u64::saturating_add);
    let mut most = now;
    for (i, dead) in dead_after(p, typed).iter().enumerate() {
        now = typed.results(i).map(size).fold(now, u64::saturating_add);
        let buffers = if p.insts[i].op.class() == Class::Round { buffers(i) } else { 0 };
        most = most.max(now.saturating_add(buffers));
        now = dead.iter().map(|v| size(*v as usize)).fold(now, u64::saturating_sub);
    }
    most
}
