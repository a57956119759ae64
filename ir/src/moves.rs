//! Ops that only copy elements: which results they have, and the copying on dense row-major tensors. Shared by the type
//! rules, the evaluator and the VM.

/// Shape of `parts` joined along `axis`.
pub(crate) fn concat_shape(parts: &[&[u32]], axis: u32) -> Result<Vec<u32>, String> {
    let at = axis as usize;
    let mut shape = parts.first().ok_or("joins nothing")?.to_vec();
    if at >= shape.len() {
        return Err(format!("there is no axis {axis}"));
    }
    for part in &parts[1..] {
        let fits =
            part.len() == shape.len() && part.iter().zip(&shape).enumerate().all(|(i, (a, b))| i == at || a == b);
        if !fits {
            return Err(format!("{} does not join {}", crate::types::dims(part), crate::types::dims(&shape)));
        }
        shape[at] = shape[at].saturating_add(part[at]);
    }
    Ok(shape)
}

/// Joins tensors, each given with its shape, along `axis`.
pub fn concat<T: Copy>(parts: &[(&[T], &[u32])], axis: u32) -> Vec<T> {
    let at = axis as usize;
    let rows: usize = parts.first().map_or(0, |(_, shape)| shape[..at].iter().map(|d| *d as usize).product());
    let mut out = Vec::with_capacity(parts.iter().map(|(data, _)| data.len()).sum());
    for row in 0..rows {
        for (data, _) in parts {
            let width = data.len() / rows;
            out.extend_from_slice(&data[row * width..(row + 1) * width]);
        }
    }
    out
}

/// Refuses a view that leaves a tensor of `len` elements.
pub(crate) fn check_view(len: u64, start: u32, shape: &[u32], strides: &[i32]) -> Result<(), String> {
    if shape.len() != strides.len() {
        return Err(format!("{} strides for {} axes", strides.len(), shape.len()));
    }
    let (mut first, mut last) = (i128::from(start), i128::from(start));
    for (&size, &stride) in shape.iter().zip(strides) {
        let reach = (i128::from(size) - 1) * i128::from(stride);
        *if reach < 0 { &mut first } else { &mut last } += reach;
    }
    if first < 0 || last >= i128::from(len) {
        return Err(format!("the view reaches from {first} to {last} of {len} elements"));
    }
    Ok(())
}

/// Reads `start + Σ index·stride` for each index of `shape`, the last axis fastest. The view must lie inside.
pub fn view<T: Copy>(x: &[T], start: u32, shape: &[u32], strides: &[i32]) -> Vec<T> {
    let total: usize = shape.iter().map(|d| *d as usize).product();
    let Some((&run, outer)) = shape.split_last() else { return vec![x[start as usize]] };
    let stride = strides[outer.len()] as isize;
    let mut out = Vec::with_capacity(total);
    let mut index = vec![0u32; outer.len()];
    let mut at = start as isize;
    while out.len() < total {
        match stride {
            1 => out.extend_from_slice(&x[at as usize..at as usize + run as usize]),
            _ => out.extend((0..run as isize).map(|i| x[(at + i * stride) as usize])),
        }
        for i in (0..outer.len()).rev() {
            index[i] += 1;
            at += strides[i] as isize;
            if index[i] < outer[i] {
                break;
            }
            at -= strides[i] as isize * outer[i] as isize;
            index[i] = 0;
        }
    }
    out
}

/// Slices of `axis` in the order of `index`, zeros where an index is outside.
pub fn gather<T: Copy + Default>(x: &[T], shape: &[u32], index: &[u64], axis: u32) -> Vec<T> {
    let at = axis as usize;
    let size = shape[at] as usize;
    let inner: usize = shape[at + 1..].iter().map(|d| *d as usize).product();
    let mut out = Vec::with_capacity(x.len() / size.max(1) * index.len());
    for row in x.chunks_exact(size * inner) {
        for i in index {
            match usize::try_from(*i).ok().filter(|i| *i < size) {
                Some(i) => out.extend_from_slice(&row[i * inner..(i + 1) * inner]),
                None => out.resize(out.len() + inner, T::default()),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_stay_inside() {
        assert_eq!(check_view(6, 5, &[2, 2], &[-3, -1]), Ok(()));
        assert!(check_view(5, 5, &[2, 2], &[-3, -1]).is_err());
        assert!(check_view(6, 3, &[2, 2], &[-3, -1]).is_err());
        assert!(check_view(6, 0, &[2], &[1, 1]).is_err());
        assert!(check_view(u64::MAX, 0, &[u32::MAX; 8], &[i32::MAX; 8]).is_err());
        assert_eq!(view(&[0, 1, 2, 3, 4, 5], 5, &[2, 2], &[-3, -1]), [5, 4, 2, 1]);
        assert_eq!(view(&[7], 0, &[], &[]), [7]);
    }

    #[test]
    fn joining_keeps_rows() {
        assert_eq!(concat_shape(&[&[2, 1], &[2, 2]], 1), Ok(vec![2, 3]));
        assert!(concat_shape(&[&[2, 1], &[1, 2]], 1).is_err() && concat_shape(&[&[2]], 1).is_err());
        assert_eq!(concat(&[(&[1, 4], &[2, 1]), (&[2, 3, 5, 6], &[2, 2])], 1), [1, 2, 3, 4, 5, 6]);
        assert_eq!(gather(&[1, 2, 3, 4], &[2, 2], &[1, 1, 9, 0], 1), [2, 2, 0, 1, 4, 4, 0, 3]);
    }
}
