//! A run without a session, for tests and benchmarks of the gate or of one plugin.
//! Whatever is about a whole run uses `vdeploy_ops::Session`.

use serde_json::{Map, Value};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use vdeploy_core::capability::World;
use vdeploy_core::capability::clock::SystemClock;
use vdeploy_core::capability::doubles::MemorySnapshots;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::ssh::Ssh;
use vdeploy_core::event::{Phase, RunEvent};
use vdeploy_core::ids::{PluginName, RunId};
use vdeploy_core::plan::Plan;
use vdeploy_core::target::TargetHandle;
use vdeploy_gate::{Budget, Gate, RunShared};
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{Entry, SqliteStore, Store, StoreError, StoreState};
use vdeploy_scope::Grants;
use vdeploy_wasm::{Invocation, Plugin, Returned, StepContext};

/// What the gates of one run share.
#[derive(Debug)]
pub struct Stage {
    pub shared: Arc<RunShared>,
    pub store: Arc<dyn Store>,
    /// Of all calls of plugins here; a fresh one each time without one.
    pub budget: Option<Budget>,
    events: Mutex<UnboundedReceiver<RunEvent>>,
}

/// What a stage is made of.
#[derive(Debug)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub world: World,
    pub masker: Masker,
    pub dry_run: bool,
    /// The run that is rolled back.
    pub rolls_back: Option<RunId>,
}

/// The target of every stage.
pub fn target() -> TargetHandle {
    let url = "https://{vm}.example.com:3000";
    TargetHandle::vers("infra".into(), "vm-1".into(), url)
}

impl Stage {
    /// A run that has begun.
    pub fn new(parts: Parts) -> Result<Self, StoreError> {
        let run = RunId::generate();
        parts.store.create_run(&RunRecord {
            vm: Some("vm-1".to_owned()),
            rolls_back: parts.rolls_back,
            ..RunRecord::bare(run.as_str(), "infra", Plan::bare("default"))
        })?;
        let Parts { store, world, .. } = parts;
        let masker = Arc::new(parts.masker);
        Ok(Self::of(run, store, world, masker, parts.dry_run))
    }

    /// A run that may change the target, which is reached by `ssh`. Time is real,
    /// and the journal is in the file `database`.
    pub fn on_disk(ssh: Arc<dyn Ssh>, database: &Path) -> Result<Self, StoreError> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(database)?);
        let stage = Self::new(Parts {
            world: World {
                clock: Arc::new(SystemClock),
                ssh,
                snapshot: Arc::new(MemorySnapshots::new(target())),
                state: Arc::new(StoreState::new(store.clone())),
                ..World::offline(target(), 1)
            },
            store,
            masker: Masker::none(),
            dry_run: false,
            rolls_back: None,
        })?;
        stage.shared.waive_snapshot("a benchmark")?;
        Ok(stage)
    }

    fn of(
        run: RunId,
        store: Arc<dyn Store>,
        world: World,
        masker: Arc<Masker>,
        dry_run: bool,
    ) -> Self {
        let (sender, receiver) = unbounded_channel();
        let shared = RunShared::new(run, world, masker, dry_run, store.clone(), sender);
        Self {
            shared: Arc::new(shared),
            store,
            budget: None,
            events: Mutex::new(receiver),
        }
    }

    /// The same run in another world.
    #[must_use]
    pub fn with_world(self, change: impl FnOnce(&mut World)) -> Self {
        let RunShared {
            run,
            masker,
            dry_run,
            ..
        } = &*self.shared;
        let mut world = self.shared.world.clone();
        change(&mut world);
        Self::of(run.clone(), self.store, world, masker.clone(), *dry_run)
    }

    /// The gate of one function of the step `the-step`.
    pub fn gate(
        &self,
        plugin: &PluginName,
        grants: &Arc<Grants>,
        phase: Phase,
        timeout: Duration,
    ) -> Gate {
        Gate {
            shared: self.shared.clone(),
            plugin: plugin.clone(),
            step: "the-step".into(),
            phase,
            grants: grants.clone(),
            deadline: Instant::now() + timeout,
            budget: self.budget.clone().unwrap_or_default(),
        }
    }

    /// Calls a function of a plugin with a complete configuration.
    pub async fn call_plugin(
        &self,
        plugin: &Plugin,
        phase: Phase,
        config: Map<String, Value>,
        timeout: Duration,
    ) -> Returned {
        plugin
            .call(Invocation {
                gate: self.gate(&plugin.name, &plugin.grants, phase, timeout),
                context: StepContext {
                    plan: "default".into(),
                    attempt: 1,
                    config: Value::Object(config),
                    outputs: Arc::default(),
                    rolled_back: None,
                    failed_step: None,
                },
                output: None,
            })
            .await
    }

    pub fn journal(&self) -> Result<Vec<Entry>, StoreError> {
        let stored = self.store.journal(&self.shared.run)?;
        Ok(stored.into_iter().map(|s| s.entry).collect())
    }

    /// What happened since the last time.
    pub fn events(&self) -> Vec<RunEvent> {
        let mut receiver = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }
}
