//! Compiled programs: independent of weights, deterministic, small, equal to recorded results, safe to read when damaged.
use compiler::npy::{Array, read_npy};
use compiler::pipeline::{Compiled, Options, Reveal, compile, compile_with};
use compiler::qgraph::eval::{TensorData, eval, outputs};
use compiler::qgraph::{Graph, Kind};
use std::fs;
use std::path::{Path, PathBuf};

/// Models with recorded results, and whose inputs they use.
const RECORDED: [(&str, &str); 4] = [
    ("digits", "digits"),
    ("digits_other_weights", "digits"),
    ("digits_mlp", "digits_mlp"),
    ("digits_u8", "digits_u8"),
];
const SAMPLES: usize = 4;

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(file)
}

fn model(name: &str) -> Compiled {
    let bytes = fs::read(testdata(&format!("{name}.tflite"))).expect("part of the repository");
    compile(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn array(file: &str) -> Array {
    read_npy(testdata(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn programs_do_not_depend_on_weights() {
    let (a, b) = (model("digits"), model("digits_other_weights"));
    assert!(a.bytes == b.bytes, "programs differ");
    assert!(a.weights.tensors != b.weights.tensors, "weights are the same");
    assert!(
        ir::weights::encode(&a.weights, &[7; 32]) != ir::weights::encode(&b.weights, &[7; 32]),
        "weights files are the same"
    );
}

#[test]
fn compiling_is_deterministic() {
    for (name, _) in RECORDED {
        let (a, b) = (model(name), model(name));
        assert!(a.bytes == b.bytes, "{name}: programs differ");
        assert!(
            ir::weights::encode(&a.weights, &[7; 32]) == ir::weights::encode(&b.weights, &[7; 32]),
            "{name}: weights files differ"
        );
        assert_eq!(ir::bytecode::decode(&a.bytes).expect("just encoded"), a.program, "{name}");
    }
}

/// The oracle and the program give what TFLite gave.
fn check(name: &str, inputs_of: &str) {
    let compiled = model(name);
    let program = ir::bytecode::decode(&compiled.bytes).expect("just encoded");
    let typed = ir::verify::verify(&program).expect("verified by the compiler");
    for sample in 0..SAMPLES {
        let input = array(&format!("{inputs_of}.input_{sample}.npy"));
        let recorded = array(&format!("{name}.output_{sample}.npy"));
        let want = recorded.ints().expect("integers").to_vec();
        let given = input.ints().expect("integers").to_vec();

        let data = given.iter().map(|v| i32::try_from(*v).expect("8 bits")).collect();
        let values = eval(&compiled.graph, &[TensorData { shape: input.shape.clone(), data }]).expect("fits");
        let oracle = outputs(&compiled.graph, &values).expect("computed");
        assert_eq!(oracle.len(), 1);
        assert_eq!(oracle[0].shape, recorded.shape, "{name} {sample}: shape");
        let got: Vec<i64> = oracle[0].data.iter().map(|v| i64::from(*v)).collect();
        assert_eq!(got, want, "{name} {sample}: oracle");

        let got = ir::eval::eval(&program, &typed, &[given], &compiled.weights.tensors);
        assert_eq!(got, [want], "{name} {sample}: program");
    }
}

#[test]
fn oracle_and_program_equal_recorded_results() {
    RECORDED.iter().for_each(|(name, inputs_of)| check(name, inputs_of));
}

fn output_channels(graph: &Graph) -> usize {
    let of = |kind: &Kind| match kind {
        Kind::Conv2d { linear, .. } | Kind::DepthwiseConv2d { linear, .. } | Kind::FullyConnected { linear } => {
            linear.bias.len()
        }
        _ => 0,
    };
    graph.ops.iter().map(|op| of(&op.kind)).sum()
}

/// Bytes of all constants, as many per element as the widest of its tensor needs.
fn constant_bytes(program: &ir::Program) -> usize {
    let fits = |x: i64, bytes: usize| bytes == 8 || x >> (8 * bytes - 1) == x >> 63;
    let width = |data: &[i64]| (1..=8).find(|b| data.iter().all(|x| fits(*x, *b))).unwrap_or(8);
    program.consts.iter().map(|c| c.data.len() * width(&c.data)).sum()
}

#[test]
fn large_programs_are_small() {
    let dir = std::env::var_os("QNN_MODELS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models"), PathBuf::from);
    // KiB. Channels of several layouts have instructions of their own, three times where rows are computed apart.
    let limits = [
        ("mobilenet_v1_1.0_224_quant", 160),
        ("mobilenet_v2_1.0_224_ptq", 600),
        ("vww_96", 160),
        ("resnet8_cifar10", 80),
    ];
    for (name, kib) in limits {
        let Ok(bytes) = fs::read(dir.join(format!("{name}.tflite"))) else {
            println!("skipped: no {name} in {}", dir.display());
            continue;
        };
        // The tables of a softmax inside are no constants of channels.
        let options = Options { reveal: Reveal::Logits, ..Options::default() };
        let compiled = compile_with(&bytes, options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (constants, channels) = (constant_bytes(&compiled.program), output_channels(&compiled.graph));
        println!(
            "{name}: {} bytes of program, {constants} bytes of constants for {channels} channels: {:.1} each",
            compiled.bytes.len(),
            constants as f64 / channels as f64
        );
        assert!(compiled.bytes.len() < kib << 10, "{name}: {} bytes", compiled.bytes.len());
        assert!(constants <= 24 * channels, "{name}: {constants} bytes of constants for {channels} channels");
    }
}

/// A small generator of numbers, the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// A damaged copy; every second one has a right checksum, so that what lies behind it is reached.
fn mutant(original: &[u8], numbers: &mut Numbers, round: usize) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let body = bytes.len() - 32;
    // Half of the damage goes where the structure is dense: the first bytes of each file.
    let reach = if numbers.below(2) == 0 { body } else { body.min(400) };
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(reach);
        bytes[at] = match numbers.below(3) {
            0 => bytes[at] ^ 1 << numbers.below(8),
            1 => [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            _ => numbers.below(256) as u8,
        };
    }
    if round % 8 == 7 {
        bytes.truncate(numbers.below(bytes.len()));
    }
    if round.is_multiple_of(2) {
        let body = bytes.len().saturating_sub(32);
        let hash = blake3::hash(&bytes[..body]);
        bytes.truncate(body);
        bytes.extend_from_slice(hash.as_bytes());
    }
    bytes
}

#[test]
fn damaged_programs_never_panic() {
    let original = model("digits").bytes;
    let mut numbers = Numbers(0x5eed);
    let (mut decoded, mut verified) = (0, 0);
    for round in 0..4000 {
        let bytes = mutant(&original, &mut numbers, round);
        let Ok(program) = ir::bytecode::decode(&bytes) else { continue };
        decoded += 1;
        // What a reader prints about a program may be asked before it is verified.
        let _ = ir::text::print(&program, true);
        if ir::verify::verify(&program).is_ok() {
            verified += 1;
            let sent: u64 = program.predicted_bytes().iter().sum();
            assert!(program.predicted_rounds() as usize <= program.rounds.len() && sent < 1 << 63);
        }
    }
    println!("4000 mutants: {decoded} decoded, {verified} verified");
    assert!(decoded > 100, "checksums are not repaired");
}

#[test]
fn damaged_weights_never_panic() {
    let original = ir::weights::encode(&model("digits").weights, &[7; 32]);
    let mut numbers = Numbers(0xbad);
    let mut decoded = 0;
    for round in 0..2000 {
        decoded += usize::from(ir::weights::decode(&mutant(&original, &mut numbers, round)).is_ok());
    }
    println!("2000 mutants: {decoded} decoded");
    assert!(decoded > 100, "checksums are not repaired");
}

#[test]
fn every_truncation_is_refused() {
    let compiled = model("digits_mlp");
    let weights = ir::weights::encode(&compiled.weights, &[7; 32]);
    (0..compiled.bytes.len()).for_each(|n| assert!(ir::bytecode::decode(&compiled.bytes[..n]).is_err(), "program {n}"));
    (0..weights.len()).for_each(|n| assert!(ir::weights::decode(&weights[..n]).is_err(), "weights {n}"));
}
