//! Removes what no output needs: instructions, and constants that nobody loads.
//!
//! A mask stays while its beta does: what a dealer makes from beta has a meaning only with the masked bits. A state is
//! stored while it is read.
use super::{Function, Step, rewrite};
use ir::{Op, Value};
use std::collections::HashMap;

/// Removes dead instructions and constants.
pub fn remove_unused(f: &mut Function) {
    let insts = &f.program.insts;
    let mut origin: Vec<usize> = Vec::new();
    let mut masks: HashMap<u32, usize> = HashMap::new();
    let mut stores: HashMap<u32, usize> = HashMap::new();
    for (i, inst) in insts.iter().enumerate() {
        origin.extend(std::iter::repeat_n(i, super::results_of(&inst.op)));
        if let Op::Mask { tag, .. } = inst.op {
            masks.insert(tag, i);
        }
        if let Op::Store { index, .. } = inst.op {
            stores.insert(index, i);
        }
    }
    let mut used = vec![false; insts.len()];
    let mut todo: Vec<usize> = (0..insts.len()).filter(|i| matches!(insts[*i].op, Op::Output { .. })).collect();
    while let Some(i) = todo.pop() {
        if std::mem::replace(&mut used[i], true) {
            continue;
        }
        todo.extend(insts[i].op.operands().iter().map(|v: &Value| origin[v.index()]));
        match &insts[i].op {
            Op::Beta { tag, .. } => todo.extend(masks.get(tag)),
            Op::State { index, .. } => todo.extend(stores.get(index)),
            _ => {}
        }
    }
    rewrite(f, |_, i, inst| if used[i] { Step::Op(inst.op.clone()) } else { Step::Gone });
    remove_constants(f);
}

fn remove_constants(f: &mut Function) {
    let p = &mut f.program;
    let mut to: Vec<Option<u32>> = vec![None; p.consts.len()];
    let mut kept = Vec::new();
    for inst in &mut p.insts {
        let Op::Constant { index } = &mut inst.op else { continue };
        let place = &mut to[*index as usize];
        *index = *place.get_or_insert_with(|| {
            kept.push(p.consts[*index as usize].clone());
            kept.len() as u32 - 1
        });
    }
    p.consts = kept;
}
