//! The marker files in `.vdeploy` of the checkout. A marker records what was
//! built and what was started last.

use serde::{Deserialize, Serialize};

use crate::listener::Listener;

/// What was started last: a [`RunningMarker`], relative to the checkout.
pub const RUNNING_MARKER: &str = ".vdeploy/running.json";
/// The artifacts that were live before the last build.
pub const PREVIOUS_DIR: &str = ".vdeploy/previous";

/// `.vdeploy/build.json`: what the live artifacts were built from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct BuildMarker {
    pub sha: String,
    /// `node --version` at the build.
    pub node: String,
    /// Hash of the lock file; empty without one.
    pub lock: String,
    /// Hash of `node_modules/.package-lock.json`; empty without one. A module
    /// added by hand changes it.
    pub modules: String,
    pub install: String,
    /// Milliseconds since 1970.
    pub built_at_ms: u64,
    pub run: String,
}

/// `.vdeploy/running.json`: what was started last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RunningMarker {
    pub pid: u32,
    pub start_ticks: u64,
    /// The version that was started.
    pub sha: String,
    /// `node --version` when it was started.
    pub node: String,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    pub run: String,
}

impl RunningMarker {
    pub fn is_about(&self, listener: &Listener) -> bool {
        self.pid == listener.pid && self.start_ticks == listener.start_ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_reads_as_its_default() {
        let marker: BuildMarker = serde_json::from_str(r#"{"sha":"abc"}"#).unwrap();
        assert_eq!(marker.sha, "abc");
        assert_eq!(marker.lock, "");
    }
}
