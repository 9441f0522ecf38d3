//! What people read of a run's outcome, the same in every report.

use crate::RunModel;
use crate::text::Tone;
use vdeploy_core::event::{Outcome, Phase, Section};

pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "check",
        Phase::Run => "run",
        Phase::Undo => "undo",
    }
}

/// A prefix for the name of a step.
pub(crate) fn section(section: Section) -> &'static str {
    match section {
        Section::Steps => "",
        Section::Rollback => "rollback ",
        Section::Finally => "finally ",
    }
}

/// What an outcome's sentence depends on.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub outcome: Outcome,
    /// Nothing had to change.
    pub unchanged: bool,
    pub dry_run: bool,
    pub operator_requested: bool,
    pub no_live_version: bool,
    pub changed: bool,
}

const NO_LIVE_VERSION: &str = "rolled back: nothing was live before, and nothing is live now";

/// The outcome in one sentence. A run that succeeded may have deployed nothing:
/// a rollback that the operator requested, or a plan that only verifies.
pub(crate) fn headline(ending: Ending) -> &'static str {
    let requested = ending.operator_requested && !ending.dry_run;
    let no_live_version = ending.no_live_version && !ending.dry_run;
    match ending.outcome {
        Outcome::Rehearsed => "dry run: the plan would go through",
        Outcome::Deployed if requested && no_live_version => NO_LIVE_VERSION,
        Outcome::Deployed if ending.unchanged => {
            "unchanged: this version was already live, and it is verified"
        }
        Outcome::Deployed if requested => "rolled back: the previous version is live and verified",
        Outcome::Deployed if !ending.changed => "verified: nothing was changed",
        Outcome::Deployed => "done: the live version is verified",
        Outcome::Refused => "refused: nothing was changed",
        Outcome::FailedUnchanged => "failed: nothing was changed on the target",
        Outcome::RolledBack if no_live_version => NO_LIVE_VERSION,
        Outcome::RolledBack => "rolled back: the target is as it was before the run, verified",
        Outcome::RollbackFailed => "ROLLBACK FAILED: it is unknown what is live",
        Outcome::Kept => "failed and kept: the target is as the failure left it",
        Outcome::Held => "held: another run holds the target",
        Outcome::Unreachable => "unreachable: nothing was changed",
        Outcome::PluginRefused => "plugin refused: nothing was changed",
        Outcome::Interrupted => "interrupted: the run did not finish",
        Outcome::Internal => "internal error of vdeploy",
    }
}

const UNCHANGED: &str = "as before: this run changed nothing on the target";

/// What is live after the run; empty while it goes on.
pub(crate) fn live(model: &RunModel) -> String {
    let Some(end) = &model.end else {
        return String::new();
    };
    if let Some(run) = &end.blocking_run {
        return format!("unknown: run {run} was interrupted, and nobody has settled it");
    }
    let requested = model.operator_requested;
    let text = match end.outcome {
        _ if model.dry_run => "as before: vdeploy changed nothing",
        Outcome::Rehearsed => "as before: vdeploy changed nothing",
        Outcome::Deployed if requested && model.no_live_version => "nothing",
        Outcome::Deployed if requested => "the previous version, verified",
        Outcome::Deployed if end.unchanged || !model.changed => {
            "the same version as before, verified"
        }
        Outcome::Deployed => "the result of this run, verified",
        Outcome::RolledBack if model.no_live_version => "nothing, as before the run",
        Outcome::RolledBack => "the version from before the run, verified",
        Outcome::Interrupted | Outcome::Internal if !end.target_changed && !model.resumed => {
            UNCHANGED
        }
        // Not this process, but an earlier one of the run has changed it.
        Outcome::Refused
        | Outcome::FailedUnchanged
        | Outcome::PluginRefused
        | Outcome::Unreachable
            if model.resumed && model.changed =>
        {
            "unknown: the run was interrupted and could not be resumed"
        }
        Outcome::Refused | Outcome::FailedUnchanged | Outcome::PluginRefused => UNCHANGED,
        Outcome::Unreachable => "unknown: the target was not reached; this run changed nothing",
        Outcome::Held => "whatever the other run leaves; this run changed nothing",
        Outcome::RollbackFailed => "unknown: check the target now",
        Outcome::Kept => "what the failed step left: check the target",
        Outcome::Interrupted | Outcome::Internal => {
            "unknown: `vdeploy runs show` lists what was changed"
        }
    };
    text.to_owned()
}

pub(crate) fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Deployed | Outcome::Rehearsed => Tone::Good,
        Outcome::RolledBack | Outcome::Held | Outcome::Interrupted | Outcome::Kept => Tone::Warn,
        _ => Tone::Bad,
    }
}
