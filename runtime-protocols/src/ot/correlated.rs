//! Correlated transfers: for a bit c of the receiver and a vector x of the sender, summands of `c·x` in a ring.
//!
//! With strings H_0 and H_1, read as vectors, the sender sends `d = H_0 − H_1 + x` and keeps `−H_0`; the receiver takes
//! `H_c + c·d`, which is `H_0 + c·x`. *What d reveals:* the receiver lacks one of H_0, H_1, so d is uniform to it.
//!
//! A ring of w bits costs w bits per element. Where a bit has weight 2^j in a ring of k bits, w = k − j suffices.
use super::extend::Rows;
use super::hash::Hash;
use super::{OtError, due};
use crate::kernels::pack;
use crate::kernels::words::Word;

/// Transfers of one shape: `count` of them, each with a vector of `len` elements of `width` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Transfers.
    pub count: usize,
    /// Elements of a vector.
    pub len: usize,
    /// Bits of an element.
    pub width: u32,
}

impl Run {
    /// Bytes of the message.
    pub fn bytes(&self) -> usize {
        pack::packed_len(self.width, self.count * self.len)
    }

    /// Blocks of a string that a vector takes in words of type `T`.
    pub fn blocks<T: Word>(&self) -> usize {
        self.len.div_ceil(128 / T::BITS as usize)
    }

    /// Strings as vectors, one after the other.
    fn vectors<T: Word>(&self, hash: &Hash, rows: &[u128], first: u64, from: u64) -> Vec<T> {
        let (each, per) = (self.blocks::<T>(), 128 / T::BITS as usize);
        let mut out = Vec::with_capacity(self.count * self.len);
        // As many strings at a time as stay in the first-level cache.
        let some = (1024 / each.max(1)).max(1);
        let mut strings = vec![0; some.min(self.count) * each];
        for (at, rows) in rows.chunks(some).enumerate() {
            let strings = &mut strings[..rows.len() * each];
            hash.strings(rows, first + (at * some) as u64, from, each, strings);
            for string in strings.chunks_exact(each.max(1)) {
                let words =
                    string.iter().flat_map(|b| (0..per).map(move |i| T::narrow((b >> (i * T::BITS as usize)) as u64)));
                out.extend(words.take(self.len));
            }
        }
        out
    }

    /// The sender: appends the message for vectors `x`, one after the other, and returns its summands. `rows` are the absorbed
    /// rows of both sides of transfers `first ..`; blocks `from ..` of their strings serve here and never again.
    pub fn send<T: Word>(
        &self,
        hash: &Hash,
        rows: &[Rows; 2],
        first: u64,
        from: u64,
        x: &[T],
        out: &mut Vec<u8>,
    ) -> Vec<T> {
        assert_eq!(x.len(), self.count * self.len, "{} vectors of {}", self.count, self.len);
        let mut zero: Vec<T> = self.vectors(hash, &rows[0], first, from);
        let mut d: Vec<T> = self.vectors(hash, &rows[1], first, from);
        for ((zero, d), x) in zero.iter_mut().zip(&mut d).zip(x) {
            *d = T::narrow(zero.widen().wrapping_sub(d.widen()).wrapping_add(x.widen()));
            *zero = T::narrow(zero.widen().wrapping_neg());
        }
        pack::append(self.width, &d, out, |block, bytes| pack::pack(self.width, block, bytes));
        zero
    }

    /// The receiver: its summands. Bit i of `choices` is that of transfer i.
    pub fn receive<T: Word>(
        &self,
        hash: &Hash,
        rows: &[u128],
        first: u64,
        from: u64,
        choice: impl Fn(usize) -> u64,
        message: &[u8],
    ) -> Result<Vec<T>, OtError> {
        due("masked vectors", message, self.bytes())?;
        let mut own: Vec<T> = self.vectors(hash, rows, first, from);
        let mut d = vec![T::default(); own.len()];
        pack::unpack(self.width, message, &mut d);
        for (i, (own, d)) in own.chunks_mut(self.len.max(1)).zip(d.chunks(self.len.max(1))).enumerate() {
            let mask = (choice(i) & 1).wrapping_neg();
            own.iter_mut().zip(d).for_each(|(m, d)| *m = m.plus(T::narrow(d.widen() & mask)));
        }
        Ok(own)
    }
}
