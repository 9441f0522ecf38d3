//! A run that only repeats its recording: each call is answered as it was, and
//! none is made. What is asked otherwise ends the function.

use super::call::Call;
use super::from_journal::FromJournal;
use super::pass::{CallContext, CallResult, Gate, NOT_MADE, SLEEP};
use super::recorded_calls::{CallOutcome, RecordedCall, RecordedCalls};
use super::shared::RunShared;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::{Level, RunEvent, command_ok};
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_journal::StoreError;

/// What was recorded of one call of a plugin's function.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Its calls by number.
    pub calls: RecordedCalls,
    /// Those that changed the target to make a snapshot.
    pub prepared: BTreeSet<u64>,
    /// It was cut off: its last calls may have got no answer.
    pub cut_off: bool,
}

/// Why a function could not be repeated to its end.
#[derive(Clone, PartialEq, Debug)]
pub enum ReplayStop {
    /// It asks for something else than it did.
    Differs {
        /// Number of the call.
        call: u64,
        /// What it had asked for; none when it had asked for nothing more.
        recorded: Option<Box<RecordedCall>>,
        /// What it asks for.
        function: String,
        /// With these arguments.
        request: Value,
    },
    /// The recorded one was cut off here.
    CutOff {
        /// Number of the call.
        call: u64,
    },
    /// The recording does not have the whole answer.
    Incomplete {
        /// Number of the call.
        call: u64,
        /// For example `ssh.exec`.
        function: String,
    },
}

/// What is known after a function has ended.
#[derive(Debug, Default)]
pub struct ReplaySummary {
    /// How many calls were answered.
    pub answered: usize,
    /// The first call that was recorded and not asked for.
    pub not_asked: Option<(u64, RecordedCall)>,
    /// Why it came no further.
    pub stop: Option<ReplayStop>,
}

/// The function that is repeated at the moment.
#[derive(Debug, Default)]
pub(super) struct Replay(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    segment: Segment,
    answered: usize,
    stop: Option<ReplayStop>,
}

impl Replay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The recorded answer and whether the call was part of making a snapshot;
    /// none when the function ends here.
    fn answer(
        &self,
        number: u64,
        is_same: impl FnOnce(&RecordedCall) -> bool,
        call: &Call,
        request: &Value,
    ) -> Option<(Result<Value, EffectError>, bool)> {
        let mut state = self.lock();
        if state.stop.is_some() {
            return None;
        }
        let differs = |recorded| ReplayStop::Differs {
            call: number,
            recorded,
            function: call.function.to_owned(),
            request: request.clone(),
        };
        let stop = match state.segment.calls.take(number) {
            None if state.segment.cut_off => ReplayStop::CutOff { call: number },
            None => differs(None),
            Some(recorded) if !is_same(&recorded) => differs(Some(Box::new(recorded))),
            Some(recorded) => match recorded.outcome {
                CallOutcome::Result(response) => {
                    state.answered += 1;
                    return Some((response, state.segment.prepared.contains(&number)));
                }
                CallOutcome::Done(value) => {
                    state.answered += 1;
                    return Some((Ok(value), false));
                }
                // It was cut short by a stop, and the function went on.
                CallOutcome::InDoubt(_) if call.function == SLEEP && !state.segment.cut_off => {
                    state.answered += 1;
                    return Some((Ok(Value::Null), false));
                }
                CallOutcome::InDoubt(_) => ReplayStop::CutOff { call: number },
            },
        };
        state.stop = Some(stop);
        None
    }

    fn incomplete(&self, call: u64, function: &str) {
        let function = function.to_owned();
        self.lock()
            .stop
            .get_or_insert(ReplayStop::Incomplete { call, function });
    }
}

impl RunShared {
    /// The run only repeats its recording: no call is made, whatever the world
    /// is. Each function is answered from what `replay_next` was given.
    #[must_use]
    pub fn replaying(mut self) -> Self {
        self.replay = Some(Replay::default());
        self
    }

    /// Whether every call is answered from a recording.
    pub(super) fn is_replayed(&self) -> bool {
        self.replay.is_some()
    }

    /// The next function is answered from this.
    pub fn replay_next(&self, segment: Segment) {
        let Some(replay) = &self.replay else { return };
        if let Some((first, _)) = segment.calls.calls().next() {
            self.begin_before(first);
        }
        *replay.lock() = State {
            segment,
            ..State::default()
        };
    }

    /// What became of it.
    pub fn replayed(&self) -> ReplaySummary {
        let Some(replay) = &self.replay else {
            return ReplaySummary::default();
        };
        let mut state = replay.lock();
        let not_asked = state.segment.calls.calls().next();
        ReplaySummary {
            answered: state.answered,
            not_asked: not_asked.map(|(call, recorded)| (call, recorded.clone())),
            stop: state.stop.take(),
        }
    }
}

/// The function ends here: there is no answer.
fn ended() -> EffectError {
    EffectError::new(
        ErrorKind::Cancelled,
        "gate.replay",
        "the recording has no answer to this call",
    )
}

impl Gate {
    /// Answers a call from the recording. `perform` is only asked for what no
    /// recording has: the handle of a secret.
    pub(super) async fn replay<T, F>(
        &self,
        replay: &Replay,
        (number, call, request): (u64, Call, Value),
        pretend: impl FnOnce() -> Result<T, EffectError>,
        perform: F,
    ) -> Result<T, EffectError>
    where
        T: FromJournal,
        F: AsyncFnOnce(CallContext) -> Result<CallResult<T>, EffectError>,
    {
        let shared = &self.shared;
        let is_same = |recorded: &RecordedCall| self.is_same(recorded, &call, &request);
        let answer = replay.answer(number, is_same, &call, &request);
        let (response, prepared) = answer.ok_or_else(ended)?;
        self.count(&response)?;
        if prepared {
            shared.prepares_snapshot(&self.step);
        }
        let not_made = response.as_ref().is_ok_and(|value| *value == NOT_MADE);
        self.tell_replayed(number, &call, &response, not_made);
        let response = response?;
        if shared.dry_run && not_made && call.effect.is_change() {
            return pretend();
        }
        if call.function == "secrets-reveal.reveal" {
            self.say(
                Level::Warn,
                "the value of a secret is in no recording: the plugin reads `***` instead, and                  what it makes of it may differ",
            );
        }
        if let Some(value) = T::from_journal(&response) {
            // In memory, where nothing can fail that a person could mend.
            self.follow(call.function, &request, &response)
                .map_err(|_| ended())?;
            return Ok(value);
        }
        if T::NEVER_RECORDED {
            let context = CallContext {
                effect: number,
                asked_before: None,
            };
            return Ok(perform(context).await?.value);
        }
        replay.incomplete(number, call.function);
        Err(ended())
    }

    fn tell_replayed(
        &self,
        number: u64,
        call: &Call,
        response: &Result<Value, EffectError>,
        not_made: bool,
    ) {
        if call.quiet {
            return;
        }
        self.shared.emit(RunEvent::CallStarted {
            step: self.step.clone(),
            call: number,
            action: call.action.clone(),
            change: call.effect.is_change(),
        });
        for stream in [Stream::Stdout, Stream::Stderr] {
            let name = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            let text = response.as_ref().ok().and_then(|r| r.get(name)?.as_str());
            for line in text.unwrap_or_default().lines() {
                self.shared.emit(RunEvent::Output {
                    step: self.step.clone(),
                    stream,
                    line: line.to_owned(),
                });
            }
        }
        self.shared.emit(RunEvent::CallFinished {
            step: self.step.clone(),
            call: number,
            ok: response.is_ok(),
            not_made,
            command_ok: response.as_ref().ok().and_then(command_ok),
            duration_ms: 0,
        });
    }

    /// What a call changed for the run itself is so again.
    fn follow(&self, function: &str, request: &Value, response: &Value) -> Result<(), StoreError> {
        let shared = &self.shared;
        let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
        match function {
            "snapshot.create" => {
                if let (Some(label), Some(id)) =
                    (text(request, "label"), text(response, "snapshot"))
                    && shared.snapshot_with_label(&label).is_none()
                {
                    shared.snapshot_taken(&label, &SnapshotId::new(id))?;
                }
            }
            "snapshot.declare" => {
                if let Some(id) = text(request, "snapshot").map(SnapshotId::new)
                    && !shared.is_declared(&id)
                {
                    shared.snapshot_declared(&self.plugin, &id)?;
                }
            }
            "snapshot.restore" => {
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
}
