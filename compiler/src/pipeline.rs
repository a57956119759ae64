//! From a model file to a program and its weights: the list of passes, in order.
use crate::lower::plan::Plan;
pub use crate::lower::{Aim, Apart, Options, Owners, Reveal, Route};
use crate::lower::{LowerError, Lowered, lower, plan};
use crate::observed::{Observed, Place};
use crate::passes::{
    Function, Pass, Unit,
    check::{RECORD, check, early},
    fold::fold,
    merge::merge,
    opened_bits,
    unused::remove_unused,
};
use crate::profile::{self, Profile, REP3};
use crate::qgraph::{Graph, TensorId};
use crate::schedule::{KERNELS, measure, peak_memory, schedule};
use crate::tflite::{ImportReport, import};
pub use ir::Protocol;
use ir::weights::Weights;
use ir::{Modes, Party, Program, Round, Value};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Every pass, in order.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "import",
        about: "reads the model file into a quantized graph and lists everything that does not fit",
        run: |u| {
            u.graph = Some(import(u.model)?);
            Ok(())
        },
    },
    Pass {
        name: "plan",
        about: "finds and proves the constants of each requantization and the ring of each tensor",
        run: |u| {
            u.plans = Some(plan(graph(u), u.options)?);
            Ok(())
        },
    },
    Pass {
        name: "lower",
        about: "writes each operator as ops of at most one exchange",
        run: |u| {
            let plans = u.plans.as_ref().expect("stands behind `plan`");
            let mut lowered = lower(graph(u), plans, u.options, &u.owners)?;
            u.weights = std::mem::take(&mut lowered.weights);
            u.notes = std::mem::take(&mut lowered.notes);
            // Operators that nothing needs have no layer, inputs and outputs have one of their own.
            let made = graph(u).ops.iter().zip(&plans.ops).filter(|(_, plan)| !matches!(plan, Plan::Dead));
            let made: Vec<TensorId> = made.map(|(op, _)| op.output).collect();
            u.function = Some(assemble(lowered, &made, profile::of(u.options.protocol), u.options.modes));
            Ok(())
        },
    },
    Pass {
        name: "fold",
        about: "replaces what has no effect or is known: sums of constants, moves of moves",
        run: |u| {
            fold(u.function());
            Ok(())
        },
    },
    Pass {
        name: "merge",
        about: "computes and sends once what a layer computes or sends twice",
        run: |u| {
            merge(u.function());
            Ok(())
        },
    },
    Pass {
        name: "remove-unused",
        about: "removes instructions and constants that no output needs",
        run: |u| {
            remove_unused(u.function());
            Ok(())
        },
    },
    Pass {
        name: "check",
        about: "puts the check of all products in front of the openings, where a party may lie in them",
        run: |u| {
            check(u.function());
            Ok(())
        },
    },
    Pass {
        name: "schedule",
        about: "puts exchanges into the fewest rounds and local work between them",
        run: |u| {
            let profile = profile::of(u.options.protocol);
            schedule(u.function(), profile);
            Ok(())
        },
    },
    Pass {
        name: "check-early",
        about: "checks the products so far beside later ones, where their record would grow large",
        run: |u| {
            early(u.function(), RECORD);
            Ok(())
        },
    },
    Pass {
        name: "messages",
        about: "writes down the exact length of every message and the bits that are opened",
        run: |u| {
            let profile = profile::of(u.options.protocol);
            let program = &mut u.function().program;
            measure(program, profile);
            undisturbed(u, profile)
        },
    },
    Pass {
        name: "memory",
        about: "finds the most bytes that values and messages take at once",
        run: |u| {
            let profile = profile::of(u.options.protocol);
            let p = &mut u.function().program;
            p.peak_memory = peak_memory(p, profile);
            Ok(())
        },
    },
    Pass {
        name: "encode",
        about: "writes the bytecode; the weights file names its hash",
        run: |u| {
            u.bytes = ir::bytecode::encode(&u.function().program);
            Ok(())
        },
    },
];

/// A function that is not scheduled yet; `made` has the results of its layers but the first and the last.
fn assemble(lowered: Lowered, made: &[TensorId], profile: &Profile, modes: Modes) -> Function {
    let b = lowered.builder;
    let mut program = Program {
        protocol: profile.name.into(),
        parties: profile.parties,
        reveal: lowered.reveal,
        kernels: KERNELS.into(),
        modes,
        opened_bits: 0,
        // Where results may be off, or the number would tell scales, nothing is claimed.
        thresholds: if modes.probabilistic || modes.private_scales { 0 } else { lowered.thresholds },
        peak_memory: 0,
        interface: b.interface,
        consts: b.consts,
        insts: b.insts,
        setup_rounds: 0,
        rounds: vec![],
        layers: b.layers,
    };
    program.opened_bits = opened_bits(&program, &b.types);
    let results = made.iter().zip(lowered.results.iter().skip(1));
    let whole = |v: Value| vec![Place { value: v, offset: 0 }];
    let results = results.filter_map(|(t, v)| Some(Observed { tensor: *t, parts: whole((*v)?), turns: 1 })).collect();
    Function { program, results }
}

/// Refuses a program that sends something to the dealer.
fn undisturbed(u: &mut Unit<'_>, profile: &Profile) -> Result<(), CompileError> {
    let Some(dealer) = profile.dealer else { return Ok(()) };
    let p = &u.function().program;
    let receives = |round: &&Round| (0..p.parties).any(|q| round.messages.get(p.parties, Party(q), dealer) > 0);
    let Some(round) = p.rounds.iter().find(receives) else { return Ok(()) };
    let here = p.insts[..round.exchange_end as usize].last();
    let index = here.and_then(|i| p.layers.get(i.layer as usize)).map_or(0, |l| l.operator as usize);
    let name = profile.name;
    Err(match graph(u).ops.iter().find(|op| op.index == index) {
        Some(op) => {
            let reason = format!(
                "protocol {name} cannot compute it yet: its dealer would have to receive; compile it with `--protocol rep3`"
            );
            LowerError::Unsupported { index, name: op.name, reason }
        }
        None => LowerError::Model(format!("protocol {name}: its dealer would have to receive; compile it with `--protocol rep3`")),
    }
    .into())
}

/// Schedules instructions that no model has led to, such as those of a single gadget.
pub fn program_of(lowered: Lowered) -> Program {
    program_for(lowered, &REP3)
}

/// The same for another protocol.
pub fn program_for(lowered: Lowered, profile: &Profile) -> Program {
    let mut function = assemble(lowered, &[], profile, Modes::default());
    check(&mut function);
    schedule(&mut function, profile);
    early(&mut function, RECORD);
    measure(&mut function.program, profile);
    function.program.peak_memory = peak_memory(&function.program, profile);
    function.program
}

fn graph<'a>(u: &'a Unit<'_>) -> &'a Graph {
    u.graph.as_ref().expect("stands behind `import`")
}

/// Why a model did not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file.
    #[error("{0}")]
    Import(#[from] ImportReport),
    /// The graph.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A bug: the verifier refuses what a pass made.
    #[error("pass `{pass}` made a program that the verifier refuses: {}", .violations.join("; "))]
    Broken {
        /// Its name.
        pass: &'static str,
        /// The rules it breaks.
        violations: Vec<String>,
    },
    /// A bug: the list ends before there is a program.
    #[error("the passes end before there is a program")]
    Unfinished,
}

impl CompileError {
    /// Exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            CompileError::Import(report) => report.exit_code(),
            CompileError::Lower(LowerError::Operators(_)) => 5,
            CompileError::Lower(LowerError::Owner(_)) => 2,
            CompileError::Lower(_) => 3,
            CompileError::Broken { .. } | CompileError::Unfinished => 1,
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
    /// Where the results of operators are, for comparisons.
    pub results: Vec<Observed>,
}

/// Compiles a model file.
pub fn compile(model: &[u8]) -> Result<Compiled, CompileError> {
    compile_with(model, Options::default())
}

/// Compiles a model file in a given way.
pub fn compile_with(model: &[u8], options: Options) -> Result<Compiled, CompileError> {
    compile_for(model, options, Owners::default())
}

/// The same for inputs and outputs of chosen parties.
pub fn compile_for(model: &[u8], options: Options, owners: Owners) -> Result<Compiled, CompileError> {
    let unit = Unit { owners, ..Unit::new(model, options) };
    finish(run(unit, PASSES, |_, _, _| ControlFlow::Continue(()))?)
}

/// Runs passes in order, verifies after each, and tells `seen` the state and the time it took; `seen` may stop it.
pub fn run<'a>(
    mut unit: Unit<'a>,
    passes: &[Pass],
    mut seen: impl FnMut(&Pass, &Unit<'_>, Duration) -> ControlFlow<()>,
) -> Result<Unit<'a>, CompileError> {
    for pass in passes {
        let start = Instant::now();
        (pass.run)(&mut unit)?;
        let took = start.elapsed();
        let violations: Vec<String> = unit.violations().iter().map(ToString::to_string).collect();
        if !violations.is_empty() {
            return Err(CompileError::Broken { pass: pass.name, violations });
        }
        if seen(pass, &unit, took).is_break() {
            break;
        }
    }
    Ok(unit)
}

/// What a run of all passes made.
pub fn finish(unit: Unit<'_>) -> Result<Compiled, CompileError> {
    match (unit.function, unit.graph) {
        (Some(f), Some(graph)) if !unit.bytes.is_empty() => {
            let weights = Weights { program: ir::bytecode::program_hash(&unit.bytes), tensors: unit.weights };
            Ok(Compiled { program: f.program, bytes: unit.bytes, weights, graph, results: f.results })
        }
        _ => Err(CompileError::Unfinished),
    }
}
