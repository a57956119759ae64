//! What a client and a party say to each other, over one connection for any number of requests.
//!
//! ```text
//! client   "QNNVMCLI" | version u16 | party u8 | program hash 32                                43 bytes
//! party    the same, of its own | status u8                                                     44 bytes
//! client   id 16 | length u64 | this party's pieces of the inputs                               a request
//! party    id 16 | status u8 | length u32 | answer, or the reason where the status is not 0     a reply
//! ```
//!
//! Numbers are little-endian. Each side knows from the program how long pieces and answers are, and allocates by that. An
//! answer is the tag of its run, equal at all parties and of no other run, and this party's summands of the results.
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First bytes of a connection.
pub const MAGIC: [u8; 8] = *b"QNNVMCLI";
/// Of these frames.
pub const VERSION: u16 = 1;
/// Bytes of what both sides say first; a party adds its status.
pub const HELLO: usize = 43;
/// Id and length.
pub const REQUEST: usize = 24;
/// Id, status and length.
pub const REPLY: usize = 21;
/// Bytes of the tag before an answer.
pub const TAG: usize = 16;
/// Longest reason in bytes.
pub const REASON: usize = 1000;

/// Names a request: milliseconds since 1970, then 8 random bytes. Nothing else is in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl RequestId {
    /// A fresh one.
    pub fn fresh() -> Result<RequestId, getrandom::Error> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(now().as_millis() as u64).to_be_bytes());
        getrandom::fill(&mut id[8..])?;
        Ok(RequestId(id))
    }

    /// Milliseconds since 1970 in it.
    pub fn time(&self) -> u64 {
        let (at, _) = self.0.split_first_chunk::<8>().expect("16 bytes");
        u64::from_be_bytes(*at)
    }

    /// How far its time is from now, either way.
    pub fn distance(&self) -> Duration {
        Duration::from_millis(self.time().abs_diff(now().as_millis() as u64))
    }
}

/// Since 1970.
pub fn now() -> Duration {
    // A clock before 1970 counts as 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Why a request gets no answer: an exit code of the project, and a reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// As of processes: 5 the queue is full, 10 not ready, 11 lost, 12 too late, 13 another program, 30 wrong data.
    pub code: u8,
    /// Place, cause and next step.
    pub reason: String,
}

impl Refusal {
    /// From both.
    pub fn new(code: u8, reason: impl Into<String>) -> Refusal {
        Refusal { code, reason: reason.into() }
    }

    /// Whether a new request may succeed.
    pub fn may_retry(&self) -> bool {
        matches!(self.code, 5 | 10 | 11 | 12)
    }
}

/// What both sides say first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The party that is meant, or that speaks.
    pub party: u8,
    /// Hash of the program.
    pub program: [u8; 32],
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.party;
        bytes[11..].copy_from_slice(&self.program);
        bytes
    }

    /// From bytes; what is wrong otherwise.
    pub fn decode(bytes: &[u8; HELLO]) -> Result<Hello, String> {
        if bytes[..8] != MAGIC {
            return Err("it does not speak this protocol".into());
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(format!("it speaks version {version}, this is version {VERSION}"));
        }
        Ok(Hello { party: bytes[10], program: *bytes[11..].first_chunk().expect("32 bytes") })
    }

    /// What differs, if something does.
    pub fn difference(&self, theirs: &Hello) -> Option<Refusal> {
        if self.party != theirs.party {
            return Some(Refusal::new(13, format!("here is party {}, meant is party {}", self.party, theirs.party)));
        }
        let short = |h: &[u8; 32]| h[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
        (self.program != theirs.program).then(|| {
            let what = format!("programs differ: {} here, {} there", short(&self.program), short(&theirs.program));
            Refusal::new(13, what)
        })
    }
}

/// The head of a request.
pub fn request(id: RequestId, length: u64) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..16].copy_from_slice(&id.0);
    bytes[16..].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Its id and length.
pub fn read_request(bytes: &[u8; REQUEST]) -> (RequestId, u64) {
    let (id, length) = bytes.split_first_chunk().expect("24 bytes");
    (RequestId(*id), u64::from_le_bytes(*length.first_chunk().expect("8 bytes")))
}

/// A whole reply.
pub fn reply(id: RequestId, outcome: &Result<std::sync::Arc<Vec<u8>>, Refusal>) -> Vec<u8> {
    let (code, body) = match outcome {
        Ok(answer) => (0, answer.as_slice()),
        Err(refusal) => {
            let cut = (0..=refusal.reason.len().min(REASON)).rev().find(|at| refusal.reason.is_char_boundary(*at));
            (refusal.code, &refusal.reason.as_bytes()[..cut.unwrap_or(0)])
        }
    };
    let length = u32::try_from(body.len()).expect("answers are bounded when a program is loaded");
    [&id.0[..], &[code], &length.to_le_bytes(), body].concat()
}

/// Id, status and length of a reply.
pub fn read_reply(bytes: &[u8; REPLY]) -> (RequestId, u8, u32) {
    let (id, rest) = bytes.split_first_chunk().expect("21 bytes");
    (RequestId(*id), rest[0], u32::from_le_bytes(*rest[1..].first_chunk().expect("4 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_encoding() {
        let hello = Hello { party: 2, program: [7; 32] };
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        assert!(Hello::decode(&[0; HELLO]).is_err());
        assert!(hello.difference(&Hello { party: 1, ..hello }).is_some_and(|r| r.code == 13));
        assert!(hello.difference(&Hello { program: [8; 32], ..hello }).is_some_and(|r| !r.may_retry()));
        let id = RequestId::fresh().expect("random bytes");
        assert!(id.distance() < Duration::from_secs(60));
        assert_eq!(read_request(&request(id, 99)), (id, 99));
        let whole = reply(id, &Err(Refusal::new(5, "ä".repeat(REASON))));
        let (head, body) = whole.split_first_chunk().expect("head");
        assert_eq!(read_reply(head), (id, 5, REASON as u32));
        assert_eq!(std::str::from_utf8(body).map(str::len), Ok(REASON));
    }
}
