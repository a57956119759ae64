//! The passes: each keeps what the program computes, the verifier names the one that does not, none costs more than it saves.
use compiler::npy::read_npy;
use compiler::passes::text::{Shown, stage};
use compiler::passes::{Pass, Unit};
use compiler::pipeline::{CompileError, Options, PASSES, run};
use ir::Op;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Models of the repository, and whose inputs they take.
const MODELS: [(&str, &str); 3] = [("digits", "digits"), ("digits_mlp", "digits_mlp"), ("digits_u8", "digits_u8")];

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(file)
}

fn model(name: &str) -> Vec<u8> {
    fs::read(testdata(&format!("{name}.tflite"))).expect("part of the repository")
}

fn ints(file: &str) -> Vec<i64> {
    read_npy(testdata(file)).unwrap_or_else(|e| panic!("{file}: {e}")).ints().expect("integers").to_vec()
}

#[test]
fn every_pass_keeps_what_the_program_computes() {
    for (name, inputs) in MODELS {
        let (bytes, input) = (model(name), ints(&format!("{inputs}.input_1.npy")));
        let want = ints(&format!("{name}.output_1.npy"));
        let mut evaluated = 0;
        run(Unit::new(&bytes, Options::default()), PASSES, |pass, unit, _| {
            if let Some(f) = &unit.function {
                let typed = ir::verify::type_program(&f.program).expect("typed");
                let got = ir::eval::eval(&f.program, &typed, std::slice::from_ref(&input), &unit.weights);
                assert_eq!(got, std::slice::from_ref(&want), "{name} after {}", pass.name);
                evaluated += 1;
            }
            ControlFlow::Continue(())
        })
        .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(evaluated >= 5, "{name}: only {evaluated} passes were looked at");
    }
}

/// The list with a pass behind `after`.
fn with(after: &str, planted: Pass) -> Vec<Pass> {
    let at = PASSES.iter().position(|p| p.name == after).expect("a pass");
    let mut list = PASSES.to_vec();
    list.insert(at + 1, planted);
    list
}

#[test]
fn the_verifier_names_the_pass_that_broke_the_program() {
    fn unmasked(u: &mut Unit<'_>) -> Result<(), CompileError> {
        for inst in &mut u.function().program.insts {
            if let Op::Join { x } = &mut inst.op {
                x.0 -= 1;
                break;
            }
        }
        Ok(())
    }
    fn undeclared(u: &mut Unit<'_>) -> Result<(), CompileError> {
        u.function().program.opened_bits += 1;
        Ok(())
    }
    let bytes = model("digits_mlp");
    for (after, plant, rule) in [
        ("lower", unmasked as fn(&mut Unit<'_>) -> Result<(), CompileError>, "V"),
        ("merge", undeclared, "V6"),
        ("schedule", undeclared, "V6"),
    ] {
        let planted = Pass { name: "planted", about: "breaks a rule", run: plant };
        match run(Unit::new(&bytes, Options::default()), &with(after, planted), |_, _, _| ControlFlow::Continue(())) {
            Err(CompileError::Broken { pass, violations }) => {
                assert_eq!(pass, "planted", "{violations:?}");
                assert!(violations[0].starts_with(rule), "{violations:?}");
            }
            Err(e) => panic!("behind {after}: {e}"),
            Ok(_) => panic!("behind {after}: nobody noticed"),
        }
    }
}

/// Rounds, bytes and instructions of a compilation without some passes.
fn costs(bytes: &[u8], without: &[&str]) -> (u32, u64, usize) {
    let list: Vec<Pass> = PASSES.iter().filter(|p| !without.contains(&p.name)).copied().collect();
    let unit = run(Unit::new(bytes, Options::default()), &list, |_, _, _| ControlFlow::Continue(())).expect("compiles");
    let p = unit.function.expect("lowered").program;
    (p.predicted_rounds(), p.predicted_bytes().iter().sum(), p.insts.len())
}

#[test]
fn rewriting_passes_pay() {
    for (name, _) in MODELS {
        let bytes = model(name);
        let with = costs(&bytes, &[]);
        let bare = costs(&bytes, &["fold", "merge", "remove-unused"]);
        println!("{name}: rounds, bytes, instructions {bare:?} without rewriting, {with:?} with");
        assert!(with.0 <= bare.0 && with.1 <= bare.1 && with.2 < bare.2, "{name}: {bare:?} became {with:?}");
        for pass in ["fold", "merge"] {
            let less = costs(&bytes, &[pass]);
            assert!(with.0 <= less.0 && with.1 <= less.1 && with.2 < less.2, "{name}: `{pass}` does not pay: {less:?}");
        }
    }
}

#[test]
fn every_stage_has_a_text_that_reads_back() {
    let bytes = model("digits_mlp");
    let shown = Shown::default();
    run(Unit::new(&bytes, Options::default()), PASSES, |pass, unit, _| {
        let text = stage(unit, &shown);
        assert!(!text.is_empty(), "after {}", pass.name);
        if let Some(f) = &unit.function {
            let read = ir::text::parse(&text).unwrap_or_else(|bad| panic!("after {}: {}", pass.name, bad[0]));
            assert!(read == f.program, "after {}: another program", pass.name);
        }
        ControlFlow::Continue(())
    })
    .expect("compiles");
}
