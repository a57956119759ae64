//! The rounds of a program are as many as its longest chain of exchanges, counted here from operands alone.
use compiler::pipeline::{Options, Route, compile_with};
use ir::Program;
use ir::ops::Class;
use std::fs;
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
    let dir = std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from);
    println!("{own} programs of our models, {} of {}", check(&dir), dir.display());
}
