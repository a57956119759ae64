//! RESIZE_BILINEAR: each element of the result is a weighted mean of up to four of the operand.
//!
//! On int8 and int16 the reference kernel computes in integers. On uint8 it computes in float32; [`Interpolation::exact`]
//! says whether the mean in whole numbers, rounded once, is certain to give the same.

/// Where a row or column of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Rows or columns of the operand.
    pub from: [usize; 2],
    /// Their weights, which add up to the unit.
    pub weights: [i64; 2],
    /// The weights in float32, where the kernel uses them.
    pub single: [f32; 2],
}

/// Interpolation along height and width.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpolation {
    /// For each row of the result, for each column.
    pub axes: [Vec<Tap>; 2],
    /// Sum of the weights along each axis.
    pub units: [i64; 2],
    /// Computed in float32: `single` counts.
    pub in_single: bool,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Interpolation {
    /// Reduces the weights of each axis, given with their unit.
    pub fn new(axes: [(i64, Vec<Tap>); 2], in_single: bool) -> Interpolation {
        let reduced = axes.map(|(unit, mut taps)| {
            let common = taps.iter().flat_map(|tap| tap.weights).fold(unit, |common, weight| gcd(common, weight.abs()));
            for tap in &mut taps {
                tap.weights = tap.weights.map(|weight| weight / common);
            }
            (unit / common, taps)
        });
        let [(height, rows), (width, columns)] = reduced;
        Interpolation { axes: [rows, columns], units: [height, width], in_single }
    }

    /// What the weighted sum is divided by.
    pub fn unit(&self) -> i64 {
        self.units[0] * self.units[1]
    }

    /// Whether `(Σ weights · q + unit/2) / unit`, away from zero on signed types, is the kernel's result for all bytes.
    ///
    /// In float32 that is so where every intermediate result fits 24 bits, or where no weighted sum is a tie (the unit is
    /// odd) and the largest possible error of the kernel is smaller than the distance of any sum to a tie.
    pub fn exact(&self) -> bool {
        if !self.in_single {
            return true;
        }
        let wrong = |unit: i64, taps: &[Tap]| {
            let one = |tap: &Tap| {
                let same = tap.from[0] == tap.from[1];
                let single = tap.single.map(f64::from);
                let single = if same { [single[0] + single[1], 0.0] } else { single };
                (0..2).map(|i| (single[i] - tap.weights[i] as f64 / unit as f64).abs()).fold(0.0, f64::max)
            };
            taps.iter().map(one).fold(0.0, f64::max)
        };
        let errors = [0, 1].map(|i| wrong(self.units[i], &self.axes[i]));
        let small = |unit: &i64| unit.count_ones() == 1 && *unit <= 1 << 8;
        if errors == [0.0, 0.0] && self.units.iter().all(small) {
            return true;
        }
        // Four products of three factors and their sum, each rounded to 24 bits, and the errors of both weights.
        let rounding = 16.0 * 256.0 / f64::from(1 << 24);
        let error = rounding + 256.0 * 2.0 * (errors[0] + errors[1]) * 1.01;
        self.unit() % 2 == 1 && error < 0.5 / self.unit() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thirds(wrong: f32) -> Vec<Tap> {
        let tap = |part: i64| {
            let single = part as f32 / 3.0 + wrong;
            Tap { from: [0, 1], weights: [6 - 2 * part, 2 * part], single: [1.0 - single, single] }
        };
        (0..3).map(tap).collect()
    }

    #[test]
    fn whole_numbers_are_trusted_only_where_they_are_certain() {
        let exact = |a: (i64, Vec<Tap>), b: (i64, Vec<Tap>)| Interpolation::new([a, b], true).exact();
        let half = || {
            let tap = |part: i64| {
                let single = part as f32 / 2.0;
                Tap { from: [0, 1], weights: [2 - part, part], single: [1.0 - single, single] }
            };
            (2, (0..2).map(tap).collect::<Vec<_>>())
        };
        assert!(exact(half(), half()));
        assert!(exact((6, thirds(0.0)), (6, thirds(0.0))));
        assert!(!exact((6, thirds(0.01)), (6, thirds(0.0))), "a position that is far off");
        assert!(!exact((6, thirds(0.0)), half()), "sixths have ties");
        assert_eq!(Interpolation::new([(6, thirds(0.0)), half()], false).units, [3, 2]);
    }
}
