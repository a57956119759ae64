//! The two machine words that ring elements live in, and element-wise helpers over bit planes.

use std::fmt::Debug;

/// A machine word holding one ring element: `u32` or `u64`.
///
/// Arithmetic is modulo 2^[`Word::BITS`]; a narrower ring masks when it packs.
pub trait Word: Copy + Default + Debug + PartialEq + Send + Sync + 'static {
    /// Bits of the word.
    const BITS: u32;
    /// The word in the low bits of a `u64`.
    fn widen(self) -> u64;
    /// The low bits of `value`.
    fn narrow(value: u64) -> Self;
    /// `self + a * b` in the ring.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self + a` in the ring.
    fn plus(self, a: Self) -> Self;
}

macro_rules! word {
    ($word:ty) => {
        impl Word for $word {
            const BITS: u32 = <$word>::BITS;
            #[inline(always)]
            fn widen(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn narrow(value: u64) -> Self {
                value as $word
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
            #[inline(always)]
            fn plus(self, a: Self) -> Self {
                self.wrapping_add(a)
            }
        }
    };
}
word!(u32);
word!(u64);

/// The low `bits` (0 to 64) bits set.
#[inline(always)]
pub const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// `a ^= b`, word by word.
pub fn xor_assign(a: &mut [u64], b: &[u64]) {
    assert_eq!(a.len(), b.len(), "xor of slices of different lengths");
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= b;
    }
}

/// `a &= b`, word by word.
pub fn and_assign(a: &mut [u64], b: &[u64]) {
    assert_eq!(a.len(), b.len(), "and of slices of different lengths");
    for (a, b) in a.iter_mut().zip(b) {
        *a &= b;
    }
}

/// `acc ^= a & b`, word by word.
pub fn xor_and(acc: &mut [u64], a: &[u64], b: &[u64]) {
    assert!(acc.len() == a.len() && a.len() == b.len(), "product of slices of different lengths");
    for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
        *acc ^= a & b;
    }
}

/// A vector of words that are set to zero before their memory is given back; prints its length.
///
/// `Zeroizing<Vec<_>>` would do, but it writes word by word, which took a tenth of the time of a 1x1
/// convolution of 7x7x1024 (`examples/kernels.rs`, 16.9 → 19.1 products/ns); this is one `memset` that the compiler may not drop. Its length is fixed, so no copy is left behind by growing.
pub struct Wiped<T: Word>(Box<[T]>);

impl<T: Word> Wiped<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self(vec![T::default(); len].into_boxed_slice())
    }
}

impl<T: Word> std::ops::Deref for Wiped<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Word> std::ops::DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Word> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.fill(T::default());
        zeroize::optimization_barrier(&*self.0);
    }
}

impl<T: Word> Debug for Wiped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wiped({} words)", self.0.len())
    }
}

/// Deterministic test values (xorshift), so that kernels need no random-number crate.
#[cfg(test)]
pub(crate) fn test_values<T: Word>(seed: u64, len: usize) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::narrow(state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> (64 - T::BITS))
    })
    .take(len)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_work_bit_by_bit() {
        let a = [0b1100, u64::MAX];
        let b = [0b1010, 1 << 63];
        let mut x = a;
        xor_assign(&mut x, &b);
        assert_eq!(x, [0b0110, u64::MAX >> 1]);
        let mut n = a;
        and_assign(&mut n, &b);
        assert_eq!(n, [0b1000, 1 << 63]);
        let mut acc = [0b1111, 0];
        xor_and(&mut acc, &a, &b);
        assert_eq!(acc, [0b0111, 1 << 63]);
    }

    #[test]
    fn wiped_words_print_their_number() {
        let mut words = Wiped::<u32>::zeros(3);
        words[1] = 77;
        assert_eq!((format!("{words:?}"), words.to_vec()), ("Wiped(3 words)".to_owned(), vec![0, 77, 0]));
    }

    #[test]
    fn masks_reach_both_ends() {
        assert_eq!([low_mask(0), low_mask(1), low_mask(63), low_mask(64)], [0, 1, u64::MAX >> 1, u64::MAX]);
    }
}
