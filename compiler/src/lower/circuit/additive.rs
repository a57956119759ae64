//! Gadgets on additive sharings of any number of parties: a sharing is a summand at each party, so its bits come from adding
//! the summands up in a circuit, and a linear formula is computed on the sharing itself.
//!
//! `m·acc + b` is computed in a ring that holds all of it, shifted so that the floor begins at one bit for all elements. Then
//! only the carry into that bit and the bits above are added up; they are compared and cut, and what is left becomes a number.
//!
//! | exchange | content |
//! |---|---|
//! | 1 | the product |
//! | some | three or more parties: three summands become two |
//! | 2 | both bits are set, of each place |
//! | 3 – 8 | carries, for 33 to 64 bits of six levels |
//! | 9 | the carry into the places above |
//! | 10 – 13 | comparison with the upper bound, for 9 to 16 bits of four levels |
//! | 14, 15 | above the bound; the bits that remain |
//! | 16 | the number |
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::super::emit::per_class;
use super::super::formulas::{Class, Formulas, bits_for};
use super::super::requant::Source;
use super::leaves::and_all;
use ir::{Op, Value};

/// Whether a place is carried into, and whether it passes a carry on.
type Carry = (Value, Value);

fn xor(b: &mut Builder, x: Value, y: Value) -> Value {
    b.one(Op::Add { a: x, b: y })
}

fn every(b: &mut Builder, x: Value) -> Vec<Value> {
    let n = u32::from(b.ty(x).domain.width());
    (0..n).map(|i| pick(b, x, vec![i])).collect()
}

/// Two numbers, as shared planes, that add up to x mod 2^t.
fn two_numbers(b: &mut Builder, x: Value, t: u8) -> [Value; 2] {
    let mut numbers: Vec<Value> = (0..b.scheme.parties)
        .map(|index| {
            let own = b.one(Op::Operand { x, index });
            let own = b.one(Op::PlanesH { x: own, lo: 0, width: t });
            b.one(Op::Reshare { x: own, bits: 1 })
        })
        .collect();
    while numbers.len() > 2 {
        let (mut left, mut right, mut next) = (vec![], vec![], vec![]);
        for three in numbers.chunks_exact(3) {
            let (x, y) = (xor(b, three[0], three[2]), xor(b, three[1], three[2]));
            left.extend(every(b, x));
            right.extend(every(b, y));
        }
        let products = and_all(b, left, right);
        for (three, products) in numbers.chunks_exact(3).zip(products.chunks(t.into())) {
            let sum = xor(b, three[0], three[1]);
            next.push(xor(b, sum, three[2]));
            let both = stack(b, products.to_vec());
            let carry = xor(b, both, three[2]);
            let nothing = xor(b, carry, carry);
            let zero = pick(b, nothing, vec![0]);
            next.push(if t == 1 {
                zero
            } else {
                let kept = pick(b, carry, (0..u32::from(t) - 1).collect());
                stack(b, vec![zero, kept])
            });
        }
        next.extend_from_slice(numbers.chunks_exact(3).remainder());
        numbers = next;
    }
    [numbers[0], numbers[1]]
}

/// Joins neighbours of `low` until one is left, and carries of `high` until each is one from its beginning; side by side.
fn prefixes(b: &mut Builder, mut low: Vec<Carry>, mut high: Vec<Carry>) -> (Option<Value>, Vec<Carry>) {
    let mut block = 1;
    while low.len() > 1 || block < high.len() {
        let (mut left, mut right) = (vec![], vec![]);
        for (i, pair) in low.chunks_exact(2).enumerate() {
            left.push(pair[1].1);
            right.push(pair[0].0);
            if i > 0 {
                left.push(pair[1].1);
                right.push(pair[0].1);
            }
        }
        let from = |j: usize| (j & block != 0).then(|| j / block * block - 1);
        let joined: Vec<(usize, usize)> = (0..high.len()).filter_map(|j| Some((j, from(j)?))).collect();
        for (j, i) in &joined {
            left.extend([high[*j].1; 2]);
            right.extend([high[*i].0, high[*i].1]);
        }
        let mut products = and_all(b, left, right).into_iter();
        let mut next = || products.next().expect("one for each pair");
        let mut halved = Vec::new();
        for (i, pair) in low.chunks(2).enumerate() {
            halved.push(match pair {
                [below, above] => {
                    let passed = next();
                    let carry = xor(b, above.0, passed);
                    (carry, if i > 0 { next() } else { below.1 })
                }
                one => one[0],
            });
        }
        low = halved;
        for (j, _) in joined {
            let passed = next();
            high[j] = (xor(b, high[j].0, passed), next());
        }
        block *= 2;
    }
    (low.first().map(|c| c.0), high)
}

/// Bits `from .. to` of a sharing, as shared planes.
pub fn bits(b: &mut Builder, x: Value, from: u8, to: u8) -> Value {
    let [x, y] = two_numbers(b, x, to);
    let sum = xor(b, x, y);
    if to == 1 {
        return sum;
    }
    let below: Vec<u32> = (0..u32::from(to) - 1).collect();
    let (x, y) = (pick(b, x, below.clone()), pick(b, y, below));
    let (x, y) = (every(b, x), every(b, y));
    let both = and_all(b, x, y);
    let one = every(b, sum);
    let places: Vec<Carry> = both.into_iter().zip(one.iter().copied()).collect();
    let (low, high) = places.split_at(from.into());
    let (carry, high) = prefixes(b, low.to_vec(), high.to_vec());
    let mut carries: Vec<Value> = high.iter().map(|c| c.0).collect();
    if let Some(carry) = carry {
        let passes: Vec<Value> = high.iter().map(|c| c.1).collect();
        let passed = and_all(b, passes, vec![carry; high.len()]);
        carries = carries.into_iter().zip(passed).map(|(c, p)| xor(b, c, p)).collect();
        carries.insert(0, carry);
    } else {
        let first = one[0];
        let nothing = xor(b, first, first);
        carries.insert(0, nothing);
    }
    let planes = one[from.into()..].iter().zip(carries).map(|(s, c)| xor(b, *s, c)).collect();
    stack(b, planes)
}

/// [x = 0] for −2^m ≤ x < 2^m, as a shared plane.
pub fn zero(b: &mut Builder, x: Value, m: u8) -> Value {
    let x = bits(b, x, 0, m + 1);
    let x = b.one(Op::Not { x });
    let mut all = every(b, x);
    while all.len() > 1 {
        let half = all.len() / 2;
        let rest = all.split_off(2 * half);
        let right = all.split_off(half);
        all = and_all(b, all, right);
        all.extend(rest);
    }
    all[0]
}

/// One-hot vectors, of 16 entries, of the lower and the upper half of the low byte.
pub fn nibbles(b: &mut Builder, x: Value) -> [Value; 2] {
    let x = bits(b, x, 0, 8);
    let x = every(b, x);
    // Products of two, then of two of these: each set of a half's four bits.
    let pairs = |at: usize| [(at, at + 1), (at + 2, at + 3)];
    let (left, right) = [0, 4].into_iter().flat_map(pairs).map(|(i, j)| (x[i], x[j])).unzip();
    let two = and_all(b, left, right);
    let (mut left, mut right) = (vec![], vec![]);
    for half in 0..2 {
        let (low, high) = (&x[4 * half..4 * half + 2], &x[4 * half + 2..4 * half + 4]);
        let sides = [[low[0], low[1], two[2 * half]], [high[0], high[1], two[2 * half + 1]]];
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            left.push(sides[0][i]);
            right.push(sides[1][j]);
        }
    }
    let four = and_all(b, left, right);
    [0, 1].map(|half: usize| {
        // Monomials by the set of their bits, without the empty one.
        let monomial = |set: usize| match (set & 3, set >> 2) {
            (low, 0) => [x[4 * half], x[4 * half + 1], two[2 * half]][low - 1],
            (0, high) => [x[4 * half + 2], x[4 * half + 3], two[2 * half + 1]][high - 1],
            (low, high) => four[9 * half + 3 * (low - 1) + high - 1],
        };
        let all = stack(b, (1..16).map(monomial).collect());
        // Entry v: the bits of v are set, and no other: the sum of monomials over all sets that contain v.
        let contains = |set: i64| (0..16).filter(|v| set & v == *v).map(|v| 1 << v).sum();
        let table = b.constant(&[16], (0..16).map(contains).collect());
        b.one(Op::MixP { x: all, table, width: 16 })
    })
}

/// What lies between 0 and `range` of a floor of `h` bits with sign, cut there, as shared planes.
fn cut(b: &mut Builder, floor: Value, range: Value, planes: u8) -> Value {
    let h = u32::from(b.ty(floor).domain.width());
    let top = pick(b, floor, vec![h - 1]);
    let positive = b.one(Op::Not { x: top });
    let low = pick(b, floor, (0..h - 1).collect());
    // [low < range + 1], from the places where they differ.
    let minus = b.scalar(-1);
    let end = b.one(Op::SubPp { a: range, b: minus });
    let clear = b.one(Op::Not { x: low });
    let (less, same) = (b.one(Op::MulP { x: clear, p: end }), b.one(Op::AddP { x: clear, p: end }));
    let places = every(b, less).into_iter().zip(every(b, same)).collect();
    let less = prefixes(b, places, vec![]).0.expect("there is a place");
    let over = b.one(Op::Not { x: less });
    let over = and_all(b, vec![over], vec![positive])[0];
    let inside = xor(b, positive, over);
    let kept = pick_low(b, floor, planes);
    let kept = every(b, kept);
    let count = kept.len();
    let kept = and_all(b, kept, vec![inside; count]);
    let kept = stack(b, kept);
    let over = pick(b, over, vec![0; count]);
    let over = b.one(Op::MulP { x: over, p: range });
    xor(b, kept, over)
}

fn pick_low(b: &mut Builder, x: Value, planes: u8) -> Value {
    pick(b, x, (0..u32::from(planes)).collect())
}

/// Emits the requantization of a formula made for additive sharings; the result is shared in a ring of `k` bits.
pub fn requantize(b: &mut Builder, source: Source, f: &Formulas, index: Option<Value>, k: u8) -> Value {
    let ring = f.width + f.h;
    let (Source::Sum(x) | Source::Shared(x)) = source;
    let bits_of_x = b.ty(x).domain.width();
    let x = match source {
        Source::Sum(x) => b.one(Op::Reshare { x, bits: bits_of_x }),
        Source::Shared(x) => x,
    };
    let x = b.cast(x, ring);
    let up = |c: &Class| u32::from(f.width) - c.s;
    let m = per_class(b, f, index, &|c| c.m.wrapping_shl(up(c)));
    let scaled = b.one(Op::MulP { x, p: m });
    let offset = |b: &mut Builder, of: &dyn Fn(&Class) -> (i64, i64)| {
        let from = |c: &Class| {
            let (offset, bound) = of(c);
            offset.wrapping_sub(bound.wrapping_shl(c.s)).wrapping_shl(up(c))
        };
        per_class(b, f, index, &from)
    };
    let mut pieces = vec![(
        offset(b, &|c| (c.above, c.split)),
        per_class(b, f, index, &|c| c.hi - c.split),
        f.classes.iter().map(|c| c.hi - c.split).max().unwrap_or(1),
    )];
    if f.two {
        pieces.push((
            offset(b, &|c| (c.below, c.lo)),
            per_class(b, f, index, &|c| c.split - c.lo),
            f.classes.iter().map(|c| c.split - c.lo).max().unwrap_or(1),
        ));
    }
    let mut sum: Option<Value> = None;
    for (offset, range, most) in pieces {
        let x = b.one(Op::AddP { x: scaled, p: offset });
        let floor = bits(b, x, f.width, ring);
        let cut = cut(b, floor, range, bits_for(most).max(1));
        let y = b.one(Op::ToRing { x: cut, bits: k });
        sum = Some(match sum {
            None => y,
            Some(sum) => b.one(Op::Add { a: sum, b: y }),
        });
    }
    let lo = per_class(b, f, index, &|c| c.lo);
    let y = sum.expect("there is a piece");
    b.one(Op::AddP { x: y, p: lo })
}
