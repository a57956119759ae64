//! What a program of a checked protocol claims: each sharing of summands is a sum of products, and all of them are checked
//! before anything is opened (rules V16 and V17).
//!
//! A `check` that hands on no value begins an early check, of all claims of earlier rounds that no check has had. One that hands
//! on values begins the last check.
//!
//! In such a protocol a party can lie in the messages of products and nowhere else, so every message must be one of these: an
//! owner shares what it holds; a sum of products is shared; a step of the check; an opening. Summands stay in sight: they are
//! made by products, added, and shared in their own ring.
use super::{BYTES, End, Plan, Sizes, Step};
use crate::ops::{Class, Op};
use crate::program::{Program, Value};
use crate::types::{Domain, Form, Party};
use crate::verify::Typed;
use std::collections::BTreeMap;
use std::ops::Range;

/// Most products in one sum.
const MOST: usize = 128;
/// Most bits and numbers that are multiplied in one inference: far more than any machine holds.
const MOST_FACTORS: u64 = 1 << 44;
/// 2^64 times the largest probability with which a wrong product may escape all checks: 2^-40.
const MOST_ESCAPES: u64 = 1 << 24;

/// A sharing of summands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The instruction that shares them.
    pub at: usize,
    /// The instructions that make the products: one convolution, or products of one length.
    pub products: Vec<usize>,
}

impl Claim {
    /// Adds what it takes to check it.
    pub fn add(&self, p: &Program, typed: &Typed, sizes: &mut Sizes) {
        let t = &typed.types[typed.results(self.at).start];
        match (&p.insts[self.products[0]].op, t.domain) {
            (Op::Conv2dSs { x, window, .. } | Op::DepthwiseSs { x, window, .. }, Domain::Ring(k)) => {
                let depth = (window.kernel[0] * window.kernel[1] * typed.types[x.index()].shape[3]) as usize;
                let columns = t.shape.last().map_or(1, |n| *n as usize).max(1);
                sizes.linear([depth, t.len() / columns, columns], k);
            }
            _ => sizes.sum(t.domain, t.len(), self.products.len()),
        }
    }
}

/// Claims that are checked at once.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Their places in the list.
    pub claims: Range<usize>,
    /// How much there is to check.
    pub sizes: Sizes,
    /// The exchanges of the check.
    pub plan: Plan,
    /// How it ends: all but the last leave something to the next.
    pub end: End,
    /// Number of its first step.
    pub first: u32,
    /// The instructions of its steps, as far as they stand in the program.
    pub steps: Vec<usize>,
}

/// All claims of a program.
#[derive(Clone, Debug)]
pub struct Claims {
    /// In the order of the program.
    pub list: Vec<Claim>,
    /// In the order in which they are checked; never empty.
    pub chunks: Vec<Chunk>,
    /// Whether there was more to check than fits; the rest is left out.
    overflows: bool,
}

impl Claims {
    /// Steps of all checks.
    pub fn steps(&self) -> usize {
        self.chunks.iter().map(|c| c.plan.steps.len()).sum()
    }

    /// The check that a step belongs to, and what it is.
    pub fn step(&self, step: u32) -> Option<(&Chunk, Step)> {
        let chunk = self.chunks.iter().rfind(|c| c.first <= step && !c.plan.steps.is_empty())?;
        Some((chunk, *chunk.plan.steps.get((step - chunk.first) as usize)?))
    }

    /// Sender, receiver and bytes of each message of a step; none if there is no such step.
    pub fn messages(&self, step: u32) -> Vec<(Party, Party, u64)> {
        let messages = self.step(step).map_or(vec![], |(chunk, step)| chunk.plan.messages(step));
        messages.into_iter().map(|m| (m.from, m.to, m.bytes)).collect()
    }

    /// What a wrong claim escapes with is at most this times 2^-64: it must escape all checks from its own on.
    pub fn escapes(&self) -> u64 {
        self.chunks.iter().map(|c| c.plan.escapes()).fold(0, u64::saturating_add)
    }

    /// Bytes that checks take at a party at each instruction, beside the values of the program: their own, and the pieces of
    /// convolutions.
    pub fn memory_bytes(&self, p: &Program, typed: &Typed, pieces: impl Fn(Form) -> u64) -> Vec<u64> {
        let size = |v: usize| pieces(typed.types[v].form).saturating_mul(typed.types[v].memory_bytes());
        let convolution = |c: &Claim| {
            let operands = p.insts[c.products[0]].op.operands();
            operands.iter().map(|v| size(v.index())).chain(typed.results(c.at).map(size)).fold(0, u64::saturating_add)
        };
        let mut bytes = vec![0u64; p.insts.len() + 1];
        let mut add = |at: Range<usize>, more: u64| at.for_each(|i| bytes[i] = bytes[i].saturating_add(more));
        let mut begin = p.setup_end() as usize;
        for chunk in &self.chunks {
            let claims = self.list[chunk.claims.clone()].iter();
            let kept = claims.filter(|c| convolves(&p.insts[c.products[0]].op)).map(convolution);
            let kept = kept.fold(0, u64::saturating_add);
            let checked = chunk.steps.first().map_or(p.insts.len(), |i| *i);
            let end = chunk.steps.last().map_or(p.insts.len(), |i| i + 1);
            add(begin.min(checked)..checked, chunk.sizes.record_bytes().saturating_add(kept));
            add(checked..end, chunk.sizes.memory_bytes().saturating_add(kept));
            let left = chunk.plan.left.iter().zip(BYTES).map(|(left, bytes)| (4 * left * bytes) as u64).sum();
            let next = self.chunks.iter().find(|c| c.first > chunk.first).and_then(|c| c.steps.first());
            add(end..next.map_or(end, |i| *i).max(end), left);
            begin = checked;
        }
        bytes
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

/// What is found on the way through a program.
#[derive(Default)]
struct Finder {
    list: Vec<Claim>,
    chunks: Vec<Chunk>,
    /// What no check has had yet.
    sizes: Sizes,
    /// Steps to come of the check under way.
    to_come: usize,
}

impl Finder {
    fn over(&self) -> bool {
        self.chunks.last().is_some_and(|c| c.end == End::Opened)
    }

    /// Begins a check of all that no other has had.
    fn begin(&mut self, end: End) {
        let mut sizes = std::mem::take(&mut self.sizes);
        let (from, first) = self.chunks.last().map_or((0, 0), |before| {
            sizes.carry(before.plan.left);
            (before.claims.end, before.first + before.plan.steps.len() as u32)
        });
        let plan = Plan::of(&sizes, end);
        self.to_come = plan.steps.len();
        self.chunks.push(Chunk { claims: from..self.list.len(), sizes, plan, end, first, steps: vec![] });
    }

    fn step(&mut self, at: usize, hands_on: bool) {
        if self.to_come == 0 {
            // What follows the last check, or stands where there is nothing to check, breaks rule V17.
            if self.over() || self.sizes == Sizes::default() && !hands_on {
                return;
            }
            self.begin(if hands_on { End::Opened } else { End::Carried });
        }
        self.to_come = self.to_come.saturating_sub(1);
        self.chunks.last_mut().expect("just begun").steps.push(at);
    }
}

/// The claims of a program, none where its protocol has no check. What breaks rule V16 is left out.
pub fn claims(p: &Program, typed: &Typed) -> Option<Claims> {
    if !p.scheme().checked {
        return None;
    }
    let (mut found, mut factors) = (Finder::default(), 0u64);
    for (at, inst) in p.insts.iter().enumerate() {
        let x = match &inst.op {
            Op::Reshare { x, .. } if matches!(typed.types[x.index()].form, Form::Sum(_)) => *x,
            Op::Check { parts, .. } => {
                found.step(at, !parts.is_empty());
                continue;
            }
            _ => continue,
        };
        let Ok(products) = products(p, typed, x) else { continue };
        let width = typed.types[typed.results(at).start].domain.width();
        let operands = products.iter().flat_map(|i| p.insts[*i].op.operands());
        let count = |v: Value| typed.types[v.index()].len() as u64 * u64::from(width);
        let more = operands.map(count).fold(factors, u64::saturating_add);
        if more > MOST_FACTORS {
            factors = u64::MAX;
            continue;
        }
        factors = more;
        let claim = Claim { at, products };
        claim.add(p, typed, &mut found.sizes);
        found.list.push(claim);
    }
    if !found.over() {
        found.begin(End::Opened);
    }
    Some(Claims { list: found.list, chunks: found.chunks, overflows: factors == u64::MAX })
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
    let steps = claims.steps();
    if claims.escapes() > MOST_ESCAPES {
        report(17, 0, "checks so much that a wrong product could escape with a probability above 2^-40".into());
    }
    // The exchanges of each round.
    let mut busy: BTreeMap<usize, Range<usize>> = BTreeMap::new();
    for i in (0..p.insts.len()).filter(|i| p.insts[*i].op.class() == Class::Round) {
        busy.entry(round_of[i]).or_insert(i..i).end = i + 1;
    }
    let last = claims.chunks.last().map_or(0, |c| c.first as usize);
    let mut done: Vec<usize> = Vec::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let checked = |v: &Value| {
            let origin = typed.origin[v.index()] as usize;
            done.len() == steps && done.last() == Some(&origin)
        };
        match &inst.op {
            Op::Check { parts, step } => {
                let early = done.len() < last;
                if *step as usize != done.len() || done.len() >= steps {
                    report(17, i, format!("step {step} of a check of {steps} steps stands in another place"));
                }
                if early != parts.is_empty() {
                    report(17, i, "an early check hands on no value, and the last one does".into());
                }
                if let Some(before) = done.last().filter(|_| done.len() > last)
                    && !parts.iter().map(|v| v.index()).eq(typed.results(*before))
                {
                    report(17, i, "a step of the check hands on something else".into());
                }
                let round = busy.get(&round_of[i]).cloned().unwrap_or_default();
                if early && round.start != i {
                    report(17, i, "another exchange stands before a step of an early check".into());
                } else if !early && round.len() > 1 {
                    report(17, i, "another exchange in the round of a step of the check".into());
                }
                if i < p.setup_end() as usize {
                    report(17, i, "a check during set-up".into());
                }
                done.push(i);
            }
            Op::Open { x, .. } | Op::Store { x, .. } if steps > 0 && !checked(x) => {
                report(17, i, format!("{x} has not come through the whole check"));
            }
            Op::Reshare { .. } if done.len() > last => report(17, i, "shares something behind the check".into()),
            _ => {}
        }
    }
    if done.len() > steps {
        report(17, p.insts.len(), format!("{} steps of a check of {steps}", done.len()));
    }
}
