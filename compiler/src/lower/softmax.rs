//! SOFTMAX of shared rows, exactly as the reference kernel, opening nothing.
//!
//! With m the maximum of a row and t_i = m − q_i, the result is `Σ_t [t_i = t]·y(t, S)`, S = Σ rs(E(t_i), 12); both E and
//! the thresholds of y on S are public ([`super::softmax_table`]).
//!
//! | exchange | content |
//! |---|---|
//! | – | the maximum, by tournament ([`super::maximum`]) |
//! | 1 | A deals the one-hot vectors of the t_i ([`super::table`]) |
//! | 2 | the bits of rs(E(t_i), 12), an XOR of entries, and the entries in use, masked; A deals the masks of the former in the ring |
//! | 3 | S = v − u: B and C join v |
//! | 4, 5 | masked leaves of [S ≤ T] for every threshold T, then of groups; A has dealt one-hot vectors of u's chunks, once |
//! | 6 | y(t, S) for each t, masked: bit k of it is the XOR of [S ≤ T] over the thresholds of multiples of 2^k |
//! | 7 | the sum of products, reshared; before that masked once more where it goes into a ring |
//!
//! *The sum of products.* B and C see a = e xor β for an entry and c = w xor γ for a bit of y. Then
//! `e·w = a·w xor c·(e xor a) xor β·γ`: the first two are local from summands of w and e; of the last A deals the sum over t.
//!
//! *What each message reveals.* Nothing: each is one of [`super::table`], [`super::masked`], [`super::dealer`], or the
//! dealt sum, minus a fresh pad that A shares with C. The sum over t has a pad of its own.
use super::builder::Builder;
use super::compare::{pick, stack};
use super::dealer::Comparison;
use super::masked::Opened;
use super::maximum;
use super::softmax_table::{Distance, SoftmaxTable};
use super::{BYTE_RING, Route, table};
use ir::infer::roles;
use ir::{Axes, Dims, Holders, Op, Value};

/// Bits of a result.
const RESULT: u8 = 8;
/// Bits of a summand of S.
const TERM: u8 = 20;
/// Distances that are worked on together; a public constant has one bit for each.
const GROUP: usize = 63;

/// What a group of distances looks like.
struct Group {
    /// [t_i = t] of each, as summands, and opened under masks.
    entries: Value,
    opened: Opened,
}

/// Summands of the bits of the results, counted from the least, for centred rows `[rows n]` in the ring of bytes.
pub fn softmax(b: &mut Builder, x: Value, least: i64, t: &SoftmaxTable, route: Route, rot: u8) -> Value {
    let x = b.cast(x, BYTE_RING);
    let distance = maximum::row_distances(b, x, least, maximum::BYTES, route, rot);
    let hot = table::onehot(b, distance, rot);
    if t.count() == 0 {
        // Rows of one element: the sum says nothing.
        let mut results = [0; 256];
        t.distances.iter().for_each(|d| results[usize::from(d.distance)] = d.least as u64);
        return table::look_up(b, hot, &results, RESULT);
    }

    let groups: Vec<(&[Distance], Group)> = t
        .distances
        .chunks(GROUP)
        .map(|ds| {
            let entries: Vec<Value> = ds.iter().map(|d| entry(b, hot, d.distance)).collect();
            let entries = stack(b, entries);
            let opened = Opened::new(b, entries, rot);
            (ds, Group { entries, opened })
        })
        .collect();
    let below = compare_sum(b, hot, t, rot);

    let mut at = 0;
    let mut total: Option<Value> = None;
    for (ds, group) in &groups {
        let part = select(b, ds, group, below, &mut at, t.count(), rot);
        total = Some(total.map_or(part, |sum| b.one(Op::Add { a: sum, b: part })));
    }
    total.expect("the maximum itself has a result above the least")
}

/// [t_i = t], as summands.
pub(super) fn entry(b: &mut Builder, hot: Value, t: u8) -> Value {
    match t {
        0 => {
            let zero: Vec<u64> = (0..256).map(|i| u64::from(i == 0)).collect();
            table::look_up(b, hot, &zero, 1)
        }
        t => pick(b, hot, vec![u32::from(t) - 1]),
    }
}

/// [S ≤ T] for the thresholds of all distances in order, as one plane of summands `[rows thresholds]`.
fn compare_sum(b: &mut Builder, hot: Value, t: &SoftmaxTable, rot: u8) -> Value {
    let everyone = b.all();
    let low = (32 - t.most.leading_zeros()) as u8;
    let ring = low + 1;
    let terms: Vec<u64> = t.terms.iter().map(|e| u64::from(*e)).collect();
    let bits = table::look_up(b, hot, &terms, TERM);
    let numbers = Opened::new(b, bits, rot).numbers(b, ring);
    let sum = b.one(Op::ReduceSum { x: numbers, axes: Axes(vec![1]) });
    let sum = b.one(Op::AsSum { x: sum, at: everyone, bits: ring });
    let (u, v) = b.two(Op::Split { x: sum, rot });
    let v = b.one(Op::Join { x: v });

    let bounds = t.distances.iter().flat_map(|d| &d.thresholds).map(|t| i64::from(*t) + 1).collect();
    compare_row(b, u, v, low, bounds, rot)
}

/// [v − u < bound] for each bound, for numbers `[rows 1]` of `low` bits, as one plane of summands `[rows bounds]`.
pub(super) fn compare_row(b: &mut Builder, u: Value, v: Value, low: u8, bounds: Vec<i64>, rot: u8) -> Value {
    let [_, rb, rc] = roles(rot);
    // The sign of a difference is the top bit of v − bound − u.
    let shape = vec![b.ty(u).shape[0], bounds.len() as u32];
    let expand = |b: &mut Builder, x| b.one(Op::Expand { x, shape: Dims(shape.clone()) });
    let planes = |b: &mut Builder, x, lo, width| b.one(Op::PlanesH { x, lo, width });
    let low_u = planes(b, u, 0, low);
    let compared = Comparison::new(b, low_u).expand(b, &shape);
    let top_u = planes(b, u, low, 1);
    let top_u = b.one(Op::Deal { x: top_u, bits: 1 });
    let top_u = expand(b, top_u);
    let v = expand(b, v);
    let bounds = b.constant(&[bounds.len() as u32], bounds);
    let v = b.one(Op::SubP { x: v, p: bounds });
    let low_v = planes(b, v, 0, low);
    let borrow = compared.less(b, low_v, rot);
    let top_v = planes(b, v, low, 1);
    let top_v = b.one(Op::AsSum { x: top_v, at: Holders::pair(rb, rc), bits: 1 });
    let tops = b.one(Op::Add { a: top_u, b: top_v });
    b.one(Op::Add { a: borrow, b: tops })
}

/// The XOR of all planes.
fn parity(b: &mut Builder, x: Value) -> Value {
    let planes = u32::from(b.ty(x).domain.width());
    let table = b.constant(&[planes + 1], std::iter::once(0).chain((0..planes).map(|_| 1)).collect());
    b.one(Op::MixP { x, table, width: 1 })
}

/// Sum over a group of distances of [t_i = t] times the bits of y(t, S). `first` counts the thresholds of groups before.
fn select(
    b: &mut Builder,
    ds: &[Distance],
    group: &Group,
    below: Value,
    first: &mut usize,
    count: usize,
    rot: u8,
) -> Value {
    let rows = b.ty(group.entries).shape[0];
    let start = *first;
    *first += ds.iter().map(|d| d.thresholds.len()).sum::<usize>();
    let (mut sums, mut dealt) = (Vec::new(), Vec::new());
    for bit in 0..RESULT {
        // y is the number of j with 2^bit | j and y ≥ j, mod 2; those up to `least` are constant.
        let mut to = vec![-1i64; count];
        let (mut at, mut constant) = (start, 0i64);
        for (plane, d) in ds.iter().enumerate() {
            constant |= (d.least >> bit & 1) << plane;
            for j in (d.least + 1..).take(d.thresholds.len()) {
                if j.trailing_zeros() >= u32::from(bit) {
                    to[at] = plane as i64;
                }
                at += 1;
            }
        }
        let to = b.constant(&[count as u32], to);
        let folded = b.one(Op::FoldP { x: below, to, width: ds.len() as u8 });
        let constant = b.scalar(constant);
        let w = b.one(Op::AddP { x: folded, p: constant });
        let w = b.reshape(w, &[rows, 1]);
        let [sum, masks] = inner_product(b, group.entries, &group.opened, w, rot);
        sums.push(sum);
        dealt.push(masks);
    }
    let sums = stack(b, sums);
    let dealt = stack(b, dealt);
    let dealt = b.one(Op::Deal { x: dealt, bits: 1 });
    b.one(Op::Add { a: sums, b: dealt })
}

/// The sum over planes of entries `[rows n]` times planes of w `[rows 1]`, of one number: summands of what is local, and
/// the sum of products of masks, which A knows.
pub(super) fn inner_product(b: &mut Builder, entries: Value, opened: &Opened, w: Value, rot: u8) -> [Value; 2] {
    let shape = b.ty(entries).shape.clone();
    let pair = {
        let [_, rb, rc] = roles(rot);
        Holders::pair(rb, rc)
    };
    let result = Opened::new(b, w, rot);
    let expand = |b: &mut Builder, x| b.one(Op::Expand { x, shape: Dims(shape.clone()) });
    let (w, c, gamma) = (expand(b, w), expand(b, result.t), expand(b, result.beta));
    let (a, beta) = (opened.t, opened.beta);
    let by_entry = b.one(Op::MulSh { a: w, h: a });
    let by_result = b.one(Op::MulSh { a: entries, h: c });
    let known = b.one(Op::MulHh { a, b: c });
    let known = b.one(Op::AsSum { x: known, at: pair, bits: 1 });
    let sum = b.one(Op::Add { a: by_entry, b: by_result });
    let sum = b.one(Op::Add { a: sum, b: known });
    let masks = b.one(Op::MulHh { a: beta, b: gamma });
    [parity(b, sum), parity(b, masks)]
}
