//! The handshake: what two parties must agree on before they talk.
//!
//! ```text
//! magic "QNNVMLNK" | version u16 | party u8 | parties u8 | body length u32                   16 bytes
//! body: nonce 16 bytes | fields u16 | each: name length u16, name, value length u32, value   little-endian
//! ```
//!
//! What a field names must be equal; where its name begins with `?`, an empty value fits every other. The preamble keeps its
//! layout in all versions. Both sides send all of theirs before they judge, so both see a
//! difference and name the same field. Then every party tells every other the nonces of all and, under TLS, a tag of
//! each of its channels: both ends of a channel must name the same tag, so nobody sits between two parties, and the
//! session is derived from all nonces and all tags.

use super::{LinkError, Party};

/// Largest body of a handshake.
pub const HELLO_LIMIT: usize = 64 << 10;
pub(super) const PREAMBLE: usize = 16;
pub(super) const NONCE: usize = 16;
const MAGIC: [u8; 8] = *b"QNNVMLNK";
const VERSION: u16 = 2;

/// What all parties must agree on, in a fixed order: program hash, protocol, reveal policy and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Names and values.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Hello {
    /// Adds a field. Where its name begins with `?`, an empty value leaves it to the others.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }
}

/// The fixed first part of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) version: u16,
    pub(super) party: Party,
    pub(super) parties: u8,
    /// At most [`HELLO_LIMIT`].
    pub(super) body: usize,
}

impl Preamble {
    /// `None` when this is no handshake, or one with a body too large to read.
    pub(super) fn decode(bytes: &[u8; PREAMBLE]) -> Option<Self> {
        let [magic @ .., _, _, _, _, _, _, _, _] = *bytes;
        let [.., v0, v1, party, parties, b0, b1, b2, b3] = *bytes;
        let body = usize::try_from(u32::from_le_bytes([b0, b1, b2, b3])).ok()?;
        (magic == MAGIC && body <= HELLO_LIMIT).then_some(Preamble {
            version: u16::from_le_bytes([v0, v1]),
            party: Party(party),
            parties,
            body,
        })
    }
}

/// The complete handshake of one party.
///
/// # Panics
/// When the fields are larger than [`HELLO_LIMIT`].
pub(super) fn encode(me: Party, parties: u8, nonce: &[u8; NONCE], hello: &Hello) -> Vec<u8> {
    const FITS: &str = "a hello is a few short fields";
    let mut body = nonce.to_vec();
    body.extend(u16::try_from(hello.fields.len()).expect(FITS).to_le_bytes());
    for (name, value) in &hello.fields {
        body.extend(u16::try_from(name.len()).expect(FITS).to_le_bytes());
        body.extend(name.as_bytes());
        body.extend(u32::try_from(value.len()).expect(FITS).to_le_bytes());
        body.extend(value);
    }
    assert!(body.len() <= HELLO_LIMIT, "{FITS}");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([me.0, parties]);
    bytes.extend(u32::try_from(body.len()).expect(FITS).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// Reads a body; `None` when it is malformed.
pub(super) fn decode_body(mut body: &[u8]) -> Option<([u8; NONCE], Hello)> {
    let nonce = *body.split_off(..NONCE)?.first_chunk()?;
    let count = u16::from_le_bytes(*body.split_off(..2)?.first_chunk()?);
    let mut hello = Hello::default();
    for _ in 0..count {
        let name = usize::from(u16::from_le_bytes(*body.split_off(..2)?.first_chunk()?));
        let name = std::str::from_utf8(body.split_off(..name)?).ok()?.to_owned();
        let value = usize::try_from(u32::from_le_bytes(*body.split_off(..4)?.first_chunk()?)).ok()?;
        hello.fields.push((name, body.split_off(..value)?.to_vec()));
    }
    body.is_empty().then_some((nonce, hello))
}

/// One side of a handshake, as compared.
pub(super) struct Side<'a> {
    pub(super) party: Party,
    pub(super) version: u16,
    pub(super) parties: u8,
    /// `None` when the body cannot be read, as may be the case in another version.
    pub(super) hello: Option<&'a Hello>,
}

impl<'a> Side<'a> {
    pub(super) fn own(party: Party, parties: u8, hello: &'a Hello) -> Self {
        Side { party, version: VERSION, parties, hello: Some(hello) }
    }
}

/// The first difference, seen from `mine`.
pub(super) fn difference(mine: &Side<'_>, theirs: &Side<'_>) -> Option<LinkError> {
    let disagree = |field: &str, mine: String, theirs_value: String| {
        let field = field.chars().filter(|c| !c.is_control()).take(80).collect();
        Some(LinkError::Disagree { peer: theirs.party, field, mine, theirs: theirs_value })
    };
    if mine.version != theirs.version {
        return disagree("link version", mine.version.to_string(), theirs.version.to_string());
    }
    if mine.parties != theirs.parties {
        return disagree("number of parties", mine.parties.to_string(), theirs.parties.to_string());
    }
    let (Some(my_hello), Some(their_hello)) = (mine.hello, theirs.hello) else {
        return disagree("handshake", "readable".to_owned(), "unreadable".to_owned());
    };
    // The lower party's order decides, so that both sides name the same field.
    let (first, second) = if mine.party < theirs.party { (my_hello, their_hello) } else { (their_hello, my_hello) };
    let field = first.fields.iter().chain(&second.fields).map(|(name, _)| name.as_str());
    for name in field {
        let (here, there) = (my_hello.get(name), their_hello.get(name));
        let open = name.starts_with('?') && [here, there].contains(&Some(&[])) && here.is_some() && there.is_some();
        if here != there && !open {
            return disagree(name.trim_start_matches('?'), show(here), show(there));
        }
    }
    None
}

/// A value for a message: text as text, other bytes in hexadecimal, long ones cut.
fn show(value: Option<&[u8]>) -> String {
    const SHOWN: usize = 32;
    let Some(value) = value else { return "absent".to_owned() };
    let (head, rest) = if value.len() > 2 * SHOWN { (&value[..SHOWN], "…") } else { (value, "") };
    match std::str::from_utf8(head) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => format!("`{text}{rest}`"),
        _ => head.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + rest,
    }
}

/// What everyone may know of a channel with this secret.
pub(super) fn tag(binding: Option<[u8; 32]>) -> [u8; 32] {
    binding.map_or([0; 32], |secret| blake3::derive_key("qnnvm link channel v2", &secret))
}

/// The session that belongs to the nonces of all parties, in their order, and to the tags of all channels, by pairs.
pub(super) fn session(nonces: &[[u8; NONCE]], tags: &[u8]) -> [u8; 16] {
    let key = blake3::derive_key("qnnvm link session v2", &[nonces.as_flattened(), tags].concat());
    *key.first_chunk().expect("32 bytes have 16")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello::default().with("program", [1, 2, 3]).with("protocol", "rep3").with("reveal", "output")
    }

    #[test]
    fn bodies_survive_encoding_and_damage_is_refused() {
        let bytes = encode(Party(2), 3, &[7; 16], &hello());
        let (preamble, body) = bytes.split_at(PREAMBLE);
        let preamble = Preamble::decode(preamble.first_chunk().unwrap()).unwrap();
        assert_eq!(preamble, Preamble { version: VERSION, party: Party(2), parties: 3, body: body.len() });
        assert_eq!(decode_body(body), Some(([7; 16], hello())));
        for cut in 0..body.len() {
            assert_eq!(decode_body(&body[..cut]), None);
        }
        assert_eq!(decode_body(&[body, &[0]].concat()), None);
    }

    #[test]
    fn both_sides_name_the_same_field() {
        fn side(party: u8, hello: &Hello) -> Side<'_> {
            Side::own(Party(party), 3, hello)
        }
        let field = |a: &Hello, b: &Hello| {
            let name = |e| match e {
                Some(LinkError::Disagree { field, .. }) => Some(field),
                _ => None,
            };
            let (here, there) = (difference(&side(0, a), &side(1, b)), difference(&side(1, b), &side(0, a)));
            let (here, there) = (name(here), name(there));
            assert_eq!(here, there);
            here
        };
        assert_eq!(field(&hello(), &hello()), None);
        let mut other = hello();
        other.fields[1].1 = b"rep4".to_vec();
        other.fields[2].1 = b"argmax".to_vec();
        assert_eq!(field(&hello(), &other).as_deref(), Some("protocol"));
        assert_eq!(field(&hello(), &hello().with("extra", "")).as_deref(), Some("extra"));
        assert_eq!(field(&Hello::default(), &hello()).as_deref(), Some("program"));
        // What one of them leaves open, and what none does.
        let weights = |value: &str| hello().with("?weights", value);
        assert_eq!(field(&weights("a"), &weights("")), None);
        assert_eq!(field(&weights(""), &weights("")), None);
        assert_eq!(field(&weights("a"), &weights("b")).as_deref(), Some("weights"));
        assert_eq!(field(&hello(), &weights("")).as_deref(), Some("weights"));
        assert_eq!(field(&hello().with("other", ""), &hello().with("other", "b")).as_deref(), Some("other"));
    }

    #[test]
    fn values_are_shown_short() {
        assert_eq!(show(Some(b"rep3")), "`rep3`");
        assert_eq!(show(Some(&[0, 255])), "00ff");
        assert_eq!(show(None), "absent");
        assert!(show(Some(&[1; 4000])).len() < 80);
    }
}
