//! Calls to the fake host, their answers, and reports.

use std::fmt;
use std::time::Duration;

use crate::{CheckStatus, Error, Output};

/// A command that the step sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeCommand {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Variable, name of the secret, its value.
    pub secret_env: Vec<(String, String, String)>,
    pub cwd: Option<String>,
    pub stdin: Vec<u8>,
    pub timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub max_output: Option<u64>,
    /// Whether it was sent with `exec`.
    pub change: bool,
    /// The fake clock at the call.
    pub now_ms: u64,
}

impl FakeCommand {
    /// Program and arguments, separated by spaces.
    pub fn line(&self) -> String {
        let mut line = self.program.clone();
        for arg in &self.args {
            line.push(' ');
            line.push_str(arg);
        }
        line
    }

    /// The name given to `Cx::script`, if the command is one.
    pub fn script(&self) -> Option<&str> {
        match self.args.as_slice() {
            [s, dashes, name, ..] if self.program == "sh" && s == "-s" && dashes == "--" => {
                Some(name)
            }
            _ => None,
        }
    }

    /// The arguments of a script, without its name.
    pub fn script_args(&self) -> &[String] {
        match self.script() {
            Some(_) => self.args.get(3..).unwrap_or_default(),
            None => &[],
        }
    }

    /// The value of an environment variable that is not a secret.
    pub fn env_var(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// Standard input as text.
    pub fn stdin_text(&self) -> String {
        String::from_utf8_lossy(&self.stdin).into_owned()
    }
}

/// The answer of a scripted command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeOutput(pub Output);

impl FakeOutput {
    /// Exit code 0 and this on standard output.
    pub fn ok(stdout: impl Into<Vec<u8>>) -> Self {
        Self(Output {
            exit_code: Some(0),
            stdout: stdout.into(),
            ..Output::default()
        })
    }

    /// This exit code and this on standard error.
    pub fn fail(exit_code: u32, stderr: impl Into<Vec<u8>>) -> Self {
        Self(Output {
            exit_code: Some(exit_code),
            stderr: stderr.into(),
            ..Output::default()
        })
    }

    /// Ended by a signal, for example `TERM`.
    pub fn signal(name: &str) -> Self {
        Self(Output {
            signal: Some(name.to_owned()),
            ..Output::default()
        })
    }

    #[must_use]
    pub fn stderr(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.0.stderr = text.into();
        self
    }
}

/// A request that the step sent. Header names are as the step wrote them;
/// headers contain the values of secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub timeout: Option<Duration>,
    /// Address and text of the read-back that it declares.
    pub read_back: Option<(String, String)>,
    /// The fake clock at the call.
    pub now_ms: u64,
}

impl FakeRequest {
    /// The first value of a header, name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// The URL after scheme and authority.
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The answer of a scripted request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl FakeResponse {
    /// A status and a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// A status and a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, body.to_string()).header("content-type", "application/json")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The result of a handler: an answer, an error, or none to pass the call on.
#[derive(Debug, Clone)]
pub struct Answer<T>(pub(crate) Option<Result<T, Error>>);

impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Self {
        Self(Some(Ok(value)))
    }
}

impl<T> From<Option<T>> for Answer<T> {
    fn from(value: Option<T>) -> Self {
        Self(value.map(Ok))
    }
}

impl<T> From<Result<T, Error>> for Answer<T> {
    fn from(value: Result<T, Error>) -> Self {
        Self(Some(value))
    }
}

impl<T> From<Option<Result<T, Error>>> for Answer<T> {
    fn from(value: Option<Result<T, Error>>) -> Self {
        Self(value)
    }
}

/// A named check that the step reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    pub name: String,
    pub status: CheckStatus,
    pub duration: Duration,
    pub detail: Option<String>,
}

/// One capability call, including refused ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Ssh(FakeCommand),
    Http(FakeRequest),
    SnapshotCreate { label: String },
    SnapshotRestore { id: String },
    SnapshotExists { id: String },
    SnapshotPauseOld { vm: String },
    SnapshotDeclare { id: String, label: String },
    SecretGet { name: String },
    SecretReveal { name: String },
    StateGet { key: String },
    StatePut { key: String, value: Vec<u8> },
    StateDelete { key: String },
}

impl Call {
    /// Whether the call may change something.
    pub fn is_change(&self) -> bool {
        match self {
            Call::Ssh(command) => command.change,
            Call::Http(request) => !matches!(request.method.as_str(), "GET" | "HEAD"),
            Call::SnapshotCreate { .. }
            | Call::SnapshotRestore { .. }
            | Call::SnapshotPauseOld { .. }
            | Call::SnapshotDeclare { .. }
            | Call::StatePut { .. }
            | Call::StateDelete { .. } => true,
            Call::SnapshotExists { .. }
            | Call::SecretGet { .. }
            | Call::SecretReveal { .. }
            | Call::StateGet { .. } => false,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Ssh(command) => {
                let verb = if command.change { "exec" } else { "probe" };
                write!(f, "{verb} {}", command.line())
            }
            Call::Http(request) => write!(f, "{} {}", request.method, request.url),
            Call::SnapshotCreate { label } => write!(f, "snapshot.create {label}"),
            Call::SnapshotRestore { id } => write!(f, "snapshot.restore {id}"),
            Call::SnapshotExists { id } => write!(f, "snapshot.exists {id}"),
            Call::SnapshotPauseOld { vm } => write!(f, "snapshot.pause-old {vm}"),
            Call::SnapshotDeclare { id, label } => write!(f, "snapshot.declare {id} {label}"),
            Call::SecretGet { name } => write!(f, "secret.get {name}"),
            Call::SecretReveal { name } => write!(f, "secret.reveal {name}"),
            Call::StateGet { key } => write!(f, "state.get {key}"),
            Call::StatePut { key, .. } => write!(f, "state.put {key}"),
            Call::StateDelete { key } => write!(f, "state.delete {key}"),
        }
    }
}
