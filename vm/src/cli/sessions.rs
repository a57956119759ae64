//! Sessions that were used, in a file beside `net.toml`: none is used twice, also not after a restart or by a copy of a
//! virtual machine whose random numbers repeat.
//!
//! One line per session: its identifier in hexadecimal, and the name that the user gave it, if any.
use super::Failure;
use ir::text::escape;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file.
const FILE: &str = "sessions";
/// Bytes of the file that are read, at most: some millions of sessions.
const MAX_FILE: u64 = 256 << 20;

/// The store of one party.
pub struct Sessions(PathBuf);

impl Sessions {
    /// In this folder.
    pub fn new(dir: &Path) -> Sessions {
        Sessions(dir.join(FILE))
    }

    /// Refuses a name that was used.
    pub fn check(&self, name: &str) -> Result<(), Failure> {
        let (_, text) = self.open()?;
        match text.lines().any(|line| line.split_once(' ').is_some_and(|(_, used)| used == name)) {
            true => Err(self.used(&escape(name))),
            false => Ok(()),
        }
    }

    /// Notes a session before anything secret is sent under it; refuses one that was used.
    pub fn take(&self, id: &[u8; 16], name: Option<&str>) -> Result<(), Failure> {
        let (mut file, text) = self.open()?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let again = |line: &str| match line.split_once(' ') {
            Some((used, given)) => used == id || Some(given) == name,
            None => line == id,
        };
        if text.lines().any(again) {
            return Err(self.used(&id));
        }
        // What a crash has cut stays a line of its own.
        let begin = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let line = name.map_or(format!("{begin}{id}\n"), |name| format!("{begin}{id} {name}\n"));
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|e| {
            // Best effort: the error that matters is the first.
            let _ = file.set_len(text.len() as u64);
            Failure::new(ir::exit::of_write(&e), format!("{}: {e}", self.0.display()))
        })
    }

    fn used(&self, what: &str) -> Failure {
        let text = format!("session {what} was used before, says {}; sessions are never used again", self.0.display());
        Failure::new(Failure::DISAGREE, text)
    }

    fn fail(&self, e: &dyn std::fmt::Display) -> Failure {
        Failure::new(Failure::CONFIG, format!("{}: {e}", self.0.display()))
    }

    /// The file and its text, locked until it is dropped.
    fn open(&self) -> Result<(File, String), Failure> {
        let open = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.0);
        let mut file = open.map_err(|e| self.fail(&e))?;
        file.lock().map_err(|e| self.fail(&e))?;
        let length = file.metadata().map_err(|e| self.fail(&e))?.len();
        if length > MAX_FILE {
            return Err(self.fail(&format!("{length} bytes, more than the {MAX_FILE} that are read")));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| self.fail(&e))?;
        Ok((file, text))
    }
}

/// A name for a session: short and plain.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    match !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("up to 64 letters, digits, `-`, `_`, `.` and `:`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_used_twice() {
        let dir = std::env::temp_dir().join(format!("qnnvm-sessions-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("folder");
        let code = |r: Result<(), Failure>| r.map_err(|e| e.code);
        for restart in 0..2 {
            let store = Sessions::new(&dir);
            let first = if restart == 0 { Ok(()) } else { Err(Failure::DISAGREE) };
            assert_eq!(code(store.check("monday")), first);
            assert_eq!(code(store.take(&[7; 16], Some("monday"))), first);
            assert_eq!(code(store.take(&[7; 16], None)), Err(Failure::DISAGREE));
            assert_eq!(code(store.take(&[8; 16], Some("monday"))), Err(Failure::DISAGREE));
            assert_eq!(code(store.take(&[restart; 16], None)), Ok(()));
            assert_eq!(code(store.check("tuesday")), Ok(()));
        }
        // A line that a crash has cut hides no other.
        let mut file = OpenOptions::new().append(true).open(dir.join(FILE)).expect("the store");
        file.write_all(b"0909").expect("half a line");
        assert_eq!(code(Sessions::new(&dir).take(&[10; 16], None)), Ok(()));
        assert_eq!(code(Sessions::new(&dir).take(&[10; 16], None)), Err(Failure::DISAGREE));
        std::fs::remove_dir_all(&dir).expect("folder");
        assert!(name("a b").is_err() && name("").is_err() && name("run-7").is_ok());
    }
}
