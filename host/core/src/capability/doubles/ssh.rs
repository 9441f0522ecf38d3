//! A target whose commands are answered from a function.

use crate::capability::EffectError;
use crate::capability::ssh::{Command, LiveOutput, Output, Ssh, Stream};
use async_trait::async_trait;
use std::fmt::{self, Debug};
use std::sync::Mutex;

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
