//! A run in the world of a recording, process by process. Each process is what
//! `vdeploy run` or `vdeploy resume` is: a session, an operation, its execution.
//! Only the store, the world and the clock are the test's. One that is killed
//! does nothing more and gives nothing back.

use crate::matrix::reach::Reach;
use crate::matrix::record::Recorded;
use crate::matrix::target::Target;
use anyhow::{Context as _, Result, ensure};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::mpsc::unbounded_channel;
use vdeploy_core::capability::World;
use vdeploy_core::capability::clock::{Clock, SimulatedClock};
use vdeploy_core::ids::VmId;
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::doubles::FailsAfter;
use vdeploy_journal::store::{RunRecord, Stored};
use vdeploy_journal::{SqliteStore, Store, StoreState};
use vdeploy_lease::LeaseTimes;
use vdeploy_ops::target::{WorldFactory, WorldParts};
use vdeploy_ops::{Cancel, Deploy, Operation, OpsError, Resume, Session};
use vdeploy_run::Finished;

/// A run and what outlives its processes: store, target, time.
pub struct Run<'r> {
    recorded: &'r Recorded,
    session: &'r Session,
    clock: Arc<SimulatedClock>,
    /// Its store.
    pub store: Arc<SqliteStore>,
    /// Its target.
    pub target: Target,
}

/// The recorded target, as one process reaches it.
#[derive(Debug)]
struct RecordedWorld {
    target: Target,
    clock: Arc<SimulatedClock>,
    vm: Option<VmId>,
    url: String,
    /// When it has failed, the process is dead and reaches nothing.
    journal: Arc<FailsAfter>,
}

impl WorldFactory for RecordedWorld {
    fn vm(&self) -> Option<VmId> {
        self.vm.clone()
    }

    fn world(&self, parts: WorldParts) -> Result<World, OpsError> {
        let vm = parts.vm.ok_or_else(|| OpsError::usage("no VM"))?;
        let handle = TargetHandle::vers(parts.target, vm, &self.url);
        let reach = Arc::new(Reach {
            target: self.target.clone(),
            handle: handle.clone(),
            journal: self.journal.clone(),
        });
        Ok(World {
            clock: self.clock.clone(),
            http: reach.clone(),
            ssh: reach.clone(),
            snapshot: reach,
            secrets: Arc::new(parts.secrets),
            state: Arc::new(StoreState::new(parts.store)),
            ..World::offline(handle, 1)
        })
    }
}

impl<'r> Run<'r> {
    /// Nothing has begun; the session is that of the recorded run's project.
    pub fn new(recorded: &'r Recorded, session: &'r Session) -> Result<Self> {
        let record = &recorded.recording.record;
        let clock = Arc::new(SimulatedClock::new(record.started_at));
        let now = clock.clone();
        let store = SqliteStore::in_memory()?.with_clock(Arc::new(move || now.now_unix_ms()));
        Ok(Self {
            recorded,
            session,
            clock,
            store: Arc::new(store),
            target: Target::new(recorded.script.clone()),
        })
    }

    /// The recorded run.
    fn record(&self) -> &RunRecord {
        &self.recorded.recording.record
    }

    /// Its journal so far.
    pub fn journal(&self) -> Result<Vec<Stored>> {
        Ok(self.store.journal(&self.record().id)?)
    }

    /// The first process, or one that resumes the run. None when it is killed:
    /// when `journal` fails, nothing of it goes on.
    pub async fn process(
        &self,
        journal: &Arc<FailsAfter>,
        resumes: bool,
    ) -> Result<Option<Finished>> {
        let record = self.record();
        let world = RecordedWorld {
            target: self.target.clone(),
            clock: self.clock.clone(),
            vm: record.vm.as_deref().map(VmId::from),
            url: record.url.clone().context("no URL")?,
            journal: journal.clone(),
        };
        let session = self.session.with_options(|options| {
            options.store = Some(journal.clone());
            options.world = Some(Arc::new(world));
        });
        let operation = match resumes {
            // It has the id of the recorded run, so it asks for the same.
            false => Operation::Deploy(Deploy {
                run: Some(record.id.clone()),
                ..self.recorded.deploy()
            }),
            true => {
                // The lease of the process that was killed has expired.
                self.clock.sleep(LeaseTimes::default().in_store).await;
                Operation::Resume(Resume {
                    run: Some(record.id.to_string()),
                    ..Resume::default()
                })
            }
        };
        let prepared = session.prepare(operation).await?;
        let (events, _seen) = unbounded_channel();
        let mut executing = pin!(prepared.execute(events, Cancel::new()));
        let finished = poll_fn(|cx| match executing.as_mut().poll(cx) {
            // Dropped is killed.
            _ if journal.has_failed() => Poll::Ready(None),
            polled => polled.map(Some),
        });
        Ok(finished.await)
    }

    /// What the store has of the run is what was recorded of it.
    pub fn is_as_recorded(&self) -> Result<()> {
        let (now, then) = (self.store.run(self.record().id.as_str())?, self.record());
        ensure!(now.plan == then.plan, "the plan: {:?}", now.plan);
        ensure!(now.configs == then.configs, "{:?}", now.configs);
        ensure!(
            now.plugins == then.plugins,
            "the program has other plugins than this test: build both from the same sources, as \
             `cargo xtask test` does"
        );
        Ok(())
    }

    /// Whose leases are left: in the store, and on the target.
    pub fn leases(&self) -> Result<Vec<String>> {
        let stored = self.store.lease_holder(&self.record().target)?;
        let stored = stored.map(|holder| format!("store: {holder:?}"));
        let there = self.target.holder(&self.recorded.vm);
        let there = there.map(|run| format!("target: {run}"));
        Ok(stored.into_iter().chain(there).collect())
    }

    /// A process that was killed after its last word has given nothing back:
    /// its leases run out, and the next run gets them.
    pub async fn leases_run_out(&self) -> Result<()> {
        let target = &self.record().target;
        let ttl = LeaseTimes::default().in_store;
        self.clock.sleep(ttl).await;
        let next =
            self.store
                .acquire_lease(target, &"01NEXT".into(), &"the next run".into(), ttl)?;
        ensure!(next.is_ok(), "the lease does not end: {next:?}");
        Ok(())
    }
}
