//! Puts the check of all products in front of the openings, and of what is stored for the next call, where a party may lie
//! in a product: one exchange after the other, each hands the values on.
//!
//!     v9 = open v8                    v9 = check v8, step=0
//!                                     v10 = check v9, step=1  …
//!                                     v23 = open v22
//!
//! All products are behind one of these values, or nothing would need them; so the check comes after all of them.
use super::{Function, Step, rewrite};
use ir::check::claims;
use ir::verify::type_program;
use ir::{Op, Value};

/// Adds the steps.
pub fn check(f: &mut Function) {
    let p = &mut f.program;
    let Ok(typed) = type_program(p) else { return };
    let steps = claims(p, &typed).map_or(0, |c| c.plan.steps.len());
    if steps == 0 {
        return;
    }
    // Openings come last: whatever needs an opened value is behind it in any case.
    let mut late = vec![false; typed.types.len()];
    let mut ends = vec![false; p.insts.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        let last = matches!(inst.op, Op::Open { .. } | Op::Store { .. });
        ends[i] = last || inst.op.operands().iter().any(|v| late[v.index()]);
        typed.results(i).for_each(|v| late[v] = ends[i]);
    }
    let order: Vec<usize> =
        (0..p.insts.len()).filter(|i| !ends[*i]).chain((0..p.insts.len()).filter(|i| ends[*i])).collect();
    let mut renamed = vec![Value(0); typed.types.len()];
    let mut next = 0;
    let mut insts = Vec::with_capacity(p.insts.len());
    for i in order {
        for v in typed.results(i) {
            renamed[v] = Value(next);
            next += 1;
        }
        let inst = &p.insts[i];
        insts.push(ir::Inst { op: inst.op.map(|v| renamed[v.index()]), layer: inst.layer });
    }
    p.insts = insts;
    f.rename(|v| Some(renamed[v.index()]));

    let taken = |op: &Op<Value>| match op {
        Op::Open { x, .. } | Op::Store { x, .. } => Some(*x),
        _ => None,
    };
    let mut parts: Vec<Value> = Vec::new();
    for x in f.program.insts.iter().filter_map(|inst| taken(&inst.op)) {
        if !parts.contains(&x) {
            parts.push(x);
        }
    }
    let mut checked: Vec<Value> = Vec::new();
    rewrite(f, |b, _, inst| {
        let Some(x) = taken(&inst.op) else { return Step::Op(inst.op.clone()) };
        if checked.is_empty() {
            checked = parts.clone();
            for step in 0..steps as u32 {
                checked = b.emit(Op::Check { parts: checked.clone(), step });
            }
        }
        let place = parts.iter().position(|v| *v == x).expect("all were listed");
        Step::Op(match &inst.op {
            Op::Open { to, .. } => Op::Open { x: checked[place], to: *to },
            Op::Store { index, .. } => Op::Store { x: checked[place], index: *index },
            other => other.clone(),
        })
    });
}
