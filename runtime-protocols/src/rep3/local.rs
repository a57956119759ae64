//! Local steps of replicated sharing. No message, so nothing is revealed.
use super::{MASKS, Rep3, outside};
use crate::data::{Data, Value, Zip};
use crate::runtime::{Bilinear, Flat, Pad};
use ir::{Domain, Form, Holders, Party};

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
    let fit = |d: &Data| Value::one(d.to_ring(bits));
    match ty.form {
        Form::Shared if at.count() == 3 => fit(&x.parts[0]),
        Form::Shared => match p.role(outside(at)) {
            1 => fit(&x.parts[0].zip(&x.parts[1], Zip::Add)),
            _ => fit(&x.parts[1]),
        },
        Form::Held(h) => match h.iter().find(|q| at.contains(*q)) {
            Some(q) if q.0 == p.me => fit(&x.parts[0]),
            _ => zeros(),
        },
        Form::Sum(h) if h.contains(Party(p.me)) => fit(&x.parts[0]),
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
    let zeros = || Data::zeros(domain, Form::Shared, ty.len);
    match p.role(outside(h)) {
        0 => Value::of([zeros(), zeros()]),
        1 => Value::of([zeros(), x.parts[0].to_ring(bits)]),
        _ => Value::of([x.parts[0].to_ring(bits), zeros()]),
    }
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
        role => Value::one(x.parts[usize::from(role == 1)].reduced(ty.domain.width())),
    }
}

/// B takes (x_AB + x_BC)·h, C takes x_AC·h; of summands each takes its own times h.
pub(super) fn mul_held(p: &Rep3, a: &Value, ty: Flat, h: &Value, at: Holders) -> Value {
    let factor = |h: &Data| match ty.domain {
        Domain::Ring(k) => h.to_ring(k),
        Domain::Bits(_) => h.clone(),
    };
    match p.role(outside(at)) {
        0 => Value::none(),
        _ if ty.form != Form::Shared => Value::one(a.parts[0].zip(&factor(&h.parts[0]), Zip::Mul)),
        1 => {
            let mut x = a.parts[0].zip(&a.parts[1], Zip::Add);
            x.zip_assign(&factor(&h.parts[0]), Zip::Mul);
            Value::one(x)
        }
        _ => Value::one(a.parts[1].zip(&factor(&h.parts[0]), Zip::Mul)),
    }
}

/// Each party has a summand z. With pads r_AB, r_AC: u = r_AB + r_AC − z_A at A; summands z_B + r_AB and z_C + r_AC
/// of v. Joining reveals z_B + r_AB to C, who lacks key AB, and z_C + r_AC to B, who lacks key AC.
pub(super) fn split(p: &Rep3, pad: Pad, x: &Value, ty: Flat, rot: u8) -> [Value; 2] {
    let bits = ty.domain.width();
    let z = &x.parts[0];
    match p.role(rot) {
        0 => {
            let mut u = p.pad(0, pad, 0, ty.domain, ty.len);
            u.zip_assign(&p.pad(1, pad, 0, ty.domain, ty.len), Zip::Add);
            u.zip_assign(z, Zip::Sub);
            [Value::one(u.reduced(bits)), Value::none()]
        }
        role => {
            // B shares key AB, which the next party lacks; C shares key AC, which the one after lacks.
            let mut w = p.pad(usize::from(role == 2), pad, 0, ty.domain, ty.len);
            w.zip_assign(z, Zip::Add);
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
        1 => [Value::none(), Value::one(x.parts[1].reduced(bits))],
        _ => [Value::none(), Value::one(x.parts[0].reduced(bits))],
    }
}

/// β = β_AB xor β_AC at A, the pads with which B and C mask.
pub(super) fn beta(p: &Rep3, pad: Pad, domain: Domain, len: usize, rot: u8) -> Value {
    if p.role(rot) != 0 {
        return Value::none();
    }
    let own = p.pad(0, pad, MASKS, domain, len);
    Value::one(own.zip(&p.pad(1, pad, MASKS, domain, len), Zip::Add))
}

/// B takes x_B xor β_AB, C takes x_C xor β_AC. Joining shows them x xor β: C lacks key AB, B lacks key AC.
pub(super) fn mask(p: &Rep3, pad: Pad, x: &Value, ty: Flat) -> Value {
    let Form::Sum(at) = ty.form else { unreachable!("verified: summands at two") };
    match p.role(outside(at)) {
        0 => Value::none(),
        role => {
            let mut y = p.pad(usize::from(role == 2), pad, MASKS, ty.domain, ty.len);
            y.zip_assign(&x.parts[0], Zip::Add);
            Value::one(y)
        }
    }
}
