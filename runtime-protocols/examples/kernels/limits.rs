//! What this machine can do at best, measured: nothing here reads more memory than it must.
use runtime_protocols::kernels::wide::Isa;
use std::hint::black_box;

use super::fastest;

/// The best rates of one core.
pub struct Limits {
    /// Products of 32 and of 64 bits that are added up, per nanosecond, all operands in registers.
    pub products: [f64; 2],
    /// Bytes copied per nanosecond, from 4 MiB to 4 MiB.
    pub copy: f64,
    /// Bytes of AES-128 per nanosecond, all ten rounds in registers; 0 without the instructions.
    pub aes: f64,
}

/// Rounds of one measurement.
const STEPS: usize = 20_000;

impl Limits {
    pub fn measure() -> Limits {
        let products = match Isa::best() {
            // SAFETY: `Isa::best` asked the processor for the features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { [rate(16, || x86::products_avx512_u32()), rate(8, || x86::products_avx512_u64())] },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { [rate(8, || x86::products_avx2_u32()), rate(4, || x86::products_avx2_u64())] },
            Isa::Portable => [rate(4, products::<u32, 4>), rate(2, products::<u64, 2>)],
        };
        let (from, mut to) = (vec![1u8; 4 << 20], vec![0u8; 4 << 20]);
        let copy = (4 << 20) as f64 / fastest(|| to.copy_from_slice(black_box(&from))) / 1e9;
        Limits { products, copy, aes: aes() }
    }
}

/// Sums that do not wait for each other.
const SUMS: usize = 12;

fn rate(lanes: usize, f: impl FnMut()) -> f64 {
    (STEPS * SUMS * lanes) as f64 / fastest(f) / 1e9
}

/// The same without instructions by name: the compiler takes vectors of what it may use. `LANES` elements fill one.
#[inline(always)]
fn products<T: Word, const LANES: usize>() {
    let (x, mut sums) = (black_box([T::THREE; LANES]), black_box([[T::THREE; LANES]; SUMS]));
    for _ in 0..STEPS {
        for sum in &mut sums {
            sum.iter_mut().zip(&x).for_each(|(s, x)| *s = x.multiply_add(*s));
        }
    }
    black_box(sums);
}

trait Word: Copy {
    const THREE: Self;
    /// self + self·s.
    fn multiply_add(self, s: Self) -> Self;
}

impl Word for u32 {
    const THREE: Self = 3;
    #[inline(always)]
    fn multiply_add(self, s: Self) -> Self {
        self.wrapping_add(self.wrapping_mul(s))
    }
}

impl Word for u64 {
    const THREE: Self = 3;
    #[inline(always)]
    fn multiply_add(self, s: Self) -> Self {
        self.wrapping_add(self.wrapping_mul(s))
    }
}

#[cfg(target_arch = "x86_64")]
fn aes() -> f64 {
    if is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor was asked for the features.
        return (STEPS * 8 * 64) as f64 / fastest(|| unsafe { x86::aes_wide() }) / 1e9;
    }
    if is_x86_feature_detected!("aes") {
        // SAFETY: the same.
        return (STEPS * 8 * 16) as f64 / fastest(|| unsafe { x86::aes_narrow() }) / 1e9;
    }
    0.0
}

#[cfg(not(target_arch = "x86_64"))]
fn aes() -> f64 {
    0.0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{STEPS, SUMS, black_box};
    use std::arch::x86_64::*;

    macro_rules! products {
        ($name:ident, #[$feature:meta], $one:expr, $product:ident, $sum:ident) => {
            #[$feature]
            pub fn $name() {
                let (x, mut sums) = (black_box($one), [black_box($one); SUMS]);
                for _ in 0..STEPS {
                    // A sum is an operand of its next product, so none can be moved out of the loop.
                    sums.iter_mut().for_each(|s| *s = $sum(x, $product(x, *s)));
                }
                black_box(sums);
            }
        };
    }
    products!(products_avx512_u32, #[target_feature(enable = "avx512f")], _mm512_set1_epi32(3), _mm512_mullo_epi32, _mm512_add_epi32);
    products!(products_avx512_u64, #[target_feature(enable = "avx512f,avx512dq")], _mm512_set1_epi64(3), _mm512_mullo_epi64, _mm512_add_epi64);
    products!(products_avx2_u32, #[target_feature(enable = "avx2")], _mm256_set1_epi32(3), _mm256_mullo_epi32, _mm256_add_epi32);

    /// There is no instruction for it: products of halves.
    #[target_feature(enable = "avx2")]
    pub fn products_avx2_u64() {
        super::products::<u64, 4>();
    }

    #[target_feature(enable = "vaes,avx512f")]
    pub fn aes_wide() {
        let (key, mut blocks) = (black_box(_mm512_set1_epi64(7)), [black_box(_mm512_set1_epi64(9)); 8]);
        for _ in 0..STEPS {
            for _ in 0..9 {
                blocks.iter_mut().for_each(|b| *b = _mm512_aesenc_epi128(*b, key));
            }
            blocks.iter_mut().for_each(|b| *b = _mm512_aesenclast_epi128(*b, key));
        }
        black_box(blocks);
    }

    #[target_feature(enable = "aes")]
    pub fn aes_narrow() {
        let (key, mut blocks) = (black_box(_mm_set1_epi64x(7)), [black_box(_mm_set1_epi64x(9)); 8]);
        for _ in 0..STEPS {
            for _ in 0..9 {
                blocks.iter_mut().for_each(|b| *b = _mm_aesenc_si128(*b, key));
            }
            blocks.iter_mut().for_each(|b| *b = _mm_aesenclast_si128(*b, key));
        }
        black_box(blocks);
    }
}
