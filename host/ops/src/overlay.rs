//! A store that reads what is stored and keeps what is written to itself: a
//! checkup sees pinned host keys, moves and leases, and leaves no trace.

use std::sync::Arc;
use std::time::Duration;
use vdeploy_core::actor::Actor;
use vdeploy_core::ids::{PluginName, RunId, TargetName};
use vdeploy_journal::lease_breaks::LeaseBreak;
use vdeploy_journal::prune::PruneCandidate;
use vdeploy_journal::sqlite::SqliteStore;
use vdeploy_journal::store::{
    Compacted, Granted, Holder, RunRecord, RunSummary, StoreError, Stored,
};
use vdeploy_journal::{Entry, Store};

/// The store of the state directory with a layer above it.
#[derive(Debug)]
pub struct Overlay {
    below: Option<Arc<dyn Store>>,
    own: SqliteStore,
}

impl Overlay {
    /// Over the stored one, or over nothing where there is none yet.
    pub fn over(below: Option<Arc<dyn Store>>) -> Result<Self, StoreError> {
        Ok(Self {
            below,
            own: SqliteStore::in_memory()?,
        })
    }

    /// A fact that only the checkup knows.
    pub fn new_fact(&self, target: &TargetName, key: &str) -> Option<String> {
        self.own.fact(target, key).ok().flatten()
    }
}

impl Store for Overlay {
    fn create_run(&self, record: &RunRecord) -> Result<(), StoreError> {
        self.own.create_run(record)
    }
    fn append(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entry: &Entry,
    ) -> Result<u64, StoreError> {
        self.own.append(run, lease, entry)
    }
    fn run(&self, id_or_prefix: &str) -> Result<RunRecord, StoreError> {
        self.own.run(id_or_prefix)
    }
    fn runs(&self, target: Option<&TargetName>, limit: u32) -> Result<Vec<RunSummary>, StoreError> {
        self.own.runs(target, limit)
    }
    fn journal(&self, run: &RunId) -> Result<Vec<Stored>, StoreError> {
        self.own.journal(run)
    }
    fn survey(&self, target: Option<&TargetName>) -> Result<Vec<PruneCandidate>, StoreError> {
        self.own.survey(target)
    }
    fn remove_run(&self, run: &PruneCandidate) -> Result<bool, StoreError> {
        self.own.remove_run(run)
    }
    fn size(&self) -> Result<u64, StoreError> {
        self.own.size()
    }
    fn compact(&self) -> Result<Compacted, StoreError> {
        self.own.compact()
    }
    fn acquire_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        who: &Actor,
        ttl: Duration,
    ) -> Result<Result<Granted, Holder>, StoreError> {
        self.own.acquire_lease(target, run, who, ttl)
    }
    fn renew_lease(&self, lease: &Granted, ttl: Duration) -> Result<(), StoreError> {
        self.own.renew_lease(lease, ttl)
    }
    fn release_lease(&self, lease: &Granted) -> Result<(), StoreError> {
        self.own.release_lease(lease)
    }
    fn break_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        by: &str,
        reason: &str,
    ) -> Result<Option<LeaseBreak>, StoreError> {
        self.own.break_lease(target, run, by, reason)
    }
    fn lease_holder(&self, target: &TargetName) -> Result<Option<Holder>, StoreError> {
        match &self.below {
            Some(below) => below.lease_holder(target),
            None => Ok(None),
        }
    }
    fn fact(&self, target: &TargetName, key: &str) -> Result<Option<String>, StoreError> {
        match (self.own.fact(target, key)?, &self.below) {
            (None, Some(below)) => below.fact(target, key),
            (own, _) => Ok(own),
        }
    }
    fn set_fact(
        &self,
        target: &TargetName,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        self.own.set_fact(target, key, value)
    }
    fn plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.below {
            Some(below) => below.plugin_state(plugin, target, key),
            None => Ok(None),
        }
    }
    fn set_plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.own.set_plugin_state(plugin, target, key, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_through_and_writes_nothing_below() {
        let below = Arc::new(SqliteStore::in_memory().unwrap());
        let target = TargetName::from("infra");
        below.set_fact(&target, "a", Some("1")).unwrap();
        let overlay = Overlay::over(Some(below.clone())).unwrap();
        assert_eq!(overlay.fact(&target, "a").unwrap().as_deref(), Some("1"));
        overlay.set_fact(&target, "b", Some("2")).unwrap();
        assert_eq!(overlay.fact(&target, "b").unwrap().as_deref(), Some("2"));
        assert_eq!(overlay.new_fact(&target, "a"), None);
        assert_eq!(below.fact(&target, "b").unwrap(), None);
    }
}
