//! Batches in cells: a manifest lists the samples of all cells, and each cell takes its range of them.
//!
//! A manifest is the same at all parties, and the handshake compares its hash. Each line is a JSON object with the `id` of a
//! sample, which names its files, and the `bytes` of its input file. Nothing that depends on the data is in it: even a hash
//! would confirm a guess.
use super::{CellArgs, Failure, load};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Bytes of a manifest that are read, at most.
const MAX_FILE: u64 = 256 << 20;
/// Longest id.
const MAX_ID: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    bytes: u64,
}

/// What a cell computes.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Of the whole manifest.
    pub hash: [u8; 32],
    /// Samples of this cell: id, and bytes of the input file.
    pub samples: Vec<(String, u64)>,
}

impl Part {
    /// Files of the samples in a directory.
    pub fn files(&self, dir: &Path) -> Vec<PathBuf> {
        self.samples.iter().map(|(id, _)| dir.join(format!("{id}.npy"))).collect()
    }

    /// The same, each as long as the manifest says.
    pub fn inputs(&self, dir: &Path) -> Result<Vec<PathBuf>, Failure> {
        let files = self.files(dir);
        for (file, (_, bytes)) in files.iter().zip(&self.samples) {
            let bad = |what: String| Failure::new(Failure::INPUT, format!("{}: {what}", file.display()));
            let length = std::fs::metadata(file).map_err(|e| bad(e.to_string()))?.len();
            if length != *bytes {
                return Err(bad(format!("{length} bytes, the manifest says {bytes}")));
            }
        }
        Ok(files)
    }
}

/// The number of a cell, where there are several.
pub fn cell(args: &CellArgs) -> Result<Option<u32>, Failure> {
    if !args.cell_from_env {
        return Ok(args.cell);
    }
    let index = std::env::var("JOB_COMPLETION_INDEX").ok().or_else(|| {
        let host = std::env::var("HOSTNAME").ok()?;
        Some(host.rsplit_once('-')?.1.to_owned())
    });
    let cell = index.and_then(|text| text.parse().ok());
    let what = "`--cell-from-env`: neither JOB_COMPLETION_INDEX nor the end of HOSTNAME is a number; use `--cell N`";
    cell.map(Some).ok_or_else(|| Failure::new(Failure::CONFIG, what))
}

/// Reads a manifest and takes the range of cell `cell` of `cells`.
pub fn read(path: &Path, cell: u32, cells: u32) -> Result<Part, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new(Failure::CONFIG, format!("{}: {e}", path.display()));
    let bytes = load::read(path, MAX_FILE, Failure::CONFIG)?;
    parse(&bytes, cell, cells).map_err(|e| fail(&e))
}

fn parse(bytes: &[u8], cell: u32, cells: u32) -> Result<Part, String> {
    if cell >= cells {
        return Err(format!("cell {cell} does not exist, there are {cells}"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let Line { id, bytes } = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", n + 1))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(format!("line {}: an id has 1 to {MAX_ID} letters, digits, `-`, `_` and `.`", n + 1));
        }
        if !seen.insert(id.clone()) {
            return Err(format!("line {}: id {id} comes twice", n + 1));
        }
        all.push((id, bytes));
    }
    let chunk = all.len().div_ceil(cells as usize);
    let from = (chunk * cell as usize).min(all.len());
    let samples = all[from..(from + chunk).min(all.len())].to_vec();
    Ok(Part { hash: *blake3::hash(bytes).as_bytes(), samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_share_out_all_samples() {
        let text: String = (0..10).map(|i| format!("{{\"id\":\"s{i}\",\"bytes\":{i}}}\n")).collect();
        let parts: Vec<Part> = (0..4).map(|cell| parse(text.as_bytes(), cell, 4).expect("manifest")).collect();
        assert_eq!(parts.iter().map(|p| p.samples.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let all: Vec<String> = parts.iter().flat_map(|p| p.samples.iter().map(|s| s.0.clone())).collect();
        assert_eq!(all, (0..10).map(|i| format!("s{i}")).collect::<Vec<_>>());
        assert!(parts.iter().all(|p| p.hash == parts[0].hash));
        assert_eq!(parse(b"", 1, 2).expect("nothing to do").samples, []);
    }

    #[test]
    fn odd_manifests_are_refused() {
        let line = |id: &str| format!("{{\"id\":\"{id}\",\"bytes\":1}}\n");
        for id in ["", ".", "..", "../x", "a/b", "a b", &"x".repeat(101)] {
            assert!(parse(line(id).as_bytes(), 0, 1).is_err_and(|e| e.contains("line 1")), "{id}");
        }
        assert!(parse((line("a") + &line("a")).as_bytes(), 0, 1).is_err_and(|e| e.contains("twice")));
        assert!(parse(b"{\"id\":\"a\"}", 0, 1).is_err_and(|e| e.contains("bytes")));
        assert!(parse(b"{\"id\":\"a\",\"bytes\":1,\"class\":2}", 0, 1).is_err());
        assert!(parse(line("a").as_bytes(), 1, 1).is_err_and(|e| e.contains("does not exist")));
        assert!(parse(&[0xff], 0, 1).is_err());
    }
}
