//! One output channel of a linear layer, from public facts only.
//!
//! `P` bounds |Σ products|, `t` is the largest |threshold|. A bias above `t + P` leaves every threshold passed whatever
//! the products, one below `-(t + P) - 1` none, so it is moved to that bound: `|acc| <= t + 2P + 1` (*live*). Where
//! that is too much, or the constants leave 64-bit words: the accumulators of one inference lie in `bias - P ..= bias + P`, and a threshold T is in doubt iff
//! `bias - P < T <= bias + P`, which are 2P consecutive integers. Neighbours at least 2P apart are never both in doubt
//! (*dead*): the owner of the weights supplies the value `k` below the threshold in doubt and `b'`, and
//! `y = k + [p + b' >= 0]`. Moved biases, `k` and `b'` are secret and nothing public depends on them.
use super::affine::{Constants, Fit, fit};
use super::proof::ProofError;
use super::rule::{Rule, Staircase, Thresholds};
use super::{REACH, StaircaseError};
use crate::qgraph::Output;

/// How a channel gets its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// From the accumulator with the placed bias.
    Live(Constants),
    /// `y = k + [p + b' >= 0]`, `k` and `b'` from [`Channel::place_bias`]; [`super::sign`] has the comparison's constants.
    Dead,
    /// Always this.
    Constant(i32),
}

/// The plan of one output channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// How the output comes about.
    pub kind: ChannelKind,
    /// `|p + placed bias|` is at most this.
    pub acc_bound: i64,
    /// Smallest placed bias.
    pub bias_lo: i64,
    /// Largest placed bias.
    pub bias_hi: i64,
    /// Thresholds checked by the proof.
    pub checked: usize,
    products: i64,
    staircase: Staircase,
}

/// What the weights file holds in place of a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedBias {
    /// Added to the products; in `bias_lo..=bias_hi` of the channel.
    pub bias: i64,
    /// Dead channels: the stored output below the threshold in doubt. 0 for others.
    pub base: i32,
}

/// Plans a channel whose sum of products is in `-products..=products`, for accumulators up to `max_acc`.
pub fn linear_channel(products: i64, rule: Rule, out: Output, max_acc: i64) -> Result<Channel, StaircaseError> {
    if !(0..REACH / 4).contains(&products) || products > max_acc {
        return Err(StaircaseError::Products { products, max_acc });
    }
    let staircase = Staircase::new(rule, out);
    let thresholds = staircase.thresholds()?;
    let plan = |kind, acc_bound, bias_lo, bias_hi, checked| {
        Ok(Channel { kind, acc_bound, bias_lo, bias_hi, checked, products, staircase })
    };
    if thresholds.at.is_empty() {
        return plan(ChannelKind::Constant(thresholds.lo), products, 0, 0, 0);
    }
    let (t, gap) = (thresholds.largest(), thresholds.smallest_gap());
    let bound = i128::from(t) + 2 * i128::from(products) + 1;
    let not_live = if bound <= i128::from(max_acc.min(REACH - 1)) {
        let bound = bound as i64;
        match fit(&staircase, -bound, bound) {
            Ok(Fit::Constant(y)) => return plan(ChannelKind::Constant(y), products, 0, 0, 0),
            Ok(Fit::Affine(found)) => {
                let bias = t + products;
                return plan(ChannelKind::Live(found), bound, -bias - 1, bias, found.checked());
            }
            Err(StaircaseError::Proof(refused)) => return Err(refused.into()),
            Err(none) => none,
        }
    } else {
        StaircaseError::Accumulator { products, threshold: t, needed: bound, max_acc, gap }
    };
    if gap < 2 * products {
        return Err(not_live);
    }
    if 2 * products + 1 > max_acc {
        return Err(StaircaseError::Products { products, max_acc });
    }
    let checked = check_thresholds(&staircase, &thresholds)?;
    plan(ChannelKind::Dead, 2 * products + 1, -products - 1, products, checked)
}

/// That every threshold of a dead channel is one of the reference.
fn check_thresholds(staircase: &Staircase, thresholds: &Thresholds) -> Result<usize, ProofError> {
    for (&input, value) in thresholds.at.iter().zip(thresholds.lo + 1..) {
        if staircase.eval(input) < value || staircase.eval(input - 1) >= value {
            return Err(ProofError::Threshold { value, input });
        }
    }
    Ok(thresholds.at.len())
}

impl Channel {
    /// What goes into the weights file for the real `bias`.
    pub fn place_bias(&self, bias: i64) -> Result<PlacedBias, StaircaseError> {
        if bias.unsigned_abs() > 1 << 60 {
            return Err(StaircaseError::Bias { bias });
        }
        Ok(match self.kind {
            ChannelKind::Constant(_) => PlacedBias { bias: 0, base: 0 },
            ChannelKind::Live(_) => PlacedBias { bias: bias.clamp(self.bias_lo, self.bias_hi), base: 0 },
            ChannelKind::Dead => {
                let base = self.staircase.eval(bias - self.products);
                let above = |p: i64| self.staircase.eval(bias + p) > base;
                if !above(self.products) {
                    return Ok(PlacedBias { bias: self.bias_lo, base });
                }
                let (mut from, mut to) = (-self.products, self.products);
                while to - from > 1 {
                    let middle = from + (to - from) / 2;
                    if above(middle) {
                        to = middle;
                    } else {
                        from = middle;
                    }
                }
                PlacedBias { bias: -to, base }
            }
        })
    }

    /// The reference: output for products `p` and the real `bias`.
    pub fn reference(&self, p: i64, bias: i64) -> i32 {
        self.staircase.eval(p + bias)
    }

    /// The emitted output for products `p` and a placed bias.
    pub fn eval(&self, p: i64, placed: PlacedBias) -> i32 {
        match self.kind {
            ChannelKind::Live(constants) => constants.eval(p + placed.bias),
            ChannelKind::Dead => placed.base + i32::from(p + placed.bias >= 0),
            ChannelKind::Constant(y) => y,
        }
    }
}
