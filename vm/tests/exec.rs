//! The programs of `testdata/{ir,exec}` on every protocol: opened outputs are those on the `; run:` lines, rounds and bytes
//! those predicted. A `; test exec` file declares its messages, `QNN_BLESS=1` rewrites them; the messages of a
//! `; test eval` file are not looked at.
#[path = "common/play.rs"]
mod play;
#[path = "../../ir/tests/common/qir.rs"]
mod qir;
use ir::text::parse;
use play::{PROTOCOLS, Protocol, declare, machines, outputs, play_all};
use qir::RUN;
use runtime_protocols::link::memory::network;

/// The lines that close a round, as the program says.
fn sends(text: &str, printed: &str) -> String {
    let closes = |l: &&str| l.trim_start().starts_with('}');
    let mut now = printed.lines().filter(closes);
    let line = |l: &str| if closes(&l) { now.next().unwrap_or(l).to_owned() } else { l.to_owned() };
    text.lines().map(line).map(|l| l + "\n").collect()
}

/// Runs each line of a file; returns how many, and the text with the messages of the protocol.
fn check(name: &str, text: &str, protocol: &Protocol) -> (usize, String) {
    let mut p = parse(text).unwrap_or_else(|bad| panic!("{name}: {}", bad[0]));
    // The check of all products has messages of its own: whole models show it.
    if p.parties != protocol.parties || p.scheme().checked {
        return (0, text.to_owned());
    }
    let declared = p.peak_memory;
    declare(&mut p, protocol);
    p.peak_memory = declared;
    let now = match text.starts_with("; test exec") {
        true => sends(text, &ir::text::print(&p, false).expect("typed")),
        false => text.to_owned(),
    };
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with(RUN)).collect();
    // The lines of a program that keeps state are successive calls.
    let calls = if p.stored().next().is_some() { lines.len() } else { 1 };
    for lines in lines.chunks(calls.max(1)) {
        let what = format!("{name} by {}: `{}`", protocol.name, lines[0]);
        let given: Vec<_> = lines.iter().map(|line| qir::given(name, line, &p)).collect();
        let inputs: Vec<_> = given.iter().map(|g| g.inputs.clone()).collect();
        let all = machines(&p, protocol).unwrap_or_else(|e| panic!("{what}: {e}"));
        let outcomes = play_all(all, &mut network(protocol.parties.into()), &inputs, &given[0].weights);
        for ((line, given), outcomes) in lines.iter().zip(&given).zip(&outcomes) {
            assert_eq!(qir::run_line(given, &outputs(&p, outcomes, &what)), *line, "{what}");
        }
    }
    (lines.len(), now)
}

#[test]
fn every_file_runs_by_every_protocol() {
    for protocol in &PROTOCOLS {
        let mut total = 0;
        let files: Vec<_> = ["ir", "exec"].into_iter().flat_map(qir::files).collect();
        let files: Vec<_> = files.into_iter().filter(|(_, text)| !text.starts_with("; test verify")).collect();
        let now: Vec<String> = files
            .iter()
            .map(|(path, text)| {
                let name = path.file_name().expect("a file").to_string_lossy();
                let (runs, now) = check(&name, text, protocol);
                total += runs;
                now
            })
            .collect();
        println!("{}: {} files, {total} runs", protocol.name, files.len());
        let least = if protocol.parties == 3 { 100 } else { 1 };
        assert!(total >= least, "{}: only {total} runs", protocol.name);
        qir::settle(&files, &now);
    }
}
