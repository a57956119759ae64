//! What a protocol offers and what its exchanges cost: data, no protocol code.
use ir::{Domain, Form, Holders, Op, Party, Type};

/// Messages of one exchange as (sender, receiver) roles; role r is party base + r.
type Routes = &'static [(u8, u8)];

/// A protocol as the compiler sees it.
pub struct Profile {
    /// Name on the command line and in programs.
    pub name: &'static str,
    /// Number of parties.
    pub parties: u8,
    /// Reshare of one summand (base: its holder), of two (base: the party outside), of three (base: party 0).
    pub reshare: [Routes; 3],
    /// Join of two summands; base: the party outside.
    pub join: Routes,
    /// Deal of what one party holds; base: that party.
    pub deal: Routes,
    /// Opening to one party; base: that party.
    pub open: Routes,
}

/// Replicated sharing among three parties, one of them may be curious.
pub const REP3: Profile = Profile {
    name: "rep3",
    parties: 3,
    reshare: [&[(0, 2)], &[(1, 2), (2, 1)], &[(0, 1), (1, 2), (2, 0)]],
    join: &[(1, 2), (2, 1)],
    deal: &[(0, 1)],
    open: &[(1, 0)],
};

impl Profile {
    /// Messages of an exchange on a value of type `x`: sender, receiver, bytes.
    pub fn messages(&self, op: &Op<ir::Value>, x: &Type) -> Vec<(Party, Party, u64)> {
        let n = self.parties;
        let route = |routes: Routes, base: u8, bits: u8| {
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(bits),
                d => d,
            };
            let bytes = Type::new(domain, x.form, &x.shape).wire_bytes();
            let party = move |r: u8| Party((base + r) % n);
            routes.iter().map(move |(f, t)| (party(*f), party(*t), bytes)).collect::<Vec<_>>()
        };
        let outside = |h: Holders| (0..n).find(|p| !h.contains(Party(*p))).unwrap_or(0);
        match (op, x.form) {
            (Op::Reshare { bits, .. }, Form::Sum(h) | Form::Held(h)) => match h.count() {
                1 => route(self.reshare[0], h.0.trailing_zeros() as u8, *bits),
                2 => route(self.reshare[1], outside(h), *bits),
                _ => route(self.reshare[2], 0, *bits),
            },
            (Op::Join { .. }, Form::Sum(h)) => route(self.join, outside(h), x.domain.width()),
            (Op::Deal { bits, .. }, Form::Held(h)) => route(self.deal, h.0.trailing_zeros() as u8, *bits),
            (Op::Open { to, .. }, _) => to.iter().flat_map(|p| route(self.open, p.0, x.domain.width())).collect(),
            _ => vec![],
        }
    }
}
