//! The outputs of `restore` and `rollback`, which the steps after them read.

use serde::{Deserialize, Serialize};

use crate::listener::Listener;

/// The output of a step `restore`, which puts the files of a snapshot back that
/// a plugin made by its own means. `rollback` starts the old version in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct FilesRestored {
    pub summary: String,
    /// The snapshot; none when the rollback goes another way.
    pub restored: Option<String>,
    /// Where what was there before is kept.
    pub kept: Vec<String>,
    /// Paths that the snapshot leaves out: they are as the failed run left
    /// them.
    pub carried: Vec<String>,
    /// What was written to `data/` since the baseline and is not in what was
    /// put back, for a person; none when it is not known.
    pub data_loss: Option<Vec<String>>,
}

/// What stands after a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RolledBack {
    pub summary: String,
    /// `git` or `snapshot`.
    pub to: String,
    /// The process that serves now; none when there is no old version.
    pub service: Option<Listener>,
    /// The old process ran all the time.
    pub untouched: bool,
    /// It was the first deploy: the new version was taken away and there is
    /// no old one to bring back.
    pub no_live_version: bool,
    /// Absolute path of the checkout.
    pub app_dir: String,
    pub port: u16,
    /// Absolute path of the log.
    pub log: String,
    /// The version that serves.
    pub sha: String,
    /// The VM that serves, when it is another one now.
    pub vm: Option<String>,
    /// The VM that served before it.
    pub old_vm: Option<String>,
    /// The snapshot of the broken state, when one was taken before it was left.
    pub evidence: Option<String>,
    /// What was written to `data/` since the baseline and is not in the
    /// snapshot that was restored, for a person; none when it is not known.
    pub data_loss: Option<Vec<String>>,
}
