//! Type rule of each op: result types, or what is wrong.
mod demands;

pub use demands::MAX_ELEMENTS;
pub(crate) use demands::checked_len;
use demands::{
    Rule, convolved, convolved_apart, held, need, onehot_entries, planes, product_count, public, ring, same_ring,
    shared, window,
};

use crate::imm::Window;
use crate::moves;
use crate::ops::Op;
use crate::program::{Const, Interface};
use crate::protocol::Scheme;
use crate::shape::broadcast;
use crate::types::{Domain, Form, Holders, Party, Type};

/// What a type rule may look at besides operand types.
pub struct Context<'a> {
    /// Who holds what.
    pub scheme: Scheme,
    /// Inputs, outputs, weights.
    pub interface: &'a Interface,
    /// Public constants.
    pub consts: &'a [Const],
}

/// Most pairs of positions that a layer with held weights joins: they are listed when a program is loaded.
const MAX_JOINED: u64 = 1 << 24;

impl Context<'_> {
    /// Whether there is such a party, or it is a client that there may be.
    fn has(&self, p: Party) -> bool {
        p.0 < self.scheme.parties || p == Party::CLIENT && !self.scheme.all().contains(p)
    }
}

/// Most states of a program.
pub const MAX_STATES: u32 = 1024;

/// Roles A, B, C of a rotation among three parties.
pub fn roles(rot: u8) -> [Party; 3] {
    [Party(rot % 3), Party((rot + 1) % 3), Party((rot + 2) % 3)]
}

/// The planes of each chunk, from least significant.
pub fn chunks(width: u8, chunk: u8) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (width, chunk) = (usize::from(width), usize::from(chunk));
    (0..width).step_by(chunk).map(move |at| at..(at + chunk).min(width))
}

/// Result types of `op`.
pub fn infer(op: &Op<&Type>, cx: &Context<'_>) -> Rule<Vec<Type>> {
    let scheme = &cx.scheme;
    let all = scheme.all();
    let three = || need(scheme.roles, || "roles need three parties, none of which cheats".into());
    let party = |p: Party| need(cx.has(p), || format!("{p} does not exist"));
    let inside = |h: Holders| need(h.0 != 0 && h.within(all), || format!("{h} names a party that is not there"));
    let known = |h: Holders| if h == Holders::CLIENT && cx.has(Party::CLIENT) { Ok(()) } else { inside(h) };
    let width = |bits: u8, most: u8| need((1..=most).contains(&bits), || format!("width {bits} is not in 1..={most}"));
    let ahead = || need(scheme.additive, || "products made ahead need an additive sharing".into());
    let weights = |x: &Type, w: &Type, win: &Window, bits: u8, at: Holders| {
        let of = |d: &[u32]| d.iter().fold(u64::from(x.shape[0]), |n, d| n.saturating_mul((*d).into()));
        let joined = of(&win.out).saturating_mul(of(&win.kernel));
        need(joined <= MAX_JOINED, || format!("{joined} pairs of positions, at most {MAX_JOINED} are joined"))?;
        need(held(w)? == at && at.count() == 1, || format!("{w} is not held by {at} alone"))?;
        ring(w)?;
        need((1..=ring(x)?.min(32)).contains(&bits), || format!("weights of {bits} bits do not fit {x}"))
    };
    let one = |domain, form, shape: &[u32]| -> Rule<Vec<Type>> { Ok(vec![Type::new(domain, form, shape)]) };
    let types = match op {
        Op::Input { index } => {
            let port = cx.interface.inputs.get(*index as usize).ok_or("no such input")?;
            party(port.party)?;
            one(Domain::Ring(64), Form::Held(Holders::one(port.party)), &port.shape)
        }
        Op::Weight { index } => {
            let shape = cx.interface.weights.get(*index as usize).ok_or("no such weight tensor")?;
            party(cx.interface.weight_owner)?;
            one(Domain::Ring(64), Form::Held(Holders::one(cx.interface.weight_owner)), shape)
        }
        Op::Constant { index } => {
            let c = cx.consts.get(*index as usize).ok_or("no such constant")?;
            Ok(vec![Type::public(&c.shape)])
        }
        Op::Output { x, index } => {
            let port = cx.interface.outputs.get(*index as usize).ok_or("no such output")?;
            party(port.party)?;
            ring(x)?;
            need(held(x)? == Holders::one(port.party), || format!("{x} is not held by the receiver alone"))?;
            need(x.shape == port.shape, || format!("{x} has not the shape of the output"))?;
            Ok(vec![])
        }
        Op::State { x, index } => {
            shared(x)?;
            need(*index < MAX_STATES, || format!("state {index}, there are at most {MAX_STATES}"))?;
            Ok(vec![(*x).clone()])
        }
        Op::Store { x, index } => {
            shared(x)?;
            need(*index < MAX_STATES, || format!("state {index}, there are at most {MAX_STATES}"))?;
            Ok(vec![])
        }
        Op::WindowCount { size, window: w } => {
            need(size.0.len() == 2, || "size is not height and width".into())?;
            window(&Type::public(&[1, size.0[0], size.0[1], 1]), w)?;
            Ok(vec![Type::public(&[1, w.out[0], w.out[1], 1])])
        }
        Op::TakePp { table, index } => {
            public(table)?;
            public(index)?;
            need(table.shape.len() == 1, || "the table is not one-dimensional".into())?;
            Ok(vec![Type::public(&index.shape)])
        }
        Op::SubPp { a, b } => {
            public(a)?;
            public(b)?;
            let shape = broadcast(&a.shape, &b.shape).ok_or_else(|| format!("{a} and {b} do not broadcast"))?;
            need(shape == a.shape || shape == b.shape, || "both sides would be repeated".into())?;
            Ok(vec![Type::public(&shape)])
        }
        Op::ThresholdPp { m, s, b, j } => {
            for t in [m, s, b, j] {
                public(t)?;
                need(t.shape == m.shape, || format!("{t} and {m} differ in shape"))?;
            }
            Ok(vec![(*m).clone()])
        }
        Op::Add { a, b } | Op::Sub { a, b } => {
            need(a.domain == b.domain && a.form == b.form && a.form != Form::Public, || {
                format!("{a} and {b} differ in more than shape")
            })?;
            match a.domain {
                Domain::Ring(_) => {
                    let shape = broadcast(&a.shape, &b.shape).ok_or_else(|| format!("{a} and {b} do not broadcast"))?;
                    need(shape == a.shape || shape == b.shape, || "both sides would be repeated".into())?;
                    one(a.domain, a.form, &shape)
                }
                Domain::Bits(_) => {
                    need(a.len() == b.len(), || format!("{a} and {b} differ in length"))?;
                    one(a.domain, a.form, &a.shape)
                }
            }
        }
        Op::AddP { x, p } | Op::SubP { x, p } | Op::MulP { x, p } => {
            match (op, x.domain) {
                (Op::AddP { .. } | Op::MulP { .. }, Domain::Bits(n)) => width(n, 64)?,
                _ => _ = ring(x)?,
            }
            public(p)?;
            need(x.form != Form::Public, || "both operands are public".into())?;
            let shape = broadcast(&x.shape, &p.shape);
            need(shape.as_deref() == Some(&x.shape), || format!("{p} does not broadcast to {x}"))?;
            Ok(vec![(*x).clone()])
        }
        Op::Not { x } => {
            planes(x)?;
            Ok(vec![(*x).clone()])
        }
        Op::Cast { x, bits } => {
            need(*bits >= 1 && *bits <= ring(x)?, || format!("cast to {bits} bits does not shrink {x}"))?;
            need(matches!(x.form, Form::Shared | Form::Sum(_)), || format!("{x} is neither shared nor a sum"))?;
            one(Domain::Ring(*bits), x.form, &x.shape)
        }
        Op::Raise { x, by } => {
            let k = ring(x)?;
            need(matches!(x.form, Form::Shared | Form::Sum(_)), || format!("{x} is neither shared nor a sum"))?;
            need(u32::from(k) + u32::from(*by) <= 64, || format!("{by} bits more do not fit 64"))?;
            one(Domain::Ring(k + by), x.form, &x.shape)
        }
        Op::SextH { x, bits } => {
            ring(x)?;
            held(x)?;
            width(*bits, 63)?;
            Ok(vec![(*x).clone()])
        }
        Op::AlignHp { x, p, .. } | Op::SarHp { x, p } => {
            ring(x)?;
            held(x)?;
            public(p)?;
            let shape = broadcast(&x.shape, &p.shape);
            need(shape.as_deref() == Some(&x.shape), || format!("{p} does not broadcast to {x}"))?;
            need(!matches!(op, Op::AlignHp { to, .. } if *to > 63), || "aligned beyond 63 bits".into())?;
            Ok(vec![(*x).clone()])
        }
        Op::PlanesH { x, lo, width: n } => {
            ring(x)?;
            held(x)?;
            need(*n >= 1 && u32::from(*lo) + u32::from(*n) <= 64, || "bits beyond 64".into())?;
            one(Domain::Bits(*n), x.form, &x.shape)
        }
        Op::NumberH { x } => {
            width(planes(x)?, 63)?;
            held(x)?;
            one(Domain::Ring(64), x.form, &x.shape)
        }
        Op::OnehotH { x, chunk } => {
            held(x)?;
            let entries = onehot_entries(planes(x)?, *chunk)?;
            one(Domain::Bits(entries), x.form, &x.shape)
        }
        Op::ProductsH { x, of } => {
            held(x)?;
            let n = product_count(of, planes(x)?)?;
            one(Domain::Bits(n), x.form, &x.shape)
        }
        Op::KeepH { x, bit } => {
            ring(x)?;
            need(planes(bit)? == 1 && bit.len() == x.len(), || format!("{bit} is not one bit per element of {x}"))?;
            let at = held(bit)?;
            need(x.form == Form::Held(at) || x.form == Form::Sum(at), || format!("{at} does not hold {x}"))?;
            Ok(vec![(*x).clone()])
        }
        Op::SoftmaxH { x, rule } => {
            ring(x)?;
            held(x)?;
            need(matches!(rule.bits, 8 | 16) && (-31..=31).contains(&rule.e), || "softmax rule out of bounds".into())?;
            need(!x.shape.is_empty() && x.shape[x.shape.len() - 1] <= 1 << 19, || "row too long".into())?;
            Ok(vec![(*x).clone()])
        }
        Op::Pick { x, planes: list } => {
            let n = planes(x)?;
            need(!list.0.is_empty() && list.0.len() <= 255, || "picks no plane or more than 255".into())?;
            need(list.0.iter().all(|p| *p < u32::from(n)), || format!("{x} has no such plane"))?;
            one(Domain::Bits(list.0.len() as u8), x.form, &x.shape)
        }
        Op::Stack { parts } => {
            let first = parts.first().ok_or("stacks nothing")?;
            let mut total = 0u32;
            for p in parts {
                total += u32::from(planes(p)?);
                need(p.form == first.form && p.len() == first.len(), || format!("{p} and {first} do not stack"))?;
            }
            need(total <= 255, || "more than 255 planes".into())?;
            one(Domain::Bits(total as u8), first.form, &first.shape)
        }
        Op::MixP { x, table, width: n } => {
            let entries = u32::from(planes(x)?) + 1;
            public(table)?;
            width(*n, 64)?;
            need(x.form != Form::Public && table.shape == [entries], || format!("{table} has not {entries} entries"))?;
            one(Domain::Bits(*n), x.form, &x.shape)
        }
        Op::RowsP { same, before, table, width: n } => {
            let size = u32::from(planes(same)?) + 1;
            public(table)?;
            width(*n, 64)?;
            need(same.form != Form::Public && same.domain == before.domain && same.form == before.form, || {
                format!("{same} and {before} differ")
            })?;
            need(same.shape == before.shape, || format!("{same} and {before} differ in shape"))?;
            need(table.shape == [size * size], || format!("{table} has not {size} rows of {size} entries"))?;
            let mut shape = same.shape.clone();
            shape.push(u32::from(*n));
            one(same.domain, same.form, &shape)
        }
        Op::FoldP { x, to, width: n } => {
            public(to)?;
            width(*n, 255)?;
            let (last, rows) = x.shape.split_last().ok_or_else(|| format!("{x} has no axis"))?;
            need(planes(x)? == 1 && to.shape == [*last], || format!("{to} does not name a plane per entry of {x}"))?;
            one(Domain::Bits(*n), x.form, rows)
        }
        Op::AsSum { x, at, bits } => {
            inside(*at)?;
            match x.form {
                Form::Shared => need(at.count() >= 2, || "one party cannot hold a whole sharing".into())?,
                Form::Held(h) => {
                    need(h.0 & at.0 != 0, || format!("{at} does not hold {x}"))?;
                    need(h.count() >= scheme.witnesses.into(), || format!("{x} is known to too few for a summand"))?;
                }
                Form::Sum(h) => need(h.within(*at), || format!("{at} lacks a summand of {x}"))?,
                Form::Public => return Err("a public value needs no summands".into()),
            }
            need(scheme.roles || *at == all, || format!("summands at {at}, not at all"))?;
            let domain = match x.domain {
                Domain::Ring(k) => {
                    need(*bits >= 1 && *bits <= k, || format!("{bits} bits do not fit {x}"))?;
                    Domain::Ring(*bits)
                }
                d => d,
            };
            one(domain, Form::Sum(*at), &x.shape)
        }
        Op::Embed { x, bits } => {
            if !(scheme.additive && x.form == Form::Sum(all)) {
                let h = held(x)?;
                need(h.count() + 1 == u32::from(scheme.parties), || format!("{x} is not held by all but one party"))?;
            }
            let domain = match x.domain {
                Domain::Ring(_) => {
                    width(*bits, 64)?;
                    Domain::Ring(*bits)
                }
                d => d,
            };
            one(domain, Form::Shared, &x.shape)
        }
        Op::MulSs { a, b } => {
            shared(a)?;
            shared(b)?;
            need(a.domain == b.domain && a.len() == b.len(), || format!("{a} and {b} differ"))?;
            one(a.domain, Form::Sum(all), &a.shape)
        }
        Op::MulSh { a, h } => {
            let at = held(h)?;
            need(a.form == Form::Shared || a.form == Form::Sum(at), || format!("{a} is neither shared nor at {at}"))?;
            three()?;
            need(at.count() == 2, || format!("{h} is not held by two"))?;
            let same = match (a.domain, h.domain) {
                (Domain::Bits(n), Domain::Bits(m)) => n == m,
                (Domain::Ring(_), Domain::Ring(_)) => true,
                _ => false,
            };
            need(same && a.len() == h.len(), || format!("{a} and {h} differ"))?;
            one(a.domain, Form::Sum(at), &a.shape)
        }
        Op::MulHh { a, b } => {
            let same = held(a)? == held(b)? && a.domain == b.domain && a.len() == b.len();
            need(same, || format!("{a} and {b} differ"))?;
            Ok(vec![(*a).clone()])
        }
        Op::Conv2dSs { x, w, window: win, groups } => {
            same_ring(x, w)?;
            one(x.domain, Form::Sum(all), &convolved(x, w, win, *groups)?)
        }
        Op::DepthwiseSs { x, w, window: win } => {
            same_ring(x, w)?;
            one(x.domain, Form::Sum(all), &convolved_apart(x, w, win)?)
        }
        Op::Conv2dP { x, w, window: win, groups } => {
            public(w)?;
            ring(x)?;
            one(x.domain, Form::Shared, &convolved(x, w, win, *groups)?)
        }
        Op::DepthwiseP { x, w, window: win } => {
            public(w)?;
            ring(x)?;
            one(x.domain, Form::Shared, &convolved_apart(x, w, win)?)
        }
        Op::ShareP { p, bits } => {
            public(p)?;
            width(*bits, 64)?;
            one(Domain::Ring(*bits), Form::Shared, &p.shape)
        }
        Op::Split { x, rot } => {
            three()?;
            let k = ring(x)?;
            need(x.form == Form::Sum(all) && *rot < 3, || format!("{x} is not a sum over all parties"))?;
            let [a, b, c] = roles(*rot);
            Ok(vec![
                Type::new(Domain::Ring(64), Form::Held(Holders::one(a)), &x.shape),
                Type::new(Domain::Ring(k), Form::Sum(Holders::pair(b, c)), &x.shape),
            ])
        }
        Op::SplitShared { x, rot } => {
            three()?;
            shared(x)?;
            need(*rot < 3, || "rotation above 2".into())?;
            let [a, b, c] = roles(*rot);
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(64),
                d => d,
            };
            Ok(vec![
                Type::new(domain, Form::Held(Holders::one(a)), &x.shape),
                Type::new(domain, Form::Held(Holders::pair(b, c)), &x.shape),
            ])
        }
        Op::Beta { tag: _, width: n, shape, rot } => {
            three()?;
            need(*rot < 3, || "rotation above 2".into())?;
            width(*n, 255)?;
            checked_len(&shape.0)?;
            one(Domain::Bits(*n), Form::Held(Holders::one(roles(*rot)[0])), &shape.0)
        }
        Op::Mask { x, tag: _ } => {
            three()?;
            planes(x)?;
            need(matches!(x.form, Form::Sum(h) if h.count() == 2), || format!("{x} has not two summands"))?;
            Ok(vec![(*x).clone()])
        }
        Op::LeavesSh { hot, v, chunk } => {
            three()?;
            let n = planes(v)?;
            let at = held(v)?;
            need(at.count() == 2 && hot.form == Form::Sum(at), || format!("{hot} has no summands at two holders"))?;
            let entries = onehot_entries(n, *chunk)?;
            need(hot.len() == v.len() && planes(hot)? == entries, || format!("{hot} has not {entries} planes of {v}"))?;
            let both = u32::from(n).div_ceil(u32::from(*chunk)) * 2;
            need(both <= 255, || "more than 255 planes".into())?;
            one(Domain::Bits(both as u8), hot.form, &hot.shape)
        }
        Op::OnehotSh { hot, v } => {
            three()?;
            let n = planes(v)?;
            let at = held(v)?;
            need(at.count() == 2 && hot.form == Form::Sum(at), || format!("{hot} has no summands at two holders"))?;
            let entries = onehot_entries(n, n)?;
            need(hot.len() == v.len() && planes(hot)? == entries, || format!("{hot} has not {entries} planes of {v}"))?;
            Ok(vec![(*hot).clone()])
        }
        Op::Unmask { t, x, products, of } => {
            three()?;
            let at = held(t)?;
            let n = planes(t)?;
            let same = at.count() == 2 && x.form == Form::Sum(at) && products.form == Form::Sum(at);
            need(same && planes(x)? == n, || format!("{t}, {x} and {products} do not belong together"))?;
            need(planes(products)? == product_count(of, n)?, || format!("{products} are not those products"))?;
            need(t.len() == x.len() && t.len() == products.len(), || {
                format!("{t}, {x} and {products} differ in length")
            })?;
            one(Domain::Bits(of.0.len() as u8), x.form, &x.shape)
        }
        Op::Reshape { x, shape } => {
            need(checked_len(&shape.0)? == x.len() as u64, || format!("{x} has another number of elements"))?;
            one(x.domain, x.form, &shape.0)
        }
        Op::Expand { x, shape } => {
            checked_len(&shape.0)?;
            need(broadcast(&x.shape, &shape.0).as_deref() == Some(&shape.0), || {
                format!("{x} does not broadcast there")
            })?;
            one(x.domain, x.form, &shape.0)
        }
        Op::Pad { x, amounts } => {
            ring(x)?;
            need(amounts.0.len() == 2 * x.shape.len(), || "amounts do not fit the rank".into())?;
            let small = amounts.0.iter().all(|a| *a <= 1 << 20);
            need(small, || "padding too large".into())?;
            let grow = |(i, d): (usize, &u32)| d.saturating_add(amounts.0[2 * i]).saturating_add(amounts.0[2 * i + 1]);
            let shape: Vec<u32> = x.shape.iter().enumerate().map(grow).collect();
            one(x.domain, x.form, &shape)
        }
        Op::Slice { x, part } => {
            ring(x)?;
            let rank = x.shape.len();
            need(part.start.len() == rank && part.size.len() == rank && part.stride.len() == rank, || {
                "part does not fit the rank".into()
            })?;
            for i in 0..rank {
                let (start, size, stride) =
                    (u64::from(part.start[i]), u64::from(part.size[i]), u64::from(part.stride[i]));
                let inside = size >= 1 && stride >= 1 && start + (size - 1) * stride < u64::from(x.shape[i]);
                need(inside, || format!("part leaves {x} on axis {i}"))?;
            }
            one(x.domain, x.form, &part.size)
        }
        Op::Concat { parts, axis } => {
            let first = parts.first().ok_or("joins nothing")?;
            ring(first)?;
            let same = |p: &&Type| p.domain == first.domain && p.form == first.form;
            if let Some(other) = parts.iter().find(|p| !same(p)) {
                return Err(format!("{other} and {first} differ in more than shape"));
            }
            let shapes: Vec<&[u32]> = parts.iter().map(|p| &p.shape[..]).collect();
            one(first.domain, first.form, &moves::concat_shape(&shapes, *axis)?)
        }
        Op::View { x, start, shape, strides } => {
            ring(x)?;
            checked_len(&shape.0)?;
            moves::check_view(x.len() as u64, *start, &shape.0, &strides.0)?;
            one(x.domain, x.form, &shape.0)
        }
        Op::Gather { x, index, axis } => {
            ring(x)?;
            public(index)?;
            need(x.form != Form::Public, || "both operands are public".into())?;
            need(index.shape.len() == 1, || "the index is not one-dimensional".into())?;
            need((*axis as usize) < x.shape.len(), || format!("{x} has no such axis"))?;
            let mut shape = x.shape.clone();
            shape[*axis as usize] = index.shape[0];
            one(x.domain, x.form, &shape)
        }
        Op::WindowSum { x, window: w } => {
            ring(x)?;
            window(x, w)?;
            one(x.domain, x.form, &[x.shape[0], w.out[0], w.out[1], x.shape[3]])
        }
        Op::ReduceSum { x, axes } => {
            ring(x)?;
            need(axes.0.iter().all(|a| usize::from(*a) < x.shape.len()), || format!("{x} has no such axis"))?;
            let shape: Vec<u32> =
                x.shape.iter().enumerate().map(|(i, d)| if axes.0.contains(&(i as u8)) { 1 } else { *d }).collect();
            one(x.domain, x.form, &shape)
        }
        Op::Reshare { x, bits } => {
            need(!scheme.additive, || "an additive sharing needs no message".into())?;
            let h = match x.form {
                Form::Sum(h) => h,
                Form::Held(h) if h.count() == 1 || !scheme.roles && scheme.operands.contains(&h) => h,
                _ => return Err(format!("{x} has no summands to reshare")),
            };
            known(h)?;
            let domain = match x.domain {
                Domain::Ring(k) => {
                    need(*bits >= 1 && *bits <= k, || format!("{bits} bits do not fit {x}"))?;
                    Domain::Ring(*bits)
                }
                d => d,
            };
            one(domain, Form::Shared, &x.shape)
        }
        Op::Deal { x, bits } => {
            three()?;
            let from = held(x)?;
            need(from.count() == 1, || format!("{x} is not held by one party"))?;
            inside(from)?;
            let domain = match x.domain {
                Domain::Ring(k) => {
                    need(*bits >= 1 && *bits <= k, || format!("{bits} bits do not fit {x}"))?;
                    Domain::Ring(*bits)
                }
                d => d,
            };
            one(domain, Form::Sum(Holders(all.0 & !from.0)), &x.shape)
        }
        Op::Join { x } => {
            three()?;
            let Form::Sum(h) = x.form else { return Err(format!("{x} has no summands")) };
            need(h.count() == 2, || format!("{x} has not two summands"))?;
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(64),
                d => d,
            };
            one(domain, Form::Held(h), &x.shape)
        }
        Op::Operand { x, index } => {
            shared(x)?;
            let at = scheme.operands.get(usize::from(*index)).ok_or_else(|| format!("no operand {index}"))?;
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(64),
                d => d,
            };
            one(domain, Form::Held(*at), &x.shape)
        }
        Op::Echo { x, from } => {
            shared(x)?;
            need(scheme.echo, || "nobody may cheat, so there is nothing to compare".into())?;
            inside(*from)?;
            need(from.count() == 1, || format!("{from} is not one owner"))?;
            Ok(vec![(*x).clone()])
        }
        Op::Mul { a, b } => {
            ahead()?;
            shared(a)?;
            shared(b)?;
            need(a.domain == b.domain && a.len() == b.len(), || format!("{a} and {b} differ"))?;
            Ok(vec![(*a).clone()])
        }
        Op::ToRing { x, bits } => {
            ahead()?;
            shared(x)?;
            width(*bits, 64)?;
            need(*bits >= 2 && planes(x)? <= *bits, || format!("{x} does not fit {bits} bits"))?;
            one(Domain::Ring(*bits), Form::Shared, &x.shape)
        }
        Op::Conv2dSh { x, w, window: win, groups, width: bits, at } => {
            ahead()?;
            let shape = convolved(x, w, win, *groups)?;
            weights(x, w, win, *bits, *at)?;
            one(x.domain, Form::Shared, &shape)
        }
        Op::DepthwiseSh { x, w, window: win, width: bits, at } => {
            ahead()?;
            let shape = convolved_apart(x, w, win)?;
            weights(x, w, win, *bits, *at)?;
            one(x.domain, Form::Shared, &shape)
        }
        Op::Check { parts, step: _ } => {
            need(scheme.checked, || "nobody may lie in a product, so there is nothing to check".into())?;
            parts.iter().try_for_each(|x| shared(x))?;
            Ok(parts.iter().map(|x| (*x).clone()).collect())
        }
        Op::Open { x, to } => {
            shared(x)?;
            known(*to)?;
            let domain = match x.domain {
                Domain::Ring(_) => Domain::Ring(64),
                d => d,
            };
            one(domain, Form::Held(*to), &x.shape)
        }
    }?;
    for t in &types {
        let len = checked_len(&t.shape)?;
        let bits = u64::from(t.domain.width());
        need(bits >= 1 && (bits <= 64 || matches!(t.domain, Domain::Bits(_))), || format!("{t} is too wide"))?;
        need(len * bits.max(8) / 8 <= 1 << 32, || format!("{t} takes more than 4 GiB"))?;
    }
    Ok(types)
}
