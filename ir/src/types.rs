//! Types of values: a domain (ring or bit planes), a form (who holds what), a shape.
use std::fmt;

/// A computing party, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Party(pub u8);

impl Party {
    /// Who owns inputs or weights, or receives outputs, and computes nothing: it sends pieces of a sharing to each party and
    /// gets summands back. Programs of fifteen parties have none.
    pub const CLIENT: Party = Party(15);

    /// The index of this party in lists with one entry per party.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Party::CLIENT { f.write_str("the client") } else { write!(f, "party {}", self.0) }
    }
}

/// A set of parties.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holders(pub u16);

impl Holders {
    /// The client alone.
    pub const CLIENT: Holders = Holders(1 << Party::CLIENT.0);

    /// Just `p`.
    pub fn one(p: Party) -> Self {
        Holders(1 << p.0)
    }

    /// The first `n` parties.
    pub fn all(n: u8) -> Self {
        Holders(((1u32 << n) - 1) as u16)
    }

    /// Both.
    pub fn pair(a: Party, b: Party) -> Self {
        Holders(1 << a.0 | 1 << b.0)
    }

    /// Whether `p` is among them.
    pub fn contains(self, p: Party) -> bool {
        self.0 >> p.0 & 1 == 1
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = Party> {
        (0..16).map(Party).filter(move |p| self.contains(*p))
    }

    /// Whether every one of them is in `other`.
    pub fn within(self, other: Holders) -> bool {
        self.0 & !other.0 == 0
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.iter().map(|p| p.0.to_string()).collect();
        write!(f, "{{{}}}", list.join(","))
    }
}

/// A shape as text: `[1x8x8]`.
pub(crate) fn dims(shape: &[u32]) -> String {
    let list: Vec<String> = shape.iter().map(u32::to_string).collect();
    format!("[{}]", list.join("x"))
}

/// What one element is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// Integers mod 2^k, 1 ≤ k ≤ 64.
    Ring(u8),
    /// Words of n bits, stored as bit planes; addition is XOR, the product is AND.
    Bits(u8),
}

impl Domain {
    /// Bits of one element on the wire.
    pub fn width(self) -> u8 {
        match self {
            Domain::Ring(k) | Domain::Bits(k) => k,
        }
    }
}

/// Who holds what of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Known to everyone, part of the program.
    Public,
    /// The protocol's sharing.
    Shared,
    /// One summand at each named party, none is masked: may be reshared or split, never sent bare.
    Sum(Holders),
    /// In the clear at each named party, nowhere else.
    Held(Holders),
}

/// Type of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Type {
    /// Ring or bits.
    pub domain: Domain,
    /// Who holds what.
    pub form: Form,
    /// Dimensions, outermost first.
    pub shape: Vec<u32>,
}

impl Type {
    /// A type from its three parts.
    pub fn new(domain: Domain, form: Form, shape: &[u32]) -> Self {
        Type { domain, form, shape: shape.to_vec() }
    }

    /// Public 64-bit integers.
    pub fn public(shape: &[u32]) -> Self {
        Self::new(Domain::Ring(64), Form::Public, shape)
    }

    /// Number of elements. The verifier has bounded the product.
    pub fn len(&self) -> usize {
        self.shape.iter().map(|d| *d as usize).product()
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of one message that carries each element once.
    pub fn wire_bytes(&self) -> u64 {
        match self.domain {
            Domain::Ring(k) => (self.len() as u64 * u64::from(k)).div_ceil(8),
            Domain::Bits(n) => u64::from(n) * (self.len() as u64).div_ceil(8),
        }
    }

    /// Bytes that one copy takes in memory.
    pub fn memory_bytes(&self) -> u64 {
        match (self.domain, self.form) {
            (Domain::Ring(k), Form::Shared | Form::Sum(_)) if k <= 32 => 4 * self.len() as u64,
            (Domain::Ring(_), _) => 8 * self.len() as u64,
            (Domain::Bits(n), _) => u64::from(n) * 8 * (self.len() as u64).div_ceil(64),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.domain, self.form) {
            (_, Form::Public) => "public",
            (Domain::Ring(_), Form::Shared) => "arith",
            (Domain::Ring(_), Form::Sum(_)) => "sum",
            (Domain::Ring(_), Form::Held(_)) => "held",
            (Domain::Bits(_), Form::Shared) => "bits",
            (Domain::Bits(_), Form::Sum(_)) => "bitsum",
            (Domain::Bits(_), Form::Held(_)) => "heldbits",
        };
        f.write_str(name)?;
        if self.form != Form::Public {
            write!(f, "<{}>", self.domain.width())?;
        }
        f.write_str(&dims(&self.shape))?;
        match self.form {
            Form::Sum(h) | Form::Held(h) => write!(f, "@{h}"),
            _ => Ok(()),
        }
    }
}
