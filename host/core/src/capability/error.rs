//! The one error of every capability call, as the plugin sees it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the caller can do about an error; mirrors `error-kind` in the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// No grant, or the gate refused.
    Denied,
    /// The call itself is wrong.
    Invalid,
    /// The thing that was named does not exist.
    NotFound,
    /// The thing exists already or is held by somebody else.
    Conflict,
    /// The other side cannot be reached or is not ready.
    Unavailable,
    /// A deadline passed.
    Timeout,
    /// The run is being stopped.
    Cancelled,
    /// Anything else.
    Failed,
}

/// Why a capability call did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EffectError {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// Stable dotted code, for example `ssh.auth`.
    pub code: String,
    /// One line for a person, lower case, no full stop at the end.
    pub message: String,
    /// Whether the effect may have happened although the call failed.
    pub maybe_applied: bool,
}

impl EffectError {
    /// An error of a call that certainly had no effect.
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            message: message.into(),
            maybe_applied: false,
        }
    }

    /// The same error, of a call whose effect may have happened.
    pub fn in_doubt(mut self) -> Self {
        self.maybe_applied = true;
        self
    }
}

impl fmt::Display for EffectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for EffectError {}
