//! Hashes that vouch for messages.
//!
//! Two parties know a message; each sends one half and vouches for the other. For each receiver a party hashes what it
//! vouches for in a round, in the order of the instructions, and sends the hash behind its messages. The receiver hashes what
//! it got from the others of each pair in the same order, and compares. BLAKE3 is assumed to be collision-resistant.
//!
//! *What a hash reveals.* Nothing: its receiver gets the hashed bytes in the same round, from the other one of the pair.
use super::PARTIES;
use crate::runtime::{DIGEST, Mismatch};
use crate::wire::take;
use ir::Party;

type Hashes = [Option<blake3::Hasher>; PARTIES as usize];

/// What a party vouches for, and what others should vouch for, in the round under way.
#[derive(Default)]
pub(super) struct Vouching {
    /// By receiver.
    given: Hashes,
    /// By the party that vouches.
    due: Hashes,
}

fn add(hashes: &mut Hashes, party: u8, bytes: &[u8]) {
    hashes[usize::from(party)].get_or_insert_with(blake3::Hasher::new).update(bytes);
}

impl Vouching {
    /// This party knows that `receiver` should get `bytes` from another.
    pub(super) fn give(&mut self, receiver: u8, bytes: &[u8]) {
        add(&mut self.given, receiver, bytes);
    }

    /// `vouching` knows that this party should have got `bytes`.
    pub(super) fn demand(&mut self, vouching: u8, bytes: &[u8]) {
        add(&mut self.due, vouching, bytes);
    }

    /// Appends the hashes of the round.
    pub(super) fn seal(&mut self, out: &mut [Vec<u8>]) {
        for (out, hash) in out.iter_mut().zip(&mut self.given) {
            if let Some(hash) = hash.take() {
                out.extend_from_slice(hash.finalize().as_bytes());
            }
        }
    }

    /// Compares the hashes of the round, all of them.
    pub(super) fn check(&mut self, incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        let mut result = Ok(());
        for (p, hash) in self.due.iter_mut().enumerate() {
            let Some(hash) = hash.take() else { continue };
            let word = take(&mut incoming[p], DIGEST);
            // In constant time.
            if hash.finalize() != *<&[u8; DIGEST]>::try_from(word).expect("as long as a digest") {
                result = Err(Mismatch { vouching: Party(p as u8) });
            }
        }
        result
    }
}
