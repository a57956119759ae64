//! Elements chosen by the bits of a plane. The bits may be secret: no branch and no index depends on one.

use super::wide::Isa;
use super::words::Word;

/// Sets elements to zero whose bit is not set; element e has bit e%64 of word e/64.
pub fn keep_u32(values: &mut [u32], bits: &[u64]) {
    match Isa::best() {
        // SAFETY: `Isa::best` asked the processor for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::keep_u32_avx512(values, bits) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::keep_u32_avx2(values, bits) },
        Isa::Portable => keep(values, bits),
    }
}

/// Sets elements to zero whose bit is not set; element e has bit e%64 of word e/64.
pub fn keep_u64(values: &mut [u64], bits: &[u64]) {
    match Isa::best() {
        // SAFETY: `Isa::best` asked the processor for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::keep_u64_avx512(values, bits) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::keep_u64_avx2(values, bits) },
        Isa::Portable => keep(values, bits),
    }
}

/// All ones for each bit that is set. Not inlined: seeing both this and its use, the compiler would make a branch of it.
#[inline(never)]
fn masks(bits: u64) -> [u64; 64] {
    std::array::from_fn(|i| (bits >> i & 1).wrapping_neg())
}

fn keep<T: Word>(values: &mut [T], bits: &[u64]) {
    assert!(bits.len() * 64 >= values.len(), "a bit for each of {} elements", values.len());
    for (part, word) in values.chunks_mut(64).zip(bits) {
        for (v, mask) in part.iter_mut().zip(masks(*word)) {
            *v = T::narrow(v.widen() & mask);
        }
    }
}

/// Whole vectors by instructions that take a mask; the compiler cannot make a branch of those.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::keep;
    use std::arch::x86_64::*;

    /// The loop over words of 64 bits and their elements, `$lanes` at a time; `$body` gives the new vector.
    macro_rules! keep_vectors {
        ($name:ident, $word:ty, $lanes:literal, #[$feature:meta], $load:ident, $store:ident, |$v:ident, $bits:ident| $body:expr) => {
            #[$feature]
            pub(super) fn $name(values: &mut [$word], bits: &[u64]) {
                let (blocks, rest) = values.as_chunks_mut::<64>();
                assert!(bits.len() >= blocks.len() + usize::from(!rest.is_empty()), "a bit for each element");
                for (block, word) in blocks.iter_mut().zip(bits) {
                    for (at, part) in block.as_chunks_mut::<$lanes>().0.iter_mut().enumerate() {
                        let $bits = *word >> (at * $lanes);
                        // SAFETY: the array is as long as the vector, and the load takes any alignment.
                        let $v = unsafe { $load(part.as_ptr().cast()) };
                        // SAFETY: the same for the store.
                        unsafe { $store(part.as_mut_ptr().cast(), $body) };
                    }
                }
                let done = blocks.len();
                keep(rest, &bits[done..]);
            }
        };
    }

    keep_vectors!(
        keep_u32_avx512, u32, 16, #[target_feature(enable = "avx512f")], _mm512_loadu_si512, _mm512_storeu_si512,
        |v, bits| _mm512_maskz_mov_epi32(bits as u16, v)
    );
    keep_vectors!(
        keep_u64_avx512, u64, 8, #[target_feature(enable = "avx512f")], _mm512_loadu_si512, _mm512_storeu_si512,
        |v, bits| _mm512_maskz_mov_epi64(bits as u8, v)
    );
    keep_vectors!(
        keep_u32_avx2, u32, 8, #[target_feature(enable = "avx2")], _mm256_loadu_si256, _mm256_storeu_si256,
        |v, bits| {
            let each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let own = _mm256_and_si256(_mm256_set1_epi32(bits as i32), each);
            _mm256_and_si256(v, _mm256_cmpeq_epi32(own, each))
        }
    );
    keep_vectors!(
        keep_u64_avx2, u64, 4, #[target_feature(enable = "avx2")], _mm256_loadu_si256, _mm256_storeu_si256,
        |v, bits| {
            let each = _mm256_setr_epi64x(1, 2, 4, 8);
            let own = _mm256_and_si256(_mm256_set1_epi64x(bits as i64), each);
            _mm256_and_si256(v, _mm256_cmpeq_epi64(own, each))
        }
    );
}

#[cfg(test)]
mod tests {
    use super::super::words::test_values;
    use super::*;

    #[test]
    fn every_length_agrees_with_the_definition() {
        for len in [0usize, 1, 7, 63, 64, 65, 127, 128, 200, 1000] {
            let bits: Vec<u64> = test_values(len as u64 + 5, len.div_ceil(64));
            let values: Vec<u64> = test_values(len as u64, len);
            let want: Vec<u64> = values
                .iter()
                .enumerate()
                .map(|(e, v)| if bits[e / 64] >> (e % 64) & 1 == 1 { *v } else { 0 })
                .collect();
            let check = || {
                let mut kept = values.clone();
                keep_u64(&mut kept, &bits);
                assert_eq!(kept, want, "{:?} {len}", Isa::best());
                let mut kept: Vec<u32> = values.iter().map(|v| *v as u32).collect();
                keep_u32(&mut kept, &bits);
                assert!(kept.iter().zip(&want).all(|(a, b)| *a == *b as u32), "{:?} {len}", Isa::best());
            };
            #[cfg(debug_assertions)]
            Isa::available().for_each(|isa| isa.at_most(check));
            check();
        }
    }
}
