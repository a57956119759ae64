//! Preprocessing: correlated randomness of a batch of inferences, before there is an input.
//!
//! Once per session, each two parties start oblivious transfer ([`crate::ot::setup`], three exchanges), and the owner of weights
//! chooses their bits (one exchange). Before each batch:
//!
//! | exchange | message to each peer |
//! |---|---|
//! | 1 | choices of bit triples; of shared bits, to lower parties; of ring triples; masked inputs of products, to the owner |
//! | 2 | differences of bit triples (three or more parties); masked factors of ring triples; step 1 of shared bits |
//! | j + 1 | step j of shared bits, to party j from those before it |
//!
//! **Shared bits.** `r = r_0 xor … xor r_(n−1)`, each drawn by its party. With `A_0 = r_0` at party 0 and
//! `A_j = A_(j−1) + r_j − 2·r_j·A_(j−1)`, A_j is the XOR of the first j + 1 of them as a number. The product of party j's bit with shares of those
//! before it is a correlated transfer with payload −A, in a ring of one bit less; the result is doubled.
//!
//! **Ring triples.** a·b = Σ a_i·b_j; for i ≠ j bit t of a_i is a choice, b_j the payload in a ring of k − t bits (Gilboa, CRYPTO 1999).
//!
//! *What messages reveal.* All are choices and payloads of oblivious transfer ([`crate::ot`]): masked, uniform to who receives them.
use super::{Need, Stock};
use crate::ot::OtError;
use crate::ot::bits::{self, Chosen, Corrected};
use crate::ot::correlated::Run;
use crate::ot::extend::Field;
use crate::ot::extend::{Received, Sent};
use crate::ot::products::{Other, Owner};
use crate::ot::setup::{MESSAGES, Pair, Setup};
use crate::prg::{Address, KeyStream};
use ir::Party;

/// Purpose of what a party draws for a batch; the instruction of the address is the index of the need.
const DRAWN: u32 = 0x200;

/// Field of the extension: 32 bits per transfer. 16 bits would take three times the work (`examples/ot.rs`), which pays below
/// some 50 Mbit/s only.
pub const FIELD: Field = Field::Sixteen;

/// A layer's transfers, by the party at the other end.
enum Layer {
    Owner(Vec<Option<Owner>>),
    Other(Option<Other>),
}

/// One party's side.
pub struct Prep {
    me: usize,
    parties: usize,
    own: KeyStream,
    setup: Vec<Option<Setup>>,
    pairs: Vec<Option<Pair>>,
    needs: Vec<Need>,
    layers: Vec<Option<Layer>>,
    /// Number of the first inference of the batch, in what this party draws, and how many there are.
    drawn: u64,
    lanes: usize,
    making: Option<Making>,
}

/// A batch under way.
struct Making {
    lanes: usize,
    step: usize,
    triples: Triples,
    stock: Vec<Stock>,
    /// With each peer: transfers of shared bits and of ring triples.
    bits: Vec<Option<Transfers>>,
    ring_chosen: Vec<Option<Received>>,
    ring_sent: Vec<Option<Sent>>,
}

enum Triples {
    None,
    Chosen(Chosen),
    Corrected(Corrected),
}

/// Transfers of shared bits: the higher party receives.
enum Transfers {
    Chosen(Received),
    Sent(Sent),
    Due,
}

fn take<'a>(message: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    // The whole was compared with what is due.
    let (part, rest) = message.split_at(bytes.min(message.len()));
    *message = rest;
    part
}

fn mask(ring: u32) -> u64 {
    if ring >= 64 { u64::MAX } else { (1 << ring) - 1 }
}

/// Bits `t` of words, one plane of ceil(len/64) words after the other.
fn planes(x: &[u64], ring: u32) -> Vec<u64> {
    let mut out = Vec::with_capacity(ring as usize * x.len().div_ceil(64));
    for t in 0..ring {
        out.extend(x.chunks(64).map(|c| c.iter().enumerate().fold(0, |w, (i, v)| w | (v >> t & 1) << i)));
    }
    out
}

impl Prep {
    /// Of party `me` of `parties`. `seed` is known to no other party; `needs` are those of one inference.
    pub fn new(me: Party, parties: usize, seed: &[u8; 32], session: [u8; 16], needs: Vec<Need>) -> Prep {
        let own = KeyStream::new(seed, &session);
        let setup = |p: usize| {
            let peer = Party(p as u8);
            (peer != me).then(|| Setup::new(me, peer, session, FIELD, &own))
        };
        let setup = (0..parties).map(setup).collect();
        let layers = needs.iter().map(|_| None).collect();
        let pairs = (0..parties).map(|_| None).collect();
        Prep { me: me.index(), parties, own, setup, pairs, needs, layers, drawn: 1, lanes: 0, making: None }
    }

    /// Exchanges of a session.
    pub fn session_steps(&self) -> usize {
        MESSAGES.len() + usize::from(self.needs.iter().any(|n| matches!(n, Need::Linear { .. })))
    }

    /// Appends this party's messages of exchange `step` of the session. `weights[i]` are those of need i, at their owner.
    pub fn session_send(&mut self, step: usize, weights: &[Option<Vec<i32>>], out: &mut [Vec<u8>]) {
        if step < MESSAGES.len() {
            self.setup.iter_mut().zip(out).for_each(|(s, out)| s.iter_mut().for_each(|s| s.send(out)));
            return;
        }
        for (i, need) in self.needs.iter().enumerate() {
            let Need::Linear { shape, owner } = need else { continue };
            if usize::from(*owner) != self.me {
                continue;
            }
            let weights = weights[i].as_ref().expect("the owner has weights");
            let pairs = self.pairs.iter_mut().zip(&mut *out);
            let owners = pairs.map(|(pair, out)| pair.as_mut().map(|p| Owner::new(shape.clone(), weights, p, out)));
            self.layers[i] = Some(Layer::Owner(owners.collect()));
        }
    }

    /// Bytes that party `p` sends in exchange `step` of the session.
    pub fn session_expects(&self, step: usize, p: usize) -> usize {
        match MESSAGES.get(step) {
            _ if p == self.me => 0,
            Some(bytes) => *bytes,
            None => {
                let bytes = |n: &Need| match n {
                    Need::Linear { shape, owner } if usize::from(*owner) == p => {
                        FIELD.message(shape.transfers(), false)
                    }
                    _ => 0,
                };
                self.needs.iter().map(bytes).sum()
            }
        }
    }

    /// Reads the messages of exchange `step` of the session.
    pub fn session_receive(&mut self, step: usize, incoming: &[&[u8]]) -> Result<(), OtError> {
        self.compare("start of preprocessing", incoming, |p| self.session_expects(step, p))?;
        if step < MESSAGES.len() {
            for (setup, message) in self.setup.iter_mut().zip(incoming) {
                setup.iter_mut().try_for_each(|s| s.receive(&self.own, message))?;
            }
            if step + 1 == MESSAGES.len() {
                let setup = std::mem::take(&mut self.setup);
                self.pairs = setup.into_iter().map(|s| s.map(Setup::finish)).collect();
            }
            return Ok(());
        }
        let mut incoming = incoming.to_vec();
        for (i, need) in self.needs.iter().enumerate() {
            let Need::Linear { shape, owner } = need else { continue };
            let owner = usize::from(*owner);
            if let (true, Some(pair)) = (owner != self.me, &mut self.pairs[owner]) {
                let message = take(&mut incoming[owner], FIELD.message(shape.transfers(), false));
                self.layers[i] = Some(Layer::Other(Some(Other::new(shape.clone(), pair, message)?)));
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        what: &'static str,
        incoming: &[&[u8]],
        expected: impl Fn(usize) -> usize,
    ) -> Result<(), OtError> {
        for (p, message) in incoming.iter().enumerate() {
            let (got, expected) = (message.len(), expected(p));
            if got != expected {
                return Err(OtError::Length { what, got, expected });
            }
        }
        Ok(())
    }

    fn words_of(&self, lanes: usize) -> usize {
        lanes * self.needs.iter().map(|n| if let Need::And { words } = n { *words } else { 0 }).sum::<usize>()
    }

    fn bits_of(&self, lanes: usize) -> usize {
        64 * lanes * self.needs.iter().map(|n| if let Need::Bits { words, .. } = n { *words } else { 0 }).sum::<usize>()
    }

    /// Transfers of ring triples in one direction; each need's plane begins with a word of its own.
    fn ring_of(&self, lanes: usize) -> usize {
        let one = |n: &Need| match n {
            Need::Ring { count, ring } => *ring as usize * count.div_ceil(64) * 64,
            _ => 0,
        };
        lanes * self.needs.iter().map(one).sum::<usize>()
    }

    /// Exchanges before a batch.
    pub fn steps(&self) -> usize {
        let any = |f: fn(&Need) -> bool| self.needs.iter().any(f);
        if any(|n| matches!(n, Need::Bits { .. })) {
            self.parties
        } else if any(|n| matches!(n, Need::Ring { .. })) || any(|n| matches!(n, Need::And { .. })) && self.parties > 2
        {
            2
        } else {
            usize::from(!self.needs.is_empty())
        }
    }

    /// Bytes that party `from` sends party `to` in exchange `step` before a batch of `lanes` inferences.
    pub fn bytes(&self, step: usize, lanes: usize, from: usize, to: usize) -> usize {
        if from == to {
            return 0;
        }
        let n = self.parties;
        let drawn = (from + 1) % n == to;
        match step {
            0 => {
                let triples = bits::bytes(FIELD, 64 * self.words_of(lanes), drawn);
                let shared = if to < from { FIELD.message(self.bits_of(lanes), false) } else { 0 };
                let ring = FIELD.message(self.ring_of(lanes), false);
                let linear = |need: &Need| match need {
                    Need::Linear { shape, owner } if usize::from(*owner) == to => lanes * shape.bytes(),
                    _ => 0,
                };
                triples + shared + ring + self.needs.iter().map(linear).sum::<usize>()
            }
            _ => {
                let first = step == 1;
                let differences = if first && !drawn { 8 * self.words_of(lanes) } else { 0 };
                let each = |need: &Need| match need {
                    Need::Ring { count, ring } if first => {
                        (0..*ring).map(|t| Run { count: *count, len: 1, width: ring - t }.bytes()).sum()
                    }
                    Need::Bits { words, ring } if to == step && from < to => {
                        Run { count: 64 * words, len: 1, width: ring - 1 }.bytes()
                    }
                    _ => 0,
                };
                differences + lanes * self.needs.iter().map(each).sum::<usize>()
            }
        }
    }

    /// Bytes that party `p` sends in exchange `step` of the batch under way.
    pub fn expects(&self, step: usize, p: usize) -> usize {
        self.making.as_ref().map_or(0, |m| self.bytes(step, m.lanes, p, self.me))
    }

    fn draw(&self, need: usize, lane: usize, purpose: u32, len: usize) -> Vec<u64> {
        let mut out = vec![0; len];
        let address =
            Address { inference: self.drawn + lane as u64, instruction: need as u32, purpose: DRAWN + purpose };
        self.own.segment(&address).fill_u64(&mut out);
        out
    }

    /// Begins a batch and appends the messages of its first exchange.
    pub fn begin(&mut self, lanes: usize, out: &mut [Vec<u8>]) {
        self.drawn += self.lanes as u64;
        self.lanes = lanes;
        let words = self.words_of(lanes);
        let me = Party(self.me as u8);
        let triples = match words {
            0 => Triples::None,
            _ => Triples::Chosen(bits::begin(me, &mut self.pairs, 64 * words, out)),
        };
        let mut stock = Vec::new();
        let (mut shared, mut factors) = (Vec::new(), Vec::new());
        for lane in 0..lanes {
            for (i, need) in self.needs.iter().enumerate() {
                stock.push(match need {
                    Need::And { .. } => Stock::And(Default::default()),
                    Need::Bits { words, .. } => {
                        let r = self.draw(i, lane, 0, *words);
                        shared.extend_from_slice(&r);
                        let number = (0..64 * words).map(|b| r[b / 64] >> (b % 64) & 1).collect();
                        Stock::Bits([r, number])
                    }
                    Need::Ring { count, ring } => {
                        let [a, b] = [0, 1].map(|x| self.draw(i, lane, x, *count));
                        factors.extend(planes(&a, *ring));
                        let c = a.iter().zip(&b).map(|(a, b)| a.wrapping_mul(*b)).collect();
                        Stock::Ring([a, b, c])
                    }
                    Need::Linear { shape, owner } => {
                        let inputs = if usize::from(*owner) == self.me { 0 } else { shape.map.input.iter().product() };
                        Stock::Linear([self.draw(i, lane, 0, inputs), vec![]])
                    }
                });
            }
        }
        let (bits_count, ring_count) = (self.bits_of(lanes), self.ring_of(lanes));
        let mut making = Making {
            lanes,
            step: 0,
            triples,
            stock,
            bits: (0..self.parties).map(|_| None).collect(),
            ring_chosen: (0..self.parties).map(|_| None).collect(),
            ring_sent: (0..self.parties).map(|_| None).collect(),
        };
        for (p, pair) in self.pairs.iter_mut().enumerate() {
            let Some(pair) = pair else { continue };
            if bits_count > 0 {
                making.bits[p] = Some(if p < self.me {
                    Transfers::Chosen(pair.receiver.extend(Some(&shared), bits_count, &mut out[p]))
                } else {
                    Transfers::Due
                });
            }
            if ring_count > 0 {
                making.ring_chosen[p] = Some(pair.receiver.extend(Some(&factors), ring_count, &mut out[p]));
            }
        }
        let needs = self.needs.len();
        for (at, stock) in making.stock.iter_mut().enumerate() {
            let i = at % needs;
            let (Stock::Linear([a, sum]), Some(Layer::Other(Some(other)))) = (stock, &mut self.layers[i]) else {
                continue;
            };
            let Need::Linear { shape, owner } = &self.needs[i] else { continue };
            let owner = usize::from(*owner);
            let pair = self.pairs[owner].as_ref().expect("started");
            *sum = if shape.ring <= 32 {
                let a: Vec<u32> = a.iter().map(|v| *v as u32).collect();
                other.send(pair, &a, &mut out[owner]).into_iter().map(u64::from).collect()
            } else {
                other.send(pair, a, &mut out[owner])
            };
        }
        self.making = Some(making);
    }

    /// Reads the messages of an exchange and appends those of the next one.
    pub fn receive(&mut self, incoming: &[&[u8]], out: &mut [Vec<u8>]) -> Result<(), OtError> {
        let Some(mut m) = self.making.take() else { return Ok(()) };
        let step = m.step;
        self.compare("preprocessing", incoming, |p| self.bytes(step, m.lanes, p, self.me))?;
        m.step += 1;
        let mut incoming = incoming.to_vec();
        match step {
            0 => self.first(&mut m, &mut incoming, out)?,
            _ => self.later(&mut m, step, &mut incoming)?,
        }
        if m.step < self.steps() {
            self.step_of_bits(&mut m, step + 1, out);
        }
        self.making = Some(m);
        Ok(())
    }

    /// After the first exchange: transfers of this party as a sender.
    fn first(&mut self, m: &mut Making, incoming: &mut [&[u8]], out: &mut [Vec<u8>]) -> Result<(), OtError> {
        let n = self.parties;
        let triples = 64 * self.words_of(m.lanes);
        let parts: Vec<&[u8]> = (0..n)
            .map(|p| {
                if p == self.me {
                    &[][..]
                } else {
                    take(&mut incoming[p], bits::bytes(FIELD, triples, (p + 1) % n == self.me))
                }
            })
            .collect();
        if let Triples::Chosen(chosen) = std::mem::replace(&mut m.triples, Triples::None) {
            m.triples = Triples::Corrected(chosen.receive(&mut self.pairs, &parts, out)?);
        }
        let (bits_count, ring_count) = (self.bits_of(m.lanes), self.ring_of(m.lanes));
        for (p, pair) in self.pairs.iter_mut().enumerate() {
            let Some(pair) = pair else { continue };
            if bits_count > 0 && p > self.me {
                let part = take(&mut incoming[p], FIELD.message(bits_count, false));
                m.bits[p] = Some(Transfers::Sent(pair.sender.extend(false, bits_count, part)?));
            }
            if ring_count > 0 {
                let part = take(&mut incoming[p], FIELD.message(ring_count, false));
                m.ring_sent[p] = Some(pair.sender.extend(false, ring_count, part)?);
            }
        }
        let needs = self.needs.len();
        for (at, stock) in m.stock.iter_mut().enumerate() {
            let i = at % needs;
            let (Stock::Linear([_, sum]), Some(Layer::Owner(owners))) = (stock, &mut self.layers[i]) else { continue };
            let Need::Linear { shape, .. } = &self.needs[i] else { continue };
            *sum = vec![0; shape.map.output.iter().product()];
            for (p, owner) in owners.iter_mut().enumerate() {
                let (Some(owner), Some(pair)) = (owner, &self.pairs[p]) else { continue };
                let part = take(&mut incoming[p], owner.expects());
                let hash = &pair.receiver.hash;
                let got: Vec<u64> = if shape.ring <= 32 {
                    owner.receive::<u32>(hash, part)?.into_iter().map(u64::from).collect()
                } else {
                    owner.receive(hash, part)?
                };
                sum.iter_mut().zip(got).for_each(|(s, v)| *s = s.wrapping_add(v));
            }
        }
        self.send_ring(m, out);
        Ok(())
    }

    /// Masked factors of ring triples.
    fn send_ring(&self, m: &mut Making, out: &mut [Vec<u8>]) {
        for (p, sent) in m.ring_sent.iter().enumerate() {
            let (Some(sent), Some(pair)) = (sent, &self.pairs[p]) else { continue };
            let mut at = 0;
            for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
                let (Stock::Ring([_, b, c]), Need::Ring { count, ring }) = (stock, need) else { continue };
                for t in 0..*ring {
                    let run = Run { count: *count, len: 1, width: ring - t };
                    let rows = pair.sender.absorbed(sent, at..at + count);
                    let own = run.send::<u64>(&pair.sender.hash, &rows, sent.first + at as u64, 0, b, &mut out[p]);
                    c.iter_mut().zip(own).for_each(|(c, v)| *c = c.wrapping_add(v << t));
                    at += count.next_multiple_of(64);
                }
            }
        }
    }

    /// Payloads of step `j` of shared bits.
    fn step_of_bits(&self, m: &mut Making, j: usize, out: &mut [Vec<u8>]) {
        let (Some(Some(Transfers::Sent(sent))), Some(Some(pair))) = (m.bits.get(j), self.pairs.get(j)) else { return };
        if self.me >= j {
            return;
        }
        let mut at = 0;
        for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
            let (Stock::Bits([_, number]), Need::Bits { words, ring }) = (stock, need) else { continue };
            let count = 64 * words;
            let run = Run { count, len: 1, width: ring - 1 };
            let negative: Vec<u64> = number.iter().map(|v| v.wrapping_neg()).collect();
            let rows = pair.sender.absorbed(sent, at..at + count);
            let own = run.send(&pair.sender.hash, &rows, sent.first + at as u64, 0, &negative, &mut out[j]);
            number.iter_mut().zip(own).for_each(|(a, v)| *a = a.wrapping_add(v << 1));
            at += count;
        }
    }

    /// After a later exchange.
    fn later(&mut self, m: &mut Making, step: usize, incoming: &mut [&[u8]]) -> Result<(), OtError> {
        let n = self.parties;
        if step == 1 {
            if let Triples::Corrected(corrected) = &m.triples {
                let parts: Vec<&[u8]> = (0..n).map(|p| take(&mut incoming[p], corrected.expects(p))).collect();
                self.place_triples(m, &parts)?;
            }
            for (p, chosen) in m.ring_chosen.iter().enumerate() {
                let (Some(chosen), Some(pair)) = (chosen, &self.pairs[p]) else { continue };
                let mut at = 0;
                for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
                    let (Stock::Ring([_, _, c]), Need::Ring { count, ring }) = (stock, need) else { continue };
                    for t in 0..*ring {
                        let run = Run { count: *count, len: 1, width: ring - t };
                        let part = take(&mut incoming[p], run.bytes());
                        let own = chosen_summands(pair, chosen, at, run, part)?;
                        c.iter_mut().zip(own).for_each(|(c, v)| *c = c.wrapping_add(v << t));
                        at += count.next_multiple_of(64);
                    }
                }
            }
        }
        if step == self.me {
            for (p, incoming) in incoming.iter_mut().enumerate().take(self.me) {
                let (Some(Transfers::Chosen(chosen)), Some(pair)) = (&m.bits[p], &self.pairs[p]) else { continue };
                let mut at = 0;
                for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
                    let (Stock::Bits([_, number]), Need::Bits { words, ring }) = (stock, need) else { continue };
                    let run = Run { count: 64 * words, len: 1, width: ring - 1 };
                    let part = take(incoming, run.bytes());
                    let own = chosen_summands(pair, chosen, at, run, part)?;
                    number.iter_mut().zip(own).for_each(|(a, v)| *a = a.wrapping_add(v << 1));
                    at += run.count;
                }
            }
        }
        Ok(())
    }

    fn place_triples(&self, m: &mut Making, parts: &[&[u8]]) -> Result<(), OtError> {
        let Triples::Corrected(corrected) = std::mem::replace(&mut m.triples, Triples::None) else { return Ok(()) };
        let triples = corrected.receive(parts)?;
        let mut at = 0;
        for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
            let (Stock::And(parts), Need::And { words }) = (stock, need) else { continue };
            for (part, all) in parts.iter_mut().zip([&triples.a, &triples.b, &triples.c]) {
                *part = all[at..at + words].to_vec();
            }
            at += words;
        }
        Ok(())
    }

    /// What was made, inference after inference, in the order of the needs.
    pub fn finish(&mut self) -> Result<Vec<Stock>, OtError> {
        let Some(mut m) = self.making.take() else { return Ok(vec![]) };
        // With two parties nothing is sent after the choices.
        let nothing = vec![&[][..]; self.parties];
        self.place_triples(&mut m, &nothing)?;
        for (stock, need) in m.stock.iter_mut().zip(self.needs.iter().cycle()) {
            let (ring, parts): (u32, &mut [Vec<u64>]) = match (stock, need) {
                (Stock::Bits([_, number]), Need::Bits { ring, .. }) => (*ring, std::slice::from_mut(number)),
                (Stock::Ring(parts), Need::Ring { ring, .. }) => (*ring, parts),
                (Stock::Linear(parts), Need::Linear { shape, .. }) => (shape.ring, parts),
                _ => continue,
            };
            parts.iter_mut().flatten().for_each(|v| *v &= mask(ring));
        }
        Ok(std::mem::take(&mut m.stock))
    }
}

/// Summands of a receiver of transfers from `at` on.
fn chosen_summands(pair: &Pair, chosen: &Received, at: usize, run: Run, message: &[u8]) -> Result<Vec<u64>, OtError> {
    let rows = &chosen.rows[at..at + run.count];
    let choice = |i: usize| chosen.choices[(at + i) / 64] >> ((at + i) % 64);
    run.receive(&pair.receiver.hash, rows, chosen.first + at as u64, 0, choice, message)
}
