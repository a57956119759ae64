//! The runtime of each protocol. The list itself is [`ir::Protocol`].
use ir::Party;
use ir::protocol::Facts;
use runtime_protocols::data::{Data, Value};
use runtime_protocols::link::{Link, LinkError, exchange_keys};
use runtime_protocols::rep3::{Rep3, client};
use runtime_protocols::rep3_mal::Rep3Mal;
use runtime_protocols::rep4::{self, Rep4};
use runtime_protocols::runtime::{Flat, Runtime};
use runtime_protocols::semi::Semi;
use zeroize::Zeroizing;

/// Seeds, one for each party; what entry p means is the protocol's.
pub type Seeds = Zeroizing<Vec<[u8; 32]>>;

/// Makes a party's side, from the seeds and an identifier that never repeats.
pub type Make = fn(Party, &[[u8; 32]], &[u8; 16]) -> Box<dyn Runtime>;

type Share = fn(&[(u32, Flat, Data)], &[[u8; 32]; 2]) -> Vec<Zeroizing<Vec<u8>>>;
type Pieces = fn(Party, &[(u32, Flat)], &[u8]) -> Option<Vec<Value>>;
type Open = fn(&[Flat], &[&[u8]]) -> Option<Vec<Data>>;

/// A protocol that runs here.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// What it is.
    pub facts: Facts,
    /// Agrees on the seeds of a session, before [`Link::begin`].
    pub agree: fn(&mut dyn Link) -> Result<Seeds, LinkError>,
    /// What clients do, where there may be some.
    pub client: Option<Client>,
    /// Makes a party's side from those seeds.
    pub make: Make,
}

/// What a client of a protocol does: the functions of its module.
#[derive(Clone, Copy)]
pub struct Client {
    /// Bytes of the message to a party.
    pub message_bytes: fn(Party, &[(u32, Flat)]) -> u64,
    /// Bytes of a party's answer.
    pub summand_bytes: fn(&[Flat]) -> u64,
    /// Messages to all parties, from fresh seeds.
    pub share: Share,
    /// A party's pieces of what is shared, from its message; `None` where that has another length.
    pub pieces: Pieces,
    /// Results, from the answers of all parties.
    pub open: Open,
}

const REP3_CLIENT: Client = Client {
    message_bytes: client::message_bytes,
    summand_bytes: client::summand_bytes,
    share: client::share,
    pieces: client::pieces,
    open: client::open,
};

fn pairs(link: &mut dyn Link) -> Result<Seeds, LinkError> {
    Ok(Zeroizing::new(exchange_keys(link)?.as_slice().to_vec()))
}

/// A seed in common with each other party, and one of this party's own.
fn with_own(link: &mut dyn Link) -> Result<Seeds, LinkError> {
    let mut seeds = pairs(link)?;
    getrandom::fill(&mut seeds[link.me().index()]).map_err(|e| LinkError::Random { reason: e.to_string() })?;
    Ok(seeds)
}

/// The runtime of a protocol.
pub fn runtime(protocol: ir::Protocol) -> Protocol {
    let facts = protocol.facts();
    let (agree, client, make): (_, _, Make) = match protocol {
        ir::Protocol::Rep3 => (pairs as _, Some(REP3_CLIENT), |me, seeds, id| Box::new(Rep3::new(me, seeds, id))),
        ir::Protocol::Dealer2 => (pairs as _, None, |me, seeds, id| Box::new(Rep3::with_dealer(me, seeds, id))),
        ir::Protocol::Rep3Mal => (pairs as _, None, |me, seeds, id| Box::new(Rep3Mal::new(me, seeds, id))),
        ir::Protocol::Semi { .. } => (with_own as _, None, |me, seeds, id| Box::new(Semi::new(me, seeds, id))),
        ir::Protocol::Rep4 => (rep4::agree as _, None, |me, seeds, id| Box::new(Rep4::new(me, seeds, id))),
    };
    Protocol { facts, agree, client, make }
}

/// The protocol that a program names, for its number of parties.
pub fn of(program: &ir::Program) -> Option<Protocol> {
    ir::Protocol::of(&program.protocol, program.parties).map(runtime)
}
