//! What type rules demand of operands and immediates, each with what is wrong otherwise.
use super::chunks;
use crate::imm::{MAX_FACTORS, Terms, Window};
use crate::types::{Domain, Form, Holders, Type};

/// Largest number of elements of one value.
pub const MAX_ELEMENTS: u64 = 1 << 28;

/// What a rule says, or what is wrong.
pub(super) type Rule<T> = Result<T, String>;

/// What is wrong unless `ok`.
pub(super) fn need(ok: bool, what: impl FnOnce() -> String) -> Rule<()> {
    if ok { Ok(()) } else { Err(what()) }
}

/// Bits of its ring.
pub(super) fn ring(t: &Type) -> Rule<u8> {
    match t.domain {
        Domain::Ring(k) => Ok(k),
        Domain::Bits(_) => Err(format!("{t} is not in a ring")),
    }
}

/// Number of its planes.
pub(super) fn planes(t: &Type) -> Rule<u8> {
    match t.domain {
        Domain::Bits(n) => Ok(n),
        Domain::Ring(_) => Err(format!("{t} is not made of bits")),
    }
}

/// Who holds it.
pub(super) fn held(t: &Type) -> Rule<Holders> {
    match t.form {
        Form::Held(h) => Ok(h),
        _ => Err(format!("{t} is not held in the clear")),
    }
}

/// It is shared.
pub(super) fn shared(t: &Type) -> Rule<()> {
    need(t.form == Form::Shared, || format!("{t} is not shared"))
}

/// It is public.
pub(super) fn public(t: &Type) -> Rule<()> {
    need(t.form == Form::Public, || format!("{t} is not public"))
}

/// Number of elements of a shape, unless a dimension is zero or it is too large.
pub(crate) fn checked_len(shape: &[u32]) -> Rule<u64> {
    need(shape.len() <= 8, || "rank above 8".into())?;
    let len = shape.iter().try_fold(1u64, |a, d| a.checked_mul(u64::from(*d)));
    match len {
        Some(n) if (1..=MAX_ELEMENTS).contains(&n) => Ok(n),
        _ => Err("a dimension is zero or the tensor has more than 2^28 elements".into()),
    }
}

/// Entries of the one-hot vectors of `width` planes in chunks, each without its entry 0.
pub(super) fn onehot_entries(width: u8, chunk: u8) -> Rule<u8> {
    need((1..=8).contains(&chunk), || "chunks of 1 to 8 planes".into())?;
    let entries: u32 = chunks(width, chunk).map(|c| (1 << c.len()) - 1).sum();
    need(entries <= 255, || "more than 255 planes".into())?;
    Ok(entries as u8)
}

/// Number of products that the terms need.
pub(super) fn product_count(of: &Terms, planes: u8) -> Rule<u8> {
    need((1..=64).contains(&of.0.len()) && planes <= 64, || "more than 64 planes".into())?;
    for set in of.0.iter().flatten() {
        let inside = 64 - set.leading_zeros() <= u32::from(planes);
        need(inside && (1..=MAX_FACTORS).contains(&set.count_ones()), || "a term of other planes, or too long".into())?;
    }
    need(of.0.iter().map(Vec::len).sum::<usize>() <= 256, || "more than 256 terms".into())?;
    let n = of.subsets().len();
    need((1..=255).contains(&n), || format!("{n} products"))?;
    Ok(n as u8)
}

/// A window that fits four dimensions and stays in bounds.
pub(super) fn window(t: &Type, w: &Window) -> Rule<()> {
    need(t.shape.len() == 4, || format!("{t} is not NHWC"))?;
    let small = |v: [u32; 2], lo: u32| v.iter().all(|x| (lo..=1 << 16).contains(x));
    need(small(w.out, 1) && small(w.kernel, 1) && small(w.stride, 1) && small(w.dilation, 1) && small(w.pad, 0), || {
        "window out of bounds".into()
    })
}

/// Two sharings in one ring.
pub(super) fn same_ring(x: &Type, w: &Type) -> Rule<()> {
    shared(x)?;
    shared(w)?;
    ring(x)?;
    need(x.domain == w.domain, || format!("{x} and {w} differ in ring"))
}

/// Shape of the convolution of a sharing by weights `[out kh kw in/groups]`.
pub(super) fn convolved(x: &Type, w: &Type, win: &Window, groups: u32) -> Rule<Vec<u32>> {
    shared(x)?;
    window(x, win)?;
    need(w.shape.len() == 4 && w.shape[1..3] == win.kernel, || format!("{w} does not fit the kernel"))?;
    need(groups >= 1 && x.shape[3].is_multiple_of(groups) && w.shape[0].is_multiple_of(groups), || {
        "groups do not divide channels".into()
    })?;
    need(w.shape[3] == x.shape[3] / groups, || format!("{w} does not fit the channels of {x}"))?;
    Ok(vec![x.shape[0], win.out[0], win.out[1], w.shape[0]])
}

/// The same of each channel apart, by weights `[kh kw in·m]`.
pub(super) fn convolved_apart(x: &Type, w: &Type, win: &Window) -> Rule<Vec<u32>> {
    shared(x)?;
    window(x, win)?;
    need(w.shape.len() == 3 && w.shape[..2] == win.kernel, || format!("{w} does not fit the kernel"))?;
    need(w.shape[2].is_multiple_of(x.shape[3]), || format!("{w} does not fit the channels of {x}"))?;
    Ok(vec![x.shape[0], win.out[0], win.out[1], w.shape[2]])
}
