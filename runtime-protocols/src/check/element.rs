//! What the check computes with: elements of GR(2^k, 64), the integers mod 2^k extended by a root X of x^64+x^4+x^3+x+1.
//!
//! An element is 64 coefficients. For k = 1 it is the field GF(2^64), one machine word ([`super::field`]); for k = 32 and
//! 64 it is 64 machine words ([`super::galois`]). The polynomial is irreducible mod 2, so an element is a unit if and only
//! if one of its coefficients is odd, and the 2^64 elements with coefficients 0 and 1 ("challenges") differ pairwise by
//! units. That is all that the bounds in `docs/protocol-rep3-mal.md` need.
//!
//! The 64 coefficients also serve as 64 places of a vector over Z_2^k, its *lanes*: a block of 64 bits or ring numbers to
//! be checked is one element.
use crate::prg::Segment;

pub use ir::check::{DEGREE, index_bits};

/// Two shares of a vector: the part that the next party lacks, and the part that the party after it lacks.
pub type Shares<'a, E> = [&'a [E]; 2];

/// An element of GR(2^k, 64), for one k. No operation branches or indexes by a value.
pub trait Element: Copy + PartialEq + Send + Sync + 'static {
    /// Bytes on the wire.
    const BYTES: usize;
    /// Zero.
    const ZERO: Self;

    /// The element whose coefficients are the bits of `word`.
    fn challenge(word: u64) -> Self;
    /// Sum.
    fn plus(&self, other: &Self) -> Self;
    /// Difference.
    fn minus(&self, other: &Self) -> Self;
    /// Product.
    fn times(&self, other: &Self) -> Self;
    /// Product with X.
    fn times_x(&self) -> Self;
    /// Σ x_i·y_i.
    fn dot(x: &[Self], y: &[Self]) -> Self;
    /// This party's summand of Σ x_i·y_i.
    fn shared_dot(x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self;
    /// This party's summand of Σ w_i·(x_i ∘ y_i), ∘ being the product lane by lane.
    fn shared_lanes(weights: &[Self], x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self;
    /// out_j += Σ_k factors_k · lane j of blocks_k, for all 64 lanes.
    fn spread(factors: &[Self], blocks: &[Self], out: &mut [Self; DEGREE]);
    /// Appends `BYTES` bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads what `write` wrote.
    fn read(bytes: &[u8]) -> Self;
    /// The next element of a key stream.
    fn draw(segment: &mut Segment) -> Self;
}

/// The coefficient lists of all terms Π ρ_b^(bit b of i), i from 0 to `len`.
pub fn tensor<E: Element>(challenges: &[E], len: usize) -> Vec<E> {
    let mut out = Vec::with_capacity(len);
    if len > 0 {
        out.push(E::challenge(1));
    }
    for rho in challenges {
        let now = out.len();
        for i in 0..now.min(len - now) {
            out.push(out[i].times(rho));
        }
    }
    debug_assert_eq!(out.len(), len, "one challenge per bit of the largest index");
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reproducible sequence of words.
    pub struct Words(pub u64);

    impl Words {
        pub fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        pub fn element<E: Element>(&mut self) -> E {
            let bytes: Vec<u8> = (0..E::BYTES.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
            E::read(&bytes[..E::BYTES])
        }
    }

    fn lane<E: Element>(x: &E, j: usize) -> E {
        let mut out = [E::ZERO; DEGREE];
        E::spread(&[E::challenge(1)], &[*x], &mut out);
        out[j]
    }

    /// Ring laws, and the bulk operations against the single ones.
    pub fn laws<E: Element>() {
        let mut rng = Words(7);
        let one = E::challenge(1);
        let x = E::challenge(2);
        for _ in 0..50 {
            let [a, b, c]: [E; 3] = std::array::from_fn(|_| rng.element());
            assert!(a.times(&one) == a && a.plus(&b).minus(&b) == a && a.minus(&a) == E::ZERO);
            assert!(a.times(&b) == b.times(&a));
            assert!(a.times(&b).times(&c) == a.times(&b.times(&c)));
            assert!(a.times(&b.plus(&c)) == a.times(&b).plus(&a.times(&c)));
            assert!(a.times_x() == a.times(&x));
            let mut bytes = Vec::new();
            a.write(&mut bytes);
            assert!(bytes.len() == E::BYTES && E::read(&bytes) == a);
        }
        // X^64 + X^4 + X^3 + X + 1 = 0.
        let mut power = one;
        (0..64).for_each(|_| power = power.times_x());
        assert!(power.plus(&E::challenge(0b11011)) == E::ZERO);
        for len in [0, 1, 2, 7, 40] {
            let [x1, x2, y1, y2, w]: [Vec<E>; 5] = std::array::from_fn(|_| (0..len).map(|_| rng.element()).collect());
            let sum = |f: &dyn Fn(usize) -> E| (0..len).fold(E::ZERO, |s, i| s.plus(&f(i)));
            assert!(E::dot(&x1, &y1) == sum(&|i| x1[i].times(&y1[i])));
            let both = |i: usize| y1[i].plus(&y2[i]);
            assert!(
                E::shared_dot([&x1, &x2], [&y1, &y2]) == sum(&|i| x1[i].times(&both(i)).plus(&x2[i].times(&y1[i])))
            );
            // Lane by lane: Σ_j X^j·(lane j of x)·(lane j of y).
            let hadamard = |x: &E, y: &E| {
                let mut power = one;
                (0..DEGREE).fold(E::ZERO, |s, j| {
                    let term = power.times(&lane(x, j)).times(&lane(y, j));
                    power = power.times_x();
                    s.plus(&term)
                })
            };
            let want = sum(&|i| w[i].times(&hadamard(&x1[i], &both(i)).plus(&hadamard(&x2[i], &y1[i]))));
            assert!(E::shared_lanes(&w, [&x1, &x2], [&y1, &y2]) == want);
        }
        // The lanes, put together again, are the element.
        let [a, b, f, g]: [E; 4] = std::array::from_fn(|_| rng.element());
        let mut out = [one; DEGREE];
        E::spread(&[f, g], &[a, b], &mut out);
        let back = out.iter().rev().fold(E::ZERO, |s, v| s.times_x().plus(&v.minus(&one)));
        assert!(back == f.times(&a).plus(&g.times(&b)));
    }

    #[test]
    fn tensors_are_products() {
        type E = super::super::galois::Gr<u32>;
        let mut rng = Words(3);
        let rho: Vec<E> = (0..5).map(|_| rng.element()).collect();
        for len in [0, 1, 2, 3, 16, 21, 32] {
            let bits = index_bits(len) as usize;
            let got = tensor(&rho[..bits], len);
            for (i, v) in got.iter().enumerate() {
                let want = (0..bits).filter(|b| i >> b & 1 == 1).fold(E::challenge(1), |p, b| p.times(&rho[b]));
                assert!(*v == want);
            }
        }
    }
}
