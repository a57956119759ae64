//! A hostile network or peer: every message of an inference flipped, lost, repeated, moved, delayed, cut, lengthened and
//! replayed, under each protocol. Damage to length, order and number is an error at the receiver, and every other party that
//! still needs something ends with an error too. A changed payload is a wrong result or an error. Nobody panics, waits
//! longer than its deadline or takes memory beyond the program's.
mod common;
use common::attack::{Message, layout, party};
use common::counting::{Counting, LIVE, PEAK};
use common::{build_with, npy, testdata};
use compiler::pipeline::{Compiled, Options, Protocol};
use ir::Party;
use runtime_protocols::link::memory::{Fate, Network};
use runtime_protocols::link::{LinkError, Timeouts};
use runtime_protocols::runtime::Exchange;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A round may take this long where a message stays away.
const ROUND: Duration = Duration::from_millis(600);
/// And this long elsewhere, so that a busy machine ends no session.
const PATIENT: Duration = Duration::from_secs(30);
/// A session that takes longer hangs: it waits for one round, and works for a few milliseconds.
const HANGS: Duration = Duration::from_secs(40);
/// Bytes that a party may take beyond an undisturbed one.
const SPARE: i64 = 1 << 20;

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Flip,
    Drop,
    Duplicate,
    Reorder,
    Delay,
    Truncate,
    Extend,
    Replay,
    /// Nothing arrives from here on: longer than any deadline.
    DelayForever,
    /// Far longer than anything that is due.
    ExtendFar,
}

const ALL: [Damage; 10] = [
    Damage::Flip,
    Damage::Drop,
    Damage::Duplicate,
    Damage::Reorder,
    Damage::Delay,
    Damage::Truncate,
    Damage::Extend,
    Damage::Replay,
    Damage::DelayForever,
    Damage::ExtendFar,
];

impl Damage {
    fn apply(self, payload: &mut Vec<u8>, salt: usize) -> Fate {
        match self {
            Damage::Flip => {
                let at = salt % payload.len();
                payload[at] ^= 1 << (salt % 8);
            }
            Damage::Truncate => drop(payload.pop()),
            Damage::Extend => payload.push(0),
            Damage::ExtendFar => payload.resize(8 << 20, 0xa5),
            Damage::Drop => return Fate::Drop,
            Damage::Duplicate => return Fate::Twice,
            Damage::Reorder => return Fate::Late,
            Damage::Replay => return Fate::Replay,
            Damage::Delay => return Fate::After(Duration::from_millis(20)),
            Damage::DelayForever => return Fate::After(Duration::from_secs(3600)),
        }
        Fate::Deliver
    }

    /// The receiver notices, whatever the message holds.
    fn is_noticed(self) -> bool {
        !matches!(self, Damage::Flip | Damage::Delay)
    }
}

/// How a party ended, and the most bytes it held at once.
type End = (Result<Vec<Option<Vec<i64>>>, LinkError>, i64);

/// A session with one damaged message, or none.
fn session(c: &Compiled, input: &[i64], damage: Option<(Damage, Message, usize)>) -> (Vec<End>, Duration) {
    let mut network = Network::new(3);
    if let Some((damage, (round, from, to), salt)) = damage {
        let stalls = matches!(damage, Damage::Drop | Damage::Reorder | Damage::DelayForever);
        let round_time = if stalls { ROUND } else { PATIENT };
        let timeouts =
            Timeouts { connect: round_time, handshake: round_time, round: round_time, ..Timeouts::default() };
        network = network.timeouts(timeouts).intercept(move |sent, payload| {
            if (sent.at.round, sent.from, sent.to) == (round, from, to) {
                damage.apply(payload, salt)
            } else {
                Fate::Deliver
            }
        });
    }
    let start = Instant::now();
    let ends = common::in_threads(network.links(), |mut link| {
        let before = LIVE.get();
        PEAK.set(before);
        let end = party(c, input, &mut link).map(|outcome| outcome.outputs);
        (end, PEAK.get() - before)
    });
    (ends, start.elapsed())
}

/// Parties that cannot have everything they need once `victim` fails in `round`.
fn starved(messages: &BTreeSet<Message>, victim: Party, round: u32) -> BTreeSet<Party> {
    let mut fails = [u32::MAX; 3];
    fails[victim.index()] = round;
    // By round, so one pass is enough.
    for (r, from, to) in messages {
        if fails[from.index()] < *r {
            fails[to.index()] = fails[to.index()].min(*r);
        }
    }
    (0..3).map(Party).filter(|p| fails[p.index()] < u32::MAX).collect()
}

fn attack(protocol: Protocol) {
    let c = build_with(&testdata("digits_mlp.tflite"), Options { protocol, ..Options::default() });
    let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
    let mut messages: BTreeSet<Message> = layout(&c).into_keys().collect();
    messages.extend([(0, 0, 1), (0, 0, 2), (0, 1, 2)].map(|(r, from, to)| (r, Party(from), Party(to))));
    let (honest, _) = session(&c, &input, None);
    let most: Vec<i64> = honest.iter().map(|(_, peak)| *peak).collect();
    assert_eq!(honest[1].0.as_ref().expect("undisturbed")[0].as_ref(), Some(&want));

    let cases: Vec<(Damage, Message)> = ALL.iter().flat_map(|d| messages.iter().map(|m| (*d, *m))).collect();
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(std::collections::BTreeMap::<(Damage, String), usize>::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some((damage, message)) = cases.get(n).copied() else { return };
            let (ends, took) = session(&c, &input, Some((damage, message, n)));
            let (round, from, to) = message;
            let what = format!("{damage:?} of the message of round {round} from {from} to {to}");
            assert!(took < HANGS, "{what}: took {took:?}");
            let victim = &ends[to.index()].0;
            if damage.is_noticed() {
                let e = victim.as_ref().err().unwrap_or_else(|| panic!("{what}: the receiver did not notice"));
                assert!((10..=13).contains(&e.exit_code()), "{what}: {e}");
                // A repeated message may be noticed at the next one, or at the end.
                if !matches!(damage, Damage::Duplicate | Damage::Replay) {
                    for p in starved(&messages, to, round) {
                        assert!(ends[p.index()].0.is_err(), "{what}: {p} ended as if nothing had happened");
                    }
                }
            }
            if damage == Damage::Delay {
                assert!(ends.iter().all(|(end, _)| end.is_ok()), "{what}: {:?}", ends.iter().find(|e| e.0.is_err()));
            }
            for (p, (end, peak)) in ends.iter().enumerate() {
                // What an interceptor makes longer is allocated in the sender's thread.
                let own = if damage == Damage::ExtendFar && p == from.index() { 16 << 20 } else { 0 };
                assert!(*peak <= most[p] + SPARE + own, "{what}: party {p} took {peak} bytes, {} before", most[p]);
                let Ok(outputs) = end else { continue };
                match (&outputs[0], p) {
                    (Some(y), 1) => {
                        assert_eq!(y.len(), want.len(), "{what}");
                        assert!(damage == Damage::Flip || *y == want, "{what}: another result");
                    }
                    (None, 0 | 2) => {}
                    _ => panic!("{what}: party {p} has what it must not have"),
                }
            }
            let end = match (victim, &ends[1].0) {
                (Err(e), _) => format!("exit {}", e.exit_code()),
                (_, Err(e)) => format!("exit {} elsewhere", e.exit_code()),
                (_, Ok(y)) => if y[0].as_ref() == Some(&want) { "right result" } else { "wrong result" }.to_owned(),
            };
            *counts.lock().expect("no panic").entry((damage, end)).or_default() += 1;
        }
    };
    // Most sessions wait.
    std::thread::scope(|s| (0..16).for_each(|_| drop(s.spawn(work))));
    let counts = counts.into_inner().expect("no panic");
    println!("{protocol:?}: {} messages, {} sessions", messages.len(), cases.len());
    counts.iter().for_each(|((damage, end), n)| println!("  {damage:?}: {n} x {end}"));
    assert_eq!(counts.values().sum::<usize>(), cases.len(), "every case was run");
    let wrong: usize = counts.iter().filter(|((_, end), _)| end == "wrong result").map(|(_, n)| n).sum();
    assert!(wrong > 0, "no flipped bit changed a result: nothing was attacked");
}

#[test]
fn every_message_of_three_parties() {
    attack(Protocol::Rep3);
}

#[test]
fn every_message_of_two_parties_and_a_dealer() {
    attack(Protocol::Dealer2);
}

/// An error added to one opened element changes that element by that much and no other: errors hit what they aim at.
#[test]
fn errors_are_added_to_single_elements() {
    for protocol in [Protocol::Rep3, Protocol::Dealer2] {
        let c = build_with(&testdata("digits_mlp.tflite"), Options { protocol, ..Options::default() });
        let (input, want) = (npy("digits_mlp.input_0.npy"), npy("digits_mlp.output_0.npy"));
        let all = layout(&c);
        let opened: Vec<_> = all
            .iter()
            .flat_map(|(m, pieces)| pieces.iter().map(move |p| (*m, *p)))
            .filter(|(_, p)| matches!(p.what, Exchange::Open { .. }))
            .collect();
        let [((round, from, to), piece)] = opened[..] else { panic!("one opening, {} found", opened.len()) };
        for k in 0..want.len() {
            let links = Network::new(3).intercept(move |sent, payload| {
                if (sent.at.round, sent.from, sent.to) == (round, from, to) {
                    assert!(piece.elements.add(payload, k, 1));
                }
                Fate::Deliver
            });
            let ends = common::in_threads(links.links(), |mut link| party(&c, &input, &mut link).expect("semi-honest"));
            let got = ends[1].outputs[0].as_ref().expect("the receiver's");
            let width = piece.elements.domain.width();
            for (i, (y, right)) in got.iter().zip(&want).enumerate() {
                let off = (y - right).rem_euclid(1 << width);
                assert_eq!(off, i64::from(i == k), "{protocol:?}, error at {k}, element {i}");
            }
        }
    }
}

/// Each kind of exchange, each sender: an error of one in one element never stops a semi-honest run, and no error is added
/// to an element that is not there.
#[test]
fn an_error_in_each_kind_of_exchange() {
    for protocol in [Protocol::Rep3, Protocol::Dealer2] {
        let c = build_with(&testdata("digits_mlp.tflite"), Options { protocol, ..Options::default() });
        let input = npy("digits_mlp.input_0.npy");
        let mut seen = BTreeSet::new();
        for ((round, from, to), pieces) in layout(&c) {
            for piece in pieces {
                if !seen.insert((format!("{:?}", std::mem::discriminant(&piece.what)), from)) {
                    continue;
                }
                let links = Network::new(3).intercept(move |sent, payload| {
                    if (sent.at.round, sent.from, sent.to) == (round, from, to) {
                        assert!(piece.elements.add(payload, piece.elements.len - 1, 1));
                        assert!(!piece.elements.add(payload, piece.elements.len, 1));
                    }
                    Fate::Deliver
                });
                let ends = common::in_threads(links.links(), |mut link| party(&c, &input, &mut link));
                let what = format!("{protocol:?}, round {round}, {from} to {to}");
                let y = ends[1].as_ref().unwrap_or_else(|e| panic!("{what}: {e}")).outputs[0].as_ref();
                assert_eq!(y.expect("the receiver's").len(), 10, "{what}");
            }
        }
        assert!(seen.len() >= 4, "{protocol:?}: {} kinds", seen.len());
    }
}
