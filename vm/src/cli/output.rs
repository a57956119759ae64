//! Standard output, and files that are there in whole or not at all.
use super::Failure;
use ir::exit;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The first failure of standard output.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// A line on standard output, as `println!`, but a full disk does not panic: [`finish`] tells it.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

pub fn line(text: Arguments<'_>) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.is_none() {
        *failed = writeln!(io::stdout().lock(), "{text}").err();
    }
}

/// Whether all lines were written. A reader that stops reading is no error.
pub fn finish() -> Result<(), Failure> {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failed.map_or_else(|| io::stdout().flush(), Err) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(exit::of_write(&e), format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// The folder of a file.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file so that it is there in whole or not at all.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = parent(path).join(format!(".{name}.{}.part", std::process::id()));
    // What another process of this number left.
    let _ = std::fs::remove_file(&partial);
    let written = OpenOptions::new().write(true).create_new(true).open(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    });
    written.map_err(|e| {
        // Best effort: the error that matters is the first.
        let _ = std::fs::remove_file(&partial);
        Failure::new(exit::of_write(&e), format!("{}: {e}", path.display()))
    })?;
    // The new name survives a crash only once the folder is on disk; where that cannot be asked for, so be it.
    let _ = File::open(parent(path)).and_then(|folder| folder.sync_all());
    Ok(())
}
