//! How much there is to check; public, the same at every party.
use super::{BYTES, DEGREE};
use crate::types::Domain;

/// Widest first level: 3^6 values.
const WIDEST: u32 = 6;

/// Bytes of the tiles of loops.
const TILES: u64 = 8 << 20;

/// How much of one kind there is; public.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Elements of 64 lanes, and terms, of each sum of element-wise products.
    pub claims: Vec<(usize, usize)>,
    /// Depths of all convolutions together: taps times input channels.
    pub depth: usize,
}

/// Groups of 2^t elements.
pub struct Groups {
    /// Of operands.
    pub terms: usize,
    /// Of results.
    pub claims: usize,
}

impl Size {
    /// Variables of the first level.
    pub fn first(&self) -> u32 {
        let elements: usize = self.claims.iter().map(|(elements, terms)| elements * terms).sum();
        (elements.max(1).ilog2() / 2).min(WIDEST)
    }

    /// How many groups of 2^t elements there are.
    pub fn groups(&self) -> Groups {
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
            Domain::Bits(n) => usize::from(n) * len.div_ceil(64),
            Domain::Ring(_) => len.div_ceil(DEGREE),
        };
        if elements > 0 {
            self.kinds[kind(domain)].claims.push((elements, terms));
        }
    }

    /// With a convolution more: taps times input channels, output pixels, output channels.
    pub fn linear(&mut self, [depth, rows, columns]: [usize; 3], bits: u8) {
        self.kinds[kind(Domain::Ring(bits))].depth += depth;
        self.linear += 1;
        self.rows = self.rows.max(rows);
        self.columns = self.columns.max(columns);
    }

    /// Bytes that a check of this size takes at a party at most: the record, operands of convolutions apart, and what its
    /// first level leaves of it, and tiles of its loops on two cores; a further core takes 3 MB more.
    pub fn memory_bytes(&self) -> u64 {
        let of_kind = |(size, bytes): (&Size, usize)| {
            let Groups { terms, claims } = size.groups();
            (((4 * terms + 2 * claims) << size.first()) * bytes + 4 * (DEGREE * terms + size.depth) * bytes) as u64
        };
        let all: u64 = self.kinds.iter().zip(BYTES).map(of_kind).sum();
        if all == 0 { 0 } else { all + TILES }
    }
}
