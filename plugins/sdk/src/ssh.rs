//! Commands on the target.

use std::fmt;
use std::time::Duration;

use crate::{Error, ErrorKind, Secret, backend};

/// Bytes of output in the error of a failed command.
const LAST_LINES: usize = 20;

/// A command before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct CommandSpec {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub secret_env: Vec<(String, Secret)>,
    pub cwd: Option<String>,
    pub stdin: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub max_output: Option<u64>,
}

/// Builds a command, like `std::process::Command`. The host quotes arguments;
/// there is no shell unless the program is one.
#[derive(Debug, Clone)]
#[must_use = "a command does nothing until `probe` or `exec`"]
pub struct CommandBuilder(CommandSpec);

impl CommandBuilder {
    pub(crate) fn new(program: &str) -> Self {
        Self(CommandSpec {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            secret_env: Vec::new(),
            cwd: None,
            stdin: None,
            timeout: None,
            idle_timeout: None,
            max_output: None,
        })
    }

    /// A POSIX shell script, sent on standard input. `name` is the first
    /// argument after `--`, for readers and for grants (`sh -s -- NAME **`);
    /// the script does not see it: its `$1` is the first `arg`.
    pub(crate) fn script(name: &str, text: &str) -> Self {
        Self::new("sh")
            .args(["-s", "--", name])
            .stdin(format!("shift; {text}"))
    }

    pub fn arg(mut self, value: impl AsRef<str>) -> Self {
        self.0.args.push(value.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<str>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        for value in values {
            self.0.args.push(value.as_ref().to_owned());
        }
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.0
            .env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable to a secret. The value is sent on standard
    /// input, before that of [`CommandBuilder::stdin`].
    pub fn secret_env(mut self, name: impl AsRef<str>, value: &Secret) -> Self {
        self.0
            .secret_env
            .push((name.as_ref().to_owned(), value.clone()));
        self
    }

    /// The working directory: absolute, or relative to the login directory.
    pub fn cwd(mut self, path: impl AsRef<str>) -> Self {
        self.0.cwd = Some(path.as_ref().to_owned());
        self
    }

    /// Standard input of the command.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.stdin = Some(bytes.into());
        self
    }

    /// For the whole command. Default: the rest of the deadline of the step.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.0.timeout = Some(duration);
        self
    }

    /// Terminates the command after this time without output.
    pub fn idle_timeout(mut self, duration: Duration) -> Self {
        self.0.idle_timeout = Some(duration);
        self
    }

    /// Bytes kept of stdout and of stderr each. Default 256 KiB.
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.0.max_output = Some(bytes);
        self
    }

    /// Runs a command that only reads. A non-zero exit is an [`Output`].
    ///
    /// # Errors
    /// `ssh.denied`, `ssh.invalid`, `ssh.unreachable`, `ssh.auth`,
    /// `ssh.platform`, `ssh.host-key`, `ssh.timeout`, `ssh.idle`, `ssh.closed`.
    pub fn probe(self) -> Result<Output, Error> {
        backend::ssh(false, &self.0)
    }

    /// Runs a command that may change the target. It runs at most once and
    /// continues when the connection drops.
    ///
    /// # Errors
    /// As [`CommandBuilder::probe`], and `gate.no-snapshot`, `gate.check`,
    /// `ssh.job`, `ssh.job-lost`, `ssh.stopped`.
    pub fn exec(self) -> Result<Output, Error> {
        backend::ssh(true, &self.0)
    }
}

/// The result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// `None` when a signal ended the command or no status arrived.
    pub exit_code: Option<u32>,
    /// Without the prefix SIG, for example `TERM`.
    pub signal: Option<String>,
    /// Standard output, cut to the limit.
    pub stdout: Vec<u8>,
    /// Standard error, cut to the limit.
    pub stderr: Vec<u8>,
    /// Whether the middle of an output was cut.
    pub truncated: bool,
}

impl Output {
    /// Whether the command ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; bytes that are not UTF-8 are replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// How the command ended, for a person: `exit code 2`, `signal TERM`.
    pub fn status(&self) -> impl fmt::Display {
        match (self.exit_code, &self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit status".to_owned(),
        }
    }

    /// Turns a failed command into an error with `what` and the last lines of
    /// output.
    ///
    /// # Errors
    /// `command.failed`, with `maybe_applied` set.
    pub fn into_success(self, what: &str) -> Result<Self, Error> {
        if self.ok() {
            return Ok(self);
        }
        let mut message = format!("{what} ended with {}", self.status());
        for (name, text) in [
            ("stderr", self.stderr_text()),
            ("stdout", self.stdout_text()),
        ] {
            let tail = last_lines(&text, LAST_LINES);
            if !tail.is_empty() {
                message.push_str(&format!("; last lines of {name}:\n{tail}"));
            }
        }
        Err(Error::new(ErrorKind::Failed, "command.failed", message).maybe_applied())
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let skip = lines.len().saturating_sub(count);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}
