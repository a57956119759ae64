//! The runtime of each protocol. The list itself is [`ir::Protocol`].
use ir::Party;
use ir::protocol::Facts;
use runtime_protocols::link::{Link, LinkError, exchange_keys};
use runtime_protocols::rep3::Rep3;
use runtime_protocols::rep3_mal::Rep3Mal;
use runtime_protocols::rep4::{self, Rep4};
use runtime_protocols::runtime::Runtime;
use zeroize::Zeroizing;

/// Seeds, one for each party; what entry p means is the protocol's.
pub type Seeds = Zeroizing<Vec<[u8; 32]>>;

/// Makes a party's side, from the seeds and an identifier that never repeats.
pub type Make = fn(Party, &[[u8; 32]], &[u8; 16]) -> Box<dyn Runtime>;

/// A protocol that runs here.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// What it is.
    pub facts: Facts,
    /// Agrees on the seeds of a session, before [`Link::begin`].
    pub agree: fn(&mut dyn Link) -> Result<Seeds, LinkError>,
    /// Makes a party's side from those seeds.
    pub make: Make,
}

fn pairs(link: &mut dyn Link) -> Result<Seeds, LinkError> {
    Ok(Zeroizing::new(exchange_keys(link)?.as_slice().to_vec()))
}

/// The runtime of a protocol.
pub fn runtime(protocol: ir::Protocol) -> Protocol {
    let facts = protocol.facts();
    match protocol {
        ir::Protocol::Rep3 => {
            Protocol { facts, agree: pairs, make: |me, seeds, session| Box::new(Rep3::new(me, seeds, session)) }
        }
        ir::Protocol::Dealer2 => {
            Protocol { facts, agree: pairs, make: |me, seeds, session| Box::new(Rep3::with_dealer(me, seeds, session)) }
        }
        ir::Protocol::Rep3Mal => {
            Protocol { facts, agree: pairs, make: |me, seeds, session| Box::new(Rep3Mal::new(me, seeds, session)) }
        }
        ir::Protocol::Rep4 => {
            Protocol { facts, agree: rep4::agree, make: |me, seeds, session| Box::new(Rep4::new(me, seeds, session)) }
        }
    }
}

/// The protocol that a program names, for its number of parties.
pub fn of(program: &ir::Program) -> Option<Protocol> {
    let protocol = ir::Protocol::from_name(&program.protocol)?;
    (protocol.facts().scheme.parties == program.parties).then(|| runtime(protocol))
}
