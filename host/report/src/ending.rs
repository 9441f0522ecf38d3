//! The final block for people: what became of the run, why, what is live and
//! what to do next.

use super::narrator::Line;
use super::story::{Failed, Story};
use super::text::{self, AS_BEFORE, BROUGHT_BACK, NO_LIVE_VERSION, Tone, duration};
use vdeploy_core::clean;
use vdeploy_core::codes;
use vdeploy_core::event::{Outcome, RunEvent};
use vdeploy_core::event::{Phase, Section};

/// Checks shown at most.
const CHECKS: usize = 10;
/// Lines of a command shown at most.
const LINES: usize = 5;

/// The lines for a `RunFinished`; none for any other event.
pub(super) fn block(story: &Story, event: &RunEvent) -> Vec<Line> {
    let RunEvent::RunFinished {
        run,
        outcome,
        unchanged,
        target_changed,
        blocking_run,
        exit_code,
        message,
        next,
        url,
        duration_ms,
    } = event
    else {
        return Vec::new();
    };
    let mut lines = vec![
        Line::ending(Tone::Plain, ""),
        Line::ending(
            text::tone(*outcome),
            headline_of(story, *outcome, *unchanged),
        ),
    ];
    let plain = |text: String| Line::ending(Tone::Plain, text);
    lines.extend(message.lines().map(|line| plain(format!("  {line}"))));
    for (label, failed) in [("cause", &story.cause), ("rollback", &story.rollback)] {
        if let Some(failed) = failed {
            lines.extend(explain(label, failed, message));
        }
    }
    let mut row = |label: &str, text: &str| lines.push(plain(format!("  {label:<9} {text}")));
    let words = match blocking_run {
        Some(run) => format!("not known: run {run} was cut off, and what it did is not settled"),
        None => live(story, *outcome, *unchanged, *target_changed).to_owned(),
    };
    row("live", &words);
    match (&story.vm, &story.moved_from) {
        (Some(vm), Some(from)) => row("vm", &format!("{vm} (was {from})")),
        (Some(vm), None) => row("vm", vm.as_str()),
        _ => {}
    }
    if let Some(snapshot) = &story.snapshot {
        row("snapshot", snapshot.as_str());
    }
    if let Some(url) = url {
        row("url", url);
    }
    let took = duration(*duration_ms);
    row("run", &format!("{run} ({took}, exit code {exit_code})"));
    for (index, command) in next.iter().enumerate() {
        row(if index == 0 { "next" } else { "" }, command);
    }
    lines
}

/// How the run ended. One that went through may have been no deploy: a
/// rollback that was asked for, or a plan that only looks.
pub(super) fn headline_of(story: &Story, outcome: Outcome, unchanged: bool) -> &'static str {
    match outcome {
        _ if story.dry_run => {}
        Outcome::RolledBack if story.no_live_version => return NO_LIVE_VERSION,
        Outcome::Deployed if story.no_live_version && story.operator_requested => {
            return NO_LIVE_VERSION;
        }
        Outcome::Deployed if unchanged => {}
        Outcome::Deployed if story.operator_requested => return BROUGHT_BACK,
        Outcome::Deployed if !story.changed => return "verified: nothing was changed",
        _ => {}
    }
    text::outcome(outcome, unchanged)
}

/// What is live now.
fn live(story: &Story, outcome: Outcome, unchanged: bool, target_changed: bool) -> &'static str {
    match outcome {
        _ if story.dry_run => {}
        Outcome::RolledBack if story.no_live_version => return "nothing, as before the run",
        Outcome::Deployed if story.operator_requested && story.no_live_version => return "nothing",
        Outcome::Deployed if story.operator_requested => return "the version from before, verified",
        Outcome::Interrupted | Outcome::Internal if !target_changed && !story.resumed => {
            return AS_BEFORE;
        }
        // This process did not; the one before it did.
        Outcome::Refused
        | Outcome::FailedUnchanged
        | Outcome::PluginRefused
        | Outcome::Unreachable
            if story.resumed && story.changed =>
        {
            return "not known: the run was cut off, and is not gone on with";
        }
        _ => {}
    }
    text::live(outcome, unchanged || !story.changed, story.dry_run)
}

/// Why a step failed, as far as `message` does not say it.
fn explain(label: &str, failed: &Failed, message: &str) -> Vec<Line> {
    let mut rows = Vec::new();
    // Further lines of an error are indented in the message.
    let error = failed.error.message.replace('\n', "\n    ");
    if !message.contains(&error) {
        rows.push(headline(failed));
    }
    if !failed.checks.is_empty() {
        for (name, detail) in failed.checks.iter().take(CHECKS) {
            let detail = detail.as_deref().unwrap_or("failed");
            rows.push(format!("check {name}: {detail}"));
        }
        let more = failed.checks.len().saturating_sub(CHECKS);
        if more > 0 {
            rows.push(format!("and {more} more failed checks"));
        }
    } else if let Some(command) = failed.command.as_ref().filter(|_| !was_stopped(failed)) {
        rows.push(format!("command {command}"));
        let skip = failed.tail.len().saturating_sub(LINES);
        let tail = failed.tail.iter().skip(skip);
        rows.extend(tail.map(|line| format!("  | {}", clean::output(line))));
    }
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let label = if index == 0 { label } else { "" };
            Line::ending(Tone::Plain, format!("  {label:<9} {row}"))
        })
        .collect()
}

/// The step failed for nothing but the stop of the run: what its last command
/// printed explains nothing.
fn was_stopped(failed: &Failed) -> bool {
    failed.error.code == codes::GATE_CANCELLED
}

/// Step, function and error in one line.
pub(super) fn headline(failed: &Failed) -> String {
    let list = match failed.section {
        Section::Steps => "",
        other => text::section(other),
    };
    let phase = match failed.phase {
        Phase::Run => String::new(),
        phase => format!(" ({})", text::phase(phase)),
    };
    format!("{list}{}{phase}: {}", failed.step, failed.error)
}
