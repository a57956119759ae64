//! What must hold of any bytes that a peer sends: for tests and for fuzzing, which both call these.

use super::frame::{HEADER, Header, Kind, REASON_LIMIT};
use super::handshake::{HELLO_LIMIT, NONCE, PREAMBLE, Preamble, Side, decode_body, difference, encode};
use super::{Fault, Hello, LinkError, Party};

/// A stream of frames, each compared with a length and a number that are due. Nothing is read by an announced length that
/// was not accepted. The number of frames accepted.
pub fn frames(mut stream: &[u8], due: &[u8]) -> usize {
    let mut accepted = 0;
    let mut list = (0..).zip(due).peekable();
    while let Some((sequence, length)) = list.peek().copied() {
        let Some((header, rest)) = stream.split_first_chunk::<HEADER>() else { break };
        stream = rest;
        let Ok(h) = Header::decode(header) else { break };
        assert_eq!(h.encode(), *header, "two encodings of one header");
        let length = match h.kind {
            Kind::Beat => {
                assert_eq!(h.length, 0);
                continue;
            }
            Kind::Bye => {
                assert_eq!(h.length, 0);
                break;
            }
            Kind::Abort => {
                assert!((1..=1 + REASON_LIMIT as u64).contains(&h.length), "an abort of {} bytes", h.length);
                h.length as usize
            }
            Kind::Data => match h.check(usize::from(*length), sequence) {
                Ok(()) => usize::from(*length),
                Err(Fault::Length { .. } | Fault::Sequence { .. } | Fault::Level { .. }) => break,
                Err(other) => panic!("not a fault of a header: {other}"),
            },
        };
        let Some((payload, rest)) = stream.split_at_checked(length) else { break };
        stream = rest;
        accepted += 1;
        list.next();
        if h.kind == Kind::Abort {
            let reason = String::from_utf8_lossy(&payload[1..]);
            let e = LinkError::aborted(&super::Place { round: 1, what: "x" }, Party(1), payload[0], &reason);
            assert!(!e.to_string().chars().any(char::is_control), "{e:?}");
            assert!(matches!(e.exit_code(), 10..=13 | 20 | 21), "{e:?}");
            break;
        }
    }
    accepted
}

/// A handshake: refused, or compared with this party's; both sides see a difference or neither, and name the same field.
/// Whether its body was read.
pub fn handshake(bytes: &[u8]) -> bool {
    let mine = Hello::default().with("program", [7; 32]).with("protocol", "rep3").with("reveal", "output");
    let mine = mine.with("?weights", "w");
    let Some((preamble, body)) = bytes.split_first_chunk::<PREAMBLE>() else { return false };
    let Some(p) = Preamble::decode(preamble) else { return false };
    assert!(p.body <= HELLO_LIMIT, "a body of {} bytes", p.body);
    let read = body.get(..p.body).and_then(decode_body);
    let hello = read.as_ref().map(|(_, hello)| hello);
    let own = Side::own(Party(0), 3, &mine);
    let theirs = Side { party: Party(1), version: p.version, parties: p.parties, hello };
    let (here, there) = (difference(&own, &theirs), difference(&theirs, &own));
    let field = |e: &Option<LinkError>| match e {
        Some(LinkError::Disagree { field, .. }) => Some(field.clone()),
        Some(e) => panic!("not a difference: {e}"),
        None => None,
    };
    assert_eq!(field(&here), field(&there));
    for e in [&here, &there].into_iter().flatten() {
        let text = e.to_string();
        assert!(text.len() < 1000 && !text.chars().any(char::is_control), "{text:?}");
    }
    if let Some((nonce, hello)) = &read {
        let again = encode(p.party, p.parties, nonce, hello);
        assert_eq!(again[PREAMBLE..], body[..p.body], "two encodings of one handshake");
        let named = |e: &(String, Vec<u8>)| mine.fields.contains(e) || (e.0 == "?weights" && e.1.is_empty());
        assert!(here.is_some() || hello.fields.iter().all(named), "agreed on something else");
    }
    read.is_some()
}

/// A handshake that is accepted.
pub fn example() -> Vec<u8> {
    let hello = Hello::default().with("program", [7; 32]).with("protocol", "rep3").with("reveal", "output");
    let hello = hello.with("?weights", "w");
    encode(Party(1), 3, &[5; NONCE], &hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as usize
    }

    /// Every length, every byte in every way, and random pairs of changes.
    fn mutants(original: &[u8], check: impl Fn(&[u8]) -> bool) -> (usize, usize) {
        let (mut taken, mut all, mut state) = (0, 0, 0xf4a3);
        let mut count = |bytes: &[u8]| {
            taken += usize::from(check(bytes));
            all += 1;
        };
        for at in 0..original.len() {
            count(&original[..at]);
            for byte in 0..=255 {
                let mut bytes = original.to_vec();
                bytes[at] = byte;
                count(&bytes);
                let other = random(&mut state) % bytes.len();
                bytes[other] = random(&mut state) as u8;
                count(&bytes);
            }
        }
        (taken, all)
    }

    #[test]
    fn streams_of_frames() {
        let data = |sequence, length: u64| {
            let header = Header { length, level: 3, sequence, kind: Kind::Data };
            [&header.encode()[..], &vec![0xc3; length as usize]].concat()
        };
        let stream = [
            data(0, 5),
            super::super::frame::beat().to_vec(),
            data(1, 0),
            data(2, 9),
            super::super::frame::abort(3, 11, "no more\u{1b}[2J"),
        ]
        .concat();
        let due = [5, 0, 9, 1];
        assert_eq!(frames(&stream, &due), 4);
        let (taken, all) = mutants(&stream, |bytes| frames(bytes, &due) == 4);
        assert!(taken > 1000 && all - taken > 10_000, "{taken} of {all}");
    }

    #[test]
    fn handshakes() {
        assert!(handshake(&example()));
        let (taken, all) = mutants(&example(), handshake);
        assert!(taken > 10_000 && all - taken > 5_000, "{taken} of {all}");
    }
}
