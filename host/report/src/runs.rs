//! `vdeploy runs list` and `vdeploy runs show`: stored runs as text and as
//! JSON. Pure: takes what the store gave and the time, returns what to print.

use crate::text::{self, duration, table};
use crate::wording::{self, Ending};
use serde_json::{Value, json};
use std::fmt::Write as _;
use vdeploy_core::clean;
use vdeploy_core::event::{Outcome, Phase};
use vdeploy_journal::RunView;
use vdeploy_journal::moment::moment;
use vdeploy_journal::run_view::{self, CallEnd, CallView, FunctionView};
use vdeploy_journal::store::{RunRecord, RunSummary, Stored};

mod state;

pub use state::{Standing, State};

/// Version of the JSON forms.
pub const FORMAT: u32 = 1;

/// Longest request shown of a change, in characters.
const REQUEST: usize = 100;

/// Commands that a person may want after a run.
pub fn next_commands(record: &RunRecord, journal: &[Stored], state: State) -> Vec<String> {
    let (run, plan) = (&record.id, &record.plan.name);
    let again = match &record.rolls_back {
        Some(before) => format!("vdeploy rollback {before}"),
        None => format!("vdeploy run --plan {plan} --target {}", record.target),
    };
    let rollback = format!("vdeploy rollback {run}");
    let resume = format!("vdeploy resume {run}");
    let abandon = format!("vdeploy abandon {run} --reason \"REASON\"");
    let changed = RunView::of(journal).target_changed();
    match state {
        State::Running => Vec::new(),
        State::Ended(Outcome::RolledBack) | State::Undone => vec![again],
        State::Killed | State::Ended(Outcome::Interrupted) if changed && !record.dry_run => {
            let back = match &record.rolls_back {
                Some(first) => format!("vdeploy rollback {first}"),
                None => rollback,
            };
            vec![resume, back, abandon]
        }
        _ if changed && record.rolls_back.is_none() => vec![rollback],
        State::Ended(Outcome::Deployed | Outcome::Rehearsed) | State::Reverted => Vec::new(),
        _ => match &record.rolls_back {
            Some(first) => vec![
                format!("vdeploy rollback {first}"),
                format!("vdeploy rollback {first} --to snapshot"),
            ],
            None => vec![again],
        },
    }
}

/// The table of `runs list`. `now` is in milliseconds since 1970.
pub fn list(runs: &[RunSummary], standing: Standing<'_>, now: u64) -> String {
    if runs.is_empty() {
        return "no runs yet; `vdeploy run --plan default` starts one\n".to_owned();
    }
    let mut rows =
        vec![["RUN", "AGE", "PLAN", "TARGET", "OUTCOME", "TOOK", "WHO"].map(String::from)];
    for run in runs {
        let state = standing.of(run);
        let dry = if run.dry_run { " (dry run)" } else { "" };
        let by = standing.undone_by(&run.id, state);
        let by = by.map_or(String::new(), |by| {
            format!(" by {}", clean::line(by.as_str()))
        });
        let took = run
            .finished_at
            .map(|end| end.saturating_sub(run.started_at));
        rows.push([
            clean::line(run.id.as_str()).into_owned(),
            text::age(now.saturating_sub(run.started_at)),
            clean::line(run.plan.as_str()).into_owned(),
            clean::line(run.target.as_str()).into_owned(),
            format!("{}{by}{dry}", state.word()),
            took.map_or_else(|| "-".to_owned(), duration),
            clean::line(&run.started_by).into_owned(),
        ]);
    }
    table(&rows, "")
}

/// The JSON of `runs list`.
pub fn list_json(runs: &[RunSummary], standing: Standing<'_>) -> Value {
    let runs: Vec<_> = runs
        .iter()
        .map(|run| {
            let state = standing.of(run);
            json!({
                "id": run.id,
                "plan": run.plan,
                "target": run.target,
                "state": state.word(),
                "undoes": run.rolls_back,
                "undone-by": standing.undone_by(&run.id, state),
                "outcome": run.outcome,
                "dry-run": run.dry_run,
                "started-by": run.started_by,
                "started-at": run.started_at,
                "finished-at": run.finished_at,
            })
        })
        .collect();
    json!({ "format": FORMAT, "runs": runs })
}

/// The text of `runs show`.
pub fn show(record: &RunRecord, journal: &[Stored], standing: Standing<'_>, now: u64) -> String {
    let view = RunView::of(journal);
    let (state, ended) = end(&view, standing.running.contains(&record.id));
    let seen = standing.seen_from_now(&record.id, record.rolls_back.as_ref(), state);
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "{label:<10}{}", clean::line(text));
    };
    row("run", record.id.as_str());
    row("plan", record.plan.name.as_str());
    let vm = record
        .vm
        .as_ref()
        .map_or(String::new(), |vm| format!(" ({vm})"));
    row("target", &format!("{}{vm}", record.target));
    let age = text::age(now.saturating_sub(record.started_at));
    let started = moment(record.started_at);
    row(
        "started",
        &format!("{started}, {age} ago, by {}", record.started_by),
    );
    row("vdeploy", &record.host_version);
    if let Some(run) = &record.rolls_back {
        row("undoes", &format!("run {run}"));
    }
    if let Some(reason) = view.snapshot_waived {
        row("snapshot", &format!("none: {reason}"));
    }
    for snapshot in &view.snapshots {
        let by = snapshot
            .provider
            .map_or(String::new(), |plugin| format!(", by the plugin {plugin}"));
        let when = match snapshot.after_change {
            true => "after",
            false => "before",
        };
        row(
            "snapshot",
            &format!("{} ({when} the changes{by})", snapshot.id),
        );
    }
    for relocation in &view.relocations {
        row("moved to", relocation.to.as_str());
    }
    if let Some(run_view::Ending::Abandoned { by, .. }) = view.end.map(|end| end.how) {
        row("left", &format!("by {by}"));
    }
    let took = ended.map_or(String::new(), |(at, _)| {
        format!(" ({})", duration(at.saturating_sub(record.started_at)))
    });
    match state {
        State::Ended(outcome) => {
            let words = headline(record, &view, outcome);
            row("outcome", &format!("{words}{took}"));
        }
        State::Reverted | State::Undone => {}
        State::Running => row("outcome", "none yet: it is running"),
        State::Killed => row("outcome", "none: it was killed before its end"),
        State::Abandoned => row(
            "outcome",
            "abandoned: it was cut off and is not gone on with",
        ),
    }
    if let Some((_, message)) = ended {
        message.lines().for_each(|line| row("", line));
    }
    if let Some(by) = standing.undone_by(&record.id, seen) {
        let text = format!("by run {by}: what was live before was brought back");
        row("undone", &text);
    }

    let steps = steps(&view);
    if !steps.is_empty() {
        let rows: Vec<_> = steps.iter().map(StepRow::cells).collect();
        let _ = write!(out, "\nsteps\n{}", table(&rows, "  "));
    }
    let changes = changes(&view);
    let _ = match changes.as_slice() {
        [] => write!(out, "\nchanges: none\n"),
        changes => {
            let rows: Vec<_> = changes.iter().map(Change::cells).collect();
            write!(out, "\nchanges\n{}", table(&rows, "  "))
        }
    };
    let next = next_commands(record, journal, seen);
    if !next.is_empty() {
        let _ = write!(out, "\nnext\n");
    }
    for command in next {
        let _ = writeln!(out, "  {}", clean::line(&command));
    }
    out
}

/// The JSON of `runs show`: the record, the derived parts and the journal.
pub fn show_json(record: &RunRecord, journal: &[Stored], standing: Standing<'_>) -> Value {
    let view = RunView::of(journal);
    let (state, ended) = end(&view, standing.running.contains(&record.id));
    let state = standing.seen_from_now(&record.id, record.rolls_back.as_ref(), state);
    let steps: Vec<_> = steps(&view).iter().map(StepRow::json).collect();
    let changes: Vec<_> = changes(&view).iter().map(Change::json).collect();
    json!({
        "format": FORMAT,
        "state": state.word(),
        "undone-by": standing.undone_by(&record.id, state),
        "finished-at": ended.map(|(at, _)| at),
        "message": ended.map(|(_, message)| message),
        "next": next_commands(record, journal, state),
        "steps": steps,
        "changes": changes,
        "record": record,
        "journal": journal,
    })
}

/// As the run itself said at its end.
fn headline(record: &RunRecord, view: &RunView<'_>, outcome: Outcome) -> &'static str {
    wording::headline(Ending {
        outcome,
        unchanged: false,
        dry_run: record.dry_run,
        operator_requested: record.rolls_back.is_some(),
        no_live_version: view.says_no_live_version(),
        changed: view.target_changed(),
    })
}

/// The state, and time and message of the end.
fn end<'a>(view: &RunView<'a>, running: bool) -> (State, Option<(u64, &'a str)>) {
    let Some(end) = view.end else {
        return (State::of(None, running), None);
    };
    match end.how {
        run_view::Ending::Finished { outcome, message } => {
            (State::Ended(outcome), Some((end.at, message)))
        }
        run_view::Ending::Abandoned { reason, .. } => (State::Abandoned, Some((end.at, reason))),
    }
}

/// One call of a plugin function.
struct StepRow {
    name: String,
    phase: Phase,
    attempt: u32,
    took: Option<u64>,
    /// None while it runs or when the run was killed in it.
    ok: Option<bool>,
    error: String,
}

impl StepRow {
    fn cells(&self) -> [String; 5] {
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

    fn json(&self) -> Value {
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

fn steps(view: &RunView<'_>) -> Vec<StepRow> {
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

/// One change that was begun.
struct Change<'a> {
    call: u64,
    step: &'a str,
    function: &'a str,
    request: &'a Value,
    target: bool,
    /// `made`, `failed`, `failed, may have happened` or `in doubt`.
    fate: &'static str,
}

impl Change<'_> {
    fn cells(&self) -> [String; 5] {
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

    fn json(&self) -> Value {
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

fn changes<'a>(view: &RunView<'a>) -> Vec<Change<'a>> {
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

#[cfg(test)]
mod tests;
