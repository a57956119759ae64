//! Masks of the evaluator: fixed pseudo-random numbers, every other one of a split at a corner.
//!
//! Uniform masks alone would be too tame. What the holder of u has shared itself, a protocol splits without a fresh mask:
//! v is then zero or public. And a gadget that fails for few masks fails where a summand wraps or meets a constant.
use crate::program::Const;

/// Generator (xorshift).
pub struct Masks(u64);

impl Masks {
    /// Masks of an evaluation.
    pub fn new(seed: u64) -> Self {
        Masks(0x9e37_79b9_7f4a_7c15 ^ seed)
    }

    /// Masks of one value, the same whenever it is taken apart.
    pub fn of_value(seed: u64, value: usize) -> Self {
        let mut masks = Masks(0x9e37_79b9_7f4a_7c15 ^ seed ^ (value as u64 + 1) << 17);
        masks.next();
        masks
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bit(&mut self) -> u8 {
        (self.next() >> 40) as u8 & 1
    }

    /// u of a split v = x + u modulo 2^`bits`. A corner is u or v equal to 0, to the half, to all ones, or to what a
    /// constant of the program has for element `e`.
    pub fn summand(&mut self, x: u64, bits: u8, e: usize, consts: &[Const]) -> u64 {
        let (uniform, how) = (self.next(), self.next());
        let constant = || {
            let data = &consts.get((how & 0xffff) as usize % consts.len().max(1))?.data;
            data.get(e % data.len().max(1)).map(|c| *c as u64)
        };
        let corner = match how >> 62 {
            0 => 0,
            1 => 1 << (bits - 1),
            2 => u64::MAX,
            _ => constant().unwrap_or(0),
        };
        let u = match how >> 60 & 3 {
            0 => corner,
            1 => corner.wrapping_sub(x),
            _ => uniform,
        };
        u & (u64::MAX >> (64 - bits))
    }

    /// u of a split of bits. A corner is all of u or of v equal to 0.
    pub fn summand_bits(&mut self, x: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let how: Vec<u64> = x.first().map_or(vec![], |p| p.iter().map(|_| self.next() >> 62).collect());
        let mut one = |x: u8, how: u64| match how {
            0 => 0,
            1 => x,
            _ => self.bit(),
        };
        x.iter().map(|p| p.iter().zip(&how).map(|(x, how)| one(*x, *how)).collect()).collect()
    }
}

/// Masks of a tag.
pub fn beta(seed: u64, tag: u32, width: usize, len: usize) -> Vec<Vec<u8>> {
    let mut masks = Masks(0x2545_f491_4f6c_dd1d ^ seed ^ (u64::from(tag) + 1) << 20);
    (0..width).map(|_| (0..len).map(|_| masks.bit()).collect()).collect()
}
