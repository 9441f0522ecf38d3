//! What was found, as findings under names that stay the same: each becomes a
//! named check of the step, and those that are wrong refuse the run together.
//! This module must not know what is looked at.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

/// What one look found, under a name that stays the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub sort: Sort,
    /// What is there.
    pub what: String,
    /// What to do about it; empty where nothing is to be done.
    pub fix: String,
}

/// How a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Good,
    /// Said and gone on with.
    Odd,
    /// Refuses the run.
    Wrong,
}

impl Finding {
    fn sentence(&self) -> String {
        match self.fix.as_str() {
            "" => self.what.clone(),
            fix => format!("{}; {fix}", self.what),
        }
    }
}

/// All that was found, so that a person mends it in one go.
#[derive(Debug, Default)]
pub struct Verdict {
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// # Errors
    /// `preflight.refused` with everything that is wrong.
    pub fn refuse(&self) -> Result<(), Error> {
        match self.sentences(Sort::Wrong).as_slice() {
            [] => Ok(()),
            [one] => Err(Error::failed("preflight.refused", one.clone())),
            many => Err(Error::failed(
                "preflight.refused",
                format!("{} things are wrong:\n- {}", many.len(), many.join("\n- ")),
            )),
        }
    }

    /// How many things are wrong.
    pub fn wrongs(&self) -> usize {
        self.sentences(Sort::Wrong).len()
    }

    /// What is odd, for a person.
    pub fn warnings(&self) -> Vec<String> {
        self.sentences(Sort::Odd)
    }

    fn sentences(&self, sort: Sort) -> Vec<String> {
        let found = self.findings.iter().filter(|found| found.sort == sort);
        found.map(Finding::sentence).collect()
    }

    fn add(&mut self, name: &'static str, sort: Sort, what: String, fix: String) {
        self.findings.push(Finding {
            name,
            sort,
            what,
            fix,
        });
    }

    pub fn good(&mut self, name: &'static str, what: impl Into<String>) {
        self.add(name, Sort::Good, what.into(), String::new());
    }

    pub fn wrong(&mut self, name: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(name, Sort::Wrong, what.into(), fix.into());
    }

    pub fn odd(&mut self, name: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(name, Sort::Odd, what.into(), fix.into());
    }

    /// A named check for each finding; they came from one look and share its
    /// time.
    pub fn report<C>(&self, cx: &Cx<C>, took: Duration) {
        for Finding {
            name,
            sort,
            what,
            fix,
        } in &self.findings
        {
            match sort {
                Sort::Good => cx.check_passed(name, took, Some(what)),
                Sort::Odd => cx.check_warned(name, took, what, fix),
                Sort::Wrong => cx.check_failed_with(name, took, what, fix),
            }
        }
    }
}
