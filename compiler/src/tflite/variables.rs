//! Resource variables: VAR_HANDLE, CALL_ONCE and ASSIGN_VARIABLE make no op, READ_VARIABLE copies.
//!
//! A variable that is read before it is assigned holds what the call before left, at first what the subgraph of CALL_ONCE
//! stored.
use std::collections::HashMap;

use super::checks::{element_type, elements, per_tensor, shape};
use super::context::{Context, Site, no_options, stored};
use super::fault::{Fault, Stop, damaged, unsupported};
use super::ops::field;
use super::raw::{RawGraph, RawOperator, RawTensor};
use super::schema::tflite::BuiltinOptionsRef;
use super::{codes, names};
use crate::qgraph::{DType, Kind, State, Tensor, TensorId};

/// Container and name of a variable in the file.
type Name<'a> = (&'a [u8], &'a [u8]);

/// One variable.
struct Variable {
    /// What it is initialized with.
    initial: Option<Tensor>,
    /// Its value where the walk stands.
    current: Option<TensorId>,
    /// Its place in [`Context::states`].
    state: Option<usize>,
}

/// The variables of a model.
#[derive(Default)]
pub(super) struct Variables<'a> {
    handles: HashMap<usize, Name<'a>>,
    known: HashMap<Name<'a>, Variable>,
}

/// What an operator does that yields no value.
pub(super) type Effect = for<'c, 's, 'a> fn(&'c mut Context<'a>, &'s Site<'a>) -> Result<(), Stop>;

/// The function of an operator that yields no value.
pub(super) fn effect(name: &str) -> Option<Effect> {
    Some(match name {
        "VAR_HANDLE" => handle,
        "CALL_ONCE" => call_once,
        "ASSIGN_VARIABLE" => assign,
        _ => return None,
    })
}

fn name_of<'a>(operator: &RawOperator<'a>) -> Result<Name<'a>, Fault> {
    let Some(BuiltinOptionsRef::VarHandleOptions(options)) = operator.options else {
        return Err(no_options());
    };
    Ok((field(options.container())?.unwrap_or_default(), field(options.shared_name())?.unwrap_or_default()))
}

fn handle<'a>(cx: &mut Context<'a>, site: &Site<'a>) -> Result<(), Stop> {
    site.operands(0, 0)?;
    let name = name_of(site.operator)?;
    cx.variables.handles.insert(site.result()?, name);
    Ok(())
}

/// The variable that an operand is the handle of.
fn named<'c, 'a>(cx: &'c mut Context<'a>, index: usize) -> Result<&'c mut Variable, Fault> {
    let no_handle = || damaged(codes::OPERANDS, "it is not the handle of a variable").at(index);
    let name = *cx.variables.handles.get(&index).ok_or_else(no_handle)?;
    Ok(cx.variables.known.entry(name).or_insert(Variable { initial: None, current: None, state: None }))
}

fn assign<'a>(cx: &mut Context<'a>, site: &Site<'a>) -> Result<(), Stop> {
    site.operands(2, 2)?;
    let (handle, value) = (site.operand(0)?, cx.data(site.operand(1)?)?);
    let variable = named(cx, handle)?;
    variable.current = Some(value.id);
    let (state, initial) = (variable.state, variable.initial.clone());
    if let Some(initial) = initial {
        value.expect_type(initial.dtype)?;
        value.expect_shape(&initial.shape)?;
    }
    if let Some(state) = state {
        cx.states[state].next = value.id;
    }
    Ok(())
}

/// READ_VARIABLE.
pub(super) fn read(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(1, 1)?;
    let handle = site.operand(0)?;
    let output = cx.activation(site.result()?)?;
    let variable = named(cx, handle)?;
    let (current, initial) = (variable.current, variable.initial.clone());
    let current = match (current, initial) {
        (Some(current), _) => current,
        (None, None) => {
            let reason = "it reads a variable that nothing has assigned, which TFLite refuses";
            return Err(unsupported(codes::DATAFLOW, reason, "initialize it with CALL_ONCE").at(handle).into());
        }
        (None, Some(mut initial)) => {
            let values = initial.constant.take().unwrap_or_default();
            let tensor = cx.add_tensor(initial)?;
            cx.states.push(State { tensor, next: tensor, initial: values });
            let state = cx.states.len() - 1;
            let variable = named(cx, handle)?;
            (variable.current, variable.state) = (Some(tensor), Some(state));
            tensor
        }
    };
    output.expect_type(cx.tensors[current.index()].dtype)?;
    output.expect_shape(&cx.tensors[current.index()].shape.clone())?;
    Ok((Kind::Reshape, vec![current]))
}

/// The subgraph may store constants in variables and nothing else.
fn call_once<'a>(cx: &mut Context<'a>, site: &Site<'a>) -> Result<(), Stop> {
    let Some(BuiltinOptionsRef::CallOnceOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(0, 0)?;
    let index = field(options.init_subgraph_index())?;
    let graph = usize::try_from(index).ok().and_then(|index| cx.model().others.get(index.checked_sub(1)?));
    let graph = graph.ok_or_else(|| damaged(codes::INDEX, format!("it calls subgraph {index}")))?;
    let mut handles: HashMap<i32, Name<'a>> = HashMap::new();
    for operator in &graph.operators {
        let name = operator.code.as_ref().and_then(|code| names::operator(code.builtin));
        match (name, &operator.inputs[..], &operator.outputs[..]) {
            (Some("VAR_HANDLE"), [], [result]) => {
                handles.insert(*result, name_of(operator)?);
            }
            (Some("ASSIGN_VARIABLE"), [handle, value], []) => {
                let name = *handles.get(handle).ok_or_else(|| damaged(codes::OPERANDS, "it assigns to no variable"))?;
                let initial = initial(cx, graph, *value)?;
                cx.variables.known.insert(name, Variable { initial: Some(initial), current: None, state: None });
            }
            _ => {
                let reason = "its subgraph does more than store constants in variables";
                return Err(unsupported(codes::VARIANT, reason, "initialize variables with constants").into());
            }
        }
    }
    Ok(())
}

/// A constant of an initializing subgraph.
fn initial(cx: &mut Context<'_>, graph: &RawGraph<'_>, index: i32) -> Result<Tensor, Fault> {
    let tensor = usize::try_from(index).ok().and_then(|index| graph.tensors.get(index));
    let tensor: &RawTensor<'_> = tensor.ok_or_else(|| damaged(codes::INDEX, format!("it refers to tensor {index}")))?;
    let (shape, dtype, bytes) = (shape(tensor)?, element_type(tensor)?, tensor.data.clone()?);
    if !matches!(dtype, DType::I8 | DType::U8 | DType::I16) || tensor.is_sparse {
        let reason = format!("a variable holds {}", names::dtype(dtype));
        return Err(unsupported(codes::TYPE, reason, "keep 8- or 16-bit integers in variables"));
    }
    let count = elements(&shape)?;
    if count.checked_mul(dtype.size()) != Some(bytes.len()) {
        let reason = format!("the first value of a variable has {} bytes for {count} elements", bytes.len());
        return Err(damaged(codes::DATA_LENGTH, reason));
    }
    cx.take(count, 2 * size_of::<i32>())?;
    let quant = Some(per_tensor(tensor, dtype)?);
    Ok(Tensor { name: tensor.name.clone(), dtype, shape, quant, constant: Some(stored(dtype, bytes)), float: false })
}
