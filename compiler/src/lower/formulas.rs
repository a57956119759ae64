//! Constants of a requantization, one class of elements each, and the widths that they need.
use crate::staircase::Constants;

/// Constants of one class of elements (a channel, a pooling count, or all), relative to [`Formulas::base`].
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Slope times 2^s.
    pub m: i64,
    /// Shift.
    pub s: u32,
    /// Offset of the piece above the split.
    pub above: i64,
    /// Offset of the piece below.
    pub below: i64,
    /// Least result.
    pub lo: i64,
    /// Largest result.
    pub hi: i64,
    /// Result where the pieces meet; `lo` for one piece.
    pub split: i64,
    /// First threshold below the split; `split` if there is none.
    pub first_below: i64,
    /// What it computes.
    pub kind: ClassKind,
    /// Largest |acc|; 0 where the layer's is to be taken.
    pub bound: i64,
}

/// What a class computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClassKind {
    /// A staircase.
    Stairs,
    /// `[acc ≥ 0]`.
    Sign,
    /// `lo`, whatever acc is.
    Constant,
}

/// Constants of a requantization.
#[derive(Clone, Debug)]
pub struct Formulas {
    /// Constants of each class.
    pub classes: Vec<Class>,
    /// What to add to the result to have stored integers.
    pub base: i64,
    /// Ring of the accumulator.
    pub n: u8,
    /// |acc − threshold| < 2^a.
    pub a: u8,
    /// Largest shift.
    pub width: u8,
    /// |floor − bound| < 2^(h−1) for every bound of the clamp; known in the form for the dealer route.
    pub h: u8,
    /// Whether a class has a second piece.
    pub two: bool,
}

/// Bits of a magnitude.
pub fn bits_for(bound: i64) -> u8 {
    (64 - bound.unsigned_abs().leading_zeros()) as u8
}

impl Class {
    /// Proved constants, relative to `base`.
    pub fn of(c: &Constants, base: i64) -> Class {
        let two = c.two_pieces();
        let (lo, hi, split) = (i64::from(c.lo()) - base, i64::from(c.hi()) - base, i64::from(c.split()) - base);
        Class {
            m: c.m() as i64,
            s: c.s(),
            above: c.b_above() - (base << c.s()),
            below: if two { c.b_below() - (base << c.s()) } else { c.b_above() - (base << c.s()) },
            lo,
            hi,
            split: if two { split } else { lo },
            first_below: if two { lo + 1 } else { lo },
            kind: ClassKind::Stairs,
            bound: 0,
        }
    }

    /// Always `y`: its one threshold lies above `bound`.
    pub fn constant(y: i64, bound: i64) -> Class {
        let below = y - bound;
        let kind = ClassKind::Constant;
        Class { m: 1, s: 0, above: below, below, lo: y, hi: y + 1, split: y, first_below: y, kind, bound: 0 }
    }

    /// `clamp(floor((m·acc + offset) / 2^s), lo, hi)`.
    pub fn floor(m: i64, s: u32, offset: i64, [lo, hi]: [i64; 2]) -> Class {
        let kind = ClassKind::Stairs;
        Class { m, s, above: offset, below: offset, lo, hi, split: lo, first_below: lo, kind, bound: 0 }
    }

    /// `[acc ≥ 0]`.
    pub fn sign() -> Class {
        let kind = ClassKind::Sign;
        Class { m: 1, s: 0, above: 1, below: 1, lo: 0, hi: 1, split: 0, first_below: 0, kind, bound: 0 }
    }

    /// Whether a second piece lies below the split.
    fn two(&self) -> bool {
        self.first_below < self.split || self.split > self.lo
    }

    /// The same function with floors that stay close to the clamp, where shifts are up to `width`.
    fn for_dealer(&self, width: u32) -> Class {
        match self.kind {
            ClassKind::Stairs => *self,
            // floor((acc + 2^s) / 2^s), clamped to 0 and 1.
            ClassKind::Sign => Class { s: width, above: 1 << width, below: 1 << width, ..*self },
            ClassKind::Constant => Class { m: 0, s: 0, above: self.lo, below: self.lo, hi: self.lo, ..*self },
        }
    }

    /// Bits of the largest distance of a floor to a bound of the clamp.
    fn reach(&self) -> u8 {
        let bound = i128::from(self.bound);
        let floor = |acc: i128, b: i64| (i128::from(self.m) * acc + i128::from(b)) >> self.s;
        [self.above, self.below]
            .into_iter()
            .flat_map(|b| [floor(bound, b) - i128::from(self.lo), i128::from(self.hi) + 1 - floor(-bound, b)])
            .map(|d| (128 - d.unsigned_abs().leading_zeros()) as u8)
            .max()
            .unwrap_or(1)
    }

    fn thresholds(&self) -> impl Iterator<Item = i64> {
        let at = |b: i64, j: i64| ir::eval::threshold(self.m, self.s.into(), b, j);
        let mut all = vec![at(self.above, self.split + 1), at(self.above, self.hi)];
        if self.first_below < self.split {
            all.extend([at(self.below, self.first_below), at(self.below, self.split)]);
        }
        all.into_iter()
    }
}

impl Formulas {
    /// Constants of classes, relative to `base`, for |acc| up to `bound` where a class has none of its own.
    pub fn new(classes: Vec<Class>, base: i64, bound: i64) -> Formulas {
        let furthest = classes.iter().flat_map(|c| c.thresholds()).map(i64::abs).max().unwrap_or(0);
        let n = (bits_for(bound) + 2).max(bits_for(bound + furthest + 1) + 1).max(4);
        let width = classes.iter().map(|c| c.s).max().unwrap_or(1).max(1) as u8;
        let two = classes.iter().any(Class::two);
        let classes = classes.into_iter().map(|c| Class { bound: if c.bound == 0 { bound } else { c.bound }, ..c });
        Formulas { classes: classes.collect(), base, n, a: bits_for(bound + furthest + 1), width, h: 0, two }
    }

    /// Those of some channels.
    pub fn of(&self, channels: &[u32]) -> Formulas {
        let classes: Vec<Class> = channels.iter().map(|c| self.classes[*c as usize]).collect();
        let two = classes.iter().any(Class::two);
        Formulas { classes, two, ..self.clone() }
    }

    /// The same with constants for the dealer route.
    pub fn for_dealer(&self) -> Formulas {
        self.with_floors(self.n)
    }

    /// The same with constants for the adder route: they do not depend on the ring, which is chosen for them.
    pub fn for_adder(&self) -> Formulas {
        self.with_floors(1)
    }

    /// All classes as floors, shifted by `width` where there is no staircase.
    fn with_floors(&self, width: u8) -> Formulas {
        let stairs = self.classes.iter().filter(|c| c.kind == ClassKind::Stairs);
        let width = stairs.map(|c| c.s).max().unwrap_or(width.into()).max(1);
        let classes: Vec<Class> = self.classes.iter().map(|c| c.for_dealer(width)).collect();
        let h = classes.iter().map(|c| c.reach()).max().unwrap_or(1).max(1) + 1;
        Formulas { classes, width: width as u8, h, ..self.clone() }
    }
}

impl Formulas {
    /// The same with one piece for each class, and offsets for floors to which one is added at random, as often as the rest that they
    /// drop says. With half a step taken off, what comes out is within one of what these constants give: let x be
    /// `(m·acc + offset) / 2^s` in the middle of both pieces, which differ by at most one. Then floor(x − ½) and one more lie between
    /// the floors of `x − ½` and `x + ½` rounded outwards. `None` where pieces differ by more, or 64-bit words do not hold it.
    pub fn probabilistic(&self, k: u8) -> Option<Formulas> {
        let class = |c: &Class| {
            let half = 1i64 << c.s >> 1;
            match c.kind {
                ClassKind::Constant => Some(c.for_dealer(0)),
                _ if (c.above - c.below).abs() > 1 << c.s => None,
                _ => {
                    let middle = c.below + (c.above - c.below) / 2 - half;
                    Some(Class { above: middle, below: middle, split: c.lo, first_below: c.lo, ..*c })
                }
            }
        };
        let stairs = |c: &&Class| c.kind == ClassKind::Stairs;
        let far = self.classes.iter().filter(stairs).map(Class::reach).max().unwrap_or(10);
        // A sign is as fine as the other classes of the layer allow.
        let fine = |c: &Class| match c.kind {
            ClassKind::Sign => {
                let s = u32::from((bits_for(c.bound) + 2).saturating_sub(far));
                Class { s, above: 1 << s, below: 1 << s, ..*c }
            }
            _ => *c,
        };
        let classes = self.classes.iter().map(|c| class(&fine(c))).collect::<Option<Vec<Class>>>()?;
        let width = classes.iter().map(|c| c.s).max().unwrap_or(1).max(1) as u8;
        let h = classes.iter().map(Class::reach).max().unwrap_or(1).max(1) + 1;
        let f = Formulas { classes, width, h, two: false, ..self.clone() };
        f.stays_in_words(k).then_some(f)
    }
}

impl Formulas {
    /// The same for additive sharings: `m·acc + b` of all elements in one ring of `n` bits, floors from bit `width` on.
    pub fn for_additive(&self) -> Formulas {
        let stairs = self.classes.iter().filter(|c| c.kind == ClassKind::Stairs);
        let width = stairs.map(|c| c.s).max().unwrap_or(1).max(1);
        let classes: Vec<Class> = self.classes.iter().map(|c| c.for_dealer(width)).collect();
        let reach = classes.iter().map(Class::reach).max().unwrap_or(1);
        let range = classes.iter().map(|c| bits_for(c.hi - c.lo)).max().unwrap_or(1);
        let h = (reach + 1).max(range + 2);
        let n = (width as u8).saturating_add(h);
        Formulas { classes, width: width as u8, h, n, ..self.clone() }
    }

    /// Whether the gadget can compute it in 64-bit words, with a result in a ring of `k` bits.
    ///
    /// `V = m·v + b` and `Û = m·u` are computed mod 2^64, |v|, |u| < 2^n. Either they do not wrap, or all that is used of
    /// them are bits below 64: s for the comparison, h above for the clamp, k above for the result.
    pub fn stays_in_words(&self, k: u8) -> bool {
        let one = |c: &Class| {
            let product = i128::from(c.m) << self.n;
            let offset = i128::from(c.above.abs().max(c.below.abs()));
            let whole = product <= 1 << 63 && (product >> 2) * 3 + offset < 1 << 63;
            whole || c.s + u32::from((c.reach() + 1).max(k)) <= 64
        };
        self.n <= 64 && self.classes.iter().filter(|c| c.kind == ClassKind::Stairs).all(one)
    }
}

impl Formulas {
    /// Ring, bounds, shifts and pieces in a line.
    pub fn summary(&self) -> String {
        let stairs = || self.classes.iter().filter(|c| c.kind == ClassKind::Stairs);
        let bound = self.classes.iter().map(|c| c.bound).max().unwrap_or(0);
        let dealer = self.for_dealer();
        let range = |least: Option<u32>, most: Option<u32>| match (least, most) {
            (Some(a), Some(b)) if a != b => format!("{a} to {b}"),
            (Some(a), _) => a.to_string(),
            _ => "none".into(),
        };
        let other = self.classes.len() - stairs().count();
        format!(
            "accumulator |acc| <= {bound} in ring {}; thresholds within 2^{}; {} staircases in {} {}, {other} with one step or none; \
             shift {}; floor within 2^{} of the clamp",
            self.n,
            self.a,
            stairs().count(),
            if self.two { "two" } else { "one" },
            if self.two { "pieces" } else { "piece" },
            range(stairs().map(|c| c.s).min(), stairs().map(|c| c.s).max()),
            dealer.h.saturating_sub(1),
        )
    }
}
