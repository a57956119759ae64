//! Which channels are requantized together on the dealer route. Instructions have one layout for all their elements: the
//! largest shift decides how many one-hot vectors are dealt, the widest range how many high bits are compared. So channels
//! that need less get instructions of their own, where that saves enough.
use super::builder::Builder;
use super::dealer::requantize;
use super::formulas::{ClassKind, Formulas};
use super::requant::{Formula, Source};
use crate::profile::REP3;
use ir::{Interface, Op, Party};
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

/// Bits of layouts, as counted on emitted instructions.
#[derive(Default)]
pub struct Costs(HashMap<(Layout, u8, u8), u64>);

impl Costs {
    /// Bits that all parties send for one element.
    fn bits(&mut self, l: Layout, n: u8, k: u8) -> u64 {
        *self.0.entry((l, n, k)).or_insert_with(|| count(l, n, k))
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

/// Emits the gadget for eight elements, so that no byte is padded, and adds up its messages.
fn count(l: Layout, n: u8, k: u8) -> u64 {
    const ELEMENTS: u64 = 8;
    let weights = vec![vec![ELEMENTS as u32]];
    let interface = Interface { inputs: vec![], outputs: vec![], weights, weight_owner: Party(0) };
    let mut b = Builder::new(interface, 3);
    let x = b.one(Op::Weight { index: 0 });
    let x = b.one(Op::Reshare { x, bits: n });
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
    };
    let start = b.insts.len();
    requantize(&mut b, Source::Sum(x), &formula, k, 0);
    let sent = b.insts[start..].iter().flat_map(|i| match i.op.operands().first() {
        Some(x) => REP3.messages(&i.op, b.ty(*x)),
        None => vec![],
    });
    sent.map(|(_, _, bytes)| bytes).sum::<u64>() * 8 / ELEMENTS
}
