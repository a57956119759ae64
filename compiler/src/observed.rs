//! Results of operators as a program computes them, to compare with the oracle.
use crate::pipeline::Compiled;
use crate::qgraph::TensorId;
use ir::eval::{Plain, eval_observed};
use ir::verify::verify;
use ir::{Form, Type, Value};
use std::collections::BTreeMap;

/// Where the elements of a tensor are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// The result of an operator.
    pub tensor: TensorId,
    /// What it is joined of.
    pub parts: Vec<Place>,
    /// How often the parts take turns; in each turn a part gives as many of its elements as in every other.
    pub turns: usize,
}

/// The elements of a value plus a number, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// A value that stands in the program.
    pub value: Value,
    /// What is added to its signed elements.
    pub offset: i64,
}

impl Observed {
    fn join(&self, parts: &[Vec<i64>]) -> Vec<i64> {
        let mut all = Vec::new();
        for turn in 0..self.turns {
            for part in parts {
                let each = part.len() / self.turns;
                all.extend(&part[turn * each..(turn + 1) * each]);
            }
        }
        all
    }
}

/// Stored integers of each result that passes left a form of.
pub fn results(c: &Compiled, inputs: &[Vec<i64>]) -> BTreeMap<TensorId, Vec<i64>> {
    let p = &c.program;
    let Ok(typed) = verify(p) else { return BTreeMap::new() };
    let places = || c.results.iter().flat_map(|o| o.parts.iter());
    let mut seen: BTreeMap<Place, Vec<i64>> = places().map(|place| (*place, vec![])).collect();
    eval_observed(p, &typed, inputs, &c.weights.tensors, &mut |v, x| {
        let first = |v: usize| Place { value: Value(v as u32), offset: i64::MIN };
        for (place, got) in seen.range_mut(first(v)..first(v + 1)) {
            *got = numbers(x, &typed.types[v], place.offset);
        }
    });
    let shared = |o: &Observed| o.parts.first().is_some_and(|p| typed.types[p.value.index()].form == Form::Shared);
    let one = |o: &Observed| {
        // Shared values are centred, those of the receiver are not.
        let quant = c.graph.tensor(o.tensor).quant.filter(|_| shared(o));
        let zero_point = quant.map_or(0, |q| i64::from(q.zero_point));
        let parts: Vec<Vec<i64>> = o.parts.iter().map(|place| seen[place].clone()).collect();
        (o.tensor, o.join(&parts).iter().map(|x| x + zero_point).collect())
    };
    c.results.iter().map(one).collect()
}

fn numbers(x: &Plain, t: &Type, offset: i64) -> Vec<i64> {
    let Plain::Ring(x) = x else { return vec![] };
    let unused = if t.form == Form::Shared { 64 - u32::from(t.domain.width()) } else { 0 };
    x.iter().map(|v| (v.wrapping_add(offset as u64) << unused) as i64 >> unused).collect()
}
