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
    /// What the check before has left: the length of its sum of products.
    pub carried: usize,
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

    /// Products that join after the first level: of convolutions, and of the check before.
    pub fn joined(&self) -> usize {
        self.depth + self.carried
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

    /// With what the check before has left of each kind.
    pub fn carry(&mut self, left: [usize; 3]) {
        self.kinds.iter_mut().zip(left).for_each(|(size, left)| size.carried = left);
    }

    /// Whether the check before has left anything.
    pub fn carries(&self) -> bool {
        self.kinds.iter().any(|size| size.carried > 0)
    }

    /// Sums of products with a coefficient of their own: convolutions, and what the check before has left.
    pub fn joined(&self) -> usize {
        self.linear + usize::from(self.carries())
    }

    fn sum_of(&self, of: impl Fn(&Size, Groups) -> usize) -> u64 {
        self.kinds.iter().zip(BYTES).map(|(size, bytes)| (of(size, size.groups()) * bytes) as u64).sum()
    }

    /// Bytes of the record at a party, operands of convolutions apart.
    pub fn record_bytes(&self) -> u64 {
        self.sum_of(|size, Groups { terms, claims }| (4 * terms + 2 * claims) << size.first())
    }

    /// Bytes that a check of this size takes at a party at most, operands of convolutions apart: the record, which gives way to
    /// what the first level makes of it, one vector after the other; coefficients; what joins; and tiles of its loops on two
    /// cores. A further core takes 3 MB more.
    pub fn memory_bytes(&self) -> u64 {
        let all = self.sum_of(|size, Groups { terms, claims }| {
            let (before, after) = (terms << size.first(), DEGREE * terms);
            4 * before.max(after) + ((2 * claims) << size.first()).max(after) + terms + 4 * size.joined()
        });
        if all == 0 { 0 } else { all + TILES }
    }
}
