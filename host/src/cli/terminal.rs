//! Where the command line's own words go, and what kind of place that is.

use super::error::CliError;
use super::exit::ExitCode;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use tracing_subscriber::EnvFilter;

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
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time();
    // A second call in one process (a test) keeps the first subscriber.
    let _ = subscriber.try_init();
}

/// One line (or block) on stdout; a closed stdout does no harm.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// What was asked for, on stdout. A reader that has gone does no harm; that it
/// could not be written for another reason, such as a full disk, is an error.
pub fn give(text: &str) -> Result<(), CliError> {
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
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error before or instead of a run, for programs that read `--json`.
pub fn json_error(error: &CliError) {
    let line = serde_json::json!({
        "type": "error",
        "exit-code": error.exit.code(),
        "message": error.message,
        "hint": error.hint,
    });
    say(&line.to_string());
}
