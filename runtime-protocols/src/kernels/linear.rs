//! Convolutions and matrix products in the rings of integers modulo 2^32 and 2^64.
//!
//! Tensors are dense: inputs and outputs are `[batch][height][width][channel]`. Every function *adds* Σ over `pairs` of
//! (inputs × weights) to `out` in one pass, because a product of shares is a sum of products. Padding counts as zero.
//!
//! Convolution is a matrix product of gathered input patches and weights. Weights are laid out once per call in
//! panels of a few vectors; patches are gathered a tile of rows and a stretch of depth at a time, so that no im2col
//! matrix exists. Pairs, taps and input channels are one depth axis. A few rows only (a fully connected layer on one
//! input) read each weight once and need no panels. Work is shared out over tiles of output rows with `rayon`; copies
//! of inputs and weights are wiped.

use rayon::prelude::*;

use super::micro::{Block, Lane, Line, Loops};
use super::wide::Isa;
use super::words::Wiped;

/// The geometry of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_h: usize,
    /// Input columns.
    pub in_w: usize,
    /// Input channels.
    pub in_c: usize,
    /// Output rows.
    pub out_h: usize,
    /// Output columns.
    pub out_w: usize,
    /// Output channels.
    pub out_c: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs, down and right.
    pub stride: [usize; 2],
    /// Steps between taps, down and right.
    pub dilation: [usize; 2],
    /// Rows of zeros above and columns of zeros left of the input; below and right as many as the outputs reach.
    pub pad: [usize; 2],
    /// Channels are cut into this many groups that do not mix.
    pub groups: usize,
}

impl Conv {
    /// The product of a `rows` × `in_c` matrix and the transpose of an `out_c` × `in_c` matrix of weights.
    pub fn matmul(rows: usize, in_c: usize, out_c: usize) -> Self {
        Self {
            batch: 1,
            in_h: rows,
            in_w: 1,
            in_c,
            out_h: rows,
            out_w: 1,
            out_c,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
            groups: 1,
        }
    }

    /// Elements of the input.
    pub fn inputs(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Elements of the output.
    pub fn outputs(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Output pixels of all images.
    pub fn pixels(&self) -> usize {
        self.rows()
    }

    /// Numbers that the kernel covers in the input: its taps times the input channels.
    pub fn depth_of_input(&self) -> usize {
        self.taps() * self.in_c
    }

    /// Where in the input the channels start that tap `tap` of output pixel `row` reads; none in the padding.
    pub fn tap_source(&self, row: usize, tap: usize) -> Option<usize> {
        let [image, y, x] = self.place(row);
        let line = self.source(0, y, tap / self.kernel[1])?;
        let column = self.source(1, x, tap % self.kernel[1])?;
        let [lines, columns] = [self.in_h, self.in_w];
        Some(((image * lines + line) * columns + column) * self.in_c)
    }

    /// Taps of the kernel.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Output pixels: rows of the matrix product.
    fn rows(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// Image, row and column of an output pixel.
    fn place(&self, row: usize) -> [usize; 3] {
        [row / (self.out_h * self.out_w), row / self.out_w % self.out_h, row % self.out_w]
    }

    /// The input row or column that tap `tap` of output `at` reads, if it is not padding.
    fn source(&self, axis: usize, at: usize, tap: usize) -> Option<usize> {
        let limit = [self.in_h, self.in_w][axis];
        (at * self.stride[axis] + tap * self.dilation[axis]).checked_sub(self.pad[axis]).filter(|&s| s < limit)
    }

    fn check<T>(&self, weights: usize, pairs: &[(&[T], &[T])], out: &[T]) {
        assert!(self.groups > 0, "a convolution has at least one group");
        assert!(self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups), "groups cut evenly");
        assert_eq!(out.len(), self.outputs(), "outputs of {self:?}");
        for (x, w) in pairs {
            assert_eq!(x.len(), self.inputs(), "inputs of {self:?}");
            assert_eq!(w.len(), weights, "weights of {self:?}");
        }
    }
}

/// Convolution with weights `[out_c][kernel row][kernel column][in_c / groups]`, modulo 2^32.
pub fn conv2d_u32(g: &Conv, pairs: &[(&[u32], &[u32])], out: &mut [u32]) {
    conv2d(Isa::best(), g, pairs, out);
}

/// Convolution with weights `[out_c][kernel row][kernel column][in_c / groups]`, modulo 2^64.
pub fn conv2d_u64(g: &Conv, pairs: &[(&[u64], &[u64])], out: &mut [u64]) {
    conv2d(Isa::best(), g, pairs, out);
}

/// Depthwise convolution, modulo 2^32: output channel c reads input channel c / (`out_c` / `in_c`) alone; weights are
/// `[kernel row][kernel column][out_c]`. `groups` is `in_c`.
pub fn depthwise2d_u32(g: &Conv, pairs: &[(&[u32], &[u32])], out: &mut [u32]) {
    depthwise2d(Isa::best(), g, pairs, out);
}

/// Depthwise convolution, modulo 2^64; see [`depthwise2d_u32`].
pub fn depthwise2d_u64(g: &Conv, pairs: &[(&[u64], &[u64])], out: &mut [u64]) {
    depthwise2d(Isa::best(), g, pairs, out);
}

/// Up to this many rows, each weight is read as it lies.
const FEW_ROWS: usize = 3;
/// Rows gathered at a time, a multiple of the rows of every inner loop.
const TILE_ROWS: usize = 48;
/// Depth gathered at a time. 32 columns of weights this deep are 64 KiB.
const TILE_DEPTH: usize = 512;
/// Keeps rows of a tile off the same cache set.
const SKEW: usize = 16;
/// Products that are worth waking another thread for: it takes some microseconds, these take fifty or so.
const SHARE: usize = 1 << 20;
/// The same for weights that are laid out.
const SHARE_OF_WEIGHTS: usize = 1 << 16;

fn conv2d<T: Lane>(isa: Isa, g: &Conv, pairs: &[(&[T], &[T])], out: &mut [T]) {
    g.check(g.out_c * g.taps() * (g.in_c / g.groups.max(1)), pairs, out);
    if out.is_empty() {
        return;
    }
    let loops = T::loops(isa);
    let product = Product { g, pairs, group_in: g.in_c / g.groups, group_out: g.out_c / g.groups };
    if g.rows() <= FEW_ROWS { product.few_rows(&loops, out) } else { product.tiles(&loops, out) }
}

/// A convolution read as a matrix product. The depth axis of a group is (pair, kernel row, kernel column, channel).
struct Product<'a, T> {
    g: &'a Conv,
    pairs: &'a [(&'a [T], &'a [T])],
    group_in: usize,
    group_out: usize,
}

impl<T: Lane> Product<'_, T> {
    /// Depth of one pair.
    fn pair_depth(&self) -> usize {
        self.g.taps() * self.group_in
    }

    fn depth(&self) -> usize {
        self.pairs.len() * self.pair_depth()
    }

    /// Writes the inputs that output pixel `row` multiplies in `group`, from depth `from` on.
    fn gather(&self, row: usize, group: usize, from: usize, patch: &mut [T]) {
        let g = self.g;
        let [image, y, x] = g.place(row);
        // Taps next to each other in the input are one run, if all their channels are wanted.
        let joined = if g.dilation[1] == 1 && g.groups == 1 { g.kernel[1] } else { 1 };
        let run = joined * self.group_in;
        let (mut at, mut done) = (from, 0);
        while done < patch.len() {
            let skip = at % run;
            let tap = at / run * joined;
            let take = (run - skip).min(patch.len() - done);
            let part = &mut patch[done..done + take];
            let (pair, tap) = (tap / g.taps(), tap % g.taps());
            let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
            // The taps of the run that are inside: kx + first .. kx + end, `column` being the column of the first.
            let left = x * g.stride[1] + kx * g.dilation[1];
            let first = g.pad[1].saturating_sub(left).min(joined);
            let end = (g.in_w + g.pad[1]).saturating_sub(left).clamp(first, joined);
            match g.source(0, y, ky) {
                Some(line) if first < end => {
                    let column = left + first - g.pad[1];
                    let low = (first * self.group_in).clamp(skip, skip + take);
                    let high = (end * self.group_in).clamp(low, skip + take);
                    let start = ((image * g.in_h + line) * g.in_w + column) * g.in_c + group * self.group_in;
                    part[..low - skip].fill(T::default());
                    if low < high {
                        let start = start + low - first * self.group_in;
                        part[low - skip..high - skip].copy_from_slice(&self.pairs[pair].0[start..start + high - low]);
                    }
                    part[high - skip..].fill(T::default());
                }
                _ => part.fill(T::default()),
            }
            at += take;
            done += take;
        }
    }

    fn few_rows(&self, loops: &Loops<T>, out: &mut [T]) {
        let (g, pair_depth) = (self.g, self.pair_depth());
        let mut patch = Wiped::zeros(self.depth());
        if patch.is_empty() {
            return;
        }
        for (row, out) in out.chunks_exact_mut(g.out_c).enumerate() {
            for (group, out) in out.chunks_exact_mut(self.group_out).enumerate() {
                self.gather(row, group, 0, &mut patch);
                let least = SHARE.div_ceil(self.depth());
                out.par_iter_mut().enumerate().with_min_len(least).for_each(|(c, out)| {
                    let start = (group * self.group_out + c) * pair_depth;
                    for (x, (_, w)) in patch.chunks_exact(pair_depth).zip(self.pairs) {
                        *out = out.plus(loops.dot(x, &w[start..start + pair_depth]));
                    }
                });
            }
        }
    }

    fn tiles(&self, loops: &Loops<T>, out: &mut [T]) {
        let (g, depth) = (self.g, self.depth());
        if depth == 0 {
            return;
        }
        let panels = self.panels(loops);
        // Enough tiles for all threads to end at about the same time.
        let share = g.rows().div_ceil(4 * rayon::current_num_threads());
        let rows = share.next_multiple_of(loops.rows).min(TILE_ROWS);
        let stride = depth.min(TILE_DEPTH) + SKEW;
        let tile = || Wiped::zeros(rows.next_multiple_of(Loops::<T>::ROW_STEP) * stride);
        let least = SHARE.div_ceil(rows * self.group_out * g.groups * depth);
        let parts = out.par_chunks_mut(rows * g.out_c).enumerate().with_min_len(least);
        parts.for_each_init(tile, |tile, (at, out)| {
            let count = out.len() / g.out_c;
            for (group, panels) in panels.chunks_exact(panels.len() / g.groups).enumerate() {
                for from in (0..depth).step_by(TILE_DEPTH) {
                    let deep = TILE_DEPTH.min(depth - from);
                    for (r, patch) in tile.chunks_exact_mut(stride).take(count).enumerate() {
                        self.gather(at * rows + r, group, from, &mut patch[..deep]);
                    }
                    let mut start = 0;
                    for first in (0..self.group_out).step_by(loops.cols) {
                        let cols = loops.cols.min(self.group_out - first);
                        let panel_width = loops.panel_width(cols);
                        let panel = &panels[start + from * panel_width..][..deep * panel_width];
                        start += depth * panel_width;
                        for r in (0..count).step_by(loops.rows) {
                            let block = Block {
                                inputs: &tile[r * stride..],
                                stride,
                                panel,
                                depth: deep,
                                rows: loops.rows.min(count - r),
                                cols,
                            };
                            loops.multiply(&block, &mut out[r * g.out_c + group * self.group_out + first..], g.out_c);
                        }
                    }
                }
            }
        });
    }

    /// The weights as panels: for each group, for each few output channels, `[depth][channel]` with zero channels
    /// added up to the panel's width.
    fn panels(&self, loops: &Loops<T>) -> Wiped<T> {
        let (depth, pair_depth) = (self.depth(), self.pair_depth());
        let starts: Vec<usize> = (0..self.group_out).step_by(loops.cols).collect();
        let width = |first: usize| loops.panel_width(loops.cols.min(self.group_out - first));
        let group_width: usize = starts.iter().map(|&first| width(first)).sum();
        let mut panels = Wiped::zeros(self.g.groups * group_width * depth);
        let mut parts = Vec::new();
        let mut rest = &mut panels[..];
        for group in 0..self.g.groups {
            for &first in &starts {
                let (panel, more) = rest.split_at_mut(width(first) * depth);
                parts.push((group, first, panel));
                rest = more;
            }
        }
        let least = SHARE_OF_WEIGHTS.div_ceil(loops.cols * depth);
        parts.into_par_iter().with_min_len(least).for_each(|(group, first, panel)| {
            let width = width(first);
            let cols = width.min(self.group_out - first);
            for ((_, weights), panel) in self.pairs.iter().zip(panel.chunks_exact_mut(width * pair_depth)) {
                // A few lines at a time, so that they stay in the cache while their columns are filled.
                for (at, lines) in panel.chunks_mut(64 * width).enumerate() {
                    for c in 0..cols {
                        let start = (group * self.group_out + first + c) * pair_depth + at * 64;
                        for (line, &w) in lines.chunks_exact_mut(width).zip(&weights[start..]) {
                            line[c] = w;
                        }
                    }
                }
            }
        });
        panels
    }
}

fn depthwise2d<T: Lane>(isa: Isa, g: &Conv, pairs: &[(&[T], &[T])], out: &mut [T]) {
    assert_eq!(g.groups, g.in_c, "a depthwise convolution has a group to each input channel");
    g.check(g.taps() * g.out_c, pairs, out);
    if out.is_empty() {
        return;
    }
    let loops = T::loops(isa);
    let least = SHARE.div_ceil((g.out_w * g.out_c * g.taps() * pairs.len()).max(1));
    let lines = out.par_chunks_mut(g.out_w * g.out_c).enumerate().with_min_len(least);
    lines.for_each_init(Default::default, |(taps, ends), (row, out)| {
        let [image, y, _] = g.place(row * g.out_w);
        taps_of_line(g, image, y, taps, ends);
        if g.in_c == g.out_c {
            loops.line(&Line { pairs, taps, ends }, out);
            return;
        }
        let mut start = 0;
        for (out, &end) in out.chunks_exact_mut(g.out_c).zip(ends.iter()) {
            for (inputs, weights) in pairs {
                for &(x, w) in &taps[start..end] {
                    loops.expand(&inputs[x..x + g.in_c], &weights[w..w + g.out_c], out);
                }
            }
            start = end;
        }
    });
}

/// The taps that are not padding of each pixel of an output row: where they start in the inputs and in the weights.
fn taps_of_line(g: &Conv, image: usize, y: usize, taps: &mut Vec<(usize, usize)>, ends: &mut Vec<usize>) {
    taps.clear();
    ends.clear();
    for x in 0..g.out_w {
        for ky in 0..g.kernel[0] {
            let Some(from_y) = g.source(0, y, ky) else { continue };
            for kx in 0..g.kernel[1] {
                let Some(from_x) = g.source(1, x, kx) else { continue };
                let input = ((image * g.in_h + from_y) * g.in_w + from_x) * g.in_c;
                taps.push((input, (ky * g.kernel[1] + kx) * g.out_c));
            }
        }
        ends.push(taps.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::{Word, test_values};
    use super::*;

    /// The definition: one product at a time.
    fn plain<T: Word>(g: &Conv, depthwise: bool, pairs: &[(&[T], &[T])], out: &mut [T]) {
        let (group_in, group_out) = (g.in_c / g.groups, g.out_c / g.groups);
        for row in 0..g.batch * g.out_h * g.out_w {
            let (b, y, x) = (row / (g.out_h * g.out_w), row / g.out_w % g.out_h, row % g.out_w);
            for oc in 0..g.out_c {
                for ky in 0..g.kernel[0] {
                    for kx in 0..g.kernel[1] {
                        let iy = (y * g.stride[0] + ky * g.dilation[0]) as isize - g.pad[0] as isize;
                        let ix = (x * g.stride[1] + kx * g.dilation[1]) as isize - g.pad[1] as isize;
                        if iy < 0 || ix < 0 || iy >= g.in_h as isize || ix >= g.in_w as isize {
                            continue;
                        }
                        for c in 0..group_in {
                            let ic = oc / group_out * group_in + c;
                            let xi = ((b * g.in_h + iy as usize) * g.in_w + ix as usize) * g.in_c + ic;
                            let tap = ky * g.kernel[1] + kx;
                            let wi = if depthwise { tap * g.out_c + oc } else { (oc * g.taps() + tap) * group_in + c };
                            for (xs, ws) in pairs {
                                out[row * g.out_c + oc] = out[row * g.out_c + oc].mul_add(xs[xi], ws[wi]);
                            }
                        }
                    }
                }
            }
        }
    }

    fn check_word<T: Lane>(g: &Conv, depthwise: bool) {
        let weights = g.out_c * g.taps() * g.in_c / g.groups;
        let data: Vec<(Vec<T>, Vec<T>)> =
            (0..2).map(|i| (test_values(10 + i, g.inputs()), test_values(20 + i, weights))).collect();
        let all: Vec<(&[T], &[T])> = data.iter().map(|(x, w)| (&x[..], &w[..])).collect();
        for pairs in [&all[..], &all[..1], &[]] {
            let start: Vec<T> = test_values(30, g.outputs());
            let mut expected = start.clone();
            plain(g, depthwise, pairs, &mut expected);
            for isa in Isa::available() {
                let mut out = start.clone();
                if depthwise {
                    depthwise2d(isa, g, pairs, &mut out)
                } else {
                    conv2d(isa, g, pairs, &mut out)
                }
                assert!(
                    out == expected,
                    "{isa:?}, {} bits, {} pairs, depthwise {depthwise}, {g:?}",
                    T::BITS,
                    pairs.len()
                );
            }
        }
    }

    fn check(g: &Conv) {
        for depthwise in [false, true] {
            if !depthwise || g.groups == g.in_c {
                check_word::<u32>(g, depthwise);
                check_word::<u64>(g, depthwise);
            }
        }
    }

    /// Output sizes for `same` padding of any stride, or none.
    fn conv(
        [batch, in_h, in_w, in_c, out_c, groups]: [usize; 6],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        same: bool,
    ) -> Conv {
        let sizes = [in_h, in_w];
        let reach: [usize; 2] = std::array::from_fn(|a| (kernel[a] - 1) * dilation[a] + 1);
        let out: [usize; 2] = std::array::from_fn(|a| {
            if same { sizes[a].div_ceil(stride[a]) } else { (sizes[a] - reach[a]) / stride[a] + 1 }
        });
        let pad = std::array::from_fn(|a| {
            if same { ((out[a] - 1) * stride[a] + reach[a]).saturating_sub(sizes[a]) / 2 } else { 0 }
        });
        let [out_h, out_w] = out;
        Conv { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, dilation, pad, groups }
    }

    #[test]
    fn convolutions_agree_with_the_definition() {
        check(&conv([1, 7, 9, 3, 5, 1], [3, 3], [1, 1], [1, 1], true));
        check(&conv([2, 11, 10, 3, 35, 1], [3, 3], [2, 2], [1, 1], true));
        check(&conv([2, 11, 10, 5, 33, 1], [3, 5], [2, 1], [1, 1], false));
        check(&conv([1, 9, 12, 4, 17, 1], [3, 3], [1, 1], [2, 3], true));
        check(&conv([1, 9, 12, 4, 17, 1], [2, 3], [1, 2], [3, 1], true));
        check(&conv([2, 6, 7, 6, 9, 3], [3, 3], [1, 1], [1, 1], true));
        check(&conv([1, 6, 7, 40, 74, 2], [1, 3], [1, 2], [1, 1], true));
        check(&conv([1, 8, 8, 16, 16, 1], [1, 1], [1, 1], [1, 1], false));
        check(&conv([1, 5, 5, 19, 65, 1], [1, 1], [2, 2], [1, 1], true));
        // The kernel is larger than the input.
        check(&conv([1, 2, 2, 3, 4, 1], [5, 5], [1, 1], [1, 1], true));
    }

    #[test]
    fn long_sums_are_cut_right() {
        // Deeper than a tile, cut inside a run of taps; more rows than a tile.
        check(&conv([1, 9, 11, 67, 21, 1], [3, 3], [1, 1], [1, 1], true));
        check(&conv([1, 4, 4, 514, 34, 2], [1, 2], [1, 1], [1, 1], true));
    }

    #[test]
    fn any_number_of_rows() {
        for rows in (0..30).chain([47, 48, 49, 97, 100]) {
            check(&Conv::matmul(rows, 23, 37));
        }
        check(&Conv::matmul(1, 1000, 10));
        check(&Conv::matmul(5, 0, 10));
        check(&Conv::matmul(2, 0, 10));
        // One output pixel of a convolution in groups.
        check(&conv([1, 4, 5, 6, 8, 2], [4, 5], [1, 1], [1, 1], false));
    }

    #[test]
    fn any_number_of_columns() {
        for columns in (1..40).chain([64, 65, 80, 81]) {
            check(&Conv::matmul(14, 5, columns));
        }
    }

    #[test]
    fn depthwise_agrees_with_the_definition() {
        for (channels, multiplier) in [(1, 1), (3, 1), (16, 1), (37, 1), (64, 1), (100, 1), (1, 8), (5, 3), (16, 2)] {
            for (stride, dilation, same) in [([1, 1], [1, 1], true), ([2, 2], [1, 1], true), ([2, 1], [2, 3], false)] {
                let shape = [2, 9, 8, channels, channels * multiplier, channels];
                check(&conv(shape, [3, 3], stride, dilation, same));
            }
            check(&conv([1, 5, 6, channels, channels * multiplier, channels], [2, 5], [1, 1], [1, 1], true));
        }
    }

    #[test]
    #[should_panic(expected = "weights of")]
    fn weights_of_another_layer_are_refused() {
        conv2d_u32(&Conv::matmul(2, 3, 4), &[(&[0; 6], &[0; 11])], &mut [0; 8]);
    }
}
