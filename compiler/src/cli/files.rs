//! Reads input files within limits, writes output files whole or not at all.
use super::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The bytes of a file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|e| Failure::read(path, &e))?;
    let known = file.metadata().map_err(|e| Failure::read(path, &e))?.len();
    if known > most {
        return Err(Failure::too_large(path, most));
    }
    // A pipe has no length to go by.
    let mut bytes = Vec::with_capacity(usize::try_from(known).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| Failure::read(path, &e))?;
    if bytes.len() as u64 > most {
        return Err(Failure::too_large(path, most));
    }
    Ok(bytes)
}

/// Who may read a written file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the user's mask says.
    Ordinary,
    /// The owner only, from the moment it exists.
    Private,
}

/// A complete file under a temporary name; removed unless it is put in place.
pub struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    placed: bool,
}

/// Writes `bytes` to a temporary file beside `path`.
pub fn stage(path: &Path, bytes: &[u8], access: Access) -> Result<Staged, Failure> {
    let failed = |e: io::Error| Failure::write(&path.display().to_string(), &e);
    // A link is followed; a device or a directory is never replaced.
    let target = match fs::canonicalize(path) {
        Ok(found) if found.is_file() => found,
        // A wrong place, as one that is not there.
        Ok(_) => {
            return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "it exists and is not a regular file")));
        }
        Err(_) => path.to_owned(),
    };
    let name = target
        .file_name()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::IsADirectory, "it names no file")))?
        .to_string_lossy();
    for attempt in 0..100 {
        let temporary = target.with_file_name(format!(".{name}.{}.{attempt}.tmp", std::process::id()));
        let mut file = match create(&temporary, access) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other.map_err(failed)?,
        };
        let staged = Staged { temporary, target, placed: false };
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        return Ok(staged);
    }
    Err(failed(io::Error::other("every temporary name is taken")))
}

fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Private {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

impl Staged {
    /// Replaces the target.
    pub fn place(mut self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::write(&self.target.display().to_string(), &e);
        fs::rename(&self.temporary, &self.target).map_err(failed)?;
        self.placed = true;
        // The new name survives a crash only once the directory is on disk; where that cannot be asked for, so be it.
        let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(parent).and_then(|d| d.sync_all());
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Whether two paths name one file, existing or not.
pub fn same(a: &Path, b: &Path) -> bool {
    let whole = |p: &Path| {
        let parent = p.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::canonicalize(p)
            .or_else(|_| Ok::<_, io::Error>(fs::canonicalize(parent)?.join(p.file_name().unwrap_or_default())))
    };
    matches!((whole(a), whole(b)), (Ok(a), Ok(b)) if a == b)
}
