//! Replicated sharing over Z_2^k and over bits: three parties, of which one may do what it likes; the others stop before
//! anything is opened.
//!
//! **Who holds what** and all messages of products are those of [`crate::rep3`], without roles. A party that deviates in them
//! makes an additive error in a product and can do nothing else: each part that a message makes is held by its sender and its
//! receiver, so what the honest one of them has is the part. All products of an inference are checked at once, before the
//! first opening: [`crate::check`], which the VM runs; docs/protocol-rep3-mal.md has the whole argument.
//!
//! **Open** to p: parties p+1 and p+2 both send the part that p lacks, and p compares. One of them is honest, so p has the right
//! value or stops. It is the value minus what p knows, so p learns just the value. It is sent after the check only (rule V17).
use crate::data::{Value, Zip};
use crate::prg::{Address, Segment};
use crate::rep3::Rep3;
use crate::runtime::{Checked, Exchange, Flat, Message, Mismatch, Pad, Runtime};
use crate::wire::{parse, signed, take, wire_bytes, wire_domain, write};
use ir::Party;

/// One party.
pub struct Rep3Mal {
    inner: Rep3,
    /// Whose opening was not that of the other, in the round under way.
    differs: Option<Party>,
}

impl Rep3Mal {
    /// `seeds[p]` is the seed agreed with party p (own entry unused); `session` never repeats.
    pub fn new(me: Party, seeds: &[[u8; 32]], session: &[u8; 16]) -> Self {
        Rep3Mal { inner: Rep3::new(me, seeds, session), differs: None }
    }

    /// The two others: the next and the one after.
    fn others(&self) -> [usize; 2] {
        others(self.inner.me())
    }
}

fn others(p: Party) -> [usize; 2] {
    [(p.index() + 1) % 3, (p.index() + 2) % 3]
}

impl Runtime for Rep3Mal {
    crate::local_half_of!(inner);

    fn checked(&self) -> Option<&dyn Checked> {
        Some(self)
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        let Exchange::Open { to } = what else { return self.inner.messages(what, ty) };
        let bytes = wire_bytes(wire_domain(what, ty), ty.len);
        let to_one = |p: Party| others(p).map(|from| Message { from: Party(from as u8), to: p, bytes });
        to.iter().flat_map(to_one).collect()
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        let Exchange::Open { to } = what else { return self.inner.send(pad, what, x, ty, out) };
        // The parts of this party are those that the next lacks and that the one after lacks.
        for (part, whom) in x.parts.iter().zip(self.others()) {
            if to.contains(Party(whom as u8)) {
                write(wire_domain(what, ty), part, &mut out[whom]);
            }
        }
        if to.contains(self.me()) { x.clone() } else { Value::none() }
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        let Exchange::Open { to } = what else { return self.inner.receive(what, kept, ty, incoming) };
        if !to.contains(self.me()) {
            return Value::none();
        }
        let domain = wire_domain(what, ty);
        let [one, other] = self.others().map(|q| take(&mut incoming[q], wire_bytes(domain, ty.len) as usize));
        if one != other {
            self.differs = Some(Party(self.others()[1] as u8));
        }
        let mut v = parse(domain, ty.len, one);
        kept.parts.iter().for_each(|own| v.zip_assign(own, Zip::Add));
        Value::one(signed(v, domain))
    }

    fn check(&mut self, _incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        self.differs.take().map_or(Ok(()), |vouching| Err(Mismatch { vouching }))
    }
}

impl Checked for Rep3Mal {
    fn segment(&self, which: usize, pad: Pad, purpose: u32) -> Segment {
        let address = Address { inference: pad.inference, instruction: pad.instruction, purpose };
        self.inner.key(which).segment(&address)
    }
}
