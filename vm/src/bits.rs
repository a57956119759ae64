//! Local steps on bit planes in which one party's bits choose among another's: chunks, masked products. Choices are made
//! by AND with planes, never by an index or a branch.
use ir::Terms;
use ir::infer::chunks;
use runtime_protocols::data::{Data, plane_words};

/// Words that are worked on at once.
const LANES: usize = 8;
type Block = [u64; LANES];

/// One block of a plane.
fn load(words: &[u64], plane: usize, per: usize, at: usize) -> Block {
    let mut b = [0; LANES];
    let n = LANES.min(per - at);
    b[..n].copy_from_slice(&words[plane * per + at..][..n]);
    b
}

fn store(words: &mut [u64], plane: usize, per: usize, at: usize, b: &Block) {
    let n = LANES.min(per - at);
    words[plane * per + at..][..n].copy_from_slice(&b[..n]);
}

fn and(a: &Block, b: &Block) -> Block {
    std::array::from_fn(|i| a[i] & b[i])
}

fn xor(a: &Block, b: &Block) -> Block {
    std::array::from_fn(|i| a[i] ^ b[i])
}

fn not(a: &Block) -> Block {
    a.map(|w| !w)
}

/// [v = j] for each j of a chunk.
fn indicators(planes: &[Block], out: &mut [Block; 16]) -> usize {
    out[0] = [u64::MAX; LANES];
    let mut n = 1;
    for p in planes {
        let zero = not(p);
        for j in 0..n {
            out[n + j] = and(&out[j], p);
            out[j] = and(&out[j], &zero);
        }
        n *= 2;
    }
    n
}

/// Builds planes block by block.
fn build(len: usize, planes: usize, mut f: impl FnMut(usize, &mut dyn FnMut(usize, &Block))) -> Data {
    let per = plane_words(len);
    let mut words = vec![0u64; planes * per];
    for at in (0..per).step_by(LANES) {
        f(at, &mut |plane, block| store(&mut words, plane, per, at, block));
    }
    Data::Planes { words, len }
}

/// One-hot vectors of chunks, without their entries 0.
pub fn onehot(x: &Data, width: u8, chunk: u8) -> Data {
    let (words, per) = (x.planes(), plane_words(x.len()));
    let total = chunks(width, chunk).map(|c| (1usize << c.len()) - 1).sum();
    let mut hot = [[0; LANES]; 16];
    build(x.len(), total, |at, put| {
        let mut next = 0;
        for c in chunks(width, chunk) {
            let mut planes = [[0; LANES]; 4];
            c.clone().enumerate().for_each(|(i, p)| planes[i] = load(words, p, per, at));
            let n = indicators(&planes[..c.len()], &mut hot);
            for entry in &hot[1..n] {
                put(next, entry);
                next += 1;
            }
        }
    })
}

/// Summands of [v < chunk] of each chunk, then of [v = chunk], from summands of one-hot vectors. Entry 0 is the
/// complement of the XOR of the others; `first` says who adds the constant.
pub fn leaves(hot: &Data, v: &Data, width: u8, chunk: u8, first: bool) -> Data {
    let (hot, words, per) = (hot.planes(), v.planes(), plane_words(v.len()));
    let count = chunks(width, chunk).count();
    let mut same = [[0; LANES]; 16];
    build(v.len(), 2 * count, |at, put| {
        let mut next = 0;
        for (k, c) in chunks(width, chunk).enumerate() {
            let mut planes = [[0; LANES]; 4];
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
            put(k, &lt);
            put(count + k, &eq);
        }
    })
}

/// Products of planes, every one that divides a term.
pub fn products(x: &Data, of: &Terms) -> Data {
    let (words, per, sets) = (x.planes(), plane_words(x.len()), of.subsets());
    // Each product is an earlier one times its last plane, where that one is listed.
    build(x.len(), sets.len(), |at, put| {
        let mut made: Vec<Block> = Vec::with_capacity(sets.len());
        for (i, set) in sets.iter().enumerate() {
            let last = 63 - set.leading_zeros() as usize;
            let rest = set & !(1 << last);
            let b = match rest.count_ones() {
                1 => load(words, rest.trailing_zeros() as usize, per, at),
                _ => made[sets.binary_search(&rest).expect("parts of a listed product are listed")],
            };
            made.push(and(&b, &load(words, last, per, at)));
            put(i, &made[i]);
        }
    })
}

/// Summands of the terms: Π (t_i xor β_i) over a term is the XOR over its parts R of Π_R β · Π_(rest) t, with the
/// summands of Π_R β dealt, or x_i xor t_i for a single plane; `first` says who adds what is known.
pub fn unmask(t: &Data, x: &Data, products: &Data, of: &Terms, first: bool) -> Data {
    let (t, x, dealt, per, len) = (t.planes(), x.planes(), products.planes(), plane_words(t.len()), t.len());
    let sets = of.subsets();
    // Per term: its planes, and where each part of it is found.
    let terms: Vec<Vec<(Vec<usize>, Vec<Option<usize>>)>> =
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
    build(len, of.0.len(), |at, put| {
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
            put(k, &sum);
        }
    })
}

/// Elements where the bit is set, zero elsewhere.
pub fn keep(x: &Data, bit: &Data) -> Data {
    let words = bit.planes();
    match x {
        Data::W32(x) => {
            let mut y = Vec::with_capacity(x.len());
            for (part, w) in x.chunks(64).zip(words) {
                y.extend(part.iter().enumerate().map(|(i, v)| v & ((w >> i & 1) as u32).wrapping_neg()));
            }
            Data::W32(y)
        }
        Data::W64(x) => {
            let mut y = Vec::with_capacity(x.len());
            for (part, w) in x.chunks(64).zip(words) {
                y.extend(part.iter().enumerate().map(|(i, v)| v & (w >> i & 1).wrapping_neg()));
            }
            Data::W64(y)
        }
        Data::Planes { .. } => unreachable!("verified: a ring value"),
    }
}
