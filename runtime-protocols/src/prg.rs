//! Key streams: what two parties who share a seed draw without talking.
//!
//! A [`KeyStream`] is made from a seed and a session. It is cut into *segments*, each named by an [`Address`]; a
//! segment has its own AES-128 key, taken from `blake3::keyed_hash(session key, address)`, and is AES in counter mode
//! from block 0 with a little-endian 64-bit counter. So no two addresses share a counter, however long a segment is,
//! and one segment can be filled from any place by any thread.
//!
//! A segment hides one message, ever. Debug builds remember the addresses that were used and stop at a second use;
//! the bytes are the same in every build.

#[cfg(debug_assertions)]
use std::{collections::HashSet, sync::Mutex};

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::kernels::counter::Counter;
use crate::kernels::wide::wide;

/// Names one segment of a key stream.
///
/// `purpose` tells apart the uses within one instruction (role rotation, mask or dealt word, …); its numbering is the
/// protocol's. Numbers are not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Which inference of the session.
    pub inference: u64,
    /// Which instruction of the program.
    pub instruction: u32,
    /// Which use within the instruction.
    pub purpose: u32,
}

impl Address {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.inference.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.instruction.to_le_bytes());
        bytes[12..].copy_from_slice(&self.purpose.to_le_bytes());
        bytes
    }
}

/// The stream that follows from one seed in one session. Wiped when dropped.
pub struct KeyStream {
    key: Zeroizing<[u8; 32]>,
    #[cfg(debug_assertions)]
    used: Mutex<HashSet<Address>>,
}

impl KeyStream {
    /// The stream of `seed` in the session of this name; holders of both draw the same bytes.
    ///
    /// The caller wipes its own copy of the seed.
    pub fn new(seed: &[u8; 32], session: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(seed);
        hasher.update(b"qnnvm key stream 1\0").update(session);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        hasher.zeroize();
        Self {
            key,
            #[cfg(debug_assertions)]
            used: Mutex::default(),
        }
    }

    /// The segment at `address`, from its beginning.
    ///
    /// Debug builds panic when this stream has already handed out the address.
    pub fn segment(&self, address: &Address) -> Segment {
        #[cfg(debug_assertions)]
        {
            let mut used = self.used.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            assert!(used.insert(*address), "pad reused: {address:?}");
        }
        let mut hash = blake3::keyed_hash(&self.key, &address.to_bytes());
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&hash.as_bytes()[..16]);
        hash.zeroize();
        Segment { blocks: Counter::new(&key), at: 0 }
    }
}

impl std::fmt::Debug for KeyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyStream")
    }
}

/// One segment of a key stream and a place in it: each fill goes on where the last one stopped.
pub struct Segment {
    blocks: Counter,
    /// Bytes before the place.
    at: u64,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Segment")
    }
}

/// Bytes of a block.
const BLOCK: usize = 16;
/// Words are made from bytes through a buffer of this many blocks, which stays in the first-level cache.
const MANY: usize = 256;
/// The same for short fills, where it would take long to clear the larger one.
const FEW: usize = 16;
/// Fills longer than this are shared out among threads, this many bytes each.
const PARALLEL: usize = 256 << 10;

impl Segment {
    /// Goes to a byte of the segment.
    ///
    /// For filling one message in parts, out of order or in parallel; reading a part twice to hide two things breaks
    /// the rule above and is not noticed.
    pub fn seek(&mut self, byte: u64) {
        self.at = byte;
    }

    /// The next `out.len()` bytes.
    pub fn fill_bytes(&mut self, out: &mut [u8]) {
        self.mix(out, |_, [byte]| byte);
    }

    /// The next `out.len()` words of 4 bytes, little-endian.
    pub fn fill_u32(&mut self, out: &mut [u32]) {
        self.mix_u32(out, |_, word| word);
    }

    /// The next `out.len()` words of 8 bytes, little-endian.
    pub fn fill_u64(&mut self, out: &mut [u64]) {
        self.mix_u64(out, |_, word| word);
    }

    /// The next `len` words of 4 bytes, little-endian, in new memory.
    pub fn words_u32(&mut self, len: usize) -> Vec<u32> {
        self.words(len, u32::from_le_bytes, Segment::fill_u32)
    }

    /// The next `len` words of 8 bytes, little-endian, in new memory.
    pub fn words_u64(&mut self, len: usize) -> Vec<u64> {
        self.words(len, u64::from_le_bytes, Segment::fill_u64)
    }

    /// A buffer at a time, so that the memory is not written twice; a long one in parallel.
    fn words<T: Copy + Default, const B: usize>(
        &mut self,
        len: usize,
        word: impl Fn([u8; B]) -> T,
        fill: impl Fn(&mut Self, &mut [T]),
    ) -> Vec<T> {
        if len * B > PARALLEL {
            let mut words = vec![T::default(); len];
            fill(self, &mut words);
            return words;
        }
        let mut words = Vec::with_capacity(len);
        self.parts(
            self.at,
            len * B,
            #[inline(always)]
            |_, bytes| words.extend(bytes.as_chunks::<B>().0.iter().map(|bytes| word(*bytes))),
        );
        self.at += (len * B) as u64;
        words
    }

    /// Replaces each of `values` by `f` of it and the next word of 4 bytes: what [`Segment::fill_u32`] and a second pass
    /// would do, without storing the stream.
    pub fn mix_u32(&mut self, values: &mut [u32], f: impl Fn(u32, u32) -> u32 + Sync) {
        self.mix(
            values,
            #[inline(always)]
            |v, word| f(v, u32::from_le_bytes(word)),
        );
    }

    /// The same with words of 8 bytes.
    pub fn mix_u64(&mut self, values: &mut [u64], f: impl Fn(u64, u64) -> u64 + Sync) {
        self.mix(
            values,
            #[inline(always)]
            |v, word| f(v, u64::from_le_bytes(word)),
        );
    }

    fn mix<T: Copy + Send, const B: usize>(&mut self, out: &mut [T], f: impl Fn(T, [u8; B]) -> T + Sync) {
        let start = self.at;
        self.at += (out.len() * B) as u64;
        if out.len() * B <= PARALLEL {
            return self.mix_part(start, out, f);
        }
        let own = &*self;
        out.par_chunks_mut(PARALLEL / B).enumerate().for_each(|(i, part)| {
            own.mix_part(start + (i * PARALLEL) as u64, part, &f);
        });
    }

    /// The same from byte `from` on, in this thread.
    fn mix_part<T: Copy, const B: usize>(&self, from: u64, out: &mut [T], f: impl Fn(T, [u8; B]) -> T) {
        self.parts(
            from,
            out.len() * B,
            #[inline(always)]
            |at, bytes| {
                let part = &mut out[at / B..][..bytes.len() / B];
                part.iter_mut().zip(bytes.as_chunks::<B>().0).for_each(
                    #[inline(always)]
                    |(v, &bytes)| *v = f(*v, bytes),
                );
            },
        );
    }

    /// Hands `len` bytes from byte `from` on to `each`, a buffer at a time with its place among them. Buffers but the last
    /// have whole words.
    #[inline(always)]
    fn parts(&self, from: u64, len: usize, each: impl FnMut(usize, &[u8])) {
        match len <= (FEW - 1) * BLOCK {
            true => self.parts_of::<FEW>(from, len, each),
            false => self.parts_of::<MANY>(from, len, each),
        }
    }

    #[inline(always)]
    fn parts_of<const BLOCKS: usize>(&self, from: u64, len: usize, mut each: impl FnMut(usize, &[u8])) {
        let mut buffer = [[0; BLOCK]; BLOCKS];
        // A place within a block takes one block more.
        let (first, skip) = (from / BLOCK as u64, (from % BLOCK as u64) as usize);
        let most = (BLOCKS - 1) * BLOCK;
        for at in (0..len).step_by(most) {
            let bytes = most.min(len - at);
            let blocks = &mut buffer[..(skip + bytes).div_ceil(BLOCK)];
            self.blocks.blocks(first + (at / BLOCK) as u64, blocks);
            let part = &blocks.as_flattened()[skip..skip + bytes];
            wide(
                #[inline(always)]
                || each(at, part),
            );
        }
        let used = BLOCKS.min(len / BLOCK + 2);
        buffer[..used].fill([0; BLOCK]);
        zeroize::optimization_barrier(&buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Address = Address { inference: 1, instruction: 2, purpose: 3 };

    fn stream() -> KeyStream {
        let seed = std::array::from_fn(|i| i as u8);
        KeyStream::new(&seed, b"session")
    }

    fn bytes(address: Address, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        stream().segment(&address).fill_bytes(&mut out);
        out
    }

    /// Computed by another program: BLAKE3 and AES-128-ECB of Python's `blake3` and `cryptography`, the counter
    /// written into the first 8 bytes of each block, little-endian.
    #[test]
    fn known_bytes() {
        let hex: String = bytes(HERE, 32).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "02bfa2ab3f9278cf275d956b87b0ed7a4939d7ee2f55a184682c0bcc223728e4");
        // Block 300, where the counter has carried into its second byte.
        let hex: String = bytes(HERE, 301 * 16)[300 * 16..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "d9c30936583e6e4e352308e82c5e1014");
    }

    #[test]
    fn addresses_seeds_and_sessions_are_apart() {
        let base = bytes(HERE, 32);
        assert_ne!(base, bytes(Address { inference: 2, ..HERE }, 32));
        assert_ne!(base, bytes(Address { instruction: 1, ..HERE }, 32));
        assert_ne!(base, bytes(Address { purpose: 2, ..HERE }, 32));
        // The same numbers in other fields.
        assert_ne!(base, bytes(Address { inference: 1, instruction: 3, purpose: 2 }, 32));
        for (seed, session) in [([0; 32], b"session"), (std::array::from_fn(|i| i as u8), b"sessiom")] {
            let mut other = vec![0; 32];
            KeyStream::new(&seed, session).segment(&HERE).fill_bytes(&mut other);
            assert_ne!(base, other);
        }
    }

    #[test]
    fn pieces_and_words_are_the_same_stream() {
        let all = bytes(HERE, 3 * PARALLEL + 77);
        for split in [1, 3, 16, 100, 4096, PARALLEL + 5] {
            let mut out = vec![0; all.len()];
            let mut segment = stream().segment(&HERE);
            let (a, b) = out.split_at_mut(split);
            segment.fill_bytes(a);
            segment.fill_bytes(b);
            assert!(out == all, "split at {split}");

            let mut segment = stream().segment(&HERE);
            segment.fill_bytes(&mut vec![0; split]);
            let mut words = vec![0u32; (all.len() - split) / 8];
            segment.fill_u32(&mut words);
            let mut longs = vec![0u64; (all.len() - split) / 16];
            segment.fill_u64(&mut longs);
            let (first, rest) = all[split..].split_at(words.len() * 4);
            assert!(words.iter().zip(first.as_chunks().0).all(|(&w, &b)| w == u32::from_le_bytes(b)));
            assert!(longs.iter().zip(rest.as_chunks().0).all(|(&w, &b)| w == u64::from_le_bytes(b)));
        }
        let mut words = vec![7u32; PARALLEL / 2 + 5];
        stream().segment(&HERE).mix_u32(&mut words, |v, word| v.wrapping_sub(word));
        assert!(words.iter().zip(all.as_chunks().0).all(|(&w, &b)| w == 7u32.wrapping_sub(u32::from_le_bytes(b))));
        let mut longs = vec![9u64; PARALLEL / 4 + 5];
        stream().segment(&HERE).mix_u64(&mut longs, |v, word| v ^ word);
        assert!(longs.iter().zip(all.as_chunks().0).all(|(&w, &b)| w == 9 ^ u64::from_le_bytes(b)));
        let mut segment = stream().segment(&HERE);
        let mut part = [0; 50];
        segment.seek(1234);
        segment.fill_bytes(&mut part);
        assert_eq!(part, all[1234..1284]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "pad reused: Address { inference: 1, instruction: 2, purpose: 3 }")]
    fn a_second_use_of_an_address_stops() {
        let stream = stream();
        stream.segment(&Address { purpose: 4, ..HERE });
        stream.segment(&HERE);
        stream.segment(&HERE);
    }

    #[test]
    fn debug_prints_no_secret() {
        let stream = stream();
        assert_eq!(format!("{stream:?} {:?}", stream.segment(&HERE)), "KeyStream Segment");
    }
}
