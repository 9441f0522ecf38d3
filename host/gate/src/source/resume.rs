//! The calls of a resumed run: those that an earlier process has recorded are
//! answered from the journal, and those after them are made.

use crate::call::WhenInDoubt;
use crate::call::pass::{Gate, unanswered};
use crate::source::recorded_calls::{CallOutcome, RecordedCalls};
use crate::source::{Asked, CallNumbers, CallSource, Source};
use std::sync::{Mutex, MutexGuard};
use vdeploy_core::ids::VmId;

#[derive(Debug)]
pub(crate) struct ResumeSource {
    numbers: CallNumbers,
    recorded: Mutex<RecordedCalls>,
    recorded_vm: Mutex<Option<VmId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl ResumeSource {
    pub(crate) fn new(calls: u64, recorded: RecordedCalls, recorded_vm: Option<VmId>) -> Self {
        Self {
            numbers: CallNumbers::after(calls),
            recorded: Mutex::new(recorded),
            recorded_vm: Mutex::new(recorded_vm),
        }
    }
}

impl CallSource for ResumeSource {
    fn numbers(&self) -> &CallNumbers {
        &self.numbers
    }

    fn ask(&self, gate: &Gate, asked: &Asked) -> Source {
        let Some(recorded) = lock(&self.recorded).take(asked.number) else {
            return Source::Make { asked_before: None };
        };
        if !recorded.is(asked) {
            return Source::End(gate.break_off(&format!(
                "call {} was `{}` of step `{}` before the interruption and is `{}` of step `{}` \
                 now ({}): the recorded results do not match, so the run cannot be resumed",
                asked.number,
                recorded.function,
                recorded.step,
                asked.call.function,
                asked.step,
                asked.call.action
            )));
        }
        match recorded.outcome {
            CallOutcome::Result(response) => Source::Answered {
                response,
                unrecorded: false,
            },
            CallOutcome::Done(value) => Source::Answered {
                response: Ok(value),
                unrecorded: true,
            },
            CallOutcome::InDoubt(_) if asked.call.in_doubt == WhenInDoubt::Report => {
                Source::Answered {
                    response: Err(unanswered(&asked.call.action)),
                    unrecorded: true,
                }
            }
            CallOutcome::InDoubt(since) => Source::Make {
                asked_before: Some(since),
            },
        }
    }

    fn has_predecessor(&self) -> bool {
        true
    }

    fn recorded_vm(&self) -> Option<VmId> {
        lock(&self.recorded_vm).clone()
    }

    fn restored(&self) {
        *lock(&self.recorded_vm) = None;
    }
}
