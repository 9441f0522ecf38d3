//! What was there before the run: the output of `preflight`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BuildMarker, RunningMarker};
use crate::data_loss::DataFile;
use crate::facts::Location;
use crate::listener::Listener;

/// Entries per store, by name: `board`, `feed`, `registry`, `commits`. A store
/// without a count is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Stores with fewer entries in `later`, or without a count there: name,
    /// before, after.
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

/// The output of `preflight`: the target before the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Baseline {
    pub summary: String,
    /// Markers prove that the wanted version is built and running. Steps that
    /// change the target then do nothing.
    pub unchanged: bool,
    /// The checkout has no marker and nothing runs.
    pub first_deploy: bool,
    /// Absolute, symbolic links resolved.
    pub app_dir: String,
    pub port: u16,
    /// Absolute path of the log file.
    pub log: String,
    /// The location from the configuration, to resolve it again on another VM.
    pub given: Option<Location>,
    /// The ref from the configuration, and its commit at preflight.
    pub wanted_ref: String,
    pub wanted_sha: String,
    /// The live version, see [`Baseline::serving`]: a rollback brings it back.
    pub sha: String,
    /// HEAD of the checkout. After an interrupted run or a pull by hand it
    /// differs from the live version.
    pub head: String,
    /// None when HEAD is detached.
    pub branch: Option<String>,
    /// Lines of `git status --porcelain`.
    pub hot_fixes: Vec<String>,
    /// Commits that no branch of the remote has.
    pub unpushed: u32,
    /// `node --version` of the login environment.
    pub node: String,
    pub built: Option<BuildMarker>,
    pub running: Option<RunningMarker>,
    /// The process of the service, if it listened on the port.
    pub service: Option<Listener>,
    /// Another process on the port, which the configuration allows to
    /// terminate.
    pub foreign: Option<Listener>,
    /// The systemd unit of the checkout, when nobody listens.
    pub unit: Option<String>,
    /// `new-token` is set: the service may have another token than the run.
    pub new_token: bool,
    /// The service answered a request without a token.
    pub open: bool,
    pub counts: Counts,
    /// The files in `data/`; none when they could not be listed.
    pub data_files: Option<Vec<DataFile>>,
    pub warnings: Vec<String>,
}

impl Baseline {
    /// The commit of the live version: from the marker of the running process,
    /// else of the live build, else HEAD.
    pub fn serving(&self) -> &str {
        let known = [
            self.marker().map(|running| running.sha.as_str()),
            self.built.as_ref().map(|built| built.sha.as_str()),
        ];
        let known = known.into_iter().flatten().find(|sha| !sha.is_empty());
        known.unwrap_or(&self.head)
    }

    /// The running marker, if it is about the process of the service.
    pub fn marker(&self) -> Option<&RunningMarker> {
        let service = self.service.as_ref()?;
        self.running
            .as_ref()
            .filter(|running| running.is_about(service))
    }

    /// The commit of the live build, which a start without a build starts.
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
    fn the_live_version_is_the_one_that_the_process_was_started_from() {
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
        // The marker is about a process that has ended.
        before.running.as_mut().unwrap().start_ticks = 99;
        assert_eq!(before.serving(), "built");
        before.built = None;
        assert_eq!((before.serving(), before.built_sha()), ("head", "head"));
    }
}
