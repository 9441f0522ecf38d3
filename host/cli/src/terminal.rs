//! Where the command line's own words go, and what kind of place that is.
//! Nothing of `cli` reaches a screen in another way, so all of it is clean.

use crate::error::CliError;
use crate::exit::ExitCode;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal as _, Write};
use tracing_subscriber::EnvFilter;
use vdeploy_core::clean;

/// Diagnostics of the host go to stderr: warnings by default, more with
/// `--verbose` or `VDEPLOY_LOG`.
pub fn tracing(verbose: bool) {
    let fallback = if verbose {
        "vdeploy=debug"
    } else {
        "vdeploy=warn"
    };
    let filter =
        EnvFilter::try_from_env("VDEPLOY_LOG").unwrap_or_else(|_| EnvFilter::new(fallback));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Diagnostics)
        .with_ansi(std::io::stderr().is_terminal() && colour_is_welcome())
        .without_time();
    // A second call in one process (a test) keeps the first subscriber.
    let _ = subscriber.try_init();
}

/// Whether the environment leaves colour to the program.
fn colour_is_welcome() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Text as it may be printed here: clean, and without commands for a runner of
/// GitHub that reads it.
fn block(text: &str) -> Cow<'_, str> {
    for_runner(clean::block(text))
}

fn for_runner(text: Cow<'_, str>) -> Cow<'_, str> {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|v| v == "true") {
        let lines: Vec<_> = text
            .split('\n')
            .map(vdeploy_report::escape_workflow_commands)
            .collect();
        return Cow::Owned(lines.join("\n"));
    }
    text
}

/// Diagnostics on stderr, an event a write: its text may be of a target.
struct Diagnostics;

impl Write for Diagnostics {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = for_runner(clean::painted(text.trim_end_matches('\n')));
        writeln!(std::io::stderr().lock(), "{text}")?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What is wrong with the words that were typed; they are in it.
pub fn usage_error(error: &clap::Error) {
    let text = error.render();
    let text = match std::io::stderr().is_terminal() && colour_is_welcome() {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    let lines: Vec<_> = text.lines().map(clean::painted).collect();
    let text = for_runner(Cow::Owned(lines.join("\n"))).into_owned();
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// One line (or block) for people on stdout; a closed stdout does no harm.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", block(text));
}

/// One line for programs on stdout; a closed stdout does no harm.
pub fn say_json(value: &Value) {
    let _ = writeln!(std::io::stdout().lock(), "{}", clean::json(value));
}

/// What was asked for, for people, on stdout. A reader that has gone does no
/// harm; that it could not be written for another reason, such as a full disk,
/// is an error.
pub fn give(text: &str) -> Result<(), CliError> {
    write_all(&block(text))
}

/// The same for programs: lines of JSON.
pub fn give_json(text: &str) -> Result<(), CliError> {
    write_all(&clean::json_text(text))
}

fn write_all(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::new(
            ExitCode::Internal,
            format!("standard output cannot be written, what is there is not whole: {error}"),
        )),
        _ => Ok(()),
    }
}

/// One line (or block) on stderr; a closed stderr does no harm.
pub fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", block(text));
}

/// Whether a person can be asked: a question that nobody sees would wait for
/// ever.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A question on stderr; the answer follows in its line.
pub fn ask(question: &str) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{}", clean::line(question)).and_then(|()| out.flush());
}

/// An error before or instead of a run, for programs that read `--json`.
pub fn json_error(error: &CliError) {
    let line = serde_json::json!({
        "type": "error",
        "code": error.exit,
        "exit-code": error.exit.code(),
        "message": error.message,
        "hint": error.hint,
    });
    say_json(&line);
}
