//! What a client shares, and what it gets back. A client owns inputs or weights, or receives results, and does not compute.
//!
//! **Sharing.** The client draws two seeds from the operating system. Parts 0 and 1 are their key streams, addressed by the
//! instruction; part 2 is x − part 0 − part 1. Party j lacks part j, so party 0 gets seed 1 and part 2, party 1 gets part 2 and
//! seed 0, party 2 gets both seeds. *Why this is private:* parties 0 and 1 each lack one seed, whose stream makes part 2
//! uniform to them; party 2 gets nothing that depends on x.
//!
//! **Result.** Party i sends x_{i+1} + key(i+2) − key(i+1): each part of the sharing is in one summand, and the keys cancel in
//! the sum. *Why this is private:* key j is in the summands of the two parties that have it, with opposite signs, so the
//! summands are uniform but for their sum: a simulator that has the result draws two of them. A client that colludes with one
//! party lacks one key and one part, and the two summands in which they are tell it the result once more.
use super::Rep3;
use crate::data::{Data, Value, Zip};
use crate::prg::{Address, KeyStream};
use crate::runtime::{Flat, Pad};
use crate::wire::{read, wire_bytes, write};
use ir::{Form, Party};
use zeroize::Zeroizing;

const SEED: usize = 32;

/// Bytes of the message of a client that shares values of these types.
pub fn message_bytes(to: Party, shared: &[(u32, Flat)]) -> u64 {
    let explicit = || shared.iter().map(|(_, ty)| wire_bytes(ty.domain, ty.len)).fold(0, u64::saturating_add);
    if to.0 == 2 { 2 * SEED as u64 } else { explicit().saturating_add(SEED as u64) }
}

/// Bytes of a party's summands of values of these types.
pub fn summand_bytes(opened: &[Flat]) -> u64 {
    opened.iter().map(|ty| wire_bytes(ty.domain, ty.len)).fold(0, u64::saturating_add)
}

fn stream(seed: &[u8; SEED]) -> KeyStream {
    KeyStream::new(seed, b"client")
}

fn part(stream: &KeyStream, instruction: u32, ty: Flat) -> Data {
    let mut segment = stream.segment(&Address { inference: 0, instruction, purpose: 0 });
    let mut data = Data::zeros(ty.domain, Form::Shared, ty.len);
    match &mut data {
        Data::W32(x) => segment.fill_u32(x),
        Data::W64(x) => segment.fill_u64(x),
        Data::Planes { words, .. } => segment.fill_u64(words),
    }
    data
}

/// The messages to each party of a client that shares `values`, from fresh `seeds`.
pub fn share(values: &[(u32, Flat, Data)], seeds: &[[u8; SEED]; 2]) -> Vec<Zeroizing<Vec<u8>>> {
    let streams = [0, 1].map(|i| stream(&seeds[i]));
    let mut explicit = Zeroizing::new(Vec::new());
    for (instruction, ty, x) in values {
        let mut rest = x.to_ring(ty.domain.width());
        streams.iter().for_each(|s| rest.zip_assign(&part(s, *instruction, *ty), Zip::Sub));
        write(ty.domain, &rest, &mut explicit);
    }
    let joined = |a: &[u8], b: &[u8]| Zeroizing::new([a, b].concat());
    vec![joined(&seeds[1], &explicit), joined(&seeds[0], &explicit), joined(&seeds[0], &seeds[1])]
}

/// The pieces of party `me`; `None` where the message has another length.
pub fn pieces(me: Party, shared: &[(u32, Flat)], message: &[u8]) -> Option<Vec<Value>> {
    if message.len() as u64 != message_bytes(me, shared) {
        return None;
    }
    let (first, mut rest) = message.split_first_chunk::<SEED>()?;
    let seeded = stream(first);
    let other = if me.0 == 2 { rest.first_chunk::<SEED>().map(stream) } else { None };
    let one = |(instruction, ty): &(u32, Flat)| {
        let own = part(&seeded, *instruction, *ty);
        let second = match &other {
            Some(stream) => part(stream, *instruction, *ty),
            None => read(ty.domain, ty.len, &mut rest),
        };
        // A party keeps the parts after its own number, in order: 1 and 2, 2 and 0, 0 and 1.
        Value::of(if me.0 == 1 { [second, own] } else { [own, second] })
    };
    Some(shared.iter().map(one).collect())
}

pub(super) fn summand(p: &Rep3, pad: Pad, x: &Value, ty: Flat, out: &mut Vec<u8>) {
    let mut y = (*x.parts[0]).clone();
    y.zip_assign(&p.pad(1, pad, 0, ty.domain, ty.len), Zip::Add);
    y.zip_assign(&p.pad(0, pad, 0, ty.domain, ty.len), Zip::Sub);
    write(ty.domain, &y, out);
}

/// The results, from the messages of all parties; `None` where one has another length.
pub fn open(opened: &[Flat], messages: &[&[u8]]) -> Option<Vec<Data>> {
    if messages.len() != 3 || messages.iter().any(|m| m.len() as u64 != summand_bytes(opened)) {
        return None;
    }
    let mut readers = messages.to_vec();
    let one = |ty: &Flat| {
        let mut sum = read(ty.domain, ty.len, &mut readers[0]);
        (1..3).for_each(|p| sum.zip_assign(&read(ty.domain, ty.len, &mut readers[p]), Zip::Add));
        match ty.domain {
            ir::Domain::Ring(k) => sum.reduced(k),
            ir::Domain::Bits(_) => sum,
        }
    };
    Some(opened.iter().map(one).collect())
}
