//! `ssh.probe` and `ssh.exec` through the gate.

use crate::call::pass::{CallContext, Gate, denied, refused};
use crate::call::{Call, Effect, WhenInDoubt};
use crate::source::from_journal::{self, bytes as encoded};
use serde_json::{Value, json};
use std::sync::Mutex;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::mask::MaskedLines;
use vdeploy_core::capability::quote::sh;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output, Stream};
use vdeploy_core::codes;
use vdeploy_core::event::RunEvent;
use vdeploy_scope::Grants;

/// Most bytes of one text in the journal.
const MAX_KEPT: usize = 256 * 1024;
/// Most of a command's line that is read for the part that is shown, in bytes.
const MAX_SHOWN: usize = 1024;
/// Longest line of live output that is shown as one.
const MAX_LINE: usize = 8 * 1024;

impl Gate {
    /// Runs a command on the target; `probe` promises that it only reads.
    pub async fn ssh(&self, mut command: Command, probe: bool) -> Result<Output, EffectError> {
        command.timeout = command.timeout.min(self.time_left());
        command.masker = (*self.shared.masker).clone();
        // Masked before it is shortened: half a secret would not be found.
        let masker = &self.shared.masker;
        let shown = masker.mask_start(&command.display(), MAX_SHOWN);
        let call = Call {
            function: if probe {
                HostFunction::SshProbe
            } else {
                HostFunction::SshExec
            },
            action: format!("ssh {}{}", one_line(&shown), self.setup(&command)),
            request: json!({
                "program": command.program,
                "args": command.args,
                "env": command.env.iter().map(|(k, v)| json!([k, v])).collect::<Vec<_>>(),
                "secret-env": command
                    .secret_env
                    .iter()
                    .map(|(k, s)| json!([k, s.name]))
                    .collect::<Vec<_>>(),
                "cwd": command.cwd,
                "stdin": text(&self.shared.masker.mask_bytes(&command.stdin)),
            }),
            effect: if probe {
                Effect::Probe
            } else {
                Effect::ChangeTarget
            },
            grant: self.ssh_grant(&command, probe, &shown),
            quiet: false,
            lasting: false,
            // The job on the target is found by its number.
            in_doubt: WhenInDoubt::Retry,
        };
        let pretend = || {
            Ok(Output {
                exit_code: Some(0),
                ..Output::default()
            })
        };
        self.pass(call, pretend, async |context: CallContext| {
            let live = Lines::new(self);
            command.job = (!probe).then(|| JobId {
                run: self.shared.run.clone(),
                effect: context.effect,
            });
            let ran = self.shared.world.ssh.run(&command, &live).await;
            live.finish();
            let mut output = ran?;
            let masker = &self.shared.masker;
            output.stdout = masker.mask_bytes(&output.stdout).into_owned();
            output.stderr = masker.mask_bytes(&output.stderr).into_owned();
            Ok(from_journal::output(output))
        })
        .await
    }

    fn ssh_grant(&self, command: &Command, probe: bool, shown: &str) -> Result<(), EffectError> {
        command.check()?;
        if !self.grants.allows_ssh(command, probe) {
            let what = format!("the command `{}`", one_line(shown));
            let advice = self.grants.advice_for_ssh(&self.plugin, command, probe);
            let masked = self.shared.masker.mask(&advice);
            let advice = match *masked == *advice {
                true => &*advice,
                false => "no scope says this: a secret is in its arguments",
            };
            return Err(refused(codes::SSH_DENIED, &what, advice));
        }
        for (variable, secret) in &command.secret_env {
            if !self.grants.allows_secret_to_ssh(&secret.name) {
                return Err(denied(
                    codes::SECRET_DENIED,
                    &format!(
                        "the secret `{}` in the environment ({variable}) of a command",
                        secret.name
                    ),
                    &Grants::line_for_secret_to_ssh(&self.plugin, &secret.name),
                ));
            }
        }
        Ok(())
    }

    /// What else of a command is the plugin's choice, for a person: directory,
    /// names of variables, size of the input. Empty where nothing is set.
    fn setup(&self, command: &Command) -> String {
        let mut parts = Vec::new();
        if let Some(cwd) = &command.cwd {
            let cwd = self.shared.masker.mask(cwd);
            parts.push(format!("in {}", one_line(&sh(&cwd))));
        }
        let plain = command.env.iter().map(|(name, _)| name);
        let names: Vec<&str> = plain
            .chain(command.secret_env.iter().map(|(name, _)| name))
            .map(String::as_str)
            .collect();
        if !names.is_empty() {
            parts.push(format!("env {}", one_line(&names.join(" "))));
        }
        if !command.stdin.is_empty() {
            parts.push(format!("{} bytes of input", command.stdin.len()));
        }
        match parts.is_empty() {
            true => String::new(),
            false => format!(" ({})", parts.join(", ")),
        }
    }
}

/// What of a call's arguments the journal keeps: of much, the first and the
/// last half.
pub(crate) fn text(bytes: &[u8]) -> Value {
    let half = MAX_KEPT / 2;
    match (bytes.get(..half), bytes.len().checked_sub(half)) {
        (Some(first), Some(rest)) if bytes.len() > MAX_KEPT => json!({
            "first": encoded(whole_characters(first)),
            "last": encoded(bytes.get(rest..).unwrap_or_default()),
            "bytes": bytes.len(),
        }),
        _ => encoded(bytes),
    }
}

/// Without the beginning of a character that was cut at the end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).unwrap_or(bytes)
        }
        _ => bytes,
    }
}

/// The first line, shortened, with a mark when something follows.
fn one_line(text: &str) -> String {
    let mut lines = text.lines();
    let first: String = lines.next().unwrap_or_default().chars().take(160).collect();
    if lines.next().is_some() || first.len() < text.len() {
        format!("{first} …")
    } else {
        first
    }
}

/// Turns live bytes into masked line events.
struct Lines<'a> {
    gate: &'a Gate,
    stdout: Mutex<MaskedLines>,
    stderr: Mutex<MaskedLines>,
}

impl<'a> Lines<'a> {
    fn new(gate: &'a Gate) -> Self {
        let lines = || Mutex::new(MaskedLines::new(&gate.shared.masker, MAX_LINE));
        Self {
            gate,
            stdout: lines(),
            stderr: lines(),
        }
    }

    fn with(&self, stream: Stream, take: impl FnOnce(&mut MaskedLines) -> Vec<String>) {
        let buffer = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let lines = take(&mut buffer.lock().unwrap_or_else(|e| e.into_inner()));
        for mut line in lines {
            if line.ends_with('\r') {
                line.pop();
            }
            self.gate.shared.recorder.emit(RunEvent::Output {
                step: self.gate.step.clone(),
                stream,
                line,
            });
        }
    }

    fn finish(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.with(stream, MaskedLines::finish);
        }
    }
}

impl LiveOutput for Lines<'_> {
    fn chunk(&self, stream: Stream, bytes: &[u8]) {
        self.with(stream, |lines| lines.push(bytes));
    }

    fn doing(&self, text: &str) {
        Progress::doing(self.gate, text);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_KEPT, one_line, text};

    #[test]
    fn of_much_text_the_journal_keeps_the_ends() {
        assert_eq!(text(b"ok"), "ok");
        assert_eq!(text(&[0xff]), serde_json::json!({ "base64": "/w==" }));
        let much = "é".repeat(MAX_KEPT);
        let kept = text(format!("a{much}z").as_bytes());
        assert!(kept["first"].as_str().unwrap().starts_with("aé"));
        assert_eq!(kept["bytes"], MAX_KEPT * 2 + 2);
        assert!(kept.to_string().len() < MAX_KEPT * 2);
        assert_eq!(
            text(&vec![b'x'; MAX_KEPT]).as_str().unwrap().len(),
            MAX_KEPT
        );
    }

    #[test]
    fn a_long_or_many_lined_command_is_shown_in_one_line() {
        assert_eq!(one_line("git fetch"), "git fetch");
        assert_eq!(one_line("sh -c 'a\nb'"), "sh -c 'a …");
        assert!(one_line(&"x".repeat(500)).chars().count() < 170);
    }
}
