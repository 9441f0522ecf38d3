//! Performs what the machine decides: calls plugins, writes the journal, tells
//! the reporters.

use super::machine::{self, Action, Ended, History, Place, Traits};
use super::names;
use super::outcome_message::OutcomeMessage;
use super::prepare::{Configs, Plugins};
use super::resume_state::{self, InFlight, ResumeState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, RunEvent, Section, StepFailure};
use vdeploy_core::ids::{RunId, StepId};
use vdeploy_core::plan::{Plan, Step};
use vdeploy_gate::{Budget, Gate, RunShared};
use vdeploy_journal::{Entry, StoreError};
use vdeploy_wasm::{Invocation, PluginError, StepContext};

/// Longest wait before a retry.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

/// A run that is ready to begin: the lease is held, the target was reached.
#[derive(Debug)]
pub struct Execution {
    /// What to do.
    pub plan: Plan,
    /// Who does it.
    pub plugins: Plugins,
    /// Each step's complete configuration.
    pub configs: Configs,
    /// What the machine wants to know about the steps.
    pub traits: Traits,
    /// World, journal, events.
    pub shared: Arc<RunShared>,
    /// Outputs of the run that this run rolls back.
    pub rolls_back: Option<Arc<BTreeMap<StepId, Value>>>,
    /// That run.
    pub rolled_back_run: Option<RunId>,
    /// Where an earlier process of this run was interrupted.
    pub resume_state: ResumeState,
}

/// How a run ended, in full.
#[derive(Debug)]
pub struct Finished {
    /// In one word.
    pub outcome: Outcome,
    /// The plan could have changed the target and had no reason to.
    pub unchanged: bool,
    /// The target was changed, or may have been.
    pub target_changed: bool,
    /// A run that was cut off on the target and that nobody has settled.
    pub blocking_run: Option<RunId>,
    /// For a person: the cause and the state.
    pub message: String,
    /// Commands a person may want next.
    pub next: Vec<String>,
}

/// A failure with the step it belongs to.
#[derive(Clone, Debug)]
pub struct StepProblem {
    /// The step.
    pub step: StepId,
    /// Which function.
    pub phase: Phase,
    /// Its list.
    pub section: Section,
    /// Why.
    pub failure: StepFailure,
    /// The plugin did not fit the host: nothing of it ran.
    pub incompatible: bool,
}

#[derive(Default)]
pub(super) struct Progress {
    pub(super) history: History,
    pub(super) outputs: BTreeMap<StepId, Value>,
    pub(super) problems: Vec<StepProblem>,
    /// The function that an earlier process was interrupted in.
    in_flight: Option<InFlight>,
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
            progress
                .history
                .observe(self.shared.target_changed(), self.shared.is_cancelled());
            if self.shared.broken().is_some() {
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
            && !self.shared.target_changed();
        let finished = OutcomeMessage {
            outcome,
            unchanged,
            execution: self,
            problems: &progress.problems,
            broken: self.shared.broken(),
            by_hand: self.by_hand(progress),
            no_live_version: resume_state::no_live_version(&progress.outputs),
        }
        .finished();
        // A journal that cannot be written was the reason already; otherwise
        // the outcome is not believed without its entry.
        if self.shared.broken().is_none()
            && let Err(error) = self.shared.record(&Entry::Finished {
                outcome: finished.outcome,
                message: finished.message.clone(),
            })
        {
            return self.unrecorded(finished, &error);
        }
        finished
    }

    /// What came of the run is not believed, since the journal did not take it.
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
            message.push_str(&format!("\nwhen that is mended, `{resume}` records it"));
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

    /// What the step that made the snapshot to go back to says of a restore by
    /// hand: that of the run which is rolled back, or of this one.
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
        self.shared.finish_undisturbed();
        progress.history.rollback_begun();
        self.write(&Entry::RollbackStarted {
            cause: cause.clone(),
        });
        self.shared.emit(RunEvent::RollbackStarted {
            cause,
            undoes: None,
        });
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
                () = self.shared.stopped() => return,
            }
        }
        if place.section == Section::Finally {
            progress.history.finally_begun(self.shared.target_changed());
            self.shared.finish_undisturbed();
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

    /// Calls one plugin function; on failure the problem is added to the
    /// progress.
    pub(super) async fn call(
        &self,
        step: &Step,
        place: Place,
        phase: Phase,
        attempt: u32,
        undo_output: Option<Value>,
        progress: &mut Progress,
    ) -> Option<Value> {
        let plugin = self.plugins.get(&step.plugin)?;
        let section = place.section;
        let goes_on = progress
            .in_flight
            .take()
            .is_some_and(|f| (f.place, f.phase, f.attempt) == (place, phase, attempt));
        if !goes_on {
            self.write(&Entry::StepStarted {
                step: step.id.clone(),
                section,
                phase,
                attempt,
            });
        }
        self.shared.emit(RunEvent::StepStarted {
            step: step.id.clone(),
            section,
            phase,
            attempt,
        });
        let began = Instant::now();
        let failed_step = progress
            .history
            .failed_step(&self.plan)
            .and_then(|index| self.plan.steps.get(index))
            .map(|s| s.id.clone());
        let rolling_back = section == Section::Rollback || phase == Phase::Undo;
        let rolled_back = if rolling_back && !self.traits.is_rollback {
            Some(Arc::new(progress.outputs.clone()))
        } else {
            self.rolls_back.clone()
        };
        let gate = Gate {
            shared: self.shared.clone(),
            plugin: plugin.name.clone(),
            step: step.id.clone(),
            phase,
            grants: plugin.grants.clone(),
            deadline: Instant::now() + step.timeout,
            budget: Budget::default(),
        };
        let mut returned = plugin
            .call(Invocation {
                gate: gate.clone(),
                context: StepContext {
                    plan: self.plan.name.clone(),
                    attempt,
                    config: self.configs.get(&step.id).cloned().unwrap_or_default(),
                    outputs: Arc::new(progress.outputs.clone()),
                    rolled_back,
                    failed_step,
                },
                output: undo_output,
            })
            .await;
        if let (Ok(_), Some(error)) = (&returned.result, gate.undeclared()) {
            returned.result = Err(PluginError::Failed(error));
        }
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match returned.result {
            Ok(mut output) => {
                self.shared.masker.mask_json(&mut output);
                let kept = (phase == Phase::Run).then(|| output.clone());
                self.write(&Entry::StepFinished {
                    step: step.id.clone(),
                    section,
                    phase,
                    output: kept.clone(),
                });
                self.shared.emit(RunEvent::StepFinished {
                    step: step.id.clone(),
                    section,
                    phase,
                    summary: output
                        .get("summary")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                    output: kept,
                    duration_ms,
                });
                Some(output)
            }
            Err(error) => {
                let incompatible = matches!(error, PluginError::Incompatible { .. });
                let failure = self.failure(error, returned.context);
                self.write(&Entry::StepFailed {
                    step: step.id.clone(),
                    section,
                    phase,
                    failure: failure.clone(),
                });
                let retry = phase == Phase::Run
                    && attempt < step.retry.attempts
                    && may_help(&failure.error)
                    && !self.shared.is_cancelled();
                let retry_in_ms = retry.then(|| {
                    u64::try_from(retry_delay(step, attempt + 1).as_millis()).unwrap_or(u64::MAX)
                });
                self.shared.emit(RunEvent::StepFailed {
                    step: step.id.clone(),
                    section,
                    phase,
                    failure: failure.clone(),
                    retry_in_ms,
                    duration_ms,
                });
                progress.problems.push(StepProblem {
                    step: step.id.clone(),
                    phase,
                    section,
                    failure,
                    incompatible,
                });
                None
            }
        }
    }

    fn failure(&self, error: PluginError, mut context: Vec<String>) -> StepFailure {
        let error = match error {
            PluginError::Failed(error) => error,
            other => {
                let code = match &other {
                    PluginError::Trap { .. } => "plugin.trap",
                    PluginError::Cpu { .. } => "plugin.cpu",
                    PluginError::Memory { .. } | PluginError::Parts { .. } => "plugin.memory",
                    PluginError::Deadline { .. } => "plugin.deadline",
                    PluginError::Output { .. } => "plugin.output",
                    PluginError::Incompatible { .. } => "plugin.incompatible",
                    _ => "plugin.load",
                };
                EffectError::new(ErrorKind::Failed, code, other.to_string())
            }
        };
        let error = EffectError {
            message: self.shared.masker.mask(&error.message).into_owned(),
            ..error
        };
        context.extend(names::hint(&error.code, &error.message));
        StepFailure { error, context }
    }

    /// A failed write closes the gate; the loop sees it and ends the run.
    fn write(&self, entry: &Entry) {
        if self.shared.broken().is_none()
            && let Err(error) = self.shared.record(entry)
        {
            tracing::error!(%error, "the journal cannot be written");
        }
    }
}

/// Whether trying again may help: not when the call was refused or wrong.
pub(super) fn may_help(error: &EffectError) -> bool {
    !matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Cancelled
    )
}

/// The wait before this attempt: the step's delay, doubled for each further
/// try.
fn retry_delay(step: &Step, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    step.retry
        .delay
        .saturating_mul(1 << doublings)
        .min(MAX_RETRY_DELAY)
}
