//! The open interval of slopes for which a line fits between points: at or above the lower points, below the upper ones.
//!
//! `F(μ) = max_i (L_i - μ·x_i) - min_j (U_j - μ·x_j)` is convex and piecewise linear, and μ fits iff `F(μ) < 0`. Newton's
//! method from outside never passes a root and moves through finitely many breakpoints, so it ends with the exact bound.

/// A point `(x, y)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub x: i64,
    pub y: i64,
}

/// A slope `p/q`, `q > 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slope {
    pub p: i64,
    pub q: i64,
}

impl Slope {
    fn less(self, other: Slope) -> bool {
        i128::from(self.p) * i128::from(other.q) < i128::from(other.p) * i128::from(self.q)
    }
}

/// Slopes not below 0 that fit: strictly above `above` (`None`: 0 itself fits), strictly below `below` (`None`: no bound).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slopes {
    pub above: Option<Slope>,
    pub below: Option<Slope>,
}

impl Slopes {
    /// Every slope.
    pub const ALL: Slopes = Slopes { above: None, below: None };

    /// What fits both.
    pub fn and(self, other: Slopes) -> Option<Slopes> {
        let above = match (self.above, other.above) {
            (Some(a), Some(b)) => Some(if a.less(b) { b } else { a }),
            (a, b) => a.or(b),
        };
        let below = match (self.below, other.below) {
            (Some(a), Some(b)) => Some(if a.less(b) { a } else { b }),
            (a, b) => a.or(b),
        };
        Slopes { above, below }.some()
    }

    fn some(self) -> Option<Slopes> {
        match (self.above, self.below) {
            (Some(a), Some(b)) if !a.less(b) => None,
            (None, Some(b)) if b.p <= 0 => None,
            _ => Some(self),
        }
    }

    /// Smallest `m` such that `m / 2^s` is inside or above the interval.
    pub fn first(self, s: u32) -> i128 {
        self.above.map_or(0, |a| ((i128::from(a.p) << s) / i128::from(a.q)) + 1)
    }

    /// True if `m / 2^s` is below the upper end.
    pub fn is_below(self, m: i128, s: u32) -> bool {
        self.below.is_none_or(|b| m * i128::from(b.q) < i128::from(b.p) << s)
    }
}

/// Which of several extreme points to report: the one that stays extreme on that side.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Right,
    Left,
}

/// The extreme lower and upper point at `slope`, and the sign of F there. Points are sorted by `x`.
fn extremes(lower: &[Point], upper: &[Point], Slope { p, q }: Slope, side: Side) -> (Point, Point, i64) {
    let height = |point: &Point| point.y * q - point.x * p;
    let (mut low, mut low_height) = (lower[0], height(&lower[0]));
    let (mut up, mut up_height) = (upper[0], height(&upper[0]));
    // To the right of the slope small x dominate among the lower points and large x among the upper ones.
    match side {
        Side::Right => {
            for point in lower {
                let h = height(point);
                if h > low_height {
                    (low, low_height) = (*point, h);
                }
            }
            for point in upper {
                let h = height(point);
                if h <= up_height {
                    (up, up_height) = (*point, h);
                }
            }
        }
        Side::Left => {
            for point in lower {
                let h = height(point);
                if h >= low_height {
                    (low, low_height) = (*point, h);
                }
            }
            for point in upper {
                let h = height(point);
                if h < up_height {
                    (up, up_height) = (*point, h);
                }
            }
        }
    }
    (low, up, low_height - up_height)
}

/// The slopes not below 0 that fit, `None` if none does.
///
/// Both lists are sorted by `x`; spread of `x` times spread of `y` over both lists is below 2^61, coordinates are
/// relative to a point nearby.
pub(super) fn slopes(lower: &[Point], upper: &[Point]) -> Option<Slopes> {
    let (Some(first), Some(last)) = (lower.first(), upper.last()) else { return Some(Slopes::ALL) };
    let above = from_the_left(lower, upper)?;

    let first_y = lower.iter().take_while(|point| point.x == first.x).map(|point| point.y).max()?;
    let last_y = upper.iter().rev().take_while(|point| point.x == last.x).map(|point| point.y).min()?;
    let below = match last.x - first.x {
        ..0 => None,
        0 if first_y < last_y => None,
        0 => return None,
        run if first_y < last_y => Some(from_the_right(lower, upper, Slope { p: last_y - first_y, q: run })?),
        _ => return None,
    };
    Slopes { above, below }.some()
}

fn from_the_left(lower: &[Point], upper: &[Point]) -> Option<Option<Slope>> {
    let mut slope = Slope { p: 0, q: 1 };
    loop {
        let (low, up, value) = extremes(lower, upper, slope, Side::Right);
        if value < 0 {
            return Some(None); // only at 0: later steps stay outside
        }
        if low.x <= up.x {
            return None; // F does not fall and is not negative
        }
        if value == 0 {
            return Some(Some(slope));
        }
        slope = Slope { p: low.y - up.y, q: low.x - up.x };
    }
}

fn from_the_right(lower: &[Point], upper: &[Point], start: Slope) -> Option<Slope> {
    let mut slope = start;
    loop {
        let (low, up, value) = extremes(lower, upper, slope, Side::Left);
        if low.x >= up.x {
            return None;
        }
        if value <= 0 {
            return Some(slope);
        }
        slope = Slope { p: up.y - low.y, q: up.x - low.x };
        if slope.p <= 0 {
            return None;
        }
    }
}
