//! What rearranges, repeats or fills: PACK, UNPACK, SPACE_TO_DEPTH, DEPTH_TO_SPACE, BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND,
//! MIRROR_PAD, GATHER, GATHER_ND, REVERSE_SEQUENCE, DYNAMIC_UPDATE_SLICE, SCATTER_ND, MATRIX_DIAG. Stored integers are
//! copied; positions are constants of the model.

use super::super::checks::elements;
use super::super::codes;
use super::super::context::{Context, Site, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::names;
use super::super::schema::tflite::BuiltinOptionsRef;
use super::movement::ends;
use super::view::{impossible, per_axis, starting, strides};
use super::{axis, field};
use crate::qgraph::{DType, Kind, Movement, TensorId};

type Imported = Result<(Kind, Vec<TensorId>), Stop>;

/// Steps that take one another's results.
pub(super) fn chain(mut steps: Vec<Movement>, inputs: Vec<TensorId>) -> (Kind, Vec<TensorId>) {
    let movement = if steps.len() == 1 { steps.remove(0) } else { Movement::Chain(steps) };
    (Kind::Move { movement }, inputs)
}

fn product(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A positive number of the options or operands.
fn positive(what: &str, value: i64) -> Result<usize, Fault> {
    usize::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| impossible(what, value))
}

pub(super) fn pack(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let Some(BuiltinOptionsRef::PackOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    let (first, output) = ends(cx, site)?;
    let at = axis(field(options.axis())?.into(), first.shape.len() + 1)?;
    let count = site.operator.inputs.len();
    if usize::try_from(field(options.values_count())?) != Ok(count) {
        return Err(damaged(codes::OPTIONS, format!("it has {count} operands, another number is stated")).into());
    }
    let mut inputs = Vec::with_capacity(count);
    for position in 0..count {
        let input = cx.carried(site.operand(position)?)?;
        input.expect_type(output.dtype)?;
        input.expect_shape(&first.shape)?;
        inputs.push(input.id);
    }
    let mut shape = first.shape.clone();
    shape.insert(at, count);
    output.expect_shape(&shape)?;
    Ok(chain(vec![Movement::Concat { rows: product(&shape[..at]) }], inputs))
}

pub(super) fn unpack(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let Some(BuiltinOptionsRef::UnpackOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(1, 1)?;
    let (input, output) = ends(cx, site)?;
    let at = axis(field(options.axis())?.into(), input.shape.len())?;
    let parts = site.operator.outputs.len();
    if input.shape[at] != parts || usize::try_from(field(options.num())?) != Ok(parts) {
        let reason = format!("dimension {at} of size {} is unpacked into {parts} parts", input.shape[at]);
        return Err(damaged(codes::SHAPE, reason).into());
    }
    let (mut dims, mut distances) = (input.shape.clone(), strides(&input.shape));
    dims.remove(at);
    let start = site.part * distances.remove(at).unsigned_abs();
    output.expect_shape(&dims)?;
    Ok(chain(vec![Movement::View { start, dims, strides: distances }], vec![input.id]))
}

pub(super) fn space_to_depth(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let to_depth = site.name == "SPACE_TO_DEPTH";
    let block = match site.operator.options {
        Some(BuiltinOptionsRef::SpaceToDepthOptions(options)) if to_depth => field(options.block_size())?,
        Some(BuiltinOptionsRef::DepthToSpaceOptions(options)) if !to_depth => field(options.block_size())?,
        _ => return Err(no_options().into()),
    };
    site.operands(1, 1)?;
    let (input, output) = ends(cx, site)?;
    let block = positive("the block size", block.into())?;
    let shapes = || damaged(codes::SHAPE, format!("{:?} has no blocks of {block}", input.shape));
    let [n, h, w, c] = input.dims()?;
    let signed = |d: usize| d.cast_signed();
    let movement = if to_depth {
        if h % block != 0 || w % block != 0 {
            return Err(shapes().into());
        }
        output.expect_shape(&[n, h / block, w / block, block * block * c])?;
        let dims = vec![n, h / block, w / block, block, block, c];
        let distances = [h * w * c, block * w * c, block * c, w * c, c, 1].map(signed);
        Movement::View { start: 0, dims, strides: distances.to_vec() }
    } else {
        let each = c.checked_div(block.saturating_mul(block)).filter(|each| each * block * block == c);
        let each = each.filter(|&each| each > 0).ok_or_else(shapes)?;
        output.expect_shape(&[n, h * block, w * block, each])?;
        let dims = vec![n, h, block, w, block, each];
        let distances = [h * w * c, w * c, block * each, c, each, 1].map(signed);
        Movement::View { start: 0, dims, strides: distances.to_vec() }
    };
    Ok(chain(vec![movement], vec![input.id]))
}

/// Block sizes, and the two amounts for each blocked axis.
fn blocks(cx: &mut Context<'_>, site: &Site<'_>, rank: usize) -> Result<(Vec<usize>, Vec<[usize; 2]>), Stop> {
    let sizes = cx.integers(site.operand(1)?)?;
    if sizes.is_empty() || sizes.len() >= rank {
        return Err(damaged(codes::SHAPE, format!("it blocks {} of {rank} dimensions", sizes.len())).into());
    }
    let sizes = sizes.into_iter().map(|size| positive("the block size", size)).collect::<Result<Vec<_>, _>>()?;
    let listed = per_axis(cx, site.operand(2)?, 2 * sizes.len())?;
    let amount = |value: &i64| usize::try_from(*value).map_err(|_| impossible("the amount", *value));
    let pairs = listed.as_chunks::<2>().0.iter();
    let pairs = pairs.map(|[a, b]| Ok([amount(a)?, amount(b)?])).collect::<Result<Vec<_>, Fault>>()?;
    Ok((sizes, pairs))
}

pub(super) fn batch_to_space(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(3, 3)?;
    let (input, output) = ends(cx, site)?;
    let (sizes, crops) = blocks(cx, site, input.shape.len())?;
    let all = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    let batch = all.filter(|all| input.shape[0].is_multiple_of(*all)).map(|all| input.shape[0] / all);
    let batch = batch.ok_or_else(|| damaged(codes::SHAPE, "its batch is not made of whole blocks"))?;
    let from = strides(&input.shape);
    let (mut dims, mut distances) = (vec![batch], vec![from[0]]);
    let mut whole = vec![batch];
    for (i, &size) in sizes.iter().enumerate() {
        dims.extend([input.shape[i + 1], size]);
        let step = product(&sizes[i + 1..]) * batch;
        distances.extend([from[i + 1], from[0] * step.cast_signed()]);
        whole.push(input.shape[i + 1] * size);
    }
    dims.extend(&input.shape[sizes.len() + 1..]);
    distances.extend(&from[sizes.len() + 1..]);
    whole.extend(&input.shape[sizes.len() + 1..]);
    let (mut begin, mut shape) = (vec![0; whole.len()], whole.clone());
    for (i, [before, after]) in crops.into_iter().enumerate() {
        let left = whole[i + 1].checked_sub(before).and_then(|rest| rest.checked_sub(after)).filter(|&rest| rest > 0);
        shape[i + 1] = left.ok_or_else(|| damaged(codes::OPTIONS, format!("it crops all of dimension {}", i + 1)))?;
        begin[i + 1] = before;
    }
    output.expect_shape(&shape)?;
    let spread = Movement::View { start: 0, dims, strides: distances };
    let crop = Movement::View { start: starting(&begin, &whole), dims: shape, strides: strides(&whole) };
    Ok(chain(vec![spread, crop], vec![input.id]))
}

pub(super) fn space_to_batch(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(3, 3)?;
    let (input, output) = ends(cx, site)?;
    let (sizes, paddings) = blocks(cx, site, input.shape.len())?;
    let (mut steps, mut shape) = (Vec::new(), input.shape.clone());
    for (i, &[before, after]) in paddings.iter().enumerate() {
        let rows = product(&shape[..=i]);
        let inner = product(&shape[i + 2..]);
        if before + after > 0 {
            shape[i + 1] = shape[i + 1].saturating_add(before).saturating_add(after);
            elements(&shape)?;
            let value = output.quant.zero_point;
            steps.push(Movement::Fill { rows, before: before * inner, after: after * inner, value });
        }
        if shape[i + 1] % sizes[i] != 0 {
            return Err(damaged(codes::SHAPE, format!("dimension {} is not made of whole blocks", i + 1)).into());
        }
    }
    let from = strides(&shape);
    let (mut dims, mut distances) = (sizes.clone(), from[1..=sizes.len()].to_vec());
    let mut made = vec![shape[0] * product(&sizes)];
    dims.push(shape[0]);
    distances.push(from[0]);
    for (i, &size) in sizes.iter().enumerate() {
        dims.push(shape[i + 1] / size);
        distances.push(from[i + 1] * size.cast_signed());
        made.push(shape[i + 1] / size);
    }
    dims.extend(&shape[sizes.len() + 1..]);
    distances.extend(&from[sizes.len() + 1..]);
    made.extend(&shape[sizes.len() + 1..]);
    output.expect_shape(&made)?;
    steps.push(Movement::View { start: 0, dims, strides: distances });
    Ok(chain(steps, vec![input.id]))
}

pub(super) fn mirror_pad(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let Some(BuiltinOptionsRef::MirrorPadOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    // REFLECT leaves the edge out, SYMMETRIC repeats it.
    let edge = match field(options.mode())? {
        0 => 1,
        1 => 0,
        other => return Err(impossible("the mode", other.into()).into()),
    };
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let listed = per_axis(cx, site.operand(1)?, 2 * input.shape.len())?;
    let (mut steps, mut shape) = (Vec::new(), input.shape.clone());
    for (i, pair) in listed.as_chunks::<2>().0.iter().enumerate() {
        let size = shape[i];
        let most = size - edge.min(size);
        let amount = |value: i64| {
            usize::try_from(value).ok().filter(|&value| value <= most).ok_or_else(|| impossible("the padding", value))
        };
        let (before, after) = (amount(pair[0])?, amount(pair[1])?);
        if before + after == 0 {
            continue;
        }
        cx.take(before + size + after, size_of::<Option<usize>>())?;
        let front = (0..before).rev().map(|k| k + edge);
        let back = (0..after).map(|k| size - 1 - edge - k);
        let index = front.chain(0..size).chain(back).map(Some).collect();
        steps.push(Movement::Gather { rows: product(&shape[..i]), size, index, value: 0 });
        shape[i] = before + size + after;
        elements(&shape)?;
    }
    output.expect_shape(&shape)?;
    if steps.is_empty() {
        return Ok((Kind::Reshape, vec![input.id]));
    }
    Ok(chain(steps, vec![input.id]))
}

/// A constant list of positions with its shape.
fn positions(cx: &mut Context<'_>, index: usize) -> Result<(Vec<usize>, Vec<i64>), Stop> {
    if !cx.is_constant(index) {
        let reason = "positions are computed or given as input, so that they would have to stay secret";
        return Err(unsupported(codes::NOT_CONSTANT, reason, "store the positions as a constant").at(index).into());
    }
    Ok((cx.shape(index)?, cx.numbers(index)?))
}

/// A position along an axis.
fn position(value: i64, size: usize) -> Result<usize, Fault> {
    usize::try_from(value)
        .ok()
        .filter(|&at| at < size)
        .ok_or_else(|| damaged(codes::OPTIONS, format!("position {value} of {size}")))
}

pub(super) fn gather(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let Some(BuiltinOptionsRef::GatherOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let at = axis(field(options.axis())?.into(), input.shape.len())?;
    let batch = i64::from(field(options.batch_dims())?);
    let listed = site.operand(1)?;
    if batch == 0 && !cx.is_constant(listed) {
        let positions = cx.plain(listed, &[DType::I32, DType::I64])?;
        output.expect_shape(&[&input.shape[..at], &positions.shape, &input.shape[at + 1..]].concat())?;
        let kind = Kind::Lookup { rows: product(&input.shape[..at]), size: input.shape[at] };
        return Ok((kind, vec![input.id, positions.id]));
    }
    let (listed, values) = positions(cx, listed)?;
    let batch = if batch < 0 { batch + i64::try_from(listed.len()).unwrap_or(0) } else { batch };
    let batch = usize::try_from(batch).ok().filter(|&batch| batch <= at && batch <= listed.len());
    let batch = batch.filter(|&batch| input.shape[..batch] == listed[..batch]);
    let batch = batch.ok_or_else(|| damaged(codes::OPTIONS, "its batch dimensions do not fit its operands"))?;
    let shape = [&input.shape[..at], &listed[batch..], &input.shape[at + 1..]].concat();
    output.expect_shape(&shape)?;
    let size = input.shape[at];
    let found = values.iter().map(|&value| position(value, size)).collect::<Result<Vec<_>, _>>()?;
    let batches = product(&listed[..batch]);
    if batches == 1 {
        let index = found.into_iter().map(Some).collect();
        let rows = product(&input.shape[..at]);
        return Ok(chain(vec![Movement::Gather { rows, size, index, value: 0 }], vec![input.id]));
    }
    let outer = product(&input.shape[batch..at]);
    cx.take(outer.saturating_mul(found.len()), size_of::<usize>())?;
    let each = found.len() / batches;
    let row = |row: usize| {
        let list = &found[row / outer * each..(row / outer + 1) * each];
        list.iter().map(move |at| Some(row * size + at))
    };
    let index = (0..batches * outer).flat_map(row).collect();
    Ok(chain(vec![Movement::Gather { rows: 1, size: batches * outer * size, index, value: 0 }], vec![input.id]))
}

/// Flat positions of slices that are named by their coordinates along the first axes of `shape`.
fn coordinates(listed: &[usize], values: &[i64], shape: &[usize]) -> Result<(Vec<usize>, usize), Fault> {
    let depth = listed.last().copied().filter(|&depth| depth > 0 && depth <= shape.len());
    let depth = depth.ok_or_else(|| damaged(codes::SHAPE, format!("positions {listed:?} for {shape:?}")))?;
    let flat = |one: &[i64]| -> Result<usize, Fault> {
        let mut at = 0;
        for (&value, &size) in one.iter().zip(shape) {
            at = at * size + position(value, size)?;
        }
        Ok(at)
    };
    Ok((values.chunks(depth).map(flat).collect::<Result<_, Fault>>()?, depth))
}

pub(super) fn gather_nd(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    let (listed, values) = positions(cx, site.operand(1)?)?;
    let (flat, depth) = coordinates(&listed, &values, &input.shape)?;
    output.expect_shape(&[&listed[..listed.len() - 1], &input.shape[depth..]].concat())?;
    let (size, index) = (product(&input.shape[..depth]), flat.into_iter().map(Some).collect());
    Ok(chain(vec![Movement::Gather { rows: 1, size, index, value: 0 }], vec![input.id]))
}

pub(super) fn scatter_nd(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(3, 3)?;
    let (updates, output) = (cx.carried(site.operand(1)?)?, cx.carried_result(site.result()?)?);
    output.expect_type(updates.dtype)?;
    let (listed, values) = positions(cx, site.operand(0)?)?;
    let stated = cx.integers(site.operand(2)?)?;
    let shape = stated.into_iter().map(|size| positive("the size", size)).collect::<Result<Vec<_>, _>>()?;
    output.expect_shape(&shape)?;
    let (flat, depth) = coordinates(&listed, &values, &shape)?;
    updates.expect_shape(&[&listed[..listed.len() - 1], &shape[depth..]].concat())?;
    cx.take(product(&shape[..depth]), size_of::<Option<usize>>())?;
    let mut index = vec![None; product(&shape[..depth])];
    let size = flat.len();
    for (update, at) in flat.into_iter().enumerate() {
        if index[at].replace(update).is_some() {
            let reason = "two updates go to one position, where TFLite adds bytes that wrap";
            return Err(unsupported(codes::VARIANT, reason, "scatter to distinct positions").into());
        }
    }
    Ok(chain(vec![Movement::Gather { rows: 1, size, index, value: 0 }], vec![updates.id]))
}

pub(super) fn matrix_diag(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(1, 1)?;
    let (input, output) = ends(cx, site)?;
    let n = *input.shape.last().ok_or_else(|| damaged(codes::SHAPE, "it has no dimension"))?;
    let mut shape = input.shape.clone();
    shape.push(n);
    elements(&shape)?;
    output.expect_shape(&shape)?;
    // Each element before n zeros; a row then has one zero more than its matrix at the end.
    let zeros = Movement::Fill { rows: input.len(), before: 0, after: n, value: 0 };
    let strides = vec![(n * (n + 1)).cast_signed(), 1];
    let cut = Movement::View { start: 0, dims: vec![input.len() / n, n * n], strides };
    Ok(chain(vec![zeros, cut], vec![input.id]))
}

pub(super) fn reverse_sequence(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    let Some(BuiltinOptionsRef::ReverseSequenceOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 2)?;
    let (input, output) = ends(cx, site)?;
    if input.dtype == DType::I8 {
        let reason = format!("TFLite has no {} form of {}", names::dtype(input.dtype), site.name);
        return Err(unsupported(codes::TYPE, reason, "reverse before quantizing").into());
    }
    output.expect_shape(&input.shape)?;
    let rank = input.shape.len();
    let (sequence, batch) =
        (axis(field(options.seq_dim())?.into(), rank)?, axis(field(options.batch_dim())?.into(), rank)?);
    let (_, lengths) = positions(cx, site.operand(1)?)?;
    if sequence == batch || lengths.len() != input.shape[batch] {
        return Err(damaged(codes::OPTIONS, "its lengths do not fit its operand").into());
    }
    let size = input.shape[sequence];
    let lengths = lengths.iter().map(|&length| position(length - 1, size)).collect::<Result<Vec<_>, _>>()?;
    let outer = &input.shape[..=sequence.max(batch)];
    let from = strides(outer);
    let along = |flat: usize, axis: usize| flat / from[axis].unsigned_abs() % outer[axis];
    cx.take(product(outer), size_of::<Option<usize>>())?;
    let index = (0..product(outer)).map(|flat| {
        let (at, last) = (along(flat, sequence), lengths[along(flat, batch)]);
        let source = if at > last { at } else { last - at };
        Some(flat + source * from[sequence].unsigned_abs() - at * from[sequence].unsigned_abs())
    });
    let index = index.collect();
    Ok(chain(vec![Movement::Gather { rows: 1, size: product(outer), index, value: 0 }], vec![input.id]))
}

pub(super) fn dynamic_update_slice(cx: &mut Context<'_>, site: &Site<'_>) -> Imported {
    site.operands(3, 3)?;
    let (input, output) = ends(cx, site)?;
    let update = cx.carried(site.operand(1)?)?;
    update.expect_type(input.dtype)?;
    output.expect_shape(&input.shape)?;
    let shape = &input.shape;
    if update.shape.len() != shape.len() || update.shape.iter().zip(shape).any(|(part, whole)| part > whole) {
        return Err(damaged(codes::SHAPE, format!("the update {:?} exceeds {shape:?}", update.shape)).into());
    }
    let (_, listed) = positions(cx, site.operand(2)?)?;
    if listed.len() != shape.len() {
        return Err(damaged(codes::SHAPE, format!("{} positions for {shape:?}", listed.len())).into());
    }
    let room = shape.iter().zip(&update.shape).map(|(whole, part)| whole - part);
    let start: Vec<usize> =
        listed.iter().zip(room).map(|(&at, room)| usize::try_from(at).unwrap_or(0).min(room)).collect();
    let Some(last) = shape.iter().zip(&update.shape).rposition(|(whole, part)| whole != part) else {
        return Ok((Kind::Reshape, vec![update.id]));
    };
    // Slices of both operands, one after the other; those of the update take the places that it covers.
    let (outer, part) = (&shape[..=last], &update.shape[..=last]);
    let (from, own) = (strides(outer), strides(part));
    let count = product(outer);
    cx.take(count, size_of::<Option<usize>>())?;
    let source = |flat: usize| {
        let inside = (0..=last).try_fold(0, |sum, axis| {
            let at = flat / from[axis].unsigned_abs() % outer[axis];
            let at = at.checked_sub(start[axis]).filter(|&at| at < part[axis])?;
            Some(sum + at * own[axis].unsigned_abs())
        });
        Some(inside.map_or(flat, |at| count + at))
    };
    let index = (0..count).map(source).collect();
    let select = Movement::Gather { rows: 1, size: count + product(part), index, value: 0 };
    Ok(chain(vec![Movement::Concat { rows: 1 }, select], vec![input.id, update.id]))
}
