//! What was looked at, in order: every check with its result and its fix, and
//! what a run would end with.
//!
//! Knows the order of the looks; knows nothing of how one is made.

use crate::error::{OpsError, OpsErrorKind};
use serde::Serialize;
use vdeploy_core::capability::mask::Masker;

/// How one check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should be.
    Passed,
    /// A run goes on; a person should know.
    Warned,
    /// A run would be refused or fail.
    Failed,
    /// Could not be looked at.
    Skipped,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// The step that made it; none for the host's own.
    pub step: Option<String>,
    /// Its name; stays the same.
    pub name: String,
    /// Its result.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Check {
    /// The step and the name.
    pub fn title(&self) -> String {
        match &self.step {
            Some(step) => format!("{step}: {}", self.name),
            None => self.name.clone(),
        }
    }
}

/// The host's own checks in the order in which they are made. Each needs the
/// ones before it.
const ORDER: [&str; 12] = [
    "project file",
    "plan",
    "target",
    "plugins",
    "configuration",
    "secrets",
    "Vers API",
    "VM",
    "connection",
    "login",
    "lease",
    "steps",
];

/// The results so far.
pub(crate) struct Report<'a> {
    on_check: Box<dyn FnMut(&Check) + Send + 'a>,
    masker: Masker,
    checks: Vec<Check>,
    /// The kind of the first check that failed.
    failure: Option<OpsErrorKind>,
}

/// Everything that was checked.
#[derive(Debug)]
pub struct Diagnosis {
    pub checks: Vec<Check>,
    /// What a run would be refused with, or end with; none when it would go
    /// through as far as can be seen.
    pub failure: Option<OpsErrorKind>,
}

impl<'a> Report<'a> {
    /// `on_check` gets each check as it is made.
    pub fn new(on_check: impl FnMut(&Check) + Send + 'a) -> Self {
        Self {
            on_check: Box::new(on_check),
            masker: Masker::none(),
            checks: Vec::new(),
            failure: None,
        }
    }

    /// From now on these secrets are hidden.
    pub fn mask(&mut self, masker: Masker) {
        self.masker = masker;
    }

    /// It is as it should be.
    pub fn pass(&mut self, name: &str, detail: impl Into<String>) {
        self.own(name, Status::Passed, detail.into(), None);
    }

    /// A run goes on, but a person should know.
    pub fn warn(&mut self, name: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.own(name, Status::Warned, detail.into(), Some(fix.into()));
    }

    /// A run would be refused, or end, with `kind`.
    pub fn fail(
        &mut self,
        name: &str,
        kind: OpsErrorKind,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.failure.get_or_insert(kind);
        self.own(name, Status::Failed, detail.into(), Some(fix.into()));
    }

    /// The same for an error that says what to do.
    pub fn error(&mut self, name: &str, error: &OpsError) {
        let (detail, fix) = match &error.hint {
            Some(hint) => (error.message.as_str(), hint.as_str()),
            None => split_fix(&error.message),
        };
        self.fail(name, error.kind, detail, fix);
    }

    /// It could not be looked at.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.own(name, Status::Skipped, why.to_owned(), None);
    }

    /// Several of them.
    pub fn skip_all(&mut self, names: &[&str], why: &str) {
        for name in names {
            self.skip(name, why);
        }
    }

    fn own(&mut self, name: &str, status: Status, detail: String, fix: Option<String>) {
        self.add(Check {
            step: None,
            name: name.to_owned(),
            status,
            detail,
            fix,
        });
    }

    /// A check of a step; a run would be refused where it failed.
    pub fn of_step(&mut self, check: Check) {
        if check.status == Status::Failed {
            self.failure.get_or_insert(OpsErrorKind::Refused);
        }
        self.add(check);
    }

    fn add(&mut self, mut check: Check) {
        check.name = self.masker.mask(&check.name).into_owned();
        check.detail = self.masker.mask(&check.detail).into_owned();
        let fix = check.fix.take().filter(|fix| !fix.is_empty());
        check.fix = fix.map(|fix| self.masker.mask(&fix).into_owned());
        (self.on_check)(&check);
        self.checks.push(check);
    }

    /// Adds what was not checked, because of the first failure.
    pub fn finish(mut self) -> Diagnosis {
        let failed = |check: &&Check| check.status == Status::Failed;
        let cause = self.checks.iter().find(failed).map(Check::title);
        if let Some(cause) = cause {
            let made = |name: &str| {
                let of_steps = name == "steps" && self.checks.iter().any(|c| c.step.is_some());
                of_steps || self.checks.iter().any(|check| of(check, name))
            };
            let left: Vec<&str> = ORDER.into_iter().filter(|name| !made(name)).collect();
            self.skip_all(&left, &format!("not looked at, because of: {cause}"));
        }
        Diagnosis {
            checks: self.checks,
            failure: self.failure,
        }
    }
}

/// Whether the check is the one of this name in [`ORDER`].
fn of(check: &Check, name: &str) -> bool {
    check.step.is_none()
        && match name {
            "secrets" => check.name.starts_with("secret"),
            // A login that stands says the same of all before it.
            "connection" => matches!(check.name.as_str(), "connection" | "TLS" | "host key"),
            name => check.name == name,
        }
}

/// Messages here say what is wrong, a semicolon, and what to do.
pub fn split_fix(message: &str) -> (&str, &str) {
    message.rsplit_once("; ").unwrap_or((message, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Report<'static> {
        Report::new(|_: &Check| {})
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure() {
        let mut report = quiet();
        report.pass("project file", "");
        report.warn("disk", "little", "make room");
        report.fail(
            "secret `a`",
            OpsErrorKind::Refused,
            "it is not set",
            "export A=…",
        );
        report.fail("VM", OpsErrorKind::Unreachable, "paused", "resume it");
        assert_eq!(report.finish().failure, Some(OpsErrorKind::Refused));
        assert_eq!(quiet().finish().failure, None);
    }

    #[test]
    fn a_step_that_found_something_refuses() {
        let mut report = quiet();
        report.of_step(Check {
            step: Some("preflight".to_owned()),
            name: "disk space".to_owned(),
            status: Status::Failed,
            detail: "2 MiB".to_owned(),
            fix: None,
        });
        assert_eq!(report.finish().failure, Some(OpsErrorKind::Refused));
    }

    #[test]
    fn secrets_are_hidden_in_every_text() {
        use vdeploy_core::capability::secrets::SecretValue;
        let mut report = quiet();
        let value = SecretValue::new("hunter22".to_owned());
        report.mask(Masker::new([&value]).unwrap());
        report.fail(
            "a",
            OpsErrorKind::Refused,
            "it says hunter22",
            "not hunter22",
        );
        assert_eq!(report.checks[0].detail, "it says ***");
        assert_eq!(report.checks[0].fix.as_deref(), Some("not ***"));
    }
}
