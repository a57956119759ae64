//! Replicated sharing over Z_2^k and over bits: three parties, semi-honest, at most one corrupted.
//!
//! **Who holds what.** x = x_0 + x_1 + x_2 (XOR on bits). *Part j is the one that party j lacks*; the two others know
//! it. Each pair of parties has a key with the same numbering: *key j is the one that party j lacks*. Party i keeps
//! its parts as `[part i+1, part i+2]` and its keys likewise (indices mod 3).
//!
//! **Roles.** A = rot, B = rot+1, C = rot+2. x_AB is the part that C lacks, and so on.
//!
//! **With a dealer** ([`Rep3::with_dealer`]): the same sharing, party 2 is A in every instruction and owns nothing. Inputs
//! and weights are shared between the two others, openings are between them, and the program has no other message to party
//! 2. What it sends is a function of its two keys alone, so it can be sent before there is an input: the dealer needs to be
//! there for that only. *Why this is private:* the messages to parties 0 and 1 obey the pad rule as before; the dealer's view
//! is its keys.
//!
//! **Pad rule.** Every message to party P, openings apart, is a value plus a segment of key P, which P lacks, fresh for
//! that message: addressed by (session, inference, instruction or tag of a mask, purpose). Segments of one key thus
//! serve one receiver only. *Why this is private:* number the messages to P so that each depends on P's own view and on
//! pads of earlier ones only. Then for every choice of secrets, pads and messages correspond one to one; uniform pads
//! give uniform messages, and a simulator draws them at random. Openings give P the value minus what P knows: a function
//! of the agreed output.
//!
//! **The numbering** need not be that of time. Without masks time serves: a message is padded by the segment of its own
//! instruction, which nothing before it uses. With masks A deals products of β before the bits that β masks have
//! travelled. There each dealt value that depends on the β of a tag is numbered after the masked bits of that tag: the
//! masked bits depend on pads of what was dealt to compute them, the dealt products on the pads of the masked bits.
//! Such a numbering exists exactly when this has no cycle, counting a `beta` as depending on its `mask`; the verifier
//! refuses a program that has one (rule V10).
//!
//! Source: replicated sharing after Araki, Furukawa, Lindell, Nof, Ohara, "High-Throughput Semi-Honest Secure
//! Three-Party Computation with an Honest Majority" (CCS 2016). The two-operand split is ours.
//!
//! Each file gives its equations and what each message reveals.
pub mod client;
mod exchange;
mod local;

use crate::data::{Data, Value, plane_words};
use crate::prg::{Address, KeyStream, Segment};
use crate::runtime::{Bilinear, Exchange, Flat, Message, Pad, Roles, Runtime};
use ir::{Domain, Form, Holders, Party};
use std::sync::Arc;

/// Purpose of a segment whose `instruction` is the tag of a mask.
const MASKS: u32 = 1;

/// One party.
pub struct Rep3 {
    me: u8,
    /// Keys i+1 and i+2.
    keys: [Arc<KeyStream>; 2],
    /// The party that receives nothing, if there is one.
    dealer: Option<u8>,
}

/// The party that deals in programs with a dealer.
pub const DEALER: Party = Party(2);

impl Rep3 {
    /// `seeds[p]` is the seed agreed with party p (own entry unused); `session` never repeats.
    pub fn new(me: Party, seeds: &[[u8; 32]], session: &[u8; 16]) -> Self {
        let seed_with = |p: u8| Arc::new(KeyStream::new(&seeds[usize::from(p % 3)], session));
        // Key i+1 is lacked by i+1, so it is the one shared with i+2, and the other way round.
        Rep3 { me: me.0, keys: [seed_with(me.0 + 2), seed_with(me.0 + 1)], dealer: None }
    }

    /// The same for programs in which [`DEALER`] receives nothing.
    pub fn with_dealer(me: Party, seeds: &[[u8; 32]], session: &[u8; 16]) -> Self {
        Rep3 { dealer: Some(DEALER.0), ..Rep3::new(me, seeds, session) }
    }

    /// Key `which` (0: lacked by the next party, 1: by the one after).
    pub(crate) fn key(&self, which: usize) -> &KeyStream {
        &self.keys[which]
    }

    /// 0 if this party plays A under `a`, 1 for B, 2 for C.
    fn role(&self, a: u8) -> u8 {
        (self.me + 3 - a % 3) % 3
    }

    /// A fresh segment of key `which` (0: lacked by the next party, 1: by the one after). Purpose 0: pads of instructions;
    /// [`MASKS`]: of tags.
    fn pad(&self, which: usize, pad: Pad, purpose: u32, domain: Domain, len: usize) -> Data {
        let mut segment = self.segment(which, pad, purpose);
        match domain {
            Domain::Ring(k) if k <= 32 => Data::W32(segment.words_u32(len)),
            Domain::Ring(_) => Data::W64(segment.words_u64(len)),
            Domain::Bits(n) => Data::Planes { words: segment.words_u64(usize::from(n) * plane_words(len)), len },
        }
    }

    /// The same, to be mixed into a value.
    fn segment(&self, which: usize, pad: Pad, purpose: u32) -> Segment {
        let address = Address { inference: pad.inference, instruction: pad.instruction, purpose };
        self.keys[which].segment(&address)
    }
}

/// The party outside a pair.
fn outside(pair: Holders) -> u8 {
    (0..3).find(|p| !pair.contains(Party(*p))).expect("two of three parties leave one")
}

impl Runtime for Rep3 {
    fn me(&self) -> Party {
        Party(self.me)
    }

    fn parties(&self) -> u8 {
        3
    }

    fn fork(&self) -> Option<Box<dyn Runtime>> {
        Some(Box::new(Rep3 { me: self.me, keys: self.keys.clone(), dealer: self.dealer }))
    }

    fn pieces(&self, form: Form) -> usize {
        match form {
            Form::Public => 1,
            Form::Shared => 2,
            Form::Sum(h) | Form::Held(h) => usize::from(h.contains(self.me())),
        }
    }

    fn constant_piece(&self, form: Form) -> Option<usize> {
        match form {
            // Constants go into part 0, which party 0 lacks.
            Form::Shared => [None, Some(1), Some(0)][usize::from(self.me)],
            Form::Sum(h) => (h.iter().next() == Some(self.me())).then_some(0),
            Form::Held(h) => h.contains(self.me()).then_some(0),
            Form::Public => Some(0),
        }
    }

    fn as_sum(&self, x: &Value, ty: Flat, at: Holders, bits: u8) -> Value {
        local::as_sum(self, x, ty, at, bits)
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

    fn roles(&self) -> Option<&dyn Roles> {
        Some(self)
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        exchange::messages(what, ty, self.dealer)
    }

    fn has_clients(&self) -> bool {
        // A dealer receives nothing, from a client neither.
        self.dealer.is_none()
    }

    fn for_client(&mut self, pad: Pad, x: &Value, ty: Flat, out: &mut Vec<u8>) {
        client::summand(self, pad, x, ty, out);
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        exchange::send(self, pad, what, x, ty, out)
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        exchange::receive(self, what, kept, ty, incoming)
    }
}

impl Roles for Rep3 {
    fn mul_held(&self, a: &Value, ty: Flat, h: &Value, at: Holders) -> Value {
        local::mul_held(self, a, ty, h, at)
    }

    fn split(&self, pad: Pad, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
        local::split(self, pad, x, ty, rot)
    }

    fn split_shared(&self, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
        local::split_shared(self, x, ty, rot)
    }

    fn beta(&self, pad: Pad, domain: Domain, len: usize, rot: u8) -> Value {
        local::beta(self, pad, domain, len, rot)
    }

    fn mask(&self, pad: Pad, x: &Value, ty: Flat) -> Value {
        local::mask(self, pad, x, ty)
    }
}
