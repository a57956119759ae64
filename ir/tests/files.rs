//! Runs `testdata/{ir,exec}/*.qir`. `; test verify`: the errors stand on their lines as `; error: …`. `; test eval` and
//! `; test exec`: lines `; run: [inputs], … | [weights], … == [outputs], …` hold; those of a program that keeps state are
//! successive calls. `QNN_BLESS=1` rewrites both. The VM executes the same files.
#[path = "common/qir.rs"]
mod qir;
use ir::Program;
use ir::eval::Session;
use ir::text::{Parsed, parse, parse_with_places, print};
use ir::verify::{Typed, verify};
use qir::{ERROR, RUN};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Choices of masks with which each file runs.
const MASKS: u64 = 50;

fn files() -> Vec<(PathBuf, String)> {
    ["ir", "exec"].into_iter().flat_map(qir::files).collect()
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

fn run(name: &str, line: &str, program: &Program, session: &mut Session<'_>) -> String {
    let given = qir::given(name, line, program);
    qir::run_line(&given, &session.run(&given.inputs, &given.weights))
}

fn expected(name: &str, text: &str) -> String {
    let kind = text.lines().next().unwrap_or_default();
    match (kind, load(text)) {
        ("; test verify", Err(errors)) => with_errors(text, &errors),
        ("; test verify", Ok(_)) => with_errors(text, &[]),
        ("; test eval" | "; test exec", Err(errors)) => panic!("{name}: {errors:?}"),
        ("; test eval" | "; test exec", Ok((parsed, typed))) => {
            let p = &parsed.program;
            let printed = print(p, false).expect("verified");
            assert!(parse(&printed).as_ref() == Ok(p), "{name}: printed and read, it differs");
            assert!(text.contains(RUN), "{name}: runs nothing");
            let mut session = Session::new(p, &typed);
            let mut line = |l: &str| if l.starts_with(RUN) { run(name, l, p, &mut session) } else { l.to_owned() };
            text.lines().map(|l| line(l) + "\n").collect()
        }
        _ => panic!("{name}: the first line is none of `; test verify`, `; test eval`, `; test exec`"),
    }
}

#[test]
fn files_hold_what_they_say() {
    let all = files();
    assert!(all.len() >= 120, "{} files", all.len());
    println!("{} files", all.len());
    let name = |path: &std::path::Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let now: Vec<String> = all.iter().map(|(path, text)| expected(&name(path), text)).collect();
    qir::settle(&all, &now);
}

#[test]
fn results_do_not_depend_on_masks() {
    for (path, text) in files() {
        let Ok((parsed, typed)) = load(&text) else { continue };
        let name = path.display().to_string();
        for seed in 1..=MASKS {
            let mut session = Session::with_masks(&parsed.program, &typed, seed);
            for line in text.lines().filter(|l| l.starts_with(RUN)) {
                assert_eq!(run(&name, line, &parsed.program, &mut session), line, "{name}: masks {seed}");
            }
        }
    }
}

#[test]
fn every_op_is_evaluated_and_refused_somewhere() {
    let (mut evaluated, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (_, text) in files() {
        for entry in ir::ops::TABLE {
            if text.contains(&format!("V2 {}: ", entry.mnemonic)) {
                refused.insert(entry.mnemonic);
            }
            let Some(parsed) = parse(&text).ok().filter(|_| !text.starts_with("; test verify")) else { continue };
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
    (1..=17).for_each(|rule| assert!(all.contains(&format!("{ERROR}V{rule} ")), "V{rule} is broken in no file"));
}
