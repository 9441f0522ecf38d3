//! A first deploy has no old version: the rollback stops what it started.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::process;
use vdeploy_service::replace::owner;
use vdeploy_service::start::stop_unit;

use crate::{Config, UndoneRun};

pub(crate) fn remove(cx: &Cx<Config>, undone: &UndoneRun) -> Result<RolledBack, Error> {
    let port = undone.before.port;
    let stopped = match owner(cx, port)? {
        None => "nothing runs".to_owned(),
        Some(found) if undone.started(cx, &found)? => {
            match &found.unit {
                Some(unit) => stop_unit(cx, unit)?,
                None => {
                    let timeout = Duration::from_secs(cx.config().stop_timeout);
                    process::stop(cx, &found, port, timeout)?;
                }
            }
            match cx.dry_run() {
                true => format!("would stop {}", found.describe()),
                false => format!("stopped {}", found.describe()),
            }
        }
        Some(found) => {
            cx.warn(format!(
                "{} listens on port {port}; run {} did not start it, so it was not stopped",
                found.describe(),
                undone.run
            ));
            format!(
                "{} still listens on port {port}: this run did not start it",
                found.describe()
            )
        }
    };
    Ok(RolledBack {
        summary: format!(
            "it was the first deploy, so there is no old version to bring back; {stopped}"
        ),
        to: "in-place".to_owned(),
        no_live_version: true,
        port,
        log: undone.before.log.clone(),
        ..RolledBack::default()
    })
}
