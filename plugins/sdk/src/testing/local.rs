//! Runs commands on this machine, in a directory that serves as the login home.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::call::{FakeCommand, FakeOutput};
use crate::{Error, Output};

/// A handler for [`super::FakeHost::ssh`] that executes each command, with
/// `home` as `$HOME` and as the login directory. For tests of scripts and of
/// steps against real tools.
pub fn local_shell(
    home: impl Into<PathBuf>,
) -> impl FnMut(&FakeCommand) -> Result<FakeOutput, Error> + 'static {
    let home = home.into();
    move |command| run(&home, command).map_err(|e| Error::failed("testing.local", e.to_string()))
}

fn run(home: &std::path::Path, command: &FakeCommand) -> std::io::Result<FakeOutput> {
    let secrets = command
        .secret_env
        .iter()
        .map(|(var, _, value)| (var, value));
    let mut child = Command::new(&command.program)
        .args(&command.args)
        .env("HOME", home)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .envs(secrets)
        .current_dir(home.join(command.cwd.as_deref().unwrap_or(".")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // A command may end without reading its input; that is no error here.
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = command.stdin.clone();
        std::thread::spawn(move || stdin.write_all(&bytes).is_ok());
    }
    let output = child.wait_with_output()?;
    Ok(FakeOutput(Output {
        exit_code: output
            .status
            .code()
            .and_then(|code| u32::try_from(code).ok()),
        signal: output.status.code().is_none().then(|| "KILL".to_owned()),
        stdout: output.stdout,
        stderr: output.stderr,
        truncated: false,
    }))
}
