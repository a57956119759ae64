//! `qnnc diff`: what changed between two programs, and where.
use super::failure::Failure;
use super::stats::costs_of;
use super::{print, print_json};
use compiler::costs::{Cause, Costs, Total, spans};
use ir::Program;
use ir::text::escape;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// A program as it is compared.
struct Side {
    program: Program,
    costs: Costs,
    bytes: Vec<u8>,
}

impl Side {
    fn load(path: &Path) -> Result<Side, Failure> {
        let (bytes, program, costs) = costs_of(path)?;
        Ok(Side { program, costs, bytes })
    }

    /// Operator and name of each layer; the name counts, so that another operator in its place is seen.
    fn layers(&self) -> Vec<(u32, String)> {
        self.program.layers.iter().map(|l| (l.operator, l.name.clone())).collect()
    }

    fn total(&self, layer: &(u32, String)) -> Option<Total> {
        let i = self.layers().iter().position(|l| l == layer)?;
        Some(self.costs.total(|e| e.layer == i))
    }

    fn cause(&self, layer: &(u32, String), cause: Cause) -> (usize, u64) {
        let i = self.layers().iter().position(|l| l == layer);
        let t = self.costs.total(|e| Some(e.layer) == i && e.cause == cause && !e.setup);
        (t.rounds.len(), t.payload())
    }
}

/// Names and numbers of the whole programs.
fn totals(a: &Side, b: &Side) -> Vec<(&'static str, u64, u64)> {
    let of = |s: &Side| {
        let p = &s.program;
        [
            ("rounds", u64::from(p.predicted_rounds())),
            ("payload bytes", p.predicted_bytes().iter().sum()),
            ("set-up bytes", s.costs.total(|e| e.setup).setup_bytes),
            ("instructions", p.insts.len() as u64),
            ("peak memory", p.peak_memory),
            ("opened bits", p.opened_bits),
            ("program bytes", s.bytes.len() as u64),
        ]
    };
    of(a).into_iter().zip(of(b)).map(|((name, x), (_, y))| (name, x, y)).collect()
}

/// `12 -> 10 (-2)`.
fn change(x: u64, y: u64) -> String {
    format!("{x} -> {y} ({:+})", i128::from(y) - i128::from(x))
}

/// Prints what differs. Programs that differ are no error.
pub fn diff(first: &Path, second: &Path, as_json: bool) -> Result<u8, Failure> {
    let (a, b) = (Side::load(first)?, Side::load(second)?);
    let mut layers = a.layers();
    layers.extend(b.layers().into_iter().filter(|l| !a.layers().contains(l)).collect::<Vec<_>>());
    layers.sort_by_key(|l| l.0);
    let changed: Vec<&(u32, String)> = layers.iter().filter(|l| a.total(l) != b.total(l)).collect();
    if as_json {
        return print_json(&diff_json(&a, &b, &changed)).map(|()| 0);
    }
    if a.bytes == b.bytes {
        print("the programs are the same\n")?;
        return Ok(0);
    }
    let mut s = String::new();
    for (name, x, y) in totals(&a, &b).into_iter().filter(|(_, x, y)| x != y) {
        let _ = writeln!(s, "{name:<14} {}", change(x, y));
    }
    for layer in &changed {
        let name = format!("{} {}", layer.0, escape(&layer.1));
        match (a.total(layer), b.total(layer)) {
            (Some(x), None) => {
                let _ =
                    writeln!(s, "layer {name}: only in the first, {} rounds, {} bytes", x.rounds.len(), x.payload());
            }
            (None, Some(y)) => {
                let _ =
                    writeln!(s, "layer {name}: only in the second, {} rounds, {} bytes", y.rounds.len(), y.payload());
            }
            (Some(x), Some(y)) => {
                let rounds = match x.rounds == y.rounds {
                    true => format!("rounds {}", spans(&x.rounds)),
                    false => format!("rounds {} -> {}", spans(&x.rounds), spans(&y.rounds)),
                };
                let _ = writeln!(s, "layer {name}: {rounds}, bytes {}", change(x.payload(), y.payload()));
                for cause in causes(&a, &b, layer) {
                    let ((r, x), (q, y)) = (a.cause(layer, cause), b.cause(layer, cause));
                    let _ = writeln!(
                        s,
                        "  {:<11} rounds {}, bytes {}",
                        cause.name(),
                        change(r as u64, q as u64),
                        change(x, y)
                    );
                }
            }
            (None, None) => {}
        }
    }
    if changed.is_empty() {
        s += "every layer has the same rounds and bytes\n";
    }
    print(&s)?;
    Ok(0)
}

/// Causes whose rounds or bytes changed in a layer.
fn causes(a: &Side, b: &Side, layer: &(u32, String)) -> BTreeSet<Cause> {
    Cause::ALL.into_iter().filter(|c| a.cause(layer, *c) != b.cause(layer, *c)).collect()
}

fn diff_json(a: &Side, b: &Side, changed: &[&(u32, String)]) -> Value {
    let side = |t: Option<Total>| t.map(|t| json!({ "rounds": t.rounds, "payload_bytes": t.payload() }));
    let layer = |l: &&(u32, String)| {
        let cause = |c: Cause| {
            let ((r, x), (q, y)) = (a.cause(l, c), b.cause(l, c));
            json!({ "cause": c.name(), "rounds": [r, q], "payload_bytes": [x, y] })
        };
        json!({
            "op": l.0, "name": escape(&l.1), "first": side(a.total(l)), "second": side(b.total(l)),
            "causes": causes(a, b, l).into_iter().map(cause).collect::<Vec<_>>(),
        })
    };
    let total = |(name, x, y): (&str, u64, u64)| (name.replace([' ', '-'], "_"), json!([x, y]));
    let totals: serde_json::Map<String, Value> = totals(a, b).into_iter().map(total).collect();
    json!({
        "schema": 1, "result": "ok", "equal": a.bytes == b.bytes, "totals": totals,
        "layers": changed.iter().map(layer).collect::<Vec<_>>(),
    })
}
