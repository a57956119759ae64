//! Text form of a program, for people.
use crate::program::Program;
use crate::types::Party;
use crate::verify::{Violation, type_program};
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

/// Prints a program with the type of each result. `elide` shortens constants to their first elements.
pub fn print(p: &Program, elide: bool) -> Result<String, Vec<Violation>> {
    let typed = type_program(p)?;
    let mut s = String::new();
    let (protocol, reveal, kernels) = (escape(&p.protocol), escape(&p.reveal), escape(&p.kernels));
    let _ = writeln!(s, "program protocol={protocol} parties={} reveal={reveal} kernels={kernels}", p.parties);
    for (word, ports) in [("input", &p.interface.inputs), ("output", &p.interface.outputs)] {
        for (i, port) in ports.iter().enumerate() {
            let dims: Vec<String> = port.shape.iter().map(u32::to_string).collect();
            let (name, kind) = (escape(&port.name), port.dtype.name());
            let _ = writeln!(
                s,
                "{word} {i} \"{name}\" {kind}[{}] scale={:?} zero={} party={}",
                dims.join("x"),
                port.scale,
                port.zero_point,
                port.party.0
            );
        }
    }
    for (i, c) in p.consts.iter().enumerate() {
        let dims: Vec<String> = c.shape.iter().map(u32::to_string).collect();
        let shown = if elide { c.data.len().min(4) } else { c.data.len() };
        let data: Vec<String> = c.data[..shown].iter().map(i64::to_string).collect();
        let dots = if shown < c.data.len() { " …" } else { "" };
        let _ = writeln!(s, "const {i} [{}] = [{}{dots}]", dims.join("x"), data.join(" "));
    }
    let mut layer = None;
    let mut line = |s: &mut String, i: usize| {
        let inst = &p.insts[i];
        if layer != Some(inst.layer) {
            layer = Some(inst.layer);
            if let Some(l) = p.layers.get(inst.layer as usize) {
                let _ = writeln!(s, "    ; operator {} {}", l.operator, escape(&l.name));
            }
        }
        let results: Vec<String> = typed.results(i).map(|v| format!("v{v}: {}", typed.types[v])).collect();
        let eq = if results.is_empty() { "" } else { " = " };
        let _ = writeln!(s, "    {}{eq}{}", results.join(", "), inst.op);
    };
    let mut at = 0usize;
    for (r, round) in p.rounds.iter().enumerate() {
        (at..(round.local_end as usize).min(p.insts.len())).for_each(|i| line(&mut s, i));
        let word = if r < p.setup_rounds as usize { "setup round" } else { "round" };
        let _ = writeln!(
            s,
            "  {word} {} {{",
            if r < p.setup_rounds as usize { r + 1 } else { r + 1 - p.setup_rounds as usize }
        );
        (round.local_end as usize..(round.exchange_end as usize).min(p.insts.len())).for_each(|i| line(&mut s, i));
        let bytes: Vec<String> = (0..p.parties)
            .flat_map(|a| (0..p.parties).map(move |b| (a, b)))
            .map(|(a, b)| (a, b, round.messages.get(p.parties, Party(a), Party(b))))
            .filter(|m| m.2 > 0)
            .map(|(a, b, n)| format!("{a}→{b} {n}"))
            .collect();
        let _ = writeln!(s, "  }} ; bytes {}", bytes.join(", "));
        at = round.exchange_end as usize;
    }
    (at..p.insts.len()).for_each(|i| line(&mut s, i));
    Ok(s)
}
