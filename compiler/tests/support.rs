//! What `qnnc ops` says about each operator, against single-operator models: types, and rounds at most.
#[path = "common/data.rs"]
mod data;
use compiler::costs::analyse;
use compiler::pipeline::compile;
use compiler::profile::REP3;
use compiler::qgraph::DType;
use compiler::tflite::{Cost, import, operators, support};
use data::files;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What the cases of an operator showed.
#[derive(Default, Debug)]
struct Seen {
    wide: bool,
    rounds: BTreeSet<usize>,
}

#[test]
fn what_is_said_of_operators_holds() {
    let Some(paths) = files("conformance") else { return };
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for path in paths {
        let bytes = fs::read(&path).expect("readable");
        let Ok(g) = import(&bytes) else { continue };
        // Of models that are one operator, so that values inside it are not taken for its operands.
        for op in &g.ops {
            let entry = seen.entry(op.name).or_default();
            entry.wide |= g.inputs.iter().any(|t| op.inputs.contains(t) && g.tensor(*t).dtype == DType::I16);
        }
        // Costs are those of 8-bit operands and results.
        let bytes_only = |t: &compiler::qgraph::TensorId| g.tensor(*t).dtype.size() == 1;
        if !g.inputs.iter().chain(&g.outputs).all(bytes_only) {
            continue;
        }
        let Ok(c) = compile(&bytes) else { continue };
        let typed = ir::verify::verify(&c.program).expect("compiled");
        let costs = analyse(&c.program, &typed, &REP3);
        for (i, layer) in c.program.layers.iter().enumerate() {
            if let Some(entry) = seen.get_mut(layer.name.as_str()) {
                entry.rounds.insert(costs.total(|e| !e.setup && e.layer == i).rounds.len());
            }
        }
    }
    for (name, seen) in &seen {
        let said = support(name);
        println!("{name}: {said:?}, {seen:?}");
        let most = seen.rounds.last().copied().unwrap_or(0);
        assert!(said.cost.rounds().is_none_or(|r| most <= r), "{name} is said to be {:?}, takes {most}", said.cost);
        // Nor is it said to cost more than it does.
        let cheap = seen.rounds.iter().all(|r| *r == 0) && !seen.rounds.is_empty();
        assert!(!cheap || said.cost == Cost::Local, "{name} is said to be {:?}, takes no round", said.cost);
        assert!(said.wide || !seen.wide, "{name}: a case has 16-bit inputs");
    }
    assert!(seen.len() >= 60, "{} operators", seen.len());
}

#[test]
fn every_operator_has_an_entry() {
    for (name, _) in operators() {
        let said = support(name);
        assert!(!said.limits.is_empty() && Cost::ALL.contains(&said.cost), "{name}");
    }
    // What the fallback says is true of operators that only move values.
    let moves = operators().filter(|(name, _)| support(name).cost == Cost::Local).count();
    assert!((20..=40).contains(&moves), "{moves} operators are said to be local");
}
