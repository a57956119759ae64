//! SOFTMAX as public tables: results by distance to the maximum and by thresholds on the sum of exponentials.
//!
//! With t = max − q the exponential E(t) is public, S = Σ rs(E, 12), and the result depends on (t, S) only. For each t it
//! falls as S grows: `y(t, S) = least(t) + #{j : S ≤ T(t, j)}`.
//!
//! *Why it falls.* The kernel computes `rs(hp(c, E), shift − h)` from h, the leading zeros of S, and c, the reciprocal of
//! `S·2^h`. It does not rise with c where h stays; where h falls by one, c jumps to its largest value and the shift grows
//! by one, which does not raise the result either. So only a c(S) above an earlier c of the same h could break it. By
//! exhaustion over all S in `[2^19, 1001·2^19]`: c never rises up to N = 356, and up to N = 1001 by at most [`RISE`]. So a
//! threshold holds for all S if it holds for those whose c is within that of the c at the threshold; these are checked
//! here, each one.
use crate::qgraph::Multiplier;
use crate::qgraph::eval::{SoftmaxInverse, softmax_exponential, softmax_term};

/// Longest row whose sums were gone through.
pub const MAX_ROW: usize = 1001;

/// Most that the reciprocal of a sum rises above that of a smaller sum with as many leading zeros.
const RISE: i32 = 6;

/// Largest term of the sum: the element itself is the maximum.
const TERM: u32 = 1 << 19;

/// Result of elements at one distance from the maximum.
#[derive(Clone, Debug, PartialEq)]
pub struct Distance {
    /// Distance to the maximum.
    pub distance: u8,
    /// Result for the largest sum, above the least of the type.
    pub least: i64,
    /// Largest sum with a result above `least` by 1, 2, …
    pub thresholds: Vec<u32>,
}

/// A softmax over rows of one length with results of 8 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxTable {
    /// Summand of an element by its distance to the maximum.
    pub terms: Vec<u32>,
    /// Distances whose result can be above the least of the type.
    pub distances: Vec<Distance>,
    /// Largest sum.
    pub most: u32,
}

/// Why there is no such table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTable {
    /// The row is longer than was gone through.
    Long,
    /// A threshold lies where the reciprocal rises.
    Rises,
}

impl SoftmaxTable {
    /// For rows of `n` elements.
    pub fn new(multiplier: Multiplier, dmin: i32, n: usize) -> Result<SoftmaxTable, NoTable> {
        if n > MAX_ROW {
            return Err(NoTable::Long);
        }
        let exponentials: Vec<Option<i32>> = (0..256).map(|t| softmax_exponential(multiplier, dmin, -t)).collect();
        let terms: Vec<u32> = exponentials.iter().map(|e| e.map_or(0, softmax_term)).collect();
        let most = n as u32 * TERM;
        let mut distances = Vec::new();
        for (t, e) in exponentials.iter().enumerate() {
            let Some(e) = *e else { continue };
            // The maximum is one of the terms, this element another unless it is the maximum.
            let (from, to) = match t {
                0 => (TERM, most),
                _ if n == 1 => continue,
                _ => (TERM + terms[t], most - TERM + terms[t]),
            };
            let result = |s: u32| SoftmaxInverse::of(s, 8).result(e, 0, 8);
            let (least, largest) = (result(to), result(from));
            if largest == 0 {
                continue;
            }
            let thresholds = (least + 1..=largest).map(|j| threshold(from, to, &|s| result(s) >= j));
            let thresholds = thresholds.collect::<Option<Vec<u32>>>().ok_or(NoTable::Rises)?;
            distances.push(Distance { distance: t as u8, least: least.into(), thresholds });
        }
        Ok(SoftmaxTable { terms, distances, most })
    }

    /// Number of thresholds.
    pub fn count(&self) -> usize {
        self.distances.iter().map(|d| d.thresholds.len()).sum()
    }
}

/// The last sum in `from..=to` for which `holds`, which is true at `from`, false at `to`, and turns once; `None` if not.
fn threshold(from: u32, to: u32, holds: &dyn Fn(u32) -> bool) -> Option<u32> {
    let (mut yes, mut no) = (from, to);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    let c = |s: u32| SoftmaxInverse::of(s, 8);
    let near = |s: u32, of: u32| c(s).headroom == c(of).headroom && (c(s).inverse - c(of).inverse).abs() <= RISE;
    let before = (from..yes).rev().take_while(|s| near(*s, yes)).all(holds);
    let after = (no + 1..=to).take_while(|s| near(*s, no)).all(|s| !holds(s));
    (before && after).then_some(yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::draw::Draw;
    use crate::qgraph::eval::softmax_row;

    /// The table's own arithmetic, on a row.
    fn by_table(table: &SoftmaxTable, row: &[i32]) -> Vec<i32> {
        let most = row.iter().max().copied().unwrap_or(0);
        let sum: u32 = row.iter().map(|q| table.terms[(most - q) as usize]).sum();
        let one = |q: &i32| {
            let found = table.distances.iter().find(|d| i32::from(d.distance) == most - q);
            found.map_or(0, |d| d.least as i32 + d.thresholds.iter().filter(|t| sum <= **t).count() as i32)
        };
        row.iter().map(one).collect()
    }

    #[test]
    fn tables_equal_the_kernel() {
        let mut rng = Draw(5);
        // beta · scale · 2^26 from 0.004 to 0.5.
        let multipliers = [(1 << 30, 19), (1 << 30, 22), (1_500_000_000, 23), (2_000_000_000, 24), (1_234_567_890, 25)];
        for (m, e) in multipliers {
            let multiplier = Multiplier { m, e };
            let dmin = -((31.0 * f64::from(1u32 << 26) / 2f64.powi(e)).floor() as i32);
            for n in [1, 2, 3, 8, 10, 100, 357, 1001] {
                let table = SoftmaxTable::new(multiplier, dmin, n).expect("turns once");
                for spread in [1, 4, 40, 256] {
                    let row: Vec<i32> = (0..n).map(|_| rng.below(spread) as i32 - 128).collect();
                    assert_eq!(by_table(&table, &row), softmax_row(multiplier, dmin, 0, 8, &row), "{m} {e} {n}");
                }
            }
            assert_eq!(SoftmaxTable::new(multiplier, dmin, MAX_ROW + 1), Err(NoTable::Long));
        }
    }

    /// Every sum of ten and every distance, one scale.
    #[test]
    fn thresholds_hold_for_every_sum() {
        let (multiplier, dmin) = (Multiplier { m: 1 << 30, e: 24 }, -124);
        let table = SoftmaxTable::new(multiplier, dmin, 10).expect("turns once");
        let mut below: Vec<usize> = vec![0; table.distances.len()];
        for s in TERM..=table.most {
            let inverse = SoftmaxInverse::of(s, 8);
            for (d, below) in table.distances.iter().zip(&mut below).skip((s % 7) as usize).step_by(7) {
                let e = softmax_exponential(multiplier, dmin, -i64::from(d.distance)).expect("above dmin");
                let term = table.terms[usize::from(d.distance)];
                let inside = d.distance == 0 || (TERM + term..=table.most - TERM + term).contains(&s);
                // Thresholds fall as results rise: those from the end on are passed.
                *below = (*below).max(d.thresholds.iter().rev().take_while(|t| s > **t).count());
                let y = d.least + (d.thresholds.len() - *below) as i64;
                assert!(!inside || i64::from(inverse.result(e, 0, 8)) == y, "{} {s}", d.distance);
            }
        }
    }
}
