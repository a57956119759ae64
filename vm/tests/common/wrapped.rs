//! The runtime with one thing changed, for tests that ask whether the change is noticed. The shipped runtime has no switch
//! that does any of this.
use ir::{Domain, Holders};
use runtime_protocols::data::{Data, Value};
use runtime_protocols::kernels::{pack, planes};
use runtime_protocols::rep3::Rep3;
use runtime_protocols::runtime::{Exchange, Flat, Message, Pad, Roles, Runtime};
use std::sync::{Arc, Mutex};

/// What is changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing.
    None,
    /// Splits give these u at A, and sums v = u + a at B and C.
    Split { u: Vec<u64>, a: Vec<u64> },
    /// The messages of this instruction travel without pads.
    Bare(u32),
    /// The bits masked under this tag travel without pads.
    Unmasked(u32),
}

/// What a party was about to send, by instruction: a function of its view.
pub type Own = Arc<Mutex<Vec<(u32, Value)>>>;

pub struct Wrapped {
    pub inner: Rep3,
    pub change: Change,
    pub own: Own,
}

impl Wrapped {
    fn role(&self, a: u8) -> u8 {
        (self.inner.me().0 + 3 - a % 3) % 3
    }
}

fn write(domain: Domain, data: &Data, out: &mut Vec<u8>) {
    match (domain, data) {
        (Domain::Ring(k), Data::W32(x)) => pack::pack_u32(k.into(), x, out),
        (Domain::Ring(k), Data::W64(x)) => pack::pack_u64(k.into(), x, out),
        (_, Data::Planes { words, len }) => planes::planes_to_bytes(words, *len, out),
        _ => unreachable!("domain and data agree"),
    }
}

impl Runtime for Wrapped {
    runtime_protocols::local_half_of!(inner);

    fn roles(&self) -> Option<&dyn Roles> {
        Some(self)
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        self.inner.messages(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        if let (Some(part), Exchange::Reshare { .. }) = (x.parts.first(), what) {
            self.own.lock().expect("no panic").push((pad.instruction, Value { parts: vec![part.clone()] }));
        }
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        let kept = self.inner.send(pad, what, x, ty, out);
        if !matches!(&self.change, Change::Bare(i) if *i == pad.instruction) {
            return kept;
        }
        let bits = match what {
            Exchange::Reshare { bits } | Exchange::Deal { bits } => bits,
            _ => return kept,
        };
        let domain = match ty.domain {
            Domain::Ring(_) => Domain::Ring(bits),
            d => d,
        };
        for (to, start) in before.into_iter().enumerate() {
            if out[to].len() > start {
                out[to].truncate(start);
                write(domain, &x.parts[0].to_ring(bits), &mut out[to]);
            }
        }
        kept
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        self.inner.receive(what, kept, ty, incoming)
    }
}

impl Roles for Wrapped {
    fn mul_held(&self, a: &Value, ty: Flat, h: &Value, at: Holders) -> Value {
        self.inner.mul_held(a, ty, h, at)
    }

    fn split(&self, pad: Pad, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
        let whole = self.inner.split(pad, x, ty, rot);
        let role = self.role(rot);
        if let (Some(part), true) = (x.parts.first(), role > 0) {
            self.own.lock().expect("no panic").push((pad.instruction, Value { parts: vec![part.clone()] }));
        }
        match &self.change {
            Change::Split { u, a } => {
                let words = |v: Vec<u64>| Data::W32(v.into_iter().map(|w| w as u32).collect());
                match role {
                    0 => [Value::one(Data::W64(u.clone())), Value::none()],
                    1 => [Value::none(), Value::one(words(u.iter().zip(a).map(|(u, a)| u + a).collect()))],
                    _ => [Value::none(), Value::one(words(vec![0; u.len()]))],
                }
            }
            Change::Bare(i) if *i == pad.instruction && role > 0 => [Value::none(), x.clone()],
            _ => whole,
        }
    }

    fn split_shared(&self, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
        self.inner.split_shared(x, ty, rot)
    }

    fn beta(&self, pad: Pad, domain: Domain, len: usize, rot: u8) -> Value {
        self.inner.beta(pad, domain, len, rot)
    }

    fn mask(&self, pad: Pad, x: &Value, ty: Flat) -> Value {
        if let Some(part) = x.parts.first() {
            self.own.lock().expect("no panic").push((u32::MAX - pad.instruction, Value { parts: vec![part.clone()] }));
        }
        let masked = self.inner.mask(pad, x, ty);
        match &self.change {
            Change::Unmasked(tag) if *tag == pad.instruction => x.clone(),
            _ => masked,
        }
    }
}

/// The lowest bit, or the first plane, of each element.
pub fn low_bits(x: &Data) -> Vec<bool> {
    match x {
        Data::W32(v) => v.iter().map(|w| w & 1 == 1).collect(),
        Data::W64(v) => v.iter().map(|w| w & 1 == 1).collect(),
        Data::Planes { words, len } => {
            let per = len.div_ceil(64);
            let planes = words.chunks(per.max(1));
            planes.flat_map(|p| (0..*len).map(|e| p[e / 64] >> (e % 64) & 1 == 1).collect::<Vec<_>>()).collect()
        }
    }
}
