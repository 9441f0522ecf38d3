//! The path of a call: number it, ask the source of answers, decide, and make
//! it (`make`).

use crate::call::Call;
use crate::decide::budget::{Budget, cost_of_answer, cost_of_request};
use crate::decide::rules::{Decision, Situation, decide};
use crate::shared::RunShared;
use crate::source::from_journal::FromJournal;
use crate::source::{Asked, Source};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{CheckStatus, Level, Phase, RunEvent};
use vdeploy_core::ids::{PluginName, StepId};
use vdeploy_journal::{Entry, StoreError};
use vdeploy_scope::Grants;
use vdeploy_scope::SnapshotScope;

/// The result of a change in a dry run, in the journal.
pub(crate) const NOT_MADE: &str = "not made: dry run";

/// The gate of one plugin call: who calls, in which phase, until when.
#[derive(Clone, Debug)]
pub struct Gate {
    pub shared: Arc<RunShared>,
    pub plugin: PluginName,
    pub step: StepId,
    /// The function of the plugin that is running.
    pub phase: Phase,
    pub grants: Arc<Grants>,
    /// When the step's time is over.
    pub deadline: Instant,
    /// What this call of the plugin may use up.
    pub budget: Budget,
}

/// Most of a call's description that is shown, in bytes.
const MAX_ACTION: usize = 1024;
/// Longest name of a check, in bytes.
const MAX_NAME: usize = 1024;
/// Longest detail of a check, in bytes.
const MAX_DETAIL: usize = 8 << 10;
/// Most of an error's message that is kept, in bytes.
pub(crate) const MAX_ERROR: usize = 64 << 10;

/// The answer of a call that was made: for the plugin, and for the journal.
pub(crate) struct CallResult<T> {
    pub value: T,
    pub journal: Value,
}

/// What a call that is being made is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallContext {
    /// Its number in the run.
    pub effect: u64,
    /// An earlier process of the run has made it, at this time in milliseconds
    /// since 1970, and its effect is not known.
    pub asked_before: Option<u64>,
}

impl Gate {
    /// What is left of the step's time.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes `call` through the gate. `perform` touches the world and answers
    /// with masked values; `pretend` answers for it in a dry run.
    pub(crate) async fn pass<T, F>(
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
        debug_assert!(call.effect.is_allowed_for(call.function), "{call:?}");
        let shared = &self.shared;
        self.budget.take_call().await?;
        let number = shared.calls.numbers().next();
        call.action = shared.masker.mask_start(&call.action, MAX_ACTION);
        let mut request = std::mem::take(&mut call.request);
        shared.masker.mask_json(&mut request);
        self.budget.take_bytes(cost_of_request(&request))?;
        let mut asked = Asked {
            number,
            step: self.step.clone(),
            call,
            request,
        };
        let asked_before = match shared.calls.ask(self, &asked) {
            Source::Make { asked_before } => asked_before,
            Source::End(error) => return Err(error),
            Source::Answered {
                response,
                unrecorded,
            } => {
                self.count(&response)?;
                if unrecorded {
                    // Its arguments are in its intent.
                    let request = std::mem::take(&mut asked.request);
                    self.append(&asked.result(response.clone()))?;
                    asked.request = request;
                }
                return self.answer(&asked, response, pretend, perform).await;
            }
        };
        match self.decide(&asked, asked_before).await {
            Decision::Refuse(error) => Err(self.refuse(asked, asked_before, error)?),
            Decision::Pretend => {
                self.record_pretended(asked)?;
                pretend()
            }
            decision => self.make(asked, asked_before, decision, perform).await,
        }
    }

    /// Gives a recorded answer. `perform` is called only for what no journal
    /// has: a secret.
    async fn answer<T, F>(
        &self,
        asked: &Asked,
        response: Result<Value, EffectError>,
        pretend: impl FnOnce() -> Result<T, EffectError>,
        perform: F,
    ) -> Result<T, EffectError>
    where
        T: FromJournal,
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        let calls = &self.shared.calls;
        calls.answered(self, asked, &response)?;
        let value = response?;
        if self.shared.dry_run && value == NOT_MADE && asked.call.effect.is_change() {
            return pretend();
        }
        if let Some(value) = T::from_journal(&value) {
            return Ok(value);
        }
        if T::NEVER_RECORDED {
            let context = CallContext {
                effect: asked.number,
                asked_before: None,
            };
            return Ok(perform(context).await?.value);
        }
        Err(calls.incomplete(self, asked))
    }

    async fn decide(&self, asked: &Asked, asked_before: Option<u64>) -> Decision {
        let shared = &self.shared;
        let situation = Situation {
            phase: self.phase,
            dry_run: shared.dry_run,
            snapshot_stands: shared.snapshots.allows_changes() || asked_before.is_some(),
            makes_snapshots: self.grants.allows_snapshot(SnapshotScope::SelfManaged),
            cancelled: shared.cancellation.is_cancelled(),
            late: self.time_left().is_zero(),
            broken: shared.cancellation.is_broken(),
        };
        let decision = decide(&asked.call, situation);
        if asked.call.effect.is_change()
            && matches!(decision, Decision::Perform | Decision::Prepare)
            && let Err(error) = self.ensure_lease_valid().await
        {
            return Decision::Refuse(error);
        }
        decision
    }

    /// Records the refusal and returns its error.
    fn refuse(
        &self,
        mut asked: Asked,
        asked_before: Option<u64>,
        mut error: EffectError,
    ) -> Result<EffectError, EffectError> {
        error.message = self.shared.masker.mask_start(&error.message, MAX_ERROR);
        // A call that was asked before stays in doubt: the next process gives
        // it its result.
        if asked_before.is_some() {
            error = error.in_doubt();
        } else if !self.shared.cancellation.is_broken() {
            let refused = Err(error.clone());
            self.count(&refused)?;
            self.append(&asked.result(refused))?;
        }
        self.say(
            Level::Warn,
            &format!("refused {}: {error}", asked.call.action),
        );
        Ok(error)
    }

    /// Takes an answer that the journal keeps, or has, out of the budget.
    pub(crate) fn count(&self, answer: &Result<Value, EffectError>) -> Result<(), EffectError> {
        match answer {
            Err(error) if error.code == codes::GATE_TOO_MUCH => {
                self.budget.was_spent(error);
                Ok(())
            }
            _ => self.budget.take_bytes(cost_of_answer(answer)),
        }
    }

    fn append(&self, entry: &Entry) -> Result<(), EffectError> {
        self.shared.recorder.append(entry).map_err(closed)
    }

    /// Closes the gate: the plugin does not do what the journal says it did.
    pub(crate) fn break_off(&self, why: &str) -> EffectError {
        let why = self.shared.masker.mask_start(why, MAX_ERROR);
        self.shared.cancellation.break_off(&why);
        EffectError::new(ErrorKind::Cancelled, codes::GATE_DIVERGED, why)
    }

    /// The error of a step that returned well although it changed the target to
    /// make a snapshot and declared none.
    pub fn undeclared(&self) -> Option<EffectError> {
        self.shared.snapshots.is_owed_by(&self.step).then(|| {
            EffectError::new(
                ErrorKind::Denied,
                codes::GATE_NOT_DECLARED,
                format!(
                    "the plugin `{}` ran commands to make a snapshot and did not declare one, \
                     so none exists and nothing else may be changed",
                    self.plugin
                ),
            )
        })
    }

    /// A masked log line of the plugin.
    pub fn say(&self, level: Level, message: &str) {
        let masker = &self.shared.masker;
        self.shared.recorder.emit(RunEvent::Log {
            step: Some(self.step.clone()),
            level,
            message: masker.mask_start(message, MAX_ERROR + MAX_ACTION),
        });
    }

    /// A masked named check of the plugin.
    pub fn check(&self, name: &str, status: CheckStatus, duration_ms: u64, detail: Option<&str>) {
        let masker = &self.shared.masker;
        self.shared.recorder.emit(RunEvent::Check {
            step: self.step.clone(),
            name: masker.mask_start(name, MAX_NAME),
            status,
            duration_ms,
            detail: detail.map(|d| masker.mask_start(d, MAX_DETAIL)),
        });
    }
}

/// The error of a change that may have happened before the interruption, and
/// whose effect cannot be found out.
pub(crate) fn unanswered(action: &str) -> EffectError {
    EffectError::new(
        ErrorKind::Unavailable,
        codes::GATE_UNANSWERED,
        format!(
            "the run was interrupted while `{action}` was on its way: it may have arrived; it was \
             not sent again"
        ),
    )
    .in_doubt()
}

/// The journal cannot be written, and nothing was changed.
pub(crate) fn closed(error: StoreError) -> EffectError {
    EffectError::new(ErrorKind::Cancelled, codes::GATE_CLOSED, error.to_string())
}

/// The journal cannot be written: the effect that it should have is in doubt.
pub(crate) fn in_doubt(error: StoreError) -> EffectError {
    closed(error).in_doubt()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error of a call that no grant covers, with the line to add.
pub(crate) fn denied(code: &str, what: &str, line: &str) -> EffectError {
    let advice = format!("to allow it, add to the project file:\n{line}");
    refused(code, what, &advice)
}

/// As `denied`, with other advice.
pub(crate) fn refused(code: &str, what: &str, advice: &str) -> EffectError {
    EffectError::new(
        ErrorKind::Denied,
        code,
        format!("no grant covers {what}; {advice}"),
    )
}
