//! The exchanges of a check: public, a function of how much there is to check.
use super::{BYTES, DEGREE, LATER, Message, Size, Sizes, corner, index_bits, points};
use crate::types::Party;

/// One compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Variables.
    pub t: u32,
    /// Elements of each of the 2^t blocks.
    pub block: usize,
    /// Points whose values travel, in ascending order.
    pub sent: Vec<usize>,
    /// Whether it is the first: blocks of numbers, the value at each corner claimed.
    pub first: bool,
    /// Whether it is the last: its last entry is a random product that hides what is opened.
    pub last: bool,
}

/// Levels of a check whose rest is left to the next one.
const EARLY: usize = 2;

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What is left is opened, and nothing else is before.
    Opened,
    /// What is left is one more claim of the next check.
    Carried,
}

/// The compressions of one kind, and the length of what they leave.
fn levels(size: &Size, later: u32, end: End) -> (Vec<Level>, usize) {
    let (t, block) = (size.first(), size.groups().terms);
    if block + size.joined() == 0 {
        return (vec![], 0);
    }
    let sent = (0..points(t)).filter(|p| corner(*p, t).is_none()).collect();
    let mut out = vec![Level { t, block, sent, first: true, last: false }];
    let mut len = DEGREE * block + size.joined();
    loop {
        let last = len < 1 << later;
        if end == End::Carried && (last || out.len() == EARLY) {
            return (out, len);
        }
        let t = if last { len.ilog2() + 1 } else { later };
        let block = if last { 1 } else { len.div_ceil(1 << t) };
        // The value at the first corner follows from the sum over all of them.
        out.push(Level { t, block, sent: (1..points(t)).collect(), first: false, last });
        if last {
            return (out, 0);
        }
        len = block;
    }
}

/// What happens in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Coins before level `level`, or after the last: `count` challenges.
    Coins {
        /// Levels done before.
        level: usize,
        /// How many.
        count: usize,
    },
    /// Summands of level `level`.
    Products {
        /// Which.
        level: usize,
    },
    /// Hashes of the coins.
    Compare,
    /// What is left of each kind, three elements.
    Open,
    /// Hashes of what was opened.
    Agree,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The compressions of bits, rings of 32 bits, rings of 64 bits.
    pub levels: [Vec<Level>; 3],
    /// The exchanges.
    pub steps: Vec<Step>,
    /// Length of what is left of each kind to the next check.
    pub left: [usize; 3],
    sizes: Sizes,
}

/// Bytes of a hash.
pub const HASH: usize = 32;
/// Bytes of a challenge.
pub const CHALLENGE: usize = 8;

impl Plan {
    /// The plan for so much; no exchange if there is nothing.
    pub fn of(sizes: &Sizes, end: End) -> Plan {
        let [(bits, a), (narrow, b), (wide, c)] = [0, 1, 2].map(|kind| levels(&sizes.kinds[kind], LATER[kind], end));
        let levels = [bits, narrow, wide];
        let deepest = levels.iter().map(Vec::len).max().unwrap_or(0);
        let mut plan = Plan { levels, steps: vec![], left: [a, b, c], sizes: sizes.clone() };
        if deepest == 0 {
            return plan;
        }
        plan.steps.push(Step::Coins { level: 0, count: plan.indices().max(1) });
        for level in 0..deepest {
            let there = || plan.levels.iter().filter_map(|l| l.get(level));
            if there().any(|l| !l.sent.is_empty()) {
                plan.steps.push(Step::Products { level });
            }
            // The first level also joins the convolutions, with a challenge of their own.
            let count = there().map(|l| l.t as usize).max().unwrap_or(0) + usize::from(level == 0);
            plan.steps.push(Step::Coins { level: level + 1, count });
        }
        if end == End::Opened {
            plan.steps.extend([Step::Compare, Step::Open, Step::Agree]);
        }
        plan
    }

    /// Most pixels and channels of a convolution; how many there are, and one for what the check before has left.
    pub fn linear_sizes(&self) -> [usize; 3] {
        [self.sizes.rows, self.sizes.columns, self.sizes.joined()]
    }

    /// Challenges for these three.
    pub fn linear_indices(&self) -> [u32; 3] {
        self.linear_sizes().map(index_bits)
    }

    /// Challenges of the first coins.
    fn indices(&self) -> usize {
        let each = self.sizes.kinds.iter().map(|size| index_bits(size.groups().claims)).max().unwrap_or(0);
        (self.linear_indices().iter().sum::<u32>()).max(each) as usize
    }

    /// What a wrong claim escapes with is at most this times 2^-64, whatever the cheater does.
    pub fn escapes(&self) -> u64 {
        let per_level = |l: &Level| u64::from(l.t) * if l.last { 3 } else { 2 };
        let of_kind = |levels: &Vec<Level>| levels.iter().map(per_level).sum::<u64>();
        self.indices() as u64 + 1 + self.levels.iter().map(of_kind).max().unwrap_or(0)
    }

    /// The messages of a step.
    pub fn messages(&self, step: Step) -> Vec<Message> {
        let elements = |count: &dyn Fn(&Vec<Level>) -> usize| -> usize {
            self.levels.iter().zip(BYTES).map(|(l, bytes)| bytes * count(l)).sum()
        };
        let (next, both) = (vec![1], vec![1, 2]);
        let (to, bytes) = match step {
            Step::Coins { count, .. } => (both, CHALLENGE * count),
            Step::Products { level } => (next, elements(&|l| l.get(level).map_or(0, |l| l.sent.len()))),
            Step::Compare | Step::Agree => (both, HASH),
            Step::Open => (both, elements(&|l| 3 * usize::from(!l.is_empty()))),
        };
        let message = |from: u8, by: u8| Message { from: Party(from), to: Party((from + by) % 3), bytes: bytes as u64 };
        (0..3).flat_map(|from| to.iter().map(move |by| message(from, *by))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Domain;

    fn sizes(bits: usize, narrow: usize) -> Sizes {
        let mut s = Sizes::default();
        s.sum(Domain::Bits(1), bits, 1);
        s.sum(Domain::Ring(24), narrow, 1);
        s
    }

    #[test]
    fn nothing_needs_no_exchange() {
        assert_eq!(Plan::of(&Sizes::default(), End::Opened).steps, []);
        assert_eq!(Plan::of(&sizes(0, 0), End::Opened).steps, []);
        // One claim: first coins, the level that spreads lanes, one that joins them, the last, and three at the end.
        assert_eq!(Plan::of(&sizes(1, 0), End::Opened).steps.len(), 9);
    }

    /// A hundred million ANDs and three million products in a ring.
    #[test]
    fn large_checks_are_short() {
        let plan = Plan::of(&sizes(144_000_000, 3_000_000), End::Opened);
        let bytes: u64 =
            plan.steps.iter().flat_map(|s| plan.messages(*s)).filter(|m| m.from.0 == 0).map(|m| m.bytes).sum();
        assert_eq!(plan.steps.len(), 14, "{:?}", plan.steps);
        assert!(bytes < 300_000, "{bytes}");
        assert!(plan.escapes() < 100);
        // 2^-64 times this is below 2^-40 for anything that fits a machine.
        assert!(Plan::of(&sizes(1 << 50, 1 << 40), End::Opened).escapes() < 1 << 8);
    }

    #[test]
    fn every_level_makes_it_shorter() {
        for (bits, narrow) in [(1, 0), (0, 1), (64, 64), (65, 65), (4096, 1), (100_000, 5_000), (7, 1_000_000)] {
            let plan = Plan::of(&sizes(bits, narrow), End::Opened);
            for levels in plan.levels.iter().filter(|l| !l.is_empty()) {
                assert!(levels[0].first && levels.last().is_some_and(|l| l.last));
                for pair in levels.windows(2) {
                    let before = pair[0].block * if pair[0].first { DEGREE } else { 1 };
                    // The last level has a place left for the random product.
                    assert!(before + usize::from(pair[1].last) <= pair[1].block << pair[1].t);
                }
            }
        }
    }

    /// A check that hands on what is left is short, and what it hands on is: a 16th of what the first level leaves, however
    /// often it is done.
    #[test]
    fn early_checks_leave_little() {
        let mut left = [0; 3];
        for _ in 0..100 {
            let mut s = sizes(10_000_000, 100_000);
            s.carry(left);
            let plan = Plan::of(&s, End::Carried);
            assert_eq!(plan.steps.len(), 5, "{:?}", plan.steps);
            left = plan.left;
        }
        assert!(left[0] > 0 && left[0] < 10_000_000 / 64 / 50, "{left:?}");
        assert!(left[1] > 0 && left[1] < 100_000 / 10, "{left:?}");
        assert_eq!(left[2], 0);
        // What is short is left as it is, and a check of nothing else opens it.
        let mut s = Sizes::default();
        s.carry([3, 0, 0]);
        let plan = Plan::of(&s, End::Carried);
        assert_eq!((plan.steps.len(), plan.left), (2, [3, 0, 0]));
        assert_eq!(Plan::of(&s, End::Opened).steps.len(), 7);
    }
}
