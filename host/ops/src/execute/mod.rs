//! Executes a prepared operation: the lease in the store, the run's record, the
//! target, the plan, and everything given back.

pub(super) mod assembly;
mod cancel;
mod connect;
pub(super) mod origin;
mod register;
mod takeover;
#[cfg(test)]
mod tests;
mod wake;

pub use cancel::Cancel;

use super::lease::on_target::{self, OnTarget};
use super::lease::wait_for;
use super::operation::interrupted;
use super::operation::rollback;
use super::prepare::Prepared;
use super::prepare::unverified_probes;
use connect::Reached;
use futures_util::FutureExt as _;
use origin::refused;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::capability::leases::LeaseBackend;
use vdeploy_core::event::{Level, Outcome, RunEvent};
use vdeploy_core::ids::{RunId, StepId};
use vdeploy_gate::RunShared;
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{Entry, StoreError, relocations};
use vdeploy_lease::reclaim::{self, DeadRun};
use vdeploy_lease::wait::Wait;
use vdeploy_lease::{LeaseHolder, StoreLease};
use vdeploy_run::{Finished, prepare};
use vdeploy_scope::SnapshotScope;

impl Prepared {
    /// Executes it to its end and returns how it ended; that is the last event,
    /// too. Needs a tokio runtime. Dropping the future is like killing the
    /// process: the run is interrupted and can be resumed. So is a run in which
    /// something panicked.
    pub async fn execute(self, events: UnboundedSender<RunEvent>, cancel: Cancel) -> Finished {
        let (run, last) = (self.assembly.run.clone(), events.clone());
        let began = Instant::now();
        let executed = AssertUnwindSafe(self.run_to_end(events, cancel, began));
        match executed.catch_unwind().await {
            Ok(finished) => finished,
            Err(_) => {
                let finished = panicked(&run);
                // Nobody has to hear it.
                let _ = last.send(event_of(&run, &finished, None, began));
                finished
            }
        }
    }

    async fn run_to_end(
        self,
        events: UnboundedSender<RunEvent>,
        cancel: Cancel,
        began: Instant,
    ) -> Finished {
        let shared = Arc::new(self.assembly.shared(events));
        if self.origin.resumed().is_some() {
            shared.world.ssh.expect_jobs();
        }
        let passing = cancel.pass_to(&shared);
        self.announce(&shared);
        let unverified = unverified_probes::at_the_end(&self.unverified);
        let mut finished = self.with_lease(shared.clone()).await;
        if let Some(line) = unverified {
            finished.message.push('\n');
            finished.message.push_str(&line);
        }
        let url = shared.world.target.facts().url;
        shared
            .recorder
            .emit(event_of(&shared.run, &finished, url, began));
        if has_ended(finished.outcome)
            && let Err(error) = shared.world.ssh.forget_jobs(&shared.run).await
        {
            tracing::warn!(%error, "the files of the run's jobs stay on the target for now");
        }
        shared.world.ssh.close().await;
        drop(passing);
        finished
    }

    fn announce(&self, shared: &RunShared) {
        let Self { assembly, .. } = self;
        shared.recorder.emit(RunEvent::RunStarted {
            run: assembly.run.clone(),
            plan: assembly.plan.name.clone(),
            target: assembly.target.clone(),
            vm: assembly.world.target.facts().vm,
            steps: assembly.plan.steps.iter().map(|s| s.id.clone()).collect(),
            dry_run: assembly.dry_run,
        });
        if let Some(event) = self.origin.event() {
            shared.recorder.emit(event);
        }
        let notices = self.notices.iter().map(|text| (Level::Info, text));
        let warnings = self.warnings.iter().map(|text| (Level::Warn, text));
        for (level, message) in notices.chain(warnings) {
            shared.recorder.emit(RunEvent::Log {
                step: None,
                level,
                message: message.clone(),
            });
        }
    }

    /// Takes the lease in the store, runs, gives it back.
    async fn with_lease(mut self, shared: Arc<RunShared>) -> Finished {
        let mut wait = Wait::start(self.wait);
        let keeper = match self.lease(&shared, &mut wait).await {
            Ok(keeper) => keeper,
            Err(finished) => return finished,
        };
        shared.recorder.journal.hold_lease(keeper.granted().clone());
        shared
            .world
            .leases
            .rely_on(LeaseBackend::Store, keeper.validity());
        let watch = on_target::break_off_when(keeper.lost(), shared.clone());
        let finished = match self.catch_up(&shared) {
            Ok(true) => {
                let (store, actor) = (self.assembly.store.clone(), self.actor.clone());
                let finished = self.recorded(shared.clone(), wait).await;
                takeover::amend(&*store, &shared.run, &actor, finished)
            }
            Ok(false) => takeover::meanwhile(&*self.assembly.store, &shared.run),
            Err(error) => self.origin.store_failed(&error),
        };
        drop(watch);
        if let Err(error) = keeper.release().await {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
        finished
    }

    /// The lease in the store, waited for or taken over; else how the run ends.
    async fn lease(&self, shared: &RunShared, wait: &mut Wait) -> Result<StoreLease, Finished> {
        let (store, target) = (&self.assembly.store, &self.assembly.target);
        loop {
            let asked = StoreLease::acquire(
                store.clone(),
                target.clone(),
                shared.run.clone(),
                self.actor.clone(),
                self.lease_times.in_store,
            );
            let holder = match asked.await {
                Ok(Ok(keeper)) => return Ok(keeper),
                Ok(Err(holder)) => holder,
                Err(error) => return Err(self.origin.store_failed(&error)),
            };
            if let Some(why) = self.takes_over(&holder.run) {
                let by = (self.actor.name.as_str(), why);
                match reclaim::break_in_store(&**store, target, &holder, &holder.run, by) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Err(self.origin.store_failed(&error)),
                }
            }
            let now = shared.world.clock.now_unix_ms();
            let holding = LeaseHolder::in_store(&holder, now);
            if let Err((outcome, why)) = wait_for(&holding, target, wait, shared).await {
                let dead = interrupted::dead_run(&**store, &holding);
                let dead = dead.filter(|_| outcome == Outcome::Held);
                return Err(Finished {
                    next: dead.map(DeadRun::ways).unwrap_or_default(),
                    ..refused(outcome, shared.masker.mask(&why).into_owned())
                });
            }
        }
    }

    /// Why the lease of `holder` may be broken when its process is gone. A dry
    /// run breaks none.
    fn takes_over(&self, holder: &RunId) -> Option<&'static str> {
        let Self {
            origin, assembly, ..
        } = self;
        if assembly.dry_run {
            return None;
        }
        origin.takes_over(&*assembly.store, &assembly.run, holder)
    }

    /// What another run may have left since the target was looked up: before the
    /// lease was ours, it could move the target, deploy in another way, and go on
    /// with the run that is to be rolled back. False for a run that is to be
    /// resumed and did so itself.
    fn catch_up(&mut self, shared: &RunShared) -> Result<bool, StoreError> {
        let Self {
            origin, assembly, ..
        } = self;
        if let Some(resumed) = origin.resumed() {
            return Ok(!resumed.is_outdated(&*assembly.store)?);
        }
        if let Some(vm) = assembly.world.target.facts().vm {
            let now = relocations::current_vm(&*assembly.store, &assembly.target, &vm)?;
            if now != vm {
                shared.recorder.emit(RunEvent::Log {
                    step: None,
                    level: Level::Info,
                    message: format!("the target moved from VM {vm} to {now} meanwhile"),
                });
                assembly.world.target.move_to(now);
            }
        }
        let (key, recipe) = &self.recipe;
        if assembly
            .store
            .fact(&assembly.target, key)?
            .is_some_and(|last| last != recipe.as_str())
        {
            prepare::force(&assembly.plan, &assembly.plugins, &mut assembly.configs);
        }
        if let Some((run, outputs)) = &mut assembly.rolled_back {
            *outputs = rollback::outputs(&*assembly.store, run)?;
        }
        Ok(true)
    }

    /// Records the run, connects to the target, executes the plan.
    async fn recorded(mut self, shared: Arc<RunShared>, mut wait: Wait) -> Finished {
        let record = self.assembly.record(&self.actor);
        if let Err(refused) = self.register(&shared, &record) {
            return refused;
        }
        let lease = match self.connect(&shared, &mut wait).await {
            Ok(Reached::There(lease)) => lease,
            Ok(Reached::Lost(lease)) => {
                if let Err(error) = self.leave_snapshots_out(&shared) {
                    return refused(Outcome::Internal, error.to_string());
                }
                lease
            }
            Ok(Reached::Ahead(why)) => {
                return Finished {
                    next: interrupted::ways(&record).into_iter().skip(1).collect(),
                    ..refused(Outcome::Interrupted, why)
                };
            }
            Err((outcome, why)) => {
                let (plan, target) = (&self.assembly.plan.name, &self.assembly.target);
                return self.origin.target_unusable(
                    &shared,
                    plan.as_str(),
                    target.as_str(),
                    outcome,
                    &why,
                );
            }
        };
        if self.origin.resumed().is_some() && shared.cancellation.is_cancelled() {
            return stopped_before_it_was_resumed(&shared, lease).await;
        }
        self.run_plan(shared, &record, lease).await
    }

    /// No snapshot can be taken of a VM that is lost.
    fn leave_snapshots_out(&mut self, shared: &RunShared) -> Result<(), StoreError> {
        let plugins = &self.assembly.plugins;
        let mut steps: Vec<StepId> = Vec::new();
        self.assembly.plan.steps.retain(|step| {
            let plugin = plugins.get(&step.plugin);
            let takes = plugin.is_some_and(|p| {
                p.grants.allows_snapshot(SnapshotScope::Create)
                    && !p.grants.allows_snapshot(SnapshotScope::Restore)
            });
            if takes {
                steps.push(step.id.clone());
            }
            !takes
        });
        shared.recorder.append(&Entry::LeftOut { steps })
    }

    async fn run_plan(
        self,
        shared: Arc<RunShared>,
        record: &RunRecord,
        lease: Option<OnTarget>,
    ) -> Finished {
        let Self {
            assembly, recipe, ..
        } = self;
        let is_rollback = assembly.rolled_back.is_some();
        // Not before the target was reached: until then the one that was
        // interrupted can still be resumed.
        if let (false, true, Some(granted)) = (
            assembly.dry_run,
            is_rollback,
            shared.recorder.journal.lease(),
        ) && let Err(error) = interrupted::replace(&*assembly.store, &granted, record)
        {
            shared.cancellation.break_off(error.to_string());
        }
        let (store, target) = (assembly.store.clone(), assembly.target.clone());
        let finished = assembly.execution(shared).execute().await;
        if finished.outcome == Outcome::Deployed
            && let Err(error) = store.set_fact(&target, &recipe.0, Some(recipe.1.as_str()))
        {
            tracing::warn!(%error, "how the plan deployed could not be recorded");
        }
        if let Some(lease) = lease {
            lease.end().await;
        }
        finished
    }
}

async fn stopped_before_it_was_resumed(shared: &RunShared, lease: Option<OnTarget>) -> Finished {
    if let Some(lease) = lease {
        lease.end().await;
    }
    let run = &shared.run;
    Finished {
        next: vec![format!("vdeploy resume {run}")],
        ..refused(
            Outcome::Interrupted,
            format!("stopped before run {run} was resumed"),
        )
    }
}

fn event_of(run: &RunId, finished: &Finished, url: Option<String>, began: Instant) -> RunEvent {
    RunEvent::RunFinished {
        run: run.clone(),
        outcome: finished.outcome,
        unchanged: finished.unchanged,
        target_changed: finished.target_changed,
        blocking_run: finished.blocking_run.clone(),
        exit_code: finished.outcome.exit_code(),
        message: finished.message.clone(),
        next: finished.next.clone(),
        url,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// The journal has what was done until then.
fn panicked(run: &RunId) -> Finished {
    Finished {
        target_changed: true,
        next: vec![
            format!("vdeploy resume {run}"),
            format!("vdeploy rollback {run}"),
        ],
        ..refused(
            Outcome::Interrupted,
            format!(
                "vdeploy panicked in the middle of run {run}: please report it; the target may be \
                 half changed"
            ),
        )
    }
}

/// Whether nobody comes back for what the run's jobs left on the target. A run
/// that was not resumed may still be running elsewhere.
fn has_ended(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Interrupted | Outcome::Held | Outcome::Unreachable | Outcome::Internal
    )
}
