//! Sessions in which somebody changes messages: every party ends by itself, with a result or with an error.
use compiler::pipeline::Compiled;
use ir::Domain;
use ir::Party;
use ir::verify::verify;
use runtime_protocols::link::memory::MemoryLink;
use runtime_protocols::link::tamper::Elements;
use runtime_protocols::link::{Link, LinkError, exchange_keys};
use runtime_protocols::runtime::{Exchange, Flat};
use std::collections::BTreeMap;
use vm::exec::{Machine, Outcome, exchange_of};
use vm::protocols;

/// Names a message: round as in errors (0 is the exchange of keys), sender, receiver.
pub type Message = (u32, Party, Party);

/// One instruction's part of a message.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Position of the instruction in the program.
    pub instruction: usize,
    /// What it exchanges.
    pub what: Exchange,
    /// Its elements.
    pub elements: Elements,
}

/// What every message of an inference of one sample consists of, set-up included.
pub fn layout(c: &Compiled) -> BTreeMap<Message, Vec<Piece>> {
    let p = &c.program;
    let typed = verify(p).expect("verified program");
    let protocol = protocols::of(p).expect("in this build");
    let runtime = (protocol.make)(Party(0), &vec![[0; 32]; protocol.facts.scheme.parties.into()], &[0; 16]);
    let mut all: BTreeMap<Message, Vec<Piece>> = BTreeMap::new();
    let mut at = 0;
    for (round, r) in (1..).zip(&p.rounds) {
        for instruction in at..r.exchange_end as usize {
            let Some((x, what)) = exchange_of(&p.insts[instruction].op) else { continue };
            let t = &typed.types[x.index()];
            let ty = Flat { domain: t.domain, form: t.form, len: t.len() };
            let domain = match (what, ty.domain) {
                (Exchange::Reshare { bits } | Exchange::Deal { bits }, Domain::Ring(_)) => Domain::Ring(bits),
                (_, domain) => domain,
            };
            for m in runtime.messages(what, ty) {
                let pieces = all.entry((round, m.from, m.to)).or_default();
                let begin = pieces.last().map_or(0, |p: &Piece| p.elements.at + p.elements.bytes());
                let elements = Elements { domain, len: ty.len, at: begin };
                assert_eq!(elements.bytes() as u64, m.bytes, "elements fill their message");
                pieces.push(Piece { instruction, what, elements });
            }
        }
        at = r.exchange_end as usize;
    }
    all
}

/// The side of one party, from the exchange of keys to the end.
pub fn party(c: &Compiled, input: &[i64], link: &mut MemoryLink) -> Result<Outcome, LinkError> {
    let keys = exchange_keys(link)?;
    let me = link.me();
    let protocol = protocols::of(&c.program).expect("in this build");
    let runtime = (protocol.make)(me, keys.as_slice(), &link.session());
    let mut m = Machine::new(c.program.clone(), runtime).expect("verified program");
    m.setup((me == Party(0)).then_some(&c.weights), link)?;
    let given = [(me == c.program.interface.inputs[0].party).then(|| input.to_vec())];
    let outcome = m.infer(&given, link)?;
    link.close()?;
    Ok(outcome)
}
