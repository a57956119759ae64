//! How much memory a party needs to run a program: values alive at once, and the messages of a round.
use crate::check::claims;
use crate::ops::Op;
use crate::program::{Inst, Messages, Program, Value};
use crate::types::{Domain, Form, Party, Type};
use crate::verify::{Typed, last_uses};

/// The order in which a party runs a program: each round's instructions, an exchange where its message is made. Where nobody vouches
/// for messages as a whole, that is as soon as its operand is there, so that it can travel while the rest is computed.
pub fn order(p: &Program, typed: &Typed) -> Vec<u32> {
    let all = 0..p.insts.len() as u32;
    if !p.scheme().roles {
        return all.collect();
    }
    let mut order = Vec::with_capacity(p.insts.len());
    for round in &p.rounds {
        let mut local = order.len() as u32..round.local_end;
        for i in round.local_end..round.exchange_end {
            let made = p.insts[i as usize].op.operands().iter().map(|v| typed.origin[v.index()]).max().unwrap_or(0);
            order.extend(local.start..local.end.min(made + 1).max(local.start));
            local.start = local.end.min(made + 1).max(local.start);
            order.push(i);
        }
        order.extend(local);
    }
    order.extend(order.len() as u32..all.end);
    order
}

/// Values that nothing uses after each instruction, where they run in this order.
pub fn dead_after(p: &Program, typed: &Typed, order: &[u32]) -> Vec<Vec<u32>> {
    let mut at = vec![0; order.len()];
    order.iter().zip(0u32..).for_each(|(i, place)| at[*i as usize] = place);
    // What is kept for later inferences, or until products are recorded, is not used sooner for that.
    let mut last: Vec<Option<u32>> = last_uses(p, typed).iter().map(|i| at.get(*i as usize).copied()).collect();
    for (i, inst) in p.insts.iter().enumerate() {
        for v in inst.op.operands() {
            last[v.index()] = last[v.index()].map(|place| place.max(at[i]));
        }
    }
    let mut dead = vec![vec![]; p.insts.len()];
    for (v, place) in (0u32..).zip(last) {
        if let Some(place) = place {
            dead[order[place as usize] as usize].push(v);
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
/// messages. A message to or from each other party has a buffer that fits the longest and stays; where messages of a round are
/// made while those of the round before still come in, there are two to each. So does what is stored for the next call.
pub fn peak(p: &Program, typed: &Typed, me: Party, pieces: impl Fn(Form) -> u64) -> u64 {
    let size = |v: usize| pieces(typed.types[v].form).saturating_mul(typed.types[v].memory_bytes());
    let longest = |from: usize, step: usize, length: &dyn Fn(&Messages) -> u64| {
        p.rounds.iter().skip(from).step_by(step).map(|r| length(&r.messages)).max().unwrap_or(0)
    };
    let two = if p.scheme().roles { 2 } else { 1 };
    let both = |q| {
        let out = (0..two).map(|from| longest(from, two, &|m| m.get(p.parties, me, q)));
        out.chain([longest(0, 1, &|m| m.get(p.parties, q, me))]).fold(0, u64::saturating_add)
    };
    let buffers = (0..p.parties).map(Party).map(both).fold(0, u64::saturating_add);
    let stored = |inst: &Inst| match inst.op {
        Op::Store { x, .. } => size(x.index()),
        _ => 0,
    };
    let checks = claims(p, typed).map(|c| c.memory_bytes(p, typed, &pieces));
    let mut now = p.insts.iter().map(stored).fold(0, u64::saturating_add);
    let mut most = now;
    let order = order(p, typed);
    let dead_after = dead_after(p, typed, &order);
    for i in order.into_iter().map(|i| i as usize) {
        let dead = &dead_after[i];
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
