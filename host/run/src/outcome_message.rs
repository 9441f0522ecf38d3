//! The message at the end of a run: what happened, why, what is live, what to do
//! next.

use super::driver::{Execution, Finished, StepProblem};
use std::fmt::Write as _;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, Section};
use vdeploy_core::ids::RunId;
use vdeploy_gate::Broken;

/// What the message depends on.
#[derive(Debug)]
pub(super) struct OutcomeMessage<'a> {
    pub(super) outcome: Outcome,
    /// Nothing had to change.
    pub(super) unchanged: bool,
    pub(super) execution: &'a Execution,
    /// Failures, in order.
    pub(super) problems: &'a [StepProblem],
    /// Why the gate was closed.
    pub(super) broken: Option<Broken>,
    /// How to restore by hand, from the step that took the snapshot.
    pub(super) by_hand: Option<&'a str>,
    /// The first deploy was taken away, and nothing is live.
    pub(super) no_live_version: bool,
}

impl OutcomeMessage<'_> {
    /// Outcome, message and next commands.
    pub(super) fn finished(&self) -> Finished {
        let shared = &self.execution.shared;
        let run = &shared.run;
        let mut message = self.headline();
        if let Some(by) = shared.stopped_by()
            && !went_through(self.outcome)
        {
            let _ = write!(message, "\nthe run was asked to stop: {by}");
        }
        for problem in self.problems {
            let _ = write!(message, "\n{}", describe(problem));
        }
        if let Some(broken) = &self.broken {
            let _ = write!(message, "\n{}", broken.message);
            if broken.mendable && !shared.dry_run {
                let _ = write!(
                    message,
                    "\nwhen that is fixed, `vdeploy resume {run}` continues where the run stopped"
                );
            }
        }
        if let Some(state) = self.live_state() {
            let _ = write!(message, "\n{state}");
        }
        let left_changed = matches!(
            self.outcome,
            Outcome::RollbackFailed | Outcome::Kept | Outcome::Interrupted
        ) && shared.target_changed();
        if let (true, Some(by_hand)) = (left_changed, self.by_hand) {
            let _ = write!(
                message,
                "\nto restore the snapshot by hand: {}",
                indented(by_hand)
            );
        }
        let vm = shared.world.target.facts().vm;
        if let (true, Some(vm)) = (self.outcome == Outcome::RollbackFailed, &vm) {
            let _ = write!(message, "\nthe target is the VM {vm}");
        }
        Finished {
            outcome: self.outcome,
            unchanged: self.unchanged,
            target_changed: self.may_have_changed(),
            blocking_run: None,
            message,
            next: self.next_commands(run),
        }
    }

    fn headline(&self) -> String {
        let plan = &self.execution.plan.name;
        let traits = &self.execution.traits;
        let text = match self.outcome {
            Outcome::Rehearsed => "dry run: every change above was shown, and vdeploy made none",
            Outcome::Deployed if traits.is_rollback && self.no_live_version => {
                "rolled back; nothing was live before, and nothing is live now"
            }
            Outcome::Deployed if self.unchanged => {
                "nothing to do: this version is already live, and it was verified"
            }
            Outcome::Deployed if traits.is_rollback => "rolled back and verified",
            Outcome::Deployed if traits.may_change.is_empty() => "verified",
            Outcome::Deployed => "deployed and verified",
            Outcome::Refused => "refused before anything changed",
            Outcome::FailedUnchanged => "failed; the target is unchanged",
            Outcome::RolledBack if self.no_live_version => {
                "failed and rolled back; nothing was live before, and nothing is live now"
            }
            Outcome::RolledBack => {
                "failed and rolled back; the target is as it was before the run, and verified"
            }
            Outcome::RollbackFailed => {
                "FAILED, AND THE ROLLBACK FAILED OR COULD NOT BE VERIFIED: look at the target now"
            }
            Outcome::Kept => "failed; the target is kept as it is, as the plan says",
            Outcome::Interrupted => "interrupted",
            Outcome::Held => "the target is held by another run",
            Outcome::Unreachable => "the target cannot be reached; nothing was changed",
            Outcome::PluginRefused => "a plugin was refused; nothing was changed",
            Outcome::Internal => "vdeploy failed",
        };
        format!("plan {plan}: {text}")
    }

    /// What is live now, where the headline does not say it.
    fn live_state(&self) -> Option<&'static str> {
        match self.outcome {
            Outcome::Kept => Some("the failed version may be live; nothing was rolled back"),
            Outcome::Interrupted if self.execution.shared.target_changed() => {
                Some("the target was changed and is left as it is")
            }
            Outcome::Interrupted if self.may_have_changed() => {
                Some("this process has not changed the target; a later lease holder may have")
            }
            Outcome::Interrupted => Some("the target is unchanged"),
            _ => None,
        }
    }

    /// Whether the target was changed in this run, or may have been: a process
    /// that took the lease may have resumed the run.
    fn may_have_changed(&self) -> bool {
        let shared = &self.execution.shared;
        let lost = shared.world.leases.lost();
        shared.target_changed() || lost.is_some_and(|how| !how.mendable)
    }

    fn next_commands(&self, run: &RunId) -> Vec<String> {
        let shared = &self.execution.shared;
        let changed = shared.target_changed();
        let mut next = Vec::new();
        if self.outcome == Outcome::Interrupted && !shared.dry_run {
            next.push(format!("vdeploy resume {run}"));
        }
        match self.outcome {
            Outcome::Deployed if changed && !self.execution.traits.is_rollback => {
                next.push(format!("vdeploy rollback {run}"));
            }
            Outcome::Kept | Outcome::Interrupted | Outcome::RollbackFailed if changed => {
                // A rollback has no rollback point; the run that it rolls back has.
                let first = self.execution.rolled_back_run.as_ref();
                let of = first.unwrap_or(run);
                // A step that failed on an unreachable target may work later.
                if self.outcome != Outcome::RollbackFailed || self.problems.iter().any(is_outage) {
                    next.push(format!("vdeploy rollback {of} --to in-place"));
                }
                if shared.snapshot_taken_id().is_some() || first.is_some() {
                    next.push(format!("vdeploy rollback {of} --to snapshot"));
                }
            }
            _ => {}
        }
        if self.outcome == Outcome::Interrupted && changed {
            next.push(format!("vdeploy abandon {run} --reason \"REASON\""));
        }
        if !went_through(self.outcome) {
            next.push(format!("vdeploy runs show {run}"));
        }
        next
    }
}

fn went_through(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Deployed | Outcome::Rehearsed)
}

fn is_outage(problem: &StepProblem) -> bool {
    matches!(
        problem.failure.error.kind,
        ErrorKind::Unavailable | ErrorKind::Timeout
    )
}

fn describe(problem: &StepProblem) -> String {
    let what = match (problem.section, problem.phase) {
        (_, Phase::Check) => "the check of step",
        (_, Phase::Undo) => "the undo of step",
        (Section::Steps, Phase::Run) => "step",
        (Section::Rollback, Phase::Run) => "rollback step",
        (Section::Finally, Phase::Run) => "finally step",
    };
    let error = indented(&problem.failure.error.to_string());
    let mut text = format!("{what} `{}`: {error}", problem.step);
    for line in &problem.failure.context {
        let _ = write!(text, "\n    {}", indented(line));
    }
    text
}

/// Indents further lines of a plugin's text, so that none passes for a line of
/// the host.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}
