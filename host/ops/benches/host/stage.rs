//! A run whose target is the benchmark's matter, and everything else is real.

use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use vdeploy_core::capability::World;
use vdeploy_core::capability::clock::SystemClock;
use vdeploy_core::capability::doubles::MemorySnapshots;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::capability::ssh::Ssh;
use vdeploy_core::event::Phase;
use vdeploy_core::ids::{PluginName, RunId};
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo};
use vdeploy_core::target::TargetHandle;
use vdeploy_gate::{Budget, Gate, RunShared};
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{SqliteStore, Store, StoreState};
use vdeploy_scope::Grants;

/// Longer than any benchmark.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// One run's world; its journal is in a file.
pub struct Stage {
    shared: Arc<RunShared>,
    _dir: TempDir,
}

impl Stage {
    /// A run that began and may change the target, which is reached by `ssh`.
    pub fn new(ssh: Arc<dyn Ssh>) -> Result<Self> {
        let dir = TempDir::new()?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("state.db"))?);
        let run = RunId::generate();
        store.create_run(&record(&run))?;
        let target = TargetHandle::vers(
            "infra".into(),
            "vm-1".into(),
            "https://{vm}.example.com:3000",
        );
        let token = SecretValue::new("a-token-of-thirty-two-characters".to_owned());
        let masker = Masker::new([&token])?;
        let world = World {
            clock: Arc::new(SystemClock),
            ssh,
            snapshot: Arc::new(MemorySnapshots::new(target.clone())),
            secrets: Arc::new(LoadedSecrets::new([("auth-token".to_owned(), token)])),
            state: Arc::new(StoreState::new(store.clone())),
            ..World::offline(target, 1)
        };
        // Nobody watches: an event costs its making.
        let (events, _) = unbounded_channel();
        let shared = RunShared::new(run, world, Arc::new(masker), false, store, events);
        shared.waive_snapshot("a benchmark")?;
        Ok(Self {
            shared: Arc::new(shared),
            _dir: dir,
        })
    }

    /// The gate of one call.
    pub fn gate(&self, plugin: &PluginName, grants: &Arc<Grants>, phase: Phase) -> Gate {
        Gate {
            shared: self.shared.clone(),
            plugin: plugin.clone(),
            step: "the-step".into(),
            phase,
            grants: grants.clone(),
            deadline: Instant::now() + TIMEOUT,
            // One gate makes the calls of every round.
            budget: Budget::new(u64::MAX, u64::MAX),
        }
    }
}

fn record(run: &RunId) -> RunRecord {
    RunRecord {
        id: run.clone(),
        configs: Default::default(),
        plan: Plan {
            name: "default".into(),
            summary: String::new(),
            steps: Vec::new(),
            rollback: Vec::new(),
            finally: Vec::new(),
            on_failure: OnFailure::Rollback,
            rollback_to: RollbackTo::InPlace,
        },
        target: "infra".into(),
        vm: Some("vm-1".to_owned()),
        url: None,
        plugins: Default::default(),
        rolls_back: None,
        started_by: "a benchmark".to_owned(),
        started_at: 1,
        host_version: "0".to_owned(),
        dry_run: false,
    }
}
