//! Shared by the targets.

/// The same bytes with a right checksum, which no change of bytes would find.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.len().saturating_sub(32);
    [&bytes[..body], blake3::hash(&bytes[..body]).as_bytes()].concat()
}
