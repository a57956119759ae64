//! Measures how many operations of each kind a party does in a second, on the program of a model: the numbers in
//! `compiler/src/work.rs`. Three parties in one process, as they share a machine in `qnnvm local`; each kind of
//! instruction is made a layer of its own, so that the machine's statistics tell them apart. Medians.
//!
//! `cargo run --release -p vm --example rates MODEL.tflite …`
use compiler::pipeline::compile;
use compiler::work::{Kind, work};
use ir::verify::type_program;
use ir::{Layer, Party, Program};
use runtime_protocols::link::{Link, exchange_keys, memory::network};
use runtime_protocols::rep3::Rep3;
use vm::exec::Machine;

const RUNS: usize = 9;
const KINDS: usize = Kind::ALL.len();

/// The same program with a layer per kind of work.
fn by_kind(p: &Program) -> Program {
    let typed = type_program(p).expect("compiled");
    let mut p = p.clone();
    p.layers = Kind::ALL.iter().map(|k| Layer { operator: 0, name: k.name().into() }).collect();
    for inst in &mut p.insts {
        inst.layer = Kind::of(&inst.op.map(|v| typed.types[v.index()].domain)) as u32;
    }
    p
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn main() {
    let mut all = [[0.0; 2]; KINDS];
    for path in std::env::args().skip(1) {
        let compiled = compile(&std::fs::read(&path).expect("a model")).expect("compiles");
        let p = by_kind(&compiled.program);
        let instructions = p.insts[p.setup_end() as usize..].iter().fold([0.0; KINDS], |mut n, inst| {
            n[inst.layer as usize] += 1.0;
            n
        });
        let operations = work(&p, &type_program(&p).expect("compiled"));
        let seconds: Vec<[f64; KINDS]> = std::thread::scope(|s| {
            let party = |mut link: runtime_protocols::link::memory::MemoryLink| {
                let (p, weights) = (&p, &compiled.weights);
                s.spawn(move || {
                    let keys = exchange_keys(&mut link).expect("keys");
                    let (session, me) = (link.session(), link.me());
                    let mut m =
                        Machine::new(p.clone(), Box::new(Rep3::new(me, keys.as_slice(), &session))).expect("ok");
                    m.setup((me == Party(0)).then_some(weights), &mut link).expect("set-up");
                    let ports = &p.interface.inputs;
                    let len = |shape: &[u32]| shape.iter().map(|d| *d as usize).product();
                    let inputs: Vec<_> =
                        ports.iter().map(|port| (me == port.party).then(|| vec![3; len(&port.shape)])).collect();
                    let mut runs = vec![[0.0; KINDS]; RUNS];
                    for run in &mut runs {
                        let o = m.infer(&inputs, &mut link).expect("runs");
                        run.iter_mut().zip(&o.layers).for_each(|(t, l)| *t = l.compute_s);
                    }
                    link.close().expect("closes");
                    std::array::from_fn(|k| median(runs.iter().map(|r| r[k]).collect()))
                })
            };
            let handles: Vec<_> = network(3).into_iter().map(party).collect();
            handles.into_iter().map(|h| h.join().expect("no panic")).collect()
        });
        println!(
            "{path}\n{:10} {:>12} {:>12} {:>12} {:>14}",
            "kind", "instructions", "operations", "seconds", "per second"
        );
        for (k, kind) in Kind::ALL.iter().enumerate() {
            let n: f64 = operations.iter().map(|o| o[k]).sum();
            let t: f64 = seconds.iter().map(|s| s[k]).sum();
            println!("{:10} {:>12} {n:>12.0} {t:>12.6} {:>14.3e}", kind.name(), instructions[k], n / t);
            let sums = &mut all[k];
            (sums[0], sums[1]) = (sums[0] + n, sums[1] + t);
        }
    }
    println!("all models: operations per second");
    for (kind, [n, t]) in Kind::ALL.iter().zip(all) {
        println!("{:10} {:>14.3e}", kind.name(), n / t);
    }
}
