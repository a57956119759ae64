//! `qnnc compare`: runs a model by its program and by the oracle and names the first layer where they differ; or the
//! oracle against tensors recorded elsewhere.
use super::check::{MAX_MODEL, refusal};
use super::failure::Failure;
use super::files;
use super::inspect::{load, load_verified};
use super::simulate::{Sources, inputs};
use super::{print, print_json};
use compiler::npy::{Array, read_npz};
use compiler::observed;
use compiler::pipeline::{Compiled, Options, Owners, Reveal, compile_for};
use compiler::qgraph::eval::{TensorData, eval};
use compiler::qgraph::{Graph, Op, TensorId};
use ir::text::escape;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `compare`.
#[derive(clap::Args)]
pub struct CompareArgs {
    /// Model to run
    #[arg(value_name = "MODEL.tflite")]
    model: PathBuf,
    /// Program to compare; without it the model is compiled
    #[arg(value_name = "MODEL.mpcb")]
    program: Option<PathBuf>,
    #[command(flatten)]
    sources: Sources,
    /// Compare the oracle with recorded tensors instead: arrays named `tensor_N` or by tensor
    #[arg(long, value_name = "FILE.npz", conflicts_with = "program")]
    against: Option<PathBuf>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What was found of one layer.
struct Layer {
    operator: usize,
    name: &'static str,
    tensor: String,
    elements: usize,
    /// First difference, number of differences, largest.
    first: Option<(usize, i64, i64)>,
    differ: usize,
    largest: i64,
}

/// Compares two lists of stored integers.
fn layer(g: &Graph, operator: usize, name: &'static str, id: TensorId, got: &[i64], want: &[i64]) -> Layer {
    let wrong = || got.iter().zip(want).enumerate().filter(|(_, (a, b))| a != b);
    let extra = got.len().abs_diff(want.len());
    let beyond = || (got.len().min(want.len()), 0, 0);
    Layer {
        operator,
        name,
        tensor: escape(&g.tensor(id).name),
        elements: want.len(),
        first: wrong().next().map(|(i, (a, b))| (i, *a, *b)).or_else(|| (extra > 0).then(beyond)),
        differ: wrong().count() + extra,
        largest: wrong().map(|(_, (a, b))| (a - b).abs()).max().unwrap_or(0),
    }
}

/// Runs and compares; exit code 1 if anything differs.
pub fn compare(args: &CompareArgs) -> Result<u8, Failure> {
    let model = files::read(&args.model, MAX_MODEL)?;
    let (options, owners) = args.program.as_deref().map_or_else(|| Ok(Default::default()), choices_of)?;
    let compiled = compile_for(&model, options, owners).map_err(|e| refusal(&model, e).failure())?;
    let g = &compiled.graph;
    let given = inputs(g, &args.sources)?;
    let values = eval(g, &given).map_err(|e| Failure::input(&e.to_string(), "check the inputs"))?;
    let (what, layers) = match (&args.against, &args.program) {
        (Some(path), _) => (["oracle", "recorded"], against_recorded(g, &values, path)?),
        (None, path) => {
            if let Some(path) = path {
                same_program(path, &compiled)?;
            }
            (["program", "oracle"], against_oracle(&compiled, &given, &values))
        }
    };
    let wrong = layers.iter().find(|l| l.first.is_some());
    let code = u8::from(wrong.is_some());
    if args.json {
        print_json(&report(&layers, what, code))?;
        return Ok(code);
    }
    let mut s = String::new();
    for l in &layers {
        let head = format!("{:>4} {:<20} {:<32} {:>9} elements", l.operator, l.name, l.tensor, l.elements);
        s += &match l.first {
            None => format!("{head}  equal\n"),
            Some((i, a, b)) => format!(
                "{head}  {} differ, by up to {}; first at {i}: {} {a}, {} {b}\n",
                l.differ, l.largest, what[0], what[1]
            ),
        };
    }
    s += &match wrong {
        None => format!("{} layers, {} and {} are equal\n", layers.len(), what[0], what[1]),
        Some(l) => format!("first difference in operator {} ({})\n", l.operator, l.name),
    };
    print(&s)?;
    Ok(code)
}

fn report(layers: &[Layer], what: [&str; 2], code: u8) -> Value {
    let one = |l: &Layer| {
        let first = l.first.map(|(i, a, b)| json!({ "element": i, what[0]: a, what[1]: b }));
        json!({
            "op": l.operator, "name": l.name, "tensor": l.tensor, "elements": l.elements, "differ": l.differ,
            "largest": l.largest, "first": first,
        })
    };
    let result = if code == 0 { "equal" } else { "different" };
    json!({ "schema": 1, "result": result, "compared": what, "layers": layers.iter().map(one).collect::<Vec<_>>() })
}

/// A program that this release compiles otherwise cannot be looked into.
/// What the user chose when the program was made, as far as it says.
fn choices_of(path: &Path) -> Result<(Options, Owners), Failure> {
    let (_, program) = load(path)?;
    let reveal = Reveal::from_name(&program.reveal).unwrap_or_default();
    Ok((Options { reveal, modes: program.modes, ..Options::default() }, Owners::of(&program.interface)))
}

fn same_program(path: &Path, compiled: &Compiled) -> Result<(), Failure> {
    let (bytes, program) = load(path)?;
    load_verified(path, &program)?;
    if bytes == compiled.bytes {
        return Ok(());
    }
    let what = "it is not the program that this release makes of the model, so its layers have no counterpart";
    Err(Failure::program(path, &what))
}

fn against_oracle(compiled: &Compiled, given: &[TensorData], values: &[Option<TensorData>]) -> Vec<Layer> {
    let g = &compiled.graph;
    let inputs: Vec<Vec<i64>> = given.iter().map(numbers).collect();
    let seen = observed::results(compiled, &inputs);
    let one = |op: &Op| {
        let want = numbers(values[op.output.index()].as_ref()?);
        Some(layer(g, op.index, op.name, op.output, seen.get(&op.output)?, &want))
    };
    g.ops.iter().filter_map(one).collect()
}

fn numbers(t: &TensorData) -> Vec<i64> {
    t.data.iter().map(|x| i64::from(*x)).collect()
}

fn against_recorded(g: &Graph, values: &[Option<TensorData>], path: &Path) -> Result<Vec<Layer>, Failure> {
    let place = path.display().to_string();
    let arrays =
        read_npz(path).map_err(|e| Failure::input(&format!("`{place}`: {e}"), "give a `.npz` file of integers"))?;
    let of = |id: TensorId| -> Option<&Array> {
        arrays.get(&format!("tensor_{}", id.0)).or_else(|| arrays.get(&g.tensor(id).name))
    };
    let mut layers = Vec::new();
    for op in &g.ops {
        let (Some(array), Some(value)) = (of(op.output), &values[op.output.index()]) else { continue };
        let want = array.ints().ok_or_else(|| {
            let what = format!("`{place}`: tensor {} does not hold integers", op.output.0);
            Failure::input(&what, "record the stored integers")
        })?;
        layers.push(layer(g, op.index, op.name, op.output, &numbers(value), want));
    }
    if layers.is_empty() {
        let what = format!("`{place}` holds no tensor of this model");
        return Err(Failure::input(&what, "name arrays `tensor_N`, N counted as in the model, or by tensor name"));
    }
    Ok(layers)
}
