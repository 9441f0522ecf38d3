//! A run's journal as the functions that were called in it, each with its calls
//! and how it ended.
//!
//! Pure: does no I/O. Who repeats a run goes through them.

use super::machine::{self, Place};
use serde_json::Value;
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::{Phase, StepFailure};
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Plan;
use vdeploy_gate::{CallOutcome, RecordedCall, Segment};
use vdeploy_journal::Entry;
use vdeploy_journal::run_view::only_stopped;
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
    /// How it ended; none when the run was cut off in it.
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
        matches!(self, Self::Failed(failure) if failure.error.code == "plugin.deadline")
    }
}

/// The functions in order. A function that another process of the run went on
/// with is one.
pub fn functions(plan: &Plan, journal: &[Stored]) -> Vec<Function> {
    let mut reader = Reader {
        plan,
        functions: Vec::new(),
        rollback: None,
        reopens: false,
    };
    for stored in journal {
        reader.read(stored);
    }
    let mut functions = reader.functions;
    for function in &mut functions {
        function.segment.cut_off = function.ended.as_ref().is_none_or(Ending::is_cut);
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

struct Reader<'a> {
    plan: &'a Plan,
    functions: Vec<Function>,
    rollback: Option<Option<StepId>>,
    /// The last function ended for nothing but that the run was stopped: a
    /// process that goes on goes on with it.
    reopens: bool,
}

impl Reader<'_> {
    fn read(&mut self, stored: &Stored) {
        match &stored.entry {
            Entry::StepStarted {
                step,
                section,
                phase,
                attempt,
            } => {
                let mut places = machine::places(self.plan, *section);
                let Some((place, _)) = places.find(|(_, known)| known.id == *step) else {
                    return;
                };
                self.reopens = false;
                self.functions.push(Function {
                    step: step.clone(),
                    place,
                    phase: *phase,
                    attempt: *attempt,
                    segment: Segment::default(),
                    ended: None,
                    rollback: self.rollback.take(),
                });
            }
            Entry::Intent {
                call,
                step,
                function,
                request,
                changes_target,
            } => {
                let Some(last) = self.functions.last_mut() else {
                    return;
                };
                if !changes_target && function == "ssh.exec" {
                    last.segment.prepared.insert(*call);
                }
                let recorded = RecordedCall {
                    step: step.clone(),
                    function: function.clone(),
                    request: request.clone(),
                    outcome: CallOutcome::InDoubt(stored.at),
                };
                last.segment.calls.keep(*call, recorded);
            }
            Entry::Result {
                call,
                step,
                function,
                request,
                response,
            } => self.result(*call, step, function, request, response),
            Entry::StepFinished { output, .. } => self.ended(Ending::Finished(output.clone())),
            Entry::StepFailed { failure, .. } => {
                self.reopens = only_stopped(&failure.error);
                self.ended(Ending::Failed(failure.clone()));
            }
            Entry::RollbackStarted { cause } => {
                self.reopens = false;
                self.rollback = Some(cause.clone());
            }
            Entry::Resumed { .. } => self.resumed(),
            Entry::SnapshotTaken { .. }
            | Entry::SnapshotWaived { .. }
            | Entry::TargetMoved { .. }
            | Entry::LeftOut { .. }
            | Entry::Abandoned { .. }
            | Entry::Finished { .. } => {}
        }
    }

    fn result(
        &mut self,
        call: u64,
        step: &StepId,
        function: &str,
        request: &Value,
        response: &Result<Value, EffectError>,
    ) {
        let Some(last) = self.functions.last_mut() else {
            return;
        };
        let outcome = CallOutcome::Result(response.clone());
        match last.segment.calls.get_mut(call) {
            // A change has its arguments in its intent.
            Some(known) if matches!(known.outcome, CallOutcome::InDoubt(_)) => {
                known.outcome = outcome
            }
            _ => last.segment.calls.keep(
                call,
                RecordedCall {
                    step: step.clone(),
                    function: function.to_owned(),
                    request: request.clone(),
                    outcome,
                },
            ),
        }
    }

    fn ended(&mut self, ending: Ending) {
        if let Some(last) = self.functions.last_mut() {
            last.ended = Some(ending);
        }
    }

    /// A function that was stopped goes on, and what was refused for the stop
    /// is asked again.
    fn resumed(&mut self) {
        if !std::mem::take(&mut self.reopens) {
            return;
        }
        let Some(last) = self.functions.last_mut() else {
            return;
        };
        last.ended = None;
        let refused: Vec<u64> = last
            .segment
            .calls
            .calls()
            .filter(
                |(_, call)| matches!(&call.outcome, CallOutcome::Result(Err(e)) if only_stopped(e)),
            )
            .map(|(number, _)| number)
            .collect();
        for number in refused {
            last.segment.calls.forget(number);
        }
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
