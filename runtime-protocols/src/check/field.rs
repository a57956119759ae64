//! GF(2^64): one word per element, bit i being the coefficient of X^i; addition is XOR.
//!
//! The carry-less product takes one instruction where the processor has it. Otherwise it is made of integer products of
//! words with holes, so that no sum of bits carries into the next hole (as BearSSL does for GHASH); neither way has a
//! table.
use super::element::{DEGREE, Element, Shares};
use crate::prg::Segment;

/// An element of GF(2^64).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gf(pub u64);

impl std::fmt::Debug for Gf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gf")
    }
}

/// Low half of the carry-less product: each of the four sums has a bit in every fourth place, at most 16 of them.
#[inline(always)]
fn portable_low(a: u64, b: u64) -> u64 {
    const HOLES: u64 = 0x1111_1111_1111_1111;
    let (a, b) = ([0, 1, 2, 3].map(|i| a & (HOLES << i)), [0, 1, 2, 3].map(|i| b & (HOLES << i)));
    let mut out = 0;
    for k in 0..4 {
        let sum = (0..4).fold(0, |s, i| s ^ a[i].wrapping_mul(b[(4 + k - i) % 4]));
        out |= sum & (HOLES << k);
    }
    out
}

/// The carry-less product of two words.
#[inline(always)]
fn portable_product(a: u64, b: u64) -> u128 {
    let high = portable_low(a.reverse_bits(), b.reverse_bits()).reverse_bits() >> 1;
    u128::from(high) << 64 | u128::from(portable_low(a, b))
}

/// mod X^64 + X^4 + X^3 + X + 1.
#[inline(always)]
fn reduce(x: u128) -> u64 {
    let (low, high) = (x as u64, (x >> 64) as u64);
    // high·(X^4 + X^3 + X + 1) has at most 4 bits above the word.
    let above = (high >> 63) ^ (high >> 61) ^ (high >> 60);
    let fold = |v: u64| v ^ v << 1 ^ v << 3 ^ v << 4;
    low ^ fold(high) ^ fold(above)
}

/// The sums of products, given a carry-less product.
macro_rules! sums {
    ($name:ident, $(#[$feature:meta])? $product:path) => {
        mod $name {
            use super::*;

            $(#[$feature])?
            pub fn dot(x: &[Gf], y: &[Gf]) -> u128 {
                let mut sum = 0;
                for (x, y) in x.iter().zip(y) {
                    sum ^= $product(x.0, y.0);
                }
                sum
            }

            $(#[$feature])?
            pub fn shared_dot([x1, x2]: Shares<'_, Gf>, [y1, y2]: Shares<'_, Gf>) -> u128 {
                let mut sum = 0;
                for i in 0..x1.len() {
                    sum ^= $product(x1[i].0, y1[i].0 ^ y2[i].0) ^ $product(x2[i].0, y1[i].0);
                }
                sum
            }

            $(#[$feature])?
            pub fn shared_lanes(weights: &[Gf], [x1, x2]: Shares<'_, Gf>, [y1, y2]: Shares<'_, Gf>) -> u128 {
                let mut sum = 0;
                for i in 0..x1.len() {
                    sum ^= $product(weights[i].0, x1[i].0 & (y1[i].0 ^ y2[i].0) ^ x2[i].0 & y1[i].0);
                }
                sum
            }
        }
    };
}

sums!(portable, super::portable_product);

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn instruction(a: u64, b: u64) -> u128 {
    use std::arch::x86_64::*;
    let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, a as i64), _mm_set_epi64x(0, b as i64));
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(product, product));
    u128::from(high as u64) << 64 | u128::from(_mm_cvtsi128_si64(product) as u64)
}

#[cfg(target_arch = "x86_64")]
sums!(
    fast,
    #[target_feature(enable = "pclmulqdq")]
    super::instruction
);

/// Calls the fastest version that this processor runs.
macro_rules! best {
    ($name:ident ( $($arg:expr),* )) => {{
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("pclmulqdq") {
            // SAFETY: the processor has just been asked for the feature.
            return Gf(reduce(unsafe { fast::$name($($arg),*) }));
        }
        Gf(reduce(portable::$name($($arg),*)))
    }};
}

#[inline(always)]
fn spread(factors: &[Gf], blocks: &[Gf], out: &mut [Gf; DEGREE]) {
    for (factor, block) in factors.iter().zip(blocks) {
        for (j, out) in out.iter_mut().enumerate() {
            out.0 ^= factor.0 & (block.0 >> j & 1).wrapping_neg();
        }
    }
}

impl Element for Gf {
    const BYTES: usize = 8;
    const ZERO: Self = Gf(0);

    fn challenge(word: u64) -> Self {
        Gf(word)
    }
    #[inline(always)]
    fn plus(&self, other: &Self) -> Self {
        Gf(self.0 ^ other.0)
    }
    #[inline(always)]
    fn minus(&self, other: &Self) -> Self {
        Gf(self.0 ^ other.0)
    }
    fn times(&self, other: &Self) -> Self {
        Gf::dot(&[*self], &[*other])
    }
    fn times_x(&self) -> Self {
        Gf(self.0 << 1 ^ (self.0 >> 63).wrapping_mul(0b11011))
    }
    fn dot(x: &[Self], y: &[Self]) -> Self {
        best!(dot(x, y))
    }
    fn shared_dot(x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self {
        best!(shared_dot(x, y))
    }
    fn shared_lanes(weights: &[Self], x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self {
        best!(shared_lanes(weights, x, y))
    }
    fn spread(factors: &[Self], blocks: &[Self], out: &mut [Self; DEGREE]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
            fn avx512(factors: &[Gf], blocks: &[Gf], out: &mut [Gf; DEGREE]) {
                spread(factors, blocks, out)
            }
            #[target_feature(enable = "avx2")]
            fn avx2(factors: &[Gf], blocks: &[Gf], out: &mut [Gf; DEGREE]) {
                spread(factors, blocks, out)
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                // SAFETY: the processor has just been asked for these features.
                return unsafe { avx512(factors, blocks, out) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has just been asked for this feature.
                return unsafe { avx2(factors, blocks, out) };
            }
        }
        spread(factors, blocks, out)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Self {
        Gf(u64::from_le_bytes(bytes.try_into().expect("the caller cut BYTES bytes")))
    }
    fn draw(segment: &mut Segment) -> Self {
        let mut word = [0];
        segment.fill_u64(&mut word);
        Gf(word[0])
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::tests::{Words, laws};
    use super::*;

    #[test]
    fn obeys_the_laws() {
        laws::<Gf>();
    }

    /// Bit by bit.
    #[test]
    fn products_are_carry_less() {
        let mut rng = Words(1);
        for _ in 0..200 {
            let (a, b) = (rng.next(), rng.next());
            let want = (0..64).fold(0u128, |s, i| s ^ (u128::from(a >> i & 1) * u128::from(b)) << i);
            assert_eq!(portable_product(a, b), want);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("pclmulqdq") {
                // SAFETY: asked.
                assert_eq!(unsafe { instruction(a, b) }, want);
            }
            // Long division.
            let mut rest = want;
            for i in (64..128).rev() {
                rest ^= (rest >> i & 1) * ((1 << 64 | 0b11011) << (i - 64));
            }
            assert_eq!(u128::from(reduce(want)), rest);
        }
        assert_eq!(portable_product(u64::MAX, u64::MAX), 0x5555_5555_5555_5555_5555_5555_5555_5555);
    }
}
