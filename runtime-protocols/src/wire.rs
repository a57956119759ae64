//! Values as bytes: ring elements packed to their width, bit planes one after the other. One value has one form, so that two
//! parties who know it write the same bytes.
use crate::data::{Data, Zip, plane_words};
use crate::kernels::{pack, planes};
use crate::runtime::{Exchange, Flat};
use ir::{Domain, Form};

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
    let mut data = Data::zeros(domain, Form::Shared, len);
    match (domain, &mut data) {
        (Domain::Ring(k), Data::W32(x)) => pack::unpack_u32(u32::from(k), bytes, x),
        (Domain::Ring(k), Data::W64(x)) => pack::unpack_u64(u32::from(k), bytes, x),
        (Domain::Bits(_), Data::Planes { words, .. }) => {
            debug_assert_eq!(words.len() % plane_words(len), 0);
            planes::bytes_to_planes(bytes, len, words);
        }
        _ => unreachable!("zeros has the domain's data"),
    }
    data
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
pub fn padded(x: &Data, bits: u8, mut pad: Data) -> Data {
    if let Data::Planes { .. } = x {
        // On bits the sum is the difference, and needs no copy of x.
        pad.zip_assign(x, Zip::Add);
        return pad;
    }
    let mut y = x.to_ring(bits);
    y.zip_assign(&pad, Zip::Sub);
    y
}

/// An opened ring value is a signed number.
pub fn signed(x: Data, domain: Domain) -> Data {
    let Domain::Ring(k) = domain else { return x };
    let shift = 64 - u32::from(k);
    let mut words = x.reduced(k).w64().to_vec();
    words.iter_mut().for_each(|v| *v = ((*v << shift) as i64 >> shift) as u64);
    Data::W64(words)
}
