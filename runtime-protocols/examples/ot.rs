//! Speed and bytes of oblivious transfer, both parties of a pair in one process and one thread after the other.
//!
//!     cargo run --release -p runtime-protocols --example ot
//!
//! Times are those of one party, the best of several runs.
use ir::Party;
use ir::offline::{Map, Shape};
use runtime_protocols::ot::bits;
use runtime_protocols::ot::extend::Field;
use runtime_protocols::ot::products::{Other, Owner};
use runtime_protocols::ot::setup::{MESSAGES, Pair, Setup};
use runtime_protocols::prg::KeyStream;
use std::time::Instant;

/// Best time of several runs, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    let once = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(once).fold(f64::INFINITY, f64::min)
}

fn pair(field: Field) -> [Pair; 2] {
    let own = [KeyStream::new(&[1; 32], b"measured"), KeyStream::new(&[2; 32], b"measured")];
    let mut sides = [0u8, 1].map(|p| Setup::new(Party(p), Party(1 - p), [0; 16], field, &own[usize::from(p)]));
    for _ in MESSAGES {
        let mut messages = [Vec::new(), Vec::new()];
        sides.iter_mut().zip(&mut messages).for_each(|(s, m)| s.send(m));
        (0..2).for_each(|p| sides[p].receive(&own[p], &messages[1 - p]).expect("an honest peer"));
    }
    sides.map(Setup::finish)
}

fn main() {
    println!("threads: {}", rayon::current_num_threads());
    println!("start of a pair: {} bytes each way", MESSAGES.iter().sum::<usize>());
    println!("{:>4} {:>9} {:>14} {:>14} {:>12}", "k", "start ms", "receive M/s", "send M/s", "bits each");
    const COUNT: usize = 1 << 20;
    for field in [Field::Two, Field::Four, Field::Sixteen, Field::Bytes] {
        let start = Instant::now();
        let [mut zero, mut one] = pair(field);
        let setup = start.elapsed().as_secs_f64() / 2.0;
        let mut message = Vec::new();
        let receive = best(|| {
            message.clear();
            std::hint::black_box(bits::receive_bits(&mut one, None, COUNT, &mut message));
        });
        let send = best(|| {
            std::hint::black_box(bits::send_bits(&mut zero, true, COUNT, &message).expect("an honest peer"));
        });
        let rate = |s: f64| COUNT as f64 / s / 1e6;
        let each = message.len() as f64 * 8.0 / COUNT as f64;
        println!("{:>4} {:>9.1} {:>14.1} {:>14.1} {each:>12.1}", field.bits(), setup * 1e3, rate(receive), rate(send));
    }
    println!(
        "{:>28} {:>12} {:>14} {:>14} {:>12}",
        "8-bit weights, 32-bit ring", "products", "send M/s", "receive M/s", "bits each"
    );
    for (name, map) in [("1 row, 1024 to 256", Map::dense(1, 1024, 256)), ("64 rows, 64 to 64", Map::dense(64, 64, 64))]
    {
        let [mut owner, mut other] = pair(Field::Bytes);
        let shape = Shape { map, bits: 8, ring: 32 };
        let weights: Vec<i32> = (0..shape.map.weights() as i32).map(|i| i * 37 % 251 - 125).collect();
        let mut choices = Vec::new();
        let mut mine = Owner::new(shape.clone(), &weights, &mut owner, &mut choices);
        let mut theirs = Other::new(shape.clone(), &mut other, &choices).expect("an honest peer");
        let a: Vec<u32> = (0..shape.map.input.iter().product::<usize>() as u32).collect();
        let mut message = Vec::new();
        let send = best(|| {
            message.clear();
            std::hint::black_box(theirs.send(&other, &a, &mut message));
        });
        let receive = best(|| {
            std::hint::black_box(mine.receive::<u32>(&owner.receiver.hash, &message).expect("an honest peer"));
        });
        let products = shape.map.products() as f64;
        let rate = |s: f64| products / s / 1e6;
        let each = message.len() as f64 * 8.0 / products;
        println!("{name:>28} {products:>12} {:>14.1} {:>14.1} {each:>12.1}", rate(send), rate(receive));
    }
}
