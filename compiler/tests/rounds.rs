//! The rounds of a program are as many as its longest chain of exchanges, counted here from operands alone; branches of a
//! model take no more than the longest of them; and for each round the compiler can say why it is not the one before.
use compiler::costs::analyse;
use compiler::passes::Unit;
use compiler::passes::text::Shown;
use compiler::pipeline::{Compiled, Options, PASSES, Route, compile_with, run};
use compiler::profile::REP3;
use compiler::remarks::missed;
use ir::Program;
use ir::ops::Class;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Exchanges of an inference that each need the one before.
fn longest_chain(p: &Program) -> usize {
    let typed = ir::verify::type_program(p).expect("compiled");
    let mut depth = vec![0usize; typed.types.len()];
    let mut most = 0;
    for (i, inst) in p.insts.iter().enumerate().skip(p.setup_end() as usize) {
        let before = inst.op.operands().iter().map(|v| depth[v.index()]).max().unwrap_or(0);
        let own = before + usize::from(inst.op.class() == Class::Round);
        typed.results(i).for_each(|v| depth[v] = own);
        most = most.max(own);
    }
    most
}

fn check(dir: &Path) -> usize {
    let Ok(list) = fs::read_dir(dir) else { return 0 };
    let mut paths: Vec<PathBuf> = list.map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tflite"));
    paths.sort();
    let mut compiled = 0;
    for path in paths {
        let model = fs::read(&path).expect("readable");
        for route in [Route::Dealer, Route::Boolean] {
            let Ok(c) = compile_with(&model, Options { route, ..Options::default() }) else { continue };
            let rounds = c.program.rounds.len() - c.program.setup_rounds as usize;
            assert_eq!(rounds, longest_chain(&c.program), "{} {route:?}", path.display());
            compiled += 1;
        }
    }
    compiled
}

#[test]
fn rounds_are_the_longest_chain() {
    let own = check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models"));
    assert!(own >= 8, "{own} programs");
    let dir = others();
    println!("{own} programs of our models, {} of {}", check(&dir), dir.display());
}

fn others() -> PathBuf {
    std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from)
}

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(name)
}

/// Exchanges of each layer that each need the one before, as if the layer were alone.
fn rounds_of_layers(p: &Program) -> Vec<usize> {
    let typed = ir::verify::type_program(p).expect("compiled");
    let mut depth: Vec<(u32, usize)> = vec![(0, 0); typed.types.len()];
    let mut most = vec![0usize; p.layers.len()];
    for (i, inst) in p.insts.iter().enumerate().skip(p.setup_end() as usize) {
        let inside = inst.op.operands().into_iter().map(|v| depth[v.index()]).filter(|(l, _)| *l == inst.layer);
        let own = inside.map(|d| d.1).max().unwrap_or(0) + usize::from(inst.op.class() == Class::Round);
        typed.results(i).for_each(|v| depth[v] = (inst.layer, own));
        most[inst.layer as usize] = most[inst.layer as usize].max(own);
    }
    most
}

/// The most rounds on a path of operators from an input of the model to an output, input and output included; and the
/// rounds of all operators one after the other.
fn longest_path(c: &Compiled) -> (usize, usize) {
    let rounds = rounds_of_layers(&c.program);
    let of = |operator: usize, name: &str| {
        let found = c.program.layers.iter().position(|l| l.operator as usize == operator && l.name == name);
        found.map_or(0, |l| rounds[l])
    };
    let border = |name: &str| {
        let all = c.program.layers.iter().zip(&rounds).filter(|(l, _)| l.name == name);
        all.map(|(_, r)| *r).max().unwrap_or(0)
    };
    let mut until: HashMap<usize, usize> = HashMap::new();
    for op in &c.graph.ops {
        let before = op.inputs.iter().map(|t| until.get(&t.index()).copied().unwrap_or(0)).max().unwrap_or(0);
        until.insert(op.output.index(), before + of(op.index, op.name));
    }
    let longest = c.graph.outputs.iter().map(|t| until.get(&t.index()).copied().unwrap_or(0)).max().unwrap_or(0);
    (border("input") + longest + border("output"), rounds.iter().sum())
}

#[test]
fn branches_take_the_rounds_of_the_longest() {
    let inception = others().join("digits_inception.tflite");
    // The one has a shortcut around operators, the other operators side by side.
    for (path, beside) in [(own("digits.tflite"), false), (inception, true)] {
        let Ok(model) = fs::read(&path) else {
            println!("skipped: no {}", path.display());
            continue;
        };
        for route in [Route::Dealer, Route::Boolean] {
            let c = compile_with(&model, Options { route, ..Options::default() }).expect("compiles");
            let (longest, all) = longest_path(&c);
            let rounds = c.program.rounds.len() - c.program.setup_rounds as usize;
            println!("{} {route:?}: {rounds} rounds, longest path {longest}, all layers {all}", path.display());
            assert!(rounds <= longest, "{} {route:?}: {rounds} rounds, longest path {longest}", path.display());
            assert!(!beside || longest < all, "{} {route:?} has no branches", path.display());
        }
    }
}

/// Pairs of layers of which one has an exchange in a round that needs an exchange of the other in the round before.
fn needs(p: &Program) -> Vec<BTreeSet<(u32, u32)>> {
    let typed = ir::verify::type_program(p).expect("compiled");
    let mut pairs = vec![BTreeSet::new(); p.rounds.len()];
    // Layers of the exchanges of the newest round that a value needs.
    let mut from: Vec<(usize, BTreeSet<u32>)> = vec![(0, BTreeSet::new()); typed.types.len()];
    for (i, inst) in p.insts.iter().enumerate().skip(p.setup_end() as usize) {
        let mut newest = (0, BTreeSet::new());
        for v in inst.op.operands() {
            let (round, layers) = from[v.index()].clone();
            match round.cmp(&newest.0) {
                std::cmp::Ordering::Greater => newest = (round, layers),
                std::cmp::Ordering::Equal => newest.1.extend(layers),
                std::cmp::Ordering::Less => {}
            }
        }
        if inst.op.class() == Class::Round {
            let round = p.rounds.partition_point(|r| r.exchange_end as usize <= i);
            if newest.0 == round {
                pairs[round].extend(newest.1.iter().map(|l| (inst.layer, *l)));
            }
            newest = (round + 1, [inst.layer].into());
        }
        typed.results(i).for_each(|v| from[v] = newest.clone());
    }
    pairs
}

/// Compares what is said about each round with the operands.
fn check_remarks(path: &Path, route: Route) {
    let model = fs::read(path).expect("readable");
    let options = Options { route, ..Options::default() };
    let Ok(unit) = run(Unit::new(&model, options), PASSES, |_, _, _| ControlFlow::Continue(())) else { return };
    let (f, g, plans) = (unit.function.expect("made"), unit.graph.expect("made"), unit.plans.expect("made"));
    let (p, typed) = (&f.program, ir::verify::verify(&f.program).expect("compiled"));
    let costs = analyse(p, &typed, &REP3);
    let name = |l: u32| match &p.layers[l as usize] {
        l if l.name == "input" || l.name == "output" => l.name.clone(),
        l => format!("{} (operator {})", l.name, l.operator),
    };
    let list = missed(p, &typed, &costs, &g, &plans, &Shown::default());
    let apart: Vec<_> = list.iter().filter(|r| r.layer == "rounds").collect();
    let details = apart.first().map_or(&[][..], |r| &r.details);
    let rounds = p.rounds.len() - p.setup_rounds as usize;
    assert_eq!(details.len(), rounds.saturating_sub(1), "{} {route:?}", path.display());
    for ((round, detail), pairs) in (2..).zip(details).zip(&needs(p)[p.setup_rounds as usize + 1..]) {
        let named = |(a, b): &(u32, u32)| {
            detail.contains(&format!("` of {} needs `", name(*a))) && detail.ends_with(&format!("` of {}", name(*b)))
        };
        let right = detail.starts_with(&format!("round {round}: `")) && pairs.iter().any(named);
        assert!(right, "{} {route:?}: {detail}; needs {pairs:?}", path.display());
    }
}

#[test]
fn every_round_is_explained() {
    let models = ["digits.tflite", "digits_mlp.tflite", "digits_u8.tflite"].map(own);
    let more = ["digits_inception.tflite", "digits_lstm.tflite"].map(|n| others().join(n));
    for path in models.iter().chain(&more).filter(|p| p.exists()) {
        [Route::Dealer, Route::Boolean].into_iter().for_each(|route| check_remarks(path, route));
    }
}
