//! One party's piece of a value: flat ring elements or bit planes, with the arithmetic every protocol needs.
use crate::kernels::planes;
use crate::kernels::wide::wide;
use crate::kernels::words::low_mask;
use crate::prg::Segment;
use ir::shape::{Broadcast, zip_broadcast, zip_broadcast_assign};
use ir::{Domain, Form};
use std::sync::Arc;

/// Flat elements. `Debug` prints lengths: contents may be secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Data {
    /// Ring of at most 32 bits; bits above the width are arbitrary.
    W32(Vec<u32>),
    /// Ring of more than 32 bits, held and public integers.
    W64(Vec<u64>),
    /// Bit planes, plane-major; bits beyond the length are arbitrary.
    Planes {
        /// `width · ceil(len/64)` words.
        words: Vec<u64>,
        /// Elements.
        len: usize,
    },
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Data({} elements)", self.len())
    }
}

/// What combines two pieces; on bits `Add` and `Sub` are XOR, `Mul` is AND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zip {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
}

/// Words of one plane.
pub fn plane_words(len: usize) -> usize {
    len.div_ceil(64)
}

impl Data {
    /// Zeros of a domain.
    pub fn zeros(domain: Domain, form: Form, len: usize) -> Self {
        match (domain, form) {
            (Domain::Bits(n), _) => Data::Planes { words: vec![0; usize::from(n) * plane_words(len)], len },
            (Domain::Ring(k), Form::Shared | Form::Sum(_)) if k <= 32 => Data::W32(vec![0; len]),
            (Domain::Ring(_), _) => Data::W64(vec![0; len]),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::W32(x) => x.len(),
            Data::W64(x) => x.len(),
            Data::Planes { len, .. } => *len,
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Data::W32(x) => 4 * x.len(),
            Data::W64(x) => 8 * x.len(),
            Data::Planes { words, .. } => 8 * words.len(),
        }
    }

    /// The elements as 64-bit words; the caller knows that they are.
    pub fn w64(&self) -> &[u64] {
        match self {
            Data::W64(x) => x,
            _ => unreachable!("the verifier saw a held or public value"),
        }
    }

    /// The elements as 64-bit words, to be changed; the caller knows that they are.
    pub fn w64_mut(&mut self) -> &mut [u64] {
        match self {
            Data::W64(x) => x,
            _ => unreachable!("the verifier saw a held or public value"),
        }
    }

    /// The elements as 32-bit words; the caller knows that they are.
    pub fn w32(&self) -> &[u32] {
        match self {
            Data::W32(x) => x,
            _ => unreachable!("the verifier saw a ring of at most 32 bits"),
        }
    }

    /// The plane words; the caller knows that they are.
    pub fn planes(&self) -> &[u64] {
        match self {
            Data::Planes { words, .. } => words,
            _ => unreachable!("the verifier saw bits"),
        }
    }

    /// The same numbers for a ring of `bits` bits.
    pub fn to_ring(&self, bits: u8) -> Data {
        self.other_words(bits).unwrap_or_else(|| self.clone())
    }

    /// The same numbers in the words of a ring of `bits` bits, if those are not the words they are in.
    fn other_words(&self, bits: u8) -> Option<Data> {
        wide(
            #[inline(always)]
            || match (self, bits <= 32) {
                (Data::W64(x), true) => Some(Data::W32(x.iter().map(|v| *v as u32).collect())),
                (Data::W32(x), false) => Some(Data::W64(x.iter().map(|v| u64::from(*v)).collect())),
                _ => None,
            },
        )
    }

    /// Reduced mod 2^bits, as 64-bit words.
    pub fn reduced(self, bits: u8) -> Data {
        let mask = low_mask(bits.into());
        match self {
            Data::W32(x) => {
                let reduced = wide(
                    #[inline(always)]
                    || x.iter().map(|v| u64::from(*v) & mask).collect(),
                );
                Data::W64(reduced)
            }
            Data::W64(mut x) => {
                wide(
                    #[inline(always)]
                    || x.iter_mut().for_each(|v| *v &= mask),
                );
                Data::W64(x)
            }
            same @ Data::Planes { .. } => same,
        }
    }

    /// Element-wise combination of equal lengths.
    pub fn zip(&self, other: &Data, how: Zip) -> Data {
        fn each<T: Copy>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> Vec<T> {
            assert_eq!(a.len(), b.len(), "the verifier compared lengths");
            wide(
                #[inline(always)]
                || a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect(),
            )
        }
        match (self, other, how) {
            (Data::W32(a), Data::W32(b), Zip::Add) => Data::W32(each(a, b, u32::wrapping_add)),
            (Data::W32(a), Data::W32(b), Zip::Sub) => Data::W32(each(a, b, u32::wrapping_sub)),
            (Data::W32(a), Data::W32(b), Zip::Mul) => Data::W32(each(a, b, u32::wrapping_mul)),
            (Data::W64(a), Data::W64(b), Zip::Add) => Data::W64(each(a, b, u64::wrapping_add)),
            (Data::W64(a), Data::W64(b), Zip::Sub) => Data::W64(each(a, b, u64::wrapping_sub)),
            (Data::W64(a), Data::W64(b), Zip::Mul) => Data::W64(each(a, b, u64::wrapping_mul)),
            (Data::Planes { words: a, len }, Data::Planes { words: b, .. }, how) => {
                let words = if how == Zip::Mul { each(a, b, |x, y| x & y) } else { each(a, b, |x, y| x ^ y) };
                Data::Planes { words, len: *len }
            }
            _ => unreachable!("the verifier compared domains"),
        }
    }

    /// Element-wise combination in place.
    pub fn zip_assign(&mut self, other: &Data, how: Zip) {
        fn each<T: Copy>(a: &mut [T], b: &[T], f: impl Fn(T, T) -> T) {
            assert_eq!(a.len(), b.len(), "the verifier compared lengths");
            wide(
                #[inline(always)]
                || a.iter_mut().zip(b).for_each(|(x, y)| *x = f(*x, *y)),
            );
        }
        match (self, other, how) {
            (Data::W32(a), Data::W32(b), Zip::Add) => each(a, b, u32::wrapping_add),
            (Data::W32(a), Data::W32(b), Zip::Sub) => each(a, b, u32::wrapping_sub),
            (Data::W32(a), Data::W32(b), Zip::Mul) => each(a, b, u32::wrapping_mul),
            (Data::W64(a), Data::W64(b), Zip::Add) => each(a, b, u64::wrapping_add),
            (Data::W64(a), Data::W64(b), Zip::Sub) => each(a, b, u64::wrapping_sub),
            (Data::W64(a), Data::W64(b), Zip::Mul) => each(a, b, u64::wrapping_mul),
            (Data::Planes { words: a, .. }, Data::Planes { words: b, .. }, Zip::Mul) => each(a, b, |x, y| x & y),
            (Data::Planes { words: a, .. }, Data::Planes { words: b, .. }, _) => each(a, b, |x, y| x ^ y),
            _ => unreachable!("the verifier compared domains"),
        }
    }

    /// Element-wise combination with a smaller tensor repeated along this one.
    pub fn zip_small(&self, small: &Data, how: Zip, along: &Broadcast) -> Data {
        fn each<T: Copy>(a: &[T], b: &[T], along: &Broadcast, f: impl Fn(T, T) -> T) -> Vec<T> {
            wide(
                #[inline(always)]
                || zip_broadcast(a, b, along, f),
            )
        }
        match (self, small) {
            (Data::W32(a), Data::W32(b)) => Data::W32(match how {
                Zip::Add => each(a, b, along, u32::wrapping_add),
                Zip::Sub => each(a, b, along, u32::wrapping_sub),
                Zip::Mul => each(a, b, along, u32::wrapping_mul),
            }),
            (Data::W64(a), Data::W64(b)) => Data::W64(match how {
                Zip::Add => each(a, b, along, u64::wrapping_add),
                Zip::Sub => each(a, b, along, u64::wrapping_sub),
                Zip::Mul => each(a, b, along, u64::wrapping_mul),
            }),
            (Data::W32(_), Data::W64(_)) => self.zip_small(&small.to_ring(32), how, along),
            _ => unreachable!("the verifier compared domains"),
        }
    }

    /// The same in place.
    pub fn zip_small_assign(&mut self, small: &Data, how: Zip, along: &Broadcast) {
        fn each<T: Copy>(a: &mut [T], b: &[T], along: &Broadcast, f: impl Fn(T, T) -> T) {
            wide(
                #[inline(always)]
                || zip_broadcast_assign(a, b, along, f),
            );
        }
        match (self, small, how) {
            (Data::W32(a), Data::W32(b), Zip::Add) => each(a, b, along, u32::wrapping_add),
            (Data::W32(a), Data::W32(b), Zip::Sub) => each(a, b, along, u32::wrapping_sub),
            (Data::W32(a), Data::W32(b), Zip::Mul) => each(a, b, along, u32::wrapping_mul),
            (Data::W64(a), Data::W64(b), Zip::Add) => each(a, b, along, u64::wrapping_add),
            (Data::W64(a), Data::W64(b), Zip::Sub) => each(a, b, along, u64::wrapping_sub),
            (Data::W64(a), Data::W64(b), Zip::Mul) => each(a, b, along, u64::wrapping_mul),
            (narrow @ Data::W32(_), Data::W64(_), how) => narrow.zip_small_assign(&small.to_ring(32), how, along),
            _ => unreachable!("the verifier compared domains"),
        }
    }

    /// Adds, subtracts (on bits: XORs) or multiplies by the next words of a key stream, in place.
    pub fn mix_pad(&mut self, pad: &mut Segment, how: Zip) {
        match (self, how) {
            (Data::W32(x), Zip::Add) => pad.mix_u32(x, u32::wrapping_add),
            (Data::W32(x), Zip::Sub) => pad.mix_u32(x, u32::wrapping_sub),
            (Data::W64(x), Zip::Add) => pad.mix_u64(x, u64::wrapping_add),
            (Data::W64(x), Zip::Sub) => pad.mix_u64(x, u64::wrapping_sub),
            (Data::Planes { words, .. }, Zip::Add | Zip::Sub) => pad.mix_u64(words, |x, y| x ^ y),
            (_, Zip::Mul) => unreachable!("pads are added"),
        }
    }

    /// The additive inverse; on bits the same.
    pub fn negate(&mut self) {
        wide(
            #[inline(always)]
            || match self {
                Data::W32(x) => x.iter_mut().for_each(|v| *v = v.wrapping_neg()),
                Data::W64(x) => x.iter_mut().for_each(|v| *v = v.wrapping_neg()),
                Data::Planes { .. } => {}
            },
        );
    }

    /// Every bit flipped.
    pub fn invert(&mut self) {
        if let Data::Planes { words, .. } = self {
            wide(
                #[inline(always)]
                || words.iter_mut().for_each(|w| *w = !*w),
            );
        }
    }

    /// Bits `lo .. lo+width` of held integers.
    pub fn to_planes(&self, lo: u8, width: u8) -> Data {
        let x = self.w64();
        let mut words = vec![0; usize::from(width) * plane_words(x.len())];
        planes::to_planes_u64(x, u32::from(width), u32::from(lo), &mut words);
        Data::Planes { words, len: x.len() }
    }

    /// Planes as unsigned integers.
    pub fn to_numbers(&self, width: u8) -> Data {
        let mut out = vec![0u64; self.len()];
        planes::from_planes_u64(self.planes(), u32::from(width), &mut out);
        Data::W64(out)
    }
}

/// A party's pieces of a value: as many as the form gives it, cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// Pieces, in the order the protocol fixes.
    pub parts: Vec<Arc<Data>>,
}

impl Value {
    /// One piece.
    pub fn one(data: Data) -> Self {
        Value { parts: vec![Arc::new(data)] }
    }

    /// Pieces in order.
    pub fn of(parts: impl IntoIterator<Item = Data>) -> Self {
        Value { parts: parts.into_iter().map(Arc::new).collect() }
    }

    /// Nothing: this party holds no piece.
    pub fn none() -> Self {
        Value::default()
    }

    /// Piece `i` for a ring of `bits` bits, shared where its words stay.
    pub fn fit(&self, i: usize, bits: u8) -> Arc<Data> {
        let piece = &self.parts[i];
        piece.other_words(bits).map_or_else(|| piece.clone(), Arc::new)
    }

    /// Each piece through `f`.
    pub fn map(&self, mut f: impl FnMut(&Data) -> Data) -> Self {
        Value { parts: self.parts.iter().map(|p| Arc::new(f(p))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::wide::Isa;
    use crate::kernels::words::test_values;

    /// Both ways to combine, the small tensor included, against one element at a time.
    fn check() {
        for len in [0usize, 1, 15, 16, 17, 63, 65, 1001] {
            let (a, b): (Vec<u64>, Vec<u64>) = (test_values(1, len), test_values(2, len));
            let short = |v: &[u64]| Data::W32(v.iter().map(|v| *v as u32).collect());
            let planes = |v: &[u64]| Data::Planes { words: v.to_vec(), len: 64 * v.len() };
            for (how, f) in [
                (Zip::Add, u64::wrapping_add as fn(u64, u64) -> u64),
                (Zip::Sub, u64::wrapping_sub),
                (Zip::Mul, u64::wrapping_mul),
            ] {
                let want: Vec<u64> = a.iter().zip(&b).map(|(a, b)| f(*a, *b)).collect();
                let bits: Vec<u64> =
                    a.iter().zip(&b).map(|(a, b)| if how == Zip::Mul { a & b } else { a ^ b }).collect();
                for (x, y, z) in [
                    (Data::W64(a.clone()), Data::W64(b.clone()), Data::W64(want.clone())),
                    (short(&a), short(&b), short(&want)),
                    (planes(&a), planes(&b), planes(&bits)),
                ] {
                    assert!(x.zip(&y, how) == z, "{:?} {how:?} {len}", Isa::best());
                    let mut own = x.clone();
                    own.zip_assign(&y, how);
                    assert!(own == z, "{:?} {how:?} {len} in place", Isa::best());
                }
                let wide: Vec<u64> = test_values(3, 3 * len);
                let along = Broadcast::new(&[len as u32], &[3, len as u32]);
                let want: Vec<u64> = wide.iter().enumerate().map(|(i, x)| f(*x, b[i % len])).collect();
                for (x, want) in [(Data::W64(wide.clone()), Data::W64(want.clone())), (short(&wide), short(&want))] {
                    let small = Data::W64(b.clone());
                    assert!(x.zip_small(&small, how, &along) == want, "{:?} {how:?} {len} small", Isa::best());
                    let mut own = x.clone();
                    own.zip_small_assign(&small, how, &along);
                    assert!(own == want, "{:?} {how:?} {len} small in place", Isa::best());
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_combines_alike() {
        #[cfg(debug_assertions)]
        Isa::available().for_each(|isa| isa.at_most(check));
        check();
    }

    /// A change of ring keeps numbers modulo the smaller one, whatever the widths.
    #[test]
    fn every_change_of_ring_is_exact() {
        let values: Vec<u64> = test_values(4, 100);
        let ring = |k: u8| if k <= 32 { Data::W64(values.clone()).to_ring(32) } else { Data::W64(values.clone()) };
        for from in 1..=64u8 {
            for to in 1..=64u8 {
                let least = from.min(to);
                let there = ring(from).to_ring(to).reduced(least);
                let want = Data::W64(values.iter().map(|v| v & low_mask(least.into())).collect());
                assert!(there == want, "from {from} to {to} bits");
                let own = Value::one(ring(from));
                assert!(Data::clone(&own.fit(0, to)).reduced(least) == want, "from {from} to {to} bits, shared");
            }
        }
    }
}
