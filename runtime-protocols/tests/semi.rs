//! Preprocessing of additive sharing, all parties in one process: what is made fits together, as many bytes as said.
use ir::Party;
use ir::offline::{Map, Shape};
use runtime_protocols::ot::OtError;
use runtime_protocols::semi::prep::Prep;
use runtime_protocols::semi::{Need, Stock, online};

type Sent = Vec<Vec<Vec<u8>>>;

fn incoming(sent: &Sent, p: usize) -> Vec<&[u8]> {
    (0..sent.len()).map(|q| &sent[q][p][..]).collect()
}

/// Stock of each party, batch after batch.
fn make(n: usize, needs: &[Need], weights: &[Option<Vec<i32>>], batches: &[usize]) -> Vec<Vec<Vec<Stock>>> {
    let mut all: Vec<Prep> =
        (0..n).map(|p| Prep::new(Party(p as u8), n, &[p as u8 + 1; 32], [n as u8; 16], needs.to_vec())).collect();
    let none = || vec![vec![Vec::new(); n]; n];
    for step in 0..all[0].session_steps() {
        let mut sent = none();
        all.iter_mut().zip(&mut sent).for_each(|(p, out)| p.session_send(step, weights, out));
        for (p, prep) in all.iter_mut().enumerate() {
            let messages = incoming(&sent, p);
            (0..n)
                .for_each(|q| assert_eq!(prep.session_expects(step, q), messages[q].len(), "{q} to {p}, step {step}"));
            prep.session_receive(step, &messages).unwrap();
        }
    }
    let mut made: Vec<Vec<Vec<Stock>>> = (0..n).map(|_| Vec::new()).collect();
    for lanes in batches {
        let mut sent = none();
        all.iter_mut().zip(&mut sent).for_each(|(p, out)| p.begin(*lanes, out));
        for step in 0..all[0].steps() {
            let mut next = none();
            for (p, prep) in all.iter_mut().enumerate() {
                let messages = incoming(&sent, p);
                (0..n).for_each(|q| {
                    assert_eq!(prep.expects(step, q), messages[q].len(), "{q} to {p}, exchange {step}");
                    assert_eq!(prep.bytes(step, *lanes, q, p), messages[q].len());
                });
                prep.receive(&messages, &mut next[p]).unwrap();
            }
            sent = next;
        }
        assert!(sent.iter().flatten().all(Vec::is_empty), "nothing is left to send");
        all.iter_mut().zip(&mut made).for_each(|(p, made)| made.push(p.finish().unwrap()));
    }
    made
}

fn sum(x: impl Iterator<Item = u64>, ring: u32) -> u64 {
    x.fold(0u64, u64::wrapping_add) & if ring >= 64 { u64::MAX } else { (1 << ring) - 1 }
}

#[test]
fn what_is_made_fits_together() {
    let shape = |ring| Shape { map: Map::dense(2, 3, 2), bits: 8, ring };
    for (n, owner) in [(2, 0), (2, 1), (3, 1), (4, 3), (10, 0)] {
        let needs = [
            Need::And { words: 3 },
            Need::Bits { words: 2, ring: 32 },
            Need::Linear { shape: shape(45), owner },
            Need::Ring { count: 70, ring: 20 },
            Need::And { words: 1 },
            Need::Bits { words: 1, ring: 2 },
            Need::Linear { shape: shape(30), owner },
            Need::Ring { count: 3, ring: 64 },
        ];
        let w = vec![5, -128, 127, 0, -1, 99];
        let mut weights = vec![None; needs.len()];
        (weights[2], weights[6]) = (Some(w.clone()), Some(w.clone()));
        let made = make(n, &needs, &weights, &[1, 2]);
        for (batch, lanes) in [1, 2].into_iter().enumerate() {
            for at in 0..lanes * needs.len() {
                let of = |p: usize| &made[p][batch][at];
                match &needs[at % needs.len()] {
                    Need::And { words } => {
                        for i in 0..*words {
                            let [a, b, c] = [0, 1, 2].map(|x| {
                                (0..n).fold(0, |s, p| match of(p) {
                                    Stock::And(parts) => s ^ parts[x][i],
                                    _ => panic!("another stock"),
                                })
                            });
                            assert_eq!(a & b, c, "{n} parties");
                            assert!(a != 0 && b != 0 && a != u64::MAX);
                        }
                    }
                    Need::Bits { words, ring } => {
                        let parts = |p: usize| match of(p) {
                            Stock::Bits(parts) => parts,
                            _ => panic!("another stock"),
                        };
                        for i in 0..64 * words {
                            let bit = (0..n).fold(0, |s, p| s ^ parts(p)[0][i / 64] >> (i % 64) & 1);
                            assert_eq!(sum((0..n).map(|p| parts(p)[1][i]), *ring), bit, "bit {i}, {n} parties");
                        }
                    }
                    Need::Ring { count, ring } => {
                        for i in 0..*count {
                            let [a, b, c] = [0, 1, 2].map(|x| {
                                let part = |p| match of(p) {
                                    Stock::Ring(parts) => parts[x][i],
                                    _ => panic!("another stock"),
                                };
                                sum((0..n).map(part), *ring)
                            });
                            assert_eq!(sum(std::iter::once(a.wrapping_mul(b)), *ring), c, "{n} parties");
                        }
                    }
                    Need::Linear { shape, owner } => {
                        let parts = |p: usize| match of(p) {
                            Stock::Linear(parts) => parts,
                            _ => panic!("another stock"),
                        };
                        assert!(parts(usize::from(*owner))[0].is_empty());
                        for (r, o) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                            let others = (0..n).filter(|p| *p != usize::from(*owner));
                            let product = |i: usize| {
                                let a = others.clone().map(|p| parts(p)[0][3 * r + i]).fold(0u64, u64::wrapping_add);
                                a.wrapping_mul(i64::from(w[3 * o + i]) as u64)
                            };
                            let want = sum((0..3).map(product), shape.ring);
                            assert_eq!(sum((0..n).map(|p| parts(p)[1][2 * r + o]), shape.ring), want, "{n} parties");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_and_numbers_come_out() {
    for n in [2, 3] {
        let needs = [Need::And { words: 2 }, Need::Ring { count: 5, ring: 64 }, Need::Bits { words: 3, ring: 16 }];
        let made = make(n, &needs, &[None, None, None], &[1]);
        let stock = |p: usize, i: usize| &made[p][0][i];
        // Shares: all at the last party but one bit at each.
        let share = |p: usize, x: u64| if p + 1 == n { x ^ ((1 << p) - 1) } else { 1 << p };
        let (x, y) = ([0x0123_4567_89ab_cdefu64, 77], [0xfedc_ba98_7654_3210u64, u64::MAX]);
        let shares = |p: usize, v: [u64; 2]| v.map(|v| share(p, v));
        let xor =
            |all: Vec<Vec<u64>>| all.into_iter().reduce(|a, b| a.iter().zip(b).map(|(a, b)| a ^ b).collect()).unwrap();
        let sent: Vec<_> = (0..n).map(|p| online::mask_bits(&shares(p, x), &shares(p, y), stock(p, 0))).collect();
        let [d, e] = [0, 1].map(|i| xor(sent.iter().map(|s| s[i].clone()).collect()));
        let z = xor((0..n).map(|p| online::product_of_bits(&d, &e, p == 0, stock(p, 0))).collect());
        let (shared_x, shared_y) = (
            xor((0..n).map(|p| shares(p, x).to_vec()).collect()),
            xor((0..n).map(|p| shares(p, y).to_vec()).collect()),
        );
        assert_eq!(z, [shared_x[0] & shared_y[0], shared_x[1] & shared_y[1]]);

        let add = |all: Vec<Vec<u64>>| {
            all.into_iter().reduce(|a, b| a.iter().zip(b).map(|(a, b)| a.wrapping_add(b)).collect()).unwrap()
        };
        let factor = |p: usize, f: u64| (0..5).map(|i| f * (i + 1) + p as u64).collect::<Vec<_>>();
        let sent: Vec<_> = (0..n).map(|p| online::mask_ring(&factor(p, 1 << 40), &factor(p, 9), stock(p, 1))).collect();
        let [d, e] = [0, 1].map(|i| add(sent.iter().map(|s| s[i].clone()).collect()));
        let z = add((0..n).map(|p| online::product_in_ring(&d, &e, p == 0, stock(p, 1))).collect());
        let (a, b) = (add((0..n).map(|p| factor(p, 1 << 40)).collect()), add((0..n).map(|p| factor(p, 9)).collect()));
        assert_eq!(z, a.iter().zip(b).map(|(a, b)| a.wrapping_mul(b)).collect::<Vec<_>>());

        // Three planes of 50 elements.
        let bits: Vec<Vec<u64>> = (0..n as u64)
            .map(|p| (0..3).map(|i| 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(3 * p + i + 1)).collect())
            .collect();
        let e = xor((0..n).map(|p| online::mask_shared_bits(&bits[p], stock(p, 2))).collect());
        let shares: Vec<_> = (0..n).map(|p| online::numbers(&e, 50, p == 0, stock(p, 2))).collect();
        let all = xor(bits);
        for i in 0..50 {
            let want = (0..3).map(|t| (all[t] >> i & 1) << t).sum::<u64>();
            assert_eq!(sum(shares.iter().map(|s| s[i]), 16), want, "element {i}");
        }
    }
}

#[test]
fn wrong_lengths_are_typed_errors() {
    let needs = vec![Need::And { words: 1 }, Need::Bits { words: 1, ring: 9 }];
    let fresh = || Prep::new(Party(0), 2, &[1; 32], [2; 16], needs.clone());
    let mut prep = fresh();
    let expected = prep.session_expects(0, 1);
    let refused = prep.session_receive(0, &[&[], &vec![0; expected + 1]]).err();
    assert_eq!(refused, Some(OtError::Length { what: "start of preprocessing", got: expected + 1, expected }));
    let mut prep = fresh();
    let refused = prep.session_receive(0, &[&[1], &vec![0; expected]]).err();
    assert_eq!(refused, Some(OtError::Length { what: "start of preprocessing", got: 1, expected: 0 }));
}
