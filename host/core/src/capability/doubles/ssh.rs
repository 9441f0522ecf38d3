//! A target whose commands are answered from a function, or not at all.

use crate::capability::ssh::{Command, LiveOutput, Output, Ssh, Stream};
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Mutex;

/// Refuses every command.
#[derive(Debug, Default)]
pub struct DenySsh;

impl DenySsh {
    fn denied(what: &str) -> EffectError {
        EffectError::new(
            ErrorKind::Denied,
            codes::SSH_DENIED,
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
                    codes::SSH_CLOSED,
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
