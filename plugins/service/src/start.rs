//! Starts the service, detached and with its token, and waits until it serves.
//! Passes the token only in the environment; never leaves a server without a
//! token running.
//!
//! This module must not know which version it starts, nor why.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error, Secret};

use crate::log;
use crate::process::{field, log_lines, with_functions};

/// Prepended to both scripts.
const MARKER: &str = concat!(
    include_str!("marker.sh"),
    "\n",
    include_str!("wrong_port.sh")
);
const START: &str = include_str!("start.sh");
const UNIT: &str = include_str!("unit.sh");

/// Time that the script may take beyond its own timeout.
const MARGIN: Duration = Duration::from_secs(45);

/// What restarts the process when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor<'a> {
    /// The process starts detached, with the token of the project.
    None,
    /// This systemd unit, which has its own token.
    Unit(&'a str),
}

#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// Absolute, or relative to the login directory.
    pub app_dir: &'a str,
    /// A shell command; becomes the service or its parent.
    pub command: &'a str,
    /// None: `PORT` of the login environment, else 3000.
    pub port: Option<u16>,
    /// Absolute, or a name in the log directory of the service below
    /// `~/.vdeploy/logs`.
    pub log: &'a str,
    /// Printed by the service when its port is open. Empty: the port decides.
    pub ready_line: &'a str,
    /// Printed by the service when it accepts requests without a token. Empty:
    /// not checked.
    pub open_warning: &'a str,
    /// Until it serves.
    pub timeout: Duration,
    /// The commit, for the marker.
    pub sha: &'a str,
    pub token: &'a Secret,
    /// The environment variable for the token.
    pub token_env: &'a str,
    pub supervisor: Supervisor<'a>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// The process that listens; with `npm start` a grandchild of the started
    /// one.
    pub pid: u32,
    pub start_ticks: u64,
    pub port: u16,
    /// Absolute path of the log.
    pub log: String,
    /// Absolute path of the app directory.
    pub app_dir: String,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// An earlier try of this run started it.
    pub adopted: bool,
}

/// Starts the service and waits until its log has the ready line and the new
/// process listens on the port. Without a ready line the port decides. Keeps the
/// old log as `LOG.previous`. Adopts a running process that an earlier try of
/// this run started.
///
/// # Errors
/// `restart.open-server`, `restart.not-ready`, `restart.wrong-port` (these leave
/// no process),
/// `restart.died`, `restart.port-taken`, `restart.no-directory`,
/// `restart.no-log`, `restart.unit-failed`, `restart.unit-without-token`.
pub fn start<C>(cx: &Cx<C>, launch: &Launch<'_>) -> Result<Started, Error> {
    let port = launch.port.map(|port| port.to_string()).unwrap_or_default();
    let seconds = launch.timeout.as_secs().max(1).to_string();
    let run = cx.run_id();
    let command = match launch.supervisor {
        Supervisor::None => cx
            .script(
                "start",
                &with_functions(&log::with_functions(&format!("{MARKER}\n{START}"))),
            )
            .args([launch.app_dir, launch.command, &port, launch.log])
            .args([launch.ready_line, launch.open_warning, &seconds])
            .args([launch.sha, &run])
            .secret_env(launch.token_env, launch.token),
        Supervisor::Unit(unit) => cx
            .script("unit", &with_functions(&format!("{MARKER}\n{UNIT}")))
            .args(["restart", unit, launch.app_dir, &port])
            .args([launch.ready_line, launch.open_warning, &seconds])
            .args([launch.sha, &run, launch.token_env]),
    };
    let output = command
        .timeout(launch.timeout.saturating_add(MARGIN))
        .exec()?;
    if cx.dry_run() {
        return Ok(Started {
            app_dir: launch.app_dir.to_owned(),
            log: launch.log.to_owned(),
            port: launch.port.unwrap_or_default(),
            ..Started::default()
        });
    }
    let text = output.into_success("start the service")?.stdout_text();
    if field(&text, "state") != Some("ready") {
        let error = why_not(launch, &text);
        return Err(match error.code.as_str() {
            "restart.unit-without-token" => error,
            _ => error.maybe_applied(),
        });
    }
    if field(&text, "marker") == Some("failed") {
        cx.warn("cannot write the marker .vdeploy/running.json; the next run cannot tell which version runs");
    }
    if field(&text, "reload").is_some()
        && let Supervisor::Unit(unit) = launch.supervisor
    {
        cx.warn(format!(
            "the files of {unit} changed after systemd loaded them; it was restarted with the loaded version: `systemctl daemon-reload` loads the change"
        ));
    }
    let number = |key: &str| field(&text, key).and_then(|value| value.parse::<u64>().ok());
    match (number("listener"), number("listener-start"), number("port")) {
        (Some(pid), Some(start_ticks), Some(port)) => Ok(Started {
            pid: u32::try_from(pid).unwrap_or_default(),
            start_ticks,
            port: u16::try_from(port).unwrap_or_default(),
            log: field(&text, "log").unwrap_or_default().to_owned(),
            app_dir: field(&text, "app").unwrap_or_default().to_owned(),
            started_at_ms: number("started-at-ms").unwrap_or_default(),
            adopted: field(&text, "adopted").is_some(),
        }),
        _ => Err(Error::failed(
            "restart.no-answer",
            format!("the service serves, but the script did not name its process: {text}"),
        )
        .maybe_applied()),
    }
}

/// # Errors
/// `restart.unit-failed`.
pub fn stop_unit<C>(cx: &Cx<C>, unit: &str) -> Result<(), Error> {
    let output = cx
        .script("unit", &with_functions(&format!("{MARKER}\n{UNIT}")))
        .args(["stop", unit])
        .timeout(Duration::from_secs(120))
        .exec()?;
    if cx.dry_run() {
        return Ok(());
    }
    let text = output.into_success("stop the unit")?.stdout_text();
    match field(&text, "state") {
        Some("stopped") => Ok(()),
        _ => Err(Error::failed(
            "restart.unit-failed",
            with_log(&format!("`systemctl stop {unit}` failed"), &text),
        )
        .maybe_applied()),
    }
}

/// The error of a start whose state is not `ready`.
fn why_not(launch: &Launch<'_>, text: &str) -> Error {
    let log = field(text, "log").unwrap_or(launch.log);
    let port = field(text, "port").unwrap_or("of the service");
    let state = field(text, "state").unwrap_or_default();
    let (code, message) = match state {
        "open" => (
            "restart.open-server",
            format!(
                "the new process prints `{}`: it accepts requests without a token, so it was stopped; {}",
                launch.open_warning,
                match launch.supervisor {
                    Supervisor::None => format!(
                        "check whether the secret `{}` is empty and whether the service reads {}",
                        launch.token.name(),
                        launch.token_env
                    ),
                    Supervisor::Unit(unit) =>
                        format!("give {} to the unit {unit}", launch.token_env),
                }
            ),
        ),
        "died" if log_lines(text).contains("EADDRINUSE") => (
            "restart.port-taken",
            format!("the new process ended because port {port} is taken (EADDRINUSE)"),
        ),
        "died" => (
            "restart.died",
            format!("the new process ended with {} before it served", exit(text)),
        ),
        "late" => (
            "restart.not-ready",
            format!(
                "the new process did not serve within {} s and was stopped; {}",
                launch.timeout.as_secs(),
                not_ready(launch, text, port)
            ),
        ),
        "wrong-port" => (
            "restart.wrong-port",
            format!(
                "the new process listens on {} and not on port {port}, and was stopped; set `port` to the right one, or let the service listen on the port in the environment variable PORT; if it opens its port later, set a longer `ready-timeout`",
                other_ports(text)
            ),
        ),
        "no-token" => (
            "restart.unit-without-token",
            match launch.supervisor {
                Supervisor::Unit(unit) => format!(
                    "{unit} does not give {0} to its service, which would accept requests without a token; the unit was not touched. Put the line {0}=… into a file that only root can read, name it with `EnvironmentFile=` in `systemctl edit {unit}`, and run again: vdeploy changes no unit",
                    launch.token_env
                ),
                Supervisor::None => {
                    "a process without a unit gets its token from vdeploy".to_owned()
                }
            },
        ),
        "no-directory" => (
            "restart.no-directory",
            format!("the app directory {} cannot be entered", launch.app_dir),
        ),
        "no-log" => (
            "restart.no-log",
            match field(text, "log-refused") {
                Some(refused) => format!(
                    "the log cannot be opened: {refused}; remove it, or set `log` to another path"
                ),
                None => format!("the log {log} cannot be written; set `log` to another path"),
            },
        ),
        "failed" => (
            "restart.unit-failed",
            match launch.supervisor {
                Supervisor::Unit(unit) => format!("`systemctl restart {unit}` failed"),
                Supervisor::None => "`systemctl restart` failed".to_owned(),
            },
        ),
        _ => (
            "restart.no-answer",
            format!("the script gave no result for the start: {text}"),
        ),
    };
    match state {
        "open" | "died" | "late" | "wrong-port" | "failed" => {
            Error::failed(code, with_log(&message, text))
        }
        _ => Error::failed(code, message),
    }
}

/// What was missing at the timeout.
fn not_ready(launch: &Launch<'_>, text: &str, port: &str) -> String {
    let missing = match field(text, "ready-line") {
        _ if launch.ready_line.is_empty() => format!("it does not listen on port {port}"),
        Some(_) => format!("it printed the ready line, but does not listen on port {port}"),
        None => format!("its log never had `{}`", launch.ready_line),
    };
    match other_ports(text) {
        ports if ports.is_empty() => missing,
        ports => format!("{missing}; it listens on {ports}"),
    }
}

/// For a person: `port 4000 (pid 12) and port 9229 (pid 12, loopback only)`.
fn other_ports(text: &str) -> String {
    let found = field(text, "wrong-ports").unwrap_or_default();
    let ports = found.split_whitespace().map(|found| {
        let mut parts = found.split(':');
        let (port, pid) = (parts.next(), parts.next());
        let local = parts.next().map_or("", |_| ", loopback only");
        let (port, pid) = (port.unwrap_or_default(), pid.unwrap_or_default());
        format!("port {port} (pid {pid}{local})")
    });
    ports.collect::<Vec<_>>().join(" and ")
}

fn exit(text: &str) -> String {
    match field(text, "exit").and_then(|code| code.parse::<u32>().ok()) {
        Some(code @ 129..=192) => format!("signal {}", code - 128),
        Some(code) => format!("exit code {code}"),
        None => "an unknown exit code".to_owned(),
    }
}

fn with_log(message: &str, text: &str) -> String {
    let lines = log_lines(text);
    if lines.is_empty() {
        return format!("{message}; its log is empty");
    }
    let log = field(text, "log").unwrap_or("its log");
    format!("{message}; last lines of {log}:\n{lines}")
}
