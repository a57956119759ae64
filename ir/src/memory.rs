//! How much memory a party needs to run a program: values alive at once, and the messages of a round.
use crate::check::claims;
use crate::ops::Op;
use crate::program::{Inst, Messages, Program, Value};
use crate::types::{Domain, Form, Party, Type};
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
/// Output pixels up to which weights are not put into panels.
const FEW_ROWS: usize = 3;

/// Bytes that an instruction takes while it runs. A product of sharings: the sum of both pieces of its second operand, and
/// where that is multiplied in panels, both of these once more; and a tile of the first. A product with what is held, and a
/// split where one party learns it: numbers of a ring in the words of the other side.
fn scratch(p: &Program, i: usize, typed: &Typed, pieces: &impl Fn(Form) -> u64) -> u64 {
    let ty = |v: &Value| &typed.types[v.index()];
    let size = |v: &Value| ty(v).memory_bytes();
    let ring = |v: &Value| matches!(ty(v).domain, Domain::Ring(_));
    let mine = |t: &Type| pieces(t.form) * t.memory_bytes();
    match &p.insts[i].op {
        Op::Conv2dSs { w, .. } => {
            let element = size(w) / ty(w).len().max(1) as u64;
            let out = &typed.types[typed.results(i).start];
            let rows = out.len() / out.shape.last().map_or(1, |c| *c as usize).max(1);
            if rows <= FEW_ROWS { size(w) } else { 3 * size(w) + TILE * element }
        }
        // Weights in the words of the ring, once more in panels, and a tile.
        Op::Conv2dP { x, w, .. } => {
            let element = size(x) / ty(x).len().max(1) as u64;
            2 * ty(w).len() as u64 * element + TILE * element
        }
        Op::DepthwiseSs { w, .. } | Op::DepthwiseSh { w, .. } | Op::DepthwiseP { w, .. } => size(w),
        Op::MulSs { b, .. } => size(b),
        Op::MulSh { a, .. } if ring(a) => mine(&typed.types[typed.results(i).start]),
        Op::Split { x, .. } if ring(x) => pieces(typed.types[typed.results(i).start].form) * size(x),
        _ => 0,
    }
}

/// The operand whose memory the result of `op` takes: one that `dies` here, as long as the result.
pub fn in_place<'a>(op: &Op<Value>, dies: impl Fn(Value) -> bool, ty: impl Fn(Value) -> &'a Type) -> Option<Value> {
    let ring = |v: &Value| matches!(ty(*v).domain, Domain::Ring(_));
    let x = match op {
        Op::Add { a, b } | Op::Sub { a, b } | Op::MulHh { a, b } if a != b && ty(*a).shape == ty(*b).shape => {
            if dies(*a) { a } else { b }
        }
        Op::AddP { x, .. } | Op::SubP { x, .. } | Op::MulP { x, .. } if ring(x) => x,
        Op::Not { x } | Op::SextH { x, .. } | Op::AlignHp { x, .. } | Op::SarHp { x, .. } => x,
        Op::KeepH { x, bit } if x != bit => x,
        _ => return None,
    };
    dies(*x).then_some(*x)
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
    let checks = claims(p, typed).map(|c| c.memory_bytes(p, typed, &pieces));
    let mut now = p.insts.iter().map(stored).fold(0, u64::saturating_add);
    let mut most = now;
    for (i, dead) in dead_after(p, typed).iter().enumerate() {
        now = typed.results(i).map(size).fold(now, u64::saturating_add);
        let own = in_place(&p.insts[i].op, |v| dead.contains(&(v.index() as u32)), |v| &typed.types[v.index()]);
        let once = own.map_or(0, |v| size(v.index()));
        let check = checks.as_ref().map_or(0, |bytes| bytes[i]);
        let besides = scratch(p, i, typed, &pieces).saturating_add(check);
        most = most.max(now.saturating_add(besides).saturating_sub(once));
        now = dead.iter().map(|v| size(*v as usize)).fold(now, u64::saturating_sub);
    }
    most.saturating_add(buffers).saturating_add(ENTRY * typed.types.len() as u64)
}
