//! An error of an operation: its kind, what is wrong, and what to do next.

use std::fmt;
use vdeploy_config::ConfigError;
use vdeploy_journal::StoreError;
use vdeploy_wasm::PluginError;

/// What kind of failure it is. A command line gives each an exit code of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpsErrorKind {
    /// vdeploy itself failed, or its store.
    Internal,
    /// The options, the project file or the plan is wrong.
    Usage,
    /// Refused before anything changed.
    Refused,
    /// Another run holds the target.
    Held,
    /// The target or its platform cannot be reached; nothing was changed.
    Unreachable,
    /// A plugin was refused: missing grant, incompatible, not loadable.
    PluginRefused,
}

/// Why an operation did not begin, or has no result.
#[derive(Debug)]
pub struct OpsError {
    pub kind: OpsErrorKind,
    /// What is wrong, and where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl OpsError {
    pub fn new(kind: OpsErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Wrong options or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(OpsErrorKind::Usage, message)
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for OpsError {}

impl From<ConfigError> for OpsError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StoreError> for OpsError {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::NoRun(_) | StoreError::AmbiguousRun { .. } => OpsErrorKind::Usage,
            _ => OpsErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<PluginError> for OpsError {
    fn from(error: PluginError) -> Self {
        let kind = match error {
            PluginError::Engine { .. } => OpsErrorKind::Internal,
            PluginError::Config { .. } => OpsErrorKind::Usage,
            _ => OpsErrorKind::PluginRefused,
        };
        Self::new(kind, error.to_string())
    }
}

/// Several problems as one error: the first one's kind, every message.
impl FromIterator<OpsError> for Option<OpsError> {
    fn from_iter<I: IntoIterator<Item = OpsError>>(errors: I) -> Self {
        let mut errors = errors.into_iter();
        let mut all = errors.next()?;
        for next in errors {
            all.message.push_str("\n\n");
            all.message.push_str(&next.message);
        }
        Some(all)
    }
}
