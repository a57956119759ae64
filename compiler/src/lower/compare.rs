//! Comparisons of a number that two parties hold with the shared bits of a number that the third holds.
//!
//! `[v < u]` bit by bit: `lt_i = u_i·(1−v_i)`, `eq_i = 1 xor u_i xor v_i`, joined in pairs from neighbouring bits:
//! `lt = lt_hi xor eq_hi·lt_lo`, `eq = eq_hi·eq_lo`. Each level of the tree is one AND and one reshare; an odd list passes
//! its most significant entry; the lowest entry needs no `eq`.
use super::builder::Builder;
use ir::{Op, PlaneList, Value};

/// Chooses planes.
pub fn pick(b: &mut Builder, x: Value, planes: Vec<u32>) -> Value {
    let whole = planes.iter().enumerate().all(|(i, p)| i as u32 == *p);
    if whole && planes.len() == usize::from(b.ty(x).domain.width()) {
        return x;
    }
    b.one(Op::Pick { x, planes: PlaneList(planes) })
}

/// Stacks planes.
pub fn stack(b: &mut Builder, parts: Vec<Value>) -> Value {
    if parts.len() == 1 { parts[0] } else { b.one(Op::Stack { parts }) }
}

/// Runs several comparisons side by side. `lt` and `eq` hold the leaves of all of them, `widths` planes each, from
/// least significant. Returns one plane per comparison: the borrow.
pub fn carry_trees(b: &mut Builder, mut lt: Value, mut eq: Value, widths: &[u32]) -> Value {
    // Per comparison: plane of each entry in `lt`, and in `eq` where it has one.
    let mut at = 0;
    let mut lists: Vec<Vec<(u32, Option<u32>)>> = Vec::new();
    for w in widths {
        lists.push((at..at + w).map(|p| (p, (p > at).then_some(p))).collect());
        at += w;
    }
    while lists.iter().any(|l| l.len() > 1) {
        let (mut left, mut low_lt, mut low_eq, mut high_lt) = (vec![], vec![], vec![], vec![]);
        let (mut left_eq, mut pass_lt, mut pass_eq) = (vec![], vec![], vec![]);
        for list in &lists {
            for (j, pair) in list.chunks(2).enumerate() {
                match pair {
                    [(l, le), (h, Some(he))] => {
                        left.push(*he);
                        low_lt.push(*l);
                        high_lt.push(*h);
                        if let (true, Some(le)) = (j > 0, le) {
                            left_eq.push(*he);
                            low_eq.push(*le);
                        }
                    }
                    [(l, e)] => {
                        pass_lt.push(*l);
                        pass_eq.extend(e);
                    }
                    _ => unreachable!("only the lowest entry has no eq"),
                }
            }
        }
        let (pairs, eqs) = (left.len() as u32, left_eq.len() as u32);
        let a = pick(b, eq, left.iter().chain(&left_eq).copied().collect());
        let mut right = vec![pick(b, lt, low_lt)];
        if eqs > 0 {
            right.push(pick(b, eq, low_eq));
        }
        let right = stack(b, right);
        let product = b.one(Op::MulSs { a, b: right });
        let product = b.one(Op::Reshare { x: product, bits: 1 });
        let carried = pick(b, product, (0..pairs).collect());
        let high = pick(b, lt, high_lt);
        let mut next_lt = vec![b.one(Op::Add { a: high, b: carried })];
        if !pass_lt.is_empty() {
            next_lt.push(pick(b, lt, pass_lt.clone()));
        }
        let mut next_eq = vec![];
        if eqs > 0 {
            next_eq.push(pick(b, product, (pairs..pairs + eqs).collect()));
        }
        if !pass_eq.is_empty() {
            next_eq.push(pick(b, eq, pass_eq.clone()));
        }
        lt = stack(b, next_lt);
        if !next_eq.is_empty() {
            eq = stack(b, next_eq);
        }
        // New plane numbers: joined pairs first, then passed entries, in the order of the lists.
        let (mut lt_at, mut eq_at, mut pass_lt_at, mut pass_eq_at) = (0, 0, pairs, eqs);
        lists = lists
            .iter()
            .map(|list| {
                list.chunks(2)
                    .enumerate()
                    .map(|(j, pair)| match pair {
                        [_, _] => {
                            let e = (j > 0).then_some(eq_at);
                            lt_at += 1;
                            eq_at += u32::from(j > 0);
                            (lt_at - 1, e)
                        }
                        one => {
                            pass_lt_at += 1;
                            let e = one[0].1.map(|_| pass_eq_at);
                            pass_eq_at += u32::from(e.is_some());
                            (pass_lt_at - 1, e)
                        }
                    })
                    .collect()
            })
            .collect();
    }
    pick(b, lt, lists.iter().map(|l| l[0].0).collect())
}
