//! Three parties, one of which cheats: it runs the protocol with one thing changed. Whoever is honest ends with exit code 20 and
//! nothing is opened to an honest receiver, or the change had no effect, or it was an owner's choice of its own numbers.
mod common;
use common::{build_with, checked, checked_early, in_threads, npy, testdata};
use compiler::pipeline::Compiled;
use ir::verify::type_program;
use ir::{Domain, Form, Op, Party};
use runtime_protocols::data::{Data, Value, Zip};
use runtime_protocols::link::memory::{Fate, Network, Sent};
use runtime_protocols::link::{Link, LinkError, exchange_keys};
use runtime_protocols::rep3_mal::Rep3Mal;
use runtime_protocols::runtime::{Checked, Exchange, Flat, Message, Mismatch, Pad, Runtime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vm::exec::{Machine, Outcome};

const RECEIVER: usize = 1;

/// What a cheater changes where an instruction sends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cheat {
    /// Computes and sends with another number in this place of what it has, and goes on with that.
    Piece(usize),
    /// Sends something else to this party and goes on with what is right.
    Message(usize),
}

struct Cheater {
    inner: Rep3Mal,
    instruction: u32,
    cheat: Cheat,
    /// Whether something that is sent has changed.
    changed: Arc<AtomicBool>,
}

impl Cheater {
    fn mark(&self, sent: bool) {
        self.changed.fetch_or(sent, Ordering::Relaxed);
    }
}

fn other(x: &Data) -> Data {
    let one = match x {
        Data::W32(v) => Data::W32(vec![1; v.len()]),
        Data::W64(v) => Data::W64(vec![1; v.len()]),
        Data::Planes { words, len } => Data::Planes { words: vec![1; words.len()], len: *len },
    };
    x.zip(&one, Zip::Add)
}

impl Runtime for Cheater {
    runtime_protocols::local_half_of!(inner);

    fn checked(&self) -> Option<&dyn Checked> {
        self.inner.checked()
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        self.inner.messages(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        if pad.instruction != self.instruction {
            return self.inner.send(pad, what, x, ty, out);
        }
        let mut x = x.clone();
        if let Cheat::Piece(i) = self.cheat
            && let Some(piece) = x.parts.get_mut(i)
        {
            *piece = other(piece).into();
            // Piece i is the part that party me + 1 + i lacks.
            let whom = Party(((self.me().index() + 1 + i) % 3) as u8);
            self.mark(!matches!(what, Exchange::Open { to } if !to.contains(whom)));
        }
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        let kept = self.inner.send(pad, what, &x, ty, out);
        if let Cheat::Message(to) = self.cheat
            && let Some(byte) = out[to].get_mut(before[to])
        {
            *byte ^= 1;
            self.mark(true);
        }
        kept
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

/// The first and the last exchange of each kind.
fn kinds(c: &Compiled) -> BTreeMap<String, Vec<u32>> {
    let typed = type_program(&c.program).expect("verified");
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (i, inst) in c.program.insts.iter().enumerate() {
        let Some(x) = inst.op.operands().first().map(|x| &typed.types[x.index()]) else { continue };
        let domain = if matches!(x.domain, Domain::Bits(_)) { "bits" } else { "numbers" };
        let name = match (&inst.op, x.form) {
            (Op::Reshare { .. }, Form::Held(h)) if h.count() == 1 => format!("sharing by {h}"),
            (Op::Reshare { .. }, _) => format!("products of {domain}"),
            (Op::Open { .. }, _) => "opening".to_owned(),
            _ => continue,
        };
        found.entry(name).or_default().push(i as u32);
    }
    for all in found.values_mut() {
        *all = vec![all[0], all[all.len() - 1]];
        all.dedup();
    }
    found
}

type Said = Vec<Result<Outcome, LinkError>>;

/// What each party says, over `network`, where `cheat` says what party `who` changes at an instruction.
fn play(c: &Compiled, input: &[i64], network: Network, cheat: Option<(usize, u32, Cheat)>) -> (Said, bool) {
    let changed = Arc::new(AtomicBool::new(false));
    let said = in_threads(network.links(), |mut link| {
        let me = link.me();
        let inner = Rep3Mal::new(me, exchange_keys(&mut link)?.as_slice(), &link.session());
        let runtime: Box<dyn Runtime> = match cheat {
            Some((who, instruction, cheat)) if me.index() == who => {
                Box::new(Cheater { inner, instruction, cheat, changed: changed.clone() })
            }
            _ => Box::new(inner),
        };
        let mut m = Machine::new(c.program.clone(), runtime).expect("verified");
        m.setup((me == Party(0)).then_some(&c.weights), &mut link)?;
        let outcome = m.infer(&[(me.index() == RECEIVER).then(|| input.to_vec())], &mut link);
        // Who ends earlier is not lost.
        let _ = link.close();
        outcome
    });
    (said, changed.load(Ordering::Relaxed))
}

/// Every honest party that fails ends with 20; whether one does. Then an honest receiver has no output.
fn noticed(said: &Said, who: usize, what: &str) -> bool {
    let failed: Vec<_> = said
        .iter()
        .enumerate()
        .filter(|(p, _)| *p != who)
        .filter_map(|(p, s)| s.as_ref().err().map(|e| (p, e)))
        .collect();
    for (p, e) in &failed {
        assert_eq!(e.exit_code(), 20, "{what}: party {p} says {e}");
    }
    assert!(failed.is_empty() || who == RECEIVER || said[RECEIVER].is_err(), "{what}: opened all the same");
    !failed.is_empty()
}

/// One check, and several early ones before the last.
fn programs() -> [Compiled; 2] {
    let path = testdata("digits_mlp.tflite");
    [build_with(&path, checked()), checked_early(&path, 1 << 17)]
}

#[test]
fn every_change_is_noticed_or_has_no_effect() {
    programs().iter().for_each(every_change);
}

fn every_change(c: &Compiled) {
    let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    let kinds = kinds(c);
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(names, ["opening", "products of bits", "products of numbers", "sharing by {0}", "sharing by {1}"]);
    let mut found = BTreeMap::<(&str, usize), usize>::new();
    for (name, instructions) in &kinds {
        let owner = name.starts_with("sharing");
        for (instruction, who) in instructions.iter().flat_map(|i| (0..3).map(move |who| (*i, who))) {
            for cheat in (0..2).map(Cheat::Piece).chain((0..3).map(Cheat::Message)) {
                let what = format!("{name} at {instruction}, party {who}, {cheat:?}");
                let (said, changed) = play(c, &input, Network::new(3), Some((who, instruction, cheat)));
                let stopped = noticed(&said, who, &what);
                if stopped {
                    *found.entry((name, who)).or_default() += 1;
                } else {
                    let got = said[RECEIVER].as_ref().expect("nobody failed").outputs[0].as_ref();
                    let received = who == RECEIVER && name == "opening";
                    assert!(owner && changed || received || got == Some(&want), "{what}: another result");
                }
                assert!(!changed || owner || stopped || who == RECEIVER && name == "opening", "{what}: nobody noticed");
            }
        }
    }
    for who in 0..3 {
        assert!(found.contains_key(&("products of bits", who)), "{found:?}");
        assert!(found.contains_key(&("products of numbers", who)), "{found:?}");
        assert_eq!(found.contains_key(&("opening", who)), who != RECEIVER, "{found:?}");
    }
    println!("{found:?}");
}

/// Each message of the check, one bit of it changed, from each party to each.
#[test]
fn every_message_of_the_check_is_held_to() {
    programs().iter().for_each(every_message);
}

fn every_message(c: &Compiled) {
    let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    let p = &c.program;
    let mut at = 0;
    let mut checks = Vec::new();
    for (r, round) in p.rounds.iter().enumerate() {
        if p.insts[at..round.exchange_end as usize].iter().any(|i| matches!(i.op, Op::Check { .. })) {
            // Steps of early checks come first in the messages of their rounds.
            checks.push((r, round.exchange_end - round.local_end > 1));
        }
        at = round.exchange_end as usize;
    }
    assert!(checks.len() >= 9, "{checks:?}");
    let (said, _) = play(c, &input, Network::new(3), None);
    assert_eq!(said[RECEIVER].as_ref().expect("nobody cheats").outputs[0], Some(want));
    let mut total = 0;
    for (r, first) in checks {
        for (from, to) in (0..3u8).flat_map(|from| (0..3).map(move |to| (from, to))) {
            if p.rounds[r].messages.get(3, Party(from), Party(to)) == 0 {
                continue;
            }
            let hit = Arc::new(AtomicBool::new(false));
            let seen = hit.clone();
            let change = move |sent: &Sent<'_>, payload: &mut Vec<u8>| {
                let here = sent.from == Party(from) && sent.to == Party(to);
                if here && sent.at.round == r as u32 + 1 {
                    let at = if first { 0 } else { payload.len() - 1 };
                    payload[at] ^= 0x10;
                    seen.store(true, Ordering::Relaxed);
                }
                Fate::Deliver
            };
            let (said, _) = play(c, &input, Network::new(3).intercept(change), None);
            let what = format!("round {r}, {from} to {to}");
            assert!(hit.load(Ordering::Relaxed), "{what}: no such message");
            assert!(noticed(&said, from.into(), &what), "{what}: nobody noticed");
            total += 1;
        }
    }
    println!("{total} messages");
}
