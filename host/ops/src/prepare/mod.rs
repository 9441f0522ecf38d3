//! What can be checked before anything is touched: plan, plugins, secrets, how
//! the target is reached. Makes no connection to the target.

pub mod compat;
pub mod plugin_file;
pub mod plugins;
pub mod rollback_readiness;
pub mod secrets_in_config;
pub(super) mod state_owners;
pub mod unverified_probes;

use super::error::{OpsError, OpsErrorKind};
use super::execute::assembly::Assembly;
use super::execute::origin::Origin;
use super::operation::Operation;
use super::operation::resume::Resumed;
use super::operation::rollback::RolledBack;
use super::session::Session;
use super::target::{self, ResolvedTarget, WorldParts};
use std::sync::Arc;
use std::time::Duration;
use unverified_probes::UnverifiedProbes;
use vdeploy_config::{Overrides, SecretNeeds, TargetConfig};
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::secrets::LoadedSecrets;
use vdeploy_core::ids::{Digest, RunId, TargetName, VmId};
use vdeploy_core::plan::{Plan, Step};
use vdeploy_journal::{Store, relocations};
use vdeploy_lease::LeaseTimes;
use vdeploy_run::prepare::{self, Configs, Plugins};

/// An operation that was checked as far as that goes without its target.
/// Nothing was touched; dropping it leaves no trace.
#[derive(Debug)]
pub struct Prepared {
    pub(super) assembly: Assembly,
    pub(super) origin: Origin,
    pub(super) notices: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// Where nothing is to be changed: plugins that could all the same.
    pub(super) unverified: Vec<UnverifiedProbes>,
    /// The fact that keeps how the plan deployed, and its value now.
    pub(super) recipe: (String, Digest),
    pub(super) wait: Duration,
    pub(super) actor: Actor,
    pub(super) lease_times: LeaseTimes,
}

impl Session {
    /// Checks everything that can be checked without the target, and fetches the
    /// secrets.
    ///
    /// # Errors
    /// Whatever would stop the operation before it touched anything.
    pub async fn prepare(&self, operation: Operation) -> Result<Prepared, OpsError> {
        match operation {
            Operation::Deploy(deploy) => deploy.prepare(self).await,
            Operation::Rollback(rollback) => rollback.prepare(self).await,
            Operation::Resume(resume) => resume.prepare(self).await,
        }
    }
}

impl Prepared {
    pub fn run(&self) -> &RunId {
        &self.assembly.run
    }

    pub fn target(&self) -> &TargetName {
        &self.assembly.target
    }

    pub fn plan(&self) -> &Plan {
        &self.assembly.plan
    }
}

/// A run that begins: a deploy, or a rollback of an earlier run.
pub(super) struct NewRun {
    pub id: Option<RunId>,
    pub plan: Plan,
    pub target: Option<String>,
    pub reference: Option<String>,
    /// `STEP.KEY=VALUE`, in order.
    pub set: Vec<String>,
    pub dry_run: bool,
    pub without_snapshot: Option<String>,
    pub rolls_back: Option<RolledBack>,
    pub wait: Duration,
}

impl NewRun {
    pub async fn prepare(self, session: &Session) -> Result<Prepared, OpsError> {
        let project = session.project();
        let (target, target_config) = session.target(self.target.as_deref())?;
        let mut plan = self.plan;
        let mut overrides = Overrides::default();
        for set in &self.set {
            vdeploy_config::apply_set(&mut plan, set, &mut overrides)?;
        }
        let plugins = plugins::plugins(session, &plan).await?;
        let is_rollback = self.rolls_back.is_some();
        let changes = may_change(&plan, &plugins, is_rollback);
        let question = rollback_readiness::Question {
            target: &target,
            takes_snapshots: target_config.kind().takes_snapshots(),
            changes,
            is_rollback,
            without: self.without_snapshot.as_deref(),
        };
        let notices = rollback_readiness::settle(&mut plan, &question, |step, scope| {
            let plugin = plugins.get(&step.plugin);
            plugin.is_some_and(|plugin| plugin.grants.allows_snapshot(scope))
        })?;
        if let Some(reference) = &self.reference {
            let takes_ref = |step: &Step| takes_ref(&plugins, step);
            vdeploy_config::apply_ref(&mut plan, reference, &mut overrides, takes_ref)?;
        }
        let configs = prepare::configs(&plan, &plugins, is_rollback).map_err(|found| {
            plugins::all_problems(found, |step, pointer| {
                project.origin_of(&plan.name, step, pointer, &overrides)
            })
        })?;
        let secrets = secrets(session, &plan, &target, target_config).await?;
        let warnings = {
            let written = secrets_in_config::Written {
                project,
                plan: &plan,
                configs: &configs,
                target: target_config,
                set: &self.set,
                without_snapshot: self.without_snapshot.as_deref(),
            };
            secrets_in_config::check(&written, &secrets)?
        };
        let located = Located::of(session, target, target_config, secrets).await?;
        let unverified = match self.dry_run || !changes {
            true => unverified_probes::of_plan(project, &plan, &plugins),
            false => Vec::new(),
        };
        let draft = Draft {
            run: self.id.unwrap_or_else(RunId::generate),
            recipe: prepare::recipe(&plan, &plugins, &configs),
            plan,
            plugins,
            configs,
            notices,
            warnings,
            unverified,
            dry_run: self.dry_run,
            wait: self.wait,
        };
        let origin = match self.rolls_back {
            Some(rolls_back) => Origin::Rollback {
                rolls_back: Box::new(rolls_back),
                without_snapshot: self.without_snapshot,
            },
            None => Origin::Deploy {
                without_snapshot: self.without_snapshot,
            },
        };
        let mut prepared = located.complete(session, draft, origin)?;
        prepared.skip_nothing_after_a_new_recipe()?;
        Ok(prepared)
    }
}

/// A run that is resumed goes on as it began: its plan and its configuration are
/// the recorded ones, and what was asked when it began is not asked again.
pub(super) async fn resumed(
    session: &Session,
    resumed: Resumed,
    wait: Duration,
) -> Result<Prepared, OpsError> {
    let project = session.project();
    let record = &resumed.record;
    let (target, target_config) = session.target(Some(record.target.as_str()))?;
    let mut plan = record.plan.clone();
    plan.steps
        .retain(|step| !resumed.resume_state.left_out.contains(&step.id));
    // Before anybody is told what other bytes ask for.
    resumed.check_plugins(&plugins::digests(session, &plan)?)?;
    let plugins = plugins::plugins(session, &plan).await?;
    let is_rollback = resumed.rolls_back.is_some();
    let mut configs = prepare::configs(&plan, &plugins, is_rollback)
        .map_err(|found| plugins::all_problems(found, |_, _| None))?;
    let recipe = prepare::recipe(&plan, &plugins, &configs);
    // The first format did not keep it.
    if !record.configs.is_empty() {
        configs.clone_from(&record.configs);
    }
    let secrets = secrets(session, &plan, &target, target_config).await?;
    let located = Located::of(session, target, target_config, secrets).await?;
    resumed.record_relocations(&*located.store)?;
    let unverified = match may_change(&plan, &plugins, is_rollback) {
        true => Vec::new(),
        false => unverified_probes::of_plan(project, &plan, &plugins),
    };
    let draft = Draft {
        run: record.id.clone(),
        notices: compat::difference(project, record).into_iter().collect(),
        warnings: Vec::new(),
        recipe,
        plan,
        plugins,
        configs,
        unverified,
        dry_run: false,
        wait,
    };
    located.complete(session, draft, Origin::Resumed(Box::new(resumed)))
}

/// What was made of the plan.
struct Draft {
    run: RunId,
    plan: Plan,
    plugins: Plugins,
    configs: Configs,
    notices: Vec<String>,
    warnings: Vec<String>,
    unverified: Vec<UnverifiedProbes>,
    recipe: Digest,
    dry_run: bool,
    wait: Duration,
}

/// Where the target is, what hides the secrets, and the store.
struct Located {
    name: TargetName,
    resolved: Box<dyn ResolvedTarget>,
    secrets: LoadedSecrets,
    masker: Masker,
    store: Arc<dyn Store>,
}

impl Located {
    async fn of(
        session: &Session,
        name: TargetName,
        config: &TargetConfig,
        secrets: LoadedSecrets,
    ) -> Result<Self, OpsError> {
        let resolved = target::resolve(session, config, &secrets).await?;
        let hidden = secrets.values().chain(resolved.hidden());
        let masker = Masker::new(hidden).map_err(|e| OpsError::usage(e.to_string()))?;
        Ok(Self {
            name,
            resolved,
            secrets,
            masker,
            store: session.store()?,
        })
    }

    fn complete(
        self,
        session: &Session,
        draft: Draft,
        origin: Origin,
    ) -> Result<Prepared, OpsError> {
        let store = &self.store;
        let named = self.resolved.vm();
        let vm = named.as_ref();
        let vm = vm.map(|vm| relocations::current_vm(&**store, &self.name, vm));
        let vm = vm.transpose()?;
        if let Some(resumed) = origin.resumed() {
            resumed.check_vm(vm.as_ref().map(VmId::as_str))?;
        }
        let mut notices = draft.notices;
        notices.extend(self.resolved.notice());
        if let (Some(from), Some(to)) = (&named, &vm)
            && from != to
        {
            notices.push(format!(
                "the target moved from VM {from} to {to} in an earlier rollback"
            ));
        }
        let mut warnings = draft.warnings;
        warnings.extend(self.resolved.warnings());
        warnings.extend(draft.unverified.iter().map(UnverifiedProbes::warning));
        let address = self.resolved.address(&self.name, &**store)?;
        let mut world = self.resolved.world(WorldParts {
            target: self.name.clone(),
            vm,
            run: draft.run.clone(),
            secrets: self.secrets,
            store: store.clone(),
        })?;
        world.state = state_owners::state(session.project(), address, store.clone());
        Ok(Prepared {
            recipe: (format!("recipe:{}", draft.plan.name), draft.recipe),
            assembly: Assembly {
                run: draft.run,
                target: self.name,
                plan: draft.plan,
                plugins: draft.plugins,
                configs: draft.configs,
                world,
                masker: Arc::new(self.masker),
                store: self.store,
                dry_run: draft.dry_run,
                rolled_back: origin.rolled_back_outputs(),
                resume_state: origin.resumed().map(|it| it.resume_state.clone()),
            },
            origin,
            notices,
            warnings,
            unverified: draft.unverified,
            wait: draft.wait,
            actor: session.options().actor.clone(),
            lease_times: session.options().lease_times,
        })
    }
}

impl Prepared {
    /// Steps skip what is unchanged; when the plan deploys in another way than
    /// it did last, nothing is.
    fn skip_nothing_after_a_new_recipe(&mut self) -> Result<(), OpsError> {
        let Assembly {
            store,
            target,
            plan,
            plugins,
            configs,
            ..
        } = &mut self.assembly;
        let (key, recipe) = &self.recipe;
        if store
            .fact(target, key)?
            .is_some_and(|last| last != recipe.as_str())
        {
            prepare::force(plan, plugins, configs);
            self.notices.push(
                "how this plan deploys has changed since it ran last: nothing is skipped"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn may_change(plan: &Plan, plugins: &Plugins, is_rollback: bool) -> bool {
    !prepare::traits(plan, plugins, is_rollback)
        .may_change
        .is_empty()
}

/// Whether the step's plugin has the key `ref`.
pub(super) fn takes_ref(plugins: &Plugins, step: &Step) -> bool {
    plugins.get(&step.plugin).is_some_and(|plugin| {
        let mut keys = plugin.description.manifest.config_keys();
        keys.any(|key| key == "ref")
    })
}

/// Fetches what the plan's plugins were granted and what the target needs.
async fn secrets(
    session: &Session,
    plan: &Plan,
    name: &TargetName,
    target: &TargetConfig,
) -> Result<LoadedSecrets, OpsError> {
    let needs = SecretNeeds::of_run(session.project(), plan, name, target);
    session.secrets(&needs).await.map_err(|missing| {
        let mut text = String::from("secrets are missing; nothing was touched");
        for secret in &missing {
            text.push_str(&format!("\n{secret}"));
        }
        OpsError::new(OpsErrorKind::Refused, text)
    })
}

/// A plan that fits its plugins.
#[derive(Debug)]
pub struct CheckedPlan {
    /// How many plugins were loaded.
    pub plugins: usize,
    pub warnings: Vec<String>,
}

/// Loads a plan's plugins and checks grants and configuration. Touches no target.
///
/// # Errors
/// Every problem that was found.
pub async fn check_plan(session: &Session, plan: &Plan) -> Result<CheckedPlan, OpsError> {
    let project = session.project();
    let plugins = plugins::plugins(session, plan).await?;
    let none = Overrides::default();
    prepare::configs(plan, &plugins, false).map_err(|found| {
        plugins::all_problems(found, |step, pointer| {
            project.origin_of(&plan.name, step, pointer, &none)
        })
    })?;
    let unverified = unverified_probes::of_plan(project, plan, &plugins);
    Ok(CheckedPlan {
        plugins: plugins.len(),
        warnings: unverified.iter().map(UnverifiedProbes::warning).collect(),
    })
}
