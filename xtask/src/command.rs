//! Runs programs: says what is run, and turns an exit status into an error.
//! Knows no program by name but cargo.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

/// A program ran and did not succeed. Its own messages were shown already.
#[derive(Debug)]
pub struct Failed {
    line: String,
    status: ExitStatus,
}

impl Failed {
    /// The program's exit code; 1 when a signal ended it.
    pub fn code(&self) -> u8 {
        self.status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .filter(|code| *code != 0)
            .unwrap_or(1)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` did not succeed ({})", self.line, self.status)
    }
}

impl std::error::Error for Failed {}

/// The cargo that runs this, in `dir`, without what `cargo run` told about the
/// xtask package: a build must not see that.
pub fn cargo(dir: &Path) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Shows and runs the command; its output goes to the terminal.
///
/// # Errors
/// When it cannot be started, or [`Failed`] when its status is not success.
pub fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    succeeded(line, status)
}

/// Runs the command and returns its standard output; standard error goes to
/// the terminal.
///
/// # Errors
/// As [`run`], and when the output is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    succeeded(line.clone(), output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("output of `{line}` is not UTF-8"))
}

/// Prints the heading of a part of a longer task.
pub fn heading(text: &str) {
    eprintln!("\n== {text}");
}

fn succeeded(line: String, status: ExitStatus) -> Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(Failed { line, status }.into())
    }
}

/// The command as a person would type it; the directory part of the program is
/// left out.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut words = vec![quoted(name)];
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

/// A word as a shell takes it.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/git");
        command.args(["commit", "-m", "it's two words", ""]);
        assert_eq!(shown(&command), r"git commit -m 'it'\''s two words' ''");
    }

    #[test]
    fn the_exit_code_of_a_failed_program_is_kept() {
        let error = run(Command::new("sh").args(["-c", "exit 41"])).unwrap_err();
        let failed = error.downcast_ref::<Failed>().unwrap();
        assert_eq!(failed.code(), 41);
    }

    #[test]
    fn a_program_ended_by_a_signal_counts_as_one() {
        let error = run(Command::new("sh").args(["-c", "kill -9 $$"])).unwrap_err();
        assert_eq!(error.downcast_ref::<Failed>().unwrap().code(), 1);
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = run(&mut Command::new("/nonexistent/program-x")).unwrap_err();
        assert!(format!("{error:#}").contains("program-x"), "{error:#}");
    }
}
