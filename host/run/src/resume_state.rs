//! Where a run that is resumed goes on: the machine's history, the outputs, and
//! the calls of the function that was interrupted.
//!
//! Pure: does no I/O.

use super::driver::StepProblem;
use super::machine::{self, Ended, History, Place};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::event::{self, Phase, Section};
use vdeploy_core::ids::{SnapshotId, StepId, VmId};
use vdeploy_gate::RecordedCalls;
use vdeploy_journal::RunView;
use vdeploy_journal::run_view::{CallEnd, CallView, FunctionView};
use vdeploy_journal::store::{RunRecord, Stored};

#[derive(Clone, Debug, Default)]
pub struct ResumeState {
    /// What the machine decides from.
    pub history: History,
    /// Outputs of finished steps.
    pub outputs: BTreeMap<StepId, Value>,
    /// Failures, in order.
    pub problems: Vec<StepProblem>,
    /// The function that was interrupted.
    pub in_flight: Option<InFlight>,
    /// Steps that this run skips.
    pub left_out: BTreeSet<StepId>,
    /// The VM that is the target now, if it is one.
    pub vm: Option<VmId>,
    /// Where the target went in this run: from, to.
    pub relocations: Vec<(VmId, VmId)>,
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
pub struct InFlight {
    pub step: StepId,
    pub place: Place,
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
}

impl ResumeState {
    /// Reads the journal of a run that is not over.
    pub fn of(record: &RunRecord, journal: &[Stored]) -> Self {
        let view = RunView::of(journal);
        let vm_after = |relocations: usize| {
            let last = relocations
                .checked_sub(1)
                .and_then(|i| view.relocations.get(i));
            let first = || record.vm.as_deref().map(VmId::from);
            last.map_or_else(first, |last| Some(last.to.clone()))
        };
        let relocations = view.relocations.iter();
        let mut state = Self {
            outputs: view.cloned_outputs(),
            left_out: view.left_out.iter().copied().cloned().collect(),
            vm: vm_after(view.relocations.len()),
            relocations: relocations
                .filter_map(|moved| Some((moved.from?.clone(), moved.to.clone())))
                .collect(),
            gate: vdeploy_gate::ResumePoint {
                calls: view.last_call(),
                target_changed: view.target_changed(),
                finishing: view.rollback.is_some(),
                ..Default::default()
            },
            ..Self::default()
        };
        state.read_snapshots(&view);
        if view.rollback.is_some() {
            state.history.rollback_begun();
        }
        for (index, function) in view.functions.iter().enumerate() {
            let Some(place) = machine::place(&record.plan, function.section, function.step) else {
                continue;
            };
            if function.section == Section::Finally && function.phase == Phase::Run {
                let changed = function.target_changed_before;
                state.history.finally_begun(changed);
                state.gate.finishing = true;
            }
            if view.in_flight() != Some(index) {
                state.ended(place, function);
                continue;
            }
            state.in_flight = Some(InFlight {
                step: function.step.clone(),
                place,
                phase: function.phase,
                attempt: function.attempt,
            });
            state.gate.calls = function.calls_before;
            state.gate.recorded = recorded_calls(&view, index);
            let began_on = vm_after(function.relocations_before);
            if began_on != state.vm {
                state.gate.as_of = began_on;
            }
        }
        state
    }

    fn read_snapshots(&mut self, view: &RunView<'_>) {
        let snapshots = &mut self.gate.snapshots;
        snapshots.stands = !view.snapshots.is_empty() || view.snapshot_waived.is_some();
        snapshots.first = view.rollback_point().cloned();
        snapshots.by_label = view.calls.values().filter_map(labelled).collect();
        let declared = view.snapshots.iter().filter(|s| s.provider.is_some());
        snapshots.declared = declared.map(|snapshot| snapshot.id.clone()).collect();
        snapshots.owed_by = view.snapshot_owed_by.cloned();
    }

    fn ended(&mut self, place: Place, function: &FunctionView<'_>) {
        let Some(end) = function.end else {
            return;
        };
        let ended = match end.failure {
            None => Ended::Finished,
            Some(failure) => Ended::Failed {
                retry: super::call::may_help(&failure.error),
            },
        };
        let ok = end.failure.is_none();
        match function.phase {
            Phase::Check => self.history.checked(place, ok),
            Phase::Undo => self.history.undone(place.index, ok),
            Phase::Run => {
                self.history.ran(place, function.attempt, ended);
                if ok {
                    self.problems
                        .retain(|p| p.step != *function.step || p.phase != Phase::Run);
                }
            }
        }
        self.problems.extend(end.failure.map(|failure| StepProblem {
            step: function.step.clone(),
            phase: function.phase,
            section: function.section,
            failure: failure.clone(),
            incompatible: false,
        }));
    }
}

/// The calls of the function that was interrupted. One that was refused for the
/// stop is made again.
fn recorded_calls(view: &RunView<'_>, function: usize) -> RecordedCalls {
    let mut recorded = RecordedCalls::default();
    let calls = view.calls_of(function);
    for (number, call) in calls.filter(|(_, call)| !call.only_stopped()) {
        recorded.keep(number, call.into());
    }
    recorded
}

/// The label and the id of a snapshot that the call took.
fn labelled(call: &CallView<'_>) -> Option<(String, SnapshotId)> {
    let answer = match &call.end {
        CallEnd::Result(response) => response.as_ref().ok()?,
        CallEnd::Done(answer) => answer,
        CallEnd::InDoubt(_) => return None,
    };
    if !HostFunction::SnapshotCreate.is(call.function) {
        return None;
    }
    let label = call.request.get("label")?.as_str()?.to_owned();
    Some((label, answer.get("snapshot")?.as_str()?.into()))
}

#[cfg(test)]
#[path = "resume_state_tests.rs"]
mod tests;
