//! What each step came to: the result of the last attempt at each function and
//! each named check.

use super::RunModel;
use vdeploy_core::event::{CheckStatus, Phase, RunEvent, Section};
use vdeploy_core::ids::StepId;

/// One step of one list of the plan.
#[derive(Clone, Debug)]
pub struct StepModel {
    pub section: Section,
    pub step: StepId,
    /// In the order of the first attempts. Empty: the step was not reached.
    pub results: Vec<StepResult>,
}

#[derive(Clone, Debug)]
pub struct StepResult {
    pub subject: Subject,
    /// Of the last attempt.
    pub duration_ms: u64,
    pub status: ResultStatus,
    /// Messages of the attempts before it that failed.
    pub earlier_failures: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    Function(Phase),
    Check(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResultStatus {
    Passed,
    Skipped {
        reason: String,
    },
    Failed {
        message: String,
        /// None for a check.
        code: Option<String>,
        context: Vec<String>,
    },
}

impl RunModel {
    /// How many steps the plan has, and which of them this is, from 1.
    pub fn position(&self, step: &StepId) -> Option<(usize, usize)> {
        let planned = || self.steps.iter().filter(|s| s.section == Section::Steps);
        let index = planned().position(|known| known.step == *step)?;
        Some((index + 1, planned().count()))
    }

    pub(super) fn apply_to_steps(&mut self, event: &RunEvent) {
        match event {
            RunEvent::RunStarted { steps, .. } => {
                for step in steps {
                    self.step(Section::Steps, step);
                }
            }
            RunEvent::StepStarted { step, section, .. } => {
                self.step(*section, step);
            }
            RunEvent::Check {
                step,
                name,
                status,
                duration_ms,
                detail,
            } => {
                let detail = detail.clone().unwrap_or_default();
                let status = match status {
                    CheckStatus::Passed => ResultStatus::Passed,
                    CheckStatus::Skipped => ResultStatus::Skipped { reason: detail },
                    CheckStatus::Failed => ResultStatus::Failed {
                        message: detail,
                        code: None,
                        context: Vec::new(),
                    },
                };
                // A check names its step and not its list.
                let section = match &self.attempt.place {
                    Some((section, running)) if running == step => *section,
                    _ => Section::Steps,
                };
                let subject = Subject::Check(name.clone());
                self.step(section, step).set(subject, *duration_ms, status);
            }
            RunEvent::StepFinished {
                step,
                section,
                phase,
                duration_ms,
                ..
            } => {
                let subject = Subject::Function(*phase);
                self.step(*section, step)
                    .set(subject, *duration_ms, ResultStatus::Passed);
            }
            RunEvent::StepFailed {
                step,
                section,
                phase,
                failure,
                duration_ms,
                ..
            } => {
                let status = ResultStatus::Failed {
                    message: failure.error.message.clone(),
                    code: Some(failure.error.code.clone()),
                    context: failure.context.clone(),
                };
                let subject = Subject::Function(*phase);
                self.step(*section, step).set(subject, *duration_ms, status);
            }
            _ => {}
        }
    }

    fn step(&mut self, section: Section, step: &StepId) -> &mut StepModel {
        let known = |known: &StepModel| known.section == section && known.step == *step;
        let index = self.steps.iter().position(known).unwrap_or_else(|| {
            self.steps.push(StepModel {
                section,
                step: step.clone(),
                results: Vec::new(),
            });
            self.steps.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut self.steps[index]
    }
}

impl StepModel {
    fn set(&mut self, subject: Subject, duration_ms: u64, status: ResultStatus) {
        let Some(old) = self.results.iter_mut().find(|old| old.subject == subject) else {
            self.results.push(StepResult {
                subject,
                duration_ms,
                status,
                earlier_failures: Vec::new(),
            });
            return;
        };
        if let ResultStatus::Failed { message, .. } = &old.status {
            old.earlier_failures.push(message.clone());
        }
        old.duration_ms = duration_ms;
        old.status = status;
    }
}
