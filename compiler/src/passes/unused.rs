//! Removes what no output needs: instructions, and constants that nobody loads.
//!
//! A mask stays while its beta does: what a dealer makes from beta has a meaning only with the masked bits. A state is
//! stored while it is read. The result of a layer whose last step goes, because the next layer was folded into it, is found
//! before that step; where the next layer takes its rows apart, in their parts.
use super::{Function, Step, rewrite};
use crate::observed::{Observed, Place};
use ir::verify::type_program;
use ir::{Op, Program, Value};
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
    let stands = |v: Value| used[origin[v.index()]];
    let made_by = |v: Value| &f.program.insts[origin[v.index()]].op;
    let typed = type_program(&f.program);
    let turns = |v: Value, axis: usize| {
        let shape = &typed.as_ref().ok()?.types[v.index()].shape;
        Some(shape[..axis].iter().map(|d| *d as usize).product())
    };
    f.results = f.results.iter().filter_map(|o| found(&f.program, o, &turns, &stands, &made_by)).collect();
    rewrite(f, |_, i, inst| if used[i] { Step::Op(inst.op.clone()) } else { Step::Gone });
    remove_constants(f);
}

/// The same tensor in values that stand: in one, or in the parts that it is joined of.
fn found<'a>(
    p: &Program,
    o: &Observed,
    turns: &impl Fn(Value, usize) -> Option<usize>,
    stands: &impl Fn(Value) -> bool,
    made_by: &impl Fn(Value) -> &'a Op<Value>,
) -> Option<Observed> {
    let [whole] = o.parts[..] else { return Some(o.clone()) };
    let whole = nearest(p, whole, stands, made_by)?;
    let (parts, axis) = match made_by(whole.value) {
        Op::Concat { parts, axis } if !stands(whole.value) => (parts, *axis as usize),
        _ => return Some(Observed { parts: vec![whole], ..o.clone() }),
    };
    let place = |x: &Value| nearest(p, Place { value: *x, ..whole }, stands, made_by);
    let parts = parts.iter().map(place).collect::<Option<Vec<Place>>>()?;
    let turns = turns(whole.value, axis)?;
    parts.iter().all(|p| stands(p.value)).then(|| Observed { parts, turns, ..o.clone() })
}

/// The same elements in a value that stands, or is joined of others: before changes of shape, sums with a number, and
/// conversions to a smaller ring, which holds them all.
fn nearest<'a>(
    p: &Program,
    mut o: Place,
    stands: &impl Fn(Value) -> bool,
    made_by: &impl Fn(Value) -> &'a Op<Value>,
) -> Option<Place> {
    let number = |v: Value| match made_by(v) {
        Op::Constant { index } => match &p.consts[*index as usize] {
            c if c.data.len() == 1 => Some(c.data[0]),
            _ => None,
        },
        _ => None,
    };
    while !stands(o.value) {
        o = match made_by(o.value) {
            Op::Reshape { x, .. } | Op::Cast { x, .. } => Place { value: *x, ..o },
            Op::AddP { x, p } => Place { value: *x, offset: o.offset.checked_add(number(*p)?)? },
            Op::SubP { x, p } => Place { value: *x, offset: o.offset.checked_sub(number(*p)?)? },
            Op::Concat { .. } => break,
            _ => return None,
        };
    }
    Some(o)
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
