//! Keys that three parties share.
//!
//! Key l is drawn by the first of the three parties other than l and sent to the two others, who compare hashes of it before
//! it is used. *Against whom:* key l protects what party l receives. If party l cheats, the three are honest and the key is
//! random. If one of the three cheats, it knows the key anyway, and the comparison sees to it that the two honest ones have
//! the same.
use super::PARTIES;
use crate::link::{Link, LinkError, Place, random};
use crate::runtime::DIGEST;
use zeroize::Zeroizing;

/// Who draws key `l`, and who receives it.
fn trio(l: u8) -> [u8; 3] {
    let mut three = (0..PARTIES).filter(|p| *p != l);
    std::array::from_fn(|_| three.next().expect("three of four"))
}

/// Agrees on the seeds of the keys; entry l is the seed of key l, the own entry is zeros.
///
/// Seeds travel over the link as they are, as those of pairs do. Call it before [`Link::begin`], so that it does not count.
pub fn agree(link: &mut dyn Link) -> Result<Zeroizing<Vec<[u8; 32]>>, LinkError> {
    let me = link.me().0;
    let parties = usize::from(PARTIES);
    let keys = || (0..PARTIES).filter(move |l| *l != me).map(|l| (l, trio(l)));
    let mut seeds = Zeroizing::new(vec![[0; 32]; parties]);
    let mut out = Zeroizing::new(vec![Vec::new(); parties]);
    let mut incoming = Zeroizing::new(vec![Vec::new(); parties]);
    let mut expect = vec![0; parties];
    for (l, [first, second, third]) in keys() {
        if me != first {
            expect[usize::from(first)] += 32;
            continue;
        }
        let seed = &mut seeds[usize::from(l)];
        random(seed)?;
        [second, third].into_iter().for_each(|p| out[usize::from(p)].extend_from_slice(seed));
    }
    link.exchange(&Place { round: 0, what: "keys of three" }, &out, &expect, &mut incoming)?;
    let mut at = vec![0; parties];
    for (l, [first, ..]) in keys().filter(|(_, three)| three[0] != me) {
        let (from, start) = (usize::from(first), at[usize::from(first)]);
        seeds[usize::from(l)].copy_from_slice(&incoming[from][start..start + 32]);
        at[from] += 32;
    }

    // The two receivers of each key compare.
    let mut given: Vec<Option<blake3::Hasher>> = vec![None; parties];
    for (l, [first, second, third]) in keys() {
        if me != first {
            let other = if me == second { third } else { second };
            let hash = given[usize::from(other)].get_or_insert_with(blake3::Hasher::new);
            hash.update(&[l]).update(&seeds[usize::from(l)]);
        }
    }
    let words: Vec<Vec<u8>> =
        given.iter().map(|h| h.as_ref().map_or(vec![], |h| h.finalize().as_bytes().to_vec())).collect();
    let expect: Vec<usize> = words.iter().map(|w| if w.is_empty() { 0 } else { DIGEST }).collect();
    let place = Place { round: 0, what: "keys of three, compared" };
    link.exchange(&place, &words, &expect, &mut incoming)?;
    if let Some(p) = (0..parties).find(|p| incoming[*p] != words[*p]) {
        let peer = ir::Party(p as u8);
        let e = LinkError::Inconsistent { peer, round: place.round, what: place.what.to_owned() };
        link.abort(e.exit_code(), &e.to_string());
        return Err(e);
    }
    Ok(seeds)
}
