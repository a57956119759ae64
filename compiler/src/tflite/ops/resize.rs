//! RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR over height and width. Positions are computed as the reference kernels do:
//! in float32 (nearest, and bilinear on uint8) or in 10-bit fixed point (bilinear on int8 and int16).

use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::movement::ends;
use super::rearrange::chain;
use super::{field, view::impossible};
use crate::qgraph::{DType, Interpolation, Kind, Movement, Tap, TensorId};

/// How positions of the result are laid over those of the operand.
#[derive(Clone, Copy)]
struct Grid {
    align_corners: bool,
    half_pixel: bool,
}

/// Operand, result, and their heights and widths.
fn sides(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Activation, [[usize; 2]; 2]), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let [n, h, w, c] = input.dims()?;
    let listed = site.operand(1)?;
    let [height, width] = cx.integers(listed)?[..] else {
        return Err(damaged(codes::OPERANDS, "the size must be height and width").at(listed).into());
    };
    let positive = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
    let height = positive(height).ok_or_else(|| impossible("the height", height).at(listed))?;
    let width = positive(width).ok_or_else(|| impossible("the width", width).at(listed))?;
    output.expect_shape(&[n, height, width, c])?;
    if [h, w, height, width].iter().any(|size| *size > 1 << 20) {
        return Err(damaged(codes::SHAPE, "a side is longer than any picture").into());
    }
    cx.take(height + width, size_of::<Tap>())?;
    Ok((input, [[h, height], [w, width]]))
}

#[expect(clippy::cast_precision_loss, reason = "the kernel's float32 arithmetic; sides are below 2^20")]
fn float_step([from, to]: [usize; 2], grid: Grid) -> f32 {
    if grid.align_corners && to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { from as f32 / to as f32 }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
fn nearest_positions(side: [usize; 2], grid: Grid) -> Vec<usize> {
    let step = float_step(side, grid);
    let offset = if grid.half_pixel { 0.5 } else { 0.0 };
    let one = |i: usize| {
        let at = (i as f32 + offset) * step;
        let at = if grid.align_corners { at.round() } else { at.floor() };
        (at.max(0.0) as usize).min(side[0] - 1)
    };
    (0..side[1]).map(one).collect()
}

pub(super) fn nearest(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::ResizeNearestNeighborOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    let grid =
        Grid { align_corners: field(options.align_corners())?, half_pixel: field(options.half_pixel_centers())? };
    let (input, pair) = sides(cx, site)?;
    let (mut steps, mut shape) = (Vec::new(), input.shape.clone());
    for (axis, side) in pair.into_iter().enumerate() {
        let positions = nearest_positions(side, grid);
        steps.extend(repeat(&shape, axis + 1, &positions));
        shape[axis + 1] = side[1];
    }
    if steps.is_empty() {
        return Ok((Kind::Reshape, vec![input.id]));
    }
    Ok(chain(steps, vec![input.id]))
}

/// Slices of an axis at `positions`: nothing if that is all of them, a view if each comes equally often.
fn repeat(shape: &[usize], axis: usize, positions: &[usize]) -> Option<Movement> {
    let (rows, size) = (shape[..axis].iter().product(), shape[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    let times = positions.len() / size;
    if positions.len().is_multiple_of(size) && positions.iter().enumerate().all(|(i, at)| *at == i / times) {
        let strides = [size * inner, inner, 0, 1].map(usize::cast_signed).to_vec();
        return (times > 1).then(|| Movement::View { start: 0, dims: vec![rows, size, times, inner], strides });
    }
    let index = positions.iter().copied().map(Some).collect();
    Some(Movement::Gather { rows, size, index, value: 0 })
}

pub(super) fn bilinear(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::ResizeBilinearOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    let grid =
        Grid { align_corners: field(options.align_corners())?, half_pixel: field(options.half_pixel_centers())? };
    if grid.align_corners && grid.half_pixel {
        let reason = "align_corners and half_pixel_centers together are refused by TFLite";
        return Err(unsupported(codes::VARIANT, reason, "export with one of them").into());
    }
    let (input, pair) = sides(cx, site)?;
    let single = input.dtype == DType::U8;
    let axis = |side| if single { float_taps(side, grid) } else { fixed_taps(side, grid) };
    let axes = pair.map(axis);
    for ((_, taps), [size, _]) in axes.iter().zip(pair) {
        if taps.iter().any(|tap| tap.from.iter().any(|at| *at >= size)) {
            let reason = "it is enlarged so much that TFLite reads behind the last position";
            return Err(unsupported(codes::VARIANT, reason, "enlarge in two steps").into());
        }
    }
    let interpolation = Interpolation::new(axes, single);
    Ok((Kind::Interpolate { interpolation: Box::new(interpolation) }, vec![input.id]))
}

/// Ten fractional bits; `unit` is 1024.
fn fixed_taps([from, to]: [usize; 2], grid: Grid) -> (i64, Vec<Tap>) {
    let [size, count] = [from, to].map(|side| i64::try_from(side).unwrap_or(1 << 20));
    let step = if grid.align_corners && count > 1 {
        (1024 * (size - 1) + (count - 1) / 2) / (count - 1)
    } else {
        (1024 * size + count / 2) / count
    };
    let tap = |i: i64| {
        let at = i * step + if grid.half_pixel { step / 2 - 512 } else { 0 };
        let (low, high) = ((at / 1024).max(0), ((at + 1023) / 1024).min(size - 1));
        let part = at - 1024 * low;
        tap(low, high, [1024 - part, part], [0.0, 0.0])
    };
    (1024, (0..count).map(tap).collect())
}

/// The exact position as a fraction, and what float32 makes of it.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the kernel's float32 arithmetic")]
fn float_taps([from, to]: [usize; 2], grid: Grid) -> (i64, Vec<Tap>) {
    let [size, count] = [from, to].map(|side| i64::try_from(side).unwrap_or(1 << 20));
    let step = float_step([from, to], grid);
    // at = i·numerator/unit + offset/unit
    let (numerator, offset, unit) = match (grid.align_corners && count > 1, grid.half_pixel) {
        (true, _) => (size - 1, 0, count - 1),
        (_, true) => (2 * size, size - count, 2 * count),
        _ => (size, 0, count),
    };
    let tap = |i: i64| {
        let at = if grid.half_pixel { (i as f32 + 0.5) * step - 0.5 } else { i as f32 * step };
        let (low, high) = ((at.floor() as i64).max(0), (at.ceil() as i64).min(size - 1));
        let part = i * numerator + offset - low * unit;
        let single = at - low as f32;
        tap(low, high, [unit - part, part], [1.0 - single, single])
    };
    (unit, (0..count).map(tap).collect())
}

fn tap(low: i64, high: i64, weights: [i64; 2], single: [f32; 2]) -> Tap {
    let weights = if low == high { [weights[0] + weights[1], 0] } else { weights };
    let place = |at: i64| usize::try_from(at).unwrap_or(0);
    Tap { from: [place(low), place(high)], weights, single }
}
