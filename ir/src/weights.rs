//! The weights file: private tensors of the model owner, bound to a program by its hash.
//!
//! ```text
//! "MPCW" version:u16 reserved:u16 program:32 bytes salt:32 bytes  tensors: (length width data)*  blake3 of all before: 32 bytes
//! ```
//!
//! The hash at the end finds damage, and it is the *identity* of the weights: the parties of a session may compare it. The salt
//! is random and stays in the file, so the hash says which weights and nothing about them, however few there are to guess from.
use crate::bytecode::{DecodeError, Reader, Writer};

const FORMAT: u16 = 2;
/// Where the tensors begin.
const HEADER: usize = 72;

/// Private weights. `Debug` shows sizes only.
#[derive(Clone, PartialEq, Eq)]
pub struct Weights {
    /// Hash of the program they belong to.
    pub program: [u8; 32],
    /// One tensor per entry of the program's interface.
    pub tensors: Vec<Vec<i32>>,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} tensors)", self.tensors.len())
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        self.tensors.iter_mut().for_each(|t| t.fill(0));
    }
}

/// Bytes per element of a tensor: the fewest that hold every value.
fn width_of(data: &[i32]) -> usize {
    let fits = |lo: i32, hi: i32| data.iter().all(|x| (lo..=hi).contains(x));
    if fits(-128, 127) {
        1
    } else if fits(-32768, 32767) {
        2
    } else {
        4
    }
}

/// Bytes of a weights file. The salt is random where the file is for use.
pub fn encode(w: &Weights, salt: &[u8; 32]) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes.extend_from_slice(b"MPCW");
    out.bytes.extend_from_slice(&FORMAT.to_le_bytes());
    out.bytes.extend_from_slice(&[0, 0]);
    out.bytes.extend_from_slice(&w.program);
    out.bytes.extend_from_slice(salt);
    out.varint(w.tensors.len() as u64);
    for t in &w.tensors {
        let bytes = width_of(t);
        out.varint(t.len() as u64);
        out.byte(bytes as u8);
        t.iter().for_each(|x| out.bytes.extend_from_slice(&x.to_le_bytes()[..bytes]));
    }
    let hash = blake3::hash(&out.bytes);
    out.bytes.extend_from_slice(hash.as_bytes());
    out.bytes
}

/// The identity of a weights file that can be read.
pub fn identity(bytes: &[u8]) -> [u8; 32] {
    bytes.last_chunk().copied().unwrap_or_default()
}

/// Reads a weights file.
pub fn decode(bytes: &[u8]) -> Result<Weights, DecodeError> {
    let bad = |what| DecodeError::Bad { at: 0, what };
    if bytes.get(..4) != Some(b"MPCW") {
        return Err(bad("not a weights file: it does not begin with `MPCW`"));
    }
    let body =
        bytes.len().checked_sub(32).filter(|n| *n >= HEADER).ok_or(DecodeError::Truncated { at: bytes.len() })?;
    if bytes[4..6] != FORMAT.to_le_bytes() || bytes[6..8] != [0, 0] {
        return Err(bad("weights format of another version"));
    }
    if blake3::hash(&bytes[..body]).as_bytes()[..] != bytes[body..] {
        return Err(DecodeError::Checksum);
    }
    let mut program = [0u8; 32];
    program.copy_from_slice(&bytes[8..40]);
    let mut r = Reader::new(&bytes[HEADER..body]);
    let n = r.length(1 << 16)?;
    let tensors = (0..n)
        .map(|_| {
            let len = r.length(1 << 30)?;
            let bytes = usize::from(r.byte()?);
            if ![1, 2, 4].contains(&bytes) {
                return Err(r.bad("weight width"));
            }
            let data = r.take(len.checked_mul(bytes).ok_or_else(|| r.bad("tensor too large"))?)?;
            let value = |c: &[u8]| {
                let mut x = [if c[bytes - 1] & 0x80 == 0 { 0u8 } else { 0xff }; 4];
                x[..bytes].copy_from_slice(c);
                i32::from_le_bytes(x)
            };
            let tensor: Vec<i32> = data.chunks_exact(bytes).map(value).collect();
            if width_of(&tensor) != bytes {
                return Err(r.bad("weights wider than needed"));
            }
            Ok(tensor)
        })
        .collect::<Result<_, _>>()?;
    if !r.done() {
        return Err(r.bad("bytes after the end"));
    }
    Ok(Weights { program, tensors })
}
