//! TFLite flatbuffer to quantized graph.
//!
//! The file is hostile: every index and length is checked before use, and what is copied out of it stays in proportion to its
//! length. All floating-point arithmetic of the compiler happens here. Adding an operator: its options in
//! `schema/tflite.fbs`, a function in `ops/`, a line in `ops::import`.

mod arith;
mod codes;
mod context;
mod fault;
mod names;
mod ops;
mod raw;
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, unused_imports, unsafe_op_in_unsafe_fn)]
#[allow(clippy::undocumented_unsafe_blocks, mismatched_lifetime_syntaxes)]
#[rustfmt::skip]
mod schema;

use std::fmt;

pub use codes::CODES;

use crate::qgraph::Graph;

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// A valid model that we cannot compile.
    Unsupported,
    /// More than we are prepared to handle.
    Limit,
    /// The file contradicts itself.
    Damaged,
}

/// One thing found wrong with a model.
#[derive(Clone, Debug)]
pub struct Problem {
    /// `Q1001` and so on; explained in [`CODES`].
    pub code: &'static str,
    /// Kind.
    pub category: Category,
    /// Index of the operator in the model file.
    pub operator: Option<usize>,
    /// TFLite's name of the operator.
    pub op_name: Option<String>,
    /// Name of the tensor, safe to print.
    pub tensor: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What the user can do.
    pub next_step: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(index) = self.operator {
            write!(f, "operator {index}")?;
            if let Some(name) = &self.op_name {
                write!(f, " ({name})")?;
            }
            write!(f, ": ")?;
        }
        if let Some(tensor) = &self.tensor {
            write!(f, "tensor `{tensor}`: ")?;
        }
        write!(f, "{}; {}", self.reason, self.next_step)
    }
}

/// Everything found wrong: first the model as a whole, then in operator order. Never empty.
#[derive(Clone, Debug)]
pub struct ImportReport {
    /// The problems, at most a thousand.
    pub problems: Vec<Problem>,
}

impl ImportReport {
    /// Exit code of the process: 4 damaged, 5 limit, 3 unsupported; the first of these that occurs.
    pub fn exit_code(&self) -> u8 {
        match self.problems.iter().map(|problem| problem.category).max() {
            Some(Category::Damaged) => 4,
            Some(Category::Limit) => 5,
            Some(Category::Unsupported) | None => 3,
        }
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ImportReport {}

/// Reads and checks a model. `bytes` is hostile.
pub fn import(bytes: &[u8]) -> Result<Graph, ImportReport> {
    match raw::read(bytes) {
        Ok(raw) => context::import(&raw).map_err(|problems| ImportReport { problems }),
        Err(fault) => Err(ImportReport { problems: vec![context::problem(fault, None, None)] }),
    }
}
