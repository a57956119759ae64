//! Programs as test files: their first line says what is tested, `; run:` lines hold what goes in and what comes out.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use ir::Program;
use std::fs;
use std::path::{Path, PathBuf};

pub const ERROR: &str = " ; error: ";
pub const RUN: &str = "; run: ";

/// The files of a folder of `testdata`, by name.
pub fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(folder);
    let list = fs::read_dir(dir).expect("part of the repository");
    let mut paths: Vec<PathBuf> = list.map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "qir"));
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), fs::read_to_string(&p).expect("UTF-8"))).collect()
}

/// `[1 2], [3]`
fn lists(text: &str) -> Vec<Vec<i64>> {
    let list = |part: &str| {
        part.trim().trim_start_matches('[').split_whitespace().map(|n| n.parse().expect("an integer")).collect()
    };
    let parts = text.trim().strip_suffix(']').map(|t| t.split(']').map(|p| p.trim_start_matches([',', ' '])));
    parts.map_or_else(Vec::new, |parts| parts.map(list).collect())
}

pub fn shown(lists: &[Vec<i64>]) -> String {
    let one = |l: &Vec<i64>| format!("[{}]", l.iter().map(i64::to_string).collect::<Vec<_>>().join(" "));
    lists.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What a `; run:` line gives to a program.
pub struct Given<'a> {
    pub text: &'a str,
    pub inputs: Vec<Vec<i64>>,
    pub weights: Vec<Vec<i32>>,
}

/// Reads a `; run:` line up to `==`; panics where it does not fit the program.
pub fn given<'a>(name: &str, line: &'a str, p: &Program) -> Given<'a> {
    let text = line.trim_start_matches(RUN).split("==").next().unwrap_or_default().trim();
    let (inputs, weights) = text.split_once('|').unwrap_or((text, ""));
    let (inputs, weights) = (lists(inputs), lists(weights));
    let len = |shape: &[u32]| shape.iter().product::<u32>() as usize;
    let lengths = |l: &[Vec<i64>]| l.iter().map(Vec::len).collect::<Vec<_>>();
    let wanted: Vec<usize> = p.interface.inputs.iter().map(|p| len(&p.shape)).collect();
    assert_eq!(lengths(&inputs), wanted, "{name}: inputs of `{line}`");
    let wanted: Vec<usize> = p.interface.weights.iter().map(|s| len(s)).collect();
    assert_eq!(lengths(&weights), wanted, "{name}: weights of `{line}`");
    let small = |w: &Vec<i64>| w.iter().map(|x| i32::try_from(*x).expect("32 bits")).collect();
    Given { text, inputs, weights: weights.iter().map(small).collect() }
}

/// A `; run:` line with its outputs.
pub fn run_line(given: &Given<'_>, outputs: &[Vec<i64>]) -> String {
    format!("{RUN}{} == {}", given.text, shown(outputs))
}

/// Compares each file with what it should be, or rewrites it where `QNN_BLESS` is set.
pub fn settle(kept: &[(PathBuf, String)], now: &[String]) {
    let mut wrong = Vec::new();
    for ((path, text), now) in kept.iter().zip(now).filter(|((_, text), now)| text != *now) {
        if std::env::var_os("QNN_BLESS").is_some() {
            fs::write(path, now).expect("writable");
            continue;
        }
        let lines = now.lines().zip(text.lines()).filter(|(a, b)| a != b);
        wrong.extend(lines.map(|(now, kept)| format!("{}\n  kept {kept}\n  now  {now}", path.display())));
    }
    assert!(wrong.is_empty(), "QNN_BLESS=1 rewrites these, review the diff:\n{}", wrong.join("\n"));
}
