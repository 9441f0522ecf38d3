//! How a run ended.

use serde::{Deserialize, Serialize};

/// The one answer every run ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The plan finished: the new version is live and verified. Also when
    /// nothing had to change.
    Deployed,
    /// A dry run went through: every change was shown and none was made.
    Rehearsed,
    /// Refused before anything changed: preflight, missing secret.
    Refused,
    /// A step failed before anything changed on the target.
    FailedUnchanged,
    /// A step failed; the old version is live and verified.
    RolledBack,
    /// A step failed and the rollback failed or could not be verified.
    RollbackFailed,
    /// A step failed and the target is kept as it is, by policy.
    Kept,
    /// Another run holds the target.
    Held,
    /// The target cannot be reached, or its host key is not the pinned one.
    Unreachable,
    /// A plugin was refused: missing grant, incompatible, not loadable.
    PluginRefused,
    /// Stopped by a signal, a lost store or a lost lease.
    Interrupted,
    /// vdeploy itself failed.
    Internal,
}

impl Outcome {
    /// The number of this outcome in events and as the program's exit code. It
    /// never changes.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Deployed | Self::Rehearsed => 0,
            Self::Internal => 1,
            Self::Refused => 3,
            Self::FailedUnchanged => 10,
            Self::RolledBack => 11,
            Self::RollbackFailed => 12,
            Self::Kept => 13,
            Self::Held => 20,
            Self::Unreachable => 22,
            Self::PluginRefused => 30,
            Self::Interrupted => 40,
        }
    }
}
