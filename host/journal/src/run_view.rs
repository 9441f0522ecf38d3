//! What a journal says of its run: the one fold over journal entries. Every
//! reader of a stored run takes its facts from here, so two readers cannot
//! disagree on them.
//!
//! Pure: no I/O; borrows from the journal.

use super::store::Stored;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{Outcome, Phase, Section, StepFailure, says_no_live_version};
use vdeploy_core::ids::{PluginName, SnapshotId, StepId, VmId};

mod fold;

/// A run as its journal tells it.
#[derive(Clone, Debug, Default)]
pub struct RunView<'a> {
    /// Plugin functions in the order of their starts. They never overlap.
    pub functions: Vec<FunctionView<'a>>,
    /// Calls by number. A change that a later process repeats under the same
    /// number replaces the earlier one.
    pub calls: BTreeMap<u64, CallView<'a>>,
    /// What each step's `run` returned last.
    pub outputs: BTreeMap<&'a StepId, &'a Value>,
    pub snapshots: Vec<SnapshotView<'a>>,
    /// The step that began to make a snapshot by its own means and has not
    /// declared it.
    pub snapshot_owed_by: Option<&'a StepId>,
    /// Why the run needs no snapshot.
    pub snapshot_waived: Option<&'a str>,
    pub relocations: Vec<Relocation<'a>>,
    /// Steps that this run skips.
    pub left_out: Vec<&'a StepId>,
    pub rollback: Option<RollbackView<'a>>,
    /// Who resumed or abandoned the run last.
    pub taken_over_by: Option<&'a str>,
    /// None while the run goes on, or when its process was killed.
    pub end: Option<RunEnd<'a>>,
    /// Calls that changed the target, or may have.
    target_changes: BTreeSet<u64>,
}

/// One call of a plugin function.
#[derive(Clone, Debug)]
pub struct FunctionView<'a> {
    pub step: &'a StepId,
    pub section: Section,
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// Number of the last call before it.
    pub calls_before: u64,
    /// Relocations before it.
    pub relocations_before: usize,
    /// Whether the target was changed before it.
    pub target_changed_before: bool,
    /// None while it runs, or when the run was interrupted in it.
    pub end: Option<FunctionEnd<'a>>,
}

/// How a plugin function ended.
#[derive(Clone, Copy, Debug)]
pub struct FunctionEnd<'a> {
    /// Milliseconds since 1970.
    pub at: u64,
    /// What `run` returned.
    pub output: Option<&'a Value>,
    /// None where it returned.
    pub failure: Option<&'a StepFailure>,
}

/// One call of a capability.
#[derive(Clone, Debug)]
pub struct CallView<'a> {
    pub step: &'a StepId,
    /// Such as `ssh.exec`.
    pub function: &'a str,
    pub request: &'a Value,
    /// Index of the plugin function that made it.
    pub made_by: Option<usize>,
    /// None for a probe, else whether the change is one of the target.
    pub changes_target: Option<bool>,
    pub end: CallEnd<'a>,
}

/// What is known of how a call ended.
#[derive(Clone, Debug)]
pub enum CallEnd<'a> {
    /// The result is in the journal.
    Result(&'a Result<Value, EffectError>),
    /// It was made, as another entry shows; its own result is missing.
    Done(Value),
    /// Only the intent of this time (milliseconds since 1970) is there: the
    /// change may have been made.
    InDoubt(u64),
}

#[derive(Clone, Copy, Debug)]
pub struct SnapshotView<'a> {
    pub id: &'a SnapshotId,
    /// The plugin that made it by its own means; none for one of the platform.
    pub provider: Option<&'a PluginName>,
    /// Whether the target was changed before it.
    pub after_change: bool,
}

/// The target is another VM.
#[derive(Clone, Copy, Debug)]
pub struct Relocation<'a> {
    pub from: Option<&'a VmId>,
    pub to: &'a VmId,
}

/// The rollback within the run.
#[derive(Clone, Copy, Debug)]
pub struct RollbackView<'a> {
    /// The step that failed.
    pub cause: Option<&'a StepId>,
    /// Plugin functions before it.
    pub functions_before: usize,
}

/// The end of a run. A run that is resumed after it goes on.
#[derive(Clone, Copy, Debug)]
pub struct RunEnd<'a> {
    /// Milliseconds since 1970.
    pub at: u64,
    pub how: Ending<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    Finished { outcome: Outcome, message: &'a str },
    Abandoned { by: &'a str, reason: &'a str },
}

impl<'a> RunView<'a> {
    /// Reads the journal of one run, in order. Without the results of calls that
    /// went well it tells everything but the ends of calls.
    pub fn of(journal: &'a [Stored]) -> Self {
        let mut view = Self::default();
        for stored in journal {
            view.apply(stored);
        }
        view
    }

    /// Whether the target was changed, or may have been: the intent of a change
    /// is there, and no result says that the change was not made. The only
    /// meaning of "changed the target" in the whole program.
    pub fn target_changed(&self) -> bool {
        !self.target_changes.is_empty()
    }

    /// Whether a change of anything was begun, whatever came of it. A sleep has
    /// an intent and changes nothing.
    pub fn began_change(&self) -> bool {
        let mut calls = self.calls.values();
        calls.any(|call| {
            call.changes_target.is_some() && !HostFunction::ClockSleep.is(call.function)
        })
    }

    /// Whether the run was interrupted so that somebody must resume it, roll it
    /// back or abandon it. A run that is running looks the same.
    pub fn is_unsettled(&self) -> bool {
        match self.end.map(|end| end.how) {
            None => self.began_change(),
            Some(Ending::Finished { outcome, .. }) => {
                outcome == Outcome::Interrupted && self.target_changed()
            }
            Some(Ending::Abandoned { .. }) => false,
        }
    }

    /// How the run ended by itself.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.end?.how {
            Ending::Finished { outcome, .. } => Some(outcome),
            Ending::Abandoned { .. } => None,
        }
    }

    pub fn is_abandoned(&self) -> bool {
        matches!(self.end.map(|end| end.how), Some(Ending::Abandoned { .. }))
    }

    /// Why the run cannot be resumed; none when it can.
    pub fn why_not_resumable(&self) -> Option<String> {
        match self.end?.how {
            Ending::Abandoned { reason, .. } => Some(format!("it was abandoned: {reason}")),
            Ending::Finished {
                outcome: Outcome::Interrupted,
                ..
            } => None,
            Ending::Finished { outcome, .. } => Some(format!("it has ended: {}", word(outcome))),
        }
    }

    /// Index of the function that the run was interrupted in: it has no end, or
    /// failed for nothing but the stop, and nothing began after it.
    pub fn in_flight(&self) -> Option<usize> {
        let last = self.functions.len().checked_sub(1)?;
        let function = self.functions.get(last)?;
        (function.end.is_none() || self.may_reopen(function)).then_some(last)
    }

    /// The last step, unless its function returned.
    pub fn current_step(&self) -> Option<&'a StepId> {
        let last = self.functions.last()?;
        let returned = last.end.is_some_and(|end| end.failure.is_none());
        (!returned).then_some(last.step)
    }

    /// Numbers of the calls that have an intent.
    pub fn changes(&self) -> impl Iterator<Item = u64> {
        let changes = self
            .calls
            .iter()
            .filter(|(_, c)| c.changes_target.is_some());
        changes.map(|(number, _)| *number)
    }

    /// The calls of one function, by number.
    pub fn calls_of(&self, function: usize) -> impl Iterator<Item = (u64, &CallView<'a>)> {
        let calls = self.calls.iter().map(|(number, call)| (*number, call));
        calls.filter(move |(_, call)| call.made_by == Some(function))
    }

    /// Number of the newest call.
    pub fn last_call(&self) -> u64 {
        self.calls.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The first snapshot from before the first change.
    pub fn rollback_point(&self) -> Option<&'a SnapshotId> {
        let mut snapshots = self.snapshots.iter();
        snapshots.find(|s| !s.after_change).map(|s| s.id)
    }

    /// Whether a step says that nothing is live: it took the first deploy away.
    pub fn says_no_live_version(&self) -> bool {
        self.outputs
            .values()
            .any(|output| says_no_live_version(output))
    }

    /// The outputs by themselves.
    pub fn cloned_outputs(&self) -> BTreeMap<StepId, Value> {
        let outputs = self.outputs.iter();
        outputs
            .map(|(step, output)| ((*step).clone(), (*output).clone()))
            .collect()
    }

    fn may_reopen(&self, last: &FunctionView<'_>) -> bool {
        let failure = last.end.and_then(|end| end.failure);
        let rolls_back_since = self
            .rollback
            .is_some_and(|rollback| rollback.functions_before == self.functions.len());
        failure.is_some_and(|failure| only_stopped(&failure.error)) && !rolls_back_since
    }
}

impl CallView<'_> {
    /// Whether the gate refused it only because the run was stopped: it was not
    /// made, and a resumed run makes it.
    pub fn only_stopped(&self) -> bool {
        matches!(self.end, CallEnd::Result(Err(error)) if only_stopped(error))
    }
}

/// Whether this says only that the run was being stopped.
pub fn only_stopped(error: &EffectError) -> bool {
    error.kind == ErrorKind::Cancelled
        && matches!(
            error.code.as_str(),
            codes::GATE_CANCELLED | codes::GATE_CLOSED
        )
        && !error.maybe_applied
}

fn word(outcome: Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(Value::String(word)) => word,
        _ => format!("{outcome:?}"),
    }
}

#[cfg(test)]
mod tests;
