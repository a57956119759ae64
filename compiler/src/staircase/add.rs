//! The sum of two bytes: `y = clamp(floor((m1·x1 + m2·x2 + b) / 2^s), lo, hi)` for all pairs of centred inputs.
//!
//! For a fixed `m1` each column of pairs with equal `x2` shrinks to one lower and one upper point, and the interval
//! search finds `m2`. The real slopes that fit form an open convex polygon whatever `s`, so the search goes through
//! `s = 0, 1, …` and every `m1` inside the polygon's shadow, which narrows as it goes. Both slopes are at least 0, which is no
//! restriction: where a negative one fits, the function does not depend on that operand and 0 fits as well.
use super::interval::{Point, Slope, Slopes, slopes};
use super::proof::prove_add;
use super::rule::{Rule, Staircase, twice};
use super::{ProofError, StaircaseError};
use crate::qgraph::{AddOperand, Multiplier, Output};

/// Shifts tried: bytes need at most 22.
const LARGEST_SHIFT: u32 = 24;
/// No slope is above this, in outputs per input.
const STEEPEST: Slopes = Slopes { above: None, below: Some(Slope { p: 1 << 10, q: 1 }) };
/// Values of `m1` tried before a number of pieces is given up: half a second, never needed where a solution is known.
const TRIES: u32 = 1 << 16;

/// `R(R(x1 << shift, m1) + R(x2 << shift, m2), m) + zero_point`, clamped; inputs centred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddReference {
    left_shift: u32,
    operands: [Multiplier; 2],
    sum: Staircase,
    subtracts: bool,
}

impl AddReference {
    /// The ADD of the reference kernels.
    pub fn new(left_shift: u32, operands: [AddOperand; 2], multiplier: Multiplier, out: Output) -> AddReference {
        let sum = Staircase::new(Rule::Twice(multiplier), out);
        AddReference { left_shift, operands: operands.map(|operand| operand.multiplier), sum, subtracts: false }
    }

    /// The SUB of the reference kernels, as a sum of the first operand and the second one negated.
    pub fn difference(left_shift: u32, operands: [AddOperand; 2], multiplier: Multiplier, out: Output) -> AddReference {
        AddReference { subtracts: true, ..AddReference::new(left_shift, operands, multiplier, out) }
    }

    /// The output for centred inputs; a difference takes the second one negated.
    pub fn eval(&self, x1: i32, x2: i32) -> i32 {
        let side = |x: i32, m| twice(i64::from(x) << self.left_shift, m);
        let second = self.operands[1];
        // Rounding is not symmetric: what is negated is the rounded operand.
        let other = if self.subtracts { -side(-x2, second) } else { side(x2, second) };
        self.sum.eval(side(x1, self.operands[0]) + other)
    }
}

/// Proved constants of a sum. Only this module makes them, after all pairs have been compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants2 {
    pub(super) m1: i64,
    pub(super) m2: i64,
    pub(super) s: u32,
    pub(super) b_above: i64,
    pub(super) b_below: i64,
    pub(super) lo: i32,
    pub(super) hi: i32,
    pub(super) split: i32,
    pub(super) ranges: [(i32, i32); 2],
    pub(super) checked: usize,
}

impl Constants2 {
    /// Slope numerator of the first operand, not negative.
    pub fn m1(&self) -> i64 {
        self.m1
    }

    /// Slope numerator of the second operand, not negative.
    pub fn m2(&self) -> i64 {
        self.m2
    }

    /// Shift.
    pub fn s(&self) -> u32 {
        self.s
    }

    /// Offset for the values above [`Constants2::split`]; the only one if there is one piece.
    pub fn b_above(&self) -> i64 {
        self.b_above
    }

    /// Offset for the values up to [`Constants2::split`].
    pub fn b_below(&self) -> i64 {
        self.b_below
    }

    /// True if the two offsets differ in meaning: `lo < split < hi`.
    pub fn two_pieces(&self) -> bool {
        self.split > self.lo
    }

    /// Lower clamp, the smallest output that occurs.
    pub fn lo(&self) -> i32 {
        self.lo
    }

    /// Upper clamp, the largest output that occurs.
    pub fn hi(&self) -> i32 {
        self.hi
    }

    /// As in [`super::Constants::split`].
    pub fn split(&self) -> i32 {
        self.split
    }

    /// Centred inputs for which the constants are proved.
    pub fn ranges(&self) -> [(i32, i32); 2] {
        self.ranges
    }

    /// Pairs checked: all of them.
    pub fn checked(&self) -> usize {
        self.checked
    }

    /// The emitted formula.
    pub fn eval(&self, x1: i32, x2: i32) -> i32 {
        let sum = self.m1 * i64::from(x1) + self.m2 * i64::from(x2);
        let floor = |b: i64| (sum + b) >> self.s;
        let (lo, hi, split) = (i64::from(self.lo), i64::from(self.hi), i64::from(self.split));
        let y = if self.two_pieces() {
            floor(self.b_above).clamp(split, hi) + floor(self.b_below).clamp(lo, split) - split
        } else {
            floor(self.b_above).clamp(lo, hi)
        };
        y as i32
    }

    /// Smallest and largest `m1·x1 + m2·x2 + b` over the ranges and both offsets.
    pub fn sum_range(&self) -> (i64, i64) {
        let [first, second] = self.ranges;
        let at = |x1: i32, x2: i32, b: i64| self.m1 * i64::from(x1) + self.m2 * i64::from(x2) + b;
        (at(first.0, second.0, self.b_above.min(self.b_below)), at(first.1, second.1, self.b_above.max(self.b_below)))
    }

    pub(super) fn fits_words(&self) -> bool {
        let slopes = [self.m1, self.m2].iter().all(|m| (0..1 << 31).contains(m));
        let offsets = [self.b_above, self.b_below].iter().all(|b| b.unsigned_abs() < 1 << 61);
        slopes && offsets && self.s <= super::MAX_SHIFT
    }
}

/// What a sum is on the ranges asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddFit {
    /// One value.
    Constant(i32),
    /// An affine floor of both inputs, clamped.
    Affine(Constants2),
}

/// Constants of an ADD whose operands have the stored integers `ranges`; the result takes centred inputs.
pub fn search_add(
    left_shift: u32,
    operands: [AddOperand; 2],
    multiplier: Multiplier,
    out: Output,
    ranges: [(i32, i32); 2],
) -> Result<AddFit, StaircaseError> {
    find(AddReference::new(left_shift, operands, multiplier, out), operands, out, ranges)
}

/// Constants of a SUB; the result takes the second centred input negated.
pub fn search_sub(
    left_shift: u32,
    operands: [AddOperand; 2],
    multiplier: Multiplier,
    out: Output,
    ranges: [(i32, i32); 2],
) -> Result<AddFit, StaircaseError> {
    find(AddReference::difference(left_shift, operands, multiplier, out), operands, out, ranges)
}

fn find(
    reference: AddReference,
    operands: [AddOperand; 2],
    out: Output,
    ranges: [(i32, i32); 2],
) -> Result<AddFit, StaircaseError> {
    let mut centred = [(0, 0); 2];
    for ((range, operand), centred) in ranges.iter().zip(operands).zip(&mut centred) {
        Staircase::new(Rule::Twice(operand.multiplier), out).thresholds()?;
        let zero_point = i64::from(operand.zero_point);
        let (from, to) = (i64::from(range.0) - zero_point, i64::from(range.1) - zero_point);
        if from > to || to - from > 511 || from.abs() > 1 << 16 || reference.left_shift > 30 {
            return Err(StaircaseError::Range { from, to });
        }
        *centred = (from as i32, to as i32);
    }
    if reference.subtracts {
        centred[1] = (-centred[1].1, -centred[1].0);
    }
    let thresholds = reference.sum.thresholds()?; // refuses bad multipliers and ranges
    let [first, second] = centred;
    let (lo, hi) = (reference.eval(first.0, second.0), reference.eval(first.1, second.1));
    if thresholds.at.is_empty() || lo == hi {
        for (x1, x2) in (first.0..=first.1).flat_map(|x1| (second.0..=second.1).map(move |x2| (x1, x2))) {
            let y = reference.eval(x1, x2);
            if y != lo {
                return Err(ProofError::PairDiffers { first: x1, second: x2, reference: y, emitted: lo }.into());
            }
        }
        return Ok(AddFit::Constant(lo));
    }

    let values = Grid::new(&reference, centred, lo);
    let zero_point = out.zero_point;
    let none = StaircaseError::NoConstants { lo, hi, split: zero_point };
    let steps = i64::from(hi - lo);
    let found = search(&[Piece::new(&values, 0, steps)]).map(|found| (found, lo));
    let (found, split) = match found {
        Some(found) => found,
        None if zero_point <= lo || zero_point >= hi => return Err(none),
        None => {
            let middle = i64::from(zero_point) - i64::from(lo);
            let pieces = [Piece::new(&values, 0, middle), Piece::new(&values, middle, steps)];
            (search(&pieces).ok_or(none)?, zero_point)
        }
    };
    let Found { m1, m2, s, offsets } = found;
    let base = (i64::from(lo) << s) - m1 * i64::from(first.0) - m2 * i64::from(second.0);
    let (b_below, b_above) = (offsets[0] + base, offsets[offsets.len() - 1] + base);
    let mut constants = Constants2 { m1, m2, s, b_above, b_below, lo, hi, split, ranges: centred, checked: 0 };
    constants.checked = prove_add(&constants, &reference)?;
    Ok(AddFit::Affine(constants))
}

/// Outputs minus `lo` for all pairs, by column: `columns[x2][x1]`, both counted from the start of their range.
struct Grid {
    columns: Vec<Vec<i64>>,
}

impl Grid {
    fn new(reference: &AddReference, [first, second]: [(i32, i32); 2], lo: i32) -> Grid {
        let column = |x2| (first.0..=first.1).map(|x1| i64::from(reference.eval(x1, x2) - lo)).collect();
        Grid { columns: (second.0..=second.1).map(column).collect() }
    }
}

/// The points of one line of pairs that can be extreme for a slope not below 0, sorted by `x`.
struct Line {
    lower: Vec<Point>,
    upper: Vec<Point>,
}

impl Line {
    /// `values` clamped to `lo..=hi`: at least the value where it is above `lo`, below the next where it is below `hi`.
    fn new(values: impl Iterator<Item = i64>, lo: i64, hi: i64) -> Line {
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for (x, value) in values.enumerate() {
            let (x, y) = (x as i64, value.clamp(lo, hi));
            if y > lo {
                push_convex(&mut lower, Point { x, y }, 1);
            }
            if y < hi {
                push_convex(&mut upper, Point { x, y: y + 1 }, -1);
            }
        }
        Line { lower, upper }
    }
}

/// Keeps the upper (`sign` 1) or lower (-1) hull of points that come in order of `x`.
fn push_convex(hull: &mut Vec<Point>, new: Point, sign: i64) {
    while let [.., a, b] = hull[..] {
        let turn = (b.x - a.x) * (new.y - a.y) - (b.y - a.y) * (new.x - a.x);
        if turn * sign < 0 {
            break;
        }
        hull.pop();
    }
    hull.push(new);
}

/// The outputs between two clamp bounds.
struct Piece {
    /// One line over `x1` for each `x2`.
    columns: Vec<Line>,
    /// What each line says about the slopes alone.
    first: Option<Slopes>,
}

impl Piece {
    fn new(values: &Grid, lo: i64, hi: i64) -> Piece {
        let columns: Vec<Line> =
            values.columns.iter().map(|column| Line::new(column.iter().copied(), lo, hi)).collect();
        let first = columns
            .iter()
            .try_fold(Slopes::ALL, |all, line| slopes(&line.lower, &line.upper).and_then(|one| all.and(one)));
        Piece { columns, first }
    }

    /// For this `m1` the condition on `m2·x2 + b`: at least the lower points, below the upper ones.
    fn reduce(&self, m1: i64, s: u32, lower: &mut Vec<Point>, upper: &mut Vec<Point>) {
        lower.clear();
        upper.clear();
        let height = |p: &Point| (p.y << s) - m1 * p.x;
        for (x, line) in (0..).zip(&self.columns) {
            lower.extend(line.lower.iter().map(height).max().map(|y| Point { x, y }));
            upper.extend(line.upper.iter().map(height).min().map(|y| Point { x, y }));
        }
    }
}

struct Found {
    m1: i64,
    m2: i64,
    s: u32,
    /// One per piece.
    offsets: Vec<i64>,
}

/// Common slopes for all pieces, with the smallest `s`.
fn search(pieces: &[Piece]) -> Option<Found> {
    let mut shadow = pieces.iter().try_fold(STEEPEST, |all, piece| all.and(piece.first?))?;
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    let mut tries = 0;
    for s in 0..=LARGEST_SHIFT {
        // The real slopes that fit some m2 are between the neighbours of those seen.
        let mut seen: Option<(i64, i64)> = None;
        let mut m1 = i64::try_from(shadow.first(s)).ok()?;
        while shadow.is_below(m1.into(), s) && m1 < 1 << 31 {
            tries += 1;
            if tries > TRIES {
                return None;
            }
            let second = pieces.iter().try_fold(Slopes::ALL, |all, piece| {
                piece.reduce(m1, s, &mut lower, &mut upper);
                slopes(&lower, &upper).and_then(|one| all.and(one))
            });
            if let Some(second) = second {
                let m2 = second.first(0);
                if second.is_below(m2, 0)
                    && let Ok(m2) = i64::try_from(m2)
                {
                    let offset = |piece: &Piece| {
                        piece.reduce(m1, s, &mut lower, &mut upper);
                        let least = lower.iter().map(|p| p.y - m2 * p.x).max();
                        let most = upper.iter().map(|p| p.y - 1 - m2 * p.x).min();
                        match (least, most) {
                            (Some(least), Some(most)) => (least <= most).then(|| least + (most - least) / 2),
                            (least, most) => least.or(most),
                        }
                    };
                    let offsets = pieces.iter().map(offset).collect::<Option<Vec<i64>>>()?;
                    return Some(Found { m1, m2, s, offsets });
                }
                seen = Some((seen.map_or(m1, |(first, _)| first), m1));
            } else if seen.is_some() {
                break; // convex: nothing fits beyond
            }
            m1 += 1;
        }
        if let Some((first, last)) = seen {
            let above = (first > 0).then(|| Slope { p: first - 1, q: 1 << s });
            let below = Some(Slope { p: last + 1, q: 1 << s });
            shadow = shadow.and(Slopes { above, below })?;
        }
    }
    None
}
