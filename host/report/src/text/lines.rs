//! Turns events into lines for people. Pure: the same lines for every screen,
//! in three amounts of detail.

use super::summary;
use crate::model::Story;
use crate::wording::{self as text, Tone, duration};
use std::fmt::Write as _;
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::clean;
use vdeploy_core::event::RunEvent;
use vdeploy_core::event::{CheckStatus, Level, Phase};
use vdeploy_journal::moment::moment;

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detail {
    /// For a terminal that shows what is going on by a live line.
    Live,
    /// One line for each thing that matters.
    Plain,
    /// Everything: calls, output, debug logs.
    Verbose,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// Stands before the text and carries the colour if it is not empty.
    pub mark: &'static str,
    pub tone: Tone,
    pub text: String,
    /// Belongs to the final block, which stands for itself.
    pub last: bool,
}

impl Line {
    fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            mark: "",
            tone,
            text: clean::line(text.as_ref()).into_owned(),
            last: false,
        }
    }

    fn marked(mark: &'static str, tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            mark,
            ..Self::new(tone, text)
        }
    }

    /// A line of the final block.
    pub fn ending(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            last: true,
            ..Self::new(tone, text)
        }
    }

    /// As it is written to a screen.
    pub fn render(&self, colour: bool) -> String {
        if self.mark.is_empty() {
            self.tone.paint(&self.text, colour).into_owned()
        } else {
            format!("{} {}", self.tone.paint(self.mark, colour), self.text)
        }
    }
}

/// Tells one run.
#[derive(Debug)]
pub(crate) struct Narrator {
    pub story: Story,
    detail: Detail,
    /// Number and total milliseconds of the checks that passed so far, until
    /// they are summed up in one line.
    checked: (usize, u64),
}

impl Narrator {
    pub fn new(detail: Detail) -> Self {
        Self {
            story: Story::default(),
            detail,
            checked: (0, 0),
        }
    }

    /// The lines that `event` adds.
    pub fn tell(&mut self, event: &RunEvent) -> Vec<Line> {
        // A dry run shows the change that was not made: its action is known
        // only until the story hears that the call is over.
        let action = self.story.attempt.call.clone();
        self.story.hear(event);
        let mut lines = Vec::new();
        self.sum_up_checks(event, &mut lines);
        self.lines(event, action, &mut lines);
        lines
    }

    /// On a live screen the preflight of all steps is one line.
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

    fn lines(&self, event: &RunEvent, action: Option<String>, lines: &mut Vec<Line>) {
        let live = self.detail == Detail::Live;
        let verbose = self.detail == Detail::Verbose;
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
                    true => "going on with the run; no step had finished".to_owned(),
                    false => format!(
                        "going on with the run; finished before: {}",
                        names.join(", ")
                    ),
                };
                if let Some(step) = step {
                    let _ = write!(text, "; cut off in {step}, {recorded} calls recorded");
                }
                if *in_doubt > 0 {
                    let _ = write!(text, ", {in_doubt} in doubt");
                }
                lines.push(Line::new(Tone::Plain, text));
            }
            RunEvent::Doing { text } if !live => lines.push(Line::new(Tone::Plain, text)),
            RunEvent::StepStarted {
                step,
                section,
                phase,
                attempt,
            } if !live => {
                let (list, phase) = (text::section(*section), text::phase(*phase));
                let again = match attempt {
                    0 | 1 => String::new(),
                    _ => format!(", attempt {attempt}"),
                };
                lines.push(Line::new(
                    Tone::Plain,
                    format!("{list}{step}: {phase}{again}"),
                ));
            }
            RunEvent::CallStarted { call, action, .. } if verbose => {
                lines.push(Line::new(Tone::Dim, format!("  call {call}: {action}")));
            }
            RunEvent::CallFinished { not_made: true, .. } => {
                let action = action.unwrap_or_default();
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
                // Elsewhere the step stands in the line above.
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
                let (list, took) = (text::section(*section), duration(*duration_ms));
                let quiet = *phase == Phase::Check && summary.is_none();
                if live && *phase != Phase::Check {
                    let rest = self.rest(summary.as_deref());
                    let undone = if *phase == Phase::Undo { " undone" } else { "" };
                    let text = format!("{list}{step}{undone}  {took}{rest}");
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
                let (list, phase) = (text::section(*section), text::phase(*phase));
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
                    let text = "    the change may have happened all the same";
                    lines.push(Line::new(Tone::Warn, text));
                }
                if let Some(ms) = retry_in_ms {
                    let text = format!("{list}{step}: next attempt in {}", duration(*ms));
                    lines.push(Line::new(Tone::Plain, text));
                }
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
                    .map_or(String::new(), |vm| format!(", was {vm}"));
                lines.push(Line::new(
                    Tone::Plain,
                    format!("  the target is {to} now{from}"),
                ));
            }
            RunEvent::RollbackStarted { cause, undoes } => {
                let why = match (cause, undoes) {
                    (Some(step), _) => format!("{step} failed"),
                    (None, None) => "asked for".to_owned(),
                    (None, Some(undone)) => format!(
                        "it undoes run {} (plan {}, {})",
                        undone.run,
                        undone.plan,
                        moment(undone.started_at)
                    ),
                };
                lines.push(Line::new(Tone::Warn, format!("rollback begins: {why}")));
            }
            RunEvent::RunFinished { .. } => lines.extend(summary::block(&self.story, event)),
            _ => {}
        }
    }

    /// What follows the time of a finished step.
    fn rest(&self, summary: Option<&str>) -> String {
        if let Some(summary) = summary {
            return format!("  {summary}");
        }
        let attempt = &self.story.attempt;
        match (attempt.passed, attempt.failed()) {
            (0, 0) => String::new(),
            (1, 0) => "  1 check passed".to_owned(),
            (passed, 0) => format!("  {passed} checks passed"),
            (passed, failed) => format!("  {passed} checks passed, {failed} failed"),
        }
    }
}
