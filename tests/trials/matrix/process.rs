//! A run in the world of a recording, process by process. What a process does
//! is what `vdeploy run` and `vdeploy resume` do: the lease in the store and on
//! the target, the journal read, the plan executed, the leases given back. One
//! that is killed gives nothing back.

use crate::matrix::reach::Reach;
use crate::matrix::record::Recorded;
use crate::matrix::target::Target;
use anyhow::{Context as _, Result, bail, ensure};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use vdeploy::capability::World;
use vdeploy::capability::clock::{Clock, SimulatedClock};
use vdeploy::capability::mask::Masker;
use vdeploy::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy::event::Outcome;
use vdeploy::gate::RunShared;
use vdeploy::journal::doubles::FailsAfter;
use vdeploy::journal::store::Stored;
use vdeploy::journal::{Entry, SqliteStore, Store, StoreState, moves};
use vdeploy::plan::RollbackTo;
use vdeploy::run::earlier::so_far;
use vdeploy::run::lease::{DEFAULT_TTL, LeaseKeeper};
use vdeploy::run::prepare::{self, Plugins};
use vdeploy::run::target_lease::{self, Absence, Claim, TargetLease};
use vdeploy::run::{Execution, Finished, SoFar};
use vdeploy::target::TargetHandle;
use vdeploy_tests::base::TOKEN;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every process of this machine has: the plugins, the secret, and what
/// hides its value.
#[derive(Clone)]
pub struct Machine {
    /// By their name in the project.
    pub plugins: Plugins,
    token: SecretValue,
    masker: Arc<Masker>,
}

impl Machine {
    /// With these plugins.
    pub fn new(plugins: Plugins) -> Result<Self> {
        let token = SecretValue::new(TOKEN.to_owned());
        let masker = Arc::new(Masker::new([&token])?);
        Ok(Self {
            plugins,
            token,
            masker,
        })
    }
}

/// A run and what outlives its processes: store, target, time.
pub struct Run<'r> {
    recorded: &'r Recorded,
    machine: &'r Machine,
    clock: Arc<SimulatedClock>,
    /// Its store.
    pub store: Arc<SqliteStore>,
    /// Its target.
    pub target: Target,
}

impl<'r> Run<'r> {
    /// Known in the store, and not begun. It has the id of the recorded run,
    /// its plan and its configuration, so it asks for the same.
    pub fn new(recorded: &'r Recorded, machine: &'r Machine) -> Result<Self> {
        let record = &recorded.recording.record;
        let clock = Arc::new(SimulatedClock::new(record.started_at));
        let now = clock.clone();
        let store = SqliteStore::in_memory()?.with_clock(Arc::new(move || now.now_unix_ms()));
        store.create_run(record)?;
        Ok(Self {
            recorded,
            machine,
            clock,
            store: Arc::new(store),
            target: Target::new(recorded.script.clone()),
        })
    }

    /// Its journal so far.
    pub fn journal(&self) -> Result<Vec<Stored>> {
        Ok(self.store.journal(&self.recorded.recording.record.id)?)
    }

    /// The first process, or one that goes on from what is in the journal. When
    /// `journal` fails it is dead: its leases are left as they are.
    pub async fn process(
        &self,
        journal: &Arc<FailsAfter>,
        earlier: Option<Vec<Stored>>,
    ) -> Result<Finished> {
        let record = self.recorded.recording.record.clone();
        let resumes = earlier.is_some();
        let sum = earlier.map_or_else(SoFar::default, |earlier| so_far(&record, &earlier));
        for (from, to) in &sum.moves {
            moves::remember(&*self.store, &record.target, from, to)?;
        }
        let first = record.vm.as_deref().context("no VM")?.into();
        let vm = moves::current_vm(&*self.store, &record.target, &first)?;
        ensure!(
            !resumes || sum.vm.as_ref() == Some(&vm),
            "the run was on {:?}, and the target is {vm}",
            sum.vm
        );
        let url = record.url.as_deref().context("no URL")?;
        let handle = TargetHandle::vers(record.target.clone(), vm, url);
        let token = ("auth-token".to_owned(), self.machine.token.clone());
        let reach = Arc::new(Reach {
            target: self.target.clone(),
            handle: handle.clone(),
        });
        let world = World {
            leases: Default::default(),
            clock: self.clock.clone(),
            http: reach.clone(),
            ssh: reach.clone(),
            snapshot: reach.clone(),
            secrets: Arc::new(LoadedSecrets::new([token])),
            state: Arc::new(StoreState::new(self.store.clone())),
            target: handle.clone(),
        };
        let (events, _seen) = unbounded_channel();
        let shared = RunShared::new(
            record.id.clone(),
            world,
            self.machine.masker.clone(),
            false,
            journal.clone(),
            events,
        );
        let shared = Arc::new(shared.resuming(sum.gate.clone()));
        let keeper = self.lease(resumes).await?;
        shared.recorder.journal.hold_lease(keeper.granted().clone());
        if resumes {
            let entry = Entry::Resumed {
                by: "the matrix".to_owned(),
                host_version: record.host_version.clone(),
            };
            if shared.recorder.append(&entry).is_err() {
                return Ok(cut_off());
            }
        }
        let claim = Claim {
            ssh: reach.clone(),
            target: handle,
            run: record.id.clone(),
            who: "the matrix".to_owned(),
            ttl: target_lease::TTL,
            absence: match record.plan.rollback_to {
                RollbackTo::Snapshot => Absence::Tolerated,
                RollbackTo::InPlace => Absence::Loses,
            },
        };
        let on_target = match TargetLease::take(claim).await? {
            Ok(lease) => lease,
            Err(holder) => bail!("the target is held: {holder:?}"),
        };
        let execution = Execution {
            traits: prepare::traits(&record.plan, &self.machine.plugins, false),
            plan: record.plan,
            plugins: self.machine.plugins.clone(),
            configs: record.configs,
            shared,
            rolls_back: None,
            rolled_back_run: None,
            so_far: sum,
        };
        let finished = execution.execute().await;
        if journal.has_failed() {
            return Ok(finished);
        }
        ensure!(
            !on_target.is_lost() && !keeper.is_lost(),
            "a lease was lost"
        );
        self.lease_follows(&reach).await?;
        on_target.release().await?;
        keeper.release().await?;
        Ok(finished)
    }

    /// The lease in the store. A process that was killed has left its own one
    /// there; it holds until it runs out.
    async fn lease(&self, resumes: bool) -> Result<LeaseKeeper> {
        let record = &self.recorded.recording.record;
        let ask = || {
            LeaseKeeper::acquire(
                self.store.clone(),
                record.target.clone(),
                record.id.clone(),
                "the matrix".to_owned(),
                DEFAULT_TTL,
            )
        };
        match ask().await? {
            Ok(keeper) => return Ok(keeper),
            Err(holder) => {
                ensure!(resumes && holder.run == record.id, "held by {holder:?}");
            }
        }
        self.clock.sleep(DEFAULT_TTL).await;
        match ask().await? {
            Ok(keeper) => Ok(keeper),
            Err(holder) => bail!("the lease of the killed process does not end: {holder:?}"),
        }
    }

    /// After a restore the lease is taken on the new VM, beside the run, which
    /// takes no time here.
    async fn lease_follows(&self, reach: &Reach) -> Result<()> {
        let run = self.recorded.recording.record.id.as_str();
        let vm = reach.handle.facts().vm.context("no VM")?;
        let until = Instant::now() + PATIENCE;
        while self.target.holder(vm.as_str()).as_deref() != Some(run) {
            ensure!(Instant::now() < until, "no lease was taken on {vm}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Whose leases are left: in the store, and on the target.
    pub fn leases(&self) -> Result<Vec<String>> {
        let target = &self.recorded.recording.record.target;
        let stored = self.store.lease_holder(target)?;
        let stored = stored.map(|holder| format!("store: {holder:?}"));
        let there = self.target.holder(&self.recorded.vm);
        let there = there.map(|run| format!("target: {run}"));
        Ok(stored.into_iter().chain(there).collect())
    }

    /// A process that was killed after its last word has given nothing back:
    /// its leases run out, and the next run gets them.
    pub async fn leases_run_out(&self) -> Result<()> {
        let target = &self.recorded.recording.record.target;
        self.clock.sleep(DEFAULT_TTL).await;
        let next =
            self.store
                .acquire_lease(target, &"01NEXT".into(), "the next run", DEFAULT_TTL)?;
        ensure!(next.is_ok(), "the lease does not end: {next:?}");
        Ok(())
    }
}

fn cut_off() -> Finished {
    Finished {
        outcome: Outcome::Interrupted,
        unchanged: false,
        target_changed: false,
        blocking_run: None,
        message: "killed before it began".to_owned(),
        next: Vec::new(),
    }
}
