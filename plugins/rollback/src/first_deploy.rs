//! A first deploy has no old version: what it started is taken away.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::process;
use vdeploy_service::replace::owner;
use vdeploy_service::start::stop_unit;

use crate::{Config, FailedRun};

pub(crate) fn remove(cx: &Cx<Config>, failed: &FailedRun) -> Result<RolledBack, Error> {
    let port = failed.before.port;
    let stopped = match owner(cx, port)? {
        None => "nothing runs".to_owned(),
        Some(found) if failed.started(cx, &found)? => {
            match &found.unit {
                Some(unit) => stop_unit(cx, unit)?,
                None => {
                    let timeout = Duration::from_secs(cx.config().stop_timeout);
                    process::stop(cx, &found, port, timeout)?;
                }
            }
            format!("{} was stopped", found.describe())
        }
        Some(found) => {
            cx.warn(format!(
                "{} has port {port}; it is not ours and was left alone",
                found.describe()
            ));
            "nothing of ours runs".to_owned()
        }
    };
    Ok(RolledBack {
        summary: format!(
            "it was the first deploy, so there is no old version to bring back; {stopped}"
        ),
        to: "in-place".to_owned(),
        no_live_version: true,
        port,
        log: failed.before.log.clone(),
        ..RolledBack::default()
    })
}
