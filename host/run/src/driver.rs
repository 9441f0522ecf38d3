//! Does what the machine decides, until it says that the run is over.

use super::call::{may_help, retry_delay};
use super::machine::{self, Action, Ended, History, Place, Traits};
use super::outcome_message::OutcomeMessage;
use super::prepare::{Configs, Plugins};
use super::resume_state::{self, InFlight, ResumeState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, RunEvent, Section, StepFailure};
use vdeploy_core::ids::{RunId, StepId};
use vdeploy_core::plan::{Plan, Step};
use vdeploy_gate::RunShared;
use vdeploy_journal::{Entry, StoreError};

/// A run that is ready to begin: the lease is held, the target was reached.
#[derive(Debug)]
pub struct Execution {
    pub plan: Plan,
    pub plugins: Plugins,
    /// The complete configuration of each step.
    pub configs: Configs,
    pub traits: Traits,
    pub shared: Arc<RunShared>,
    /// Outputs of the run that is rolled back.
    pub rolls_back: Option<Arc<BTreeMap<StepId, Value>>>,
    pub rolled_back_run: Option<RunId>,
    /// How far an earlier process of this run came.
    pub resume_state: ResumeState,
}

/// How a run ended, in full.
#[derive(Debug)]
pub struct Finished {
    pub outcome: Outcome,
    /// The plan could have changed the target and had no reason to.
    pub unchanged: bool,
    /// The target was changed, or may have been.
    pub target_changed: bool,
    /// An interrupted run on the target that is not reconciled yet.
    pub blocking_run: Option<RunId>,
    /// For a person: the cause and the state.
    pub message: String,
    /// Commands a person may want next.
    pub next: Vec<String>,
}

/// A failure with the step it belongs to.
#[derive(Clone, Debug)]
pub struct StepProblem {
    pub step: StepId,
    pub phase: Phase,
    pub section: Section,
    pub failure: StepFailure,
    /// The plugin is incompatible with the host: none of its code ran.
    pub incompatible: bool,
}

#[derive(Default)]
pub(super) struct Progress {
    pub(super) history: History,
    pub(super) outputs: BTreeMap<StepId, Value>,
    pub(super) problems: Vec<StepProblem>,
    /// The function in which an earlier process was interrupted.
    pub(super) in_flight: Option<InFlight>,
}

impl Execution {
    /// Executes the plan to its end. Never returns early: a lost journal or
    /// lease ends the run as `Interrupted`.
    pub async fn execute(&self) -> Finished {
        let state = self.resume_state.clone();
        let mut progress = Progress {
            history: state.history,
            outputs: state.outputs,
            problems: state.problems,
            in_flight: state.in_flight,
        };
        let outcome = loop {
            progress.history.observe(
                self.shared.snapshots.target_changed(),
                self.shared.cancellation.is_cancelled(),
            );
            if self.shared.cancellation.is_broken() {
                break Outcome::Interrupted;
            }
            let action = machine::next(&self.plan, &self.traits, &progress.history);
            match action {
                Action::Done(outcome) => break outcome,
                Action::BeginRollback => self.begin_rollback(&mut progress),
                Action::Check(place) => self.check(place, &mut progress).await,
                Action::Run(place, attempt) => self.run(place, attempt, &mut progress).await,
                Action::Undo(place) => self.undo(place, &mut progress).await,
            }
        };
        self.finish(outcome, &progress)
    }

    fn finish(&self, outcome: Outcome, progress: &Progress) -> Finished {
        let outcome =
            if outcome == Outcome::Refused && progress.problems.iter().any(|p| p.incompatible) {
                Outcome::PluginRefused
            } else if outcome == Outcome::Deployed && self.shared.dry_run {
                Outcome::Rehearsed
            } else {
                outcome
            };
        let unchanged = outcome == Outcome::Deployed
            && !self.traits.may_change.is_empty()
            && !self.shared.snapshots.target_changed();
        let finished = OutcomeMessage {
            outcome,
            unchanged,
            execution: self,
            problems: &progress.problems,
            broken: self.shared.cancellation.broken(),
            by_hand: self.by_hand(progress),
            no_live_version: resume_state::no_live_version(&progress.outputs),
        }
        .finished();
        // A gate that is closed is the cause already; otherwise an outcome
        // counts only with its entry.
        if !self.shared.cancellation.is_broken()
            && let Err(error) = self.shared.recorder.append(&Entry::Finished {
                outcome: finished.outcome,
                message: finished.message.clone(),
            })
        {
            return self.unrecorded(finished, &error);
        }
        finished
    }

    /// The end of a run whose outcome could not be recorded.
    fn unrecorded(&self, finished: Finished, error: &StoreError) -> Finished {
        let Finished {
            message,
            next,
            target_changed,
            blocking_run,
            ..
        } = finished;
        let mut message = format!("{message}\nand the end could not be recorded: {error}");
        let mut ways = Vec::new();
        if matches!(error, StoreError::Database { .. }) && !self.shared.dry_run {
            let resume = format!("vdeploy resume {}", self.shared.run);
            message.push_str(&format!("\nwhen that is fixed, `{resume}` records it"));
            ways.push(resume);
        }
        let known = ways.clone();
        ways.extend(next.into_iter().filter(|way| !known.contains(way)));
        Finished {
            outcome: Outcome::Interrupted,
            unchanged: false,
            target_changed,
            blocking_run,
            message,
            next: ways,
        }
    }

    /// How to restore the rollback point by hand, as its step says: that of the
    /// run that is rolled back, or of this one.
    fn by_hand<'a>(&'a self, progress: &'a Progress) -> Option<&'a str> {
        let earlier = self.rolls_back.iter().flat_map(|outputs| outputs.values());
        earlier
            .chain(progress.outputs.values())
            .find_map(|output| output.get("restore-by-hand")?.as_str())
    }

    fn begin_rollback(&self, progress: &mut Progress) {
        let cause = progress
            .history
            .failed_step(&self.plan)
            .and_then(|index| self.plan.steps.get(index))
            .map(|step| step.id.clone());
        self.shared.cancellation.finish_undisturbed();
        progress.history.rollback_begun();
        let entry = Entry::RollbackStarted {
            cause: cause.clone(),
        };
        let event = RunEvent::RollbackStarted {
            cause,
            undoes: None,
        };
        self.record(&entry, event);
    }

    async fn check(&self, place: Place, progress: &mut Progress) {
        let ok = match self.step(place) {
            Some(step) => self
                .call(step, place, Phase::Check, 1, None, progress)
                .await
                .is_some(),
            None => false,
        };
        progress.history.checked(place, ok);
    }

    async fn run(&self, place: Place, attempt: u32, progress: &mut Progress) {
        let Some(step) = self.step(place) else {
            progress
                .history
                .ran(place, attempt, Ended::Failed { retry: false });
            return;
        };
        if attempt > 1 && progress.in_flight.is_none() {
            tokio::select! {
                () = self.shared.world.clock.sleep(retry_delay(step, attempt)) => {}
                () = self.shared.cancellation.stopped() => return,
            }
        }
        if place.section == Section::Finally {
            progress
                .history
                .finally_begun(self.shared.snapshots.target_changed());
            self.shared.cancellation.finish_undisturbed();
        }
        let ended = match self
            .call(step, place, Phase::Run, attempt, None, progress)
            .await
        {
            Some(output) => {
                progress.outputs.insert(step.id.clone(), output);
                progress
                    .problems
                    .retain(|p| p.step != step.id || p.phase != Phase::Run);
                Ended::Finished
            }
            None => Ended::Failed {
                retry: progress
                    .problems
                    .last()
                    .is_some_and(|p| may_help(&p.failure.error)),
            },
        };
        progress.history.ran(place, attempt, ended);
    }

    async fn undo(&self, place: Place, progress: &mut Progress) {
        let ok = match self.step(place) {
            Some(step) => {
                let output = progress.outputs.get(&step.id).cloned();
                self.call(step, place, Phase::Undo, 1, output, progress)
                    .await
                    .is_some()
            }
            None => false,
        };
        progress.history.undone(place.index, ok);
    }

    fn step(&self, place: Place) -> Option<&Step> {
        machine::places(&self.plan, place.section)
            .nth(place.index)
            .map(|(_, step)| step)
    }

    /// A step that began or ended is told even when the journal refuses it: that
    /// closes the gate, and the loop ends the run.
    pub(super) fn record(&self, entry: &Entry, event: RunEvent) {
        let shared = &self.shared;
        if !shared.cancellation.is_broken()
            && let Err(error) = shared.recorder.append(entry)
        {
            tracing::error!(%error, "the journal cannot be written");
        }
        shared.recorder.emit(event);
    }
}
