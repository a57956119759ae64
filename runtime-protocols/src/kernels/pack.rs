//! Ring elements of k bits packed without gaps into bytes, the form they have on the wire.
//!
//! Element e occupies bits `e*k .. (e+1)*k` of the little-endian bit string: bit b is bit b%8 of byte b/8. Unused
//! bits of the last byte are written as zero and ignored when read. Bits of an element above k are dropped when
//! packing and zero after unpacking. The reader checks a message's length against [`packed_len`] first.

use super::wide::Isa;
use super::words::{Word, low_mask};

/// Bytes that `n` elements of `k` bits take.
///
/// Panics if the bit count does not fit a `usize`.
pub fn packed_len(k: u32, n: usize) -> usize {
    n.checked_mul(k as usize).expect("packed message fits the address space").div_ceil(8)
}

/// Appends `values` to `out`, `k` bits each, 1 ≤ k ≤ 32.
pub fn pack_u32(k: u32, values: &[u32], out: &mut Vec<u8>) {
    append(k, values, out, |values, bytes| write_u32(k, values, bytes));
}

/// Appends `values` to `out`, `k` bits each, 1 ≤ k ≤ 64.
pub fn pack_u64(k: u32, values: &[u64], out: &mut Vec<u8>) {
    append(k, values, out, |values, bytes| write_u64(k, values, bytes));
}

/// Writes `values` into exactly [`packed_len`] bytes, `k` bits each, 1 ≤ k ≤ 32.
pub fn write_u32(k: u32, values: &[u32], bytes: &mut [u8]) {
    check_length(k, bytes, values.len());
    match k {
        32 => write_words(values, bytes, u32::to_le_bytes),
        16 => write_words(values, bytes, |v| (v as u16).to_le_bytes()),
        8 => write_words(values, bytes, |v| [v as u8]),
        _ => pack(k, values, bytes),
    }
}

/// Writes `values` into exactly [`packed_len`] bytes, `k` bits each, 1 ≤ k ≤ 64.
pub fn write_u64(k: u32, values: &[u64], bytes: &mut [u8]) {
    check_length(k, bytes, values.len());
    match k {
        64 => write_words(values, bytes, u64::to_le_bytes),
        32 => write_words(values, bytes, |v| (v as u32).to_le_bytes()),
        16 => write_words(values, bytes, |v| (v as u16).to_le_bytes()),
        8 => write_words(values, bytes, |v| [v as u8]),
        _ => pack(k, values, bytes),
    }
}

/// Reads `values.len()` elements of `k` bits; `bytes` has exactly [`packed_len`] bytes.
pub fn unpack_u32(k: u32, bytes: &[u8], values: &mut [u32]) {
    check_length(k, bytes, values.len());
    match k {
        32 => read_words(bytes, values, u32::from_le_bytes),
        16 => read_words(bytes, values, |b| u32::from(u16::from_le_bytes(b))),
        8 => read_words(bytes, values, |[b]| u32::from(b)),
        _ => unpack(k, bytes, values),
    }
}

/// Reads `values.len()` elements of `k` bits; `bytes` has exactly [`packed_len`] bytes.
pub fn unpack_u64(k: u32, bytes: &[u8], values: &mut [u64]) {
    check_length(k, bytes, values.len());
    match k {
        64 => read_words(bytes, values, u64::from_le_bytes),
        32 => read_words(bytes, values, |b| u64::from(u32::from_le_bytes(b))),
        16 => read_words(bytes, values, |b| u64::from(u16::from_le_bytes(b))),
        8 => read_words(bytes, values, |[b]| u64::from(b)),
        _ => unpack(k, bytes, values),
    }
}

fn check_length(k: u32, bytes: &[u8], n: usize) {
    assert_eq!(bytes.len(), packed_len(k, n), "packed bytes of {n} elements of {k} bits");
}

/// Elements that are packed at a time before they are appended: whole bytes at any width.
const BLOCK: usize = 512;

/// Block by block, so that no memory is written twice.
pub(crate) fn append<T>(k: u32, values: &[T], out: &mut Vec<u8>, write: impl Fn(&[T], &mut [u8])) {
    out.reserve(packed_len(k, values.len()));
    let mut bytes = [0; 8 * BLOCK];
    for block in values.chunks(BLOCK) {
        let bytes = &mut bytes[..packed_len(k, block.len())];
        write(block, bytes);
        out.extend_from_slice(bytes);
    }
}

/// `n` elements of `k` bits; `bytes` has exactly [`packed_len`] bytes. 1 ≤ k ≤ 32.
pub fn read_u32(k: u32, bytes: &[u8], n: usize) -> Vec<u32> {
    collect(k, bytes, n, unpack_u32)
}

/// `n` elements of `k` bits; `bytes` has exactly [`packed_len`] bytes. 1 ≤ k ≤ 64.
pub fn read_u64(k: u32, bytes: &[u8], n: usize) -> Vec<u64> {
    collect(k, bytes, n, unpack_u64)
}

fn collect<T: Word>(k: u32, bytes: &[u8], n: usize, read: impl Fn(u32, &[u8], &mut [T])) -> Vec<T> {
    check_length(k, bytes, n);
    let mut values = vec![T::default(); n];
    read(k, bytes, &mut values);
    values
}

fn write_words<T: Word, const B: usize>(values: &[T], bytes: &mut [u8], word: impl Fn(T) -> [u8; B]) {
    for (chunk, &v) in bytes.as_chunks_mut::<B>().0.iter_mut().zip(values) {
        *chunk = word(v);
    }
}

fn read_words<T: Word, const B: usize>(bytes: &[u8], values: &mut [T], word: impl Fn([u8; B]) -> T) {
    for (v, &chunk) in values.iter_mut().zip(bytes.as_chunks::<B>().0) {
        *v = word(chunk);
    }
}

/// Any `k`.
pub(crate) fn pack<T: Word>(k: u32, values: &[T], out: &mut [u8]) {
    assert!((1..=T::BITS).contains(&k), "elements of {k} bits in words of {}", T::BITS);
    let done = match vectors(k) {
        // SAFETY: `vectors` asked the processor for the features and compared the width.
        #[cfg(target_arch = "x86_64")]
        true => unsafe { x86::pack(k, values, out) },
        _ => 0,
    };
    pack_blocks(k, &values[done..], &mut out[done / 8 * k as usize..]);
}

/// Whether elements of `k` bits are moved by vectors, eight at once, which are exactly `k` bytes.
fn vectors(k: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::WIDTHS.contains(&k) && Isa::best() == Isa::Avx512 && is_x86_feature_detected!("avx512vbmi");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// 64 elements are exactly `k` words of 64 bits, so blocks of 64 start on a byte and need no state.
fn pack_blocks<T: Word>(k: u32, values: &[T], out: &mut [u8]) {
    let (blocks, rest) = values.as_chunks::<64>();
    let (whole, tail) = out.split_at_mut(blocks.len() * k as usize * 8);
    for (block, bytes) in blocks.iter().zip(whole.chunks_exact_mut(k as usize * 8)) {
        pack_words(k, block, bytes);
    }
    if !rest.is_empty() {
        let mut last = [T::default(); 64];
        last[..rest.len()].copy_from_slice(rest);
        let mut bytes = [0; 64 * 8];
        pack_words(k, &last, &mut bytes[..k as usize * 8]);
        tail.copy_from_slice(&bytes[..tail.len()]);
    }
}

#[inline]
fn pack_words<T: Word>(k: u32, values: &[T; 64], bytes: &mut [u8]) {
    let mask = low_mask(k);
    let mut words = bytes.as_chunks_mut::<8>().0.iter_mut();
    let (mut acc, mut fill) = (0u64, 0u32);
    for &v in values {
        let v = v.widen() & mask;
        acc |= v << fill;
        fill += k;
        if fill >= 64 {
            *words.next().expect("64 elements of k bits are k words") = acc.to_le_bytes();
            fill -= 64;
            // The bits of `v` that did not fit; k - fill = 64 when none is left over.
            acc = v.checked_shr(k - fill).unwrap_or(0);
        }
    }
}

pub(crate) fn unpack<T: Word>(k: u32, bytes: &[u8], values: &mut [T]) {
    assert!((1..=T::BITS).contains(&k), "elements of {k} bits in words of {}", T::BITS);
    let done = match vectors(k) {
        // SAFETY: `vectors` asked the processor for the features and compared the width.
        #[cfg(target_arch = "x86_64")]
        true => unsafe { x86::unpack(k, bytes, values) },
        _ => 0,
    };
    unpack_blocks(k, &bytes[done / 8 * k as usize..], &mut values[done..]);
}

fn unpack_blocks<T: Word>(k: u32, bytes: &[u8], values: &mut [T]) {
    let (blocks, rest) = values.as_chunks_mut::<64>();
    let (whole, tail) = bytes.split_at(blocks.len() * k as usize * 8);
    for (block, bytes) in blocks.iter_mut().zip(whole.chunks_exact(k as usize * 8)) {
        unpack_words(k, bytes, block);
    }
    if !rest.is_empty() {
        let mut bytes = [0; 64 * 8];
        bytes[..tail.len()].copy_from_slice(tail);
        let mut last = [T::default(); 64];
        unpack_words(k, &bytes[..k as usize * 8], &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[inline]
fn unpack_words<T: Word>(k: u32, bytes: &[u8], values: &mut [T; 64]) {
    let mask = low_mask(k);
    let mut words = bytes.as_chunks::<8>().0.iter();
    let (mut acc, mut held) = (0u64, 0u32);
    for v in values {
        if held >= k {
            *v = T::narrow(acc & mask);
            // k = 64 holds nothing more.
            acc = acc.checked_shr(k).unwrap_or(0);
            held -= k;
        } else {
            let word = u64::from_le_bytes(*words.next().expect("64 elements of k bits are k words"));
            *v = T::narrow((acc | word << held) & mask);
            let taken = k - held;
            acc = word.checked_shr(taken).unwrap_or(0);
            held = 64 - taken;
        }
    }
}

/// Eight elements at once, as long as a whole vector of bytes can be read or the elements are eight. An element is brought to
/// its place within a byte by a shift, and to its bytes by a permutation of bytes.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Word, low_mask};
    use std::arch::x86_64::*;
    use std::ops::RangeInclusive;

    /// A byte has bits of at most two elements, so of one even and one odd; and an element lies in 8 bytes.
    pub(super) const WIDTHS: RangeInclusive<u32> = 8..=57;

    /// Where eight elements of one width lie in their bytes.
    struct Places {
        /// By how many bits each is off the beginning of a byte.
        shifts: [u64; 8],
        /// Where each byte is found in the shifted elements, 8 bytes each: what it has of even ones, and of odd ones.
        packed: [[u8; 64]; 2],
        /// Which bytes have some of them.
        there: [u64; 2],
        /// The bytes from which each element is read.
        read: [u8; 64],
    }

    static PLACES: [Places; 65] = {
        let mut all = [const { Places { shifts: [0; 8], packed: [[0; 64]; 2], there: [0; 2], read: [0; 64] } }; 65];
        let mut k = *WIDTHS.start() as usize;
        while k <= *WIDTHS.end() as usize {
            let mut i = 0;
            while i < 8 {
                let (first, last) = (i * k / 8, ((i + 1) * k - 1) / 8);
                all[k].shifts[i] = (i * k % 8) as u64;
                let mut b = 0;
                while b < 8 {
                    all[k].read[8 * i + b] = (first + b) as u8;
                    if first + b <= last {
                        all[k].packed[i % 2][first + b] = (8 * i + b) as u8;
                        all[k].there[i % 2] |= 1 << (first + b);
                    }
                    b += 1;
                }
                i += 1;
            }
            k += 1;
        }
        all
    };

    #[target_feature(enable = "avx512f")]
    fn load<const N: usize, T>(from: &[T; N]) -> __m512i {
        const { assert!(size_of::<[T; N]>() == 64) }
        // SAFETY: the array is as long as the vector, and the load takes any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    /// Packs the first elements, and returns how many.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn pack<T: Word>(k: u32, values: &[T], out: &mut [u8]) -> usize {
        let Places { shifts, packed, there, .. } = &PLACES[k as usize];
        let (even, odd, shifts) = (load(&packed[0]), load(&packed[1]), load(shifts));
        let mask = _mm512_set1_epi64(low_mask(k) as i64);
        let all = low_mask(k);
        let (blocks, _) = values.as_chunks::<8>();
        for (block, bytes) in blocks.iter().zip(out.chunks_exact_mut(k as usize)) {
            // SAFETY: eight elements are as long as the vector, and the loads take any alignment.
            let x = unsafe {
                match T::BITS {
                    32 => _mm512_cvtepu32_epi64(_mm256_loadu_si256(block.as_ptr().cast())),
                    _ => _mm512_loadu_si512(block.as_ptr().cast()),
                }
            };
            let x = _mm512_sllv_epi64(_mm512_and_si512(x, mask), shifts);
            let packed = _mm512_or_si512(
                _mm512_maskz_permutexvar_epi8(there[0], even, x),
                _mm512_maskz_permutexvar_epi8(there[1], odd, x),
            );
            // SAFETY: the mask keeps the store within the `k` bytes.
            unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), all, packed) };
        }
        8 * blocks.len()
    }

    /// Reads the first elements, and returns how many.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    pub(super) fn unpack<T: Word>(k: u32, bytes: &[u8], values: &mut [T]) -> usize {
        let Places { shifts, read, .. } = &PLACES[k as usize];
        let (from, shifts, mask) = (load(read), load(shifts), _mm512_set1_epi64(low_mask(k) as i64));
        let mut done = 0;
        for block in values.as_chunks_mut::<8>().0 {
            let Some(bytes) = bytes[done / 8 * k as usize..].first_chunk::<64>() else { break };
            let x = _mm512_permutexvar_epi8(from, load(bytes));
            let x = _mm512_and_si512(_mm512_srlv_epi64(x, shifts), mask);
            // SAFETY: eight elements are as long as the vector, and the stores take any alignment.
            unsafe {
                match T::BITS {
                    32 => _mm256_storeu_si256(block.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(x)),
                    _ => _mm512_storeu_si512(block.as_mut_ptr().cast(), x),
                }
            }
            done += 8;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::test_values;
    use super::*;

    /// The definition: bit by bit.
    fn plain_pack(k: u32, values: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0; packed_len(k, values.len())];
        for (e, &v) in values.iter().enumerate() {
            for b in 0..k as usize {
                let at = e * k as usize + b;
                bytes[at / 8] |= ((v >> b & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    fn check(k: u32, n: usize) {
        let values: Vec<u64> = test_values(u64::from(k) * 1000 + n as u64, n);
        let expected = plain_pack(k, &values);
        let mut out = vec![0xEE; 3];
        pack_u64(k, &values, &mut out);
        assert_eq!(out[..3], [0xEE; 3], "what was there stays");
        assert_eq!(out[3..], expected, "pack k={k} n={n}");

        let mut noisy = expected.clone();
        let used = n * k as usize % 8;
        if used != 0 {
            *noisy.last_mut().expect("not empty") |= 0xFF << used;
        }
        let masked: Vec<u64> = values.iter().map(|v| v & low_mask(k)).collect();
        let mut back = vec![u64::MAX; n];
        unpack_u64(k, &noisy, &mut back);
        assert_eq!(back, masked, "unpack k={k} n={n}");
        assert_eq!(read_u64(k, &noisy, n), masked, "read k={k} n={n}");

        if k <= 32 {
            let short: Vec<u32> = values.iter().map(|&v| v as u32).collect();
            let mut out = Vec::new();
            pack_u32(k, &short, &mut out);
            assert_eq!(out, expected, "pack_u32 k={k} n={n}");
            let mut back = vec![u32::MAX; n];
            unpack_u32(k, &noisy, &mut back);
            assert!(back.iter().zip(&masked).all(|(&a, &b)| u64::from(a) == b), "unpack_u32 k={k} n={n}");
            assert_eq!(read_u32(k, &noisy, n), back, "read_u32 k={k} n={n}");
        }
    }

    #[test]
    fn every_width_round_trips() {
        #[cfg(debug_assertions)]
        Isa::available().for_each(|isa| isa.at_most(every_width));
        every_width();
    }

    fn every_width() {
        for k in 1..=64 {
            for n in [0, 1, 2, 7, 8, 63, 64, 65, 128, 200, 512, 1100] {
                check(k, n);
            }
        }
    }

    #[test]
    #[should_panic(expected = "packed bytes")]
    fn a_message_of_the_wrong_length_is_refused() {
        unpack_u32(5, &[0; 3], &mut [0; 5]);
    }
}
