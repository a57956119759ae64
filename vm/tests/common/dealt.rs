//! What must hold of any bytes in a preprocessing file: for tests and for fuzzing.
use ir::Party;
use runtime_protocols::link::memory::network;
use runtime_protocols::link::{Link, Place};
use std::path::{Path, PathBuf};
use vm::ahead::Stock;

const HEADER: usize = 104;
const HASH: usize = 32;

/// The program for which examples are made.
pub const PROGRAM: [u8; 32] = [7; 32];

/// A whole file for party 0 with these messages.
pub fn example(messages: &[u8]) -> Vec<u8> {
    let mut bytes = b"MPCD\x01\x00\x00\x00".to_vec();
    bytes.extend(PROGRAM);
    bytes.extend([9; 16]);
    bytes.extend([3; 32]);
    bytes.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    bytes.extend((messages.len() as u64).to_le_bytes());
    bytes.extend(messages);
    bytes.extend([0; HASH]);
    repaired(bytes)
}

/// The same bytes with a right checksum.
pub fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= HEADER + HASH {
        let end = bytes.len() - HASH;
        let mut hash = blake3::Hasher::new();
        hash.update(&bytes[HEADER..end]);
        let mut header = bytes[..HEADER].to_vec();
        header[7] = 0;
        hash.update(&header);
        bytes[end..].copy_from_slice(hash.finalize().as_bytes());
    }
    bytes
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opened or refused; what is opened gives its messages once, and no more of them than it holds. Whether it was opened.
pub fn check(bytes: &[u8]) -> bool {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let name = format!("qnnvm-dealt-{}-{:?}", std::process::id(), std::thread::current().id());
    let file = Removed(dir.join(name.replace(['(', ')'], "-")));
    std::fs::write(&file.0, bytes).expect("a file in memory");
    let stock = match Stock::open(&file.0, Party(0), &PROGRAM) {
        Ok(stock) => stock,
        Err(e) => {
            assert!(e.to_string().contains(&file.0.display().to_string()), "{e}");
            return false;
        }
    };
    assert!(format!("{:?}", stock.header).len() < 100, "the header shows more than lengths");
    let link = network(2).swap_remove(0);
    let Ok((mut link, seeds)) = stock.join(link) else { return false };
    assert_eq!(seeds.len(), 3);
    let mut left = bytes.len() - HEADER - HASH;
    let (out, mut incoming) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for due in [1, 7, 64, 4096, usize::MAX / 2] {
        let done = link.exchange(&Place { round: 1, what: "x" }, &out, &[0, 0, due], &mut incoming);
        assert_eq!(done.is_ok(), due <= left, "{due} of {left} bytes: {done:?}");
        if done.is_err() {
            assert!(incoming[2].capacity() <= 1 << 16, "a buffer of {} bytes", incoming[2].capacity());
            break;
        }
        left -= due;
    }
    drop(link);
    assert!(Stock::open(&file.0, Party(0), &PROGRAM).is_err(), "a file serves twice");
    true
}
