//! Local steps of replicated sharing. No message, so nothing is revealed.
use super::{MASKS, Rep3, outside};
use crate::data::{Data, Value, Zip};
use crate::runtime::{Bilinear, Flat, Pad};
use ir::{Domain, Form, Holders, Party};
use std::sync::Arc;

/// Summands at `at`: from a sharing, all three take part i+1 each; of a pair B, C, B takes x_AB + x_BC and C takes x_AC.
pub(super) fn as_sum(p: &Rep3, x: &Value, ty: Flat, at: Holders, bits: u8) -> Value {
    if !at.contains(Party(p.me)) {
        return Value::none();
    }
    let domain = match ty.domain {
        Domain::Ring(_) => Domain::Ring(bits),
        d => d,
    };
    let zeros = || Value::one(Data::zeros(domain, Form::Shared, ty.len));
    let fit = |i| Value { parts: vec![x.fit(i, bits)] };
    match ty.form {
        Form::Shared if at.count() == 3 => fit(0),
        Form::Shared => match p.role(outside(at)) {
            1 => Value { parts: vec![Value::one(x.parts[0].zip(&x.parts[1], Zip::Add)).fit(0, bits)] },
            _ => fit(1),
        },
        Form::Held(h) => match h.iter().find(|q| at.contains(*q)) {
            Some(q) if q.0 == p.me => fit(0),
            _ => zeros(),
        },
        Form::Sum(h) if h.contains(Party(p.me)) => fit(0),
        _ => zeros(),
    }
}

/// Held by B and C: x_BC = x, the other parts are zero.
pub(super) fn embed(p: &Rep3, x: &Value, ty: Flat, bits: u8) -> Value {
    let Form::Held(h) = ty.form else { unreachable!("verified: held by two") };
    let domain = match ty.domain {
        Domain::Ring(_) => Domain::Ring(bits),
        d => d,
    };
    let zeros = || Arc::new(Data::zeros(domain, Form::Shared, ty.len));
    let parts = match p.role(outside(h)) {
        0 => vec![zeros(), zeros()],
        1 => vec![zeros(), x.fit(0, bits)],
        _ => vec![x.fit(0, bits), zeros()],
    };
    Value { parts }
}

/// Party i takes x_{i+1}·y_{i+1} + x_{i+1}·y_{i+2} + x_{i+2}·y_{i+1}; the three cover all nine products once.
pub(super) fn bilinear(a: &Value, b: &Value, product: Bilinear<'_>) -> Value {
    let both = b.parts[0].zip(&b.parts[1], Zip::Add);
    Value::one(product(&[(&a.parts[0], &both), (&a.parts[1], &b.parts[0])]))
}

/// Part j, known to all but party j.
pub(super) fn operand(p: &Rep3, x: &Value, ty: Flat, index: u8) -> Value {
    match p.role(index) {
        0 => Value::none(),
        // The parts of party i are [part i+1, part i+2].
        role => Value::one(Data::clone(&x.parts[usize::from(role == 1)]).reduced(ty.domain.width())),
    }
}

/// B takes (x_AB + x_BC)·h, C takes x_AC·h; of summands each takes its own times h.
pub(super) fn mul_held(p: &Rep3, a: &Value, ty: Flat, h: &Value, at: Holders) -> Value {
    let role = p.role(outside(at));
    if role == 0 {
        return Value::none();
    }
    let factor = match ty.domain {
        Domain::Ring(k) => h.fit(0, k),
        Domain::Bits(_) => h.parts[0].clone(),
    };
    if ty.form != Form::Shared {
        return Value::one(a.parts[0].zip(&factor, Zip::Mul));
    }
    if role == 2 {
        return Value::one(a.parts[1].zip(&factor, Zip::Mul));
    }
    let mut x = a.parts[0].zip(&a.parts[1], Zip::Add);
    x.zip_assign(&factor, Zip::Mul);
    Value::one(x)
}

/// Each party has a summand z. With pads r_AB, r_AC: u = r_AB + r_AC − z_A at A; summands z_B + r_AB and z_C + r_AC
/// of v. Joining reveals z_B + r_AB to C, who lacks key AB, and z_C + r_AC to B, who lacks key AC.
pub(super) fn split(p: &Rep3, pad: Pad, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
    let bits = ty.domain.width();
    let z = &x.parts[0];
    match p.role(rot) {
        0 => {
            let mut u = p.pad(0, pad, 0, ty.domain, ty.len);
            u.mix_pad(&mut p.segment(1, pad, 0), Zip::Add);
            u.zip_assign(z, Zip::Sub);
            [Value::one(u.reduced(bits)), Value::none()]
        }
        role => {
            // B shares key AB, which the next party lacks; C shares key AC, which the one after lacks.
            let mut w = Data::clone(z);
            w.mix_pad(&mut p.segment(usize::from(role == 2), pad, 0), Zip::Add);
            [Value::none(), Value::one(w)]
        }
    }
}

/// u = −(x_AB + x_AC) at A, v = x_BC at B and C; on bits u = x_AB xor x_AC.
pub(super) fn split_shared(p: &Rep3, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
    let bits = ty.domain.width();
    match p.role(rot) {
        0 => {
            let mut u = x.parts[0].zip(&x.parts[1], Zip::Add);
            u.negate();
            [Value::one(u.reduced(bits)), Value::none()]
        }
        1 => [Value::none(), Value::one(Data::clone(&x.parts[1]).reduced(bits))],
        _ => [Value::none(), Value::one(Data::clone(&x.parts[0]).reduced(bits))],
    }
}

/// β = β_AB xor β_AC at A, the pads with which B and C mask.
pub(super) fn beta(p: &Rep3, pad: Pad, domain: Domain, len: usize, rot: u8) -> Value {
    if p.role(rot) != 0 {
        return Value::none();
    }
    let mut own = p.pad(0, pad, MASKS, domain, len);
    own.mix_pad(&mut p.segment(1, pad, MASKS), Zip::Add);
    Value::one(own)
}

/// B takes x_B xor β_AB, C takes x_C xor β_AC. Joining shows them x xor β: C lacks key AB, B lacks key AC.
pub(super) fn mask(p: &Rep3, pad: Pad, x: &Value, ty: Flat) -> Value {
    let Form::Sum(at) = ty.form else { unreachable!("verified: summands at two") };
    match p.role(outside(at)) {
        0 => Value::none(),
        role => {
            let mut y = Data::clone(&x.parts[0]);
            y.mix_pad(&mut p.segment(usize::from(role == 2), pad, MASKS), Zip::Add);
            Value::one(y)
        }
    }
}
