//! Inner loops of [`super::linear`], compiled once per instruction set and chosen at run time.
//!
//! Each loop is written once, in safe code over arrays of fixed size that the compiler turns into vectors; the
//! macro [`loops`] gives it to the compiler again under each `target_feature`. One loop needs more: the compiler does
//! not keep the sums of a matrix product in registers, so that loop names its vectors ([`multiply_vectors`]).
//! AVX-512 has 32 registers: 12 rows of two vectors are summed in place while two more hold weights. AVX2 has 16: 4
//! rows of two vectors.

use super::wide::Isa;
use super::words::Word;

/// A block of rows times a panel of weights.
pub(super) struct Block<'a, T> {
    /// Row r starts at `r * stride`; `rows` is rounded up to [`Loops::ROW_STEP`] when reading.
    pub(super) inputs: &'a [T],
    pub(super) stride: usize,
    /// `depth` rows of [`Loops::panel_width`]`(cols)` weights.
    pub(super) panel: &'a [T],
    pub(super) depth: usize,
    /// How many rows and columns of the product are wanted.
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// A line of pixels of a depthwise convolution with as many outputs as inputs.
pub(super) struct Line<'a, T> {
    /// Inputs and weights of each product.
    pub(super) pairs: &'a [(&'a [T], &'a [T])],
    /// Where each tap that is not padding starts in the inputs and in the weights, pixel by pixel.
    pub(super) taps: &'a [(usize, usize)],
    /// Where the taps of each pixel end.
    pub(super) ends: &'a [usize],
}

/// The loops for one word and one instruction set.
pub(super) struct Loops<T> {
    /// Most rows that one call of [`Loops::multiply`] takes.
    pub(super) rows: usize,
    /// Most columns that one call takes.
    pub(super) cols: usize,
    multiply: unsafe fn(&Block<'_, T>, &mut [T], usize),
    dot: unsafe fn(&[T], &[T]) -> T,
    line: unsafe fn(&Line<'_, T>, &mut [T]),
    expand: unsafe fn(&[T], &[T], &mut [T]),
}

impl<T> Loops<T> {
    /// Rows are multiplied this many at a time: a block's inputs have rows (of any content) up to a multiple.
    pub(super) const ROW_STEP: usize = 4;

    /// Columns in memory of a panel with `cols` columns: whole, or half if that is enough.
    pub(super) fn panel_width(&self, cols: usize) -> usize {
        if cols <= self.cols / 2 { self.cols / 2 } else { self.cols }
    }

    /// `out[r * width + c] += Σ_k inputs[r][k] * panel[k][c]`.
    pub(super) fn multiply(&self, block: &Block<'_, T>, out: &mut [T], width: usize) {
        // SAFETY: the fields are private and `Lane::loops` gives loops only for an `Isa`, all of which come from
        // `Isa::available`, which asked the processor for the features these functions are compiled with.
        unsafe { (self.multiply)(block, out, width) }
    }

    /// `Σ_k a[k] * b[k]`.
    pub(super) fn dot(&self, a: &[T], b: &[T]) -> T {
        // SAFETY: as in `multiply`.
        unsafe { (self.dot)(a, b) }
    }

    /// `out[c] += Σ_pairs Σ_taps inputs[tap + c] * weights[tap + c]` for each pixel of a line, of which there is one.
    pub(super) fn line(&self, line: &Line<'_, T>, out: &mut [T]) {
        // SAFETY: as in `multiply`.
        unsafe { (self.line)(line, out) }
    }

    /// `out[c] += inputs[c / m] * weights[c]` with `m` outputs to each input.
    pub(super) fn expand(&self, inputs: &[T], weights: &[T], out: &mut [T]) {
        // SAFETY: as in `multiply`.
        unsafe { (self.expand)(inputs, weights, out) }
    }
}

/// A word with loops.
pub(super) trait Lane: Word {
    /// The loops for `isa`, which is one of [`Isa::available`].
    fn loops(isa: Isa) -> Loops<Self>;
}

#[inline(always)]
fn multiply<T: Word, const ROWS: usize, const COLS: usize>(block: &Block<'_, T>, out: &mut [T], width: usize) {
    let rows: [&[T]; ROWS] = std::array::from_fn(|r| &block.inputs[r * block.stride..][..block.depth]);
    let panel = &block.panel.as_chunks::<COLS>().0[..block.depth];
    let mut sums = [[T::default(); COLS]; ROWS];
    for k in 0..block.depth {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[k];
            for (sum, &w) in sums.iter_mut().zip(&panel[k]) {
                *sum = sum.mul_add(x, w);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate().take(block.rows) {
        for (out, &sum) in out[r * width..][..block.cols].iter_mut().zip(sums) {
            *out = out.plus(sum);
        }
    }
}

#[inline(always)]
fn dot<T: Word>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::default(), |sum, (&a, &b)| sum.mul_add(a, b))
}

/// Adds to all pixels of the line, in as many whole blocks of `LANES` channels as lie from channel `from` on; returns
/// the first channel left. The weights of a block stay in the cache along the line.
#[inline(always)]
fn line_blocks<T: Word, const LANES: usize>(line: &Line<'_, T>, from: usize, out: &mut [T]) -> usize {
    let channels = out.len() / line.ends.len();
    let mut at = from;
    while at + LANES <= channels {
        let mut start = 0;
        for (out, &end) in out.chunks_exact_mut(channels).zip(line.ends) {
            let mut sums = [T::default(); LANES];
            for (inputs, weights) in line.pairs {
                for &(x, w) in &line.taps[start..end] {
                    let inputs = &inputs[x + at..][..LANES];
                    let weights = &weights[w + at..][..LANES];
                    for ((sum, &x), &w) in sums.iter_mut().zip(inputs).zip(weights) {
                        *sum = sum.mul_add(x, w);
                    }
                }
            }
            for (out, &sum) in out[at..][..LANES].iter_mut().zip(&sums) {
                *out = out.plus(sum);
            }
            start = end;
        }
        at += LANES;
    }
    at
}

#[inline(always)]
fn expand<T: Word>(inputs: &[T], weights: &[T], out: &mut [T]) {
    let multiplier = out.len() / inputs.len();
    for ((out, weights), &x) in out.chunks_exact_mut(multiplier).zip(weights.chunks_exact(multiplier)).zip(inputs) {
        for (out, &w) in out.iter_mut().zip(weights) {
            *out = out.mul_add(x, w);
        }
    }
}

/// The loops for one word and instruction set: at most this many rows a call, then the smaller numbers of rows that
/// have their own code, smallest first; columns a call and half of them, whole vectors both.
macro_rules! loops {
    ($name:ident, $word:ty, $(#[$feature:meta])? $multiply:path; rows $most:literal $(, $rows:literal)*; cols $cols:literal, $half:literal) => {
        mod $name {
            use super::*;

            pub(super) const LOOPS: Loops<$word> =
                Loops { rows: $most, cols: $cols, multiply, dot, line, expand };

            use $multiply as inner;

            $(#[$feature])?
            fn multiply(block: &Block<'_, $word>, out: &mut [$word], width: usize) {
                let half = block.cols <= $half;
                $(if block.rows <= $rows {
                    return if half {
                        inner::<$rows, 1>(block, out, width)
                    } else {
                        inner::<$rows, 2>(block, out, width)
                    };
                })*
                if half {
                    inner::<$most, 1>(block, out, width)
                } else {
                    inner::<$most, 2>(block, out, width)
                }
            }

            $(#[$feature])?
            fn dot(a: &[$word], b: &[$word]) -> $word {
                super::dot(a, b)
            }

            $(#[$feature])?
            fn line(line: &Line<'_, $word>, out: &mut [$word]) {
                let done = line_blocks::<$word, { 2 * $cols }>(line, 0, out);
                let done = line_blocks::<$word, $cols>(line, done, out);
                let done = line_blocks::<$word, $half>(line, done, out);
                line_blocks::<$word, 1>(line, done, out);
            }

            $(#[$feature])?
            fn expand(inputs: &[$word], weights: &[$word], out: &mut [$word]) {
                super::expand(inputs, weights, out)
            }
        }
    };
}

/// [`multiply`] for half a panel (`N` = 1) or a whole one (`N` = 2), where the compiler finds the vectors.
macro_rules! multiply_arrays {
    ($name:ident, $word:ty, $(#[$feature:meta])? $half:literal, $cols:literal) => {
        $(#[$feature])?
        fn $name<const ROWS: usize, const N: usize>(block: &Block<'_, $word>, out: &mut [$word], width: usize) {
            if N == 1 {
                multiply::<$word, ROWS, $half>(block, out, width)
            } else {
                multiply::<$word, ROWS, $cols>(block, out, width)
            }
        }
    };
}

/// [`multiply`] with `N` named vectors to a row. Against arrays, `RAYON_NUM_THREADS=1` and `examples/kernels.rs` on an
/// Intel Xeon with AVX-512, 56x56x64 to 128 channels: 3.7 → 28 products/ns with `u32`, 3.6 → 11 with `u64`.
#[cfg(target_arch = "x86_64")]
macro_rules! multiply_vectors {
    (
        $name:ident, $word:ty, #[$feature:meta] $lanes:literal, $vector:ty, $element:ty;
        $zero:ident, $load:ident, $store:ident, $splat:ident, $product:ident, $sum:ident
    ) => {
        #[$feature]
        fn $name<const ROWS: usize, const N: usize>(block: &Block<'_, $word>, out: &mut [$word], width: usize) {
            use std::arch::x86_64::*;

            let rows: [&[$word]; ROWS] = std::array::from_fn(|r| &block.inputs[r * block.stride..][..block.depth]);
            let panel = &block.panel.as_chunks::<$lanes>().0.as_chunks::<N>().0[..block.depth];
            let mut sums = [[$zero(); N]; ROWS];
            for k in 0..block.depth {
                // SAFETY: each array is as long as the vector, and the load takes any alignment.
                let weights: [$vector; N] = std::array::from_fn(|n| unsafe { $load(panel[k][n].as_ptr().cast()) });
                for r in 0..ROWS {
                    let x = $splat(rows[r][k] as $element);
                    for n in 0..N {
                        sums[r][n] = $sum(sums[r][n], $product(x, weights[n]));
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate().take(block.rows) {
                let mut stored = [[0; $lanes]; N];
                for (stored, &sum) in stored.iter_mut().zip(sums) {
                    // SAFETY: the array is as long as the vector, and the store takes any alignment.
                    unsafe { $store(stored.as_mut_ptr().cast(), sum) };
                }
                for (out, &sum) in out[r * width..][..block.cols].iter_mut().zip(stored.as_flattened()) {
                    *out = out.plus(sum);
                }
            }
        }
    };
}

multiply_arrays!(multiply_portable_u32, u32, 4, 8);
multiply_arrays!(multiply_portable_u64, u64, 4, 8);
#[cfg(target_arch = "x86_64")]
multiply_vectors!(
    multiply_avx2_u32, u32, #[target_feature(enable = "avx2")] 8, __m256i, i32;
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_mullo_epi32,
    _mm256_add_epi32
);
#[cfg(target_arch = "x86_64")]
multiply_arrays!(
    multiply_avx2_u64,
    u64,
    #[target_feature(enable = "avx2")]
    4,
    8
);
#[cfg(target_arch = "x86_64")]
multiply_vectors!(
    multiply_avx512_u32, u32, #[target_feature(enable = "avx512f,avx512dq,avx512vl")] 16, __m512i, i32;
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_mullo_epi32,
    _mm512_add_epi32
);
#[cfg(target_arch = "x86_64")]
multiply_vectors!(
    multiply_avx512_u64, u64, #[target_feature(enable = "avx512f,avx512dq,avx512vl")] 8, __m512i, i64;
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi64, _mm512_mullo_epi64,
    _mm512_add_epi64
);

loops!(portable_u32, u32, super::multiply_portable_u32; rows 4; cols 8, 4);
loops!(portable_u64, u64, super::multiply_portable_u64; rows 4; cols 8, 4);
#[cfg(target_arch = "x86_64")]
loops!(avx2_u32, u32, #[target_feature(enable = "avx2")] super::multiply_avx2_u32; rows 4; cols 16, 8);
#[cfg(target_arch = "x86_64")]
loops!(avx2_u64, u64, #[target_feature(enable = "avx2")] super::multiply_avx2_u64; rows 4; cols 8, 4);
#[cfg(target_arch = "x86_64")]
loops!(
    avx512_u32, u32, #[target_feature(enable = "avx512f,avx512dq,avx512vl")] super::multiply_avx512_u32;
    rows 12, 4, 8; cols 32, 16
);
#[cfg(target_arch = "x86_64")]
loops!(
    avx512_u64, u64, #[target_feature(enable = "avx512f,avx512dq,avx512vl")] super::multiply_avx512_u64;
    rows 12, 4, 8; cols 16, 8
);

impl Lane for u32 {
    fn loops(isa: Isa) -> Loops<u32> {
        match isa {
            Isa::Portable => portable_u32::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2_u32::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512_u32::LOOPS,
        }
    }
}

impl Lane for u64 {
    fn loops(isa: Isa) -> Loops<u64> {
        match isa {
            Isa::Portable => portable_u64::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2_u64::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512_u64::LOOPS,
        }
    }
}
