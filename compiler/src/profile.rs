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
    /// The party that owns nothing and receives nothing, if there is one: what one party shares or opens stays between the
    /// two others.
    pub dealer: Option<Party>,
}

/// Replicated sharing among three parties, one of them may be curious.
pub const REP3: Profile = Profile {
    name: "rep3",
    parties: 3,
    reshare: [&[(0, 2)], &[(1, 2), (2, 1)], &[(0, 1), (1, 2), (2, 0)]],
    join: &[(1, 2), (2, 1)],
    deal: &[(0, 1)],
    open: &[(1, 0)],
    dealer: None,
};

/// Two parties, and a dealer that sends what does not depend on inputs and may be gone before there is one.
pub const DEALER2: Profile = Profile { name: "dealer2", dealer: Some(Party(2)), ..REP3 };

/// What programs are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// [`REP3`]
    #[default]
    Rep3,
    /// [`DEALER2`]
    Dealer2,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 2] = [Protocol::Rep3, Protocol::Dealer2];

    /// What it offers and costs.
    pub fn profile(self) -> &'static Profile {
        match self {
            Protocol::Rep3 => &REP3,
            Protocol::Dealer2 => &DEALER2,
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Protocol> {
        Self::ALL.into_iter().find(|p| p.profile().name == name)
    }
}

impl Profile {
    /// Routes of sharing by party `p` and of opening to it where a dealer stays out of both.
    fn between(&self, p: u8) -> Option<(Routes, Routes)> {
        let dealer = self.dealer.filter(|d| d.0 != p)?;
        let next_deals = dealer.0 == (p + 1) % self.parties;
        Some(if next_deals { (&[(0, 2)], &[(2, 0)]) } else { (&[(0, 1)], &[(1, 0)]) })
    }

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
        // What goes to a client and comes from it travels beside the rounds.
        let among = |h: Holders| h != Holders::CLIENT;
        let outside = |h: Holders| (0..n).find(|p| !h.contains(Party(*p))).unwrap_or(0);
        match (op, x.form) {
            (Op::Reshare { bits, .. }, Form::Sum(h) | Form::Held(h)) if among(h) => match h.count() {
                1 => {
                    let holder = h.0.trailing_zeros() as u8;
                    route(self.between(holder).map_or(self.reshare[0], |away| away.0), holder, *bits)
                }
                2 => route(self.reshare[1], outside(h), *bits),
                _ => route(self.reshare[2], 0, *bits),
            },
            (Op::Join { .. }, Form::Sum(h)) => route(self.join, outside(h), x.domain.width()),
            (Op::Deal { bits, .. }, Form::Held(h)) => route(self.deal, h.0.trailing_zeros() as u8, *bits),
            (Op::Open { to, .. }, _) if among(*to) => to
                .iter()
                .flat_map(|p| route(self.between(p.0).map_or(self.open, |way| way.1), p.0, x.domain.width()))
                .collect(),
            _ => vec![],
        }
    }
}
