//! The output of `rollback`, which the smoke test after it reads.

use serde::{Deserialize, Serialize};

use crate::baseline::Listener;

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
    pub nothing_left: bool,
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
}
