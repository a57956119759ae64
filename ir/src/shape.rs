//! Index arithmetic on dense row-major tensors, shared by the evaluator and the VM.
use crate::imm::{Strided, Window};

/// NumPy broadcasting of two shapes.
pub fn broadcast(a: &[u32], b: &[u32]) -> Option<Vec<u32>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[u32], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (dim(a, i), dim(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// How a smaller tensor is read along a larger one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Elements of the result.
    pub len: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl Broadcast {
    /// Reads `small` along `big`; `small` must broadcast to `big`.
    pub fn new(small: &[u32], big: &[u32]) -> Self {
        let mut dims: Vec<usize> = Vec::new();
        let mut strides: Vec<usize> = Vec::new();
        let offset = big.len() - small.len();
        let mut step = 1usize;
        let mut own = vec![0usize; big.len()];
        for i in (0..small.len()).rev() {
            own[i + offset] = if small[i] == 1 { 0 } else { step };
            step *= small[i] as usize;
        }
        // Neighbouring axes that are walked alike become one.
        for (d, s) in big.iter().map(|d| *d as usize).zip(own) {
            if d == 1 {
                continue;
            }
            match (dims.last_mut(), strides.last_mut()) {
                (Some(pd), Some(ps)) if (*ps == 0 && s == 0) || (s != 0 && *ps == s * d) => {
                    *pd *= d;
                    *ps = s;
                }
                _ => {
                    dims.push(d);
                    strides.push(s);
                }
            }
        }
        Broadcast { len: big.iter().map(|d| *d as usize).product(), dims, strides }
    }

    /// Calls `f(start in big, start in small, run, stride in small)` for each innermost run, in order.
    #[inline(always)]
    pub fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let Some((&run, outer)) = self.dims.split_last() else {
            f(0, 0, self.len, 0);
            return;
        };
        let stride = self.strides[outer.len()];
        let mut index = vec![0usize; outer.len()];
        let (mut big, mut small) = (0, 0);
        while big < self.len {
            f(big, small, run, stride);
            big += run;
            for i in (0..outer.len()).rev() {
                index[i] += 1;
                small += self.strides[i];
                if index[i] < outer[i] {
                    break;
                }
                small -= self.strides[i] * outer[i];
                index[i] = 0;
            }
        }
    }
}

/// `big[i] = f(big[i], small[i broadcast])`.
#[inline(always)]
pub fn zip_broadcast_assign<A: Copy, B: Copy>(
    big: &mut [A],
    small: &[B],
    how: &Broadcast,
    mut f: impl FnMut(A, B) -> A,
) {
    how.runs(
        #[inline(always)]
        |b, s, run, stride| {
            let part = &mut big[b..b + run];
            match stride {
                0 => {
                    let y = small[s];
                    part.iter_mut().for_each(|x| *x = f(*x, y));
                }
                1 => part.iter_mut().zip(&small[s..s + run]).for_each(|(x, y)| *x = f(*x, *y)),
                _ => part.iter_mut().enumerate().for_each(|(i, x)| *x = f(*x, small[s + i * stride])),
            }
        },
    );
}

/// `out[i] = f(big[i], small[i broadcast])`.
#[inline(always)]
pub fn zip_broadcast<A: Copy, B: Copy, C>(
    big: &[A],
    small: &[B],
    how: &Broadcast,
    mut f: impl FnMut(A, B) -> C,
) -> Vec<C> {
    let mut out = Vec::with_capacity(big.len());
    how.runs(
        #[inline(always)]
        |b, s, run, stride| {
            let part = &big[b..b + run];
            match stride {
                0 => {
                    let y = small[s];
                    out.extend(part.iter().map(|x| f(*x, y)));
                }
                1 => out.extend(part.iter().zip(&small[s..s + run]).map(|(x, y)| f(*x, *y))),
                _ => out.extend(part.iter().enumerate().map(|(i, x)| f(*x, small[s + i * stride]))),
            }
        },
    );
    out
}

/// Repeats a tensor to a larger shape.
pub fn expand<T: Copy>(x: &[T], from: &[u32], to: &[u32]) -> Vec<T> {
    let how = Broadcast::new(from, to);
    let mut out = Vec::with_capacity(how.len);
    how.runs(|_, s, run, stride| out.extend((0..run).map(|i| x[s + i * stride])));
    out
}

fn strides(shape: &[u32]) -> Vec<usize> {
    let mut s = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i] as usize;
    }
    s
}

/// A strided part of a tensor.
pub fn slice<T: Copy>(x: &[T], shape: &[u32], part: &Strided) -> Vec<T> {
    let step = strides(shape);
    let total: usize = part.size.iter().map(|d| *d as usize).product();
    let mut out = Vec::with_capacity(total);
    let Some(last) = shape.len().checked_sub(1) else { return x.to_vec() };
    let mut index = vec![0u32; shape.len()];
    while out.len() < total {
        let at: usize = (0..shape.len()).map(|i| (part.start[i] + index[i] * part.stride[i]) as usize * step[i]).sum();
        let n = part.size[last] as usize;
        match part.stride[last] {
            1 => out.extend_from_slice(&x[at..at + n]),
            s => out.extend((0..n).map(|i| x[at + i * s as usize])),
        }
        for i in (0..last).rev() {
            index[i] += 1;
            if index[i] < part.size[i] {
                break;
            }
            index[i] = 0;
        }
    }
    out
}

/// Surrounds a tensor with zeros.
pub fn pad<T: Copy + Default>(x: &[T], shape: &[u32], amounts: &[u32]) -> Vec<T> {
    let big: Vec<u32> = shape.iter().enumerate().map(|(i, d)| d + amounts[2 * i] + amounts[2 * i + 1]).collect();
    let step = strides(&big);
    let mut out = vec![T::default(); big.iter().map(|d| *d as usize).product()];
    let Some(last) = shape.len().checked_sub(1) else { return x.to_vec() };
    let n = shape[last] as usize;
    let mut index = vec![0u32; shape.len()];
    for row in x.chunks_exact(n) {
        let at: usize = (0..shape.len()).map(|i| (amounts[2 * i] + index[i]) as usize * step[i]).sum();
        out[at..at + n].copy_from_slice(row);
        for i in (0..last).rev() {
            index[i] += 1;
            if index[i] < shape[i] {
                break;
            }
            index[i] = 0;
        }
    }
    out
}

/// Input positions of window `o` along one axis that lie inside `size`: (kernel offset, input index).
pub fn taps(w: &Window, axis: usize, o: u32, size: u32) -> impl Iterator<Item = (usize, usize)> + use<> {
    let base = i64::from(o) * i64::from(w.stride[axis]) - i64::from(w.pad[axis]);
    let (k, d) = (w.kernel[axis], i64::from(w.dilation[axis]));
    (0..k).filter_map(move |i| {
        let at = base + i64::from(i) * d;
        (at >= 0 && at < i64::from(size)).then_some((i as usize, at as usize))
    })
}

/// Sums windows of an NHWC tensor.
pub fn window_sum<T: Copy + Default>(x: &[T], shape: &[u32], w: &Window, add: impl Fn(T, T) -> T) -> Vec<T> {
    let [n, h, wd, c] = [shape[0], shape[1], shape[2], shape[3]].map(|d| d as usize);
    let mut out = vec![T::default(); n * w.out[0] as usize * w.out[1] as usize * c];
    let mut rows = out.chunks_exact_mut(c);
    for b in 0..n {
        for oy in 0..w.out[0] {
            for ox in 0..w.out[1] {
                let row = rows.next().expect("one row per output position");
                for (_, y) in taps(w, 0, oy, shape[1]) {
                    for (_, xx) in taps(w, 1, ox, shape[2]) {
                        let at = ((b * h + y) * wd + xx) * c;
                        row.iter_mut().zip(&x[at..at + c]).for_each(|(o, v)| *o = add(*o, *v));
                    }
                }
            }
        }
    }
    out
}

/// Number of positions inside the input, per output position.
pub fn window_count(size: &[u32], w: &Window) -> Vec<i64> {
    let count = |axis: usize, o: u32| taps(w, axis, o, size[axis]).count() as i64;
    (0..w.out[0]).flat_map(|y| (0..w.out[1]).map(move |x| count(0, y) * count(1, x))).collect()
}

/// Sums over axes, which keep size 1.
pub fn reduce_sum<T: Copy + Default>(x: &[T], shape: &[u32], axes: &[u8], add: impl Fn(T, T) -> T) -> Vec<T> {
    let small: Vec<u32> =
        shape.iter().enumerate().map(|(i, d)| if axes.contains(&(i as u8)) { 1 } else { *d }).collect();
    let mut out = vec![T::default(); small.iter().map(|d| *d as usize).product()];
    Broadcast::new(&small, shape).runs(|b, s, run, stride| {
        for i in 0..run {
            let o = &mut out[s + i * stride];
            *o = add(*o, x[b + i]);
        }
    });
    out
}
