//! `qnnc dis` and `qnnc inspect`: what a program does, costs and reveals.
use super::failure::Failure;
use super::program::{cost_line, security_line, summary_json};
use super::{files, leakage, print, print_json};
use compiler::costs::{Costs, analyse, profile_of, spans};
use ir::ops::Class;
use ir::text::escape;
use ir::verify::{Typed, Violation, verify};
use ir::{Op, Port, Program, Type};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The decoder accepts no more.
const MAX_PROGRAM: u64 = 64 << 20;
/// Broken rules that are shown.
const SHOWN: usize = 20;

/// Reads a program, unchecked.
pub fn load(path: &Path) -> Result<(Vec<u8>, Program), Failure> {
    let bytes = files::read(path, MAX_PROGRAM)?;
    let program = ir::bytecode::decode(&bytes).map_err(|e| Failure::program(path, &e))?;
    Ok((bytes, program))
}

/// Checks a program.
pub fn load_verified(path: &Path, p: &Program) -> Result<Typed, Failure> {
    verify(p).map_err(|bad| invalid(path, &bad))
}

fn invalid(path: &Path, bad: &[Violation]) -> Failure {
    let mut list: Vec<String> = bad.iter().take(SHOWN).map(|v| escape(&v.to_string())).collect();
    if bad.len() > SHOWN {
        list.push(format!("and {} more", bad.len() - SHOWN));
    }
    Failure::program(path, &list.join("; "))
}

/// Prints the text form.
pub fn disassemble(path: &Path, elide: bool) -> Result<u8, Failure> {
    let (_, program) = load(path)?;
    print(&ir::text::print(&program, elide).map_err(|bad| invalid(path, &bad))?)?;
    Ok(0)
}

fn dims(shape: &[u32]) -> String {
    let list: Vec<String> = shape.iter().map(u32::to_string).collect();
    format!("[{}]", list.join("x"))
}

fn port_line(word: &str, role: &str, i: usize, p: &Port) -> String {
    format!(
        "{word} {i}: \"{}\" {}{} scale {:?} zero point {}, {role} {}\n",
        escape(&p.name),
        p.element_name(),
        dims(&p.shape),
        p.scale,
        p.zero_point,
        p.party
    )
}

fn port_json(p: &Port) -> Value {
    json!({
        "name": p.name, "type": p.element_name(), "shape": p.shape, "scale": p.scale, "zero_point": p.zero_point,
        "party": p.party.0,
    })
}

/// An opening: who learns how many bits of which layer.
struct Opening {
    layer: String,
    to: Vec<u8>,
    elements: usize,
    bits: u64,
}

fn openings(p: &Program, typed: &Typed) -> Vec<Opening> {
    let opening = |inst: &ir::Inst| {
        let Op::Open { x, to } = &inst.op else { return None };
        let t: &Type = &typed.types[x.index()];
        let layer = p.layers.get(inst.layer as usize).map_or_else(|| "unknown".to_owned(), |l| escape(&l.name));
        let bits = t.len() as u64 * u64::from(t.domain.width());
        Some(Opening { layer, to: to.iter().map(|p| p.0).collect(), elements: t.len(), bits })
    };
    p.insts.iter().filter(|i| i.op.class() == Class::Round).filter_map(opening).collect()
}

/// Prints interface, layers and totals, or with `leakage` who learns what.
pub fn inspect(path: &Path, leakage: bool, as_json: bool) -> Result<u8, Failure> {
    let (bytes, p) = load(path)?;
    let typed = load_verified(path, &p)?;
    if as_json {
        print_json(&inspect_json(&p, &typed, &bytes))?;
    } else if leakage {
        print(&leakage_table(&p, &typed))?;
    } else {
        print(&overview(&p, &typed, &bytes))?;
    }
    Ok(0)
}

/// `None` for a protocol whose messages this release does not know.
fn costs(p: &Program, typed: &Typed) -> Option<Costs> {
    Some(analyse(p, typed, profile_of(p)?))
}

fn overview(p: &Program, typed: &Typed, bytes: &[u8]) -> String {
    let mut s = String::new();
    let _ = writeln!(
        s,
        "program: format {}, {} bytes, protocol {}, {} parties, {} instructions",
        ir::bytecode::FORMAT,
        bytes.len(),
        escape(&p.protocol),
        p.parties,
        p.insts.len()
    );
    let exactly = if p.modes.probabilistic { "about as " } else { "" };
    let _ = writeln!(s, "rounding: {exactly}kernels {}", escape(&p.kernels));
    if p.modes != ir::Modes::default() {
        let _ = writeln!(s, "modes: {}", p.modes.names().join(", "));
    }
    p.interface.inputs.iter().enumerate().for_each(|(i, port)| s += &port_line("input", "owned by", i, port));
    p.interface.outputs.iter().enumerate().for_each(|(i, port)| s += &port_line("output", "received by", i, port));
    let _ = writeln!(s, "weights: {} tensors, owned by {}", p.interface.weights.len(), p.interface.weight_owner);
    match costs(p, typed) {
        None => s += "layers: not known for this protocol\n",
        Some(costs) => {
            let _ = writeln!(s, "{:>8}  {:<20} {:>14} {:>14}  rounds", "operator", "name", "bytes", "set-up bytes");
            for (i, l) in p.layers.iter().enumerate() {
                let t = costs.total(|e| e.layer == i);
                let (name, bytes, rounds) = (escape(&l.name), t.payload(), spans(&t.rounds));
                let _ = writeln!(s, "{:>8}  {name:<20} {bytes:>14} {:>14}  {rounds}", l.operator, t.setup_bytes);
            }
        }
    }
    let _ = writeln!(s, "total: {}, {} set-up rounds", cost_line(p), p.setup_rounds);
    let _ = writeln!(s, "{}", security_line(p));
    s
}

/// What is public, secret, revealed.
pub fn leakage_rows(p: &Program, typed: &Typed) -> Vec<[String; 2]> {
    let scales = match p.modes.private_scales {
        true => "scales and zero points of inputs and outputs",
        false => "scales, zero points (per-channel scales tell each channel's largest weight)",
    };
    let (tensors, owner) = (p.interface.weights.len(), p.interface.weight_owner);
    let also = if p.modes.private_scales { ", other multipliers and zero points" } else { "" };
    let mut rows = vec![
        ["public".into(), format!("architecture, shapes, operators, {scales}")],
        [
            "public".into(),
            "what shapes a computation: positions and padding values that the model fixes, clamps".into(),
        ],
        match p.modes.public_weights {
            true => ["public".into(), "weights, biases and constant operands: they are in the program".into()],
            false => [
                "secret".into(),
                format!(
                    "weights, biases and constant operands{also} ({tensors} tensors): known to their owner, {owner}, alone"
                ),
            ],
        },
    ];
    if p.modes.probabilistic {
        let what = "what a party knows of the masks of a value tells it, with the result, whether it was rounded up";
        rows.push(["leaks".into(), format!("{what}; results differ from TFLite's")]);
    }
    for port in &p.interface.inputs {
        let (name, shape) = (escape(&port.name), dims(&port.shape));
        let owner = port.party;
        rows.push(["secret".into(), format!("input \"{name}\" {shape}: known to its owner, {owner}, alone")]);
    }
    rows.push(["secret".into(), "every intermediate value: known to nobody".into()]);
    let states: Vec<String> = p.stored().map(|x| typed.types[x.index()].to_string()).collect();
    if !states.is_empty() {
        let what = "what stays between calls is shared among all parties and never opened; it begins as a weight";
        rows.push(["secret".into(), format!("{what}: {}", states.join(", "))]);
    }
    for o in openings(p, typed) {
        let to: Vec<String> = o.to.iter().map(|p| format!("party {p}")).collect();
        let part = match p.reveal.as_str() {
            "output" => "result",
            "logits" => "operand",
            _ => "places of the largest entries",
        };
        let (policy, layer, to) = (escape(&p.reveal), o.layer, to.join(" and "));
        let what = format!("{policy} ({part} of {layer}): {} elements, {} bits, to {to}", o.elements, o.bits);
        rows.push(["revealed".into(), what]);
    }
    rows.push(["total".into(), format!("{} bits opened per inference", p.opened_bits)]);
    rows
}

fn leakage_table(p: &Program, typed: &Typed) -> String {
    let rows = leakage_rows(p, typed);
    let mut s: String = rows.iter().map(|[kind, what]| format!("{kind:<9} {what}\n")).collect();
    s += "\n";
    s += &leakage::table(p, typed);
    s += "\n";
    let _ = writeln!(s, "{}", security_line(p));
    s
}

fn inspect_json(p: &Program, typed: &Typed, bytes: &[u8]) -> Value {
    let mut object = summary_json(p, bytes);
    object["inputs"] = p.interface.inputs.iter().map(port_json).collect();
    object["outputs"] = p.interface.outputs.iter().map(port_json).collect();
    object["weights"] = json!({ "tensors": p.interface.weights, "party": p.interface.weight_owner.0 });
    object["layers"] = costs(p, typed).map_or(Value::Null, |costs| {
        let one = |(i, l): (usize, &ir::Layer)| {
            let t = costs.total(|e| e.layer == i);
            json!({
                "op": l.operator, "name": escape(&l.name), "rounds": t.rounds, "payload_bytes": t.payload(),
                "setup_bytes": t.setup_bytes,
            })
        };
        p.layers.iter().enumerate().map(one).collect()
    });
    object["leakage"] = leakage::object(p, typed);
    object["revealed"] = openings(p, typed)
        .iter()
        .map(|o| json!({ "layer": o.layer, "parties": o.to, "elements": o.elements, "bits": o.bits }))
        .collect();
    object
}
