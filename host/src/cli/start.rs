//! From arguments to a run: project, plugins, secrets, target, lease; then the
//! run itself, its reports and its exit code.

use super::error::CliError;
use super::exit::ExitCode;
use super::hold::{Holding, OnTarget, Process};
use super::resume::Resumed;
use super::run::OutputArgs;
use super::session::Session;
use super::wait::{Wait, WaitArgs};
use super::{hold, load, output, registry, rollback, signals, unfinished, wake, way_back, world};
use crate::capability::World;
use crate::capability::mask::Masker;
use crate::capability::secrets::LoadedSecrets;
use crate::capability::snapshot::SnapshotScope;
use crate::config::{self, Project, TargetConfig};
use crate::event::{Level, Outcome, RunEvent};
use crate::gate::RunShared;
use crate::ids::{Digest, RunId, StepId, TargetName, VmId};
use crate::journal::store::RunRecord;
use crate::journal::{Entry, Store, StoreError, moves};
use crate::plan::{Plan, RollbackTo, Step};
use crate::plugin::Plugin;
use crate::report::EventBus;
use crate::run::lease::{DEFAULT_TTL, LeaseKeeper};
use crate::run::prepare::{self, Plugins};
use crate::run::target_lease::{self, Absence, Claim};
use crate::run::{Execution, Finished, SoFar};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Outputs of an earlier run's steps.
pub type Outputs = BTreeMap<StepId, Value>;

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
    /// The run that is rolled back, with its steps' outputs.
    pub rolls_back: Option<(RunId, Outputs)>,
    /// The run that is gone on with.
    pub resumes: Option<Resumed>,
    /// How long another run may be waited for.
    pub wait: WaitArgs,
    /// How it is reported.
    pub output: OutputArgs,
    /// More of everything.
    pub verbose: bool,
}

/// Everything a run needs, checked; nothing was touched yet.
struct Ready {
    plan: Plan,
    plugins: Plugins,
    configs: prepare::Configs,
    target: TargetName,
    world: World,
    masker: Arc<Masker>,
    store: Arc<dyn Store>,
    run: RunId,
    notices: Vec<String>,
    warnings: Vec<String>,
    /// The fact that keeps how the plan deployed, and its value now.
    recipe: (String, Digest),
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
    let watch = signals::watch(shared.clone())
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
    } else if request.rolls_back.is_some() {
        shared.emit(RunEvent::RollbackStarted { cause: None });
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
    let finished = held(ready, request, shared.clone()).await;
    let exit = ExitCode::from(finished.outcome);
    shared.emit(RunEvent::RunFinished {
        run: shared.run.clone(),
        outcome: finished.outcome,
        unchanged: finished.unchanged,
        exit_code: exit.code(),
        message: finished.message,
        next: finished.next,
        url: shared.world.target.facts().url,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    // Who resumes an interrupted run comes back for them.
    if finished.outcome != Outcome::Interrupted
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

/// Checks everything that can be checked without the target.
async fn ready(session: Session, request: &Request) -> Result<Ready, CliError> {
    let project = &session.project;
    let (target, target_config) = target(project, request.target.as_deref())?;
    let mut plan = request.plan.clone();
    for set in &request.set {
        config::apply_set(&mut plan, set).map_err(|e| CliError::usage(e.to_string()))?;
    }
    let engine = load::engine(&session.state_dir)?;
    let plugins = load::plugins(&engine, project, &plan).await?;
    if let Some(resumed) = &request.resumes {
        resumed.check_plugins(&plugins)?;
    }
    let is_rollback = request.rolls_back.is_some();
    let changes = !prepare::traits(&plan, &plugins, is_rollback)
        .may_change
        .is_empty();
    let question = way_back::Question {
        target: &target,
        takes_snapshots: way_back::takes_snapshots(target_config),
        changes,
        is_rollback,
        without: request.without_snapshot.as_deref(),
    };
    let mut notices = match request.resumes {
        // It was asked when the run began.
        Some(_) => Vec::new(),
        None => way_back::settle(&mut plan, &question, |step, scope| {
            let plugin = plugins.get(&step.plugin);
            plugin.is_some_and(|plugin| plugin.grants.allows_snapshot(scope))
        })?,
    };
    if let Some(reference) = &request.reference {
        let takes_ref = |step: &Step| {
            plugins.get(&step.plugin).is_some_and(|plugin| {
                plugin
                    .description
                    .manifest
                    .config_keys()
                    .any(|key| key == "ref")
            })
        };
        config::apply_ref(&mut plan, reference, takes_ref)
            .map_err(|e| CliError::usage(e.to_string()))?;
    }
    let mut configs = prepare::configs(&plan, &plugins, is_rollback).map_err(load::all_problems)?;
    let secrets = secrets(project, &plan, &target, target_config).await?;
    let (settled, told) = registry::settled(target_config, &secrets).await?;
    let route = world::route(&settled, &secrets, &session.state_dir)?;
    let hidden = secrets.values().chain(route.hidden());
    let masker = Masker::new(hidden).map_err(|e| CliError::usage(e.to_string()))?;
    let store: Arc<dyn Store> = session.store()?;
    let named = route.vm().cloned();
    if let Some(resumed) = &request.resumes {
        resumed.remember_moves(&*store)?;
    }
    let vm = named
        .as_ref()
        .map(|vm| moves::current_vm(&*store, &target, vm))
        .transpose()?;
    if let Some(resumed) = &request.resumes {
        resumed.check_vm(vm.as_ref().map(VmId::as_str))?;
    }
    notices.extend(told);
    let mut warnings = route.warnings();
    if let TargetConfig::Vers(vers) = target_config {
        warnings.extend(config::service_url_oddity(&vers.url, &vers.vm_domain));
    }
    let recipe = prepare::recipe(&plan, &plugins, &configs);
    let recipe_key = format!("recipe:{}", plan.name);
    if let Some(resumed) = &request.resumes {
        // The first format did not keep it.
        if !resumed.record.configs.is_empty() {
            configs.clone_from(&resumed.record.configs);
        }
    } else if let Some(last) = store.fact(&target, &recipe_key)?
        && last != recipe.as_str()
    {
        prepare::force(&plan, &plugins, &mut configs);
        notices.push(
            "how this plan deploys has changed since it ran last: nothing is skipped".to_owned(),
        );
    }
    if let (Some(from), Some(to)) = (&named, &vm)
        && from != to
    {
        notices.push(format!(
            "the target moved from VM {from} to {to} in an earlier rollback"
        ));
    }
    let run = match &request.resumes {
        Some(resumed) => resumed.record.id.clone(),
        None => RunId::generate(),
    };
    let world = world::build(
        route,
        target.clone(),
        vm,
        run.clone(),
        secrets,
        store.clone(),
    )?;
    Ok(Ready {
        plan,
        plugins,
        configs,
        target,
        world,
        masker: Arc::new(masker),
        store,
        run,
        notices,
        warnings,
        recipe: (recipe_key, recipe),
    })
}

/// Takes the lease, runs, gives it back.
async fn held(mut ready: Ready, mut request: Request, shared: Arc<RunShared>) -> Finished {
    let who = hold::started_by();
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
                let now = ready.world.clock.now_unix_ms();
                let holding = Holding::in_store(&holder, now);
                if request.resumes.is_some()
                    && holder.run == ready.run
                    && matches!(holding.process(), Process::Gone(_))
                {
                    // Nobody is there to renew it. If it is taken meanwhile,
                    // the next question tells.
                    let why = "its process is gone, and the run is resumed";
                    let broken = ready
                        .store
                        .break_lease(&ready.target, &holder.run, &who, why);
                    match broken {
                        Ok(_) => continue,
                        Err(error) => return refused(Outcome::Internal, error.to_string()),
                    }
                }
                let waited = wait.after(&holding, &ready.target, &shared);
                if let Err((outcome, why)) = waited.await {
                    return refused(outcome, shared.masker.mask(&why).into_owned());
                }
            }
            Err(error) => return refused(Outcome::Internal, error.to_string()),
        }
    };
    shared.hold_lease(keeper.granted().clone());
    let watch = hold::break_off_when(keeper.lost(), shared.clone());
    let finished = match catch_up(&mut ready, &mut request, &shared) {
        Ok(true) => recorded(ready, &request, shared, who, wait).await,
        Ok(false) => Finished {
            next: vec![format!("vdeploy resume {}", ready.run)],
            ..refused(
                Outcome::Held,
                format!(
                    "run {} was still at work, and has gone on meanwhile",
                    ready.run
                ),
            )
        },
        Err(error) => refused(Outcome::Internal, error.to_string()),
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
    if let Some((run, outputs)) = &mut request.rolls_back {
        *outputs = rollback::outputs(&*ready.store, run)?;
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
        rolls_back: request.rolls_back.as_ref().map(|(run, _)| run.clone()),
        started_by: who.clone(),
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
                let takes = plugin.is_some_and(|p| p.grants.allows_snapshot(SnapshotScope::Create));
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
            .map(|(_, outputs)| Arc::new(outputs.clone())),
        rolled_back_run: request.rolls_back.as_ref().map(|(run, _)| run.clone()),
        so_far,
    };
    let finished = execution.execute().await;
    if finished.outcome == Outcome::Deployed
        && !request.dry_run
        && let Err(error) = store.set_fact(&target, &recipe.0, Some(recipe.1.as_str()))
    {
        tracing::warn!(%error, "how the plan deployed could not be recorded");
    }
    if let Some(lease) = lease {
        lease.end().await;
    }
    finished
}

/// Makes the run known: a new one beside no run that was cut off, or one that
/// is gone on with.
fn enter(
    ready: &Ready,
    request: &Request,
    shared: &RunShared,
    record: &RunRecord,
) -> Result<(), Finished> {
    let internal = |error: StoreError| refused(Outcome::Internal, error.to_string());
    if request.resumes.is_some() {
        let entry = Entry::Resumed {
            by: record.started_by.clone(),
            host_version: record.host_version.clone(),
        };
        return shared.record(&entry).map_err(internal);
    }
    let store = &*ready.store;
    let rolls_back = request.rolls_back.as_ref().map(|(run, _)| run);
    let in_the_way = unfinished::in_the_way(store, &ready.target, rolls_back).map_err(internal)?;
    let traits = prepare::traits(&ready.plan, &ready.plugins, rolls_back.is_some());
    if let Some(found) = in_the_way {
        let message = unfinished::message(&found);
        if !request.dry_run && !traits.may_change.is_empty() {
            return Err(Finished {
                next: unfinished::ways(&found.record.id).to_vec(),
                ..refused(Outcome::Refused, message)
            });
        }
        shared.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message,
        });
    }
    store.create_run(record).map_err(internal)?;
    if let (false, Some(_), Some(lease)) = (request.dry_run, rolls_back, shared.lease()) {
        unfinished::replace(store, &lease, record).map_err(internal)?;
    }
    match &request.without_snapshot {
        Some(reason) => shared.waive_snapshot(reason).map_err(internal),
        None => Ok(()),
    }
}

/// How the target was found.
enum Reached {
    /// It answers, or the plan does not need it to.
    There(Option<OnTarget>),
    /// It does not answer, and the plan leaves it for a snapshot.
    Lost(Option<OnTarget>),
}

/// What to do when the VM that is to be left is lost.
const LOST: &str = "its broken state cannot be kept as a snapshot; if it is lost for good, go on \
                    without: add `--without-snapshot \"the VM is lost\"`";

/// Connects and takes the lease there, where a plugin of the plan will run
/// commands. A rollback to a snapshot needs neither.
async fn reach(
    ready: &Ready,
    request: &Request,
    shared: &Arc<RunShared>,
    who: String,
    wait: &mut Wait,
) -> Result<Reached, (Outcome, String)> {
    let uses_ssh = |plugin: &Plugin| plugin.description.interfaces.iter().any(|i| i == "ssh");
    if !ready.plugins.values().any(uses_ssh) {
        return Ok(Reached::There(None));
    }
    // A snapshot that a plugin made is put back on the target itself, which must
    // be there for it.
    let on_new_vm = ready.world.target.facts().vm.is_some();
    let restores = ready.plan.rollback_to == RollbackTo::Snapshot && on_new_vm;
    let claim = Claim {
        ssh: ready.world.ssh.clone(),
        target: ready.world.target.clone(),
        run: ready.run.clone(),
        who,
        ttl: target_lease::TTL,
        absence: match restores {
            true => Absence::Tolerated,
            false => Absence::Loses,
        },
    };
    shared.emit(RunEvent::Doing {
        text: "connecting to the target".to_owned(),
    });
    let connected = tokio::select! {
        connected = ready.world.ssh.connect() => connected,
        () = shared.stopped() => return Ok(Reached::There(None)),
    };
    let traits = prepare::traits(&ready.plan, &ready.plugins, request.rolls_back.is_some());
    let may_change = !request.dry_run && !traits.may_change.is_empty();
    let connected = match connected {
        Ok(()) => Ok(()),
        Err(error) => tokio::select! {
            woken = wake::or_why(shared, may_change, error) => woken,
            () = shared.stopped() => return Ok(Reached::There(None)),
        },
    };
    let may_be_away = restores && request.rolls_back.is_some();
    let why = match connected {
        Err(error) if !may_be_away || error.code == "ssh.host-key" => {
            return Err((Outcome::Unreachable, error.to_string()));
        }
        Err(error) => error.to_string(),
        Ok(()) if request.dry_run => {
            hold::look(&claim, shared).await;
            return Ok(Reached::There(None));
        }
        Ok(()) => match hold::take(&claim, shared, wait).await {
            Ok(lease) => return Ok(Reached::There(Some(lease))),
            Err((outcome @ (Outcome::Held | Outcome::Interrupted), why)) => {
                return Err((outcome, why));
            }
            Err((_, why)) if may_be_away => why,
            Err(refused) => return Err(refused),
        },
    };
    if request.without_snapshot.is_none() {
        return Err((Outcome::Unreachable, format!("{why}\n{LOST}")));
    }
    shared.emit(RunEvent::Log {
        step: None,
        level: Level::Warn,
        message: format!("the target cannot be used ({why}); going on to the snapshot"),
    });
    let lease = (!request.dry_run).then(|| hold::after_a_move(claim, shared));
    Ok(Reached::Lost(lease))
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

fn refused(outcome: Outcome, message: String) -> Finished {
    Finished {
        outcome,
        unchanged: false,
        message,
        next: Vec::new(),
    }
}

/// The target that was asked for, or the project's default.
pub fn target<'p>(
    project: &'p Project,
    name: Option<&str>,
) -> Result<(TargetName, &'p TargetConfig), CliError> {
    project
        .target(name.map(TargetName::from).as_ref())
        .map(|(name, config)| (name.clone(), config))
        .map_err(|e| CliError::usage(e.to_string()))
}

/// Fetches what the plan's plugins were granted and what the target needs.
async fn secrets(
    project: &Project,
    plan: &Plan,
    target_name: &TargetName,
    target: &TargetConfig,
) -> Result<LoadedSecrets, CliError> {
    let needs = config::SecretNeeds::of_run(project, plan, target_name, target);
    config::fetch_secrets(project, &needs)
        .await
        .map_err(|missing| {
            let mut text = String::from("secrets are missing; nothing was touched");
            for secret in &missing {
                text.push_str(&format!("\n{secret}"));
            }
            CliError::new(ExitCode::Refused, text)
        })
}
