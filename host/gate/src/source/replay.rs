//! The calls of a run that repeats its recording: each is answered as it was,
//! and none is made. A call that was not recorded ends the function.

use crate::call::pass::{Gate, NOT_MADE};
use crate::source::recorded_calls::{CallOutcome, RecordedCall, RecordedCalls};
use crate::source::{Asked, CallNumbers, CallSource, Source};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{Level, RunEvent};
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_journal::StoreError;

/// The recording of one call of a plugin's function.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub calls: RecordedCalls,
    /// Numbers of the calls that changed the target to make a snapshot.
    pub prepared: BTreeSet<u64>,
    /// The function was interrupted: its last calls may have no answer.
    pub cut_off: bool,
}

/// Why a function could not be repeated to its end.
#[derive(Clone, PartialEq, Debug)]
pub enum ReplayStop {
    /// It makes another call than it made.
    Differs {
        call: u64,
        /// None when it had made no further call.
        recorded: Option<Box<RecordedCall>>,
        function: HostFunction,
        request: Value,
    },
    /// The recorded function was interrupted in this call.
    CutOff { call: u64 },
    /// The recording does not have the whole answer.
    Incomplete { call: u64, function: HostFunction },
}

/// What is known after a function has ended.
#[derive(Debug, Default)]
pub struct ReplaySummary {
    /// How many calls were answered.
    pub answered: usize,
    /// The first recorded call that was not asked for.
    pub not_asked: Option<(u64, RecordedCall)>,
    pub stop: Option<ReplayStop>,
}

/// Answers every call from the segment that it was given last.
#[derive(Debug, Default)]
pub struct ReplaySource {
    numbers: CallNumbers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segment: Segment,
    answered: usize,
    stop: Option<ReplayStop>,
}

impl ReplaySource {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The next function is answered from this segment.
    pub fn begin(&self, segment: Segment) {
        if let Some((first, _)) = segment.calls.calls().next() {
            self.numbers.begin_at(first);
        }
        *self.lock() = State {
            segment,
            ..State::default()
        };
    }

    /// What became of the function.
    pub fn summary(&self) -> ReplaySummary {
        let mut state = self.lock();
        let not_asked = state.segment.calls.calls().next();
        ReplaySummary {
            answered: state.answered,
            not_asked: not_asked.map(|(call, recorded)| (call, recorded.clone())),
            stop: state.stop.take(),
        }
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Result<Result<Value, EffectError>, ReplayStop> {
        let call = asked.number;
        let differs = |recorded| ReplayStop::Differs {
            call,
            recorded,
            function: asked.call.function,
            request: asked.request.clone(),
        };
        let cut_off = self.segment.cut_off;
        let recorded = match self.segment.calls.take(call) {
            Some(recorded) if recorded.is(asked) => recorded,
            Some(recorded) => return Err(differs(Some(Box::new(recorded)))),
            None if cut_off => return Err(ReplayStop::CutOff { call }),
            None => return Err(differs(None)),
        };
        match recorded.outcome {
            CallOutcome::Result(response) => Ok(response),
            CallOutcome::Done(value) => Ok(Ok(value)),
            // A stop cut the sleep short, and the function continued.
            CallOutcome::InDoubt(_)
                if asked.call.function == HostFunction::ClockSleep && !cut_off =>
            {
                Ok(Ok(Value::Null))
            }
            CallOutcome::InDoubt(_) => Err(ReplayStop::CutOff { call }),
        }
    }
}

impl CallSource for ReplaySource {
    fn numbers(&self) -> &CallNumbers {
        &self.numbers
    }

    fn ask(&self, _: &Gate, asked: &Asked) -> Source {
        let mut state = self.lock();
        if state.stop.is_some() {
            return Source::End(no_answer());
        }
        match state.answer(asked) {
            Ok(response) => {
                state.answered += 1;
                Source::Answered {
                    response,
                    unrecorded: false,
                }
            }
            Err(stop) => {
                state.stop = Some(stop);
                Source::End(no_answer())
            }
        }
    }

    fn answered(
        &self,
        gate: &Gate,
        asked: &Asked,
        response: &Result<Value, EffectError>,
    ) -> Result<(), EffectError> {
        if self.lock().segment.prepared.contains(&asked.number) {
            gate.shared.snapshots.prepared_by(&gate.step);
        }
        emit(gate, asked, response);
        let Ok(value) = response else { return Ok(()) };
        if asked.call.function == HostFunction::SecretsReveal {
            gate.say(
                Level::Warn,
                "the value of a secret is in no recording: the plugin reads `***` instead, and \
                 what it makes of it may differ",
            );
        }
        if *value == NOT_MADE {
            return Ok(());
        }
        // The store of a replay is in memory: an error here is none of the run.
        follow(gate, asked, value).map_err(|_| no_answer())
    }

    fn incomplete(&self, _: &Gate, asked: &Asked) -> EffectError {
        self.lock().stop.get_or_insert(ReplayStop::Incomplete {
            call: asked.number,
            function: asked.call.function,
        });
        no_answer()
    }

    fn reaches_the_world(&self) -> bool {
        false
    }
}

fn no_answer() -> EffectError {
    EffectError::new(
        ErrorKind::Cancelled,
        codes::GATE_REPLAY,
        "the recording has no answer to this call",
    )
}

fn emit(gate: &Gate, asked: &Asked, response: &Result<Value, EffectError>) {
    if asked.call.quiet {
        return;
    }
    let recorder = &gate.shared.recorder;
    recorder.emit(asked.started());
    for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
        let text = response.as_ref().ok().and_then(|r| r.get(name)?.as_str());
        for line in text.unwrap_or_default().lines() {
            recorder.emit(RunEvent::Output {
                step: gate.step.clone(),
                stream,
                line: line.to_owned(),
            });
        }
    }
    recorder.emit(asked.finished(response, 0));
}

/// Repeats what the call changed in the run itself: its snapshots and its
/// target.
fn follow(gate: &Gate, asked: &Asked, response: &Value) -> Result<(), StoreError> {
    let shared = &gate.shared;
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    match asked.call.function {
        HostFunction::SnapshotCreate => {
            if let (Some(label), Some(id)) =
                (text(&asked.request, "label"), text(response, "snapshot"))
                && shared.snapshots.with_label(&label).is_none()
            {
                shared.snapshot_taken(&label, &SnapshotId::new(id))?;
            }
        }
        HostFunction::SnapshotDeclare => {
            if let Some(id) = text(&asked.request, "snapshot").map(SnapshotId::new)
                && !shared.snapshots.is_declared(&id)
            {
                shared.snapshot_declared(&gate.plugin, &id)?;
            }
        }
        HostFunction::SnapshotRestore => {
            if let Some(to) = text(response, "vm").map(VmId::new) {
                let from = shared.world.target.facts().vm;
                shared.world.target.move_to(to.clone());
                shared.target_moved(from, &to)?;
            }
        }
        _ => {}
    }
    Ok(())
}
