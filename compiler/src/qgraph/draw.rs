//! Values for random tests.

/// SplitMix64: enough to draw test values.
pub struct Draw(pub u64);

impl Draw {
    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.next() as u32) / 2f64.powi(32)
    }

    /// Edges, small numbers, round numbers, any number.
    pub fn int32(&mut self) -> i32 {
        const EDGES: [i32; 9] = [0, 1, -1, i32::MIN, i32::MAX, 1 << 30, -(1 << 30), 3, -3];
        match self.below(4) {
            0 => EDGES[self.below(9) as usize],
            1 => self.below(140_000) as i32 - 70_000,
            2 => (self.below(16) as i32 - 8) << self.below(28),
            _ => self.next() as i32,
        }
    }
}
