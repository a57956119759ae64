//! Computes once what a layer computes twice (common subexpressions).
//!
//! ```text
//! v2 = sub v0, v1
//! v3 = sub v0, v1    ⇒  v2
//! ```
//!
//! Within a layer, so that a layer's cost is its own and values do not live long. What draws pads stays: a mask hides one
//! message, ever. Equal exchanges become one, which sends less.
use super::{Function, Step, results_of, rewrite};
use ir::{Op, Value};
use std::collections::HashMap;

/// Merges equal instructions of a layer.
pub fn merge(f: &mut Function) {
    let mut known: HashMap<(u32, String), Vec<Value>> = HashMap::new();
    rewrite(f, |b, _, inst| {
        let draws = matches!(inst.op, Op::Split { .. } | Op::Mask { .. } | Op::Beta { .. });
        if draws || matches!(inst.op, Op::Output { .. } | Op::Store { .. } | Op::Open { .. }) {
            return Step::Op(inst.op.clone());
        }
        let key = (inst.layer, inst.op.to_string());
        if let Some(values) = known.get(&key) {
            return Step::Same(values.clone());
        }
        let next = b.types.len() as u32;
        known.insert(key, (next..next + results_of(&inst.op) as u32).map(Value).collect());
        Step::Op(inst.op.clone())
    });
}
