//! Commands on the run's target.
//!
//! A plugin can run the programs that its grant's patterns cover
//! ([`SshScope`]), on this run's target only. It can never choose the machine,
//! the user or the key.

use super::error::{EffectError, ErrorKind};
use super::mask::Masker;
use super::secrets::Secret;
use super::variables;
use crate::codes;
use crate::ids::RunId;
use async_trait::async_trait;
use std::fmt::{self, Debug};
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
    /// Hides secrets in what is kept, before it is cut.
    pub masker: Masker,
    /// Of a change: it runs on the target as this job. It goes on when the
    /// connection drops and is found again, also by another process.
    pub job: Option<JobId>,
}

/// Names a change for good: the run, and the number of the effect in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobId {
    /// The run.
    pub run: RunId,
    /// The number of the effect.
    pub effect: u64,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.effect)
    }
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
            masker: Masker::none(),
            job: None,
        }
    }

    /// Whether it can be sent at all, whatever is granted (`ssh.invalid`).
    pub fn check(&self) -> Result<(), EffectError> {
        let program = &self.program;
        let path = program.contains('/') && !program.starts_with('/');
        if program.is_empty() || program.starts_with('-') || program.contains('\0') || path {
            return Err(EffectError::new(
                ErrorKind::Invalid,
                codes::SSH_INVALID,
                format!(
                    "{program:?} is no program: give a name on the PATH of the target or an \
                     absolute path"
                ),
            ));
        }
        variables::check(self)
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
    /// Says what is being waited for: one line, present tense.
    fn doing(&self, _: &str) {}
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
    /// `ssh.unreachable`, `ssh.auth`, `ssh.platform`, `ssh.host-key`, `ssh.tls`.
    async fn connect(&self) -> Result<(), EffectError>;
    /// Runs one command to its end. A non-zero exit is an `Output`.
    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError>;
    /// An earlier process of the run may have started jobs on the target.
    fn expect_jobs(&self) {}
    /// Removes what the run's jobs left on the target: their results are in
    /// the journal and nobody comes back for them.
    async fn forget_jobs(&self, _: &RunId) -> Result<(), EffectError> {
        Ok(())
    }
    /// The numbers of the run's jobs that the target knows: a change that was
    /// begun there as a job is among them.
    async fn jobs_of(&self, _: &RunId) -> Result<Vec<u64>, EffectError> {
        Ok(Vec::new())
    }
    /// Ends what jobs of another run still do on the target: it has lost its
    /// lease, and two runs must not change a target at once. Says which ones
    /// had no end yet; the error names what does not end.
    async fn end_jobs_of(&self, _: &RunId) -> Result<Vec<JobId>, EffectError> {
        Ok(Vec::new())
    }
    /// Ends the connection in an orderly way, and before it what still runs
    /// there and is not waited for any more.
    async fn close(&self);
}
