//! The exchanges of replicated sharing.
//!
//! **Reshare of three summands.** Party i sends y_i = z_i + key(i+2) − key(i+1) to party i+1; y_i becomes the part that
//! i+2 lacks. The keys cancel in the sum. The receiver i+1 lacks key(i+1), so y_i is uniform to it.
//!
//! **Reshare of two summands** (B, C). x_AB = pad of AB, x_AC = pad of AC, known to their pairs without a message. B sends
//! z_B − x_AB to C, C sends z_C − x_AC to B, and x_BC is the sum of both. C lacks AB, B lacks AC. A receives nothing.
//!
//! **Sharing by one party** (A). x_AB = pad of AB; A sends x − x_AB to C; x_BC = 0. C lacks AB. B receives nothing. C is
//! the party after the next; with a dealer it is the one that is not the dealer.
//!
//! **Join.** B and C send each other their summands of a split or of masked bits, each masked there with a pad that the
//! receiver lacks.
//!
//! **Deal** (A to B and C). C's summand is the pad of AC, known to A without a message; A sends x − pad to B, who lacks
//! AC. C receives nothing.
//!
//! **Open** to P. Party P+1, or the one that is not the dealer, sends the part that P lacks: it is the value minus P's two
//! parts, so P learns just the value.
use super::{Rep3, outside};
use crate::data::{Data, Value, Zip};
use crate::runtime::{Exchange, Flat, Message, Pad};
use crate::wire::{padded, read, signed, wire_bytes, wire_domain, write};
use ir::{Form, Holders, Party};

fn summands(form: Form) -> Holders {
    match form {
        Form::Sum(h) | Form::Held(h) => h,
        Form::Shared | Form::Public => unreachable!("verified: has summands"),
    }
}

/// Whom `p` sends what only `p` has.
fn receiver(p: u8, dealer: Option<u8>) -> u8 {
    dealer.filter(|d| *d != p).map_or((p + 2) % 3, |d| 3 - d - p)
}

/// Who sends `p` the part that `p` lacks.
fn opener(p: u8, dealer: Option<u8>) -> u8 {
    dealer.filter(|d| *d != p).map_or((p + 1) % 3, |d| 3 - d - p)
}

/// Sender and receiver of each message.
fn routes(what: Exchange, form: Form, dealer: Option<u8>) -> Vec<(u8, u8)> {
    match what {
        Exchange::Echo { .. } => vec![],
        Exchange::Open { to } => to.iter().map(|p| (opener(p.0, dealer), p.0)).collect(),
        Exchange::Join => {
            let a = outside(summands(form));
            vec![((a + 1) % 3, (a + 2) % 3), ((a + 2) % 3, (a + 1) % 3)]
        }
        Exchange::Deal { .. } => {
            let a = summands(form).0.trailing_zeros() as u8;
            vec![(a, (a + 1) % 3)]
        }
        Exchange::Reshare { .. } => {
            let h = summands(form);
            match h.count() {
                3 => (0..3).map(|i| (i, (i + 1) % 3)).collect(),
                2 => routes(Exchange::Join, form, dealer),
                _ => {
                    let a = h.0.trailing_zeros() as u8;
                    vec![(a, receiver(a, dealer))]
                }
            }
        }
    }
}

pub(super) fn messages(what: Exchange, ty: Flat, dealer: Option<u8>) -> Vec<Message> {
    let bytes = wire_bytes(wire_domain(what, ty), ty.len);
    routes(what, ty.form, dealer).into_iter().map(|(f, t)| Message { from: Party(f), to: Party(t), bytes }).collect()
}

pub(super) fn send(p: &Rep3, pad: Pad, what: Exchange, x: &Value, ty: Flat, out: &mut [Vec<u8>]) -> Value {
    let domain = wire_domain(what, ty);
    let fresh = |which| p.pad(which, pad, 0, domain, ty.len);
    let (next, after) = (usize::from(p.me + 1) % 3, usize::from(p.me + 2) % 3);
    // The pad rule: what goes to a party is hidden by a pad of the key that it lacks. Bits that are joined were padded by
    // `mask` or `split`.
    let hides = |which: usize, to: usize| debug_assert_eq!([next, after][which], to, "the receiver has this pad's key");
    match what {
        Exchange::Reshare { bits } => {
            let h = summands(ty.form);
            match h.count() {
                3 => {
                    hides(0, next);
                    let mut y = x.parts[0].to_ring(bits);
                    y.zip_assign(&fresh(1), Zip::Add);
                    y.zip_assign(&fresh(0), Zip::Sub);
                    write(domain, &y, &mut out[next]);
                    Value::one(y)
                }
                2 => match p.role(outside(h)) {
                    0 => Value::of([fresh(0), fresh(1)]),
                    role => {
                        // B pads with AB (lacked by the next party, C), C with AC (lacked by the one after, B).
                        let (which, to) = if role == 1 { (0, next) } else { (1, after) };
                        hides(which, to);
                        let s = fresh(which);
                        let mut y = x.parts[0].to_ring(bits);
                        y.zip_assign(&s, Zip::Sub);
                        write(domain, &y, &mut out[to]);
                        Value::of([s, y])
                    }
                },
                _ => {
                    let a = h.0.trailing_zeros() as u8;
                    let c = receiver(a, p.dealer);
                    if p.me == c {
                        return Value::none();
                    }
                    // The part that C lacks is a pad; that of the one who neither shares nor receives is the rest.
                    let which = usize::from(usize::from(c) == after);
                    let s = fresh(which);
                    let other = if p.me == a {
                        hides(which, c.into());
                        let mut y = x.parts[0].to_ring(bits);
                        y.zip_assign(&s, Zip::Sub);
                        write(domain, &y, &mut out[usize::from(c)]);
                        y
                    } else {
                        Data::zeros(domain, Form::Shared, ty.len)
                    };
                    Value::of(if which == 0 { [s, other] } else { [other, s] })
                }
            }
        }
        Exchange::Join => match p.role(outside(summands(ty.form))) {
            0 => Value::none(),
            role => {
                write(domain, &x.parts[0], &mut out[if role == 1 { next } else { after }]);
                x.clone()
            }
        },
        Exchange::Deal { bits } => match p.role(summands(ty.form).0.trailing_zeros() as u8) {
            0 => {
                hides(0, next);
                write(domain, &padded(&x.parts[0], bits, fresh(0)), &mut out[next]);
                Value::none()
            }
            1 => Value::none(),
            _ => Value::one(fresh(1)),
        },
        Exchange::Echo { .. } => x.clone(),
        Exchange::Open { to } => {
            for (part, whom) in [next, after].into_iter().enumerate() {
                if to.contains(Party(whom as u8)) && opener(whom as u8, p.dealer) == p.me {
                    write(domain, &x.parts[part], &mut out[whom]);
                }
            }
            if to.contains(Party(p.me)) { x.clone() } else { Value::none() }
        }
    }
}

pub(super) fn receive(p: &Rep3, what: Exchange, kept: Value, ty: Flat, incoming: &mut [&[u8]]) -> Value {
    let domain = wire_domain(what, ty);
    let (next, after) = (usize::from(p.me + 1) % 3, usize::from(p.me + 2) % 3);
    let mut from = |q: usize| read(domain, ty.len, &mut incoming[q]);
    match what {
        Exchange::Reshare { .. } => {
            let h = summands(ty.form);
            match h.count() {
                3 => {
                    let theirs = from(after);
                    Value { parts: vec![std::sync::Arc::new(theirs), kept.parts[0].clone()] }
                }
                2 => match p.role(outside(h)) {
                    0 => kept,
                    role => {
                        let mut sum = from(if role == 1 { next } else { after });
                        sum.zip_assign(&kept.parts[1], Zip::Add);
                        let (own, sum) = (kept.parts[0].clone(), std::sync::Arc::new(sum));
                        Value { parts: if role == 1 { vec![own, sum] } else { vec![sum, own] } }
                    }
                },
                _ => {
                    let a = h.0.trailing_zeros() as u8;
                    if p.me != receiver(a, p.dealer) {
                        return kept;
                    }
                    let nothing = Data::zeros(domain, Form::Shared, ty.len);
                    let theirs = from(usize::from(a));
                    Value::of(if usize::from(a) == next { [nothing, theirs] } else { [theirs, nothing] })
                }
            }
        }
        Exchange::Deal { .. } => match p.role(summands(ty.form).0.trailing_zeros() as u8) {
            1 => Value::one(from(after)),
            _ => kept,
        },
        Exchange::Join => match p.role(outside(summands(ty.form))) {
            0 => Value::none(),
            role => {
                let mut v = from(if role == 1 { next } else { after });
                v.zip_assign(&kept.parts[0], Zip::Add);
                Value::one(v.reduced(domain.width()))
            }
        },
        Exchange::Echo { .. } => kept,
        Exchange::Open { to } => {
            if !to.contains(Party(p.me)) {
                return Value::none();
            }
            let mut v = from(usize::from(opener(p.me, p.dealer)));
            v.zip_assign(&kept.parts[0], Zip::Add);
            v.zip_assign(&kept.parts[1], Zip::Add);
            Value::one(signed(v, domain))
        }
    }
}
