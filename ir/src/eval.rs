//! Plain evaluator: the meaning of each op on opened values. No secrecy; the yardstick for every protocol.
//!
//! A split draws its mask from a fixed generator, corners included, so that both summands are exercised; the masks of bits
//! come from one generator per tag.
use crate::infer::{chunks, roles};
use crate::masks::{Masks, beta};
use crate::moves;
use crate::ops::Op;
use crate::program::Program;
use crate::shape::{self, Broadcast, broadcast, taps, zip_broadcast};
use crate::types::{Domain, Form, Type};
use crate::verify::Typed;
use std::collections::BTreeMap;

/// An opened value: ring elements (sign-extended from the ring's width where public or held), or planes of 0 and 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plain {
    /// Elements mod 2^k as unsigned numbers.
    Ring(Vec<u64>),
    /// One vector per plane.
    Bits(Vec<Vec<u8>>),
}

impl Plain {
    fn ring(&self) -> &[u64] {
        match self {
            Plain::Ring(x) => x,
            Plain::Bits(_) => unreachable!("the verifier saw a ring value"),
        }
    }

    fn bits(&self) -> &[Vec<u8>] {
        match self {
            Plain::Bits(x) => x,
            Plain::Ring(_) => unreachable!("the verifier saw bits"),
        }
    }
}

fn mask(bits: u8) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// Runs a verified program. `inputs` and `weights` are stored integers; returns the outputs in order.
pub fn eval(p: &Program, typed: &Typed, inputs: &[Vec<i64>], weights: &[Vec<i32>]) -> Vec<Vec<i64>> {
    Session::new(p, typed).run(inputs, weights)
}

/// Successive calls of a program that keeps state between them.
pub struct Session<'a> {
    p: &'a Program,
    typed: &'a Typed,
    states: States,
    seed: u64,
}

impl<'a> Session<'a> {
    /// Before the first call of a verified program.
    pub fn new(p: &'a Program, typed: &'a Typed) -> Session<'a> {
        Session::with_masks(p, typed, 0)
    }

    /// The same with other masks for each `seed`. An output that depends on the seed is one that a protocol draws at random.
    pub fn with_masks(p: &'a Program, typed: &'a Typed, seed: u64) -> Session<'a> {
        Session { p, typed, states: States::new(), seed }
    }

    /// The next call, as [`eval`].
    pub fn run(&mut self, inputs: &[Vec<i64>], weights: &[Vec<i32>]) -> Vec<Vec<i64>> {
        eval_with(self.p, self.typed, inputs, weights, &mut self.states, self.seed, &mut |_, _| {})
    }
}

/// What is stored, by index.
type States = BTreeMap<u32, Plain>;

/// The first call, and shows each value, by its index, once it is there.
pub fn eval_observed(
    p: &Program,
    typed: &Typed,
    inputs: &[Vec<i64>],
    weights: &[Vec<i32>],
    seen: &mut dyn FnMut(usize, &Plain),
) -> Vec<Vec<i64>> {
    eval_with(p, typed, inputs, weights, &mut States::new(), 0, seen)
}

/// [`eval`] with the masks of [`Session::with_masks`].
pub fn eval_with_masks(
    p: &Program,
    typed: &Typed,
    inputs: &[Vec<i64>],
    weights: &[Vec<i32>],
    seed: u64,
) -> Vec<Vec<i64>> {
    Session::with_masks(p, typed, seed).run(inputs, weights)
}

fn eval_with(
    p: &Program,
    typed: &Typed,
    inputs: &[Vec<i64>],
    weights: &[Vec<i32>],
    states: &mut States,
    seed: u64,
    seen: &mut dyn FnMut(usize, &Plain),
) -> Vec<Vec<i64>> {
    let mut stored = States::new();
    let seed = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut values: Vec<Option<Plain>> = vec![None; typed.types.len()];
    let mut outputs = vec![Vec::new(); p.interface.outputs.len()];
    let last = crate::verify::last_uses(p, typed);
    let mut masks = Masks::new(seed);
    for (i, inst) in p.insts.iter().enumerate() {
        let arg = |v: &crate::Value| values[v.index()].as_ref().expect("verified: defined before use");
        let ty = |v: &crate::Value| &typed.types[v.index()];
        let out: Vec<Type> = typed.results(i).map(|v| typed.types[v].clone()).collect();
        let results: Vec<Plain> = match &inst.op {
            Op::Input { index } => vec![Plain::Ring(inputs[*index as usize].iter().map(|x| *x as u64).collect())],
            Op::Weight { index } => {
                vec![Plain::Ring(weights[*index as usize].iter().map(|x| i64::from(*x) as u64).collect())]
            }
            Op::Constant { index } => {
                vec![Plain::Ring(p.consts[*index as usize].data.iter().map(|x| *x as u64).collect())]
            }
            Op::Output { x, index } => {
                outputs[*index as usize] = arg(x).ring().iter().map(|v| *v as i64).collect();
                vec![]
            }
            Op::State { x, index } => vec![states.remove(index).unwrap_or_else(|| arg(x).clone())],
            Op::Store { x, index } => {
                stored.insert(*index, arg(x).clone());
                vec![]
            }
            Op::Split { x, rot } | Op::SplitShared { x, rot } => {
                let _ = roles(*rot);
                match (arg(x), ty(x).domain) {
                    (Plain::Ring(data), domain) => {
                        let (k, m) = (domain.width(), mask(domain.width()));
                        let pairs = data.iter().enumerate();
                        let u: Vec<u64> = pairs.map(|(e, x)| masks.summand(*x, k, e, &p.consts)).collect();
                        let v = data.iter().zip(&u).map(|(x, u)| x.wrapping_add(*u) & m).collect();
                        vec![Plain::Ring(u), Plain::Ring(v)]
                    }
                    (Plain::Bits(data), _) => {
                        let u = masks.summand_bits(data);
                        let v = xor(data, &u);
                        vec![Plain::Bits(u), Plain::Bits(v)]
                    }
                }
            }
            Op::Operand { x, index } => {
                let count = p.scheme().operands.len();
                let mut own = Masks::of_value(seed, x.index());
                vec![operand(&mut own, arg(x), ty(x).domain, usize::from(*index), count, &p.consts)]
            }
            Op::Beta { tag, width, shape, .. } => {
                let len = shape.0.iter().map(|d| *d as usize).product();
                vec![Plain::Bits(beta(seed, *tag, (*width).into(), len))]
            }
            Op::Mask { x, tag } => {
                let data = arg(x).bits();
                vec![Plain::Bits(xor(data, &beta(seed, *tag, data.len(), ty(x).len())))]
            }
            Op::Check { parts, .. } => parts.iter().map(|x| arg(x).clone()).collect(),
            op => vec![pure(
                &op.map(|v| (values[v.index()].as_ref().expect("defined"), &typed.types[v.index()])),
                &out[0],
            )],
        };
        for (v, mut r) in typed.results(i).zip(results) {
            let t = &typed.types[v];
            if let (Plain::Ring(x), Form::Shared | Form::Sum(_)) = (&mut r, t.form) {
                let m = mask(t.domain.width());
                x.iter_mut().for_each(|x| *x &= m);
            }
            seen(v, &r);
            values[v] = Some(r);
        }
        for v in inst.op.operands() {
            if last[v.index()] == i as u32 {
                values[v.index()] = None;
            }
        }
    }
    *states = stored;
    outputs
}

/// Operand `index` of `count`: all but the last are masks, drawn in order, and the last is the rest.
fn operand(masks: &mut Masks, x: &Plain, domain: Domain, index: usize, count: usize, consts: &[crate::Const]) -> Plain {
    match x {
        Plain::Ring(data) => {
            let (k, m) = (domain.width(), mask(domain.width()));
            let mut rest = data.clone();
            for i in 0..count {
                let last = i + 1 == count;
                let elements = rest.iter().enumerate();
                // The negative of what a split draws, so that corners are the same.
                let drawn = |masks: &mut Masks, e, x| masks.summand(x, k, e, consts).wrapping_neg() & m;
                let own = elements.map(|(e, x)| if last { *x & m } else { drawn(masks, e, *x) });
                let own: Vec<u64> = own.collect();
                if i == index {
                    return Plain::Ring(own);
                }
                rest.iter_mut().zip(own).for_each(|(x, o)| *x = x.wrapping_sub(o));
            }
            unreachable!("verified: there is such an operand")
        }
        Plain::Bits(data) => {
            let mut rest = data.clone();
            for i in 0..count {
                let own = if i + 1 == count { rest.clone() } else { masks.summand_bits(&rest) };
                if i == index {
                    return Plain::Bits(own);
                }
                rest = xor(&rest, &own);
            }
            unreachable!("verified: there is such an operand")
        }
    }
}

fn and(planes: &[Vec<u8>], set: u64, len: usize) -> Vec<u8> {
    let mut y = vec![1; len];
    for p in planes.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, p)| p) {
        y.iter_mut().zip(p).for_each(|(y, x)| *y &= x);
    }
    y
}

fn xor(a: &[Vec<u8>], b: &[Vec<u8>]) -> Vec<Vec<u8>> {
    a.iter().zip(b).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x ^ y).collect()).collect()
}

type Arg<'a> = (&'a Plain, &'a Type);

fn combine(a: Arg<'_>, b: Arg<'_>, f: impl Fn(u64, u64) -> u64) -> Vec<u64> {
    let shape = broadcast(&a.1.shape, &b.1.shape).expect("verified: broadcasts");
    if shape == a.1.shape {
        zip_broadcast(a.0.ring(), b.0.ring(), &Broadcast::new(&b.1.shape, &shape), f)
    } else {
        zip_broadcast(b.0.ring(), a.0.ring(), &Broadcast::new(&a.1.shape, &shape), |y, x| f(x, y))
    }
}

fn each(a: Arg<'_>, f: impl Fn(u64) -> u64) -> Plain {
    Plain::Ring(a.0.ring().iter().map(|x| f(*x)).collect())
}

/// The low `s` bits of `a`, moved up so that they end at bit `to`.
pub fn align(a: u64, s: u64, to: u8) -> u64 {
    match s {
        0 => 0,
        s if s <= u64::from(to) => (a & (u64::MAX >> (64 - s))) << (u64::from(to) - s),
        _ => 0,
    }
}

/// Smallest integer a with `floor((m·a + b) / 2^s) ≥ j`; 0 where the constants are not those of a staircase.
pub fn threshold(m: i64, s: u64, b: i64, j: i64) -> i64 {
    if m <= 0 || s > 62 {
        return 0;
    }
    let rest = (i128::from(j) << s) - i128::from(b);
    let m = i128::from(m);
    (rest.div_euclid(m) + i128::from(rest.rem_euclid(m) != 0)) as i64
}

/// Opened by a protocol, a ring value of k bits becomes a signed number.
pub fn signed(x: u64, bits: u8) -> u64 {
    let shift = 64 - u32::from(bits);
    ((x << shift) as i64 >> shift) as u64
}

/// The result of a local instruction, but for those that draw or belong to the interface, on operands in the clear and their
/// types; `out` is the type of the result.
pub fn local(op: &Op<(&Plain, &Type)>, out: &Type) -> Plain {
    pure(op, out)
}

fn pure(op: &Op<Arg<'_>>, out: &Type) -> Plain {
    let ring = |x: Vec<u64>| Plain::Ring(x);
    match op {
        Op::Input { .. }
        | Op::Weight { .. }
        | Op::Constant { .. }
        | Op::Output { .. }
        | Op::State { .. }
        | Op::Store { .. }
        | Op::Split { .. }
        | Op::SplitShared { .. }
        | Op::Operand { .. }
        | Op::Check { .. }
        | Op::Beta { .. }
        | Op::Mask { .. } => unreachable!("handled by the caller"),
        Op::WindowCount { size, window } => {
            ring(shape::window_count(&size.0, window).into_iter().map(|x| x as u64).collect())
        }
        Op::TakePp { table, index } => {
            let t = table.0.ring();
            ring(index.0.ring().iter().map(|i| t.get(*i as usize).copied().unwrap_or(0)).collect())
        }
        Op::Add { a, b } => match out.domain {
            Domain::Ring(_) => ring(combine(*a, *b, u64::wrapping_add)),
            Domain::Bits(_) => Plain::Bits(xor(a.0.bits(), b.0.bits())),
        },
        Op::Sub { a, b } => match out.domain {
            Domain::Ring(_) => ring(combine(*a, *b, u64::wrapping_sub)),
            Domain::Bits(_) => Plain::Bits(xor(a.0.bits(), b.0.bits())),
        },
        Op::AddP { x, p } => match x.0 {
            Plain::Ring(_) => ring(combine(*x, *p, u64::wrapping_add)),
            Plain::Bits(planes) => {
                let flips = shape::expand(p.0.ring(), &p.1.shape, &x.1.shape);
                let one = |(i, plane): (usize, &Vec<u8>)| {
                    plane.iter().zip(&flips).map(|(b, f)| b ^ (f >> i & 1) as u8).collect()
                };
                Plain::Bits(planes.iter().enumerate().map(one).collect())
            }
        },
        Op::Raise { x, by } => each(*x, |v| v.checked_shl(u32::from(*by)).unwrap_or(0)),
        Op::SubP { x, p } => ring(combine(*x, *p, u64::wrapping_sub)),
        Op::SubPp { a, b } => ring(combine(*a, *b, u64::wrapping_sub)),
        Op::ThresholdPp { m, s, b, j } => {
            let [m, s, b, j] = [m, s, b, j].map(|a| a.0.ring());
            ring((0..m.len()).map(|i| threshold(m[i] as i64, s[i], b[i] as i64, j[i] as i64) as u64).collect())
        }
        Op::MulP { x, p } => match x.0 {
            Plain::Ring(_) => ring(combine(*x, *p, u64::wrapping_mul)),
            Plain::Bits(planes) => {
                let kept = shape::expand(p.0.ring(), &p.1.shape, &x.1.shape);
                let one = |(i, plane): (usize, &Vec<u8>)| {
                    plane.iter().zip(&kept).map(|(b, k)| b & (k >> i & 1) as u8).collect()
                };
                Plain::Bits(planes.iter().enumerate().map(one).collect())
            }
        },
        Op::Not { x } => Plain::Bits(x.0.bits().iter().map(|p| p.iter().map(|b| b ^ 1).collect()).collect()),
        Op::Cast { x, .. } | Op::AsSum { x, .. } | Op::Embed { x, .. } | Op::Reshare { x, .. } => x.0.clone(),
        Op::Echo { x, .. } => x.0.clone(),
        Op::Join { x } | Op::Deal { x, .. } => x.0.clone(),
        Op::OnehotH { x, chunk } => {
            let planes = x.0.bits();
            let len = x.1.len();
            let number = |c: &std::ops::Range<usize>, e: usize| -> u16 {
                planes[c.clone()].iter().enumerate().map(|(i, p)| u16::from(p[e]) << i).sum()
            };
            let hot = |c: &std::ops::Range<usize>, j: u16| (0..len).map(|e| u8::from(number(c, e) == j)).collect();
            Plain::Bits(
                chunks(planes.len() as u8, *chunk)
                    .flat_map(|c| (1..1 << c.len()).map(move |j| (c.clone(), j)))
                    .map(|(c, j)| hot(&c, j))
                    .collect(),
            )
        }
        Op::ProductsH { x, of } => {
            Plain::Bits(of.subsets().iter().map(|set| and(x.0.bits(), *set, x.1.len())).collect())
        }
        Op::KeepH { x, bit } => {
            let bit = &bit.0.bits()[0];
            ring(x.0.ring().iter().zip(bit).map(|(x, b)| x.wrapping_mul(u64::from(*b))).collect())
        }
        Op::LeavesSh { hot, v, chunk } => {
            let (hot, planes) = (hot.0.bits(), v.0.bits());
            let (mut lt, mut eq, mut at) = (vec![], vec![], 0);
            for c in chunks(planes.len() as u8, *chunk) {
                let size = 1usize << c.len();
                let (mut less, mut same) = (vec![0u8; v.1.len()], vec![0u8; v.1.len()]);
                for e in 0..v.1.len() {
                    let number: usize = planes[c.clone()].iter().enumerate().map(|(i, p)| usize::from(p[e]) << i).sum();
                    let entry = |j: usize| hot[at + j - 1][e];
                    less[e] = (number + 1..size).map(entry).fold(0, |a, b| a ^ b);
                    same[e] = if number > 0 { entry(number) } else { (1..size).map(entry).fold(1, |a, b| a ^ b) };
                }
                at += size - 1;
                lt.push(less);
                eq.push(same);
            }
            lt.extend(eq);
            Plain::Bits(lt)
        }
        Op::Unmask { t, x, products, of } => {
            let (t, x, dealt, len) = (t.0.bits(), x.0.bits(), products.0.bits(), t.1.len());
            let known = of.subsets();
            // Π (t_i xor β_i) over a set: each part of it from β, the rest from t.
            let product = |set: u64| {
                let mut y = and(t, set, len);
                let mut part = set;
                while part != 0 {
                    let betas = match part.count_ones() {
                        1 => {
                            let i = part.trailing_zeros() as usize;
                            x[i].iter().zip(&t[i]).map(|(a, b)| a ^ b).collect()
                        }
                        _ => dealt[known.binary_search(&part).expect("every part of a term is listed")].clone(),
                    };
                    let rest = and(t, set & !part, len);
                    y.iter_mut().zip(betas).zip(rest).for_each(|((y, b), r)| *y ^= b & r);
                    part = (part - 1) & set;
                }
                y
            };
            let sum = |terms: &Vec<u64>| {
                terms.iter().fold(vec![0u8; len], |a, set| a.iter().zip(product(*set)).map(|(a, b)| a ^ b).collect())
            };
            Plain::Bits(of.0.iter().map(sum).collect())
        }
        Op::Open { x, .. } => match x.1.domain {
            Domain::Ring(k) => each(*x, |v| signed(v, k)),
            Domain::Bits(_) => x.0.clone(),
        },
        Op::SextH { x, bits } => each(*x, |v| signed(v, *bits)),
        Op::AlignHp { x, p, to } => ring(combine(*x, *p, |a, s| align(a, s, *to))),
        Op::SarHp { x, p } => ring(combine(*x, *p, |a, s| ((a as i64) >> s.min(63)) as u64)),
        Op::PlanesH { x, lo, width } => {
            Plain::Bits((*lo..lo + width).map(|i| x.0.ring().iter().map(|v| (v >> i & 1) as u8).collect()).collect())
        }
        Op::NumberH { x } | Op::ToRing { x, .. } => {
            let planes = x.0.bits();
            let n = planes[0].len();
            ring((0..n).map(|e| planes.iter().enumerate().map(|(i, p)| u64::from(p[e]) << i).sum()).collect())
        }
        Op::SoftmaxH { x, rule } => {
            let row = *x.1.shape.last().expect("verified: has a row") as usize;
            let stored: Vec<i32> = x.0.ring().iter().map(|v| *v as i32).collect();
            ring(stored.chunks(row).flat_map(|r| crate::softmax::row(rule, r)).map(|y| i64::from(y) as u64).collect())
        }
        Op::Pick { x, planes } => Plain::Bits(planes.0.iter().map(|p| x.0.bits()[*p as usize].clone()).collect()),
        Op::Stack { parts } => Plain::Bits(parts.iter().flat_map(|p| p.0.bits().iter().cloned()).collect()),
        Op::MixP { x, table, width } => {
            let (planes, table, len) = (x.0.bits(), table.0.ring(), x.1.len());
            let result = |j: u8| {
                let taken = planes.iter().zip(&table[1..]).filter(|(_, t)| **t >> j & 1 == 1);
                let start = vec![(table[0] >> j & 1) as u8; len];
                taken.fold(start, |y, (p, _)| y.iter().zip(p).map(|(a, b)| a ^ b).collect())
            };
            Plain::Bits((0..*width).map(result).collect())
        }
        Op::RowsP { same, before, table, width } => {
            let (same, before, table) = (same.0.bits(), before.0.bits(), table.0.ring());
            let (size, len) = (same.len() + 1, same[0].len());
            let at = |row: usize, entry: usize| table[(row % size) * size + entry];
            let set = |x: &[Vec<u8>], e: usize| (1..size).filter(|i| x[i - 1][e] == 1).collect::<Vec<_>>();
            let entries: Vec<_> = (0..len).map(|e| (set(same, e), set(before, e))).collect();
            let plane = |row: usize| {
                let start = at(row, 0) ^ at(0, 0);
                let one = |(here, earlier): &(Vec<usize>, Vec<usize>)| {
                    let y = here.iter().fold(start, |y, i| y ^ at(row, *i) ^ at(0, *i) ^ start);
                    earlier.iter().fold(y, |y, i| y ^ at(row - 1, *i) ^ at(size - 1, *i) ^ start)
                };
                entries.iter().map(one).flat_map(|y| (0..*width).map(move |j| (y >> j & 1) as u8)).collect()
            };
            Plain::Bits((1..size).map(plane).collect())
        }
        Op::FoldP { x, to, width } => {
            let (bits, to) = (&x.0.bits()[0], to.0.ring());
            let mut planes = vec![vec![0u8; bits.len() / to.len()]; usize::from(*width)];
            for (i, b) in bits.iter().enumerate() {
                if let Some(plane) = planes.get_mut(to[i % to.len()] as usize) {
                    plane[i / to.len()] ^= b;
                }
            }
            Plain::Bits(planes)
        }
        Op::OnehotSh { hot, v } => {
            let (hot, v_planes, len) = (hot.0.bits(), v.0.bits(), v.1.len());
            let size = hot.len() + 1;
            let number = |e: usize| v_planes.iter().enumerate().map(|(i, p)| usize::from(p[e]) << i).sum::<usize>();
            let entry = |j: usize, e: usize| match j {
                0 => hot.iter().fold(1, |a, h| a ^ h[e]),
                j => hot[j - 1][e],
            };
            let plane = |d: usize| (0..len).map(|e| entry((number(e) + size - d) % size, e)).collect();
            Plain::Bits((1..size).map(plane).collect())
        }
        Op::MulSs { a, b } | Op::MulSh { a, h: b } | Op::MulHh { a, b } | Op::Mul { a, b } => match out.domain {
            Domain::Ring(_) => ring(a.0.ring().iter().zip(b.0.ring()).map(|(x, y)| x.wrapping_mul(*y)).collect()),
            Domain::Bits(_) => Plain::Bits(
                a.0.bits().iter().zip(b.0.bits()).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x & y).collect()).collect(),
            ),
        },
        Op::ShareP { p, .. } => p.0.clone(),
        Op::Conv2dSs { x, w, window, groups }
        | Op::Conv2dP { x, w, window, groups }
        | Op::Conv2dSh { x, w, window, groups, .. } => {
            let (xd, wd) = (x.0.ring(), w.0.ring());
            let [n, h, wi, c] = [0, 1, 2, 3].map(|i| x.1.shape[i] as usize);
            let (oc, ic) = (w.1.shape[0] as usize, w.1.shape[3] as usize);
            let (kw, per) = (window.kernel[1] as usize, oc / *groups as usize);
            let mut y = Vec::with_capacity(out.len());
            for b in 0..n {
                for oy in 0..window.out[0] {
                    for ox in 0..window.out[1] {
                        for o in 0..oc {
                            let mut acc = 0u64;
                            for (i, iy) in taps(window, 0, oy, x.1.shape[1]) {
                                for (j, ix) in taps(window, 1, ox, x.1.shape[2]) {
                                    let at = ((b * h + iy) * wi + ix) * c + o / per * ic;
                                    let wt = ((o * window.kernel[0] as usize + i) * kw + j) * ic;
                                    for k in 0..ic {
                                        acc = acc.wrapping_add(xd[at + k].wrapping_mul(wd[wt + k]));
                                    }
                                }
                            }
                            y.push(acc);
                        }
                    }
                }
            }
            ring(y)
        }
        Op::DepthwiseSs { x, w, window } | Op::DepthwiseP { x, w, window } | Op::DepthwiseSh { x, w, window, .. } => {
            let (xd, wd) = (x.0.ring(), w.0.ring());
            let [n, h, wi, c] = [0, 1, 2, 3].map(|i| x.1.shape[i] as usize);
            let oc = w.1.shape[2] as usize;
            let m = oc / c;
            let mut y = Vec::with_capacity(out.len());
            for b in 0..n {
                for oy in 0..window.out[0] {
                    for ox in 0..window.out[1] {
                        for o in 0..oc {
                            let mut acc = 0u64;
                            for (i, iy) in taps(window, 0, oy, x.1.shape[1]) {
                                for (j, ix) in taps(window, 1, ox, x.1.shape[2]) {
                                    let v = xd[((b * h + iy) * wi + ix) * c + o / m];
                                    acc = acc
                                        .wrapping_add(v.wrapping_mul(wd[(i * window.kernel[1] as usize + j) * oc + o]));
                                }
                            }
                            y.push(acc);
                        }
                    }
                }
            }
            ring(y)
        }
        Op::Reshape { x, .. } => x.0.clone(),
        Op::Expand { x, shape } => match x.0 {
            Plain::Ring(data) => ring(shape::expand(data, &x.1.shape, &shape.0)),
            Plain::Bits(planes) => Plain::Bits(planes.iter().map(|p| shape::expand(p, &x.1.shape, &shape.0)).collect()),
        },
        Op::Pad { x, amounts } => ring(shape::pad(x.0.ring(), &x.1.shape, &amounts.0)),
        Op::Slice { x, part } => ring(shape::slice(x.0.ring(), &x.1.shape, part)),
        Op::Concat { parts, axis } => {
            let parts: Vec<(&[u64], &[u32])> = parts.iter().map(|p| (p.0.ring(), &p.1.shape[..])).collect();
            ring(moves::concat(&parts, *axis))
        }
        Op::View { x, start, shape, strides } => ring(moves::view(x.0.ring(), *start, &shape.0, &strides.0)),
        Op::Gather { x, index, axis } => ring(moves::gather(x.0.ring(), &x.1.shape, index.0.ring(), *axis)),
        Op::WindowSum { x, window } => {
            ring(shape::window_sum(x.0.ring(), &x.1.shape, window, |a: u64, b| a.wrapping_add(b)))
        }
        Op::ReduceSum { x, axes } => {
            ring(shape::reduce_sum(x.0.ring(), &x.1.shape, &axes.0, |a: u64, b| a.wrapping_add(b)))
        }
    }
}
