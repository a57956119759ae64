//! What costs rounds or bytes and could be less, told from the program: results that are shared only to be split again,
//! conversions to smaller rings, comparisons by trees, second pieces; and for each round what it needs of the one before,
//! so that the two are not one.
use super::{Remark, count, label};
use crate::costs::{Cause, Costs, Exchange};
use crate::lower::plan::Plans;
use crate::passes::text::Shown;
use crate::qgraph::{Graph, Kind};
use ir::infer::roles;
use ir::ops::Class;
use ir::verify::Typed;
use ir::{Domain, Form, Op, Program};
use std::collections::{BTreeMap, BTreeSet};

/// Remarks on layers where something was not merged, and one on all rounds.
pub fn missed(p: &Program, typed: &Typed, costs: &Costs, g: &Graph, plans: &Plans, shown: &Shown) -> Vec<Remark> {
    let mut list = Vec::new();
    for (i, l) in p.layers.iter().enumerate().filter(|(_, l)| shown.has(l.operator as usize, &l.name)) {
        let mut details = reshared_to_split(p, typed, costs, i);
        details.extend(casts(p, typed, i));
        details.extend(trees(costs, i));
        let plan = g.ops.iter().zip(&plans.ops).find(|(op, _)| op.index == l.operator as usize);
        if let Some((op, plan)) = plan.filter(|_| !matches!(l.name.as_str(), "input" | "output"))
            && plan.formulas().is_some_and(|f| f.two)
        {
            let why = match op.kind {
                Kind::Conv2d { .. } | Kind::DepthwiseConv2d { .. } => {
                    "it has no fused activation, and the kernels round negative results another way"
                }
                _ => "one formula does not meet all its thresholds",
            };
            details.push(format!("computes two pieces, each with its own comparison: {why}"));
        }
        if !details.is_empty() {
            let what = format!("{} not merged", count(details.len(), "thing"));
            list.push(Remark { kind: "missed", layer: label(l), what, details });
        }
    }
    let details = rounds_apart(p, costs, shown);
    if !details.is_empty() {
        let what = format!("no two of the {} in the schedule can be one", count(costs.rounds as usize, "round"));
        list.push(Remark { kind: "missed", layer: "rounds".into(), what, details });
    }
    list
}

/// For each round but the first an exchange that cannot stand in the round before, because it needs one that does.
fn rounds_apart(p: &Program, costs: &Costs, shown: &Shown) -> Vec<String> {
    let place: BTreeMap<usize, &Exchange> = costs.exchanges.iter().map(|e| (e.inst, e)).collect();
    let layer = |e: &Exchange| p.layers.get(e.layer).map(label).unwrap_or_default();
    let apart = |round: u32| {
        let pairs = costs.in_round(round).filter_map(|e| Some((e, *place.get(&e.waits_for?)?)));
        let near = pairs.filter(|(_, before)| !before.setup && before.round + 1 == round);
        let (e, before) = near.min_by_key(|(e, _)| e.slack())?;
        let l = p.layers.get(e.layer)?;
        let what = format!("`{}` of {} needs `{}` of {}", e.cause.name(), layer(e), before.cause.name(), layer(before));
        shown.has(l.operator as usize, &l.name).then(|| format!("round {round}: {what}"))
    };
    (2..=costs.rounds).filter_map(apart).collect()
}

/// Results of an exchange that later ops only split between one party and the two others.
fn reshared_to_split(p: &Program, typed: &Typed, costs: &Costs, layer: usize) -> Vec<String> {
    let mut uses: Vec<Vec<usize>> = vec![vec![]; typed.types.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        inst.op.operands().iter().for_each(|v| uses[v.index()].push(i));
    }
    let mut told = BTreeSet::new();
    for e in costs.exchanges.iter().filter(|e| !e.setup && e.layer == layer && e.cause == Cause::Reshare) {
        let Op::Reshare { x, .. } = &p.insts[e.inst].op else { continue };
        let Form::Sum(from) = typed.types[x.index()].form else { continue };
        // Every use, through local ops.
        let mut todo: Vec<usize> = typed.results(e.inst).collect();
        let (mut splits, mut others) = (Vec::new(), false);
        while let Some(v) = todo.pop() {
            for i in &uses[v] {
                let inst = &p.insts[*i];
                match &inst.op {
                    Op::SplitShared { rot, .. } => splits.push((inst.layer, *rot)),
                    op if op.class() == Class::Round => others = true,
                    Op::MulSs { .. } | Op::MulSh { .. } | Op::Conv2dSs { .. } | Op::DepthwiseSs { .. } => others = true,
                    _ => todo.extend(typed.results(*i)),
                }
            }
        }
        if others || from.count() != 2 {
            continue;
        }
        for (reader, rot) in splits {
            let Some(reader) = p.layers.get(reader as usize) else { continue };
            let [a, b, c] = roles(rot);
            let kept = from.contains(b) && from.contains(c);
            let why = if kept {
                format!("both sides have the same roles ({b} and {c}): joining would do")
            } else {
                let two: Vec<String> = from.iter().map(|q| q.to_string()).collect();
                format!(
                    "{} hold the summands, but {} reads with {a} as the third party",
                    two.join(" and "),
                    label(reader)
                )
            };
            told.insert(format!(
                "round {}: shares its result, and {} only splits it again: the change of roles costs this exchange; {why}",
                e.round,
                label(reader)
            ));
        }
    }
    told.into_iter().collect()
}

/// Conversions to a smaller ring: the result was shared wider than this layer needs.
fn casts(p: &Program, typed: &Typed, layer: usize) -> Option<String> {
    let mut wasted = BTreeSet::new();
    for inst in p.insts.iter().filter(|inst| inst.layer as usize == layer) {
        let Op::Cast { x, bits } = &inst.op else { continue };
        let t = &typed.types[x.index()];
        let maker = p.insts[typed.origin[x.index()] as usize].layer as usize;
        if let (Domain::Ring(k), true) = (t.domain, maker != layer) {
            let by = p.layers.get(maker).map(label).unwrap_or_default();
            wasted.insert(format!("{by} shares {k} bits, {bits} are read"));
        }
    }
    let list: Vec<String> = wasted.into_iter().collect();
    (!list.is_empty())
        .then(|| format!("reads a wider ring than it needs, because of another reader: {}", list.join("; ")))
}

/// Comparisons by trees of shared bits.
fn trees(costs: &Costs, layer: usize) -> Option<String> {
    let t = costs.total(|e| !e.setup && e.layer == layer && e.cause == Cause::And);
    (!t.rounds.is_empty()).then(|| {
        format!(
            "compares by a tree of shared bits, {} and {} bytes: no dealt comparison for this operator yet",
            count(t.rounds.len(), "round"),
            t.payload()
        )
    })
}
