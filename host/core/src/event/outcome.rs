//! How a run ends.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The plan finished and the live version is verified. Also when nothing had
    /// to change, and at the end of a rollback that the operator requested.
    Deployed,
    /// A dry run finished: every change was shown and none was made.
    Rehearsed,
    /// Before anything changed: a failed preflight, a missing secret.
    Refused,
    /// A step failed before anything changed on the target.
    FailedUnchanged,
    /// A step failed; the old version is live and verified.
    RolledBack,
    /// A step failed, and the rollback failed or could not be verified.
    RollbackFailed,
    /// A step failed; the target is kept as it is, because the plan says so.
    Kept,
    /// Another run holds the target's lease.
    Held,
    /// No connection to the target, or its host key is not the pinned one.
    Unreachable,
    /// A plugin lacks a grant, is incompatible, or cannot be loaded.
    PluginRefused,
    /// Stopped by a signal, or because the store or the lease was lost.
    Interrupted,
    /// vdeploy itself failed.
    Internal,
}

impl Outcome {
    /// Also the number in events. It never changes.
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
