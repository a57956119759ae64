//! The exchanges.
//!
//! **Joint message** of two parties i, j who know z, to a third, r; the fourth is o. pad = segment of key r, known to i, j and
//! o. i and j send z − pad: i the first half of its bytes and the hash of the second, j the second half and the hash of the
//! first. *Result:* part r = pad, known to i, j, o; part o = z − pad, known to i, j, r; the others are zero. r lacks key r, so
//! z − pad is uniform to it; o receives nothing.
//!
//! **Reshare of summands**: a joint message for each of the six pairs, each with a pad of its own; the results add up. Each
//! party sends one and a half elements. **Of an operand**: the joint message of its group.
//!
//! **Sharing by an owner** p, with a = p+1 and b = p+2: p sends x − pad_a − pad_b to a and to b, where pad_l is a segment of
//! key l. *Result:* part a = pad_a, known to all but a; part b = pad_b; part p+3 = the message, known to p, a and b; part
//! p = 0. To a the message is uniform because of pad_a, to b because of pad_b.
//!
//! **Echo**: a and b send each other the hash of that message. Before they have agreed nothing is made of it: otherwise an
//! owner that sends two values could see from their messages how these differ.
//!
//! **Open** to p: parties p+1 and p+2 send part p, each half of it, and vouch for the other half. It is the value minus what
//! p knows, so p learns just the value.
use super::{PARTIES, Rep4};
use crate::data::{Data, Value, Zip};
use crate::runtime::{Exchange, Flat, Message, Pad};
use crate::wire::{padded, parse, signed, take, wire_bytes, wire_domain, write};
use ir::{Domain, Form, Holders, Party};

/// A pair that knows something, who receives it, and the fourth.
#[derive(Clone, Copy)]
struct Route {
    pair: [u8; 2],
    to: u8,
    other: u8,
}

/// Each party sends in three and receives in one or two.
const ROUTES: [Route; 6] = [
    Route { pair: [0, 1], to: 2, other: 3 },
    Route { pair: [1, 2], to: 3, other: 0 },
    Route { pair: [2, 3], to: 0, other: 1 },
    Route { pair: [3, 0], to: 1, other: 2 },
    Route { pair: [0, 2], to: 1, other: 3 },
    Route { pair: [1, 3], to: 0, other: 2 },
];

/// Purpose of the pads of an owner; those of pairs have their place in [`ROUTES`].
const OWNER: u32 = ROUTES.len() as u32;

/// Party `ahead` places after `p`.
fn after(p: u8, ahead: u8) -> u8 {
    (p + ahead) % PARTIES
}

/// What an exchange is made of.
enum Plan {
    /// Joint messages, numbers in [`ROUTES`].
    Joint(Vec<usize>),
    /// An owner's.
    Owner(u8),
    /// The comparison of it.
    Echo(u8),
    /// Openings.
    Open(Holders),
}

fn plan(what: Exchange, form: Form) -> Plan {
    match (what, form) {
        (Exchange::Open { to }, _) => Plan::Open(to),
        (Exchange::Echo { from }, _) => Plan::Echo(from.0),
        (Exchange::Reshare { .. }, Form::Held(h)) if h.count() == 1 => Plan::Owner(h.0.trailing_zeros() as u8),
        (Exchange::Reshare { .. }, Form::Held(h)) => {
            let of = |r: &Route| Holders::pair(Party(r.pair[0]), Party(r.pair[1])) == h;
            Plan::Joint((0..ROUTES.len()).filter(|i| of(&ROUTES[*i])).collect())
        }
        (Exchange::Reshare { .. }, _) => Plan::Joint((0..ROUTES.len()).collect()),
        (Exchange::Join | Exchange::Deal { .. }, _) => unreachable!("verified: the protocol has no roles"),
    }
}

/// Who opens to `p`.
fn openers(p: u8) -> [u8; 2] {
    [after(p, 1), after(p, 2)]
}

/// Bytes of the first half.
fn half(bytes: u64) -> u64 {
    bytes.div_ceil(2)
}

pub(super) fn messages(what: Exchange, ty: Flat) -> Vec<Message> {
    let bytes = wire_bytes(wire_domain(what, ty), ty.len);
    let message = |from: u8, to: u8, bytes: u64| Message { from: Party(from), to: Party(to), bytes };
    let halves = |[i, j]: [u8; 2], to: u8| [message(i, to, half(bytes)), message(j, to, bytes - half(bytes))];
    match plan(what, ty.form) {
        Plan::Joint(routes) => routes.iter().flat_map(|i| halves(ROUTES[*i].pair, ROUTES[*i].to)).collect(),
        Plan::Owner(p) => [1, 2].map(|k| message(p, after(p, k), bytes)).to_vec(),
        Plan::Echo(_) => vec![],
        Plan::Open(to) => to.iter().flat_map(|p| halves(openers(p.0), p.0)).collect(),
    }
}

pub(super) fn vouches(what: Exchange, ty: Flat) -> Vec<(Party, Party)> {
    let both = |[i, j]: [u8; 2], to: u8| [(Party(i), Party(to)), (Party(j), Party(to))];
    match plan(what, ty.form) {
        Plan::Joint(routes) => routes.iter().flat_map(|i| both(ROUTES[*i].pair, ROUTES[*i].to)).collect(),
        Plan::Owner(_) => vec![],
        Plan::Echo(p) => {
            let [a, b] = openers(p).map(Party);
            vec![(a, b), (b, a)]
        }
        Plan::Open(to) => to.iter().flat_map(|p| both(openers(p.0), p.0)).collect(),
    }
}

/// Bytes of a value.
fn bytes_of(domain: Domain, data: &Data) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(wire_bytes(domain, data.len()) as usize);
    write(domain, data, &mut bytes);
    bytes
}

/// Who else received what an owner shared, and what this party received, if it did.
fn echoed(p: &Rep4, owner: u8, domain: Domain, x: &Value) -> Option<(u8, Vec<u8>)> {
    let [a, b] = openers(owner);
    let other = match p.me {
        me if me == a => b,
        me if me == b => a,
        _ => return None,
    };
    Some((other, bytes_of(domain, &x.parts[p.place(after(owner, 3))])))
}

/// This party's half of a message that `pair` knows, and its word for the other half.
fn give(p: &mut Rep4, pair: [u8; 2], to: u8, bytes: &[u8], out: &mut [Vec<u8>]) {
    let (first, second) = bytes.split_at(half(bytes.len() as u64) as usize);
    let (mine, theirs) = if p.me == pair[0] { (first, second) } else { (second, first) };
    out[usize::from(to)].extend_from_slice(mine);
    p.vouching.give(to, theirs);
}

/// A message that `pair` knows, from both halves.
fn collect(p: &mut Rep4, pair: [u8; 2], domain: Domain, len: usize, incoming: &mut [&[u8]]) -> Data {
    let whole = wire_bytes(domain, len);
    let first = take(&mut incoming[usize::from(pair[0])], half(whole) as usize);
    let second = take(&mut incoming[usize::from(pair[1])], (whole - half(whole)) as usize);
    p.vouching.demand(pair[1], first);
    p.vouching.demand(pair[0], second);
    parse(domain, len, &[first, second].concat())
}

pub(super) fn send(p: &mut Rep4, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
    let domain = wire_domain(what, ty);
    let (bits, me) = (domain.width(), p.me);
    let mut parts: [Data; 3] = std::array::from_fn(|_| Data::zeros(domain, Form::Shared, 0));
    let mut add = |place: usize, data: Data| match parts[place].is_empty() {
        true => parts[place] = data,
        false => parts[place].zip_assign(&data, Zip::Add),
    };
    match plan(what, ty.form) {
        Plan::Joint(routes) => {
            for i in routes {
                let Route { pair, to, other } = ROUTES[i];
                if me == to {
                    continue;
                }
                let own = p.pad(to, pad, i as u32, domain, ty.len);
                if me != other {
                    let peer = if me == pair[0] { pair[1] } else { pair[0] };
                    let place = if matches!(ty.form, Form::Held(_)) { 0 } else { p.place(peer) };
                    let rest = padded(&x.parts[place], bits, own.clone());
                    give(p, pair, to, &bytes_of(domain, &rest), out);
                    add(p.place(other), rest);
                }
                add(p.place(to), own);
            }
        }
        Plan::Owner(owner) => {
            let [a, b, c] = [1, 2, 3].map(|k| after(owner, k));
            let own = |l: u8| (me != l).then(|| p.pad(l, pad, OWNER, domain, ty.len));
            let pads = [(a, own(a)), (b, own(b))];
            if me == owner {
                let mut rest = x.parts[0].to_ring(bits);
                pads.iter().flat_map(|(_, own)| own).for_each(|own| rest.zip_assign(own, Zip::Sub));
                [a, b].into_iter().for_each(|to| write(domain, &rest, &mut out[usize::from(to)]));
                add(p.place(c), rest);
            }
            pads.into_iter().for_each(|(l, own)| own.into_iter().for_each(|own| add(p.place(l), own)));
        }
        Plan::Echo(owner) => {
            if let Some((other, shared)) = echoed(p, owner, domain, x) {
                p.vouching.give(other, &shared);
            }
            return x.clone();
        }
        Plan::Open(to) => {
            for whom in to.iter().map(|q| q.0).filter(|q| openers(*q).contains(&me)) {
                let missing = bytes_of(domain, &x.parts[p.place(whom)]);
                give(p, openers(whom), whom, &missing, out);
            }
            return if to.contains(Party(me)) { x.clone() } else { Value::none() };
        }
    }
    Value::of(parts)
}

pub(super) fn receive(p: &mut Rep4, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
    let (domain, len, me) = (wire_domain(what, ty), ty.len, p.me);
    let mut kept = kept;
    let mut add = |place: usize, data: Data| match kept.parts[place].is_empty() {
        true => kept.parts[place] = data.into(),
        false => std::sync::Arc::make_mut(&mut kept.parts[place]).zip_assign(&data, Zip::Add),
    };
    match plan(what, ty.form) {
        Plan::Joint(routes) => {
            for Route { pair, other, .. } in routes.iter().map(|i| ROUTES[*i]).filter(|r| r.to == me) {
                let theirs = collect(p, pair, domain, len, incoming);
                add(p.place(other), theirs);
            }
        }
        Plan::Owner(owner) if openers(owner).contains(&me) => {
            let bytes = take(&mut incoming[usize::from(owner)], wire_bytes(domain, len) as usize);
            add(p.place(after(owner, 3)), parse(domain, len, bytes));
        }
        Plan::Owner(_) => {}
        Plan::Echo(owner) => {
            if let Some((other, shared)) = echoed(p, owner, domain, &kept) {
                p.vouching.demand(other, &shared);
            }
            return kept;
        }
        Plan::Open(to) => {
            if !to.contains(Party(me)) {
                return Value::none();
            }
            let mut v = collect(p, openers(me), domain, len, incoming);
            kept.parts.iter().for_each(|own| v.zip_assign(own, Zip::Add));
            return Value::one(signed(v, domain));
        }
    }
    // What no message has touched is zero.
    kept.parts.iter_mut().filter(|d| d.is_empty()).for_each(|d| *d = Data::zeros(domain, Form::Shared, len).into());
    kept
}
