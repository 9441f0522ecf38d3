//! The step `restart`: stops exactly the process that preflight found, starts
//! the new version with its token, and waits until it serves. Its undo stops
//! the new process and nothing else.
//!
//! This plugin must not know how the version was built, nor how it is tested.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use std::time::Duration;

use serde::Deserialize;
use vdeploy_plugin::{Cx, Error, Secret, Step, Undo};
use vdeploy_service::data;
use vdeploy_service::listener::Listener;
use vdeploy_service::node::other_major;
use vdeploy_service::outputs::{Baseline, Built, Pulled, Restarted, RunningMarker};
use vdeploy_service::process;
use vdeploy_service::replace::{Replace, owner, replace, running_marker};
use vdeploy_service::start::{self, Launch, Supervisor};

/// See `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
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
    manager: Manager,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Manager {
    Auto,
    Process,
}

/// The step.
#[derive(Debug)]
pub struct Restart;

impl Step for Restart {
    type Config = Config;
    type Output = Restarted;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        cx.secret(&cx.config().auth_secret).map(drop)
    }

    fn run(cx: &Cx<Config>) -> Result<Restarted, Error> {
        let config = cx.config();
        let before = baseline(cx)?;
        if before.unchanged
            && let Some(service) = before.service
        {
            return Ok(Restarted {
                summary: format!("unchanged: {} keeps running", service.describe()),
                skipped: true,
                service,
                log: before.log,
                ..Restarted::default()
            });
        }
        modules_fit(cx, &before)?;
        let pulled: Option<Pulled> = cx.output_of("git-pull")?;
        let sha = match pulled {
            Some(pulled) => pulled.new_sha,
            // Without a pull it is what is built that starts.
            None => before.built_sha().to_owned(),
        };
        let token = cx.secret(&config.auth_secret)?;
        same_token(cx, &before, &token)?;
        let port = config.port.unwrap_or(before.port);
        let known: Vec<Listener> = before.service.into_iter().collect();
        let replaced = replace(
            cx,
            &Replace {
                launch: Launch {
                    app_dir: config.app_dir.as_deref().unwrap_or(&before.app_dir),
                    command: &config.start,
                    port: Some(port),
                    log: config.log.as_deref().unwrap_or(&before.log),
                    ready_line: &config.ready_line,
                    open_warning: &config.open_warning,
                    timeout: Duration::from_secs(config.ready_timeout),
                    sha: &sha,
                    token: &token,
                    token_env: &config.auth_env,
                    supervisor: Supervisor::None,
                },
                port,
                known: &known,
                foreign: before.foreign.as_ref(),
                unit: before.unit.as_deref(),
                stop_timeout: Duration::from_secs(config.stop_timeout),
                quiet: Duration::from_millis(config.quiet_ms),
                unit_allowed: config.manager == Manager::Auto,
            },
        )?;
        // A second try finds the old process gone; preflight still knows it.
        let old = replaced.old.or_else(|| known.into_iter().next());
        let summary = match (&old, cx.dry_run()) {
            (_, true) => format!("would start {}", config.start),
            (Some(old), _) => format!(
                "pid {} serves port {} in place of pid {}",
                replaced.service.pid, replaced.started.port, old.pid
            ),
            (None, _) => format!(
                "pid {} serves port {}; nothing served it before",
                replaced.service.pid, replaced.started.port
            ),
        };
        Ok(Restarted {
            summary,
            skipped: false,
            service: replaced.service,
            old,
            log: replaced.started.log,
            sha,
            started_at_ms: replaced.started.started_at_ms,
        })
    }
}

impl Undo for Restart {
    /// Stops the new process, so that the build under it can be taken away.
    /// Without an output the marker tells whether this run has started one.
    fn undo(cx: &Cx<Config>, output: Option<Restarted>) -> Result<(), Error> {
        let config = cx.config();
        let Some(before) = undo_baseline(cx)? else {
            return Ok(());
        };
        let port = config.port.unwrap_or(before.port);
        if output.as_ref().is_some_and(|output| output.skipped) {
            return Ok(());
        }
        let timeout = Duration::from_secs(config.stop_timeout);
        let app_dir = config.app_dir.as_deref().unwrap_or(&before.app_dir);
        let marker = running_marker(cx, app_dir)?.filter(|marker| marker.run == cx.run_id());
        let Some(found) = owner(cx, port)? else {
            // It may run and not listen, or no longer.
            return match marker {
                Some(marker) => process::stop(cx, &nameless(&marker), port, timeout).map(drop),
                None => Ok(()),
            };
        };
        let is_new = match &output {
            Some(output) => output.service.is_same_process(&found),
            None => marker.is_some_and(|marker| marker.is_about(&found)),
        };
        if !is_new {
            cx.info(format!(
                "{} has port {port}; this step did not start it",
                found.describe()
            ));
            return Ok(());
        }
        match &found.unit {
            Some(unit) => start::stop_unit(cx, unit),
            None => process::stop(cx, &found, port, timeout).map(drop),
        }
    }
}

/// Refuses to stop a service that has another token: a run that is gone on with
/// may have been given another one than preflight has asked with.
fn same_token(cx: &Cx<Config>, before: &Baseline, token: &Secret) -> Result<(), Error> {
    if before.service.is_none() || before.open || before.new_token || cx.dry_run() {
        return Ok(());
    }
    if !data::refuses(cx, token)? {
        return Ok(());
    }
    Err(Error::invalid(
        "restart.other-token",
        format!(
            "the running service refuses the secret `{}`: it has another token; after the restart no agent could reach it. It was left as it is: give the right token, or begin a run with preflight's `new-token = true`",
            cx.config().auth_secret
        ),
    ))
}

/// Refuses to stop a service that would not start again: its modules were
/// installed for another node, and nothing in this run has installed them anew.
fn modules_fit(cx: &Cx<Config>, before: &Baseline) -> Result<(), Error> {
    if cx.output_of::<Built>("npm-build")?.is_some() {
        return Ok(());
    }
    let Some(built) = &before.built else {
        return Ok(());
    };
    let proven = before.running.as_ref().is_some_and(|running| {
        !running.node.is_empty() && !other_major(&running.node, &before.node)
    });
    if !other_major(&built.node, &before.node) || proven {
        return Ok(());
    }
    let what = format!(
        "the modules of {} were installed with node {}, and the target's node is {} now",
        before.app_dir, built.node, before.node
    );
    let unit = before.service.as_ref().and_then(|old| old.unit.as_ref());
    if let Some(unit) = unit.or(before.unit.as_ref()) {
        cx.warn(format!("{what}; {unit} may start another one"));
        return Ok(());
    }
    Err(Error::failed(
        "restart.other-node",
        format!(
            "{what}: what they have of native code would not load. The service was left as it is; run the plan `default`, which installs them anew"
        ),
    ))
}

/// A process that is known by its marker only.
fn nameless(marker: &RunningMarker) -> Listener {
    Listener {
        pid: marker.pid,
        start_ticks: marker.start_ticks,
        argv: vec!["the process that this run has started".to_owned()],
        ..Listener::default()
    }
}

fn baseline(cx: &Cx<Config>) -> Result<Baseline, Error> {
    let before: Option<Baseline> = cx.output_of("preflight")?;
    before.ok_or_else(|| {
        Error::invalid(
            "restart.no-baseline",
            "there is no output of a step `preflight`, so the process to stop is not known; put it before this step",
        )
    })
}

/// In a rollback of an earlier run its outputs are the ones that count.
fn undo_baseline(cx: &Cx<Config>) -> Result<Option<Baseline>, Error> {
    match cx.rolled_back_output_of("preflight")? {
        Some(before) => Ok(Some(before)),
        None => cx.output_of("preflight"),
    }
}

vdeploy_plugin::register_undoable_step!(Restart);

#[cfg(test)]
mod tests;
