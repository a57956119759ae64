//! The parser on damaged text, on awkward programs, and on text with many errors.
#[path = "common/numbers.rs"]
mod numbers;
use ir::text::{parse, print};
use numbers::Numbers;
use std::fs;
use std::path::Path;

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/ir").join(name);
    fs::read_to_string(path).expect("part of the repository")
}

const PIECES: [&str; 24] = [
    "\"",
    "\\",
    "[",
    "]",
    "{",
    "}",
    "<",
    "@",
    ":",
    ",",
    "=",
    "->",
    "…",
    "v0",
    "v4294967295",
    "-1",
    "18446744073709551615",
    "1x1",
    "0",
    "é",
    "\n",
    ";",
    "layer 4294967295:\n",
    "#7fc00000",
];

fn mutant(original: &str, numbers: &mut Numbers) -> String {
    let mut chars: Vec<char> = original.chars().collect();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(chars.len());
        let to = (at + numbers.below(12)).min(chars.len());
        let piece = PIECES[numbers.below(PIECES.len())].chars();
        match numbers.below(6) {
            0 => drop(chars.splice(at..to, [])),
            1 => drop(chars.splice(at..at, piece)),
            2 => drop(chars.splice(at..to, piece)),
            3 => drop(chars.splice(at..at, chars[at..to].to_vec())),
            4 => chars.truncate(at + numbers.below(chars.len())),
            _ => {
                if let Some(c) = chars.get_mut(at) {
                    *c = char::from(b' ' + numbers.below(95) as u8);
                }
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_text_never_panics() {
    let files =
        ["eval-layers.qir", "eval-softmax.qir", "eval-split-join-rot0.qir", "eval-conv2d.qir", "eval-slice.qir"];
    let (mut numbers, mut read, mut refused) = (Numbers(0x7e47), 0, 0);
    for file in files {
        let original = sample(file);
        for _ in 0..1200 {
            let text = mutant(&original, &mut numbers);
            let Ok(program) = parse(&text) else {
                refused += 1;
                continue;
            };
            read += 1;
            // What was read prints, and what was printed reads back. Bytes, because a scale may be no number.
            let printed = print(&program, false).unwrap_or_else(|bad| panic!("{}\n{text}", bad[0]));
            let again = parse(&printed).unwrap_or_else(|bad| panic!("{}\n{printed}", bad[0]));
            assert!(ir::bytecode::encode(&again) == ir::bytecode::encode(&program), "{text}");
            let _ = ir::verify::verify(&program);
        }
    }
    println!("6000 mutants: {read} read, {refused} refused");
    assert!(read > 300 && refused > 300, "{read} read, {refused} refused");
}

#[test]
fn every_error_is_reported_with_its_place() {
    let text = "program protocol=\"p\" parties=3 reveal=\"r\" kernels=\"k\"\n\
                input 0 \"x\" int8[4] scale=1 zero=0 party=1\n\
                v0 = input index=0\n\
                v1 = sext_h v0, bits=four\n\
                v2 = add v0, v9\n\
                \"é\" v3\n\
                v3: arith<64>[4], v4 = sext_h v0, bits=4\n\
                layer one:\n";
    let errors: Vec<String> = parse(text).expect_err("broken").iter().map(ToString::to_string).collect();
    let want = [
        "4:22: expected a number, found `four`",
        "5:6: V1 v9 is not defined yet",
        "6:1: expected a statement, found `\"\\u{e9}\"`",
        "7:1: the type is held<64>[4]@{1}, not arith<64>[4]",
        "7:24: sext_h has 1 results, 2 are written",
        "8:7: expected a number, found `one`",
    ];
    let want: Vec<String> = want.iter().map(|w| w.replace("\"\\u", "\\\"\\u").replace("}\"`", "}\\\"`")).collect();
    assert_eq!(errors, want);
}

#[test]
fn hostile_text_stays_within_bounds() {
    let head = "program protocol=\"p\" parties=8 reveal=\"r\" kernels=\"k\"\n";
    let many = |piece: &str, n: usize| piece.repeat(n);
    for tail in [
        many("v4294967295 = input index=0\n", 1000),
        many("{", 100_000),
        many("[", 100_000),
        many("\"", 100_001),
        format!("const 0 [{}] = []", many("4294967295x", 7) + "2"),
        format!("const 0 [{}1] = []", many("1x", 100_000)),
        format!("input 0 \"{}\" int8[1] scale=1 zero=0 party=0", many("a", 5000)),
        format!("v0 = stack {}v0", many("v0, ", 5000)),
        format!("v0 = input index={}", many("9", 100_000)),
        many("round 1 {\n", 1000),
    ] {
        let errors = parse(&format!("{head}{tail}")).expect_err("no program");
        assert!((1..=101).contains(&errors.len()), "{} errors", errors.len());
        assert!(errors.iter().all(|e| e.what.len() < 300), "{}", errors[0]);
    }
    assert!(parse("").is_err() && parse("\n;\n").is_err());
}

#[test]
fn awkward_fields_read_back() {
    let mut program = parse(&sample("eval-layers.qir")).expect("a program");
    program.protocol = "a \"b\"; \\ \n\u{0}é".into();
    (program.opened_bits, program.thresholds, program.peak_memory) = (u64::MAX, 1 << 63, 7);
    program.interface.weights = vec![vec![], vec![0], vec![u32::MAX; 8]];
    program.interface.weight_owner = ir::Party(255);
    let constants = [i64::MIN, i64::MAX, 0, -1];
    program.consts =
        vec![ir::Const { shape: vec![4], data: constants.to_vec() }, ir::Const { shape: vec![0], data: vec![] }];
    let scales =
        [0x0000_0001u32, 0x8000_0000, 0x3dcc_cccd, 0x7f7f_ffff, 0x7f80_0000, 0xffc0_0001, 0x7f80_0001, 0x0080_0000];
    for bits in scales.into_iter().chain((0..5000u32).map(|i| i.wrapping_mul(2_654_435_761))) {
        program.interface.outputs[0].scale = f32::from_bits(bits);
        let text = print(&program, false).expect("typed");
        let again = parse(&text).unwrap_or_else(|bad| panic!("{}\n{text}", bad[0]));
        assert!(ir::bytecode::encode(&again) == ir::bytecode::encode(&program), "{bits:08x}\n{text}");
    }
}
