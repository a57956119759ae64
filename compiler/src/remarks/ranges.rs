//! What was proved of each layer: bounds of the accumulator, ring, shifts, distance of the floor to the clamp.
use super::{Remark, named};
use crate::lower::plan::Plans;
use crate::passes::text::Shown;
use crate::qgraph::Graph;

/// One remark per operator.
pub fn ranges(g: &Graph, plans: &Plans, shown: &Shown) -> Vec<Remark> {
    let mut list = Vec::new();
    for (op, plan) in g.ops.iter().zip(&plans.ops).filter(|(op, _)| shown.has(op.index, op.name)) {
        let ring = plans.rings[op.output.index()];
        let readers: Vec<String> =
            g.ops.iter().filter(|o| o.inputs.contains(&op.output)).map(|o| named(o.index, o.name)).collect();
        let what = match (plans.opened[op.output.index()], ring) {
            (true, _) => "its result is in the clear at the receiver".to_owned(),
            (_, 0) => "no output depends on it".to_owned(),
            (_, k) => format!("its result is shared in a ring of {k} bits"),
        };
        let mut details: Vec<String> = plan.formulas().map(|f| f.summary()).into_iter().collect();
        if ring > 0 && !readers.is_empty() {
            details.push(format!("the ring is the widest that a reader asks for: {}", readers.join(", ")));
        }
        list.push(Remark { kind: "ranges", layer: named(op.index, op.name), what, details });
    }
    list
}
