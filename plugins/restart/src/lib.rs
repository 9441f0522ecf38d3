//! The step `restart`: stops exactly the process that preflight found, starts
//! the new version with its token, and waits until it serves. Its undo stops
//! only the new process.
//!
//! This plugin must not know how the version was built or how it is tested.

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
                summary: format!("unchanged: {} still runs", service.describe()),
                skipped: true,
                service,
                log: before.log,
                ..Restarted::default()
            });
        }
        modules_load(cx, &before)?;
        let pulled: Option<Pulled> = cx.output_of("git-pull")?;
        let sha = match pulled {
            Some(pulled) => pulled.new_sha,
            // Without a pull the live build starts.
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
        // A second try finds no old process; preflight recorded it.
        let old = replaced.old.or_else(|| known.into_iter().next());
        let summary = match (&old, cx.dry_run()) {
            (_, true) => format!("would start {}", config.start),
            (Some(old), _) => format!(
                "pid {} serves port {} in place of pid {}",
                replaced.service.pid, replaced.started.port, old.pid
            ),
            (None, _) => format!(
                "pid {} serves port {}; nothing did before",
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
    /// Stops the new process, so that the old build can be restored. Without an
    /// output the marker tells whether this run started a process.
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
            // It may run without listening.
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
                "{} listens on port {port}; this step did not start it",
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

/// Refuses to stop a service that has another token: a resumed run may have
/// another token than its preflight.
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
            "the running service rejects the secret `{}`: it has another token; after the restart every agent would be locked out. The service was not touched: give the right token, or start a run with `new-token = true` for preflight",
            cx.config().auth_secret
        ),
    ))
}

/// Refuses to stop a service that would not start again: its modules were
/// installed for another node, and this run did not install them again.
fn modules_load(cx: &Cx<Config>, before: &Baseline) -> Result<(), Error> {
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
        "the modules of {} were installed with node {}, and node is {} now",
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
            "{what}: modules with native code would not load. The service was not touched; run the plan `default`, which installs them again"
        ),
    ))
}

/// A process known only from its marker.
fn nameless(marker: &RunningMarker) -> Listener {
    Listener {
        pid: marker.pid,
        start_ticks: marker.start_ticks,
        argv: vec!["the process that this run started".to_owned()],
        ..Listener::default()
    }
}

fn baseline(cx: &Cx<Config>) -> Result<Baseline, Error> {
    let before: Option<Baseline> = cx.output_of("preflight")?;
    before.ok_or_else(|| {
        Error::invalid(
            "restart.no-baseline",
            "there is no output of a step `preflight`, so the process to stop is unknown; add it before this step",
        )
    })
}

/// A rollback of an earlier run uses the outputs of that run.
fn undo_baseline(cx: &Cx<Config>) -> Result<Option<Baseline>, Error> {
    match cx.rolled_back_output_of("preflight")? {
        Some(before) => Ok(Some(before)),
        None => cx.output_of("preflight"),
    }
}

vdeploy_plugin::register_undoable_step!(Restart);

#[cfg(test)]
mod tests;
