//! Four parties, one of which cheats: it runs the protocol with one thing changed. Whoever is honest ends with exit code 20 and
//! nothing is opened to an honest receiver, or the change had no effect.
mod common;
use common::{build_with, four, in_threads, npy, testdata};
use compiler::pipeline::Compiled;
use ir::verify::type_program;
use ir::{Domain, Form, Op, Party};
use runtime_protocols::data::{Data, Value, Zip};
use runtime_protocols::link::memory::{Fate, Network};
use runtime_protocols::link::{Link, LinkError};
use runtime_protocols::rep4::{Rep4, agree};
use runtime_protocols::runtime::{Exchange, Flat, Message, Mismatch, Pad, Runtime};
use std::collections::BTreeMap;
use vm::exec::{Machine, Outcome};

const RECEIVER: usize = 1;

/// What a cheater changes.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cheat {
    /// Computes on with another number in this place of what it has, in messages and hashes alike.
    Piece(usize),
    /// Sends something else to this party, and vouches for what is right.
    Message(usize),
    /// Vouches for something else to this party, in the round of this instruction.
    Word(usize),
}

struct Cheater {
    inner: Rep4,
    instruction: u32,
    cheat: Cheat,
    now: bool,
    /// Whether something that is sent has changed.
    changed: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Cheater {
    fn mark(&self) {
        self.changed.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

fn other(x: &Data) -> Data {
    let one = match x {
        Data::W32(v) => Data::W32(vec![1; v.len()]),
        Data::W64(v) => Data::W64(vec![1; v.len()]),
        Data::Planes { words, len } => Data::Planes { words: vec![u64::MAX; words.len()], len: *len },
    };
    x.zip(&one, Zip::Add)
}

impl Runtime for Cheater {
    runtime_protocols::local_half_of!(inner);

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        self.inner.messages(what, ty)
    }

    fn vouches(&self, what: Exchange, ty: Flat) -> Vec<(Party, Party)> {
        self.inner.vouches(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        if pad.instruction != self.instruction {
            return self.inner.send(pad, what, x, ty, out);
        }
        self.now = true;
        let mut x = x.clone();
        if let Cheat::Piece(i) = self.cheat
            && let Some(piece) = x.parts.get_mut(i)
        {
            *piece = other(piece).into();
        }
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        let kept = self.inner.send(pad, what, &x, ty, out);
        if let Cheat::Message(to) = self.cheat
            && let Some(byte) = out[to].get_mut(before[to])
        {
            *byte ^= 1;
            self.mark();
        }
        kept
    }

    fn seal(&mut self, out: &mut [Vec<u8>]) {
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        self.inner.seal(out);
        if let Cheat::Word(to) = self.cheat
            && std::mem::take(&mut self.now)
            && let Some(byte) = out[to].get_mut(before[to])
        {
            *byte ^= 1;
            self.mark();
        }
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        self.inner.receive(what, kept, ty, incoming)
    }

    fn check(&mut self, incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        // A cheater goes on whatever it sees.
        let _ = self.inner.check(incoming);
        Ok(())
    }
}

/// The first exchange of each kind that has messages of its own.
fn kinds(c: &Compiled) -> BTreeMap<String, u32> {
    let typed = type_program(&c.program).expect("verified");
    let mut found = BTreeMap::new();
    for (i, inst) in c.program.insts.iter().enumerate() {
        let Some(x) = inst.op.operands().first().map(|x| &typed.types[x.index()]) else { continue };
        let domain = if matches!(x.domain, Domain::Bits(_)) { "bits" } else { "numbers" };
        let name = match (&inst.op, x.form) {
            (Op::Reshare { .. }, Form::Held(h)) if h.count() == 1 => format!("sharing by {h}"),
            (Op::Reshare { .. }, Form::Held(h)) => format!("{domain} of {h}"),
            (Op::Reshare { .. }, _) => format!("products of {domain}"),
            (Op::Echo { from, .. }, _) => format!("echo of {from}"),
            (Op::Open { .. }, _) => "opening".to_owned(),
            _ => continue,
        };
        found.entry(name).or_insert(i as u32);
    }
    found
}

/// What each party says, with `cheater` at its place, and whether it has changed something that it sends.
fn play(
    c: &Compiled,
    input: &[i64],
    who: usize,
    instruction: u32,
    cheat: Cheat,
) -> (Vec<Result<Outcome, LinkError>>, bool) {
    let changed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let said = in_threads(Network::new(4).links(), |mut link| {
        let me = link.me();
        let inner = Rep4::new(me, &agree(&mut link)?, &link.session());
        let runtime: Box<dyn Runtime> = match me.index() == who {
            true => Box::new(Cheater { inner, instruction, cheat, now: false, changed: changed.clone() }),
            false => Box::new(inner),
        };
        let mut m = Machine::new(c.program.clone(), runtime).expect("verified");
        m.setup((me == Party(0)).then_some(&c.weights), &mut link)?;
        let outcome = m.infer(&[(me.index() == RECEIVER).then(|| input.to_vec())], &mut link);
        // Who ends earlier is not lost.
        let _ = link.close();
        outcome
    });
    (said, changed.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn every_change_is_noticed_or_has_no_effect() {
    let c = build_with(&testdata("digits_mlp.tflite"), four());
    let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    let kinds = kinds(&c);
    println!("{:?}", kinds.keys());
    assert_eq!(kinds.len(), 11, "kinds of messages");
    let (mut noticed, mut total) = (BTreeMap::<(&str, usize), usize>::new(), 0);
    for (name, instruction) in &kinds {
        for who in 0..4 {
            let cheats = (0..3).map(Cheat::Piece).chain((0..4).flat_map(|to| [Cheat::Message(to), Cheat::Word(to)]));
            for cheat in cheats {
                let (said, changed) = play(&c, &input, who, *instruction, cheat);
                let what = format!("{name}, party {who}, {cheat:?}");
                let honest = || said.iter().enumerate().filter(|(p, _)| *p != who);
                let failed: Vec<_> = honest().filter_map(|(p, s)| s.as_ref().err().map(|e| (p, e))).collect();
                for (p, e) in &failed {
                    assert_eq!(e.exit_code(), 20, "{what}: party {p} says {e}");
                }
                let owner = name.starts_with("sharing");
                assert!(
                    !changed || owner && matches!(cheat, Cheat::Message(_)) || !failed.is_empty(),
                    "{what}: nobody noticed"
                );
                if !failed.is_empty() {
                    assert!(who == RECEIVER || said[RECEIVER].is_err(), "{what}: opened all the same");
                    *noticed.entry((name, who)).or_default() += 1;
                } else {
                    let got = said[RECEIVER].as_ref().expect("nobody failed").outputs[0].as_ref();
                    // An owner may choose its own numbers.
                    assert!(owner && who < 2 || got == Some(&want), "{what}: another result");
                }
                total += 1;
            }
        }
    }
    println!("{total} changes, noticed: {noticed:?}");
    for (name, who) in kinds.keys().flat_map(|k| (0..4).map(move |p| (k.as_str(), p))) {
        let sends = match name {
            "sharing by {0}" => who == 0,
            "sharing by {1}" => who == 1,
            "echo of {0}" => who == 1 || who == 2,
            "echo of {1}" | "opening" => who == 2 || who == 3,
            "bits of {0,1}" | "numbers of {0,1}" => who < 2,
            "bits of {2,3}" | "numbers of {2,3}" => who >= 2,
            _ => true,
        };
        assert!(!sends || noticed.contains_key(&(name, who)), "{name}, party {who}: no change was noticed");
    }
}

/// Whoever draws a key and sends two values, or lies about what it was sent.
#[test]
fn keys_of_three_are_compared() {
    let mut noticed = 0;
    for from in 0..4usize {
        for sequence in 0..2 {
            for to in (0..4).filter(|to| *to != from) {
                let change = move |sent: &runtime_protocols::link::memory::Sent<'_>, payload: &mut Vec<u8>| {
                    if sent.from.index() == from && sent.to.index() == to && sent.sequence == sequence {
                        payload[0] ^= 1;
                    }
                    Fate::Deliver
                };
                let said = in_threads(Network::new(4).intercept(change).links(), |mut link| {
                    let said = agree(&mut link).map(|_| ());
                    let _ = link.close();
                    said
                });
                let failed: Vec<_> = said.iter().filter_map(|s| s.as_ref().err()).collect();
                assert!(failed.iter().all(|e| e.exit_code() == 20), "{from} to {to}: {failed:?}");
                noticed += usize::from(!failed.is_empty());
            }
        }
    }
    // Party 0 sends seeds to three, party 1 to two; then parties 1, 2 and 3 send each other hashes.
    assert_eq!(noticed, 11, "each message that there is");
}
