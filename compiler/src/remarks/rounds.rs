//! Which rounds a layer takes, why each, what it waits for and how far it could move.
use super::{Remark, count, label};
use crate::costs::{Cause, Costs, Exchange, spans};
use crate::passes::text::Shown;
use ir::Program;
use std::collections::BTreeSet;

/// One remark per layer that talks in an inference.
pub fn rounds(p: &Program, costs: &Costs, notes: &[(u32, String)], shown: &Shown) -> Vec<Remark> {
    let layer = |(i, l): (usize, &ir::Layer)| {
        let own: Vec<&Exchange> = costs.exchanges.iter().filter(|e| !e.setup && e.layer == i).collect();
        (shown.has(l.operator as usize, &l.name) && !own.is_empty()).then(|| {
            let mut remark = remark(p, costs, i, l, &own);
            remark.details.extend(notes.iter().filter(|n| n.0 as usize == i).map(|n| n.1.clone()));
            remark
        })
    };
    p.layers.iter().enumerate().filter_map(layer).collect()
}

fn remark(p: &Program, costs: &Costs, index: usize, layer: &ir::Layer, own: &[&Exchange]) -> Remark {
    let total = costs.total(|e| e.layer == index && !e.setup);
    let word = if total.rounds.len() == 1 { "round" } else { "rounds" };
    let what = format!("{} {word} ({}), {} bytes", total.rounds.len(), spans(&total.rounds), total.payload());
    let mut details = Vec::new();
    for round in &total.rounds {
        let here: Vec<&Exchange> = own.iter().copied().filter(|e| e.round == *round).collect();
        let causes: BTreeSet<Cause> = here.iter().map(|e| e.cause).collect();
        for (i, cause) in causes.iter().enumerate() {
            let of: Vec<&&Exchange> = here.iter().filter(|e| e.cause == *cause).collect();
            let bytes: u64 = of.iter().map(|e| e.bytes()).sum();
            let number = if i == 0 { format!("round {round}") } else { String::new() };
            details.push(format!("{number:<10} {:<11} {bytes:>9} bytes  {}", cause.name(), cause.reason()));
        }
        details.extend(wait(p, costs, index, &here).map(|w| format!("{:<10} {w}", "")));
    }
    details.push(overlap(p, costs, index, own, &total.rounds));
    Remark { kind: "rounds", layer: label(layer), what, details }
}

/// What the exchanges of a layer in one round wait for, told where it is another layer's.
fn wait(p: &Program, costs: &Costs, index: usize, here: &[&Exchange]) -> Option<String> {
    let last = here.iter().filter(|e| e.slack() == 0).filter_map(|e| e.waits_for).next()?;
    let by = costs.exchanges.iter().find(|e| e.inst == last)?;
    let layer = p.layers.get(by.layer)?;
    (by.layer != index).then(|| format!("waits for `{}` of {} in round {}", by.cause.name(), label(layer), by.round))
}

/// Whom the layer shares its rounds with, and what could move.
fn overlap(p: &Program, costs: &Costs, index: usize, own: &[&Exchange], rounds: &BTreeSet<u32>) -> String {
    let mut others: BTreeSet<usize> = BTreeSet::new();
    for r in rounds {
        others.extend(costs.in_round(*r).map(|e| e.layer).filter(|l| *l != index));
    }
    let names: Vec<String> = others.iter().filter_map(|i| p.layers.get(*i)).map(label).collect();
    let shares = match names.len() {
        0 => "shares no round: every other layer waits for it, or it for them".to_owned(),
        _ => format!("shares rounds with {}", names.join(", ")),
    };
    // What stands on the longest chain fixes the number of rounds; the rest could be later.
    let chain: BTreeSet<u32> = own.iter().filter(|e| e.slack() == 0).map(|e| e.round).collect();
    let free: Vec<&&Exchange> = own.iter().filter(|e| e.slack() > 0).collect();
    let most = free.iter().map(|e| e.slack()).max().unwrap_or(0);
    let moves = match free.len() {
        0 => "nothing could be later".to_owned(),
        n => format!("{} could be up to {} later", count(n, "exchange"), count(most as usize, "round")),
    };
    match chain.len() {
        0 => format!("not on the longest chain, costs no round of its own; {shares}; {moves}"),
        n => format!("on the longest chain in {} of {}; {shares}; {moves}", n, count(rounds.len(), "round")),
    }
}
