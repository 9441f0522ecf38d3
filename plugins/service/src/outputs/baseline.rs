//! What was there before the run: the output of `preflight`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BuildMarker, RunningMarker};
use crate::data_loss::DataFile;
use crate::facts::Location;
use crate::listener::Listener;

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
    /// The location as the configuration has it, to find it again on another VM.
    pub given: Option<Location>,
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
}
