//! MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, ARG_MAX, ARG_MIN and TOPK_V2.
use super::pointwise::store;
use super::{Evaluated, Operand, dense_strides, offsets};
use crate::qgraph::{Multiplier, Output, Rescale, fixed};

/// Number of results, and for each element of `x` the result it goes into.
fn groups(axes: &[usize], x: &Operand<'_>) -> Evaluated<(usize, Vec<usize>)> {
    let mut kept = x.shape.to_vec();
    for &axis in axes {
        *kept.get_mut(axis).ok_or("an axis does not exist")? = 1;
    }
    let mut strides = dense_strides(&kept);
    for &axis in axes {
        strides[axis] = 0;
    }
    Ok((kept.iter().product(), offsets(x.shape, &strides)))
}

pub(super) fn mean(
    axes: &[usize],
    input_zero_point: i32,
    rescale: &Rescale,
    out: &Output,
    x: &Operand<'_>,
) -> Evaluated<Vec<i32>> {
    if rescale.channels().is_some_and(|channels| channels != 1) {
        return Err("takes one multiplier");
    }
    let (count, into) = groups(axes, x)?;
    let mut sums = vec![0i32; count];
    for (&q, to) in x.data.iter().zip(into) {
        sums[to] = sums[to].wrapping_add(q.wrapping_sub(input_zero_point));
    }
    Ok(sums.into_iter().map(|sum| store(fixed::requantize(rescale, 0, sum.into()), out)).collect())
}

pub(super) fn extremum(axes: &[usize], largest: bool, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    let (count, into) = groups(axes, x)?;
    let mut best = vec![if largest { i32::MIN } else { i32::MAX }; count];
    for (&q, to) in x.data.iter().zip(into) {
        best[to] = if largest { best[to].max(q) } else { best[to].min(q) };
    }
    Ok(best)
}

pub(super) fn product(
    axes: &[usize],
    input_zero_point: i32,
    multiplier: Multiplier,
    out: &Output,
    x: &Operand<'_>,
) -> Evaluated<Vec<i32>> {
    let (count, into) = groups(axes, x)?;
    let step = |product: i64| fixed::wrap(fixed::rescale64(product, multiplier));
    let mut products: Vec<Option<i32>> = vec![None; count];
    for (&q, to) in x.data.iter().zip(into) {
        let factor = q.wrapping_sub(input_zero_point);
        products[to] = Some(products[to].map_or(factor, |product| step(i64::from(product) * i64::from(factor))));
    }
    let last = |product: Option<i32>| store(step(product.unwrap_or(0).into()).into(), out);
    Ok(products.into_iter().map(last).collect())
}

pub(super) fn top(axis: usize, k: usize, largest: bool, indices: bool, x: &Operand<'_>) -> Evaluated<Vec<i32>> {
    let size = *x.shape.get(axis).ok_or("an axis does not exist")?;
    if k > size {
        return Err("asks for more elements than there are");
    }
    let inner: usize = x.shape[axis + 1..].iter().product();
    let outer = x.data.len() / (size * inner);
    let mut result = vec![0; outer * k * inner];
    for o in 0..outer {
        for i in 0..inner {
            let at = |j: usize| x.data[(o * size + j) * inner + i];
            let mut order: Vec<usize> = (0..size).collect();
            // Stable, so that the first of equals stays first.
            order.sort_by_key(|&j| if largest { -i64::from(at(j)) } else { i64::from(at(j)) });
            for (rank, &j) in order.iter().take(k).enumerate() {
                let value = if indices { i32::try_from(j).map_err(|_| "an axis is too long")? } else { at(j) };
                result[(o * k + rank) * inner + i] = value;
            }
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qgraph::DType;

    #[test]
    fn the_first_of_equals_wins() {
        let x = Operand { dtype: DType::I8, shape: &[2, 4], data: &[3, 7, 7, 1, -5, -5, -9, -9] };
        assert_eq!(top(1, 1, true, true, &x), Ok(vec![1, 0]));
        assert_eq!(top(1, 1, false, true, &x), Ok(vec![3, 2]));
        assert_eq!(top(1, 3, true, false, &x), Ok(vec![7, 7, 3, -5, -5, -9]));
        assert_eq!(top(0, 1, true, true, &x), Ok(vec![0, 0, 0, 0]));
        assert_eq!(extremum(&[0], false, &x), Ok(vec![-5, -5, -9, -9]));
        assert!(top(2, 1, true, true, &x).is_err() && top(1, 5, true, true, &x).is_err());
    }
}
