//! What is in the journal, in which order, and what happens when it cannot be
//! written.

use crate::stage::{Parts, Stage, code, scripted};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use vdeploy::ids::{PluginName, RunId, TargetName};
use vdeploy::journal::store::{Granted, Holder, RunRecord, RunSummary, Stored};
use vdeploy::journal::{Entry, SqliteStore, Store, StoreError};

/// The calls in the journal: `intent 3 ssh.exec`, `result 3 ssh.exec ok`.
fn calls(stage: &Stage) -> Vec<String> {
    let line = |entry| match entry {
        Entry::Intent { call, function, .. } => Some(format!("intent {call} {function}")),
        Entry::Result {
            call,
            function,
            response,
            ..
        } => {
            let how = match response {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.code,
            };
            Some(format!("result {call} {function} {how}"))
        }
        Entry::SnapshotTaken { snapshot, .. } => Some(format!("snapshot {snapshot}")),
        Entry::TargetMoved { to, .. } => Some(format!("moved to {to}")),
        _ => None,
    };
    stage.journal().into_iter().filter_map(line).collect()
}

#[tokio::test]
async fn a_change_has_its_intent_before_and_its_result_after_it() {
    let stage = Stage::new();
    let exec = |word| json!({ "do": "exec", "argv": ["echo", word], "try": true });
    let plan = json!([
        { "do": "probe", "argv": ["echo", "look"] },
        exec("early"),
        { "do": "snapshot", "label": "before" },
        exec("fine"),
        exec("lost"),
        { "do": "put", "key": "k", "value": "v" },
        { "do": "restore", "id": "snapshot-1" },
        { "do": "now" },
    ]);
    stage.run(&scripted(), plan).await.unwrap();
    stage.shared.waive_snapshot("flush").unwrap();
    assert_eq!(
        calls(&stage),
        [
            "result 1 ssh.probe ok",
            "result 2 ssh.exec gate.no-snapshot",
            "intent 3 snapshot.create",
            "snapshot snapshot-1",
            "result 3 snapshot.create ok",
            "intent 4 ssh.exec",
            "result 4 ssh.exec ok",
            "intent 5 ssh.exec",
            "result 5 ssh.exec ssh.closed",
            "intent 6 state.put",
            "result 6 state.put ok",
            "intent 7 snapshot.restore",
            "moved to vm-of-snapshot-1-1",
            "result 7 snapshot.restore ok",
            "result 8 clock.now-unix-ms ok",
        ]
    );
    let changes_target: Vec<bool> = stage
        .journal()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Intent { changes_target, .. } => Some(changes_target),
            _ => None,
        })
        .collect();
    assert_eq!(changes_target, [false, true, true, false, true]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_closes_the_gate() {
    // The first write is the waiver, the next the intent.
    for (good, commands) in [(1, 0), (2, 1)] {
        let store = Arc::new(FailsAfter::new(good));
        let stage = Stage::of(Parts {
            store,
            ..Parts::default()
        })
        .with_snapshot();
        let plugin = scripted();
        let exec = json!([{ "do": "exec", "argv": ["echo", "x"] }]);
        let error = stage.run(&plugin, exec).await.unwrap_err();
        assert_eq!(code(&error), "gate.closed", "{error}");
        assert!(error.to_string().contains("disk full"), "{error}");
        let vdeploy::plugin::PluginError::Failed(error) = error else {
            panic!("{error}");
        };
        // Without its intent nothing was done.
        assert_eq!(error.maybe_applied, commands > 0);
        assert_eq!(stage.commands().len(), commands);
        assert!(stage.shared.broken().is_some());
        let probe = json!([{ "do": "probe", "argv": ["echo", "x"] }]);
        let error = stage.run(&plugin, probe).await.unwrap_err();
        assert_eq!(code(&error), "gate.closed");
        assert_eq!(stage.commands().len(), commands);
    }
}

/// A store whose journal takes so many writes.
#[derive(Debug)]
pub struct FailsAfter {
    inner: SqliteStore,
    left: AtomicUsize,
}

impl FailsAfter {
    pub fn new(writes: usize) -> Self {
        Self {
            inner: SqliteStore::in_memory().unwrap(),
            left: AtomicUsize::new(writes),
        }
    }

    fn spend(&self) -> Result<(), StoreError> {
        let take = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .map(drop)
            .map_err(|_| StoreError::Database {
                path: "state.db".to_owned(),
                message: "disk full".to_owned(),
            })
    }
}

impl Store for FailsAfter {
    fn create_run(&self, record: &RunRecord) -> Result<(), StoreError> {
        self.inner.create_run(record)
    }
    fn append(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entry: &Entry,
    ) -> Result<u64, StoreError> {
        self.spend()?;
        self.inner.append(run, lease, entry)
    }
    fn append_all(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        self.spend()?;
        self.inner.append_all(run, lease, entries)
    }
    fn run(&self, id_or_prefix: &str) -> Result<RunRecord, StoreError> {
        self.inner.run(id_or_prefix)
    }
    fn runs(&self, target: Option<&TargetName>, limit: u32) -> Result<Vec<RunSummary>, StoreError> {
        self.inner.runs(target, limit)
    }
    fn journal(&self, run: &RunId) -> Result<Vec<Stored>, StoreError> {
        self.inner.journal(run)
    }
    fn acquire_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        who: &str,
        ttl: Duration,
    ) -> Result<Result<Granted, Holder>, StoreError> {
        self.inner.acquire_lease(target, run, who, ttl)
    }
    fn renew_lease(&self, lease: &Granted, ttl: Duration) -> Result<(), StoreError> {
        self.inner.renew_lease(lease, ttl)
    }
    fn release_lease(&self, lease: &Granted) -> Result<(), StoreError> {
        self.inner.release_lease(lease)
    }
    fn break_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        by: &str,
        reason: &str,
    ) -> Result<Option<vdeploy::journal::breaks::LeaseBreak>, StoreError> {
        self.inner.break_lease(target, run, by, reason)
    }
    fn lease_holder(&self, target: &TargetName) -> Result<Option<Holder>, StoreError> {
        self.inner.lease_holder(target)
    }
    fn fact(&self, target: &TargetName, key: &str) -> Result<Option<String>, StoreError> {
        self.inner.fact(target, key)
    }
    fn set_fact(
        &self,
        target: &TargetName,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        self.inner.set_fact(target, key, value)
    }
    fn plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.plugin_state(plugin, target, key)
    }
    fn set_plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.inner.set_plugin_state(plugin, target, key, value)
    }
}
