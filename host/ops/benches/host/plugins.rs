//! The built-in plugins, loaded as a run loads them.

use anyhow::{Context as _, Result};
use std::path::Path;
use vdeploy_config::Project;
use vdeploy_core::ids::PluginName;
use vdeploy_wasm::{CodeCache, Engine, Plugin, Setup};

/// An engine that keeps its code in `cache`.
pub fn engine(cache: &Path) -> Result<Engine> {
    let cache = CodeCache::open(cache, &cache.join("key")).map_err(anyhow::Error::msg)?;
    Ok(Engine::new(Setup {
        cache: Some(cache),
        ..Setup::default()
    })?)
}

/// Every built-in plugin with the grants of the built-in project.
pub fn builtin_plugins(cache: &Path, project: &Project) -> Result<(Engine, Vec<Plugin>)> {
    let engine = engine(cache)?;
    let mut plugins = Vec::new();
    for name in vdeploy_builtin::names() {
        plugins.push(builtin_plugin(&engine, project, name)?);
    }
    Ok((engine, plugins))
}

/// One built-in plugin with the grants of the built-in project.
pub fn builtin_plugin(engine: &Engine, project: &Project, name: &str) -> Result<Plugin> {
    let bytes =
        vdeploy_builtin::bytes(name).with_context(|| format!("no built-in plugin `{name}`"))?;
    let name = PluginName::from(name);
    let grants = &project.plugin(&name)?.grants;
    Ok(Plugin::load(engine, &name, bytes, grants)?)
}
