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

use anyhow::{Context as _, Result};
use cases::Matrix;
use libtest_mimic::{Arguments, Failed, Trial};
use process::Machine;
use record::{DEPLOYS, Deploy, Recorded};
use std::sync::{Arc, OnceLock};
use vdeploy::config::Project;
use vdeploy::plugin::{CodeCache, Engine, Plugin, Setup, builtin};
use vdeploy::run::prepare::Plugins;
use vdeploy_tests::Base;

/// The cloud and the plugins, for all trials.
struct Stage {
    base: Base,
    machine: Machine,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let shared: Arc<OnceLock<Result<Stage, String>>> = Arc::default();
    let trials = DEPLOYS.map(|deploy| {
        let shared = shared.clone();
        Trial::test(format!("matrix::{}", deploy.name), move || {
            let stage = shared.get_or_init(|| Stage::new().map_err(|e| format!("{e:#}")));
            let stage = stage.as_ref().map_err(|e| Failed::from(e.as_str()))?;
            stage
                .matrix(deploy)
                .map_err(|e| Failed::from(format!("{e:?}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    // `process::exit` would leave the cloud running.
    drop(shared);
    conclusion.exit_code()
}

impl Stage {
    fn new() -> Result<Self> {
        let base = Base::start()?;
        // What the program has compiled is not compiled again.
        let kept = base.cloud_dir();
        let cache = CodeCache::open(&kept.join("plugin-cache"), &kept.join("plugin-key"));
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
        Ok(Self {
            base,
            machine: Machine::new(plugins)?,
        })
    }

    fn matrix(&self, deploy: Deploy) -> Result<()> {
        let recorded = Recorded::make(&self.base, deploy).context("the real run")?;
        Matrix::new(deploy, recorded, self.machine.clone())?.run()
    }
}
