//! Times one model with three parties in one process: `cargo run --release -p vm --example inproc MODEL.tflite [ROUTE [BATCH]]`.
use compiler::pipeline::{Options, Route, compile_with};
use ir::Party;
use runtime_protocols::link::{Link, exchange_keys, memory::network};
use runtime_protocols::rep3::Rep3;
fn main() {
    let path = std::env::args().nth(1).expect("a model");
    let t = std::time::Instant::now();
    let route = match std::env::args().nth(2).as_deref() {
        Some("boolean") => Route::Boolean,
        _ => Route::Dealer,
    };
    let model = std::fs::read(path).expect("file");
    let c = compile_with(&model, Options { route, ..Options::default() }).expect("compiles");
    println!(
        "compile {:.3} s, program {} bytes, rounds {}, bytes {:?}, peak {} MB, thresholds {}",
        t.elapsed().as_secs_f64(),
        c.bytes.len(),
        c.program.predicted_rounds(),
        c.program.predicted_bytes(),
        c.program.peak_memory >> 20,
        c.program.thresholds
    );
    let batch: usize = std::env::args().nth(3).map_or(1, |n| n.parse().expect("a number of samples"));
    let len: usize = c.program.interface.inputs[0].shape.iter().map(|d| *d as usize).product();
    std::thread::scope(|s| {
        for mut link in network(3) {
            let c = &c;
            s.spawn(move || {
                let keys = exchange_keys(&mut link).expect("keys");
                let session = link.session();
                let me = link.me();
                let mut m =
                    vm::exec::Machine::new(c.program.clone(), Box::new(Rep3::new(me, keys.as_slice(), &session)))
                        .expect("ok");
                m.setup((me == Party(0)).then_some(&c.weights), &mut link).expect("setup");
                for _ in 0..5 {
                    let inputs = [(me == Party(1)).then(|| vec![3; len])];
                    let o = m.infer_batch(&vec![&inputs[..]; batch], &mut link).expect("infer");
                    if me == Party(1) {
                        let n = batch as f64;
                        let (cs, ws): (f64, f64) =
                            o.layers.iter().fold((0., 0.), |a, l| (a.0 + l.compute_s, a.1 + l.wait_s));
                        println!("{:.3} s a sample, compute {:.3}, wait {:.3}", o.seconds / n, cs / n, ws / n);
                    }
                }
                link.close().expect("close");
            });
        }
    });
}
