//! CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED, BATCH_MATMUL.

use super::super::arith::{self, Activation as Fused};
use super::super::checks::elements;
use super::super::context::{Activation, Context, Site, Weights, dims, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::super::{codes, names};
use super::elementwise::broadcast;
use super::{WindowOptions, field, window};
use crate::qgraph::{DType, Kind, Linear, Movement, Multiplier, Rescale, TensorId, Window};

/// Largest difference between bias scale and product of scales, in output steps.
const BIAS_SCALE_SLACK: f64 = 0.02;

pub(super) fn conv(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::Conv2DOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 3)?;
    let (input, weights, output) = (site.operand(0)?, site.operand(1)?, site.result()?);
    let Some(bias) = site.optional(2) else {
        return Err(unsupported(
            codes::VARIANT,
            "it has no bias, which TFLite's kernel refuses",
            "add a bias of zeros",
        )
        .into());
    };
    for index in [input, weights] {
        dims::<4>(&cx.shape(index)?).map_err(|fault| fault.at(index))?;
    }
    let (input, output) = (cx.data(input)?, cx.activation(output)?);
    let weights = cx.weights(weights, 0)?;
    let [batch, h, w, channels] = input.dims()?;
    let [out, kh, kw, depth] = dims(&weights.shape)?;
    if channels % depth != 0 || out % (channels / depth) != 0 {
        let reason = format!("weights of {out} filters with depth {depth} do not fit an input of {channels} channels");
        return Err(damaged(codes::SHAPE, reason).at(weights.index).into());
    }
    let geometry = WindowOptions {
        padding: field(options.padding())?,
        stride: [field(options.stride_h())?, field(options.stride_w())?],
        dilation: [field(options.dilation_h())?, field(options.dilation_w())?],
    };
    let (window, [oh, ow]) = window(&geometry, [h, w], [kh, kw])?;
    let fused = Fused::of(field(options.activation())?)?;
    let linear = convolution(cx, &input, &weights, Some(bias), &output, out, fused)?;
    output.expect_shape(&[batch, oh, ow, out])?;
    Ok((Kind::Conv2d { window, groups: channels / depth, linear }, vec![input.id]))
}

pub(super) fn depthwise(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::DepthwiseConv2DOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 3)?;
    let (input, weights, output) = (site.operand(0)?, site.operand(1)?, site.result()?);
    for index in [input, weights] {
        dims::<4>(&cx.shape(index)?).map_err(|fault| fault.at(index))?;
    }
    let (input, output) = (cx.data(input)?, cx.activation(output)?);
    let weights = cx.weights(weights, 3)?;
    let [batch, h, w, channels] = input.dims()?;
    let [one, kh, kw, out] = dims(&weights.shape)?;
    if one != 1 || out % channels != 0 {
        let reason = format!("weights of shape {:?} do not fit an input of {channels} channels", weights.shape);
        return Err(damaged(codes::SHAPE, reason).at(weights.index).into());
    }
    let multiplier = out / channels;
    let stated = field(options.depth_multiplier())?;
    if stated != 0 && usize::try_from(stated) != Ok(multiplier) {
        return Err(damaged(
            codes::OPTIONS,
            format!("its depth multiplier is {stated}, the weights have {multiplier}"),
        )
        .into());
    }
    let geometry = WindowOptions {
        padding: field(options.padding())?,
        stride: [field(options.stride_h())?, field(options.stride_w())?],
        dilation: [field(options.dilation_h())?, field(options.dilation_w())?],
    };
    let (window, [oh, ow]) = window(&geometry, [h, w], [kh, kw])?;
    let fused = Fused::of(field(options.activation())?)?;
    let linear = convolution(cx, &input, &weights, site.optional(2), &output, out, fused)?;
    output.expect_shape(&[batch, oh, ow, out])?;
    Ok((Kind::DepthwiseConv2d { window, multiplier, linear }, vec![input.id]))
}

/// As a convolution over the input spread out: stride − 1 zeros after each pixel, and the kernel turned around.
pub(super) fn transpose_conv(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::TransposeConvOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(3, 4)?;
    let (weights, input) = (site.operand(1)?, site.operand(2)?);
    for index in [input, weights] {
        dims::<4>(&cx.shape(index)?).map_err(|fault| fault.at(index))?;
    }
    let (input, output) = (cx.data(input)?, cx.activation(site.result()?)?);
    let mut weights = cx.weights(weights, 0)?;
    let ([batch, h, w, channels], [_, oh, ow, _]) = (input.dims()?, output.dims()?);
    let [out, kh, kw, depth] = dims(&weights.shape)?;
    if depth != channels {
        let reason = format!("weights of depth {depth} do not fit an input of {channels} channels");
        return Err(damaged(codes::SHAPE, reason).at(weights.index).into());
    }
    let stated = cx.integers(site.operand(0)?)?;
    let shape = stated.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect::<Vec<_>>();
    output.expect_shape(&shape)?;
    output.expect_shape(&[batch, oh, ow, out])?;
    // The forward convolution of the output has the size of the input.
    let stride = [field(options.stride_h())?, field(options.stride_w())?];
    let geometry = WindowOptions { padding: field(options.padding())?, stride, dilation: [1, 1] };
    let (forward, size) = window(&geometry, [oh, ow], [kh, kw])?;
    if size != [h, w] {
        let reason = format!("an output of {oh}x{ow} needs an input of {}x{}, not {h}x{w}", size[0], size[1]);
        return Err(damaged(codes::SHAPE, reason).at(output.id.index()).into());
    }
    let turned: Vec<u8> = (0..out)
        .flat_map(|c| (0..kh * kw).rev().map(move |tap| (c * kh * kw + tap) * depth))
        .flat_map(|from| weights.data[from..from + depth].iter().copied())
        .collect();
    weights.data = &turned;
    let fused = Fused::of(field(options.activation())?)?;
    let linear = convolution(cx, &input, &weights, site.optional(3), &output, out, fused)?;
    let [sh, sw] = forward.stride;
    let like = (input.dtype, input.quant.zero_point);
    let mut x = input.id;
    if [sh, sw] != [1, 1] {
        elements(&[batch, h, sh, w, sw, channels])?;
        x = cx.step(Kind::Reshape, vec![x], like, &[batch, h, 1, w, 1, channels])?;
        let amounts = vec![(0, 0), (0, 0), (0, sh - 1), (0, 0), (0, sw - 1), (0, 0)];
        let spread = Kind::Pad { amounts, value: input.quant.zero_point };
        x = cx.step(spread, vec![x], like, &[batch, h, sh, w, sw, channels])?;
        x = cx.step(Kind::Reshape, vec![x], like, &[batch, h * sh, w * sw, channels])?;
    }
    let before = |kernel: usize, pad: usize| kernel - 1 - pad;
    let window = Window {
        kernel: [kh, kw],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [before(kh, forward.pad[0]), before(kw, forward.pad[1])],
    };
    Ok((Kind::Conv2d { window, groups: 1, linear }, vec![x]))
}

/// Both operands are data, turned and repeated first where needed.
pub(super) fn batch_matmul(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::BatchMatMulOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 2)?;
    let transposed = [field(options.adj_x())?, field(options.adj_y())?];
    let operands = [cx.data(site.operand(0)?)?, cx.data(site.operand(1)?)?];
    let output = cx.activation(site.result()?)?;
    let [a, b] = &operands;
    a.expect_one_of(&[DType::I8, DType::I16], site.name)?;
    b.expect_type(a.dtype)?;
    output.expect_type(a.dtype)?;
    let too_flat = |x: &Activation| damaged(codes::SHAPE, "it has less than two dimensions").at(x.id.index());
    let split = |x: &Activation, turned: bool| match x.shape.split_last_chunk::<2>() {
        Some((batch, &[rows, columns])) => Ok((batch.to_vec(), if turned { [columns, rows] } else { [rows, columns] })),
        None => Err(too_flat(x)),
    };
    let ((batch_a, [m, k]), (batch_b, [k_b, n])) = (split(a, transposed[0])?, split(b, transposed[1])?);
    if k != k_b {
        let reason = format!("matrices of {m}x{k} and {k_b}x{n} cannot be multiplied");
        return Err(damaged(codes::SHAPE, reason).at(b.id.index()).into());
    }
    let batch = broadcast(&batch_a, &batch_b)?;
    let with = |last: [usize; 2]| [&batch[..], &last].concat();
    output.expect_shape(&with([m, n]))?;
    let real = f64::from(a.quant.scale) * f64::from(b.quant.scale) / f64::from(output.quant.scale);
    let multiplier = arith::multiplier(real)?;
    let rescale = if a.dtype == DType::I16 { wide(vec![multiplier])? } else { Rescale::Twice(vec![multiplier]) };
    let out = Fused::None.output(output.dtype, output.quant)?;
    let mut inputs = Vec::new();
    for (x, turned, last) in [(a, transposed[0], [m, k]), (b, transposed[1], [k, n])] {
        inputs.push(laid_out(cx, x, turned, &batch, &with(last))?);
    }
    let zero_points = [a.quant.zero_point, b.quant.zero_point];
    Ok((Kind::MatMul { zero_points, rescale, out }, inputs))
}

/// A matrix turned and repeated as needed.
fn laid_out(
    cx: &mut Context<'_>,
    x: &Activation,
    turned: bool,
    batch: &[usize],
    shape: &[usize],
) -> Result<TensorId, Fault> {
    if !turned && x.shape == shape {
        return Ok(x.id);
    }
    let rank = x.shape.len();
    let mut from = super::view::strides(&x.shape);
    if turned {
        from.swap(rank - 2, rank - 1);
    }
    let missing = shape.len() - rank;
    let mut strides = vec![0; missing];
    for (axis, &stride) in from.iter().enumerate() {
        let repeated = missing + axis < batch.len() && x.shape[axis] == 1;
        strides.push(if repeated { 0 } else { stride });
    }
    let movement = Movement::View { start: 0, dims: shape.to_vec(), strides };
    cx.step(Kind::Move { movement }, vec![x.id], (x.dtype, x.quant.zero_point), shape)
}

pub(super) fn fully_connected(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::FullyConnectedOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(2, 3)?;
    let (input, weights, output) = (site.operand(0)?, site.operand(1)?, site.result()?);
    dims::<2>(&cx.shape(weights)?).map_err(|fault| fault.at(weights))?;
    let (input, output) = (cx.data(input)?, cx.activation(output)?);
    let weights = cx.weights(weights, 0)?;
    let [out, depth] = dims(&weights.shape)?;
    if field(options.weights_format())? != 0 {
        return Err(unsupported(codes::STORAGE, "its weights are shuffled", "convert without shuffled weights")
            .at(weights.index)
            .into());
    }
    let keep = field(options.keep_num_dims())?;
    if input.len() % depth != 0 || (keep && input.shape.last() != Some(&depth)) {
        return Err(damaged(
            codes::SHAPE,
            format!("an input of shape {:?} is not made of rows of {depth}", input.shape),
        )
        .at(input.id.index())
        .into());
    }
    let mut shape =
        if keep { input.shape[..input.shape.len().saturating_sub(1)].to_vec() } else { vec![input.len() / depth] };
    shape.push(out);
    let fused = Fused::of(field(options.activation())?)?;
    same_types(&input, &weights, &output)?;
    let bias = bias(cx, site.optional(2), out, input.dtype)?;
    if weights.scales.len() == 1 && input.dtype != DType::I16 {
        bias_scale(&bias, &input, &weights, &output)?;
    }
    let multipliers = real_multipliers(&input, &weights, &output);
    if multipliers.iter().any(|k| !k.is_finite() || *k >= f64::from(1 << 30)) {
        return Err(arith::scales_apart().into());
    }
    output.expect_shape(&shape)?;
    let linear = linear(&input, &weights, bias.values, Rescale::Once(multipliers), &output, fused)?;
    Ok((Kind::FullyConnected { linear }, vec![input.id]))
}

/// What both convolutions have in common.
fn convolution(
    cx: &mut Context<'_>,
    input: &Activation,
    weights: &Weights<'_>,
    bias_at: Option<usize>,
    output: &Activation,
    channels: usize,
    fused: Fused,
) -> Result<Linear, Stop> {
    same_types(input, weights, output)?;
    if weights.dtype == DType::I8 && weights.zero_point != 0 {
        let reason = format!("int8 convolution weights have the zero point {}", weights.zero_point);
        return Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the weights symmetrically")
            .at(weights.index)
            .into());
    }
    let bias = bias(cx, bias_at, channels, input.dtype)?;
    if weights.dtype == DType::U8 {
        bias_scale(&bias, input, weights, output)?;
    }
    let real = match weights.dtype {
        DType::U8 => vec![uint8_multiplier(input, weights, output)],
        _ => real_multipliers(input, weights, output),
    };
    let multipliers = real.into_iter().map(arith::multiplier).collect::<Result<Vec<_>, _>>()?;
    let rescale = match (input.dtype, bias.dtype) {
        (DType::I16, None | Some(DType::I64)) => wide(multipliers)?,
        _ => Rescale::Twice(multipliers),
    };
    Ok(linear(input, weights, bias.values, rescale, output, fused)?)
}

/// The rule of 64-bit sums, whose shift is defined for multipliers below 2^14.
fn wide(multipliers: Vec<Multiplier>) -> Result<Rescale, Fault> {
    if multipliers.iter().any(|multiplier| multiplier.e > 14) {
        return Err(arith::scales_apart());
    }
    Ok(Rescale::Wide(multipliers))
}

fn linear(
    input: &Activation,
    weights: &Weights<'_>,
    bias: Vec<i64>,
    rescale: Rescale,
    output: &Activation,
    fused: Fused,
) -> Result<Linear, Fault> {
    let (lo, hi, zero) = match weights.dtype {
        DType::U8 => (0, 255, weights.zero_point),
        _ => (-128, 127, weights.zero_point),
    };
    let zero_point = i16::try_from(zero).expect("checked against the range of an 8-bit type");
    let centred = |&byte: &u8| match weights.dtype {
        DType::U8 => i16::from(byte) - zero_point,
        _ => i16::from(byte.cast_signed()) - zero_point,
    };
    Ok(Linear {
        weights: weights.data.iter().map(centred).collect(),
        weight_range: (lo - zero, hi - zero),
        bias,
        input_zero_point: input.quant.zero_point,
        rescale,
        out: fused.output(output.dtype, output.quant)?,
    })
}

fn same_types(input: &Activation, weights: &Weights<'_>, output: &Activation) -> Result<(), Fault> {
    output.expect_type(input.dtype)?;
    if weights.dtype != input.dtype && (input.dtype, weights.dtype) != (DType::I16, DType::I8) {
        let reason =
            format!("weights are {} and the input is {}", names::dtype(weights.dtype), names::dtype(input.dtype));
        return Err(unsupported(codes::TYPE, reason, "quantize weights and activations to one type").at(weights.index));
    }
    Ok(())
}

/// The bias, zeros where there is none.
struct Bias {
    values: Vec<i64>,
    /// `None` where there is none.
    dtype: Option<DType>,
    /// Where it is, and its scale.
    scale: Option<(usize, f32)>,
}

fn bias(cx: &mut Context<'_>, index: Option<usize>, channels: usize, data: DType) -> Result<Bias, Stop> {
    let Some(index) = index else {
        cx.take(channels, size_of::<i64>())?;
        return Ok(Bias { values: vec![0; channels], dtype: None, scale: None });
    };
    let bias = cx.bias(index, channels, data == DType::I16)?;
    Ok(Bias { values: bias.values, dtype: Some(bias.dtype), scale: Some((index, bias.scale)) })
}

/// The kernels look at the bias scale only where all channels share one weight scale.
fn bias_scale(bias: &Bias, input: &Activation, weights: &Weights<'_>, output: &Activation) -> Result<(), Fault> {
    let Some((index, scale)) = bias.scale else {
        return Ok(());
    };
    let product = f64::from(input.quant.scale) * f64::from(weights.scales[0]);
    if ((product - f64::from(scale)).abs() / f64::from(output.quant.scale)) <= BIAS_SCALE_SLACK {
        return Ok(());
    }
    let reason = format!("its scale is {scale}, expected input scale times weight scale, {product}");
    Err(unsupported(codes::QUANT_UNSUPPORTED, reason, "quantize the model again").at(index))
}

/// `s_x · s_w / s_y` of a uint8 convolution, which has one weight scale: the product is in single precision.
///
/// In double it would change outputs of `mobilenet_v1_1.0_224_quant` by up to 6.
fn uint8_multiplier(input: &Activation, weights: &Weights<'_>, output: &Activation) -> f64 {
    f64::from(input.quant.scale * weights.scales[0]) / f64::from(output.quant.scale)
}

/// `s_x · s_w / s_y` in double precision, in that order.
fn real_multipliers(input: &Activation, weights: &Weights<'_>, output: &Activation) -> Vec<f64> {
    let (x, y) = (f64::from(input.quant.scale), f64::from(output.quant.scale));
    weights.scales.iter().map(|&w| x * f64::from(w) / y).collect()
}
