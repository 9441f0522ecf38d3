//! The step `rollback`: makes the old version live again, or removes the new one
//! if there was no old version. It may run after the undos of the steps, after
//! half of them, or without any: it checks the target and does what is missing.
//!
//! This plugin must not know why the run failed.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod evidence;
mod first_deploy;
mod in_place;
mod plugin_snapshot;
mod snapshot;

use std::time::Duration;

use serde::Deserialize;
use vdeploy_plugin::{Cx, Error, ErrorKind, Secret, Step};
use vdeploy_service::build::Recipe;
use vdeploy_service::data;
use vdeploy_service::facts::{self, Location};
use vdeploy_service::listener::Listener;
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::outputs::{Baseline, Built, Pulled, Restarted, SnapshotTaken};
use vdeploy_service::replace::running_marker;
use vdeploy_service::start::{Launch, Supervisor};

/// See `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    to: To,
    app_dir: Option<String>,
    port: Option<u16>,
    log: Option<String>,
    start: String,
    ready_line: String,
    open_warning: String,
    auth_secret: String,
    auth_env: String,
    ready_timeout: u64,
    stop_timeout: u64,
    quiet_ms: u64,
    new_token: bool,
    #[serde(flatten)]
    recipe: Recipe,
    memory_timeout: u64,
    old_vm: OldVm,
    evidence: bool,
    agent: String,
    tags: Vec<String>,
    role: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum To {
    InPlace,
    Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OldVm {
    Pause,
    Keep,
}

#[derive(Debug)]
pub struct Rollback;

impl Step for Rollback {
    type Config = Config;
    type Output = RolledBack;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        cx.config().recipe.validate()?;
        let token = cx.secret(&cx.config().auth_secret)?;
        same_token(cx, &token)
    }

    fn run(cx: &Cx<Config>) -> Result<RolledBack, Error> {
        let undone = UndoneRun::read(cx)?;
        match cx.config().to {
            To::Snapshot => match plugin_snapshot::files_restored(cx, &undone)? {
                Some(files) => plugin_snapshot::roll_back(cx, &undone, &files),
                None => snapshot::roll_back(cx, &undone),
            },
            To::InPlace if undone.before.first_deploy => first_deploy::remove(cx, &undone),
            To::InPlace => in_place::roll_back(cx, &undone),
        }
    }
}

/// The run that is rolled back, from the outputs of its steps.
#[derive(Debug, Clone)]
struct UndoneRun {
    run: String,
    before: Baseline,
    snapshot: SnapshotTaken,
    pulled: Pulled,
    restarted: Restarted,
}

impl UndoneRun {
    fn read(cx: &Cx<Config>) -> Result<Self, Error> {
        let before: Option<Baseline> = cx.rolled_back_output_of("preflight")?;
        let mut before = before.ok_or_else(|| {
            Error::invalid(
                "rollback.no-baseline",
                "the run that is rolled back has no output of a step `preflight`, so its baseline is unknown; nothing was changed",
            )
        })?;
        let config = cx.config();
        if let Some(app_dir) = &config.app_dir {
            before.app_dir.clone_from(app_dir);
        }
        if let Some(log) = &config.log {
            before.log.clone_from(log);
        }
        before.port = config.port.unwrap_or(before.port);
        let pulled: Pulled = cx.rolled_back_output_of("git-pull")?.unwrap_or_default();
        let built: Built = cx.rolled_back_output_of("npm-build")?.unwrap_or_default();
        let run = [&pulled.run, &built.run]
            .into_iter()
            .find(|run| !run.is_empty())
            .cloned()
            .unwrap_or_else(|| cx.run_id());
        Ok(Self {
            run,
            before,
            snapshot: cx.rolled_back_output_of("snapshot")?.unwrap_or_default(),
            pulled,
            restarted: cx.rolled_back_output_of("restart")?.unwrap_or_default(),
        })
    }

    /// With the location on the current VM: a restored VM can have another home
    /// directory and another port.
    fn relocated(&self, cx: &Cx<Config>) -> Result<Self, Error> {
        let config = cx.config();
        let given = self.before.given.clone().unwrap_or_else(|| Location {
            app_dir: self.before.app_dir.clone(),
            port: Some(self.before.port).filter(|port| *port != 0),
            log: self.before.log.clone(),
        });
        let facts = facts::read(
            cx,
            &Location {
                app_dir: config.app_dir.clone().unwrap_or(given.app_dir),
                port: config.port.or(given.port),
                log: config.log.clone().unwrap_or(given.log),
            },
        )?;
        let mut there = self.clone();
        if let Some(app_dir) = facts.app_dir {
            there.before.app_dir = app_dir;
        }
        there.before.port = facts.port;
        there.before.log = facts.log;
        Ok(there)
    }

    /// Whether this run started the process.
    fn started(&self, cx: &Cx<Config>, found: &Listener) -> Result<bool, Error> {
        if !self.restarted.skipped && self.restarted.service.is_same_process(found) {
            return Ok(true);
        }
        let marker = running_marker(cx, &self.before.app_dir)?;
        Ok(marker.is_some_and(|marker| {
            marker.is_about(found) && marker.run == self.run && marker.sha != self.before.sha
        }))
    }

    fn launch<'a>(&'a self, config: &'a Config, token: &'a Secret) -> Launch<'a> {
        Launch {
            app_dir: &self.before.app_dir,
            command: &config.start,
            port: Some(self.before.port),
            log: &self.before.log,
            ready_line: &config.ready_line,
            open_warning: &config.open_warning,
            timeout: Duration::from_secs(config.ready_timeout),
            sha: &self.before.sha,
            token,
            token_env: &config.auth_env,
            supervisor: Supervisor::None,
        }
    }
}

/// Refuses a rollback on request with another token than the service has. The
/// preflight of a failed run checked the token, so its rollback continues.
fn same_token(cx: &Cx<Config>, token: &Secret) -> Result<(), Error> {
    let own: Option<Baseline> = cx.output_of("preflight")?;
    let other: Option<Baseline> = cx.rolled_back_output_of("preflight")?;
    let on_request = own.is_none() && other.is_some();
    if !on_request || cx.config().new_token || !data::refuses(cx, token)? {
        return Ok(());
    }
    Err(Error::invalid(
        "rollback.other-token",
        format!(
            "the running service rejects the secret `{}`: it has another token, or rejects all; nothing was changed. Give the token of the service. If the broken version rejects every token, or the old version shall have this one, continue with `--set rollback.new-token=true`: after that every agent needs this token",
            cx.config().auth_secret
        ),
    ))
}

/// Turns an error into a warning, unless the run is being stopped.
fn warn(cx: &Cx<Config>, what: &str, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
        Err(error) => {
            cx.warn(format!("{what}: {error}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

vdeploy_plugin::register_step!(Rollback);

#[cfg(test)]
mod tests;
