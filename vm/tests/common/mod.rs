//! Shared by the end-to-end tests: models, their recorded samples, and three parties in one process.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
pub mod attack;
pub mod cases;
pub mod counting;
pub mod dealt;
pub mod four;
pub mod hosts;
pub mod launch;
pub mod ports;
pub mod python;
pub mod serve;
pub mod tile;
pub mod wrapped;

use compiler::npy::{Array, Values, read_npy, read_npz};
use compiler::passes::Unit;
use compiler::passes::check::early;
use compiler::pipeline::{
    Aim, Compiled, Options, PASSES, Protocol, Reveal, Route, compile_with, finish, run as run_passes,
};
use ir::Party;
use ir::network::Network;
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::{MemoryLink, network};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vm::exec::{Machine, Outcome};

/// Models of the project, always there.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(name)
}

/// Third-party models, where present.
pub fn models() -> Option<PathBuf> {
    let dir = std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no models in {}", dir.display());
    None
}

/// Conformance cases, where present.
pub fn conformance() -> Option<PathBuf> {
    let dir = std::env::var_os("QNN_CONFORMANCE_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no conformance cases in {}", dir.display());
    None
}

/// Conformance cases whose samples are one sequence that carries the state.
pub fn sequences(conformance: &Path) -> Vec<String> {
    let index = std::fs::read_to_string(conformance.join("INDEX.json")).expect("list of the cases");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let cases = index["cases"].as_array().expect("a list").iter();
    cases.filter(|c| c["reset"] == false).filter_map(|c| Some(c["name"].as_str()?.to_owned())).collect()
}

/// A recorded array as the stored integers of a port; of floats those that the owner shares, or those that the receiver
/// makes exactly these floats of.
pub fn stored(a: &Array, port: &ir::Port, output: bool) -> Vec<i64> {
    let Values::Float(reals) = &a.values else { return ints(a) };
    assert!(port.float, "recorded floats of a port of integers");
    let (low, high) = port.dtype.range();
    let one = |x: &f64| {
        let q = ir::real::quantize(*x as f32, port.scale, port.zero_point).clamp(low, high);
        let back = ir::real::dequantize(q, port.scale, port.zero_point);
        assert!(!output || f64::from(back).to_bits() == x.to_bits(), "{x} is not {back}");
        q
    };
    reals.iter().map(one).collect()
}

pub fn ints(a: &Array) -> Vec<i64> {
    a.ints().expect("recorded integers").to_vec()
}

/// Every way to requantize, with its name in files.
pub const ROUTES: [(Route, &str); 2] = [(Route::Dealer, "rep3"), (Route::Boolean, "rep3-boolean")];

pub fn build(path: &Path) -> Compiled {
    build_by(path, Route::default())
}

pub fn build_by(path: &Path, route: Route) -> Compiled {
    build_with(path, Options { route, ..Options::default() })
}

pub fn build_with(path: &Path, options: Options) -> Compiled {
    let model = std::fs::read(path).expect("model file");
    compile_with(&model, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Compiled for four, one of whom may cheat; the receiver finishes a last softmax.
pub fn four() -> Options {
    Options { protocol: Protocol::Rep4, reveal: Reveal::Logits, ..Options::default() }
}

/// Compiled for some who trust nobody; the receiver finishes a last softmax.
pub fn among(parties: u8) -> Options {
    Options { protocol: Protocol::Semi { parties }, reveal: Reveal::Logits, ..Options::default() }
}

/// Compiled for three, one of whom may cheat; the receiver finishes a last softmax.
pub fn checked() -> Options {
    Options { protocol: Protocol::Rep3Mal, ..four() }
}

/// The same with early checks of records of `most` bytes, which small models do not have otherwise.
pub fn checked_early(path: &Path, most: u64) -> Compiled {
    let model = std::fs::read(path).expect("model file");
    let at = PASSES.iter().position(|p| p.name == "check-early").expect("in the list");
    let (before, after) = (&PASSES[..at], &PASSES[at + 1..]);
    let go = |unit, passes| run_passes(unit, passes, |_, _, _| ControlFlow::Continue(())).expect("compiles");
    let mut unit = go(Unit::new(&model, checked()), before);
    early(unit.function(), most);
    let c = finish(go(unit, after)).expect("a program");
    let typed = ir::verify::verify(&c.program).expect("verified");
    let checks = ir::check::claims(&c.program, &typed).map_or(0, |c| c.chunks.len());
    assert!(checks > 2, "{}: {checks} checks", path.display());
    c
}

/// Where every exchange saved is worth any number of bits.
pub const FAR: Network = Network { rtt: Duration::from_secs(10), bits_per_second: 1e12 };

/// What a compiler is asked for, with its name in files.
pub fn ways() -> [(Options, &'static str); 7] {
    let to = |route, aim| Options { route, aim, ..Options::default() };
    [
        (to(Route::Dealer, Aim::Bits), "rep3"),
        (to(Route::Boolean, Aim::Bits), "rep3-boolean"),
        (to(Route::Dealer, Aim::Seconds(Network::WAN)), "rep3-wan"),
        (to(Route::Dealer, Aim::Seconds(FAR)), "rep3-far"),
        (Options { protocol: Protocol::Dealer2, ..Options::default() }, "dealer2"),
        (four(), "rep4"),
        (checked(), "rep3-mal"),
    ]
}

/// Input and expected output of sample `i` of a recorded model.
pub fn sample(dir: &Path, name: &str, i: usize) -> (Vec<i64>, Vec<i64>) {
    let read = |kind: &str, key: &str| {
        let all = read_npz(dir.join(format!("{name}.{kind}.npz"))).expect("recorded samples");
        ints(&all[&format!("{key}_{i}")])
    };
    (read("inputs", "input"), read("reference", "output"))
}

pub fn npy(name: &str) -> Vec<i64> {
    ints(&read_npy(testdata(name)).expect("testdata array"))
}

/// One machine per party with agreed keys.
pub fn machine(c: &Compiled, link: &mut dyn Link) -> Machine {
    let protocol = vm::protocols::of(&c.program).expect("a protocol of this build");
    let keys = (protocol.agree)(link).expect("keys");
    let session = link.session();
    let runtime = (protocol.make)(link.me(), &keys, &session);
    Machine::new(c.program.clone(), runtime).expect("verified program")
}

/// Runs `f` for each party in a thread of its own.
pub fn in_threads<T: Send>(links: Vec<MemoryLink>, f: impl Fn(MemoryLink) -> T + Sync) -> Vec<T> {
    std::thread::scope(|s| {
        let handles: Vec<_> = links.into_iter().map(|l| s.spawn(|| f(l))).collect();
        handles.into_iter().map(|h| h.join().expect("party")).collect()
    })
}

/// Three parties over `links`, several inferences in one session; each element of `inputs` is one inference.
pub fn run_all(c: &Compiled, links: Vec<MemoryLink>, inputs: &[Vec<Vec<i64>>]) -> Vec<Vec<Outcome>> {
    run_session(c, links, inputs, Calls::Apart)
}

/// Whether a call begins with the state that the one before left.
#[derive(Clone, Copy, PartialEq)]
pub enum Calls {
    /// Each is a first call.
    Apart,
    /// They are successive.
    Sequence,
}

/// The same; where the program keeps state, `calls` says what becomes of it.
pub fn run_session(c: &Compiled, links: Vec<MemoryLink>, inputs: &[Vec<Vec<i64>>], calls: Calls) -> Vec<Vec<Outcome>> {
    in_threads(links, |mut link| {
        let mut m = machine(c, &mut link);
        let me = link.me();
        m.setup((me == Party(0)).then_some(&c.weights), &mut link).expect("set-up");
        let ports = &c.program.interface.inputs;
        let call = |x: &Vec<Vec<i64>>| {
            if calls == Calls::Apart {
                m.reset();
            }
            let own = x.iter().zip(ports).map(|(x, port)| (port.party == me).then(|| x.clone()));
            m.infer(&own.collect::<Vec<_>>(), &mut link).expect("inference")
        };
        let outcomes = inputs.iter().map(call).collect();
        link.close().expect("close");
        outcomes
    })
}

/// The same for models with one input.
pub fn run(c: &Compiled, links: Vec<MemoryLink>, inputs: &[Vec<i64>]) -> Vec<Vec<Outcome>> {
    let inputs: Vec<Vec<Vec<i64>>> = inputs.iter().map(|x| vec![x.clone()]).collect();
    run_all(c, links, &inputs)
}

/// Stored integers of the inputs, or of the outputs, of one inference.
pub type Tensors = Vec<Vec<i64>>;

/// Runs in memory and checks outputs, rounds, bytes and openings against recordings and the program.
pub fn check_all(c: &Compiled, samples: &[(Tensors, Tensors)], what: &str) {
    check_calls(c, samples, Calls::Apart, what);
}

/// The same; where the program keeps state, `calls` says what becomes of it.
pub fn check_calls(c: &Compiled, samples: &[(Tensors, Tensors)], calls: Calls, what: &str) {
    let inputs: Vec<_> = samples.iter().map(|s| s.0.clone()).collect();
    let count = usize::from(c.program.parties);
    let parties = run_session(c, network(count), &inputs, calls);
    let predicted = c.program.predicted_bytes();
    let receiver = c.program.interface.outputs[0].party.index();
    for (i, (_, want)) in samples.iter().enumerate() {
        let want: Vec<_> = want.iter().cloned().map(Some).collect();
        assert_eq!(parties[receiver][i].outputs, want, "{what}, sample {i}");
        for p in (0..count).filter(|p| *p != receiver) {
            assert!(parties[p][i].outputs.iter().all(Option::is_none), "{what}: only the receiver learns");
        }
        let rounds = parties.iter().map(|p| p[i].rounds).max();
        assert_eq!(rounds, Some(c.program.predicted_rounds()), "{what}: rounds");
        let sent: Vec<u64> = parties.iter().map(|p| p[i].payload_sent).collect();
        assert_eq!(sent, predicted, "{what}: payload bytes");
        assert_eq!(parties[receiver][i].opened_bits, c.program.opened_bits, "{what}: opened bits");
    }
}

/// The same for models with one input and one output.
pub fn check(c: &Compiled, samples: &[(Vec<i64>, Vec<i64>)], what: &str) {
    let samples: Vec<_> = samples.iter().map(|(x, y)| (vec![x.clone()], vec![y.clone()])).collect();
    check_all(c, &samples, what);
}

/// The first sample of each third-party model by each way, where they are; what a run costs is printed.
pub fn check_recorded(names: &[&str], ways: &[(Options, &str)]) {
    let Some(dir) = models() else { return };
    for name in names {
        for (options, by) in ways {
            let c = build_with(&dir.join(format!("{name}.tflite")), *options);
            check(&c, &[sample(&dir, name, 0)], &format!("{name} by {by}"));
            let (rounds, bytes) = (c.program.predicted_rounds(), c.program.predicted_bytes());
            println!("{name} by {by}: {rounds} rounds, {bytes:?} bytes");
        }
    }
}
