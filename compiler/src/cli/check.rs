//! `qnnc check`: everything that keeps a model from compiling, and the compilation shared with the other commands.
use super::failure::{COMMAND_LINE, Failure, MODEL, NO_CONSTANTS, NOT_LOWERED};
use super::{files, print, print_json, program, say};
use compiler::lower::LowerError;
use compiler::pipeline::{CompileError, Compiled, Options, compile_with};
use compiler::tflite::{Category, Problem, import};
use serde_json::{Value, json};
use std::path::Path;

/// A flatbuffer's offsets reach no further.
pub const MAX_MODEL: u64 = (1 << 31) - 1;

/// Why a model was refused: every problem, and the exit code.
pub struct Refusal {
    pub exit: u8,
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// The problems as lines for stderr.
    pub fn failure(&self) -> Failure {
        let mut lines: Vec<String> = self.problems.iter().map(|p| format!("error: {p}")).collect();
        if let Some(first) = self.problems.first() {
            lines.push(format!("`qnnc explain {}` says more", first.code));
        }
        Failure::listed(self.exit, lines.join("\n"))
    }

    /// The problems for machines.
    pub fn json(&self) -> Value {
        let problem = |p: &Problem| {
            json!({
                "code": p.code, "category": category(p.category), "operator": p.operator, "op": p.op_name,
                "tensor": p.tensor, "reason": p.reason, "next_step": p.next_step,
            })
        };
        let result = match self.exit {
            4 => "damaged",
            5 => "limit",
            _ => "unsupported",
        };
        let problems: Vec<Value> = self.problems.iter().map(problem).collect();
        json!({ "schema": 1, "result": result, "exit_code": self.exit, "problems": problems })
    }
}

fn category(c: Category) -> &'static str {
    match c {
        Category::Unsupported => "unsupported",
        Category::Limit => "limit",
        Category::Damaged => "damaged",
    }
}

/// Compiles a model or says everything that is wrong with it.
pub fn build(model: &[u8], options: Options) -> Result<Compiled, Refusal> {
    compile_with(model, options).map_err(|e| refusal(model, e))
}

/// Everything that a failed compilation found.
pub fn refusal(model: &[u8], e: CompileError) -> Refusal {
    let exit = e.exit_code();
    match e {
        CompileError::Import(report) => Refusal { exit, problems: report.problems },
        CompileError::Lower(e) => Refusal { exit, problems: vec![lowering_problem(model, &e)] },
        e @ (CompileError::Broken { .. } | CompileError::Unfinished) => panic!("{e}"),
    }
}

/// A reason, and what to do about it: what it says itself behind its last semicolon, or what helps in general.
fn advised(reason: &str, general: &'static str) -> (String, String) {
    let (what, next) = reason.rsplit_once("; ").unwrap_or((reason, general));
    (what.to_owned(), next.to_owned())
}

fn lowering_problem(model: &[u8], e: &LowerError) -> Problem {
    let (code, operator, (reason, next_step)) = match e {
        LowerError::Constants { index, name, channel, source } => {
            let next = "quantize again with a better representative data set".to_owned();
            (NO_CONSTANTS, Some((*index, *name)), (format!("channel {channel}: {source}"), next))
        }
        LowerError::Unsupported { index, name, reason } => {
            (NOT_LOWERED, Some((*index, *name)), advised(reason, "change the operator before quantizing"))
        }
        LowerError::Operators(_) => (MODEL, None, advised(&e.to_string(), "split the model")),
        LowerError::Owner(reason) => (COMMAND_LINE, None, advised(reason, "name inputs and parties that are there")),
        LowerError::Model(reason) => (MODEL, None, advised(reason, "convert the model to int8 throughout")),
    };
    let tensor = operator.and_then(|(index, _)| {
        let graph = import(model).ok()?;
        let op = graph.ops.iter().find(|op| op.index == index)?;
        Some(ir::text::escape(&graph.tensor(op.output).name).chars().take(80).collect())
    });
    Problem {
        code,
        category: if matches!(e, LowerError::Operators(_)) { Category::Limit } else { Category::Unsupported },
        operator: operator.map(|(index, _)| index),
        op_name: operator.map(|(_, name)| name.to_owned()),
        tensor,
        reason,
        next_step,
    }
}

/// Lists all problems of a model.
pub fn check(path: &Path, json: bool) -> Result<u8, Failure> {
    let model = files::read(path, MAX_MODEL)?;
    match build(&model, Options::default()) {
        Ok(compiled) => {
            if json {
                let mut object = program::summary_json(&compiled.program, &compiled.bytes);
                object["exit_code"] = 0.into();
                object["problems"] = json!([]);
                print_json(&object)?;
            } else {
                print(&format!("compiles: {}\n", program::cost_line(&compiled.program)))?;
            }
            Ok(0)
        }
        Err(refusal) => {
            if json {
                print_json(&refusal.json())?;
            } else {
                let lines: String = refusal.problems.iter().map(|p| format!("{p}\n")).collect();
                print(&lines)?;
                let n = refusal.problems.len();
                let first = refusal.problems.first().map_or("Q1001", |p| p.code);
                say(&format!("{n} {}; `qnnc explain {first}` says more", if n == 1 { "problem" } else { "problems" }));
            }
            Ok(refusal.exit)
        }
    }
}
