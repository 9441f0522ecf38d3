//! A recorded run again, without its target. The plugins are those at hand;
//! every call of theirs is answered from the recording.

use super::error::{OpsError, OpsErrorKind};
use super::execute::assembly::Assembly;
use super::prepare::{plugin_file, plugins};
use super::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::capability::World;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::event::{Level, RunEvent};
use vdeploy_core::ids::{PluginName, StepId, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_gate::ReplaySource;
use vdeploy_journal::recording::Recording;
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{SqliteStore, Store as _};
use vdeploy_run::Replayed;
use vdeploy_run::prepare::{self, Configs, Plugins};
use vdeploy_run::trace::{self, Function};
use vdeploy_wasm::Plugin;

/// What is told first.
const HEADLINE: &str =
    "a replay: every call is answered from the recording, and nothing is reached";

/// A recorded run that is repeated.
#[derive(Debug)]
pub struct Replay {
    pub recording: Recording,
    /// Stop when this step has run.
    pub until: Option<String>,
    /// Components in place of the project's plugins.
    pub plugins: BTreeMap<PluginName, PathBuf>,
}

/// A replay that may begin.
#[derive(Debug)]
pub struct PreparedReplay {
    assembly: Assembly,
    functions: Vec<Function>,
    warnings: Vec<String>,
}

impl Session {
    /// Loads the plugins of a recording and checks them against it.
    ///
    /// # Errors
    /// A plugin is missing, cannot be loaded, or does not take the recorded
    /// configuration; or the recording has no step `until`.
    pub async fn prepare_replay(&self, replay: Replay) -> Result<PreparedReplay, OpsError> {
        let Replay {
            recording,
            until,
            plugins: files,
        } = replay;
        let record = recording.record;
        let mut functions = trace::functions(&record.plan, &recording.journal);
        if let Some(step) = &until {
            cut(&mut functions, &record, step)?;
        }
        check_names(&files, &record)?;
        let plugins = load(self, &record, &files).await?;
        let configs = configs(&record, &plugins)?;
        let store = Arc::new(SqliteStore::in_memory()?);
        store.create_run(&record)?;
        let masker = Masker::new([]);
        let outputs = recording.rolled_back.map(|back| back.outputs);
        let rolled_back = record.rolls_back.clone();
        let masker = masker.map_err(|e| OpsError::new(OpsErrorKind::Internal, e.to_string()))?;
        Ok(PreparedReplay {
            warnings: warnings(&record, &plugins),
            functions,
            assembly: Assembly {
                world: world(&record),
                run: record.id,
                target: record.target,
                plan: record.plan,
                plugins,
                configs,
                masker: Arc::new(masker),
                store,
                dry_run: record.dry_run,
                rolled_back: rolled_back.map(|run| (run, outputs.unwrap_or_default())),
                resume_state: None,
            },
        })
    }
}

impl PreparedReplay {
    /// Repeats the run. Reaches nothing.
    pub async fn execute(self, events: UnboundedSender<RunEvent>) -> Replayed {
        let Self {
            assembly,
            functions,
            warnings,
        } = self;
        let source = Arc::new(ReplaySource::default());
        let shared = assembly.shared(events).replaying(source.clone());
        let shared = Arc::new(shared);
        shared.recorder.emit(RunEvent::RunStarted {
            run: assembly.run.clone(),
            plan: assembly.plan.name.clone(),
            target: assembly.target.clone(),
            vm: assembly.world.target.facts().vm,
            steps: assembly.plan.steps.iter().map(|s| s.id.clone()).collect(),
            dry_run: assembly.dry_run,
        });
        let warnings = warnings.into_iter().map(|text| (Level::Warn, text));
        for (level, message) in std::iter::once((Level::Info, HEADLINE.to_owned())).chain(warnings)
        {
            shared.recorder.emit(RunEvent::Log {
                step: None,
                level,
                message,
            });
        }
        let execution = assembly.execution(shared);
        execution.replay(&source, &functions).await
    }
}

/// Only the functions until this step has run.
fn cut(functions: &mut Vec<Function>, record: &RunRecord, step: &str) -> Result<(), OpsError> {
    let step = StepId::from(step);
    if let Some(count) = trace::until(functions, &step) {
        functions.truncate(count);
        return Ok(());
    }
    let known = record.plan.all_steps().any(|known| known.id == step);
    let steps = record.plan.all_steps().map(|step| step.id.as_str());
    let steps = steps.collect::<Vec<_>>().join(", ");
    Err(OpsError::usage(match known {
        true => format!("--until {step}: this step did not run in run {}", record.id),
        false => format!(
            "--until {step}: the plan of run {} has no such step",
            record.id
        ),
    })
    .hint(format!("its steps: {steps}")))
}

/// Each of the given files must be for a plugin that the run used.
fn check_names(files: &BTreeMap<PluginName, PathBuf>, record: &RunRecord) -> Result<(), OpsError> {
    let names: BTreeSet<&PluginName> = record.plan.all_steps().map(|step| &step.plugin).collect();
    match files.keys().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<&str> = names.into_iter().map(PluginName::as_str).collect();
            Err(OpsError::usage(format!(
                "--plugin {name}: no step of run {} uses a plugin of this name",
                record.id
            ))
            .hint(format!("its plugins: {}", names.join(", "))))
        }
    }
}

/// The plugins that the plan names: given files, or those of the project.
async fn load(
    session: &Session,
    record: &RunRecord,
    files: &BTreeMap<PluginName, PathBuf>,
) -> Result<Plugins, OpsError> {
    let engine = session.options().plugins.engine(session.options())?;
    let names: BTreeSet<&PluginName> = record.plan.all_steps().map(|step| &step.plugin).collect();
    let mut loading = Vec::new();
    for name in names {
        let bytes = match files.get(name) {
            Some(file) => plugin_file::read(file)
                .map_err(|e| OpsError::usage(format!("--plugin {name}={}: {e}", file.display())))?,
            None => {
                let config = session.project().plugin(name).map_err(|_| {
                    OpsError::usage(format!(
                        "run {} used a plugin `{name}`, which this project does not have",
                        record.id
                    ))
                    .hint(format!(
                        "give its file: `--plugin {name}=FILE.wasm`, or name the project file: \
                         `--project FILE`"
                    ))
                })?;
                plugins::bytes(name, config)?.into_owned()
            }
        };
        let (engine, name) = (engine.clone(), name.clone());
        loading.push(tokio::task::spawn_blocking(move || {
            Plugin::load_to_replay(&engine, &name, &bytes).map(|plugin| (name, plugin))
        }));
    }
    let mut loaded = Plugins::new();
    for task in loading {
        let plugin = task
            .await
            .map_err(|e| OpsError::new(OpsErrorKind::Internal, format!("loading: {e}")))?;
        loaded.extend([plugin?]);
    }
    Ok(loaded)
}

/// The recorded configuration; what a plugin with other bytes has of its own is
/// added.
fn configs(record: &RunRecord, loaded: &Plugins) -> Result<Configs, OpsError> {
    if record.configs.is_empty() {
        // The first format did not keep it.
        let is_rollback = record.rolls_back.is_some();
        return prepare::configs(&record.plan, loaded, is_rollback)
            .map_err(|found| plugins::all_problems(found, |_, _| None));
    }
    let mut configs = record.configs.clone();
    for step in record.plan.all_steps() {
        let (Some(config), Some(plugin)) = (configs.get_mut(&step.id), loaded.get(&step.plugin))
        else {
            continue;
        };
        let manifest = &plugin.description.manifest;
        if let (true, Some(given)) = (is_changed(record, plugin), config.as_object()) {
            let complete = manifest.complete(given).map_err(|problems| {
                OpsError::usage(format!(
                    "the configuration that step `{}` was recorded with does not fit this plugin \
                     `{}`: {}",
                    step.id,
                    step.plugin,
                    problems
                        .iter()
                        .map(|problem| problem.message.as_str())
                        .collect::<Vec<_>>()
                        .join("; ")
                ))
            })?;
            *config = complete.into();
        }
    }
    Ok(configs)
}

fn is_changed(record: &RunRecord, plugin: &Plugin) -> bool {
    record.plugins.get(&plugin.name) != Some(&plugin.description.digest)
}

/// What is not as it was when the run was recorded.
fn warnings(record: &RunRecord, loaded: &Plugins) -> Vec<String> {
    let mut warnings = Vec::new();
    if record.host_version != env!("CARGO_PKG_VERSION") {
        warnings.push(format!(
            "recorded by vdeploy {}; this is {}",
            record.host_version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    for plugin in loaded.values().filter(|p| is_changed(record, p)) {
        let then = record.plugins.get(&plugin.name);
        warnings.push(format!(
            "the plugin `{}` has other bytes than in the recording: sha256 {} then, {} now",
            plugin.name,
            then.map_or("unknown", |digest| digest.as_str()),
            plugin.description.digest
        ));
    }
    warnings
}

/// A world that is nothing but the recording.
fn world(record: &RunRecord) -> World {
    let (name, url) = (record.target.clone(), record.url.as_deref());
    let target = match &record.vm {
        Some(vm) => TargetHandle::vers(name, VmId::from(vm.as_str()), url.unwrap_or_default()),
        None => TargetHandle::ssh(name, url),
    };
    World::offline(target, record.started_at)
}
