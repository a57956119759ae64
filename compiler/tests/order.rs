//! The order that the scheduler chooses against the plain one, where everything runs as early as it can: never more
//! memory, the same rounds and bytes.
use compiler::passes::Function;
use compiler::passes::Unit;
use compiler::pipeline::{Options, PASSES, Route, run};
use compiler::profile::REP3;
use compiler::schedule::{measure, peak_memory, schedule, schedule_plainly};
use ir::Program;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A program that all passes up to the schedule have seen, scheduled in a given way.
fn scheduled(model: &[u8], route: Route, schedule: impl Fn(&mut Function)) -> Option<Program> {
    let to = PASSES.iter().position(|p| p.name == "schedule").expect("a pass");
    let options = Options { route, ..Options::default() };
    let mut f = run(Unit::new(model, options), &PASSES[..to], |_, _, _| ControlFlow::Continue(())).ok()?.function?;
    schedule(&mut f);
    measure(&mut f.program, &REP3);
    f.program.peak_memory = peak_memory(&f.program, &REP3);
    ir::verify::verify(&f.program).unwrap_or_else(|bad| panic!("{}", bad[0]));
    Some(f.program)
}

/// Bytes of memory by both orders, and which route.
fn peaks(path: &Path) -> Vec<(Route, u64, u64)> {
    let model = fs::read(path).expect("readable");
    let mut list = Vec::new();
    for route in [Route::Dealer, Route::Boolean] {
        let Some(plain) = scheduled(&model, route, schedule_plainly) else { continue };
        let chosen = scheduled(&model, route, |f| schedule(f, &REP3)).expect("compiled before");
        let name = path.file_stem().expect("a file").to_string_lossy();
        let cost = |p: &Program| {
            let messages: Vec<_> = p.rounds.iter().map(|r| r.messages.clone()).collect();
            (p.setup_rounds, messages, p.opened_bits, p.insts.len())
        };
        assert!(cost(&plain) == cost(&chosen), "{name} {route:?}: other rounds or messages");
        println!("{name:32} {route:8?} {:>10} {:>10}", plain.peak_memory, chosen.peak_memory);
        assert!(chosen.peak_memory <= plain.peak_memory, "{name} {route:?}: more memory than in the plain order");
        list.push((route, plain.peak_memory, chosen.peak_memory));
    }
    list
}

fn all(dir: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(dir) else { return vec![] };
    let mut paths: Vec<PathBuf> = list.map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tflite"));
    paths.sort();
    paths
}

fn others() -> PathBuf {
    std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from)
}

#[test]
fn memory_is_never_more_than_in_the_plain_order() {
    let own = all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models"));
    assert!(own.len() >= 4, "{} models", own.len());
    own.iter().for_each(|p| assert_eq!(peaks(p).len(), 2, "{}", p.display()));
    let dir = others();
    let others: usize = all(&dir).iter().map(|p| peaks(p).len()).sum();
    println!("{others} programs of {}", dir.display());
}

/// `digits` has a residual connection, `digits_inception` has branches: what waits for the others is not made before.
#[test]
fn branches_take_less_memory() {
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models/digits.tflite");
    for path in [digits, others().join("digits_inception.tflite")].iter().filter(|p| p.exists()) {
        for (route, plain, chosen) in peaks(path) {
            assert!(chosen * 10 < plain * 9, "{} {route:?}: {chosen} of {plain} bytes", path.display());
        }
    }
}
