//! One level of the compression: a long sum of products becomes one that is 2^t times shorter.
//!
//! A vector is cut into 2^t blocks, block k being the value at the corner k of {0,1}^t of a polynomial that is linear in
//! each of t variables. Blocks are interleaved: element i of block k is element i·2^t + k of the vector. The product of two such polynomials has degree 2 in each variable, so it is known from its values
//! on {0, 1, ∞}^t, ∞ standing for the coefficient of the square. All of these are sums and differences of blocks, so a
//! vector over Z_2^k stays one; only the folding at a challenge leaves it.
use super::element::{Element, Shares};
#[cfg(test)]
pub use ir::check::corner;
pub use ir::check::points;
use rayon::prelude::*;

/// The point of a corner.
pub fn point_of(corner: usize, t: u32) -> usize {
    (0..t).map(|v| (corner >> v & 1) * points(v)).sum()
}

/// Weights of the corners at ζ: Π (ζ_v where bit v is set, 1 − ζ_v elsewhere).
pub fn corner_weights<E: Element>(zeta: &[E]) -> Vec<E> {
    zeta.iter().fold(vec![E::challenge(1)], |low, z| {
        let other = E::challenge(1).minus(z);
        [&other, z].into_iter().flat_map(|w| low.iter().map(move |l| l.times(w))).collect()
    })
}

/// Weights of the points at ζ: the polynomial with values h is h(ζ) = Σ weight·h, with 1 − ζ, ζ and ζ² − ζ per variable.
pub fn point_weights<E: Element>(zeta: &[E]) -> Vec<E> {
    zeta.iter().fold(vec![E::challenge(1)], |low, z| {
        let other = E::challenge(1).minus(z);
        let square = z.times(z).minus(z);
        [&other, z, &square].into_iter().flat_map(|w| low.iter().map(move |l| l.times(w))).collect()
    })
}

/// Bytes of expanded blocks that one step of the loop works on: they stay in the second-level cache.
const TILE_BYTES: usize = 1 << 19;

/// The values of one vector on all points, `width` elements each, from elements `at..` of its blocks.
fn expand<E: Element>(t: u32, vector: &[E], at: usize, width: usize, out: &mut Vec<E>) {
    let mut next = Vec::with_capacity(points(t) * width);
    out.clear();
    for k in 0..1usize << t {
        out.extend((at..at + width).map(|i| vector.get(i << t | k).copied().unwrap_or(E::ZERO)));
    }
    for v in 0..t {
        // Variable v, from two values to three; lower variables have three already.
        let low = points(v) * width;
        next.clear();
        for pair in out.chunks_exact(2 * low) {
            next.extend_from_slice(pair);
            let (zero, one) = pair.split_at(low);
            next.extend(one.iter().zip(zero).map(|(one, zero)| one.minus(zero)));
        }
        std::mem::swap(out, &mut next);
    }
}

/// This party's summands of the products of two shared vectors at the wanted points, in ascending order: plain products of
/// elements, or with weights (one per element of a block) of their lanes.
pub fn products<E: Element>(
    t: u32,
    block: usize,
    x: Shares<'_, E>,
    y: Shares<'_, E>,
    weights: Option<&[E]>,
    wanted: &[usize],
) -> Vec<E> {
    let width = (TILE_BYTES / (points(t) * size_of::<E>())).clamp(1, 256).min(block.max(1));
    let tile = |at: usize, sums: &mut Vec<E>, buffers: &mut [Vec<E>; 4]| {
        let width = width.min(block - at);
        for (vector, buffer) in [x[0], x[1], y[0], y[1]].into_iter().zip(buffers.iter_mut()) {
            expand(t, vector, at, width, buffer);
        }
        let [x1, x2, y1, y2] = buffers;
        for (sum, point) in sums.iter_mut().zip(wanted) {
            let part = point * width..(point + 1) * width;
            let (x, y) = ([&x1[part.clone()], &x2[part.clone()]], [&y1[part.clone()], &y2[part]]);
            *sum = sum.plus(&match weights {
                Some(w) => E::shared_lanes(&w[at..at + width], x, y),
                None => E::shared_dot(x, y),
            });
        }
    };
    let zero = || (vec![E::ZERO; wanted.len()], <[Vec<E>; 4]>::default());
    (0..block.div_ceil(width))
        .into_par_iter()
        .fold(zero, |(mut sums, mut buffers), i| {
            tile(i * width, &mut sums, &mut buffers);
            (sums, buffers)
        })
        .map(|(sums, _)| sums)
        .reduce(
            || vec![E::ZERO; wanted.len()],
            |mut a, b| {
                a.iter_mut().zip(&b).for_each(|(a, b)| *a = a.plus(b));
                a
            },
        )
}

/// Element i of the result is Σ_k weights_k · element i of block k.
pub fn fold<E: Element>(vector: &[E], weights: &[E]) -> Vec<E> {
    vector.par_chunks(weights.len()).map(|column| E::dot(&weights[..column.len()], column)).collect()
}

/// The lanes of a folded vector of blocks of 64 numbers, one element per lane, with room for `more`.
pub fn fold_lanes<E: Element>(vector: &[E], weights: &[E], more: usize) -> Vec<E> {
    let len = vector.len().div_ceil(weights.len()) * super::element::DEGREE;
    let mut out = Vec::with_capacity(len + more);
    out.resize(len, E::ZERO);
    let lanes = out.as_chunks_mut().0;
    lanes
        .par_iter_mut()
        .zip(vector.par_chunks(weights.len()))
        .for_each(|(out, column)| E::spread(weights, column, out));
    out
}

#[cfg(test)]
mod tests {
    use super::super::element::tests::Words;
    use super::super::field::Gf;
    use super::super::galois::Gr;
    use super::*;

    /// Folding commutes with the product: h(ζ) from the points is the product of the folded vectors.
    fn level<E: Element>() {
        let mut rng = Words(11);
        for (t, len) in [(0, 3usize), (1, 2), (1, 5), (2, 4), (3, 21), (2, 300)] {
            let block = len.div_ceil(1 << t);
            let [x1, x2, y1, y2]: [Vec<E>; 4] = std::array::from_fn(|_| (0..len).map(|_| rng.element()).collect());
            let nothing = vec![E::ZERO; len];
            let all: Vec<usize> = (0..points(t)).collect();
            // The three parties' summands add up; part j is lacked by party j.
            let z: Vec<E> = [(&x1, &x2, &y1, &y2), (&x2, &nothing, &y2, &nothing), (&nothing, &x1, &nothing, &y1)]
                .map(|(x1, x2, y1, y2)| products(t, block, [x1, x2], [y1, y2], None, &all))
                .into_iter()
                .reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a.plus(b)).collect())
                .expect("three parties");
            let zeta: Vec<E> = (0..t).map(|_| E::challenge(rng.next())).collect();
            let [x, y] = [(&x1, &x2), (&y1, &y2)].map(|(a, b)| {
                let sum: Vec<E> = a.iter().zip(b).map(|(a, b)| a.plus(b)).collect();
                (fold(&sum, &corner_weights(&zeta)), sum)
            });
            assert!(E::dot(&point_weights(&zeta), &z) == E::dot(&x.0, &y.0), "{t} {len}");
            let corners = (0..1 << t).fold(E::ZERO, |s, k| s.plus(&z[point_of(k, t)]));
            assert!(corners == E::dot(&x.1, &y.1));
            assert_eq!((0..points(t)).filter(|p| corner(*p, t).is_some()).count(), 1 << t);
            assert!((0..1 << t).all(|k| corner(point_of(k, t), t) == Some(k)));
        }
    }

    #[test]
    fn folding_commutes_with_products() {
        level::<Gf>();
        level::<Gr<u32>>();
        level::<Gr<u64>>();
    }
}
