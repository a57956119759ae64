//! What the verifier accepts runs to the end, in memory and over TCP with small buffers, and equals the evaluator: random
//! programs over all ops, and programs of the test files and of a model with random changes. Outputs that masks make
//! random are told by evaluating with other masks, and not compared.
#[path = "common/play.rs"]
mod play;
#[path = "../../ir/tests/common/qir.rs"]
mod qir;
#[path = "common/random.rs"]
mod random;
use compiler::lower::Lowered;
use compiler::pipeline::program_of;
use compiler::pipeline::{Options, Route, compile_with};
use ir::eval::eval_with_masks;
use ir::verify::{Typed, verify};
use ir::{Party, Program};
use play::{PROTOCOLS, declare, machines, outputs, play};
use random::{Draw, ELSEWHERE, Random, inputs, mutate};
use runtime_protocols::link::memory::{MemoryLink, network};
use runtime_protocols::link::tcp::{self, Options as TcpOptions, TcpLink};
use runtime_protocols::link::{Hello, Timeouts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Values of all parties together that a test program may have, in elements.
const MOST_ELEMENTS: usize = 1 << 18;
/// Products of one linear op.
const MOST_PRODUCTS: usize = 1 << 22;

/// One memory network and one TCP network with buffers of 4 KiB, used for all programs.
struct Networks {
    memory: Vec<MemoryLink>,
    tcp: Vec<TcpLink>,
}

impl Networks {
    fn new() -> Self {
        let timeouts = Timeouts { round: Duration::from_secs(30), ..Timeouts::default() };
        let options = TcpOptions { timeouts, socket_buffers: Some(4 << 10) };
        let any = "127.0.0.1:0".parse().expect("an address");
        let listeners: Vec<_> = (0..3).map(|_| tcp::listen(any, &options).expect("listens")).collect();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("bound")).collect();
        let (addresses, options) = (&addresses, &options);
        let tcp = std::thread::scope(|s| {
            let dial = |(listener, me)| {
                s.spawn(move || tcp::connect_on(listener, Party(me), addresses, options, &Hello::default()))
            };
            let all: Vec<_> = listeners.into_iter().zip(0..).map(dial).collect();
            all.into_iter().map(|h| h.join().expect("no panic").expect("connects")).collect()
        });
        Networks { memory: network(3), tcp }
    }
}

/// Whether a program is small enough for a test.
fn small(p: &Program, typed: &Typed) -> bool {
    let elements: usize = typed.types.iter().map(|t| t.len() * usize::from(t.domain.width()).div_ceil(32)).sum();
    let products = |i: usize| match &p.insts[i].op {
        ir::Op::Conv2dSs { w, .. }
        | ir::Op::DepthwiseSs { w, .. }
        | ir::Op::Conv2dP { w, .. }
        | ir::Op::DepthwiseP { w, .. } => typed.types[typed.results(i).start].len() * typed.types[w.index()].len(),
        ir::Op::WindowSum { window, .. } => {
            typed.types[typed.results(i).start].len() * (window.kernel[0] as usize * window.kernel[1] as usize)
        }
        ir::Op::WindowCount { window, .. } => {
            typed.types[typed.results(i).start].len() * (window.kernel[0] as usize * window.kernel[1] as usize)
        }
        _ => 0,
    };
    elements < MOST_ELEMENTS && (0..p.insts.len()).all(|i| products(i) < MOST_PRODUCTS)
}

#[derive(Default, Debug)]
struct Counts {
    refused: usize,
    too_large: usize,
    run: usize,
    compared: usize,
    random: usize,
    ops: BTreeMap<&'static str, usize>,
}

/// Runs a program if it is accepted.
fn check(p: &Program, weights: &[Vec<i32>], draw: &mut Draw, nets: &mut Networks, counts: &mut Counts, what: &str) {
    let protocol = &PROTOCOLS[0];
    let Ok(typed) = verify(p) else {
        counts.refused += 1;
        return;
    };
    if !small(p, &typed) {
        counts.too_large += 1;
        return;
    }
    let all = || machines(p, protocol);
    let Ok(first) = all() else {
        counts.refused += 1;
        return;
    };
    let weights: Vec<Vec<i32>> = p
        .interface
        .weights
        .iter()
        .enumerate()
        .map(|(i, shape)| {
            let len = shape.iter().map(|d| *d as usize).product();
            let mut data = weights.get(i).cloned().unwrap_or_default();
            data.resize(len, 3);
            data
        })
        .collect();
    let given = inputs(p, draw);
    let in_memory = play(first, &mut nets.memory, &given, &weights);
    let in_memory = outputs(p, &in_memory, what);
    let over_tcp = play(all().expect("accepted before"), &mut nets.tcp, &given, &weights);
    let over_tcp = outputs(p, &over_tcp, what);
    assert_eq!(in_memory, over_tcp, "{what}: the same keys, other outputs");
    let plain: Vec<Vec<Vec<i64>>> = (0..12).map(|seed| eval_with_masks(p, &typed, &given, &weights, seed)).collect();
    for (i, output) in in_memory.iter().enumerate() {
        // Few masks may hide that an output depends on them.
        let masked = |seed| eval_with_masks(p, &typed, &given, &weights, seed)[i] != plain[0][i];
        let rare = || *output != plain[0][i] && (12..500).any(masked);
        if plain.iter().any(|other| other[i] != plain[0][i]) || rare() {
            counts.random += 1;
            continue;
        }
        assert_eq!(
            *output,
            plain[0][i],
            "{what}: output {i} of {given:?}\n{}",
            ir::text::print(p, false).expect("verified")
        );
        counts.compared += 1;
    }
    counts.run += 1;
    p.insts.iter().for_each(|i| *counts.ops.entry(i.op.mnemonic()).or_default() += 1);
}

#[test]
fn random_programs() {
    let (mut nets, mut counts) = (Networks::new(), Counts::default());
    for seed in 0..300u64 {
        let mut r = Random::new(seed);
        let mut made = 0;
        for _ in 0..400 {
            let entry = ir::ops::TABLE[r.draw.below(ir::ops::TABLE.len())];
            made += usize::from(r.attempt(entry.mnemonic).is_some());
            if made > 40 {
                break;
            }
        }
        for _ in 0..3 {
            let _ = r.attempt("open");
        }
        if r.builder.interface.outputs.is_empty() {
            continue;
        }
        let mut draw = Draw(seed ^ 0xfeed);
        let weights = std::mem::take(&mut r.weights);
        let (reveal, parts, results) = ("output".into(), vec![], vec![]);
        let p = program_of(Lowered {
            builder: r.builder,
            weights: vec![],
            thresholds: 0,
            reveal,
            parts,
            notes: vec![],
            results,
        });
        if let Err(bad) = verify(&p) {
            println!("seed {seed}: {}", bad[0]);
        }
        check(&p, &weights, &mut draw, &mut nets, &mut counts, &format!("random program, seed {seed}"));
    }
    println!("{counts:?}");
    assert!(counts.run >= 250, "only {} of 300 programs were accepted", counts.run);
    assert!(counts.compared >= 400, "only {} outputs were compared", counts.compared);
    let unused: Vec<_> = ir::ops::TABLE.iter().map(|e| e.mnemonic).filter(|m| !counts.ops.contains_key(m)).collect();
    assert_eq!(unused, ELSEWHERE, "ops in no random program");
}

#[test]
fn changed_programs() {
    let (mut nets, mut counts) = (Networks::new(), Counts::default());
    let mut sources: Vec<(String, Program, Vec<Vec<i32>>)> = Vec::new();
    for (path, text) in ["ir", "exec"].into_iter().flat_map(qir::files) {
        let Ok(mut p) = ir::text::parse(&text) else { continue };
        if p.parties == 3 && !text.starts_with("; test verify") {
            declare(&mut p, &PROTOCOLS[0]);
            sources.push((path.display().to_string(), p, vec![]));
        }
    }
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/models/digits_mlp.tflite");
    let model = std::fs::read(model).expect("part of the repository");
    for route in [Route::Dealer, Route::Boolean] {
        let c = compile_with(&model, Options { route, ..Options::default() }).expect("compiles");
        for _ in 0..4 {
            sources.push((format!("digits_mlp {route:?}"), c.program.clone(), c.weights.tensors.clone()));
        }
    }
    let mut draw = Draw(0xc4a6);
    for round in 0..40u64 {
        for (name, p, weights) in &sources {
            let Some(mut m) = mutate(p, &mut draw) else { continue };
            // Mostly the messages and openings that the change needs, or hardly any would be accepted.
            if draw.below(10) > 0 && m.parties == 3 && m.rounds.iter().all(|r| r.exchange_end as usize <= m.insts.len())
            {
                declare(&mut m, &PROTOCOLS[0]);
            }
            if ir::text::print(&m, false).as_ref() == ir::text::print(p, false).as_ref() {
                continue;
            }
            check(&m, weights, &mut draw, &mut nets, &mut counts, &format!("{name}, change {round}"));
        }
    }
    counts.ops.clear();
    println!("{} sources, {counts:?}", sources.len());
    assert!(counts.run >= 300 && counts.refused >= 300, "{counts:?}");
}

/// [v = V] where u is held by the party that shared the input. The protocol takes no fresh mask for such a split, so that v
/// is 0 or what was added in public; of uniform masks one in 2^32 gives that.
const SPLIT_BY_ITS_OWNER: &str = r#"program protocol="rep3" parties=3 reveal="output" kernels="tflite-ref"
claims opened_bits=4 thresholds=0 peak_memory=0
weights party=0
input 0 "x" int32[4] scale=1.0 zero=0 party=OWNER
output 0 "y" int32[4] scale=1.0 zero=0 party=1
const 0 [] = [1]
const 1 [] = [20000003]
const 2 [] = [V]
    v0: held<64>[4]@{OWNER} = input index=0
  round 1 {
    v1: arith<32>[4] = reshare v0, bits=32
  }
    v2: public[] = constant index=0
    v3: public[] = constant index=1
    v4: public[] = constant index=2
    v5: arith<32>[4] = add_p v1, v3
    v6: held<64>[4]@{OWNER}, v7: held<64>[4]@{OTHERS} = split_shared v5, rot=OWNER
    v8: held<64>[4]@{OTHERS} = sub_p v7, v4
    v9: held<64>[4]@{OTHERS} = sub_p v8, v2
    v10: heldbits<1>[4]@{OTHERS} = planes_h v8, lo=63, width=1
    v11: heldbits<1>[4]@{OTHERS} = planes_h v9, lo=63, width=1
    v12: heldbits<1>[4]@{OTHERS} = add v10, v11
    v13: bitsum<1>[4]@{OTHERS} = as_sum v12, at={OTHERS}, bits=1
  round 2 {
    v14: bits<1>[4] = reshare v13, bits=1
  }
  round 3 {
    v15: heldbits<1>[4]@{1} = open v14, to={1}
  }
    v16: held<64>[4]@{1} = number_h v15
    output v16, index=0
"#;

#[test]
fn a_split_without_a_fresh_mask_is_told_as_random() {
    let (mut nets, mut draw) = (Networks::new(), Draw(5));
    for (owner, others, v) in [("0", "1,2", "20000003"), ("1", "0,2", "0"), ("2", "0,1", "0")] {
        let text =
            SPLIT_BY_ITS_OWNER.replace("OWNER", owner).replace("OTHERS", others).replace("[V]", &format!("[{v}]"));
        let mut p = ir::text::parse(&text).expect("a program");
        declare(&mut p, &PROTOCOLS[0]);
        let input = vec![inputs(&p, &mut draw).remove(0)];
        let all = machines(&p, &PROTOCOLS[0]).expect("accepted");
        let got = outputs(&p, &play(all, &mut nets.memory, &input, &[]), owner);
        assert_eq!(got, [[1; 4]], "v of what party {owner} shared");
        let mut counts = Counts::default();
        check(&p, &[], &mut draw, &mut nets, &mut counts, owner);
        assert_eq!((counts.run, counts.random), (1, 1), "party {owner}");
    }
}
