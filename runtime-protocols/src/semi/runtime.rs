//! The protocol as the VM sees it.
use super::prep::Prep;
use super::{Need, Stock, online};
use crate::data::{Data, Value, Zip};
use crate::ot::OtError;
use crate::prg::{Address, KeyStream};
use crate::runtime::{Bilinear, Exchange, Flat, Message, Offline, OfflineError, Pad, Runtime};
use crate::wire::{read, signed, wire_bytes, write};
use ir::{Domain, Form, Holders, Party};
use std::collections::{HashMap, VecDeque};
use zeroize::Zeroizing;

/// One party.
pub struct Semi {
    me: u8,
    parties: u8,
    /// Known to this party alone.
    seed: Zeroizing<[u8; 32]>,
    session: [u8; 16],
    /// Streams in common with each other party, for shares of zero.
    zeros: Vec<Option<KeyStream>>,
    prep: Option<Prep>,
    /// Instructions of the needs.
    instructions: Vec<u32>,
    /// The first inference of the batch under way.
    batch: u64,
    /// By inference and instruction.
    stock: HashMap<(u64, u32), Stock>,
    /// Of exchanges whose replies are awaited, in order.
    pending: VecDeque<Stock>,
}

impl Semi {
    /// `seeds[p]` is the seed agreed with party p, `seeds[me]` one that no other party has; `session` never repeats.
    pub fn new(me: Party, seeds: &[[u8; 32]], session: &[u8; 16]) -> Self {
        let stream = |(p, seed): (usize, &[u8; 32])| (p != me.index()).then(|| KeyStream::new(seed, session));
        Semi {
            me: me.0,
            parties: seeds.len() as u8,
            seed: Zeroizing::new(seeds[me.index()]),
            session: *session,
            zeros: seeds.iter().enumerate().map(stream).collect(),
            prep: None,
            instructions: vec![],
            batch: 0,
            stock: HashMap::new(),
            pending: VecDeque::new(),
        }
    }

    fn first(&self) -> bool {
        self.me == 0
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = usize::from(self.me);
        (0..usize::from(self.parties)).filter(move |p| *p != me)
    }

    /// This party's share of zero: what two parties have in common, added by the lower one and taken away by the other.
    fn zero(&self, pad: Pad, domain: Domain, len: usize) -> Data {
        let mut sum = Data::zeros(domain, Form::Shared, len);
        for (p, stream) in self.zeros.iter().enumerate() {
            let Some(stream) = stream else { continue };
            let address = Address { inference: pad.inference, instruction: pad.instruction, purpose: 0 };
            let mut segment = stream.segment(&address);
            let mut data = Data::zeros(domain, Form::Shared, len);
            match &mut data {
                Data::W32(x) => segment.fill_u32(x),
                Data::W64(x) => segment.fill_u64(x),
                Data::Planes { words, .. } => segment.fill_u64(words),
            }
            sum.zip_assign(&data, if p > usize::from(self.me) { Zip::Add } else { Zip::Sub });
        }
        sum
    }

    fn take(&mut self, pad: Pad) -> Stock {
        let key = (pad.inference, pad.instruction);
        self.stock.remove(&key).expect("made before the inference, used once")
    }

    /// Own value plus those of all others, read from the front of each message.
    fn opened(&self, own: &Data, domain: Domain, len: usize, incoming: &mut [&[u8]]) -> Data {
        let mut sum = own.clone();
        self.others().for_each(|p| sum.zip_assign(&read(domain, len, &mut incoming[p]), Zip::Add));
        sum
    }
}

/// Elements as 64-bit words.
fn wide(x: &Data) -> Vec<u64> {
    match x {
        Data::W32(x) => x.iter().map(|v| u64::from(*v)).collect(),
        Data::W64(x) => x.clone(),
        Data::Planes { words, .. } => words.clone(),
    }
}

fn narrow(x: Vec<u64>, domain: Domain, len: usize) -> Data {
    match domain {
        Domain::Ring(k) => Data::W64(x).to_ring(k),
        Domain::Bits(_) => Data::Planes { words: x, len },
    }
}

impl Runtime for Semi {
    fn me(&self) -> Party {
        Party(self.me)
    }

    fn parties(&self) -> u8 {
        self.parties
    }

    fn pieces(&self, form: Form) -> usize {
        match form {
            Form::Public | Form::Shared => 1,
            Form::Sum(h) | Form::Held(h) => usize::from(h.contains(self.me())),
        }
    }

    fn constant_piece(&self, form: Form) -> Option<usize> {
        match form {
            Form::Shared => self.first().then_some(0),
            Form::Sum(h) => (h.iter().next() == Some(self.me())).then_some(0),
            Form::Held(h) => h.contains(self.me()).then_some(0),
            Form::Public => Some(0),
        }
    }

    /// A sharing is summands already. What is held is the summand of the first who holds it.
    fn as_sum(&self, x: &Value, ty: Flat, at: Holders, bits: u8) -> Value {
        let domain = match ty.domain {
            Domain::Ring(_) => Domain::Ring(bits),
            d => d,
        };
        let zeros = || Value::one(Data::zeros(domain, Form::Shared, ty.len));
        match ty.form {
            _ if !at.contains(self.me()) => Value::none(),
            Form::Held(h) if h.iter().find(|q| at.contains(*q)) != Some(self.me()) => zeros(),
            Form::Sum(h) if !h.contains(self.me()) => zeros(),
            _ => x.map(|d| d.to_ring(bits)),
        }
    }

    fn embed(&self, x: &Value, ty: Flat, bits: u8) -> Value {
        match ty.form {
            Form::Held(_) => self.as_sum(x, ty, Holders::all(self.parties), bits),
            _ => x.map(|d| d.to_ring(bits)),
        }
    }

    fn bilinear(&self, _: &Value, _: &Value, _: Bilinear<'_>) -> Value {
        unreachable!("compared at load: products of this protocol are exchanges")
    }

    fn operand(&self, x: &Value, ty: Flat, index: u8) -> Value {
        if index != self.me {
            return Value::none();
        }
        x.map(|d| d.clone().reduced(ty.domain.width()))
    }

    fn offline(&mut self) -> Option<&mut dyn Offline> {
        Some(self)
    }

    fn messages(&self, what: Exchange, ty: Flat) -> Vec<Message> {
        let bytes = wire_bytes(ty.domain, ty.len);
        let n = self.parties;
        let to = |q: Party, bytes: u64| {
            let others = (0..n).map(Party).filter(move |p| *p != q);
            others.map(move |from| Message { from, to: q, bytes })
        };
        match what {
            Exchange::Mul => (0..n).flat_map(|q| to(Party(q), 2 * bytes)).collect(),
            Exchange::ToRing { .. } => (0..n).flat_map(|q| to(Party(q), bytes)).collect(),
            Exchange::Linear { owner } => to(owner, bytes).collect(),
            Exchange::Open { to: whom } => whom.iter().flat_map(|q| to(q, bytes)).collect(),
            Exchange::Reshare { .. } | Exchange::Echo { .. } | Exchange::Join | Exchange::Deal { .. } => vec![],
        }
    }

    fn send(&mut self, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
        let (domain, len) = (ty.domain, ty.len);
        match what {
            Exchange::Mul => {
                let stock = self.take(pad);
                let [x, y] = [0, 1].map(|i| wide(&x.parts[i]));
                let masked = match domain {
                    Domain::Bits(_) => online::mask_bits(&x, &y, &stock),
                    Domain::Ring(_) => online::mask_ring(&x, &y, &stock),
                };
                let masked = masked.map(|m| narrow(m, domain, len));
                self.others().for_each(|p| masked.iter().for_each(|m| write(domain, m, &mut out[p])));
                self.pending.push_back(stock);
                Value::of(masked)
            }
            Exchange::ToRing { .. } => {
                let stock = self.take(pad);
                let masked = narrow(online::mask_shared_bits(&wide(&x.parts[0]), &stock), domain, len);
                self.others().for_each(|p| write(domain, &masked, &mut out[p]));
                self.pending.push_back(stock);
                Value::one(masked)
            }
            Exchange::Linear { owner } => {
                let stock = self.take(pad);
                let kept = narrow(online::summands(&stock).to_vec(), domain, len);
                if owner == self.me() {
                    return Value { parts: vec![x.parts[0].clone(), std::sync::Arc::new(kept)] };
                }
                let masked = narrow(online::mask_input(&wide(&x.parts[0]), &stock), domain, len);
                write(domain, &masked, &mut out[owner.index()]);
                Value::one(kept)
            }
            Exchange::Open { to } => {
                let mut y = x.parts[0].to_ring(domain.width());
                y.zip_assign(&self.zero(pad, domain, len), Zip::Add);
                for p in to.iter().filter(|p| *p != self.me()) {
                    write(domain, &y, &mut out[p.index()]);
                }
                if to.contains(self.me()) { Value::one(y) } else { Value::none() }
            }
            _ => unreachable!("verified: the protocol has no roles, and shares without a message"),
        }
    }

    fn receive(&mut self, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
        let (domain, len) = (ty.domain, ty.len);
        match what {
            Exchange::Mul => {
                let stock = self.pending.pop_front().expect("sent before");
                // Both factors of one party follow each other.
                let mut sums = [&kept.parts[0], &kept.parts[1]].map(|d| (**d).clone());
                for p in self.others() {
                    sums.iter_mut().for_each(|s| s.zip_assign(&read(domain, len, &mut incoming[p]), Zip::Add));
                }
                let [d, e] = [wide(&sums[0]), wide(&sums[1])];
                let product = match domain {
                    Domain::Bits(_) => online::product_of_bits(&d, &e, self.first(), &stock),
                    Domain::Ring(_) => online::product_in_ring(&d, &e, self.first(), &stock),
                };
                Value::one(narrow(product, domain, len))
            }
            Exchange::ToRing { bits } => {
                let stock = self.pending.pop_front().expect("sent before");
                let e = wide(&self.opened(&kept.parts[0], domain, len, incoming));
                Value::one(narrow(online::numbers(&e, len, self.first(), &stock), Domain::Ring(bits), len))
            }
            Exchange::Linear { owner } if owner == self.me() => {
                let x = self.opened(&kept.parts[0], domain, len, incoming);
                Value { parts: vec![std::sync::Arc::new(x), kept.parts[1].clone()] }
            }
            Exchange::Linear { .. } => kept,
            Exchange::Open { to } if to.contains(self.me()) => {
                Value::one(signed(self.opened(&kept.parts[0], domain, len, incoming), domain))
            }
            _ => Value::none(),
        }
    }
}

impl Semi {
    fn prep(&mut self) -> &mut Prep {
        self.prep.as_mut().expect("planned at load")
    }

    fn failed(&self, e: &OtError) -> OfflineError {
        let peer = self.others().next().unwrap_or(0);
        OfflineError { peer: Party(peer as u8), what: e.to_string() }
    }
}

impl Offline for Semi {
    fn plan(&mut self, needs: Vec<(u32, Need)>) {
        let (instructions, needs) = needs.into_iter().unzip();
        self.instructions = instructions;
        self.prep = Some(Prep::new(Party(self.me), self.parties.into(), &self.seed, self.session, needs));
    }

    fn session_steps(&self) -> usize {
        self.prep.as_ref().map_or(0, Prep::session_steps)
    }

    fn session_send(&mut self, step: usize, weights: &[Option<Vec<i32>>], out: &mut [Vec<u8>]) {
        self.prep().session_send(step, weights, out);
    }

    fn session_expects(&self, step: usize, p: usize) -> usize {
        self.prep.as_ref().map_or(0, |prep| prep.session_expects(step, p))
    }

    fn session_receive(&mut self, step: usize, incoming: &[&[u8]]) -> Result<(), OfflineError> {
        self.prep().session_receive(step, incoming).map_err(|e| self.failed(&e))
    }

    fn steps(&self) -> usize {
        self.prep.as_ref().map_or(0, Prep::steps)
    }

    fn begin(&mut self, inference: u64, lanes: usize, out: &mut [Vec<u8>]) {
        // What a batch that failed has left is of no use.
        self.stock.clear();
        self.pending.clear();
        self.batch = inference;
        self.prep().begin(lanes, out);
    }

    fn expects(&self, step: usize, p: usize) -> usize {
        self.prep.as_ref().map_or(0, |prep| prep.expects(step, p))
    }

    fn receive(&mut self, incoming: &[&[u8]], out: &mut [Vec<u8>]) -> Result<(), OfflineError> {
        self.prep().receive(incoming, out).map_err(|e| self.failed(&e))
    }

    fn finish(&mut self) -> Result<(), OfflineError> {
        let made = self.prep().finish().map_err(|e| self.failed(&e))?;
        let each = self.instructions.len().max(1);
        for (i, stock) in made.into_iter().enumerate() {
            let key = (self.batch + (i / each) as u64, self.instructions[i % each]);
            self.stock.insert(key, stock);
        }
        Ok(())
    }
}
