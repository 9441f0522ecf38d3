//! The plan's plugins, loaded all at once: bytes from the binary or a file,
//! digest against the pin, code from the cache.

use super::error::CliError;
use super::exit::ExitCode;
use crate::config::{PluginConfig, PluginSource, Project};
use crate::ids::{Digest, PluginName};
use crate::plan::Plan;
use crate::plugin::{self, Engine, Plugin, PluginError, builtin};
use crate::run::prepare::Plugins;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The engine, with compiled plugins kept in the state directory (or where
/// `VDEPLOY_CACHE` says).
pub fn engine(state_dir: &Path) -> Result<Engine, CliError> {
    let dir =
        std::env::var_os("VDEPLOY_CACHE").map_or_else(|| state_dir.join("compiled"), Into::into);
    // wasmtime wants an absolute directory.
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    Ok(Engine::new(Some(&dir))?)
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
            std::fs::read(path)
                .map(Cow::Owned)
                .map_err(|e| e.to_string()),
        ),
    };
    read.map_err(|message| PluginError::Read {
        plugin: name.clone(),
        path,
        message,
    })
}

/// Every problem with the configuration as one error.
pub fn all_problems(problems: Vec<PluginError>) -> CliError {
    problems
        .into_iter()
        .map(CliError::from)
        .collect::<Option<CliError>>()
        .unwrap_or_else(|| CliError::usage("the configuration is wrong"))
}
