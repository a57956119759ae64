//! Local steps. No message, so nothing is revealed.
//!
//! The summand of a pair is computed by both of it from what both know, with the same operations, so that they agree to the
//! bit.
use super::Rep4;
use crate::data::{Data, Value, Zip};
use crate::runtime::{Bilinear, Flat};
use ir::{Domain, Form, Holders, Party};

fn domain_of(ty: Flat, bits: u8) -> Domain {
    match ty.domain {
        Domain::Ring(_) => Domain::Ring(bits),
        d => d,
    }
}

/// A sharing: part l becomes the summand of parties l+1 and l+2. Held by a pair or more: the summand of its first two.
pub(super) fn as_sum(p: &Rep4, x: &Value, ty: Flat, bits: u8) -> Value {
    let zeros = || Data::zeros(domain_of(ty, bits), Form::Shared, ty.len);
    match ty.form {
        // Of the pair with i+1 it is part i−1, of the pair with i−1 part i−2.
        Form::Shared => Value::of([x.parts[2].to_ring(bits), zeros(), x.parts[1].to_ring(bits)]),
        Form::Held(h) => {
            let mut first = h.iter();
            let pair = [first.next(), first.next()].map(|q| q.expect("verified: known to two").0);
            let other = match pair {
                [q, r] if q == p.me => Some(r),
                [q, r] if r == p.me => Some(q),
                _ => None,
            };
            let place = other.map(|q| p.place(q));
            Value::of((0..3).map(|i| if place == Some(i) { x.parts[0].to_ring(bits) } else { zeros() }))
        }
        _ => x.map(|d| d.to_ring(bits)),
    }
}

/// Held by all but party l: part l is x, the others are zero.
pub(super) fn embed(p: &Rep4, x: &Value, ty: Flat, bits: u8) -> Value {
    let Form::Held(h) = ty.form else { unreachable!("verified: held by three") };
    let l = (0..4).find(|q| !h.contains(Party(*q))).expect("three of four leave one");
    let place = (l != p.me).then(|| p.place(l));
    let zeros = || Data::zeros(domain_of(ty, bits), Form::Shared, ty.len);
    Value::of((0..3).map(|i| if place == Some(i) { x.parts[0].to_ring(bits) } else { zeros() }))
}

/// x_a·y_b + x_b·y_a is known to the two parties other than a and b. x_a·y_a is put to the summand of parties a+1 and a+2. So
/// every product is in one summand.
pub(super) fn bilinear(a: &Value, b: &Value, product: Bilinear<'_>) -> Value {
    let (x, y) = (&a.parts, &b.parts);
    let with = |i: usize, j: usize| y[i].zip(&y[j], Zip::Add);
    Value::of([
        // With i+1: parts i+2 and i+3, and the square of i+3.
        product(&[(&x[1], &y[2]), (&x[2], &with(1, 2))]),
        // With i+2: parts i+1 and i+3.
        product(&[(&x[0], &y[2]), (&x[2], &y[0])]),
        // With i+3: parts i+1 and i+2, and the square of i+2.
        product(&[(&x[0], &y[1]), (&x[1], &with(0, 1))]),
    ])
}

/// x_2 + x_3 at parties 0 and 1, x_0 + x_1 at parties 2 and 3.
pub(super) fn operand(p: &Rep4, x: &Value, ty: Flat, index: u8) -> Value {
    let (group, parts) = if index == 0 { (Holders(0b0011), [2, 3]) } else { (Holders(0b1100), [0, 1]) };
    if !group.contains(Party(p.me)) {
        return Value::none();
    }
    let [first, second] = parts.map(|l| &x.parts[p.place(l)]);
    Value::one(first.zip(second, Zip::Add).reduced(ty.domain.width()))
}
