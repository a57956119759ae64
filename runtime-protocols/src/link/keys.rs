//! Seeds that each pair of parties shares.

use super::{Link, LinkError, Place, party};
use std::fmt;
use zeroize::Zeroizing;

/// One secret seed per peer, wiped when dropped.
pub struct PairKeys(Zeroizing<Vec<[u8; 32]>>);

impl PairKeys {
    /// The seeds by peer; this party's own entry is zeros.
    pub fn as_slice(&self) -> &[[u8; 32]] {
        &self.0
    }
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairKeys({})", self.0.len())
    }
}

/// Agrees on a seed with each peer: the party with the lower index draws it and sends it.
///
/// The seed travels over the link as it is and is then mixed with a secret of the channel, so that it belongs to this
/// connection only. On plain TCP there is none and whoever can read the connection reads the seed, which is why plain TCP
/// is for loopback only. Call it before [`Link::begin`], so that it does not count.
pub fn exchange_keys(link: &mut dyn Link) -> Result<PairKeys, LinkError> {
    let (me, parties) = (link.me().index(), link.parties());
    let mut keys = Zeroizing::new(vec![[0; 32]; parties]);
    let mut out = Zeroizing::new(vec![Vec::new(); parties]);
    let mut incoming = Zeroizing::new(vec![Vec::new(); parties]);
    for peer in me + 1..parties {
        random(&mut keys[peer])?;
        out[peer].extend_from_slice(&keys[peer]);
    }
    let expect: Vec<usize> = (0..parties).map(|peer| if peer < me { 32 } else { 0 }).collect();
    link.exchange(&Place { round: 0, what: "pair keys" }, &out, &expect, &mut incoming)?;
    for peer in 0..me {
        keys[peer].copy_from_slice(&incoming[peer]);
    }
    for (peer, key) in keys.iter_mut().enumerate() {
        if let Some(secret) = link.binding(party(peer)).map(Zeroizing::new) {
            let both = Zeroizing::new([*key, *secret].concat());
            *key = blake3::derive_key("qnnvm link pair key v2", &both);
        }
    }
    Ok(PairKeys(keys))
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), LinkError> {
    getrandom::fill(bytes).map_err(|e| LinkError::Random { reason: e.to_string() })
}
