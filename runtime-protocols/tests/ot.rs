//! Oblivious transfer and what is made of it, parties in one process: what comes out is right, what travels is uniform, a
//! wrong length is an error.
use ir::Party;
use ir::offline::{Group, Map, Shape};
use runtime_protocols::ot::OtError;
use runtime_protocols::ot::bits;
use runtime_protocols::ot::correlated::Run;
use runtime_protocols::ot::extend::Field;
use runtime_protocols::ot::products::{Other, Owner};
use runtime_protocols::ot::setup::{MESSAGES, Pair, Setup};
use runtime_protocols::prg::{Address, KeyStream};

const FIELDS: [Field; 4] = [Field::Two, Field::Four, Field::Sixteen, Field::Bytes];

fn stream(party: u8, seed: u8) -> KeyStream {
    KeyStream::new(&[10 * seed + party; 32], &[seed; 16])
}

/// The pair of parties 0 and 1.
fn two(field: Field, seed: u8) -> [Pair; 2] {
    let own = [stream(0, seed), stream(1, seed)];
    let mut sides = [0u8, 1].map(|p| Setup::new(Party(p), Party(1 - p), [seed; 16], field, &own[usize::from(p)]));
    for bytes in MESSAGES {
        let mut messages = [Vec::new(), Vec::new()];
        sides.iter_mut().zip(&mut messages).for_each(|(s, m)| s.send(m));
        for (p, side) in sides.iter_mut().enumerate() {
            assert_eq!((side.expects(), messages[1 - p].len()), (Some(bytes), bytes));
            side.receive(&own[p], &messages[1 - p]).unwrap();
        }
    }
    assert!(sides.iter().all(|s| s.expects().is_none()));
    sides.map(Setup::finish)
}

/// Pairs of each of `n` parties with each other.
fn mesh(n: usize, field: Field, seed: u8) -> Vec<Vec<Option<Pair>>> {
    let mut all: Vec<Vec<Option<Pair>>> = (0..n).map(|_| (0..n).map(|_| None).collect()).collect();
    let own: Vec<KeyStream> = (0..n).map(|p| stream(p as u8, seed)).collect();
    for p in 0..n {
        for q in p + 1..n {
            let mut a = Setup::new(Party(p as u8), Party(q as u8), [seed; 16], field, &own[p]);
            let mut b = Setup::new(Party(q as u8), Party(p as u8), [seed; 16], field, &own[q]);
            for _ in MESSAGES {
                let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
                a.send(&mut from_a);
                b.send(&mut from_b);
                a.receive(&own[p], &from_b).unwrap();
                b.receive(&own[q], &from_a).unwrap();
            }
            (all[p][q], all[q][p]) = (Some(a.finish()), Some(b.finish()));
        }
    }
    all
}

/// Test numbers.
fn numbers(seed: u8, len: usize) -> Vec<u64> {
    let mut out = vec![0; len];
    let at = Address { inference: 0, instruction: 0, purpose: 0 };
    KeyStream::new(&[seed; 32], b"test numbers").segment(&at).fill_u64(&mut out);
    out
}

fn bit(words: &[u64], i: usize) -> u64 {
    words[i / 64] >> (i % 64) & 1
}

#[test]
fn strings_of_transfers_agree_where_chosen_only() {
    for field in FIELDS {
        let [mut zero, mut one] = two(field, 1);
        // Several extensions of one pair, in both directions, with lengths on and off the edges of blocks and chunks.
        for (turn, count) in [1usize, 64, 127, 128, 129, 8191, 8192, 8193, 20_000].into_iter().enumerate() {
            let (sender, receiver) = if turn % 2 == 0 { (&mut zero, &mut one) } else { (&mut one, &mut zero) };
            let given = numbers(turn as u8, count.div_ceil(64));
            let drawn = turn % 3 == 1;
            let mut message = Vec::new();
            let received = receiver.receiver.extend((!drawn).then_some(&given), count, &mut message);
            assert_eq!(message.len(), field.message(count, drawn));
            let sent = sender.sender.extend(drawn, count, &message).unwrap();
            if !drawn {
                assert_eq!(received.choices, given);
            }
            let rows = sender.sender.absorbed(&sent, 0..count);
            let mut equal = 0;
            for (i, mine) in received.rows.iter().enumerate() {
                let side = bit(&received.choices, i) as usize;
                assert_eq!(rows[side][i], *mine, "transfer {i} of {count}, {field:?}");
                equal += usize::from(rows[1 - side][i] == *mine);
            }
            assert_eq!(equal, 0, "the other string is another");
            assert_eq!(sent.first, received.first);
        }
    }
}

fn make_triples(n: usize, field: Field, count: usize, seed: u8) -> (Vec<bits::Triples>, [u64; 2]) {
    let mut all = mesh(n, field, seed);
    let mut first: Vec<Vec<Vec<u8>>> = vec![vec![Vec::new(); n]; n];
    let mut second = first.clone();
    let chosen: Vec<_> = (0..n).map(|p| bits::begin(Party(p as u8), &mut all[p], count, &mut first[p])).collect();
    let mut corrected = Vec::new();
    for (p, chosen) in chosen.into_iter().enumerate() {
        let incoming: Vec<&[u8]> = (0..n).map(|q| &first[q][p][..]).collect();
        (0..n).for_each(|q| assert_eq!(chosen.expects(&all[p], q), incoming[q].len(), "from {q} to {p}"));
        corrected.push(chosen.receive(&mut all[p], &incoming, &mut second[p]).unwrap());
    }
    let mut triples = Vec::new();
    for (p, corrected) in corrected.into_iter().enumerate() {
        let incoming: Vec<&[u8]> = (0..n).map(|q| &second[q][p][..]).collect();
        (0..n).for_each(|q| assert_eq!(corrected.expects(q), incoming[q].len(), "from {q} to {p}"));
        triples.push(corrected.receive(&incoming).unwrap());
    }
    let bytes = [first, second].map(|m| m.iter().flatten().map(|m| m.len() as u64).sum());
    (triples, bytes)
}

fn opened(triples: &[bits::Triples], of: impl Fn(&bits::Triples) -> &Vec<u64>) -> Vec<u64> {
    let zeros = vec![0; of(&triples[0]).len()];
    triples.iter().fold(zeros, |sum, t| sum.iter().zip(of(t)).map(|(a, b)| a ^ b).collect())
}

#[test]
fn triples_multiply() {
    for (n, field, count) in [
        (2, Field::Bytes, 10_000),
        (2, Field::Four, 1),
        (3, Field::Sixteen, 333),
        (5, Field::Bytes, 8200),
        (10, Field::Bytes, 100),
    ] {
        let (triples, bytes) = make_triples(n, field, count, 2);
        let [a, b, c] = [opened(&triples, |t| &t.a), opened(&triples, |t| &t.b), opened(&triples, |t| &t.c)];
        let ones = |x: &[u64]| (0..count).map(|i| bit(x, i)).sum::<u64>() as f64;
        for i in 0..count {
            assert_eq!(bit(&c, i), bit(&a, i) & bit(&b, i), "triple {i} of {n} parties");
        }
        if count >= 8192 {
            // Five standard deviations, for what is opened and for each share.
            let close = |x: f64, p: f64| (x - count as f64 * p).abs() < 5.0 * (count as f64 * p * (1.0 - p)).sqrt();
            assert!(close(ones(&a), 0.5) && close(ones(&b), 0.5) && close(ones(&c), 0.25), "{n} parties");
            for t in &triples {
                assert!([&t.a, &t.b, &t.c].iter().all(|x| close(ones(x), 0.5)), "a share, {n} parties");
            }
        }
        let (n, size) = (n as u64, count.div_ceil(8) as u64);
        let choices = n * (n - 2) * field.message(count, false) as u64 + n * field.message(count, true) as u64;
        assert_eq!(bytes, [choices, n * (n - 2) * size]);
    }
}

/// NHWC by `[out kh kw in/groups]`, zeros around.
fn convolution(size: usize, inputs: usize, outputs: usize, kernel: usize, groups: usize) -> Map {
    let around = kernel / 2;
    let mut taps = Vec::new();
    for (ky, kx) in (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x))) {
        let mut tap = Vec::new();
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            let (fy, fx) = (y + ky, x + kx);
            if (around..size + around).contains(&fy) && (around..size + around).contains(&fx) {
                tap.push([((fy - around) * size + fx - around) as u32, (y * size + x) as u32]);
            }
        }
        taps.push(tap);
    }
    let each = inputs / groups;
    let group = |o: usize, tap: usize| Group {
        weight: ((o * kernel * kernel + tap) * each) as u32,
        stride: 1,
        count: each as u32,
        input: (o / (outputs / groups) * each) as u32,
        tap: tap as u32,
    };
    let groups = (0..outputs).map(|o| (0..kernel * kernel).map(|t| group(o, t)).collect()).collect();
    Map { input: [size * size, inputs], output: [size * size, outputs], taps, groups }
}

/// W·a in the clear.
fn product(map: &Map, weights: &[i32], a: &[u64]) -> Vec<u64> {
    let mut out = vec![0u64; map.output[0] * map.output[1]];
    for (o, groups) in map.groups.iter().enumerate() {
        for g in groups {
            for i in 0..g.count {
                let w = i64::from(weights[(g.weight + i * g.stride) as usize]) as u64;
                for [from, to] in &map.taps[g.tap as usize] {
                    let x = a[*from as usize * map.input[1] + (g.input + i) as usize];
                    let y = &mut out[*to as usize * map.output[1] + o];
                    *y = y.wrapping_add(w.wrapping_mul(x));
                }
            }
        }
    }
    out
}

fn check_products(shape: Shape, weights: &[i32], inferences: u8) {
    let [mut owner, mut other] = two(Field::Bytes, 3);
    let mut choices = Vec::new();
    let mut mine = Owner::new(shape.clone(), weights, &mut owner, &mut choices);
    let mut theirs = Other::new(shape.clone(), &mut other, &choices).unwrap();
    let mask = if shape.ring == 64 { u64::MAX } else { (1 << shape.ring) - 1 };
    let mut seen = Vec::new();
    for turn in 0..inferences {
        let a = numbers(40 + turn, shape.map.input[0] * shape.map.input[1]);
        let mut message = Vec::new();
        let (mine, theirs): (Vec<u64>, Vec<u64>) = if shape.ring <= 32 {
            let a: Vec<u32> = a.iter().map(|v| *v as u32).collect();
            let sent = theirs.send(&other, &a, &mut message);
            let got: Vec<u32> = mine.receive(&owner.receiver.hash, &message).unwrap();
            (got.iter().map(|v| u64::from(*v)).collect(), sent.iter().map(|v| u64::from(*v)).collect())
        } else {
            let sent = theirs.send(&other, &a, &mut message);
            (mine.receive(&owner.receiver.hash, &message).unwrap(), sent)
        };
        assert_eq!(message.len(), mine_bytes(&shape), "bytes of a message");
        for (i, want) in product(&shape.map, weights, &a).iter().enumerate() {
            assert_eq!(mine[i].wrapping_add(theirs[i]) & mask, want & mask, "output {i}, inference {turn}");
        }
        seen.push(message);
    }
    assert!(seen.windows(2).all(|m| m[0] != m[1]), "one mask twice");
    let what = "masked inputs of products";
    let expected = shape.bytes();
    for got in [0, expected - 1, expected + 1] {
        let refused = mine.receive::<u64>(&owner.receiver.hash, &vec![0; got]).err();
        assert_eq!(refused, Some(OtError::Length { what, got, expected }));
    }
}

/// Bytes by the formula: k − j bits for bit j of each product, whole bytes for each group.
fn mine_bytes(shape: &Shape) -> usize {
    let elements = |g: &Group| g.count as usize * shape.map.taps[g.tap as usize].len();
    let bytes =
        |g: &Group| (0..shape.bits).map(|j| ((shape.ring - j) as usize * elements(g)).div_ceil(8)).sum::<usize>();
    shape.map.groups.iter().flatten().map(bytes).sum()
}

#[test]
fn products_of_held_weights() {
    let maps = [
        Map::dense(1, 17, 9),
        Map::dense(3, 5, 4),
        convolution(5, 3, 4, 3, 1),
        convolution(4, 6, 6, 3, 6),
        convolution(6, 8, 4, 1, 2),
    ];
    for (i, map) in maps.into_iter().enumerate() {
        for (bits, ring) in [(8, 32), (9, 21), (8, 8), (8, 40), (16, 64)] {
            let top = 1i64 << (bits - 1);
            let mut weights: Vec<i32> = numbers(i as u8, map.weights())
                .iter()
                .map(|w| (*w as i64 & (2 * top - 1)) as i32 - top as i32)
                .collect();
            (weights[0], weights[1]) = (-top as i32, (top - 1) as i32);
            check_products(Shape { map: map.clone(), bits, ring }, &weights, 3);
        }
    }
}

#[test]
fn correlated_runs() {
    let [mut owner, mut other] = two(Field::Sixteen, 4);
    for (count, len, width) in [(1, 1, 1), (100, 1, 31), (65, 3, 32), (7, 1000, 17), (3, 64, 64), (10, 0, 5)] {
        let run = Run { count, len, width };
        let choices = numbers(5, count.div_ceil(64));
        let x = numbers(6, count * len);
        let mut first = Vec::new();
        let received = owner.receiver.extend(Some(&choices), count, &mut first);
        let sent = other.sender.extend(false, count, &first).unwrap();
        let rows = other.sender.absorbed(&sent, 0..count);
        let mut message = Vec::new();
        let theirs: Vec<u64> = run.send(&other.sender.hash, &rows, sent.first, 0, &x, &mut message);
        assert_eq!(message.len(), run.bytes());
        let choice = |i: usize| bit(&choices, i);
        let get = |message: &[u8]| {
            run.receive::<u64>(&owner.receiver.hash, &received.rows, received.first, 0, choice, message)
        };
        let mine = get(&message).unwrap();
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        for i in 0..count * len {
            let want = choice(i / len).wrapping_neg() & x[i];
            assert_eq!(mine[i].wrapping_add(theirs[i]) & mask, want & mask, "element {i} of {run:?}");
        }
        message.push(0);
        let (what, got, expected) = ("masked vectors", message.len(), run.bytes());
        assert_eq!(get(&message).err(), Some(OtError::Length { what, got, expected }));
    }
}

#[test]
fn wrong_lengths_are_typed_errors() {
    let [_, mut one] = two(Field::Bytes, 5);
    for (count, drawn) in [(1000, false), (1000, true), (8192, false), (0, false)] {
        let expected = one.sender.message(count, drawn);
        for got in [expected + 1, expected.wrapping_sub(1)].into_iter().filter(|n| *n < 1 << 20) {
            let refused = one.sender.extend(drawn, count, &vec![0; got]).err();
            assert_eq!(refused, Some(OtError::Length { what: "choices of transfers", got, expected }));
        }
    }
    let own = stream(0, 6);
    for step in 0..3 {
        let peer = stream(1, 6);
        let mut a = Setup::new(Party(0), Party(1), [6; 16], Field::Bytes, &KeyStream::new(&[1; 32], &[6; 16]));
        let mut b = Setup::new(Party(1), Party(0), [6; 16], Field::Bytes, &peer);
        let fresh = KeyStream::new(&[1 + step as u8; 32], &[7; 16]);
        for (at, expected) in MESSAGES.into_iter().enumerate() {
            let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
            a.send(&mut from_a);
            b.send(&mut from_b);
            if at == step {
                from_b.pop();
                let refused = a.receive(&own, &from_b).err();
                assert!(
                    matches!(refused, Some(OtError::Length { got, expected: e, .. }) if got == e - 1 && e == expected)
                );
                break;
            }
            a.receive(&fresh, &from_b).unwrap();
            b.receive(&peer, &from_a).unwrap();
        }
    }
}

/// Bits of messages about fixed secrets, over many sessions: each is unbiased. The control has no mask.
#[test]
fn what_travels_is_uniform() {
    let sessions = 120u32;
    let count = 64;
    let shape = Shape { map: Map::dense(1, 3, 1), bits: 4, ring: 9 };
    let (choices, weights, a) = (vec![0xffff_0000_f0f0_1234u64], [7, -8, 3], [1u32, 511, 300]);
    let mut ones = Vec::new();
    let mut control = 0;
    for seed in 0..sessions {
        let own = [0u8, 1].map(|p| KeyStream::new(&[p; 32], &seed.to_le_bytes()));
        let mut session = [0; 16];
        session[..4].copy_from_slice(&seed.to_le_bytes());
        let mut sides =
            [0u8, 1].map(|p| Setup::new(Party(p), Party(1 - p), session, Field::Bytes, &own[usize::from(p)]));
        let mut all = Vec::new();
        for at in 0..3 {
            let mut messages = [Vec::new(), Vec::new()];
            sides.iter_mut().zip(&mut messages).for_each(|(s, m)| s.send(m));
            (0..2).for_each(|p| sides[p].receive(&own[p], &messages[1 - p]).unwrap());
            if at == 2 {
                all.extend_from_slice(&messages[0]);
            }
        }
        let [mut owner, mut other] = sides.map(Setup::finish);
        let mut first = Vec::new();
        owner.receiver.extend(Some(&choices), count, &mut first);
        other.sender.extend(false, count, &first).unwrap();
        let mut second = Vec::new();
        Owner::new(shape.clone(), &weights, &mut owner, &mut second);
        let mut theirs = Other::new(shape.clone(), &mut other, &second).unwrap();
        // Bits beyond the last transfer or element say nothing: only whole bytes are counted.
        let parts = shape.transfers() / 8;
        all.extend(second.chunks(shape.transfers().div_ceil(8)).flat_map(|part| part[..parts].to_vec()));
        all.extend_from_slice(&first);
        let mut third = Vec::new();
        theirs.send(&other, &a, &mut third);
        all.extend_from_slice(&third[..3]);
        ones.resize(8 * all.len(), 0u32);
        (0..8 * all.len()).for_each(|i| ones[i] += u32::from(all[i / 8] >> (i % 8) & 1));
        control += u32::from(choices[0].to_le_bytes()[0] & 1);
    }
    let deviation =
        |ones: u32| (f64::from(ones) - f64::from(sessions) / 2.0).abs() / (f64::from(sessions) / 4.0).sqrt();
    // One bit in 3.5 million is beyond 5 by chance, one in 500 million beyond 6.
    let worst = ones.iter().map(|o| deviation(*o)).fold(0.0, f64::max);
    assert!(worst < 6.0, "a bit is {worst:.1} standard deviations off, of {} bits", ones.len());
    assert!(deviation(control) > 6.0, "the control shows nothing");
}
