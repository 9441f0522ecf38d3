//! The rows of `runs show`: calls of plugin functions, and changes.

use crate::text::duration;
use crate::wording;
use serde_json::{Value, json};
use vdeploy_core::clean;
use vdeploy_core::event::Phase;
use vdeploy_journal::RunView;
use vdeploy_journal::run_view::{CallEnd, CallView, FunctionView};

/// Most characters shown of a change's request.
const REQUEST: usize = 100;

/// One call of a plugin function.
pub(super) struct StepRow {
    name: String,
    phase: Phase,
    attempt: u32,
    took: Option<u64>,
    /// None while it runs, or when the run was interrupted in it.
    ok: Option<bool>,
    error: String,
}

impl StepRow {
    pub(super) fn cells(&self) -> [String; 5] {
        let mark = match self.ok {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "…",
        };
        let again = match self.attempt {
            0 | 1 => String::new(),
            attempt => format!(" (attempt {attempt})"),
        };
        [
            mark.to_owned(),
            self.name.clone(),
            format!("{}{again}", wording::phase(self.phase)),
            self.took
                .map_or_else(|| "not finished".to_owned(), duration),
            clean::line(&self.error).into_owned(),
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "step": self.name,
            "phase": self.phase,
            "attempt": self.attempt,
            "ok": self.ok,
            "duration-ms": self.took,
            "error": (!self.error.is_empty()).then_some(&self.error),
        })
    }
}

pub(super) fn steps(view: &RunView<'_>) -> Vec<StepRow> {
    let row = |function: &FunctionView<'_>| StepRow {
        name: format!("{}{}", wording::section(function.section), function.step),
        phase: function.phase,
        attempt: function.attempt,
        took: function
            .end
            .map(|end| end.at.saturating_sub(function.started_at)),
        ok: function.end.map(|end| end.failure.is_none()),
        error: function
            .end
            .and_then(|end| end.failure)
            .map_or_else(String::new, |failure| failure.error.to_string()),
    };
    view.functions.iter().map(row).collect()
}

/// One change that the run began.
pub(super) struct Change<'a> {
    call: u64,
    step: &'a str,
    function: &'a str,
    request: &'a Value,
    target: bool,
    /// `made`, `failed`, `failed, may have happened` or `in doubt`.
    fate: &'static str,
}

impl Change<'_> {
    pub(super) fn cells(&self) -> [String; 5] {
        let request = self.request.to_string();
        let mut shown: String = request.chars().take(REQUEST).collect();
        if shown.len() < request.len() {
            shown.push('…');
        }
        let place = if self.target {
            ""
        } else {
            " (not on the target)"
        };
        [
            self.call.to_string(),
            clean::line(self.step).into_owned(),
            clean::line(self.function).into_owned(),
            format!("{}{place}", self.fate),
            clean::line(&shown).into_owned(),
        ]
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "call": self.call,
            "step": self.step,
            "function": self.function,
            "request": self.request,
            "changes-target": self.target,
            "fate": self.fate,
        })
    }
}

pub(super) fn changes<'a>(view: &RunView<'a>) -> Vec<Change<'a>> {
    let change = |number: u64, call: &CallView<'a>| {
        Some(Change {
            call: number,
            step: call.step.as_str(),
            function: call.function,
            request: call.request,
            target: call.changes_target?,
            fate: match &call.end {
                CallEnd::Result(Ok(_)) | CallEnd::Done(_) => "made",
                CallEnd::Result(Err(error)) if error.maybe_applied => "failed, may have happened",
                CallEnd::Result(Err(_)) => "failed",
                CallEnd::InDoubt(_) => "in doubt",
            },
        })
    };
    let calls = view.calls.iter();
    calls
        .filter_map(|(number, call)| change(*number, call))
        .collect()
}
