//! OpenSSH's own files about a host: `ssh_config` and `known_hosts`.
//!
//! Reads them as OpenSSH does; writes nothing, runs nothing, connects nowhere.
//! Existing crates have other rules: one gives the options of a `Match` block to
//! the host above it; the SSH library reads `known_hosts` without patterns and
//! markers.

mod config;
mod host_match;
mod known_hosts;
mod lexer;
mod pattern;
mod tokens;

#[cfg(test)]
mod tests;
pub use config::{Given, JumpSpec, Proxy, Settings, settings};
pub use known_hosts::{HostKeyStatus, Known, KnownFiles};
pub use tokens::Tokens;

use std::path::{Path, PathBuf};

/// The user whose files are read.
pub trait Person: Send + Sync {
    fn home(&self) -> &Path;
    /// The login name on this machine, if known.
    fn name(&self) -> Option<&str>;
    fn uid(&self) -> u32;
    fn variable(&self, name: &str) -> Option<String>;
}

/// An `ssh_config` file, and the rules of its location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// The base of relative names in `Include`.
    pub includes_from: PathBuf,
    /// Refused when others can write it.
    pub guarded: bool,
    /// Whether it must exist.
    pub wanted: bool,
}

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
