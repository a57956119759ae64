//! What `--print-ir-after` and `--dump-ir-dir` show: the graph, the plans, or the program in its text form.
use super::Unit;
use crate::qgraph::{Graph, TensorId};
use ir::Program;
use ir::text::escape;
use std::collections::BTreeSet;
use std::fmt::Write;

/// How much is shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Constants shortened to their first elements.
    pub elide: bool,
    /// Layers by operator number or name; empty for everything.
    pub layers: Vec<String>,
}

impl Shown {
    /// Whether a layer is to be shown.
    pub fn has(&self, operator: usize, name: &str) -> bool {
        let is = |f: &String| f.eq_ignore_ascii_case(name) || f.parse() == Ok(operator);
        self.layers.is_empty() || self.layers.iter().any(is)
    }
}

/// The stage that the unit has reached, as text.
pub fn stage(unit: &Unit<'_>, shown: &Shown) -> String {
    match (&unit.function, &unit.graph) {
        (Some(f), _) => match ir::text::print(&f.program, shown.elide) {
            Ok(text) if shown.layers.is_empty() => text,
            Ok(text) => part(&text, &numbers(&f.program, shown)),
            Err(bad) => bad.iter().map(|v| format!("; {}\n", escape(&v.to_string()))).collect(),
        },
        (None, Some(g)) => graph(g, unit, shown),
        (None, None) => String::new(),
    }
}

fn numbers(p: &Program, shown: &Shown) -> BTreeSet<usize> {
    let has = |(i, l): (usize, &ir::Layer)| shown.has(l.operator as usize, &l.name).then_some(i);
    p.layers.iter().enumerate().filter_map(has).collect()
}

/// The instructions of some layers, with the rounds that they stand in.
fn part(text: &str, layers: &BTreeSet<usize>) -> String {
    let mut out = String::new();
    let mut keep = false;
    // The header of the round that is being read, until something in it is kept.
    let (mut header, mut open) = (None, false);
    for line in text.lines() {
        if line.starts_with("  round ") || line.starts_with("  setup round ") {
            header = Some(line);
            continue;
        }
        if line.starts_with("  }") {
            if open {
                let _ = writeln!(out, "{line}");
            }
            (header, open) = (None, false);
            continue;
        }
        if !line.starts_with("    ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("    layer ") {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            keep = number.parse().is_ok_and(|n| layers.contains(&n));
        }
        if keep {
            if let Some(line) = header.take() {
                let _ = writeln!(out, "{line}");
                open = true;
            }
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// One line per operator of the graph, with its plan once there is one.
fn graph(g: &Graph, unit: &Unit<'_>, shown: &Shown) -> String {
    let tensor = |id: TensorId| {
        let t = g.tensor(id);
        let dims: Vec<String> = t.shape.iter().map(usize::to_string).collect();
        let ring = unit.plans.as_ref().map(|p| format!(" ring {}", p.rings[id.index()])).unwrap_or_default();
        let dtype = format!("{:?}", t.dtype).to_lowercase();
        format!("t{} \"{}\" {dtype}[{}]{ring}", id.0, escape(&t.name), dims.join("x"))
    };
    let mut s = String::new();
    for (i, op) in g.ops.iter().enumerate().filter(|(_, op)| shown.has(op.index, op.name)) {
        let inputs: Vec<String> = op.inputs.iter().map(|t| format!("t{}", t.0)).collect();
        let _ = writeln!(s, "op {} {} {} -> {}", op.index, op.name, inputs.join(" "), tensor(op.output));
        if let Some(f) = unit.plans.as_ref().and_then(|p| p.ops[i].formulas()) {
            let _ = writeln!(s, "    {}", f.summary());
        }
    }
    s
}
