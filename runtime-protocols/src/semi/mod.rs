//! Additive sharing of n parties, semi-honest, all but one of them may be corrupted together.
//!
//! **Who holds what.** x = Σ x_i (XOR on bits), party i holds x_i. Linear steps, public constants (at party 0) and what one party
//! knows (its share is the value, the others' are zero) need no message.
//!
//! **Products** take correlated randomness that is made before there is an input, by oblivious transfer between each two
//! parties ([`prep`]): no dealer, and no party sees another's. [`online`] then masks what it sends: each message is a share minus a fresh
//! random number of its sender.
//!
//! [docs/protocol-semi.md](../../../docs/protocol-semi.md) has every message with what it reveals and why.
pub mod online;
pub mod prep;
mod runtime;

pub use runtime::Semi;

pub use ir::offline::Need;

/// What [`prep`] makes of a need: this party's part.
pub enum Stock {
    /// Of bits: a, b, a·b.
    And([Vec<u64>; 3]),
    /// XOR shares of bits, and shares in the ring.
    Bits([Vec<u64>; 2]),
    /// Of ring elements: a, b, a·b.
    Ring([Vec<u64>; 3]),
    /// The mask of this party's share of the input (empty at the owner), and its summands of the product with all masks.
    Linear([Vec<u64>; 2]),
}

impl Drop for Stock {
    fn drop(&mut self) {
        let wipe = |parts: &mut [Vec<u64>]| {
            parts.iter_mut().for_each(|x| {
                x.fill(0);
                zeroize::optimization_barrier(x);
            })
        };
        match self {
            Stock::And(x) | Stock::Ring(x) => wipe(x),
            Stock::Bits(x) | Stock::Linear(x) => wipe(x),
        }
    }
}

impl std::fmt::Debug for Stock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = match self {
            Stock::And(x) | Stock::Ring(x) => x[0].len(),
            Stock::Bits(x) | Stock::Linear(x) => x[1].len(),
        };
        write!(f, "Stock({len} words)")
    }
}
