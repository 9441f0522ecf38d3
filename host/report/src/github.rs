//! GitHub Actions: the plain lines with one fold a step, and one annotation
//! for the cause. Only the cause, because GitHub shows ten at most.
//!
//! Text from a target could contain workflow commands: `::` at the beginning of
//! a line, after any spaces, and the older `##[` anywhere in it. Both are
//! broken up in all lines but our own.

use super::{PlainReporter, Reporter, Sink};
use crate::text::summary::{headline, headline_of};
use vdeploy_core::clean;
use vdeploy_core::event::Outcome;
use vdeploy_core::event::Phase;
use vdeploy_core::event::RunEvent;

/// Writes plain lines with GitHub's folds and annotations.
#[derive(Debug)]
pub struct GithubReporter {
    plain: PlainReporter,
    open: bool,
}

impl GithubReporter {
    /// Wraps the plain lines, which go where GitHub reads: standard output.
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

    fn annotate(&mut self, outcome: Outcome, message: &str) {
        let story = &self.plain.narrator().story;
        let title = headline_of(story, outcome, false);
        let mut cause: Vec<_> = message.lines().map(str::to_owned).collect();
        if let Some(failed) = &story.cause {
            cause.push(headline(failed));
            for (name, detail) in &failed.checks {
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
    fn event(&mut self, event: &RunEvent) {
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
                    other => crate::wording::phase(*other),
                };
                let mut title = format!("{step} {phase}").trim_end().to_owned();
                if *attempt > 1 {
                    title.push_str(&format!(", attempt {attempt}"));
                }
                self.plain
                    .raw(&format!("::group::{}", data(&clean::line(&title))));
                self.open = true;
            }
            // What went wrong is never folded away.
            RunEvent::StepFailed { .. }
            | RunEvent::RollbackStarted { .. }
            | RunEvent::RunFinished { .. } => self.close(),
            _ => {}
        }
        for line in self.plain.tell(event) {
            self.plain.raw(&harmless(&line));
        }
        match event {
            RunEvent::StepFinished { .. } => self.close(),
            RunEvent::RunFinished {
                outcome,
                exit_code,
                message,
                ..
            } if *exit_code != 0 => self.annotate(*outcome, message),
            _ => {}
        }
    }
}

/// A line in which the runner finds no command.
pub fn harmless(line: &str) -> String {
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
    use crate::script;
    use crate::sink::tests::Kept;

    fn text(events: &[RunEvent]) -> String {
        let kept = Kept::default();
        let sink = Sink::new(kept.clone());
        let plain = PlainReporter::with_clock(sink, true, Box::new(|| 0));
        let mut reporter = GithubReporter::around(plain);
        for event in events {
            reporter.event(event);
        }
        kept.text()
    }

    #[test]
    fn a_fold_for_each_step_and_the_cause_once() {
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
                "::error title=rolled back%3A the target is as before the run%2C verified::smoke: 1 of 2 checks failed (smoke.checks)%0Acheck auth: expected 401, found 200",
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
