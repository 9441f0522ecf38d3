//! A store that fails when a test wants it to, for tests of everything above
//! it.

use super::entry::Entry;
use super::lease_breaks::LeaseBreak;
use super::prune::PruneCandidate;
use super::store::{Compacted, Granted, Holder, RunRecord, RunSummary, Store, StoreError, Stored};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use vdeploy_core::ids::{PluginName, RunId, TargetName};

/// A store whose journal takes so many writes and none after them: to a run it
/// is as if its process were killed there, so no lease is given back after that.
/// That a run is removed is a write of its journal. All else of the store goes
/// on.
#[derive(Debug)]
pub struct FailsAfter {
    inner: Arc<dyn Store>,
    left: AtomicUsize,
    written: AtomicUsize,
    /// The first write that fails gets there all the same.
    late: bool,
    failed: AtomicBool,
}

impl FailsAfter {
    /// Takes `writes` of them into `inner`. With `late` the first write that
    /// fails gets there all the same: killed after it and not before.
    pub fn over(inner: Arc<dyn Store>, writes: usize, late: bool) -> Self {
        Self {
            inner,
            left: AtomicUsize::new(writes),
            written: AtomicUsize::new(0),
            late,
            failed: AtomicBool::new(false),
        }
    }

    /// How many writes were asked for and went well.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Whether a write has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    fn write<T>(&self, write: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let take = |left: usize| left.checked_sub(1);
        let spent = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        if spent.is_ok() {
            let done = write();
            if done.is_ok() {
                self.written.fetch_add(1, Ordering::SeqCst);
            }
            return done;
        }
        let first = !self.failed.swap(true, Ordering::SeqCst);
        if first && self.late {
            write()?;
        }
        Err(full())
    }
}

fn full() -> StoreError {
    StoreError::Database {
        path: "state.db".to_owned(),
        message: "disk full".to_owned(),
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
        self.write(|| self.inner.append(run, lease, entry))
    }
    fn append_all(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        self.write(|| self.inner.append_all(run, lease, entries))
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
    fn survey(&self, target: Option<&TargetName>) -> Result<Vec<PruneCandidate>, StoreError> {
        self.inner.survey(target)
    }
    fn remove_run(&self, run: &PruneCandidate) -> Result<bool, StoreError> {
        self.write(|| self.inner.remove_run(run))
    }
    fn size(&self) -> Result<u64, StoreError> {
        self.inner.size()
    }
    fn compact(&self) -> Result<Compacted, StoreError> {
        self.inner.compact()
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
        match self.has_failed() {
            // Who was killed gives nothing back.
            true => Err(full()),
            false => self.inner.release_lease(lease),
        }
    }
    fn break_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        by: &str,
        reason: &str,
    ) -> Result<Option<LeaseBreak>, StoreError> {
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
