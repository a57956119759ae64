//! Runs `testdata/ir/*.qir`. `; test verify`: the errors stand on their lines as `; error: …`. `; test eval`: lines
//! `; run: [inputs], … | [weights], … == [outputs], …` hold. `QNN_BLESS=1` rewrites both.
use ir::text::{Parsed, parse, parse_with_places, print};
use ir::verify::{Typed, verify};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const ERROR: &str = " ; error: ";
const RUN: &str = "; run: ";

fn files() -> Vec<(PathBuf, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/ir");
    let list = fs::read_dir(dir).expect("part of the repository");
    let mut paths: Vec<PathBuf> = list.map(|e| e.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "qir"));
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), fs::read_to_string(&p).expect("UTF-8"))).collect()
}

/// The program, or every error with its line, counted from 1.
fn load(text: &str) -> Result<(Parsed, Typed), Vec<(u32, String)>> {
    let parsed =
        parse_with_places(text).map_err(|bad| bad.into_iter().map(|e| (e.place.line, e.what)).collect::<Vec<_>>())?;
    let typed = verify(&parsed.program).map_err(|bad| {
        bad.into_iter().map(|v| (parsed.place(v.inst).line, format!("V{} {}", v.rule, v.what))).collect::<Vec<_>>()
    })?;
    Ok((parsed, typed))
}

/// The text with the errors that there are, and none else.
fn with_errors(text: &str, errors: &[(u32, String)]) -> String {
    let mut out = String::new();
    for (i, line) in text.lines().enumerate() {
        out.push_str(line.split(ERROR).next().unwrap_or(line));
        for (_, what) in errors.iter().filter(|(at, _)| *at as usize == i + 1) {
            out.push_str(ERROR);
            out.push_str(what);
        }
        out.push('\n');
    }
    out
}

/// `[1 2], [3]`
fn lists(text: &str) -> Vec<Vec<i64>> {
    let list = |part: &str| {
        part.trim().trim_start_matches('[').split_whitespace().map(|n| n.parse().expect("an integer")).collect()
    };
    let parts = text.trim().strip_suffix(']').map(|t| t.split(']').map(|p| p.trim_start_matches([',', ' '])));
    parts.map_or_else(Vec::new, |parts| parts.map(list).collect())
}

fn shown(lists: &[Vec<i64>]) -> String {
    let one = |l: &Vec<i64>| format!("[{}]", l.iter().map(i64::to_string).collect::<Vec<_>>().join(" "));
    lists.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn run(name: &str, line: &str, parsed: &Parsed, typed: &Typed) -> String {
    let given = line.trim_start_matches(RUN).split("==").next().unwrap_or_default();
    let (inputs, weights) = given.split_once('|').unwrap_or((given, ""));
    let (inputs, weights) = (lists(inputs), lists(weights));
    let interface = &parsed.program.interface;
    let len = |shape: &[u32]| shape.iter().product::<u32>() as usize;
    let lengths = |l: &[Vec<i64>]| l.iter().map(Vec::len).collect::<Vec<_>>();
    let wanted: Vec<usize> = interface.inputs.iter().map(|p| len(&p.shape)).collect();
    assert_eq!(lengths(&inputs), wanted, "{name}: inputs of `{line}`");
    let wanted: Vec<usize> = interface.weights.iter().map(|s| len(s)).collect();
    assert_eq!(lengths(&weights), wanted, "{name}: weights of `{line}`");
    let small: Vec<Vec<i32>> =
        weights.iter().map(|w| w.iter().map(|x| i32::try_from(*x).expect("32 bits")).collect()).collect();
    let outputs = ir::eval::eval(&parsed.program, typed, &inputs, &small);
    format!("{RUN}{} == {}", given.trim_start_matches(RUN).trim(), shown(&outputs))
}

fn expected(name: &str, text: &str) -> String {
    let kind = text.lines().next().unwrap_or_default();
    match (kind, load(text)) {
        ("; test verify", Err(errors)) => with_errors(text, &errors),
        ("; test verify", Ok(_)) => with_errors(text, &[]),
        ("; test eval", Err(errors)) => panic!("{name}: {errors:?}"),
        ("; test eval", Ok((parsed, typed))) => {
            let p = &parsed.program;
            let printed = print(p, false).expect("verified");
            assert!(parse(&printed).as_ref() == Ok(p), "{name}: printed and read, it differs");
            assert!(text.contains(RUN), "{name}: runs nothing");
            let line = |l: &str| if l.starts_with(RUN) { run(name, l, &parsed, &typed) } else { l.to_owned() };
            text.lines().map(|l| line(l) + "\n").collect()
        }
        _ => panic!("{name}: the first line is neither `; test verify` nor `; test eval`"),
    }
}

#[test]
fn files_hold_what_they_say() {
    let all = files();
    assert!(all.len() >= 30, "{} files", all.len());
    let mut wrong = Vec::new();
    for (path, text) in &all {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let now = expected(&name, text);
        if now == *text {
            continue;
        }
        if std::env::var_os("QNN_BLESS").is_some() {
            fs::write(path, &now).expect("writable");
            continue;
        }
        let lines = now.lines().zip(text.lines()).filter(|(a, b)| a != b);
        wrong.extend(lines.map(|(now, kept)| format!("{name}\n  kept {kept}\n  now  {now}")));
    }
    assert!(wrong.is_empty(), "QNN_BLESS=1 rewrites these, review the diff:\n{}", wrong.join("\n"));
}

#[test]
fn every_op_is_evaluated_and_refused_somewhere() {
    let (mut evaluated, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in files() {
        for entry in ir::ops::TABLE {
            if text.contains(&format!("V2 {}: ", entry.mnemonic)) {
                refused.insert(entry.mnemonic);
            }
            let Some(parsed) = parse(&text).ok().filter(|_| text.starts_with("; test eval")) else { continue };
            if parsed.insts.iter().any(|i| i.op.mnemonic() == entry.mnemonic) {
                evaluated.insert(entry.mnemonic);
            }
        }
    }
    let missing = |set: &BTreeSet<&str>| {
        ir::ops::TABLE.iter().map(|e| e.mnemonic).filter(|m| !set.contains(m)).collect::<Vec<_>>()
    };
    assert_eq!(missing(&evaluated), [""; 0], "ops that no file evaluates");
    assert_eq!(missing(&refused), [""; 0], "ops that no file uses wrongly");
}

#[test]
fn every_rule_is_broken_somewhere() {
    let all: String = files().into_iter().map(|(_, text)| text).collect();
    (1..=11).for_each(|rule| assert!(all.contains(&format!("{ERROR}V{rule} ")), "V{rule} is broken in no file"));
}
