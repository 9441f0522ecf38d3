//! `vdeploy plugin`: look at plugins.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::terminal;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use vdeploy_core::ids::PluginName;
use vdeploy_ops::OpsError;
use vdeploy_ops::prepare::plugin_file;
use vdeploy_wasm::inspect::Inspection;

/// Subcommands of `vdeploy plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Say who a plugin is and what it can do, without running it
    Inspect {
        /// A component file, or `builtin:NAME`
        file: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub fn main(command: PluginCommand) -> Result<ExitCode, CliError> {
    let PluginCommand::Inspect { file, json } = command;
    let (name, bytes) = read(&file)?;
    let inspection = Inspection::of(&PluginName::new(name), &bytes).map_err(OpsError::from)?;
    if json {
        let text = serde_json::to_string(&inspection)
            .map_err(|e| CliError::new(ExitCode::Internal, e.to_string()))?;
        terminal::give_json(&text)?;
    } else {
        terminal::give(inspection.to_string().trim_end())?;
    }
    Ok(ExitCode::Success)
}

fn read(file: &str) -> Result<(String, Vec<u8>), CliError> {
    if let Some(name) = file.strip_prefix("builtin:") {
        let known = || vdeploy_builtin::names().collect::<Vec<_>>().join(", ");
        let bytes = vdeploy_builtin::bytes(name).ok_or_else(|| {
            CliError::usage(format!(
                "no built-in plugin `{name}`; there are: {}",
                known()
            ))
        })?;
        return Ok((name.to_owned(), bytes.to_vec()));
    }
    let path = PathBuf::from(file);
    let bytes = plugin_file::read(&path).map_err(|e| CliError::usage(format!("{file}: {e}")))?;
    let stem = path
        .file_stem()
        .unwrap_or(Path::new(file).as_os_str())
        .to_string_lossy()
        .into_owned();
    Ok((stem, bytes))
}
