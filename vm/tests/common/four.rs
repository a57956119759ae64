//! Four parties in one process, with keys that the test chooses, and with one thing changed.
#![allow(dead_code, missing_docs, reason = "each test file uses a part")]
use ir::{Domain, Form, Holders, Party, Program};
use runtime_protocols::data::{Data, Value};
use runtime_protocols::kernels::{pack, planes};
use runtime_protocols::link::Link;
use runtime_protocols::link::memory::{Network, Record};
use runtime_protocols::rep4::Rep4;
use runtime_protocols::runtime::{Exchange, Flat, Message, Mismatch, Pad, Runtime};
use vm::exec::Machine;

/// Name of the session.
pub const SESSION: [u8; 16] = [7; 16];

/// Which pair sends to whom, as docs/protocol-rep4.md says.
pub const ROUTES: [([u8; 2], u8); 6] = [([0, 1], 2), ([1, 2], 3), ([2, 3], 0), ([3, 0], 1), ([0, 2], 1), ([1, 3], 0)];

/// The runtime, but for the messages of one instruction, which travel without pads. Hashes are not looked at.
pub struct Bare {
    pub inner: Rep4,
    pub instruction: Option<u32>,
}

pub fn write(domain: Domain, data: &Data) -> Vec<u8> {
    let mut out = Vec::new();
    match (domain, data) {
        (Domain::Ring(k), Data::W32(x)) => pack::pack_u32(k.into(), x, &mut out),
        (Domain::Ring(k), Data::W64(x)) => pack::pack_u64(k.into(), x, &mut out),
        (_, Data::Planes { words, len }) => planes::planes_to_bytes(words, *len, &mut out),
        _ => unreachable!("domain and data agree"),
    }
    out
}

impl Bare {
    /// What this party sends without pads.
    fn bare(&self, what: Exchange, x: &Value, ty: Flat) -> Vec<(u8, Vec<u8>)> {
        let Exchange::Reshare { bits } = what else { return vec![] };
        let domain = match ty.domain {
            Domain::Ring(_) => Domain::Ring(bits),
            d => d,
        };
        let me = self.inner.me().0;
        let bytes = |piece: usize| write(domain, &x.parts[piece].to_ring(bits));
        let held = match ty.form {
            Form::Held(h) => Some(h),
            _ => None,
        };
        if let Some(h) = held.filter(|h| h.count() == 1) {
            return if h.contains(Party(me)) {
                vec![((me + 1) % 4, bytes(0)), ((me + 2) % 4, bytes(0))]
            } else {
                vec![]
            };
        }
        let mine = |(pair, _): &&([u8; 2], u8)| {
            pair.contains(&me) && held.is_none_or(|h| h == Holders::pair(Party(pair[0]), Party(pair[1])))
        };
        let half = |(pair, to): &([u8; 2], u8)| {
            let peer = pair[0] + pair[1] - me;
            let piece = if held.is_some() { 0 } else { usize::from((peer + 4 - me) % 4) - 1 };
            let whole = bytes(piece);
            let (first, second) = whole.split_at(whole.len().div_ceil(2));
            (*to, if me == pair[0] { first.to_vec() } else { second.to_vec() })
        };
        ROUTES.iter().filter(mine).map(half).collect()
    }
}

impl Runtime for Bare {
    runtime_protocols::local_half_of!(inner);

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        self.inner.messages(what, ty)
    }

    fn vouches(&self, what: Exchange, ty: Flat) -> Vec<(Party, Party)> {
        self.inner.vouches(what, ty)
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        let before: Vec<usize> = out.iter().map(Vec::len).collect();
        let kept = self.inner.send(pad, what, x, ty, out);
        if self.instruction == Some(pad.instruction) {
            out.iter_mut().zip(before).for_each(|(out, n)| out.truncate(n));
            for (to, bytes) in self.bare(what, x, ty) {
                out[usize::from(to)].extend(bytes);
            }
        }
        kept
    }

    fn seal(&mut self, out: &mut [Vec<u8>]) {
        self.inner.seal(out);
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        self.inner.receive(what, kept, ty, incoming)
    }

    fn check(&mut self, incoming: &mut [&[u8]]) -> Result<(), Mismatch> {
        match (self.inner.check(incoming), self.instruction) {
            (Err(e), None) => Err(e),
            _ => Ok(()),
        }
    }
}

/// All messages of a run with one input of party 1, who receives the output. `seeds[l]` is that of key l.
pub fn run(p: &Program, input: &[i64], seeds: &[[u8; 32]; 4], bare: Option<u32>) -> (Vec<Record>, Vec<i64>) {
    let (links, transcript) = Network::new(4).recorded();
    let done = super::in_threads(links, |mut link| {
        let me = link.me();
        let mut own = *seeds;
        own[me.index()] = [0; 32];
        let runtime = Bare { inner: Rep4::new(me, &own, &SESSION), instruction: bare };
        let mut m = Machine::new(p.clone(), Box::new(runtime)).expect("verified");
        m.setup(None, &mut link).expect("set-up");
        let o = m.infer(&[(me == Party(1)).then(|| input.to_vec())], &mut link).expect("inference");
        link.close().expect("close");
        o.outputs[0].clone()
    });
    (transcript.records(), done[1].clone().expect("the receiver has it"))
}
