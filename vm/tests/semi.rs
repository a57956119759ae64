//! Additive sharing among two to ten parties: models in memory equal recorded outputs, rounds and bytes as predicted, those of
//! what is made ahead as well.
mod common;
use common::{Calls, among, build_with, check, models, npy, run_session, sample, testdata};
use compiler::passes::Unit;
use compiler::pipeline::{CompileError, Compiled, Owners, PASSES, compile_with, finish, run};
use ir::Party;
use runtime_protocols::link::memory::network;

/// Bytes and rounds of what is made ahead, predicted and counted.
fn check_offline(c: &Compiled, input: &[i64], what: &str) {
    let count = c.program.parties;
    let parties = run_session(c, network(count.into()), &[vec![input.to_vec()], vec![input.to_vec()]], Calls::Apart);
    let typed = ir::verify::verify(&c.program).expect("verified");
    let needs: Vec<_> = ir::offline::needs(&c.program, &typed).into_iter().map(|(_, n)| n).collect();
    let steps = ir::offline::messages(&needs, count.into());
    for i in 0..2 {
        for (p, outcomes) in parties.iter().enumerate() {
            let sent: u64 = steps.iter().map(|s| s[p].iter().sum::<u64>()).sum();
            assert_eq!(outcomes[i].offline.payload_sent, sent, "{what}: party {p}, made ahead");
        }
        let rounds = parties.iter().map(|p| p[i].offline.rounds).max();
        assert_eq!(rounds, Some(steps.len() as u32), "{what}: rounds of what is made ahead");
    }
    let sent = |p: usize| steps.iter().map(|s| s[p].iter().sum::<u64>()).sum::<u64>();
    println!(
        "{what}: {} rounds, {:?} bytes; ahead {} rounds, {:?} bytes",
        c.program.predicted_rounds(),
        c.program.predicted_bytes(),
        steps.len(),
        (0..count.into()).map(sent).collect::<Vec<_>>(),
    );
}

/// Models of the project, with their samples.
#[test]
fn own_models_are_exact() {
    for (name, parties) in [("digits_mlp", 2), ("digits_mlp", 3), ("digits", 2), ("digits_u8", 3), ("digits_mlp", 10)] {
        let c = build_with(&testdata(&format!("{name}.tflite")), among(parties));
        let (input, output) = (npy(&format!("{name}.input_0.npy")), npy(&format!("{name}.output_0.npy")));
        let what = format!("{name} among {parties}");
        check(&c, &[(input.clone(), output)], &what);
        check_offline(&c, &input, &what);
    }
}

/// Third-party models.
#[test]
fn recorded_models_are_exact() {
    let Some(dir) = models() else { return };
    for (name, parties) in [("digits_cnn", 2), ("digits_cnn", 4)] {
        let c = build_with(&dir.join(format!("{name}.tflite")), among(parties));
        let what = format!("{name} among {parties}");
        let sample = sample(&dir, name, 0);
        check_offline(&c, &sample.0, &what);
        check(&c, &[sample], &what);
    }
}

/// An input and the result may be any party's.
#[test]
fn any_party_may_own() {
    let model = std::fs::read(testdata("digits_mlp.tflite")).expect("model");
    let sample = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    for (owner, receiver) in [(2, 0), (0, 2)] {
        let owners =
            Owners { inputs: vec![("0".into(), Party(owner))], receiver: Party(receiver), ..Owners::default() };
        let unit =
            run(Unit { owners, ..Unit::new(&model, among(3)) }, PASSES, |_, _, _| std::ops::ControlFlow::Continue(()));
        let c = unit.and_then(finish).unwrap_or_else(|e| panic!("{e}"));
        check(&c, std::slice::from_ref(&sample), "digits_mlp");
    }
}

/// Every conformance case compiles for three parties, or is refused by operator.
#[test]
fn every_case_compiles_or_is_refused() {
    let Some(dir) = common::conformance() else { return };
    let list = std::fs::read_dir(&dir).expect("folder");
    let names = list
        .filter_map(|e| e.expect("entry").file_name().into_string().ok()?.strip_suffix(".tflite").map(str::to_owned));
    let (mut equal, mut refused) = (0, 0);
    for name in names {
        let model = std::fs::read(dir.join(format!("{name}.tflite"))).expect("model");
        match compile_with(&model, among(3)) {
            Ok(_) => equal += 1,
            Err(CompileError::Import(_) | CompileError::Lower(_)) => refused += 1,
            Err(e) => panic!("{name}: {e}"),
        }
    }
    println!("{equal} cases compile, {refused} are refused");
    assert!(equal >= 700, "only {equal} cases compile");
}
