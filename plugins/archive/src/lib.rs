//! A plugin snapshot for targets whose platform takes none: archives directories
//! on the target itself and restores them. It protects against a bad deploy, not
//! against a lost disk.
//!
//! This plugin must not know why the run failed, nor start the service.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod make;
mod restore;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::process::field;

/// Needs the functions of `process.sh` and `restore.sh`.
const MAKE: &str = include_str!("make.sh");
/// Also stored in each archive, for a restore by hand.
const RESTORE: &str = include_str!("restore.sh");

/// See `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    mode: Mode,
    to: To,
    dirs: Vec<String>,
    exclude: Vec<String>,
    store: String,
    keep: u32,
    min_free_mb: u64,
    quiesce: Quiesce,
    label: String,
    when_unchanged: WhenUnchanged,
    archive_step: String,
    stop_timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Make,
    Restore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum To {
    InPlace,
    Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Quiesce {
    No,
    Pause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhenUnchanged {
    Skip,
    Take,
}

/// The output of `make`. Other steps read `id`, `label`, `skipped` and
/// `self-managed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Archived {
    pub summary: String,
    pub skipped: bool,
    pub id: Option<String>,
    pub label: String,
    pub self_managed: bool,
    /// Directory of the archives on the target, absolute.
    pub store: String,
    /// The archived directories, absolute.
    pub dirs: Vec<String>,
    /// Excluded paths in them.
    pub exclude: Vec<String>,
    /// Size of the archive in KiB.
    pub kb: u64,
    /// For a person.
    pub restore_by_hand: Option<String>,
}

#[derive(Debug)]
pub struct Archive;

impl Step for Archive {
    type Config = Config;
    type Output = Value;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        let climbs = |path: &&String| path.split('/').any(|part| part == "..");
        if let Some(path) = cx.config().exclude.iter().find(climbs) {
            return Err(Error::invalid(
                "archive.exclude",
                format!("`exclude` has `{path}`, which leads out of the directory"),
            ));
        }
        Ok(())
    }

    fn run(cx: &Cx<Config>) -> Result<Value, Error> {
        let output = match cx.config().mode {
            Mode::Make => serde_json::to_value(make::make(cx)?),
            Mode::Restore => serde_json::to_value(restore::restore(cx)?),
        };
        output.map_err(|error| Error::failed("archive.output", error.to_string()))
    }
}

/// The error of a script that answers with `state` and `why`.
fn refused(text: &str) -> Error {
    let state = field(text, "state").unwrap_or("no-answer");
    let why = field(text, "why").unwrap_or(text).trim();
    Error::failed(format!("archive.{state}"), why)
}

/// All values of the lines `KEY=VALUE`.
fn fields<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

vdeploy_plugin::register_step!(Archive);

#[cfg(test)]
mod tests;
