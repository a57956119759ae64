//! A program on every runtime, all parties in this process.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use ir::{Messages, Party, Program};
use runtime_protocols::link::Link;
use runtime_protocols::rep3::Rep3;
use runtime_protocols::rep4::Rep4;
use runtime_protocols::runtime::{DIGEST, Exchange, Flat, Runtime};
use vm::exec::{LoadError, Machine, Outcome, exchange_of};

/// A protocol in one process.
#[derive(Clone, Copy)]
pub struct Protocol {
    pub name: &'static str,
    pub parties: u8,
    /// One party's side, with keys that the test chooses.
    pub runtime: fn(Party) -> Box<dyn Runtime>,
}

/// Every protocol that runs programs.
pub const PROTOCOLS: [Protocol; 2] =
    [Protocol { name: "rep3", parties: 3, runtime: rep3 }, Protocol { name: "rep4", parties: 4, runtime: rep4 }];

fn rep4(me: Party) -> Box<dyn Runtime> {
    // Entry l is the seed of the key that party l lacks.
    Box::new(Rep4::new(me, &[[1; 32], [2; 32], [3; 32], [4; 32]], &[7; 16]))
}

fn rep3(me: Party) -> Box<dyn Runtime> {
    // The seed of a pair is named by the party outside.
    let seed = |p: u8| if p == me.0 { [0; 32] } else { [(3 - (me.0 + p) % 3) % 3 + 1; 32] };
    Box::new(Rep3::new(me, &[seed(0), seed(1), seed(2)], &[7; 16]))
}

/// Replaces the messages of each round by those of the protocol, and the declared openings by those there are. The
/// operands must have types.
pub fn declare(p: &mut Program, protocol: &Protocol) {
    let Ok(typed) = ir::verify::type_program(p) else { return };
    let runtime = (protocol.runtime)(Party(0));
    let (mut at, mut opened) = (0usize, 0u64);
    for round in &mut p.rounds {
        round.messages = Messages::none(p.parties);
        let mut vouched = std::collections::BTreeSet::new();
        let end = (round.exchange_end as usize).min(p.insts.len());
        for inst in &p.insts[at.min(end)..end] {
            let Some((x, what)) = exchange_of(&inst.op) else { continue };
            let t = &typed.types[x.index()];
            let flat = Flat { domain: t.domain, form: t.form, len: t.len() };
            for m in runtime.messages(what, flat) {
                round.messages.add(p.parties, m.from, m.to, m.bytes);
            }
            vouched.extend(runtime.vouches(what, flat));
            if let Exchange::Open { .. } = what {
                opened += t.len() as u64 * u64::from(t.domain.width());
            }
        }
        vouched.into_iter().for_each(|(from, to)| round.messages.add(p.parties, from, to, DIGEST as u64));
        at = end;
    }
    p.opened_bits = opened;
    p.peak_memory = 0;
}

/// Machines of all parties.
pub fn machines(p: &Program, protocol: &Protocol) -> Result<Vec<Machine>, LoadError> {
    (0..protocol.parties).map(|me| Machine::new(p.clone(), (protocol.runtime)(Party(me)))).collect()
}

/// One party's side of set-up and one inference.
pub fn side(
    machine: &mut Machine,
    link: &mut impl Link,
    calls: &[Vec<Vec<i64>>],
    weights: &[Vec<i32>],
) -> Vec<Outcome> {
    let me = link.me();
    let p = machine.program();
    let own = |inputs: &Vec<Vec<i64>>| -> Vec<Option<Vec<i64>>> {
        inputs.iter().zip(&p.interface.inputs).map(|(x, port)| (port.party == me).then(|| x.clone())).collect()
    };
    let calls: Vec<_> = calls.iter().map(own).collect();
    let weights =
        (p.interface.weight_owner == me).then(|| ir::weights::Weights { program: [0; 32], tensors: weights.to_vec() });
    machine.setup(weights.as_ref(), link).expect("set-up");
    calls.iter().map(|own| machine.infer(own, link).expect("inference")).collect()
}

/// Runs once over `links` and returns what each party says.
pub fn play<L: Link>(
    machines: Vec<Machine>,
    links: &mut [L],
    inputs: &[Vec<i64>],
    weights: &[Vec<i32>],
) -> Vec<Outcome> {
    play_all(machines, links, &[inputs.to_vec()], weights).remove(0)
}

/// Successive calls of one session: for each call what each party says.
pub fn play_all<L: Link>(
    machines: Vec<Machine>,
    links: &mut [L],
    calls: &[Vec<Vec<i64>>],
    weights: &[Vec<i32>],
) -> Vec<Vec<Outcome>> {
    let mut parties: Vec<_> = std::thread::scope(|s| {
        let parties: Vec<_> = machines
            .into_iter()
            .zip(links)
            .map(|(mut m, link)| s.spawn(move || side(&mut m, link, calls, weights).into_iter()))
            .collect();
        parties.into_iter().map(|p| p.join().expect("no party panics")).collect()
    });
    calls.iter().map(|_| parties.iter_mut().map(|p| p.next().expect("one for each call")).collect()).collect()
}

/// Checks what a run said against the program: outputs reach their receivers only; rounds, bytes and openings are those
/// predicted. Returns the outputs.
pub fn outputs(p: &Program, outcomes: &[Outcome], what: &str) -> Vec<Vec<i64>> {
    let rounds = outcomes.iter().map(|o| o.rounds).max();
    assert_eq!(rounds, Some(p.predicted_rounds()), "{what}: rounds");
    let sent: Vec<u64> = outcomes.iter().map(|o| o.payload_sent).collect();
    assert_eq!(sent, p.predicted_bytes(), "{what}: payload bytes");
    let ports = p.interface.outputs.iter().enumerate();
    ports
        .map(|(i, port)| {
            for (party, o) in outcomes.iter().enumerate().filter(|(party, _)| *party != port.party.index()) {
                assert!(o.outputs[i].is_none(), "{what}: party {party} learns output {i}");
            }
            outcomes[port.party.index()].outputs[i].clone().unwrap_or_else(|| panic!("{what}: no output {i}"))
        })
        .collect()
}
