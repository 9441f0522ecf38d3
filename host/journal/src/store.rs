//! What every store can do. The embedded default is SQLite; callers know only
//! this trait.

use super::entry::Entry;
use super::lease_breaks::LeaseBreak;
use super::prune::PruneCandidate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use vdeploy_core::actor::Actor;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{Digest, PlanName, PluginName, RunId, StepId, TargetName};
use vdeploy_core::plan::Plan;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be opened, read or written.
    #[error("state database {path}: {message}")]
    Database {
        /// The file.
        path: String,
        /// What SQLite says, and what to do.
        message: String,
    },
    /// No run has this id or prefix.
    #[error("no run `{0}`; `vdeploy runs list` shows them")]
    NoRun(String),
    /// Several runs begin with this prefix.
    #[error("`{prefix}` is the beginning of several runs: {}", .matches.join(", "))]
    AmbiguousRun {
        /// What was typed.
        prefix: String,
        /// Their ids.
        matches: Vec<String>,
    },
    /// The lease was lost: another run holds the target now.
    #[error("lost the lease on `{target}` (fencing token {token}); {holder}")]
    Fenced {
        /// The target.
        target: TargetName,
        /// Our token.
        token: u64,
        /// Who has it now.
        holder: String,
    },
    /// The database has a later format.
    #[error(
        "the state database {path} is written by a newer vdeploy (format {found}, this one knows \
         {known}); update vdeploy"
    )]
    TooNew {
        path: String,
        found: u32,
        known: u32,
    },
    /// The database has an earlier format.
    #[error(
        "the state database {path} is written by an older vdeploy (format {found}, this one knows \
         {known} only); use that vdeploy with it, or choose another place with `--state`, or move \
         the file and its `-wal` and `-shm` away to start with an empty one"
    )]
    TooOld {
        path: String,
        found: u32,
        known: u32,
    },
    /// Stored data cannot be understood.
    #[error("stored {what} cannot be read: {message}")]
    Corrupt {
        /// What.
        what: String,
        /// Why.
        message: String,
    },
}

/// What is stored about a run when it begins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The whole plan with configuration.
    pub plan: Plan,
    /// Each step's complete configuration.
    pub configs: BTreeMap<StepId, serde_json::Value>,
    /// The target.
    pub target: TargetName,
    /// The VM at the start.
    pub vm: Option<String>,
    /// Where the service is reached; `{vm}` stands for the VM's id. None where
    /// that was not said.
    pub url: Option<String>,
    /// Digest of each plugin's bytes.
    pub plugins: BTreeMap<PluginName, Digest>,
    /// The run that this one rolls back.
    pub rolls_back: Option<RunId>,
    /// Who started it: user@machine, or the CI job.
    pub started_by: String,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// Version of vdeploy.
    pub host_version: String,
    /// Whether no change was made.
    pub dry_run: bool,
}

#[cfg(any(test, feature = "testing"))]
impl RunRecord {
    /// A run of nothing on a target, for tests.
    pub fn bare(id: &str, target: &str, plan: Plan) -> Self {
        Self {
            id: id.into(),
            plan,
            configs: BTreeMap::new(),
            target: target.into(),
            vm: None,
            url: None,
            plugins: BTreeMap::new(),
            rolls_back: None,
            started_by: String::new(),
            started_at: 0,
            host_version: String::new(),
            dry_run: false,
        }
    }
}

/// A run in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The plan's name.
    pub plan: PlanName,
    /// The target.
    pub target: TargetName,
    /// Who started it.
    pub started_by: String,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// Milliseconds since 1970; none while it runs or was killed.
    pub finished_at: Option<u64>,
    /// None while it runs or was killed.
    pub outcome: Option<Outcome>,
    /// Whether no change was made.
    pub dry_run: bool,
    /// The run that it rolls back.
    pub rolls_back: Option<RunId>,
}

/// A stored journal entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    /// From 1, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// The entry.
    pub entry: Entry,
}

/// Who holds a target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Holder {
    /// The run.
    pub run: RunId,
    pub who: Actor,
    /// Milliseconds since 1970 when it took the lease.
    pub since: u64,
    /// Milliseconds since 1970 when it ends if not renewed.
    pub expires: u64,
}

/// A lease that was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The target.
    pub target: TargetName,
    /// Grows with every grant; a write with an older one is refused.
    pub token: u64,
    /// The holder as stored.
    pub holder: Holder,
}

/// What became of the room of removed runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compacted {
    /// It was given back, or there was none.
    Done,
    /// Not now: why, and what to do. It is used for what is stored next.
    Later(String),
}

/// Runs, journal, leases, target facts and plugin state. Calls are short and
/// synchronous; each is durable when it returns.
pub trait Store: Send + Sync + Debug {
    /// What and where it is, for a person who has to mend it.
    fn place(&self) -> String {
        "the store".to_owned()
    }
    /// Records a new run.
    fn create_run(&self, record: &RunRecord) -> Result<(), StoreError>;
    /// Appends to the run's journal and returns its number. With a lease, the
    /// write is refused (`Fenced`) in the same transaction when the token is
    /// no longer the newest.
    fn append(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entry: &Entry,
    ) -> Result<u64, StoreError>;
    /// Appends several in order, in one transaction where the store has them.
    fn append_all(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        entries
            .iter()
            .try_for_each(|entry| self.append(run, lease, entry).map(|_| ()))
    }
    /// The run with this id or unique prefix; `latest` names the newest.
    fn run(&self, id_or_prefix: &str) -> Result<RunRecord, StoreError>;
    /// Newest first: the one that was stored last, whatever the clocks said.
    fn runs(&self, target: Option<&TargetName>, limit: u32) -> Result<Vec<RunSummary>, StoreError>;
    /// The whole journal of a run, in order.
    fn journal(&self, run: &RunId) -> Result<Vec<Stored>, StoreError>;

    /// What decides whether runs may be removed (see [`super::prune`]), at one
    /// moment; newest first.
    fn survey(&self, target: Option<&TargetName>) -> Result<Vec<PruneCandidate>, StoreError>;
    /// Removes a run with its journal and what else is kept of it alone, all in
    /// one transaction. True: it is gone. False, and nothing is removed: it has
    /// changed since it was surveyed, or somebody has come to need it.
    fn remove_run(&self, run: &PruneCandidate) -> Result<bool, StoreError>;
    /// Bytes that the store takes.
    fn size(&self) -> Result<u64, StoreError>;
    /// Gives the room of what was removed back. It keeps everybody from writing
    /// meanwhile, so it is not done while a run is running.
    fn compact(&self) -> Result<Compacted, StoreError>;

    /// Takes the lease on `target` for `ttl`, unless somebody has it: then
    /// `Ok(Err(holder))`.
    fn acquire_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        who: &Actor,
        ttl: Duration,
    ) -> Result<Result<Granted, Holder>, StoreError>;
    /// Extends it; `Fenced` when it was lost.
    fn renew_lease(&self, lease: &Granted, ttl: Duration) -> Result<(), StoreError>;
    /// Gives it back; no error when it was lost already.
    fn release_lease(&self, lease: &Granted) -> Result<(), StoreError>;
    /// Breaks the lease that `run` has, also one that ran out, and records who
    /// did it and why (see [`super::lease_breaks`]) in the same transaction; none
    /// when the run has it no more. From then on every write and renewal of
    /// that run is `Fenced`.
    fn break_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        by: &str,
        reason: &str,
    ) -> Result<Option<LeaseBreak>, StoreError>;
    /// Who holds the target now, if anybody.
    fn lease_holder(&self, target: &TargetName) -> Result<Option<Holder>, StoreError>;

    /// A fact about a target, for example `vm` or `host-key`.
    fn fact(&self, target: &TargetName, key: &str) -> Result<Option<String>, StoreError>;
    /// Stores a fact; none removes it.
    fn set_fact(
        &self,
        target: &TargetName,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError>;

    /// A plugin's value.
    fn plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// Stores a plugin's value; none removes it.
    fn set_plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), StoreError>;
}
