//! The exchanges that check all products of a program, and how much memory they take: public, a function of the program.
//! Early checks, of what has been recorded so far, travel beside later products and hand on what is left; the last one stands in
//! front of the openings. `docs/protocol-rep3-mal.md` has the argument; what a party computes is in `runtime_protocols::check`.
mod claims;
mod plan;
mod sizes;

pub use claims::{Chunk, Claim, Claims, claims, rule};
pub use plan::{CHALLENGE, End, HASH, Level, Plan, Step};
pub use sizes::{Groups, Size, Sizes};

use crate::types::Party;

/// Coefficients of an element of GR(2^k, 64).
pub const DEGREE: usize = 64;
/// Bytes of an element of each kind: bits, rings of at most 32 bits, wider rings.
pub const BYTES: [usize; 3] = [8, 256, 512];
/// Most variables of a level after the first, of each kind.
pub const LATER: [u32; 3] = [6, 4, 4];

/// One message of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Sender.
    pub from: Party,
    /// Receiver.
    pub to: Party,
    /// Exact payload bytes.
    pub bytes: u64,
}

/// Points of {0, 1, ∞}^t; digit v of the index in base 3 is the place in variable v, 2 being ∞.
pub fn points(t: u32) -> usize {
    3usize.pow(t)
}

/// The corner of {0,1}^t that the point is, if it is one.
pub fn corner(point: usize, t: u32) -> Option<usize> {
    (0..t).try_fold(0, |k, v| match point / points(v) % 3 {
        2 => None,
        bit => Some(k | bit << v),
    })
}

/// Challenges that give `len` coefficients.
pub fn index_bits(len: usize) -> u32 {
    len.next_power_of_two().trailing_zeros()
}
