//! CONCATENATION, and what reads its operand at regular distances: TRANSPOSE, SLICE, STRIDED_SLICE, SPLIT, SPLIT_V, TILE,
//! BROADCAST_TO, REVERSE_V2.

use super::super::codes;
use super::super::context::{Activation, Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::raw::MAX_RANK;
use super::super::schema::tflite::BuiltinOptionsRef;
use super::movement::ends;
use super::{axis, field};
use crate::qgraph::{DType, Kind, Movement, TensorId};

/// Distances between neighbours along each axis of a dense tensor.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].cast_signed();
    }
    strides
}

/// Begins the view at `from` along each axis.
pub(super) fn starting(from: &[usize], shape: &[usize]) -> usize {
    from.iter().zip(strides(shape)).map(|(&from, stride)| from * stride.unsigned_abs()).sum()
}

fn view(input: &Activation, start: usize, dims: Vec<usize>, strides: Vec<isize>) -> (Kind, Vec<TensorId>) {
    (Kind::Move { movement: Movement::View { start, dims, strides } }, vec![input.id])
}

/// A constant list with one entry for each axis.
pub(super) fn per_axis(cx: &mut Context<'_>, index: usize, rank: usize) -> Result<Vec<i64>, Stop> {
    let list = cx.integers(index)?;
    if list.len() != rank {
        return Err(damaged(codes::SHAPE, format!("it has {} entries for {rank} dimensions", list.len()))
            .at(index)
            .into());
    }
    Ok(list)
}

pub(super) fn impossible(what: &str, value: i64) -> Fault {
    damaged(codes::OPTIONS, format!("{what} {value} is not possible here"))
}

pub(super) fn concatenation(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::ConcatenationOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(1, usize::MAX)?;
    let output = cx.carried_result(site.result()?)?;
    if field(options.activation())? != 0 {
        return Err(unsupported(codes::VARIANT, "it has a fused activation", "use a separate operator").into());
    }
    let at = axis(field(options.axis())?.into(), output.shape.len())?;
    let mut shape = output.shape.clone();
    shape[at] = 0;
    let mut inputs = Vec::with_capacity(site.operator.inputs.len());
    for position in 0..site.operator.inputs.len() {
        let input = cx.carried(site.operand(position)?)?;
        input.expect_type(output.dtype)?;
        let same = input.quant == output.quant;
        if !same && output.dtype != DType::U8 {
            let reason = "its scale or zero point differs from the result's";
            return Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "insert a QUANTIZE operator")
                .at(input.id.index())
                .into());
        }
        let fits = input.shape.len() == shape.len()
            && input.shape.iter().zip(&shape).enumerate().all(|(axis, (a, b))| axis == at || a == b);
        if !fits {
            let reason = format!("its shape {:?} does not fit the result {:?}", input.shape, output.shape);
            return Err(damaged(codes::SHAPE, reason).at(input.id.index()).into());
        }
        shape[at] += input.shape[at];
        inputs.push(if same { input.id } else { rescaled(cx, &input, &output)? });
    }
    output.expect_shape(&shape)?;
    let rows = shape[..at].iter().product();
    Ok((Kind::Move { movement: Movement::Concat { rows } }, inputs))
}

/// What a uint8 operand becomes on the scale of the result, in the float32 arithmetic of the reference kernel.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "clamped; zero points are bytes")]
fn rescaled(cx: &mut Context<'_>, input: &Activation, output: &Activation) -> Result<TensorId, Fault> {
    let scale = input.quant.scale * (1.0 / output.quant.scale);
    let bias = -input.quant.zero_point as f32 * scale;
    let one =
        |q: u8| ((f32::from(q) * scale + bias).round() as i32).saturating_add(output.quant.zero_point).clamp(0, 255);
    cx.take(256, size_of::<i32>())?;
    let table = (0..=u8::MAX).map(one).collect();
    cx.step(Kind::Table { table }, vec![input.id], (DType::U8, output.quant.zero_point), &input.shape)
}

pub(super) fn transpose(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let listed = site.operand(1)?;
    let from = strides(&input.shape);
    let (mut dims, mut distances, mut used) = (Vec::new(), Vec::new(), vec![false; from.len()]);
    for value in per_axis(cx, listed, from.len())? {
        let axis = axis(value, from.len()).map_err(|fault| fault.at(listed))?;
        if std::mem::replace(&mut used[axis], true) {
            return Err(impossible("a second axis", value).at(listed).into());
        }
        dims.push(input.shape[axis]);
        distances.push(from[axis]);
    }
    output.expect_shape(&dims)?;
    Ok(view(&input, 0, dims, distances))
}

pub(super) fn slice(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(3, 3)?;
    let (input, output) = ends(cx, site)?;
    let rank = input.shape.len();
    let (begin, size) = (per_axis(cx, site.operand(1)?, rank)?, per_axis(cx, site.operand(2)?, rank)?);
    let (mut from, mut dims) = (Vec::new(), Vec::new());
    for ((&begin, &size), &all) in begin.iter().zip(&size).zip(&input.shape) {
        let first = usize::try_from(begin).ok().filter(|&first| first < all);
        let first = first.ok_or_else(|| impossible("the beginning", begin))?;
        let count = if size == -1 { Some(all - first) } else { usize::try_from(size).ok() };
        let count = count.filter(|&count| count > 0 && count <= all - first);
        dims.push(count.ok_or_else(|| impossible("the size", size))?);
        from.push(first);
    }
    output.expect_shape(&dims)?;
    Ok(view(&input, starting(&from, &input.shape), dims, strides(&input.shape)))
}

/// SPLIT takes the axis first, SPLIT_V last.
pub(super) fn split(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let even = site.name == "SPLIT";
    let (operands, data, axis_at) = if even { (2, 1, 0) } else { (3, 0, 2) };
    site.operands(operands, operands)?;
    let (input, output) = (cx.carried(site.operand(data)?)?, cx.carried_result(site.result()?)?);
    output.expect_type(input.dtype)?;
    let listed = site.operand(axis_at)?;
    let [value] = cx.integers(listed)?[..] else {
        return Err(damaged(codes::OPERANDS, "the axis must be one number").at(listed).into());
    };
    let at = axis(value, input.shape.len()).map_err(|fault| fault.at(listed))?;
    let (parts, whole) = (site.operator.outputs.len(), input.shape[at]);
    let wrong = || damaged(codes::SHAPE, format!("{whole} cannot be split in this way into {parts} parts"));
    let (before, size) = if even {
        if whole % parts != 0 {
            return Err(wrong().into());
        }
        (site.part * (whole / parts), whole / parts)
    } else {
        let stated = per_axis(cx, site.operand(1)?, parts)?;
        let known = stated
            .iter()
            .filter(|&&size| size != -1)
            .try_fold(0usize, |sum, &size| usize::try_from(size).ok().and_then(|size| sum.checked_add(size)));
        let rest = known.and_then(|known| whole.checked_sub(known)).ok_or_else(wrong)?;
        let open = stated.iter().filter(|&&size| size == -1).count();
        if open > 1 || (open == 0 && rest != 0) {
            return Err(wrong().into());
        }
        let sizes: Vec<usize> = stated.iter().map(|&size| usize::try_from(size).unwrap_or(rest)).collect();
        (sizes[..site.part].iter().sum(), sizes[site.part])
    };
    let mut from = vec![0; input.shape.len()];
    from[at] = before;
    let mut dims = input.shape.clone();
    dims[at] = size;
    output.expect_shape(&dims)?;
    Ok(view(&input, starting(&from, &input.shape), dims, strides(&input.shape)))
}

pub(super) fn tile(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let (mut shape, mut dims, mut distances) = (Vec::new(), Vec::new(), Vec::new());
    let times = per_axis(cx, site.operand(1)?, input.shape.len())?;
    for ((&times, &size), stride) in times.iter().zip(&input.shape).zip(strides(&input.shape)) {
        let count = usize::try_from(times).ok().filter(|&count| count > 0);
        let count = count.ok_or_else(|| impossible("the multiple", times))?;
        shape.push(count.saturating_mul(size));
        dims.extend([count, size]);
        distances.extend([0, stride]);
    }
    output.expect_shape(&shape)?;
    Ok(view(&input, 0, dims, distances))
}

pub(super) fn broadcast_to(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let stated = cx.integers(site.operand(1)?)?;
    let dims = stated.iter().map(|&size| usize::try_from(size).map_err(|_| impossible("the size", size)));
    let dims = dims.collect::<Result<Vec<_>, _>>()?;
    output.expect_shape(&dims)?;
    let wrong = || damaged(codes::SHAPE, format!("{:?} cannot be broadcast to {dims:?}", input.shape));
    let missing = dims.len().checked_sub(input.shape.len()).ok_or_else(wrong)?;
    let mut distances = vec![0; missing];
    for ((&size, stride), &to) in input.shape.iter().zip(strides(&input.shape)).zip(&dims[missing..]) {
        if size != to && size != 1 {
            return Err(wrong().into());
        }
        distances.push(if size == 1 { 0 } else { stride });
    }
    Ok(view(&input, 0, dims, distances))
}

pub(super) fn reverse(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let listed = site.operand(1)?;
    let mut reversed = vec![false; input.shape.len()];
    for value in cx.integers(listed)? {
        reversed[axis(value, input.shape.len()).map_err(|fault| fault.at(listed))?] = true;
    }
    let from: Vec<usize> =
        input.shape.iter().zip(&reversed).map(|(&size, &reversed)| if reversed { size - 1 } else { 0 }).collect();
    let signed = strides(&input.shape).into_iter().zip(&reversed);
    let distances = signed.map(|(stride, &reversed)| if reversed { -stride } else { stride }).collect();
    output.expect_shape(&input.shape)?;
    let dims = input.shape.clone();
    Ok(view(&input, starting(&from, &input.shape), dims, distances))
}

pub(super) fn strided_slice(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::StridedSliceOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(4, 4)?;
    if field(options.offset())? {
        return Err(unsupported(codes::VARIANT, "its ends count from its beginnings", "use absolute ends").into());
    }
    let (input, output) = ends(cx, site)?;
    let begin = cx.integers(site.operand(1)?)?;
    let listed = begin.len();
    let (end, step) = (per_axis(cx, site.operand(2)?, listed)?, per_axis(cx, site.operand(3)?, listed)?);
    if listed > 2 * MAX_RANK {
        return Err(damaged(codes::SHAPE, format!("it lists {listed} dimensions")).into());
    }
    let bit = |mask: i32| move |i: usize| mask >> i & 1 == 1;
    let [begin_open, end_open] = [bit(field(options.begin_mask())?), bit(field(options.end_mask())?)];
    let [ellipsis, new] = [bit(field(options.ellipsis_mask())?), bit(field(options.new_axis_mask())?)];
    let shrink = bit(field(options.shrink_axis_mask())?);
    let taken = (0..listed).filter(|&i| !ellipsis(i) && !new(i)).count();
    let rank = input.shape.len();
    let too_many = || damaged(codes::SHAPE, format!("it lists {taken} dimensions of {rank}"));
    let mut rest = rank.checked_sub(taken).ok_or_else(too_many)?;
    let from = strides(&input.shape);
    let (mut start, mut axis) = (0, 0);
    let (mut dims, mut distances, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..listed {
        if ellipsis(i) {
            for _ in 0..std::mem::take(&mut rest) {
                shape.push(input.shape[axis]);
                dims.push(input.shape[axis]);
                distances.push(from[axis]);
                axis += 1;
            }
            continue;
        }
        if new(i) {
            shape.push(1);
            continue;
        }
        let size = i64::try_from(input.shape[axis]).expect("shapes are bounded");
        let wrapped = |value: i64| if value < 0 { value.saturating_add(size) } else { value };
        let step = if shrink(i) { 1 } else { step[i] };
        let (least, most) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let (first, last) = if step > 0 { (0, size) } else { (size - 1, -1) };
        let first = if begin_open(i) { first } else { wrapped(begin[i]).clamp(least, most) };
        let last = if end_open(i) { last } else { wrapped(end[i]).clamp(least, most) };
        let last = if shrink(i) { first + 1 } else { last };
        if step == 0 || step.unsigned_abs() > 1 << 31 {
            return Err(impossible("the stride", step).into());
        }
        if !(0..size).contains(&first) || (last - first).signum() != step.signum() {
            return Err(unsupported(codes::EMPTY, "it takes no elements", "export with fixed, non-zero sizes").into());
        }
        let count = usize::try_from((last - first).unsigned_abs().div_ceil(step.unsigned_abs())).unwrap_or(usize::MAX);
        start += usize::try_from(first).unwrap_or(0) * from[axis].unsigned_abs();
        dims.push(count);
        distances.push(if count == 1 { 0 } else { from[axis] * isize::try_from(step).unwrap_or(0) });
        if !shrink(i) {
            shape.push(count);
        }
        axis += 1;
    }
    shape.extend(&input.shape[axis..]);
    dims.extend(&input.shape[axis..]);
    distances.extend(&from[axis..]);
    output.expect_shape(&shape)?;
    Ok(view(&input, start, dims, distances))
}
