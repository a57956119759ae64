//! Look-ups: any function of a shared byte, in six exchanges.
//!
//! x = v − u mod 2^8, in two halves of four bits. With one-hot vectors h, g of the low halves of u and v,
//! `[x_lo = d] = Σ_j h_j·g_(j+d)`, indices mod 16; the high half likewise, and one less where the low half borrows. A bit of the
//! result is `Σ_i [x_hi = i]·(Σ_j T[16i + j]·[x_lo = j])`: the inner sum is linear, the outer one a sum of products.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | both groups enter one-hot vectors |
//! | 2 | differences of both halves, the borrow |
//! | 3 | the high half with the borrow |
//! | 4 | bits of the result |
//! | 5, 6 | the result in the ring |
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::leaves::{Against, Hot, Leaves, Version, and_all, join};
use super::{number, operands, parity, planes};
use ir::{Op, Value};

/// Entries of the one-hot vector of a half.
const SIZE: u32 = 16;

/// All 16 entries, from those without entry 0.
fn whole(b: &mut Builder, hot: Value) -> Value {
    let rest = parity(b, hot);
    let first = b.one(Op::Not { x: rest });
    stack(b, vec![first, hot])
}

/// `table[x mod 2^8]`, shared in a ring of `k` bits.
pub fn table(b: &mut Builder, x: Value, table: &[i64], k: u8) -> Value {
    let least = table.iter().copied().min().unwrap_or(0);
    let above: Vec<u64> = table.iter().map(|y| y.wrapping_sub(least) as u64).collect();
    let width = above.iter().map(|y| 64 - y.leading_zeros()).max().unwrap_or(0).max(1);
    let bits = look_up(b, x, &above, width as u8);
    let y = number(b, bits, k);
    b.add_scalar(y, least)
}

/// Bits of `table[x mod 2^8]`, shared.
pub fn look_up(b: &mut Builder, x: Value, table: &[u64], width: u8) -> Value {
    let (u, v) = operands(b, x);
    let [u, v] = [u, v].map(|x| {
        let bits = planes(b, x, 0, 8);
        Hot::new(b, bits)
    });
    let halves: Vec<[Value; 2]> = (0..2)
        .map(|i| {
            [u, v].map(|hot| {
                let hot = hot.chunk(b, i);
                whole(b, hot)
            })
        })
        .collect();
    let mut sums = Vec::new();
    for [h, g] in halves {
        for d in 0..SIZE {
            let turned = pick(b, g, (0..SIZE).map(|j| (j + d) % SIZE).collect());
            let product = b.one(Op::MulSs { a: h, b: turned });
            sums.push(parity(b, product));
        }
    }
    let leaves = {
        let low = |b: &mut Builder, hot: Hot| hot.lowest(b);
        let (u, v) = (low(b, u), low(b, v));
        Leaves::new(b, &Version { base: u, other: None }, &Against { whole: v, upper: None, bit: None }, false)
    };
    let (compared, sums) = join(b, vec![leaves], sums);
    let borrow = compared[0].less;
    let (low, high) = sums.split_at(SIZE as usize);
    // [x_hi = i] = [d = i] xor borrow·([d = i] xor [d = i + 1]).
    let next = |i: usize| high[(i + 1) % SIZE as usize];
    let change: Vec<Value> = (0..SIZE as usize).map(|i| b.one(Op::Add { a: high[i], b: next(i) })).collect();
    let change = and_all(b, change, vec![borrow; SIZE as usize]);
    let high: Vec<Value> = high.iter().zip(change).map(|(x, c)| b.one(Op::Add { a: *x, b: c })).collect();
    let (high, low) = (stack(b, high), stack(b, low.to_vec()));
    let mut bits = Vec::new();
    for bit in 0..width {
        // Entry j says in which rows i the bit is set.
        let rows = |j: u32| (0..SIZE).map(|i| ((table[(SIZE * i + j) as usize] >> bit & 1) as i64) << i).sum();
        let entries = std::iter::once(0).chain((0..SIZE).map(rows)).collect();
        let entries = b.constant(&[SIZE + 1], entries);
        let inner = b.one(Op::MixP { x: low, table: entries, width: SIZE as u8 });
        let product = b.one(Op::MulSs { a: high, b: inner });
        bits.push(parity(b, product));
    }
    let bits = stack(b, bits);
    b.one(Op::Reshare { x: bits, bits: 1 })
}
