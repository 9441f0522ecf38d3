//! The path itself: decide, journal the intent, perform, mask, journal the
//! result, tell.

use super::budget::{Budget, TOO_MUCH, cost_of_answer, cost_of_request};
use super::call::{Call, Effect, WhenInDoubt};
use super::from_journal::FromJournal;
use super::recorded_calls::{CallOutcome, RecordedCall};
use super::rules::{Decision, Situation, decide, stopped};
use super::shared::RunShared;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::{CheckStatus, Level, Phase, RunEvent, command_ok};
use vdeploy_core::ids::{PluginName, StepId};
use vdeploy_journal::{Entry, StoreError};
use vdeploy_scope::Grants;
use vdeploy_scope::SnapshotScope;

/// The result of a change in a dry run, in the journal.
pub(super) const NOT_MADE: &str = "not made: dry run";

/// The gate of one plugin call: who calls, in which phase, until when.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What the run's gates share.
    pub shared: Arc<RunShared>,
    /// Who calls.
    pub plugin: PluginName,
    /// For which step.
    pub step: StepId,
    /// Which function is running.
    pub phase: Phase,
    /// What the plugin may do.
    pub grants: Arc<Grants>,
    /// When the step's time is over.
    pub deadline: Instant,
    /// What this call of the plugin may use up.
    pub budget: Budget,
}

/// The function that waits.
pub(super) const SLEEP: &str = "clock.sleep-ms";

/// The code of a sleep that was cut short by a stop: what is left of it is slept
/// when the run is gone on with.
pub(super) const CUT: &str = "gate.cut";

/// Most of a call's description that is shown, in bytes.
const MAX_ACTION: usize = 1024;
/// Longest name of a check, in bytes.
const MAX_NAME: usize = 1024;
/// Longest detail of a check, in bytes.
const MAX_DETAIL: usize = 8 << 10;
/// Most of an error's message that is kept, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// What a passed call answers with: the value for the plugin, and its form in
/// the journal.
pub(super) struct CallResult<T> {
    pub value: T,
    pub journal: Value,
}

/// What a call that is being made is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallContext {
    /// Its number in the run.
    pub effect: u64,
    /// An earlier process of the run has made it, at this time in milliseconds
    /// since 1970, and what came of it is not known.
    pub asked_before: Option<u64>,
}

impl Gate {
    /// What is left of the step's time.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes `call` through the gate. `perform` touches the world and answers
    /// with masked values; `pretend` answers for it in a dry run.
    pub(super) async fn pass<T, F>(
        &self,
        call: Call,
        pretend: impl FnOnce() -> Result<T, EffectError>,
        perform: F,
    ) -> Result<T, EffectError>
    where
        T: FromJournal,
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        let began = std::time::Instant::now();
        let answer = self.pass_through(call, pretend, perform).await;
        self.shared.has_waited(began.elapsed());
        answer
    }

    async fn pass_through<T, F>(
        &self,
        mut call: Call,
        pretend: impl FnOnce() -> Result<T, EffectError>,
        perform: F,
    ) -> Result<T, EffectError>
    where
        T: FromJournal,
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        let shared = &self.shared;
        self.budget.take_call().await?;
        let number = shared.next_call();
        let change = call.effect.is_change();
        call.action = shared.masker.mask_start(&call.action, MAX_ACTION);
        let mut request = std::mem::take(&mut call.request);
        shared.masker.mask_json(&mut request);
        self.budget.take_bytes(cost_of_request(&request))?;
        let result = |request: Value, response| Entry::Result {
            call: number,
            step: self.step.clone(),
            function: call.function.to_owned(),
            request,
            response,
        };

        if let Some(replay) = &shared.replay {
            let asked = (number, call, request);
            return self.replay(replay, asked, pretend, perform).await;
        }
        let mut asked_before = None;
        if let Some(recorded) = shared.recorded(number) {
            if !self.is_same(&recorded, &call, &request) {
                return Err(self.diverged(number, &recorded, &call));
            }
            let (ended, missing) = match recorded.outcome {
                CallOutcome::Result(ended) => (Some(ended), false),
                CallOutcome::Done(value) => (Some(Ok(value)), true),
                CallOutcome::InDoubt(_) if call.in_doubt == WhenInDoubt::Report => {
                    (Some(Err(unanswered(&call.action))), true)
                }
                CallOutcome::InDoubt(since) => {
                    asked_before = Some(since);
                    (None, false)
                }
            };
            if let Some(ended) = ended {
                self.count(&ended)?;
                if missing {
                    self.write(&result(Value::Null, ended.clone()))?;
                }
                let value = ended?;
                if let Some(value) = T::from_journal(&value) {
                    return Ok(value);
                }
                if T::NEVER_RECORDED {
                    let context = CallContext {
                        effect: number,
                        asked_before,
                    };
                    return Ok(perform(context).await?.value);
                }
                return Err(self.broken_off(format!(
                    "the journal does not have the whole answer of call {number} (`{}`)",
                    call.function
                )));
            }
        }

        let situation = Situation {
            phase: self.phase,
            dry_run: shared.dry_run,
            snapshot_stands: shared.snapshot_stands() || asked_before.is_some(),
            makes_snapshots: self.grants.allows_snapshot(SnapshotScope::SelfManaged),
            cancelled: shared.is_cancelled(),
            late: self.time_left().is_zero(),
            broken: shared.broken().is_some(),
        };
        let mut decision = decide(&call, situation);
        if change && matches!(decision, Decision::Perform | Decision::Prepare) {
            decision = match self.ensure_lease_valid().await {
                Ok(()) => decision,
                Err(error) => Decision::Refuse(error),
            };
        }
        if let Decision::Refuse(mut error) = decision {
            error.message = shared.masker.mask_start(&error.message, MAX_ERROR);
            // What was asked before stays in doubt: its entry comes with the
            // next try.
            if asked_before.is_some() {
                error = error.in_doubt();
            } else if shared.broken().is_none() {
                let refused = Err(error.clone());
                self.count(&refused)?;
                self.write(&result(request, refused))?;
            }
            self.say(Level::Warn, &format!("refused {}: {error}", call.action));
            return Err(error);
        }

        let tell = |event| {
            if !call.quiet {
                shared.emit(event);
            }
        };
        tell(RunEvent::CallStarted {
            step: self.step.clone(),
            call: number,
            action: call.action.clone(),
            change,
        });
        let began = Instant::now();
        let finished = |ok, not_made, command_ok| RunEvent::CallFinished {
            step: self.step.clone(),
            call: number,
            ok,
            not_made,
            command_ok,
            duration_ms: millis(began.elapsed()),
        };

        if decision == Decision::Pretend {
            let not_made = Ok(Value::from(NOT_MADE));
            self.count(&not_made)?;
            self.write(&result(request, not_made))?;
            tell(finished(true, true, None));
            return pretend();
        }

        let changes_target = call.effect == Effect::ChangeTarget && decision != Decision::Prepare;
        if decision == Decision::Prepare {
            shared.prepares_snapshot(&self.step);
        }
        let marked = change || call.lasting;
        let request = if marked && asked_before.is_some() {
            Value::Null
        } else if marked {
            self.write(&Entry::Intent {
                call: number,
                step: self.step.clone(),
                function: call.function.to_owned(),
                request,
                changes_target,
            })?;
            Value::Null
        } else {
            request
        };
        // Before the call: it may be cut off at the step's deadline.
        let was_changed = match changes_target {
            true => shared.set_target_changed(true),
            false => true,
        };

        let context = CallContext {
            effect: number,
            asked_before,
        };
        let performed = async {
            // What only looks is not waited for when the run is being stopped.
            // A sleep sees to that itself.
            if change {
                // The journal may have taken its time.
                self.ensure_lease_valid()
                    .await
                    .map_err(|error| match asked_before {
                        Some(_) => error.in_doubt(),
                        None => error,
                    })?;
                return perform(context).await;
            }
            if call.function == SLEEP {
                return perform(context).await;
            }
            tokio::select! {
                biased;
                answer = perform(context) => answer,
                () = shared.stopped() => Err(stopped(shared.broken().is_some())),
            }
        };
        let (response, journal) = match performed.await {
            Ok(answer) => (Ok(answer.value), Ok(answer.journal)),
            Err(mut error) => {
                error.message = shared.masker.mask_start(&error.message, MAX_ERROR);
                if !error.maybe_applied && !was_changed {
                    shared.set_target_changed(false);
                }
                (Err(error.clone()), Err(error))
            }
        };
        if let Err(error) = &response
            && self.is_left_open(error)
        {
            tell(finished(false, false, None));
            return response;
        }
        let (response, journal) = match self.count(&journal) {
            Ok(()) => (response, journal),
            // Of a change the answer is lost, and not the change.
            Err(error) => {
                let error = if change { error.in_doubt() } else { error };
                (Err(error.clone()), Err(error))
            }
        };
        let command_ok = journal.as_ref().ok().and_then(command_ok);
        let entry = result(request, journal);
        if change {
            shared.record(&entry).map_err(in_doubt)?;
        } else {
            shared.record_later(entry).map_err(closed)?;
        }
        tell(finished(response.is_ok(), false, command_ok));
        response
    }

    /// The journal keeps this answer, or has it already.
    pub(super) fn count(&self, answer: &Result<Value, EffectError>) -> Result<(), EffectError> {
        match answer {
            Err(error) if error.code == TOO_MUCH => {
                self.budget.was_spent(error);
                Ok(())
            }
            _ => self.budget.take_bytes(cost_of_answer(answer)),
        }
    }

    /// Writes to the journal; a failure ends the run's effects.
    fn write(&self, entry: &Entry) -> Result<(), EffectError> {
        self.shared.record(entry).map_err(closed)
    }

    /// Whether the plugin asks for what it had asked for under this number.
    pub(super) fn is_same(&self, recorded: &RecordedCall, call: &Call, request: &Value) -> bool {
        recorded.step == self.step
            && recorded.function == call.function
            && recorded.request == *request
    }

    /// The plugin does not do what it had done: what was recorded is of no use.
    fn diverged(&self, number: u64, recorded: &RecordedCall, call: &Call) -> EffectError {
        self.broken_off(format!(
            "call {number} was `{}` of step `{}` before the interruption and is `{}` of step `{}` \
             now ({}): the recorded results do not fit, so the run cannot be resumed",
            recorded.function, recorded.step, call.function, self.step, call.action
        ))
    }

    /// Nothing more is done in this run, for this reason.
    fn broken_off(&self, why: String) -> EffectError {
        let why = self.shared.masker.mask_start(&why, MAX_ERROR);
        self.shared.break_off(&why);
        EffectError::new(ErrorKind::Cancelled, "gate.diverged", why)
    }

    /// Why a step that returned well has failed all the same: it changed the
    /// target to make a snapshot, and none stands.
    pub fn undeclared(&self) -> Option<EffectError> {
        self.shared.snapshot_is_owed(&self.step).then(|| {
            EffectError::new(
                ErrorKind::Denied,
                "gate.not-declared",
                format!(
                    "the plugin `{}` ran commands to make a snapshot and did not declare one, \
                     so none stands and nothing else may be changed",
                    self.plugin
                ),
            )
        })
    }

    /// A masked log line of the plugin.
    pub fn say(&self, level: Level, message: &str) {
        self.shared.emit(RunEvent::Log {
            step: Some(self.step.clone()),
            level,
            message: self
                .shared
                .masker
                .mask_start(message, MAX_ERROR + MAX_ACTION),
        });
    }

    /// A masked named check of the plugin.
    pub fn check(&self, name: &str, status: CheckStatus, duration_ms: u64, detail: Option<&str>) {
        let masker = &self.shared.masker;
        self.shared.emit(RunEvent::Check {
            step: self.step.clone(),
            name: masker.mask_start(name, MAX_NAME),
            status,
            duration_ms,
            detail: detail.map(|d| masker.mask_start(d, MAX_DETAIL)),
        });
    }
}

/// The error of a change that may have happened before the interruption, and
/// of which nothing more can be found out here.
pub(super) fn unanswered(action: &str) -> EffectError {
    EffectError::new(
        ErrorKind::Unavailable,
        "gate.unanswered",
        format!(
            "the run was interrupted while `{action}` was on its way: it may have arrived; it was \
             not sent again"
        ),
    )
    .in_doubt()
}

/// The journal can no longer be written, and nothing was changed.
fn closed(error: StoreError) -> EffectError {
    EffectError::new(ErrorKind::Cancelled, "gate.closed", error.to_string())
}

/// The journal can no longer be written: what was just done is in doubt.
pub(super) fn in_doubt(error: StoreError) -> EffectError {
    closed(error).in_doubt()
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error of a call that no grant covers, with the line to add.
pub(super) fn denied(code: &str, what: &str, line: &str) -> EffectError {
    let advice = format!("to allow it, add to the project file:\n{line}");
    refused(code, what, &advice)
}

/// The same with other words about what to do.
pub(super) fn refused(code: &str, what: &str, advice: &str) -> EffectError {
    EffectError::new(
        ErrorKind::Denied,
        code,
        format!("no grant covers {what}; {advice}"),
    )
}
