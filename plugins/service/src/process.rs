//! Terminates exactly one process of the target, identified by pid and start
//! time. A pattern could also match an editor, a `tail` or a shell of vdeploy.
//!
//! This module must not know why a process is terminated.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::listener::Listener;

const PROCESS: &str = concat!(include_str!("sockets.sh"), "\n", include_str!("process.sh"));
const STOP: &str = include_str!("stop.sh");

/// Time that the script may take beyond its own timeout.
const MARGIN: Duration = Duration::from_secs(30);

/// Prepends `sockets.sh` and `process.sh` to `text`.
pub fn with_functions(text: &str) -> String {
    format!("{PROCESS}\n{text}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended before.
    Gone,
    /// TERM was enough.
    Stopped,
    /// It ignored TERM.
    Killed,
}

/// Sends TERM, and KILL after `timeout`. Then waits until nobody listens on
/// `port`. Leaves a pid alone that now belongs to a later process. May be
/// repeated.
///
/// # Errors
/// `process.denied` when it belongs to another user, `process.stuck` when it
/// survives KILL, `process.port-taken` when somebody still listens on the port.
pub fn stop<C>(
    cx: &Cx<C>,
    process: &Listener,
    port: u16,
    timeout: Duration,
) -> Result<Ended, Error> {
    let output = cx
        .script("stop", &with_functions(STOP))
        .arg(process.pid.to_string())
        .arg(process.start_ticks.to_string())
        .arg(timeout.as_secs().max(1).to_string())
        .arg(port.to_string())
        .timeout(timeout.saturating_add(MARGIN))
        .exec()?;
    if cx.dry_run() {
        return Ok(Ended::Stopped);
    }
    let text = output.into_success("stop the service")?.stdout_text();
    let name = process.describe();
    let failed = |code: &str, message: String| Err(Error::failed(code, message).maybe_applied());
    if field(&text, "port") == Some("taken") {
        return failed(
            "process.port-taken",
            format!("{name} has ended, but port {port} is still taken; check `ss -ltnp`"),
        );
    }
    match field(&text, "ended") {
        Some("gone") => Ok(Ended::Gone),
        Some("stopped") => Ok(Ended::Stopped),
        Some("killed") => Ok(Ended::Killed),
        Some("denied") => failed(
            "process.denied",
            format!("{name} belongs to another user; the login user cannot stop it"),
        ),
        Some("stuck") => failed(
            "process.stuck",
            format!("{name} still runs after TERM and KILL; it may wait for a disk"),
        ),
        _ => failed(
            "process.no-answer",
            format!("the script gave no result for {name}: {text}"),
        ),
    }
}

/// The value of the first line `KEY=VALUE` in the output of a script, before
/// its log.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| *line != LOG_FOLLOWS)
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The lines of the log after the output of a script.
pub fn log_lines(text: &str) -> &str {
    match text.split_once(&format!("{LOG_FOLLOWS}\n")) {
        Some((_, log)) => log.trim_end(),
        None => "",
    }
}

const LOG_FOLLOWS: &str = "--log--";
