//! One call of a plugin function: its checks and the command that a failure
//! shows.

use super::FailedCommand;
use std::collections::VecDeque;
use vdeploy_core::event::{CheckStatus, RunEvent, Section};
use vdeploy_core::ids::StepId;

/// Lines of output kept of a command.
const TAIL: usize = 10;

/// What happened since the last `StepStarted`.
#[derive(Debug, Default)]
pub struct Attempt {
    pub(super) place: Option<(Section, StepId)>,
    pub passed_checks: usize,
    /// Name and detail.
    pub failed_checks: Vec<(String, Option<String>)>,
    /// What the newest call does, also when it has returned.
    pub action: String,
    is_open: bool,
    lines: VecDeque<String>,
    failed: Option<FailedCall>,
}

#[derive(Debug)]
struct FailedCall {
    command: FailedCommand,
    /// The call itself failed; otherwise only its command did, which the plugin
    /// may have expected.
    is_error: bool,
}

impl Attempt {
    pub(super) fn apply(&mut self, event: &RunEvent) {
        match event {
            RunEvent::StepStarted { step, section, .. } => {
                *self = Self {
                    place: Some((*section, step.clone())),
                    ..Self::default()
                };
            }
            RunEvent::CallStarted { action, .. } => {
                self.action.clone_from(action);
                self.is_open = true;
                self.lines.clear();
            }
            RunEvent::Output { line, .. } => {
                if self.lines.len() == TAIL {
                    self.lines.pop_front();
                }
                self.lines.push_back(line.clone());
            }
            RunEvent::CallFinished { ok, command_ok, .. } => self.call_ended(*ok, *command_ok),
            RunEvent::Check {
                name,
                status,
                detail,
                ..
            } => match status {
                CheckStatus::Passed => self.passed_checks += 1,
                CheckStatus::Skipped => {}
                CheckStatus::Failed => self.failed_checks.push((name.clone(), detail.clone())),
            },
            _ => {}
        }
    }

    fn call_ended(&mut self, ok: bool, command_ok: Option<bool>) {
        self.is_open = false;
        // `test -e` and its like print nothing.
        let command_failed = command_ok == Some(false) && !self.lines.is_empty();
        let keeps_error = self.failed.as_ref().is_some_and(|failed| failed.is_error);
        if !ok || (command_failed && !keeps_error) {
            self.failed = Some(FailedCall {
                command: self.command(),
                is_error: !ok,
            });
        }
        self.lines.clear();
    }

    fn command(&self) -> FailedCommand {
        FailedCommand {
            action: self.action.clone(),
            tail: self.lines.iter().cloned().collect(),
        }
    }

    /// The last call that failed, or else one that is open and so never returned
    /// (a deadline, a lost connection), or else the last command that failed.
    pub(super) fn failed_command(&self) -> Option<FailedCommand> {
        match &self.failed {
            Some(failed) if failed.is_error => Some(failed.command.clone()),
            _ if self.is_open => Some(self.command()),
            failed => failed.as_ref().map(|failed| failed.command.clone()),
        }
    }
}
