//! Frames: a header before every message.
//!
//! ```text
//! payload length u64 | level u32 | sequence u32 | kind u8        little-endian, 17 bytes
//! ```
//!
//! The sequence counts the messages of one sender to one receiver from 0. The payload of an abort is the exit code and
//! a reason of at most [`REASON_LIMIT`] bytes. A beat says that its sender is alive; it carries nothing, has no
//! number and may stand between any two other frames.

use super::Fault;

pub(super) const HEADER: usize = 17;
pub(super) const REASON_LIMIT: usize = 1000;
/// No honest program has as many rounds; keeps 1 + level from overflowing.
const LEVEL_LIMIT: u32 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data = 1,
    Abort = 2,
    Bye = 3,
    Beat = 4,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) length: u64,
    pub(super) level: u32,
    pub(super) sequence: u32,
    pub(super) kind: Kind,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.level.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16] = self.kind as u8;
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<Self, Fault> {
        let [length @ .., _, _, _, _, _, _, _, _, _] = *bytes;
        let [.., l0, l1, l2, l3, s0, s1, s2, s3, kind] = *bytes;
        let kind = match kind {
            1 => Kind::Data,
            2 => Kind::Abort,
            3 => Kind::Bye,
            4 => Kind::Beat,
            got => return Err(Fault::Kind { got }),
        };
        let header = Header {
            length: u64::from_le_bytes(length),
            level: u32::from_le_bytes([l0, l1, l2, l3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            kind,
        };
        match kind {
            Kind::Abort if header.length == 0 || header.length > 1 + REASON_LIMIT as u64 => {
                Err(Fault::Length { got: header.length, expected: 1 })
            }
            Kind::Bye | Kind::Beat if header.length != 0 => Err(Fault::Length { got: header.length, expected: 0 }),
            _ => Ok(header),
        }
    }

    /// Checks a data frame against what is due.
    pub(super) fn check(&self, length: usize, sequence: u32) -> Result<(), Fault> {
        if self.sequence != sequence {
            return Err(Fault::Sequence { got: self.sequence, expected: sequence });
        }
        if self.length != length as u64 {
            return Err(Fault::Length { got: self.length, expected: length as u64 });
        }
        if self.level == 0 || self.level > LEVEL_LIMIT {
            return Err(Fault::Level { got: self.level });
        }
        Ok(())
    }
}

/// Whether this is the whole frame of a beat.
pub(super) fn is_beat(bytes: &[u8; HEADER]) -> bool {
    Header::decode(bytes).is_ok_and(|header| header.kind == Kind::Beat)
}

/// The whole frame of a beat.
pub(super) fn beat() -> [u8; HEADER] {
    Header { length: 0, level: 0, sequence: 0, kind: Kind::Beat }.encode()
}

/// The whole frame of an abort.
pub(super) fn abort(sequence: u32, code: u8, reason: &str) -> Vec<u8> {
    let cut = (0..=reason.len().min(REASON_LIMIT)).rev().find(|&cut| reason.is_char_boundary(cut));
    let reason = &reason[..cut.unwrap_or(0)];
    let length = 1 + reason.len() as u64;
    let mut bytes = Header { length, level: 0, sequence, kind: Kind::Abort }.encode().to_vec();
    bytes.push(code);
    bytes.extend_from_slice(reason.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_encoding() {
        let header = Header { length: 1 << 40, level: 7, sequence: 0x0102_0304, kind: Kind::Data };
        let bytes = header.encode();
        assert_eq!(bytes[..8], [0, 0, 0, 0, 0, 1, 0, 0]);
        let again = Header::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        assert_eq!(again.check(1 << 40, 0x0102_0304), Ok(()));
        assert!(matches!(again.check(9, 0x0102_0304), Err(Fault::Length { expected: 9, .. })));
        assert!(matches!(again.check(1 << 40, 1), Err(Fault::Sequence { expected: 1, .. })));
    }

    #[test]
    fn senseless_headers_are_refused() {
        let encode = |length, kind| Header { length, level: 1, sequence: 0, kind }.encode();
        let mut unknown = encode(0, Kind::Data);
        unknown[16] = 9;
        assert_eq!(Header::decode(&unknown).err(), Some(Fault::Kind { got: 9 }));
        assert!(Header::decode(&encode(1, Kind::Bye)).is_err());
        assert!(Header::decode(&encode(1, Kind::Beat)).is_err());
        assert!(Header::decode(&encode(0, Kind::Abort)).is_err());
        assert!(Header::decode(&encode(2000, Kind::Abort)).is_err());
        let far = Header { length: 0, level: u32::MAX, sequence: 0, kind: Kind::Data };
        assert_eq!(far.check(0, 0), Err(Fault::Level { got: u32::MAX }));
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let frame = abort(3, 11, &"ä".repeat(REASON_LIMIT));
        assert_eq!(frame.len(), HEADER + 1 + REASON_LIMIT);
        assert!(std::str::from_utf8(&frame[HEADER + 1..]).is_ok());
        let frame = abort(3, 11, &format!("x{}", "ä".repeat(REASON_LIMIT)));
        assert!(std::str::from_utf8(&frame[HEADER + 1..]).is_ok());
    }
}
