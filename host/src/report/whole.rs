//! Files that a program reads when a command has ended: whole or not there.

use std::path::Path;
use std::{fs, io};

/// Writes it beside and renames it, so that a reader never sees half a file and
/// a full disk costs nothing that was there. What is no file, such as a pipe, is
/// written to as it is.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
