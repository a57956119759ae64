//! One party's piece of a value: flat ring elements or bit planes, with the arithmetic every protocol needs.
use crate::kernels::planes;
use ir::shape::{Broadcast, zip_broadcast};
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
        match (self, bits <= 32) {
            (Data::W64(x), true) => Data::W32(x.iter().map(|v| *v as u32).collect()),
            (Data::W32(x), false) => Data::W64(x.iter().map(|v| u64::from(*v)).collect()),
            (same, _) => same.clone(),
        }
    }

    /// Reduced mod 2^bits, as 64-bit words.
    pub fn reduced(&self, bits: u8) -> Data {
        let mask = if bits >= 64 { u64::MAX } else { (1u64 << bits) - 1 };
        match self {
            Data::W32(x) => Data::W64(x.iter().map(|v| u64::from(*v) & mask).collect()),
            Data::W64(x) => Data::W64(x.iter().map(|v| v & mask).collect()),
            same @ Data::Planes { .. } => same.clone(),
        }
    }

    /// Element-wise combination of equal lengths.
    pub fn zip(&self, other: &Data, how: Zip) -> Data {
        let mut out = self.clone();
        out.zip_assign(other, how);
        out
    }

    /// Element-wise combination in place.
    pub fn zip_assign(&mut self, other: &Data, how: Zip) {
        fn each<T: Copy>(a: &mut [T], b: &[T], f: impl Fn(T, T) -> T) {
            assert_eq!(a.len(), b.len(), "the verifier compared lengths");
            a.iter_mut().zip(b).for_each(|(x, y)| *x = f(*x, *y));
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
        match (self, small) {
            (Data::W32(a), Data::W32(b)) => Data::W32(match how {
                Zip::Add => zip_broadcast(a, b, along, u32::wrapping_add),
                Zip::Sub => zip_broadcast(a, b, along, u32::wrapping_sub),
                Zip::Mul => zip_broadcast(a, b, along, u32::wrapping_mul),
            }),
            (Data::W64(a), Data::W64(b)) => Data::W64(match how {
                Zip::Add => zip_broadcast(a, b, along, u64::wrapping_add),
                Zip::Sub => zip_broadcast(a, b, along, u64::wrapping_sub),
                Zip::Mul => zip_broadcast(a, b, along, u64::wrapping_mul),
            }),
            (Data::W32(_), Data::W64(_)) => self.zip_small(&small.to_ring(32), how, along),
            _ => unreachable!("the verifier compared domains"),
        }
    }

    /// The additive inverse; on bits the same.
    pub fn negate(&mut self) {
        match self {
            Data::W32(x) => x.iter_mut().for_each(|v| *v = v.wrapping_neg()),
            Data::W64(x) => x.iter_mut().for_each(|v| *v = v.wrapping_neg()),
            Data::Planes { .. } => {}
        }
    }

    /// Every bit flipped.
    pub fn invert(&mut self) {
        if let Data::Planes { words, .. } = self {
            words.iter_mut().for_each(|w| *w = !*w);
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

    /// Each piece through `f`.
    pub fn map(&self, mut f: impl FnMut(&Data) -> Data) -> Self {
        Value { parts: self.parts.iter().map(|p| Arc::new(f(p))).collect() }
    }
}
