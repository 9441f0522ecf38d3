//! Exit codes: part of the interface, for scripts and CI jobs. A code never
//! changes its meaning.

use serde::Serialize;
use std::fmt::Write as _;
use vdeploy_core::event::Outcome;
use vdeploy_ops::OpsErrorKind;

/// Every exit code of `vdeploy`. Its number is the code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
#[non_exhaustive]
pub enum ExitCode {
    /// Deployed and verified, or nothing had to change. Of other commands:
    /// done.
    Success = 0,
    /// vdeploy itself failed: please report it.
    Internal = 1,
    /// The command line, the project file or the plan is wrong.
    Usage = 2,
    /// Refused before anything changed: a preflight check, a missing secret.
    Refused = 3,
    /// A step failed before anything changed on the target.
    FailedUnchanged = 10,
    /// A step failed; the old version is live and verified.
    RolledBack = 11,
    /// A step failed and the rollback failed or could not be verified.
    RollbackFailed = 12,
    /// A step failed and the target is kept as it is, by policy.
    Kept = 13,
    /// Another run holds the target.
    Held = 20,
    /// The target cannot be reached or its host key is not the pinned one;
    /// nothing was changed.
    Unreachable = 22,
    /// A plugin was refused: missing grant, incompatible, not loadable.
    PluginRefused = 30,
    /// Stopped in the middle; the journal has what was done.
    Interrupted = 40,
    /// A replay is not as the recording.
    Differs = 50,
}

impl ExitCode {
    /// All of them, by number.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Internal,
        Self::Usage,
        Self::Refused,
        Self::FailedUnchanged,
        Self::RolledBack,
        Self::RollbackFailed,
        Self::Kept,
        Self::Held,
        Self::Unreachable,
        Self::PluginRefused,
        Self::Interrupted,
        Self::Differs,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in one line.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "deployed and verified, or nothing had to change",
            Self::Internal => "vdeploy itself failed",
            Self::Usage => "the command line, the project file or the plan is wrong",
            Self::Refused => "refused before anything changed (preflight, missing secret)",
            Self::FailedUnchanged => "a step failed; the target is unchanged",
            Self::RolledBack => "a step failed; the old version is live and verified",
            Self::RollbackFailed => {
                "a step failed, and the rollback failed or could not be verified"
            }
            Self::Kept => "a step failed; the target is kept as it is, by policy",
            Self::Held => "another run holds the target",
            Self::Unreachable => {
                "the target cannot be reached or its host key is wrong; nothing changed"
            }
            Self::PluginRefused => "a plugin was refused (grant, version, not loadable)",
            Self::Interrupted => "interrupted in the middle; the journal has what was done",
            Self::Differs => "a replay differs from the recording",
        }
    }

    /// The list for `--help`.
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            let _ = writeln!(text, "  {:>2}  {}", exit.code(), exit.meaning());
        }
        text
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Deployed | Outcome::Rehearsed => Self::Success,
            Outcome::Refused => Self::Refused,
            Outcome::FailedUnchanged => Self::FailedUnchanged,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::RollbackFailed => Self::RollbackFailed,
            Outcome::Kept => Self::Kept,
            Outcome::Held => Self::Held,
            Outcome::Unreachable => Self::Unreachable,
            Outcome::PluginRefused => Self::PluginRefused,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Internal => Self::Internal,
        }
    }
}

impl From<OpsErrorKind> for ExitCode {
    fn from(kind: OpsErrorKind) -> Self {
        match kind {
            OpsErrorKind::Internal => Self::Internal,
            OpsErrorKind::Usage => Self::Usage,
            OpsErrorKind::Refused => Self::Refused,
            OpsErrorKind::Held => Self::Held,
            OpsErrorKind::Unreachable => Self::Unreachable,
            OpsErrorKind::PluginRefused => Self::PluginRefused,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(exit: ExitCode) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_promised_code() {
        let table = [
            (Outcome::Deployed, 0),
            (Outcome::Rehearsed, 0),
            (Outcome::Internal, 1),
            (Outcome::Refused, 3),
            (Outcome::FailedUnchanged, 10),
            (Outcome::RolledBack, 11),
            (Outcome::RollbackFailed, 12),
            (Outcome::Kept, 13),
            (Outcome::Held, 20),
            (Outcome::Unreachable, 22),
            (Outcome::PluginRefused, 30),
            (Outcome::Interrupted, 40),
        ];
        for (outcome, code) in table {
            assert_eq!(ExitCode::from(outcome).code(), code, "{outcome:?}");
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn the_list_has_each_code_once_in_order() {
        let codes = ExitCode::ALL.map(ExitCode::code);
        assert_eq!(codes, [0, 1, 2, 3, 10, 11, 12, 13, 20, 22, 30, 40, 50]);
        let help = ExitCode::help();
        assert_eq!(help.lines().count(), 1 + codes.len());
        assert!(help.contains("\n  11  a step failed; the old version is live and verified\n"));
    }
}
