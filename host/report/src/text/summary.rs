//! The final block for people: how the run ended, why, what is live, and the
//! next commands.

use super::lines::Line;
use super::{Tone, duration};
use crate::RunModel;
use crate::model::Failure;
use crate::wording;
use vdeploy_core::clean;
use vdeploy_core::event::Phase;

/// Most failed checks shown.
const CHECKS: usize = 10;
/// Most lines shown of a command's output.
const LINES: usize = 5;

/// No lines until the run has ended.
pub(super) fn lines(model: &RunModel) -> Vec<Line> {
    let (Some(end), Some(ending)) = (&model.end, model.ending()) else {
        return Vec::new();
    };
    let mut lines = vec![
        Line::summary(Tone::Plain, ""),
        Line::summary(wording::tone(end.outcome), wording::headline(ending)),
    ];
    let plain = |text: String| Line::summary(Tone::Plain, text);
    lines.extend(end.message.lines().map(|line| plain(format!("  {line}"))));
    for (label, failure) in [
        ("cause", &model.cause),
        ("rollback", &model.rollback_failure),
    ] {
        if let Some(failure) = failure {
            lines.extend(explain(label, failure, &end.message));
        }
    }
    let mut row = |label: &str, text: &str| lines.push(plain(format!("  {label:<9} {text}")));
    row("live", &wording::live(model));
    match (&model.vm, &model.moved_from) {
        (Some(vm), Some(from)) => row("vm", &format!("{vm} (was {from})")),
        (Some(vm), None) => row("vm", vm.as_str()),
        _ => {}
    }
    if let Some(snapshot) = &model.snapshot {
        row("snapshot", snapshot.as_str());
    }
    if let Some(url) = &end.url {
        row("url", url);
    }
    let took = duration(end.duration_ms);
    row(
        "run",
        &format!("{} ({took}, exit code {})", end.run, end.exit_code),
    );
    for (index, command) in end.next.iter().enumerate() {
        row(if index == 0 { "next" } else { "" }, command);
    }
    lines
}

/// Why a step failed, without what `message` has of it.
fn explain(label: &str, failure: &Failure, message: &str) -> Vec<Line> {
    let mut rows = Vec::new();
    // Further lines of an error are indented in the message.
    let error = failure.error.message.replace('\n', "\n    ");
    if !message.contains(&error) {
        rows.push(failure_line(failure));
    }
    if !failure.failed_checks.is_empty() {
        for (name, detail) in failure.failed_checks.iter().take(CHECKS) {
            let detail = detail.as_deref().unwrap_or("failed");
            rows.push(format!("check {name}: {detail}"));
        }
        let more = failure.failed_checks.len().saturating_sub(CHECKS);
        if more > 0 {
            rows.push(format!("and {more} more failed checks"));
        }
    } else if let Some(command) = failure.command.as_ref().filter(|_| !is_stop(failure)) {
        rows.push(format!("command {}", command.action));
        let skip = command.tail.len().saturating_sub(LINES);
        let tail = command.tail.iter().skip(skip);
        rows.extend(tail.map(|line| format!("  | {}", clean::output(line))));
    }
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let label = if index == 0 { label } else { "" };
            Line::summary(Tone::Plain, format!("  {label:<9} {row}"))
        })
        .collect()
}

/// The step failed only because the run was stopped: the output of its last
/// command is no explanation.
fn is_stop(failure: &Failure) -> bool {
    failure.error.code == "gate.cancelled"
}

/// Step, function and error.
pub(crate) fn failure_line(failure: &Failure) -> String {
    let phase = match failure.phase {
        Phase::Run => String::new(),
        phase => format!(" ({})", wording::phase(phase)),
    };
    format!(
        "{}{}{phase}: {}",
        wording::section(failure.section),
        failure.step,
        failure.error
    )
}
