//! Polynomials over bits that B and C have as summands, evaluated in one exchange.
//!
//! The variables that stand in products are opened to B and C under masks β that A knows; A deals the products of those
//! masks. `Π (t_i xor β_i)` is then a sum of dealt products with coefficients that B and C know ([`Op::Unmask`]); sums of
//! single variables are local.
use super::builder::Builder;
use super::compare::{pick, stack};
use ir::imm::MAX_FACTORS;
use ir::{Op, Terms, Value};
use std::collections::BTreeSet;

/// A plane of a value.
pub(super) type Plane = (Value, u32);

/// The planes in order, as one value.
pub(super) fn gather(b: &mut Builder, planes: &[Plane]) -> Value {
    let mut parts: Vec<(Value, Vec<u32>)> = Vec::new();
    for (v, p) in planes {
        match parts.last_mut() {
            Some((last, list)) if last == v => list.push(*p),
            _ => parts.push((*v, vec![*p])),
        }
    }
    let parts: Vec<Value> = parts.into_iter().map(|(v, list)| pick(b, v, list)).collect();
    stack(b, parts)
}

pub(super) fn add_planes(b: &mut Builder, planes: &[Plane]) -> Plane {
    let first = planes[0];
    planes[1..].iter().fold(first, |sum, p| {
        let (x, y) = (gather(b, &[sum]), gather(b, &[*p]));
        (b.one(Op::Add { a: x, b: y }), 0)
    })
}

/// A polynomial over bits: the sets of variables whose products it adds, bit i for variable i.
#[derive(Clone, Default)]
pub(super) struct Poly(BTreeSet<u64>);

impl Poly {
    pub(super) fn one() -> Self {
        Poly([0].into())
    }

    fn flip(&mut self, set: u64) {
        if !self.0.remove(&set) {
            self.0.insert(set);
        }
    }

    pub(super) fn add(&self, other: &Poly) -> Poly {
        let mut sum = self.clone();
        other.0.iter().for_each(|s| sum.flip(*s));
        sum
    }

    pub(super) fn mul(&self, other: &Poly) -> Poly {
        let mut product = Poly::default();
        for a in &self.0 {
            other.0.iter().for_each(|b| product.flip(a | b));
        }
        product
    }

    pub(super) fn is_linear(&self) -> bool {
        self.0.iter().all(|s| s.count_ones() == 1)
    }
}

/// Bits that two parties have as summands, by number.
#[derive(Default)]
pub(super) struct Vars(Vec<Plane>);

impl Vars {
    /// Most variables.
    pub(super) const MOST: usize = 64;

    pub(super) fn var(&mut self, plane: Plane) -> Poly {
        self.0.push(plane);
        Poly([1 << (self.0.len() - 1)].into())
    }

    /// The same bit, as one variable if it is a sum of some.
    pub(super) fn joined(&mut self, b: &mut Builder, p: Poly) -> Poly {
        if !p.is_linear() || p.0.len() < 2 {
            return p;
        }
        let planes: Vec<Plane> = p.0.iter().map(|s| self.0[s.trailing_zeros() as usize]).collect();
        let sum = add_planes(b, &planes);
        self.var(sum)
    }

    /// Evaluates polynomials without constant term: masks and opens the variables that stand in products. `None` where a
    /// product has too many factors.
    pub(super) fn evaluate(&self, b: &mut Builder, polys: &[&Poly], rot: u8) -> Option<Vec<Plane>> {
        let products = |p: &Poly| -> Vec<u64> { p.0.iter().copied().filter(|s| s.count_ones() > 1).collect() };
        let used = polys.iter().flat_map(|p| products(p)).fold(0, |a, s| a | s);
        let opened: Vec<usize> = (0..self.0.len()).filter(|i| used >> i & 1 == 1).collect();
        let numbered = |set: u64| -> u64 {
            opened.iter().enumerate().filter(|(_, v)| set >> **v & 1 == 1).map(|(i, _)| 1u64 << i).sum()
        };
        // What fits one instruction goes together; a polynomial that alone does not fit is cut.
        let mut portions: Vec<Terms> = Vec::new();
        let mut parts_of = vec![0; polys.len()];
        for (p, parts) in polys.iter().zip(&mut parts_of) {
            let mut left: Vec<u64> = products(p).into_iter().map(numbered).collect();
            while !left.is_empty() {
                let mut count = left.len();
                let wider = portions.last().map(|last| Terms([&last.0[..], &[left.clone()]].concat()));
                match wider.filter(fits) {
                    Some(wider) => *portions.last_mut()? = wider,
                    None => {
                        while !fits(&Terms(vec![left[..count].to_vec()])) {
                            count = count * 3 / 4;
                        }
                        portions.push(Some(Terms(vec![left[..count].to_vec()])).filter(|t| !t.0[0].is_empty())?);
                    }
                }
                left.drain(..count);
                *parts += 1;
            }
        }
        let mut sums: Vec<Plane> = Vec::new();
        if !portions.is_empty() {
            let planes: Vec<Plane> = opened.iter().map(|i| self.0[*i]).collect();
            let x = gather(b, &planes);
            let (t, beta) = open_masked(b, x, rot);
            for of in portions {
                let results = of.0.len() as u32;
                let dealt = b.one(Op::ProductsH { x: beta, of: of.clone() });
                let dealt = b.one(Op::Deal { x: dealt, bits: 1 });
                let v = b.one(Op::Unmask { t, x, products: dealt, of });
                sums.extend((0..results).map(|p| (v, p)));
            }
        }
        let mut sums = sums.into_iter();
        let all = polys.iter().zip(parts_of).map(|(p, parts)| {
            let linear = p.0.iter().filter(|s| s.count_ones() == 1).map(|s| self.0[s.trailing_zeros() as usize]);
            let mut planes: Vec<Plane> = linear.collect();
            planes.extend(sums.by_ref().take(parts));
            add_planes(b, &planes)
        });
        Some(all.collect())
    }
}

/// Whether one instruction takes them.
fn fits(of: &Terms) -> bool {
    let longest = of.0.iter().flatten().map(|s| s.count_ones()).max().unwrap_or(0);
    let terms: usize = of.0.iter().map(Vec::len).sum();
    longest <= MAX_FACTORS && terms <= 256 && of.subsets().len() <= 255
}

/// B and C see x xor β; A knows β.
pub(super) fn open_masked(b: &mut Builder, x: Value, rot: u8) -> (Value, Value) {
    let tag = b.tag();
    let (width, shape) = (b.ty(x).domain.width(), b.ty(x).shape.clone());
    let beta = b.one(Op::Beta { tag, width, shape: ir::Dims(shape), rot });
    let masked = b.one(Op::Mask { x, tag });
    (b.one(Op::Join { x: masked }), beta)
}
