//! The importer on hostile files, on real models and on single-operator cases.

#[path = "common/data.rs"]
mod data;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use compiler::qgraph::Graph;
use compiler::tflite::{CODES, Category, ImportReport, import};
use data::folder;
use serde_json::Value;

/// Operators that can be imported.
const OPERATORS: &[&str] = &[
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "EXPAND_DIMS",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "MEAN",
    "PAD",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "ABS",
    "BROADCAST_TO",
    "EXP",
    "HARD_SWISH",
    "LOG",
    "LOGISTIC",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "PADV2",
    "REVERSE_V2",
    "SLICE",
    "SPLIT",
    "SPLIT_V",
    "STRIDED_SLICE",
    "SUB",
    "TANH",
    "TILE",
    "TRANSPOSE",
    "RESHAPE",
    "SOFTMAX",
    "SQUEEZE",
    "ARG_MAX",
    "ARG_MIN",
    "ASSIGN_VARIABLE",
    "BATCH_MATMUL",
    "CALL_ONCE",
    "DIV",
    "EQUAL",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "GELU",
    "GREATER",
    "GREATER_EQUAL",
    "L2_NORMALIZATION",
    "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL",
    "LOG_SOFTMAX",
    "NOT_EQUAL",
    "PRELU",
    "READ_VARIABLE",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "REDUCE_PROD",
    "RSQRT",
    "SELECT",
    "SELECT_V2",
    "SQRT",
    "SQUARED_DIFFERENCE",
    "SUM",
    "SVDF",
    "TOPK_V2",
    "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "VAR_HANDLE",
];

/// Models made of these operators.
const MODELS: &[&str] = &[
    "ad01_autoencoder",
    "digits_cnn",
    "digits_inception",
    "digits_mobile",
    "digits_transformer",
    "hello_world",
    "hps_presence",
    "kws_dscnn",
    "micro_speech",
    "mnist_lstm",
    "mnist_resnet",
    "mnist_valid",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_1.0_224_quant",
    "mobilenet_v2_1.0_224_ptq",
    "mobilenet_v2_1.0_224_quant",
    "person_detect",
    "resnet8_cifar10",
    "split_concat",
    "vww_96",
];

/// May be refused although all operators are known: data of other types, a CONCATENATION that rescales, a DIV whose kernel
/// is undefined.
fn is_eight_bit(case: &Value) -> bool {
    let refused = ["concatenation_uint8_mixed", "div_uint8_0", "div_uint8_1"];
    if case["name"].as_str().is_some_and(|name| refused.iter().any(|start| name.starts_with(start))) {
        return false;
    }
    ["inputs", "outputs"].iter().all(|side| {
        case[*side]
            .as_array()
            .is_some_and(|list| list.iter().all(|t| matches!(t["dtype"].as_str(), Some("int8" | "uint8"))))
    })
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
}

/// Whatever comes of an import, these hold.
fn check(what: &str, bytes: &[u8]) -> Result<Graph, ImportReport> {
    let result = import(bytes);
    match &result {
        Ok(graph) => consistent(what, graph),
        Err(report) => {
            assert!(!report.problems.is_empty(), "{what}: empty report");
            for problem in &report.problems {
                assert!(
                    CODES.iter().any(|(code, _)| *code == problem.code),
                    "{what}: {} is not explained",
                    problem.code
                );
                assert!(!problem.to_string().contains('\n'), "{what}: {problem}");
            }
        }
    }
    result
}

/// Every reference of a graph leads somewhere, and in order.
fn consistent(what: &str, graph: &Graph) {
    let mut known: Vec<bool> = graph.tensors.iter().map(|t| t.constant.is_some()).collect();
    graph.inputs.iter().for_each(|id| known[id.index()] = true);
    for state in &graph.states {
        known[state.tensor.index()] = true;
        assert_eq!(state.initial.len(), graph.tensor(state.tensor).len(), "{what}: first value of a state");
        assert_eq!(graph.tensor(state.next).shape, graph.tensor(state.tensor).shape, "{what}: shape of a state");
    }
    for op in &graph.ops {
        assert!(op.inputs.iter().all(|id| known[id.index()]), "{what}: operator {} reads too early", op.index);
        known[op.output.index()] = true;
    }
    assert!(graph.states.iter().all(|state| known[state.next.index()]), "{what}: undefined state");
    assert!(graph.outputs.iter().all(|id| known[id.index()]), "{what}: undefined output");
    for tensor in &graph.tensors {
        assert!(tensor.constant.as_ref().is_none_or(|c| c.len() == tensor.len()), "{what}: length of {}", tensor.name);
    }
}

#[test]
fn bad_models_are_refused_for_the_right_reason() {
    let Some(dir) = folder("conformance") else { return };
    let mut wrong = Vec::new();
    let expected = json(&dir.join("bad/EXPECTED.json"));
    for (name, verdict) in expected.as_object().expect("an object") {
        let bytes = fs::read(dir.join(format!("bad/{name}.tflite"))).expect("readable");
        let start = Instant::now();
        let result = check(name, &bytes);
        let took = start.elapsed();
        let got = match &result {
            Ok(_) => "accept",
            Err(report) => match report.exit_code() {
                4 => "damaged",
                5 => "limit",
                _ => "unsupported",
            },
        };
        println!("{name}: {got}: {}", result.as_ref().map_or_else(|report| report.to_string(), |_| String::new()));
        let also = verdict["also_accepted"].as_array().expect("a list");
        if verdict["category"] != got && !also.iter().any(|a| a == got) {
            wrong.push(format!("{name} ({}): {got}, expected {} or {also:?}", verdict["why"], verdict["category"]));
        }
        if took > Duration::from_secs(1) {
            wrong.push(format!("{name}: took {took:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn real_models_are_imported() {
    let Some(dir) = folder("models") else { return };
    for name in MODELS {
        let bytes = fs::read(dir.join(format!("{name}.tflite"))).expect("readable");
        let graph = check(name, &bytes).unwrap_or_else(|report| panic!("{name}: {report}"));
        assert!(!graph.ops.is_empty());
    }
    for entry in fs::read_dir(&dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|e| e == "tflite") && !MODELS.contains(&name) {
            let bytes = fs::read(&path).expect("readable");
            if let Err(report) = check(name, &bytes) {
                assert_eq!(report.exit_code(), 3, "{name}: {report}");
            }
        }
    }
}

#[test]
fn conformance_cases_are_imported() {
    let Some(dir) = folder("conformance") else { return };
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let index = json(&dir.join("INDEX.json"));
    for case in index["cases"].as_array().expect("a list") {
        let name = case["name"].as_str().expect("a name");
        let ops: Vec<&str> = case["ops"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let bytes = fs::read(dir.join(format!("{name}.tflite"))).expect("readable");
        let result = check(name, &bytes);
        let listed = ops.iter().all(|op| OPERATORS.contains(op));
        match (&result, listed && is_eight_bit(case)) {
            (Err(report), true) => wrong.push(format!("{name}: {report}")),
            (Err(report), false) if report.exit_code() != 3 => {
                wrong.push(format!("{name}: exit code {}: {report}", report.exit_code()))
            }
            (Ok(_), _) => *counts.entry("imported").or_default() += 1,
            (Err(report), _) => {
                *counts.entry("refused").or_default() += 1;
                // Operators are called what others call them.
                for problem in report.problems.iter().filter(|p| p.code == "Q1010") {
                    let op = problem.op_name.as_deref().unwrap_or_default();
                    assert!(ops.contains(&op), "{name}: {op}");
                }
            }
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts["imported"] >= 941, "{counts:?}");
}

/// A small generator of numbers, the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below.max(1)
    }
}

#[test]
fn damaged_files_never_panic() {
    let Some(dir) = folder("conformance") else { return };
    let seeds = [
        "conv2d_int8_3x3_same",
        "add_int8_broadcast5d",
        "bad/chain_3000",
        "bad/pool_rescale",
        "bad/pad_bomb",
        "bad/reshape_count_wrong",
    ];
    let mut numbers = Numbers(0x5eed);
    let mut accepted = 0;
    for seed in seeds {
        let original = fs::read(dir.join(format!("{seed}.tflite"))).expect("readable");
        let rounds = if original.len() > 100_000 { 50 } else { 1500 };
        for round in 0..rounds {
            let mut bytes = original.clone();
            for _ in 0..=numbers.next(4) {
                let at = numbers.next(bytes.len());
                bytes[at] = match numbers.next(3) {
                    0 => bytes[at] ^ 1 << numbers.next(8),
                    1 => [0, 1, 0x7f, 0x80, 0xff][numbers.next(5)],
                    _ => u8::try_from(numbers.next(256)).expect("below 256"),
                };
            }
            if round % 8 == 0 {
                bytes.truncate(numbers.next(bytes.len()));
            }
            accepted += usize::from(check(seed, &bytes).is_ok());
        }
    }
    println!("{accepted} mutants accepted");
}

#[test]
fn explanations_are_unique_and_refusals_ranked() {
    for (i, (code, text)) in CODES.iter().enumerate() {
        assert!(!text.is_empty() && CODES[..i].iter().all(|(other, _)| other != code), "{code}");
    }
    let report = import(b"not a model").expect_err("refused");
    assert_eq!(report.exit_code(), 4);
    assert!(Category::Damaged > Category::Limit && Category::Limit > Category::Unsupported);
    assert_eq!(
        report.to_string(),
        "Q1001: this is not a TFLite model: the identifier `TFL3` is missing; export or fetch the model again"
    );
}

#[test]
fn a_long_chain_is_handled_quickly() {
    let Some(dir) = folder("conformance") else { return };
    let bytes = fs::read(dir.join("bad/chain_3000.tflite")).expect("readable");
    let start = Instant::now();
    let compiled = compiler::pipeline::compile(&bytes);
    println!("chain_3000: {:?}", start.elapsed());
    assert!(compiled.is_err_and(|error| error.exit_code() == 5));
    assert!(start.elapsed() < Duration::from_secs(1));
}
