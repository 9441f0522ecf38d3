//! The whole crash matrix of the plan `default` with its own built-in plugins.
//!
//! Three real runs are made on the local cloud by the built program and
//! exported: a good app, a bad one that goes back by git, a bad one that goes
//! back by its snapshot. Each recording becomes a target that does again, at
//! once, what the real one did (`target`). On it the run is killed before and
//! after every single write of its journal, gone on with, and killed again
//! right there. The recordings are of this build: there is no file that could
//! be older than a plugin.
//!
//! Killed means here that the journal takes nothing more from the process, and
//! that it gives nothing back: all that happens after a kill is what other
//! processes do. The kills with a signal are in `e2e/crashes.rs`.

mod cases;
mod lease;
mod process;
mod reach;
mod record;
mod script;
mod target;

use crate::shared::Shared;
use crate::trial::Trial;
use anyhow::{Context as _, Result};
use cases::{Kills, Matrix};
use process::Machine;
use record::{DEPLOYS, Deploy, Recorded};
use vdeploy::config::Project;
use vdeploy::plugin::{CodeCache, Engine, Plugin, Setup, builtin};
use vdeploy::run::prepare::Plugins;
use vdeploy_tests::{Base, kept};

pub fn trials(cloud: &Shared<Base>) -> Vec<Trial> {
    let kills = [
        ("", Kills::Once),
        ("::killed_twice_everywhere", Kills::Twice),
    ];
    let all = DEPLOYS
        .into_iter()
        .flat_map(|deploy| kills.map(|kills| (deploy, kills)));
    let trial = |(deploy, (name, kills)): (Deploy, (&str, Kills))| {
        let cloud = cloud.clone();
        Trial::new(format!("matrix::{}{name}", deploy.name), move || {
            let recorded = Recorded::make(cloud.get()?, deploy).context("the real run")?;
            Matrix::new(deploy, recorded, machine()?)?.run(kills)
        })
    };
    all.map(trial).collect()
}

/// A machine with the built-in plugins. What the program has compiled is not
/// compiled again.
fn machine() -> Result<Machine> {
    let [(_, dir), (_, key)] = kept::plugins()?;
    let cache = CodeCache::open(&dir, &key);
    let engine = Engine::new(Setup {
        cache: Some(cache.map_err(anyhow::Error::msg)?),
        ..Setup::default()
    })?;
    let project = Project::builtin()?;
    let mut plugins = Plugins::new();
    for step in project.plan(&"default".into())?.all_steps() {
        let name = &step.plugin;
        let bytes = builtin::bytes(name.as_str()).with_context(|| format!("no {name}"))?;
        let grants = &project.plugin(name)?.grants;
        plugins.insert(name.clone(), Plugin::load(&engine, name, bytes, grants)?);
    }
    Machine::new(plugins)
}
