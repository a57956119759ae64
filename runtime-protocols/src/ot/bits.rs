//! Bit triples of n parties: XOR shares of random bits a, b and of a·b, for products of secret bits.
//!
//! `a·b = ⊕ a_i·b_j` over all i and j. For i ≠ j party i chooses a_i in a transfer in which party j has strings whose first bits are m
//! and m ⊕ b_j: i gets `m ⊕ a_i·b_j`, j keeps m. Party i uses the same a_i with every peer and the same b_j as sender: its
//! choices are drawn with the next party and given to the others; likewise b_j is what the strings towards the next party happen to
//! be, and towards each other party j sends the difference, one bit. With two parties there is no difference to send.
//!
//! *What messages reveal.* Choices: see [`super::extend`]. A difference is `d = m ⊕ m' ⊕ b_j` where the receiver lacks one of m, m': uniform to it.
//!
//! | exchange | message | bits per triple, to each peer |
//! |---|---|---|
//! | 1 | choices | 128/k, to the next party one part less |
//! | 2 | differences, not to the next party | 1 |
use super::extend::{Field, Received, Sent};
use super::setup::Pair;
use super::{OtError, due};
use crate::kernels::words::{and_assign, xor_assign};
use ir::Party;
use rayon::prelude::*;

/// Transfers that a thread hashes at once.
const CHUNK: usize = 4096;
/// Transfers of an extension.
const BATCH: usize = 1 << 20;

/// Shares of random triples, 64 to a word; bits beyond the last are arbitrary.
#[derive(Default)]
pub struct Triples {
    /// One factor.
    pub a: Vec<u64>,
    /// The other.
    pub b: Vec<u64>,
    /// Their product.
    pub c: Vec<u64>,
}

impl std::fmt::Debug for Triples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Triples({} words)", self.a.len())
    }
}

impl Drop for Triples {
    fn drop(&mut self) {
        for x in [&mut self.a, &mut self.b, &mut self.c] {
            x.fill(0);
            zeroize::optimization_barrier(x);
        }
    }
}

fn first_bits(strings: &[u128], words: &mut [u64]) {
    for (word, strings) in words.iter_mut().zip(strings.chunks(64)) {
        *word = strings.iter().enumerate().fold(0, |w, (i, s)| w | (*s as u64 & 1) << i);
    }
}

/// First bit of the chosen string of each transfer.
fn chosen_bits(pair: &Pair, r: &Received) -> Vec<u64> {
    let mut bits = vec![0; r.rows.len().div_ceil(64)];
    let chunks = r.rows.par_chunks(CHUNK).zip(bits.par_chunks_mut(CHUNK / 64));
    chunks.enumerate().for_each(|(at, (rows, bits))| {
        let mut strings = [0; CHUNK];
        let strings = &mut strings[..rows.len()];
        pair.receiver.hash.strings(rows, r.first + (at * CHUNK) as u64, 0, 1, strings);
        first_bits(strings, bits);
    });
    bits
}

/// First bits of both strings of each of `count` transfers.
fn both_bits(pair: &Pair, s: &Sent, count: usize) -> [Vec<u64>; 2] {
    let mut bits = [vec![0; count.div_ceil(64)], vec![0; count.div_ceil(64)]];
    let [zero, one] = &mut bits;
    let chunks = zero.par_chunks_mut(CHUNK / 64).zip(one.par_chunks_mut(CHUNK / 64));
    chunks.enumerate().for_each(|(at, (zero, one))| {
        let range = at * CHUNK..count.min((at + 1) * CHUNK);
        let mut strings = [0; CHUNK];
        let strings = &mut strings[..range.len()];
        for (rows, bits) in pair.sender.absorbed(s, range.clone()).iter().zip([zero, one]) {
            pair.sender.hash.strings(rows, s.first + range.start as u64, 0, 1, strings);
            first_bits(strings, bits);
        }
    });
    bits
}

/// Sizes of the extensions that make `count` transfers: rows take 16 bytes each, so not all are made at once.
fn batches(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(BATCH).map(move |at| BATCH.min(count - at))
}

/// Bytes of the message for `count` transfers of bits.
pub fn bytes(field: Field, count: usize, drawn: bool) -> usize {
    batches(count).map(|n| field.message(n, drawn)).sum()
}

fn message(pair: &Pair, count: usize, drawn: bool) -> usize {
    bytes(pair.sender.field(), count, drawn)
}

/// Transfers of single random bits: appends the message; returns the choices, given or drawn, and the chosen bits.
pub fn receive_bits(pair: &mut Pair, choices: Option<&[u64]>, count: usize, out: &mut Vec<u8>) -> (Vec<u64>, Vec<u64>) {
    let (mut chosen, mut bits) = (Vec::new(), Vec::new());
    for (at, n) in batches(count).enumerate() {
        let given = choices.map(|c| &c[at * BATCH / 64..][..n.div_ceil(64)]);
        let r = pair.receiver.extend(given, n, out);
        bits.extend(chosen_bits(pair, &r));
        chosen.extend_from_slice(&r.choices);
    }
    (chosen, bits)
}

/// The other side: both bits of each transfer, from the message.
pub fn send_bits(pair: &mut Pair, drawn: bool, count: usize, bytes: &[u8]) -> Result<[Vec<u64>; 2], OtError> {
    due("choices of bits", bytes, message(pair, count, drawn))?;
    let (mut both, mut rest) = ([Vec::new(), Vec::new()], bytes);
    for n in batches(count) {
        let (part, after) = rest.split_at(pair.sender.message(n, drawn));
        rest = after;
        let sent = pair.sender.extend(drawn, n, part)?;
        let bits = both_bits(pair, &sent, n);
        both.iter_mut().zip(&bits).for_each(|(all, bits)| all.extend_from_slice(bits));
    }
    Ok(both)
}

/// The party towards which `p` draws rather than gives.
fn next(p: u8, parties: usize) -> usize {
    (usize::from(p) + 1) % parties
}

/// Triples whose choices are on their way.
pub struct Chosen {
    me: u8,
    count: usize,
    a: Vec<u64>,
    received: Vec<Option<Vec<u64>>>,
}

/// Triples whose differences are on their way.
pub struct Corrected {
    me: u8,
    count: usize,
    triples: Triples,
    received: Vec<Option<Vec<u64>>>,
}

/// Begins `count` triples: appends the messages of the first exchange. `pairs[p]` is the pair with party p.
pub fn begin(me: Party, pairs: &mut [Option<Pair>], count: usize, out: &mut [Vec<u8>]) -> Chosen {
    let (parties, lead) = (pairs.len(), next(me.0, pairs.len()));
    let mut extend = |p: usize, choices: Option<&[u64]>| {
        pairs[p].as_mut().map(|pair| receive_bits(pair, choices, count, &mut out[p]))
    };
    let (a, bits) = extend(lead, None).expect("there is a pair with the next party");
    let mut received: Vec<Option<Vec<u64>>> = (0..parties).map(|_| None).collect();
    received[lead] = Some(bits);
    for p in (0..parties).filter(|p| *p != lead) {
        received[p] = extend(p, Some(&a)).map(|(_, bits)| bits);
    }
    Chosen { me: me.0, count, a, received }
}

impl Chosen {
    /// Bytes of the message from party `p`.
    pub fn expects(&self, pairs: &[Option<Pair>], p: usize) -> usize {
        let drawn = next(p as u8, pairs.len()) == usize::from(self.me);
        pairs[p].as_ref().map_or(0, |pair| message(pair, self.count, drawn))
    }

    /// Reads the messages of the first exchange and appends those of the second.
    pub fn receive(
        self,
        pairs: &mut [Option<Pair>],
        incoming: &[&[u8]],
        out: &mut [Vec<u8>],
    ) -> Result<Corrected, OtError> {
        let (parties, lead) = (pairs.len(), next(self.me, pairs.len()));
        let bytes = self.count.div_ceil(8);
        let mut c = vec![0; self.a.len()];
        let mut differences: Vec<Option<Vec<u64>>> = (0..parties).map(|_| None).collect();
        for (p, pair) in pairs.iter_mut().enumerate() {
            let Some(pair) = pair else { continue };
            let drawn = next(p as u8, parties) == usize::from(self.me);
            let [zero, mut one] = send_bits(pair, drawn, self.count, incoming[p])?;
            xor_assign(&mut one, &zero);
            xor_assign(&mut c, &zero);
            differences[p] = Some(one);
        }
        let b = differences[lead].take().expect("there is a pair with the next party");
        for (difference, out) in differences.iter_mut().zip(out) {
            let Some(d) = difference else { continue };
            xor_assign(d, &b);
            let start = out.len();
            out.extend(d.iter().flat_map(|w| w.to_le_bytes()));
            out.truncate(start + bytes);
        }
        let triples = Triples { a: self.a, b, c };
        Ok(Corrected { me: self.me, count: self.count, triples, received: self.received })
    }
}

impl Corrected {
    /// Bytes of the message from party `p`.
    pub fn expects(&self, p: usize) -> usize {
        let none = self.received[p].is_none() || next(p as u8, self.received.len()) == usize::from(self.me);
        if none { 0 } else { self.count.div_ceil(8) }
    }

    /// Reads the messages of the second exchange.
    pub fn receive(mut self, incoming: &[&[u8]]) -> Result<Triples, OtError> {
        for (p, message) in incoming.iter().enumerate() {
            due("differences of bit triples", message, self.expects(p))?;
        }
        let Triples { a, b, c } = &mut self.triples;
        let mut own = a.clone();
        and_assign(&mut own, b);
        xor_assign(c, &own);
        for (bits, message) in self.received.iter().zip(incoming) {
            let Some(bits) = bits else { continue };
            xor_assign(c, bits);
            let words = message.chunks(8).map(|b| {
                let mut word = [0; 8];
                word[..b.len()].copy_from_slice(b);
                u64::from_le_bytes(word)
            });
            c.iter_mut().zip(&*a).zip(words).for_each(|((c, a), d)| *c ^= a & d);
        }
        Ok(self.triples)
    }
}
