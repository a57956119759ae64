//! Rule V12: how many bits a held integer has, and that nothing reads bits above them.
//!
//! What a split or a join of a ring of k bits leaves at a party is a number below 2^k, kept in 64 bits so
//! that products do not wrap. Bits k and above say nothing about the shared number: a comparison that reads them compares
//! with a sign that is not there. After arithmetic over the integers all 64 bits count.
use crate::ops::Op;
use crate::program::{Program, Value};
use crate::types::Domain;
use crate::verify::Typed;

/// Bits of an integer of which nothing is known.
pub const ALL: u8 = 64;

/// Bits that can be set in the results of an instruction, from those of its operands.
pub fn made(op: &Op<Value>, of: impl Fn(&Value) -> u8, domain: impl Fn(&Value) -> Domain) -> u8 {
    match op {
        Op::Split { x, .. }
        | Op::SplitShared { x, .. }
        | Op::Join { x }
        | Op::Operand { x, .. }
        | Op::NumberH { x } => domain(x).width(),
        Op::AlignHp { to, .. } => *to,
        Op::SarHp { x, .. }
        | Op::KeepH { x, .. }
        | Op::Reshape { x, .. }
        | Op::Expand { x, .. }
        | Op::Pad { x, .. }
        | Op::Slice { x, .. }
        | Op::View { x, .. }
        | Op::Gather { x, .. } => of(x),
        Op::Concat { parts, .. } => parts.iter().map(of).max().unwrap_or(ALL),
        _ => ALL,
    }
}

/// The operand of which an op reads single bits, and the first bit above them.
pub fn read(op: &Op<Value>) -> Option<(Value, u32)> {
    match op {
        Op::PlanesH { x, lo, width } => Some((*x, u32::from(*lo) + u32::from(*width))),
        Op::SextH { x, bits } => Some((*x, u32::from(*bits))),
        _ => None,
    }
}

/// Calls `report` with the instruction and what is wrong.
pub(crate) fn check(p: &Program, typed: &Typed, mut report: impl FnMut(usize, String)) {
    let mut known = vec![ALL; typed.types.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        if let Some((x, end)) = read(&inst.op).filter(|(x, end)| *end > u32::from(known[x.index()])) {
            let (name, last, ring) = (inst.op.mnemonic(), end - 1, known[x.index()]);
            report(i, format!("{name}: reads bit {last} of {x}, which has {ring} bits"));
        }
        let own = made(&inst.op, |v| known[v.index()], |v| typed.types[v.index()].domain);
        typed.results(i).for_each(|v| known[v] = own.min(ALL));
    }
}
