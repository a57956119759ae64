//! Which party plays which role in each part of a program, so that all send about as much. Roles change no value and no
//! round, so a program is emitted once to count what each role sends, and again with the roles that were found.
use super::{LowerError, Lowered};
use crate::passes::results_of;
use crate::profile::REP3;
use ir::Op;

/// Bytes that each party sends.
type Load = [u64; 3];

/// Emits twice: with all roles unrotated, then balanced.
pub fn balanced(emit: impl Fn(&[u8]) -> Result<Lowered, LowerError>) -> Result<Lowered, LowerError> {
    let draft = emit(&[])?;
    let (fixed, parts) = loads(&draft);
    let rotations = choose(fixed, &parts);
    drop(draft);
    emit(&rotations)
}

/// What each party sends whatever the roles, and what each role sends in each part. Set-up does not count.
fn loads(draft: &Lowered) -> (Load, Vec<Load>) {
    let b = &draft.builder;
    let mut fixed = [0; 3];
    let mut parts = vec![[0; 3]; draft.parts.len()];
    let mut from_weights = vec![false; b.types.len()];
    let mut next = 0;
    for (i, inst) in b.insts.iter().enumerate() {
        let operands = inst.op.operands();
        let setup = operands.first().is_some_and(|x| from_weights[x.index()]);
        if matches!(inst.op, Op::Weight { .. }) {
            from_weights[next] = true;
        }
        next += results_of(&inst.op);
        let part = draft.parts.partition_point(|start| *start <= i);
        let load = match inst.op {
            Op::Reshare { .. } if setup => continue,
            Op::Open { .. } => &mut fixed,
            _ => part.checked_sub(1).map_or(&mut fixed, |p| &mut parts[p]),
        };
        if let Some(x) = operands.first() {
            REP3.messages(&inst.op, b.ty(*x)).iter().for_each(|(from, _, bytes)| load[from.index()] += bytes);
        }
    }
    (fixed, parts)
}

/// The largest part first, each where it makes loads most even; then single parts move while that helps.
fn choose(fixed: Load, parts: &[Load]) -> Vec<u8> {
    let rotated = |load: Load, part: Load, rot: u8| -> Load {
        std::array::from_fn(|p| load[p] + part[(p + 3 - usize::from(rot)) % 3])
    };
    let without = |load: Load, part: Load, rot: u8| -> Load {
        std::array::from_fn(|p| load[p] - part[(p + 3 - usize::from(rot)) % 3])
    };
    let uneven = |load: Load| load.iter().map(|x| u128::from(*x).pow(2)).sum::<u128>();
    let best = |load: Load, part: Load, now: u8| {
        // Ties keep the present rotation.
        (0..3u8).map(|r| (now + r) % 3).min_by_key(|r| uneven(rotated(load, part, *r))).unwrap_or(now)
    };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|p| std::cmp::Reverse(parts[*p]));
    let mut rotations = vec![0; parts.len()];
    let mut load = fixed;
    for p in &order {
        rotations[*p] = best(load, parts[*p], 0);
        load = rotated(load, parts[*p], rotations[*p]);
    }
    for _ in 0..8 {
        for p in &order {
            let rest = without(load, parts[*p], rotations[*p]);
            rotations[*p] = best(rest, parts[*p], rotations[*p]);
            load = rotated(rest, parts[*p], rotations[*p]);
        }
    }
    rotations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_come_out_even() {
        // Numbers without pattern.
        let parts: Vec<Load> = (1..40u64).map(|i| [5000 * (i * i % 37), 900 * (i % 7), 900 * (i % 7)]).collect();
        let rotations = choose([0, 70_000, 1000], &parts);
        let mut load = [0, 70_000, 1000];
        for (part, rot) in parts.iter().zip(&rotations) {
            (0..3).for_each(|role| load[(role + usize::from(*rot)) % 3] += part[role]);
        }
        let mean = load.iter().sum::<u64>() / 3;
        assert!(load.iter().all(|x| x.abs_diff(mean) * 100 < mean), "{load:?}");
    }
}
