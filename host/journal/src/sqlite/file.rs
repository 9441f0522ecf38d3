//! Which file the store is: made for its owner alone, no link, and still there.
//! SQLite goes on writing to one that was removed, and what it writes there is
//! gone with the process.

use super::error;
use crate::StoreError;
use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use vdeploy_files::{Judge, make_private_dir};

/// Makes the directory and an empty file, readable by their owner alone, and
/// gives the path without links, which SQLite can be told to follow none of. An
/// existing file is not opened: closing it would drop SQLite's own locks.
pub(super) fn make_private(path: &Path, shown: &str) -> Result<PathBuf, StoreError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let unmade = |error| error::file(shown, "its directory cannot be made", &error);
    make_private_dir(dir).map_err(unmade)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error::file(shown, "it cannot be made", &error));
        }
        _ => {}
    }
    let judged = Judge::of_process().private_file(path);
    judged.map_err(|found| StoreError::Database {
        path: shown.to_owned(),
        message: format!("{found}; choose another place with `--state`"),
    })?;
    let name = path.file_name().unwrap_or_default();
    Ok(dir.canonicalize().map_err(unmade)?.join(name))
}

/// A file, whatever its name is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Identity {
    /// The one that was just opened at this path.
    pub(super) fn of(path: &str) -> Result<Self, StoreError> {
        let seen = std::fs::metadata(path)
            .map_err(|error| error::file(path, "it cannot be looked at", &error))?;
        Ok(Self::read(&seen))
    }

    /// Whether the path still leads to it.
    pub(super) fn is_still_at(self, path: &str) -> Result<(), StoreError> {
        match Self::of(path) {
            Ok(there) if there == self => Ok(()),
            _ => Err(StoreError::Database {
                path: path.to_owned(),
                message: "the file was removed or replaced while it was in use, and nothing more \
                          is written to it; what a run had begun cannot be resumed: bring \
                          the file back, or see what is live with `vdeploy doctor`"
                    .to_owned(),
            }),
        }
    }

    #[cfg(unix)]
    fn read(seen: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: seen.dev(),
            inode: seen.ino(),
        }
    }

    #[cfg(not(unix))]
    fn read(_: &Metadata) -> Self {
        Self {}
    }
}
