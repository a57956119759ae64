//! LOG_SOFTMAX and L2_NORMALIZATION of shared rows, exactly as the reference kernels, opening nothing.
//!
//! The result of an element is a public function of a byte d (its distance to the maximum, or itself) and of a sum S over
//! the row, in the form of [`super::sum_table`]: `y = least(d, g) + #{j : S < T_j(d, g)} − #{j : S < R_j(d, g)}`, g the
//! segment of S.
//!
//! | exchange | content |
//! |---|---|
//! | – | LOG_SOFTMAX: the maximum ([`super::maximum`]); the terms of S, looked up. L2_NORMALIZATION: squares. S, reshared |
//! | 1 | A deals the one-hot vectors of the d ([`super::table`]), and of the chunks of u, S = v − u, once for a row |
//! | 2, 3 | [S < start] for each segment, by masked leaves and groups of them; the entries in use, masked |
//! | 4 | bits of `least`, T and R for each d, masked: each is an XOR of [S < start] |
//! | 5 | their sums of products with the entries, masked |
//! | 6 | S − T and S − R, reshared |
//! | 7 to 9 | their signs, masked ([`super::maximum`]) |
//! | 10 | the result, reshared |
//!
//! L2_NORMALIZATION falls with S for x ≥ 0 only: for the others the table has `hi − y`, and one more product with the sign
//! of x, looked up, undoes that.
//!
//! *The sum of products* is that of [`super::softmax`], and so is what each message reveals: nothing.
use super::builder::Builder;
use super::compare::stack;
use super::emit::Emitter;
use super::masked::Opened;
use super::plan::{Plan, Planner};
use super::softmax::{self, compare_row, inner_product};
use super::softmax_table::MAX_ROW;
use super::sum_table::{Cell, Column, Curve, Function, SumTable};
use super::{BYTE_RING, LowerError, maximum, table};
use crate::qgraph::eval::{LogSum, l2_normalized, softmax_exponential, softmax_term};
use crate::qgraph::{Kind, Multiplier, Op as QOp, Output, fixed};
use ir::infer::roles;
use ir::{Axes, Dims, Holders, Op, Value};

/// Bits of a result.
const RESULT: usize = 8;
/// Columns that are worked on together: a value has that many planes.
const GROUP: usize = 255;
/// Results of one mix of planes.
const MIXED: usize = 64;
/// Bits of a summand of exponentials.
const TERM: u8 = 20;

/// By how much at most the logarithm of a sum in `[2^19, 1001·2^19]` is below that of a smaller one: by exhaustion.
const LOG_FALL: i32 = 2;
/// By how many units of the mantissa at most the inverse root of a sum in `[1, 1001·255²]` is above that of a smaller one:
/// by exhaustion.
const ROOT_RISE: i64 = 23;

/// A normalization.
#[derive(Clone, Debug)]
pub struct Normal {
    /// Summand of an element by its distance to the maximum; none where squares are summed.
    terms: Vec<u32>,
    table: SumTable,
}

impl Normal {
    /// Ring that the operand needs.
    pub fn ring(&self) -> u8 {
        if self.terms.is_empty() { (self.table.width + 1).max(BYTE_RING) } else { BYTE_RING }
    }

    /// LOG_SOFTMAX of rows of `n`.
    fn log_softmax(multiplier: Multiplier, dmin: i32, reverse: Multiplier, out: &Output, n: usize) -> Option<Normal> {
        let term = |t: i64| softmax_exponential(multiplier, dmin, -t).map_or(0, softmax_term);
        let terms: Vec<u32> = (0..256).map(term).collect();
        let (one, most) = (terms[0], terms[0] * n as u32);
        // The maximum is one of the terms, this element another unless it is the maximum.
        let curve = |t: u8| match (t, terms[usize::from(t)]) {
            (0, _) => Some(Curve { index: 0, from: one, to: most }),
            (_, _) if n == 1 => None,
            (_, own) => Some(Curve { index: t, from: one + own, to: most - one + own }),
        };
        let curves: Vec<Curve> = (0..=255).filter_map(curve).collect();
        let result = |t: u8, s: u32| LogSum::of(s, dmin, reverse).result(-i64::from(t), multiplier, out) - out.lo;
        let settled = |a: u32, b: u32| {
            let [a, b] = [a, b].map(|s| LogSum::of(s, dmin, reverse).log);
            b >= a + LOG_FALL
        };
        let table =
            SumTable::new(&curves, &Function { result: &result, settled: &settled, breaks: vec![] }, 0, n, most)?;
        Some(Normal { terms, table })
    }

    /// L2_NORMALIZATION of rows of `n` centred numbers in `range`.
    fn squares(left_shift: u32, gain: i32, out: &Output, range: (i64, i64), n: usize) -> Option<Normal> {
        let largest = range.0.unsigned_abs().max(range.1.unsigned_abs()) as u32;
        let square = |x: i64| (x * x) as u32;
        let curve = |x: i64| {
            let (index, from) = (x.rem_euclid(256) as u8, square(x));
            Curve { index, from, to: from + (n as u32 - 1) * largest * largest }
        };
        let curves: Vec<Curve> = (range.0..=range.1).map(curve).collect();
        let result = |index: u8, s: u32| {
            let x = range.0 + (i64::from(index) - range.0).rem_euclid(256);
            let y = l2_normalized(x as i32, s as i32, left_shift, gain, out);
            if x < 0 { out.hi - y } else { y - out.lo }
        };
        let settled = |a: u32, b: u32| {
            let [a, b] = [a, b].map(|s| fixed::inverse_sqrt(s as i32));
            let whole = |v: Multiplier| i64::from(v.m) << (16 + v.e);
            whole(a) - whole(b) > (ROOT_RISE + 1) << (16 + a.e)
        };
        let rest = out.zero_point - out.lo;
        let most = n as u32 * largest * largest;
        // The exponent changes at powers of two, and with it how often the kernel rounds.
        let breaks = (1..31)
            .map(|i| 1u32 << i)
            .filter(|s| fixed::inverse_sqrt(*s as i32).e < fixed::inverse_sqrt(*s as i32 - 1).e);
        let f = Function { result: &result, settled: &settled, breaks: breaks.collect() };
        let table = SumTable::new(&curves, &f, rest, n, most)?;
        Some(Normal { terms: vec![], table })
    }
}

impl Planner<'_> {
    /// LOG_SOFTMAX, L2_NORMALIZATION.
    pub(super) fn normal(&mut self, op: &QOp) -> Result<Plan, LowerError> {
        let n = self.g.tensor(op.inputs[0]).shape.last().copied().unwrap_or(1);
        let refuse = |reason| LowerError::Unsupported { index: op.index, name: op.name, reason };
        if n > MAX_ROW {
            return Err(refuse(format!("rows of {n} elements, at most {MAX_ROW} are computed inside")));
        }
        let made = match &op.kind {
            Kind::LogSoftmax { multiplier, dmin, reverse, out } => {
                Normal::log_softmax(*multiplier, *dmin, *reverse, out, n)
            }
            Kind::L2Normalize { left_shift, gain, out, .. } => {
                Normal::squares(*left_shift, *gain, out, self.centred(op.inputs[0]), n)
            }
            _ => None,
        };
        let made = made.ok_or_else(|| refuse("its results need more than 255 segments of sums".into()))?;
        self.thresholds += made.table.count() as u64;
        Ok(Plan::Normal(Box::new(made)))
    }
}

impl Emitter<'_> {
    /// A normalization of rows.
    pub(super) fn normal(&mut self, op: &QOp, normal: &Normal) -> Result<Value, LowerError> {
        let x = self.input(op, 0)?;
        let (k, rot) = (self.ring(op.output), self.rot());
        let (y, t) = (self.g.tensor(op.output), &normal.table);
        let n = y.shape.last().map_or(1, |n| *n as u32);
        let shape = super::shape32(&y.shape);
        let (Kind::LogSoftmax { out, .. } | Kind::L2Normalize { out, .. }) = &op.kind else {
            unreachable!("the planner made a normalization of it")
        };
        let (ring, rows) = (t.width + 1, y.len() as u32 / n);
        let x = self.b.reshape(x, &[rows, n]);
        let x = self.b.cast(x, normal.ring());
        let (least, route, b) = (self.range(op.inputs[0]).0, self.route, &mut self.b);
        let y = if normal.terms.is_empty() {
            let squares = b.one(Op::MulSs { a: x, b: x });
            let sum = b.one(Op::ReduceSum { x: squares, axes: Axes(vec![1]) });
            let sum = b.one(Op::Reshare { x: sum, bits: ring });
            let hot = table::onehot(b, x, rot);
            let y = by_sum(b, hot, sum, t, k, rot);
            let y = b.one(Op::Reshare { x: y, bits: k });
            // Of negative numbers `hi − y` is known.
            let negative: Vec<u64> = (0..256).map(|i| u64::from(least + (i - least).rem_euclid(256) < 0)).collect();
            let negative = table::look_up(b, hot, &negative, 1);
            let minus = b.scalar(-2);
            let change = b.one(Op::MulP { x: y, p: minus });
            let change = b.add_scalar(change, i64::from(out.hi) - i64::from(out.lo));
            let change = Opened::new(b, negative, rot).times(b, change);
            let [_, rb, rc] = roles(rot);
            let own = b.one(Op::AsSum { x: y, at: Holders::pair(rb, rc), bits: k });
            b.one(Op::Add { a: own, b: change })
        } else {
            let distance = maximum::row_distances(b, x, least, maximum::BYTES, route, rot);
            let hot = table::onehot(b, distance, rot);
            let terms: Vec<u64> = normal.terms.iter().map(|e| u64::from(*e)).collect();
            let bits = table::look_up(b, hot, &terms, TERM);
            let numbers = Opened::new(b, bits, rot).numbers(b, ring);
            let sum = b.one(Op::ReduceSum { x: numbers, axes: Axes(vec![1]) });
            let sum = b.one(Op::Reshare { x: sum, bits: ring });
            by_sum(b, hot, sum, t, k, rot)
        };
        let y = b.one(Op::Reshare { x: y, bits: k });
        let y = b.add_scalar(y, i64::from(out.lo) - i64::from(out.zero_point));
        Ok(b.reshape(y, &shape))
    }
}

/// Summands of results, counted from zero, in a ring of `k` bits: for one-hot vectors `[rows n]` of bytes and sharings
/// `[rows 1]` of sums in a ring with one bit more than they have.
fn by_sum(b: &mut Builder, hot: Value, sum: Value, t: &SumTable, k: u8, rot: u8) -> Value {
    let shape = b.ty(hot).shape.clone();
    let ring = t.width + 1;
    let pair = {
        let [_, rb, rc] = roles(rot);
        Holders::pair(rb, rc)
    };
    if t.columns.is_empty() {
        let bits = table::look_up(b, hot, &[u64::from(t.rest); 256], RESULT as u8);
        return Opened::new(b, bits, rot).numbers(b, k);
    }
    let groups: Vec<(&[Column], Value, Opened)> = t
        .columns
        .chunks(GROUP)
        .map(|columns| {
            let entries = columns.iter().map(|c| softmax::entry(b, hot, c.index)).collect();
            let entries = stack(b, entries);
            (columns, entries, Opened::new(b, entries, rot))
        })
        .collect();

    // [S < start] as planes of each row.
    let (u, v) = b.two(Op::SplitShared { x: sum, rot });
    let starts: Vec<i64> = t.starts.iter().map(|s| i64::from(*s)).collect();
    let planes = starts.len() as u32;
    let below = compare_row(b, u, v, t.width, starts, rot);
    let to = b.constant(&[planes], (0..i64::from(planes)).collect());
    let below = b.one(Op::FoldP { x: below, to, width: planes as u8 });

    // Any bit of the table at a row's segment, for all columns: segment g has the first planes clear up to g.
    let segments = t.starts.len();
    let bit = |b: &mut Builder, of: &dyn Fn(&Cell) -> u64| -> [Value; 2] {
        let mut one = |(columns, entries, opened): &(&[Column], Value, Opened)| {
            let mixes = columns.chunks(MIXED).map(|columns| {
                let at = |g: usize| columns.iter().enumerate().fold(0u64, |m, (i, c)| m | of(&c.cells[g]) << i);
                let steps = (1..=segments).map(|g| at(g - 1) ^ at(g));
                let entries = std::iter::once(at(segments)).chain(steps).map(|e| e as i64).collect();
                let entries = b.constant(&[planes + 1], entries);
                b.one(Op::MixP { x: below, table: entries, width: columns.len() as u8 })
            });
            let mixes = mixes.collect();
            let mixed = stack(b, mixes);
            let w = b.reshape(mixed, &[shape[0], 1]);
            inner_product(b, *entries, opened, w, rot)
        };
        let parts: Vec<[Value; 2]> = groups.iter().map(&mut one).collect();
        parts[1..]
            .iter()
            .fold(parts[0], |[x, y], [z, w]| [b.one(Op::Add { a: x, b: *z }), b.one(Op::Add { a: y, b: *w })])
    };
    let number = |b: &mut Builder, bits: usize, of: &dyn Fn(&Cell) -> u64| -> Value {
        let parts = (0..bits).map(|i| bit(b, &|cell: &Cell| of(cell) >> i & 1));
        let (sums, dealt): (Vec<Value>, Vec<Value>) = parts.map(|[sum, masks]| (sum, masks)).unzip();
        let (sums, dealt) = (stack(b, sums), stack(b, dealt));
        let dealt = b.one(Op::Deal { x: dealt, bits: 1 });
        b.one(Op::Add { a: sums, b: dealt })
    };

    let rest = u64::from(t.rest);
    let least = number(b, RESULT, &|cell| u64::from(cell.least) ^ rest);
    let flip = b.scalar(rest as i64);
    let least = b.one(Op::AddP { x: least, p: flip });
    let mut y = Opened::new(b, least, rot).numbers(b, k);
    let whole = b.one(Op::AsSum { x: sum, at: pair, bits: ring });
    let whole = b.one(Op::Expand { x: whole, shape: Dims(shape.clone()) });
    for j in 0..t.steps.iter().sum() {
        let bits = number(b, usize::from(t.width), &|cell| u64::from(cell.thresholds[j]));
        let threshold = Opened::new(b, bits, rot).numbers(b, ring);
        let difference = b.one(Op::Sub { a: whole, b: threshold });
        let difference = b.one(Op::Reshare { x: difference, bits: ring });
        let less = maximum::negative(b, difference, t.width, rot);
        let less = Opened::new(b, less, rot).number(b, k);
        y = b.one(if j < t.steps[0] { Op::Add { a: y, b: less } } else { Op::Sub { a: y, b: less } });
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::sum_table::tests::look_up;
    use super::*;
    use crate::qgraph::draw::Draw;
    use rayon::prelude::*;

    /// Sums that are gone through by one thread at a time.
    const WINDOW: u32 = 1 << 20;

    /// Starts and ends of the windows of a range, and the best that `best` finds in all windows before each.
    fn windows<T: Copy + Send + Sync>(
        range: std::ops::RangeInclusive<u32>,
        none: T,
        best: impl Fn(T, T) -> T + Sync,
        of: impl Fn(u32) -> T + Sync,
    ) -> Vec<(u32, u32, T)> {
        let (first, last) = (*range.start(), *range.end());
        let starts: Vec<u32> = (first..=last).step_by(WINDOW as usize).collect();
        let end = |start: u32| start.saturating_add(WINDOW - 1).min(last);
        let own: Vec<T> = starts.par_iter().map(|start| (*start..=end(*start)).map(&of).fold(none, &best)).collect();
        let mut before = none;
        let carried = own.into_iter().map(|own| {
            let all = best(before, own);
            std::mem::replace(&mut before, all)
        });
        starts.iter().zip(carried).map(|(start, before)| (*start, end(*start), before)).collect()
    }

    /// Every sum that a row can have.
    #[test]
    fn the_kernels_waver_by_no_more() {
        let log = |s: u32| fixed::log(s as i32);
        let sums = 1 << 19..=(MAX_ROW as u32) << 19;
        let falls = windows(sums, i32::MIN, i32::max, log).into_par_iter().map(|(start, end, mut highest)| {
            let mut fall = 0;
            for log in (start..=end).map(log) {
                highest = highest.max(log);
                fall = fall.max(highest - log);
            }
            fall
        });
        assert_eq!(falls.max(), Some(LOG_FALL));

        let root = |s: u32| {
            let Multiplier { m, e } = fixed::inverse_sqrt(s as i32);
            (i64::from(m) << (16 + e), e)
        };
        let squares = 1..=MAX_ROW as u32 * 255 * 255;
        let value = |s: u32| root(s).0;
        let rises = windows(squares, i64::MAX, i64::min, value).into_par_iter().map(|(start, end, mut lowest)| {
            let mut rise = 0;
            for (value, e) in (start..=end).map(root) {
                lowest = lowest.min(value);
                rise = rise.max((value - lowest) >> (16 + e));
            }
            rise
        });
        assert_eq!(rises.max(), Some(ROOT_RISE));
    }

    #[test]
    fn l2_tables_are_the_kernel() {
        let mut rng = Draw(3);
        for (lo, z, left_shift, gain) in [(-128, 5, 0, 7), (-128, -128, 0, 7), (0, 100, 7, 0)] {
            let out = Output { zero_point: if lo == 0 { 128 } else { 0 }, lo, hi: lo + 255 };
            let range = (i64::from(lo) - z, i64::from(lo) + 255 - z);
            for n in [1, 2, 5, 64, 128, 1001] {
                let normal = Normal::squares(left_shift, gain, &out, range, n).expect("few segments");
                for round in 0..300 {
                    let small = 1 + rng.below(256 >> (round % 7));
                    let row: Vec<i64> = (0..n).map(|_| range.0 + rng.below(small) as i64).collect();
                    let sum: i64 = row.iter().map(|x| x * x).sum();
                    for x in &row {
                        let h = look_up(&normal.table, x.rem_euclid(256) as u8, sum as u32) as i32;
                        let y = if *x < 0 { out.hi - h } else { out.lo + h };
                        assert_eq!(y, l2_normalized(*x as i32, sum as i32, left_shift, gain, &out), "{x} {sum} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn log_softmax_tables_are_the_kernel() {
        let mut rng = Draw(4);
        for (m, e) in [(1 << 30, 19), (1 << 30, 22), (1_500_000_000, 23), (2_000_000_000, 24), (1_234_567_890, 26)] {
            let multiplier = Multiplier { m, e };
            let dmin = -((31i64 << 26 >> e) as i32);
            // 2^(31−e) / m, as the importer has it.
            let real = 2f64.powi(31 - e) / f64::from(m);
            let exponent = real.log2().floor() as i32 + 1;
            let reverse = Multiplier { m: (real * 2f64.powi(31 - exponent)).round() as i32, e: exponent };
            let out = Output { zero_point: 127, lo: -128, hi: 127 };
            for n in [1, 2, 3, 10, 100, 357, 1001] {
                let normal = Normal::log_softmax(multiplier, dmin, reverse, &out, n).expect("few segments");
                for round in 0..40 {
                    let spread = 1 + rng.below(256 >> (round % 8));
                    let row: Vec<u8> = (0..n).map(|i| if i == 0 { 0 } else { rng.below(spread) as u8 }).collect();
                    let sum: u32 = row.iter().map(|t| normal.terms[usize::from(*t)]).sum();
                    let log = LogSum::of(sum, dmin, reverse);
                    for t in &row {
                        let y = look_up(&normal.table, *t, sum) as i32 + out.lo;
                        assert_eq!(y, log.result(-i64::from(*t), multiplier, &out), "{m} {e} {n}: {t} {sum}");
                    }
                }
            }
        }
    }
}
