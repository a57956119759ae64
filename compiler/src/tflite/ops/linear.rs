//! CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED.

use super::super::arith::{self, Activation as Fused};
use super::super::context::{Activation, Context, Site, Weights, dims, no_options};
use super::super::fault::{Fault, Stop, damaged, unsupported};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::super::{codes, names};
use super::{WindowOptions, field, window};
use crate::qgraph::{DType, Kind, Linear, Rescale, TensorId};

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
    let (bias, check) = bias(cx, site.optional(2), out)?;
    if weights.scales.len() == 1 {
        bias_scale(check, &input, &weights, &output)?;
    }
    let multipliers = real_multipliers(&input, &weights, &output);
    if multipliers.iter().any(|k| !k.is_finite() || *k >= f64::from(1 << 30)) {
        return Err(arith::scales_apart().into());
    }
    output.expect_shape(&shape)?;
    let linear = linear(&input, &weights, bias, Rescale::Once(multipliers), &output, fused)?;
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
    let (bias, scale) = bias(cx, bias_at, channels)?;
    if weights.dtype == DType::U8 {
        bias_scale(scale, input, weights, output)?;
    }
    let real = match weights.dtype {
        DType::U8 => vec![uint8_multiplier(input, weights, output)],
        _ => real_multipliers(input, weights, output),
    };
    let multipliers = real.into_iter().map(arith::multiplier).collect::<Result<Vec<_>, _>>()?;
    Ok(linear(input, weights, bias, Rescale::Twice(multipliers), output, fused)?)
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
    if weights.dtype != input.dtype {
        let reason =
            format!("weights are {} and the input is {}", names::dtype(weights.dtype), names::dtype(input.dtype));
        return Err(unsupported(codes::TYPE, reason, "quantize weights and activations to one type").at(weights.index));
    }
    Ok(())
}

/// A bias tensor and its scale.
type BiasScale = (usize, f32);

/// The bias, zeros where there is none.
fn bias(cx: &mut Context<'_>, index: Option<usize>, channels: usize) -> Result<(Vec<i64>, Option<BiasScale>), Stop> {
    match index {
        Some(index) => cx.bias(index, channels).map(|(bias, scale)| (bias, Some((index, scale)))),
        None => {
            cx.take(channels, size_of::<i64>())?;
            Ok((vec![0; channels], None))
        }
    }
}

/// The kernels look at the bias scale only where all channels share one weight scale.
fn bias_scale(
    bias: Option<BiasScale>,
    input: &Activation,
    weights: &Weights<'_>,
    output: &Activation,
) -> Result<(), Fault> {
    let Some((index, scale)) = bias else {
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
