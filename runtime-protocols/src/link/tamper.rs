//! What an attacker of a protocol does to a message on its way: errors added to single elements, for tests with
//! [`Network::intercept`](super::memory::Network::intercept). Bytes alone are damaged without this.

use ir::Domain;

/// Elements of one kind that stand together in a message, as all protocols here pack them: ring elements of k bits without
/// gaps, bits plane by plane, each plane from a byte of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// What they are on the wire.
    pub domain: Domain,
    /// How many.
    pub len: usize,
    /// The byte at which they begin.
    pub at: usize,
}

impl Elements {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match self.domain {
            Domain::Ring(k) => (self.len * usize::from(k)).div_ceil(8),
            Domain::Bits(n) => usize::from(n) * self.len.div_ceil(8),
        }
    }

    /// Byte and bit in it where bit `bit` of element `k` stands.
    fn place(&self, k: usize, bit: usize) -> (usize, usize) {
        let (byte, at) = match self.domain {
            Domain::Ring(width) => {
                let at = k * usize::from(width) + bit;
                (at / 8, at % 8)
            }
            Domain::Bits(_) => (bit * self.len.div_ceil(8) + k / 8, k % 8),
        };
        (self.at + byte, at)
    }

    /// Bits of an element that fit a number; bit planes may be more.
    fn shown(&self) -> usize {
        usize::from(self.domain.width()).min(64)
    }

    /// The low 64 bits of element `k`, or `None` where the message does not hold it.
    pub fn get(&self, message: &[u8], k: usize) -> Option<u64> {
        let whole = k < self.len && self.at.checked_add(self.bytes())? <= message.len();
        whole.then(|| {
            (0..self.shown()).fold(0, |x, bit| {
                let (byte, at) = self.place(k, bit);
                x | u64::from(message[byte] >> at & 1) << bit
            })
        })
    }

    /// Adds `error` to element `k`: in the ring, or on bits by XOR of the low 64. Whether there is such an element.
    pub fn add(&self, message: &mut [u8], k: usize, error: u64) -> bool {
        let Some(old) = self.get(message, k) else { return false };
        let new = match self.domain {
            Domain::Ring(_) => old.wrapping_add(error),
            Domain::Bits(_) => old ^ error,
        };
        for bit in 0..self.shown() {
            let (byte, at) = self.place(k, bit);
            message[byte] = message[byte] & !(1 << at) | ((new >> bit & 1) as u8) << at;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{pack, planes};

    #[test]
    fn ring_elements_are_where_they_were_packed() {
        for k in [1u8, 5, 8, 13, 31, 32] {
            let mask = u32::MAX >> (32 - u32::from(k));
            let mut values: Vec<u32> = (0..19u32).map(|i| i.wrapping_mul(0x9e37_79b9) & mask).collect();
            let mut message = vec![0xaa; 3];
            pack::pack_u32(k.into(), &values, &mut message);
            let all = Elements { domain: Domain::Ring(k), len: 19, at: 3 };
            assert_eq!(message.len(), 3 + all.bytes());
            assert!(all.add(&mut message, 7, 3) && !all.add(&mut message, 19, 3));
            values[7] = values[7].wrapping_add(3) & mask;
            (0..19).for_each(|i| assert_eq!(all.get(&message, i), Some(values[i].into()), "{k} bits, element {i}"));
            assert_eq!(all.get(&message[..message.len() - 1], 0), None);
        }
    }

    #[test]
    fn bits_are_flipped_in_their_planes() {
        let mut words = vec![0u64; 3 * 2];
        words.iter_mut().zip(1u64..).for_each(|(w, i)| *w = i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut message = Vec::new();
        planes::planes_to_bytes(&words, 70, &mut message);
        let all = Elements { domain: Domain::Bits(3), len: 70, at: 0 };
        assert_eq!(message.len(), all.bytes());
        let before = message.clone();
        let bit = |p: usize, e: usize| words[2 * p + e / 64] >> (e % 64) & 1;
        (0..70).for_each(|e| assert_eq!(all.get(&message, e), Some(bit(0, e) | bit(1, e) << 1 | bit(2, e) << 2)));
        assert!(all.add(&mut message, 69, 0b101));
        let changed: u32 = before.iter().zip(&message).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(changed, 2);
        assert_eq!(all.get(&message, 69), all.get(&before, 69).map(|x| x ^ 0b101));
    }
}
