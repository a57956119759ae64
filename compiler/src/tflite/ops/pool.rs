//! AVERAGE_POOL_2D, MAX_POOL_2D.

use super::super::arith::Activation as Fused;
use super::super::codes;
use super::super::context::{Context, Site, no_options};
use super::super::fault::{Stop, damaged, limit};
use super::super::schema::tflite::BuiltinOptionsRef;
use super::{WindowOptions, field, window};
use crate::qgraph::{Kind, TensorId};

/// Most positions of a pooling window.
const MAX_WINDOW: usize = 1 << 20;

pub(super) fn pool(cx: &mut Context<'_>, site: &Site<'_>) -> Result<(Kind, Vec<TensorId>), Stop> {
    let Some(BuiltinOptionsRef::Pool2DOptions(options)) = site.operator.options else {
        return Err(no_options().into());
    };
    site.operands(1, 1)?;
    let (input, output) = (cx.data(site.operand(0)?)?, cx.activation(site.result()?)?);
    output.expect_type(input.dtype)?;
    let [batch, h, w, channels] = input.dims()?;
    let mut kernel = [0; 2];
    for (size, stated) in kernel.iter_mut().zip([field(options.filter_height())?, field(options.filter_width())?]) {
        *size = usize::try_from(stated).unwrap_or(0);
        if *size == 0 {
            return Err(damaged(codes::OPTIONS, format!("its window has the size {stated}")).into());
        }
    }
    if kernel[0].saturating_mul(kernel[1]) > MAX_WINDOW {
        return Err(limit(codes::ELEMENTS, format!("its window has more than {MAX_WINDOW} positions")).into());
    }
    let geometry = WindowOptions {
        padding: field(options.padding())?,
        stride: [field(options.stride_h())?, field(options.stride_w())?],
        dilation: [1, 1],
    };
    let (window, [oh, ow]) = window(&geometry, [h, w], kernel)?;
    let bounds = Fused::of(field(options.activation())?)?.output(output.dtype, output.quant)?;
    output.expect_shape(&[batch, oh, ow, channels])?;
    let (lo, hi) = (bounds.lo, bounds.hi);
    let kind = if site.name == "MAX_POOL_2D" {
        Kind::MaxPool2d { window, lo, hi }
    } else {
        Kind::AveragePool2d { window, lo, hi }
    };
    Ok((kind, vec![input.id]))
}
