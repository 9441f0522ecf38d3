//! Calls one function of one step's plugin, and records how it ended.

use super::driver::{Execution, Progress, StepProblem};
use super::machine::Place;
use super::names;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{Phase, RunEvent, Section, StepFailure};
use vdeploy_core::plan::Step;
use vdeploy_gate::{Budget, Gate};
use vdeploy_journal::Entry;
use vdeploy_wasm::{Invocation, PluginError, StepContext};

/// Longest wait before a retry.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

impl Execution {
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
        let resumes = progress
            .in_flight
            .take()
            .is_some_and(|f| (f.place, f.phase, f.attempt) == (place, phase, attempt));
        let started = RunEvent::StepStarted {
            step: step.id.clone(),
            section,
            phase,
            attempt,
        };
        if resumes {
            self.shared.recorder.emit(started);
        } else {
            let entry = Entry::StepStarted {
                step: step.id.clone(),
                section,
                phase,
                attempt,
            };
            self.record(&entry, started);
        }
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
        let duration_ms = millis(began.elapsed());
        match returned.result {
            Ok(output) => Some(self.finished(step, section, phase, output, duration_ms)),
            Err(error) => {
                let incompatible = matches!(error, PluginError::Incompatible { .. });
                let problem = StepProblem {
                    step: step.id.clone(),
                    phase,
                    section,
                    failure: self.failure(error, returned.context),
                    incompatible,
                };
                self.failed(step, attempt, &problem, duration_ms);
                progress.problems.push(problem);
                None
            }
        }
    }

    fn finished(
        &self,
        step: &Step,
        section: Section,
        phase: Phase,
        mut output: Value,
        duration_ms: u64,
    ) -> Value {
        self.shared.masker.mask_json(&mut output);
        let kept = (phase == Phase::Run).then(|| output.clone());
        let entry = Entry::StepFinished {
            step: step.id.clone(),
            section,
            phase,
            output: kept.clone(),
        };
        let summary = output.get("summary").and_then(Value::as_str);
        let event = RunEvent::StepFinished {
            step: step.id.clone(),
            section,
            phase,
            summary: summary.map(str::to_owned),
            output: kept,
            duration_ms,
        };
        self.record(&entry, event);
        output
    }

    fn failed(&self, step: &Step, attempt: u32, problem: &StepProblem, duration_ms: u64) {
        let StepProblem {
            phase,
            section,
            failure,
            ..
        } = problem;
        let retry = *phase == Phase::Run
            && attempt < step.retry.attempts
            && may_help(&failure.error)
            && !self.shared.cancellation.is_cancelled();
        let entry = Entry::StepFailed {
            step: step.id.clone(),
            section: *section,
            phase: *phase,
            failure: failure.clone(),
        };
        let event = RunEvent::StepFailed {
            step: step.id.clone(),
            section: *section,
            phase: *phase,
            failure: failure.clone(),
            retry_in_ms: retry.then(|| millis(retry_delay(step, attempt + 1))),
            duration_ms,
        };
        self.record(&entry, event);
    }

    fn failure(&self, error: PluginError, mut context: Vec<String>) -> StepFailure {
        let error = match error {
            PluginError::Failed(error) => error,
            other => {
                let code = match &other {
                    PluginError::Trap { .. } => codes::PLUGIN_TRAP,
                    PluginError::Cpu { .. } => codes::PLUGIN_CPU,
                    PluginError::Memory { .. } | PluginError::Parts { .. } => codes::PLUGIN_MEMORY,
                    PluginError::Deadline { .. } => codes::PLUGIN_DEADLINE,
                    PluginError::Output { .. } => codes::PLUGIN_OUTPUT,
                    PluginError::Incompatible { .. } => codes::PLUGIN_INCOMPATIBLE,
                    _ => codes::PLUGIN_LOAD,
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
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether another attempt may succeed: not when the call was refused or wrong.
pub(super) fn may_help(error: &EffectError) -> bool {
    !matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Cancelled
    )
}

/// The wait before this attempt: the step's delay, doubled for each further
/// try.
pub(super) fn retry_delay(step: &Step, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(2).min(16);
    step.retry
        .delay
        .saturating_mul(1 << doublings)
        .min(MAX_RETRY_DELAY)
}
