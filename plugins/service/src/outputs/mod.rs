//! The outputs of the built-in steps, which later steps read, and the marker
//! files in the checkout. All of it is JSON with kebab-case keys; a missing key
//! reads as its default, because a step can be left out of a plan.

mod baseline;
mod markers;
mod rollback;

use serde::{Deserialize, Serialize};

pub use baseline::{Baseline, Counts};
pub use markers::{BuildMarker, PREVIOUS_DIR, RUNNING_MARKER, RunningMarker};
pub use rollback::{FilesRestored, RolledBack};

use crate::listener::Listener;

/// The output of `snapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SnapshotTaken {
    pub summary: String,
    pub skipped: bool,
    pub id: Option<String>,
    /// A plugin made it by its own means; the platform does not know it.
    pub self_managed: bool,
    pub label: String,
    /// The VM it is a snapshot of.
    pub vm: Option<String>,
    /// `recorded`, `off`, or `failed: WHY`.
    pub ledger: String,
}

/// The output of `git-pull`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Pulled {
    pub summary: String,
    pub old_sha: String,
    /// None when HEAD was detached.
    pub old_branch: Option<String>,
    pub new_sha: String,
    pub changed: bool,
    /// The run that pulled.
    pub run: String,
    /// The patch with the hot-fixes that were in the checkout, relative to it.
    pub hot_fixes: Option<String>,
}

/// The output of `npm-build`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Built {
    pub summary: String,
    /// The live build was already the wanted one.
    pub skipped: bool,
    pub sha: String,
    /// The run that built; none of the live artifacts are its when `skipped`.
    pub run: String,
    pub node: String,
    /// `installed` or `reused`.
    pub modules: String,
    /// Where the artifacts that were live before are kept, relative to the
    /// checkout; none on a first build.
    pub previous: Option<String>,
}

/// The output of `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Restarted {
    pub summary: String,
    /// The right process was running already.
    pub skipped: bool,
    /// The process that serves now.
    pub service: Listener,
    /// The process that was stopped.
    pub old: Option<Listener>,
    /// Absolute path of the new process's log file.
    pub log: String,
    /// The commit that was started; empty when nothing was.
    pub sha: String,
    /// Milliseconds since 1970 when the new process was started.
    pub started_at_ms: u64,
}
