//! The plan's plugins, loaded all at once: bytes from the binary or a file,
//! digest against the pin, code from the cache.

use super::plugin_file;
use crate::error::{OpsError, OpsErrorKind};
use crate::options::{Notice, SessionOptions};
use crate::session::Session;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vdeploy_config::{PluginConfig, PluginSource};
use vdeploy_core::ids::{Digest, PluginName, StepId};
use vdeploy_core::plan::Plan;
use vdeploy_files::Judge;
use vdeploy_run::prepare::Plugins;
use vdeploy_wasm::{CodeCache, Compiler, Engine, Plugin, PluginError, Setup};

/// Loaded plugins and the engine that runs them. Clones share both, so sessions
/// of one process load a plugin once.
#[derive(Clone, Debug, Default)]
pub struct PluginPool(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    engine: Option<Engine>,
    /// Each with the name of its bytes, if they are built in: those cannot
    /// change, so nobody has to read them again.
    loaded: Vec<(Option<String>, Plugin)>,
}

impl PluginPool {
    /// The engine, made on first use.
    ///
    /// # Errors
    /// No thread for its clock.
    pub fn engine(&self, options: &SessionOptions) -> Result<Engine, OpsError> {
        let mut pool = self.lock();
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
        let builtin = builtin_name(config);
        let is_it = |plugin: &Plugin| plugin.name == *name && *plugin.grants == config.grants;
        if builtin.is_some() {
            let pool = self.lock();
            let known = pool.loaded.iter();
            let mut known = known.filter(|(known, _)| known.as_deref() == builtin);
            if let Some((_, plugin)) = known.find(|(_, plugin)| is_it(plugin)) {
                check_pin(name, config, &plugin.description.digest)?;
                return Ok(plugin.clone());
            }
        }
        let bytes = bytes(name, config)?;
        let digest = vdeploy_wasm::digest(&bytes);
        check_pin(name, config, &digest)?;
        let known = |(_, plugin): &&(Option<String>, Plugin)| {
            is_it(plugin) && plugin.description.digest == digest
        };
        if let Some((_, plugin)) = self.lock().loaded.iter().find(known) {
            return Ok(plugin.clone());
        }
        let plugin = Plugin::load(engine, name, &bytes, &config.grants)?;
        let mut pool = self.lock();
        // Its older bytes are not asked for any more.
        pool.loaded.retain(|(_, plugin)| !is_it(plugin));
        pool.loaded
            .push((builtin.map(str::to_owned), plugin.clone()));
        Ok(plugin)
    }

    /// The digest of a plugin's bytes.
    fn digest(&self, name: &PluginName, config: &PluginConfig) -> Result<Digest, PluginError> {
        if let Some(builtin) = builtin_name(config) {
            let pool = self.lock();
            let mut known = pool.loaded.iter();
            if let Some((_, plugin)) = known.find(|(of, _)| of.as_deref() == Some(builtin)) {
                return Ok(plugin.description.digest.clone());
            }
        }
        Ok(vdeploy_wasm::digest(&bytes(name, config)?))
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builtin_name(config: &PluginConfig) -> Option<&str> {
    match &config.source {
        PluginSource::Builtin(builtin) => Some(builtin),
        PluginSource::Path(_) => None,
    }
}

fn check_pin(name: &PluginName, config: &PluginConfig, found: &Digest) -> Result<(), PluginError> {
    match &config.digest {
        Some(pinned) if pinned != found => Err(PluginError::Digest {
            plugin: name.clone(),
            found: found.to_string(),
            pinned: pinned.to_string(),
        }),
        _ => Ok(()),
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
        is_builtin: Some(vdeploy_builtin::is_one),
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
pub async fn plugins(session: &Session, plan: &Plan) -> Result<Plugins, OpsError> {
    let (project, options) = (session.project(), session.options());
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
pub fn digests(session: &Session, plan: &Plan) -> Result<BTreeMap<PluginName, Digest>, OpsError> {
    let (project, pool) = (session.project(), &session.options().plugins);
    let mut digests = BTreeMap::new();
    for name in names(plan) {
        digests.insert(name.clone(), pool.digest(name, project.plugin(name)?)?);
    }
    Ok(digests)
}

/// A plugin's bytes, from the binary or its file.
pub fn bytes(name: &PluginName, config: &PluginConfig) -> Result<Cow<'static, [u8]>, PluginError> {
    let (path, read) = match &config.source {
        PluginSource::Builtin(builtin) => (
            format!("builtin:{builtin}"),
            vdeploy_builtin::bytes(builtin)
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
