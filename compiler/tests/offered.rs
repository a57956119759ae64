//! Every conformance model, for every protocol: it compiles, or is refused by its operator's name and with what to do.
#[path = "common/data.rs"]
mod data;
use compiler::lower::LowerError;
use compiler::pipeline::{CompileError, Options, Protocol, Reveal, compile_with};
use data::files;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, thread};

/// What a protocol refuses of a model; none if it compiles, or if nobody could compile it. It must not panic.
fn refused(model: &[u8], protocol: Protocol, reveal: Reveal, path: &Path) -> Option<String> {
    let what = match compile_with(model, Options { protocol, reveal, ..Options::default() }) {
        Ok(_) | Err(CompileError::Import(_)) => return None,
        Err(CompileError::Lower(LowerError::Unsupported { name, reason, .. })) => format!("{name}: {reason}"),
        Err(e) => panic!("{} for {}: no operator is named in `{e}`", path.display(), protocol.facts().name),
    };
    let next = ["compile it with `--protocol rep3`", "`simulate`", "must come last", "use scales"];
    assert!(next.iter().any(|n| what.contains(n)), "{}: it is not said what to do in `{what}`", path.display());
    Some(what)
}

#[test]
fn what_a_protocol_does_not_offer_is_named() {
    let Some(paths) = files("conformance") else { return };
    // Rows of each protocol: how many cases, by what is refused.
    let half = |paths: &[PathBuf]| -> BTreeMap<(&'static str, String), usize> {
        let mut said = BTreeMap::new();
        for (i, path) in paths.iter().enumerate() {
            let model = fs::read(path).expect("readable");
            // What two parties with a dealer refuse shows after lowering, which takes long: every fourth case.
            let asked = |p: &Protocol| *p != Protocol::Rep3 && (*p != Protocol::Dealer2 || i % 4 == 0);
            for protocol in Protocol::ALL.into_iter().filter(asked) {
                let name = protocol.facts().name;
                let Some(what) = refused(&model, protocol, Reveal::Logits, path) else { continue };
                if refused(&model, Protocol::Rep3, Reveal::Logits, path).is_none() {
                    assert!(what.contains(&format!("protocol {name} ")), "{}: `{what}`", path.display());
                    assert!(what.contains("`--protocol rep3`"), "{}: `{what}`", path.display());
                }
                *said.entry((name, what)).or_default() += 1;
            }
        }
        said
    };
    let (one, other) = paths.split_at(paths.len() / 2);
    let said = thread::scope(|s| {
        let other = s.spawn(|| half(other));
        let mut said = half(one);
        other.join().expect("half of the cases").into_iter().for_each(|(k, n)| *said.entry(k).or_default() += n);
        said
    });
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, what), cases) in &said {
        println!("{name}: {cases} refused, {what}");
        *all.entry(name).or_default() += cases;
    }
    println!("{all:?} of {} cases", paths.len());
    assert!(paths.len() > 900, "only {} cases were compiled", paths.len());
    // A softmax that the receiver may not finish: what to ask for instead is said.
    for path in paths.iter().filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("softmax_int8")))
    {
        let model = fs::read(path).expect("readable");
        for protocol in [Protocol::Rep4, Protocol::Semi { parties: 2 }, Protocol::Rep3Mal] {
            let what = refused(&model, protocol, Reveal::Output, path).expect("no softmax inside");
            assert!(what.starts_with("SOFTMAX") && what.contains("`--reveal=logits`"), "{what}");
        }
    }
}
