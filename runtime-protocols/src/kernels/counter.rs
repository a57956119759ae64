//! AES-128 in counter mode: the blocks that a key makes of the numbers from any one on.
//!
//! Block i is the cipher of i, little-endian in the first 8 of 16 bytes. With wide AES instructions four blocks are made at
//! once by instructions named here: the `aes` crate has them too, but its loads and stores are not inlined, which takes as
//! long as the cipher. Everywhere else that crate is used.
use aes::{Aes128Enc, Block};
use cipher::{BlockCipherEncrypt, KeyInit};

/// A key, expanded. Wiped when dropped.
pub struct Counter(Key);

enum Key {
    Portable(Aes128Enc),
    #[cfg(target_arch = "x86_64")]
    Wide(x86::Key),
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counter")
    }
}

impl Counter {
    /// The caller wipes its own copy of the key.
    pub fn new(key: &[u8; 16]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = x86::Key::new(key) {
            return Self(Key::Wide(key));
        }
        Self::portable(key)
    }

    fn portable(key: &[u8; 16]) -> Self {
        Self(Key::Portable(Aes128Enc::new(key.into())))
    }

    /// Blocks `first ..`, as many as `out` has.
    pub fn blocks(&self, first: u64, out: &mut [[u8; 16]]) {
        match &self.0 {
            Key::Portable(cipher) => {
                for (i, block) in out.iter_mut().enumerate() {
                    *block = u128::from(first.wrapping_add(i as u64)).to_le_bytes();
                }
                cipher.encrypt_blocks(Block::cast_slice_from_core_mut(out));
            }
            #[cfg(target_arch = "x86_64")]
            Key::Wide(key) => key.blocks(first, out),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::kernels::wide::Isa;
    use std::arch::x86_64::*;
    use zeroize::Zeroizing;

    const ROUNDS: usize = 10;
    /// Blocks in a vector.
    const LANES: usize = 4;
    /// Vectors that are worked on together, so that none waits for its own last round.
    const VECTORS: usize = 8;

    /// The keys of all rounds, on a machine with wide AES instructions.
    pub(super) struct Key(Zeroizing<[[u8; 16]; ROUNDS + 1]>);

    impl Key {
        pub(super) fn new(key: &[u8; 16]) -> Option<Self> {
            let wide =
                Isa::best() == Isa::Avx512 && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("aes");
            // SAFETY: the processor was asked for the features.
            wide.then(|| unsafe { expand(key) })
        }

        pub(super) fn blocks(&self, first: u64, out: &mut [[u8; 16]]) {
            // SAFETY: only a machine with the features has such a key.
            unsafe { encrypt(&self.0, first, out) }
        }
    }

    /// The key schedule of FIPS 197, section 5.2.
    #[target_feature(enable = "aes")]
    fn expand(key: &[u8; 16]) -> Key {
        let mut keys = Zeroizing::new([[0; 16]; ROUNDS + 1]);
        keys[0] = *key;
        macro_rules! rounds {
            ($($round:literal: $constant:literal),*) => {
                // SAFETY: loads and stores take any alignment, and each entry is as long as the vector.
                $(unsafe {
                    let mut last = _mm_loadu_si128(keys[$round - 1].as_ptr().cast());
                    let mixed = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last));
                    last = _mm_xor_si128(last, _mm_slli_si128::<4>(last));
                    last = _mm_xor_si128(last, _mm_slli_si128::<8>(last));
                    _mm_storeu_si128(keys[$round].as_mut_ptr().cast(), _mm_xor_si128(last, mixed));
                })*
            };
        }
        rounds!(1: 0x01, 2: 0x02, 3: 0x04, 4: 0x08, 5: 0x10, 6: 0x20, 7: 0x40, 8: 0x80, 9: 0x1b, 10: 0x36);
        Key(keys)
    }

    #[target_feature(enable = "avx512f,vaes")]
    fn encrypt(keys: &[[u8; 16]; ROUNDS + 1], first: u64, out: &mut [[u8; 16]]) {
        let mut round = [_mm512_setzero_si512(); ROUNDS + 1];
        for (wide, key) in round.iter_mut().zip(keys) {
            // SAFETY: the entry is as long as the vector, and the load takes any alignment.
            *wide = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(key.as_ptr().cast()) });
        }
        let step = _mm512_set_epi64(0, LANES as i64, 0, LANES as i64, 0, LANES as i64, 0, LANES as i64);
        let start = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0);
        let first = first as i64;
        let mut next = _mm512_add_epi64(_mm512_set_epi64(0, first, 0, first, 0, first, 0, first), start);
        let (many, rest) = out.as_chunks_mut::<{ LANES * VECTORS }>();
        for blocks in many {
            let mut state = [_mm512_setzero_si512(); VECTORS];
            for s in &mut state {
                *s = _mm512_xor_si512(next, round[0]);
                next = _mm512_add_epi64(next, step);
            }
            for key in &round[1..ROUNDS] {
                for s in &mut state {
                    *s = _mm512_aesenc_epi128(*s, *key);
                }
            }
            for (four, s) in blocks.as_chunks_mut::<LANES>().0.iter_mut().zip(state) {
                // SAFETY: four blocks are as long as the vector, and the store takes any alignment.
                unsafe { _mm512_storeu_si512(four.as_mut_ptr().cast(), _mm512_aesenclast_epi128(s, round[ROUNDS])) };
            }
        }
        for blocks in rest.chunks_mut(LANES) {
            let mut s = _mm512_xor_si512(next, round[0]);
            next = _mm512_add_epi64(next, step);
            for key in &round[1..ROUNDS] {
                s = _mm512_aesenc_epi128(s, *key);
            }
            // Elements of 64 bits, two to a block.
            let mask = 0xff >> (2 * (LANES - blocks.len()));
            // SAFETY: the mask keeps the store within the blocks that are there; it takes any alignment.
            unsafe {
                _mm512_mask_storeu_epi64(blocks.as_mut_ptr().cast(), mask, _mm512_aesenclast_epi128(s, round[ROUNDS]))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_make_the_same_blocks() {
        for seed in 0..20u8 {
            let key = std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(seed));
            for (first, len) in [(0, 0), (0, 1), (3, 2), (5, 3), (1 << 40, 31), (7, 32), (0, 33), (u64::MAX - 10, 70)] {
                let [mut own, mut portable] = [vec![[1; 16]; len], vec![[2; 16]; len]];
                Counter::new(&key).blocks(first, &mut own);
                Counter::portable(&key).blocks(first, &mut portable);
                assert_eq!(own, portable, "{len} blocks from {first}");
            }
        }
    }

    /// FIPS 197, appendix C.1, has the cipher of another block; this one is of Python's `cryptography`.
    #[test]
    fn the_first_block_is_known() {
        let mut out = [[0; 16]];
        Counter::new(&std::array::from_fn(|i| i as u8)).blocks(0, &mut out);
        let hex: String = out[0].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "c6a13b37878f5b826f4f8162a1c8d879");
    }
}
