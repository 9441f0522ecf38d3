//! Ends exactly one process of the target, named by pid and start time. Never
//! by a pattern, so no editor, no `tail` and no shell of our own can be hit.
//!
//! This module must not know why a process is ended.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::listener::Listener;

const PROCESS: &str = concat!(include_str!("sockets.sh"), "\n", include_str!("process.sh"));
const STOP: &str = include_str!("stop.sh");

/// What the script itself may take beyond the timeout it is given.
const MARGIN: Duration = Duration::from_secs(30);

/// `text` with the shell functions about processes in front: `sockets.sh` and
/// `process.sh`.
pub fn with_functions(text: &str) -> String {
    format!("{PROCESS}\n{text}")
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had ended before.
    Gone,
    /// TERM was enough.
    Stopped,
    /// It did not listen to TERM.
    Killed,
}

/// Ends `process` with TERM, and with KILL when it is still there after
/// `timeout`. Then waits until nobody listens on `port`. A pid that now
/// belongs to a later process is left alone. May be repeated.
///
/// # Errors
/// `process.denied` when it belongs to another user, `process.stuck` when KILL
/// does not end it, `process.port-taken` when somebody still has the port.
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
            format!("{name} has ended, but port {port} is still taken; look at `ss -ltnp`"),
        );
    }
    match field(&text, "ended") {
        Some("gone") => Ok(Ended::Gone),
        Some("stopped") => Ok(Ended::Stopped),
        Some("killed") => Ok(Ended::Killed),
        Some("denied") => failed(
            "process.denied",
            format!("{name} belongs to another user and cannot be stopped by the login user"),
        ),
        Some("stuck") => failed(
            "process.stuck",
            format!("{name} is still there after TERM and KILL; it may wait for a disk"),
        ),
        _ => failed(
            "process.no-answer",
            format!("no answer on the end of {name}: {text}"),
        ),
    }
}

/// The value of the line `KEY=VALUE` in a script's answer, before its log.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .take_while(|line| *line != LOG_FOLLOWS)
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The lines of the log after a script's answer.
pub fn log_lines(text: &str) -> &str {
    match text.split_once(&format!("{LOG_FOLLOWS}\n")) {
        Some((_, log)) => log.trim_end(),
        None => "",
    }
}

const LOG_FOLLOWS: &str = "--log--";
