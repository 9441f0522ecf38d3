//! What can be checked before anything is touched: plan, plugins, secrets, the
//! way to the target. Makes no connection to the target.

use super::{Request, in_config};
use crate::capability::World;
use crate::capability::mask::Masker;
use crate::capability::secrets::LoadedSecrets;
use crate::cli::by_word::{self, ByWord};
use crate::cli::error::CliError;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::typed::Typed;
use crate::cli::{fits, load, owners, registry, way_back, world};
use crate::config::{self, Overrides, Project, TargetConfig};
use crate::ids::{Digest, RunId, TargetName, VmId};
use crate::journal::{Store, moves};
use crate::plan::{Plan, Step};
use crate::run::prepare::{self, Plugins};
use std::sync::Arc;

/// Everything a run needs, checked; nothing was touched yet.
pub(super) struct Ready {
    pub plan: Plan,
    pub plugins: Plugins,
    pub configs: prepare::Configs,
    pub target: TargetName,
    pub world: World,
    pub masker: Arc<Masker>,
    pub store: Arc<dyn Store>,
    pub run: RunId,
    pub notices: Vec<String>,
    pub warnings: Vec<String>,
    /// Where nothing is to be changed: plugins that could all the same.
    pub by_word: Vec<ByWord>,
    /// The fact that keeps how the plan deployed, and its value now.
    pub recipe: (String, Digest),
    /// What a recommended command must carry.
    pub typed: Typed,
}

/// Checks everything that can be checked without the target.
pub(super) async fn ready(session: Session, request: &Request) -> Result<Ready, CliError> {
    let project = &session.project;
    let (target, target_config) = target(project, request.target.as_deref())?;
    let mut plan = request.plan.clone();
    let mut overrides = Overrides::default();
    for set in &request.set {
        config::apply_set(&mut plan, set, &mut overrides)
            .map_err(|e| CliError::usage(e.to_string()))?;
    }
    let engine = load::engine(&session.state_dir)?;
    if let Some(resumed) = &request.resumes {
        // Before anybody is told what other bytes ask for.
        resumed.check_plugins(&load::digests(project, &plan)?)?;
    }
    let plugins = load::plugins(&engine, project, &plan).await?;
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
    let mut notices = match &request.resumes {
        // It was asked when the run began.
        Some(resumed) => fits::difference(project, &resumed.record)
            .into_iter()
            .collect(),
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
        config::apply_ref(&mut plan, reference, &mut overrides, takes_ref)
            .map_err(|e| CliError::usage(e.to_string()))?;
    }
    let mut configs = prepare::configs(&plan, &plugins, is_rollback).map_err(|found| {
        load::all_problems(found, |step, pointer| match &request.resumes {
            // Its plan is the recorded one, and the file may say something else now.
            Some(_) => None,
            None => project.origin_of(&plan.name, step, pointer, &overrides),
        })
    })?;
    let secrets = secrets(project, &plan, &target, target_config).await?;
    let mut warnings = match &request.resumes {
        // It was asked when the run began.
        Some(_) => Vec::new(),
        None => {
            let written = in_config::Written {
                project,
                plan: &plan,
                configs: &configs,
                target: target_config,
                set: &request.set,
                without_snapshot: request.without_snapshot.as_deref(),
            };
            in_config::check(&written, &secrets)?
        }
    };
    let (settled, told) = registry::settled(target_config, &secrets).await?;
    let route = world::route(project, &settled, &secrets, &session.state_dir)?;
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
    warnings.extend(route.warnings());
    if let TargetConfig::Vers(vers) = target_config {
        warnings.extend(config::service_url_oddity(&vers.url, &vers.vm_domain));
    }
    let by_word = match request.dry_run || !changes {
        true => by_word::of_plan(project, &plan, &plugins),
        false => Vec::new(),
    };
    warnings.extend(by_word.iter().map(ByWord::warning));
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
    let place = owners::place(&route, &target, &*store)?;
    let mut world = world::build(
        route,
        target.clone(),
        vm,
        run.clone(),
        secrets,
        store.clone(),
    )?;
    world.state = owners::state(project, place, store.clone());
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
        by_word,
        recipe: (recipe_key, recipe),
        typed: session.typed,
    })
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
