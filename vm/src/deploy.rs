//! Shares of the weights in files, one for each party, made once by a model owner that does not compute.
//!
//! ```text
//! "MPCS" | format u16 | party u8 | 0 | program 32 | deployment 16 | length u64 | message | blake3 of all before it
//! ```
//!
//! The message is that of a client to the party ([`crate::client`]): a sharing from fresh seeds, so a file says nothing about
//! the weights, and two of the three say everything. The deployment is drawn anew each time; parties compare it when they meet,
//! as shares of two deployments add up to nonsense. Sessions may use one file again and again: what is sent in them is padded
//! with keys of their own.
use crate::ahead::{AheadError, Partial, bad, io_error, write_error};
use crate::client::{ClientError, ClientSide, Phase};
use ir::Party;
use ir::weights::Weights;
use std::io::Write;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"MPCS";
const FORMAT: u16 = 1;
const HEADER: usize = 64;
const HASH: usize = 32;

/// Why there is no share.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A file.
    #[error(transparent)]
    File(#[from] AheadError),
    /// The sharing.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A party's share.
pub struct Share {
    /// The same in the files of all parties.
    pub deployment: [u8; 16],
    /// The client's message.
    pub message: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({} bytes)", self.message.len())
    }
}

/// Writes a file for each party, mode 0600, to `stem.P.mpcs`. Each appears when it is whole.
pub fn deploy(
    side: &ClientSide,
    program: [u8; 32],
    weights: &Weights,
    stem: &Path,
) -> Result<Vec<PathBuf>, DeployError> {
    let messages = side.share_weights(weights)?;
    let mut deployment = [0; 16];
    getrandom::fill(&mut deployment).map_err(|e| ClientError::Random(e.to_string()))?;
    let mut files = Vec::new();
    for (party, message) in (0u8..).zip(&messages) {
        let name = format!("{}.{party}.mpcs", stem.file_name().unwrap_or_default().to_string_lossy());
        let path = stem.with_file_name(name);
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER + message.len() + HASH));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[party, 0]);
        bytes.extend_from_slice(&program);
        bytes.extend_from_slice(&deployment);
        bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
        bytes.extend_from_slice(message);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        let (partial, mut file) = Partial::new(&path)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| write_error(&path, e))?;
        files.push((partial, path));
    }
    // All or, but for a failure of the file system in between, none.
    files.iter().try_for_each(|(partial, _)| partial.place())?;
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Reads the share of `party` for a program.
pub fn open(path: &Path, side: &ClientSide, program: &[u8; 32], party: Party) -> Result<Share, AheadError> {
    let due = side.message_bytes(Phase::Setup, party);
    let length = std::fs::metadata(path).map_err(|e| io_error(path, e))?.len();
    if length != due.saturating_add((HEADER + HASH) as u64) {
        return Err(bad(path, "its length is not that of a share of this program for this party; deploy again"));
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(|e| io_error(path, e))?);
    let (Some((head, rest)), true) = (bytes.split_first_chunk::<HEADER>(), bytes.len() as u64 == length) else {
        return Err(bad(path, "it changed while it was read"));
    };
    if head[..4] != *MAGIC || head[4..6] != FORMAT.to_le_bytes() {
        return Err(bad(
            path,
            format!("no share of weights of format {FORMAT}; make it with `qnnvm deploy` of this release"),
        ));
    }
    if head[6] != party.0 {
        return Err(bad(path, format!("it is for {}, this is {party}", Party(head[6]))));
    }
    if head[8..40] != *program {
        return Err(bad(path, "made for another program; deploy the weights of this one"));
    }
    let (message, hash) = rest.split_at(rest.len() - HASH);
    if *blake3::hash(&bytes[..bytes.len() - HASH]).as_bytes() != *hash {
        return Err(bad(path, "it is damaged; copy it again, or deploy again"));
    }
    let deployment = *head[40..].first_chunk().expect("16 bytes");
    Ok(Share { deployment, message: Zeroizing::new(message.to_vec()) })
}
