//! GitHub Actions: the plain lines in one group a step, and one annotation for
//! the cause. Only one, because GitHub shows ten at most.
//!
//! Text from a target can contain workflow commands: `::` at the start of a line,
//! after any spaces, and the older `##[` anywhere in it. Both are broken up in
//! every line but our own.

use crate::text::failure_line;
use crate::{PlainReporter, Reporter, RunModel, Sink, wording};
use vdeploy_core::clean;
use vdeploy_core::event::{Phase, RunEvent};

#[derive(Debug)]
pub struct GithubReporter {
    plain: PlainReporter,
    open: bool,
}

impl GithubReporter {
    /// `sink` must be where GitHub reads: standard output.
    pub fn new(sink: Sink, verbose: bool) -> Self {
        Self::around(PlainReporter::new(sink, verbose))
    }

    fn around(plain: PlainReporter) -> Self {
        Self { plain, open: false }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.plain.raw("::endgroup::");
        }
    }

    fn annotate(&mut self, model: &RunModel, message: &str) {
        let title = model.ending().map_or("", wording::headline);
        let mut cause: Vec<_> = message.lines().map(str::to_owned).collect();
        if let Some(failure) = &model.cause {
            cause.push(failure_line(failure));
            for (name, detail) in &failure.failed_checks {
                let detail = detail.as_deref().unwrap_or("failed");
                cause.push(format!("check {name}: {detail}"));
            }
        }
        if cause.is_empty() {
            cause.push(title.to_owned());
        }
        let cause: Vec<_> = cause.iter().map(|line| clean::line(line)).collect();
        let line = format!(
            "::error title={}::{}",
            property(title),
            data(&cause.join("\n"))
        );
        self.plain.raw(&line);
    }
}

impl Reporter for GithubReporter {
    fn event(&mut self, model: &RunModel, event: &RunEvent) {
        match event {
            RunEvent::StepStarted {
                step,
                phase,
                attempt,
                ..
            } => {
                self.close();
                let phase = match phase {
                    Phase::Run => "",
                    other => wording::phase(*other),
                };
                let mut title = format!("{step} {phase}").trim_end().to_owned();
                if *attempt > 1 {
                    title.push_str(&format!(", attempt {attempt}"));
                }
                self.plain
                    .raw(&format!("::group::{}", data(&clean::line(&title))));
                self.open = true;
            }
            // A failure is never inside a group, which the page folds.
            RunEvent::StepFailed { .. }
            | RunEvent::RollbackStarted { .. }
            | RunEvent::RunFinished { .. } => self.close(),
            _ => {}
        }
        for line in self.plain.render(model, event) {
            self.plain.raw(&escape_workflow_commands(&line));
        }
        match event {
            RunEvent::StepFinished { .. } => self.close(),
            RunEvent::RunFinished {
                exit_code, message, ..
            } if *exit_code != 0 => self.annotate(model, message),
            _ => {}
        }
    }
}

/// The line, changed so that the runner finds no command in it.
pub fn escape_workflow_commands(line: &str) -> String {
    let line = line.replace("##[", "# #[");
    let text = line.trim_start();
    if text.starts_with("::") {
        let (indent, rest) = line.split_at(line.len() - text.len() + 1);
        return format!("{indent} {rest}");
    }
    line
}

fn data(text: &str) -> String {
    text.replace("##[", "# #[")
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{self, Show as _};
    use crate::sink::tests::Kept;
    use vdeploy_core::event::Outcome;

    fn text(events: &[RunEvent]) -> String {
        let kept = Kept::default();
        let sink = Sink::new(kept.clone());
        let plain = PlainReporter::with_clock(sink, true, Box::new(|| 0));
        let mut reporter = GithubReporter::around(plain);
        reporter.show(events);
        kept.text()
    }

    #[test]
    fn a_group_for_each_step_and_the_cause_once() {
        let text = text(&script::rolled_back());
        let commands: Vec<_> = text.lines().filter(|line| line.starts_with("::")).collect();
        assert_eq!(
            commands,
            [
                "::group::git-pull",
                "::endgroup::",
                "::group::smoke",
                "::endgroup::",
                "::group::smoke",
                "::endgroup::",
                "::group::git-pull undo",
                "::endgroup::",
                "::group::verify",
                "::endgroup::",
                "::error title=rolled back%3A the target is as it was before the run%2C verified::smoke: 1 of 2 checks failed (smoke.checks)%0Acheck auth: expected 401, found 200",
            ]
        );
        let failed = text.find("smoke: run failed").unwrap();
        let before = &text[..failed];
        assert!(before.rfind("::endgroup::") > before.rfind("::group::"));
    }

    #[test]
    fn a_target_cannot_give_the_runner_commands() {
        let text = text(&[
            script::run_started(&["a"], false),
            script::output("a", "::set-env name=X::y"),
            script::output("a", "##[add-mask]e"),
            script::finished(Outcome::Refused, 3, "100%\n::stop::\r", &[]),
        ]);
        let commands: Vec<_> = text
            .lines()
            .filter(|line| line.trim().starts_with("::"))
            .collect();
        assert_eq!(
            commands,
            ["::error title=refused%3A nothing was changed::100%25%0A::stop::"]
        );
        assert!(text.contains("\n  : :stop::\n"), "{text}");
        assert!(!text.contains("##["), "{text}");
    }
}
