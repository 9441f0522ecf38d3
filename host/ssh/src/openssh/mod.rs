//! What OpenSSH's own files say of a host: `ssh_config` and `known_hosts`.
//!
//! Reads them as OpenSSH does; writes nothing, runs nothing, connects nowhere.
//! Own code, because the crates for it have other rules: in one `Match` is no
//! block of its own, so that its options fall to the host above it; the reader
//! of known hosts in the SSH library knows no patterns and no markers.

mod config;
mod host_match;
mod known_hosts;
mod lexer;
mod pattern;
mod tokens;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub use config::{Given, JumpSpec, Proxy, Settings, settings};
pub use known_hosts::{HostKeyStatus, Known, KnownFiles};
pub use tokens::Tokens;

use std::path::{Path, PathBuf};

/// The person whose files are read.
pub trait Person: Send + Sync {
    /// The home directory.
    fn home(&self) -> &Path;
    /// The login name on this machine, if it can be told.
    fn name(&self) -> Option<&str>;
    /// The user id.
    fn uid(&self) -> u32;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// A file of `ssh_config`, and the rules of the place it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where relative names of `Include` begin.
    pub includes_from: PathBuf,
    /// Whether others must not be able to change it.
    pub guarded: bool,
    /// Whether it has to be there.
    pub wanted: bool,
}

/// What is wrong with one of the files.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct FileProblem {
    /// `FILE:LINE`, or the file alone.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FileProblem {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
        }
    }
}
