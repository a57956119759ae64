//! Local instructions on this party's pieces.
use ir::eval::{align, threshold};
use ir::moves;
use ir::shape::{self, Broadcast, zip_broadcast};
use ir::{Domain, Form, Op, Program, Type, Window};
use runtime_protocols::bits;
use runtime_protocols::data::{Data, Value, Zip, plane_words};
use runtime_protocols::kernels::linear::{Conv, conv2d_u32, conv2d_u64, depthwise2d_u32, depthwise2d_u64};
use runtime_protocols::kernels::wide::wide;
use runtime_protocols::runtime::{Flat, Runtime};
use std::sync::Arc;

type Arg<'a> = (&'a Value, &'a Type);

fn flat(t: &Type) -> Flat {
    Flat { domain: t.domain, form: t.form, len: t.len() }
}

/// Both piece by piece, the shorter one repeated.
fn combine(a: Arg<'_>, b: Arg<'_>, how: Zip, out: &Type) -> Value {
    let bits = matches!(out.domain, Domain::Bits(_));
    let parts = a.0.parts.iter().zip(&b.0.parts).map(|(x, y)| {
        if bits || a.1.shape == b.1.shape {
            return x.zip(y, how);
        }
        if a.1.shape == out.shape {
            return x.zip_small(y, how, &Broadcast::new(&b.1.shape, &out.shape));
        }
        let mut z = y.zip_small(x, how, &Broadcast::new(&a.1.shape, &out.shape));
        if how == Zip::Sub {
            z.negate();
        }
        z
    });
    Value::of(parts)
}

/// A public constant joins the piece that the protocol names.
fn with_public(x: Arg<'_>, p: Arg<'_>, how: Zip, rt: &dyn Runtime) -> Value {
    let along = Broadcast::new(&p.1.shape, &x.1.shape);
    let only = (how != Zip::Mul).then(|| rt.constant_piece(x.1.form));
    let parts = x.0.parts.iter().enumerate().map(|(i, d)| match only {
        Some(piece) if piece != Some(i) => d.clone(),
        _ => Arc::new(d.zip_small(&p.0.parts[0], how, &along)),
    });
    Value { parts: parts.collect() }
}

/// What changes by a public constant changes at the piece that the protocol names.
fn on_constant_piece(x: Arg<'_>, rt: &dyn Runtime, f: impl Fn(&Data) -> Data) -> Value {
    let piece = rt.constant_piece(x.1.form);
    let one = |(i, d): (usize, &Arc<Data>)| if piece == Some(i) { Arc::new(f(d)) } else { d.clone() };
    Value { parts: x.0.parts.iter().enumerate().map(one).collect() }
}

/// 2^by times the number.
fn raise(x: &Data, bits: u8, by: u8) -> Data {
    match x.to_ring(bits + by) {
        Data::W32(v) => Data::W32(v.iter().map(|v| v.checked_shl(by.into()).unwrap_or(0)).collect()),
        Data::W64(v) => Data::W64(v.iter().map(|v| v.checked_shl(by.into()).unwrap_or(0)).collect()),
        Data::Planes { .. } => unreachable!("verified: a ring value"),
    }
}

/// Held 64-bit integers with a public tensor.
fn held_public(x: Arg<'_>, p: Arg<'_>, f: impl Fn(u64, u64) -> u64) -> Value {
    let along = Broadcast::new(&p.1.shape, &x.1.shape);
    let one = |d: &Data| {
        wide(
            #[inline(always)]
            || zip_broadcast(d.w64(), p.0.parts[0].w64(), &along, &f),
        )
    };
    x.0.map(|d| Data::W64(one(d)))
}

fn elements(x: &Value, f: impl Fn(&[u32]) -> Vec<u32>, g: impl Fn(&[u64]) -> Vec<u64>) -> Value {
    x.map(|d| match d {
        Data::W32(v) => Data::W32(f(v)),
        Data::W64(v) => Data::W64(g(v)),
        Data::Planes { .. } => unreachable!("verified: a ring value"),
    })
}

/// One piece of each part, joined.
fn joined<'a, T: Copy + 'a>(parts: &[Arg<'a>], piece: impl Fn(&'a Value) -> &'a [T], axis: u32) -> Vec<T> {
    let parts: Vec<(&[T], &[u32])> = parts.iter().map(|p| (piece(p.0), &p.1.shape[..])).collect();
    moves::concat(&parts, axis)
}

fn public(data: Vec<u64>) -> Value {
    Value::one(Data::W64(data))
}

/// The shape of a convolution.
pub(crate) fn conv(x: &Type, out: &Type, w: &Window, groups: usize) -> Conv {
    let dim = |t: &Type, i: usize| t.shape[i] as usize;
    let two = |v: [u32; 2]| v.map(|x| x as usize);
    Conv {
        batch: dim(x, 0),
        in_h: dim(x, 1),
        in_w: dim(x, 2),
        in_c: dim(x, 3),
        out_h: dim(out, 1),
        out_w: dim(out, 2),
        out_c: dim(out, 3),
        kernel: two(w.kernel),
        stride: two(w.stride),
        dilation: two(w.dilation),
        pad: two(w.pad),
        groups,
    }
}

/// Σ over pairs through a kernel, in the words of the ring.
fn products(
    pairs: &[(&Data, &Data)],
    out: &Type,
    narrow: impl Fn(&[(&[u32], &[u32])], &mut [u32]),
    wide: impl Fn(&[(&[u64], &[u64])], &mut [u64]),
) -> Data {
    let mut y = Data::zeros(out.domain, out.form, out.len());
    match &mut y {
        Data::W32(y) => {
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.w32(), b.w32())).collect();
            narrow(&pairs, y);
        }
        Data::W64(y) => {
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.w64(), b.w64())).collect();
            wide(&pairs, y);
        }
        Data::Planes { .. } => unreachable!("verified: a ring value"),
    }
    y
}

/// Weights times what their owner has of a layer's input, plus its summand; of other parties the summand.
pub fn with_weights(op: &Op<ir::Value>, x: &Type, out: &Type, got: Value, w: &Value) -> Value {
    let [input, summand] = &got.parts[..] else { return got };
    let weights = w.parts[0].to_ring(out.domain.width());
    let pairs = [(&**input, &weights)];
    let mut y = match op {
        Op::Conv2dSh { window, groups, .. } => {
            let g = conv(x, out, window, *groups as usize);
            products(&pairs, out, |p, y| conv2d_u32(&g, p, y), |p, y| conv2d_u64(&g, p, y))
        }
        Op::DepthwiseSh { window, .. } => {
            let g = conv(x, out, window, x.shape[3] as usize);
            products(&pairs, out, |p, y| depthwise2d_u32(&g, p, y), |p, y| depthwise2d_u64(&g, p, y))
        }
        _ => unreachable!("an op with held weights"),
    };
    y.zip_assign(summand, Zip::Add);
    Value::one(y)
}

/// Runs an op without messages and without randomness.
pub fn run(op: &Op<Arg<'_>>, out: &Type, program: &Program, rt: &dyn Runtime) -> Value {
    match op {
        Op::Input { .. }
        | Op::Weight { .. }
        | Op::Output { .. }
        | Op::State { .. }
        | Op::Store { .. }
        | Op::Split { .. }
        | Op::SplitShared { .. }
        | Op::Reshare { .. }
        | Op::Mul { .. }
        | Op::ToRing { .. }
        | Op::Conv2dSh { .. }
        | Op::DepthwiseSh { .. }
        | Op::Join { .. }
        | Op::Beta { .. }
        | Op::Mask { .. }
        | Op::Deal { .. }
        | Op::Echo { .. }
        | Op::Check { .. }
        | Op::Open { .. } => unreachable!("handled by the machine"),
        Op::Constant { index } => public(program.consts[*index as usize].data.iter().map(|x| *x as u64).collect()),
        Op::WindowCount { size, window } => {
            public(shape::window_count(&size.0, window).into_iter().map(|x| x as u64).collect())
        }
        Op::TakePp { table, index } => {
            let t = table.0.parts[0].w64();
            public(index.0.parts[0].w64().iter().map(|i| t.get(*i as usize).copied().unwrap_or(0)).collect())
        }
        Op::SubPp { a, b } => {
            let expand = |x: &Arg<'_>| shape::expand(x.0.parts[0].w64(), &x.1.shape, &out.shape);
            public(expand(a).into_iter().zip(expand(b)).map(|(x, y)| x.wrapping_sub(y)).collect())
        }
        Op::ThresholdPp { m, s, b, j } => {
            let [m, s, b, j] = [m, s, b, j].map(|x| x.0.parts[0].w64());
            let one = |i: usize| threshold(m[i] as i64, s[i], b[i] as i64, j[i] as i64) as u64;
            public((0..m.len()).map(one).collect())
        }
        Op::Add { a, b } => combine(*a, *b, Zip::Add, out),
        Op::Sub { a, b } => combine(*a, *b, Zip::Sub, out),
        Op::AddP { x, p } => match x.1.domain {
            Domain::Ring(_) => with_public(*x, *p, Zip::Add, rt),
            Domain::Bits(_) => {
                let flips = shape::expand(p.0.parts[0].w64(), &p.1.shape, &x.1.shape);
                on_constant_piece(*x, rt, |d| bits::flip(d, &flips))
            }
        },
        Op::Raise { x, by } => x.0.map(|d| raise(d, x.1.domain.width(), *by)),
        Op::SubP { x, p } => with_public(*x, *p, Zip::Sub, rt),
        Op::MulP { x, p } => match x.1.domain {
            Domain::Ring(_) => with_public(*x, *p, Zip::Mul, rt),
            Domain::Bits(_) => {
                let kept = shape::expand(p.0.parts[0].w64(), &p.1.shape, &x.1.shape);
                let kept = Data::W64(kept).to_planes(0, x.1.domain.width());
                x.0.map(|d| d.zip(&kept, Zip::Mul))
            }
        },
        Op::Not { x } => on_constant_piece(*x, rt, |d| {
            let mut flipped = d.clone();
            flipped.invert();
            flipped
        }),
        Op::Cast { x, bits } => Value { parts: (0..x.0.parts.len()).map(|i| x.0.fit(i, *bits)).collect() },
        Op::SextH { x, bits } => {
            let shift = 64 - u32::from(*bits);
            let signed = |v: &[u64]| v.iter().map(|v| ((*v << shift) as i64 >> shift) as u64).collect();
            x.0.map(|d| Data::W64(signed(d.w64())))
        }
        Op::AlignHp { x, p, to } => held_public(*x, *p, |a, s| align(a, s, *to)),
        Op::SarHp { x, p } => held_public(*x, *p, |a, s| ((a as i64) >> s.min(63)) as u64),
        Op::PlanesH { x, lo, width } => x.0.map(|d| d.to_planes(*lo, *width)),
        Op::NumberH { x } => x.0.map(|d| d.to_numbers(x.1.domain.width())),
        Op::OnehotH { x, chunk } => x.0.map(|d| bits::onehot(d, x.1.domain.width(), *chunk)),
        Op::ProductsH { x, of } => x.0.map(|d| bits::products(d, of)),
        Op::KeepH { x, bit } => Value::of(x.0.parts.iter().zip(&bit.0.parts).map(|(x, bit)| {
            let mut y = Data::clone(x);
            bits::keep(&mut y, bit);
            y
        })),
        Op::LeavesSh { hot, v, chunk } => {
            let first = rt.constant_piece(hot.1.form) == Some(0);
            let pieces = hot.0.parts.iter().zip(&v.0.parts);
            Value::of(pieces.map(|(hot, v_)| bits::leaves(hot, v_, v.1.domain.width(), *chunk, first)))
        }
        Op::Unmask { t, x, products, of } => {
            let first = rt.constant_piece(x.1.form) == Some(0);
            let pieces = t.0.parts.iter().zip(&x.0.parts).zip(&products.0.parts);
            Value::of(pieces.map(|((t, x), products)| bits::unmask(t, x, products, of, first)))
        }
        Op::SoftmaxH { x, rule } => {
            let row = x.1.shape.last().map_or(1, |d| *d as usize);
            x.0.map(|d| {
                let stored: Vec<i32> = d.w64().iter().map(|v| *v as i32).collect();
                let y = stored.chunks(row).flat_map(|r| ir::softmax::row(rule, r));
                Data::W64(y.map(|y| i64::from(y) as u64).collect())
            })
        }
        Op::Pick { x, planes } => x.0.map(|d| {
            let (per, len) = (plane_words(d.len()), d.len());
            let mut words = Vec::with_capacity(planes.0.len() * per);
            for p in &planes.0 {
                words.extend_from_slice(&d.planes()[*p as usize * per..][..per]);
            }
            Data::Planes { words, len }
        }),
        Op::Stack { parts } => {
            let pieces = parts[0].0.parts.len();
            let stacked = |i: usize| parts.iter().map(|p| p.0.parts[i].planes()).collect::<Vec<_>>().concat();
            Value::of((0..pieces).map(|i| Data::Planes { words: stacked(i), len: out.len() }))
        }
        Op::MixP { x, table, width } => {
            let (table, piece) = (table.0.parts[0].w64(), rt.constant_piece(x.1.form));
            let parts = x.0.parts.iter().enumerate();
            Value::of(parts.map(|(i, d)| bits::mix(d, table, *width, piece == Some(i))))
        }
        Op::RowsP { same, before, table, width } => {
            let (table, piece) = (table.0.parts[0].w64(), rt.constant_piece(same.1.form));
            let pieces = same.0.parts.iter().zip(&before.0.parts).enumerate();
            Value::of(pieces.map(|(i, (same, before))| bits::rows(same, before, table, *width, piece == Some(i))))
        }
        Op::FoldP { x, to, width } => {
            let to: Vec<usize> = to.0.parts[0].w64().iter().map(|p| *p as usize).collect();
            x.0.map(|d| bits::fold(d, &to, *width))
        }
        Op::OnehotSh { hot, v } => {
            let first = rt.constant_piece(hot.1.form) == Some(0);
            let pieces = hot.0.parts.iter().zip(&v.0.parts);
            Value::of(pieces.map(|(hot, v_)| bits::turn(hot, v_, v.1.domain.width(), first)))
        }
        Op::ShareP { p, bits } => {
            let piece = rt.constant_piece(Form::Shared);
            Value::of((0..rt.pieces(Form::Shared)).map(|i| match piece == Some(i) {
                true => p.0.parts[0].to_ring(*bits),
                false => Data::zeros(out.domain, Form::Shared, out.len()),
            }))
        }
        Op::Operand { x, index } => rt.operand(x.0, flat(x.1), *index),
        Op::AsSum { x, at, bits } => rt.as_sum(x.0, flat(x.1), *at, *bits),
        Op::Embed { x, bits } => rt.embed(x.0, flat(x.1), *bits),
        Op::MulSs { a, b } => rt.bilinear(a.0, b.0, &|pairs| {
            let mut sum = pairs[0].0.zip(pairs[0].1, Zip::Mul);
            for (x, y) in &pairs[1..] {
                sum.zip_assign(&x.zip(y, Zip::Mul), Zip::Add);
            }
            sum
        }),
        Op::MulSh { a, h } => {
            let Form::Held(at) = h.1.form else { unreachable!("verified: held") };
            rt.roles().expect("verified, and compared at load").mul_held(a.0, flat(a.1), h.0, at)
        }
        Op::MulHh { a, b } => Value::of(a.0.parts.iter().zip(&b.0.parts).map(|(x, y)| x.zip(y, Zip::Mul))),
        Op::Conv2dSs { x, w, window, groups } => {
            let g = conv(x.1, out, window, *groups as usize);
            rt.bilinear(x.0, w.0, &|pairs| {
                products(pairs, out, |p, y| conv2d_u32(&g, p, y), |p, y| conv2d_u64(&g, p, y))
            })
        }
        Op::Conv2dP { x, w, window, groups } => {
            let g = conv(x.1, out, window, *groups as usize);
            let w = w.0.parts[0].to_ring(out.domain.width());
            x.0.map(|d| products(&[(d, &w)], out, |p, y| conv2d_u32(&g, p, y), |p, y| conv2d_u64(&g, p, y)))
        }
        Op::DepthwiseP { x, w, window } => {
            let g = conv(x.1, out, window, x.1.shape[3] as usize);
            let w = w.0.parts[0].to_ring(out.domain.width());
            x.0.map(|d| products(&[(d, &w)], out, |p, y| depthwise2d_u32(&g, p, y), |p, y| depthwise2d_u64(&g, p, y)))
        }
        Op::DepthwiseSs { x, w, window } => {
            let g = conv(x.1, out, window, x.1.shape[3] as usize);
            rt.bilinear(x.0, w.0, &|pairs| {
                products(pairs, out, |p, y| depthwise2d_u32(&g, p, y), |p, y| depthwise2d_u64(&g, p, y))
            })
        }
        Op::Reshape { x, .. } => x.0.clone(),
        Op::Expand { x, shape: to } if matches!(x.1.domain, Domain::Bits(_)) => {
            let places: Vec<usize> = (0..x.1.len()).collect();
            let from = shape::expand(&places, &x.1.shape, &to.0);
            x.0.map(|d| bits::gather(d, &from))
        }
        Op::Expand { x, shape: to } => {
            elements(x.0, |v| shape::expand(v, &x.1.shape, &to.0), |v| shape::expand(v, &x.1.shape, &to.0))
        }
        Op::Pad { x, amounts } => {
            elements(x.0, |v| shape::pad(v, &x.1.shape, &amounts.0), |v| shape::pad(v, &x.1.shape, &amounts.0))
        }
        Op::Slice { x, part } => {
            elements(x.0, |v| shape::slice(v, &x.1.shape, part), |v| shape::slice(v, &x.1.shape, part))
        }
        Op::Concat { parts, axis } => {
            let pieces = parts[0].0.parts.len();
            Value::of((0..pieces).map(|i| match &*parts[0].0.parts[i] {
                Data::W32(_) => Data::W32(joined(parts, |p| p.parts[i].w32(), *axis)),
                Data::W64(_) => Data::W64(joined(parts, |p| p.parts[i].w64(), *axis)),
                Data::Planes { .. } => unreachable!("verified: a ring value"),
            }))
        }
        Op::View { x, start, shape, strides } => elements(
            x.0,
            |v| moves::view(v, *start, &shape.0, &strides.0),
            |v| moves::view(v, *start, &shape.0, &strides.0),
        ),
        Op::Gather { x, index, axis } => {
            let index = index.0.parts[0].w64();
            elements(
                x.0,
                |v| moves::gather(v, &x.1.shape, index, *axis),
                |v| moves::gather(v, &x.1.shape, index, *axis),
            )
        }
        Op::WindowSum { x, window } => elements(
            x.0,
            |v| shape::window_sum(v, &x.1.shape, window, |a: u32, b| a.wrapping_add(b)),
            |v| shape::window_sum(v, &x.1.shape, window, |a: u64, b| a.wrapping_add(b)),
        ),
        Op::ReduceSum { x, axes } => elements(
            x.0,
            |v| shape::reduce_sum(v, &x.1.shape, &axes.0, |a: u32, b| a.wrapping_add(b)),
            |v| shape::reduce_sum(v, &x.1.shape, &axes.0, |a: u64, b| a.wrapping_add(b)),
        ),
    }
}
