//! From a model file to a program and its weights.
use crate::lower::{LowerError, lower};
pub use crate::lower::{Reveal, Route};
use crate::profile::REP3;
use crate::qgraph::Graph;
use crate::schedule::schedule;
use crate::tflite::{ImportReport, import};
use ir::Program;
use ir::weights::Weights;

/// Why a model did not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file.
    #[error("{0}")]
    Import(#[from] ImportReport),
    /// The graph.
    #[error(transparent)]
    Lower(#[from] LowerError),
}

impl CompileError {
    /// Exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            CompileError::Import(report) => report.exit_code(),
            CompileError::Lower(LowerError::Operators(_)) => 5,
            CompileError::Lower(_) => 3,
        }
    }
}

/// A compiled model.
pub struct Compiled {
    /// The program.
    pub program: Program,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The private weights, bound to the bytes.
    pub weights: Weights,
    /// The quantized graph, for the oracle.
    pub graph: Graph,
}

/// Choices a user has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How requantizations are computed.
    pub route: Route,
    /// What the receiver learns.
    pub reveal: Reveal,
}

/// Compiles a model file.
pub fn compile(model: &[u8]) -> Result<Compiled, CompileError> {
    compile_with(model, Options::default())
}

/// Compiles a model file in a given way.
pub fn compile_with(model: &[u8], options: Options) -> Result<Compiled, CompileError> {
    let graph = import(model)?;
    let mut lowered = lower(&graph, options.route, options.reveal)?;
    let tensors = std::mem::take(&mut lowered.weights);
    let program = schedule(lowered, &REP3);
    if let Err(bad) = ir::verify::verify(&program) {
        let list: Vec<String> = bad.iter().map(ToString::to_string).collect();
        panic!("the compiler made a program that its own verifier refuses: {}", list.join("; "));
    }
    let bytes = ir::bytecode::encode(&program);
    let weights = Weights { program: ir::bytecode::program_hash(&bytes), tensors };
    Ok(Compiled { program, bytes, weights, graph })
}
