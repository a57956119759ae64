//! Local instructions whose result takes the memory of an operand that dies: no allocation and no copy.
use ir::eval::align;
use ir::shape::{Broadcast, zip_broadcast_assign};
use ir::{Op, Type};
use runtime_protocols::bits;
use runtime_protocols::data::{Data, Value, Zip};
use runtime_protocols::kernels::wide::wide;
use runtime_protocols::runtime::Runtime;
use std::sync::Arc;

type Arg<'a> = (&'a Value, &'a Type);

/// Runs `op` on `x`, the value that [`ir::memory::in_place`] named; it is the `second` operand or the first. `op` has the others. A piece
/// that goes by another name as well is copied first.
pub fn run(op: &Op<Arg<'_>>, mut x: Value, second: bool, rt: &dyn Runtime) -> Value {
    let pieces = x.parts.iter_mut().map(Arc::make_mut);
    match op {
        Op::Add { a, b } | Op::Sub { a, b } | Op::MulHh { a, b } => {
            let how = match op {
                Op::Add { .. } => Zip::Add,
                Op::Sub { .. } => Zip::Sub,
                _ => Zip::Mul,
            };
            let other = if second { a } else { b };
            for (x, y) in pieces.zip(&other.0.parts) {
                x.zip_assign(y, how);
                if second && how == Zip::Sub {
                    x.negate();
                }
            }
        }
        Op::AddP { x: own, p } | Op::SubP { x: own, p } | Op::MulP { x: own, p } => {
            let how = match op {
                Op::AddP { .. } => Zip::Add,
                Op::SubP { .. } => Zip::Sub,
                _ => Zip::Mul,
            };
            // A public summand joins the piece that the protocol names.
            let only = (how != Zip::Mul).then(|| rt.constant_piece(own.1.form));
            let along = Broadcast::new(&p.1.shape, &own.1.shape);
            let changed = |i: &usize| only.is_none_or(|piece| piece == Some(*i));
            for (_, x) in x.parts.iter_mut().enumerate().filter(|(i, _)| changed(i)) {
                Arc::make_mut(x).zip_small_assign(&p.0.parts[0], how, &along);
            }
        }
        Op::Not { x: own } => {
            if let Some(x) = rt.constant_piece(own.1.form).and_then(|piece| x.parts.get_mut(piece)) {
                Arc::make_mut(x).invert();
            }
        }
        Op::SextH { bits, .. } => {
            let shift = 64 - u32::from(*bits);
            pieces.for_each(|x| held(x, |v| ((v << shift) as i64 >> shift) as u64));
        }
        Op::AlignHp { x: own, p, to } => pieces.for_each(|x| held_public(x, own.1, *p, |v, s| align(v, s, *to))),
        Op::SarHp { x: own, p } => {
            pieces.for_each(|x| held_public(x, own.1, *p, |v, s| ((v as i64) >> s.min(63)) as u64));
        }
        Op::KeepH { bit, .. } => pieces.zip(&bit.0.parts).for_each(|(x, bit)| bits::keep(x, bit)),
        _ => unreachable!("`in_place` names no operand of other ops"),
    }
    x
}

/// Held integers one by one.
fn held(x: &mut Data, f: impl Fn(u64) -> u64) {
    let x = x.w64_mut();
    wide(
        #[inline(always)]
        || x.iter_mut().for_each(|v| *v = f(*v)),
    );
}

/// Held integers with a public tensor.
fn held_public(x: &mut Data, ty: &Type, p: Arg<'_>, f: impl Fn(u64, u64) -> u64) {
    let along = Broadcast::new(&p.1.shape, &ty.shape);
    let (x, p) = (x.w64_mut(), p.0.parts[0].w64());
    wide(
        #[inline(always)]
        || zip_broadcast_assign(x, p, &along, f),
    );
}
