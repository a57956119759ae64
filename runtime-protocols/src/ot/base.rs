//! Base transfers: 128 random pairs of strings at the sender, one of each at the receiver.
//!
//! G generates ristretto255, a group of prime order. The sender sends `A = aG`. For bit c the receiver sends
//! `B = bG + cA` and has the key of `bA`; the sender has the keys of `aB` (bit 0) and `aB − aA` (bit 1). A key is a hash of its
//! point, of A, B, the transfer's number and the direction.
//!
//! *What messages reveal.* B is uniform whatever c is: nothing of the bit, even to an unbounded sender. The receiver would need
//! `bA ± aA` for the other key, hence `aA = a²G` from `aG`: the square Diffie–Hellman problem, as hard as computational
//! Diffie–Hellman. Under that assumption it never asks the hash, a random oracle, for that point, so the other key is uniform to it. Both hold for
//! parties that follow the protocol; against others this protocol needs more care, which is not claimed.
//!
//! Source: Chou and Orlandi, ePrint 2015/267, here between parties that are semi-honest.
use super::{Direction, OtError, Own, ROW, drawn, due};
use crate::prg::KeyStream;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an encoded group element.
pub const POINT: usize = 32;

/// A key of a base transfer.
pub type Key = [u8; 32];

/// Key pairs of the sender.
pub type Pairs = Zeroizing<Vec<[Key; 2]>>;

fn scalar(bytes: &[u8; 64]) -> Zeroizing<Scalar> {
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(bytes))
}

/// Key of a point in transfer `index`. `tag` stands for A and the direction.
fn key(tag: &[u8; 32], b: &[u8; POINT], index: usize, point: &RistrettoPoint) -> Key {
    let mut data = [0; 64];
    data[..24].copy_from_slice(&tag[..24]);
    data[24..56].copy_from_slice(b);
    data[56..].copy_from_slice(&(index as u64).to_le_bytes());
    let point = Zeroizing::new(point.compress().to_bytes());
    let mut hash = blake3::keyed_hash(&point, &data);
    let key = *hash.as_bytes();
    hash.zeroize();
    key
}

fn tag(way: &Direction, a: &[u8; POINT]) -> [u8; 32] {
    *blake3::keyed_hash(&way.key(b"base OT\0"), a).as_bytes()
}

/// A group element that a peer sent.
fn point(what: &'static str, index: usize, bytes: &[u8]) -> Result<RistrettoPoint, OtError> {
    let point = CompressedRistretto::from_slice(bytes).ok().and_then(|c| c.decompress());
    point.filter(|p| *p != RistrettoPoint::identity()).ok_or(OtError::Point { what, index })
}

/// The sender of base transfers.
pub struct Sender {
    way: Direction,
    secret: Zeroizing<Scalar>,
    public: RistrettoPoint,
}

impl Sender {
    /// Draws a secret and appends A.
    pub fn new(way: Direction, own: &KeyStream, out: &mut Vec<u8>) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        drawn(own, Own::BaseSender, way.receiver, 0).fill_bytes(&mut bytes[..]);
        let secret = scalar(&bytes);
        let public = RistrettoPoint::mul_base(&secret);
        out.extend_from_slice(public.compress().as_bytes());
        Sender { way, secret, public }
    }

    /// Both keys of each transfer, from the receiver's elements.
    pub fn keys(&self, message: &[u8]) -> Result<Pairs, OtError> {
        let what = "choices of base transfers";
        due(what, message, ROW * POINT)?;
        let tag = tag(&self.way, self.public.compress().as_bytes());
        let shift = *self.secret * self.public;
        let mut pairs = Zeroizing::new(Vec::with_capacity(ROW));
        for (i, bytes) in message.as_chunks::<POINT>().0.iter().enumerate() {
            let zero = *self.secret * point(what, i, bytes)?;
            pairs.push([key(&tag, bytes, i, &zero), key(&tag, bytes, i, &(zero - shift))]);
        }
        Ok(pairs)
    }
}

/// Chooses bit i of `choices` in transfer i: appends the elements B and returns the chosen keys.
pub fn choose(
    way: Direction,
    own: &KeyStream,
    choices: u128,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<Zeroizing<Vec<Key>>, OtError> {
    let what = "element of the base sender";
    due(what, message, POINT)?;
    let public = point(what, 0, message)?;
    let tag = tag(&way, message.try_into().expect("the length was compared"));
    let mut bytes = Zeroizing::new(vec![[0u8; 64]; ROW]);
    drawn(own, Own::BaseReceiver, way.sender, 0).fill_bytes(bytes.as_flattened_mut());
    let mut keys = Zeroizing::new(Vec::with_capacity(ROW));
    for (i, bytes) in bytes.iter().enumerate() {
        let secret = scalar(bytes);
        // bG or bG + A, picked by a mask.
        let zero = RistrettoPoint::mul_base(&secret);
        let mask = ((choices >> i) as u8 & 1).wrapping_neg();
        let mut element = zero.compress().to_bytes();
        let one = Zeroizing::new((zero + public).compress().to_bytes());
        element.iter_mut().zip(one.iter()).for_each(|(e, o)| *e ^= mask & (*e ^ o));
        out.extend_from_slice(&element);
        keys.push(key(&tag, &element, i, &(*secret * public)));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Direction = Direction { session: [3; 16], sender: 4, receiver: 2 };

    #[test]
    fn the_receiver_has_the_chosen_key_and_no_other() {
        let (sender, receiver) = (KeyStream::new(&[1; 32], &[3; 16]), KeyStream::new(&[2; 32], &[3; 16]));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let state = Sender::new(WAY, &sender, &mut first);
        let choices = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        let chosen = choose(WAY, &receiver, choices, &first, &mut second).unwrap();
        let pairs = state.keys(&second).unwrap();
        for (i, (pair, key)) in pairs.iter().zip(chosen.iter()).enumerate() {
            let bit = (choices >> i & 1) as usize;
            assert_eq!(pair[bit], *key, "transfer {i}");
            assert_ne!(pair[1 - bit], *key, "transfer {i}");
        }
    }

    #[test]
    fn bad_messages_are_typed_errors() {
        let own = KeyStream::new(&[1; 32], &[3; 16]);
        let mut first = Vec::new();
        let state = Sender::new(WAY, &own, &mut first);
        let length = |got| OtError::Length { what: "choices of base transfers", got, expected: 4096 };
        assert_eq!(state.keys(&[]).err(), Some(length(0)));
        assert_eq!(state.keys(&[0; 4097]).err(), Some(length(4097)));
        // All zeros encode the neutral element, all ones nothing.
        let point = |index| OtError::Point { what: "choices of base transfers", index };
        assert_eq!(state.keys(&[0; 4096]).err(), Some(point(0)));
        let mut good = Vec::new();
        choose(WAY, &KeyStream::new(&[2; 32], &[3; 16]), 5, &first, &mut good).unwrap();
        good[7 * 32..8 * 32].fill(0xff);
        assert_eq!(state.keys(&good).err(), Some(point(7)));
        let what = "element of the base sender";
        let refused = choose(WAY, &own, 0, &[0xff; 32], &mut Vec::new()).err();
        assert_eq!(refused, Some(OtError::Point { what, index: 0 }));
        let refused = choose(WAY, &own, 0, &[0; 31], &mut Vec::new()).err();
        assert_eq!(refused, Some(OtError::Length { what, got: 31, expected: 32 }));
    }
}
