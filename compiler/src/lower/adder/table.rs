//! Look-ups: any function of a shared byte.
//!
//! The bits of the byte make one-hot vectors of two bits each (`ab, a xor ab, …`), these make one-hot vectors h, g of both halves,
//! and a bit of the result is `Σ_i h_i·(Σ_j T[16i + j]·g_j)`: the inner sum is linear, the outer one a sum of products.
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::{inner, number, product, sum};
use ir::{Op, Value};

/// Entries of the one-hot vector of a half.
const SIZE: u32 = 16;

/// One-hot vectors of two bits a, b: [neither, a, b, both], from their product.
const PAIRS: [i64; 4] = [0b0001, 0b0011, 0b0101, 0b1111];

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
fn look_up(b: &mut Builder, x: Value, table: &[u64], width: u8) -> Value {
    let bits = sum::bits(b, &[(x, (0..8).collect())])[0];
    let (even, odd) = (pick(b, bits, vec![0, 2, 4, 6]), pick(b, bits, vec![1, 3, 5, 7]));
    let both = product(b, even, odd);
    // Entry 0 is the constant; then a, b and ab: neither = 1 + a + b + ab, a alone = a + ab, b alone = b + ab.
    let entries = b.constant(&[4], vec![PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[3]]);
    let quarters: Vec<Value> = (0..4)
        .map(|i| {
            let parts = [even, odd, both].map(|x| pick(b, x, vec![i]));
            let x = stack(b, parts.to_vec());
            b.one(Op::MixP { x, table: entries, width: 4 })
        })
        .collect();
    let left = |b: &mut Builder, x| pick(b, x, (0..SIZE).map(|i| i % 4).collect());
    let right = |b: &mut Builder, x| pick(b, x, (0..SIZE).map(|i| i / 4).collect());
    let (l, r) = ([0, 2].map(|i| left(b, quarters[i])), [1, 3].map(|i| right(b, quarters[i])));
    let (l, r) = (stack(b, l.to_vec()), stack(b, r.to_vec()));
    let hot = product(b, l, r);
    let low = pick(b, hot, (0..SIZE).collect());
    let pairs: Vec<(Value, Value)> = (0..SIZE)
        .map(|i| {
            let row = table[(SIZE * i) as usize..(SIZE * (i + 1)) as usize].iter().map(|t| *t as i64);
            let entries = b.constant(&[SIZE + 1], std::iter::once(0).chain(row).collect());
            let row = b.one(Op::MixP { x: low, table: entries, width });
            let entry = pick(b, hot, vec![SIZE + i; width.into()]);
            (entry, row)
        })
        .collect();
    inner(b, &pairs)
}
