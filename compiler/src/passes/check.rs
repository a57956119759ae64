//! Puts the check of all products in front of the openings, and of what is stored for the next call, where a party may lie
//! in a product: one exchange after the other, each hands the values on.
//!
//! ```text
//! v9 = open v8                    v9 = check v8, step=0
//!                                 v10 = check v9, step=1  …
//!                                 v23 = open v22
//! ```
//!
//! All products are behind one of these values, or nothing would need them; so the check comes after all of them.
//!
//! What is recorded until then may be much. Once rounds are known, [`early`] puts in checks of the products so far: their steps
//! travel in rounds that are there anyway, and hand on no value.
use super::{Function, Step, results_of, rewrite};
use ir::check::{End, Plan, Sizes, claims};
use ir::verify::type_program;
use ir::{Inst, Messages, Op, Program, Round, Value};

/// Bytes of a record that are checked as soon as there are so many.
pub const RECORD: u64 = 32 << 20;

/// Adds the steps.
pub fn check(f: &mut Function) {
    let p = &mut f.program;
    let Ok(typed) = type_program(p) else { return };
    let steps = claims(p, &typed).map_or(0, |c| c.steps());
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

/// Puts early checks into a scheduled program, so that a party keeps little more than `most` bytes of records at once. What the
/// last check has left to do is less then, and may take fewer steps.
pub fn early(f: &mut Function, most: u64) {
    let p = &f.program;
    let Ok(typed) = type_program(p) else { return };
    let Some(found) = claims(p, &typed) else { return };
    let setup = p.setup_rounds as usize;
    let is_check = |r: &Round| matches!(p.insts[r.local_end as usize].op, Op::Check { .. });
    let Some(last) = p.rounds.iter().skip(setup).position(is_check).map(|r| r + setup) else { return };
    // The rounds in which steps travel; a check begins when the one before is over, if it is over before the last one.
    let mut rounds: Vec<usize> = Vec::new();
    let mut sizes = Sizes::default();
    let mut todo = found.list.iter().peekable();
    for (r, round) in p.rounds.iter().enumerate().take(last).skip(setup) {
        let plan = Plan::of(&sizes, End::Carried);
        let over = rounds.last().is_none_or(|before| *before < r);
        if over && sizes.record_bytes() >= most && r + plan.steps.len() <= last {
            rounds.extend(r..r + plan.steps.len());
            sizes = Sizes::default();
            sizes.carry(plan.left);
        }
        while let Some(claim) = todo.next_if(|c| c.at < round.exchange_end as usize) {
            claim.add(p, &typed, &mut sizes);
        }
    }
    if rounds.is_empty() {
        return;
    }
    let mut to = Rebuilt::default();
    let layer = p.insts[p.rounds[last].local_end as usize].layer;
    let ends = Plan::of(&sizes, End::Opened).steps.len();
    let old = found.steps();
    let (mut at, mut step) = (0, 0u32);
    // What the last step so far has handed on.
    let mut handed: Vec<Value> = vec![];
    for (r, round) in p.rounds.iter().enumerate() {
        let (local, end) = (round.local_end as usize, round.exchange_end as usize);
        p.insts[at..local].iter().for_each(|inst| to.push(inst));
        at = end;
        let local_end = to.insts.len() as u32;
        if rounds.contains(&r) {
            to.insts.push(Inst { op: Op::Check { parts: vec![], step }, layer });
            step += 1;
        }
        if !(last..last + old).contains(&r) {
            p.insts[local..end].iter().for_each(|inst| to.push(inst));
            to.end(p, local_end);
            continue;
        }
        // A step of the last check: there are as many as it takes now.
        if let Op::Check { parts, .. } = &p.insts[local].op
            && handed.is_empty()
        {
            handed = parts.iter().map(|v| to.renamed[v.index()]).collect();
        }
        let more = if r + 1 < last + old { usize::from(r - last < ends) } else { ends.saturating_sub(r - last) };
        for _ in 0..more {
            let local_end = to.insts.len() as u32;
            to.insts.push(Inst { op: Op::Check { parts: handed.clone(), step }, layer });
            handed.iter_mut().for_each(|v| *v = to.fresh());
            to.end(p, local_end);
            step += 1;
        }
        // Who used what this step handed on uses what the last one does.
        to.renamed.extend_from_slice(&handed);
    }
    p.insts[at..].iter().for_each(|inst| to.push(inst));
    let Rebuilt { insts, rounds, renamed, .. } = to;
    f.program.insts = insts;
    f.program.rounds = rounds;
    f.rename(|v| Some(renamed[v.index()]));
}

/// A scheduled program that is written anew.
#[derive(Default)]
struct Rebuilt {
    insts: Vec<Inst>,
    rounds: Vec<Round>,
    /// Where the values of the old program are.
    renamed: Vec<Value>,
    next: u32,
}

impl Rebuilt {
    fn fresh(&mut self) -> Value {
        self.next += 1;
        Value(self.next - 1)
    }

    /// An instruction of the old program.
    fn push(&mut self, inst: &Inst) {
        let op = inst.op.map(|v| self.renamed[v.index()]);
        for _ in 0..results_of(&op) {
            let v = self.fresh();
            self.renamed.push(v);
        }
        self.insts.push(Inst { op, layer: inst.layer });
    }

    /// Ends a round.
    fn end(&mut self, p: &Program, local_end: u32) {
        self.rounds.push(Round {
            local_end,
            exchange_end: self.insts.len() as u32,
            messages: Messages::none(p.parties),
        });
    }
}
