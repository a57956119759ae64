//! `qnnc stats`: what a program costs, by layer, op, phase, cause or round.
use super::failure::Failure;
use super::inspect::{load, load_verified};
use super::program::{cost_line, summary_json};
use super::{print, print_json};
use compiler::costs::{Cause, Costs, Exchange, Phase, Total, analyse, profile_of, spans};
use ir::Program;
use ir::ops::{Class, TABLE};
use ir::text::escape;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// What the rows of the table are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum By {
    /// Operators of the model
    Layer,
    /// Ops of the program
    Op,
    /// Parts of a run
    Phase,
    /// Reasons for exchanges
    Cause,
    /// Rounds
    Round,
}

/// A program with its costs, or the reason why they are not known.
pub fn costs_of(path: &Path) -> Result<(Vec<u8>, Program, Costs), Failure> {
    let (bytes, program) = load(path)?;
    let typed = load_verified(path, &program)?;
    let Some(profile) = profile_of(&program) else {
        let what = format!("protocol `{}` among {} parties is not known", escape(&program.protocol), program.parties);
        return Err(Failure::program(path, &what));
    };
    let costs = analyse(&program, &typed, profile);
    Ok((bytes, program, costs))
}

/// Prints the table, or everything as JSON.
pub fn stats(path: &Path, by: By, as_json: bool) -> Result<u8, Failure> {
    let (bytes, p, costs) = costs_of(path)?;
    if as_json {
        print_json(&stats_json(&p, &costs, &bytes))?;
        return Ok(0);
    }
    let mut s = String::new();
    let (first, rows) = rows(&p, &costs, by);
    let _ = writeln!(s, "{first:<24} {:>6} {:>9} {:>14} {:>14}  rounds", "count", "exchanges", "bytes", "set-up bytes");
    for (name, count, t) in rows {
        let (bytes, rounds) = (t.payload(), spans(&t.rounds));
        let _ = writeln!(s, "{name:<24} {count:>6} {:>9} {bytes:>14} {:>14}  {rounds}", t.exchanges, t.setup_bytes);
    }
    let _ = writeln!(s, "total: {}", cost_line(&p));
    if p.modes != ir::Modes::default() {
        let _ = writeln!(s, "modes: {}{}", p.modes.names().join(", "), p.modes.warning());
    }
    print(&s)?;
    Ok(0)
}

/// Name, number of instructions (exchanges where ops are not what is counted), sums.
fn rows(p: &Program, costs: &Costs, by: By) -> (&'static str, Vec<(String, usize, Total)>) {
    let named = |name: &str, t: Total| (name.to_owned(), t.exchanges, t);
    match by {
        By::Layer => {
            let row = |(i, l): (usize, &ir::Layer)| {
                let count = p.insts.iter().filter(|inst| inst.layer as usize == i).count();
                (format!("{} {}", l.operator, escape(&l.name)), count, costs.total(|e| e.layer == i))
            };
            ("layer", p.layers.iter().enumerate().map(row).collect())
        }
        By::Op => {
            let row = |name: &'static str| {
                let count = p.insts.iter().filter(|inst| inst.op.mnemonic() == name).count();
                (name.to_owned(), count, costs.total(|e| p.insts[e.inst].op.mnemonic() == name))
            };
            ("op", TABLE.iter().map(|e| row(e.mnemonic)).filter(|r| r.1 > 0).collect())
        }
        By::Phase => ("phase", Phase::ALL.iter().map(|f| named(f.name(), costs.total(|e| e.phase() == *f))).collect()),
        By::Cause => {
            ("cause", costs.causes().iter().map(|c| named(c.name(), costs.total(|e| e.cause == *c))).collect())
        }
        By::Round => {
            let row = |r: u32| named(&r.to_string(), costs.total(|e| !e.setup && e.round == r));
            ("round", (1..=costs.rounds).map(row).collect())
        }
    }
}

/// Everything, for machines.
pub fn stats_json(p: &Program, costs: &Costs, bytes: &[u8]) -> Value {
    let mut object = summary_json(p, bytes);
    let sums = |name: &str, t: &Total| {
        json!({
            "name": name, "exchanges": t.exchanges, "rounds": t.rounds, "payload_bytes": t.payload(),
            "payload_bytes_by_party": t.bytes, "setup_bytes": t.setup_bytes,
        })
    };
    let layer = |(i, l): (usize, &ir::Layer)| {
        let mut one = sums(&escape(&l.name), &costs.total(|e| e.layer == i));
        one["op"] = l.operator.into();
        one["instructions"] = p.insts.iter().filter(|inst| inst.layer as usize == i).count().into();
        one
    };
    object["layers"] = p.layers.iter().enumerate().map(layer).collect();
    let ops = TABLE.iter().filter_map(|entry| {
        let count = p.insts.iter().filter(|inst| inst.op.mnemonic() == entry.mnemonic).count();
        let mut one = sums(entry.mnemonic, &costs.total(|e| p.insts[e.inst].op.mnemonic() == entry.mnemonic));
        one["class"] = if entry.class == Class::Round { "round" } else { "local" }.into();
        one["instructions"] = count.into();
        (count > 0).then_some(one)
    });
    object["ops"] = ops.collect();
    object["phases"] = Phase::ALL.iter().map(|f| sums(f.name(), &costs.total(|e| e.phase() == *f))).collect();
    let cause = |c: &Cause| {
        let mut one = sums(c.name(), &costs.total(|e| e.cause == *c));
        one["reason"] = c.reason().into();
        one
    };
    object["causes"] = costs.causes().iter().map(cause).collect();
    object["schedule"] = (1..=costs.rounds).map(|r| round_json(costs, r, p.parties)).collect();
    object
}

/// One round: who sends what to whom, and what each layer does in it.
fn round_json(costs: &Costs, round: u32, parties: u8) -> Value {
    let n = usize::from(parties);
    let mut links = vec![vec![0u64; n]; n];
    let mut groups: Vec<(&Exchange, usize, u64, u32)> = Vec::new();
    for e in costs.in_round(round) {
        e.messages.iter().for_each(|(from, to, bytes)| links[from.index()][to.index()] += bytes);
        match groups.iter_mut().find(|g| (g.0.layer, g.0.cause) == (e.layer, e.cause)) {
            Some((_, count, bytes, slack)) => {
                (*count, *bytes, *slack) = (*count + 1, *bytes + e.bytes(), e.slack().min(*slack));
            }
            None => groups.push((e, 1, e.bytes(), e.slack())),
        }
    }
    let group = |(e, count, bytes, slack): &(&Exchange, usize, u64, u32)| {
        json!({
            "layer": e.layer, "cause": e.cause.name(), "exchanges": count, "payload_bytes": bytes, "slack": slack,
        })
    };
    json!({ "round": round, "links": links, "exchanges": groups.iter().map(group).collect::<Vec<_>>() })
}
