//! Functions of a byte and of a sum over its row, as public tables: for normalizations.
//!
//! For each byte the result falls as the sum S grows, but for places where the kernel's fixed-point functions waver. S is
//! cut into segments so short that within one each result changes by few steps:
//! `y = least + #{j : S < T_j} − #{j : S < R_j}`, where `least`, the falls T and the rises R depend on the byte and the
//! segment only.
//!
//! Where results may rise by themselves a segment begins.
//!
//! *Why every change is found.* Results depend on S through a function of which it is known how far it wavers. Sums a < b
//! are *settled* if that function differs by more: then no sum from b on has a larger result than a, and none up to a has a
//! smaller one than b. So all changes across a level lie between the last sum that is settled before a change across it,
//! found by halving, and the first that is settled behind it; these are gone through one by one.
use super::formulas::bits_for;
use std::collections::BTreeMap;

/// Most bounds of segments: a value has that many planes.
const MOST_STARTS: usize = 255;
/// Most falls and rises in a segment that are tried.
const MOST_STEPS: [i32; 2] = [16, 3];
/// Bits that all parties send for the comparison of a row with one bound of a segment, roughly.
const BOUND_BITS: usize = 120;

/// A byte and the sums that a row with it can have.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// The byte.
    pub index: u8,
    /// Smallest sum.
    pub from: u32,
    /// Largest sum.
    pub to: u32,
}

/// A function of a byte and a sum with results of 8 bits.
pub struct Function<'a> {
    /// The result.
    pub result: &'a (dyn Fn(u8, u32) -> i32 + Sync),
    /// Whether sums a < b, with no break from a + 1 to b, are settled.
    pub settled: &'a (dyn Fn(u32, u32) -> bool + Sync),
    /// Sums, ascending, at which results may rise by themselves.
    pub breaks: Vec<u32>,
}

/// Results of one byte in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// At the end of the segment.
    pub least: u32,
    /// Sums from which on the result is smaller by one, then those from which on it is larger; 0 where there are fewer.
    pub thresholds: Vec<u32>,
}

/// A byte and its results.
#[derive(Clone, Debug)]
pub struct Column {
    /// The byte.
    pub index: u8,
    /// One for each segment.
    pub cells: Vec<Cell>,
}

/// A function of a byte and a sum.
#[derive(Clone, Debug)]
pub struct SumTable {
    /// Bits of a sum.
    pub width: u8,
    /// First sum of each segment but the first.
    pub starts: Vec<u32>,
    /// Most falls and most rises in a segment.
    pub steps: [usize; 2],
    /// Bytes whose result depends on the sum or is not `rest`.
    pub columns: Vec<Column>,
    /// Result of other bytes.
    pub rest: u32,
}

/// By how much the result is smaller than before, for the sums from which on it is.
type Changes = BTreeMap<u32, i32>;

/// Places of falls in `from..=to`, one at least across each level between the results at both ends.
fn falls(f: &dyn Fn(u32) -> i32, from: (u32, i32), to: (u32, i32), into: &mut Vec<u32>) {
    if from.1 <= to.1 {
        return;
    }
    if to.0 - from.0 == 1 {
        return into.push(to.0);
    }
    let middle = from.0 + (to.0 - from.0) / 2;
    let middle = (middle, f(middle));
    falls(f, from, middle, into);
    falls(f, middle, to, into);
}

fn changes(c: &Curve, f: &Function<'_>) -> Changes {
    let of = |s: u32| (f.result)(c.index, s);
    let mut all = Changes::new();
    let mut look = |s: u32| {
        let by = of(s - 1) - of(s);
        if by != 0 {
            all.insert(s, by);
        }
    };
    let breaks: Vec<u32> = f.breaks.iter().copied().filter(|s| (c.from + 1..=c.to).contains(s)).collect();
    breaks.iter().for_each(|s| look(*s));
    for ends in [&[c.from], &breaks[..], &[c.to + 1]].concat().windows(2) {
        let (from, to) = (ends[0], ends[1] - 1);
        let mut places = vec![from];
        falls(&of, (from, of(from)), (to, of(to)), &mut places);
        places.push(to);
        for at in places {
            for s in at.max(from + 1)..=to {
                look(s);
                if (f.settled)(at, s) {
                    break;
                }
            }
            for s in (from + 1..at).rev() {
                look(s);
                if (f.settled)(s, at - 1) {
                    break;
                }
            }
        }
    }
    all
}

impl SumTable {
    /// The table of `f` for rows of `n`; `rest` is the result of bytes that need no column, sums are at most `most`.
    /// `None` where there would be too many segments.
    pub fn new(curves: &[Curve], f: &Function<'_>, rest: i32, n: usize, most: u32) -> Option<SumTable> {
        let needed = |(c, found): &(Curve, Changes)| !found.is_empty() || (f.result)(c.index, c.from) != rest;
        let all: Vec<(Curve, Changes)> = curves.iter().map(|c| (*c, changes(c, f))).filter(needed).collect();
        let width = bits_for(most.into()).max(1);
        let cost = |(steps, starts): &([i32; 2], Vec<u32>)| {
            let (count, width) = ((steps[0] + steps[1]) as usize, usize::from(width));
            let looked_up = (count * width + 8) * all.len() * 2;
            starts.len() * BOUND_BITS + looked_up + n * count * (width * width / 2 + 13 * width)
        };
        let tried = (0..=MOST_STEPS[1]).flat_map(|rises| (0..=MOST_STEPS[0]).map(move |falls| [falls, rises]));
        let cut = |steps: [i32; 2]| Some((steps, segments(&all, steps, &f.breaks, most)?));
        let (steps, starts) = tried.filter_map(cut).min_by_key(cost)?;
        let columns = all.iter().map(|(c, found)| column(c, found, f, &starts, steps)).collect();
        Some(SumTable { width, starts, steps: steps.map(|s| s as usize), columns, rest: rest as u32 })
    }

    /// Thresholds of all segments.
    pub fn count(&self) -> usize {
        self.columns.iter().flat_map(|c| &c.cells).flat_map(|c| &c.thresholds).filter(|t| **t > 0).count()
    }
}

/// Starts of segments in each of which no column has more falls and rises than `steps`; there is one start at least.
fn segments(all: &[(Curve, Changes)], steps: [i32; 2], breaks: &[u32], most: u32) -> Option<Vec<u32>> {
    let of = |(i, (_, found)): (usize, &(Curve, Changes))| {
        found.iter().map(move |(at, by)| (*at, i, *by)).collect::<Vec<_>>()
    };
    let mut events: Vec<(u32, usize, i32)> = all.iter().enumerate().flat_map(of).collect();
    events.sort_unstable();
    let mut starts = Vec::new();
    let mut seen = vec![[0; 2]; all.len()];
    for at in events.chunk_by(|a, b| a.0 == b.0) {
        let then = |(_, i, by): &(u32, usize, i32)| [seen[*i][0] + by.max(&0), seen[*i][1] - by.min(&0)];
        if breaks.contains(&at[0].0) || at.iter().map(then).any(|s| s[0] > steps[0] || s[1] > steps[1]) {
            // What changes at the start of a segment is no step.
            starts.push(at[0].0);
            seen.fill([0; 2]);
        } else {
            at.iter().for_each(|e| seen[e.1] = [seen[e.1][0] + e.2.max(0), seen[e.1][1] - e.2.min(0)]);
        }
        if starts.len() > MOST_STARTS {
            return None;
        }
    }
    if starts.is_empty() {
        starts.push(most);
    }
    Some(starts)
}

fn column(c: &Curve, found: &Changes, f: &Function<'_>, starts: &[u32], steps: [i32; 2]) -> Column {
    let bounds = [&[0], starts, &[u32::MAX]].concat();
    let cells = bounds.windows(2).map(|w| {
        let list = |sign: i32, count: i32| {
            let inside = found.iter().filter(|(at, by)| **at > w[0] && **at < w[1] && by.signum() == sign);
            let mut all: Vec<u32> = inside.flat_map(|(at, by)| vec![*at; by.unsigned_abs() as usize]).collect();
            all.resize(count as usize, 0);
            all
        };
        let thresholds = [list(1, steps[0]), list(-1, steps[1])].concat();
        let least = (f.result)(c.index, (w[1] - 1).clamp(c.from, c.to)) as u32;
        Cell { least, thresholds }
    });
    Column { index: c.index, cells: cells.collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The table's own arithmetic.
    pub(crate) fn look_up(t: &SumTable, index: u8, s: u32) -> u32 {
        let segment = t.starts.iter().filter(|start| **start <= s).count();
        let Some(column) = t.columns.iter().find(|c| c.index == index) else { return t.rest };
        let cell = &column.cells[segment];
        let (falls, rises) = cell.thresholds.split_at(t.steps[0]);
        let passed = |all: &[u32]| all.iter().filter(|at| s < **at).count() as u32;
        cell.least + passed(falls) - passed(rises)
    }

    #[test]
    fn tables_are_the_function() {
        // Wavers where the sum is a multiple of 7, and begins anew at 1500.
        let root = |s: u32| i64::from(s % 1500) - if s.is_multiple_of(7) { 2 } else { 0 };
        let result = |d: u8, s: u32| (i64::from(d) * 64 / (root(s) / 3 + 1)).min(255) as i32;
        let settled = |a: u32, b: u32| root(b) >= root(a) + 2;
        let f = Function { result: &result, settled: &settled, breaks: vec![1500, 3000] };
        for n in [1, 3, 1000] {
            let curve = |d: u8| Curve { index: d, from: 20 + u32::from(d), to: 3000 + u32::from(d) };
            let curves: Vec<Curve> = (0..=255).map(curve).collect();
            let t = SumTable::new(&curves, &f, 0, n, 3255).expect("few segments");
            assert!(t.columns.iter().all(|c| c.cells.len() == t.starts.len() + 1 && c.index > 0));
            for c in &curves {
                (c.from..=c.to).for_each(|s| {
                    assert_eq!(i64::from(look_up(&t, c.index, s)), i64::from(result(c.index, s)), "{} {s}", c.index);
                });
            }
        }
    }
}
