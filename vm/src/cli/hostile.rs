//! What must hold of any bytes in a file that users give: for tests and for fuzzing, which both call these.
use super::{io, net, result};
use ir::program::DType;
use ir::{Party, Port};
use std::path::{Path, PathBuf};

/// A file of this thread with these bytes.
fn with_file<T>(bytes: &[u8], f: impl FnOnce(&Path) -> T) -> T {
    struct Removed(PathBuf);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let name = format!("qnnvm-hostile-{}-{:?}", std::process::id(), std::thread::current().id());
    let file = Removed(dir.join(name.replace(['(', ')'], "-")));
    std::fs::write(&file.0, bytes).expect("a file in memory");
    f(&file.0)
}

/// Ports of every type, small ones.
fn ports() -> Vec<Port> {
    use DType::{Bool, I8, I16, I32, I64, U8};
    let kinds = [(I8, false), (U8, false), (I16, false), (I32, false), (I64, false), (Bool, false), (I8, true)];
    let shapes: [&[u32]; 4] = [&[1, 8, 8, 1], &[1, 4, 4, 3], &[2, 3], &[4]];
    let port = |i: usize, (dtype, float)| Port {
        name: "x".to_owned(),
        dtype,
        shape: shapes[i % shapes.len()].to_vec(),
        scale: [1.0 / 255.0, 0.5, 0.0][i % 3],
        zero_point: [-128, 0][i % 2],
        party: Party(1),
        float,
    };
    kinds.into_iter().enumerate().map(|(i, kind)| port(i, kind)).collect()
}

/// An input file, array or picture: refused, or whole samples of numbers that the port has. Whether some port took it.
pub fn input(bytes: &[u8]) -> bool {
    with_file(bytes, |path| {
        let mut taken = false;
        for port in ports() {
            match io::read_input(path, &port) {
                Err(e) => assert!(e.code == 30 && e.message.contains("input `x`"), "{e}"),
                Ok(read) => {
                    let one = port.shape.iter().product::<u32>() as usize;
                    assert!(!read.data.is_empty() && read.data.len().is_multiple_of(one), "{}", read.data.len());
                    let (low, high) = port.dtype.range();
                    assert!(read.data.iter().all(|v| (low..=high).contains(v)), "beyond {}", port.dtype.name());
                    taken = true;
                }
            }
        }
        taken
    })
}

/// Addresses of the parties: refused with the file's name, or read.
pub fn net(bytes: &[u8]) -> bool {
    with_file(bytes, |path| match net::Net::load(Some(path), 3) {
        Ok(_) => true,
        Err(e) => {
            assert!(e.code == 6 && e.message.contains(&path.display().to_string()), "{e}");
            false
        }
    })
}

/// A list of labels: any text is one, and no line of it moves the cursor of a terminal.
pub fn labels(bytes: &[u8]) -> bool {
    with_file(bytes, |path| {
        let show = match result::Show::new(Some(path), Some(3), false) {
            Ok(show) => show.expect("asked for"),
            Err(e) => panic!("labels are refused for their size only: {e}"),
        };
        let port = Port { shape: vec![1, 10], ..ports().swap_remove(0) };
        let summary = show.summary(&port, &[5, -5, 0, 1, 2, 3, 4, 9, 8, 7]);
        assert_eq!(summary.lines.len(), 3);
        assert!(summary.lines.iter().all(|l| !l.chars().any(char::is_control)), "{:?}", summary.lines);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn testdata(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/models").join(name)).expect("testdata")
    }

    /// Every length, every byte in a few ways, and random changes; how many were taken, and how many there were.
    fn mutants(original: &[u8], random: usize, check: impl Fn(&[u8]) -> bool) -> (usize, usize) {
        let (mut taken, mut all) = (0, 0);
        let mut count = |bytes: &[u8]| {
            taken += usize::from(check(bytes));
            all += 1;
        };
        count(original);
        for at in 0..original.len() {
            count(&original[..at]);
            for byte in [original[at] ^ 1, !original[at], original[at].wrapping_add(0x20)] {
                let mut bytes = original.to_vec();
                bytes[at] = byte;
                count(&bytes);
            }
        }
        let mut state = 0x5eed_u64;
        let mut below = |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % end.max(1)
        };
        for _ in 0..random {
            let mut bytes = original.to_vec();
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                match below(4) {
                    0 => bytes[at] = below(256) as u8,
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9'][below(6)],
                    2 => drop(bytes.drain(at..(at + 1 + below(8)).min(bytes.len()))),
                    _ => {
                        let piece = bytes[at..(at + 1 + below(16)).min(bytes.len())].to_vec();
                        drop(bytes.splice(at..at, piece));
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            count(&bytes);
        }
        (taken, all)
    }

    #[test]
    fn arrays_are_refused_or_whole() {
        let (taken, all) = mutants(&testdata("digits.input_0.npy"), 5_000, input);
        assert!(taken > 200 && all - taken > 2_000, "{taken} of {all}");
        // Brackets that nest: the parser of headers would take longer than anybody waits.
        let good = testdata("digits.input_0.npy");
        let at = good.windows(5).position(|w| w == b"False").expect("a header");
        for open in [b'{', b'(', b'['] {
            let mut nested = good.clone();
            // In place of spaces behind, so that the length stays.
            nested.splice(at..at, [open; 34]);
            let end = nested.iter().position(|b| *b == b'\n').expect("end of the header");
            nested.drain(end - 34..end);
            let start = std::time::Instant::now();
            assert!(!input(&nested) && start.elapsed().as_secs() < 5, "took {:?}", start.elapsed());
        }
        // A header that promises more than the file holds.
        let mut huge = testdata("digits.input_0.npy");
        let at = huge.windows(4).position(|w| w == b"(1, ").expect("a shape");
        huge[at..at + 12].copy_from_slice(b"(1,8,9999999");
        assert!(!input(&huge));
    }

    #[test]
    fn pictures_are_refused_or_whole() {
        let (taken, all) = mutants(&testdata("digits.png"), 5_000, input);
        assert!(taken > 0 && all - taken > 2_000, "{taken} of {all}");
    }

    #[test]
    fn addresses_are_refused_or_read() {
        let entry = |i| format!("[[party]]\nindex = {i}\naddress = \"127.0.0.1:{}\"\n", 7800 + i);
        let good: String = (0..3).map(entry).collect();
        let (taken, all) = mutants(good.as_bytes(), 10_000, net);
        assert!(taken > 50 && all - taken > 5_000, "{taken} of {all}");
    }

    #[test]
    fn labels_are_shown_as_text() {
        let (taken, all) = mutants(b"cat\nd\xc3\xb6g\r\n\x1b[2Jbird\n\n\tfish", 20_000, labels);
        assert_eq!(taken, all);
    }
}
