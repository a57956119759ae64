//! GR(2^32, 64) and GR(2^64, 64): 64 words per element, word i being the coefficient of X^i.
use super::element::{DEGREE, Element, Shares};
use crate::kernels::words::Word;
use crate::prg::Segment;

/// An element of GR(2^k, 64), k being the width of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gr<W>(pub [W; DEGREE]);

impl<W> std::fmt::Debug for Gr<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gr")
    }
}

/// A word that makes a ring.
pub trait Base: Word {
    /// Zeros.
    const ZEROS: [Self; DEGREE];
    /// `self - a` mod 2^k.
    fn less(self, a: Self) -> Self;
    /// The next word of a key stream.
    fn draw(segment: &mut Segment) -> [Self; DEGREE];
    /// Sums of products with the fastest loops that this processor runs.
    fn sums(out: &mut Wide<Self>, what: Sums<'_, Self>);
    /// out_c += numbers_c · factor, with the fastest loops.
    fn multiples(out: &mut [Gr<Self>], numbers: &[Self], factor: &Gr<Self>);
    /// [`Element::spread`], with the fastest loops.
    fn spread(factors: &[Gr<Self>], blocks: &[Gr<Self>], out: &mut [Gr<Self>; DEGREE]);
}

/// A product before reduction.
pub type Wide<W> = [W; 2 * DEGREE];

/// What [`Base::sums`] adds to a product.
pub enum Sums<'a, W: Word> {
    /// Σ x·y
    Dot(&'a [Gr<W>], &'a [Gr<W>]),
    /// A party's summand of Σ x·y
    SharedDot(Shares<'a, Gr<W>>, Shares<'a, Gr<W>>),
    /// A party's summand of Σ w·(x ∘ y)
    SharedLanes(&'a [Gr<W>], Shares<'a, Gr<W>>, Shares<'a, Gr<W>>),
}

/// Coefficients of a product that are summed in registers.
const BLOCK: usize = 32;

/// out += x·y, a block of coefficients at a time: coefficient m gets x_i·y_(m−i), y being zero outside.
#[inline(always)]
fn product<W: Word>(out: &mut Wide<W>, x: &[W; DEGREE], y: &[W; DEGREE]) {
    let mut padded = [W::default(); DEGREE + 2 * BLOCK];
    padded[BLOCK..BLOCK + DEGREE].copy_from_slice(y);
    for (at, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let first = at * BLOCK;
        let mut sums = *out;
        for i in first.saturating_sub(DEGREE - 1)..DEGREE.min(first + BLOCK) {
            let from = &padded[first + BLOCK - i..][..BLOCK];
            for (sum, y) in sums.iter_mut().zip(from) {
                *sum = sum.mul_add(x[i], *y);
            }
        }
        *out = sums;
    }
}

// Plain loops: what an iterator's own method runs may be compiled apart, without the instruction set.
#[inline(always)]
fn sums<W: Word>(out: &mut Wide<W>, what: Sums<'_, W>) {
    match what {
        Sums::Dot(x, y) => {
            for i in 0..x.len().min(y.len()) {
                product(out, &x[i].0, &y[i].0);
            }
        }
        Sums::SharedDot([x1, x2], [y1, y2]) => {
            for i in 0..x1.len() {
                let mut both = y1[i].0;
                for (sum, y) in both.iter_mut().zip(&y2[i].0) {
                    *sum = sum.plus(*y);
                }
                product(out, &x1[i].0, &both);
                product(out, &x2[i].0, &y1[i].0);
            }
        }
        Sums::SharedLanes(weights, [x1, x2], [y1, y2]) => {
            for i in 0..x1.len() {
                let mut lanes = [W::default(); DEGREE];
                for (j, lane) in lanes.iter_mut().enumerate() {
                    let both = y1[i].0[j].plus(y2[i].0[j]);
                    *lane = lane.mul_add(x1[i].0[j], both).mul_add(x2[i].0[j], y1[i].0[j]);
                }
                product(out, &weights[i].0, &lanes);
            }
        }
    }
}

#[inline(always)]
fn multiples<W: Word>(out: &mut [Gr<W>], numbers: &[W], factor: &Gr<W>) {
    for (out, number) in out.iter_mut().zip(numbers) {
        for (sum, f) in out.0.iter_mut().zip(&factor.0) {
            *sum = sum.mul_add(*number, *f);
        }
    }
}

#[inline(always)]
fn spread<W: Word>(factors: &[Gr<W>], blocks: &[Gr<W>], out: &mut [Gr<W>; DEGREE]) {
    for (j, out) in out.iter_mut().enumerate() {
        let mut sum = out.0;
        for (factor, block) in factors.iter().zip(blocks) {
            for (sum, f) in sum.iter_mut().zip(&factor.0) {
                *sum = sum.mul_add(block.0[j], *f);
            }
        }
        out.0 = sum;
    }
}

/// A function of this module under each instruction set, and the choice among them.
macro_rules! fastest {
    (fn $name:ident ( $($arg:ident : $ty:ty),* )) => {
        fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
                fn avx512($($arg: $ty),*) {
                    super::galois::$name($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) {
                    super::galois::$name($($arg),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has just been asked for these features.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just been asked for this feature.
                    return unsafe { avx2($($arg),*) };
                }
            }
            super::galois::$name($($arg),*)
        }
    };
}

macro_rules! base {
    ($word:ty, $fill:ident) => {
        impl Base for $word {
            const ZEROS: [Self; DEGREE] = [0; DEGREE];
            #[inline(always)]
            fn less(self, a: Self) -> Self {
                self.wrapping_sub(a)
            }
            fn draw(segment: &mut Segment) -> [Self; DEGREE] {
                let mut words = [0; DEGREE];
                segment.$fill(&mut words);
                words
            }
            fastest!(fn sums(out: &mut Wide<$word>, what: Sums<'_, $word>));
            fastest!(fn multiples(out: &mut [Gr<$word>], numbers: &[$word], factor: &Gr<$word>));
            fastest!(fn spread(factors: &[Gr<$word>], blocks: &[Gr<$word>], out: &mut [Gr<$word>; DEGREE]));
        }
    };
}
base!(u32, fill_u32);
base!(u64, fill_u64);

/// mod X^64 + X^4 + X^3 + X + 1: X^64 is −(X^4 + X^3 + X + 1).
fn reduce<W: Base>(mut wide: Wide<W>) -> Gr<W> {
    for i in (DEGREE..2 * DEGREE).rev() {
        let top = wide[i];
        for to in [0, 1, 3, 4] {
            wide[i - DEGREE + to] = wide[i - DEGREE + to].less(top);
        }
    }
    Gr(std::array::from_fn(|i| wide[i]))
}

impl<W: Base> Gr<W> {
    fn summed(what: Sums<'_, W>) -> Self {
        let mut wide = [W::default(); 2 * DEGREE];
        W::sums(&mut wide, what);
        reduce(wide)
    }

    /// 2^by times the element.
    pub fn raised(&self, by: u32) -> Self {
        Gr(self.0.map(|w| W::narrow(w.widen() << by)))
    }
}

impl<W: Base> Element for Gr<W> {
    const BYTES: usize = DEGREE * W::BITS as usize / 8;
    const ZERO: Self = Gr(W::ZEROS);

    fn challenge(word: u64) -> Self {
        Gr(std::array::from_fn(|i| W::narrow(word >> i & 1)))
    }
    #[inline(always)]
    fn plus(&self, other: &Self) -> Self {
        Gr(std::array::from_fn(|i| self.0[i].plus(other.0[i])))
    }
    #[inline(always)]
    fn minus(&self, other: &Self) -> Self {
        Gr(std::array::from_fn(|i| self.0[i].less(other.0[i])))
    }
    fn times(&self, other: &Self) -> Self {
        Gr::dot(&[*self], &[*other])
    }
    fn times_x(&self) -> Self {
        let top = self.0[DEGREE - 1];
        let mut out = Gr(std::array::from_fn(|i| if i == 0 { W::default() } else { self.0[i - 1] }));
        for to in [0, 1, 3, 4] {
            out.0[to] = out.0[to].less(top);
        }
        out
    }
    fn dot(x: &[Self], y: &[Self]) -> Self {
        Gr::summed(Sums::Dot(x, y))
    }
    fn shared_dot(x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self {
        Gr::summed(Sums::SharedDot(x, y))
    }
    fn shared_lanes(weights: &[Self], x: Shares<'_, Self>, y: Shares<'_, Self>) -> Self {
        Gr::summed(Sums::SharedLanes(weights, x, y))
    }
    fn spread(factors: &[Self], blocks: &[Self], out: &mut [Self; DEGREE]) {
        W::spread(factors, blocks, out);
    }
    fn write(&self, out: &mut Vec<u8>) {
        let bytes = W::BITS as usize / 8;
        self.0.iter().for_each(|w| out.extend_from_slice(&w.widen().to_le_bytes()[..bytes]));
    }
    fn read(bytes: &[u8]) -> Self {
        let size = W::BITS as usize / 8;
        Gr(std::array::from_fn(|i| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(&bytes[i * size..][..size]);
            W::narrow(u64::from_le_bytes(word))
        }))
    }
    fn draw(segment: &mut Segment) -> Self {
        Gr(W::draw(segment))
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::tests::laws;
    use super::*;

    #[test]
    fn obeys_the_laws() {
        laws::<Gr<u32>>();
        laws::<Gr<u64>>();
    }

    /// Differences of challenges are units: an odd coefficient is never lost by a product with one.
    #[test]
    fn challenges_differ_by_units() {
        let half = Gr::<u32>(std::array::from_fn(|i| u32::from(i == 5) << 31));
        for word in [1u64, 2, 3, 1 << 63, u64::MAX] {
            assert!(half.times(&Gr::challenge(word)) != Gr::ZERO);
        }
    }
}
