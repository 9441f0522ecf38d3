//! What a report remembers of a run: enough to say at its end why it failed.

use std::collections::VecDeque;
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::{CheckStatus, Phase, Section};
use vdeploy_core::event::{RunEvent, says_no_live_version};
use vdeploy_core::ids::{PlanName, RunId, SnapshotId, StepId, TargetName, VmId};

/// Lines of output kept of the last command.
const TAIL: usize = 10;

/// A step that failed for good.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub step: StepId,
    pub section: Section,
    pub phase: Phase,
    pub error: EffectError,
    /// Name and detail of each check that failed in the last attempt.
    pub checks: Vec<(String, Option<String>)>,
    /// The command that failed, or else the last one that printed something.
    pub command: Option<String>,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// One call of a plugin function.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    pub passed: usize,
    pub skipped: usize,
    checks: Vec<(String, Option<String>)>,
    /// Action of the call that runs.
    pub call: Option<String>,
    /// Its last lines.
    lines: VecDeque<String>,
    /// The command that a failure shows, and its last lines.
    shown: Option<(String, Vec<String>)>,
    /// It failed itself: a later one that succeeded does not replace it.
    shown_failed: bool,
}

impl Attempt {
    pub fn failed(&self) -> usize {
        self.checks.len()
    }
}

/// The run so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub run: Option<RunId>,
    pub plan: Option<PlanName>,
    pub target: Option<TargetName>,
    pub vm: Option<VmId>,
    pub moved_from: Option<VmId>,
    pub dry_run: bool,
    pub steps: Vec<StepId>,
    /// Where the run can go back to: the first one, taken before its changes.
    pub snapshot: Option<SnapshotId>,
    /// A person asked for a rollback: the run is one.
    pub operator_requested: bool,
    /// The first deploy was taken away: nothing is live.
    pub no_live_version: bool,
    /// An earlier process began the run.
    pub resumed: bool,
    /// Some call was a change.
    pub changed: bool,
    /// The first failure for good that is no part of the rollback.
    pub cause: Option<Failed>,
    /// The first failure for good of an undo or a rollback step.
    pub rollback: Option<Failed>,
    pub attempt: Attempt,
}

impl Story {
    /// Takes one event in.
    pub fn hear(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted {
                run,
                plan,
                target,
                vm,
                steps,
                dry_run,
            } => {
                self.run = Some(run.clone());
                self.plan = Some(plan.clone());
                self.target = Some(target.clone());
                self.vm = vm.clone();
                self.steps = steps.clone();
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
            RunEvent::StepStarted { .. } => self.attempt = Attempt::default(),
            RunEvent::StepFinished {
                output: Some(output),
                ..
            } => self.no_live_version |= says_no_live_version(output),
            RunEvent::CallStarted { action, change, .. } => {
                self.changed |= *change;
                self.attempt.call_began(action);
            }
            RunEvent::Output { line, .. } => self.attempt.output(line),
            RunEvent::CallFinished { ok, .. } => self.attempt.call_ended(*ok),
            RunEvent::Check {
                name,
                status,
                detail,
                ..
            } => match status {
                CheckStatus::Passed => self.attempt.passed += 1,
                CheckStatus::Skipped => self.attempt.skipped += 1,
                CheckStatus::Failed => self.attempt.checks.push((name.clone(), detail.clone())),
            },
            RunEvent::StepFailed {
                step,
                section,
                phase,
                failure,
                retry_in_ms: None,
                ..
            } => {
                let place = match (section, phase) {
                    (Section::Finally, _) => return,
                    (Section::Rollback, _) | (_, Phase::Undo) => &mut self.rollback,
                    _ => &mut self.cause,
                };
                if place.is_none() {
                    let mut attempt = std::mem::take(&mut self.attempt);
                    // A call that never came back: a deadline, a lost connection.
                    attempt.call_ended(attempt.lines.is_empty());
                    let (command, tail) = attempt.shown.unzip();
                    *place = Some(Failed {
                        step: step.clone(),
                        section: *section,
                        phase: *phase,
                        error: failure.error.clone(),
                        checks: attempt.checks,
                        command,
                        tail: tail.unwrap_or_default(),
                    });
                }
            }
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
            _ => {}
        }
    }
}

impl Attempt {
    fn call_began(&mut self, action: &str) {
        self.call = Some(action.to_owned());
        self.lines.clear();
    }

    fn output(&mut self, line: &str) {
        if self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    fn call_ended(&mut self, ok: bool) {
        let lines: Vec<_> = std::mem::take(&mut self.lines).into();
        let Some(action) = self.call.take() else {
            return;
        };
        if !ok || (!self.shown_failed && !lines.is_empty()) {
            self.shown = Some((action, lines));
            self.shown_failed = !ok;
        }
    }
}
