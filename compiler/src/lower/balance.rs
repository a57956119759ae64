//! Which party plays which role in each part of a program, so that all send about as much. Roles change no value, so a
//! program is emitted once to count what each role sends, and again with the roles that were found.
//!
//! Parts of one layer are computed side by side, so first each layer is made even, then the whole.
//!
//! A part that splits a sharing keeps the roles of the parts that made it, where loads stay even: what its party A holds
//! are pads of theirs, so A deals without waiting for their last exchange, and a message less lies in the longest chain.
//! That holds among equal parts of the rows: others keep their roles apart, so that each layer stays even.
use super::{Aim, LowerError, Lowered, Options, Route};
use crate::passes::results_of;
use crate::profile::REP3;
use ir::Op;
use ir::ops::Class;
use std::collections::{BTreeMap, HashSet};

/// Bytes that each party sends.
type Load = [u64; 3];
/// Bytes that each role sends in parts with the same roles, by layer.
type Loads = BTreeMap<u32, Load>;

/// Percent by which the busiest party may send more, for fewer messages in a row.
const SLACK: u64 = 4;

/// Emits twice: with all roles unrotated, then balanced. A dealer always plays A.
pub fn balanced(options: Options, emit: impl Fn(&[u8]) -> Result<Lowered, LowerError>) -> Result<Lowered, LowerError> {
    let draft = emit(&[])?;
    let facts = options.protocol.facts();
    if !facts.scheme.roles {
        // Nobody plays a role.
        return Ok(draft);
    }
    if let Some(dealer) = facts.dealer {
        return emit(&vec![dealer.0; draft.parts.len()]);
    }
    let (fixed, loads) = loads(&draft);
    let layer = |part: usize| draft.builder.insts.get(draft.parts[part].start).map_or(0, |inst| inst.layer);
    let parts: Vec<Loads> = loads.iter().enumerate().map(|(i, load)| Loads::from([(layer(i), *load)])).collect();
    let clusters = linked(&draft, parts.len());
    let together = clustered(fixed, &parts, &clusters);
    let alone = choose(fixed, &parts);
    // On the Boolean route A receives too, so nothing is gained.
    let [more, fewer] = [&together, &alone].map(|rotations| busiest(fixed, &parts, rotations));
    let even = more * 100 <= fewer * (100 + SLACK);
    // With public weights every layer is a link, so that one party would send most of all: that is for slow networks.
    let faster = match options.aim {
        Aim::Seconds(net) if options.modes.public_weights => {
            let saved = net.rtt.as_secs_f64() / 2.0 * layers(&draft, &clusters) as f64;
            more.saturating_sub(fewer) as f64 * 8.0 < saved * net.bits_per_second
        }
        _ => false,
    };
    drop(draft);
    emit(if options.route == Route::Dealer && (even || faster) { &together } else { &alone })
}

/// Layers that follow another one in their cluster, and so save an exchange.
fn layers(draft: &Lowered, clusters: &[usize]) -> usize {
    let follows = clusters.iter().enumerate().filter(|(part, first)| part != *first);
    let layer = |(part, _): (usize, &usize)| Some(draft.builder.insts.get(draft.parts[part].start)?.layer);
    follows.filter_map(layer).collect::<HashSet<u32>>().len()
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
        let part = draft.parts.partition_point(|part| part.start <= i);
        let load = match inst.op {
            Op::Reshare { .. } if setup => continue,
            Op::Open { .. } => &mut fixed,
            _ => match part.checked_sub(1).filter(|p| draft.parts[*p].free) {
                Some(p) => &mut parts[p],
                None => &mut fixed,
            },
        };
        if let Some(x) = operands.first() {
            REP3.messages(&inst.op, b.ty(*x)).iter().for_each(|(from, _, bytes)| load[from.index()] += bytes);
        }
    }
    (fixed, parts)
}

/// The cluster of each part: its least part. Parts are in one if one splits what the other shares, of the same rows.
fn linked(draft: &Lowered, parts: usize) -> Vec<usize> {
    let b = &draft.builder;
    let made_by: Vec<usize> = b.insts.iter().enumerate().flat_map(|(i, x)| vec![i; results_of(&x.op)]).collect();
    let part = |i: usize| draft.parts.partition_point(|part| part.start <= i).checked_sub(1);
    let mut cluster: Vec<usize> = (0..parts).collect();
    for (i, inst) in b.insts.iter().enumerate() {
        let (Op::SplitShared { x, .. }, Some(own)) = (&inst.op, part(i)) else { continue };
        let mut seen = HashSet::new();
        let mut left = vec![made_by[x.index()]];
        while let Some(j) = left.pop() {
            if !seen.insert(j) {
                continue;
            }
            if b.insts[j].op.class() == Class::Round {
                if let Some(p) = part(j).filter(|p| draft.parts[*p].rows == draft.parts[own].rows) {
                    let (from, to) = (cluster[own].max(cluster[p]), cluster[own].min(cluster[p]));
                    cluster.iter_mut().filter(|c| **c == from).for_each(|c| *c = to);
                }
                continue;
            }
            left.extend(b.insts[j].op.operands().iter().map(|v| made_by[v.index()]));
        }
    }
    cluster
}

/// The roles of each part, where those of a cluster have the same.
fn clustered(fixed: Load, parts: &[Loads], clusters: &[usize]) -> Vec<u8> {
    let mut sums = vec![Loads::new(); parts.len()];
    for (loads, c) in parts.iter().zip(clusters) {
        for (layer, load) in loads {
            let sum = sums[*c].entry(*layer).or_default();
            (0..3).for_each(|r| sum[r] += load[r]);
        }
    }
    let rotations = choose(fixed, &sums);
    clusters.iter().map(|c| rotations[*c]).collect()
}

/// What the party sends that sends most.
fn busiest(fixed: Load, parts: &[Loads], rotations: &[u8]) -> u64 {
    let mut sent = Sent::new(fixed);
    parts.iter().zip(rotations).for_each(|(part, rot)| sent.add(part, *rot));
    sent.all.into_iter().max().unwrap_or(0)
}

/// What each party sends with the roles so far.
struct Sent {
    all: Load,
    layers: BTreeMap<u32, Load>,
}

impl Sent {
    fn new(fixed: Load) -> Sent {
        Sent { all: fixed, layers: BTreeMap::new() }
    }

    fn add(&mut self, loads: &Loads, rot: u8) {
        for (layer, load) in loads {
            let own = self.layers.entry(*layer).or_default();
            for role in 0..3 {
                own[(role + usize::from(rot)) % 3] += load[role];
                self.all[(role + usize::from(rot)) % 3] += load[role];
            }
        }
    }

    fn remove(&mut self, loads: &Loads, rot: u8) {
        for (layer, load) in loads {
            let own = self.layers.entry(*layer).or_default();
            for role in 0..3 {
                own[(role + usize::from(rot)) % 3] -= load[role];
                self.all[(role + usize::from(rot)) % 3] -= load[role];
            }
        }
    }

    /// Where the layers of `loads` are most even with them, and then the whole; ties keep the present rotation.
    fn best(&self, loads: &Loads, now: u8) -> u8 {
        let uneven = |load: Load| load.iter().map(|x| u128::from(*x).pow(2)).sum::<u128>();
        let with = |sum: Load, load: Load, rot: u8| -> u128 {
            uneven(std::array::from_fn(|p| sum[p] + load[(p + 3 - usize::from(rot)) % 3]))
        };
        let price = |rot: u8| {
            let own = |layer| self.layers.get(layer).copied().unwrap_or_default();
            let layers: u128 = loads.iter().map(|(layer, load)| with(own(layer), *load, rot)).sum();
            let mut all = [0; 3];
            loads.values().for_each(|load| (0..3).for_each(|r| all[r] += load[r]));
            (layers, with(self.all, all, rot))
        };
        (0..3u8).map(|r| (now + r) % 3).min_by_key(|r| price(*r)).unwrap_or(now)
    }
}

/// The largest part first, each where it makes loads most even; then single parts move while that helps.
fn choose(fixed: Load, parts: &[Loads]) -> Vec<u8> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|p| std::cmp::Reverse(parts[*p].values().flatten().sum::<u64>()));
    let mut rotations = vec![0; parts.len()];
    let mut sent = Sent::new(fixed);
    for p in &order {
        rotations[*p] = sent.best(&parts[*p], 0);
        sent.add(&parts[*p], rotations[*p]);
    }
    for _ in 0..8 {
        for p in &order {
            sent.remove(&parts[*p], rotations[*p]);
            rotations[*p] = sent.best(&parts[*p], rotations[*p]);
            sent.add(&parts[*p], rotations[*p]);
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
        let alone: Vec<Loads> = (0..).zip(&parts).map(|(layer, load)| Loads::from([(layer, *load)])).collect();
        let fixed = [0, 70_000, 1000];
        let busiest = busiest(fixed, &alone, &choose(fixed, &alone));
        let mean = (parts.iter().flatten().sum::<u64>() + 71_000) / 3;
        assert!((busiest - mean) * 100 < mean, "{busiest} of {mean}");
    }

    #[test]
    fn parts_of_a_layer_go_to_different_parties() {
        let parts: Vec<Loads> = (0..30u32).map(|i| Loads::from([(i / 3, [900 - u64::from(i / 3), 100, 50])])).collect();
        let rotations = choose([5000, 0, 0], &parts);
        for layer in rotations.chunks(3) {
            let mut layer = layer.to_vec();
            layer.sort_unstable();
            assert_eq!(layer, [0, 1, 2]);
        }
    }
}
