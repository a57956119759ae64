//! `qnnc simulate`: the oracle on files.
use super::check::{MAX_MODEL, Refusal};
use super::failure::Failure;
use super::files::{self, Access};
use super::{print, print_json, say};
use compiler::npy::{Array, Element, Values, format_npy, format_npy_f32, read_npy};
use compiler::qgraph::eval::{TensorData, eval, outputs};
use compiler::qgraph::{DType, Graph, Tensor, TensorId};
use compiler::tflite::import;
use ir::real;
use ir::text::escape;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub struct SimulateArgs {
    /// Model to run
    #[arg(value_name = "MODEL.tflite")]
    model: PathBuf,
    #[command(flatten)]
    sources: Sources,
    /// Where to write an output, in the order of the model's outputs or by name [default: print the values]
    #[arg(short, long, value_name = "[NAME=]Y.npy")]
    output: Vec<String>,
    /// Print one JSON object with the outputs on stdout
    #[arg(long)]
    json: bool,
}

/// The inputs of a model.
#[derive(clap::Args)]
pub struct Sources {
    /// Input array: in the order of the model's inputs, or by name; floats are quantized
    #[arg(short, long, value_name = "[NAME=]X.npy")]
    input: Vec<String>,
}

/// Reads one array for each input of the model.
pub fn inputs(graph: &Graph, given: &Sources) -> Result<Vec<TensorData>, Failure> {
    let sources = assign(graph, &graph.inputs, &given.input, "input")?;
    let mut inputs = Vec::with_capacity(sources.len());
    for (id, source) in graph.inputs.iter().zip(sources) {
        let tensor = graph.tensor(*id);
        let path = source.ok_or_else(|| {
            let what = format!("no file for input {}", describe(tensor));
            Failure::input(&what, &format!("the model has {} inputs, give `--input` for each", graph.inputs.len()))
        })?;
        inputs.push(load(tensor, &path)?);
    }
    Ok(inputs)
}

/// Runs the model on the given inputs.
pub fn simulate(args: &SimulateArgs) -> Result<u8, Failure> {
    let model = files::read(&args.model, MAX_MODEL)?;
    let graph =
        import(&model).map_err(|report| Refusal { exit: report.exit_code(), problems: report.problems }.failure())?;
    let targets = assign(&graph, &graph.outputs, &args.output, "output")?;
    let inputs = inputs(&graph, &args.sources)?;
    let values = eval(&graph, &inputs).map_err(|e| Failure::input(&e.to_string(), "check the inputs"))?;
    let results = outputs(&graph, &values).map_err(|e| Failure::input(&e.to_string(), "check the model"))?;

    let mut staged = Vec::new();
    for ((id, target), result) in graph.outputs.iter().zip(&targets).zip(&results) {
        if let Some(path) = target {
            let t = graph.tensor(*id);
            let bytes = match reals(t, &result.data) {
                Some(reals) => format_npy_f32(&result.shape, &reals),
                None => format_npy(element(t.dtype), &result.shape, &result.data),
            };
            let bytes = bytes
                .map_err(|e| Failure::write(&path.display().to_string(), &std::io::Error::other(e.to_string())))?;
            staged.push(files::stage(path, &bytes, Access::Ordinary)?);
        }
    }
    staged.into_iter().try_for_each(files::Staged::place)?;

    if args.json {
        let one = |(id, r): (&TensorId, &TensorData)| {
            let t = graph.tensor(*id);
            let values = reals(t, &r.data).map_or_else(|| json!(r.data), |reals| json!(reals));
            json!({ "name": t.name, "type": outer_name(t), "shape": r.shape, "values": values })
        };
        let list: Vec<_> = graph.outputs.iter().zip(&results).map(one).collect();
        print_json(&json!({ "schema": 1, "result": "ok", "outputs": list }))?;
    } else if args.output.is_empty() {
        for (id, result) in graph.outputs.iter().zip(&results) {
            let shown: Vec<String> = match reals(graph.tensor(*id), &result.data) {
                Some(reals) => reals.iter().map(f32::to_string).collect(),
                None => result.data.iter().map(i32::to_string).collect(),
            };
            print(&format!("{}: {}\n", describe(graph.tensor(*id)), shown.join(" ")))?;
        }
    }
    Ok(0)
}

/// Which file belongs to which tensor: `NAME=FILE` by name, the others in order.
fn assign(graph: &Graph, tensors: &[TensorId], given: &[String], what: &str) -> Result<Vec<Option<PathBuf>>, Failure> {
    let mut found: Vec<Option<PathBuf>> = vec![None; tensors.len()];
    let mut in_order = Vec::new();
    for text in given {
        let named = |id: &TensorId| {
            let name = &graph.tensor(*id).name;
            text.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('='))
        };
        let hit = tensors.iter().enumerate().find_map(|(i, id)| Some((i, named(id)?)));
        match hit {
            Some((i, path)) if found[i].is_none() => found[i] = Some(path.into()),
            Some((i, _)) => {
                let name = escape(&graph.tensor(tensors[i]).name);
                return Err(Failure::usage(&format!("two files for {what} `{name}`"), "give one"));
            }
            // `dir/a=b.npy` may be a file; otherwise the name is wrong.
            None if text.contains('=') && !Path::new(text).exists() && !text.contains('/') => {
                let names: Vec<String> =
                    tensors.iter().map(|id| format!("`{}`", escape(&graph.tensor(*id).name))).collect();
                let (name, _) = text.split_once('=').unwrap_or((text, ""));
                let error = format!("the model has no {what} `{}`", escape(name));
                let next = format!("its {what}s are {}", names.join(", "));
                return Err(if what == "input" {
                    Failure::input(&error, &next)
                } else {
                    Failure::usage(&error, &next)
                });
            }
            None => in_order.push(PathBuf::from(text)),
        }
    }
    let extra = format!("more than {} {what} files", tensors.len());
    let mut free = found.iter_mut().filter(|f| f.is_none());
    for path in in_order {
        match free.next() {
            Some(slot) => *slot = Some(path),
            None if what == "input" => return Err(Failure::input(&extra, "give one file per input of the model")),
            None => return Err(Failure::usage(&extra, "give at most one file per output of the model")),
        }
    }
    Ok(found)
}

/// Name, type and shape of a tensor.
fn describe(t: &Tensor) -> String {
    format!("`{}` ({} {})", escape(&t.name), outer_name(t), dims(&t.shape))
}

fn dims(shape: &[usize]) -> String {
    let list: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", list.join("x"))
}

fn element(dtype: DType) -> Element {
    match dtype {
        DType::I8 => Element::I8,
        DType::U8 => Element::U8,
        DType::I16 => Element::I16,
        DType::I32 => Element::I32,
        DType::I64 => Element::I64,
        DType::Bool => Element::Bool,
    }
}

/// Element type of a tensor as a user of the model sees it.
fn outer_name(t: &Tensor) -> &'static str {
    if t.float { numpy_name(Element::F32) } else { element_name(t.dtype) }
}

/// What the model makes of the stored integers of an output that it has as float32.
fn reals(t: &Tensor, stored: &[i32]) -> Option<Vec<f32>> {
    let q = t.quant.filter(|_| t.float)?;
    Some(stored.iter().map(|v| real::dequantize((*v).into(), q.scale, q.zero_point)).collect())
}

fn element_name(dtype: DType) -> &'static str {
    numpy_name(element(dtype))
}

fn numpy_name(element: Element) -> &'static str {
    match element {
        Element::Bool => "bool",
        Element::I8 => "int8",
        Element::U8 => "uint8",
        Element::I16 => "int16",
        Element::U16 => "uint16",
        Element::I32 => "int32",
        Element::U32 => "uint32",
        Element::I64 => "int64",
        Element::F32 => "float32",
        Element::F64 => "float64",
    }
}

fn load(tensor: &Tensor, path: &Path) -> Result<TensorData, Failure> {
    let place = path.display().to_string();
    let array = read_npy(path).map_err(|e| Failure::input(&format!("`{place}`: {e}"), "give a `.npy` file"))?;
    let expected = format!("expected {} for input `{}`", numpy_and_shape(tensor), escape(&tensor.name));
    let refused = |array: &Array, why: &str| {
        let got = format!("{} {}", numpy_name(array.element), dims(&array.shape));
        Failure::input(&format!("`{place}`: {why}: the array is {got}"), &expected)
    };
    if array.shape != tensor.shape {
        return Err(refused(&array, "wrong shape"));
    }
    let data = match (&array.values, tensor.quant) {
        (Values::Int(_), _) if tensor.float || array.element != element(tensor.dtype) => {
            return Err(refused(&array, "wrong type"));
        }
        (Values::Int(v), _) => v
            .iter()
            .map(|x| i32::try_from(*x))
            .collect::<Result<_, _>>()
            .map_err(|_| refused(&array, "beyond int32"))?,
        (Values::Float(_), None) => return Err(refused(&array, "wrong type, and the tensor has no scale")),
        (Values::Float(v), Some(q)) => {
            if let Some(i) = v.iter().position(|x| x.is_nan()) {
                return Err(refused(&array, &format!("element {i} is not a number")));
            }
            let (lo, hi) = tensor.dtype.range();
            let note = format!(
                "note: `{place}` holds {}, quantized to {} with scale {:?} and zero point {}",
                numpy_name(array.element),
                element_name(tensor.dtype),
                q.scale,
                q.zero_point
            );
            // What the model itself does needs no word.
            if !tensor.float {
                say(&note);
            }
            let stored = |x: &f64| real::quantize(*x as f32, q.scale, q.zero_point).clamp(lo, hi) as i32;
            v.iter().map(stored).collect()
        }
    };
    Ok(TensorData { shape: array.shape, data })
}

fn numpy_and_shape(t: &Tensor) -> String {
    format!("{} {}", outer_name(t), dims(&t.shape))
}
