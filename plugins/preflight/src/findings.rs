//! The findings of preflight. Each becomes a named check of the step; all that
//! fail refuse the run together, so that a person fixes them in one go.
//! This module must not know what is inspected.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The same in every run.
    pub name: &'static str,
    pub status: Status,
    pub what: String,
    /// Empty where there is nothing to fix.
    pub fix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pass,
    /// Reported; the run continues.
    Warn,
    /// Refuses the run.
    Fail,
}

impl Finding {
    fn sentence(&self) -> String {
        match self.fix.as_str() {
            "" => self.what.clone(),
            fix => format!("{}; {fix}", self.what),
        }
    }
}

#[derive(Debug, Default)]
pub struct Findings {
    pub all: Vec<Finding>,
}

impl Findings {
    /// # Errors
    /// `preflight.refused` with every failure.
    pub fn refuse(&self) -> Result<(), Error> {
        match self.sentences(Status::Fail).as_slice() {
            [] => Ok(()),
            [one] => Err(Error::failed("preflight.refused", one.clone())),
            many => Err(Error::failed(
                "preflight.refused",
                format!("{} checks failed:\n- {}", many.len(), many.join("\n- ")),
            )),
        }
    }

    pub fn failures(&self) -> usize {
        self.sentences(Status::Fail).len()
    }

    pub fn warnings(&self) -> Vec<String> {
        self.sentences(Status::Warn)
    }

    fn sentences(&self, status: Status) -> Vec<String> {
        let found = self.all.iter().filter(|found| found.status == status);
        found.map(Finding::sentence).collect()
    }

    fn add(&mut self, name: &'static str, status: Status, what: String, fix: String) {
        self.all.push(Finding {
            name,
            status,
            what,
            fix,
        });
    }

    pub fn pass(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, Status::Pass, what.into(), String::new());
    }

    pub fn warn(&mut self, name: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(name, Status::Warn, what.into(), fix.into());
    }

    pub fn fail(&mut self, name: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(name, Status::Fail, what.into(), fix.into());
    }

    /// Reports each finding as a named check. All come from one inspection, so
    /// they share its duration.
    pub fn report<C>(&self, cx: &Cx<C>, took: Duration) {
        for Finding {
            name,
            status,
            what,
            fix,
        } in &self.all
        {
            match status {
                Status::Pass => cx.check_passed(name, took, Some(what)),
                Status::Warn => cx.check_warned(name, took, what, fix),
                Status::Fail => cx.check_failed_with(name, took, what, fix),
            }
        }
    }
}
