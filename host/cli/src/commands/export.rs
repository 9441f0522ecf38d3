//! `vdeploy runs export`: one run as one portable file.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::terminal;
use clap::Args;
use std::path::PathBuf;
use vdeploy_journal::Store;
use vdeploy_ops::recording::recording;
use vdeploy_report::atomic_file::{self, Readers};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy runs export latest --out run.jsonl   the newest run as a file
  vdeploy runs export 01M856KE | gzip          this one, on standard output";

/// Arguments of `vdeploy runs export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// An id, its beginning, or `latest`
    pub run: String,
    /// Write it there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Writes it.
pub fn main(store: &dyn Store, args: &ExportArgs) -> Result<ExitCode, CliError> {
    let recording = recording(store, &args.run)?;
    let lines = recording
        .lines()
        .map_err(|e| CliError::new(ExitCode::Internal, e.to_string()))?;
    let text = lines.join("\n");
    let Some(path) = &args.out else {
        terminal::give_json(&text)?;
        return Ok(ExitCode::Success);
    };
    atomic_file::write(path, &format!("{text}\n"), Readers::Owner)
        .map_err(|e| CliError::usage(format!("--out {}: {e}", path.display())))?;
    terminal::error_line(&format!(
        "run {} is in {} ({} journal entries)",
        recording.record.id,
        path.display(),
        recording.journal.len()
    ));
    Ok(ExitCode::Success)
}
