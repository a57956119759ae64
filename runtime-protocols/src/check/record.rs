//! What is to be checked: the shares of operands and results of every product since the last check.
//!
//! A claim says that c = Σ a·b for replicated sharings, modulo 2^k. Bits are kept 64 to a word as they lie in their
//! planes. Numbers mod 2^k are kept in words of W = 32 or 64 bits, a and c moved up by W − k bits: what is wrong mod 2^k
//! is then wrong mod 2^W, and nothing else is. b is reduced mod 2^k, so that both holders of a part have the same words.
//! Convolutions keep their operands as they are until the check begins.
use super::element::{DEGREE, Element};
use super::field::Gf;
use super::galois::{Base, Gr};
use crate::data::{Data, Value, plane_words};
use crate::kernels::linear::Conv;
use crate::kernels::words::low_mask;
use ir::Domain;
use ir::check::{Groups, Size, Sizes};

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

/// Appends numbers, 64 to an element, zeros at the end. They are moved up by `free` bits, so that those above the ring, which are
/// arbitrary and not the same at both holders, are gone; and back unless `up`.
fn numbers<W: Base>(words: &[W], free: u8, up: bool, out: &mut Vec<Gr<W>>) {
    let back = if up { 0 } else { free };
    let one = |w: &W| W::narrow(W::narrow(w.widen() << free).widen() >> back);
    let lane = |part: &[W], i: usize| part.get(i).map_or(W::default(), one);
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
        // What is carried over is not recorded.
        let mut sizes = Sizes::default();
        sizes.carry([bits, narrow, wide].map(|size| size.carried));
        Record {
            bits: Triples::new(bits),
            narrow: Triples::new(narrow),
            wide: Triples::new(wide),
            linear: Default::default(),
            planned: planned.clone(),
            sizes,
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
                append!(t, terms, c, |v, up, out| numbers(v.w32(), 32 - k, up, out));
            }
            Domain::Ring(k) => {
                let t = &mut self.wide;
                append!(t, terms, c, |v, up, out| numbers(v.w64(), 64 - k, up, out));
            }
        }
    }

    /// A convolution.
    pub fn linear(&mut self, claim: Linear) {
        let g = &claim.geometry;
        self.sizes.linear([g.depth_of_input(), g.pixels(), g.out_c], claim.bits);
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
