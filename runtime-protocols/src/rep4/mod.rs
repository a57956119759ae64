//! Replicated sharing over Z_2^k and over bits: four parties, of which one may do what it likes; the others abort.
//!
//! **Who holds what.** x = x_0 + x_1 + x_2 + x_3 (XOR on bits). *Part l is the one that party l lacks*; the three others know
//! it. *Key l* is known to all but party l as well. Party i keeps parts and keys as `[i+1, i+2, i+3]` (indices mod 4).
//!
//! **Summands** belong to pairs: each of the six pairs of parties knows one, and they add up. Party i keeps those of the
//! pairs with `[i+1, i+2, i+3]`.
//!
//! **Operands.** x_2 + x_3 is known to parties 0 and 1, x_0 + x_1 to parties 2 and 3; x is their sum.
//!
//! **Messages.** Everything that is sent, owners' inputs apart, is known to two parties. The message is cut in halves; each
//! of the two sends one half and vouches for the other: a hash over all that it vouches for to one receiver in a round
//! follows its messages of that round ([`vouch`]). The receiver compares before it uses anything, and sends nothing of the
//! next round before. What an owner has shared, its two receivers compare in a round of its own ([`exchange`]).
//!
//! **Pad rule.** Every message to party l, openings and hashes apart, is a value minus a fresh segment of key l, addressed by
//! (session, inference, instruction, pair). Party l lacks key l, so a simulator draws the message at random. A hash tells its
//! receiver what it can compute itself.
//!
//! **Why one cheater changes nothing.** Of two who know a message at most one deviates. So a receiver that goes on holds what
//! the honest one of them computed; by induction over the rounds every honest party that goes on holds the pieces of an
//! honest run, and what it sends is what it would have sent there. docs/protocol-rep4.md has the whole argument.
//!
//! Source: A. Dalskov, D. Escudero, M. Keller, "Fantastic Four: Honest-Majority Four-Party Secure Computation with Malicious
//! Security" (ePrint 2020/1330). The operands, the halves and the order of the checks are ours.
mod exchange;
mod keys;
mod local;
mod vouch;

pub use keys::agree;

use crate::data::{Data, Value};
use crate::prg::{Address, KeyStream};
use crate::runtime::{Bilinear, Exchange, Flat, Message, Mismatch, Pad, Runtime};
use ir::{Domain, Form, Holders, Party};
use vouch::Vouching;

/// Number of parties.
const PARTIES: u8 = 4;

/// One party.
pub struct Rep4 {
    me: u8,
    /// Keys i+1, i+2, i+3.
    keys: [KeyStream; 3],
    vouching: Vouching,
}

impl Rep4 {
    /// `seeds[l]` is the seed of key l (own entry unused), as [`agree`] makes them; `session` never repeats.
    pub fn new(me: Party, seeds: &[[u8; 32]], session: &[u8; 16]) -> Self {
        let key = |ahead: u8| KeyStream::new(&seeds[usize::from((me.0 + ahead) % PARTIES)], session);
        Rep4 { me: me.0, keys: [key(1), key(2), key(3)], vouching: Vouching::default() }
    }

    /// Where this party keeps what belongs to `other`: a part, a key, or the summand of the pair with it.
    fn place(&self, other: u8) -> usize {
        place(self.me, other)
    }

    /// A fresh segment of key `l`.
    fn pad(&self, l: u8, pad: Pad, purpose: u32, domain: Domain, len: usize) -> Data {
        let address = Address { inference: pad.inference, instruction: pad.instruction, purpose };
        let mut segment = self.keys[self.place(l)].segment(&address);
        let mut data = Data::zeros(domain, Form::Shared, len);
        match &mut data {
            Data::W32(x) => segment.fill_u32(x),
            Data::W64(x) => segment.fill_u64(x),
            Data::Planes { words, .. } => segment.fill_u64(words),
        }
        data
    }
}

/// Where party `me` keeps what belongs to `other`.
fn place(me: u8, other: u8) -> usize {
    debug_assert_ne!(me, other, "a party has nothing of its own number");
    usize::from((other + PARTIES - me) % PARTIES) - 1
}

impl Runtime for Rep4 {
    fn me(&self) -> Party {
        Party(self.me)
    }

    fn parties(&self) -> u8 {
        PARTIES
    }

    fn pieces(&self, form: Form) -> usize {
        match form {
            Form::Public => 1,
            Form::Shared | Form::Sum(_) => 3,
            Form::Held(h) => usize::from(h.contains(self.me())),
        }
    }

    fn constant_piece(&self, form: Form) -> Option<usize> {
        match form {
            // Constants go into part 3, and into the summand of parties 0 and 1.
            Form::Shared => (self.me != 3).then(|| self.place(3)),
            Form::Sum(_) => (self.me < 2).then(|| self.place(1 - self.me)),
            Form::Held(h) => h.contains(self.me()).then_some(0),
            Form::Public => Some(0),
        }
    }

    fn as_sum(&self, x: &Value, ty: Flat, _at: Holders, bits: u8) -> Value {
        local::as_sum(self, x, ty, bits)
    }

    fn embed(&self, x: &Value, ty: Flat, bits: u8) -> Value {
        local::embed(self, x, ty, bits)
    }

    fn bilinear(&self, a: &Value, b: &Value, product: Bilinear<'_>) -> Value {
        local::bilinear(a, b, product)
    }

    fn operand(&self, x: &Value, ty: Flat, index: u8) -> Value {
        local::operand(self, x, ty, index)
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        exchange::messages(what, ty)
    }

    fn vouches(&self, what: Exchange, ty: Flat) -> Vec<(Party, Party)> {
        exchange::vouches(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        exchange::send(self, pad, what, x, ty, out)
    }

    fn seal(&mut self, out: &mut [Vec<u8>]) {
        self.vouching.seal(out);
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        exchange::receive(self, what, kept, ty, incoming)
    }

    fn check(&mut self, incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        self.vouching.check(incoming)
    }
}
