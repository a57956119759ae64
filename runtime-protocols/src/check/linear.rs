//! A convolution becomes one inner product as long as its depth.
//!
//! c[p,o] = Σ_t x[p,t]·w[o,t] for output pixel p, channel o and depth t. With coefficients α_p·β_o
//!
//! ```text
//! Σ_po α_p·β_o·c[p,o] = Σ_t (Σ_p α_p·x[p,t])·(Σ_o β_o·w[o,t])
//! ```
//!
//! and each bracket is local. Where channels are grouped, t runs through the depths of all groups, and o in the second
//! bracket through the channels of the group of t; depthwise convolutions are the case of one input channel per group.
use super::element::{Element, Shares};
use super::galois::Gr;
use super::record::{Layout, Linear, Words};
use crate::kernels::words::low_mask;
use rayon::prelude::*;

/// Shares of both sides of the inner product and of its claimed value.
pub(super) struct Inner<E> {
    pub(super) x: [Vec<E>; 2],
    pub(super) w: [Vec<E>; 2],
    pub(super) z: [E; 2],
}

impl<E: Element> Inner<E> {
    /// With a coefficient.
    pub(super) fn times(mut self, by: &E) -> Self {
        self.x.iter_mut().flatten().chain(&mut self.z).for_each(|v| *v = v.times(by));
        self
    }
}

/// Channels that one task takes.
const CHANNELS: usize = 16;

/// Σ_p α_p·x[p,t] for all t = (tap, input channel).
fn inputs<W: Words>(claim: &Linear, x: &[W], alpha: &[Gr<W>]) -> Vec<Gr<W>> {
    let g = &claim.geometry;
    let mut out = vec![Gr::ZERO; g.depth_of_input()];
    out.par_chunks_mut(g.in_c).enumerate().for_each(|(tap, out)| {
        out.par_chunks_mut(CHANNELS).enumerate().for_each(|(part, out)| {
            for (p, alpha) in alpha.iter().enumerate().take(g.pixels()) {
                if let Some(at) = g.tap_source(p, tap) {
                    let at = at + part * CHANNELS;
                    W::multiples(out, &x[at..at + out.len()], alpha);
                }
            }
        });
    });
    out
}

/// Σ_o β_o·w[o,t] for all t.
fn weights<W: Words>(claim: &Linear, w: &[W], beta: &[Gr<W>]) -> Vec<Gr<W>> {
    let g = &claim.geometry;
    let (group_in, group_out) = (g.in_c / g.groups, g.out_c / g.groups);
    let mut out = vec![Gr::ZERO; g.depth_of_input()];
    let taps = out.len() / g.in_c;
    out.par_chunks_mut(g.in_c).enumerate().for_each(|(tap, out)| {
        out.par_chunks_mut(group_in).enumerate().for_each(|(group, out)| {
            let of_group = group * group_out..(group + 1) * group_out;
            for (o, beta) in of_group.clone().zip(&beta[of_group]) {
                let at = match claim.layout {
                    Layout::Convolution => (o * taps + tap) * group_in,
                    Layout::Depthwise => tap * g.out_c + o,
                };
                W::multiples(out, &w[at..at + group_in], beta);
            }
        });
    });
    out
}

/// Σ_po α_p·β_o·c[p,o].
fn results<W: Words>(claim: &Linear, c: &[W], alpha: &[Gr<W>], beta: &[Gr<W>]) -> Gr<W> {
    let channels = claim.geometry.out_c;
    let mut sums = vec![Gr::ZERO; channels];
    sums.par_chunks_mut(CHANNELS).enumerate().for_each(|(part, sums)| {
        for (c, alpha) in c.chunks_exact(channels).zip(alpha) {
            let at = part * CHANNELS;
            W::multiples(sums, &c[at..at + sums.len()], alpha);
        }
    });
    Gr::dot(&sums, &beta[..channels])
}

/// Numbers mod 2^bits: what is above is arbitrary, and not the same at both holders of a part.
fn reduced<W: Words>(words: &[W], bits: u8) -> Vec<W> {
    let mask = low_mask(bits.into());
    words.iter().map(|w| W::narrow(w.widen() & mask)).collect()
}

/// The inner product of a claim, times `coefficient`. `alpha` and `beta` are long enough for every claim.
pub(super) fn inner<W: Words>(claim: &Linear, coefficient: &Gr<W>, alpha: &[Gr<W>], beta: &[Gr<W>]) -> Inner<Gr<W>> {
    let up = Gr::challenge(1).raised(W::BITS - u32::from(claim.bits)).times(coefficient);
    let scaled = |v: Vec<Gr<W>>| -> Vec<Gr<W>> { v.iter().map(|v| v.times(&up)).collect() };
    let parts = |v: &crate::data::Value, f: &dyn Fn(&[W]) -> Vec<Gr<W>>| [0, 1].map(|i| f(W::of(&v.parts[i])));
    Inner {
        x: parts(&claim.x, &|x| scaled(inputs(claim, x, alpha))),
        w: parts(&claim.w, &|w| weights(claim, &reduced(w, claim.bits), beta)),
        z: [0, 1].map(|i| results(claim, W::of(&claim.c.parts[i]), alpha, beta).times(&up)),
    }
}

/// Appends the vectors of `inner`, the first times `factor`.
pub(super) fn join<E: Element>(f: &mut [Vec<E>; 2], g: &mut [Vec<E>; 2], inner: &Inner<E>, factor: &E) {
    let shares: [Shares<'_, E>; 2] = [[&inner.x[0], &inner.x[1]], [&inner.w[0], &inner.w[1]]];
    for i in 0..2 {
        f[i].extend(shares[0][i].iter().map(|v| v.times(factor)));
        g[i].extend_from_slice(shares[1][i]);
    }
}
