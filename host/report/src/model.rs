//! The one fold over run events: what a reporter may ask of a run at any moment.

mod attempt;
mod steps;

pub use attempt::Attempt;
pub use steps::{ResultStatus, StepModel, StepResult, Subject};

use crate::wording::Ending;
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::{Outcome, Phase, RunEvent, Section, says_no_live_version};
use vdeploy_core::ids::{PlanName, RunId, SnapshotId, StepId, TargetName, VmId};

/// A run, as far as its events have told.
#[derive(Debug, Default)]
pub struct RunModel {
    pub run: Option<RunId>,
    pub plan: Option<PlanName>,
    pub target: Option<TargetName>,
    pub vm: Option<VmId>,
    /// The VM that was the target when the run began, if it is another now.
    pub moved_from: Option<VmId>,
    pub dry_run: bool,
    /// The plan's steps in order, then every other step that began.
    pub steps: Vec<StepModel>,
    /// The rollback point: the first snapshot taken before the run's changes.
    pub snapshot: Option<SnapshotId>,
    /// The run is a rollback that the operator requested.
    pub operator_requested: bool,
    /// The run removed the first deploy: nothing is live.
    pub no_live_version: bool,
    /// An earlier process began the run.
    pub resumed: bool,
    /// A change was begun, on the target or elsewhere. A dry run begins changes
    /// and makes none.
    pub changed: bool,
    /// The first final failure outside of the rollback.
    pub cause: Option<Failure>,
    /// The first final failure of an undo or of a rollback step.
    pub rollback_failure: Option<Failure>,
    /// The call of a plugin function that is running, or the last one.
    pub attempt: Attempt,
    /// None until the run has ended.
    pub end: Option<RunEnd>,
}

/// A step that failed and is not retried.
#[derive(Clone, Debug)]
pub struct Failure {
    pub step: StepId,
    pub section: Section,
    pub phase: Phase,
    pub error: EffectError,
    /// Name and detail of each check that failed in the last attempt.
    pub failed_checks: Vec<(String, Option<String>)>,
    /// The command that failed or never returned.
    pub command: Option<FailedCommand>,
}

/// A command and the last lines that it printed.
#[derive(Clone, Debug)]
pub struct FailedCommand {
    pub action: String,
    pub tail: Vec<String>,
}

/// The members of `RunFinished`.
#[derive(Clone, Debug)]
pub struct RunEnd {
    pub run: RunId,
    pub outcome: Outcome,
    pub unchanged: bool,
    pub target_changed: bool,
    pub blocking_run: Option<RunId>,
    pub exit_code: u8,
    pub message: String,
    pub next: Vec<String>,
    pub url: Option<String>,
    pub duration_ms: u64,
}

impl RunModel {
    pub fn apply(&mut self, event: &RunEvent) {
        self.apply_to_run(event);
        self.apply_to_steps(event);
        self.apply_to_failures(event);
        self.attempt.apply(event);
    }

    fn apply_to_run(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted {
                run,
                plan,
                target,
                vm,
                dry_run,
                ..
            } => {
                self.run = Some(run.clone());
                self.plan = Some(plan.clone());
                self.target = Some(target.clone());
                self.vm.clone_from(vm);
                self.dry_run = *dry_run;
            }
            RunEvent::RunResumed {
                target_changed,
                snapshot,
                operator_requested,
                no_live_version,
                moved_from,
                ..
            } => {
                self.resumed = true;
                self.changed |= *target_changed;
                self.snapshot.clone_from(snapshot);
                self.operator_requested |= *operator_requested;
                self.no_live_version |= *no_live_version;
                self.moved_from.clone_from(moved_from);
            }
            RunEvent::StepFinished {
                output: Some(output),
                ..
            } => self.no_live_version |= says_no_live_version(output),
            RunEvent::CallStarted { change, .. } => self.changed |= *change,
            RunEvent::SnapshotTaken {
                snapshot,
                before_changes: true,
                ..
            } => {
                self.snapshot.get_or_insert_with(|| snapshot.clone());
            }
            RunEvent::RollbackStarted { cause: None, .. } => self.operator_requested = true,
            RunEvent::TargetMoved { from, to } => {
                if self.moved_from.is_none() {
                    self.moved_from.clone_from(from);
                }
                self.vm = Some(to.clone());
            }
            RunEvent::RunFinished {
                run,
                outcome,
                unchanged,
                target_changed,
                blocking_run,
                exit_code,
                message,
                next,
                url,
                duration_ms,
            } => {
                self.end = Some(RunEnd {
                    run: run.clone(),
                    outcome: *outcome,
                    unchanged: *unchanged,
                    target_changed: *target_changed,
                    blocking_run: blocking_run.clone(),
                    exit_code: *exit_code,
                    message: message.clone(),
                    next: next.clone(),
                    url: url.clone(),
                    duration_ms: *duration_ms,
                });
            }
            _ => {}
        }
    }

    /// Before `attempt` takes the event in: the lines of a call that never
    /// returned are in it.
    fn apply_to_failures(&mut self, event: &RunEvent) {
        let RunEvent::StepFailed {
            step,
            section,
            phase,
            failure,
            retry_in_ms: None,
            ..
        } = event
        else {
            return;
        };
        let place = match (section, phase) {
            (Section::Finally, _) => return,
            (Section::Rollback, _) | (_, Phase::Undo) => &mut self.rollback_failure,
            _ => &mut self.cause,
        };
        place.get_or_insert_with(|| Failure {
            step: step.clone(),
            section: *section,
            phase: *phase,
            error: failure.error.clone(),
            failed_checks: self.attempt.failed_checks.clone(),
            command: self.attempt.failed_command(),
        });
    }

    /// How the run ended; none while it goes on.
    pub fn ending(&self) -> Option<Ending> {
        self.end.as_ref().map(|end| Ending {
            outcome: end.outcome,
            unchanged: end.unchanged,
            dry_run: self.dry_run,
            operator_requested: self.operator_requested,
            no_live_version: self.no_live_version,
            changed: self.changed,
        })
    }
}

#[cfg(test)]
mod tests;
