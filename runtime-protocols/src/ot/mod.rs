//! Correlated randomness between two parties who trust nobody: oblivious transfer and what is made of it.
//!
//! One transfer: the *sender* has two strings, the *receiver* a bit; the receiver learns the string of its bit and nothing
//! of the other, the sender nothing of the bit. 128 of them cost group arithmetic ([`base`]); from these any number follows
//! with symmetric ciphers ([`extend`]), in each direction of a pair. What the VM uses comes last: products of bits
//! ([`bits`]) and products of a party's own integers with another's ([`products`]).
//!
//! **No sockets.** Every step is a pair of functions: one appends a message, one reads it. The length of each message is
//! known to both sides before it is sent, so a whole protocol's steps share the exchanges of a link, and a wrong length is
//! a typed error. Nothing here looks at what a message should contain: parties follow the protocol (semi-honest).
//!
//! **Randomness.** A party's own secrets come from its own [`KeyStream`], whose seed no other party has. The session never
//! repeats; it goes into every key that is derived, so nothing is shared between sessions.
//!
//! [docs/protocol-semi.md](../../../docs/protocol-semi.md) has every message with what it reveals and why.
//!
//! Sources: T. Chou, C. Orlandi, *The Simplest Protocol for Oblivious Transfer* (ePrint 2015/267); L. Roy, *SoftSpokenOT*
//! (ePrint 2022/192), semi-honest, repetition code; C. Guo, J. Katz, X. Wang, Y. Yu, *Efficient and Secure Multiparty
//! Computation from Fixed-Key Block Ciphers* (ePrint 2019/074) for the hash.
pub mod base;
pub mod bits;
pub mod correlated;
pub mod extend;
pub mod hash;
pub mod products;
pub mod setup;
mod tree;

use crate::prg::{Address, KeyStream, Segment};

/// Base transfers of one direction, and bits of a row.
pub const ROW: usize = 128;

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtError {
    /// It is longer or shorter than both sides agreed on.
    #[error("{what}: {got} bytes came, {expected} are due; the peer runs another program or another release")]
    Length {
        /// Which message.
        what: &'static str,
        /// Bytes that came.
        got: usize,
        /// Bytes that are due.
        expected: usize,
    },
    /// It is no element of the group, or the neutral one.
    #[error("{what} {index}: no valid group element; the peer does not follow the protocol")]
    Point {
        /// Which message.
        what: &'static str,
        /// Which element of it.
        index: usize,
    },
}

/// Compares a message's length with what is due.
fn due(what: &'static str, message: &[u8], expected: usize) -> Result<(), OtError> {
    match message.len() {
        got if got == expected => Ok(()),
        got => Err(OtError::Length { what, got, expected }),
    }
}

/// One direction of a pair in one session: who receives choices' strings, who has two of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Never repeats.
    pub session: [u8; 16],
    /// The party that has two strings.
    pub sender: u8,
    /// The party that has a bit.
    pub receiver: u8,
}

impl Direction {
    /// A public key of this direction for one use of BLAKE3.
    fn key(&self, use_of: &[u8; 8]) -> [u8; 32] {
        let mut data = [0; 26];
        data[..8].copy_from_slice(use_of);
        data[8..24].copy_from_slice(&self.session);
        data[24..].copy_from_slice(&[self.sender, self.receiver]);
        *blake3::keyed_hash(b"qnnvm oblivious transfer, key 1\0", &data).as_bytes()
    }
}

/// What a party draws from its own stream: the purpose of the segment, one number for each use.
#[derive(Clone, Copy)]
enum Own {
    /// Exponent of a base sender.
    BaseSender = 0x100,
    /// Exponents of a base receiver.
    BaseReceiver,
    /// Choices of a base receiver: the offset of its rows.
    Offset,
    /// Roots of trees.
    Roots,
}

/// The segment of `own` for one use towards one peer; `batch` counts uses.
fn drawn(own: &KeyStream, which: Own, peer: u8, batch: u64) -> Segment {
    own.segment(&Address { inference: batch, instruction: u32::from(peer), purpose: which as u32 })
}
