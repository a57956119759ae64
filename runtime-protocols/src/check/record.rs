//! What is to be checked: the shares of operands and results of every product since the last check.
//!
//! A claim says that c = a·b for three replicated sharings, modulo 2^k. Bits are kept 64 to a word as they lie in their
//! planes. Numbers mod 2^k are kept in words of W = 32 or 64 bits, a and c moved up by W − k bits: what is wrong mod 2^k
//! is then wrong mod 2^W, and nothing else is. Convolutions keep their operands as they are.
use super::element::{DEGREE, Element};
use super::field::Gf;
use super::galois::{Base, Gr};
use crate::data::{Data, Value, plane_words};
use crate::kernels::linear::Conv;
use crate::kernels::words::low_mask;
use ir::Domain;

/// Element-wise products, 64 to an element; of each operand the two parts that this party holds.
#[derive(Clone)]
pub(super) struct Triples<E> {
    pub(super) a: [Vec<E>; 2],
    pub(super) b: [Vec<E>; 2],
    pub(super) c: [Vec<E>; 2],
}

impl<E> Default for Triples<E> {
    fn default() -> Self {
        Triples { a: Default::default(), b: Default::default(), c: Default::default() }
    }
}

/// How weights lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// `[out][kernel row][kernel column][in / groups]`
    Convolution,
    /// `[kernel row][kernel column][out]`, each output channel reading one input channel.
    Depthwise,
}

/// A convolution or matrix product.
#[derive(Clone)]
pub struct Linear {
    /// How the weights lie.
    pub layout: Layout,
    /// Shapes; of depthwise ones the groups are the input channels.
    pub geometry: Conv,
    /// Width k of the ring.
    pub bits: u8,
    /// Inputs.
    pub x: Value,
    /// Weights.
    pub w: Value,
    /// Results.
    pub c: Value,
}

/// How much of one kind there is; public.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Element-wise products, in elements of 64.
    pub blocks: usize,
    /// Depths of all convolutions together: taps times input channels.
    pub depth: usize,
}

/// How much there is to check; public, the same at every party.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Bits, rings of at most 32 bits, wider rings.
    pub kinds: [Size; 3],
    /// Convolutions.
    pub linear: usize,
    /// Most output pixels of one.
    pub rows: usize,
    /// Most output channels of one.
    pub columns: usize,
}

/// Index in [`Sizes::kinds`].
fn kind(domain: Domain) -> usize {
    match domain {
        Domain::Bits(_) => 0,
        Domain::Ring(k) => 1 + usize::from(k > 32),
    }
}

impl Sizes {
    /// With `len` element-wise products more.
    pub fn each(&mut self, domain: Domain, len: usize) {
        self.kinds[kind(domain)].blocks += match domain {
            Domain::Bits(n) => usize::from(n) * plane_words(len),
            Domain::Ring(_) => len.div_ceil(DEGREE),
        };
    }

    /// With a convolution more.
    pub fn linear(&mut self, geometry: &Conv, bits: u8) {
        self.kinds[kind(Domain::Ring(bits))].depth += geometry.depth_of_input();
        self.linear += 1;
        self.rows = self.rows.max(geometry.pixels());
        self.columns = self.columns.max(geometry.out_c);
    }

    /// Bytes that a record of this size takes at a party, operands of convolutions apart.
    pub fn memory_bytes(&self) -> u64 {
        let size = |i: usize, bytes: usize| 6 * (self.kinds[i].blocks * bytes) as u64;
        size(0, Gf::BYTES) + size(1, Gr::<u32>::BYTES) + size(2, Gr::<u64>::BYTES)
    }
}

/// The products of one party since the last check.
#[derive(Clone, Default)]
pub struct Record {
    pub(super) bits: Triples<Gf>,
    pub(super) narrow: Triples<Gr<u32>>,
    pub(super) wide: Triples<Gr<u64>>,
    pub(super) linear: [Vec<Linear>; 2],
    sizes: Sizes,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({:?})", self.sizes)
    }
}

/// Appends 64 numbers to an element, moved up by `up` bits, zeros at the end.
fn numbers<W: Base>(words: &[W], up: u32, out: &mut Vec<Gr<W>>) {
    out.extend(
        words
            .chunks(DEGREE)
            .map(|part| Gr(std::array::from_fn(|i| part.get(i).map_or(W::default(), |w| W::narrow(w.widen() << up))))),
    );
}

impl Record {
    /// How much has been recorded.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Makes room.
    pub fn reserve(&mut self, sizes: &Sizes) {
        fn room<E>(triples: &mut Triples<E>, blocks: usize) {
            let all = [&mut triples.a, &mut triples.b, &mut triples.c];
            all.into_iter().flatten().for_each(|v| v.reserve_exact(blocks));
        }
        room(&mut self.bits, sizes.kinds[0].blocks);
        room(&mut self.narrow, sizes.kinds[1].blocks);
        room(&mut self.wide, sizes.kinds[2].blocks);
    }

    /// c = a·b, element by element (AND on bits); all have the domain.
    pub fn each(&mut self, domain: Domain, a: &Value, b: &Value, c: &Value) {
        let len = c.parts[0].len();
        self.sizes.each(domain, len);
        match domain {
            Domain::Bits(_) => {
                let words = plane_words(len);
                // Bits beyond the length are arbitrary, and no claim is made about them.
                let last = low_mask(len as u32 % 64).wrapping_sub(u64::from(len.is_multiple_of(64)));
                let t = &mut self.bits;
                for (to, from) in [(&mut t.a, a), (&mut t.b, b), (&mut t.c, c)] {
                    for (to, part) in to.iter_mut().zip(&from.parts) {
                        let masked = |(i, w): (usize, &u64)| Gf(if (i + 1) % words == 0 { w & last } else { *w });
                        to.extend(part.planes().iter().enumerate().map(masked));
                    }
                }
            }
            Domain::Ring(k) if k <= 32 => {
                let t = &mut self.narrow;
                for (to, from, up) in [(&mut t.a, a, 32 - k), (&mut t.b, b, 0), (&mut t.c, c, 32 - k)] {
                    to.iter_mut().zip(&from.parts).for_each(|(to, part)| numbers(part.w32(), up.into(), to));
                }
            }
            Domain::Ring(k) => {
                let t = &mut self.wide;
                for (to, from, up) in [(&mut t.a, a, 64 - k), (&mut t.b, b, 0), (&mut t.c, c, 64 - k)] {
                    to.iter_mut().zip(&from.parts).for_each(|(to, part)| numbers(part.w64(), up.into(), to));
                }
            }
        }
    }

    /// A convolution.
    pub fn linear(&mut self, claim: Linear) {
        self.sizes.linear(&claim.geometry, claim.bits);
        self.linear[usize::from(claim.bits > 32)].push(claim);
    }
}

/// The words of a piece, as the ring has them.
pub(super) trait Words: Base {
    fn of(data: &Data) -> &[Self];
}

impl Words for u32 {
    fn of(data: &Data) -> &[u32] {
        data.w32()
    }
}

impl Words for u64 {
    fn of(data: &Data) -> &[u64] {
        data.w64()
    }
}
