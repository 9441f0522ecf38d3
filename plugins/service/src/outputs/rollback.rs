//! The outputs of the steps `restore` and `rollback`.

use serde::{Deserialize, Serialize};

use crate::listener::Listener;

/// The output of a step `restore`, which restores the files of a plugin
/// snapshot. The step `rollback` starts the old version in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FilesRestored {
    pub summary: String,
    /// The snapshot; none when the rollback is in place.
    pub restored: Option<String>,
    /// Directories that hold the broken state.
    pub kept: Vec<String>,
    /// Paths that the snapshot excludes: they stay as the failed run left them.
    pub carried: Vec<String>,
    /// Writes to `data/` since the baseline that the restored files lack, for a
    /// person; none when unknown.
    pub data_loss: Option<Vec<String>>,
}

/// The output of `rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RolledBack {
    pub summary: String,
    /// `in-place` or `snapshot`.
    pub to: String,
    /// The process of the old version; none when there is no old version.
    pub service: Option<Listener>,
    /// The old process never stopped.
    pub untouched: bool,
    /// The run was the first deploy: the new version is removed, and there is
    /// no old version.
    pub no_live_version: bool,
    /// Absolute path of the checkout.
    pub app_dir: String,
    pub port: u16,
    /// Absolute path of the log.
    pub log: String,
    /// The live version.
    pub sha: String,
    /// The new VM, when the target moved.
    pub vm: Option<String>,
    /// The VM before the move.
    pub old_vm: Option<String>,
    /// The evidence snapshot: the broken state before the restore.
    pub evidence: Option<String>,
    /// Writes to `data/` since the baseline that the restored snapshot lacks,
    /// for a person; none when unknown.
    pub data_loss: Option<Vec<String>>,
}
