//! Walks the operators of a model: checks the flow of data, hands each operator to its function and collects what is wrong.

use super::context::{Context, Site, tensor_id};
use super::fault::{Fault, Stop, damaged, unsupported};
use super::raw::{Raw, RawOperator, RawTensor};
use super::{Category, Problem, codes, names, ops, variables};
use crate::qgraph::{Graph, Kind, Op, TensorId, eval};

/// Longest report.
const MAX_PROBLEMS: usize = 1000;
/// Newest operator version that is not refused out of hand.
const MAX_VERSION: i32 = 16;

/// A fault with its place in words.
pub(super) fn problem(fault: Fault, raw: Option<&Raw<'_>>, place: Option<(usize, Option<String>)>) -> Problem {
    let tensor = fault.tensor.and_then(|index| Some((index, raw?.tensors.get(index)?)));
    let (operator, op_name) = place.unzip();
    Problem {
        code: fault.code,
        category: fault.category,
        operator,
        op_name: op_name.flatten(),
        tensor: tensor.map(
            |(index, tensor)| if tensor.name.is_empty() { format!("#{index}") } else { names::printable(&tensor.name) },
        ),
        reason: fault.reason,
        next_step: fault.next_step,
    }
}

/// Who defines a tensor so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// No operator writes it.
    Nothing,
    /// An operator that has not been reached writes it.
    Later,
    /// Has no elements, so it needs no data.
    Empty,
    /// Keeps state between calls.
    Variable,
    Constant,
    Input,
    Operator,
}

/// Checks the model and makes the graph.
pub(super) fn import<'a>(raw: &'a Raw<'a>) -> Result<Graph, Vec<Problem>> {
    let mut cx = Context::new(raw);
    let mut problems: Vec<Problem> = Vec::new();
    let mut report = |fault: Fault, place: Option<(usize, Option<String>)>| {
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem(fault, Some(raw), place));
        }
    };
    raw.faults.iter().for_each(|fault| report(fault.clone(), None));

    let mut origins: Vec<Origin> = raw.tensors.iter().map(origin).collect();
    let inputs = interface(&raw.inputs, raw, "input", &mut report);
    let outputs = interface(&raw.outputs, raw, "output", &mut report);
    for &index in &inputs {
        cx.is_input[index] = true;
        match origins[index] {
            Origin::Nothing | Origin::Empty => origins[index] = Origin::Input,
            Origin::Input => {
                report(
                    unsupported(codes::INTERFACE, "it is listed twice as input of the model", "list each input once")
                        .at(index),
                    None,
                );
            }
            _ => report(
                unsupported(codes::INTERFACE, "it is an input of the model and a constant", "list only real inputs")
                    .at(index),
                None,
            ),
        }
    }

    for &index in raw.operators.iter().flat_map(|operator| &operator.outputs) {
        if let Some(origin) = usize::try_from(index)
            .ok()
            .and_then(|index| origins.get_mut(index))
            .filter(|origin| **origin == Origin::Nothing)
        {
            *origin = Origin::Later;
        }
    }

    let mut graph_ops = Vec::with_capacity(raw.operators.len());
    for (index, operator) in raw.operators.iter().enumerate() {
        let name = operator.code.as_ref().and_then(|code| names::operator(code.builtin));
        match import_operator(&mut cx, &mut origins, operator, index) {
            Ok(made) => graph_ops.extend(made),
            Err(Stop::Known) => {}
            Err(Stop::New(fault)) => report(fault, Some((index, name.map(str::to_owned)))),
        }
    }

    for &index in inputs.iter().chain(&outputs) {
        if origins[index] == Origin::Nothing {
            report(damaged(codes::DATAFLOW, "it is an output of the model but nothing computes it").at(index), None);
        } else if let Err(Stop::New(fault)) = cx.interface(index) {
            report(fault, None);
        }
    }
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.operator);
        return Err(problems);
    }
    let ids = |list: Vec<usize>| list.into_iter().map(tensor_id).collect::<Result<Vec<_>, _>>();
    match (ids(inputs), ids(outputs)) {
        (Ok(inputs), Ok(outputs)) => {
            Ok(Graph { tensors: cx.tensors, ops: graph_ops, inputs, outputs, states: cx.states })
        }
        (Err(fault), _) | (_, Err(fault)) => Err(vec![problem(fault, Some(raw), None)]),
    }
}

/// What a tensor is before any operator runs.
fn origin(tensor: &RawTensor<'_>) -> Origin {
    match &tensor.data {
        Ok(data) if !data.is_empty() => Origin::Constant,
        // The fault is reported where the tensor is used.
        Err(_) => Origin::Constant,
        Ok(_) if tensor.dims.contains(&0) => Origin::Empty,
        Ok(_) if tensor.is_variable => Origin::Variable,
        Ok(_) => Origin::Nothing,
    }
}

/// The model's inputs or outputs that exist; the others are reported.
fn interface(
    list: &[i32],
    raw: &Raw<'_>,
    what: &str,
    report: &mut impl FnMut(Fault, Option<(usize, Option<String>)>),
) -> Vec<usize> {
    if list.is_empty() {
        report(
            unsupported(
                codes::INTERFACE,
                format!("the model has no {what}"),
                "export the model with inputs and outputs",
            ),
            None,
        );
    }
    let mut found = Vec::with_capacity(list.len());
    for &index in list {
        match usize::try_from(index) {
            Ok(index) if index < raw.tensors.len() => found.push(index),
            _ => report(
                damaged(
                    codes::INDEX,
                    format!("an {what} of the model is tensor {index}, there are {}", raw.tensors.len()),
                ),
                None,
            ),
        }
    }
    found
}

fn import_operator<'a>(
    cx: &mut Context<'a>,
    origins: &mut [Origin],
    operator: &'a RawOperator<'a>,
    index: usize,
) -> Result<Vec<Op>, Stop> {
    let checked = check_flow(origins, operator);
    let code = operator.code.as_ref().ok_or_else(|| damaged(codes::INDEX, "its operator code is not in the model"))?;
    let Some(name) = names::operator(code.builtin) else {
        return Err(unsupported(
            codes::UNKNOWN_OPERATOR,
            format!("operator code {} is not known", code.builtin),
            "use a newer release of this compiler or an older converter",
        )
        .into());
    };
    if name == "CUSTOM" {
        let custom = names::printable(&code.custom);
        return Err(unsupported(
            codes::CUSTOM,
            format!("`{custom}` is a custom operator"),
            "convert the model with built-in operators only",
        )
        .into());
    }
    let (import, effect) = (ops::importer(name), variables::effect(name));
    if import.is_none() && effect.is_none() {
        checked.or_else(|fault| {
            if fault.category == Category::Damaged && fault.code == codes::INDEX { Err(fault) } else { Ok(()) }
        })?;
        let reason = if ops::is_float_only(name) {
            format!("TFLite's reference kernels have no 8-bit form of {name}")
        } else {
            format!("the operator {name} is not supported")
        };
        return Err(unsupported(codes::OPERATOR, reason, "replace it before quantizing, or cut the model here").into());
    }
    checked?;
    if code.version > MAX_VERSION {
        return Err(unsupported(
            codes::OP_VERSION,
            format!("version {} of {name} is not known", code.version),
            "use an older converter",
        )
        .into());
    }
    if let Some(values) = ops::shapes::known(cx, &Site { operator, name, part: 0 })? {
        let result = Site { operator, name, part: 0 }.result()?;
        cx.tensors[result].constant = Some(values);
        return Ok(Vec::new());
    }
    if let Some(effect) = effect {
        effect(cx, &Site { operator, name, part: 0 })?;
    }
    let Some(import) = import else { return Ok(Vec::new()) };
    let parts = if ops::has_parts(name) { operator.outputs.len() } else { 1 };
    let mut made = Vec::with_capacity(parts);
    for part in 0..parts {
        let site = Site { operator, name, part };
        let output = tensor_id(site.result()?)?;
        let last: Result<(Kind, Vec<TensorId>), Stop> = import(cx, &site);
        let steps = cx.take_steps();
        let (kind, inputs) = last?;
        made.extend(steps.into_iter().map(|(kind, inputs, output)| Op { index, name, kind, inputs, output }));
        made.push(Op { index, name, kind, inputs, output });
    }
    Ok(made.into_iter().filter(|op| !fold(cx, op)).collect())
}

/// Computes what depends on constants only, once and for all.
fn fold(cx: &mut Context<'_>, op: &Op) -> bool {
    let known = !op.inputs.is_empty() && op.inputs.iter().all(|id| cx.tensors[id.index()].constant.is_some());
    let place = op.output.index();
    if !known || cx.take(cx.tensors[place].len(), size_of::<i32>()).is_err() {
        return false;
    }
    cx.tensors[place].constant = eval::constant(&cx.tensors, op);
    cx.tensors[place].constant.is_some()
}

/// Operands are defined, results are not; then they are.
fn check_flow(origins: &mut [Origin], operator: &RawOperator<'_>) -> Result<(), Fault> {
    let mut verdict = Ok(());
    for &index in &operator.inputs {
        let found = match usize::try_from(index) {
            Ok(at) => match origins.get(at) {
                Some(Origin::Nothing) => {
                    Err(damaged(codes::DATAFLOW, "it has no data and nothing in the model computes it").at(at))
                }
                Some(Origin::Later) => {
                    Err(damaged(codes::DATAFLOW, "it is read before the operator that computes it").at(at))
                }
                Some(_) => Ok(()),
                None => Err(out_of_range(index, origins.len())),
            },
            Err(_) if index == -1 => Ok(()),
            Err(_) => Err(out_of_range(index, origins.len())),
        };
        verdict = verdict.and(found);
    }
    for &index in &operator.outputs {
        let found = match usize::try_from(index).ok().and_then(|at| Some((at, origins.get_mut(at)?))) {
            None => Err(out_of_range(index, origins.len())),
            Some((_, origin)) if matches!(origin, Origin::Nothing | Origin::Later | Origin::Empty) => {
                *origin = Origin::Operator;
                Ok(())
            }
            Some((at, Origin::Operator)) => Err(damaged(codes::DATAFLOW, "two operators write it").at(at)),
            Some((at, Origin::Input)) => {
                Err(damaged(codes::DATAFLOW, "an operator writes an input of the model").at(at))
            }
            Some((at, _)) => Err(damaged(codes::DATAFLOW, "an operator writes a constant").at(at)),
        };
        verdict = verdict.and(found);
    }
    verdict
}

fn out_of_range(index: i32, tensors: usize) -> Fault {
    damaged(codes::INDEX, format!("it refers to tensor {index}, the model has {tensors}"))
}
