//! Look-ups: any function of a shared byte, in three exchanges.
//!
//! **Who holds what.** x = v − u mod 2^8, u known to role A, v to B and C (the low bits of a sharing in any ring).
//!
//! | exchange | content |
//! |---|---|
//! | 1 | A deals the one-hot vector of u: XOR summands of B and C |
//! | 2 | the bits of the result, masked; A deals their masks in the ring |
//! | 3 | the result, reshared |
//!
//! Entry d of the one-hot vector of x is entry v − d of that of u, so B and C turn their summands by v, which both know:
//! local ([`Op::OnehotSh`]). Each bit of f(x) is an XOR of entries that depends on f only: local ([`Op::MixP`]). The entry
//! 0 is one plus all others, so 255 are dealt.
//!
//! *What each message reveals.* Nothing: A sends B the vector xor a fresh pad that A shares with C, and C none; the masked
//! bits as in [`super::masked`]; the reshare as every reshare. A simulator draws them at random. A receives nothing.
use super::builder::Builder;
use super::masked::Opened;
use super::{Route, adder, circuit};
use ir::{Op, Value};

/// Bits of an index.
const INDEX: u8 = 8;

/// One-hot vectors of x mod 2^8, without entry 0, as summands of B and C. Entry d − 1 is [x = d].
pub fn onehot(b: &mut Builder, x: Value, rot: u8) -> Value {
    let (u, v) = b.two(Op::SplitShared { x, rot });
    let low = |b: &mut Builder, x| b.one(Op::PlanesH { x, lo: 0, width: INDEX });
    let (u, v) = (low(b, u), low(b, v));
    let hot = b.one(Op::OnehotH { x: u, chunk: INDEX });
    let hot = b.one(Op::Deal { x: hot, bits: 1 });
    b.one(Op::OnehotSh { hot, v })
}

/// Bits of `table[x]`, from the one-hot vectors of x.
pub fn look_up(b: &mut Builder, hot: Value, table: &[u64], width: u8) -> Value {
    let entries = std::iter::once(table[0]).chain(table[1..].iter().map(|t| t ^ table[0]));
    let entries = b.constant(&[table.len() as u32], entries.map(|e| e as i64).collect());
    b.one(Op::MixP { x: hot, table: entries, width })
}

/// [`table`] by a route.
pub fn by(b: &mut Builder, x: Value, entries: &[i64], k: u8, route: Route, rot: u8) -> Value {
    match route {
        Route::Adder => adder::table::table(b, x, entries, k),
        Route::Circuit => circuit::table::table(b, x, entries, k),
        Route::Dealer | Route::Boolean => table(b, x, entries, k, rot),
    }
}

/// `table[x mod 2^8]`, shared in a ring of `k` bits.
pub fn table(b: &mut Builder, x: Value, table: &[i64], k: u8, rot: u8) -> Value {
    let least = table.iter().copied().min().unwrap_or(0);
    let above: Vec<u64> = table.iter().map(|y| y.wrapping_sub(least) as u64).collect();
    let width = above.iter().map(|y| 64 - y.leading_zeros() as u8).max().unwrap_or(0).max(1);
    let hot = onehot(b, x, rot);
    let bits = look_up(b, hot, &above, width);
    let number = Opened::new(b, bits, rot).numbers(b, k);
    let y = b.one(Op::Reshare { x: number, bits: k });
    b.add_scalar(y, least)
}
