//! Turns events into lines for people, in three amounts of detail. Pure.

use super::{Tone, duration, summary};
use crate::{RunModel, wording};
use std::fmt::Write as _;
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::clean;
use vdeploy_core::event::{CheckStatus, Level, Phase, RunEvent};
use vdeploy_journal::moment::moment;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Detail {
    /// For a terminal with a live line, which shows what is running.
    Live,
    /// A line for each thing that matters.
    Plain,
    /// Everything: calls, output, debug logs.
    Verbose,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Stands before the text. If it is not empty, it has the colour and the
    /// text has none.
    mark: &'static str,
    tone: Tone,
    pub text: String,
    /// Part of the final block, which has no times.
    pub is_summary: bool,
}

impl Line {
    fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            mark: "",
            tone,
            text: clean::line(text.as_ref()).into_owned(),
            is_summary: false,
        }
    }

    fn marked(mark: &'static str, tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            mark,
            ..Self::new(tone, text)
        }
    }

    pub fn summary(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            is_summary: true,
            ..Self::new(tone, text)
        }
    }

    pub fn paint(&self, colour: bool) -> String {
        if self.mark.is_empty() {
            self.tone.paint(&self.text, colour).into_owned()
        } else {
            format!("{} {}", self.tone.paint(self.mark, colour), self.text)
        }
    }
}

/// Renders the events of one run.
#[derive(Debug)]
pub(super) struct LineRenderer {
    detail: Detail,
    /// Steps whose check passed, and their milliseconds: one line for all.
    checked: (usize, u64),
}

impl LineRenderer {
    pub fn new(detail: Detail) -> Self {
        Self {
            detail,
            checked: (0, 0),
        }
    }

    /// The lines that `event` adds; `model` has it already.
    pub fn render(&mut self, model: &RunModel, event: &RunEvent) -> Vec<Line> {
        let mut lines = Vec::new();
        self.sum_up_checks(event, &mut lines);
        match event {
            RunEvent::RunStarted { .. }
            | RunEvent::RunResumed { .. }
            | RunEvent::SnapshotTaken { .. }
            | RunEvent::TargetMoved { .. }
            | RunEvent::RollbackStarted { .. } => run_lines(event, &mut lines),
            RunEvent::RunFinished { .. } => lines.extend(summary::lines(model)),
            RunEvent::CallStarted { .. }
            | RunEvent::CallFinished { .. }
            | RunEvent::Output { .. } => self.call_lines(model, event, &mut lines),
            _ => self.step_lines(model, event, &mut lines),
        }
        lines
    }

    fn sum_up_checks(&mut self, event: &RunEvent, lines: &mut Vec<Line>) {
        if self.detail != Detail::Live {
            return;
        }
        match event {
            RunEvent::StepFinished {
                phase: Phase::Check,
                duration_ms,
                ..
            } => {
                self.checked.0 += 1;
                self.checked.1 += duration_ms;
            }
            RunEvent::StepStarted {
                phase: Phase::Run | Phase::Undo,
                ..
            }
            | RunEvent::RunFinished { .. } => {
                let (count, ms) = std::mem::take(&mut self.checked);
                if count > 0 {
                    let what = if count == 1 { "step" } else { "steps" };
                    let text = format!("checked {count} {what}  {}", duration(ms));
                    lines.push(Line::marked("✓", Tone::Good, text));
                }
            }
            _ => {}
        }
    }

    fn call_lines(&self, model: &RunModel, event: &RunEvent, lines: &mut Vec<Line>) {
        let verbose = self.detail == Detail::Verbose;
        match event {
            RunEvent::CallStarted { call, action, .. } if verbose => {
                lines.push(Line::new(Tone::Dim, format!("  call {call}: {action}")));
            }
            RunEvent::CallFinished { not_made: true, .. } => {
                let action = &model.attempt.action;
                lines.push(Line::new(Tone::Plain, format!("  would do: {action}")));
            }
            RunEvent::CallFinished {
                call,
                ok,
                duration_ms,
                ..
            } if verbose => {
                let (tone, how) = if *ok {
                    (Tone::Dim, "ok")
                } else {
                    (Tone::Warn, "failed")
                };
                let took = duration(*duration_ms);
                lines.push(Line::new(tone, format!("  call {call} {how} ({took})")));
            }
            RunEvent::Output { stream, line, .. } if verbose => {
                let bar = match stream {
                    Stream::Stdout => '|',
                    Stream::Stderr => '!',
                };
                let line = clean::output(line);
                lines.push(Line::new(Tone::Dim, format!("  {bar} {line}")));
            }
            _ => {}
        }
    }

    fn step_lines(&self, model: &RunModel, event: &RunEvent, lines: &mut Vec<Line>) {
        let live = self.detail == Detail::Live;
        let verbose = self.detail == Detail::Verbose;
        match event {
            RunEvent::Doing { text } if !live => lines.push(Line::new(Tone::Plain, text)),
            RunEvent::StepStarted {
                step,
                section,
                phase,
                attempt,
            } if !live => {
                let (list, phase) = (wording::section(*section), wording::phase(*phase));
                let again = match attempt {
                    0 | 1 => String::new(),
                    _ => format!(", attempt {attempt}"),
                };
                lines.push(Line::new(
                    Tone::Plain,
                    format!("{list}{step}: {phase}{again}"),
                ));
            }
            RunEvent::Log {
                step,
                level,
                message,
            } => {
                let (tone, kind) = match level {
                    Level::Error => (Tone::Bad, "error: "),
                    Level::Warn => (Tone::Warn, "warning: "),
                    Level::Info if !live => (Tone::Plain, ""),
                    Level::Debug if verbose => (Tone::Dim, "debug: "),
                    Level::Trace if verbose => (Tone::Dim, "trace: "),
                    _ => return,
                };
                // Elsewhere the line above names the step.
                let step = match step {
                    Some(step) if live => format!("{step}: "),
                    _ => String::new(),
                };
                lines.push(Line::new(tone, format!("  {kind}{step}{message}")));
            }
            RunEvent::Check {
                name,
                status,
                duration_ms,
                detail,
                ..
            } => {
                let (tone, word) = match status {
                    CheckStatus::Failed => (Tone::Bad, "FAIL"),
                    _ if live => return,
                    CheckStatus::Passed => (Tone::Good, "pass"),
                    CheckStatus::Skipped => (Tone::Dim, "skip"),
                };
                let detail = match detail {
                    Some(detail) if *status != CheckStatus::Passed || verbose => {
                        format!(": {detail}")
                    }
                    _ => String::new(),
                };
                let took = duration(*duration_ms);
                lines.push(Line::new(tone, format!("  {word} {name} ({took}){detail}")));
            }
            RunEvent::StepFinished {
                step,
                section,
                phase,
                summary,
                duration_ms,
                ..
            } => {
                let (list, took) = (wording::section(*section), duration(*duration_ms));
                let quiet = *phase == Phase::Check && summary.is_none();
                if live && *phase != Phase::Check {
                    let result = step_result(model, summary.as_deref());
                    let undone = if *phase == Phase::Undo { " undone" } else { "" };
                    let text = format!("{list}{step}{undone}  {took}{result}");
                    lines.push(Line::marked("✓", Tone::Good, text));
                } else if !live && (verbose || !quiet) {
                    let how = match phase {
                        Phase::Check => "check ok",
                        Phase::Run => "done",
                        Phase::Undo => "undone",
                    };
                    let summary = summary.as_ref().map_or(String::new(), |s| format!(": {s}"));
                    lines.push(Line::new(
                        Tone::Good,
                        format!("{list}{step}: {how} ({took}){summary}"),
                    ));
                }
            }
            RunEvent::StepFailed {
                step,
                section,
                phase,
                failure,
                retry_in_ms,
                duration_ms,
            } => {
                let (list, phase) = (wording::section(*section), wording::phase(*phase));
                let (took, error) = (duration(*duration_ms), &failure.error);
                let tone = if retry_in_ms.is_some() {
                    Tone::Warn
                } else {
                    Tone::Bad
                };
                let text = format!("{list}{step}: {phase} failed ({took}): {error}");
                lines.push(if live {
                    Line::marked("✗", tone, text)
                } else {
                    Line::new(tone, text)
                });
                for line in failure.context.iter().flat_map(|text| text.lines()) {
                    let line = clean::output(line);
                    lines.push(Line::new(Tone::Dim, format!("    {line}")));
                }
                if error.maybe_applied {
                    let text = "    the change may have happened anyway";
                    lines.push(Line::new(Tone::Warn, text));
                }
                if let Some(ms) = retry_in_ms {
                    let text = format!("{list}{step}: retrying in {}", duration(*ms));
                    lines.push(Line::new(Tone::Plain, text));
                }
            }
            _ => {}
        }
    }
}

fn run_lines(event: &RunEvent, lines: &mut Vec<Line>) {
    match event {
        RunEvent::RunStarted {
            run,
            plan,
            target,
            vm,
            steps,
            dry_run,
        } => {
            let dry = if *dry_run { "dry " } else { "" };
            let vm = vm.as_ref().map_or(String::new(), |vm| format!(" ({vm})"));
            lines.push(Line::new(
                Tone::Plain,
                format!("{dry}run {run}: plan {plan} on {target}{vm}"),
            ));
            let steps: Vec<_> = steps.iter().map(|step| step.as_str()).collect();
            lines.push(Line::new(Tone::Dim, format!("steps: {}", steps.join(", "))));
        }
        RunEvent::RunResumed {
            finished,
            step,
            recorded,
            in_doubt,
            ..
        } => {
            let names: Vec<_> = finished.iter().map(|step| step.as_str()).collect();
            let mut text = match names.is_empty() {
                true => "resuming the run; no step had finished".to_owned(),
                false => format!("resuming the run; finished before: {}", names.join(", ")),
            };
            if let Some(step) = step {
                let _ = write!(text, "; interrupted in {step}, {recorded} calls recorded");
            }
            if *in_doubt > 0 {
                let _ = write!(text, ", {in_doubt} in doubt");
            }
            lines.push(Line::new(Tone::Plain, text));
        }
        RunEvent::SnapshotTaken {
            snapshot, provider, ..
        } => {
            let by = provider
                .as_ref()
                .map_or(String::new(), |plugin| format!(" by the plugin {plugin}"));
            lines.push(Line::new(
                Tone::Plain,
                format!("  snapshot {snapshot} taken{by}"),
            ));
        }
        RunEvent::TargetMoved { from, to } => {
            let from = from
                .as_ref()
                .map_or(String::new(), |vm| format!(" (was {vm})"));
            lines.push(Line::new(
                Tone::Plain,
                format!("  the target is now {to}{from}"),
            ));
        }
        RunEvent::RollbackStarted { cause, undoes } => {
            let reason = match (cause, undoes) {
                (Some(step), _) => format!("{step} failed"),
                (None, None) => "requested by the operator".to_owned(),
                (None, Some(undone)) => format!(
                    "it undoes run {} (plan {}, {})",
                    undone.run,
                    undone.plan,
                    moment(undone.started_at)
                ),
            };
            lines.push(Line::new(Tone::Warn, format!("rollback begins: {reason}")));
        }
        _ => {}
    }
}

fn step_result(model: &RunModel, summary: Option<&str>) -> String {
    if let Some(summary) = summary {
        return format!("  {summary}");
    }
    let attempt = &model.attempt;
    match (attempt.passed_checks, attempt.failed_checks.len()) {
        (0, 0) => String::new(),
        (1, 0) => "  1 check passed".to_owned(),
        (passed, 0) => format!("  {passed} checks passed"),
        (passed, failed) => format!("  {passed} checks passed, {failed} failed"),
    }
}
