//! What the compiler can say about each layer: which rounds it takes and why, which ranges were proved, and what was
//! not merged. Every remark is read off the graph, the plans or the program; nothing is computed for it alone.
mod missed;
mod ranges;
mod rounds;

pub use missed::missed;
pub use ranges::ranges;
pub use rounds::rounds;

use ir::text::escape;
use std::fmt;

/// Something said about a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// `rounds`, `ranges` or `missed`.
    pub kind: &'static str,
    /// Layer, as in `CONV_2D (operator 3)`.
    pub layer: String,
    /// What is said, in a line.
    pub what: String,
    /// Details, one per line.
    pub details: Vec<String>,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remark[{}]: {}: {}", self.kind, self.layer, self.what)?;
        self.details.iter().try_for_each(|d| write!(f, "\n  {d}"))
    }
}

/// How a layer is called in remarks.
fn label(l: &ir::Layer) -> String {
    named(l.operator as usize, &l.name)
}

fn named(operator: usize, name: &str) -> String {
    match name {
        "input" | "output" => name.to_owned(),
        _ => format!("{} (operator {operator})", escape(name)),
    }
}

/// A number and its noun.
fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
