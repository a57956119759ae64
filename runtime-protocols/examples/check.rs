//! Speed of the check of replicated products, and what it sends.
//!
//! `cargo run --release -p runtime-protocols --example check -- ANDS NUMBERS`: that many ANDs and products of 32-bit numbers,
//! checked by three parties in this process, one after the other; seconds are of one of them.
use ir::{Domain, Party};
use runtime_protocols::check::{Check, End, Record, Sizes};
use runtime_protocols::data::{Data, Value};
use runtime_protocols::prg::{Address, KeyStream};
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().expect("a number"));
    let (ands, numbers) = (args.next().unwrap_or(10_000_000), args.next().unwrap_or(300_000));
    // Parts of 0 and of 0·0: all that matters here is their size.
    let key = |j: usize| KeyStream::new(&[j as u8; 32], b"example");
    let bits = |j: usize| {
        let mut words = vec![0; ands.div_ceil(64)];
        key(j).segment(&Address { inference: 0, instruction: 0, purpose: 0 }).fill_u64(&mut words);
        Data::Planes { words, len: ands }
    };
    let ring = |j: usize| {
        let mut words = vec![0; numbers];
        key(j).segment(&Address { inference: 0, instruction: 1, purpose: 0 }).fill_u32(&mut words);
        Data::W32(words)
    };
    let of = |me: usize, part: &dyn Fn(usize) -> Data| Value::of([part((me + 1) % 3), part((me + 2) % 3)]);
    let mut sizes = Sizes::default();
    sizes.sum(Domain::Bits(1), ands, 1);
    sizes.sum(Domain::Ring(32), numbers, 1);
    let mut checks = [0, 1, 2].map(|me| {
        let mut record = Record::new(&sizes);
        let zeros = |domain: Domain, len: usize| Data::zeros(domain, ir::Form::Shared, len);
        let nothing = |domain, len| Value::of([zeros(domain, len), zeros(domain, len)]);
        record.sum(
            Domain::Bits(1),
            &[(&of(me, &bits), &nothing(Domain::Bits(1), ands))],
            &nothing(Domain::Bits(1), ands),
        );
        let domain = Domain::Ring(32);
        record.sum(domain, &[(&of(me, &ring), &nothing(domain, numbers))], &nothing(domain, numbers));
        Check::new(Party(me as u8), record, End::Opened, None)
    });
    let (mut seconds, mut bytes) = (0.0, 0);
    while !checks[0].done() {
        let mut sent = vec![];
        let at = Instant::now();
        for (me, check) in checks.iter_mut().enumerate() {
            let mut out = vec![vec![]; 3];
            let segment = |which: usize, purpose: u32| {
                key((me + 1 + which) % 3).segment(&Address { inference: 1, instruction: 0, purpose })
            };
            check.send(&segment, &mut out);
            sent.push(out);
        }
        bytes += sent[0].iter().map(Vec::len).sum::<usize>();
        for (me, check) in checks.iter_mut().enumerate() {
            let incoming: Vec<&[u8]> = sent.iter().map(|out| out[me].as_slice()).collect();
            check.receive(&incoming).expect("zero times anything is zero");
        }
        seconds += at.elapsed().as_secs_f64() / 3.0;
    }
    let rounds = checks[0].plan().steps.len();
    println!(
        "{ands} ANDs, {numbers} products of numbers: {seconds:.3} s per party, {rounds} rounds, {bytes} bytes sent"
    );
}
