//! TFLite flatbuffer to quantized graph.
//!
//! The file is hostile: every index and length is checked before use, and what is copied out of it stays in proportion to its
//! length. All floating-point arithmetic of the compiler happens here. Adding an operator: its options in
//! `schema/tflite.fbs`, a function in `ops/`, a line in `ops::import`.

mod arith;
mod checks;
mod codes;
mod context;
mod fault;
mod names;
mod ops;
mod raw;
mod support;
mod variables;
mod walk;

use tflite_schema as schema;

use std::fmt;

pub use checks::MAX_ELEMENTS;
pub use codes::CODES;
pub use raw::MAX_RANK;
pub use support::{Cost, Support, support};

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

/// Name and builtin code of every operator that can be imported, by name.
pub fn operators() -> impl Iterator<Item = (&'static str, i32)> {
    let mut list: Vec<(&'static str, i32)> = (0..)
        .map_while(|code| Some((names::operator(code)?, code)))
        .filter(|(name, _)| ops::importer(name).is_some() || variables::effect(name).is_some())
        .collect();
    list.sort_unstable();
    list.into_iter()
}

/// Reads and checks a model. `bytes` is hostile.
pub fn import(bytes: &[u8]) -> Result<Graph, ImportReport> {
    match raw::read(bytes) {
        Ok(raw) => walk::import(&raw).map_err(|problems| ImportReport { problems }),
        Err(fault) => Err(ImportReport { problems: vec![walk::problem(fault, None, None)] }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::schema::tflite as fb;
    use super::*;

    /// A model whose lists of tensors and operators repeat one table each.
    fn repetitive(tensors: usize, operators: usize, operands: usize) -> Vec<u8> {
        let mut builder = planus::Builder::new();
        let quantization =
            fb::QuantizationParameters { scale: Some(vec![1.0]), zero_point: Some(vec![0]), ..Default::default() };
        let tensor = fb::Tensor {
            shape: Some(vec![1]),
            element_type: 9,
            quantization: Some(Box::new(quantization)),
            ..Default::default()
        };
        let tensor = planus::WriteAsOffset::prepare(&tensor, &mut builder);
        let operator = fb::Operator { inputs: Some(vec![0; operands]), outputs: Some(vec![1]), ..Default::default() };
        let operator = planus::WriteAsOffset::prepare(&operator, &mut builder);
        let tensors = builder.create_vector(vec![tensor; tensors]);
        let operators = builder.create_vector(vec![operator; operators]);
        let graph = fb::SubGraph::create(&mut builder, tensors, &[0][..], &[1][..], operators);
        let code = fb::OperatorCode { version: 1, builtin_code: 9, ..Default::default() };
        let buffer = fb::Buffer::default();
        let model = fb::Model::create(&mut builder, 3u32, &[code][..], &[graph][..], None::<&[u8]>, &[buffer][..]);
        let bytes = builder.finish(model, None);
        let root = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) + 4;
        [&root.to_le_bytes(), &b"TFL3"[..], &bytes[4..]].concat()
    }

    #[test]
    fn repetition_is_bounded() {
        for (tensors, operators, operands, code) in
            [(2, 1, 1, 4), (1 << 17, 1 << 16, 2, 4), (1 << 18, 1, 1, 5), (2, 1 << 17, 1, 5), (2, 1 << 15, 1 << 10, 5)]
        {
            let bytes = repetitive(tensors, operators, operands);
            let start = Instant::now();
            let report = import(&bytes).expect_err("the operator has no options");
            assert!(start.elapsed() < Duration::from_secs(1));
            assert!(report.problems.len() <= 1000);
            assert_ne!(report.problems[0].code, codes::NOT_TFLITE);
            assert_eq!(report.exit_code(), code, "{tensors} {operators} {operands}: {}", report.problems[0]);
        }
    }
}
