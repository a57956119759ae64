//! What a pass is, and what passes hand on. The list of passes, in order, is [`crate::pipeline::PASSES`].
//!
//! A model becomes a graph, the graph gets plans, graph and plans become a function: a [`Program`], at first without
//! rounds. Later passes rewrite the function. After each pass the program must keep every rule of the verifier.
pub mod check;
pub mod fold;
pub mod merge;
pub mod text;
pub mod unused;

use crate::lower::builder::Builder;
use crate::lower::plan::Plans;
use crate::observed::{Observed, Place};
use crate::pipeline::{CompileError, Options, Owners};
use crate::qgraph::Graph;
use ir::ops::Class;
use ir::verify::{Violation, verify};
use ir::{Domain, Inst, Messages, Op, Program, Round, Value};

/// A step of the compiler.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Does it.
    pub run: fn(&mut Unit<'_>) -> Result<(), CompileError>,
}

/// A program on its way, and what is known beside it.
pub struct Function {
    /// The program; without rounds until it is scheduled.
    pub program: Program,
    /// Where the results of operators are, for comparisons, as far as passes left a form of them.
    pub results: Vec<Observed>,
}

/// What passes hand on.
pub struct Unit<'a> {
    /// Bytes of the model file.
    pub model: &'a [u8],
    /// What the user chose.
    pub options: Options,
    /// Who owns the inputs and receives the outputs.
    pub owners: Owners,
    /// The quantized graph.
    pub graph: Option<Graph>,
    /// Constants and ring widths.
    pub plans: Option<Plans>,
    /// The program.
    pub function: Option<Function>,
    /// The private tensors.
    pub weights: Vec<Vec<i32>>,
    /// What was chosen for layers, and why.
    pub notes: Vec<(u32, String)>,
    /// The encoded program.
    pub bytes: Vec<u8>,
}

impl<'a> Unit<'a> {
    /// Before the first pass.
    pub fn new(model: &'a [u8], options: Options) -> Self {
        let owners = Owners::default();
        let (graph, plans, function) = (None, None, None);
        Unit { model, options, owners, graph, plans, function, weights: vec![], notes: vec![], bytes: vec![] }
    }

    /// The function, in a pass that stands behind `lower`.
    pub fn function(&mut self) -> &mut Function {
        self.function.as_mut().expect("stands behind `lower`")
    }

    /// Breaks of the verifier's rules, as far as there is a program.
    pub fn violations(&self) -> Vec<Violation> {
        let Some(f) = &self.function else { return vec![] };
        if !f.program.rounds.is_empty() {
            return verify(&f.program).err().unwrap_or_default();
        }
        let mut broken = verify(&one_by_one(&f.program)).err().unwrap_or_default();
        // What belongs to set-up is not known before scheduling, and the check is put in late.
        broken.retain(|v| ![SETUP_RULE, CHECK_RULE].contains(&v.rule));
        broken
    }
}

/// Rule of the verifier that says what happens in set-up.
const SETUP_RULE: u8 = 8;
/// The one that says where the check of products stands.
const CHECK_RULE: u8 = 17;

/// The program with a round for each exchange, so that the rules of scheduled programs can be asked of it.
fn one_by_one(p: &Program) -> Program {
    let talks = |i: &usize| p.insts[*i].op.class() == Class::Round;
    let round =
        |i: usize| Round { local_end: i as u32, exchange_end: i as u32 + 1, messages: Messages::none(p.parties) };
    Program { rounds: (0..p.insts.len()).filter(talks).map(round).collect(), ..p.clone() }
}

/// What becomes of an instruction.
pub enum Step {
    /// This op stands in its place.
    Op(Op<Value>),
    /// Its results are these values.
    Same(Vec<Value>),
    /// It goes; nothing uses it.
    Gone,
}

/// Rebuilds a function without rounds. `step` sees each instruction with renamed operands, and what stands so far.
pub fn rewrite(f: &mut Function, mut step: impl FnMut(&mut Builder, usize, &Inst) -> Step) {
    let p = &mut f.program;
    let old = std::mem::take(&mut p.insts);
    let consts = std::mem::take(&mut p.consts);
    let mut b = Builder::resume(p.interface.clone(), p.scheme(), consts);
    let mut renamed: Vec<Option<Value>> = Vec::new();
    for (i, inst) in old.into_iter().enumerate() {
        let results = results_of(&inst.op);
        b.layer = inst.layer;
        let gone = inst.op.operands().iter().any(|v| renamed[v.index()].is_none());
        if gone {
            renamed.extend(std::iter::repeat_n(None, results));
            continue;
        }
        let op = inst.op.map(|v| renamed[v.index()].expect("just checked"));
        match step(&mut b, i, &Inst { op, layer: inst.layer }) {
            Step::Op(op) => renamed.extend(b.emit(op).into_iter().map(Some)),
            Step::Same(values) => renamed.extend(values.into_iter().map(Some)),
            Step::Gone => renamed.extend(std::iter::repeat_n(None, results)),
        }
    }
    (p.insts, p.consts) = (b.insts, b.consts);
    f.rename(|v| renamed[v.index()]);
}

/// Number of results of an op.
pub fn results_of(op: &Op<Value>) -> usize {
    match op {
        Op::Output { .. } | Op::Store { .. } => 0,
        Op::Check { parts, .. } => parts.len(),
        Op::Split { .. } | Op::SplitShared { .. } => 2,
        _ => 1,
    }
}

impl Function {
    /// Tells where values went.
    pub fn rename(&mut self, to: impl Fn(Value) -> Option<Value>) {
        let place = |p: &Place| Some(Place { value: to(p.value)?, ..*p });
        let all = |mut o: Observed| {
            o.parts = o.parts.iter().map(place).collect::<Option<_>>()?;
            Some(o)
        };
        self.results = std::mem::take(&mut self.results).into_iter().filter_map(all).collect();
    }
}

/// Bits that the openings of one inference show.
pub fn opened_bits(p: &Program, types: &[ir::Type]) -> u64 {
    let bits = |inst: &Inst| match &inst.op {
        Op::Open { x, .. } => {
            let t = &types[x.index()];
            let (Domain::Ring(k) | Domain::Bits(k)) = t.domain;
            t.len() as u64 * u64::from(k)
        }
        _ => 0,
    };
    p.insts.iter().map(bits).sum()
}
