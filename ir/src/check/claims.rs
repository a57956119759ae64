//! What a program of a checked protocol claims: each sharing of summands is a sum of products, and all of them are checked
//! before anything is opened (rules V16 and V17).
//!
//! In such a protocol a party can lie in the messages of products and nowhere else, so every message must be one of these: an
//! owner shares what it holds; a sum of products is shared; a step of the check; an opening. Summands stay in sight: they are
//! made by products, added, and shared in their own ring.
use super::{Plan, Sizes};
use crate::ops::{Class, Op};
use crate::program::{Program, Value};
use crate::types::{Domain, Form, Party};
use crate::verify::Typed;
use std::collections::BTreeMap;

/// Most products in one sum.
const MOST: usize = 128;
/// Most bits and numbers that are multiplied in one inference: far more than any machine holds.
const MOST_FACTORS: u64 = 1 << 44;

/// A sharing of summands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The instruction that shares them.
    pub at: usize,
    /// The instructions that make the products: one convolution, or products of one length.
    pub products: Vec<usize>,
}

/// All claims of a program.
#[derive(Clone, Debug)]
pub struct Claims {
    /// In the order of the program.
    pub list: Vec<Claim>,
    /// How much there is to check.
    pub sizes: Sizes,
    /// The exchanges of the check.
    pub plan: Plan,
    /// Whether there was more to check than fits; the rest is left out.
    overflows: bool,
}

impl Claims {
    /// Sender, receiver and bytes of each message of a step; none if there is no such step.
    pub fn messages(&self, step: u32) -> Vec<(Party, Party, u64)> {
        let steps = self.plan.steps.get(step as usize).into_iter();
        steps.flat_map(|step| self.plan.messages(*step)).map(|m| (m.from, m.to, m.bytes)).collect()
    }

    /// Bytes that the check takes at a party beside the values of the program: its own, and the pieces of convolutions.
    pub fn memory_bytes(&self, p: &Program, typed: &Typed, pieces: impl Fn(Form) -> u64) -> u64 {
        let size = |v: usize| pieces(typed.types[v].form).saturating_mul(typed.types[v].memory_bytes());
        let convolutions = self.list.iter().filter(|c| convolves(&p.insts[c.products[0]].op));
        let kept = convolutions.map(|c| {
            let operands = p.insts[c.products[0]].op.operands();
            operands.iter().map(|v| size(v.index())).chain(typed.results(c.at).map(size)).fold(0, u64::saturating_add)
        });
        kept.fold(self.sizes.memory_bytes(), u64::saturating_add)
    }
}

fn convolves(op: &Op<Value>) -> bool {
    matches!(op, Op::Conv2dSs { .. } | Op::DepthwiseSs { .. })
}

/// The products that are added up in `x`.
fn products(p: &Program, typed: &Typed, x: Value) -> Result<Vec<usize>, String> {
    let (mut found, mut todo, mut seen) = (Vec::new(), vec![x], 0);
    while let Some(v) = todo.pop() {
        seen += 1;
        if seen > 2 * MOST {
            return Err(format!("{x} is a sum of more than {MOST} products"));
        }
        let i = typed.origin[v.index()] as usize;
        match &p.insts[i].op {
            Op::Add { a, b } => todo.extend([*b, *a]),
            Op::MulSs { .. } | Op::Conv2dSs { .. } | Op::DepthwiseSs { .. } => found.push(i),
            other => return Err(format!("{} is no product", other.mnemonic())),
        }
    }
    let len = |v: usize| typed.types[v].len();
    if found.iter().any(|i| len(typed.results(*i).start) != len(x.index())) {
        return Err(format!("{x} is a sum of products of other lengths"));
    }
    if found.len() > 1 && found.iter().any(|i| convolves(&p.insts[*i].op)) {
        return Err(format!("{x} is a convolution and something else"));
    }
    Ok(found)
}

/// The claims of a program, none where its protocol has no check. What breaks rule V16 is left out.
pub fn claims(p: &Program, typed: &Typed) -> Option<Claims> {
    if !p.scheme().checked {
        return None;
    }
    let (mut list, mut sizes, mut factors) = (Vec::new(), Sizes::default(), 0u64);
    for (at, inst) in p.insts.iter().enumerate() {
        let Op::Reshare { x, .. } = inst.op else { continue };
        if !matches!(typed.types[x.index()].form, Form::Sum(_)) {
            continue;
        }
        let Ok(products) = products(p, typed, x) else { continue };
        let t = &typed.types[typed.results(at).start];
        let operands = products.iter().flat_map(|i| p.insts[*i].op.operands());
        let count = |v: Value| typed.types[v.index()].len() as u64 * u64::from(t.domain.width());
        let more = operands.map(count).fold(factors, u64::saturating_add);
        if more > MOST_FACTORS {
            factors = u64::MAX;
            continue;
        }
        factors = more;
        match (&p.insts[products[0]].op, t.domain) {
            (Op::Conv2dSs { x, window, .. } | Op::DepthwiseSs { x, window, .. }, Domain::Ring(k)) => {
                let depth = (window.kernel[0] * window.kernel[1] * typed.types[x.index()].shape[3]) as usize;
                let columns = t.shape.last().map_or(1, |n| *n as usize).max(1);
                sizes.linear([depth, t.len() / columns, columns], k);
            }
            _ => sizes.sum(t.domain, t.len(), products.len()),
        }
        list.push(Claim { at, products });
    }
    let plan = Plan::of(&sizes);
    Some(Claims { list, sizes, plan, overflows: factors == u64::MAX })
}

/// Rules V16 and V17; `report` is given the rule, the instruction and what is wrong.
pub fn rule(p: &Program, typed: &Typed, round_of: &[usize], report: &mut impl FnMut(u8, usize, String)) {
    let Some(claims) = claims(p, typed) else { return };
    let form = |v: &Value| typed.types[v.index()].form;
    let alone = |v: &Value| matches!(form(v), Form::Held(h) if h.count() == 1);
    let setup = p.setup_end() as usize;
    if claims.overflows {
        report(16, 0, "multiplies more than can be checked".into());
    }
    // What an owner holds, as long as it is not opened, is handed over once.
    let mut opened = vec![false; typed.types.len()];
    let mut used = vec![false; typed.types.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let after = matches!(inst.op, Op::Open { .. }) || operands.iter().any(|v| opened[v.index()]);
        typed.results(i).for_each(|v| opened[v] = after);
        for v in operands.iter().filter(|v| alone(v) && !opened[v.index()]) {
            if std::mem::replace(&mut used[v.index()], true) {
                report(16, i, format!("uses {v} once more, which its owner hands over once"));
            }
        }
        let makes = typed.results(i).any(|v| matches!(typed.types[v].form, Form::Sum(_)));
        let product = matches!(inst.op, Op::MulSs { .. } | Op::Conv2dSs { .. } | Op::DepthwiseSs { .. });
        let takes = operands.iter().find(|v| matches!(form(v), Form::Sum(_)));
        match (&inst.op, takes) {
            (Op::Reshare { x, bits }, Some(_)) => {
                if i < setup {
                    report(16, i, "a product during set-up".into());
                }
                if matches!(typed.types[x.index()].domain, Domain::Ring(k) if k != *bits) {
                    report(16, i, format!("shares {x} in another ring"));
                }
                if let Err(what) = products(p, typed, *x) {
                    report(16, i, what);
                }
            }
            (Op::Reshare { x, .. }, None) if !alone(x) => report(16, i, format!("{x} is held by more than its owner")),
            (Op::Add { .. }, Some(_)) => {}
            (op, Some(x)) => report(16, i, format!("{} on the summands {x}, which are only added", op.mnemonic())),
            (op, None) if makes && !product => report(16, i, format!("{} makes summands", op.mnemonic())),
            _ => {}
        }
    }
    check_chain(p, typed, &claims, round_of, report);
}

/// Rule V17.
fn check_chain(
    p: &Program,
    typed: &Typed,
    claims: &Claims,
    round_of: &[usize],
    report: &mut impl FnMut(u8, usize, String),
) {
    let steps = claims.plan.steps.len();
    let mut busy: BTreeMap<usize, usize> = BTreeMap::new();
    for i in (0..p.insts.len()).filter(|i| p.insts[*i].op.class() == Class::Round) {
        *busy.entry(round_of[i]).or_default() += 1;
    }
    let mut done: Vec<usize> = Vec::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let checked = |v: &Value| {
            let origin = typed.origin[v.index()] as usize;
            done.len() == steps && done.last() == Some(&origin)
        };
        match &inst.op {
            Op::Check { parts, step } => {
                if *step as usize != done.len() || done.len() >= steps {
                    report(17, i, format!("step {step} of a check of {steps} steps stands in another place"));
                }
                if let Some(before) = done.last() {
                    let results = typed.results(*before);
                    if !parts.iter().map(|v| v.index()).eq(results) {
                        report(17, i, "a step of the check hands on something else".into());
                    }
                }
                if busy.get(&round_of[i]) != Some(&1) {
                    report(17, i, "another exchange in the round of a step of the check".into());
                }
                done.push(i);
            }
            Op::Open { x, .. } | Op::Store { x, .. } if steps > 0 && !checked(x) => {
                report(17, i, format!("{x} has not come through the whole check"));
            }
            Op::Reshare { .. } if !done.is_empty() => report(17, i, "shares something behind the check".into()),
            _ => {}
        }
    }
    if done.len() > steps {
        report(17, p.insts.len(), format!("{} steps of a check of {steps}", done.len()));
    }
}
