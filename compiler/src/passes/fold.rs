//! Replaces what has no effect or is known.
//!
//! ```text
//! v1 = add_p v0, 3      v2 = add_p v1, −3    ⇒  v0
//! v1 = reshape v0       v2 = reshape v1      ⇒  v2 = reshape v0
//! v1 = sub_pp 7, 2                           ⇒  v1 = constant 5
//! ```
//!
//! Public tensors are folded only where one number results: tables would make programs larger.
use super::{Function, Step, rewrite};
use crate::lower::builder::Builder;
use ir::{Op, PlaneList, Value};

/// Folds until nothing changes within one walk, which sees operands first.
pub fn fold(f: &mut Function) {
    rewrite(f, |b, _, inst| step(b, &inst.op));
}

/// The number that a public value is, if it is one number of no dimension.
fn number(b: &Builder, v: Value) -> Option<i64> {
    match b.op_of(v) {
        Op::Constant { index } => match &b.consts[*index as usize] {
            c if c.shape.is_empty() => c.data.first().copied(),
            _ => None,
        },
        _ => None,
    }
}

fn step(b: &mut Builder, op: &Op<Value>) -> Step {
    let same = |x: Value| Step::Same(vec![x]);
    match op {
        Op::SubPp { a, b: c } => match (number(b, *a), number(b, *c)) {
            (Some(x), Some(y)) => same(b.scalar(x.wrapping_sub(y))),
            _ => Step::Op(op.clone()),
        },
        Op::ThresholdPp { m, s, b: c, j } => match [m, s, c, j].map(|v| number(b, *v)) {
            [Some(m), Some(s), Some(c), Some(j)] if m > 0 && (0..63).contains(&s) => {
                same(b.scalar(ir::eval::threshold(m, s as u64, c, j)))
            }
            _ => Step::Op(op.clone()),
        },
        Op::AddP { x, p } | Op::SubP { x, p } => {
            let Some(mut by) = number(b, *p) else { return Step::Op(op.clone()) };
            if matches!(op, Op::SubP { .. }) {
                by = by.wrapping_neg();
            }
            let mut x = *x;
            if let Op::AddP { x: inner, p } = b.op_of(x).clone()
                && let Some(more) = number(b, p)
            {
                (x, by) = (inner, by.wrapping_add(more));
            }
            if by == 0 {
                return same(x);
            }
            Step::Op(Op::AddP { x, p: b.scalar(by) })
        }
        Op::MulP { x, p } if number(b, *p) == Some(1) => same(*x),
        Op::Not { x } => match b.op_of(*x) {
            Op::Not { x } => same(*x),
            _ => Step::Op(op.clone()),
        },
        Op::Cast { x, bits } => {
            let x = match b.op_of(*x) {
                Op::Cast { x, .. } => *x,
                _ => *x,
            };
            if b.ty(x).domain.width() == *bits { same(x) } else { Step::Op(Op::Cast { x, bits: *bits }) }
        }
        Op::Reshape { x, shape } => {
            let x = match b.op_of(*x) {
                Op::Reshape { x, .. } => *x,
                _ => *x,
            };
            if b.ty(x).shape == shape.0 { same(x) } else { Step::Op(Op::Reshape { x, shape: shape.clone() }) }
        }
        Op::Expand { x, shape } if b.ty(*x).shape == shape.0 => same(*x),
        Op::Slice { x, part } if b.ty(*x).shape == part.size => same(*x),
        Op::Pad { x, amounts } if amounts.0.iter().all(|a| *a == 0) => same(*x),
        Op::Stack { parts } if parts.len() == 1 => same(parts[0]),
        Op::Pick { x, planes } => {
            let (mut x, mut list) = (*x, planes.0.clone());
            if let Op::Pick { x: inner, planes } = b.op_of(x) {
                list = list.iter().map(|p| planes.0[*p as usize]).collect();
                x = *inner;
            }
            let all = list.iter().copied().eq(0..u32::from(b.ty(x).domain.width()));
            if all { same(x) } else { Step::Op(Op::Pick { x, planes: PlaneList(list) }) }
        }
        _ => Step::Op(op.clone()),
    }
}
