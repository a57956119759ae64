//! Who learns what from running a program: a row for each item, a column for each party and for the network.
use ir::text::escape;
use ir::verify::Typed;
use ir::{Op, Party, Program};
use serde_json::{Value, json};
use std::fmt::Write;

const NOTHING: &str = "nothing";
const OWN: &str = "its own";
const LEARNS: &str = "learns";

/// One item.
pub struct Row {
    item: String,
    parties: Vec<String>,
    network: String,
}

/// What each party does in this program.
fn roles(p: &Program) -> Vec<String> {
    let face = &p.interface;
    let role = |party: Party| {
        let mut all = Vec::new();
        if party == face.weight_owner {
            all.push("model");
        }
        if face.inputs.iter().any(|port| port.party == party) {
            all.push("input");
        }
        if face.outputs.iter().any(|port| port.party == party) {
            all.push("receiver");
        }
        let deals = p.protocol == "dealer2" && party == Party(2);
        all.push(if deals { "dealer" } else { "helper" });
        // Who owns something helps as well.
        if all.len() > 1 { all[..all.len() - 1].join(", ") } else { all[0].to_owned() }
    };
    (0..p.parties).map(|i| role(Party(i))).collect()
}

/// The items of a verified program.
pub fn rows(p: &Program, typed: &Typed) -> Vec<Row> {
    let all = |item: &str, each: &str, network: &str| Row {
        item: item.to_owned(),
        parties: vec![each.to_owned(); p.parties.into()],
        network: network.to_owned(),
    };
    let owned = |item: String, owner: Party| Row {
        item,
        parties: (0..p.parties).map(|i| if Party(i) == owner { OWN } else { NOTHING }.to_owned()).collect(),
        network: NOTHING.to_owned(),
    };
    let face = &p.interface;
    let mut rows = vec![all("architecture, shapes, operators, rounding", LEARNS, "message sizes and timing")];
    let tensors = face.weights.len();
    if p.modes.private_scales {
        rows.push(all("scales, zero points of inputs and outputs", LEARNS, NOTHING));
        rows.push(all("fixed positions, clamps", LEARNS, NOTHING));
        rows.push(owned("other multipliers, zero points".to_owned(), face.weight_owner));
    } else {
        rows.push(all("scales, zero points, fixed positions, clamps", LEARNS, NOTHING));
    }
    match p.modes.public_weights {
        true => rows.push(all("weights, biases, constants", LEARNS, NOTHING)),
        false => rows.push(owned(format!("weights, biases, constants ({tensors} tensors)"), face.weight_owner)),
    }
    if p.modes.probabilistic {
        rows.push(all("whether a value was rounded up", "a part, with the output", NOTHING));
    }
    rows.extend(face.inputs.iter().map(|port| owned(format!("input \"{}\"", escape(&port.name)), port.party)));
    rows.push(all("values between operators", NOTHING, NOTHING));
    if p.stored().next().is_some() {
        rows.push(all("what stays between calls", NOTHING, NOTHING));
    }
    for inst in &p.insts {
        let Op::Open { x, to } = &inst.op else { continue };
        let t = &typed.types[x.index()];
        let layer = p.layers.get(inst.layer as usize).map_or_else(|| "unknown".to_owned(), |l| escape(&l.name));
        let bits = t.len() as u64 * u64::from(t.domain.width());
        let learns = |i| if to.contains(Party(i)) { format!("learns {bits} bits") } else { NOTHING.to_owned() };
        rows.push(Row {
            item: format!("{} of {layer}", escape(&p.reveal)),
            parties: (0..p.parties).map(learns).collect(),
            network: NOTHING.to_owned(),
        });
    }
    rows.push(all("number of inferences, batch size, time", LEARNS, LEARNS));
    rows.push(all("that a run ended early, and why", LEARNS, "sees the close"));
    rows
}

/// The items as columns of text.
pub fn table(p: &Program, typed: &Typed) -> String {
    let rows = rows(p, typed);
    let mut lines: Vec<Vec<String>> = vec![vec!["who learns what".to_owned()]];
    lines[0].extend(roles(p).iter().enumerate().map(|(i, role)| format!("party {i} ({role})")));
    lines[0].push("network".to_owned());
    lines.extend(rows.into_iter().map(|r| [vec![r.item], r.parties, vec![r.network]].concat()));
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut s = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(s, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    s + "network: who sees encrypted links; plain links show everything to who can listen there\n"
}

/// The items as an object.
pub fn object(p: &Program, typed: &Typed) -> Value {
    let one = |r: Row| json!({ "item": r.item, "parties": r.parties, "network": r.network });
    json!({ "roles": roles(p), "items": rows(p, typed).into_iter().map(one).collect::<Vec<_>>() })
}
