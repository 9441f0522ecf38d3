//! The plan's plugins, loaded all at once: bytes from the binary or a file,
//! digest against the pin, code from the cache.

use super::error::CliError;
use super::exit::ExitCode;
use super::{compiles, plugin_file, terminal};
use crate::config::{PluginConfig, PluginSource, Project};
use crate::ids::{Digest, PluginName, StepId};
use crate::ownership::Judge;
use crate::plan::Plan;
use crate::plugin::{self, CodeCache, Compiler, Engine, Plugin, PluginError, Setup, builtin};
use crate::run::prepare::Plugins;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The engine. Compiled plugins are kept in the state directory (or where
/// `VDEPLOY_CACHE` says), with a key that lies in the state directory (or where
/// `VDEPLOY_CACHE_KEY` says). Compiled code runs outside the sandbox, so a
/// directory that somebody else owns or can write is left alone. A cache that
/// cannot be used costs time and nothing else.
pub fn engine(state_dir: &Path) -> Result<Engine, CliError> {
    let path = |variable: &str, name: &str| {
        let path = std::env::var_os(variable)
            .filter(|path| !path.is_empty())
            .map_or_else(|| state_dir.join(name), PathBuf::from);
        std::path::absolute(&path).unwrap_or(path)
    };
    let dir = path("VDEPLOY_CACHE", "compiled");
    let key = path("VDEPLOY_CACHE_KEY", "compile-key");
    let cache = cache(&dir, &key)
        .inspect_err(|why| {
            terminal::error_line(&format!(
                "warning: compiled plugins are not kept, which costs time: {why}"
            ));
        })
        .ok();
    Ok(Engine::new(Setup {
        cache,
        compiler: Some(Compiler::new(compiles::own_program()?)),
        on_compile: Some(compiles::announce()),
    })?)
}

/// The cache, if nobody else can write where it and its key are.
fn cache(dir: &Path, key: &Path) -> Result<CodeCache, String> {
    for (dir, variable) in [
        (Some(dir), "VDEPLOY_CACHE"),
        (key.parent(), "VDEPLOY_CACHE_KEY"),
    ] {
        let judged = dir.map(|dir| Judge::of_process().private_dir(dir));
        if let Some(Err(found)) = judged {
            let mend = found.mend();
            let mend = mend.map_or(String::new(), |mend| format!("; mend it with `{mend}`"));
            return Err(format!(
                "{found}{mend}, or name another directory with {variable}"
            ));
        }
    }
    CodeCache::open(dir, key)
}

/// Loads the plugins that the plan names, all at once.
pub async fn plugins(engine: &Engine, project: &Project, plan: &Plan) -> Result<Plugins, CliError> {
    let names: BTreeSet<&PluginName> = plan.all_steps().map(|step| &step.plugin).collect();
    let mut loading = Vec::new();
    for name in names {
        let config = project
            .plugin(name)
            .map_err(|e| CliError::usage(e.to_string()))?
            .clone();
        let (engine, name) = (engine.clone(), name.clone());
        loading.push(tokio::task::spawn_blocking(move || {
            load(&engine, &name, &config).map(|plugin| (name, plugin))
        }));
    }
    let mut plugins = Plugins::new();
    let mut problems = Vec::new();
    for task in loading {
        match task.await {
            Ok(Ok((name, plugin))) => {
                plugins.insert(name, plugin);
            }
            Ok(Err(error)) => problems.push(CliError::from(error)),
            Err(error) => {
                problems.push(CliError::new(
                    ExitCode::Internal,
                    format!("loading: {error}"),
                ));
            }
        }
    }
    match problems.into_iter().collect::<Option<CliError>>() {
        Some(error) => Err(error),
        None => Ok(plugins),
    }
}

fn load(engine: &Engine, name: &PluginName, config: &PluginConfig) -> Result<Plugin, PluginError> {
    let bytes = bytes(name, config)?;
    if let Some(pinned) = &config.digest {
        let found = plugin::digest(&bytes);
        if *pinned != found {
            return Err(PluginError::Digest {
                plugin: name.clone(),
                found: found.to_string(),
                pinned: pinned.to_string(),
            });
        }
    }
    Plugin::load(engine, name, &bytes, &config.grants)
}

/// Digests of the bytes of the plan's plugins; nothing else of them is looked at.
pub fn digests(project: &Project, plan: &Plan) -> Result<BTreeMap<PluginName, Digest>, CliError> {
    let names: BTreeSet<&PluginName> = plan.all_steps().map(|step| &step.plugin).collect();
    let mut digests = BTreeMap::new();
    for name in names {
        let config = project
            .plugin(name)
            .map_err(|e| CliError::usage(e.to_string()))?;
        let bytes = bytes(name, config)?;
        digests.insert(name.clone(), plugin::digest(&bytes));
    }
    Ok(digests)
}

/// A plugin's bytes, from the binary or its file.
pub fn bytes(name: &PluginName, config: &PluginConfig) -> Result<Cow<'static, [u8]>, PluginError> {
    let (path, read) = match &config.source {
        PluginSource::Builtin(builtin) => (
            format!("builtin:{builtin}"),
            builtin::bytes(builtin)
                .map(Cow::Borrowed)
                .ok_or_else(|| "this vdeploy has no such built-in plugin".to_owned()),
        ),
        PluginSource::Path(path) => (
            path.display().to_string(),
            plugin_file::read(path).map(Cow::Owned),
        ),
    };
    read.map_err(|message| PluginError::Read {
        plugin: name.clone(),
        path,
        message,
    })
}

/// A problem with a plan's configuration; `origin` knows where the value at a
/// JSON pointer of a step was written.
pub fn problem(error: PluginError, origin: impl Fn(&StepId, &str) -> Option<String>) -> CliError {
    let place = match &error {
        PluginError::Config { step, pointer, .. } => origin(step, pointer),
        _ => None,
    };
    let error = CliError::from(error);
    match place {
        Some(place) => CliError {
            message: format!("{place}: {}", error.message),
            ..error
        },
        None => error,
    }
}

/// Every problem with the configuration as one error.
pub fn all_problems(
    problems: Vec<PluginError>,
    origin: impl Fn(&StepId, &str) -> Option<String>,
) -> CliError {
    problems
        .into_iter()
        .map(|error| problem(error, &origin))
        .collect::<Option<CliError>>()
        .unwrap_or_else(|| CliError::usage("the configuration is wrong"))
}
