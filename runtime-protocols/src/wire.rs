//! Values as bytes: ring elements packed to their width, bit planes one after the other. One value has one form, so that two
//! parties who know it write the same bytes.
use crate::data::{Data, Zip, plane_words};
use crate::kernels::wide::wide;
use crate::kernels::{pack, planes};
use crate::prg::Segment;
use crate::runtime::{Exchange, Flat};
use ir::Domain;

/// Bytes of a message that carries `len` elements once.
pub fn wire_bytes(domain: Domain, len: usize) -> u64 {
    match domain {
        Domain::Ring(k) => (len as u64 * u64::from(k)).div_ceil(8),
        Domain::Bits(n) => u64::from(n) * (len as u64).div_ceil(8),
    }
}

/// Domain of the elements on the wire.
pub fn wire_domain(what: Exchange, ty: Flat) -> Domain {
    match (what, ty.domain) {
        (Exchange::Reshare { bits } | Exchange::Deal { bits }, Domain::Ring(_)) => Domain::Ring(bits),
        (_, d) => d,
    }
}

/// Appends a value.
pub fn write(domain: Domain, data: &Data, out: &mut Vec<u8>) {
    match (domain, data) {
        (Domain::Ring(k), Data::W32(x)) => pack::pack_u32(u32::from(k), x, out),
        (Domain::Ring(k), Data::W64(x)) => pack::pack_u64(u32::from(k), x, out),
        (Domain::Bits(_), Data::Planes { words, len }) => planes::planes_to_bytes(words, *len, out),
        _ => unreachable!("verified: domain and data agree"),
    }
}

/// Reads a value from exactly its bytes.
pub fn parse(domain: Domain, len: usize, bytes: &[u8]) -> Data {
    match domain {
        Domain::Ring(k) if k <= 32 => Data::W32(pack::read_u32(k.into(), bytes, len)),
        Domain::Ring(k) => Data::W64(pack::read_u64(k.into(), bytes, len)),
        Domain::Bits(n) => {
            let mut words = vec![0; usize::from(n) * plane_words(len)];
            planes::bytes_to_planes(bytes, len, &mut words);
            Data::Planes { words, len }
        }
    }
}

/// Takes bytes from the front. Lengths were compared at load, and the link keeps to them.
pub fn take<'a>(incoming: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (mine, rest) = incoming.split_at(bytes);
    *incoming = rest;
    mine
}

/// Takes a value from the front.
pub fn read(domain: Domain, len: usize, incoming: &mut &[u8]) -> Data {
    let mine = take(incoming, wire_bytes(domain, len) as usize);
    parse(domain, len, mine)
}

/// x − pad.
pub fn padded(x: &Data, bits: u8, pad: &Data) -> Data {
    let mut y = x.to_ring(bits);
    y.zip_assign(pad, Zip::Sub);
    y
}

/// Elements that are padded and packed at a time: whole bytes at any width, and they stay in the first-level cache.
const BLOCK: usize = 1024;

/// Appends x − pad, of which nothing else is kept.
pub fn write_padded(domain: Domain, x: &Data, pad: &mut Segment, out: &mut Vec<u8>) {
    match (domain, x) {
        (Domain::Ring(k), Data::W32(x)) if k <= 32 => {
            padded_blocks(x, out, u32::from(k), pad, |v| v);
        }
        (Domain::Ring(k), Data::W64(x)) if k <= 32 => {
            padded_blocks(x, out, u32::from(k), pad, |v| v as u32);
        }
        (Domain::Ring(k), x) => {
            let mut y = x.to_ring(k);
            y.mix_pad(pad, Zip::Sub);
            write(domain, &y, out);
        }
        (Domain::Bits(_), Data::Planes { words, len }) => {
            // Planes of whole words are one on the wire, and so they go in long blocks.
            let (per, len) = match len % 64 {
                0 => (words.len(), 64 * words.len()),
                _ => (plane_words(*len), *len),
            };
            let mut block = [0; BLOCK / 2];
            for plane in words.chunks(per.max(1)) {
                for (i, words) in plane.chunks(block.len()).enumerate() {
                    let block = &mut block[..words.len()];
                    block.copy_from_slice(words);
                    pad.mix_u64(block, |x, y| x ^ y);
                    let here = (64 * block.len()).min(len - i * 64 * (BLOCK / 2));
                    planes::planes_to_bytes(block, here, out);
                }
            }
        }
        (Domain::Bits(_), _) => unreachable!("verified: domain and data agree"),
    }
}

fn padded_blocks<T: Copy>(x: &[T], out: &mut Vec<u8>, k: u32, pad: &mut Segment, narrow: impl Fn(T) -> u32) {
    let (mut block, mut bytes) = ([0; BLOCK], [0; 4 * BLOCK]);
    for x in x.chunks(BLOCK) {
        let block = &mut block[..x.len()];
        let bytes = &mut bytes[..pack::packed_len(k, x.len())];
        wide(
            #[inline(always)]
            || block.iter_mut().zip(x).for_each(|(y, x)| *y = narrow(*x)),
        );
        pad.mix_u32(block, u32::wrapping_sub);
        pack::write_u32(k, block, bytes);
        out.extend_from_slice(bytes);
    }
}

/// An opened ring value is a signed number.
pub fn signed(x: Data, domain: Domain) -> Data {
    let Domain::Ring(k) = domain else { return x };
    let shift = 64 - u32::from(k);
    let mut x = x.reduced(k);
    if let Data::W64(words) = &mut x {
        words.iter_mut().for_each(|v| *v = ((*v << shift) as i64 >> shift) as u64);
    }
    x
}
