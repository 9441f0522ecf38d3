//! Reports each named check to the host at once, and fails the step at the end if
//! one failed. This module must not know what is checked.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

pub(crate) struct Report<'a, C> {
    cx: &'a Cx<C>,
    since: u64,
    failed: Vec<(String, String)>,
    pub(crate) passed: usize,
    pub(crate) skipped: usize,
}

pub(crate) enum Verdict {
    Passed(Option<String>),
    /// Expected and found.
    Failed(String),
    /// The reason.
    Skipped(String),
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Verdict::Passed(None),
            Err(why) => Verdict::Failed(why),
        }
    }
}

impl<'a, C> Report<'a, C> {
    pub(crate) fn new(cx: &'a Cx<C>) -> Self {
        let since = cx.now_ms();
        Self {
            cx,
            since,
            failed: Vec::new(),
            passed: 0,
            skipped: 0,
        }
    }

    /// Starts the clock of the next checks.
    pub(crate) fn begin(&mut self) {
        self.since = self.cx.now_ms();
    }

    /// The duration counts from the last [`Report::begin`]: checks from one
    /// exchange share it.
    pub(crate) fn add(&mut self, name: &str, verdict: impl Into<Verdict>) {
        let took = Duration::from_millis(self.cx.now_ms().saturating_sub(self.since));
        match verdict.into() {
            Verdict::Passed(detail) => {
                self.passed += 1;
                self.cx.check_passed(name, took, detail.as_deref());
            }
            Verdict::Failed(why) => {
                self.cx.check_failed(name, took, Some(&why));
                self.failed.push((name.to_owned(), why));
            }
            Verdict::Skipped(why) => {
                self.skipped += 1;
                self.cx.check_skipped(name, took, Some(&why));
            }
        }
    }

    pub(crate) fn made(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// The error of the step, if a check failed. `log` has the last lines of the
    /// service.
    pub(crate) fn failure(&self, log: &str) -> Option<Error> {
        let (name, why) = self.failed.first()?;
        let mut message = format!("{name}: {why}");
        if let [_, others @ ..] = self.failed.as_slice()
            && !others.is_empty()
        {
            let names: Vec<&str> = others.iter().map(|(name, _)| name.as_str()).collect();
            message.push_str(&format!(
                "; {} more failed: {}",
                others.len(),
                names.join(", ")
            ));
        }
        message.push_str(&format!(
            " ({} of {} checks failed)",
            self.failed.len(),
            self.made()
        ));
        if !log.is_empty() {
            message.push_str(&format!("; last lines of the service's log:\n{log}"));
        }
        Some(Error::failed("smoke.failed", message))
    }
}
