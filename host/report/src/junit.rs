//! `--junit FILE`: a suite a step, a case for each named check and for each
//! function of the step that was called; a step that was not reached is
//! skipped. What counts is the last attempt.
//!
//! The file is there from the start, with one failing case that says that the
//! run did not finish: a killed run never looks green.

use super::Reporter;
use crate::atomic_file::{self, Readers};
use crate::model::Story;
use crate::text::summary::headline_of;
use crate::wording as text;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use vdeploy_core::clean;
use vdeploy_core::event::RunEvent;
use vdeploy_core::event::{CheckStatus, Phase, Section};

/// Writes a JUnit file at the end of a run.
#[derive(Debug)]
pub struct JunitReporter {
    path: PathBuf,
    warnings: super::Sink,
    plan: String,
    properties: Vec<(&'static str, String)>,
    suites: Vec<Suite>,
    story: Story,
}

#[derive(Debug)]
struct Suite {
    section: Section,
    step: String,
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    name: String,
    ms: u64,
    result: Verdict,
    /// Earlier attempts and the like.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Verdict {
    Passed,
    Skipped(String),
    Failed {
        message: String,
        kind: String,
        text: String,
    },
}

impl JunitReporter {
    /// Writes the file that a killed run leaves behind. Later problems with
    /// the file are said on `warnings`.
    ///
    /// # Errors
    /// When the file cannot be written: nothing has begun yet.
    pub fn create(path: &Path, warnings: super::Sink) -> io::Result<Self> {
        let mut unfinished = Suite::new(Section::Steps, "vdeploy");
        unfinished.cases.push(Case::new(
            "run",
            0,
            Verdict::Failed {
                message: "the run did not finish".to_owned(),
                kind: "vdeploy.unfinished".to_owned(),
                text: "vdeploy was killed; `vdeploy runs list` shows the run".to_owned(),
            },
        ));
        atomic_file::write(
            path,
            &render("vdeploy", &[], &[unfinished], 0),
            Readers::Others,
        )?;
        Ok(Self {
            path: path.to_owned(),
            warnings,
            plan: String::new(),
            properties: Vec::new(),
            suites: Vec::new(),
            story: Story::default(),
        })
    }

    fn suite(&mut self, section: Section, step: &str) -> &mut Suite {
        let known = |suite: &Suite| suite.section == section && suite.step == step;
        let index = self.suites.iter().position(known).unwrap_or_else(|| {
            self.suites.push(Suite::new(section, step));
            self.suites.len() - 1
        });
        // The index was just found or made.
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut self.suites[index]
    }

    /// Checks say their step only: it is the one that runs.
    fn running(&mut self, step: &str) -> &mut Suite {
        let found = self.suites.iter().rev().find(|suite| suite.step == step);
        let section = found.map_or(Section::Steps, |suite| suite.section);
        self.suite(section, step)
    }

    fn finish(&mut self, event: &RunEvent) {
        let RunEvent::RunFinished {
            run,
            outcome,
            unchanged,
            exit_code,
            message,
            duration_ms,
            ..
        } = event
        else {
            return;
        };
        for suite in self
            .suites
            .iter_mut()
            .filter(|suite| suite.cases.is_empty())
        {
            let reason = Verdict::Skipped("not reached".to_owned());
            suite.cases.push(Case::new("run", 0, reason));
        }
        let words = headline_of(&self.story, *outcome, *unchanged);
        let failures = self.suites.iter().map(Suite::failures).sum::<usize>();
        if *exit_code != 0 && failures == 0 {
            // Refused, held, interrupted: no step failed, and still not green.
            let suite = self.suite(Section::Steps, "vdeploy");
            let text = message.clone();
            let (message, kind) = (words.to_owned(), format!("exit.{exit_code}"));
            let failed = Verdict::Failed {
                message,
                kind,
                text,
            };
            suite.cases.push(Case::new("run", *duration_ms, failed));
        }
        self.properties.push(("run", run.to_string()));
        self.properties.push(("outcome", words.to_owned()));
        self.properties.push(("exit-code", exit_code.to_string()));
        let xml = render(&self.plan, &self.properties, &self.suites, *duration_ms);
        if let Err(error) = atomic_file::write(&self.path, &xml, Readers::Others) {
            let path = self.path.display();
            self.warnings
                .line(&format!("warning: {path} could not be written: {error}"));
        }
    }
}

impl Reporter for JunitReporter {
    fn event(&mut self, event: &RunEvent) {
        self.story.hear(event);
        match event {
            RunEvent::RunStarted {
                plan,
                target,
                steps,
                ..
            } => {
                self.plan = plan.to_string();
                self.properties.push(("target", target.to_string()));
                for step in steps {
                    self.suite(Section::Steps, step.as_str());
                }
            }
            RunEvent::StepStarted { step, section, .. } => {
                self.suite(*section, step.as_str());
            }
            RunEvent::Check {
                step,
                name,
                status,
                duration_ms,
                detail,
            } => {
                let detail = || detail.clone().unwrap_or_default();
                let result = match status {
                    CheckStatus::Passed => Verdict::Passed,
                    CheckStatus::Skipped => Verdict::Skipped(detail()),
                    CheckStatus::Failed => Verdict::Failed {
                        message: detail(),
                        kind: "check".to_owned(),
                        text: String::new(),
                    },
                };
                let name = format!("check: {name}");
                self.running(step.as_str())
                    .set(Case::new(&name, *duration_ms, result));
            }
            RunEvent::StepFinished {
                step,
                section,
                phase,
                duration_ms,
                ..
            } => {
                let name = phase_case(*phase);
                self.suite(*section, step.as_str()).set(Case::new(
                    name,
                    *duration_ms,
                    Verdict::Passed,
                ));
            }
            RunEvent::StepFailed {
                step,
                section,
                phase,
                failure,
                duration_ms,
                ..
            } => {
                let result = Verdict::Failed {
                    message: failure.error.message.clone(),
                    kind: failure.error.code.clone(),
                    text: failure.context.join("\n"),
                };
                self.suite(*section, step.as_str()).set(Case::new(
                    phase_case(*phase),
                    *duration_ms,
                    result,
                ));
            }
            RunEvent::RunFinished { .. } => self.finish(event),
            _ => {}
        }
    }
}

fn phase_case(phase: Phase) -> &'static str {
    match phase {
        // `check` would read like a named check.
        Phase::Check => "preflight",
        Phase::Run => "run",
        Phase::Undo => "undo",
    }
}

impl Suite {
    fn new(section: Section, step: &str) -> Self {
        Self {
            section,
            step: step.to_owned(),
            cases: Vec::new(),
        }
    }

    /// The result of a later attempt replaces the one before.
    fn set(&mut self, mut case: Case) {
        let Some(old) = self.cases.iter_mut().find(|old| old.name == case.name) else {
            self.cases.push(case);
            return;
        };
        case.notes = std::mem::take(&mut old.notes);
        if let Verdict::Failed { message, .. } = &old.result {
            let attempt = case.notes.len() + 1;
            case.notes
                .push(format!("attempt {attempt} failed: {message}"));
        }
        *old = case;
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.result)).count()
    }

    fn failures(&self) -> usize {
        self.count(|result| matches!(result, Verdict::Failed { .. }))
    }

    fn skipped(&self) -> usize {
        self.count(|result| matches!(result, Verdict::Skipped(_)))
    }
}

impl Case {
    fn new(name: &str, ms: u64, result: Verdict) -> Self {
        Self {
            name: name.to_owned(),
            ms,
            result,
            notes: Vec::new(),
        }
    }
}

fn render(plan: &str, properties: &[(&str, String)], suites: &[Suite], ms: u64) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total = |count: fn(&Suite) -> usize| suites.iter().map(count).sum::<usize>();
    let _ = writeln!(
        xml,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}\">",
        escape(plan),
        total(|suite| suite.cases.len()),
        total(Suite::failures),
        total(Suite::skipped),
        secs(ms),
    );
    for suite in suites {
        let name = format!("{}{}", text::section(suite.section), suite.step);
        let name = escape(&name);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">",
            suite.cases.len(),
            suite.failures(),
            suite.skipped(),
            secs(
                suite
                    .cases
                    .iter()
                    .filter(|c| !c.name.starts_with("check: "))
                    .map(|c| c.ms)
                    .sum()
            ),
        );
        if !properties.is_empty() {
            xml.push_str("    <properties>\n");
            for (name, value) in properties {
                let value = escape(value);
                let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{value}\"/>");
            }
            xml.push_str("    </properties>\n");
        }
        for case in &suite.cases {
            render_case(&mut xml, plan, &name, case);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn render_case(xml: &mut String, plan: &str, suite: &str, case: &Case) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}.{suite}\" name=\"{}\" time=\"{}\"",
        escape(plan),
        escape(&case.name),
        secs(case.ms)
    );
    let mut inner = String::new();
    match &case.result {
        Verdict::Passed => {}
        Verdict::Skipped(why) => {
            let _ = writeln!(inner, "      <skipped message=\"{}\"/>", escape(why));
        }
        Verdict::Failed {
            message,
            kind,
            text,
        } => {
            let _ = writeln!(
                inner,
                "      <failure message=\"{}\" type=\"{}\">{}</failure>",
                escape(message),
                escape(kind),
                escape(text)
            );
        }
    }
    if !case.notes.is_empty() {
        let notes = escape(&case.notes.join("\n"));
        let _ = writeln!(inner, "      <system-out>{notes}</system-out>");
    }
    if inner.is_empty() {
        xml.push_str("/>\n");
    } else {
        let _ = writeln!(xml, ">\n{inner}    </testcase>");
    }
}

fn secs(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// For text and attributes: what XML 1.0 cannot hold, and what a viewer would
/// act on, is left out.
fn escape(text: &str) -> String {
    let text = clean::block(text);
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(char));
            }
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
