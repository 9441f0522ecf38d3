//! The whole crash matrix of the plan `default` with its own built-in plugins.
//!
//! Three real runs are made on the local cloud by the built program and
//! exported: a good app, a bad one that goes back by git, a bad one that goes
//! back by its snapshot. Each recording becomes a target that does again, at
//! once, what the real one did (`target`). On it the run is killed before and
//! after every single write of its journal, resumed, and killed again
//! right there. The recordings are of this build: there is no file that could
//! be older than a plugin.
//!
//! Each process is a session of `vdeploy_ops` with the test's store and world.
//! Killed means here that its journal takes nothing more, that it reaches
//! nothing more, and that its future is dropped: all that happens after a kill
//! is what other processes do. The kills with a signal are in `e2e/crashes.rs`.

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
use record::{DEPLOYS, Recorded, Scenario};
use vdeploy_ops::prepare::plugins::PluginPool;
use vdeploy_ops::{Actor, Session, SessionOptions};
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::{Base, kept};

pub fn trials(cloud: &Shared<Base>) -> Vec<Trial> {
    let kills = [
        ("", Kills::Once),
        ("::killed_twice_everywhere", Kills::Twice),
    ];
    let all = DEPLOYS
        .into_iter()
        .flat_map(|deploy| kills.map(|kills| (deploy, kills)));
    let plugins = PluginPool::default();
    let trial = |(deploy, (name, kills)): (Scenario, (&str, Kills))| {
        let (cloud, plugins) = (cloud.clone(), plugins.clone());
        Trial::new(format!("matrix::{}{name}", deploy.name), move || {
            let recorded = Recorded::make(cloud.get()?, deploy).context("the real run")?;
            let session = session(&recorded, plugins.clone())?;
            Matrix::new(deploy, recorded, session).run(kills)
        })
    };
    all.map(trial).collect()
}

/// What every process has in common; a store and a world are added for each.
fn session(recorded: &Recorded, plugins: PluginPool) -> Result<Session> {
    // What the program has compiled is not compiled again.
    let [(_, cache), (_, key)] = kept::plugins()?;
    let options = SessionOptions {
        code_cache: Some(cache),
        code_cache_key: Some(key),
        environment: [("VERS_AUTH_TOKEN", TOKEN)].into_iter().collect(),
        // No process of this machine: its lease has to expire.
        actor: Actor::named("the matrix"),
        plugins,
        ..SessionOptions::new("/", "/nonexistent")
    };
    Ok(Session::with_project(options, recorded.project.clone()))
}
