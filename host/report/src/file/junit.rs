//! `--junit FILE`: a suite a step, and in it a case for each named check and for
//! each function of the step that was called. A step that was not reached is
//! skipped. What counts is the last attempt.

use crate::FileReport;
use crate::model::{ResultStatus, RunModel, StepModel, StepResult, Subject};
use crate::wording;
use std::fmt::Write as _;
use vdeploy_core::clean;
use vdeploy_core::event::Phase;

pub const REPORT: FileReport = FileReport {
    flag: "junit",
    help: "Also write the named checks and steps as JUnit XML",
    render,
};

/// The plan and the suite of a run that did not begin or did not finish.
const VDEPLOY: &str = "vdeploy";

struct Suite {
    name: String,
    cases: Vec<Case>,
    ms: u64,
}

struct Case {
    name: String,
    ms: u64,
    status: ResultStatus,
    notes: Vec<String>,
}

fn render(model: &RunModel) -> String {
    let Some(end) = &model.end else {
        let killed = failed(
            "the run did not finish",
            "vdeploy.unfinished",
            "vdeploy was killed; `vdeploy runs list` shows the run",
        );
        return render_suites(VDEPLOY, &[], &[Suite::of_run(0, killed)], 0);
    };
    let outcome = model.ending().map_or("", wording::headline);
    let mut suites: Vec<_> = model.steps.iter().map(Suite::of_step).collect();
    if end.exit_code != 0 && suites.iter().all(|suite| suite.failures() == 0) {
        // Refused, held, interrupted: no step failed, and the run is not green.
        let code = format!("exit.{}", end.exit_code);
        let status = failed(outcome, &code, &end.message);
        suites.push(Suite::of_run(end.duration_ms, status));
    }
    let target = model.target.as_ref();
    let properties = target
        .map(|target| ("target", target.to_string()))
        .into_iter()
        .chain([
            ("run", end.run.to_string()),
            ("outcome", outcome.to_owned()),
            ("exit-code", end.exit_code.to_string()),
        ]);
    let properties: Vec<_> = properties.collect();
    let plan = model.plan.as_ref().map_or("", |plan| plan.as_str());
    render_suites(plan, &properties, &suites, end.duration_ms)
}

fn failed(message: &str, code: &str, text: &str) -> ResultStatus {
    ResultStatus::Failed {
        message: message.to_owned(),
        code: Some(code.to_owned()),
        context: vec![text.to_owned()],
    }
}

impl Suite {
    fn of_run(ms: u64, status: ResultStatus) -> Self {
        Self {
            name: VDEPLOY.to_owned(),
            cases: vec![Case::of_run(ms, status)],
            ms,
        }
    }

    fn of_step(model: &StepModel) -> Self {
        let is_function = |r: &&StepResult| matches!(r.subject, Subject::Function(_));
        let mut cases: Vec<_> = model.results.iter().map(Case::of_result).collect();
        if cases.is_empty() {
            let reason = "not reached".to_owned();
            cases.push(Case::of_run(0, ResultStatus::Skipped { reason }));
        }
        Self {
            name: format!("{}{}", wording::section(model.section), model.step),
            cases,
            // The checks ran within the functions.
            ms: model
                .results
                .iter()
                .filter(is_function)
                .map(|result| result.duration_ms)
                .sum(),
        }
    }

    fn failures(&self) -> usize {
        let is_failed = |case: &&Case| matches!(case.status, ResultStatus::Failed { .. });
        self.cases.iter().filter(is_failed).count()
    }

    fn skipped(&self) -> usize {
        let is_skipped = |case: &&Case| matches!(case.status, ResultStatus::Skipped { .. });
        self.cases.iter().filter(is_skipped).count()
    }
}

impl Case {
    fn of_run(ms: u64, status: ResultStatus) -> Self {
        Self {
            name: "run".to_owned(),
            ms,
            status,
            notes: Vec::new(),
        }
    }

    fn of_result(result: &StepResult) -> Self {
        let earlier = (1..).zip(&result.earlier_failures);
        Self {
            name: match &result.subject {
                Subject::Check(name) => format!("check: {name}"),
                // `check` would read like a named check.
                Subject::Function(Phase::Check) => "preflight".to_owned(),
                Subject::Function(phase) => wording::phase(*phase).to_owned(),
            },
            ms: result.duration_ms,
            status: result.status.clone(),
            notes: earlier
                .map(|(attempt, message)| format!("attempt {attempt} failed: {message}"))
                .collect(),
        }
    }
}

fn render_suites(plan: &str, properties: &[(&str, String)], suites: &[Suite], ms: u64) -> String {
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
        let name = escape(&suite.name);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">",
            suite.cases.len(),
            suite.failures(),
            suite.skipped(),
            secs(suite.ms),
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
    match &case.status {
        ResultStatus::Passed => {}
        ResultStatus::Skipped { reason } => {
            let _ = writeln!(inner, "      <skipped message=\"{}\"/>", escape(reason));
        }
        ResultStatus::Failed {
            message,
            code,
            context,
        } => {
            let _ = writeln!(
                inner,
                "      <failure message=\"{}\" type=\"{}\">{}</failure>",
                escape(message),
                escape(code.as_deref().unwrap_or("check")),
                escape(&context.join("\n"))
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

/// For text and attributes. Drops what XML 1.0 cannot hold and what a viewer
/// would act on.
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
