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
    /// A plugin made it; the platform does not know it.
    pub self_managed: bool,
    pub label: String,
    /// The VM in the snapshot.
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
    /// The patch with the hot-fixes, relative to the checkout.
    pub hot_fixes: Option<String>,
}

/// The output of `npm-build`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Built {
    pub summary: String,
    /// The live build already was the wanted one.
    pub skipped: bool,
    pub sha: String,
    /// The run that built; when `skipped`, it built nothing.
    pub run: String,
    pub node: String,
    /// `installed` or `reused`.
    pub modules: String,
    /// Directory of the previous artifacts, relative to the checkout; none on a
    /// first build.
    pub previous: Option<String>,
}

/// The output of `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Restarted {
    pub summary: String,
    /// The right process already ran.
    pub skipped: bool,
    /// The new process.
    pub service: Listener,
    /// The stopped process.
    pub old: Option<Listener>,
    /// Absolute path of the log of the new process.
    pub log: String,
    /// The started commit; empty when nothing was started.
    pub sha: String,
    /// Milliseconds since 1970 when the new process was started.
    pub started_at_ms: u64,
}
