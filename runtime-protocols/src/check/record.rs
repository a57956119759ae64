//! What is to be checked: the shares of operands and results of every product since the last check.
//!
//! A claim says that c = Σ a·b for replicated sharings, modulo 2^k. Bits are kept 64 to a word as they lie in their
//! planes. Numbers mod 2^k are kept in words of W = 32 or 64 bits, a and c moved up by W − k bits: what is wrong mod 2^k
//! is then wrong mod 2^W, and nothing else is. Convolutions keep their operands as they are.
use super::element::{DEGREE, Element};
use super::field::Gf;
use super::galois::{Base, Gr};
use crate::data::{Data, Value, plane_words};
use crate::kernels::linear::Conv;
use crate::kernels::words::low_mask;
use ir::Domain;

/// Sums of element-wise products, 64 lanes to an element; of each operand the two parts that this party holds. The lanes of a
/// claim are filled up with zeros to a whole number of groups of 2^t elements, so that the blocks of the first level
/// ([`super::grid`]) are the places in a group.
#[derive(Clone)]
pub(super) struct Triples<E> {
    pub(super) a: [Vec<E>; 2],
    pub(super) b: [Vec<E>; 2],
    /// One group for as many groups of `a` and `b` as the claim has terms.
    pub(super) c: [Vec<E>; 2],
    /// Terms and groups of each claim.
    pub(super) claims: Vec<(usize, usize)>,
    t: u32,
}

impl<E: Element> Triples<E> {
    fn new(size: &Size) -> Self {
        let t = size.first();
        let Groups { terms, claims } = size.groups();
        let room = |groups: usize| [0, 1].map(|_| Vec::with_capacity(groups << t));
        Triples { a: room(terms), b: room(terms), c: room(claims), claims: vec![], t }
    }

    /// Fills up the last group.
    fn pad(&mut self) {
        let group = 1usize << self.t;
        for v in self.a.iter_mut().chain(&mut self.b).chain(&mut self.c) {
            v.resize(v.len().next_multiple_of(group), E::ZERO);
        }
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

/// Widest first level: 3^6 values.
const WIDEST: u32 = 6;

/// How much of one kind there is; public.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Elements of 64 lanes, and terms, of each sum of element-wise products.
    pub claims: Vec<(usize, usize)>,
    /// Depths of all convolutions together: taps times input channels.
    pub depth: usize,
}

/// Groups of 2^t elements.
pub(super) struct Groups {
    /// Of operands.
    pub(super) terms: usize,
    /// Of results.
    pub(super) claims: usize,
}

impl Size {
    /// Variables of the first level.
    pub(super) fn first(&self) -> u32 {
        let elements: usize = self.claims.iter().map(|(elements, terms)| elements * terms).sum();
        (elements.max(1).ilog2() / 2).min(WIDEST)
    }

    pub(super) fn groups(&self) -> Groups {
        let groups = |elements: &usize| elements.div_ceil(1 << self.first());
        Groups {
            terms: self.claims.iter().map(|(elements, terms)| groups(elements) * terms).sum(),
            claims: self.claims.iter().map(|(elements, _)| groups(elements)).sum(),
        }
    }
}

/// How much there is to check; public, the same at every party.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
    /// With a sum of `terms` element-wise products of `len` elements more.
    pub fn sum(&mut self, domain: Domain, len: usize, terms: usize) {
        let elements = match domain {
            Domain::Bits(n) => usize::from(n) * plane_words(len),
            Domain::Ring(_) => len.div_ceil(DEGREE),
        };
        if elements > 0 {
            self.kinds[kind(domain)].claims.push((elements, terms));
        }
    }

    /// With a convolution more.
    pub fn linear(&mut self, geometry: &Conv, bits: u8) {
        self.kinds[kind(Domain::Ring(bits))].depth += geometry.depth_of_input();
        self.linear += 1;
        self.rows = self.rows.max(geometry.pixels());
        self.columns = self.columns.max(geometry.out_c);
    }

    /// Bytes that a check of this size takes at a party at most: the record, operands of convolutions apart, and what its
    /// first level leaves of it.
    pub fn memory_bytes(&self) -> u64 {
        let bytes = [Gf::BYTES, Gr::<u32>::BYTES, Gr::<u64>::BYTES];
        let of_kind = |(size, bytes): (&Size, usize)| {
            let Groups { terms, claims } = size.groups();
            (((4 * terms + 2 * claims) << size.first()) * bytes + 4 * (DEGREE * terms + size.depth) * bytes) as u64
        };
        self.kinds.iter().zip(bytes).map(of_kind).sum()
    }
}

/// The products of one party since the last check.
#[derive(Clone)]
pub struct Record {
    pub(super) bits: Triples<Gf>,
    pub(super) narrow: Triples<Gr<u32>>,
    pub(super) wide: Triples<Gr<u64>>,
    pub(super) linear: [Vec<Linear>; 2],
    /// What it has room for.
    pub(super) planned: Sizes,
    sizes: Sizes,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} bytes)", self.planned.memory_bytes())
    }
}

/// Appends numbers, 64 to an element, moved up by `up` bits, zeros at the end.
fn numbers<W: Base>(words: &[W], up: u8, out: &mut Vec<Gr<W>>) {
    let lane = |part: &[W], i: usize| part.get(i).map_or(W::default(), |w| W::narrow(w.widen() << up));
    out.extend(words.chunks(DEGREE).map(|part| Gr(std::array::from_fn(|i| lane(part, i)))));
}

/// Appends planes, a word to an element. Bits beyond the length are arbitrary, and no claim is made about them.
fn bits(planes: &[u64], len: usize, out: &mut Vec<Gf>) {
    let words = plane_words(len);
    let last = if len.is_multiple_of(64) { u64::MAX } else { low_mask(len as u32 % 64) };
    out.extend(planes.iter().enumerate().map(|(i, w)| Gf(if (i + 1) % words == 0 { w & last } else { *w })));
}

/// Appends both parts of a value to an operand, and fills up the group.
macro_rules! append {
    ($triples:expr, $terms:expr, $c:expr, |$value:ident, $up:ident, $out:ident| $append:expr) => {{
        let before = $triples.c[0].len();
        for (a, b) in $terms {
            for (which, value, up) in [(0, *a, true), (1, *b, false)] {
                let to = if which == 0 { &mut $triples.a } else { &mut $triples.b };
                for ($out, $value) in to.iter_mut().zip(&value.parts) {
                    let $up = up;
                    $append;
                }
            }
            $triples.pad();
        }
        for ($out, $value) in $triples.c.iter_mut().zip(&$c.parts) {
            let $up = true;
            $append;
        }
        $triples.pad();
        let groups = ($triples.c[0].len() - before) >> $triples.t;
        if groups > 0 {
            $triples.claims.push(($terms.len(), groups));
        }
    }};
}

impl Record {
    /// Room for so much.
    pub fn new(planned: &Sizes) -> Record {
        let [bits, narrow, wide] = &planned.kinds;
        Record {
            bits: Triples::new(bits),
            narrow: Triples::new(narrow),
            wide: Triples::new(wide),
            linear: Default::default(),
            planned: planned.clone(),
            sizes: Sizes::default(),
        }
    }

    /// Whether everything that was planned is there.
    pub fn complete(&self) -> bool {
        self.planned == self.sizes
    }

    /// c = Σ a·b over the terms, element by element (XOR and AND on bits); all have the domain and the length.
    pub fn sum(&mut self, domain: Domain, terms: &[(&Value, &Value)], c: &Value) {
        let len = c.parts[0].len();
        self.sizes.sum(domain, len, terms.len());
        match domain {
            Domain::Bits(_) => {
                let t = &mut self.bits;
                append!(t, terms, c, |v, _up, out| bits(v.planes(), len, out));
            }
            Domain::Ring(k) if k <= 32 => {
                let t = &mut self.narrow;
                append!(t, terms, c, |v, up, out| numbers(v.w32(), if up { 32 - k } else { 0 }, out));
            }
            Domain::Ring(k) => {
                let t = &mut self.wide;
                append!(t, terms, c, |v, up, out| numbers(v.w64(), if up { 64 - k } else { 0 }, out));
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
