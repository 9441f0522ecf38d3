//! How each kind of entry changes the view.

use super::{
    CallEnd, CallView, Ending, FunctionEnd, FunctionView, Relocation, RollbackView, RunEnd,
    RunView, SnapshotView,
};
use crate::entry::Entry;
use crate::store::Stored;
use serde_json::{Value, json};
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::event::Phase;
use vdeploy_core::ids::StepId;

/// The output of a `run` that returned none.
static NO_OUTPUT: Value = Value::Null;

impl<'a> RunView<'a> {
    pub(super) fn apply(&mut self, stored: &'a Stored) {
        // Only a resume takes back that a run was abandoned.
        if !self.is_abandoned() || matches!(stored.entry, Entry::Resumed { .. }) {
            self.end = None;
        }
        match &stored.entry {
            Entry::StepStarted {
                step,
                section,
                phase,
                attempt,
            } => self.functions.push(FunctionView {
                step,
                section: *section,
                phase: *phase,
                attempt: *attempt,
                started_at: stored.at,
                calls_before: self.last_call(),
                relocations_before: self.relocations.len(),
                target_changed_before: self.target_changed(),
                end: None,
            }),
            Entry::Intent {
                call,
                step,
                function,
                request,
                changes_target,
            } => {
                if *changes_target {
                    self.target_changes.insert(*call);
                } else if HostFunction::SshExec.is(function) {
                    self.snapshot_owed_by = Some(step);
                }
                let end = CallEnd::InDoubt(stored.at);
                self.called(*call, step, function, request, Some(*changes_target), end);
            }
            Entry::Result {
                call,
                step,
                function,
                request,
                response,
            } => {
                if response.as_ref().is_err_and(|error| !error.maybe_applied) {
                    self.target_changes.remove(call);
                }
                let end = CallEnd::Result(response);
                match self.calls.get_mut(call) {
                    // A change has its arguments in its intent.
                    Some(known) if known.changes_target.is_some() => known.end = end,
                    _ => self.called(*call, step, function, request, None, end),
                }
            }
            Entry::StepFinished {
                step,
                phase,
                output,
                ..
            } => {
                let output = output.as_ref();
                if *phase == Phase::Run {
                    self.outputs.insert(step, output.unwrap_or(&NO_OUTPUT));
                }
                self.ended(FunctionEnd {
                    at: stored.at,
                    output,
                    failure: None,
                });
            }
            Entry::StepFailed { failure, .. } => self.ended(FunctionEnd {
                at: stored.at,
                output: None,
                failure: Some(failure),
            }),
            Entry::SnapshotTaken { snapshot, provider } => {
                if provider.is_some() {
                    self.snapshot_owed_by = None;
                }
                self.snapshots.push(SnapshotView {
                    id: snapshot,
                    provider: provider.as_ref(),
                    after_change: self.target_changed(),
                });
                let answer = json!({ "snapshot": snapshot });
                let makers = [HostFunction::SnapshotCreate, HostFunction::SnapshotDeclare];
                self.done(&makers, answer);
            }
            Entry::SnapshotWaived { reason } => self.snapshot_waived = Some(reason),
            Entry::TargetMoved { from, to } => {
                let from = from.as_ref();
                self.relocations.push(Relocation { from, to });
                self.done(&[HostFunction::SnapshotRestore], json!({ "vm": to }));
            }
            Entry::LeftOut { steps } => self.left_out.extend(steps),
            Entry::Resumed { by, .. } => {
                self.taken_over_by = Some(by);
                self.reopen();
            }
            Entry::RollbackStarted { cause } => {
                self.rollback = Some(RollbackView {
                    cause: cause.as_ref(),
                    functions_before: self.functions.len(),
                });
            }
            Entry::Abandoned { by, reason } => {
                self.taken_over_by = Some(by);
                self.run_ended(stored.at, Ending::Abandoned { by, reason });
            }
            Entry::Finished { outcome, message } => {
                let outcome = *outcome;
                self.run_ended(stored.at, Ending::Finished { outcome, message });
            }
        }
    }

    fn called(
        &mut self,
        number: u64,
        step: &'a StepId,
        function: &'a str,
        request: &'a Value,
        changes_target: Option<bool>,
        end: CallEnd<'a>,
    ) {
        let call = CallView {
            step,
            function,
            request,
            made_by: self.functions.len().checked_sub(1),
            changes_target,
            end,
        };
        self.calls.insert(number, call);
    }

    /// The newest call was made, if it is of one of these functions and in
    /// doubt: this entry is written between its intent and its result.
    fn done(&mut self, functions: &[HostFunction], answer: Value) {
        if let Some(mut newest) = self.calls.last_entry()
            && functions.iter().any(|f| f.is(newest.get().function))
            && matches!(newest.get().end, CallEnd::InDoubt(_))
        {
            newest.get_mut().end = CallEnd::Done(answer);
        }
    }

    /// An end without a function that is open belongs to none.
    fn ended(&mut self, end: FunctionEnd<'a>) {
        if let Some(open) = self.functions.last_mut().filter(|f| f.end.is_none()) {
            open.end = Some(end);
        }
    }

    fn run_ended(&mut self, at: u64, how: Ending<'a>) {
        self.end.get_or_insert(RunEnd { at, how });
    }

    /// A process that resumes the run goes on with the function that was
    /// stopped, and makes the calls that were refused for the stop.
    fn reopen(&mut self) {
        let Some(last) = self.in_flight() else {
            return;
        };
        self.calls
            .retain(|_, call| call.made_by != Some(last) || !call.only_stopped());
        if let Some(function) = self.functions.last_mut() {
            function.end = None;
        }
    }
}
