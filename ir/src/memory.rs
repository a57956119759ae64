//! How much memory a party needs to run a program: values alive at once, and the messages of a round.
use crate::check::claims;
use crate::ops::Op;
use crate::program::{Inst, Messages, Program, Value};
use crate::types::{Domain, Form, Party};
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

/// What a party keeps for each value of a program, whether it is there or not.
const ENTRY: u64 = 24;
/// Elements of the tile that a convolution works on.
const TILE: u64 = 48 * 1024;

/// Bytes that an instruction takes while it runs. A product of sharings: the sum of both pieces of its second operand, and
/// where that is multiplied in panels, both of these once more; and a tile of the first. A deal: at the dealer, what is
/// sent, and its pad in a ring. Another factor or pad: as much as the result.
fn scratch(p: &Program, i: usize, typed: &Typed, pieces: &impl Fn(Form) -> u64) -> u64 {
    let size = |v: &Value| typed.types[v.index()].memory_bytes();
    let mine = |v: usize| pieces(typed.types[v].form) * typed.types[v].memory_bytes();
    match &p.insts[i].op {
        Op::Deal { x, .. } => {
            let (x, result) = (&typed.types[x.index()], typed.results(i).start);
            let copies = if matches!(x.domain, Domain::Bits(_)) { 1 } else { 2 };
            copies * pieces(x.form) * typed.types[result].memory_bytes()
        }
        Op::Conv2dSs { w, .. } => {
            let element = size(w) / typed.types[w.index()].len().max(1) as u64;
            3 * size(w) + TILE * element
        }
        Op::DepthwiseSs { w, .. } => size(w),
        Op::MulSs { b, .. } => size(b),
        Op::MulSh { .. } | Op::Beta { .. } | Op::Split { .. } => typed.results(i).map(mine).sum(),
        _ => 0,
    }
}

/// Bytes that party `me` needs at once, who has `pieces` pieces of a value: values, what a product takes besides, and
/// messages. A message to or from each other party has a buffer that fits the longest and stays. So does what is stored for
/// the next call.
pub fn peak(p: &Program, typed: &Typed, me: Party, pieces: impl Fn(Form) -> u64) -> u64 {
    let size = |v: usize| pieces(typed.types[v].form).saturating_mul(typed.types[v].memory_bytes());
    let longest = |length: &dyn Fn(&Messages) -> u64| p.rounds.iter().map(|r| length(&r.messages)).max().unwrap_or(0);
    let both = |q| longest(&|m| m.get(p.parties, me, q)).saturating_add(longest(&|m| m.get(p.parties, q, me)));
    let buffers = (0..p.parties).map(Party).map(both).fold(0, u64::saturating_add);
    let stored = |inst: &Inst| match inst.op {
        Op::Store { x, .. } => size(x.index()),
        _ => 0,
    };
    let mut now = p.insts.iter().map(stored).fold(0, u64::saturating_add);
    let mut most = now;
    for (i, dead) in dead_after(p, typed).iter().enumerate() {
        now = typed.results(i).map(size).fold(now, u64::saturating_add);
        most = most.max(now.saturating_add(scratch(p, i, typed, &pieces)));
        now = dead.iter().map(|v| size(*v as usize)).fold(now, u64::saturating_sub);
    }
    let check = claims(p, typed).map_or(0, |c| c.memory_bytes(p, typed, &pieces));
    most.saturating_add(check).saturating_add(buffers).saturating_add(ENTRY * typed.types.len() as u64)
}
