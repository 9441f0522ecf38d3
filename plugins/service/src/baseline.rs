//! What one step tells the next: the outputs of the built-in steps, and the
//! marker files in the checkout. All of it is JSON with kebab-case keys; a key
//! that is missing reads as its default, so that a marker of an older version
//! can be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::Place;
use crate::written::DataFile;

/// The directory in the checkout that belongs to vdeploy. It is kept out of
/// git by `.git/info/exclude`.
pub const OWN_DIR: &str = ".vdeploy";
/// What is built and live: a [`BuildMarker`], relative to the checkout.
pub const BUILD_MARKER: &str = ".vdeploy/build.json";
/// What was started last: a [`RunningMarker`], relative to the checkout.
pub const RUNNING_MARKER: &str = ".vdeploy/running.json";
/// The artifacts that were live before the last build.
pub const PREVIOUS_DIR: &str = ".vdeploy/previous";
/// Where a build is made before it goes live.
pub const STAGING_DIR: &str = ".vdeploy/build";

/// A process that listens on a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Listener {
    pub pid: u32,
    /// Clock ticks from boot to the start of the process (field 22 of
    /// `/proc/PID/stat`). With the pid it names the process for ever.
    pub start_ticks: u64,
    pub ppid: u32,
    pub uid: u32,
    /// Name of that user; empty when it has none.
    pub user: String,
    /// When it was started, for a person: `2026-02-13 09:41:07 UTC`.
    pub since: String,
    /// Absolute working directory; empty when it may not be read.
    pub cwd: String,
    /// Absolute path of the program; empty when it may not be read.
    pub exe: String,
    pub argv: Vec<String>,
    /// The systemd service that manages it, for example
    /// `agent-services.service`; none for a bare process.
    pub unit: Option<String>,
    /// The service of a user's own systemd that manages it.
    pub user_unit: Option<String>,
}

impl Listener {
    /// Whether both are the same process, not only the same pid.
    pub fn is_same_process(&self, other: &Listener) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }

    /// For a person: `pid 4711 (node dist/server.js)`.
    pub fn describe(&self) -> String {
        format!("pid {} ({})", self.pid, self.argv.join(" "))
    }

    /// All that tells a person whose process it is: `pid 7 (nc -l 3000),
    /// program /bin/nc, in /root, user root (0), since …, kept by x.service`.
    pub fn describe_fully(&self) -> String {
        let known = |text: &str| match text {
            "" => "unknown".to_owned(),
            text => text.to_owned(),
        };
        let keeper = match (&self.unit, &self.user_unit) {
            (Some(unit), _) => format!(", kept by the systemd unit {unit}"),
            (None, Some(unit)) => format!(", kept by the user's systemd unit {unit}"),
            (None, None) => String::new(),
        };
        format!(
            "{}, program {}, directory {}, user {} ({}), since {}{keeper}",
            self.describe(),
            known(&self.exe),
            known(&self.cwd),
            known(&self.user),
            self.uid,
            known(&self.since),
        )
    }
}

/// Entries per store, by name: `board`, `feed`, `registry`, `commits`. A store
/// that could not be counted is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Stores that have fewer entries in `later`, or cannot be counted any
    /// more: name, before, after.
    pub fn shrunk(&self, later: &Counts) -> Vec<(String, u64, Option<u64>)> {
        let stores = self.0.iter().filter_map(|(store, &before)| {
            let after = later.0.get(store).copied();
            let lost = after.is_none_or(|after| after < before);
            lost.then(|| (store.clone(), before, after))
        });
        stores.collect()
    }

    /// For a person: `board 12, feed 40`.
    pub fn describe(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(store, count)| format!("{store} {count}"))
            .collect();
        parts.join(", ")
    }
}

/// The output of `preflight`: the target as it was before the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Baseline {
    pub summary: String,
    /// Nothing would change: the wanted version is built, running and proven
    /// by its markers. The changing steps then do nothing.
    pub unchanged: bool,
    /// Nothing was ever built here and nothing runs.
    pub first_deploy: bool,
    /// Absolute, symbolic links resolved.
    pub app_dir: String,
    pub port: u16,
    /// Absolute path of the service's log file.
    pub log: String,
    /// The place as the configuration has it, to find it again on another VM.
    pub given: Option<Place>,
    /// The ref the configuration asks for, and what it was at preflight.
    pub wanted_ref: String,
    pub wanted_sha: String,
    /// The version that serves, see [`Baseline::serving`]: the way back of the
    /// run ends there.
    pub sha: String,
    /// HEAD of the checkout. A run that was cut off and a pull by hand leave
    /// another one than what serves.
    pub head: String,
    /// None when HEAD is detached.
    pub branch: Option<String>,
    /// Lines of `git status --porcelain`.
    pub hot_fixes: Vec<String>,
    /// Commits that are in no branch of the remote.
    pub unpushed: u32,
    /// `node --version` of the login environment.
    pub node: String,
    pub built: Option<BuildMarker>,
    pub running: Option<RunningMarker>,
    /// The service: who listened on the port.
    pub service: Option<Listener>,
    /// A process on the port that is not the service, and that the
    /// configuration says may be ended.
    pub foreign: Option<Listener>,
    /// The systemd unit that works in the checkout while nobody listens.
    pub unit: Option<String>,
    /// `new-token` was set: the service may have another token than the run.
    pub new_token: bool,
    /// The service answered a request without a token.
    pub open: bool,
    pub counts: Counts,
    /// The files in `data/`, where they could be listed.
    pub data_files: Option<Vec<DataFile>>,
    pub warnings: Vec<String>,
}

impl Baseline {
    /// The commit of what serves: that of the running process, where the marker
    /// speaks of it, else that of the live build, else HEAD.
    pub fn serving(&self) -> &str {
        let known = [
            self.marker().map(|running| running.sha.as_str()),
            self.built.as_ref().map(|built| built.sha.as_str()),
        ];
        let known = known.into_iter().flatten().find(|sha| !sha.is_empty());
        known.unwrap_or(&self.head)
    }

    /// The marker of the service's start, where it speaks of the process that
    /// serves.
    pub fn marker(&self) -> Option<&RunningMarker> {
        let service = self.service.as_ref()?;
        self.running
            .as_ref()
            .filter(|running| running.is_about(service))
    }

    /// The commit of the live build: what a start without a build starts.
    pub fn built_sha(&self) -> &str {
        match &self.built {
            Some(built) if !built.sha.is_empty() => &built.sha,
            _ => &self.head,
        }
    }

    /// The same, where an older version made it: its `sha` was HEAD.
    pub fn of_any_version(mut self) -> Self {
        if self.head.is_empty() {
            self.head = std::mem::take(&mut self.sha);
            self.sha = self.serving().to_owned();
        }
        self
    }
}

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

/// `.vdeploy/build.json`: what the live artifacts were built from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct BuildMarker {
    pub sha: String,
    /// `node --version` at the build.
    pub node: String,
    /// Hash of the lock file, empty without one.
    pub lock: String,
    /// Hash of npm's own record of what is in `node_modules`; empty without
    /// one. Somebody who adds a module by hand changes it.
    pub modules: String,
    /// The command that installed the modules.
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
    /// The version that was live when it was started.
    pub sha: String,
    /// `node --version` when it was started.
    pub node: String,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    pub run: String,
}

impl RunningMarker {
    /// Whether it speaks of this process.
    pub fn is_about(&self, listener: &Listener) -> bool {
        self.pid == listener.pid && self.start_ticks == listener.start_ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: &[(&str, u64)]) -> Counts {
        let entries = entries.iter().map(|&(store, n)| (store.to_owned(), n));
        Counts(entries.collect())
    }

    #[test]
    fn a_store_shrinks_when_it_loses_entries_or_vanishes() {
        let before = counts(&[("board", 3), ("commits", 2), ("feed", 7)]);
        let after = counts(&[("board", 4), ("feed", 6)]);
        assert_eq!(
            before.shrunk(&after),
            [
                ("commits".to_owned(), 2, None),
                ("feed".to_owned(), 7, Some(6))
            ]
        );
        assert_eq!(before.shrunk(&before), []);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let old = Listener {
            pid: 7,
            start_ticks: 100,
            ..Listener::default()
        };
        let new = Listener {
            start_ticks: 200,
            ..old.clone()
        };
        assert!(old.is_same_process(&old));
        assert!(!old.is_same_process(&new));
    }

    #[test]
    fn what_serves_is_what_the_process_was_started_from() {
        let service = Listener {
            pid: 7,
            start_ticks: 100,
            ..Listener::default()
        };
        let running = RunningMarker {
            pid: 7,
            start_ticks: 100,
            sha: "running".to_owned(),
            ..RunningMarker::default()
        };
        let built = BuildMarker {
            sha: "built".to_owned(),
            ..BuildMarker::default()
        };
        let mut before = Baseline {
            head: "head".to_owned(),
            service: Some(service),
            running: Some(running),
            built: Some(built),
            ..Baseline::default()
        };
        assert_eq!((before.serving(), before.built_sha()), ("running", "built"));
        // The marker is of a process that is gone.
        before.running.as_mut().unwrap().start_ticks = 99;
        assert_eq!(before.serving(), "built");
        before.built = None;
        assert_eq!((before.serving(), before.built_sha()), ("head", "head"));
    }

    #[test]
    fn the_baseline_of_an_older_version_says_what_served_too() {
        let older: Baseline =
            serde_json::from_str(r#"{"sha":"head","built":{"sha":"built"}}"#).unwrap();
        let older = older.of_any_version();
        assert_eq!((older.sha.as_str(), older.head.as_str()), ("built", "head"));
        assert_eq!(older.clone().of_any_version(), older);
    }

    #[test]
    fn a_marker_of_an_older_version_reads_with_defaults() {
        let marker: BuildMarker = serde_json::from_str(r#"{"sha":"abc"}"#).unwrap();
        assert_eq!(marker.sha, "abc");
        assert_eq!(marker.lock, "");
    }
}
