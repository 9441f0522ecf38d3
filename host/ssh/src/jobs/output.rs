//! What a job has printed, over all its connections.

use super::request::Offsets;
use crate::exec::output::{MaskedCapture, with_last_output};
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::ssh::{Command, Output, Stream};
use vdeploy_core::capability::{EffectError, ErrorKind};

pub(super) struct JobOutput {
    stdout: MaskedCapture,
    stderr: MaskedCapture,
    last: Stream,
    offsets: Offsets,
}

impl JobOutput {
    pub(super) fn new(command: &Command) -> Self {
        Self::bounded(command.max_output, &command.masker)
    }

    pub(super) fn discard() -> Self {
        Self::bounded(0, &Masker::none())
    }

    fn bounded(limit: usize, masker: &Masker) -> Self {
        Self {
            stdout: MaskedCapture::new(limit, masker),
            stderr: MaskedCapture::new(limit, masker),
            last: Stream::Stdout,
            offsets: Offsets::default(),
        }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let count = bytes.len() as u64;
        self.last = stream;
        match stream {
            Stream::Stdout => {
                self.stdout.push(bytes);
                self.offsets.out += count;
            }
            Stream::Stderr => {
                self.stderr.push(bytes);
                self.offsets.err += count;
            }
        }
    }

    /// Where the next connection resumes.
    pub(super) fn offsets(&self) -> Offsets {
        self.offsets
    }

    pub(super) fn output(mut self, status: u32) -> Output {
        let truncated = [&mut self.stdout, &mut self.stderr]
            .map(|kept| {
                kept.finish();
                kept.truncated()
            })
            .contains(&true);
        let signal = signal_of(status);
        Output {
            exit_code: signal.is_none().then_some(status),
            signal: signal.map(str::to_owned),
            stdout: self.stdout.into_bytes(),
            stderr: self.stderr.into_bytes(),
            truncated,
        }
    }

    /// An error of a command that did run, with the last lines that it printed.
    pub(super) fn error(&self, kind: ErrorKind, code: &str, text: &str) -> EffectError {
        let message = with_last_output(text, self.last, &self.stdout, &self.stderr);
        EffectError::new(kind, code, message).in_doubt()
    }
}

/// A shell reports 128 plus the signal's number for a command that a signal
/// ended. 129 is left out: nothing sends HUP to a job, and programs (git is one)
/// exit with it themselves.
fn signal_of(status: u32) -> Option<&'static str> {
    let name = match status.checked_sub(128)? {
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::signal_of;

    #[test]
    fn a_status_of_a_program_is_not_taken_for_a_signal() {
        for (status, signal) in [
            (0, None),
            (127, None),
            (128, None),
            (129, None),
            (130, Some("INT")),
            (137, Some("KILL")),
            (143, Some("TERM")),
            (144, None),
            (255, None),
        ] {
            assert_eq!(signal_of(status), signal, "{status}");
        }
    }
}
