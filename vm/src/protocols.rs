//! The protocols of this build: one list for the loader, the command line and the tests.
use ir::Party;
use runtime_protocols::data::{Data, Value};
use runtime_protocols::rep3::{Rep3, client};
use runtime_protocols::runtime::{Flat, Runtime};
use zeroize::Zeroizing;

/// A party's side of a protocol, from the seeds agreed with each other party and an identifier that never repeats.
type Make = fn(Party, &[[u8; 32]], &[u8; 16]) -> Box<dyn Runtime>;

/// A protocol.
pub struct Protocol {
    /// As in programs.
    pub name: &'static str,
    /// Number of parties.
    pub parties: u8,
    /// What a corrupted party does.
    pub adversary: &'static str,
    /// How many may be.
    pub corrupted: &'static str,
    /// What is special.
    pub about: &'static str,
    /// The party that receives nothing: what it sends can be sent ahead.
    pub dealer: Option<Party>,
    /// What clients do, where there may be some.
    pub client: Option<Client>,
    /// Makes its runtime.
    pub make: Make,
}

/// What a client of a protocol does: the functions of its module.
pub struct Client {
    /// Bytes of the message to a party.
    pub message_bytes: fn(Party, &[(u32, Flat)]) -> u64,
    /// Bytes of a party's answer.
    pub summand_bytes: fn(&[Flat]) -> u64,
    /// Messages to all parties, from fresh seeds.
    pub share: fn(&[(u32, Flat, Data)], &[[u8; 32]; 2]) -> Vec<Zeroizing<Vec<u8>>>,
    /// A party's pieces of what is shared, from its message; `None` where that has another length.
    pub pieces: fn(Party, &[(u32, Flat)], &[u8]) -> Option<Vec<Value>>,
    /// Results, from the answers of all parties.
    pub open: fn(&[Flat], &[&[u8]]) -> Option<Vec<Data>>,
}

/// All of them.
pub const ALL: [Protocol; 2] = [
    Protocol {
        name: "rep3",
        parties: 3,
        adversary: "semi-honest",
        corrupted: "at most 1",
        about: "replicated sharing, roles rotate",
        dealer: None,
        client: Some(Client {
            message_bytes: client::message_bytes,
            summand_bytes: client::summand_bytes,
            share: client::share,
            pieces: client::pieces,
            open: client::open,
        }),
        make: |me, seeds, session| Box::new(Rep3::new(me, seeds, session)),
    },
    Protocol {
        name: "dealer2",
        parties: 3,
        adversary: "semi-honest",
        corrupted: "at most 1",
        about: "two compute, party 2 deals ahead and receives nothing",
        dealer: Some(runtime_protocols::rep3::DEALER),
        client: None,
        make: |me, seeds, session| Box::new(Rep3::with_dealer(me, seeds, session)),
    },
];

/// The protocol that a program names, for its number of parties.
pub fn of(program: &ir::Program) -> Option<&'static Protocol> {
    ALL.iter().find(|p| p.name == program.protocol && p.parties == program.parties)
}
