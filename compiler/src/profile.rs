//! What a protocol offers and what its exchanges cost: data, no protocol code. The list of protocols is [`ir::Protocol`].
pub use ir::Protocol;
use ir::check::Claims;
use ir::{Domain, Form, Holders, Op, Party, Scheme, Type};

/// Messages of one exchange as (sender, receiver) roles; role r is party base + r.
type Routes = &'static [(u8, u8)];

/// Bytes of a hash that vouches for messages.
const DIGEST: u64 = 32;

/// Who sends what to whom.
enum Exchanges {
    /// One party knows what it sends.
    Alone {
        /// Reshare of one summand (base: its holder), of two (base: the party outside), of three (base: party 0).
        reshare: [Routes; 3],
        /// Join of two summands; base: the party outside.
        join: Routes,
        /// Deal of what one party holds; base: that party.
        deal: Routes,
        /// Opening to one party; base: that party.
        open: Routes,
    },
    /// Everyone has a summand, and sends it masked with what was made ahead.
    Masked,
    /// Two know what is sent: each sends one half and vouches for the other by a hash over all that it vouches for to one
    /// receiver in a round.
    Vouched {
        /// Each pair, and who receives what it knows.
        pairs: &'static [([u8; 2], u8)],
        /// Whom an owner sends what it shares; base: the owner. They compare it in the exchange after.
        share: Routes,
        /// Who opens; base: the receiver.
        open: [u8; 2],
    },
}

/// A protocol as the compiler sees it.
pub struct Profile {
    /// Name on the command line and in programs.
    pub name: &'static str,
    /// Number of parties.
    pub parties: u8,
    /// Who holds what.
    pub scheme: Scheme,
    /// The party that owns nothing and receives nothing, if there is one: what one party shares or opens stays between the
    /// two others.
    pub dealer: Option<Party>,
    exchanges: Exchanges,
}

const fn profile(protocol: Protocol, exchanges: Exchanges) -> Profile {
    let facts = protocol.facts();
    Profile { name: facts.name, parties: facts.scheme.parties, scheme: facts.scheme, dealer: facts.dealer, exchanges }
}

const fn replicated(open: Routes) -> Exchanges {
    Exchanges::Alone {
        reshare: [&[(0, 2)], &[(1, 2), (2, 1)], &[(0, 1), (1, 2), (2, 0)]],
        join: &[(1, 2), (2, 1)],
        deal: &[(0, 1)],
        open,
    }
}

/// Replicated sharing among three parties, one of them may be curious.
pub const REP3: Profile = profile(Protocol::Rep3, replicated(&[(1, 0)]));

/// Two parties, and a dealer that sends what does not depend on inputs and may be gone before there is one.
pub const DEALER2: Profile = profile(Protocol::Dealer2, replicated(&[(1, 0)]));

/// Replicated sharing among four parties, one of them may cheat.
pub const REP4: Profile = profile(
    Protocol::Rep4,
    Exchanges::Vouched {
        pairs: &[([0, 1], 2), ([1, 2], 3), ([2, 3], 0), ([3, 0], 1), ([0, 2], 1), ([1, 3], 0)],
        share: &[(0, 1), (0, 2)],
        open: [1, 2],
    },
);

const fn semi(parties: u8) -> Profile {
    profile(Protocol::Semi { parties }, Exchanges::Masked)
}

/// Additive sharing among 2 to 10 parties.
static SEMI: [Profile; 9] = [semi(2), semi(3), semi(4), semi(5), semi(6), semi(7), semi(8), semi(9), semi(10)];

/// Replicated sharing among three parties, one of them may cheat: products are checked, and both others open.
pub const REP3_MAL: Profile = profile(Protocol::Rep3Mal, replicated(&[(1, 0), (2, 0)]));

/// What a protocol offers and costs.
pub fn of(protocol: Protocol) -> &'static Profile {
    match protocol {
        Protocol::Rep3 => &REP3,
        Protocol::Dealer2 => &DEALER2,
        Protocol::Rep4 => &REP4,
        Protocol::Semi { parties } => &SEMI[usize::from(parties.clamp(2, 10)) - 2],
        Protocol::Rep3Mal => &REP3_MAL,
    }
}

/// Sender, receiver, bytes.
pub type Messages = Vec<(Party, Party, u64)>;

impl Profile {
    /// Routes of sharing by party `p` and of opening to it where a dealer stays out of both.
    fn between(&self, p: u8) -> Option<(Routes, Routes)> {
        let dealer = self.dealer.filter(|d| d.0 != p)?;
        let next_deals = dealer.0 == (p + 1) % self.parties;
        Some(if next_deals { (&[(0, 2)], &[(2, 0)]) } else { (&[(0, 1)], &[(1, 0)]) })
    }

    /// Pieces of a value that a party has.
    pub fn pieces(&self, form: Form, party: Party) -> u64 {
        match (form, &self.exchanges) {
            (Form::Public, _) | (Form::Shared, Exchanges::Masked) => 1,
            // A part for each other party; a summand for each pair.
            (Form::Shared, _) | (Form::Sum(_), Exchanges::Vouched { .. }) => u64::from(self.parties) - 1,
            (Form::Sum(h) | Form::Held(h), _) => u64::from(h.contains(party)),
        }
    }

    /// Messages of an exchange on a value of type `x`, without what vouches for them.
    pub fn messages(&self, op: &Op<ir::Value>, x: &Type) -> Messages {
        let n = self.parties;
        let bytes_of = |bits: u8| {
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(bits),
                d => d,
            };
            Type::new(domain, x.form, &x.shape).wire_bytes()
        };
        let route = |routes: Routes, base: u8, bits: u8| {
            let bytes = bytes_of(bits);
            let party = move |r: u8| Party((base + r) % n);
            routes.iter().map(move |(f, t)| (party(*f), party(*t), bytes)).collect::<Messages>()
        };
        match &self.exchanges {
            Exchanges::Alone { reshare, join, deal, open } => {
                let outside = |h: Holders| (0..n).find(|p| !h.contains(Party(*p))).unwrap_or(0);
                match (op, x.form) {
                    // What goes to a client and comes from it travels beside the rounds.
                    (Op::Reshare { .. }, Form::Held(Holders::CLIENT)) | (Op::Open { to: Holders::CLIENT, .. }, _) => {
                        vec![]
                    }
                    (Op::Reshare { bits, .. }, Form::Sum(h) | Form::Held(h)) => match h.count() {
                        1 => {
                            let holder = h.0.trailing_zeros() as u8;
                            route(self.between(holder).map_or(reshare[0], |away| away.0), holder, *bits)
                        }
                        2 => route(reshare[1], outside(h), *bits),
                        _ => route(reshare[2], 0, *bits),
                    },
                    (Op::Join { .. }, Form::Sum(h)) => route(join, outside(h), x.domain.width()),
                    (Op::Deal { bits, .. }, Form::Held(h)) => route(deal, h.0.trailing_zeros() as u8, *bits),
                    (Op::Open { to, .. }, _) => to
                        .iter()
                        .flat_map(|p| route(self.between(p.0).map_or(open, |way| way.1), p.0, x.domain.width()))
                        .collect(),
                    _ => vec![],
                }
            }
            Exchanges::Masked => {
                let bytes = x.wire_bytes();
                let to = |q: Party, bytes: u64| (0..n).map(Party).filter(move |p| *p != q).map(move |p| (p, q, bytes));
                match op {
                    Op::Mul { .. } => (0..n).flat_map(|q| to(Party(q), 2 * bytes)).collect(),
                    Op::ToRing { .. } => (0..n).flat_map(|q| to(Party(q), bytes)).collect(),
                    Op::Conv2dSh { at, .. } | Op::DepthwiseSh { at, .. } => {
                        at.iter().flat_map(|q| to(q, bytes)).collect()
                    }
                    Op::Open { to: whom, .. } => whom.iter().flat_map(|q| to(q, bytes)).collect(),
                    _ => vec![],
                }
            }
            Exchanges::Vouched { share, .. } => match (op, x.form) {
                (Op::Reshare { bits, .. }, Form::Held(h)) if h.count() == 1 => {
                    route(share, h.0.trailing_zeros() as u8, *bits)
                }
                (Op::Reshare { bits: k, .. }, _) => halves(&self.joint(op, x), bytes_of(*k)),
                _ => halves(&self.joint(op, x), bytes_of(x.domain.width())),
            },
        }
    }

    /// Pairs that send together, and to whom.
    fn joint(&self, op: &Op<ir::Value>, x: &Type) -> Vec<([Party; 2], Party)> {
        let n = self.parties;
        let Exchanges::Vouched { pairs, open, .. } = &self.exchanges else { return vec![] };
        let all = || pairs.iter().map(|(pair, to)| (pair.map(Party), Party(*to)));
        match (op, x.form) {
            (Op::Reshare { .. }, Form::Held(h)) => all().filter(|([a, b], _)| Holders::pair(*a, *b) == h).collect(),
            (Op::Reshare { .. }, _) => all().collect(),
            (Op::Open { to, .. }, _) => to.iter().map(|p| (open.map(|r| Party((p.0 + r) % n)), p)).collect(),
            _ => vec![],
        }
    }

    /// Who vouches for messages of an exchange, and to whom.
    fn vouches(&self, op: &Op<ir::Value>, x: &Type) -> Vec<(Party, Party)> {
        let n = self.parties;
        match (&self.exchanges, op) {
            (Exchanges::Vouched { share, .. }, Op::Echo { from, .. }) => {
                let party = |(_, r): &(u8, u8)| Party((from.0.trailing_zeros() as u8 + r) % n);
                let all = || share.iter().map(party);
                all().flat_map(|a| all().filter(move |b| *b != a).map(move |b| (a, b))).collect()
            }
            _ => self.joint(op, x).iter().flat_map(|(pair, to)| pair.map(|p| (p, *to))).collect(),
        }
    }

    /// Messages of each exchange of one round, each with the type of what it is about; steps of early checks are about nothing.
    /// What vouches for messages follows the last. `checks` says what the steps of checks are made of.
    pub fn round(&self, exchanges: &[(&Op<ir::Value>, Option<&Type>)], checks: Option<&Claims>) -> Vec<Messages> {
        let one = |(op, x): &(&Op<ir::Value>, Option<&Type>)| match (op, checks) {
            (Op::Check { step, .. }, Some(checks)) => checks.messages(*step),
            _ => x.map_or(vec![], |x| self.messages(op, x)),
        };
        let mut messages: Vec<Messages> = exchanges.iter().map(one).collect();
        let vouches = exchanges.iter().filter_map(|(op, x)| x.map(|x| self.vouches(op, x)));
        let mut vouched: Vec<(Party, Party)> = vouches.flatten().collect();
        vouched.sort_unstable();
        vouched.dedup();
        if let Some(last) = messages.last_mut() {
            last.extend(vouched.into_iter().map(|(from, to)| (from, to, DIGEST)));
        }
        messages
    }
}

/// Each of a pair sends one half.
fn halves(joint: &[([Party; 2], Party)], bytes: u64) -> Messages {
    let first = bytes.div_ceil(2);
    joint.iter().flat_map(|([a, b], to)| [(*a, *to, first), (*b, *to, bytes - first)]).collect()
}
