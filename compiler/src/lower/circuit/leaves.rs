//! Comparisons of two numbers, each known to one group, chunk by chunk.
//!
//! For a chunk of u with one-hot entries `h_j = [u = j]` and one of v with `g_j = [v = j]`, entries 0 left out:
//!
//! ```text
//! [v < u] = Σ_j h_j·T_j,          T_j = [v < j] = 1 xor Σ_(i ≥ j) g_i
//! [v = u] = g_0 xor Σ_j h_j·W_j,  W_j = g_j xor g_0,  g_0 = 1 xor Σ_i g_i
//! ```
//!
//! T and W are linear in shared entries, so a leaf is one sum of products. Where a bit m of the other group picks one of two
//! versions of u, that group enters `m·g` as well, and both versions are summed: `Σ h_j·(1 − m)T_j xor Σ h'_j·m·T_j`.
use super::super::builder::Builder;
use super::super::compare::{pick, stack};
use super::{enter, parity};
use ir::infer::chunks;
use ir::{Op, Value};

/// Planes of a chunk: of sizes 2 to 5 the one that sends least, trees included.
pub(super) const CHUNK: u8 = 4;

/// One-hot vectors of the chunks of a number, as a sharing.
#[derive(Clone, Copy)]
pub(super) struct Hot {
    bits: Value,
    width: u8,
}

impl Hot {
    /// Enters those of held planes.
    pub(super) fn new(b: &mut Builder, x: Value) -> Hot {
        let width = b.ty(x).domain.width();
        let hot = b.one(Op::OnehotH { x, chunk: CHUNK });
        Hot { bits: enter(b, hot, 1), width }
    }

    /// The same where the held bit `m` is set, zeros elsewhere.
    pub(super) fn kept(b: &mut Builder, x: Value, m: Value) -> Hot {
        let width = b.ty(x).domain.width();
        let hot = b.one(Op::OnehotH { x, chunk: CHUNK });
        let m = pick(b, m, vec![0; b.ty(hot).domain.width().into()]);
        let kept = b.one(Op::MulHh { a: hot, b: m });
        Hot { bits: enter(b, kept, 1), width }
    }

    /// Number of chunks.
    pub(super) fn len(&self) -> usize {
        usize::from(self.width.div_ceil(CHUNK))
    }

    /// The entries of chunk `i`.
    pub(super) fn chunk(&self, b: &mut Builder, i: usize) -> Value {
        let entries = |c: std::ops::Range<usize>| (1u32 << c.len()) - 1;
        let start: u32 = chunks(self.width, CHUNK).take(i).map(entries).sum();
        let count = chunks(self.width, CHUNK).nth(i).map_or(0, entries);
        pick(b, self.bits, (start..start + count).collect())
    }
}

/// A number of the group of u in one version or two.
#[derive(Clone, Copy)]
pub(super) struct Version {
    /// Where the bit is clear.
    pub(super) base: Hot,
    /// From this chunk on another one counts where the bit is set.
    pub(super) other: Option<(usize, Hot)>,
}

/// A number of the group of v; where there are two versions, the upper chunks once more where the bit is set.
#[derive(Clone, Copy)]
pub(super) struct Against {
    pub(super) whole: Hot,
    pub(super) upper: Option<Hot>,
    /// The bit, shared.
    pub(super) bit: Option<Value>,
}

/// Leaves of a comparison: summands of [v < u] and of Σ h_j·W_j per chunk, and g_0, shared.
#[derive(Default)]
pub(super) struct Leaves {
    less: Vec<Value>,
    equal: Vec<Option<Value>>,
    same: Vec<Option<Value>>,
}

/// Entry j of a table that a [`Op::MixP`] of `e` entries g (and one more plane, the constant, if `shifted`) takes to T, then
/// to W. `constant` is what stands for 1.
fn mix(b: &mut Builder, g: Value, e: u32, constant: Option<Value>, flip: bool) -> (Value, Value) {
    let all = (1i64 << e) - 1;
    // Result j − 1 is T_j, result e + j − 1 is W_j; both have the constant everywhere.
    let ones = all | all << e;
    let entry = |i: u32| {
        // g_i is in T_j for j ≤ i, in every W through g_0, and in W_i once more.
        let below = (1i64 << i) - 1;
        below | (all ^ 1 << (i - 1)) << e
    };
    let entries = (1..=e).map(entry);
    let (x, table) = match constant {
        None => (g, std::iter::once(ones).chain(entries).collect::<Vec<_>>()),
        Some(bit) => {
            let x = stack(b, vec![g, bit]);
            let start = if flip { ones } else { 0 };
            (x, std::iter::once(start).chain(entries).chain([ones]).collect())
        }
    };
    let table = b.constant(&[table.len() as u32], table);
    let both = b.one(Op::MixP { x, table, width: 2 * e as u8 });
    (pick(b, both, (0..e).collect()), pick(b, both, (e..2 * e).collect()))
}

/// Σ of products of entries, summands of one plane.
fn inner(b: &mut Builder, x: Value, y: Value) -> Value {
    let product = b.one(Op::MulSs { a: x, b: y });
    parity(b, product)
}

impl Leaves {
    /// Of v against u; without `whole` the lowest chunk is not asked whether it is equal.
    pub(super) fn new(b: &mut Builder, u: &Version, v: &Against, whole: bool) -> Leaves {
        let mut leaves = Leaves::default();
        for i in 0..u.base.len() {
            let (h, g) = (u.base.chunk(b, i), v.whole.chunk(b, i));
            let e = u32::from(b.ty(g).domain.width());
            let wanted = whole || i > 0;
            let versions = match (u.other, v.upper, v.bit) {
                (Some((from, other)), Some(upper), Some(bit)) if i >= from => {
                    let set = upper.chunk(b, i - from);
                    let clear = b.one(Op::Add { a: g, b: set });
                    let other = other.chunk(b, i - from);
                    vec![(h, mix(b, clear, e, Some(bit), true)), (other, mix(b, set, e, Some(bit), false))]
                }
                _ => vec![(h, mix(b, g, e, None, false))],
            };
            let sum = |b: &mut Builder, parts: Vec<Value>| {
                parts.into_iter().reduce(|x, y| b.one(Op::Add { a: x, b: y })).expect("there is a version")
            };
            let less = versions.iter().map(|(h, (t, _))| inner(b, *h, *t)).collect();
            leaves.less.push(sum(b, less));
            if wanted {
                let equal = versions.iter().map(|(h, (_, w))| inner(b, *h, *w)).collect();
                leaves.equal.push(Some(sum(b, equal)));
                let g_0 = parity(b, g);
                leaves.same.push(Some(b.one(Op::Not { x: g_0 })));
            } else {
                leaves.equal.push(None);
                leaves.same.push(None);
            }
        }
        leaves
    }
}

/// What comparisons say: [v < u], and [v = u] where it was asked for.
pub(super) struct Compared {
    pub(super) less: Value,
    pub(super) equal: Option<Value>,
}

/// Joins the leaves of several comparisons side by side: one exchange for all leaves, in which `extra` summands are shared as
/// well, then one for each level of `lt = lt_hi xor eq_hi·lt_lo`, `eq = eq_hi·eq_lo`.
pub(super) fn join(b: &mut Builder, all: Vec<Leaves>, extra: Vec<Value>) -> (Vec<Compared>, Vec<Value>) {
    let extras = extra.len();
    let mut summands: Vec<Value> = Vec::new();
    for l in &all {
        summands.extend(&l.less);
        summands.extend(l.equal.iter().flatten());
    }
    summands.extend(extra);
    let shared = share_planes(b, &summands);
    let mut next = shared.into_iter();
    // Per comparison, from the lowest chunk: less, and equal where it is known.
    let mut lists: Vec<Vec<(Value, Option<Value>)>> = Vec::new();
    for l in &all {
        let less: Vec<Value> = next.by_ref().take(l.less.len()).collect();
        let mut list = Vec::new();
        for (less, same) in less.into_iter().zip(&l.same) {
            list.push((less, *same));
        }
        for (_, equal) in list.iter_mut() {
            if let Some(same) = equal {
                let shared = next.next().expect("as many as were shared");
                *equal = Some(b.one(Op::Add { a: shared, b: *same }));
            }
        }
        lists.push(list);
    }
    let extra = next.take(extras).collect();
    while lists.iter().any(|l| l.len() > 1) {
        let (mut left, mut right) = (vec![], vec![]);
        for (low, high) in lists.iter().flat_map(|l| pairs(l)) {
            left.push(high.1.expect("only the lowest entry may lack it"));
            right.push(low.0);
            if let Some(equal) = low.1 {
                left.push(high.1.expect("as above"));
                right.push(equal);
            }
        }
        let products = and_all(b, left, right);
        let mut products = products.into_iter();
        let mut next = || products.next().expect("one for each pair");
        for list in &mut lists {
            let mut joined = Vec::new();
            for pair in list.chunks(2) {
                joined.push(match pair {
                    [low, high] => {
                        let carried = next();
                        let less = b.one(Op::Add { a: high.0, b: carried });
                        (less, low.1.map(|_| next()))
                    }
                    one => one[0],
                });
            }
            *list = joined;
        }
    }
    (lists.into_iter().map(|l| Compared { less: l[0].0, equal: l[0].1 }).collect(), extra)
}

type Entry = (Value, Option<Value>);

fn pairs(list: &[Entry]) -> impl Iterator<Item = (Entry, Entry)> + '_ {
    list.chunks(2).filter(|p| p.len() == 2).map(|p| (p[0], p[1]))
}

/// Planes of summands, shared in one exchange.
pub(super) fn share_planes(b: &mut Builder, summands: &[Value]) -> Vec<Value> {
    // A value has at most 255 planes.
    let mut shared = Vec::new();
    for group in summands.chunks(255) {
        let x = stack(b, group.to_vec());
        let x = b.one(Op::Reshare { x, bits: 1 });
        shared.extend((0..group.len() as u32).map(|i| pick(b, x, vec![i])));
    }
    shared
}

/// Products of shared planes, all in one exchange.
pub(super) fn and_all(b: &mut Builder, left: Vec<Value>, right: Vec<Value>) -> Vec<Value> {
    let mut shared = Vec::new();
    for (left, right) in left.chunks(255).zip(right.chunks(255)) {
        let (x, y) = (stack(b, left.to_vec()), stack(b, right.to_vec()));
        let product = b.one(Op::MulSs { a: x, b: y });
        let product = b.one(Op::Reshare { x: product, bits: 1 });
        shared.extend((0..left.len() as u32).map(|i| pick(b, product, vec![i])));
    }
    shared
}

impl Leaves {
    /// Summands of Σ h_j·W_j of each chunk, and g_0, shared.
    pub(super) fn equalities(&self) -> (Vec<Value>, Vec<Value>) {
        (self.equal.iter().flatten().copied().collect(), self.same.iter().flatten().copied().collect())
    }
}

impl Hot {
    /// The lowest chunk alone.
    pub(super) fn lowest(&self, b: &mut Builder) -> Hot {
        Hot { bits: self.chunk(b, 0), width: self.width.min(CHUNK) }
    }
}
