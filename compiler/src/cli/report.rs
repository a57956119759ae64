//! `qnnc report`: one self-contained page about a program, and about a run of it.
use super::failure::Failure;
use super::files::{self, Access};
use super::inspect::{leakage_rows, load_verified};
use super::program::security_line;
use super::say;
use super::stats::costs_of;
use compiler::costs::{Cause, Costs, Exchange};
use ir::Program;
use ir::text::escape;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The page without its data.
const PAGE: &str = include_str!("report.html");
/// Where the data go.
const SLOT: &str = "/*DATA*/";
/// Bytes of a file of statistics that are read, at most.
const MAX_RUN: u64 = 64 << 20;

/// One colour per cause, in the order of [`Cause::ALL`]: told apart with the usual colour blindnesses.
const COLOURS: [&str; 13] = [
    "#7f7f7f", "#bcbd22", "#1f77b4", "#ff7f0e", "#8c564b", "#2ca02c", "#e6b800", "#9467bd", "#17becf", "#e377c2",
    "#d62728", "#aec7e8", "#000000",
];

/// What the page takes from `qnnvm local --json`.
#[derive(Deserialize)]
struct Run {
    program: String,
    rounds: Versus<u32>,
    payload_bytes: Versus<Vec<u64>>,
    seconds: Seconds,
    layers: Vec<LayerRun>,
}

#[derive(Deserialize)]
struct Versus<T> {
    measured: T,
}

#[derive(Deserialize)]
struct Seconds {
    inference: f64,
}

#[derive(Deserialize)]
struct LayerRun {
    rounds: u32,
    payload_bytes: u64,
    compute_s: f64,
    wait_s: f64,
}

fn read_run(path: &Path, program: &str, layers: usize) -> Result<Run, Failure> {
    let bytes = files::read(path, MAX_RUN)?;
    let bad = |what: &dyn std::fmt::Display| {
        let next = "make it with `qnnvm local --json` from this program";
        Failure::usage(&format!("`{}`: {what}", path.display()), next)
    };
    let run: Run = serde_json::from_slice(&bytes).map_err(|e| bad(&e))?;
    if run.program != program {
        return Err(bad(&"statistics of another program"));
    }
    if run.layers.len() != layers {
        return Err(bad(&format!("{} layers, the program has {layers}", run.layers.len())));
    }
    Ok(run)
}

/// Writes the page.
pub fn report(path: &Path, run: Option<&Path>, output: &Path) -> Result<u8, Failure> {
    let (bytes, p, costs) = costs_of(path)?;
    let typed = load_verified(path, &p)?;
    let hash: String = ir::bytecode::program_hash(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let run = run.map(|r| read_run(r, &hash, p.layers.len())).transpose()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut data = json!({
        "title": escape(&name),
        "about": format!("program {hash}, {} bytes, protocol {}, kernels {}", bytes.len(), escape(&p.protocol), escape(&p.kernels)),
        "security": security_line(&p),
        "leakage": std::iter::once(["".into(), "what".into()]).chain(leakage_rows(&p, &typed)).collect::<Vec<_>>(),
        "memory": p.peak_memory,
        "rounds": p.predicted_rounds(),
        "columns": costs.rounds,
        "bytes": p.predicted_bytes(),
        "setup_bytes": setup_bytes(&p, &costs),
        "longest": longest_messages(&costs),
        "causes": causes(&costs),
        "exchanges": inference(&costs).map(exchange).collect::<Vec<_>>(),
        "layers": layers(&p, &costs, run.as_ref()),
        "run": Value::Null,
    });
    if let Some(run) = &run {
        data["run"] = json!({
            "rounds": run.rounds.measured,
            "bytes": run.payload_bytes.measured,
            "seconds": run.seconds.inference,
            "compute": run.layers.iter().map(|l| l.compute_s).sum::<f64>(),
        });
    }
    // Inside a script element only `<` could end it.
    let text = data.to_string().replace('<', "\\u003c");
    let page = files::stage(output, PAGE.replacen(SLOT, &text, 1).as_bytes(), Access::Ordinary)?;
    page.place()?;
    say(&format!("report: {}", output.display()));
    Ok(0)
}

fn inference(costs: &Costs) -> impl Iterator<Item = &Exchange> {
    costs.exchanges.iter().filter(|e| !e.setup)
}

fn exchange(e: &Exchange) -> Value {
    json!({ "layer": e.layer, "round": e.round, "cause": e.cause.name(), "bytes": e.bytes() })
}

fn causes(costs: &Costs) -> Vec<Value> {
    let used = |c: &Cause| inference(costs).any(|e| e.cause == *c);
    let entry = |(c, colour): (&Cause, &&str)| json!({ "name": c.name(), "reason": c.reason(), "colour": colour });
    Cause::ALL.iter().zip(&COLOURS).filter(|(c, _)| used(c)).map(entry).collect()
}

/// Bytes per party, once per session.
fn setup_bytes(p: &Program, costs: &Costs) -> Vec<u64> {
    let mut bytes = vec![0; usize::from(p.parties)];
    for e in costs.exchanges.iter().filter(|e| e.setup) {
        e.messages.iter().for_each(|(from, _, n)| bytes[from.index()] += n);
    }
    bytes
}

/// Per round, the bytes of the longest message.
fn longest_messages(costs: &Costs) -> Vec<u64> {
    let pair_sums = |round| {
        let mut pairs = std::collections::BTreeMap::new();
        for (from, to, n) in costs.in_round(round).flat_map(|e| &e.messages) {
            *pairs.entry((from.0, to.0)).or_insert(0u64) += n;
        }
        pairs.into_values().max().unwrap_or(0)
    };
    (1..=costs.rounds).map(pair_sums).collect()
}

fn layers(p: &Program, costs: &Costs, run: Option<&Run>) -> Vec<Value> {
    let one = |(i, l): (usize, &ir::Layer)| {
        let total = costs.total(|e| e.layer == i);
        let measured = run
            .map(|r| &r.layers[i])
            .map(|m| json!({ "rounds": m.rounds, "bytes": m.payload_bytes, "compute": m.compute_s, "wait": m.wait_s }));
        let op = (!matches!(l.name.as_str(), "input" | "output")).then_some(l.operator);
        json!({
            "op": op, "name": escape(&l.name), "rounds": total.rounds, "bytes": total.payload(), "measured": measured,
        })
    };
    p.layers.iter().enumerate().map(one).collect()
}
