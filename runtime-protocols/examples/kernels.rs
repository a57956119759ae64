//! Speed of the local kernels on the shapes of a MobileNet.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p runtime-protocols --example kernels`

use std::hint::black_box;
use std::time::Instant;

use runtime_protocols::kernels::linear::{Conv, conv2d_u32, conv2d_u64, depthwise2d_u32, depthwise2d_u64};
use runtime_protocols::kernels::{pack, planes};
use runtime_protocols::prg::{Address, KeyStream};

/// Seconds of the fastest of several runs, after one to warm up.
fn fastest(mut f: impl FnMut()) -> f64 {
    f();
    let mut best = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 0.3 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn rate(name: &str, count: usize, unit: &str, f: impl FnMut()) {
    println!("{name:40} {:8.2} {unit}", count as f64 / fastest(f) / 1e9);
}

/// A `same` convolution over a square.
fn square(size: usize, in_c: usize, out_c: usize, kernel: usize, stride: usize, groups: usize) -> Conv {
    let out = size.div_ceil(stride);
    Conv {
        batch: 1,
        in_h: size,
        in_w: size,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad: [((out - 1) * stride + kernel).saturating_sub(size) / 2; 2],
        groups,
    }
}

fn values(len: usize) -> Vec<u64> {
    (0..len as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect()
}

fn convolution(name: &str, g: &Conv) {
    let depthwise = g.groups > 1;
    let weights = g.out_c * g.kernel[0] * g.kernel[1] * g.in_c / g.groups;
    let macs = 2 * g.outputs() * g.kernel[0] * g.kernel[1] * g.in_c / g.groups;
    let (x, w, mut out) = (values(g.inputs()), values(weights), values(g.outputs()));
    let pairs = [(&x[..], &w[..]), (&x[..], &w[..])];
    rate(&format!("{name}, u64"), macs, "products/ns", || {
        if depthwise { depthwise2d_u64(g, &pairs, &mut out) } else { conv2d_u64(g, &pairs, &mut out) }
    });
    let short = |v: &[u64]| v.iter().map(|&v| v as u32).collect::<Vec<u32>>();
    let (x, w, mut out) = (short(&x), short(&w), short(&out));
    let pairs = [(&x[..], &w[..]), (&x[..], &w[..])];
    rate(&format!("{name}, u32"), macs, "products/ns", || {
        if depthwise { depthwise2d_u32(g, &pairs, &mut out) } else { conv2d_u32(g, &pairs, &mut out) }
    });
}

fn main() {
    convolution("224x224x3 -> 32, 3x3 by 2", &square(224, 3, 32, 3, 2, 1));
    convolution("112x112x32 depthwise 3x3", &square(112, 32, 32, 3, 1, 32));
    convolution("14x14x512 depthwise 3x3", &square(14, 512, 512, 3, 1, 512));
    convolution("112x112x32 -> 64, 1x1", &square(112, 32, 64, 1, 1, 1));
    convolution("56x56x64 -> 128, 1x1", &square(56, 64, 128, 1, 1, 1));
    convolution("14x14x512 -> 512, 1x1", &square(14, 512, 512, 1, 1, 1));
    convolution("7x7x1024 -> 1024, 1x1", &square(7, 1024, 1024, 1, 1, 1));
    convolution("28x28x128 -> 128, 3x3", &square(28, 128, 128, 3, 1, 1));
    convolution("1024 -> 1001, one row", &Conv::matmul(1, 1024, 1001));

    let n = 1 << 20;
    let long = values(n);
    let short: Vec<u32> = long.iter().map(|&v| (v >> 32) as u32).collect();
    let (mut bytes, mut back, mut back_long) = (Vec::new(), vec![0u32; n], vec![0u64; n]);
    for k in [8, 21, 32] {
        rate(&format!("pack u32 to {k} bits"), 4 * n, "GB/s of values", || {
            bytes.clear();
            pack::pack_u32(k, &short, black_box(&mut bytes));
        });
        rate(&format!("unpack u32 from {k} bits"), 4 * n, "GB/s of values", || {
            pack::unpack_u32(k, black_box(&bytes), &mut back);
        });
    }
    for k in [13, 45] {
        rate(&format!("pack u64 to {k} bits"), 8 * n, "GB/s of values", || {
            bytes.clear();
            pack::pack_u64(k, &long, black_box(&mut bytes));
        });
        rate(&format!("unpack u64 from {k} bits"), 8 * n, "GB/s of values", || {
            pack::unpack_u64(k, black_box(&bytes), &mut back_long);
        });
    }
    for width in [1, 4, 8, 16, 31] {
        let mut bits = vec![0; width as usize * planes::plane_words(n)];
        rate(&format!("u32 to {width} planes"), 4 * n, "GB/s of values", || {
            planes::to_planes_u32(black_box(&short), width, 1, &mut bits);
        });
        rate(&format!("u32 from {width} planes"), 4 * n, "GB/s of values", || {
            planes::from_planes_u32(black_box(&bits), width, &mut back);
        });
    }
    for width in [8, 64] {
        let mut bits = vec![0; width as usize * planes::plane_words(n)];
        rate(&format!("u64 to {width} planes"), 8 * n, "GB/s of values", || {
            planes::to_planes_u64(black_box(&long), width, 0, &mut bits);
        });
        rate(&format!("u64 from {width} planes"), 8 * n, "GB/s of values", || {
            planes::from_planes_u64(black_box(&bits), width, &mut back_long);
        });
    }

    // A fresh stream each time: debug builds refuse a second use of an address.
    let segment = || KeyStream::new(&[7; 32], b"bench").segment(&Address { inference: 0, instruction: 0, purpose: 0 });
    rate("key stream, bytes", 4 * n, "GB/s", || {
        let mut out = std::mem::take(&mut bytes);
        out.resize(4 * n, 0);
        segment().fill_bytes(&mut out);
        bytes = out;
    });
    rate("key stream, u32", 4 * n, "GB/s", || segment().fill_u32(&mut back));
    rate("key stream, u64", 8 * n, "GB/s", || segment().fill_u64(&mut back_long));
    let stream = KeyStream::new(&[7; 32], b"bench");
    let mut next = 0;
    rate("segments of 64 bytes", 1000 * 1000, "segments/us", || {
        for _ in 0..1000 {
            next += 1;
            let mut out = [0u8; 64];
            stream.segment(&Address { inference: next, instruction: 0, purpose: 0 }).fill_bytes(&mut out);
            black_box(out);
        }
    });
}
