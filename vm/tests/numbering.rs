//! The side condition of the privacy argument: in every program the messages can be numbered so that each is padded by what
//! no message before it was made of. The verifier's rule V10 says so with another search; here the numbers are made.
mod common;
use common::{ROUTES, build_by, testdata};
use ir::verify::type_program;
use ir::{Op, Program};
use std::collections::BTreeMap;

/// Instructions in an order in which each comes after its operands, and a `beta` after its `mask`; those on a cycle are
/// missing. Also how many betas there are.
fn numbered(p: &Program) -> (Vec<usize>, usize) {
    let typed = type_program(p).expect("typed");
    let masks: BTreeMap<u32, usize> = (0..p.insts.len())
        .filter_map(|i| if let Op::Mask { tag, .. } = p.insts[i].op { Some((tag, i)) } else { None })
        .collect();
    let mut needs = vec![0usize; p.insts.len()];
    let mut needed_by = vec![Vec::new(); p.insts.len()];
    let mut betas = 0;
    for (i, inst) in p.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let mut from: Vec<usize> = operands.iter().map(|v| typed.origin[v.index()] as usize).collect();
        if let Op::Beta { tag, .. } = inst.op {
            from.push(masks[&tag]);
            betas += 1;
        }
        needs[i] = from.len();
        from.into_iter().for_each(|j| needed_by[j].push(i));
    }
    let mut ready: Vec<usize> = (0..needs.len()).filter(|i| needs[*i] == 0).collect();
    let mut order = Vec::new();
    while let Some(i) = ready.pop() {
        order.push(i);
        for j in &needed_by[i] {
            needs[*j] -= 1;
            if needs[*j] == 0 {
                ready.push(*j);
            }
        }
    }
    (order, betas)
}

#[test]
fn the_messages_of_every_program_can_be_numbered() {
    for name in ["digits_mlp", "digits", "digits_u8"] {
        for (route, by) in ROUTES {
            let c = build_by(&testdata(&format!("{name}.tflite")), route);
            let (order, betas) = numbered(&c.program);
            assert_eq!(order.len(), c.program.insts.len(), "{name}, {by}: a cycle");
            println!("{name}, {by}: {} instructions, {betas} betas", order.len());
        }
    }
    // Gadgets of both routes, as they are checked in.
    let mut files = 0;
    for entry in std::fs::read_dir(testdata("../exec")).expect("folder") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("program");
        let program = ir::text::parse(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
        let (order, _) = numbered(&program);
        assert_eq!(order.len(), program.insts.len(), "{}: a cycle", path.display());
        files += 1;
    }
    assert!(files > 50, "{files} programs");
}

/// The search can fail: a mask that hides what was made from its own beta.
#[test]
fn a_cycle_is_found() {
    let text = std::fs::read_to_string(testdata("../ir/v10-long-cycle.qir")).expect("program");
    let program = ir::text::parse(&text).expect("well formed");
    assert!(numbered(&program).0.len() < program.insts.len());
}
