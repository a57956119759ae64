//! Seeds of all leaves of a tree but one: from k base transfers, 2^k seeds at one party (the *planter*), all but the one at a
//! secret place δ at the other (the *walker*).
//!
//! The planter draws a root; the children of a node are the halves of a hash of it. For each level it sends the XOR of
//! all left children under one key of a base transfer, and of all right children under the other. The walker chose the
//! keys with the negated bits of δ: from the sum of the side that δ does not take, and the nodes it knows, it has the one
//! node of that side that it could not compute.
//!
//! *What messages reveal.* To the walker: on each level one sum, whose only unknown term is the node it learns by it; the other sum stays
//! hidden under a key that it lacks. The leaf at δ is a node on the path that it never learns: pseudorandom to it, by the usual
//! argument node after node (Goldreich, Goldwasser, Micali). To the planter: nothing, it receives no message here.
//!
//! **No index depends on δ.** The walker numbers nodes relative to its path: bit b of y is bit b of x XOR bit b of δ, so the
//! unknown node is number 0 on each level, and children are swapped by masks.
use super::base::Key;
use super::{Direction, OtError, ROW, due};
use zeroize::Zeroizing;

/// Bytes of all sums of one direction.
pub(super) const SUMS: usize = ROW * 2 * 16;

/// Seeds of the leaves of all trees, one tree after the other.
pub(super) type Leaves = Zeroizing<Vec<u128>>;

/// The children of a node of tree `tree`.
fn children(key: &[u8; 32], tree: usize, node: u128) -> [u128; 2] {
    let mut data = Zeroizing::new([0; 20]);
    data[..16].copy_from_slice(&node.to_le_bytes());
    data[16..].copy_from_slice(&(tree as u32).to_le_bytes());
    let hash = Zeroizing::new(*blake3::keyed_hash(key, &data[..]).as_bytes());
    let half = |at: usize| u128::from_le_bytes(hash[at..at + 16].try_into().expect("16 bytes"));
    [half(0), half(16)]
}

fn pad(key: &Key) -> u128 {
    u128::from_le_bytes(key[..16].try_into().expect("16 of 32 bytes"))
}

/// All ones if bit 0 of `bit` is set, else zero.
fn mask(bit: u128) -> u128 {
    (bit & 1).wrapping_neg()
}

/// The planter: all leaves, in order, and the sums for the walker.
pub(super) fn plant(way: &Direction, k: usize, roots: &[u128], pairs: &[[Key; 2]], out: &mut Vec<u8>) -> Leaves {
    let key = way.key(b"GGM tree");
    let mut leaves = Zeroizing::new(Vec::with_capacity(roots.len() << k));
    for (tree, root) in roots.iter().enumerate() {
        let mut level = Zeroizing::new(vec![*root]);
        for pair in &pairs[tree * k..][..k] {
            let mut next = Zeroizing::new(Vec::with_capacity(2 * level.len()));
            let mut sums = [pad(&pair[0]), pad(&pair[1])];
            for node in level.iter() {
                let both = children(&key, tree, *node);
                sums.iter_mut().zip(both).for_each(|(s, c)| *s ^= c);
                next.extend(both);
            }
            sums.iter().for_each(|s| out.extend_from_slice(&s.to_le_bytes()));
            level = next;
        }
        leaves.extend_from_slice(&level);
    }
    leaves
}

/// The choices of base transfers that leave out δ, whose bits of tree t are bits `t·k .. (t+1)·k` of `offset`: on each level
/// from the top, the negated bit.
pub(super) fn choices(k: usize, offset: u128) -> u128 {
    let bit = |i: usize| !offset >> (i / k * k + k - 1 - i % k) & 1;
    (0..ROW).fold(0, |all, i| all | bit(i) << i)
}

/// The walker: leaves numbered relative to δ; leaf 0 of each tree, which it lacks, is zero.
pub(super) fn walk(way: &Direction, k: usize, choices: u128, keys: &[Key], message: &[u8]) -> Result<Leaves, OtError> {
    due("sums of trees", message, SUMS)?;
    let key = way.key(b"GGM tree");
    let sums = message.as_chunks::<16>().0.as_chunks::<2>().0;
    let mut leaves = Zeroizing::new(Vec::with_capacity((ROW / k) << k));
    for tree in 0..ROW / k {
        let mut level = Zeroizing::new(vec![0u128]);
        for i in tree * k..(tree + 1) * k {
            // The side of the node that is learnt, where bits of x are not yet relative to δ.
            let side = mask(choices >> i);
            let [left, right] = sums[i].map(u128::from_le_bytes);
            let mut learnt = left ^ side & (left ^ right) ^ pad(&keys[i]);
            let mut next = Zeroizing::new(Vec::with_capacity(2 * level.len()));
            next.extend([0, 0]);
            for node in &level[1..] {
                let [left, right] = children(&key, tree, *node);
                let swap = side & (left ^ right);
                // The bit relative to δ is 1 for the side that δ does not take.
                let (other, same) = (left ^ swap, right ^ swap);
                learnt ^= other;
                next.extend([same, other]);
            }
            next[1] = learnt;
            level = next;
        }
        leaves.extend_from_slice(&level);
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_leaves_but_one() {
        let way = Direction { session: [5; 16], sender: 0, receiver: 1 };
        let offset = 0x8421_1248_f0e1_d2c3_b4a5_9687_0f1e_2d3c;
        let pairs: Vec<[Key; 2]> = (0..ROW as u8).map(|i| [[i; 32], [i ^ 0x80; 32]]).collect();
        for k in [1, 2, 4, 8] {
            let roots: Vec<u128> = (0..ROW / k).map(|t| 77 + t as u128).collect();
            let mut sums = Vec::new();
            let all = plant(&way, k, &roots, &pairs, &mut sums);
            let choices = choices(k, offset);
            let keys: Vec<Key> = (0..ROW).map(|i| pairs[i][(choices >> i & 1) as usize]).collect();
            let some = walk(&way, k, choices, &keys, &sums).unwrap();
            for tree in 0..ROW / k {
                let delta = (offset >> (tree * k)) as usize & ((1 << k) - 1);
                for x in 0..1 << k {
                    let (mine, theirs) = (some[(tree << k) + (x ^ delta)], all[(tree << k) + x]);
                    assert_eq!(mine, if x == delta { 0 } else { theirs }, "tree {tree}, leaf {x}, k = {k}");
                }
            }
            let length = OtError::Length { what: "sums of trees", got: SUMS - 1, expected: SUMS };
            assert_eq!(walk(&way, k, choices, &keys, &sums[1..]).err(), Some(length));
        }
    }
}
