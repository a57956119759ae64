//! Checks a program before it runs. Reports every violation.
//!
//! Rules:
//! - V1 every operand is defined before its use
//! - V2 every instruction has a type (forms, widths, shapes, holders)
//! - V3 rounds cover the instructions in order: local ones, then exchanges; only set-up may have none of the latter
//! - V4 no exchange uses the result of its own round
//! - V5 a join's summands come from a split or a mask, so that each is masked
//! - V6 nothing is opened but what an output delivers; the bits opened are the bits declared
//! - V7 each output is delivered once, after set-up
//! - V8 set-up uses weights only, and nothing else reads weights
//! - V9 the interface makes sense: parties exist, scales are positive numbers, tensors have a size; no message is longer
//!   than 2^40 bytes or goes to its sender; no weights file where weights are public
//! - V10 a tag names one mask and at most one beta, of equal width, length and roles; and no mask hides what was made
//!   from its own beta, however indirectly. So messages can be numbered such that each depends on pads of earlier ones
//!   only, where a beta counts as depending on its mask: dealt products of masks follow the masked bits in that order
//! - V11 what is revealed is `output`, `logits`, `argmax` or `topk:N`, and the openings are as that word says: each has as
//!   many elements as an output, a receiver finishes a softmax under `logits` only, and under `topk:N` rows hold N places
//! - V12 nothing reads a bit of a held number that its ring does not have ([`crate::width`])
//! - V13 each state is read once and stored once, in one type, both after set-up
//! - V14 where a party may cheat, what an owner shares goes into an `echo` and nowhere else, and an `echo` names that owner
//! - V15 what a client holds, nobody else holds; it computes with that alone, shares it in a ring, or has it delivered. What
//!   it shares in set-up depends on weights alone, so that pieces made ahead of a session serve it
//! - V16 where products are checked, every message but an owner's, who hands over each of its values once, a step of the check and
//!   an opening shares a sum of products in its own ring ([`crate::check`])
//! - V17 there, what is opened or stored has come through all steps of the last check, each in a round of its own, behind all
//!   products. Steps of early checks, of products of earlier rounds, come first in their rounds, one after the other. A wrong product
//!   escapes all of them with a probability of at most 2^-40
use crate::infer::{Context, checked_len, infer};
use crate::ops::{Class, Op};
use crate::program::{Port, Program, Value};
use crate::text::escape;
use crate::types::{Domain, Form, Holders, Party, Type};
use crate::width;
use std::collections::BTreeMap;

/// Longest message in bytes.
const MAX_MESSAGE: u64 = 1 << 40;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("V{rule} instruction {inst}: {what}")]
pub struct Violation {
    /// Number in the list above.
    pub rule: u8,
    /// Index of the instruction.
    pub inst: usize,
    /// What is wrong.
    pub what: String,
}

/// A program with the type of each value.
pub struct Typed {
    /// Type per value.
    pub types: Vec<Type>,
    /// First result of each instruction.
    pub first: Vec<Value>,
    /// Instruction that defines each value.
    pub origin: Vec<u32>,
}

impl Typed {
    /// Results of instruction `i`.
    pub fn results(&self, i: usize) -> std::ops::Range<usize> {
        let end = self.first.get(i + 1).map_or(self.types.len(), |v| v.index());
        self.first[i].index()..end
    }
}

/// Infers every type (rules V1, V2).
pub fn type_program(p: &Program) -> Result<Typed, Vec<Violation>> {
    let cx = Context { scheme: p.scheme(), interface: &p.interface, consts: &p.consts };
    let mut typed = Typed { types: vec![], first: vec![], origin: vec![] };
    for (i, inst) in p.insts.iter().enumerate() {
        typed.first.push(Value(typed.types.len() as u32));
        if let Some(v) = inst.op.operands().iter().find(|v| v.index() >= typed.types.len()) {
            return Err(vec![Violation { rule: 1, inst: i, what: format!("{v} is not defined yet") }]);
        }
        let results = infer(&inst.op.map(|v| &typed.types[v.index()]), &cx)
            .map_err(|what| vec![Violation { rule: 2, inst: i, what: format!("{}: {what}", inst.op.mnemonic()) }])?;
        typed.origin.extend(results.iter().map(|_| i as u32));
        typed.types.extend(results);
    }
    Ok(typed)
}

/// All rules.
pub fn verify(p: &Program) -> Result<Typed, Vec<Violation>> {
    let typed = type_program(p)?;
    let mut bad = Vec::new();
    let mut report = |rule, inst, what: String| bad.push(Violation { rule, inst, what });

    let mut at = 0usize;
    let mut round_of = vec![usize::MAX; p.insts.len()];
    for (r, round) in p.rounds.iter().enumerate() {
        let (local, end) = (round.local_end as usize, round.exchange_end as usize);
        // A set-up that only reads weights has nothing to exchange.
        let full = local < end || local == end && at < local && r < p.setup_rounds as usize;
        if !(at <= local && full && end <= p.insts.len()) {
            report(3, at.min(p.insts.len()), format!("round {r} has no exchange or leaves the program"));
            return Err(bad);
        }
        for (i, inst) in p.insts.iter().enumerate().take(end).skip(at) {
            if (inst.op.class() == Class::Round) != (i >= local) {
                report(3, i, format!("{} stands in the wrong part of round {r}", inst.op.mnemonic()));
            }
            round_of[i] = r;
            if i >= local && inst.op.operands().iter().any(|v| typed.origin[v.index()] as usize >= local) {
                report(4, i, "uses the result of its own round".into());
            }
        }
        at = end;
    }
    for (i, inst) in p.insts.iter().enumerate().skip(at) {
        if inst.op.class() == Class::Round {
            report(3, i, "an exchange after the last round".into());
        }
    }
    if p.setup_rounds as usize > p.rounds.len() {
        report(3, 0, "more set-up rounds than rounds".into());
        return Err(bad);
    }

    check_interface(p, &mut report);
    check_tags(p, &typed, &mut report);
    check_states(p, &typed, &mut report);
    check_echoes(p, &typed, &mut report);
    crate::check::rule(p, &typed, &round_of, &mut report);
    check_reveal(p, &mut report);
    check_client(p, &typed, &mut report);
    width::check(p, &typed, |inst, what| report(12, inst, what));
    for (r, round) in p.rounds.iter().enumerate() {
        let parties = || (0..p.parties).map(Party);
        let pairs = parties().flat_map(|a| parties().map(move |b| (a, b)));
        for (from, to) in pairs {
            let most = if from == to { 0 } else { MAX_MESSAGE };
            if round.messages.get(p.parties, from, to) > most {
                report(9, round.local_end as usize, format!("round {r}: message from {from} to {to} is too long"));
            }
        }
    }

    let setup_end = p.setup_end() as usize;
    let reaches_output = reaching_outputs(p, &typed);
    let mut tainted = vec![false; typed.types.len()];
    let defines = |v: Value| &p.insts[typed.origin[v.index()] as usize].op;
    let mut delivered = vec![0usize; p.interface.outputs.len()];
    let mut opened = 0u64;
    for (i, inst) in p.insts.iter().enumerate() {
        if inst.op.operands().iter().any(|v| tainted[v.index()]) {
            let talks = inst.op.class() == Class::Round;
            if talks || matches!(inst.op, Op::AsSum { .. } | Op::Embed { .. } | Op::MulSh { .. }) {
                report(6, i, "an opened value goes back into the computation".into());
            }
            typed.results(i).for_each(|v| tainted[v] = true);
        }
        match &inst.op {
            Op::Join { x } if !matches!(defines(*x), Op::Split { .. } | Op::Mask { .. }) => {
                report(5, i, format!("{x} is not a masked summand"));
            }
            Op::SoftmaxH { x, .. } if tainted[x.index()] && p.reveal != "logits" => {
                report(11, i, format!("finishes a softmax, which `{}` does not reveal", escape(&p.reveal)));
            }
            Op::Open { x, .. } => {
                let t = &typed.types[x.index()];
                let fits = |o: &Port| checked_len(&o.shape).is_ok_and(|n| n == t.len() as u64);
                if !p.interface.outputs.iter().any(fits) {
                    report(11, i, format!("{t} has the size of no output"));
                }
                opened += t.len() as u64
                    * u64::from(match t.domain {
                        Domain::Ring(k) | Domain::Bits(k) => k,
                    });
                typed.results(i).for_each(|v| tainted[v] = true);
                let ends = typed.results(i).any(|v| reaches_output[v]);
                if !ends {
                    report(6, i, "opened, but no output delivers it".into());
                }
            }
            Op::Output { index, .. } => {
                delivered[*index as usize] += 1;
                if i < setup_end {
                    report(7, i, "delivered during set-up".into());
                }
            }
            Op::Input { .. } if i < setup_end => report(8, i, "an input during set-up".into()),
            Op::Weight { .. } if i >= setup_end => report(8, i, "weights are read after set-up".into()),
            _ => {}
        }
    }
    if opened != p.opened_bits {
        report(6, 0, format!("opens {opened} bits, declares {}", p.opened_bits));
    }
    for (k, n) in delivered.iter().enumerate() {
        if *n != 1 {
            report(7, p.insts.len(), format!("output {k} is delivered {n} times"));
        }
    }
    if bad.is_empty() { Ok(typed) } else { Err(bad) }
}

/// Rule V11 but for the openings.
fn check_reveal(p: &Program, report: &mut impl FnMut(u8, usize, String)) {
    let places = p.reveal.strip_prefix("topk:").and_then(|n| n.parse::<u32>().ok());
    if !(matches!(p.reveal.as_str(), "output" | "logits" | "argmax") || places.is_some_and(|n| n > 0)) {
        report(11, 0, format!("`{}` is no policy of what is revealed", escape(&p.reveal)));
    }
    for (i, port) in p.interface.outputs.iter().enumerate() {
        if places.is_some_and(|n| port.shape.last() != Some(&n)) {
            report(11, 0, format!("output {i} does not hold the places of `{}`", escape(&p.reveal)));
        }
    }
}

/// Rule V15.
fn check_client(p: &Program, typed: &Typed, report: &mut impl FnMut(u8, usize, String)) {
    let held = |t: &Type| matches!(t.form, Form::Held(h) if h.contains(Party::CLIENT));
    let alone = |t: &Type| matches!(t.form, Form::Held(Holders::CLIENT) | Form::Public);
    if !p.may_have_client() {
        return;
    }
    for (i, inst) in p.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let types = || operands.iter().map(|v| &typed.types[v.index()]);
        let results = || typed.results(i).map(|v| &typed.types[v]);
        let right = match &inst.op {
            Op::Reshare { x, .. } => {
                let x = &typed.types[x.index()];
                !held(x) || alone(x) && matches!(x.domain, Domain::Ring(_))
            }
            Op::Open { .. } => results().all(|t| !held(t) || alone(t)),
            _ if types().chain(results()).any(held) => types().chain(results()).all(alone),
            _ => true,
        };
        if !right {
            report(15, i, "what the client holds meets what it does not hold".into());
        }
    }
}

/// Rule V13.
fn check_states(p: &Program, typed: &Typed, report: &mut impl FnMut(u8, usize, String)) {
    let mut read: BTreeMap<u32, (usize, &Type)> = BTreeMap::new();
    let mut stored: BTreeMap<u32, (usize, &Type)> = BTreeMap::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let (seen, index, x) = match &inst.op {
            Op::State { x, index } => (&mut read, *index, *x),
            Op::Store { x, index } => (&mut stored, *index, *x),
            _ => continue,
        };
        if i < p.setup_end() as usize {
            report(13, i, format!("state {index} during set-up"));
        }
        if seen.insert(index, (i, &typed.types[x.index()])).is_some() {
            report(13, i, format!("state {index} comes twice"));
        }
    }
    for (index, (i, t)) in &read {
        match stored.get(index) {
            None => report(13, *i, format!("nothing stores state {index}")),
            Some((i, other)) if other != t => report(13, *i, format!("state {index} is {t}, not {other}")),
            Some(_) => {}
        }
    }
    for (index, (i, _)) in stored.iter().filter(|(index, _)| !read.contains_key(index)) {
        report(13, *i, format!("nothing reads state {index}"));
    }
}

/// Rule V14.
fn check_echoes(p: &Program, typed: &Typed, report: &mut impl FnMut(u8, usize, String)) {
    if !p.scheme().echo {
        return;
    }
    let owner = |v: &Value| match &p.insts[typed.origin[v.index()] as usize].op {
        Op::Reshare { x, .. } => match typed.types[x.index()].form {
            Form::Held(h) if h.count() == 1 => Some(h),
            _ => None,
        },
        _ => None,
    };
    for (i, inst) in p.insts.iter().enumerate() {
        match &inst.op {
            Op::Echo { x, from } if owner(x) == Some(*from) => {}
            Op::Echo { x, from } => report(14, i, format!("{x} is not what {from} has shared")),
            op => {
                if let Some(x) = op.operands().iter().find(|x| owner(x).is_some()) {
                    report(14, i, format!("uses {x} before those who received it have compared it"));
                }
            }
        }
    }
}

/// Rule V10.
fn check_tags(p: &Program, typed: &Typed, report: &mut impl FnMut(u8, usize, String)) {
    let mut masks: BTreeMap<u32, usize> = BTreeMap::new();
    let mut betas: BTreeMap<u32, usize> = BTreeMap::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let (seen, tag) = match &inst.op {
            Op::Mask { tag, .. } => (&mut masks, *tag),
            Op::Beta { tag, .. } => (&mut betas, *tag),
            _ => continue,
        };
        if seen.insert(tag, i).is_some() {
            report(10, i, format!("tag {tag} comes twice"));
        }
    }
    for (tag, i) in &betas {
        let Some(mask) = masks.get(tag) else {
            report(10, *i, format!("no mask has tag {tag}"));
            continue;
        };
        let (b, m) = (&typed.types[typed.results(*i).start], &typed.types[typed.results(*mask).start]);
        let outside = |h: Holders| Holders(Holders::all(p.parties).0 & !h.0);
        let fits = matches!((b.form, m.form), (Form::Held(a), Form::Sum(pair)) if a == outside(pair));
        if !(fits && b.domain == m.domain && b.len() == m.len()) {
            report(10, *i, format!("{b} does not fit the mask of {m}"));
        }
    }
    // Depth first over operands, and from each beta to its mask.
    let mut state = vec![0u8; p.insts.len()];
    for root in betas.values() {
        let mut stack = vec![(*root, false)];
        while let Some((i, left)) = stack.pop() {
            if left {
                state[i] = 2;
                continue;
            }
            match state[i] {
                0 => {}
                1 => return report(10, i, "a mask hides what was made from its own beta".into()),
                _ => continue,
            }
            state[i] = 1;
            stack.push((i, true));
            let op = &p.insts[i].op;
            let mut next: Vec<usize> = op.operands().iter().map(|v| typed.origin[v.index()] as usize).collect();
            if let Op::Beta { tag, .. } = op {
                next.extend(masks.get(tag));
            }
            stack.extend(next.into_iter().filter(|j| state[*j] != 2).map(|j| (j, false)));
        }
    }
}

/// Values on which an output depends.
fn reaching_outputs(p: &Program, typed: &Typed) -> Vec<bool> {
    let mut reaches = vec![false; typed.types.len()];
    for (i, inst) in p.insts.iter().enumerate().rev() {
        if matches!(inst.op, Op::Output { .. }) || typed.results(i).any(|v| reaches[v]) {
            inst.op.operands().iter().for_each(|v| reaches[v.index()] = true);
        }
    }
    reaches
}

/// Rule V9 on inputs, outputs and weights, used or not.
fn check_interface(p: &Program, report: &mut impl FnMut(u8, usize, String)) {
    let interface = &p.interface;
    let exists = |party: Party| party.0 < p.parties || p.may_have_client() && party == Party::CLIENT;
    for (word, ports) in [("input", &interface.inputs), ("output", &interface.outputs)] {
        for (i, port) in ports.iter().enumerate() {
            if !exists(port.party) {
                report(9, 0, format!("{word} {i}: {} does not exist", port.party));
            }
            if !(port.scale.is_finite() && port.scale > 0.0) {
                report(9, 0, format!("{word} {i}: scale {} is not a positive number", port.scale));
            }
            let (lo, hi) = port.dtype.range();
            if !(lo..=hi).contains(&port.zero_point.into()) {
                report(9, 0, format!("{word} {i}: zero point {} is outside its type", port.zero_point));
            }
            if let Err(what) = checked_len(&port.shape) {
                report(9, 0, format!("{word} {i}: {what}"));
            }
        }
    }
    if p.modes.public_weights && !interface.weights.is_empty() {
        report(9, 0, "weights are said to be public, and there is a file of them".into());
    }
    if !exists(interface.weight_owner) {
        report(9, 0, format!("weights: {} does not exist", interface.weight_owner));
    }
    for (i, shape) in interface.weights.iter().enumerate() {
        if let Err(what) = checked_len(shape) {
            report(9, 0, format!("weights {i}: {what}"));
        }
    }
}

/// Last instruction that uses each value; its own instruction if none does. Values of set-up that an inference uses
/// live to the end.
pub fn last_uses(p: &Program, typed: &Typed) -> Vec<u32> {
    let setup_end = p.setup_end();
    let mut last: Vec<u32> = typed.origin.clone();
    for (i, inst) in p.insts.iter().enumerate() {
        for v in inst.op.operands() {
            let kept = typed.origin[v.index()] < setup_end && i as u32 >= setup_end;
            last[v.index()] = if kept { u32::MAX } else { last[v.index()].max(i as u32) };
        }
    }
    // Factors are kept until their product is recorded, at the end of its round.
    let mut rounds = p.rounds.iter().map(|r| r.exchange_end as usize).peekable();
    for claim in crate::check::claims(p, typed).iter().flat_map(|c| &c.list) {
        while rounds.next_if(|end| *end <= claim.at).is_some() {}
        let at = rounds.peek().map_or(claim.at, |end| end - 1) as u32;
        for v in claim.products.iter().flat_map(|i| p.insts[*i].op.operands()) {
            last[v.index()] = last[v.index()].max(at);
        }
    }
    last
}
