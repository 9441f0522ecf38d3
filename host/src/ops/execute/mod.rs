//! From arguments to a run: project, plugins, secrets, target, lease; then the
//! run itself, its reports and its exit code.

#[path = "register.rs"]
mod enter;
#[path = "../prepare/secrets_in_config.rs"]
pub mod in_config;
#[path = "connect.rs"]
mod reach;
#[path = "../prepare/mod.rs"]
mod ready;
#[path = "takeover.rs"]
mod taken;
#[cfg(test)]
mod tests;

pub use ready::target;

use super::error::CliError;
use super::exit::ExitCode;
use super::hold::{Holding, Process};
use super::resume::Resumed;
use super::rollback::choose;
use super::run::OutputArgs;
use super::session::Session;
use super::unfinished::Dead;
use super::wait::{Wait, WaitArgs};
use super::{by_word, dead, hold, output, rollback, signals, unfinished};
use crate::capability::held::Keeps;
use crate::capability::snapshot::SnapshotScope;
use crate::event::{Level, Outcome, RunEvent, Undoes};
use crate::gate::RunShared;
use crate::ids::{RunId, StepId};
use crate::journal::store::RunRecord;
use crate::journal::{Entry, Store, StoreError, moves};
use crate::plan::Plan;
use crate::report::EventBus;
use crate::run::lease::{DEFAULT_TTL, LeaseKeeper};
use crate::run::{Execution, Finished, SoFar, prepare};
use enter::enter;
use reach::{Reached, reach};
use ready::{Ready, ready};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Outputs of an earlier run's steps.
pub type Outputs = BTreeMap<StepId, Value>;

/// The run that is rolled back.
#[derive(Debug)]
pub struct RollsBack {
    /// As it was recorded.
    pub run: RunRecord,
    /// What its steps returned.
    pub outputs: Outputs,
    /// Also if it was undone already.
    pub again: bool,
}

impl RollsBack {
    /// What a person and a program are told at the beginning.
    fn event(&self) -> RunEvent {
        RunEvent::RollbackStarted {
            cause: None,
            undoes: Some(Undoes {
                run: self.run.id.clone(),
                plan: self.run.plan.name.clone(),
                started_at: self.run.started_at,
            }),
        }
    }
}

/// What to run.
#[derive(Debug)]
pub struct Request {
    /// The plan, with overrides applied except `--set` and `--ref`.
    pub plan: Plan,
    /// As typed.
    pub target: Option<String>,
    /// `--ref`.
    pub reference: Option<String>,
    /// `--set`, in order.
    pub set: Vec<String>,
    /// Make no change.
    pub dry_run: bool,
    /// Why there is no snapshot.
    pub without_snapshot: Option<String>,
    /// The run that is rolled back.
    pub rolls_back: Option<RollsBack>,
    /// The run that is gone on with.
    pub resumes: Option<Resumed>,
    /// How long another run may be waited for.
    pub wait: WaitArgs,
    /// How it is reported.
    pub output: OutputArgs,
    /// More of everything.
    pub verbose: bool,
}

impl Request {
    /// Why this run, `run`, may break the lease of `holder` when the process of
    /// that one is gone.
    pub fn takes_over(
        &self,
        store: &dyn Store,
        run: &RunId,
        holder: &RunId,
    ) -> Option<&'static str> {
        match (&self.resumes, &self.rolls_back) {
            (Some(_), _) => {
                (run == holder).then_some("its process is gone, and the run is resumed")
            }
            (None, Some(back)) if !self.dry_run => choose::takes_over(store, &back.run.id, holder),
            _ => None,
        }
    }
}

/// Runs it and returns the exit code.
pub async fn start(session: Session, request: Request) -> Result<ExitCode, CliError> {
    let ready = ready(session, &request).await?;
    let bus = EventBus::start(output::reporters(&request.output, request.verbose)?);
    let events = bus.sender();
    let shared = RunShared::new(
        ready.run.clone(),
        ready.world.clone(),
        ready.masker.clone(),
        request.dry_run,
        ready.store.clone(),
        events.clone(),
    );
    let shared = Arc::new(match &request.resumes {
        Some(resumed) => shared.after(resumed.so_far.gate.clone()),
        None => shared,
    });
    if request.resumes.is_some() {
        shared.world.ssh.expect_jobs();
    }
    let typed = ready.typed.clone();
    let watch = signals::watch(shared.clone(), typed.clone(), request.output.json)
        .map_err(|e| CliError::new(ExitCode::Internal, format!("signals: {e}")))?;
    let began = Instant::now();
    let facts = ready.world.target.facts();
    shared.emit(RunEvent::RunStarted {
        run: ready.run.clone(),
        plan: ready.plan.name.clone(),
        target: ready.target.clone(),
        vm: facts.vm,
        steps: ready.plan.steps.iter().map(|s| s.id.clone()).collect(),
        dry_run: request.dry_run,
    });
    if let Some(resumed) = &request.resumes {
        shared.emit(resumed.event());
    } else if let Some(back) = &request.rolls_back {
        shared.emit(back.event());
    }
    for notice in &ready.notices {
        shared.emit(RunEvent::Log {
            step: None,
            level: Level::Info,
            message: notice.clone(),
        });
    }
    for warning in &ready.warnings {
        shared.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message: warning.clone(),
        });
    }
    let at_the_end = by_word::at_the_end(&ready.by_word);
    let mut finished = held(ready, request, shared.clone()).await;
    if let Some(line) = at_the_end {
        finished.message.push('\n');
        finished.message.push_str(&line);
    }
    let exit = ExitCode::from(finished.outcome);
    shared.emit(RunEvent::RunFinished {
        run: shared.run.clone(),
        outcome: finished.outcome,
        unchanged: finished.unchanged,
        target_changed: finished.target_changed,
        beside: finished.beside,
        exit_code: exit.code(),
        message: typed.complete(&finished.message).into_owned(),
        next: typed.complete_all(finished.next),
        url: shared.world.target.facts().url,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    if has_ended(finished.outcome)
        && let Err(error) = shared.world.ssh.forget_jobs(&shared.run).await
    {
        tracing::warn!(%error, "the files of the run's jobs stay on the target for now");
    }
    shared.world.ssh.close().await;
    drop(watch);
    drop(events);
    bus.finish().await;
    Ok(exit)
}

/// Whether nobody comes back for what the run's jobs left on the target. A run
/// that was not gone on with may still be at work elsewhere.
fn has_ended(outcome: Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::Interrupted | Outcome::Held | Outcome::Unreachable | Outcome::Internal
    )
}

/// Takes the lease, runs, gives it back.
async fn held(mut ready: Ready, mut request: Request, shared: Arc<RunShared>) -> Finished {
    let who = hold::held_by();
    let mut wait = Wait::start(request.wait);
    let keeper = loop {
        let asked = LeaseKeeper::acquire(
            ready.store.clone(),
            ready.target.clone(),
            ready.run.clone(),
            who.clone(),
            DEFAULT_TTL,
        );
        match asked.await {
            Ok(Ok(keeper)) => break keeper,
            Ok(Err(holder)) => {
                if let Some(why) = request.takes_over(&*ready.store, &ready.run, &holder.run) {
                    let by = hold::started_by();
                    let (store, target, run) = (&*ready.store, &ready.target, &holder.run);
                    match dead::break_in_store(store, target, &holder, run, (&by, why)) {
                        Ok(true) => continue,
                        Ok(false) => {}
                        Err(error) => return store_failed(&ready.run, &request, &error),
                    }
                }
                let now = ready.world.clock.now_unix_ms();
                let holding = Holding::in_store(&holder, now);
                let waited = wait.after(&holding, &ready.target, &shared);
                if let Err((outcome, why)) = waited.await {
                    let is_gone = matches!(holding.process(), Process::Gone(_));
                    let dead = unfinished::of_the_dead(&*ready.store, &holder.run);
                    let dead = dead.filter(|_| is_gone && outcome == Outcome::Held);
                    return Finished {
                        next: dead.map(Dead::ways).unwrap_or_default(),
                        ..refused(outcome, shared.masker.mask(&why).into_owned())
                    };
                }
            }
            Err(error) => return store_failed(&ready.run, &request, &error),
        }
    };
    shared.hold_lease(keeper.granted().clone());
    shared.world.leases.rely_on(Keeps::Store, keeper.held());
    let watch = hold::break_off_when(keeper.lost(), shared.clone());
    let finished = match catch_up(&mut ready, &mut request, &shared) {
        Ok(true) => {
            let (store, run) = (ready.store.clone(), ready.run.clone());
            let finished = recorded(ready, &request, shared, who, wait).await;
            taken::told(&*store, &run, finished)
        }
        Ok(false) => taken::meanwhile(&*ready.store, &ready.run),
        Err(error) => store_failed(&ready.run, &request, &error),
    };
    drop(watch);
    if let Err(error) = keeper.release().await {
        tracing::warn!(%error, "the lease could not be given back; it ends by itself");
    }
    finished
}

/// What another run may have left since the target was looked up: before the
/// lease was ours, it could move the target, deploy in another way, and go on
/// with the run that is to be rolled back. False for a run that is to be gone on
/// with and did so itself.
fn catch_up(
    ready: &mut Ready,
    request: &mut Request,
    shared: &RunShared,
) -> Result<bool, StoreError> {
    if let Some(resumed) = &request.resumes {
        return Ok(!resumed.is_outdated(&*ready.store)?);
    }
    if let Some(vm) = ready.world.target.facts().vm {
        let now = moves::current_vm(&*ready.store, &ready.target, &vm)?;
        if now != vm {
            shared.emit(RunEvent::Log {
                step: None,
                level: Level::Info,
                message: format!("the target moved from VM {vm} to {now} meanwhile"),
            });
            ready.world.target.move_to(now);
        }
    }
    let (key, recipe) = &ready.recipe;
    if ready
        .store
        .fact(&ready.target, key)?
        .is_some_and(|last| last != recipe.as_str())
    {
        prepare::force(&ready.plan, &ready.plugins, &mut ready.configs);
    }
    if let Some(back) = &mut request.rolls_back {
        back.outputs = rollback::outputs(&*ready.store, &back.run.id)?;
    }
    Ok(true)
}

/// Records the run, reaches the target, executes the plan.
async fn recorded(
    mut ready: Ready,
    request: &Request,
    shared: Arc<RunShared>,
    who: String,
    mut wait: Wait,
) -> Finished {
    let record = RunRecord {
        id: ready.run.clone(),
        plan: ready.plan.clone(),
        configs: ready.configs.clone(),
        target: ready.target.clone(),
        vm: ready.world.target.facts().vm.map(|vm| vm.to_string()),
        url: ready.world.target.url_template().map(str::to_owned),
        plugins: ready
            .plugins
            .iter()
            .map(|(name, plugin)| (name.clone(), plugin.description.digest.clone()))
            .collect(),
        rolls_back: request.rolls_back.as_ref().map(|back| back.run.id.clone()),
        started_by: hold::started_by(),
        started_at: ready.world.clock.now_unix_ms(),
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        dry_run: request.dry_run,
    };
    if let Err(refused) = enter(&ready, request, &shared, &record) {
        return refused;
    }
    let is_rollback = request.rolls_back.is_some();
    let lease = match reach(&ready, request, &shared, who, &mut wait).await {
        Ok(Reached::There(lease)) => lease,
        Ok(Reached::Lost(lease)) => {
            // No snapshot can be taken of a VM that is lost.
            let plugins = &ready.plugins;
            let mut steps = Vec::new();
            ready.plan.steps.retain(|step| {
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
            if let Err(error) = shared.record(&Entry::LeftOut { steps }) {
                return refused(Outcome::Internal, error.to_string());
            }
            lease
        }
        Ok(Reached::Ahead(why)) => {
            return Finished {
                next: unfinished::ways(&record).into_iter().skip(1).collect(),
                ..refused(Outcome::Interrupted, why)
            };
        }
        Err((outcome, why)) => return given_up(&ready, request, &shared, outcome, &why),
    };
    if request.resumes.is_some() && shared.is_cancelled() {
        if let Some(lease) = lease {
            lease.end().await;
        }
        let run = &ready.run;
        return Finished {
            next: vec![format!("vdeploy resume {run}")],
            ..refused(
                Outcome::Interrupted,
                format!("stopped before run {run} was gone on with"),
            )
        };
    }
    // Not before the target was reached: until then the one that was cut off
    // can still be resumed.
    if let (false, true, Some(granted)) = (request.dry_run, is_rollback, shared.lease())
        && let Err(error) = unfinished::replace(&*ready.store, &granted, &record)
    {
        shared.break_off(&error.to_string());
    }
    let so_far = match &request.resumes {
        Some(resumed) => resumed.so_far.clone(),
        None => SoFar::default(),
    };
    let (store, target, recipe) = (ready.store.clone(), ready.target.clone(), ready.recipe);
    let execution = Execution {
        traits: prepare::traits(&ready.plan, &ready.plugins, is_rollback),
        plan: ready.plan,
        plugins: ready.plugins,
        configs: ready.configs,
        shared,
        rolls_back: request
            .rolls_back
            .as_ref()
            .map(|back| Arc::new(back.outputs.clone())),
        rolled_back_run: request.rolls_back.as_ref().map(|back| back.run.id.clone()),
        so_far,
    };
    let finished = execution.execute().await;
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

fn given_up(
    ready: &Ready,
    request: &Request,
    shared: &RunShared,
    outcome: Outcome,
    why: &str,
) -> Finished {
    let why = shared.masker.mask(why);
    if request.resumes.is_some() {
        let run = &ready.run;
        let message = format!("run {run} was not gone on with, and is as it was\n{why}");
        return Finished {
            next: vec![format!("vdeploy resume {run}")],
            ..refused(outcome, message)
        };
    }
    let message = match outcome {
        Outcome::Held | Outcome::Interrupted => why.into_owned(),
        _ => format!(
            "plan {}: the target `{}` cannot be used, and nothing was changed\n{why}",
            ready.plan.name, ready.target,
        ),
    };
    let entry = Entry::Finished {
        outcome,
        message: message.clone(),
    };
    if let Err(error) = shared.record(&entry) {
        tracing::warn!(%error, "the end of the run could not be recorded");
    }
    refused(outcome, message)
}

/// The store failed before anything was done.
fn store_failed(run: &RunId, request: &Request, error: &StoreError) -> Finished {
    if request.resumes.is_some() {
        let message = format!("run {run} was not gone on with, and is as it was\n{error}");
        return Finished {
            next: vec![format!("vdeploy resume {run}")],
            ..refused(Outcome::Internal, message)
        };
    }
    let message = format!("nothing was begun, and nothing was touched\n{error}");
    refused(Outcome::Internal, message)
}

fn refused(outcome: Outcome, message: String) -> Finished {
    Finished {
        outcome,
        unchanged: false,
        target_changed: false,
        beside: None,
        message,
        next: Vec::new(),
    }
}
