//! Commands on the run's target.
//!
//! A plugin can run the programs that its grant's patterns cover, on this
//! run's target only. It can never choose the machine, the user or the key.
//!
//! Scope grammar, one string a grant, words split at white space:
//!
//! | word | matches |
//! |---|---|
//! | text, with `*` inside | one argument (`*` any characters) |
//! | `*` | exactly one argument |
//! | `**` (last word) | any number of further arguments |
//!
//! The first word is the program. `probe:` before the pattern allows probes
//! only: `probe:git **`.

use super::error::{EffectError, ErrorKind};
use super::secrets::Secret;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

/// A command for the target, before quoting.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, found in the target's PATH.
    pub program: String,
    /// Its arguments, unquoted.
    pub args: Vec<String>,
    /// Environment in the clear.
    pub env: Vec<(String, String)>,
    /// Environment that must never be in an argument list or a log.
    pub secret_env: Vec<(String, Secret)>,
    /// Working directory, absolute or relative to the login directory.
    pub cwd: Option<String>,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// Total time.
    pub timeout: Duration,
    /// Longest silence, if bounded.
    pub idle_timeout: Option<Duration>,
    /// Bytes kept of stdout and of stderr each.
    pub max_output: usize,
}

impl Command {
    /// A command with the defaults of the contract.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            secret_env: Vec::new(),
            cwd: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(600),
            idle_timeout: None,
            max_output: 256 * 1024,
        }
    }

    /// The command as a person would type it, for events and the journal;
    /// has no secret in it.
    pub fn display(&self) -> String {
        let mut text = self.program.clone();
        for arg in &self.args {
            text.push(' ');
            text.push_str(&super::quote::sh(arg));
        }
        text
    }
}

/// What a command left behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// None when a signal ended it or no status arrived.
    pub exit_code: Option<u32>,
    /// Without SIG.
    pub signal: Option<String>,
    /// First and last half of what was printed.
    pub stdout: Vec<u8>,
    /// The same for stderr.
    pub stderr: Vec<u8>,
    /// Whether bytes in the middle were dropped.
    pub truncated: bool,
}

/// Which of the two streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives output while a command runs.
pub trait LiveOutput: Send + Sync {
    /// Some bytes arrived. Must not block.
    fn chunk(&self, stream: Stream, bytes: &[u8]);
}

/// Drops live output.
#[derive(Debug)]
pub struct NoLiveOutput;
impl LiveOutput for NoLiveOutput {
    fn chunk(&self, _: Stream, _: &[u8]) {}
}

/// The connection to the run's target.
#[async_trait]
pub trait Ssh: Send + Sync + Debug {
    /// Connects (or checks the connection) without running anything. Errors:
    /// `ssh.unreachable`, `ssh.auth`, `ssh.host-key`, `ssh.tls`.
    async fn connect(&self) -> Result<(), EffectError>;
    /// Runs one command to its end. A non-zero exit is an `Output`.
    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError>;
    /// Ends the connection in an orderly way.
    async fn close(&self);
}

/// Refuses every command.
#[derive(Debug, Default)]
pub struct DenySsh;

impl DenySsh {
    fn denied(what: &str) -> EffectError {
        EffectError::new(
            ErrorKind::Denied,
            "ssh.denied",
            format!("{what} is refused: there is no target here"),
        )
    }
}

#[async_trait]
impl Ssh for DenySsh {
    async fn connect(&self) -> Result<(), EffectError> {
        Err(Self::denied("a connection"))
    }
    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        Err(Self::denied(&format!("`{}`", command.display())))
    }
    async fn close(&self) {}
}

type Answer = dyn Fn(&Command) -> Result<Output, EffectError> + Send + Sync;

/// Answers from a function and keeps what was run. Output goes to the live
/// sink too.
pub struct RecordingSsh {
    answer: Box<Answer>,
    commands: Mutex<Vec<Command>>,
}

impl RecordingSsh {
    /// `answer` is called for each command.
    pub fn new(
        answer: impl Fn(&Command) -> Result<Output, EffectError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            commands: Mutex::default(),
        }
    }

    /// Answers in this order, then with `ssh.closed`.
    pub fn queue(answers: impl IntoIterator<Item = Result<Output, EffectError>>) -> Self {
        let answers: Mutex<VecDeque<_>> = Mutex::new(answers.into_iter().collect());
        Self::new(move |command| {
            let mut answers = answers.lock().unwrap_or_else(|e| e.into_inner());
            answers.pop_front().unwrap_or_else(|| {
                Err(EffectError::new(
                    ErrorKind::Unavailable,
                    "ssh.closed",
                    format!("no recorded answer is left for `{}`", command.display()),
                ))
            })
        })
    }

    /// What was run, in order.
    pub fn commands(&self) -> Vec<Command> {
        self.commands
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }
}

impl Debug for RecordingSsh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingSsh").finish_non_exhaustive()
    }
}

#[async_trait]
impl Ssh for RecordingSsh {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }

    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError> {
        self.commands
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(command.clone());
        let output = (self.answer)(command)?;
        for (stream, bytes) in [
            (Stream::Stdout, &output.stdout),
            (Stream::Stderr, &output.stderr),
        ] {
            if !bytes.is_empty() {
                live.chunk(stream, bytes);
            }
        }
        Ok(output)
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sink(Mutex<Vec<(Stream, Vec<u8>)>>);
    impl LiveOutput for Sink {
        fn chunk(&self, stream: Stream, bytes: &[u8]) {
            self.0.lock().unwrap().push((stream, bytes.to_vec()));
        }
    }

    #[tokio::test]
    async fn a_recorded_connection_answers_in_order_and_then_is_closed() {
        let output = Output {
            exit_code: Some(0),
            stderr: b"oops".to_vec(),
            ..Output::default()
        };
        let ssh = RecordingSsh::queue([Ok(output.clone())]);
        let sink = Sink::default();
        assert_eq!(ssh.run(&Command::new("a"), &sink).await.unwrap(), output);
        assert_eq!(
            *sink.0.lock().unwrap(),
            [(Stream::Stderr, b"oops".to_vec())]
        );
        let error = ssh.run(&Command::new("b"), &sink).await.unwrap_err();
        assert_eq!(error.code, "ssh.closed");
        let programs: Vec<String> = ssh.commands().into_iter().map(|c| c.program).collect();
        assert_eq!(programs, ["a", "b"]);
        let denied = DenySsh.run(&Command::new("c"), &sink).await.unwrap_err();
        assert_eq!(denied.code, "ssh.denied");
    }
}
