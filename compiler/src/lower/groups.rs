//! Which channels are requantized together on the dealer route. Instructions have one layout for all their elements: the
//! largest shift decides how many one-hot vectors are dealt, the widest range how many high bits are compared. So channels
//! that need less get instructions of their own, where that saves enough.
use super::cost::{Aim, Cost, of_gadget, seconds};
use super::dealer::{Tree, requantize_by};
use super::formulas::{ClassKind, Formulas};
use super::requant::{Formula, Source};
use crate::profile::REP3;
use ir::Op;
use ir::network::Network;
use std::collections::{BTreeMap, HashMap};

/// Most groups of an operator.
const MOST: usize = 6;
/// A group of its own saves at least this part of the operator's bits,
const WORTH_PART: u64 = 200;
/// and at least this many bits.
const WORTH_BITS: u64 = 1 << 23;
/// More channels are not told apart, so that programs stay small.
const MOST_CHANNELS: usize = 4096;

/// What decides the cost of an element.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Layout {
    width: u8,
    h: u8,
    two: bool,
}

impl Layout {
    fn of(f: &Formulas) -> Layout {
        Layout { width: f.width, h: f.h, two: f.two }
    }

    fn with(self, o: Layout) -> Layout {
        Layout { width: self.width.max(o.width), h: self.h.max(o.h), two: self.two || o.two }
    }
}

/// Costs of layouts with each tree, as counted on emitted instructions; `None` where there are too many products.
#[derive(Default)]
pub struct Costs(HashMap<(Layout, u8, u8, Tree), Option<Cost>>);

impl Costs {
    fn of(&mut self, l: Layout, n: u8, k: u8, tree: Tree) -> Option<Cost> {
        *self.0.entry((l, n, k, tree)).or_insert_with(|| count(l, n, k, tree))
    }

    /// Bits that all parties send for one element.
    fn bits(&mut self, l: Layout, n: u8, k: u8) -> u64 {
        self.of(l, n, k, Tree::Grouped).map_or(u64::MAX, |c| c.bits)
    }

    /// The tree of each part of an operator, computed side by side, and why if the network decided. Where the layer is
    /// computed in `thirds`, each party plays each role for as many elements.
    pub fn trees(&mut self, parts: &[(Formulas, usize)], k: u8, aim: Aim, thirds: bool) -> (Vec<Tree>, Option<String>) {
        let grouped = vec![Tree::Grouped; parts.len()];
        let Aim::Seconds(net) = aim else { return (grouped, None) };
        let of = |me: &mut Self, f: &Formulas, tree: Tree| {
            let cost = me.of(Layout::of(f), f.n, k, tree)?;
            Some(if thirds { Cost { busiest: cost.bits.div_ceil(3), ..cost } } else { cost })
        };
        let flat = |me: &mut Self, f: &Formulas| {
            let known = Tree::ALL[1..].iter().filter_map(|t| Some((*t, of(me, f, *t)?)));
            known.min_by_key(|(_, c)| c.busiest)
        };
        let all: Option<Vec<(Tree, Cost)>> = parts.iter().map(|(f, _)| flat(self, f)).collect();
        let Some(all) = all else {
            return (grouped, Some("one exchange less would take too long products of masks".into()));
        };
        let costs: Vec<Cost> = parts.iter().filter_map(|(f, _)| of(self, f, Tree::Grouped)).collect();
        let sizes = || parts.iter().map(|p| p.1);
        let slow = together(costs.iter().copied().zip(sizes()), net);
        let fast = together(all.iter().map(|c| c.1).zip(sizes()), net);
        let text = |(exchanges, bits, time): (u32, u64, f64)| {
            format!("{exchanges} exchanges and {bits} bits of the busiest party, {:.3} ms", time * 1e3)
        };
        let (better, worse) = if fast.2 < slow.2 { ("larger", "small") } else { ("small", "larger") };
        let (first, second) = if fast.2 < slow.2 { (fast, slow) } else { (slow, fast) };
        let note = format!("{better} chunks: {}; {worse} ones: {}", text(first), text(second));
        (if fast.2 < slow.2 { all.into_iter().map(|c| c.0).collect() } else { grouped }, Some(note))
    }

    /// Channel lists, each of one layout; `rows` is the number of elements of a channel.
    pub fn groups(&mut self, f: &Formulas, rows: usize, k: u8) -> Vec<Vec<u32>> {
        if f.classes.len() > MOST_CHANNELS {
            return vec![];
        }
        let mut by_layout: BTreeMap<Layout, Vec<u32>> = BTreeMap::new();
        let mut free = Vec::new();
        for (c, class) in f.classes.iter().enumerate() {
            match class.kind {
                ClassKind::Stairs => {
                    by_layout.entry(Layout::of(&f.of(&[c as u32]).for_dealer())).or_default().push(c as u32);
                }
                _ => free.push(c as u32),
            }
        }
        let mut groups: Vec<(Layout, Vec<u32>)> = by_layout.into_iter().collect();
        let rows = rows as u64;
        while groups.len() > 1 {
            let total: u64 = groups.iter().map(|(l, c)| c.len() as u64 * rows * self.bits(*l, f.n, k)).sum();
            let (lost, i, j) = self.closest(&groups, f.n, k);
            if groups.len() <= MOST && lost * rows > (total / WORTH_PART).max(WORTH_BITS) {
                break;
            }
            let (layout, channels) = groups.remove(j);
            groups[i].0 = groups[i].0.with(layout);
            groups[i].1.extend(channels);
        }
        let mut lists: Vec<Vec<u32>> = groups.into_iter().map(|(_, c)| c).collect();
        if !free.is_empty() {
            self.place(f, &free, &mut lists, k);
        }
        lists.iter_mut().for_each(|l| l.sort_unstable());
        lists
    }

    /// The pair of groups whose union costs least, and what it costs per row.
    fn closest(&mut self, groups: &[(Layout, Vec<u32>)], n: u8, k: u8) -> (u64, usize, usize) {
        let mut best = (u64::MAX, 0, 1);
        for j in 1..groups.len() {
            for i in 0..j {
                let union = self.bits(groups[i].0.with(groups[j].0), n, k);
                let more =
                    |me: &mut Self, g: &(Layout, Vec<u32>)| g.1.len() as u64 * union.saturating_sub(me.bits(g.0, n, k));
                let lost = more(self, &groups[i]) + more(self, &groups[j]);
                best = best.min((lost, i, j));
            }
        }
        best
    }

    /// Channels that fit every layout join the group where they cost least.
    fn place(&mut self, f: &Formulas, free: &[u32], lists: &mut Vec<Vec<u32>>, k: u8) {
        let cost =
            |me: &mut Self, list: &[u32]| list.len() as u64 * me.bits(Layout::of(&f.of(list).for_dealer()), f.n, k);
        let best = (0..lists.len()).min_by_key(|i| {
            let joined = [&lists[*i], free].concat();
            cost(self, &joined) - cost(self, &lists[*i]).min(cost(self, &joined))
        });
        match best {
            Some(i) => lists[i].extend(free),
            None => lists.push(free.to_vec()),
        }
    }
}

/// Exchanges, bits of the busiest party and seconds of parts computed side by side.
fn together(parts: impl Iterator<Item = (Cost, usize)>, net: Network) -> (u32, u64, f64) {
    let start = Cost { bits: 0, busiest: 0, exchanges: 0 };
    let all = parts.fold(start, |sum, (c, elements)| Cost {
        bits: sum.bits + c.bits * elements as u64,
        busiest: sum.busiest + c.busiest * elements as u64,
        exchanges: sum.exchanges.max(c.exchanges),
    });
    (all.exchanges, all.busiest, seconds(all, 1, net))
}

/// Emits the gadget and adds up its messages.
fn count(l: Layout, n: u8, k: u8, tree: Tree) -> Option<Cost> {
    let mut made = None;
    let cost = of_gadget(&REP3, n, |b, x| {
        let at = b.all();
        let x = b.one(Op::AsSum { x, at, bits: n });
        let one = b.scalar(1);
        let formula = Formula {
            m: one,
            s: one,
            b: [Some(one), l.two.then_some(one)],
            split: one,
            below: l.two.then_some(one),
            lo: one,
            hi: one,
            width: l.width,
            n,
            a: n - 1,
            h: l.h,
            exact: true,
        };
        made = requantize_by(b, Source::Sum(x), &formula, k, 0, tree);
    });
    made.map(|_| cost)
}
