//! From correlated rows to independent strings: a tweakable hash made of AES.
//!
//! `H(x, t) = π(π(x) ⊕ t) ⊕ π(x)`, π = AES-128 under a key that is public and belongs to one direction of one session. In the
//! model of an ideal cipher it is correlation robust: for a random secret Δ, the values `H(x ⊕ Δ, t)` for chosen x and t, no
//! pair (x, t) twice, are indistinguishable from random ones (Guo, Katz, Wang, Yu, ePrint 2019/074, theorem 5: TMMO). The key of a
//! session, not one for all, keeps an attacker from working on many sessions at once.
//!
//! A tweak is the number of a transfer and the number of a block of its string: both never repeat in a session.
use aes::{Aes128, Block};
use cipher::{BlockCipherEncrypt, KeyInit};

/// Blocks that are worked on together: enough for the widest AES units, few enough for the first-level cache.
const BATCH: usize = 64;

/// The hash of one direction of one session.
pub struct Hash {
    cipher: Aes128,
}

/// Number of transfer `index` and of block `block` of its string.
fn tweak(index: u64, block: u64) -> u128 {
    u128::from(index) << 64 | u128::from(block)
}

fn block_of(x: u128) -> Block {
    x.to_le_bytes().into()
}

fn number_of(b: &Block) -> u128 {
    u128::from_le_bytes((*b).into())
}

impl Hash {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key: [u8; 16] = key[..16].try_into().expect("16 of 32 bytes");
        Hash { cipher: Aes128::new(&key.into()) }
    }

    /// π of every row, in place: what the string of a transfer is made from.
    pub fn absorb(&self, rows: &mut [u128]) {
        let mut buffer = [Block::default(); BATCH];
        for rows in rows.chunks_mut(BATCH) {
            let blocks = &mut buffer[..rows.len()];
            blocks.iter_mut().zip(&*rows).for_each(|(b, x)| *b = block_of(*x));
            self.cipher.encrypt_blocks(blocks);
            rows.iter_mut().zip(&*blocks).for_each(|(x, b)| *x = number_of(b));
        }
    }

    /// Blocks `from .. from + each` of the strings of transfers `first ..`, whose absorbed rows are `rows`, one string after
    /// the other.
    pub fn strings(&self, rows: &[u128], first: u64, from: u64, each: usize, out: &mut [u128]) {
        assert_eq!(out.len(), rows.len() * each, "{each} blocks for each of {} rows", rows.len());
        let mut buffer = [Block::default(); BATCH];
        let mut at = 0;
        for out in out.chunks_mut(BATCH) {
            let blocks = &mut buffer[..out.len()];
            for (i, (b, o)) in blocks.iter_mut().zip(&mut *out).enumerate() {
                let (row, block) = ((at + i) / each, (at + i) % each);
                let x = rows[row];
                *b = block_of(x ^ tweak(first + row as u64, from + block as u64));
                *o = x;
            }
            self.cipher.encrypt_blocks(blocks);
            out.iter_mut().zip(&*blocks).for_each(|(o, b)| *o ^= number_of(b));
            at += out.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, block by block.
    fn plain(hash: &Hash, x: u128, t: u128) -> u128 {
        let pi = |x: u128| {
            let mut b = block_of(x);
            hash.cipher.encrypt_block(&mut b);
            number_of(&b)
        };
        pi(pi(x) ^ t) ^ pi(x)
    }

    #[test]
    fn strings_are_the_definition() {
        let hash = Hash::new(&[7; 32]);
        for (count, each) in [(1, 1), (3, 70), (200, 1), (65, 2), (64, 3)] {
            let rows: Vec<u128> = (0..count).map(|i| (i as u128) << 70 | 0x1234).collect();
            let mut absorbed = rows.clone();
            hash.absorb(&mut absorbed);
            let mut out = vec![0; rows.len() * each];
            hash.strings(&absorbed, 1000, 5, each, &mut out);
            for (i, o) in out.iter().enumerate() {
                let t = tweak(1000 + (i / each) as u64, 5 + (i % each) as u64);
                assert_eq!(*o, plain(&hash, rows[i / each], t), "block {i} of {count} strings of {each}");
            }
        }
    }

    #[test]
    fn no_two_tweaks_and_no_two_keys_agree() {
        let hash = Hash::new(&[7; 32]);
        let mut out = vec![0; 4 * 8];
        hash.strings(&[9; 4], 3, 0, 8, &mut out);
        let mut other = vec![0; 4 * 8];
        Hash::new(&[8; 32]).strings(&[9; 4], 3, 0, 8, &mut other);
        out.extend(other);
        out.sort_unstable();
        assert!(out.windows(2).all(|w| w[0] != w[1]), "equal blocks of one row");
    }
}
