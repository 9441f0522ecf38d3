//! The calls of one plugin function as the journal has them: by number, each
//! with its result or in doubt.
//!
//! Plain data: whoever reads a journal fills it, and the gate answers from it.

use crate::source::Asked;
use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::capability::EffectError;
use vdeploy_core::ids::StepId;
use vdeploy_journal::run_view::{CallEnd, CallView};

#[derive(Clone, PartialEq, Debug)]
pub struct RecordedCall {
    pub step: StepId,
    /// As journaled: another version of vdeploy may have functions that this
    /// one does not know.
    pub function: String,
    /// The masked arguments.
    pub request: Value,
    pub outcome: CallOutcome,
}

impl RecordedCall {
    /// Whether the plugin asks for the same again.
    pub(crate) fn is(&self, asked: &Asked) -> bool {
        self.step == asked.step
            && asked.call.function.is(&self.function)
            && self.request == asked.request
    }
}

/// What the journal has of a call's end.
#[derive(Clone, PartialEq, Debug)]
pub enum CallOutcome {
    /// Its result.
    Result(Result<Value, EffectError>),
    /// No result, but another entry that shows that it succeeded.
    Done(Value),
    /// Only its intent, written at this time in milliseconds since 1970: it may
    /// have happened.
    InDoubt(u64),
}

impl From<&CallView<'_>> for RecordedCall {
    fn from(call: &CallView<'_>) -> Self {
        Self {
            step: call.step.clone(),
            function: call.function.to_owned(),
            request: call.request.clone(),
            outcome: match &call.end {
                CallEnd::Result(response) => CallOutcome::Result((*response).clone()),
                CallEnd::Done(answer) => CallOutcome::Done(answer.clone()),
                CallEnd::InDoubt(at) => CallOutcome::InDoubt(*at),
            },
        }
    }
}

/// The calls by number.
#[derive(Clone, Debug, Default)]
pub struct RecordedCalls {
    calls: BTreeMap<u64, RecordedCall>,
}

impl RecordedCalls {
    pub fn keep(&mut self, call: u64, recorded: RecordedCall) {
        self.calls.insert(call, recorded);
    }

    /// Every call, in order.
    pub fn calls(&self) -> impl Iterator<Item = (u64, &RecordedCall)> {
        self.calls.iter().map(|(call, recorded)| (*call, recorded))
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Each call is given once.
    pub(crate) fn take(&mut self, call: u64) -> Option<RecordedCall> {
        self.calls.remove(&call)
    }
}
