//! The wire of one requantization against a description of it in another language, payload by payload, and the dealer route
//! on whole ranges against the formula.
mod common;
use common::python::{hex, messages};
use common::tile::{Numbers, OWNER, SESSION, Tile, run_tile};
use common::wrapped::Change;
use compiler::lower::dealer::Tree;
use compiler::pipeline::Route;
use ir::{Op, Program};

/// The case as the reference reads it.
fn case(t: &Tile, p: &Program, seeds: &[[u8; 32]; 3], tree: Tree) -> serde_json::Value {
    let mut at = 0;
    let exchanges: Vec<Vec<u32>> = p
        .rounds
        .iter()
        .map(|r| {
            let talking = (r.local_end.max(at)..r.exchange_end).collect();
            at = r.exchange_end;
            talking
        })
        .collect();
    let split = p.insts.iter().position(|i| matches!(i.op, Op::Split { .. })).expect("one instruction splits");
    serde_json::json!({
        "n": t.n, "k": t.k, "width": t.width, "h": t.h, "rot": t.rot, "owner": OWNER.0, "receiver": OWNER.0,
        "acc": t.acc, "m": t.m, "s": t.s, "b_p": t.b_p, "b_n": t.b_n, "split": t.split, "lo": t.lo, "hi": t.hi,
        "seeds": seeds.iter().map(|s| hex(s)).collect::<Vec<_>>(), "session": hex(&SESSION), "inference": 1,
        "split_at": split, "exchanges": exchanges, "chunk": if let Tree::Flat(n) = tree { Some(n) } else { None },
    })
}

#[test]
fn dealer_wire_equals_the_reference() {
    let mut rng = Numbers(1);
    let grouped = [(32, 28, false), (32, 20, true), (25, 30, true), (16, 3, false), (27, 33, false), (20, 14, true)];
    let flat = [(32, 28, false, 8), (25, 20, true, 7), (16, 3, false, 5), (20, 14, true, 6), (27, 24, false, 8)];
    let cases = grouped.into_iter().map(|(n, width, two)| (n, width, two, Tree::Grouped));
    for (n, width, two, tree) in cases.chain(flat.map(|(n, width, two, size)| (n, width, two, Tree::Flat(size)))) {
        for rot in 0..3 {
            let t = Tile { rot, ..Tile::draw(&mut rng, n, width, two, 16) };
            let p = t.program_by(Route::Dealer, tree);
            let seeds = [0u8, 1, 2].map(|i| [10 * i + rot; 32]);
            let Some(want) = messages("reference_rep3_dealer.py", &case(&t, &p, &seeds, tree)) else { return };
            let run = run_tile(&p, &t.acc, &seeds, &Change::None);
            assert_eq!(run.result, t.wanted(), "{t:?}");
            let mut got: Vec<_> = run
                .records
                .iter()
                .filter(|r| !r.payload.is_empty())
                .map(|r| (r.round, r.from.0, r.to.0, hex(&r.payload)))
                .collect();
            got.sort();
            assert_eq!(got.len(), want.len(), "messages, {t:?}");
            for (g, w) in got.iter().zip(&want) {
                assert_eq!(g, w, "round {} from {} to {}, {t:?}", w.0, w.1, w.2);
            }
        }
    }
}

/// Every u and every accumulator of a small ring.
#[test]
fn dealer_is_right_on_all_of_a_small_ring() {
    let n = 6u8;
    let pairs: Vec<(u64, u64)> = (0..64).flat_map(|u| (1..32).map(move |a| (u, a))).collect();
    let mut rng = Numbers(2);
    let mut checked = 0;
    for s in 1..=10u8 {
        for (m, two) in [(1, false), (1 << s, true), (rng.between(1, 8 << s), false), (rng.between(1, 8 << s), true)] {
            let offset = rng.between(0, (1 << s) - 1);
            let split = if two { rng.between(-3, 3) } else { -rng.between(1, 5) };
            let (lo, hi) = (if two { split - rng.between(1, 4) } else { split }, split + rng.between(1, 8));
            let fill = |x: i64| vec![x; pairs.len()];
            let mut t = Tile {
                n,
                k: 8,
                width: s,
                h: 0,
                rot: (checked % 3) as u8,
                acc: pairs.iter().map(|(_, a)| *a as i64 - 16).collect(),
                m: fill(m),
                s: fill(s.into()),
                b_p: fill(offset),
                b_n: two.then(|| fill(offset + (1 << s) / 2)),
                split: fill(split),
                lo: fill(lo),
                hi: fill(hi),
            };
            // The narrowest h that holds every distance, and wider ones.
            let floors = t.acc.iter().flat_map(|a| [offset, offset + (1 << s) / 2].map(|b| (m * a + b) >> s));
            let far = floors.flat_map(|f| [f - lo, hi + 1 - f]).map(i64::unsigned_abs).max().expect("there are some");
            let least = (64 - far.leading_zeros()) as u8 + 1;
            for h in [least, least + 1, least + 4] {
                t.h = h;
                let split =
                    Change::Split { u: pairs.iter().map(|p| p.0).collect(), a: pairs.iter().map(|p| p.1).collect() };
                for tree in [Tree::Grouped, Tree::Flat(5)] {
                    let p = t.program_by(Route::Dealer, tree);
                    let run = run_tile(&p, &t.acc, &[[1; 32], [2; 32], [3; 32]], &split);
                    assert_eq!(run.result, t.wanted(), "s {s}, m {m}, h {h}, two pieces {two}, {tree:?}");
                    checked += pairs.len();
                }
            }
        }
    }
    println!("{checked} elements");
}

/// Slopes of 31 bits and more, shifts above 32, in the widest ring: products use 63 bits.
#[test]
fn large_slopes_are_exact() {
    let mut rng = Numbers(3);
    for (n, m) in
        [(25u8, (1i64 << 36) - 5), (28, (1 << 34) - 1), (30, (1 << 32) + 1), (31, (1 << 31) + 7), (32, (1 << 31) - 1)]
    {
        for two in [false, true] {
            let count = 512;
            let most = (1i64 << (n - 2)) - 1;
            // The largest accumulator lands at about 300.
            let s = (64 - ((i128::from(m) * i128::from(most)) as u64).leading_zeros()) as i64 - 8;
            let mut t = Tile::draw(&mut rng, n, s as u8, two, count);
            t.m = vec![m; count];
            t.s = vec![s; count];
            t.acc =
                (0..count).map(|i| if i < 4 { [most, -most, 0, -1][i] } else { rng.between(-most, most) }).collect();
            t.b_p = vec![rng.between(0, 1 << (s - 1)); count];
            t.b_n = two.then(|| vec![t.b_p[0] + (1 << (s - 2)); count]);
            t.h = t.reach(most);
            for rot in 0..3 {
                t.rot = rot;
                let run =
                    run_tile(&t.program(Route::Dealer), &t.acc, &[[4; 32], [5; 32], [6 + rot; 32]], &Change::None);
                assert_eq!(run.result, t.wanted(), "n {n}, m {m}, s {s}, two pieces {two}");
            }
        }
    }
}
