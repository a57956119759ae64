//! The container of a program: magic, version, sections, hash. Decoding is total: any bytes give a program or an error.
//!
//! ```text
//! "MPCB" version:u16 reserved:u16  sections: (kind:u8 length:u32 bytes)*  blake3 of all before: 32 bytes
//! ```
use crate::modes::Modes;
use crate::ops::Op;
use crate::program::{Const, DType, Inst, Interface, Layer, Messages, Port, Program, Round, Value};
use crate::types::Party;

/// Version of the program format that this build reads and writes.
pub const FORMAT: u16 = 1;
/// Bytes a decoder looks at, at most.
const MAX_FILE: usize = 64 << 20;

/// Why bytes are no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Other magic.
    #[error("not a program: the file does not begin with `MPCB`")]
    Magic,
    /// Other version.
    #[error("program format {found}, this build reads format {FORMAT}: compile the model again")]
    Version {
        /// As read.
        found: u16,
    },
    /// Hash differs.
    #[error("the program's checksum does not match: the file is damaged or was changed")]
    Checksum,
    /// Ends early.
    #[error("the file ends at byte {at}, inside an item")]
    Truncated {
        /// Offset.
        at: usize,
    },
    /// Anything else.
    #[error("byte {at}: {what}")]
    Bad {
        /// Offset in the section.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Appends bytes.
#[derive(Default)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// One byte.
    pub fn byte(&mut self, b: u8) {
        self.bytes.push(b);
    }

    /// LEB128.
    pub fn varint(&mut self, mut x: u64) {
        while x >= 0x80 {
            self.bytes.push(x as u8 | 0x80);
            x >>= 7;
        }
        self.bytes.push(x as u8);
    }

    /// Zigzag LEB128.
    pub fn signed(&mut self, x: i64) {
        self.varint((x << 1 ^ x >> 63) as u64);
    }

    /// Length and UTF-8.
    pub fn text(&mut self, s: &str) {
        self.varint(s.len() as u64);
        self.bytes.extend_from_slice(s.as_bytes());
    }
}

/// Reads bytes, never past the end.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// An error here.
    pub fn bad(&self, what: &'static str) -> DecodeError {
        DecodeError::Bad { at: self.at, what }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated { at: self.bytes.len() })?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// LEB128, at most ten bytes, shortest form only.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut x = 0u64;
        for i in 0..10 {
            let b = self.byte()?;
            if i == 9 && b > 1 {
                return Err(self.bad("number too large"));
            }
            x |= u64::from(b & 0x7f) << (7 * i);
            if b & 0x80 == 0 {
                if i > 0 && b == 0 {
                    return Err(self.bad("number not in shortest form"));
                }
                return Ok(x);
            }
        }
        Err(self.bad("number too large"))
    }

    /// Zigzag LEB128.
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let x = self.varint()?;
        Ok((x >> 1) as i64 ^ -((x & 1) as i64))
    }

    /// A count of items of at least one byte each: bounded by `cap` and by what is left.
    pub fn length(&mut self, cap: usize) -> Result<usize, DecodeError> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n <= cap && n <= self.bytes.len() - self.at => Ok(n),
            _ => Err(self.bad("length out of bounds")),
        }
    }

    /// Length and UTF-8.
    pub fn text(&mut self) -> Result<String, DecodeError> {
        let n = self.length(4096)?;
        let bytes = self.take(n)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| self.bad("text is not UTF-8"))
    }

    /// Whether all is read.
    pub fn done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

const META: u8 = 1;
const INTERFACE: u8 = 2;
const CONSTANTS: u8 = 3;
const CODE: u8 = 4;
const ROUNDS: u8 = 5;
const LAYERS: u8 = 6;

/// Mark of a port that is float32 outside.
const FLOAT: u8 = 0x80;

fn write_ports(w: &mut Writer, ports: &[Port]) {
    w.varint(ports.len() as u64);
    for p in ports {
        w.text(&p.name);
        w.byte(p.dtype as u8 | if p.float { FLOAT } else { 0 });
        w.varint(p.shape.len() as u64);
        p.shape.iter().for_each(|d| w.varint(u64::from(*d)));
        w.bytes.extend_from_slice(&p.scale.to_bits().to_le_bytes());
        w.signed(i64::from(p.zero_point));
        w.byte(p.party.0);
    }
}

fn read_shape(r: &mut Reader<'_>) -> Result<Vec<u32>, DecodeError> {
    let n = r.length(8)?;
    (0..n).map(|_| r.varint().and_then(|d| u32::try_from(d).map_err(|_| r.bad("dimension too large")))).collect()
}

fn read_u32(r: &mut Reader<'_>) -> Result<u32, DecodeError> {
    u32::try_from(r.varint()?).map_err(|_| r.bad("number too large"))
}

fn read_ports(r: &mut Reader<'_>) -> Result<Vec<Port>, DecodeError> {
    let n = r.length(1024)?;
    (0..n)
        .map(|_| {
            let name = r.text()?;
            let code = r.byte()?;
            let float = code & FLOAT != 0;
            let dtype = DType::from_code(code & !FLOAT).ok_or_else(|| r.bad("unknown element type"))?;
            let shape = read_shape(r)?;
            let raw = r.take(4)?;
            let scale = f32::from_bits(u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]));
            let zero_point = i32::try_from(r.signed()?).map_err(|_| r.bad("zero point too large"))?;
            Ok(Port { name, dtype, shape, scale, zero_point, party: Party(r.byte()?), float })
        })
        .collect()
}

/// Bytes per element of a constant: the fewest that hold every value.
fn width_of(data: &[i64]) -> u8 {
    let fits = |bytes: u8| data.iter().all(|x| x >> (8 * u32::from(bytes) - 1) == x >> 63);
    (1..8).find(|bytes| fits(*bytes)).unwrap_or(8)
}

/// Bytes of a program. Equal programs give equal bytes.
pub fn encode(p: &Program) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes.extend_from_slice(b"MPCB");
    out.bytes.extend_from_slice(&FORMAT.to_le_bytes());
    out.bytes.extend_from_slice(&[0, 0]);
    let mut section = |kind: u8, fill: &dyn Fn(&mut Writer)| {
        let mut w = Writer::default();
        fill(&mut w);
        out.byte(kind);
        out.bytes.extend_from_slice(&(w.bytes.len() as u32).to_le_bytes());
        out.bytes.extend_from_slice(&w.bytes);
    };
    section(META, &|w| {
        w.text(&p.protocol);
        w.byte(p.parties);
        w.text(&p.reveal);
        w.text(&p.kernels);
        w.varint(p.opened_bits);
        w.varint(p.thresholds);
        w.varint(p.peak_memory);
        // Programs as usual need no byte for it.
        if p.modes != Modes::default() {
            w.byte(p.modes.code());
        }
    });
    section(INTERFACE, &|w| {
        write_ports(w, &p.interface.inputs);
        write_ports(w, &p.interface.outputs);
        w.varint(p.interface.weights.len() as u64);
        for shape in &p.interface.weights {
            w.varint(shape.len() as u64);
            shape.iter().for_each(|d| w.varint(u64::from(*d)));
        }
        w.byte(p.interface.weight_owner.0);
    });
    section(CONSTANTS, &|w| {
        w.varint(p.consts.len() as u64);
        for c in &p.consts {
            w.varint(c.shape.len() as u64);
            c.shape.iter().for_each(|d| w.varint(u64::from(*d)));
            let bytes = width_of(&c.data);
            w.byte(bytes);
            c.data.iter().for_each(|x| w.bytes.extend_from_slice(&x.to_le_bytes()[..bytes as usize]));
        }
    });
    section(CODE, &|w| {
        w.varint(p.insts.len() as u64);
        for inst in &p.insts {
            inst.op.map(|v| v.0).encode(w);
            w.varint(u64::from(inst.layer));
        }
    });
    section(ROUNDS, &|w| {
        w.varint(u64::from(p.setup_rounds));
        w.varint(p.rounds.len() as u64);
        for r in &p.rounds {
            w.varint(u64::from(r.local_end));
            w.varint(u64::from(r.exchange_end));
            r.messages.0.iter().for_each(|b| w.varint(*b));
        }
    });
    section(LAYERS, &|w| {
        w.varint(p.layers.len() as u64);
        for l in &p.layers {
            w.varint(u64::from(l.operator));
            w.text(&l.name);
        }
    });
    let hash = blake3::hash(&out.bytes);
    out.bytes.extend_from_slice(hash.as_bytes());
    out.bytes
}

/// Identity of a program: what the parties compare.
pub fn program_hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Reads a program. The result still has to pass [`crate::verify::verify`].
pub fn decode(bytes: &[u8]) -> Result<Program, DecodeError> {
    if bytes.len() > MAX_FILE {
        return Err(DecodeError::Bad { at: 0, what: "larger than 64 MiB" });
    }
    if bytes.get(..4) != Some(b"MPCB") {
        return Err(DecodeError::Magic);
    }
    let version = bytes.get(4..6).ok_or(DecodeError::Truncated { at: bytes.len() })?;
    let found = u16::from_le_bytes([version[0], version[1]]);
    if found != FORMAT {
        return Err(DecodeError::Version { found });
    }
    let body = bytes.len().checked_sub(32).filter(|n| *n >= 8).ok_or(DecodeError::Truncated { at: bytes.len() })?;
    if blake3::hash(&bytes[..body]).as_bytes()[..] != bytes[body..] {
        return Err(DecodeError::Checksum);
    }
    let mut file = Reader::new(&bytes[8..body]);
    let mut section = |kind: u8| -> Result<Reader<'_>, DecodeError> {
        if file.byte()? != kind {
            return Err(file.bad("unexpected section"));
        }
        let n = file.take(4)?;
        Ok(Reader::new(file.take(u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize)?))
    };
    let mut r = section(META)?;
    let (protocol, parties, reveal, kernels) = (r.text()?, r.byte()?, r.text()?, r.text()?);
    if !(1..=8).contains(&parties) {
        return Err(r.bad("number of parties"));
    }
    let (opened_bits, thresholds, peak_memory) = (r.varint()?, r.varint()?, r.varint()?);
    let code = if r.done() { 0 } else { r.byte()? };
    let modes = Modes::from_code(code).ok_or_else(|| r.bad("unknown mode"))?;
    let mut r = section(INTERFACE)?;
    let (inputs, outputs) = (read_ports(&mut r)?, read_ports(&mut r)?);
    let n = r.length(1 << 16)?;
    let weights = (0..n).map(|_| read_shape(&mut r)).collect::<Result<_, _>>()?;
    let interface = Interface { inputs, outputs, weights, weight_owner: Party(r.byte()?) };
    let mut r = section(CONSTANTS)?;
    let n = r.length(1 << 20)?;
    let consts = (0..n)
        .map(|_| {
            let shape = read_shape(&mut r)?;
            let bytes = r.byte()? as usize;
            if !(1..=8).contains(&bytes) {
                return Err(r.bad("constant width"));
            }
            let total = shape.iter().try_fold(bytes, |a, d| a.checked_mul(*d as usize));
            let data = r.take(total.ok_or_else(|| r.bad("constant too large"))?)?;
            let value = |c: &[u8]| {
                let mut x = [if c[bytes - 1] & 0x80 == 0 { 0u8 } else { 0xff }; 8];
                x[..bytes].copy_from_slice(c);
                i64::from_le_bytes(x)
            };
            Ok(Const { shape, data: data.chunks_exact(bytes).map(value).collect() })
        })
        .collect::<Result<_, _>>()?;
    let mut r = section(CODE)?;
    let n = r.length(1 << 22)?;
    let insts = (0..n)
        .map(|_| {
            let op = Op::<u32>::decode(&mut r)?.map(Value);
            Ok(Inst { op, layer: read_u32(&mut r)? })
        })
        .collect::<Result<_, _>>()?;
    let mut r = section(ROUNDS)?;
    let setup_rounds = read_u32(&mut r)?;
    let n = r.length(1 << 20)?;
    let rounds = (0..n)
        .map(|_| {
            let (local_end, exchange_end) = (read_u32(&mut r)?, read_u32(&mut r)?);
            let cells = usize::from(parties) * usize::from(parties);
            let messages = Messages((0..cells).map(|_| r.varint()).collect::<Result<_, _>>()?);
            Ok(Round { local_end, exchange_end, messages })
        })
        .collect::<Result<_, _>>()?;
    let mut r = section(LAYERS)?;
    let n = r.length(1 << 20)?;
    let layers =
        (0..n).map(|_| Ok(Layer { operator: read_u32(&mut r)?, name: r.text()? })).collect::<Result<_, _>>()?;
    if !r.done() || !file.done() {
        return Err(file.bad("bytes after the end"));
    }
    let program = Program {
        protocol,
        parties,
        reveal,
        kernels,
        modes,
        opened_bits,
        thresholds,
        peak_memory,
        interface,
        consts,
        insts,
        setup_rounds,
        rounds,
        layers,
    };
    // One program, one file: its hash is what the parties compare.
    if encode(&program) != bytes {
        return Err(DecodeError::Bad { at: 0, what: "a number or a section is longer than needed" });
    }
    Ok(program)
}
