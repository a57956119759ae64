//! Steps with an exchange, each with one: what is sent, and what becomes of it.
//!
//! **Product** of x and y with a triple a, b, c = a·b: every party sends `x_i − a_i` and `y_i − b_i` to all; with their sums d and e
//! shares of x·y are `c_i + d·b_i + e·a_i`, and d·e at party 0 (Beaver, CRYPTO 1991).
//!
//! **Bits to numbers.** Of a shared bit r, as a bit and as a number R: every party sends `x_i xor r_i`; with their sum e,
//! `x = e + (1 − 2e)·R`.
//!
//! **Products with held weights.** With masks a_p of the parties that do not hold W, and summands s of Σ W·a_p: party p sends
//! `x_p − a_p` to the owner and keeps its s; the owner adds `W·(x_own + Σ (x_p − a_p))` to its own.
//!
//! **Opening** to a party: every other party sends its share plus its share of a fresh zero, made of streams that two parties have
//! in common.
//!
//! *What messages reveal.* a_i, b_i, r_i, a_p were drawn by their party and are used once, so what it sends is uniform to all others together. In
//! an opening, whatever parties are corrupted, the shares of the others are uniform up to their sum, which the value and the
//! corrupted shares determine.
use super::Stock;

/// What a party sends in a product of bits: both masked factors, one after the other.
pub fn mask_bits(x: &[u64], y: &[u64], stock: &Stock) -> [Vec<u64>; 2] {
    let Stock::And([a, b, _]) = stock else { unreachable!("the stock of this instruction") };
    let masked = |x: &[u64], a: &[u64]| x.iter().zip(a).map(|(x, a)| x ^ a).collect();
    [masked(x, a), masked(y, b)]
}

/// Shares of the product, from both opened sums.
pub fn product_of_bits(d: &[u64], e: &[u64], first: bool, stock: &Stock) -> Vec<u64> {
    let Stock::And([a, b, c]) = stock else { unreachable!("the stock of this instruction") };
    let own = u64::from(first).wrapping_neg();
    let one = |i: usize| c[i] ^ d[i] & b[i] ^ e[i] & a[i] ^ own & d[i] & e[i];
    (0..d.len()).map(one).collect()
}

/// The same in a ring; elements are taken mod 2^64 and reduced by who reads them.
pub fn mask_ring(x: &[u64], y: &[u64], stock: &Stock) -> [Vec<u64>; 2] {
    let Stock::Ring([a, b, _]) = stock else { unreachable!("the stock of this instruction") };
    let masked = |x: &[u64], a: &[u64]| x.iter().zip(a).map(|(x, a)| x.wrapping_sub(*a)).collect();
    [masked(x, a), masked(y, b)]
}

/// Shares of the product, from both opened differences.
pub fn product_in_ring(d: &[u64], e: &[u64], first: bool, stock: &Stock) -> Vec<u64> {
    let Stock::Ring([a, b, c]) = stock else { unreachable!("the stock of this instruction") };
    let own = u64::from(first).wrapping_neg();
    let one = |i: usize| {
        let mixed = d[i].wrapping_mul(b[i]).wrapping_add(e[i].wrapping_mul(a[i]));
        c[i].wrapping_add(mixed).wrapping_add(d[i].wrapping_mul(e[i]) & own)
    };
    (0..d.len()).map(one).collect()
}

/// What a party sends of bits that become numbers.
pub fn mask_shared_bits(x: &[u64], stock: &Stock) -> Vec<u64> {
    let Stock::Bits([r, _]) = stock else { unreachable!("the stock of this instruction") };
    x.iter().zip(r).map(|(x, r)| x ^ r).collect()
}

/// Shares of Σ 2^i·(bit of plane i) of `len` elements, from opened planes.
pub fn numbers(opened: &[u64], len: usize, first: bool, stock: &Stock) -> Vec<u64> {
    let Stock::Bits([_, r]) = stock else { unreachable!("the stock of this instruction") };
    let words = len.div_ceil(64);
    let mut out = vec![0u64; len];
    for (plane, opened) in opened.chunks_exact(words.max(1)).enumerate() {
        let r = &r[plane * 64 * words..];
        for (i, sum) in out.iter_mut().enumerate() {
            // R where the opened bit is clear, 1 − R where it is set; the one is party 0's.
            let e = opened[i / 64] >> (i % 64) & 1;
            let share = (r[i] ^ e.wrapping_neg()).wrapping_add(e).wrapping_add(e & u64::from(first));
            *sum = sum.wrapping_add(share << plane);
        }
    }
    out
}

/// What a party that does not hold the weights sends the owner.
pub fn mask_input(x: &[u64], stock: &Stock) -> Vec<u64> {
    let Stock::Linear([a, _]) = stock else { unreachable!("the stock of this instruction") };
    x.iter().zip(a).map(|(x, a)| x.wrapping_sub(*a)).collect()
}

/// This party's summands of the products with all masks.
pub fn summands(stock: &Stock) -> &[u64] {
    let Stock::Linear([_, s]) = stock else { unreachable!("the stock of this instruction") };
    s
}
