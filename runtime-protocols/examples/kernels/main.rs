//! Speed of the local kernels on the shapes of a MobileNet, on one core, and how much that is of what the core could do at
//! best: products against multiplying and adding in registers, the key stream against AES in registers, everything that
//! moves elements against copying as many bytes. The limits are measured in the same run.
//!
//! `cargo run --release -p runtime-protocols --example kernels`
mod limits;

use std::hint::black_box;
use std::time::Instant;

use limits::Limits;
use runtime_protocols::bits;
use runtime_protocols::data::{Data, Zip};
use runtime_protocols::kernels::linear::{Conv, conv2d_u32, conv2d_u64, depthwise2d_u32, depthwise2d_u64};
use runtime_protocols::kernels::wide::Isa;
use runtime_protocols::kernels::{choose, pack, planes};
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

/// `limit` is in the same unit.
fn rate(name: &str, count: usize, unit: &str, limit: f64, f: impl FnMut()) {
    let rate = count as f64 / fastest(f) / 1e9;
    println!("{name:40} {rate:8.2} {unit:16} {:5.0} %", 100.0 * rate / limit);
}

/// What moves elements, by bytes that are read and bytes that are written elsewhere. Memory that is written is fetched before,
/// so a copied byte is three: read, fetched, written. That many bytes in all at the rate of a copy are the limit.
fn moved(name: &str, read: usize, written: usize, limits: &Limits, f: impl FnMut()) {
    rate(name, (read + 2 * written) / 3, "GB/s as a copy", limits.copy, f);
}

/// The same in place: what is written is among what was read.
fn changed(name: &str, read: usize, written: usize, limits: &Limits, f: impl FnMut()) {
    rate(name, (read + written) / 3, "GB/s as a copy", limits.copy, f);
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

fn convolution(name: &str, limits: &Limits, g: &Conv) {
    let depthwise = g.groups > 1;
    let weights = g.out_c * g.kernel[0] * g.kernel[1] * g.in_c / g.groups;
    let macs = 2 * g.outputs() * g.kernel[0] * g.kernel[1] * g.in_c / g.groups;
    let (x, w, mut out) = (values(g.inputs()), values(weights), values(g.outputs()));
    let pairs = [(&x[..], &w[..]), (&x[..], &w[..])];
    rate(&format!("{name}, u64"), macs, "products/ns", limits.products[1], || {
        if depthwise { depthwise2d_u64(g, &pairs, &mut out) } else { conv2d_u64(g, &pairs, &mut out) }
    });
    let short = |v: &[u64]| v.iter().map(|&v| v as u32).collect::<Vec<u32>>();
    let (x, w, mut out) = (short(&x), short(&w), short(&out));
    let pairs = [(&x[..], &w[..]), (&x[..], &w[..])];
    rate(&format!("{name}, u32"), macs, "products/ns", limits.products[0], || {
        if depthwise { depthwise2d_u32(g, &pairs, &mut out) } else { conv2d_u32(g, &pairs, &mut out) }
    });
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool");
    let limits = Limits::measure();
    println!(
        "{:?}, on one core at best: {:.1} products/ns of 32 bits, {:.1} of 64 bits;",
        Isa::best(),
        limits.products[0],
        limits.products[1]
    );
    println!("{:.1} GB/s copied; {:.1} GB/s of AES-128", limits.copy, limits.aes);
    convolution("224x224x3 -> 32, 3x3 by 2", &limits, &square(224, 3, 32, 3, 2, 1));
    convolution("112x112x32 depthwise 3x3", &limits, &square(112, 32, 32, 3, 1, 32));
    convolution("14x14x512 depthwise 3x3", &limits, &square(14, 512, 512, 3, 1, 512));
    convolution("112x112x32 -> 64, 1x1", &limits, &square(112, 32, 64, 1, 1, 1));
    convolution("56x56x64 -> 128, 1x1", &limits, &square(56, 64, 128, 1, 1, 1));
    convolution("14x14x512 -> 512, 1x1", &limits, &square(14, 512, 512, 1, 1, 1));
    convolution("7x7x1024 -> 1024, 1x1", &limits, &square(7, 1024, 1024, 1, 1, 1));
    convolution("28x28x128 -> 128, 3x3", &limits, &square(28, 128, 128, 3, 1, 1));
    convolution("1024 -> 1001, one row", &limits, &Conv::matmul(1, 1024, 1001));

    let n = 1 << 20;
    let long = values(n);
    let short: Vec<u32> = long.iter().map(|&v| (v >> 32) as u32).collect();
    let (mut bytes, mut back, mut back_long) = (Vec::new(), vec![0u32; n], vec![0u64; n]);
    let packed = |bits: u32| n / 8 * bits as usize;
    for k in [8, 21, 32] {
        moved(&format!("pack u32 to {k} bits"), 4 * n, packed(k), &limits, || {
            bytes.clear();
            pack::pack_u32(k, &short, black_box(&mut bytes));
        });
        moved(&format!("unpack u32 from {k} bits"), packed(k), 4 * n, &limits, || {
            pack::unpack_u32(k, black_box(&bytes), &mut back);
        });
    }
    for k in [13, 45] {
        moved(&format!("pack u64 to {k} bits"), 8 * n, packed(k), &limits, || {
            bytes.clear();
            pack::pack_u64(k, &long, black_box(&mut bytes));
        });
        moved(&format!("unpack u64 from {k} bits"), packed(k), 8 * n, &limits, || {
            pack::unpack_u64(k, black_box(&bytes), &mut back_long);
        });
    }
    for width in [1, 4, 8, 16, 31] {
        let mut bits = vec![0; width as usize * planes::plane_words(n)];
        moved(&format!("u32 to {width} planes"), 4 * n, packed(width), &limits, || {
            planes::to_planes_u32(black_box(&short), width, 1, &mut bits);
        });
        moved(&format!("u32 from {width} planes"), packed(width), 4 * n, &limits, || {
            planes::from_planes_u32(black_box(&bits), width, &mut back);
        });
    }
    for width in [8, 64] {
        let mut bits = vec![0; width as usize * planes::plane_words(n)];
        moved(&format!("u64 to {width} planes"), 8 * n, packed(width), &limits, || {
            planes::to_planes_u64(black_box(&long), width, 0, &mut bits);
        });
        moved(&format!("u64 from {width} planes"), packed(width), 8 * n, &limits, || {
            planes::from_planes_u64(black_box(&bits), width, &mut back_long);
        });
    }

    let bit: Vec<u64> = values(planes::plane_words(n));
    let mut kept = short.clone();
    changed("u32 kept by bits", 4 * n + n / 8, 4 * n, &limits, || choose::keep_u32(black_box(&mut kept), &bit));
    let sum = Data::W32(short.clone());
    let mut total = sum.clone();
    changed("u32 added", 8 * n, 4 * n, &limits, || total.zip_assign(black_box(&sum), Zip::Add));
    let wide_bits = |width: usize| Data::Planes { words: values(width * planes::plane_words(n)), len: n };
    let (x, v) = (wide_bits(16), wide_bits(16));
    let mut y = x.clone();
    changed("16 planes AND 16 planes", 2 * packed(16), packed(16), &limits, || y.zip_assign(black_box(&v), Zip::Mul));
    let hot = bits::onehot(&x, 16, 4);
    moved("16 planes to one-hot chunks of 4", packed(16), packed(60), &limits, || {
        black_box(bits::onehot(black_box(&x), 16, 4));
    });
    moved("leaves of 4 chunks of 4", packed(16 + 60), packed(8), &limits, || {
        black_box(bits::leaves(black_box(&hot), &v, 16, 4, true));
    });

    // A fresh stream each time: debug builds refuse a second use of an address.
    let segment = || KeyStream::new(&[7; 32], b"bench").segment(&Address { inference: 0, instruction: 0, purpose: 0 });
    rate("key stream, bytes", 4 * n, "GB/s", limits.aes, || {
        let mut out = std::mem::take(&mut bytes);
        out.resize(4 * n, 0);
        segment().fill_bytes(&mut out);
        bytes = out;
    });
    rate("key stream, u32", 4 * n, "GB/s", limits.aes, || segment().fill_u32(&mut back));
    rate("key stream, u64", 8 * n, "GB/s", limits.aes, || segment().fill_u64(&mut back_long));
    let stream = KeyStream::new(&[7; 32], b"bench");
    let mut next = 0;
    rate("segments of 64 bytes", 1000 * 64, "GB/s", limits.aes, || {
        for _ in 0..1000 {
            next += 1;
            let mut out = [0u8; 64];
            stream.segment(&Address { inference: next, instruction: 0, purpose: 0 }).fill_bytes(&mut out);
            black_box(out);
        }
    });
}
