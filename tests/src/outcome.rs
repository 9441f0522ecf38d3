//! What a run of `vdeploy` left behind, as a user sees it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::Output;

/// A finished `vdeploy`.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Everything it printed.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Insists on this exit code.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == code,
            "exit code {} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Insists that it said this.
    pub fn expect_text(self, text: &str) -> Result<Self> {
        ensure!(
            self.text().contains(text),
            "it did not say `{text}`\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// The JSON events of a run with `--json`.
    pub fn events(&self) -> Result<Vec<Value>> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }

    /// The first event of this type.
    pub fn event_first(&self, kind: &str) -> Result<Value> {
        let events = self.events()?;
        events
            .into_iter()
            .find(|event| event.get("type").and_then(Value::as_str) == Some(kind))
            .with_context(|| format!("no event `{kind}` in\n{}\n{}", self.stdout, self.stderr))
    }

    /// The last event of this type.
    pub fn event(&self, kind: &str) -> Result<Value> {
        let events = self.events()?;
        events
            .into_iter()
            .rfind(|event| event.get("type").and_then(Value::as_str) == Some(kind))
            .with_context(|| format!("no event `{kind}` in\n{}\n{}", self.stdout, self.stderr))
    }
}
