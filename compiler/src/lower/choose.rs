//! How a function of one byte is computed: the one rule.
//!
//! A function that only moves the zero point is free. Otherwise a table serves always, and a staircase where the function
//! is one; the one with the better price under the [`Aim`] is taken. Both are counted by emitting them.
use super::builder::Builder;
use super::cost::{self, Aim};
use super::formulas::Formulas;
use super::requant::Source;
use super::{BYTE_RING, Route, emit, maximum, table};
use crate::profile::Profile;
use ir::Value;

/// What decides between two ways to compute something.
#[derive(Clone, Copy)]
pub struct Way {
    /// What exchanges cost.
    pub profile: &'static Profile,
    /// Route of the requantizations.
    pub route: Route,
    /// What is wanted.
    pub aim: Aim,
    /// How many elements are computed at once.
    pub elements: usize,
}

impl Way {
    fn price(self, cost: cost::Cost) -> f64 {
        self.aim.price(cost, self.elements)
    }
}

/// A function of a centred byte.
#[derive(Clone, Debug)]
pub enum Unary {
    /// Centred, it is the same number.
    Same,
    /// A staircase.
    Stairs(Formulas),
    /// The centred result for each centred byte mod 2^8.
    Table(Vec<i64>),
}

impl Unary {
    /// Ring that the operand needs, where the result goes into one of `k` bits.
    pub fn ring(&self, k: u8) -> u8 {
        match self {
            Unary::Same => k,
            Unary::Stairs(f) => f.n,
            Unary::Table(_) => BYTE_RING,
        }
    }
}

/// Centred results by centred byte mod 2^8, from a function of centred bytes between `from` and `to`.
pub fn entries(from: i64, to: i64, f: impl Fn(i64) -> i64) -> Vec<i64> {
    let mut table = vec![f(from); 256];
    (from..=to).for_each(|x| table[x.rem_euclid(256) as usize] = f(x));
    table
}

/// Whether numbers between these are told apart by their low 8 bits.
pub fn is_byte(from: i64, to: i64) -> bool {
    to - from < 256
}

/// Chooses for the function `f` of centred numbers between `from` and `to`, which must have a staircase where they are no bytes, as centred results, shared in a ring of `k`
/// bits; `stairs` where it is known as a staircase.
pub fn unary(from: i64, to: i64, f: impl Fn(i64) -> i64, stairs: Option<Formulas>, k: u8, way: Way) -> Unary {
    if (from..=to).all(|x| f(x) == x) {
        return Unary::Same;
    }
    if let (false, Some(stairs)) = (is_byte(from, to), &stairs) {
        return Unary::Stairs(stairs.clone());
    }
    let entries = entries(from, to, f);
    let Some(stairs) = stairs else { return Unary::Table(entries) };
    let by_table = cost::of_gadget(way.profile, BYTE_RING, |b, x| {
        table::by(b, x, &entries, k, way.route, 0);
    });
    let by_stairs = cost::of_gadget(way.profile, stairs.n, |b, x| {
        emit::staircase(b, Source::Shared(x), &stairs, None, k, way.route, 0);
    });
    if way.price(by_table) < way.price(by_stairs) { Unary::Table(entries) } else { Unary::Stairs(stairs) }
}

/// What follows a maximum of `count` numbers that is needed in a ring of `k` bits: nothing if the maximum is computed
/// there, a table that widens if it is computed in the smallest ring.
pub fn after_maximum(from: i64, to: i64, count: usize, k: u8, way: Way) -> Unary {
    let of = |ring: u8, gadget: &dyn Fn(&mut Builder, Value)| cost::of_gadget(way.profile, ring, |b, x| gadget(b, x));
    // The levels of the tournament, so many times the bits and no fewer exchanges.
    let all = |ring: u8| {
        let one = of(ring, &|b, x| _ = maximum::maximum(b, x, x, maximum::BYTES, way.route, 0));
        one.times(count as u64 - 1)
    };
    let same = entries(from, to, |x| x);
    let wide = of(BYTE_RING, &|b, x| _ = table::by(b, x, &same, k, way.route, 0));
    let narrow = all(BYTE_RING).then(wide);
    if count > 1 && way.price(narrow) < way.price(all(k.max(BYTE_RING))) { Unary::Table(same) } else { Unary::Same }
}
