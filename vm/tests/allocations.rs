//! What a party allocates: nothing in exchanges over TCP, and values as the program predicts.
mod common;
use common::counting::{COUNT, Counting, LIVE, PEAK};
use common::{build, build_with, checked, models, testdata};
use compiler::pipeline::{Compiled, Options, Reveal};
use ir::Party;
use runtime_protocols::link::tcp::{self, TcpLink};
use runtime_protocols::link::{Hello, Link, LinkError, LinkStats, Place, Work, exchange_keys};
use vm::exec::Machine;
use vm::protocols;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a party does during an exchange, and what that allocates.
struct Counted<'a> {
    work: &'a mut dyn Work,
    allocations: u64,
}

impl Work for Counted<'_> {
    fn produce(&mut self, out: &mut [Vec<u8>]) -> bool {
        let before = COUNT.get();
        let more = self.work.produce(out);
        self.allocations += COUNT.get() - before;
        more
    }

    fn consume(&mut self, incoming: &[Vec<u8>], got: &[usize]) {
        let before = COUNT.get();
        self.work.consume(incoming, got);
        self.allocations += COUNT.get() - before;
    }
}

/// A link that counts what its exchanges allocate.
struct Watched {
    inner: TcpLink,
    allocations: u64,
}

impl Link for Watched {
    fn me(&self) -> Party {
        self.inner.me()
    }

    fn parties(&self) -> usize {
        self.inner.parties()
    }

    fn session(&self) -> [u8; 16] {
        self.inner.session()
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        let before = COUNT.get();
        let done = self.inner.exchange(at, out, expect, incoming);
        self.allocations += COUNT.get() - before;
        done
    }

    fn exchange_parts(
        &mut self,
        at: &Place<'_>,
        out: &mut [Vec<u8>],
        lists: [&[usize]; 2],
        incoming: &mut [Vec<u8>],
        work: &mut dyn Work,
    ) -> Result<(), LinkError> {
        let mut work = Counted { work, allocations: 0 };
        let before = COUNT.get();
        let done = self.inner.exchange_parts(at, out, lists, incoming, &mut work);
        self.allocations += COUNT.get() - before - work.allocations;
        done
    }

    fn begin(&mut self) {
        self.inner.begin();
    }

    fn stats(&self) -> LinkStats {
        self.inner.stats()
    }

    fn abort(&mut self, code: u8, reason: &str) {
        self.inner.abort(code, reason);
    }

    fn close(&mut self) -> Result<(), LinkError> {
        self.inner.close()
    }
}

/// Bytes that a party predicts and takes at most, and allocations of its exchanges in the second inference.
fn measure(c: &Compiled) -> Vec<(u64, i64, u64)> {
    let options = tcp::Options::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let listeners: Vec<_> = (0..3).map(|_| tcp::listen(any, &options).expect("listens")).collect();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("bound")).collect();
    let parties: Vec<_> = (0..3).map(Party).zip(listeners).collect();
    let size: usize = c.program.interface.inputs[0].shape.iter().map(|d| *d as usize).product();
    let protocol = protocols::of(&c.program).expect("in this build");
    std::thread::scope(|s| {
        let run = |(me, listener)| {
            let (addresses, options) = (&addresses, &options);
            s.spawn(move || {
                let link = tcp::connect_on(listener, me, addresses, options, &Hello::default()).expect("connects");
                let mut link = Watched { inner: link, allocations: 0 };
                let keys = exchange_keys(&mut link).expect("keys");
                let session = link.session();
                let mut m =
                    Machine::new(c.program.clone(), (protocol.make)(me, keys.as_slice(), &session)).expect("verified");
                let given = [(me == Party(1)).then(|| vec![5; size])];
                let start = LIVE.get();
                PEAK.set(start);
                m.setup((me == Party(0)).then_some(&c.weights), &mut link).expect("set-up");
                m.infer(&given, &mut link).expect("inference");
                // By now buffers have grown to their size.
                link.allocations = 0;
                m.infer(&given, &mut link).expect("inference");
                let (allocations, peak) = (link.allocations, PEAK.get() - start);
                link.close().expect("close");
                (m.memory(), peak, allocations)
            })
        };
        let all: Vec<_> = parties.into_iter().map(run).collect();
        all.into_iter().map(|h| h.join().expect("party")).collect()
    })
}

#[test]
fn exchanges_allocate_nothing() {
    for name in ["digits_mlp", "digits"] {
        for (party, (_, _, allocations)) in measure(&build(&testdata(&format!("{name}.tflite")))).iter().enumerate() {
            assert_eq!(*allocations, 0, "{name}, party {party}");
        }
    }
}

#[test]
fn memory_is_as_predicted() {
    let Some(dir) = models() else { return };
    for name in ["mobilenet_v1_0.25_128_quant", "resnet8_cifar10", "person_detect"] {
        for (party, (predicted, peak, _)) in measure(&build(&dir.join(format!("{name}.tflite")))).iter().enumerate() {
            println!("{name}, party {party}: {predicted} predicted, {peak} taken");
            let off = (*peak - *predicted as i64).unsigned_abs();
            assert!(off * 20 <= *predicted, "{name}, party {party}: {predicted} predicted, {peak} taken");
        }
    }
}

/// What is recorded for the check of products, and what the check makes of it, is predicted too: no party takes more.
#[test]
fn memory_of_checks_is_bounded() {
    let own = ["digits_mlp", "digits", "digits_u8"].map(|name| testdata(&format!("{name}.tflite")));
    let other = models().map(|dir| dir.join("resnet8_cifar10.tflite"));
    for path in own.into_iter().chain(other) {
        let (name, c) = (path.display(), build_with(&path, checked()));
        for (party, (predicted, peak, _)) in measure(&c).iter().enumerate() {
            println!("{name}, party {party}: {predicted} predicted, {peak} taken");
            assert!(*peak <= *predicted as i64, "{name}, party {party}: {predicted} predicted, {peak} taken");
            assert!(*peak * 2 >= *predicted as i64, "{name}, party {party}: {predicted} predicted, {peak} taken");
        }
    }
}

/// With weights in the program, rounding at random, or secret multipliers no party takes more either.
#[test]
fn memory_of_modes_is_bounded() {
    let Some(dir) = models() else { return };
    for name in ["mobilenet_v1_0.25_128_quant", "resnet8_cifar10"] {
        for code in [1, 2, 4] {
            let modes = ir::Modes::from_code(code).expect("a mode");
            let options = Options { modes, reveal: Reveal::Logits, ..Options::default() };
            let c = build_with(&dir.join(format!("{name}.tflite")), options);
            for (party, (predicted, peak, _)) in measure(&c).iter().enumerate() {
                println!("{name}, {:?}, party {party}: {predicted} predicted, {peak} taken", modes.names());
                assert!(*peak <= *predicted as i64 * 21 / 20, "{name}, {:?}, party {party}", modes.names());
                assert!(*peak * 2 >= *predicted as i64, "{name}, {:?}, party {party}", modes.names());
            }
        }
    }
}
