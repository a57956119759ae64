//! Local steps on bit planes in which one party's bits choose among another's: chunks, masked products. Choices are made
//! by AND with planes, never by an index or a branch.
use crate::data::{Data, plane_words};
use crate::kernels::choose;
use crate::kernels::wide::wide;
use ir::Terms;
use ir::infer::chunks;

/// Words that are worked on at once: a vector of 512 bits.
const LANES: usize = 8;
type Block = [u64; LANES];

/// One block of a plane.
#[inline(always)]
fn load(words: &[u64], plane: usize, per: usize, at: usize) -> Block {
    let start = plane * per + at;
    if at + LANES <= per {
        return words[start..start + LANES].try_into().expect("a block is that long");
    }
    let mut b = [0; LANES];
    b[..per - at].copy_from_slice(&words[start..][..per - at]);
    b
}

#[inline(always)]
fn and(a: &Block, b: &Block) -> Block {
    std::array::from_fn(
        #[inline(always)]
        |i| a[i] & b[i],
    )
}

#[inline(always)]
fn xor(a: &Block, b: &Block) -> Block {
    std::array::from_fn(
        #[inline(always)]
        |i| a[i] ^ b[i],
    )
}

#[inline(always)]
fn and_not(a: &Block, b: &Block) -> Block {
    std::array::from_fn(
        #[inline(always)]
        |i| a[i] & !b[i],
    )
}

/// Entries of a one-hot vector of the largest chunk.
const ENTRIES: usize = 256;

/// [v = j] for each j of a chunk.
#[inline(always)]
fn indicators(planes: &[Block], out: &mut [Block; ENTRIES]) -> usize {
    out[0] = [u64::MAX; LANES];
    let mut n = 1;
    for p in planes {
        let (low, high) = out.split_at_mut(n);
        for (low, high) in low.iter_mut().zip(high) {
            *high = and(low, p);
            *low = and_not(low, p);
        }
        n *= 2;
    }
    n
}

/// Where blocks of planes go.
struct Blocks<'a> {
    words: &'a mut [u64],
    per: usize,
    at: usize,
}

impl Blocks<'_> {
    #[inline(always)]
    fn put(&mut self, plane: usize, block: &Block) {
        let start = plane * self.per + self.at;
        if self.at + LANES <= self.per {
            self.words[start..start + LANES].copy_from_slice(block);
        } else {
            let n = self.per - self.at;
            self.words[start..start + n].copy_from_slice(&block[..n]);
        }
    }
}

/// Builds planes block by block.
#[inline(always)]
fn build(len: usize, planes: usize, mut f: impl FnMut(usize, &mut Blocks<'_>)) -> Data {
    let per = plane_words(len);
    let mut words = vec![0u64; planes * per];
    wide(
        #[inline(always)]
        || {
            for at in (0..per).step_by(LANES) {
                f(at, &mut Blocks { words: &mut words, per, at });
            }
        },
    );
    Data::Planes { words, len }
}

/// One-hot vectors of chunks, without their entries 0.
pub fn onehot(x: &Data, width: u8, chunk: u8) -> Data {
    let (words, per) = (x.planes(), plane_words(x.len()));
    let total = chunks(width, chunk).map(|c| (1usize << c.len()) - 1).sum();
    let mut hot = [[0; LANES]; ENTRIES];
    build(
        x.len(),
        total,
        #[inline(always)]
        |at, out| {
            let mut next = 0;
            for c in chunks(width, chunk) {
                let mut planes = [[0; LANES]; 8];
                c.clone().enumerate().for_each(|(i, p)| planes[i] = load(words, p, per, at));
                let n = indicators(&planes[..c.len()], &mut hot);
                for entry in &hot[1..n] {
                    out.put(next, entry);
                    next += 1;
                }
            }
        },
    )
}

/// Summands of [v < chunk] of each chunk, then of [v = chunk], from summands of one-hot vectors. Entry 0 is the
/// complement of the XOR of the others; `first` says who adds the constant.
pub fn leaves(hot: &Data, v: &Data, width: u8, chunk: u8, first: bool) -> Data {
    let (hot, words, per) = (hot.planes(), v.planes(), plane_words(v.len()));
    let count = chunks(width, chunk).count();
    let mut same = [[0; LANES]; ENTRIES];
    build(
        v.len(),
        2 * count,
        #[inline(always)]
        |at, out| {
            let mut next = 0;
            for (k, c) in chunks(width, chunk).enumerate() {
                let mut planes = [[0; LANES]; 8];
                c.clone().enumerate().for_each(|(i, p)| planes[i] = load(words, p, per, at));
                let n = indicators(&planes[..c.len()], &mut same);
                let (mut lt, mut eq, mut below) = ([0; LANES], [0; LANES], [0; LANES]);
                if first {
                    eq = same[0];
                }
                for j in 1..n {
                    below = xor(&below, &same[j - 1]);
                    let entry = load(hot, next, per, at);
                    next += 1;
                    lt = xor(&lt, &and(&entry, &below));
                    eq = xor(&eq, &and(&entry, &xor(&same[j], &same[0])));
                }
                out.put(k, &lt);
                out.put(count + k, &eq);
            }
        },
    )
}

/// Summands of the one-hot vector of v − u from those of the one-hot vector of u, each without its entry 0: entry d is
/// entry v − d of the vector of u. That vector is read backwards, then turned by each bit of v in turn.
pub fn turn(hot: &Data, v: &Data, width: u8, first: bool) -> Data {
    let (hot, words, per, len) = (hot.planes(), v.planes(), plane_words(v.len()), v.len());
    let size = 1usize << width;
    let (mut now, mut next) = ([[0; LANES]; ENTRIES], [[0; LANES]; ENTRIES]);
    build(
        len,
        size - 1,
        #[inline(always)]
        |at, out| {
            now[0] = if first { [u64::MAX; LANES] } else { [0; LANES] };
            for j in 1..size {
                now[size - j] = load(hot, j - 1, per, at);
                now[0] = xor(&now[0], &now[size - j]);
            }
            for i in 0..usize::from(width) {
                let turned = load(words, i, per, at);
                for d in 0..size {
                    let other = now[(d + size - (1 << i)) % size];
                    next[d] = xor(&now[d], &and(&turned, &xor(&now[d], &other)));
                }
                std::mem::swap(&mut now, &mut next);
            }
            for (d, entry) in now[1..size].iter().enumerate() {
                out.put(d, entry);
            }
        },
    )
}

/// XORs of planes: result j takes plane i where bit j of `table[i + 1]` is set, and, if `constant`, bit j of `table[0]`.
pub fn mix(x: &Data, table: &[u64], width: u8, constant: bool) -> Data {
    let (words, per) = (x.planes(), plane_words(x.len()));
    let mut results = vec![[0; LANES]; usize::from(width)];
    build(
        x.len(),
        results.len(),
        #[inline(always)]
        |at, out| {
            for (j, r) in results.iter_mut().enumerate() {
                *r = if constant && table[0] >> j & 1 == 1 { [u64::MAX; LANES] } else { [0; LANES] };
            }
            for (i, entry) in table[1..].iter().enumerate() {
                let plane = load(words, i, per, at);
                for (j, r) in results.iter_mut().enumerate() {
                    if entry >> j & 1 == 1 {
                        *r = xor(r, &plane);
                    }
                }
            }
            for (j, r) in results.iter().enumerate() {
                out.put(j, r);
            }
        },
    )
}

/// Rows of a table at the entry that is set in one of two vectors, each XOR what row 0, or for the second the last row, has
/// there; bit j of an element stands at `element·width + j`.
pub fn rows(same: &Data, before: &Data, table: &[u64], width: u8, constant: bool) -> Data {
    let (len, per, width) = (same.len(), plane_words(same.len()), usize::from(width));
    let (same, before) = (same.planes(), before.planes());
    let size = table.len().isqrt();
    let at = |row: usize, entry: usize| table[row % size * size + entry];
    let long = plane_words(len * width);
    let mut words = vec![0u64; (size - 1) * long];
    for block in (0..per).step_by(LANES) {
        let load = |planes: &[u64]| (0..size - 1).map(|i| load(planes, i, per, block)).collect::<Vec<Block>>();
        let (same, before) = (load(same), load(before));
        for row in 1..size {
            let start = at(row, 0) ^ at(0, 0);
            let first = |j: usize| if constant && start >> j & 1 == 1 { [u64::MAX; LANES] } else { [0; LANES] };
            let mut results: Vec<Block> = (0..width).map(first).collect();
            for i in 1..size {
                let here = at(row, i) ^ at(0, i) ^ start;
                let earlier = at(row - 1, i) ^ at(size - 1, i) ^ start;
                for (j, result) in results.iter_mut().enumerate() {
                    if here >> j & 1 == 1 {
                        *result = xor(result, &same[i - 1]);
                    }
                    if earlier >> j & 1 == 1 {
                        *result = xor(result, &before[i - 1]);
                    }
                }
            }
            let plane = &mut words[(row - 1) * long..][..long];
            for e in 0..(len - 64 * block).min(64 * LANES) {
                for (j, result) in results.iter().enumerate() {
                    let to = (64 * block + e) * width + j;
                    plane[to / 64] |= (result[e / 64] >> (e % 64) & 1) << (to % 64);
                }
            }
        }
    }
    Data::Planes { words, len: len * width }
}

/// XORs element i of each row into plane `to[i]`, where there is such a plane.
pub fn fold(x: &Data, to: &[usize], width: u8) -> Data {
    let (words, rows) = (x.planes(), x.len() / to.len());
    let (per, width) = (plane_words(rows), usize::from(width));
    let mut planes = vec![0u64; width * per];
    for r in 0..rows {
        for (i, plane) in to.iter().enumerate().filter(|(_, p)| **p < width) {
            let e = r * to.len() + i;
            planes[plane * per + r / 64] ^= (words[e / 64] >> (e % 64) & 1) << (r % 64);
        }
    }
    Data::Planes { words: planes, len: rows }
}

/// Element `from[i]` as element i.
pub fn gather(x: &Data, from: &[usize]) -> Data {
    let (words, per, to) = (x.planes(), plane_words(x.len()), plane_words(from.len()));
    let mut planes = vec![0u64; words.len() / per * to];
    for (plane, out) in words.chunks(per).zip(planes.chunks_mut(to)) {
        for (i, e) in from.iter().enumerate() {
            out[i / 64] |= (plane[e / 64] >> (e % 64) & 1) << (i % 64);
        }
    }
    Data::Planes { words: planes, len: from.len() }
}

/// Flips plane i of each element where bit i of its entry is set.
pub fn flip(x: &Data, flips: &[u64]) -> Data {
    let mut words = x.planes().to_vec();
    for (i, plane) in words.chunks_mut(plane_words(x.len())).enumerate() {
        for (e, f) in flips.iter().enumerate() {
            plane[e / 64] ^= (f >> i & 1) << (e % 64);
        }
    }
    Data::Planes { words, len: x.len() }
}

/// Products of planes, every one that divides a term.
pub fn products(x: &Data, of: &Terms) -> Data {
    let (words, per, sets) = (x.planes(), plane_words(x.len()), of.subsets());
    // Each product is an earlier one times its last plane, where that one is listed.
    build(
        x.len(),
        sets.len(),
        #[inline(always)]
        |at, out| {
            let mut made: Vec<Block> = Vec::with_capacity(sets.len());
            for (i, set) in sets.iter().enumerate() {
                let last = 63 - set.leading_zeros() as usize;
                let rest = set & !(1 << last);
                let b = match rest.count_ones() {
                    1 => load(words, rest.trailing_zeros() as usize, per, at),
                    _ => made[sets.binary_search(&rest).expect("parts of a listed product are listed")],
                };
                made.push(and(&b, &load(words, last, per, at)));
                out.put(i, &made[i]);
            }
        },
    )
}

/// The planes of a term, and where the dealt product of each part of them is found.
type Term = (Vec<usize>, Vec<Option<usize>>);

/// Summands of the terms: Π (t_i xor β_i) over a term is the XOR over its parts R of Π_R β · Π_(rest) t, with the
/// summands of Π_R β dealt, or x_i xor t_i for a single plane; `first` says who adds what is known.
pub fn unmask(t: &Data, x: &Data, products: &Data, of: &Terms, first: bool) -> Data {
    let (t, x, dealt, per, len) = (t.planes(), x.planes(), products.planes(), plane_words(t.len()), t.len());
    let sets = of.subsets();
    // Per term: its planes, and where each part of it is found.
    let terms: Vec<Vec<Term>> =
        of.0.iter()
            .map(|result| {
                result
                    .iter()
                    .map(|set| {
                        let planes: Vec<usize> = (0..64).filter(|i| set >> i & 1 == 1).collect();
                        let part = |r: usize| -> u64 {
                            planes.iter().enumerate().filter(|(i, _)| r >> i & 1 == 1).map(|(_, p)| 1u64 << p).sum()
                        };
                        let at = (0..1 << planes.len()).map(|r| sets.binary_search(&part(r)).ok()).collect();
                        (planes, at)
                    })
                    .collect()
            })
            .collect();
    let most = terms.iter().flatten().map(|(_, at)| at.len()).max().unwrap_or(1);
    let mut known = vec![[0; LANES]; most];
    build(
        len,
        of.0.len(),
        #[inline(always)]
        |at, out| {
            for (k, result) in terms.iter().enumerate() {
                let mut sum = [0; LANES];
                for (planes, parts) in result {
                    // known[r] = the product of t over the planes in r.
                    known[0] = [u64::MAX; LANES];
                    let mut n = 1;
                    for p in planes {
                        let b = load(t, *p, per, at);
                        for r in 0..n {
                            known[n + r] = and(&known[r], &b);
                        }
                        n *= 2;
                    }
                    if first {
                        sum = xor(&sum, &known[n - 1]);
                    }
                    for (r, found) in parts.iter().enumerate().skip(1) {
                        let beta = match found {
                            Some(i) => load(dealt, *i, per, at),
                            None => {
                                let p = planes[r.trailing_zeros() as usize];
                                let own = load(x, p, per, at);
                                if first { xor(&own, &load(t, p, per, at)) } else { own }
                            }
                        };
                        sum = xor(&sum, &and(&beta, &known[n - 1 - r]));
                    }
                }
                out.put(k, &sum);
            }
        },
    )
}

/// Elements where the bit is set, zero elsewhere.
pub fn keep(x: &mut Data, bit: &Data) {
    match x {
        Data::W32(x) => choose::keep_u32(x, bit.planes()),
        Data::W64(x) => choose::keep_u64(x, bit.planes()),
        Data::Planes { .. } => unreachable!("verified: a ring value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::wide::Isa;
    use crate::kernels::words::test_values;

    fn planes(len: usize, width: usize, seed: u64) -> Data {
        Data::Planes { words: test_values(seed, width * plane_words(len)), len }
    }

    /// The number that an element's planes `from .. from + width` are.
    fn number(x: &Data, e: usize, from: usize, width: usize) -> usize {
        let (words, per) = (x.planes(), plane_words(x.len()));
        (0..width).map(|i| ((words[(from + i) * per + e / 64] >> (e % 64) & 1) as usize) << i).sum()
    }

    /// One-hot vectors, leaves and turned vectors against their definitions, on lengths with and without whole blocks.
    fn check() {
        for len in [1usize, 63, 64, 65, 511, 512, 513, 600] {
            for (width, chunk) in [(4u8, 4u8), (7, 3), (16, 4), (8, 8)] {
                let (u, v) = (planes(len, width.into(), 1), planes(len, width.into(), 2));
                let hot = onehot(&u, width, chunk);
                let leaf = leaves(&hot, &v, width, chunk, true);
                let count = chunks(width, chunk).count();
                let mut at = 0;
                for (k, c) in chunks(width, chunk).enumerate() {
                    for e in 0..len {
                        let (a, b) = (number(&u, e, c.start, c.len()), number(&v, e, c.start, c.len()));
                        for j in 1..1 << c.len() {
                            assert_eq!(number(&hot, e, at + j - 1, 1), usize::from(a == j), "{:?} {len}", Isa::best());
                        }
                        assert_eq!(number(&leaf, e, k, 1), usize::from(b < a), "{:?} {len}: less", Isa::best());
                        assert_eq!(
                            number(&leaf, e, count + k, 1),
                            usize::from(b == a),
                            "{:?} {len}: same",
                            Isa::best()
                        );
                    }
                    at += (1 << c.len()) - 1;
                }
                if width == chunk {
                    let turned = turn(&hot, &v, width, true);
                    for e in 0..len {
                        let (a, b) = (number(&u, e, 0, width.into()), number(&v, e, 0, width.into()));
                        for d in 1..1usize << width {
                            let there = (b + (1 << width) - a) % (1 << width) == d;
                            assert_eq!(number(&turned, e, d - 1, 1), usize::from(there), "{:?} {len}", Isa::best());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn planes_agree_with_the_definitions() {
        #[cfg(debug_assertions)]
        Isa::available().for_each(|isa| isa.at_most(check));
        check();
    }
}
