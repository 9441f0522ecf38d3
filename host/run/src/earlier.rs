//! What an earlier process of a run has come to, read from its journal: the
//! machine's history, the outputs, and the calls of the function that was cut
//! off.
//!
//! Pure: does no I/O. Who resumes a run starts from it.

use super::driver::StepProblem;
use super::machine::{self, Ended, History, Place};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{self, Phase, Section, StepFailure};
use vdeploy_core::ids::{StepId, VmId};
use vdeploy_core::plan::Plan;
use vdeploy_gate::{CallOutcome, RecordedCall, RecordedCalls};
use vdeploy_journal::Entry;
use vdeploy_journal::changed::TargetChanged;
use vdeploy_journal::store::{RunRecord, Stored};

/// How far the run is.
#[derive(Clone, Debug, Default)]
pub struct SoFar {
    /// What the machine decides from.
    pub history: History,
    /// Outputs of finished steps.
    pub outputs: BTreeMap<StepId, Value>,
    /// Failures, in order.
    pub problems: Vec<StepProblem>,
    /// The function that was cut off.
    pub open: Option<Open>,
    /// Steps that are not done in this run.
    pub left_out: BTreeSet<StepId>,
    /// The VM that is the target now, if it is one.
    pub vm: Option<VmId>,
    /// Where the target went in this run.
    pub moves: Vec<(VmId, VmId)>,
    /// For the gate.
    pub gate: vdeploy_gate::ResumePoint,
}

/// Whether a step says that it has taken the first deploy away, so that nothing
/// is live.
pub fn no_live_version(outputs: &BTreeMap<StepId, Value>) -> bool {
    outputs.values().any(event::says_no_live_version)
}

/// A plugin function that was called and has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub place: Place,
    /// Which function.
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
}

/// Reads the journal of a run that is not over.
pub fn so_far(record: &RunRecord, journal: &[Stored]) -> SoFar {
    let mut reader = Reader {
        plan: &record.plan,
        sum: SoFar {
            vm: record.vm.as_deref().map(VmId::from),
            ..SoFar::default()
        },
        last_call: 0,
        changed: TargetChanged::default(),
        began_on: None,
        stopped: None,
    };
    for stored in journal {
        reader.read(stored);
    }
    reader.reopen();
    reader.sum()
}

struct Reader<'a> {
    plan: &'a Plan,
    sum: SoFar,
    /// Number of the newest call.
    last_call: u64,
    changed: TargetChanged,
    /// The VM when the open function began.
    began_on: Option<VmId>,
    /// The last function, if it only failed because the run was stopped.
    stopped: Option<(Open, RecordedCalls)>,
}

impl Reader<'_> {
    fn read(&mut self, stored: &Stored) {
        self.changed.read(&stored.entry);
        self.sum.gate.target_changed = self.changed.is_changed();
        match &stored.entry {
            Entry::StepStarted {
                step,
                section,
                phase,
                attempt,
            } => self.started(step, *section, *phase, *attempt),
            Entry::Intent {
                call,
                step,
                function,
                request,
                changes_target,
            } => {
                self.last_call = self.last_call.max(*call);
                if !changes_target && function == "ssh.exec" {
                    self.sum.gate.snapshots.owed_by = Some(step.clone());
                }
                let outcome = CallOutcome::InDoubt(stored.at);
                self.keep(*call, step, function, request, outcome);
            }
            Entry::Result {
                call,
                step,
                function,
                request,
                response,
            } => self.result(*call, step, function, request, response),
            Entry::StepFinished {
                step,
                section,
                phase,
                output,
            } => self.finished(step, *section, *phase, output.as_ref()),
            Entry::StepFailed {
                step,
                section,
                phase,
                failure,
            } => self.failed(step, *section, *phase, failure),
            Entry::SnapshotTaken { snapshot, provider } => {
                let snapshots = &mut self.sum.gate.snapshots;
                snapshots.stands = true;
                if !self.sum.gate.target_changed {
                    snapshots.first.get_or_insert_with(|| snapshot.clone());
                }
                if provider.is_some() {
                    snapshots.declared.insert(snapshot.clone());
                    snapshots.owed_by = None;
                }
                let answer = json!({ "snapshot": snapshot });
                self.done(&["snapshot.create", "snapshot.declare"], answer);
            }
            Entry::SnapshotWaived { .. } => self.sum.gate.snapshots.stands = true,
            Entry::TargetMoved { from, to } => {
                let from = from.clone().into_iter();
                self.sum.moves.extend(from.map(|from| (from, to.clone())));
                self.sum.vm = Some(to.clone());
                self.done(&["snapshot.restore"], json!({ "vm": to }));
            }
            Entry::RollbackStarted { .. } => {
                self.sum.history.rollback_begun();
                self.sum.gate.finishing = true;
                self.stopped = None;
            }
            Entry::LeftOut { steps } => self.sum.left_out.extend(steps.iter().cloned()),
            Entry::Resumed { .. } => self.reopen(),
            Entry::Abandoned { .. } | Entry::Finished { .. } => {}
        }
    }

    fn place(&self, step: &StepId, section: Section) -> Option<Place> {
        machine::places(self.plan, section)
            .find(|(_, known)| known.id == *step)
            .map(|(place, _)| place)
    }

    fn started(&mut self, step: &StepId, section: Section, phase: Phase, attempt: u32) {
        let Some(place) = self.place(step, section) else {
            return;
        };
        self.stopped = None;
        if section == Section::Finally && phase == Phase::Run {
            let changed = self.sum.gate.target_changed;
            self.sum.history.finally_begun(changed);
            self.sum.gate.finishing = true;
        }
        self.sum.open = Some(Open {
            step: step.clone(),
            place,
            phase,
            attempt,
        });
        self.sum.gate.recorded = RecordedCalls::default();
        self.sum.gate.calls = self.last_call;
        self.began_on = self.sum.vm.clone();
    }

    fn keep(
        &mut self,
        call: u64,
        step: &StepId,
        function: &str,
        request: &Value,
        outcome: CallOutcome,
    ) {
        let recorded = RecordedCall {
            step: step.clone(),
            function: function.to_owned(),
            request: request.clone(),
            outcome,
        };
        self.sum.gate.recorded.keep(call, recorded);
    }

    fn result(
        &mut self,
        call: u64,
        step: &StepId,
        function: &str,
        request: &Value,
        response: &Result<Value, EffectError>,
    ) {
        self.last_call = self.last_call.max(call);
        if response.as_ref().is_err_and(only_stopped) {
            // It was not made, and may be now.
            self.sum.gate.recorded.forget(call);
            return;
        }
        let outcome = CallOutcome::Result(response.clone());
        if let Some(recorded) = self.sum.gate.recorded.get_mut(call) {
            recorded.outcome = outcome;
        } else {
            self.keep(call, step, function, request, outcome);
        }
        let asked = self.sum.gate.recorded.get_mut(call);
        let label = asked
            .filter(|recorded| recorded.function == "snapshot.create")
            .and_then(|recorded| recorded.request.get("label")?.as_str().map(str::to_owned));
        let id = response
            .as_ref()
            .ok()
            .and_then(|v| v.get("snapshot")?.as_str());
        if let (Some(label), Some(id)) = (label, id) {
            let labels = &mut self.sum.gate.snapshots.by_label;
            labels.insert(label, id.into());
        }
    }

    /// The last call, if it is one of these, ended well.
    fn done(&mut self, functions: &[&str], answer: Value) {
        let Some(recorded) = self.sum.gate.recorded.get_mut(self.last_call) else {
            return;
        };
        if !functions.contains(&recorded.function.as_str())
            || !matches!(recorded.outcome, CallOutcome::InDoubt(_))
        {
            return;
        }
        let label = recorded.request.get("label").and_then(Value::as_str);
        let id = answer.get("snapshot").and_then(Value::as_str);
        if recorded.function == "snapshot.create"
            && let (Some(label), Some(id)) = (label, id)
        {
            let labels = &mut self.sum.gate.snapshots.by_label;
            labels.insert(label.to_owned(), id.into());
        }
        recorded.outcome = CallOutcome::Done(answer);
    }

    fn finished(&mut self, step: &StepId, section: Section, phase: Phase, output: Option<&Value>) {
        let Some(place) = self.place(step, section) else {
            return;
        };
        let attempt = self.sum.open.take().map_or(1, |open| open.attempt);
        self.sum.gate.recorded = RecordedCalls::default();
        match phase {
            Phase::Check => self.sum.history.checked(place, true),
            Phase::Undo => self.sum.history.undone(place.index, true),
            Phase::Run => {
                self.sum.history.ran(place, attempt, Ended::Finished);
                let output = output.cloned().unwrap_or_default();
                self.sum.outputs.insert(step.clone(), output);
                self.sum
                    .problems
                    .retain(|p| p.step != *step || p.phase != Phase::Run);
            }
        }
    }

    fn failed(&mut self, step: &StepId, section: Section, phase: Phase, failure: &StepFailure) {
        let Some(place) = self.place(step, section) else {
            return;
        };
        let open = self.sum.open.take();
        let recorded = std::mem::take(&mut self.sum.gate.recorded);
        let attempt = open.as_ref().map_or(1, |open| open.attempt);
        self.stopped = open
            .filter(|_| only_stopped(&failure.error))
            .map(|open| (open, recorded));
        match phase {
            Phase::Check => self.sum.history.checked(place, false),
            Phase::Undo => self.sum.history.undone(place.index, false),
            Phase::Run => {
                let retry = super::call::may_help(&failure.error);
                let ended = Ended::Failed { retry };
                self.sum.history.ran(place, attempt, ended);
            }
        }
        self.sum.problems.push(StepProblem {
            step: step.clone(),
            phase,
            section,
            failure: failure.clone(),
            incompatible: false,
        });
    }

    /// A function that failed for nothing but the stop goes on.
    fn reopen(&mut self) {
        let Some((open, recorded)) = self.stopped.take() else {
            return;
        };
        self.sum
            .history
            .reopened(open.place, open.phase, open.attempt);
        self.sum.problems.pop();
        self.sum.gate.recorded = recorded;
        self.sum.open = Some(open);
    }

    fn sum(self) -> SoFar {
        let mut sum = self.sum;
        match sum.open {
            Some(_) if self.began_on != sum.vm => sum.gate.as_of = self.began_on,
            Some(_) => {}
            None => {
                sum.gate.calls = self.last_call;
                sum.gate.recorded = RecordedCalls::default();
            }
        }
        sum
    }
}

/// Whether nothing was wrong but that the run was being stopped.
pub(super) fn only_stopped(error: &EffectError) -> bool {
    error.kind == ErrorKind::Cancelled
        && matches!(
            error.code.as_str(),
            codes::GATE_CANCELLED | codes::GATE_CLOSED
        )
        && !error.maybe_applied
}

#[cfg(test)]
#[path = "earlier_tests.rs"]
mod tests;
