//! `vdeploy runs list` and `vdeploy runs show`: stored runs as text and as JSON.
//! Pure.

mod next;
mod rows;
mod state;

pub use state::{Context, State};

use crate::text::{self, duration, table};
use crate::wording;
use next::next_commands;
use rows::{Change, StepRow, changes, steps};
use serde_json::{Value, json};
use std::fmt::Write as _;
use vdeploy_core::clean;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::TargetName;
use vdeploy_journal::RunView;
use vdeploy_journal::moment::moment;
use vdeploy_journal::run_view::Ending;
use vdeploy_journal::store::{RunRecord, RunSummary, Stored};

/// Version of the JSON forms.
pub const FORMAT: u32 = 1;

/// The table of `runs list`, of one target or of all. `now` is in milliseconds
/// since 1970.
pub fn list(
    runs: &[RunSummary],
    target: Option<&TargetName>,
    context: Context<'_>,
    now: u64,
) -> String {
    if runs.is_empty() {
        return match target {
            Some(target) => format!(
                "no runs on the target `{}`; `vdeploy runs list` shows the runs of every target\n",
                clean::line(target.as_str())
            ),
            None => "no runs yet; `vdeploy run --plan default` starts one\n".to_owned(),
        };
    }
    let mut rows =
        vec![["RUN", "AGE", "PLAN", "TARGET", "OUTCOME", "TOOK", "WHO"].map(String::from)];
    for run in runs {
        let state = context.state_of(run);
        let dry = if run.dry_run { " (dry run)" } else { "" };
        let by = context.undone_by(&run.id, state);
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

pub fn list_json(runs: &[RunSummary], context: Context<'_>) -> Value {
    let runs: Vec<_> = runs
        .iter()
        .map(|run| {
            let state = context.state_of(run);
            json!({
                "id": run.id,
                "plan": run.plan,
                "target": run.target,
                "state": state.word(),
                "undoes": run.rolls_back,
                "undone-by": context.undone_by(&run.id, state),
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

/// `now` is in milliseconds since 1970.
pub fn show(record: &RunRecord, journal: &[Stored], context: Context<'_>, now: u64) -> String {
    let view = RunView::of(journal);
    let (state, ended) = end(&view, context.running.contains(&record.id));
    let now_state = context.state_now(&record.id, record.rolls_back.as_ref(), state);
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
    if let Some(Ending::Abandoned { by, .. }) = view.end.map(|end| end.how) {
        row("abandoned", &format!("by {by}"));
    }
    let took = ended.map_or(String::new(), |(at, _)| {
        format!(" ({})", duration(at.saturating_sub(record.started_at)))
    });
    match state {
        State::Ended(outcome) => {
            let headline = headline(record, &view, outcome);
            row("outcome", &format!("{headline}{took}"));
        }
        State::Reverted | State::Undone => {}
        State::Running => row("outcome", "none yet: the run is running"),
        State::Killed => row("outcome", "none: the process was killed"),
        State::Abandoned => row(
            "outcome",
            "abandoned: it was interrupted and will not be resumed",
        ),
    }
    if let Some((_, message)) = ended {
        message.lines().for_each(|line| row("", line));
    }
    if let Some(by) = context.undone_by(&record.id, now_state) {
        let text = format!("by the rollback {by}, which restored the version from before it");
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
    let next = next_commands(record, &view, now_state);
    if !next.is_empty() {
        let _ = write!(out, "\nnext\n");
    }
    for command in next {
        let _ = writeln!(out, "  {}", clean::line(&command));
    }
    out
}

/// The record, what is derived from the journal, and the journal.
pub fn show_json(record: &RunRecord, journal: &[Stored], context: Context<'_>) -> Value {
    let view = RunView::of(journal);
    let (state, ended) = end(&view, context.running.contains(&record.id));
    let state = context.state_now(&record.id, record.rolls_back.as_ref(), state);
    let steps: Vec<_> = steps(&view).iter().map(StepRow::json).collect();
    let changes: Vec<_> = changes(&view).iter().map(Change::json).collect();
    json!({
        "format": FORMAT,
        "state": state.word(),
        "undone-by": context.undone_by(&record.id, state),
        "finished-at": ended.map(|(at, _)| at),
        "message": ended.map(|(_, message)| message),
        "next": next_commands(record, &view, state),
        "steps": steps,
        "changes": changes,
        "record": record,
        "journal": journal,
    })
}

/// As the run itself said at its end.
fn headline(record: &RunRecord, view: &RunView<'_>, outcome: Outcome) -> &'static str {
    wording::headline(wording::Ending {
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
        Ending::Finished { outcome, message } => (State::Ended(outcome), Some((end.at, message))),
        Ending::Abandoned { reason, .. } => (State::Abandoned, Some((end.at, reason))),
    }
}

#[cfg(test)]
mod tests;
