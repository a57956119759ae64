//! What one party sees does not depend on the others' secrets: with all that a party knows by itself kept fixed, every bit that it
//! receives is uniform, alone, in pairs, and next to the receiver's own summand. Each kind of message fails this as soon as its
//! pad is taken away.
mod common;
use common::tile::{Numbers, Run, Tile, run_tile};
use common::wrapped::{Change, low_bits};
use compiler::lower::dealer::Tree;
use compiler::pipeline::Route;
use compiler::profile::REP3;
use ir::verify::{Typed, type_program};
use ir::{Domain, Form, Op, Party, Program};
use std::collections::BTreeMap;

const RUNS: usize = 256;
type Bits = [u64; RUNS / 64];

/// Standard errors of the count of ones.
fn bias(b: &Bits) -> f64 {
    let ones: u32 = b.iter().map(|w| w.count_ones()).sum();
    (f64::from(ones) - RUNS as f64 / 2.0).abs() / (RUNS as f64 / 4.0).sqrt()
}

/// Bits of many runs.
#[derive(Default)]
struct Columns(Vec<Bits>);

impl Columns {
    fn add(&mut self, run: usize, bits: impl Iterator<Item = bool>) {
        for (i, bit) in bits.enumerate() {
            if self.0.len() <= i {
                self.0.push([0; RUNS / 64]);
            }
            self.0[i][run / 64] |= u64::from(bit) << (run % 64);
        }
    }

    fn worst(&self) -> f64 {
        self.0.iter().map(bias).fold(0.0, f64::max)
    }

    fn worst_pair(&self) -> f64 {
        let xor = |a: &Bits, b: &Bits| -> Bits { std::array::from_fn(|i| a[i] ^ b[i]) };
        let of = |(i, a): (usize, &Bits)| self.0[..i].iter().map(|b| bias(&xor(a, b))).fold(0.0, f64::max);
        self.0.iter().enumerate().map(of).fold(0.0, f64::max)
    }
}

/// Largest deviation, in standard errors.
#[derive(Debug)]
struct Seen {
    single: f64,
    pair: f64,
    own: f64,
}

impl Seen {
    /// Thousands of bits deviate by up to 4, millions of pairs by up to 5.5.
    fn suspicious(&self) -> bool {
        self.single > 5.5 || self.pair > 7.0 || self.own > 5.5
    }
}

/// Under which number the receiver's own summand of an exchange is filed.
fn filed(p: &Program, typed: &Typed, i: usize) -> Option<u32> {
    let Op::Join { x } = &p.insts[i].op else { return Some(i as u32) };
    let origin = (0..i).find(|j| typed.results(*j).contains(&x.index()))?;
    match p.insts[origin].op {
        Op::Mask { tag, .. } => Some(u32::MAX - tag),
        _ => Some(origin as u32),
    }
}

/// The first bit of each element received in each exchange, next to the same bit of the receiver's own summand.
fn beside_own(p: &Program, typed: &Typed, run: &Run, me: usize) -> Vec<bool> {
    let own: BTreeMap<u32, _> = run.own[me].iter().map(|(i, v)| (*i, &v.parts[0])).collect();
    let mut out = Vec::new();
    let mut at = 0;
    for (r, round) in p.rounds.iter().enumerate() {
        let mut used = [0usize; 3];
        for i in at..round.exchange_end as usize {
            let Some(x) = p.insts[i].op.operands().first().copied() else { continue };
            let ty = &typed.types[x.index()];
            for (from, to, bytes) in REP3.messages(&p.insts[i].op, ty) {
                if to.index() != me {
                    continue;
                }
                let start = used[from.index()];
                used[from.index()] += bytes as usize;
                let Some(mine) = filed(p, typed, i).and_then(|n| own.get(&n)) else { continue };
                let record = run.records.iter().find(|m| m.round == r as u32 + 1 && m.from == from && m.to == to);
                let payload = &record.expect("the message was sent").payload[start..start + bytes as usize];
                let step = match (&p.insts[i].op, ty.domain) {
                    (Op::Reshare { bits, .. }, Domain::Ring(_)) => usize::from(*bits),
                    (_, Domain::Ring(n)) => usize::from(n),
                    (_, Domain::Bits(_)) => 1,
                };
                let theirs = (0..8 * payload.len()).step_by(step).map(|b| payload[b / 8] >> (b % 8) & 1 == 1);
                out.extend(low_bits(mine).into_iter().zip(theirs).map(|(a, b)| a ^ b));
            }
        }
        at = round.exchange_end as usize;
    }
    out
}

/// Runs with everything fixed but the key that `me` lacks.
fn look(p: &Program, acc: &[i64], me: usize, change: &Change) -> Seen {
    let typed = type_program(p).expect("verified");
    let (mut received, mut beside) = (Columns::default(), Columns::default());
    for r in 0..RUNS {
        let mut rng = Numbers(1000 + r as u64);
        let mut seeds = [[1u8; 32], [2; 32], [3; 32]];
        seeds[me].chunks_mut(8).for_each(|c| c.copy_from_slice(&rng.draw().to_le_bytes()));
        let run = run_tile(p, acc, &seeds, change);
        // The last round opens what is agreed.
        let last = p.rounds.len() as u32;
        let mine = run.records.iter().filter(|m| m.to.index() == me && m.round < last);
        received.add(r, mine.flat_map(|m| &m.payload).flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1)));
        beside.add(r, beside_own(p, &typed, &run, me).into_iter());
    }
    Seen { single: received.worst(), pair: received.worst_pair(), own: beside.worst() }
}

/// How many hold a summand.
fn holders(ty: &ir::Type) -> u32 {
    match ty.form {
        Form::Sum(h) | Form::Held(h) => h.count(),
        Form::Shared | Form::Public => 3,
    }
}

/// One message of each kind: what it is called, how its pad is taken away, who receives it.
fn kinds(p: &Program) -> BTreeMap<String, (Change, Party)> {
    let typed = type_program(p).expect("verified");
    let mut found = BTreeMap::new();
    for (i, inst) in p.insts.iter().enumerate() {
        let Some(x) = inst.op.operands().first().copied() else { continue };
        let ty = &typed.types[x.index()];
        let domain = if matches!(ty.domain, Domain::Bits(_)) { "bits" } else { "ring" };
        let (name, change) = match &inst.op {
            Op::Deal { .. } => (format!("deal of {domain}"), Change::Bare(i as u32)),
            // The owner's message is the first reshare, which is a kind of its own.
            Op::Reshare { .. } => (format!("reshare of {domain} from {}", holders(ty)), Change::Bare(i as u32)),
            Op::Split { .. } => ("split".to_owned(), Change::Bare(i as u32)),
            Op::Mask { tag, .. } => (format!("masked {} planes", ty.domain.width()), Change::Unmasked(*tag)),
            _ => continue,
        };
        // Whoever is sent the messages of the split or of the masked bits: the first that joins them.
        let exchange = match &inst.op {
            Op::Split { .. } | Op::Mask { .. } => {
                let result = typed.results(i).end - 1;
                let joins = |j: &&ir::Inst| matches!(&j.op, Op::Join { x } if x.index() == result);
                p.insts.iter().find(joins).expect("is joined")
            }
            _ => inst,
        };
        let x = exchange.op.operands()[0];
        let to = REP3.messages(&exchange.op, &typed.types[x.index()])[0].1;
        found.entry(name).or_insert((change, to));
    }
    found
}

fn check(route: Route, tree: Tree, least: usize) {
    let mut rng = Numbers(5);
    let t = Tile { rot: 1, ..Tile::draw(&mut rng, 16, 12, false, 8) };
    let p = t.program_by(route, tree);
    for me in 0..3 {
        let seen = look(&p, &t.acc, me, &Change::None);
        println!("{route:?}, party {me}: {seen:?}");
        assert!(!seen.suspicious(), "{route:?}: what party {me} receives depends on secrets: {seen:?}");
    }
    let kinds = kinds(&p);
    assert!(kinds.len() >= least, "kinds of messages: {:?}", kinds.keys());
    for (name, (change, to)) in kinds {
        let seen = look(&p, &t.acc, to.index(), &change);
        println!("{route:?}, {name} bare, party {}: {seen:?}", to.0);
        assert!(seen.suspicious(), "{route:?}: nobody notices {name} without pad: {seen:?}");
    }
}

#[test]
fn dealer_views_are_uniform_and_bare_messages_show() {
    check(Route::Dealer, Tree::Grouped, 7);
    check(Route::Dealer, Tree::Flat(5), 7);
}

#[test]
fn boolean_views_are_uniform_and_bare_messages_show() {
    check(Route::Boolean, Tree::Grouped, 6);
}
