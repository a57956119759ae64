//! The protocols, as data: how many compute, against whom, and who holds what. The one list: compiler and VM match on
//! [`Protocol`] without a wildcard, so a new entry does not build until it has a profile and a runtime.
use crate::types::{Holders, Party};

/// A protocol of this release.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// Replicated sharing among three, roles rotate.
    #[default]
    Rep3,
    /// The same sharing; two compute, the third deals.
    Dealer2,
    /// Replicated sharing among four, of which one may cheat.
    Rep4,
    /// Additive sharing among 2 to [`MOST_PARTIES`], products made ahead by oblivious transfer.
    Semi {
        /// Number of parties.
        parties: u8,
    },
    /// Replicated sharing among three, of which one may cheat.
    Rep3Mal,
}

/// Most parties of a protocol whose number can be chosen.
pub const MOST_PARTIES: u8 = 10;

/// What a corrupted party does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adversary {
    /// It follows the protocol and looks at what it gets.
    SemiHonest,
    /// It does what it likes; the others abort.
    Malicious,
}

impl Adversary {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Adversary::SemiHonest => "semi-honest",
            Adversary::Malicious => "malicious, abort",
        }
    }
}

/// Who holds what in a protocol, as far as type rules depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheme {
    /// Number of parties.
    pub parties: u8,
    /// The groups that hold the operands of a sharing: numbers that add up to it, each known to all of its group and to
    /// nobody else. A group knows nothing of the sum.
    pub operands: &'static [Holders],
    /// Parties that know each summand of a product.
    pub witnesses: u8,
    /// Whether two operands can be split off for roles A, B, C, with masks that A knows.
    pub roles: bool,
    /// Whether what an owner has shared must be compared before it is used.
    pub echo: bool,
    /// Whether a sharing is a summand at each party, and products are made ahead.
    pub additive: bool,
    /// Whether products must be checked before anything is opened.
    pub checked: bool,
}

/// A protocol as a user sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// On the command line and in programs.
    pub name: &'static str,
    /// What a corrupted party does.
    pub adversary: Adversary,
    /// How many may be corrupted.
    pub corrupted: u8,
    /// What is special.
    pub about: &'static str,
    /// The party that receives nothing and owns nothing, if there is one: what it sends can be sent ahead.
    pub dealer: Option<Party>,
    /// Who holds what.
    pub scheme: Scheme,
}

/// Ops of roles: who has them needs no operands.
pub const ROLE_OPS: [&str; 10] =
    ["split", "split_shared", "beta", "mask", "join", "deal", "mul_sh", "leaves_sh", "onehot_sh", "unmask"];

const PAIRS_OF_THREE: &[Holders] = &[Holders(0b110), Holders(0b101), Holders(0b011)];
const SINGLES: &[Holders] = &[
    Holders(1),
    Holders(2),
    Holders(4),
    Holders(8),
    Holders(16),
    Holders(32),
    Holders(64),
    Holders(128),
    Holders(256),
    Holders(512),
];
const REP3: Scheme = Scheme {
    parties: 3,
    operands: PAIRS_OF_THREE,
    witnesses: 1,
    roles: true,
    echo: false,
    additive: false,
    checked: false,
};

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 5] =
        [Protocol::Rep3, Protocol::Dealer2, Protocol::Rep4, Protocol::Semi { parties: 2 }, Protocol::Rep3Mal];

    /// What it is.
    pub const fn facts(self) -> Facts {
        match self {
            Protocol::Rep3 => Facts {
                name: "rep3",
                adversary: Adversary::SemiHonest,
                corrupted: 1,
                about: "replicated sharing, roles rotate",
                dealer: None,
                scheme: REP3,
            },
            Protocol::Dealer2 => Facts {
                name: "dealer2",
                adversary: Adversary::SemiHonest,
                corrupted: 1,
                about: "two compute, party 2 deals ahead and receives nothing",
                dealer: Some(Party(2)),
                scheme: REP3,
            },
            Protocol::Rep4 => Facts {
                name: "rep4",
                adversary: Adversary::Malicious,
                corrupted: 1,
                about: "replicated sharing, every message vouched for by a second party",
                dealer: None,
                scheme: Scheme {
                    parties: 4,
                    operands: &[Holders(0b0011), Holders(0b1100)],
                    witnesses: 2,
                    roles: false,
                    echo: true,
                    additive: false,
                    checked: false,
                },
            },
            Protocol::Semi { parties } => Facts {
                name: "semi",
                adversary: Adversary::SemiHonest,
                corrupted: parties.saturating_sub(1),
                about: "additive sharing, 2 to 10 parties, no dealer: products made ahead by oblivious transfer",
                dealer: None,
                scheme: Scheme {
                    parties,
                    operands: SINGLES.split_at(parties as usize).0,
                    witnesses: 1,
                    roles: false,
                    echo: false,
                    additive: true,
                    checked: false,
                },
            },
            Protocol::Rep3Mal => Facts {
                name: "rep3-mal",
                adversary: Adversary::Malicious,
                corrupted: 1,
                about: "replicated sharing, all products checked before anything is opened",
                dealer: None,
                scheme: Scheme { roles: false, checked: true, ..REP3 },
            },
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Protocol> {
        Self::ALL.into_iter().find(|p| p.facts().name == name)
    }

    /// With this many parties, if it can have them.
    pub fn with_parties(self, parties: u8) -> Option<Protocol> {
        match self {
            Protocol::Semi { .. } => (2..=MOST_PARTIES).contains(&parties).then_some(Protocol::Semi { parties }),
            other => (other.facts().scheme.parties == parties).then_some(other),
        }
    }

    /// That a program names, for its number of parties.
    pub fn of(name: &str, parties: u8) -> Option<Protocol> {
        Self::from_name(name)?.with_parties(parties)
    }
}

impl Scheme {
    /// Of the protocol that a program names. A program of a protocol that this release does not know can be looked at, not
    /// run: three parties may use roles, other numbers have no operands.
    pub fn of(protocol: &str, parties: u8) -> Scheme {
        match Protocol::of(protocol, parties).map(|p| p.facts().scheme) {
            Some(scheme) => scheme,
            _ if parties == 3 => REP3,
            _ => Scheme {
                parties,
                operands: &[],
                witnesses: 1,
                roles: false,
                echo: false,
                additive: false,
                checked: false,
            },
        }
    }

    /// Everyone.
    pub fn all(&self) -> Holders {
        Holders::all(self.parties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_groups_fit() {
        for (i, p) in Protocol::ALL.into_iter().enumerate() {
            let f = p.facts();
            assert_eq!(Protocol::from_name(f.name), Some(p));
            assert!(Protocol::ALL[..i].iter().all(|q| q.facts().name != f.name));
            let scheme = f.scheme;
            assert!(scheme.operands.iter().all(|g| g.within(scheme.all()) && g.count() < scheme.parties.into()));
            assert_eq!(
                f.adversary == Adversary::Malicious,
                scheme.echo || scheme.checked,
                "who may cheat is looked after"
            );
        }
    }
}
