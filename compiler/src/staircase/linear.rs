//! One output channel of a linear layer, from public facts only.
//!
//! `P` bounds |Σ products|, `t` is the largest |threshold|. A bias above `t + P` leaves every threshold passed whatever
//! the products, one below `-(t + P) - 1` none, so it is moved to that bound: `|acc| <= t + 2P + 1` (*live*). Where
//! that is too much, or the constants leave 64-bit words: the accumulators of one inference lie in `bias - P ..= bias + P`, and a threshold T is in doubt iff
//! `bias - P < T <= bias + P`, which are 2P consecutive integers. Neighbours at least 2P apart are never both in doubt
//! (*dead*): the owner of the weights supplies the value `k` below the threshold in doubt and `b'`, and
//! `y = k + [p + b' >= 0]`. Moved biases, `k` and `b'` are secret and nothing public depends on them.
use super::affine::{Constants, Fit};
use super::exact::best_fit;
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

/// Plans a channel whose sum of products is in `-products..=products`, for accumulators up to `max_acc`: live if it can
/// be, else dead.
pub fn linear_channel(products: i64, rule: Rule, out: Output, max_acc: i64) -> Result<Channel, StaircaseError> {
    linear_part(products, rule, out, out, max_acc)
}

/// The same for the outputs of `part` only, a narrower clamp; biases are moved as for all of `out`, so that parts share
/// an accumulator.
pub fn linear_part(
    products: i64,
    rule: Rule,
    out: Output,
    part: Output,
    max_acc: i64,
) -> Result<Channel, StaircaseError> {
    check_products(products, max_acc)?;
    let (whole, staircase) = (Staircase::new(rule, out), Staircase::new(rule, part));
    let thresholds = whole.thresholds()?;
    if thresholds.at.is_empty() {
        return Ok(constant(staircase.eval(0), products, staircase));
    }
    let (threshold, gap) = (thresholds.largest(), thresholds.smallest_gap());
    let needed = i128::from(threshold) + 2 * i128::from(products) + 1;
    let not_live = if needed <= i128::from(max_acc.min(REACH - 1)) {
        let acc_bound = needed as i64;
        match best_fit(&staircase, -acc_bound, acc_bound) {
            Ok(Fit::Constant(y)) => return Ok(constant(y, products, staircase)),
            Ok(Fit::Affine(found)) => {
                let (kind, checked) = (ChannelKind::Live(found), found.checked());
                let bias_hi = threshold + products;
                return Ok(Channel { kind, acc_bound, bias_lo: -bias_hi - 1, bias_hi, checked, products, staircase });
            }
            Err(StaircaseError::Proof(refused)) => return Err(refused.into()),
            Err(none) => none,
        }
    } else {
        StaircaseError::Accumulator { products, threshold, needed, max_acc, gap }
    };
    if gap < 2 * products {
        return Err(not_live);
    }
    dead(products, whole, &thresholds, max_acc)
}

/// The same channel as a dead one, `None` if two thresholds may be in doubt at once (or the output is constant). Where a
/// nearly dead channel is live as well, its slope is tiny and its shift large; this is cheaper.
pub fn dead_channel(products: i64, rule: Rule, out: Output, max_acc: i64) -> Result<Option<Channel>, StaircaseError> {
    check_products(products, max_acc)?;
    let staircase = Staircase::new(rule, out);
    let thresholds = staircase.thresholds()?;
    if thresholds.at.is_empty() || thresholds.smallest_gap() < 2 * products {
        return Ok(None);
    }
    dead(products, staircase, &thresholds, max_acc).map(Some)
}

fn check_products(products: i64, max_acc: i64) -> Result<(), StaircaseError> {
    if !(0..REACH / 4).contains(&products) || products > max_acc {
        return Err(StaircaseError::Products { products, max_acc });
    }
    Ok(())
}

fn constant(y: i32, products: i64, staircase: Staircase) -> Channel {
    let kind = ChannelKind::Constant(y);
    Channel { kind, acc_bound: products, bias_lo: 0, bias_hi: 0, checked: 0, products, staircase }
}

fn dead(products: i64, staircase: Staircase, thresholds: &Thresholds, max_acc: i64) -> Result<Channel, StaircaseError> {
    let acc_bound = 2 * products + 1;
    if acc_bound > max_acc {
        return Err(StaircaseError::Products { products, max_acc });
    }
    let checked = check_thresholds(&staircase, thresholds)?;
    let (kind, bias_lo) = (ChannelKind::Dead, -products - 1);
    Ok(Channel { kind, acc_bound, bias_lo, bias_hi: products, checked, products, staircase })
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
