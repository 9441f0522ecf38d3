//! Which file the store is. SQLite goes on writing to one that was removed, and
//! what it writes there is gone with the process.

use super::error;
use crate::journal::StoreError;
use std::fs::Metadata;

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
                          is written to it; what a run had begun cannot be gone on with: bring \
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
