//! Writes the text form.
use crate::program::{Port, Program, Round};
use crate::types::{Party, dims};
use crate::verify::{Typed, Violation, type_program};
use std::fmt::Write;

/// Escapes a name that came from a model.
pub fn escape(name: &str) -> String {
    name.chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_ascii_graphic() || c == ' ' => vec![c],
            c => format!("\\u{{{:x}}}", c as u32).chars().collect(),
        })
        .collect()
}

/// A decimal number that reads back to the same float; bits for what is no number.
fn scale(x: f32) -> String {
    if x.is_finite() { format!("{x:?}") } else { format!("#{:08x}", x.to_bits()) }
}

/// Prints a program with the type of each result. `elide` shortens constants to their first elements; only the whole
/// text of a program whose rounds keep rule V3 reads back to it.
pub fn print(p: &Program, elide: bool) -> Result<String, Vec<Violation>> {
    let typed = type_program(p)?;
    let mut s = String::new();
    let (protocol, reveal, kernels) = (escape(&p.protocol), escape(&p.reveal), escape(&p.kernels));
    let _ =
        write!(s, "program protocol=\"{protocol}\" parties={} reveal=\"{reveal}\" kernels=\"{kernels}\"", p.parties);
    p.modes.names().iter().for_each(|name| s.extend([" ", name]));
    s.push('\n');
    let _ =
        writeln!(s, "claims opened_bits={} thresholds={} peak_memory={}", p.opened_bits, p.thresholds, p.peak_memory);
    let _ = writeln!(s, "weights party={}", p.interface.weight_owner.0);
    p.interface.inputs.iter().enumerate().for_each(|(i, port)| print_port(&mut s, "input", i, port));
    p.interface.outputs.iter().enumerate().for_each(|(i, port)| print_port(&mut s, "output", i, port));
    for (i, shape) in p.interface.weights.iter().enumerate() {
        let _ = writeln!(s, "weight {i} {}", dims(shape));
    }
    for (i, c) in p.consts.iter().enumerate() {
        let shown = if elide { c.data.len().min(4) } else { c.data.len() };
        let data: Vec<String> = c.data[..shown].iter().map(i64::to_string).collect();
        let dots = if shown < c.data.len() { " …" } else { "" };
        let _ = writeln!(s, "const {i} {} = [{}{dots}]", dims(&c.shape), data.join(" "));
    }
    for (i, l) in p.layers.iter().enumerate() {
        let _ = writeln!(s, "layer {i} operator={} \"{}\"", l.operator, escape(&l.name));
    }
    print_body(&mut s, p, &typed);
    Ok(s)
}

fn print_port(s: &mut String, word: &str, i: usize, port: &Port) {
    let (name, kind) = (escape(&port.name), port.dtype.name());
    let _ = writeln!(
        s,
        "{word} {i} \"{name}\" {kind}{} scale={} zero={} party={}{}",
        dims(&port.shape),
        scale(port.scale),
        port.zero_point,
        port.party.0,
        if port.float { " float32" } else { "" }
    );
}

fn print_body(s: &mut String, p: &Program, typed: &Typed) {
    // A program without layers has its instructions in layer 0, which needs no naming.
    let mut layer = if p.layers.is_empty() { Some(0) } else { None };
    let mut line = |s: &mut String, i: usize| {
        let inst = &p.insts[i];
        if layer != Some(inst.layer) {
            layer = Some(inst.layer);
            let name = p.layers.get(inst.layer as usize).map(|l| format!(" ; {}", escape(&l.name)));
            let _ = writeln!(s, "    layer {}:{}", inst.layer, name.unwrap_or_default());
        }
        let results: Vec<String> = typed.results(i).map(|v| format!("v{v}: {}", typed.types[v])).collect();
        let eq = if results.is_empty() { "" } else { " = " };
        let _ = writeln!(s, "    {}{eq}{}", results.join(", "), inst.op);
    };
    let mut at = 0usize;
    for (r, round) in p.rounds.iter().enumerate() {
        // Forwards only: rounds that overlap break V3 and must not make the text longer than the program.
        let local = (round.local_end as usize).clamp(at, p.insts.len());
        let end = (round.exchange_end as usize).clamp(local, p.insts.len());
        (at..local).for_each(|i| line(s, i));
        let setup = p.setup_rounds as usize;
        let (word, number) = if r < setup { ("setup round", r + 1) } else { ("round", r + 1 - setup) };
        let _ = writeln!(s, "  {word} {number} {{");
        (local..end).for_each(|i| line(s, i));
        let _ = writeln!(s, "  }}{}", sends(round, p.parties));
        at = end;
    }
    (at..p.insts.len()).for_each(|i| line(s, i));
}

fn sends(round: &Round, parties: u8) -> String {
    let pairs = (0..parties).flat_map(|from| (0..parties).map(move |to| (from, to)));
    let list: Vec<String> = pairs
        .map(|(from, to)| (from, to, round.messages.get(parties, Party(from), Party(to))))
        .filter(|(_, _, bytes)| *bytes > 0)
        .map(|(from, to, bytes)| format!("{from}->{to} {bytes}"))
        .collect();
    if list.is_empty() { String::new() } else { format!(" sends {}", list.join(", ")) }
}
