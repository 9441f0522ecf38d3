//! A run of `vdeploy` with `--json`, watched event by event.

use crate::soak::proc;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vdeploy_tests::Ran;

/// How it went.
#[derive(Debug)]
pub struct Watched {
    /// What it said, and its code.
    pub ran: Ran,
    /// Its id, if a run began.
    pub run: Option<String>,
    /// The most memory that it had, in KiB, where that could be read.
    pub peak: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

/// Runs it to its end; `event` sees every event and the process.
pub fn watch(
    mut command: Command,
    mut event: impl FnMut(&Value, u32) -> Result<()>,
) -> Result<Watched> {
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("no stderr")?;
    // Read beside it, so that neither pipe fills up.
    let said = std::thread::spawn(move || std::io::read_to_string(stderr));
    let stdout = child.stdout.take().context("no stdout")?;
    let (mut seen, mut run, mut peak) = (String::new(), None, None);
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let value: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        seen.push_str(&line);
        seen.push('\n');
        let kind = value.get("type").and_then(Value::as_str);
        if let (Some("run-started"), Some(id)) = (kind, value.get("run").and_then(Value::as_str)) {
            run = Some(id.to_owned());
        }
        if kind == Some("run-finished") {
            peak = proc::peak_kib(child.id());
        }
        event(&value, child.id())?;
    }
    let code = child.wait()?.code().unwrap_or(-1);
    let stderr = said.join().map_err(|_| anyhow::anyhow!("no stderr"))??;
    Ok(Watched {
        ran: Ran {
            code,
            stdout: seen,
            stderr,
        },
        run,
        peak,
        took: began.elapsed(),
    })
}

impl Watched {
    /// How the run ended, if it came to an end.
    pub fn outcome(&self) -> Option<String> {
        let end = self.ran.event("run-finished").ok()?;
        Some(end.get("outcome")?.as_str()?.to_owned())
    }
}
