//! Early checks of a program whose products are checked: the memory that they save, and what they cost.
use compiler::passes::check::RECORD;
use compiler::pipeline::{Compiled, Options, PASSES, Protocol, Reveal, finish, run};
use ir::check::claims;
use ir::verify::verify;
use std::env;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn models() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    env::var_os("QNN_MODELS_DIR").map_or_else(|| here.join("../../shared/models"), PathBuf::from)
}

/// The model compiled with early checks or without.
fn build(model: &[u8], early: bool) -> Compiled {
    let options = Options { protocol: Protocol::Rep3Mal, reveal: Reveal::Logits, ..Options::default() };
    let passes: Vec<_> = PASSES.iter().copied().filter(|p| early || p.name != "check-early").collect();
    let unit = compiler::passes::Unit::new(model, options);
    finish(run(unit, &passes, |_, _, _| ControlFlow::Continue(())).expect("compiles")).expect("a program")
}

#[test]
fn early_checks_bound_the_memory() {
    // Names, how often everything is checked, and the memory of a party at most, in MiB.
    for (name, checks, most) in [
        ("digits_cnn", 1, 32),
        ("resnet8_cifar10", 4, 96),
        ("mobilenet_v1_0.25_128_quant", 11, 128),
        ("mobilenet_v1_1.0_224_quant", 40, 1280),
    ] {
        let Ok(model) = std::fs::read(models().join(format!("{name}.tflite"))) else {
            println!("skipped: no {name} in {}", models().display());
            continue;
        };
        let (once, often) = (build(&model, false).program, build(&model, true).program);
        let typed = verify(&often).expect("verified");
        let all = claims(&often, &typed).expect("products are checked");
        println!(
            "{name}: {} checks of records of {} MB at most; memory {} -> {} MB, rounds {} -> {}, bytes {:?} -> {:?}, \
             escapes {} times 2^-64",
            all.chunks.len(),
            all.chunks.iter().map(|c| c.sizes.record_bytes()).max().unwrap_or(0) / 1_000_000,
            once.peak_memory / 1_000_000,
            often.peak_memory / 1_000_000,
            once.predicted_rounds(),
            often.predicted_rounds(),
            once.predicted_bytes(),
            often.predicted_bytes(),
            all.escapes()
        );
        assert!(all.chunks.len() >= checks, "{name}: {} checks", all.chunks.len());
        assert!(often.peak_memory < most << 20, "{name}: {} bytes", often.peak_memory);
        assert!(often.predicted_rounds() <= once.predicted_rounds(), "{name}: early checks travel beside products");
        let (before, now) = (once.predicted_bytes()[0], often.predicted_bytes()[0]);
        assert!(now * 10 <= before * 12, "{name}: {before} -> {now} bytes");
        // One more check for each full record, and no more.
        let all_records: u64 = all.chunks.iter().map(|c| c.sizes.record_bytes()).sum();
        assert!(all.chunks.len() as u64 <= 1 + all_records / RECORD, "{name}");
        assert!(all.escapes() < 1 << 24);
    }
}
