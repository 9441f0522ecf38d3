//! Where the answer of a call comes from: the world (`LiveSource`), the journal of an
//! interrupted run and then the world (`resume::ResumeSource`), or a recording alone
//! (`replay::ReplaySource`).

pub mod from_journal;
pub mod recorded_calls;
pub mod replay;
pub mod resume;

use crate::call::Call;
use crate::call::pass::{Gate, NOT_MADE};
use serde_json::Value;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::{RunEvent, command_ok};
use vdeploy_core::ids::{StepId, VmId};
use vdeploy_journal::Entry;

/// A call with its number in the run.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) step: StepId,
    pub(crate) call: Call,
    /// The masked arguments, until an entry takes them.
    pub(crate) request: Value,
}

/// What a source makes of a call.
#[derive(Debug)]
pub(crate) enum Source {
    /// Make it.
    Make {
        /// An earlier process of the run has made it, at this time in
        /// milliseconds since 1970, and its effect is not known.
        asked_before: Option<u64>,
    },
    /// Make it not: this is its answer.
    Answered {
        response: Result<Value, EffectError>,
        /// The journal shows the answer and has no result of the call yet.
        unrecorded: bool,
    },
    /// Make it not: the function ends here.
    End(EffectError),
}

pub(crate) trait CallSource: Debug + Send + Sync {
    fn numbers(&self) -> &CallNumbers;

    fn ask(&self, gate: &Gate, asked: &Asked) -> Source;

    /// An answer of this source is about to be given to the plugin.
    fn answered(
        &self,
        _: &Gate,
        _: &Asked,
        _: &Result<Value, EffectError>,
    ) -> Result<(), EffectError> {
        Ok(())
    }

    /// The error of a call whose answer the journal does not have whole.
    fn incomplete(&self, gate: &Gate, asked: &Asked) -> EffectError {
        gate.break_off(&format!(
            "the journal does not have the whole answer of call {} (`{}`)",
            asked.number, asked.call.function
        ))
    }

    /// Whether calls reach the world.
    fn reaches_the_world(&self) -> bool {
        true
    }

    /// Whether an earlier process may have made calls that no journal has.
    fn has_predecessor(&self) -> bool {
        false
    }

    /// While recorded calls are answered: the VM that was the target then.
    fn recorded_vm(&self) -> Option<VmId> {
        None
    }

    /// The plugin has the answer of the restore: it is on the new VM.
    fn restored(&self) {}
}

/// The numbers of a run's calls, from 1.
#[derive(Debug, Default)]
pub(crate) struct CallNumbers(AtomicU64);

impl CallNumbers {
    /// So many calls were made before.
    pub(crate) fn after(calls: u64) -> Self {
        Self(AtomicU64::new(calls))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The next call has this number, unless a lower one is next: a resumed
    /// process used numbers again.
    pub(crate) fn begin_at(&self, first: u64) {
        self.0.fetch_min(first.saturating_sub(1), Ordering::SeqCst);
    }
}

/// Makes every call.
#[derive(Debug, Default)]
pub(crate) struct LiveSource(CallNumbers);

impl CallSource for LiveSource {
    fn numbers(&self) -> &CallNumbers {
        &self.0
    }

    fn ask(&self, _: &Gate, _: &Asked) -> Source {
        Source::Make { asked_before: None }
    }
}

impl Asked {
    /// The result for the journal. The arguments go into one entry only: the
    /// intent, where there is one.
    pub(crate) fn result(&mut self, response: Result<Value, EffectError>) -> Entry {
        Entry::Result {
            call: self.number,
            step: self.step.clone(),
            function: self.call.function.name().to_owned(),
            request: std::mem::take(&mut self.request),
            response,
        }
    }

    pub(crate) fn intent(&mut self, changes_target: bool) -> Entry {
        Entry::Intent {
            call: self.number,
            step: self.step.clone(),
            function: self.call.function.name().to_owned(),
            request: std::mem::take(&mut self.request),
            changes_target,
        }
    }

    /// None for a quiet call, as for `finished`.
    pub(crate) fn started(&self) -> Option<RunEvent> {
        (!self.call.quiet).then(|| RunEvent::CallStarted {
            step: self.step.clone(),
            call: self.number,
            action: self.call.action.clone(),
            change: self.call.effect.is_change(),
        })
    }

    /// The end of a call that was made, or was answered from a recording.
    pub(crate) fn finished(
        &self,
        response: &Result<Value, EffectError>,
        duration_ms: u64,
    ) -> Option<RunEvent> {
        (!self.call.quiet).then(|| RunEvent::CallFinished {
            step: self.step.clone(),
            call: self.number,
            ok: response.is_ok(),
            not_made: response.as_ref().is_ok_and(|value| *value == NOT_MADE),
            command_ok: response.as_ref().ok().and_then(command_ok),
            duration_ms,
        })
    }
}
