//! Preprocessing in files: what the dealer of a protocol sends, made before there is an input.
//!
//! The dealer receives nothing, so everything it sends is a function of the program and of its two seeds. [`deal`] runs its
//! side of the program onto a tape, once for set-up and once for each inference, and writes one file for each of the two
//! others. They then compute without the dealer: [`Ahead`] is a link of three parties that reads the dealer's messages from
//! the file and exchanges the rest with the one peer.
//!
//! **Single use.** Pads are addressed by (identifier of the preprocessing, inference, instruction): the identifier is drawn at
//! random, every inference in a file has its own number, and a file is marked as used before the first share is sent, so that
//! no pad ever hides two messages, also where a session fails half-way: what is left of its file is lost. Both parties compare
//! the identifier in the handshake. A copy of a file that its owner makes and uses again is beyond what can be seen here.
//!
//! ```text
//! "MPCD" version:u16 party:u8 used:u8 program:32 id:16 seed:32 inferences:u32 batch:u32 length:u64
//! messages of set-up, then of each inference: length bytes
//! blake3 of all before, `used` as 0: 32 bytes
//! ```
use crate::exec::{Inputs, LoadError, Machine};
use crate::protocols::Protocol;
use ir::{Party, Program};
use runtime_protocols::link::{Link, LinkError, LinkStats, Place};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"MPCD";
const FORMAT: u16 = 1;
const HEADER: usize = 104;
/// Where the mark stands.
const USED: u64 = 7;
const HASH: u64 = 32;

/// Why preprocessing cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AheadError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be made.
    #[error("{path}: {source}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Bad {
        /// Which.
        path: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The program cannot run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tape failed.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What a file says of itself.
pub struct Header {
    /// Whose it is.
    pub party: Party,
    /// Hash of the program.
    pub program: [u8; 32],
    /// Drawn for this preprocessing; the same in both files.
    pub id: [u8; 16],
    seed: Zeroizing<[u8; 32]>,
    /// How many batches it serves.
    pub inferences: u32,
    /// Samples of a batch.
    pub batch: u32,
    length: u64,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({}, {} inferences, {} bytes)", self.party, self.inferences, self.length)
    }
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[self.party.0, 0]);
        out.extend_from_slice(&self.program);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&*self.seed);
        out.extend_from_slice(&self.inferences.to_le_bytes());
        out.extend_from_slice(&self.batch.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out
    }

    /// From the first bytes of a file: the header, and whether the file was used.
    fn decode(bytes: &[u8; HEADER]) -> Result<(Header, bool), String> {
        let (magic, rest) = bytes.split_at(4);
        if magic != MAGIC || rest[..2] != FORMAT.to_le_bytes() {
            return Err(format!("no preprocessing of format {FORMAT}; make it with `qnnvm deal` of this release"));
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = Header {
            party: Party(bytes[6]),
            program: bytes[8..40].try_into().expect("32 bytes"),
            id: bytes[40..56].try_into().expect("16 bytes"),
            seed: Zeroizing::new(bytes[56..88].try_into().expect("32 bytes")),
            inferences: word(88),
            batch: word(92),
            length: u64::from(word(96)) | u64::from(word(100)) << 32,
        };
        Ok((header, bytes[USED as usize] != 0))
    }
}

/// A link on which one party sends and nobody answers.
struct Tape {
    me: Party,
    to: Party,
    id: [u8; 16],
    hash: blake3::Hasher,
    file: BufWriter<File>,
    length: u64,
    /// Why the file could not be written.
    failed: Option<io::Error>,
}

impl Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

impl Link for Tape {
    fn me(&self) -> Party {
        self.me
    }

    fn parties(&self) -> usize {
        3
    }

    fn session(&self) -> [u8; 16] {
        self.id
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        _: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        let others = out.iter().enumerate().filter(|(p, _)| *p != self.to.index());
        if expect.iter().any(|n| *n > 0) || others.into_iter().any(|(_, bytes)| !bytes.is_empty()) {
            let reason = format!("round {} ({}) is not the dealer's to send ahead", at.round, at.what);
            return Err(LinkError::GaveUp { code: 1, reason });
        }
        self.write(&out[self.to.index()]).map_err(|e| {
            let reason = e.to_string();
            self.failed = Some(e);
            LinkError::GaveUp { code: 5, reason }
        })
    }

    fn begin(&mut self) {}

    fn stats(&self) -> LinkStats {
        LinkStats { payload_sent: vec![0; 3], wire_sent: vec![0; 3], ..LinkStats::default() }
    }

    fn abort(&mut self, _: u8, _: &str) {}

    fn close(&mut self) -> Result<(), LinkError> {
        Ok(())
    }
}

/// A file that becomes visible when it is whole.
pub(crate) struct Partial {
    path: PathBuf,
    partial: PathBuf,
}

impl Partial {
    pub(crate) fn new(path: &Path) -> Result<(Partial, File), AheadError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        // What another process of this number left would keep its mode.
        let _ = std::fs::remove_file(&partial);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = file.map_err(|source| write_error(&partial, source))?;
        Ok((Partial { path: path.to_owned(), partial }, file))
    }

    pub(crate) fn place(&self) -> Result<(), AheadError> {
        std::fs::rename(&self.partial, &self.path).map_err(|source| write_error(&self.path, source))?;
        // The new name survives a crash only once the folder is on disk; where that cannot be asked for, so be it.
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone where it was placed.
        let _ = std::fs::remove_file(&self.partial);
    }
}

pub(crate) fn io_error(path: &Path, source: io::Error) -> AheadError {
    AheadError::Io { path: path.display().to_string(), source }
}

pub(crate) fn write_error(path: &Path, source: io::Error) -> AheadError {
    AheadError::Write { path: path.display().to_string(), source }
}

pub(crate) fn bad(path: &Path, what: impl Into<String>) -> AheadError {
    AheadError::Bad { path: path.display().to_string(), what: what.into() }
}

/// Runs the dealer of `program` for `inferences` batches of `batch` samples, and writes the files of the two others. Returns
/// the bytes of messages.
pub fn deal(
    program: &Program,
    protocol: &Protocol,
    hash: [u8; 32],
    (inferences, batch): (u32, u32),
    paths: [&Path; 2],
) -> Result<u64, AheadError> {
    let Some(me) = protocol.facts.dealer else {
        return Err(bad(paths[0], format!("protocol {} has no dealer; compile for `dealer2`", protocol.facts.name)));
    };
    let mut id = [0; 16];
    let mut seeds = Zeroizing::new([[0; 32]; 3]);
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|e| LinkError::Random { reason: e.to_string() });
    random(&mut id)?;
    random(&mut seeds[0])?;
    random(&mut seeds[1])?;
    let header = |party: u8, length: u64| Header {
        party: Party(party),
        program: hash,
        id,
        seed: Zeroizing::new(seeds[usize::from(party)]),
        inferences,
        batch,
        length,
    };
    let [(first, mut file), (second, other)] = [Partial::new(paths[0])?, Partial::new(paths[1])?];
    let fail = |path| move |source| write_error(path, source);
    // The length is known at the end, and part of what is hashed: the header is hashed after the messages.
    file.write_all(&[0; HEADER]).map_err(fail(paths[0]))?;
    let hash_of = blake3::Hasher::new();
    let mut tape = Tape { me, to: Party(0), id, hash: hash_of, file: BufWriter::new(file), length: 0, failed: None };
    let mut machine = Machine::new(program.clone(), (protocol.make)(me, &*seeds, &id))?;
    let nothing = vec![None; program.interface.inputs.len()];
    let samples: Vec<&Inputs> = vec![&nothing; batch as usize];
    let mut run = || -> Result<(), LinkError> {
        machine.setup(None, &mut tape)?;
        (0..inferences).try_for_each(|_| machine.infer_batch(&samples, &mut tape).map(drop))
    };
    if let Err(e) = run() {
        return Err(tape.failed.map_or(AheadError::Link(e), |source| write_error(paths[0], source)));
    }
    let length = tape.length;
    let finish = |mut file: File, mut hash: blake3::Hasher, header: Header| -> io::Result<()> {
        let bytes = Zeroizing::new(header.encode());
        hash.update(&bytes);
        file.write_all(hash.finalize().as_bytes())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    let file = tape.file.into_inner().map_err(|e| write_error(paths[0], e.into_error()))?;
    finish(file, tape.hash, header(0, length)).map_err(fail(paths[0]))?;
    let mut other_file = other;
    other_file.write_all(&[0; HEADER]).map_err(fail(paths[1]))?;
    finish(other_file, blake3::Hasher::new(), header(1, 0)).map_err(fail(paths[1]))?;
    second.place()?;
    first.place()?;
    Ok(length)
}

/// Preprocessing that was checked and is not used yet.
pub struct Stock {
    /// What the file says.
    pub header: Header,
    file: File,
    path: PathBuf,
}

impl Stock {
    /// Opens the file of `party` for a program; it must be whole and unused.
    pub fn open(path: &Path, party: Party, program: &[u8; 32]) -> Result<Stock, AheadError> {
        let fail = |source| io_error(path, source);
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
        if file.try_lock().is_err() {
            return Err(bad(path, "another process uses it; each preprocessing serves one session"));
        }
        let mut bytes = Zeroizing::new([0; HEADER]);
        file.read_exact(&mut bytes[..]).map_err(|_| bad(path, "it ends within its header; make it again"))?;
        let (header, used) = Header::decode(&bytes).map_err(|what| bad(path, what))?;
        if header.party != party {
            return Err(bad(path, format!("it is for {}, this is {party}", header.party)));
        }
        if header.program != *program {
            return Err(bad(path, "made for another program; deal for this one"));
        }
        if used {
            return Err(bad(path, "a session has used it already; deal again: pads must not serve twice"));
        }
        let whole = (HEADER as u64).checked_add(header.length).and_then(|n| n.checked_add(HASH));
        if whole != Some(file.metadata().map_err(fail)?.len()) {
            return Err(bad(path, "its length is not what its header says; copy it again, or deal again"));
        }
        let mut hash = blake3::Hasher::new();
        hash.update_reader((&mut file).take(header.length)).map_err(fail)?;
        hash.update(&bytes[..]);
        let mut stored = [0; HASH as usize];
        file.read_exact(&mut stored).map_err(fail)?;
        if hash.finalize() != stored {
            return Err(bad(path, "it is damaged; copy it again, or deal again"));
        }
        Ok(Stock { header, file, path: path.to_owned() })
    }

    /// Marks the file as used, for good, and puts it in the dealer's place. `link` joins the two who compute.
    pub fn join<L: Link>(mut self, link: L) -> Result<(Ahead<L>, Vec<[u8; 32]>), AheadError> {
        let path = self.path;
        let fail = |source| io_error(&path, source);
        self.file.seek(SeekFrom::Start(USED)).map_err(fail)?;
        self.file.write_all(&[1]).map_err(fail)?;
        self.file.sync_all().map_err(fail)?;
        self.file.seek(SeekFrom::Start(HEADER as u64)).map_err(fail)?;
        let seeds = vec![[0; 32], [0; 32], *self.header.seed];
        let messages = BufReader::with_capacity(1 << 16, self.file);
        Ok((Ahead { inner: link, messages, left: self.header.length, id: self.header.id, given: false }, seeds))
    }
}

/// A link of three parties, of which the dealer is a file.
pub struct Ahead<L> {
    /// The peer.
    pub inner: L,
    messages: BufReader<File>,
    left: u64,
    id: [u8; 16],
    /// Whether the dealer has sent something since [`Link::begin`].
    given: bool,
}

impl<L: Link> Link for Ahead<L> {
    fn me(&self) -> Party {
        self.inner.me()
    }

    fn parties(&self) -> usize {
        3
    }

    fn session(&self) -> [u8; 16] {
        self.id
    }

    fn exchange(
        &mut self,
        at: &Place<'_>,
        out: &[Vec<u8>],
        expect: &[usize],
        incoming: &mut [Vec<u8>],
    ) -> Result<(), LinkError> {
        self.inner.exchange(at, &out[..2], &expect[..2], &mut incoming[..2])?;
        let due = expect[2];
        incoming[2].clear();
        if due == 0 {
            return Ok(());
        }
        // No more than the file holds, whatever is asked for.
        let whole = due as u64 <= self.left;
        incoming[2].resize(if whole { due } else { 0 }, 0);
        match if whole { self.messages.read_exact(&mut incoming[2]) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        {
            Ok(()) => {
                (self.left, self.given) = (self.left - due as u64, true);
                Ok(())
            }
            Err(e) => {
                let reason = format!("the preprocessing cannot be read: {e}");
                self.inner.abort(4, &reason);
                Err(LinkError::GaveUp { code: 4, reason })
            }
        }
    }

    fn begin(&mut self) {
        self.given = false;
        self.inner.begin();
    }

    fn stats(&self) -> LinkStats {
        let mut stats = self.inner.stats();
        stats.payload_sent.push(0);
        stats.wire_sent.push(0);
        stats.level = stats.level.max(self.given.into());
        stats
    }

    fn abort(&mut self, code: u8, reason: &str) {
        self.inner.abort(code, reason);
    }

    fn close(&mut self) -> Result<(), LinkError> {
        self.inner.close()
    }
}
