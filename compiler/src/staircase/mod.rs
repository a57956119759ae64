//! Finds and proves the integer constants of every monotone integer function the compiler has to evaluate.
//!
//! A *staircase* is `y = clamp(rule(a + offset) + zero_point, lo, hi)` of one accumulator `a`. What the protocols
//! evaluate is `clamp(floor((m·a + b) / 2^s), lo, hi)`, or two such pieces with one `m` and `s`. The submodules:
//! [`rule`] the reference arithmetic and its thresholds, `interval` the exact slope interval of the theorem below,
//! [`affine`] the search for `(m, s, b)`, [`exact`] constants without a search, [`linear`] one output channel of a linear layer, [`add`] a sum of two bytes,
//! [`proof`] the check that every set of constants passes before anybody gets to see it.
//!
//! **Theorem.** With thresholds `T_j = min{a : f(a) ≥ j}` there is a `b` for `m > 0` and `s` iff `m/2^s` lies strictly
//! between `max_{i ≥ j} (i-j)/(T_i-T_j+1)` and `min_{i < j, T_j-T_i ≥ 2} (j-i)/(T_j-T_i-1)`. The bounds do not depend on
//! `s`, so the smallest `s` is the smallest power of two with a multiple strictly inside.
//!
//! Everything here depends on types, shapes, scales and zero points only, never on a weight or a bias: those enter in
//! [`linear::Channel::place_bias`], whose result goes into the weights file.
pub mod add;
pub mod affine;
pub mod exact;
mod interval;
pub mod linear;
pub mod proof;
pub mod rule;
#[cfg(test)]
mod tests;

pub use add::{AddFit, AddReference, Constants2, search_add, search_sub};
pub use affine::{Constants, Fit, fit, fit_large, fit_thresholds, sign};
pub use exact::{best_fit, exact, exact_shifted};
pub use linear::{Channel, ChannelKind, PlacedBias, dead_channel, linear_channel, linear_part};
pub use proof::{ProofError, prove, prove_add};
pub use rule::{Rule, Staircase, Thresholds};

/// Largest step count of a staircase: the sum of two 16-bit numbers.
const MAX_STEPS: i64 = 1 << 17;
/// Constants have `s` up to here, so that `s + h` fits a word.
const MAX_SHIFT: u32 = 60;
/// No accumulator comes here; thresholds beyond are as good as none.
const REACH: i64 = 1 << 61;

/// Why no constants were found for a staircase.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named in the message")]
pub enum StaircaseError {
    /// Not something `qm` makes.
    #[error("multiplier ({m}, {e}): expected 0 < m < 2^31 and -31 <= e <= 30, or (0, 0)")]
    Multiplier { m: i32, e: i32 },
    /// Negative, infinite or not a number.
    #[error("real multiplier {k}: expected a finite number not below 0")]
    Real { k: f64 },
    /// Average of no element, or of too many.
    #[error("average over {count} elements: expected 1 to 2^31")]
    Count { count: u64 },
    /// An output of more values than are looked at.
    #[error("output range {lo}..{hi} has more than {MAX_STEPS} steps")]
    Steps { lo: i32, hi: i32 },
    /// The input range is empty or beyond what a word holds.
    #[error("input range {from}..{to} is empty or too wide")]
    Range { from: i64, to: i64 },
    /// The thresholds given do not describe a monotone function.
    #[error("threshold of value {value} is below the one before")]
    NotMonotone { value: i32 },
    /// Thresholds so far apart that the search would leave 64 bits.
    #[error("{steps} thresholds spread over {span}: too wide to search in 64 bits")]
    TooWide { steps: usize, span: i64 },
    /// Proved: the slope interval is empty for one piece and for two, or wants a larger shift than allowed.
    #[error("no constants for outputs {lo}..{hi}, neither with one piece nor with two split at {split}")]
    NoConstants { lo: i32, hi: i32, split: i32 },
    /// The constants exist but not in 64-bit words.
    #[error("constants m = {m}, s = {s}, b = {b} leave 64-bit words for inputs {from}..{to}")]
    Word { m: i128, s: u32, b: i128, from: i64, to: i64 },
    /// A linear channel that is neither live nor dead.
    #[error(
        "products up to {products} and thresholds up to {threshold} need accumulators up to {needed}, limit {max_acc}; \
         thresholds {gap} apart are not the {} of a dead channel",
        2 * *.products as i128
    )]
    Accumulator { products: i64, threshold: i64, needed: i128, max_acc: i64, gap: i64 },
    /// The bound on the products is unusable, or a dead channel does not fit.
    #[error("sum of products up to {products} does not fit accumulators up to {max_acc}")]
    Products { products: i64, max_acc: i64 },
    /// A bias no model has.
    #[error("bias {bias} is outside ±2^60")]
    Bias { bias: i64 },
    /// A bug here, found before it did harm.
    #[error("constants refused: {0}")]
    Proof(#[from] ProofError),
}
