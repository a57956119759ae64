//! Batch verification of replicated products: three parties, one of which may have lied in any of them.
//!
//! `docs/protocol-rep3-mal.md` has the functionality, the argument and the bound. In short: a party that deviates in a
//! semi-honest product of replicated sharings can do no more than add an error that it knows to the result. [`Record`]
//! keeps the shares of operands and results. A [`Check`] gives each product a random coefficient, which leaves one claim
//! Σ f_i·g_i = z about shared vectors over GR(2^k, 64); levels of [`grid`] make the vectors shorter by a factor 2^t each,
//! at a challenge that nobody knows before the level's messages have arrived; at the end one product of numbers is left,
//! hidden by a random one, and opened.
//!
//! **Messages.** *Coins*: `coin = ⊕_j (s_j ⊕ t_j)`, s_j and t_j segments of key j, which party j lacks; j+1 sends it s_j, j+2
//! sends it t_j, each when it has received all that was sent to it before. So no party knows a coin before both others have
//! its earlier messages, and none can change it. *Products*: each party's summand under pads, as in every reshare. *Compare*:
//! a hash of all coins, so that nothing is opened where two honest parties have different ones. *Open*: each party is sent the
//! part that it lacks by both others; the factors are uniform, their product is claimed, so it tells only errors that the
//! cheater knows. *Agree*: a hash of what was opened.
//!
//! **Several checks.** An *early* check makes two levels and opens nothing: what is left, Σ f_i·g_i = z about shorter vectors, is
//! one more claim of the next check, with a coefficient of its own, so it joins as a convolution does ([`Carried`]). A wrong
//! product must escape its own check and all later ones: at most the sum of their bounds. Coins of all checks are compared
//! before the one opening, at the end of the last.
//!
//! Whoever finds a difference stops, and nothing else is opened: the caller opens results only after [`Check::done`].
mod element;
#[cfg(test)]
mod escape_tests;
mod field;
mod galois;
mod grid;
mod linear;
mod prover;
mod record;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

pub use ir::check::{End, Plan, Size, Sizes, Step};
pub use record::{Layout, Linear, Record};

use crate::prg::Segment;
use element::{Element, tensor};
use field::Gf;
use galois::Gr;
use ir::check::{CHALLENGE, HASH};
use linear::{Inner, inner};
use prover::Prover;
use record::Words;

/// Somebody deviated from the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cheating {
    /// Hashes of the coins differ.
    #[error("the parties do not have the same coins")]
    Coins,
    /// Two parties sent different versions of one part.
    #[error("two parties opened different values of one part")]
    Parts,
    /// A recorded product is wrong.
    #[error("a product is wrong")]
    Product,
    /// Another party has seen another opening.
    #[error("the parties have not opened the same values")]
    Opened,
    /// A message has not the length of its step.
    #[error("a message of the check has the wrong length")]
    Length,
}

/// Segments of the two keys of a party (0: lacked by the next party, 1: by the one after) by purpose; each is asked for
/// once per check.
pub type Streams<'a> = &'a dyn Fn(usize, u32) -> Segment;

/// First purpose of segments that checks use: four for each exchange.
pub const PURPOSES: u32 = 16;

enum Use {
    CoinS,
    CoinT,
    Pads,
    Masks,
}

/// What an early check leaves to the next one.
pub struct Carried {
    bits: Option<Inner<Gf>>,
    narrow: Option<Inner<Gr<u32>>>,
    wide: Option<Inner<Gr<u64>>>,
    /// Every challenge so far.
    coins: Vec<u64>,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Carried({} coins)", self.coins.len())
    }
}

/// One party's side of a check.
pub struct Check {
    me: usize,
    plan: Plan,
    at: usize,
    bits: Prover<Gf>,
    narrow: Prover<Gr<u32>>,
    wide: Prover<Gr<u64>>,
    linear: [Vec<Linear>; 2],
    /// Every challenge so far.
    coins: Vec<u64>,
    /// What this party sent and keeps, in the exchange under way.
    kept: Vec<u8>,
    /// Hash of the coins, then of what was opened.
    seen: [u8; HASH],
    /// Bits of a challenge that are used; all of them, but in tests of the bound.
    strength: u64,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Check(exchange {} of {})", self.at, self.plan.steps.len())
    }
}

/// Convolutions of one word as inner products, the first with coefficient number `first`.
fn inners<W: Words>(
    claims: &[Linear],
    first: usize,
    coins: [&[u64]; 3],
    [rows, columns, count]: [usize; 3],
) -> Vec<Inner<Gr<W>>> {
    if claims.is_empty() {
        return vec![];
    }
    let [alpha, beta, chi] = coins.map(|c| c.iter().map(|w| Gr::challenge(*w)).collect::<Vec<Gr<W>>>());
    let (alpha, beta, chi) = (tensor(&alpha, rows), tensor(&beta, columns), tensor(&chi, count));
    claims.iter().zip(&chi[first..]).map(|(claim, chi)| inner(claim, chi, &alpha, &beta)).collect()
}

/// Coefficient `number` of those that the challenges `chi` give.
fn coefficient<E: Element>(chi: &[u64], number: usize) -> E {
    let set = chi.iter().enumerate().filter(|(v, _)| number >> v & 1 == 1);
    set.fold(E::challenge(1), |product, (_, word)| product.times(&E::challenge(*word)))
}

/// Runs `$body` for the prover of each kind, in the order of the wire.
macro_rules! each {
    ($check:expr, $prover:ident => $body:expr) => {{
        let $prover = &mut $check.bits;
        $body;
        let $prover = &mut $check.narrow;
        $body;
        let $prover = &mut $check.wide;
        $body;
    }};
}

/// Reads elements from the front.
fn take<E: Element>(bytes: &mut &[u8], count: usize) -> Vec<E> {
    let (mine, rest) = bytes.split_at(count * E::BYTES);
    *bytes = rest;
    mine.chunks_exact(E::BYTES).map(E::read).collect()
}

fn hash(purpose: &str, parts: [&[u8]; 2]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(purpose.as_bytes()).update(parts[0]).update(parts[1]);
    *hasher.finalize().as_bytes()
}

impl Check {
    /// A check by party `me` of all that is recorded, and of what the one before has left.
    pub fn new(me: ir::Party, record: Record, end: End, before: Option<Carried>) -> Check {
        assert!(record.complete(), "every product that was planned is recorded");
        let plan = Plan::of(&record.planned, end);
        let [bits, narrow, wide] = plan.levels.clone();
        let before = before.unwrap_or(Carried { bits: None, narrow: None, wide: None, coins: vec![] });
        Check {
            me: me.index(),
            at: 0,
            bits: Prover::new(bits, record.bits, before.bits),
            narrow: Prover::new(narrow, record.narrow, before.narrow),
            wide: Prover::new(wide, record.wide, before.wide),
            linear: record.linear,
            coins: before.coins,
            kept: vec![],
            seen: [0; HASH],
            strength: u64::MAX,
            plan,
        }
    }

    /// What an early check leaves.
    pub fn carry(self) -> Carried {
        assert!(self.done(), "every exchange has been made");
        Carried { bits: self.bits.carry(), narrow: self.narrow.carry(), wide: self.wide.carry(), coins: self.coins }
    }

    /// The exchanges.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether every exchange has been made without finding anything.
    pub fn done(&self) -> bool {
        self.at == self.plan.steps.len()
    }

    /// Two parties in the order of keys and parts: the next and the one after.
    fn others(&self) -> [usize; 2] {
        [(self.me + 1) % 3, (self.me + 2) % 3]
    }

    /// Appends this party's messages of the present exchange.
    pub fn send(&mut self, streams: Streams<'_>, out: &mut [Vec<u8>]) {
        let Some(step) = self.plan.steps.get(self.at).copied() else { return };
        let [next, after] = self.others();
        let segment = |which: usize, what: Use| streams(which, PURPOSES + 4 * self.at as u32 + what as u32);
        match step {
            Step::Coins { count, .. } => {
                let draw = |which: usize, what: Use| {
                    let mut bytes = vec![0; count * CHALLENGE];
                    segment(which, what).fill_bytes(&mut bytes);
                    bytes
                };
                // To each the half of the coins of its own key that is this party's to tell.
                let (to_next, to_after) = (draw(0, Use::CoinT), draw(1, Use::CoinS));
                out[next].extend_from_slice(&to_next);
                out[after].extend_from_slice(&to_after);
                self.kept = xor(&xor(&to_next, &to_after), &xor(&draw(0, Use::CoinS), &draw(1, Use::CoinT)));
            }
            Step::Products { level } => {
                let mut pads = [0, 1].map(|which| segment(which, Use::Pads));
                let mut masks = [0, 1].map(|which| segment(which, Use::Masks));
                let mut mine = Vec::new();
                each!(self, p => for z in p.summands(level, &mut masks) {
                    z.plus(&Element::draw(&mut pads[1])).minus(&Element::draw(&mut pads[0])).write(&mut mine);
                });
                out[next].extend_from_slice(&mine);
                self.kept = mine;
            }
            Step::Compare => {
                let coins: Vec<u8> = self.coins.iter().flat_map(|c| c.to_le_bytes()).collect();
                self.seen = hash("qnnvm check coins 1", [&coins, &[]]);
                [next, after].into_iter().for_each(|to| out[to].extend_from_slice(&self.seen));
            }
            Step::Open => {
                let [to_next, to_after] = self.left();
                out[next].extend_from_slice(&to_next);
                out[after].extend_from_slice(&to_after);
            }
            Step::Agree => [next, after].into_iter().for_each(|to| out[to].extend_from_slice(&self.seen)),
        }
    }

    /// What is left of all kinds: the part that the next party lacks, and the part that the one after lacks.
    fn left(&mut self) -> [Vec<u8>; 2] {
        let mut parts = [vec![], vec![]];
        each!(self, p => for pair in p.left().into_iter().flatten() {
            parts.iter_mut().zip(pair).for_each(|(part, v)| v.write(part));
        });
        parts
    }

    /// Reads this party's messages of the present exchange: `incoming[p]` is what p sent.
    pub fn receive(&mut self, incoming: &[&[u8]]) -> Result<(), Cheating> {
        let Some(step) = self.plan.steps.get(self.at).copied() else { return Ok(()) };
        let lengths = self.plan.messages(step).into_iter().filter(|m| m.to.index() == self.me);
        for m in lengths {
            if incoming.get(m.from.index()).is_none_or(|bytes| bytes.len() as u64 != m.bytes) {
                return Err(Cheating::Length);
            }
        }
        let [next, after] = self.others();
        match step {
            Step::Coins { level, .. } => {
                let bytes = xor(&std::mem::take(&mut self.kept), &xor(incoming[next], incoming[after]));
                let words = bytes.as_chunks::<CHALLENGE>().0.iter().map(|b| u64::from_le_bytes(*b) & self.strength);
                let coins: Vec<u64> = words.collect();
                self.coins.extend_from_slice(&coins);
                self.tossed(level, &coins);
            }
            Step::Products { level } => self.values(level, incoming[after]),
            Step::Compare => {
                if incoming[next] != self.seen || incoming[after] != self.seen {
                    return Err(Cheating::Coins);
                }
            }
            Step::Open => self.opened(incoming[next], incoming[after])?,
            Step::Agree => {
                if incoming[next] != self.seen || incoming[after] != self.seen {
                    return Err(Cheating::Opened);
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Values of a level: the part that the next party lacks came from the one after, the other is this party's own.
    fn values(&mut self, level: usize, theirs: &[u8]) {
        let kept = std::mem::take(&mut self.kept);
        let (mut mine, mut theirs) = (kept.as_slice(), theirs);
        each!(self, p => {
            let count = p.sent(level);
            let (theirs, mine) = (take(&mut theirs, count), take(&mut mine, count));
            p.values = theirs.into_iter().zip(mine).map(|(a, b)| [a, b]).collect();
        });
    }

    /// Goes on with fresh challenges.
    fn tossed(&mut self, levels: usize, coins: &[u64]) {
        if let Some(level) = levels.checked_sub(1) {
            each!(self, p => p.fold(level, coins));
            return;
        }
        let linear = std::mem::take(&mut self.linear);
        let [rows, columns, claims] = self.plan.linear_indices().map(|n| n as usize);
        let (alpha, rest) = coins.split_at(rows);
        let (beta, rest) = rest.split_at(columns);
        let chi = &rest[..claims];
        let of = [alpha, beta, chi];
        let most = self.plan.linear_sizes();
        let (narrow, wide) = (inners(&linear[0], 0, of, most), inners(&linear[1], linear[0].len(), of, most));
        // What was left has the number behind all convolutions.
        let number = linear[0].len() + linear[1].len();
        self.bits.begin(coins, vec![], &coefficient(chi, number));
        self.narrow.begin(coins, narrow, &coefficient(chi, number));
        self.wide.begin(coins, wide, &coefficient(chi, number));
    }

    fn opened(&mut self, one: &[u8], other: &[u8]) -> Result<(), Cheating> {
        if one != other {
            return Err(Cheating::Parts);
        }
        let mut lacked = one;
        let mut all = Vec::new();
        let mut right = true;
        each!(self, p => if let Some(parts) = p.left() {
            let theirs = take(&mut lacked, parts.len());
            let whole = parts.iter().zip(&theirs).map(|(pair, third)| pair[0].plus(&pair[1]).plus(third));
            let whole: Vec<_> = whole.inspect(|v| v.write(&mut all)).collect();
            right &= whole[0].times(&whole[1]) == whole[2];
        });
        self.seen = hash("qnnvm check opened 1", [&self.seen, &all]);
        if right { Ok(()) } else { Err(Cheating::Product) }
    }
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}
