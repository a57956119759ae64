//! Orders a program whose exchanges have their rounds, so that little is alive at once.
//!
//! Exchanges keep their order. A local instruction may stand anywhere between the exchanges that it needs and the first
//! exchange that needs it. Round after round,
//! - what frees at least as many bytes as it makes runs as soon as it can;
//! - the rest waits until an exchange needs it: one exchange after the other, and below an exchange the operand first
//!   whose making takes most beyond what it leaves (after Sethi and Ullman, The Generation of Optimal Code for
//!   Arithmetic Expressions, 1970).
//!
//! The order in which instructions came, each as early as its operands, is the order to beat: where the walk needs more
//! memory over the whole program, that order stays.
use crate::profile::Profile;
use ir::ops::Class;
use ir::verify::Typed;
use ir::{Form, Inst, Party};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;

/// Instructions and their rounds: set-up first, then from `after`: an exchange stands in that round, a local instruction
/// not before the end of it.
pub struct Rounds<'a> {
    /// In an order in which each stands behind its operands.
    pub insts: &'a [Inst],
    /// Their types.
    pub typed: &'a Typed,
    /// Which belong to set-up.
    pub setup: &'a [bool],
    /// Round of each.
    pub after: &'a [u32],
    /// How many rounds set-up has.
    pub setup_rounds: u32,
    /// How many rounds an inference has.
    pub rounds: u32,
}

/// The instructions before a round and the exchanges of the round; the last has no exchanges.
pub struct Region {
    /// Local instructions in order.
    pub local: Vec<usize>,
    /// Exchanges in order.
    pub exchanges: Vec<usize>,
}

/// More users of a value are not looked at for running all of them early.
const MANY: u32 = 16;

impl Rounds<'_> {
    fn talks(&self, i: usize) -> bool {
        self.insts[i].op.class() == Class::Round
    }

    /// Each instruction as early as it can, in the order in which they came. Set-up is the first region if there is one.
    pub fn plain(&self) -> Vec<Region> {
        let setup = |round: u32| {
            let all = || (0..self.insts.len()).filter(|i| self.setup[*i]);
            Region {
                local: all().filter(|i| !self.talks(*i) && self.after[*i] == round).collect(),
                exchanges: all().filter(|i| self.talks(*i) && self.after[*i] == round + 1).collect(),
            }
        };
        let mut regions: Vec<Region> = (0..self.setup_rounds).map(setup).collect();
        let at = regions.len();
        let empty = || Region { local: vec![], exchanges: vec![] };
        regions.extend((0..=self.rounds).map(|_| empty()));
        for i in (0..self.insts.len()).filter(|i| !self.setup[*i]) {
            match self.talks(i) {
                true => regions[at + self.after[i] as usize - 1].exchanges.push(i),
                false => regions[at + self.after[i] as usize].local.push(i),
            }
        }
        regions
    }
}

/// The better of the plain order and the walk's.
pub fn order(r: &Rounds<'_>, profile: &Profile) -> Vec<Region> {
    let plain = r.plain();
    let graph = Graph::new(r, profile);
    let mut simple = Walk::new(r, &graph, profile);
    plain.iter().for_each(|region| simple.replay(region));
    let mut walk = Walk::new(r, &graph, profile);
    let better = walk.regions(&plain);
    if walk.most < simple.most { better } else { plain }
}

/// Who uses what, and how much memory it takes.
struct Graph {
    parties: usize,
    /// Operands of each instruction, each once.
    operands: Vec<Vec<usize>>,
    users: Vec<Vec<usize>>,
    /// Bytes of each value in each party, and in all.
    bytes: Vec<u64>,
    total: Vec<u64>,
    /// Values of set-up that inferences use are never freed.
    kept: Vec<bool>,
    /// Public values and what makes them can be had at any time.
    public: Vec<bool>,
    /// Bytes that making an instruction's results takes beyond what is there, and what it leaves.
    need: Vec<(u64, u64)>,
}

impl Graph {
    fn new(r: &Rounds<'_>, profile: &Profile) -> Graph {
        let parties = profile.parties;
        let count = r.typed.types.len();
        let all = || (0..parties).map(Party);
        let mut users = vec![vec![]; count];
        let mut operands = Vec::with_capacity(r.insts.len());
        for (i, inst) in r.insts.iter().enumerate() {
            let mut list: Vec<usize> = inst.op.operands().iter().map(|v| v.index()).collect();
            list.sort_unstable();
            list.dedup();
            list.iter().for_each(|v| users[*v].push(i));
            operands.push(list);
        }
        let in_setup = |v: usize| r.setup[r.typed.origin[v] as usize];
        let kept = (0..count).map(|v| in_setup(v) && users[v].iter().any(|i| !r.setup[*i])).collect();
        let bytes: Vec<u64> =
            r.typed.types.iter().flat_map(|t| all().map(|p| profile.pieces(t.form, p) * t.memory_bytes())).collect();
        let total: Vec<u64> = bytes.chunks(usize::from(parties)).map(|b| b.iter().sum()).collect();
        let mut need: Vec<(u64, u64)> = vec![(0, 0); r.insts.len()];
        for i in (0..r.insts.len()).filter(|i| !r.talks(*i)) {
            let mut below: Vec<(u64, u64)> = operands[i].iter().map(|v| need[r.typed.origin[*v] as usize]).collect();
            below.sort_unstable_by_key(|(most, left)| Reverse(most - left));
            let (mut here, mut most) = (0, 0);
            for (m, left) in below {
                most = most.max(here + m);
                here += left;
            }
            let own: u64 = r.typed.results(i).map(|v| total[v]).sum();
            need[i] = (most.max(here + own), own);
        }
        let public = r.typed.types.iter().map(|t| t.form == Form::Public).collect();
        Graph { parties: parties.into(), operands, users, bytes, total, kept, public, need }
    }

    fn bytes(&self, v: usize) -> &[u64] {
        &self.bytes[v * self.parties..(v + 1) * self.parties]
    }
}

/// A walk over the program: what is alive where it stands.
struct Walk<'a> {
    r: &'a Rounds<'a>,
    g: &'a Graph,
    profile: &'a Profile,
    done: Vec<bool>,
    /// Users of each value that are still to come.
    left: Vec<u32>,
    now: Vec<u64>,
    /// Most bytes at once in one party so far.
    most: u64,
    order: Vec<usize>,
    /// Values whose users may now run.
    news: VecDeque<usize>,
}

impl<'a> Walk<'a> {
    fn new(r: &'a Rounds<'a>, g: &'a Graph, profile: &'a Profile) -> Self {
        let left = g.users.iter().map(|u| u.len() as u32).collect();
        let done = vec![false; r.insts.len()];
        Walk { r, g, profile, done, left, now: vec![0; g.parties], most: 0, order: vec![], news: VecDeque::new() }
    }

    fn results(&self, i: usize) -> Range<usize> {
        self.r.typed.results(i)
    }

    /// Whether a value is there after its last user but for what is `kept`.
    fn dies(&self, v: usize) -> bool {
        self.left[v] == 0 && !self.g.kept[v]
    }

    fn count(&mut self, v: usize, add: bool) {
        for (now, b) in self.now.iter_mut().zip(self.g.bytes(v)) {
            if add { *now += b } else { *now -= b }
        }
    }

    /// Runs an instruction; `buffers` are there meanwhile.
    fn emit(&mut self, i: usize, buffers: &[u64]) {
        self.done[i] = true;
        self.order.push(i);
        self.results(i).for_each(|v| self.count(v, true));
        for (p, now) in self.now.iter().enumerate() {
            self.most = self.most.max(now + buffers.get(p).copied().unwrap_or(0));
        }
        let g = self.g;
        for v in &g.operands[i] {
            self.left[*v] -= 1;
            if self.dies(*v) {
                self.count(*v, false);
            }
        }
        for v in self.results(i) {
            if self.left[v] == 0 {
                self.count(v, false);
            }
        }
        let news = g.operands[i].iter().copied().chain(self.results(i));
        self.news.extend(news.filter(|v| !g.public[*v] && !g.kept[*v]));
    }

    fn replay(&mut self, region: &Region) {
        region.local.iter().for_each(|i| self.emit(*i, &[]));
        let buffers = self.buffers(&region.exchanges);
        region.exchanges.iter().for_each(|i| self.emit(*i, &buffers));
    }

    /// Bytes of the messages of a round in each party.
    fn buffers(&self, exchanges: &[usize]) -> Vec<u64> {
        let mut sum = vec![0; self.g.parties];
        for i in exchanges {
            let op = &self.r.insts[*i].op;
            for (from, to, bytes) in self.profile.messages(op, &self.r.typed.types[op.operands()[0].index()]) {
                sum[from.index()] += bytes;
                sum[to.index()] += bytes;
            }
        }
        sum
    }

    /// Orders what the plain order holds.
    fn regions(&mut self, plain: &[Region]) -> Vec<Region> {
        let setup = self.r.setup_rounds as usize;
        let mut regions = Vec::with_capacity(plain.len());
        for (k, region) in plain.iter().enumerate() {
            let start = self.order.len();
            if k < setup {
                region.local.iter().for_each(|i| self.emit(*i, &[]));
            } else {
                self.locals(region, k + 1 == plain.len());
            }
            let local = self.order[start..].to_vec();
            let buffers = self.buffers(&region.exchanges);
            region.exchanges.iter().for_each(|i| self.emit(*i, &buffers));
            regions.push(Region { local, exchanges: region.exchanges.clone() });
        }
        regions
    }

    /// The local instructions before a round; behind the last round all that are left.
    fn locals(&mut self, region: &Region, last: bool) {
        self.run_early();
        for i in &region.exchanges {
            self.make_operands(*i, true);
        }
        let rest = if last { 0..self.r.insts.len() } else { 0..0 };
        for i in rest {
            self.make_operands(i, true);
            if !self.done[i] {
                self.emit(i, &[]);
            }
        }
    }

    /// Runs what an instruction needs and is not there, and on the way what frees memory if `early`.
    fn make_operands(&mut self, target: usize, early: bool) {
        let mut stack = vec![target];
        while let Some(i) = stack.last().copied() {
            let missing = |v: &&usize| !self.done[self.r.typed.origin[**v] as usize];
            let next = self.g.operands[i].iter().filter(missing).map(|v| self.r.typed.origin[*v] as usize);
            // What takes most comes first; of equals, what came first.
            match next.max_by_key(|j| (self.g.need[*j].0 - self.g.need[*j].1, Reverse(*j))) {
                Some(j) => stack.push(j),
                None => {
                    stack.pop();
                    if i != target && !self.done[i] {
                        self.emit(i, &[]);
                        if early {
                            self.run_early();
                        }
                    }
                }
            }
        }
    }

    /// Runs what frees at least what it makes, as long as there is such.
    fn run_early(&mut self) {
        while let Some(v) = self.news.pop_front() {
            let produced = self.done[self.r.typed.origin[v] as usize];
            if !produced || !(1..=MANY).contains(&self.left[v]) {
                continue;
            }
            let users: Vec<usize> = self.g.users[v].iter().copied().filter(|i| !self.done[*i]).collect();
            if users.iter().all(|i| self.can_run(*i)) && self.gains(&users) {
                for i in users {
                    self.make_operands(i, false);
                    if !self.done[i] {
                        self.emit(i, &[]);
                    }
                }
            }
        }
    }

    /// Whether only public operands are missing.
    fn can_run(&self, i: usize) -> bool {
        let there = |v: &usize| self.g.public[*v] || self.done[self.r.typed.origin[*v] as usize];
        !self.r.talks(i) && !self.r.setup[i] && self.g.operands[i].iter().all(there)
    }

    /// Whether instructions free at least what they make.
    fn gains(&self, insts: &[usize]) -> bool {
        let made: u64 =
            insts.iter().flat_map(|i| self.results(*i)).filter(|v| self.left[*v] > 0).map(|v| self.g.total[v]).sum();
        let mut operands: Vec<usize> = insts.iter().flat_map(|i| self.g.operands[*i].iter().copied()).collect();
        operands.sort_unstable();
        let (mut freed, mut stays) = (0, 0);
        for same in operands.chunk_by(|a, b| a == b) {
            let v = same[0];
            let there = self.done[self.r.typed.origin[v] as usize];
            let last = self.left[v] as usize == same.len() && !self.g.kept[v];
            match (there, last) {
                (true, true) => freed += self.g.total[v],
                (false, false) => stays += self.g.total[v],
                _ => {}
            }
        }
        made + stays <= freed
    }
}
