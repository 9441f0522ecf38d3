//! How a diagnosis is printed: a line a check and its fix for people, an object a
//! check for programs.

use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::terminal;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};
use vdeploy_core::clean;
use vdeploy_ops::doctor::{Check, Status};

/// Longer details are for `--verbose` and `--json`.
const MAX_DETAIL: usize = 300;

/// Where it goes.
#[derive(Debug)]
enum To {
    People { verbose: bool },
    Programs { seq: u64 },
}

/// Prints checks as they are made.
#[derive(Debug)]
pub struct Renderer {
    to: To,
    /// Commands in fixes can be pasted.
    flags: GlobalFlags,
}

impl Renderer {
    /// Text, or JSON whose first line names the format.
    pub fn new(json: bool, verbose: bool, flags: GlobalFlags) -> Self {
        if !json {
            let to = To::People { verbose };
            return Self { to, flags };
        }
        let version = json!({
            "type": "version",
            "format": 1,
            "vdeploy": env!("CARGO_PKG_VERSION"),
        });
        terminal::say_json(&version);
        let to = To::Programs { seq: 0 };
        Self { to, flags }
    }

    /// One check.
    pub fn check(&mut self, check: &Check) {
        let check = self.complete(check);
        match &self.to {
            To::People { verbose } => terminal::say(&lines(&check, *verbose)),
            To::Programs { .. } => {
                self.object("check", serde_json::to_value(&check).unwrap_or_default());
            }
        }
    }

    /// The end: how many of what, and what to do first.
    pub fn end(&mut self, checks: &[Check], exit: ExitCode) {
        let completed: Vec<Check> = checks.iter().map(|check| self.complete(check)).collect();
        let message = summary(&completed, exit);
        match &self.to {
            To::People { .. } => terminal::say(&format!("\n{message}")),
            To::Programs { .. } => {
                let count = |status| checks.iter().filter(|c| c.status == status).count();
                let members = json!({
                    "exit-code": exit.code(),
                    "passed": count(Status::Passed),
                    "warned": count(Status::Warned),
                    "failed": count(Status::Failed),
                    "skipped": count(Status::Skipped),
                    "message": message,
                });
                self.object("doctor-finished", members);
            }
        }
    }

    fn complete(&self, check: &Check) -> Check {
        let mut check = check.clone();
        check.fix = check.fix.map(|fix| self.flags.complete(&fix).into_owned());
        check
    }

    /// A line in the envelope that events have too.
    fn object(&mut self, kind: &str, members: Value) {
        let To::Programs { seq } = &mut self.to else {
            return;
        };
        *seq += 1;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let mut line = json!({ "seq": *seq, "at": at, "type": kind });
        if let (Some(line), Value::Object(members)) = (line.as_object_mut(), members) {
            line.extend(members);
        }
        terminal::say_json(&line);
    }
}

fn lines(check: &Check, verbose: bool) -> String {
    let mark = match check.status {
        Status::Passed => '✓',
        Status::Warned => '!',
        Status::Failed => '✗',
        Status::Skipped => '–',
    };
    let mut text = format!("{mark} {}", clean::line(&check.title()));
    let detail = detail(check);
    if !detail.is_empty() {
        let shown: String = match verbose {
            true => detail.clone().into_owned(),
            false => detail.chars().take(MAX_DETAIL).collect(),
        };
        let more = if shown.len() < detail.len() {
            " …"
        } else {
            ""
        };
        text.push_str(&format!(": {}{more}", indented(&shown)));
    }
    if let Some(fix) = &check.fix {
        let fix = match check.step {
            Some(_) => clean::line(fix),
            None => clean::block(fix),
        };
        text.push_str(&format!("\n    fix: {}", indented(&fix)));
    }
    text
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// A step's own words are one line: a second one could pass for a fix.
fn detail(check: &Check) -> Cow<'_, str> {
    match check.step {
        Some(_) => clean::line(&check.detail),
        None => clean::block(&check.detail),
    }
}

fn summary(checks: &[Check], exit: ExitCode) -> String {
    let of = |status| checks.iter().filter(move |c| c.status == status);
    let warned = match of(Status::Warned).count() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    let Some(first) = of(Status::Failed).next() else {
        return format!("all is well{warned}: a run would go through as far as can be seen");
    };
    let problems = match of(Status::Failed).count() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let next = match &first.fix {
        Some(fix) => format!("{}: {fix}", clean::line(&first.title())),
        None => format!("mend: {}", clean::line(&first.title())),
    };
    format!(
        "{problems}{warned}; a run would end with exit code {} ({})\nfirst {next}",
        exit.code(),
        exit.meaning()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status, fix: Option<&str>) -> Check {
        Check {
            step: Some("preflight".to_owned()),
            name: "disk space".to_owned(),
            status,
            detail: "2 MiB\u{1b}[31m\nare free".to_owned(),
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn a_check_is_a_line_and_its_fix() {
        let failed = check(Status::Failed, Some("make room"));
        assert_eq!(
            lines(&failed, false),
            "✗ preflight: disk space: 2 MiB are free\n    fix: make room"
        );
        let text = summary(&[failed], ExitCode::Refused);
        assert!(text.starts_with("1 problem; a run would end with exit code 3"));
        assert!(text.ends_with("\nfirst preflight: disk space: make room"));
    }

    #[test]
    fn warnings_alone_are_well() {
        let text = summary(&[check(Status::Warned, Some("x"))], ExitCode::Success);
        assert!(text.starts_with("all is well, 1 warning"), "{text}");
    }
}
