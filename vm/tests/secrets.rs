//! No branch and no index depends on a secret: valgrind watches a whole inference in which secrets count as uninitialized
//! memory, and reports every branch and every index that depends on one.
//!
//! Keys, inputs and weights are marked before they are used, so everything made of them is: pads, shares, messages. The
//! output is unmarked where its receiver has it. Each test starts this program again under valgrind; without valgrind it
//! says so and is skipped.
mod common;
use common::{build_with, testdata};
use compiler::pipeline::{Options, Protocol, Route};
use ir::Party;
use runtime_protocols::link::{Link, memory::network};
use std::path::{Path, PathBuf};
use std::process::Command;
use vm::exec::Machine;
use vm::protocols;

/// Set where valgrind watches.
const WATCHED: &str = "QNNVM_TEST_WATCHED";

/// Requests of valgrind's memcheck.
const MAKE_UNDEFINED: usize = 0x4d43_0001;
const MAKE_DEFINED: usize = 0x4d43_0002;
/// Request of valgrind itself: how much it has found so far.
const COUNT_ERRORS: usize = 0x1201;

/// Asks valgrind; 0 where it does not run.
#[cfg(target_arch = "x86_64")]
fn request(code: usize, address: usize, length: usize) -> usize {
    let arguments = [code, address, length, 0, 0, 0];
    let mut answer = 0usize;
    // SAFETY: outside valgrind these instructions turn rdi by 128 bits in all and swap rbx with itself, so they do nothing;
    // valgrind reads the six words that rax points to.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
        );
    }
    answer
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: usize, _: usize, _: usize) -> usize {
    0
}

fn mark<T>(data: &mut [T], secret: bool) {
    let code = if secret { MAKE_UNDEFINED } else { MAKE_DEFINED };
    request(code, data.as_mut_ptr() as usize, std::mem::size_of_val(data));
}

/// What valgrind has found so far.
fn errors() -> usize {
    request(COUNT_ERRORS, 0, 0)
}

/// An inference of all parties with marked secrets.
fn infer_marked(model: &Path, options: Options) {
    let c = build_with(model, options);
    let protocol = protocols::of(&c.program).expect("in this build");
    // Numbers that every type has, and that are positions in a table of two.
    let number =
        |port: &ir::Port, i: i64| if port.dtype.range().0 < 0 && port.scale != 1.0 { i * 37 % 127 } else { i % 2 };
    let party = |mut link: runtime_protocols::link::memory::MemoryLink| {
        let me = link.me();
        // Key j, of the two others, is made of the byte j.
        let mut seeds: Vec<[u8; 32]> = (0..3).map(|p| [3u8.saturating_sub(me.0 + p); 32]).collect();
        seeds.iter_mut().for_each(|seed| mark(seed, true));
        let mut weights = c.weights.clone();
        weights.tensors.iter_mut().for_each(|t| mark(t, true));
        let given = |port: &ir::Port| {
            let size = port.shape.iter().map(|d| i64::from(*d)).product::<i64>();
            let mut data: Vec<i64> = (0..size).map(|i| number(port, i)).collect();
            mark(&mut data, true);
            (port.party == me).then_some(data)
        };
        let inputs: Vec<_> = c.program.interface.inputs.iter().map(given).collect();
        let runtime = (protocol.make)(me, &seeds, &link.session());
        let mut m = Machine::new(c.program.clone(), runtime).expect("verified");
        m.setup((me == Party(0)).then_some(&weights), &mut link).expect("set-up");
        let mut outcome = m.infer(&inputs, &mut link).expect("inference");
        outcome.outputs.iter_mut().flatten().for_each(|y| mark(y, false));
        link.close().expect("close");
        outcome.outputs
    };
    // What valgrind finds in the compiler is about no secret.
    let before = errors();
    let outputs = common::in_threads(network(3), party);
    let name = model.display();
    assert_eq!(errors(), before, "{name}: something depends on a secret");
    assert!(outputs[1].iter().all(Option::is_some), "{name}: party 1 receives");
}

/// The models of the project.
fn own() -> Vec<PathBuf> {
    ["digits_mlp", "digits", "digits_u8"].iter().map(|name| testdata(&format!("{name}.tflite"))).collect()
}

/// A recorded case of each operator with a gadget that the models lack; none where there are no recorded cases.
fn operators() -> Vec<PathBuf> {
    const PREFIXES: [&str; 19] = [
        "arg_max_int8",
        "topk_v2_int8",
        "reduce_max_int8",
        "equal_int8",
        "less_int8",
        "select_v2_int8",
        "div_int8",
        "floor_div_int8",
        "l2_normalization_int8",
        "log_softmax_int8",
        "batch_matmul_int8",
        "conv2d_int16",
        "logistic_int16",
        "softmax_int16",
        "softmax_int8_to_int16",
        "gather_int8_embedding",
        "add_int16",
        "reduce_prod_int8",
        "maximum_int8",
    ];
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let dir = std::env::var_os("QNN_CONFORMANCE_DIR").map_or(beside, PathBuf::from);
    let Ok(list) = std::fs::read_dir(&dir) else {
        println!("skipped: no cases in {}", dir.display());
        return vec![];
    };
    let mut files: Vec<PathBuf> = list.map(|e| e.expect("entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "tflite"));
    files.sort();
    let first = |prefix: &&str| {
        let named = |f: &&PathBuf| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix));
        files.iter().find(named).cloned().unwrap_or_else(|| panic!("no case {prefix}"))
    };
    PREFIXES.iter().map(first).collect()
}

/// Runs `work` if valgrind watches, else this test again under valgrind.
fn watched(test: &str, work: impl Fn()) {
    if std::env::var_os(WATCHED).is_some() {
        return work();
    }
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: requests to valgrind are written for x86-64 only");
        return;
    }
    let me = std::env::current_exe().expect("this program");
    let out = Command::new("valgrind")
        .arg("--quiet")
        .arg(me)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(WATCHED, "1")
        .output();
    let Ok(out) = out else {
        println!("skipped: no valgrind");
        return;
    };
    let said: String = String::from_utf8_lossy(&out.stderr).lines().take(60).map(|l| format!("{l}\n")).collect();
    assert!(out.status.success(), "{test}: {:?}\n{said}", out.status);
}

#[test]
fn a_branch_on_a_secret_is_found() {
    watched("a_branch_on_a_secret_is_found", || {
        let before = errors();
        let mut secret = vec![7u8; 1];
        mark(&mut secret, true);
        if std::hint::black_box(secret[0]) > 3 {
            println!("branched on a secret");
        }
        assert!(errors() > before, "valgrind sees nothing");
    });
}

#[test]
fn an_index_by_a_secret_is_found() {
    watched("an_index_by_a_secret_is_found", || {
        let before = errors();
        let table: Vec<u8> = (0..64).collect();
        let mut secret = vec![7usize; 1];
        mark(&mut secret, true);
        // SAFETY: 7 is within 64 entries.
        std::hint::black_box(unsafe { *table.get_unchecked(std::hint::black_box(secret[0])) });
        assert!(errors() > before, "valgrind sees nothing");
    });
}

#[test]
fn dealer_route() {
    watched("dealer_route", || {
        own().iter().for_each(|model| infer_marked(model, Options::default()));
    });
}

#[test]
fn boolean_route() {
    let options = Options { route: Route::Boolean, ..Options::default() };
    watched("boolean_route", || {
        own().iter().for_each(|model| infer_marked(model, options));
    });
}

#[test]
fn two_parties_and_a_dealer() {
    let options = Options { protocol: Protocol::Dealer2, ..Options::default() };
    watched("two_parties_and_a_dealer", || {
        own().iter().for_each(|model| infer_marked(model, options));
    });
}

#[test]
fn operators_on_the_dealer_route() {
    watched("operators_on_the_dealer_route", || {
        operators().iter().for_each(|model| infer_marked(model, Options::default()));
    });
}
