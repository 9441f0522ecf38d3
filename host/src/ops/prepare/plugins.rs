//! The plan's plugins, loaded all at once: bytes from the binary or a file,
//! digest against the pin, code from the cache.

use super::plugin_file;
use crate::config::{PluginConfig, PluginSource, Project};
use crate::ids::{Digest, PluginName, StepId};
use crate::ops::error::{OpsError, OpsErrorKind};
use crate::ops::options::{Notice, SessionOptions};
use crate::ownership::Judge;
use crate::plan::Plan;
use crate::plugin::{self, CodeCache, Compiler, Engine, Plugin, PluginError, Setup, builtin};
use crate::run::prepare::Plugins;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Loaded plugins and the engine that runs them. Clones share both, so sessions
/// of one process load a plugin once.
#[derive(Clone, Debug, Default)]
pub struct PluginPool(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    engine: Option<Engine>,
    loaded: Vec<Plugin>,
}

impl PluginPool {
    /// The engine, made on first use.
    ///
    /// # Errors
    /// No thread for its clock.
    pub fn engine(&self, options: &SessionOptions) -> Result<Engine, OpsError> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &pool.engine {
            return Ok(engine.clone());
        }
        let engine = engine(options)?;
        pool.engine = Some(engine.clone());
        Ok(engine)
    }

    fn load(
        &self,
        engine: &Engine,
        name: &PluginName,
        config: &PluginConfig,
    ) -> Result<Plugin, PluginError> {
        let bytes = bytes(name, config)?;
        let digest = plugin::digest(&bytes);
        if let Some(pinned) = config.digest.as_ref().filter(|pinned| **pinned != digest) {
            return Err(PluginError::Digest {
                plugin: name.clone(),
                found: digest.to_string(),
                pinned: pinned.to_string(),
            });
        }
        let is_it = |plugin: &&Plugin| {
            plugin.name == *name
                && plugin.description.digest == digest
                && *plugin.grants == config.grants
        };
        let pool = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = pool().loaded.iter().find(is_it) {
            return Ok(plugin.clone());
        }
        let plugin = Plugin::load(engine, name, &bytes, &config.grants)?;
        let mut pool = pool();
        // Its older bytes are not asked for any more.
        pool.loaded
            .retain(|old| old.name != *name || *old.grants != config.grants);
        pool.loaded.push(plugin.clone());
        Ok(plugin)
    }
}

/// Compiled code runs outside the sandbox, so a cache that somebody else owns or
/// can write is left alone; that costs time and nothing else.
fn engine(options: &SessionOptions) -> Result<Engine, OpsError> {
    let path = |given: &Option<PathBuf>, name: &str| {
        let path = given
            .clone()
            .unwrap_or_else(|| options.state_dir.join(name));
        options.current_dir.join(path)
    };
    let dir = path(&options.code_cache, "compiled");
    let key = path(&options.code_cache_key, "compile-key");
    let cache = cache(&dir, &key)
        .inspect_err(|why| (options.on_notice)(Notice::CacheUnused(why.clone())))
        .ok();
    let on_notice = options.on_notice.clone();
    Ok(Engine::new(Setup {
        is_builtin: Some(builtin::is_one),
        cache,
        compiler: options.helper.clone().map(Compiler::new),
        on_compile: Some(Box::new(move |plugin, builtin| {
            let plugin = plugin.clone();
            on_notice(Notice::Compiling { plugin, builtin });
        })),
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
///
/// # Errors
/// Every plugin that cannot be loaded.
pub async fn plugins(
    options: &SessionOptions,
    project: &Project,
    plan: &Plan,
) -> Result<Plugins, OpsError> {
    let engine = options.plugins.engine(options)?;
    let mut loading = Vec::new();
    for name in names(plan) {
        let config = project.plugin(name)?.clone();
        let (pool, engine, name) = (options.plugins.clone(), engine.clone(), name.clone());
        loading.push(tokio::task::spawn_blocking(move || {
            pool.load(&engine, &name, &config)
                .map(|plugin| (name, plugin))
        }));
    }
    let mut plugins = Plugins::new();
    let mut problems = Vec::new();
    for task in loading {
        match task.await {
            Ok(Ok((name, plugin))) => {
                plugins.insert(name, plugin);
            }
            Ok(Err(error)) => problems.push(OpsError::from(error)),
            Err(error) => {
                let message = format!("loading: {error}");
                problems.push(OpsError::new(OpsErrorKind::Internal, message));
            }
        }
    }
    match problems.into_iter().collect::<Option<OpsError>>() {
        Some(error) => Err(error),
        None => Ok(plugins),
    }
}

fn names(plan: &Plan) -> BTreeSet<&PluginName> {
    plan.all_steps().map(|step| &step.plugin).collect()
}

/// Digests of the bytes of the plan's plugins; nothing else of them is looked at.
pub fn digests(project: &Project, plan: &Plan) -> Result<BTreeMap<PluginName, Digest>, OpsError> {
    let mut digests = BTreeMap::new();
    for name in names(plan) {
        let bytes = bytes(name, project.plugin(name)?)?;
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
pub fn problem(error: PluginError, origin: impl Fn(&StepId, &str) -> Option<String>) -> OpsError {
    let place = match &error {
        PluginError::Config { step, pointer, .. } => origin(step, pointer),
        _ => None,
    };
    let error = OpsError::from(error);
    match place {
        Some(place) => OpsError {
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
) -> OpsError {
    problems
        .into_iter()
        .map(|error| problem(error, &origin))
        .collect::<Option<OpsError>>()
        .unwrap_or_else(|| OpsError::usage("the configuration is wrong"))
}
