//! `vdeploy replay`: a recorded run again, without its target. The plugins are
//! those at hand; every call of theirs is answered from the recording.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::replay_words::{as_json, as_text};
use super::session::{self, Session};
use super::{export, load, plugin_file, terminal};
use crate::capability::World;
use crate::capability::clock::SimulatedClock;
use crate::capability::doubles::{DenyHttp, DenySnapshot, DenySsh, DenyState, PlaceholderSecrets};
use crate::capability::mask::Masker;
use crate::config::Project;
use crate::event::{Level, RunEvent};
use crate::gate::RunShared;
use crate::ids::{PluginName, StepId, VmId};
use crate::journal::recording::Recording;
use crate::journal::store::RunRecord;
use crate::journal::{SqliteStore, Store as _};
use crate::plugin::{Engine, Plugin};
use crate::report::{EventBus, JsonReporter, PlainReporter, Reporter, Sink};
use crate::run::machine::Traits;
use crate::run::prepare::{self, Configs, Plugins};
use crate::run::recorded::{self, Function};
use crate::run::{Execution, SoFar};
use crate::target::TargetHandle;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy replay run.jsonl                          a file of `vdeploy runs export`
  vdeploy replay latest --until restart             a run of this machine, in part
  vdeploy replay run.jsonl --plugin smoke=new.wasm  what another build of a plugin would do

Nothing is reached and no secret is needed. Exit code 0: every call and every
result was the same. Exit code 50: something differs; the first such call is shown.";

/// Arguments of `vdeploy replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A file of `vdeploy runs export`, `-` for standard input, or a run of
    /// this machine: an id, its beginning, or `latest`
    #[arg(value_name = "FILE|RUN")]
    pub recording: String,
    /// Stop when this step has run
    #[arg(long, value_name = "STEP")]
    pub until: Option<String>,
    /// Use this component for a plugin of the plan; can be repeated
    #[arg(long, value_name = "NAME=FILE")]
    pub plugin: Vec<String>,
    /// One JSON event a line on stdout, the last one of type `replayed`
    #[arg(long)]
    pub json: bool,
}

/// Repeats the run.
pub async fn main(global: &Global, args: ReplayArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(global)?;
    let Recording {
        record,
        rolled_back,
        journal,
    } = read(&args.recording, &session)?;
    let mut functions = recorded::functions(&record.plan, &journal);
    if let Some(step) = &args.until {
        cut(&mut functions, &record, step)?;
    }
    let files = files(&args.plugin, &record)?;
    let engine = load::engine(&session.state_dir)?;
    let plugins = plugins(&engine, &session.project, &record, &files).await?;
    let configs = configs(&record, &plugins)?;
    let reporter: Box<dyn Reporter> = match args.json {
        true => Box::new(JsonReporter::new(Sink::stdout())),
        false => Box::new(PlainReporter::new(Sink::stdout(), global.verbose)),
    };
    let bus = EventBus::start(vec![reporter]);
    let shared = Arc::new(shared(&record, bus.sender())?);
    shared.emit(RunEvent::RunStarted {
        run: record.id.clone(),
        plan: record.plan.name.clone(),
        target: record.target.clone(),
        vm: record.vm.as_deref().map(VmId::from),
        steps: record.plan.steps.iter().map(|s| s.id.clone()).collect(),
        dry_run: record.dry_run,
    });
    let warnings = warnings(&record, &plugins);
    for (level, message) in std::iter::once((Level::Info, HEADLINE.to_owned())).chain(warnings) {
        shared.emit(RunEvent::Log {
            step: None,
            level,
            message,
        });
    }
    let execution = Execution {
        traits: Traits {
            is_rollback: record.rolls_back.is_some(),
            ..Traits::default()
        },
        plan: record.plan.clone(),
        plugins,
        configs,
        shared,
        rolls_back: rolled_back.map(|earlier| Arc::new(earlier.outputs)),
        rolled_back_run: record.rolls_back.clone(),
        so_far: SoFar::default(),
    };
    let replayed = execution.replay(&functions).await;
    drop(execution);
    bus.finish().await;
    let exit = match replayed.difference {
        None => ExitCode::Success,
        Some(_) => ExitCode::Differs,
    };
    let ended = journal.last().map(|stored| &stored.entry);
    let until = args.until.as_deref();
    match args.json {
        true => terminal::say_json(&as_json(&record, &replayed, until, ended, exit)),
        false => terminal::say(&as_text(&record, &replayed, until, ended)),
    }
    Ok(exit)
}

/// What is said first.
const HEADLINE: &str =
    "a replay: every call is answered from the recording, and nothing is reached";

/// A file if there is one of this name, else a run of the store.
fn read(name: &str, session: &Session) -> Result<Recording, CliError> {
    let path = Path::new(name);
    let failed = |what: String| CliError::usage(format!("{name}: {what}"));
    let text = if name == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|e| failed(e.to_string()))?;
        text
    } else if path.exists() && !path.is_dir() {
        std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?
    } else if name.contains(['/', '.']) {
        return Err(failed("there is no such file".to_owned()));
    } else {
        let store = session::open_store(&session.state_dir)?;
        return export::recording(&*store, name);
    };
    Recording::read(&text).map_err(|e| failed(e.to_string()))
}

/// Only the functions until this step has run.
fn cut(functions: &mut Vec<Function>, record: &RunRecord, step: &str) -> Result<(), CliError> {
    let step = StepId::from(step);
    if let Some(count) = recorded::until(functions, &step) {
        functions.truncate(count);
        return Ok(());
    }
    let known = record.plan.all_steps().any(|known| known.id == step);
    let steps = record.plan.all_steps().map(|step| step.id.as_str());
    let steps = steps.collect::<Vec<_>>().join(", ");
    Err(CliError::usage(match known {
        true => format!("--until {step}: this step did not run in run {}", record.id),
        false => format!(
            "--until {step}: the plan of run {} has no such step",
            record.id
        ),
    })
    .hint(format!("its steps: {steps}")))
}

/// `--plugin NAME=FILE`, by name.
fn files(given: &[String], record: &RunRecord) -> Result<BTreeMap<PluginName, PathBuf>, CliError> {
    let mut files = BTreeMap::new();
    for given in given {
        let Some((name, file)) = given.split_once('=') else {
            return Err(CliError::usage(format!("--plugin {given}: not NAME=FILE"))
                .hint("for example `--plugin smoke=target/plugins/smoke.wasm`"));
        };
        let name = PluginName::from(name);
        let mut used = record.plan.all_steps().map(|step| &step.plugin);
        if !used.any(|known| *known == name) {
            let names: BTreeSet<&str> = record
                .plan
                .all_steps()
                .map(|step| step.plugin.as_str())
                .collect();
            let names: Vec<&str> = names.into_iter().collect();
            return Err(CliError::usage(format!(
                "--plugin {name}: no step of run {} uses a plugin of this name",
                record.id
            ))
            .hint(format!("its plugins: {}", names.join(", "))));
        }
        files.insert(name, PathBuf::from(file));
    }
    Ok(files)
}

/// The plugins that the plan names: given files, or those of the project.
async fn plugins(
    engine: &Engine,
    project: &Project,
    record: &RunRecord,
    files: &BTreeMap<PluginName, PathBuf>,
) -> Result<Plugins, CliError> {
    let names: BTreeSet<&PluginName> = record.plan.all_steps().map(|step| &step.plugin).collect();
    let mut loading = Vec::new();
    for name in names {
        let bytes = match files.get(name) {
            Some(file) => plugin_file::read(file)
                .map_err(|e| CliError::usage(format!("--plugin {name}={}: {e}", file.display())))?,
            None => {
                let config = project.plugin(name).map_err(|_| {
                    CliError::usage(format!(
                        "run {} used a plugin `{name}`, which this project does not have",
                        record.id
                    ))
                    .hint(format!(
                        "give its file: `--plugin {name}=FILE.wasm`, or name the project file: \
                         `--project FILE`"
                    ))
                })?;
                load::bytes(name, config)?.into_owned()
            }
        };
        let (engine, name) = (engine.clone(), name.clone());
        loading.push(tokio::task::spawn_blocking(move || {
            Plugin::load_to_replay(&engine, &name, &bytes).map(|plugin| (name, plugin))
        }));
    }
    let mut plugins = Plugins::new();
    for task in loading {
        let loaded = task
            .await
            .map_err(|e| CliError::new(ExitCode::Internal, format!("loading: {e}")))?;
        plugins.extend([loaded?]);
    }
    Ok(plugins)
}

/// The recorded configuration; what a plugin with other bytes has of its own is
/// added.
fn configs(record: &RunRecord, plugins: &Plugins) -> Result<Configs, CliError> {
    if record.configs.is_empty() {
        // The first format did not keep it.
        let is_rollback = record.rolls_back.is_some();
        return prepare::configs(&record.plan, plugins, is_rollback)
            .map_err(|found| load::all_problems(found, |_, _| None));
    }
    let mut configs = record.configs.clone();
    for step in record.plan.all_steps() {
        let (Some(config), Some(plugin)) = (configs.get_mut(&step.id), plugins.get(&step.plugin))
        else {
            continue;
        };
        let manifest = &plugin.description.manifest;
        if let (true, Some(given)) = (is_changed(record, plugin), config.as_object()) {
            let complete = manifest.complete(given).map_err(|problems| {
                CliError::usage(format!(
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
fn warnings(record: &RunRecord, plugins: &Plugins) -> Vec<(Level, String)> {
    let mut warnings = Vec::new();
    if record.host_version != env!("CARGO_PKG_VERSION") {
        warnings.push(format!(
            "recorded by vdeploy {}; this is {}",
            record.host_version,
            env!("CARGO_PKG_VERSION")
        ));
    }
    for plugin in plugins.values().filter(|p| is_changed(record, p)) {
        let then = record.plugins.get(&plugin.name);
        warnings.push(format!(
            "the plugin `{}` has other bytes than in the recording: sha256 {} then, {} now",
            plugin.name,
            then.map_or("unknown", |digest| digest.as_str()),
            plugin.description.digest
        ));
    }
    warnings
        .into_iter()
        .map(|text| (Level::Warn, text))
        .collect()
}

/// A run whose world is nothing but the recording.
fn shared(record: &RunRecord, events: UnboundedSender<RunEvent>) -> Result<RunShared, CliError> {
    let internal = |text: String| CliError::new(ExitCode::Internal, text);
    let store = Arc::new(SqliteStore::in_memory()?);
    store.create_run(record)?;
    let (name, url) = (record.target.clone(), record.url.as_deref());
    let target = match &record.vm {
        Some(vm) => TargetHandle::vers(name, vm.as_str().into(), url.unwrap_or_default()),
        None => TargetHandle::ssh(name, url),
    };
    let world = World {
        leases: Default::default(),
        target,
        clock: Arc::new(SimulatedClock::new(record.started_at)),
        http: Arc::new(DenyHttp),
        ssh: Arc::new(DenySsh),
        snapshot: Arc::new(DenySnapshot),
        secrets: Arc::new(PlaceholderSecrets),
        state: Arc::new(DenyState),
    };
    let masker = Masker::new([]).map_err(|e| internal(e.to_string()))?;
    let run = record.id.clone();
    let shared = RunShared::new(run, world, Arc::new(masker), record.dry_run, store, events);
    Ok(shared.replaying())
}
