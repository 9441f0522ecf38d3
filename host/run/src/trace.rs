//! A run's journal as the functions that were called in it, each with its calls
//! and how it ended.
//!
//! Pure: does no I/O. Who repeats a run goes through them.

use super::machine::{self, Place};
use serde_json::Value;
use vdeploy_core::codes;
use vdeploy_core::event::{Phase, StepFailure};
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Plan;
use vdeploy_gate::Segment;
use vdeploy_journal::RunView;
use vdeploy_journal::store::Stored;

/// A function of a plugin that was called.
#[derive(Clone, Debug)]
pub struct Function {
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub place: Place,
    /// Which function.
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
    /// Its calls.
    pub segment: Segment,
    /// How it ended; none when the run was interrupted in it.
    pub ended: Option<Ending>,
    /// The rollback began right before it, for this step.
    pub rollback: Option<Option<StepId>>,
}

/// How a function ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Ending {
    /// It returned; `run` with an output.
    Finished(Option<Value>),
    /// It failed.
    Failed(StepFailure),
}

impl Ending {
    /// Whether the host ended it because its time was over: what it was doing
    /// then has no answer.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.error.code == codes::PLUGIN_DEADLINE)
    }
}

/// The functions in order. A function that another process of the run went on
/// with is one.
pub fn functions(plan: &Plan, journal: &[Stored]) -> Vec<Function> {
    let view = RunView::of(journal);
    let mut functions = Vec::new();
    for (index, function) in view.functions.iter().enumerate() {
        let Some(place) = machine::place(plan, function.section, function.step) else {
            continue;
        };
        let ended = function.end.map(|end| match end.failure {
            None => Ending::Finished(end.output.cloned()),
            Some(failure) => Ending::Failed(failure.clone()),
        });
        let mut segment = Segment {
            cut_off: ended.as_ref().is_none_or(Ending::is_cut),
            ..Segment::default()
        };
        for (number, call) in view.calls_of(index) {
            if call.changes_target == Some(false) && call.function == "ssh.exec" {
                segment.prepared.insert(number);
            }
            segment.calls.keep(number, call.into());
        }
        let rollback = view.rollback.filter(|r| r.functions_before == index);
        functions.push(Function {
            step: function.step.clone(),
            place,
            phase: function.phase,
            attempt: function.attempt,
            segment,
            ended,
            rollback: rollback.map(|rollback| rollback.cause.cloned()),
        });
    }
    functions
}

/// How many of the functions come until the `run` of this step has ended, with
/// all its attempts; none when it was not called.
pub fn until(functions: &[Function], step: &StepId) -> Option<usize> {
    let is_it = |function: &Function| function.step == *step && function.phase == Phase::Run;
    let first = functions.iter().position(is_it)?;
    let attempts = functions.iter().skip(first).take_while(|f| is_it(f));
    Some(first + attempts.count())
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
