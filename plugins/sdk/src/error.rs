//! The error type of a plugin. It mirrors `types.error` of the contract.

use std::fmt;

/// What the caller can do about an error. Never extended; finer detail is in
/// [`Error::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No grant, or the gate refused: ask the owner of the project.
    Denied,
    /// The call is wrong: fix the plugin or its configuration.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already or is held by somebody else.
    Conflict,
    /// The other side does not answer or is not ready; a retry may work.
    Unavailable,
    /// A deadline passed.
    Timeout,
    /// The run is being stopped; return at once.
    Cancelled,
    /// Anything else; see the message.
    Failed,
}

/// Why a call or a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// Stable dotted code, for example `ssh.auth`.
    pub code: String,
    /// For a person; lower case, no final full stop.
    pub message: String,
    /// Whether the effect may have happened although the call failed.
    pub maybe_applied: bool,
}

impl Error {
    /// An error of any kind; nothing was applied.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            maybe_applied: false,
        }
    }

    /// The step could not do its work.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, code, message)
    }

    /// The configuration or the plugin is wrong.
    pub fn invalid(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, message)
    }

    /// A deadline passed.
    pub fn timeout(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Timeout, code, message)
    }

    /// Sets `maybe_applied`.
    #[must_use]
    pub fn maybe_applied(mut self) -> Self {
        self.maybe_applied = true;
        self
    }

    /// Prepends what was being done: `context: message`. Kind and code stay.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid("json.invalid", error.to_string())
    }
}

/// `context` on results, so that `?` keeps what was being done.
pub trait ResultExt<T> {
    /// As [`Error::context`].
    ///
    /// # Errors
    /// The same error with `context` in front of its message.
    fn context(self, context: impl fmt::Display) -> Result<T, Error>;

    /// As [`ResultExt::context`]; makes the text only for an error.
    ///
    /// # Errors
    /// The same error with the context in front of its message.
    fn with_context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T, Error> {
        self.map_err(|error| error.into().context(context))
    }

    fn with_context<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|error| error.into().context(context()))
    }
}
