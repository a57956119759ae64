//! Transfers without end: SoftSpoken extension, semi-honest, over the field of 2^k elements.
//!
//! The receiver knows the seeds of all 2^k leaves of each of 128/k trees, the sender all but the one at place δ of each; the δ
//! of all trees together are the sender's *offset* Δ of 128 bits. A leaf is a stream of bits, one for each transfer. Per tree the
//! receiver has `u = ⊕ r_x` and `v = ⊕ x·r_x`; the sender has `w = ⊕ (x ⊕ δ)·r_x`, to which the leaf that it lacks contributes
//! nothing; and `w = v ⊕ δ·u`. The receiver sends `u ⊕ c` for its choices c, the sender adds `δ·(u ⊕ c)` and has `v ⊕ δ·c`. All trees
//! side by side: a row q of 128 bits at the sender, t at the receiver, `q = t ⊕ c·Δ`. Strings are made from rows by [`super::hash`].
//! Choices may also be drawn: then they are the u of the first tree, which need not be sent.
//!
//! *What messages reveal.* `u ⊕ c` of each tree is masked with the stream of a leaf that the sender lacks: uniform to it. The receiver
//! gets nothing; that `H(t ⊕ Δ, ·)` is uniform to it is the hash's correlation robustness.
//!
//! **Cost.** 128/k bits per transfer, one less part with drawn choices; 2^k·128/k bits of streams at each side.
//!
//! Source: Roy, ePrint 2022/192, figures 6 and 7 with the repetition code, no consistency check: semi-honest.
use super::hash::Hash;
use super::{Direction, OtError, ROW, due};
use crate::kernels::planes::from_planes_u64;
use aes::Aes128;
use cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherSeek};
use rayon::prelude::*;
use std::ops::Deref;

/// Transfers that are worked on together: their planes fit the second-level cache.
const CHUNK: usize = 8192;
/// Transfers per block of a stream; each extension begins with a new block.
const BLOCK: usize = 128;
/// Largest field.
const MAX_K: usize = 8;

/// The size of the field: more bits send less and compute more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 2 elements: 128 bits per transfer (IKNP).
    Two,
    /// 4 elements: 64 bits.
    Four,
    /// 16 elements: 32 bits.
    Sixteen,
    /// 256 elements: 16 bits.
    Bytes,
}

impl Field {
    /// k; it divides 128.
    pub const fn bits(self) -> usize {
        match self {
            Field::Two => 1,
            Field::Four => 2,
            Field::Sixteen => 4,
            Field::Bytes => 8,
        }
    }

    const fn trees(self) -> usize {
        ROW / self.bits()
    }

    /// Bytes of the message for `count` transfers.
    pub fn message(self, count: usize, drawn: bool) -> usize {
        let parts = self.trees() - usize::from(drawn);
        let whole = count / CHUNK * (CHUNK / 8) * parts;
        whole + (count % CHUNK).div_ceil(8) * parts
    }
}

/// Rows, wiped when dropped.
pub struct Rows(Vec<u128>);

impl Deref for Rows {
    type Target = [u128];

    fn deref(&self) -> &[u128] {
        &self.0
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.0.fill(0);
        zeroize::optimization_barrier(&self.0);
    }
}

/// What the receiver has of some transfers.
pub struct Received {
    /// Number of the first.
    pub first: u64,
    /// Its choices, 64 to a word; bits beyond the last transfer are arbitrary.
    pub choices: Vec<u64>,
    /// Absorbed rows: strings of the chosen side.
    pub rows: Rows,
}

/// What the sender has of some transfers.
pub struct Sent {
    /// Number of the first.
    pub first: u64,
    /// Rows, not absorbed.
    rows: Rows,
}

/// The party that has a bit.
pub struct Receiver {
    field: Field,
    streams: Vec<Aes128>,
    /// Makes strings.
    pub hash: Hash,
    next: u64,
}

/// The party that has two strings.
pub struct Sender {
    field: Field,
    offset: u128,
    streams: Vec<Aes128>,
    /// Makes strings.
    pub hash: Hash,
    next: u64,
}

fn streams(leaves: &[u128]) -> Vec<Aes128> {
    leaves.iter().map(|seed| Aes128::new(&seed.to_le_bytes().into())).collect()
}

fn reserve(next: &mut u64, count: usize) -> u64 {
    let first = *next;
    *next += count.next_multiple_of(BLOCK) as u64;
    first
}

fn xor(a: &mut [u8], b: &[u8]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

/// The streams of one tree from block `block`: plane b is the XOR of streams of places that have bit b, and their sum is the
/// XOR of all. With `lacking`, the stream of place 0 is zero. 2^(k+1) additions: sums of halves, then of quarters.
fn fold(streams: &[Aes128], block: u64, lacking: bool, planes: &mut [u8], sum: &mut [u8]) {
    let width = sum.len();
    let mut halves = [[0u8; CHUNK / 8]; MAX_K];
    planes.fill(0);
    for (x, stream) in streams.iter().enumerate() {
        match x {
            0 if lacking => sum.fill(0),
            _ => {
                let mut stream = ctr::Ctr64LE::from_core(ctr::CtrCore::inner_iv_init(stream, &[0; 16].into()));
                stream.seek(block * 16);
                stream.write_keystream(sum);
            }
        }
        // As in a binary counter: a place ends as many subtrees as it has ones at the end.
        let mut level = 0;
        while x >> level & 1 == 1 {
            xor(&mut planes[level * width..][..width], sum);
            xor(sum, &halves[level][..width]);
            level += 1;
        }
        if let Some(half) = halves.get_mut(level) {
            half[..width].copy_from_slice(sum);
        }
    }
}

/// Planes of 128 bits become rows.
fn to_rows(planes: &[u8], width: usize, rows: &mut [u128]) {
    let words: Vec<u64> = planes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let mut halves = [vec![0u64; width * 8], vec![0u64; width * 8]];
    for (half, words) in halves.iter_mut().zip(words.chunks_exact(words.len() / 2)) {
        from_planes_u64(words, 64, half);
    }
    let [low, high] = &halves;
    for ((row, low), high) in rows.iter_mut().zip(low).zip(high) {
        *row = u128::from(*low) | u128::from(*high) << 64;
    }
}

/// Bytes of a plane of a chunk in memory: whole blocks.
fn plane_width(count: usize) -> usize {
    count.div_ceil(BLOCK) * (BLOCK / 8)
}

impl Receiver {
    pub(super) fn new(way: Direction, field: Field, leaves: &[u128]) -> Self {
        Receiver { field, streams: streams(leaves), hash: Hash::new(&way.key(b"OT hash\0")), next: 0 }
    }

    /// `count` transfers with these choices, 64 to a word, or with drawn ones: appends the message.
    pub fn extend(&mut self, choices: Option<&[u64]>, count: usize, out: &mut Vec<u8>) -> Received {
        let (k, parts) = (self.field.bits(), self.field.trees() - usize::from(choices.is_none()));
        let first = reserve(&mut self.next, count);
        let words = count.div_ceil(64);
        assert!(choices.is_none_or(|c| c.len() == words), "{count} choices");
        let mut choices_out = choices.map_or_else(|| vec![0; words], <[u64]>::to_vec);
        let mut rows = Rows(vec![0; count]);
        let start = out.len();
        out.resize(start + self.field.message(count, choices.is_none()), 0);
        let chunks = rows.0.par_chunks_mut(CHUNK).zip(choices_out.par_chunks_mut(CHUNK / 64));
        let chunks = chunks.zip(out[start..].par_chunks_mut(parts * CHUNK / 8));
        chunks.enumerate().for_each(|(at, ((rows, chosen), message))| {
            let (width, block) = (plane_width(rows.len()), (first as usize + at * CHUNK) / BLOCK);
            let mut planes = vec![0; ROW * width];
            let mut sum = vec![0; width];
            let mut message = message.chunks_exact_mut(rows.len().div_ceil(8));
            let mut mask: Vec<u8> = chosen.iter().flat_map(|w| w.to_le_bytes()).collect();
            for (tree, (streams, planes)) in
                self.streams.chunks_exact(1 << k).zip(planes.chunks_exact_mut(k * width)).enumerate()
            {
                fold(streams, block as u64, false, planes, &mut sum);
                if tree == 0 && choices.is_none() {
                    let drawn = &sum[..mask.len()];
                    mask.copy_from_slice(drawn);
                    chosen.iter_mut().zip(mask.as_chunks().0).for_each(|(w, b)| *w = u64::from_le_bytes(*b));
                    continue;
                }
                let part = message.next().expect("a part for each tree");
                part.copy_from_slice(&sum[..part.len()]);
                xor(part, &mask);
            }
            to_rows(&planes, width, rows);
            self.hash.absorb(rows);
            planes.fill(0);
            zeroize::optimization_barrier(&planes);
        });
        Received { first, choices: choices_out, rows }
    }
}

impl Sender {
    pub(super) fn new(way: Direction, field: Field, offset: u128, leaves: &[u128]) -> Self {
        Sender { field, offset, streams: streams(leaves), hash: Hash::new(&way.key(b"OT hash\0")), next: 0 }
    }

    /// The size of its field.
    pub fn field(&self) -> Field {
        self.field
    }

    /// Bytes of the receiver's message.
    pub fn message(&self, count: usize, drawn: bool) -> usize {
        self.field.message(count, drawn)
    }

    /// `count` transfers with the peer's choices, drawn by it or not, from its message.
    pub fn extend(&mut self, drawn: bool, count: usize, message: &[u8]) -> Result<Sent, OtError> {
        due("choices of transfers", message, self.field.message(count, drawn))?;
        let (k, parts) = (self.field.bits(), self.field.trees() - usize::from(drawn));
        let first = reserve(&mut self.next, count);
        let mut rows = Rows(vec![0; count]);
        let chunks = rows.0.par_chunks_mut(CHUNK).zip(message.par_chunks(parts * CHUNK / 8));
        chunks.enumerate().for_each(|(at, (rows, message))| {
            let (width, block) = (plane_width(rows.len()), (first as usize + at * CHUNK) / BLOCK);
            let mut planes = vec![0; ROW * width];
            let mut sum = vec![0; width];
            let mut message = message.chunks_exact(rows.len().div_ceil(8));
            for (tree, (streams, planes)) in
                self.streams.chunks_exact(1 << k).zip(planes.chunks_exact_mut(k * width)).enumerate()
            {
                fold(streams, block as u64, true, planes, &mut sum);
                if tree == 0 && drawn {
                    continue;
                }
                let part = message.next().expect("a part for each tree");
                for (bit, plane) in planes.chunks_exact_mut(width).enumerate() {
                    let mask = ((self.offset >> (tree * k + bit)) as u8 & 1).wrapping_neg();
                    plane.iter_mut().zip(part).for_each(|(p, m)| *p ^= mask & m);
                }
            }
            to_rows(&planes, width, rows);
        });
        Ok(Sent { first, rows })
    }

    /// Absorbed rows of both sides of transfers `range` of `sent`.
    pub fn absorbed(&self, sent: &Sent, range: std::ops::Range<usize>) -> [Rows; 2] {
        let mut rows = [Rows(sent.rows[range.clone()].to_vec()), Rows(sent.rows[range].to_vec())];
        rows[1].0.iter_mut().for_each(|q| *q ^= self.offset);
        rows.iter_mut().for_each(|rows| self.hash.absorb(&mut rows.0));
        rows
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.offset);
    }
}
