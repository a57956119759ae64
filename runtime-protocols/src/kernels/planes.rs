//! Bit planes: the form of XOR-shared words, and their form on the wire.
//!
//! `n`-bit words of `len` elements are `n` planes one after the other, each of [`plane_words`]`(len)` words; element
//! e of a plane is bit e%64 of word e/64. Bits beyond `len` are zero in everything written here.
//!
//! Conversion transposes 64 elements at a time. Narrow words share a row, so 8 planes of 64 elements cost an 8-row
//! transpose (3 steps), not a 64-row one (6 steps on 8 times as many words).

use super::wide::Isa;
use super::words::{Word, low_mask};

/// Words in one plane of `len` elements.
pub const fn plane_words(len: usize) -> usize {
    len.div_ceil(64)
}

/// Bytes in one plane of `len` elements on the wire.
pub const fn plane_bytes(len: usize) -> usize {
    len.div_ceil(8)
}

/// Bits `shift..shift + width` of each value become `width` planes.
pub fn to_planes_u32(values: &[u32], width: u32, shift: u32, planes: &mut [u64]) {
    to_planes(values, width, shift, planes);
}

/// Bits `shift..shift + width` of each value become `width` planes.
pub fn to_planes_u64(values: &[u64], width: u32, shift: u32, planes: &mut [u64]) {
    to_planes(values, width, shift, planes);
}

/// Each value becomes Σ 2^i · (its bit in plane i); higher bits are zero.
pub fn from_planes_u32(planes: &[u64], width: u32, values: &mut [u32]) {
    from_planes(planes, width, values);
}

/// Each value becomes Σ 2^i · (its bit in plane i); higher bits are zero.
pub fn from_planes_u64(planes: &[u64], width: u32, values: &mut [u64]) {
    from_planes(planes, width, values);
}

/// Appends `planes` to `out`, each as [`plane_bytes`]`(len)` bytes.
pub fn planes_to_bytes(planes: &[u64], len: usize, out: &mut Vec<u8>) {
    let (words, size) = (plane_words(len), plane_bytes(len));
    if len == 0 {
        return;
    }
    assert_eq!(planes.len() % words, 0, "planes of {len} elements");
    let start = out.len();
    out.resize(start + planes.len() / words * size, 0);
    for (plane, bytes) in planes.chunks_exact(words).zip(out[start..].chunks_exact_mut(size)) {
        let (whole, rest) = bytes.as_chunks_mut::<8>();
        for (bytes, word) in whole.iter_mut().zip(plane) {
            *bytes = word.to_le_bytes();
        }
        if !len.is_multiple_of(64) {
            let last = (plane[words - 1] & low_mask((len % 64) as u32)).to_le_bytes();
            // `rest` is empty when 57 or more bits of the last word are in use: all 8 bytes were written above.
            match whole.get_mut(words - 1) {
                Some(bytes) => *bytes = last,
                None => rest.copy_from_slice(&last[..rest.len()]),
            }
        }
    }
}

/// Fills `planes` from bytes as written by [`planes_to_bytes`]; bits beyond `len` are ignored.
pub fn bytes_to_planes(bytes: &[u8], len: usize, planes: &mut [u64]) {
    let (words, size) = (plane_words(len), plane_bytes(len));
    if len == 0 {
        assert!(bytes.is_empty() && planes.is_empty(), "planes of no elements");
        return;
    }
    assert_eq!(planes.len() % words, 0, "planes of {len} elements");
    assert_eq!(bytes.len(), planes.len() / words * size, "bytes of planes of {len} elements");
    for (plane, bytes) in planes.chunks_exact_mut(words).zip(bytes.chunks_exact(size)) {
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, &bytes) in plane.iter_mut().zip(whole) {
            *word = u64::from_le_bytes(bytes);
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            plane[words - 1] = u64::from_le_bytes(last);
        }
        if !len.is_multiple_of(64) {
            plane[words - 1] &= low_mask((len % 64) as u32);
        }
    }
}

fn to_planes<T: Word>(values: &[T], width: u32, shift: u32, planes: &mut [u64]) {
    assert!(shift + width <= T::BITS, "bits {shift}..{} of words of {}", shift + width, T::BITS);
    assert_eq!(planes.len(), width as usize * plane_words(values.len()), "{width} planes of {}", values.len());
    match Isa::best() {
        // SAFETY: `Isa::best` asked the processor for the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => return unsafe { x86::to_planes_avx512(values, width, shift, planes) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => return unsafe { x86::to_planes_avx2(values, width, shift, planes) },
        Isa::Portable => {}
    }
    match width {
        0 => {}
        1..=8 => to_planes_rows::<T, 8>(values, width, shift, planes),
        9..=16 => to_planes_rows::<T, 16>(values, width, shift, planes),
        17..=32 => to_planes_rows::<T, 32>(values, width, shift, planes),
        _ => to_planes_rows::<T, 64>(values, width, shift, planes),
    }
}

fn to_planes_rows<T: Word, const ROWS: usize>(values: &[T], width: u32, shift: u32, planes: &mut [u64]) {
    let words = plane_words(values.len());
    let (blocks, rest) = values.as_chunks::<64>();
    let mut last = [T::default(); 64];
    last[..rest.len()].copy_from_slice(rest);
    for (at, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
        let mut rows = [0u64; ROWS];
        for lane in 0..64 / ROWS {
            for (row, &v) in rows.iter_mut().zip(&block[lane * ROWS..][..ROWS]) {
                *row |= (v.widen() >> shift & low_mask(ROWS as u32)) << (lane * ROWS);
            }
        }
        transpose(&mut rows);
        for (plane, row) in planes.chunks_exact_mut(words).zip(&rows[..width as usize]) {
            plane[at] = *row;
        }
    }
}

fn from_planes<T: Word>(planes: &[u64], width: u32, values: &mut [T]) {
    assert!(width <= T::BITS, "{width} bits in words of {}", T::BITS);
    assert_eq!(planes.len(), width as usize * plane_words(values.len()), "{width} planes of {}", values.len());
    match width {
        0 => values.fill(T::default()),
        1..=8 => from_planes_rows::<T, 8>(planes, width, values),
        9..=16 => from_planes_rows::<T, 16>(planes, width, values),
        17..=32 => from_planes_rows::<T, 32>(planes, width, values),
        _ => from_planes_rows::<T, 64>(planes, width, values),
    }
}

fn from_planes_rows<T: Word, const ROWS: usize>(planes: &[u64], width: u32, values: &mut [T]) {
    let words = plane_words(values.len());
    for (at, block) in values.chunks_mut(64).enumerate() {
        let mut rows = [0u64; ROWS];
        for (row, plane) in rows[..width as usize].iter_mut().zip(planes.chunks_exact(words)) {
            *row = plane[at];
        }
        transpose(&mut rows);
        for (lane, values) in block.chunks_mut(ROWS).enumerate() {
            for (v, row) in values.iter_mut().zip(&rows) {
                *v = T::narrow(row >> (lane * ROWS) & low_mask(ROWS as u32));
            }
        }
    }
}

/// Planes by instructions that collect the top bits of bytes: 8 bits of 64 elements are 64 bytes, and doubling a byte brings
/// its next bit to the top.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Word, plane_words};
    use std::arch::x86_64::*;

    /// Words of a line of the cache.
    const LINE: usize = 8;

    macro_rules! to_planes {
        ($name:ident, #[$feature:meta], |$bytes:ident, $each:ident| $body:block) => {
            #[$feature]
            pub(super) fn $name<T: Word>(values: &[T], width: u32, shift: u32, planes: &mut [u64]) {
                let words = plane_words(values.len());
                // Lines of planes are filled here and written whole: planes may lie such that all of them meet in the
                // same few lines of the cache.
                let mut lines = [[0u64; LINE]; 64];
                for (first, values) in values.chunks(64 * LINE).enumerate() {
                    let (blocks, rest) = values.as_chunks::<64>();
                    let mut last = [T::default(); 64];
                    last[..rest.len()].copy_from_slice(rest);
                    for (at, block) in blocks.iter().chain((!rest.is_empty()).then_some(&last)).enumerate() {
                        for low in (0..width).step_by(8) {
                            let mut $bytes = [0u8; 64];
                            for (byte, v) in $bytes.iter_mut().zip(block) {
                                *byte = (v.widen() >> (shift + low)) as u8;
                            }
                            // Above the width they are not used.
                            let own: &mut [[u64; LINE]; 8] =
                                (&mut lines[low as usize..][..8]).try_into().expect("64 lines are eight times eight");
                            let mut $each = |bit: u32, plane: u64| own[bit as usize][at] = plane;
                            $body
                        }
                    }
                    let n = plane_words(values.len());
                    for (plane, line) in planes.chunks_exact_mut(words).zip(&lines) {
                        plane[first * LINE..][..n].copy_from_slice(&line[..n]);
                    }
                }
            }
        };
    }

    to_planes!(to_planes_avx512, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")], |bytes, each| {
        // SAFETY: the array is as long as the vector, and the load takes any alignment.
        let mut v = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        for bit in (0..8).rev() {
            each(bit, _mm512_movepi8_mask(v));
            v = _mm512_add_epi8(v, v);
        }
    });

    to_planes!(to_planes_avx2, #[target_feature(enable = "avx2")], |bytes, each| {
        // SAFETY: each half of the array is as long as the vector, and the load takes any alignment.
        let [mut a, mut b] = [0, 32].map(|half| unsafe { _mm256_loadu_si256(bytes[half..].as_ptr().cast()) });
        for bit in (0..8).rev() {
            let [low, high] = [a, b].map(|v| u64::from(_mm256_movemask_epi8(v) as u32));
            each(bit, low | high << 32);
            (a, b) = (_mm256_add_epi8(a, a), _mm256_add_epi8(b, b));
        }
    });
}

/// Transposes `64 / ROWS` bit matrices of `ROWS` by `ROWS` that lie side by side (Hacker's Delight, section 7-3).
#[inline(always)]
fn transpose<const ROWS: usize>(rows: &mut [u64; ROWS]) {
    // Columns whose number has the bit `ROWS / 2`, then `ROWS / 4`, … clear, in every 64-bit row.
    let mut step = ROWS / 2;
    let mut mask = match ROWS {
        64 => 0x0000_0000_FFFF_FFFF,
        32 => 0x0000_FFFF_0000_FFFF,
        16 => 0x00FF_00FF_00FF_00FF,
        8 => 0x0F0F_0F0F_0F0F_0F0Fu64,
        _ => unreachable!("8, 16, 32 or 64 rows"),
    };
    while step != 0 {
        for pair in rows.chunks_exact_mut(2 * step) {
            let (low, high) = pair.split_at_mut(step);
            for (a, b) in low.iter_mut().zip(high) {
                let swap = (*a >> step ^ *b) & mask;
                *b ^= swap;
                *a ^= swap << step;
            }
        }
        step /= 2;
        mask ^= mask << step;
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::test_values;
    use super::*;

    /// The definition: bit by bit.
    fn plain_planes(values: &[u64], width: u32, shift: u32) -> Vec<u64> {
        let words = plane_words(values.len());
        let mut planes = vec![0; width as usize * words];
        for (e, v) in values.iter().enumerate() {
            for i in 0..width {
                planes[i as usize * words + e / 64] |= (v >> (shift + i) & 1) << (e % 64);
            }
        }
        planes
    }

    fn check(len: usize, width: u32, shift: u32) {
        let values: Vec<u64> = test_values(len as u64 * 7919 + u64::from(width * 64 + shift), len);
        let expected = plain_planes(&values, width, shift);
        let mut planes = vec![u64::MAX; expected.len()];
        to_planes_u64(&values, width, shift, &mut planes);
        assert_eq!(planes, expected, "to len={len} width={width} shift={shift}");

        let low: Vec<u64> = values.iter().map(|v| if width == 0 { 0 } else { v >> shift & low_mask(width) }).collect();
        let mut back = vec![u64::MAX; len];
        from_planes_u64(&planes, width, &mut back);
        assert_eq!(back, low, "from len={len} width={width}");

        if shift + width <= 32 {
            let short: Vec<u32> = values.iter().map(|&v| v as u32).collect();
            let mut planes = vec![u64::MAX; expected.len()];
            to_planes_u32(&short, width, shift, &mut planes);
            assert_eq!(planes, expected, "to_u32 len={len} width={width} shift={shift}");
            let mut back = vec![u32::MAX; len];
            from_planes_u32(&planes, width, &mut back);
            assert!(back.iter().zip(&low).all(|(&a, &b)| u64::from(a) == b), "from_u32 len={len} width={width}");
        }
        check_bytes(len, &planes);
    }

    fn check_bytes(len: usize, planes: &[u64]) {
        let words = plane_words(len);
        let mut expected = Vec::new();
        if len > 0 {
            for plane in planes.chunks_exact(words) {
                let all: Vec<u8> = plane.iter().flat_map(|w| w.to_le_bytes()).collect();
                expected.extend_from_slice(&all[..plane_bytes(len)]);
            }
        }
        let mut dirty = planes.to_vec();
        if !len.is_multiple_of(64) {
            for plane in dirty.chunks_exact_mut(words) {
                plane[words - 1] |= u64::MAX << (len % 64);
            }
        }
        let mut bytes = vec![0xEE];
        planes_to_bytes(&dirty, len, &mut bytes);
        assert_eq!(bytes[0], 0xEE, "what was there stays");
        assert_eq!(bytes[1..], expected, "bytes len={len}");

        let mut noisy = expected;
        if !len.is_multiple_of(8) {
            for plane in noisy.chunks_exact_mut(plane_bytes(len)) {
                *plane.last_mut().expect("not empty") |= 0xFF << (len % 8);
            }
        }
        let mut back = vec![u64::MAX; planes.len()];
        bytes_to_planes(&noisy, len, &mut back);
        assert_eq!(back, planes, "planes from bytes len={len}");
    }

    #[test]
    fn every_width_agrees_with_the_definition() {
        #[cfg(debug_assertions)]
        Isa::available().for_each(|isa| isa.at_most(every_width));
        every_width();
    }

    fn every_width() {
        for width in 0..=64 {
            for len in [0, 1, 9, 57, 63, 64, 65, 130] {
                for shift in [0, 1, 7, 31, 64 - width] {
                    if shift + width <= 64 {
                        check(len, width, shift);
                    }
                }
            }
        }
    }

    #[test]
    fn every_tail_length_goes_through_bytes() {
        for len in 0..200 {
            check(len, 3, 5);
        }
    }

    #[test]
    #[should_panic(expected = "bits 20..33")]
    fn bits_outside_the_word_are_refused() {
        to_planes_u32(&[0], 13, 20, &mut [0; 13]);
    }
}
