//! What an earlier process of the run recorded of the function that was cut
//! off: its calls by number, each with its result or in doubt.
//!
//! Plain data. Who reads a journal fills it, and the gate answers from it.

use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::capability::EffectError;
use vdeploy_core::ids::StepId;

/// A call that was made before.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordedCall {
    /// The step that made it.
    pub step: StepId,
    /// For example `ssh.exec`.
    pub function: String,
    /// The arguments as they were journaled.
    pub request: Value,
    /// What came of it.
    pub outcome: CallOutcome,
}

/// What is known of how it ended.
#[derive(Clone, PartialEq, Debug)]
pub enum CallOutcome {
    /// The result is in the journal.
    Result(Result<Value, EffectError>),
    /// It ended well, as another entry shows; its own result is missing.
    Done(Value),
    /// Only the intent is there, written at this time, in milliseconds since
    /// 1970: it may have happened.
    InDoubt(u64),
}

/// The calls by number.
#[derive(Clone, Debug, Default)]
pub struct RecordedCalls {
    calls: BTreeMap<u64, RecordedCall>,
}

impl RecordedCalls {
    /// Keeps what is known of a call.
    pub fn keep(&mut self, call: u64, recorded: RecordedCall) {
        self.calls.insert(call, recorded);
    }

    /// What was kept of it, to be completed.
    pub fn get_mut(&mut self, call: u64) -> Option<&mut RecordedCall> {
        self.calls.get_mut(&call)
    }

    /// It is as if the call had not been made.
    pub fn forget(&mut self, call: u64) {
        self.calls.remove(&call);
    }

    /// Every call, in order.
    pub fn calls(&self) -> impl Iterator<Item = (u64, &RecordedCall)> {
        self.calls.iter().map(|(call, recorded)| (*call, recorded))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call with this number, which is asked for again. Given once.
    pub(super) fn take(&mut self, call: u64) -> Option<RecordedCall> {
        self.calls.remove(&call)
    }
}
