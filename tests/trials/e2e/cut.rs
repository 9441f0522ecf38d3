//! Runs of `vdeploy` that are killed at a place of their event stream.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use vdeploy_tests::Site;
use vdeploy_tests::base::text;

/// A run that was interrupted.
pub struct Cut {
    /// Its id.
    pub run: String,
    /// The line after which it was killed.
    pub at: String,
}

/// Starts it and kills it (KILL) when it has printed the first event for which
/// `is_it_now` holds.
pub fn kill_when(mut command: Command, mut is_it_now: impl FnMut(&Value) -> bool) -> Result<Cut> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut run = None;
    let mut at = None;
    let mut seen = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        if kind(&event) == "run-started" {
            run = Some(text(&event, "run")?);
        }
        if at.is_none() && is_it_now(&event) {
            child.kill()?;
            at = Some(line.clone());
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    let status = child.wait()?;
    let at = at.with_context(|| format!("its time never came:\n{seen}"))?;
    ensure!(
        status.code().is_none(),
        "it had ended ({status}) after {at}"
    );
    Ok(Cut {
        run: run.context("no run began")?,
        at,
    })
}

/// The `type` of an event.
pub fn kind(event: &Value) -> &str {
    event.get("type").and_then(Value::as_str).unwrap_or("")
}

/// The beginning of a step's function.
pub fn begins(step: &str, phase: &str) -> impl Fn(&Value) -> bool {
    move |event| {
        let is = |key: &str, value: &str| event.get(key).and_then(Value::as_str) == Some(value);
        is("type", "step-started") && is("step", step) && is("phase", phase)
    }
}

/// A default run, killed.
pub fn kill_deploy(
    site: &Site<'_>,
    more: &[&str],
    is_it_now: impl FnMut(&Value) -> bool,
) -> Result<Cut> {
    let mut command = site.command(&["run", "--json", "--set", "smoke.stable-seconds=0"]);
    command.args(more);
    kill_when(command, is_it_now)
}
