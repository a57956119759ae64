//! One party's state of the check of one kind: shares of two vectors and of their claimed inner product.
use super::element::{DEGREE, Element, index_bits, tensor};
use super::grid::{self, corner_weights, point_of, point_weights, points};
use super::linear::{Inner, join};
use super::record::Triples;
use crate::prg::Segment;
use ir::check::Level;

/// Shares of an element: the part that the next party lacks, and the part that the party after it lacks.
type Pair<E> = [E; 2];

pub(super) struct Prover<E> {
    levels: Vec<Level>,
    /// What is left to check is Σ f_i·g_i = z; before the first level the recorded products instead.
    f: [Vec<E>; 2],
    g: [Vec<E>; 2],
    z: Pair<E>,
    triples: Triples<E>,
    /// Coefficients of the blocks of the first level.
    weights: Vec<E>,
    /// What the check before has left.
    carried: Option<Inner<E>>,
    /// Convolutions, and that, joined after the first level.
    inner: Vec<Inner<E>>,
    /// Values at the corners of the first level, which need no message.
    known: Vec<Pair<E>>,
    /// Shares of the values that travelled in the present level.
    pub(super) values: Vec<Pair<E>>,
    /// Additive errors that a test has this party make, one per point sent.
    #[cfg(test)]
    pub(super) errors: Vec<E>,
}

fn sum<E: Element>(pairs: impl Iterator<Item = Pair<E>>) -> Pair<E> {
    pairs.fold([E::ZERO; 2], |s, v| [s[0].plus(&v[0]), s[1].plus(&v[1])])
}

fn challenges<E: Element>(coins: &[u64]) -> Vec<E> {
    coins.iter().map(|word| E::challenge(*word)).collect()
}

impl<E: Element> Prover<E> {
    pub(super) fn new(levels: Vec<Level>, triples: Triples<E>, carried: Option<Inner<E>>) -> Self {
        Prover {
            levels,
            f: Default::default(),
            g: Default::default(),
            z: [E::ZERO; 2],
            triples,
            weights: vec![],
            carried,
            inner: vec![],
            known: vec![],
            values: vec![],
            #[cfg(test)]
            errors: vec![],
        }
    }

    /// The first coins give every product its coefficient, and `chi` is that of what the check before has left.
    pub(super) fn begin(&mut self, coins: &[u64], inner: Vec<Inner<E>>, chi: &E) {
        let Some(level) = self.levels.first() else { return };
        let blocks = 1usize << level.t;
        let groups = self.triples.c[0].len() / blocks;
        let coefficients = tensor(&challenges(&coins[..index_bits(groups) as usize]), groups);
        // Σ over groups, for each place in a group.
        let claim = |c: &[E], k: usize| {
            let block: Vec<E> = c.iter().skip(k).step_by(blocks).copied().collect();
            E::dot(&coefficients, &block)
        };
        self.known = (0..blocks).map(|k| [claim(&self.triples.c[0], k), claim(&self.triples.c[1], k)]).collect();
        self.triples.c = Default::default();
        // Each term of a claim has the coefficient of the claim.
        let mut at = 0;
        for (terms, groups) in self.triples.claims.drain(..) {
            let of_claim = &coefficients[at..at + groups];
            (0..terms).for_each(|_| self.weights.extend_from_slice(of_claim));
            at += groups;
        }
        self.inner = inner;
        self.inner.extend(self.carried.take().map(|carried| carried.times(chi)));
    }

    fn level(&self, level: usize) -> Option<&Level> {
        self.levels.get(level)
    }

    /// This party's summands of the values that travel in a level, before they are hidden. `masks` are the streams of the
    /// keys that the next party lacks and that the party after lacks.
    pub(super) fn summands(&mut self, level: usize, masks: &mut [Segment; 2]) -> Vec<E> {
        let Some(Level { t, block, sent, first, last }) = self.level(level).cloned() else { return vec![] };
        if last {
            // A random product takes the last corner: no message, both factors come from keys.
            for (i, stream) in masks.iter_mut().enumerate() {
                for v in [&mut self.f[i], &mut self.g[i]] {
                    v.resize((1 << t) - 1, E::ZERO);
                    v.push(E::draw(stream));
                }
            }
        }
        let (x, y, weights) = match first {
            true => (&self.triples.a, &self.triples.b, Some(self.weights.as_slice())),
            false => (&self.f, &self.g, None),
        };
        let out = grid::products(t, block, [&x[0], &x[1]], [&y[0], &y[1]], weights, &sent);
        #[cfg(test)]
        let out =
            if self.errors.is_empty() { out } else { out.iter().zip(&self.errors).map(|(v, e)| v.plus(e)).collect() };
        out
    }

    /// Elements that travel in a level.
    pub(super) fn sent(&self, level: usize) -> usize {
        self.level(level).map_or(0, |l| l.sent.len())
    }

    /// Folds at the challenges.
    pub(super) fn fold(&mut self, level: usize, coins: &[u64]) {
        let Some(Level { t, sent, first, last, .. }) = self.level(level).cloned() else { return };
        let values = std::mem::take(&mut self.values);
        let mut all = vec![[E::ZERO; 2]; points(t)];
        sent.iter().zip(&values).for_each(|(p, v)| all[*p] = *v);
        if first {
            self.known.iter().enumerate().for_each(|(k, v)| all[point_of(k, t)] = *v);
        } else {
            // The claim is the sum over all corners but that of the random product.
            let others = sum((1..(1 << t) - usize::from(last)).map(|k| all[point_of(k, t)]));
            all[0] = [self.z[0].minus(&others[0]), self.z[1].minus(&others[1])];
        }
        // The random product hides what is opened only if no challenge of the last level is zero.
        let nonzero = |word: &u64| if last && *word == 0 { 1 } else { *word };
        let zeta: Vec<E> = challenges(&coins[..t as usize].iter().map(nonzero).collect::<Vec<u64>>());
        let (corners, weights) = (corner_weights(&zeta), point_weights(&zeta));
        self.z = [0, 1].map(|i| E::dot(&weights, &all.iter().map(|v| v[i]).collect::<Vec<E>>()));
        if !first {
            for v in self.f.iter_mut().chain(&mut self.g) {
                *v = grid::fold(v, &corners);
            }
            return;
        }
        let joined = self.inner.iter().map(|inner| inner.x[0].len()).sum();
        let lanes = |v: &mut Vec<E>| grid::fold_lanes(&std::mem::take(v), &corners, joined);
        self.f = self.triples.a.each_mut().map(lanes);
        self.g = self.triples.b.each_mut().map(lanes);
        self.weigh();
        let kappa = E::challenge(*coins.last().expect("the coins of the first level have one for convolutions"));
        for inner in std::mem::take(&mut self.inner) {
            join(&mut self.f, &mut self.g, &inner, &kappa);
            self.z = sum([self.z, inner.z.map(|z| z.times(&kappa))].into_iter());
        }
    }

    /// Multiplies lane j of block b by its coefficient, weight_b·X^j.
    fn weigh(&mut self) {
        use rayon::prelude::*;
        for f in &mut self.f {
            let blocks = f.as_chunks_mut::<DEGREE>().0;
            blocks.par_iter_mut().zip(&self.weights).for_each(|(lanes, weight)| {
                let mut weight = *weight;
                for lane in lanes {
                    *lane = lane.times(&weight);
                    weight = weight.times_x();
                }
            });
        }
        self.weights = vec![];
    }

    /// What is left after all levels of an early check.
    pub(super) fn carry(self) -> Option<Inner<E>> {
        (!self.levels.is_empty()).then_some(Inner { x: self.f, w: self.g, z: self.z })
    }

    /// What is opened: shares of both factors and of the claimed product.
    pub(super) fn left(&self) -> Option<[Pair<E>; 3]> {
        let one = |v: &[Vec<E>; 2]| [v[0][0], v[1][0]];
        (!self.levels.is_empty()).then(|| [one(&self.f), one(&self.g), self.z])
    }
}
