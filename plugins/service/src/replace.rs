//! Replaces the process of the service: stops exactly the known process, starts
//! the new one, and checks which one then listens on the port.
//!
//! This module must not know which of the two is the newer version.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::listener::{self, Listener, Port};
use crate::outputs::{RUNNING_MARKER, RunningMarker};
use crate::process::{self, Ended};
use crate::start::{self, Launch, Started, Supervisor};

#[derive(Debug, Clone)]
pub struct Replace<'a> {
    /// The new process. Its supervisor is that of the found process.
    pub launch: Launch<'a>,
    pub port: u16,
    /// The processes that may be stopped. Any other one on the port is foreign.
    pub known: &'a [Listener],
    /// A foreign process that the configuration allows to terminate.
    pub foreign: Option<&'a Listener>,
    /// The unit of the service, when nobody listens and no process is known.
    pub unit: Option<&'a str>,
    /// From TERM to KILL.
    pub stop_timeout: Duration,
    /// Pause between the last write of the run and TERM.
    pub quiet: Duration,
    /// Whether vdeploy may restart a systemd unit.
    pub unit_allowed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The new process.
    pub service: Listener,
    /// The stopped process.
    pub old: Option<Listener>,
    pub started: Started,
}

/// Stops the known process on the port, if any, and starts the new one. A second
/// call in one run adopts the process that the first one started.
///
/// # Errors
/// `restart.foreign-process`, `restart.managed`, `restart.wrong-process`, and
/// those of [`process::stop`] and [`start::start`].
pub fn replace<C>(cx: &Cx<C>, replace: &Replace<'_>) -> Result<Replaced, Error> {
    let mut found = owner(cx, replace.port)?;
    if let (Some(process), Some(foreign)) = (&found, replace.foreign)
        && foreign.is_same_process(process)
    {
        end_foreign(cx, process, replace)?;
        found = None;
    }
    let mut launch = replace.launch.clone();
    let unit = unit_of(found.as_ref(), replace.known, replace.unit);
    if let Some(unit) = &unit {
        if !replace.unit_allowed {
            return Err(Error::failed(
                "restart.managed",
                format!(
                    "the systemd unit {unit} runs the process; set `manager` to `auto`, or disable the unit"
                ),
            ));
        }
        launch.supervisor = Supervisor::Unit(unit);
    }
    let mut old = None;
    if let Some(found) = &found {
        if is_known(found, replace.known) {
            // The service flushes writes after up to 100 ms and reports
            // nothing, so there is no event to wait for.
            cx.sleep(replace.quiet);
            if unit.is_none() {
                stop(cx, found, replace)?;
            }
            old = Some(found.clone());
        } else if !started_by_this_run(cx, launch.app_dir, found)? {
            return Err(foreign(found, replace));
        }
    }
    let started =
        start::start(cx, &launch).or_else(|error| name_holder(cx, error, replace.port))?;
    if cx.dry_run() {
        return Ok(Replaced {
            started,
            old,
            ..Replaced::default()
        });
    }
    match owner(cx, started.port)? {
        Some(service)
            if service.pid == started.pid && service.start_ticks == started.start_ticks =>
        {
            Ok(Replaced {
                service,
                old,
                started,
            })
        }
        other => Err(Error::failed(
            "restart.wrong-process",
            format!(
                "pid {} listened on port {}, and now {} does",
                started.pid,
                started.port,
                other.map_or("nobody".to_owned(), |other| other.describe())
            ),
        )
        .maybe_applied()),
    }
}

/// A unit may have restarted its process since preflight.
fn is_known(found: &Listener, known: &[Listener]) -> bool {
    known.iter().any(|known| {
        known.is_same_process(found) || (known.unit.is_some() && known.unit == found.unit)
    })
}

/// The process on the port.
///
/// # Errors
/// Those of [`listener::find`], and `restart.hidden-process` when the login user
/// cannot inspect the process.
pub fn owner<C>(cx: &Cx<C>, port: u16) -> Result<Option<Listener>, Error> {
    match listener::find(cx, port)? {
        Port::Free => Ok(None),
        Port::Owned(listener) => Ok(Some(listener)),
        Port::Hidden { uid } => Err(Error::failed(
            "restart.hidden-process",
            format!(
                "port {port} belongs to a process of user id {uid} that the login user cannot inspect; log in as that user or as root"
            ),
        )),
    }
}

fn stop<C>(cx: &Cx<C>, found: &Listener, replace: &Replace<'_>) -> Result<(), Error> {
    let ended = process::stop(cx, found, replace.port, replace.stop_timeout)?;
    if ended == Ended::Killed {
        cx.warn(format!(
            "{} did not end within {} s of TERM and was killed",
            found.describe(),
            replace.stop_timeout.as_secs()
        ));
    }
    Ok(())
}

/// The unit of the service: of the process on the port, of the known process, or
/// of the checkout.
fn unit_of(found: Option<&Listener>, known: &[Listener], here: Option<&str>) -> Option<String> {
    match (found, known) {
        (Some(found), _) => found.unit.clone(),
        (None, []) => here.map(str::to_owned),
        (None, known) => known.iter().find_map(|known| known.unit.clone()),
    }
}

/// Adds the process that holds the port to a `restart.port-taken` error.
fn name_holder<C>(cx: &Cx<C>, error: Error, port: u16) -> Result<Started, Error> {
    if error.code != "restart.port-taken" {
        return Err(error);
    }
    let holder = match listener::find(cx, port) {
        Ok(Port::Owned(holder)) => holder.describe_fully(),
        Ok(Port::Hidden { uid }) => format!("a process of user id {uid}"),
        // It released the port, or the target does not answer.
        Ok(Port::Free) | Err(_) => return Err(error),
    };
    let message = format!("{}; the port belongs to {holder}", error.message);
    Err(Error { message, ..error })
}

/// Terminates a foreign process that the configuration allows to terminate.
fn end_foreign<C>(cx: &Cx<C>, foreign: &Listener, replace: &Replace<'_>) -> Result<(), Error> {
    cx.warn(format!(
        "terminating the foreign process on port {}, as `foreign-process = \"end\"` allows: {}",
        replace.port,
        foreign.describe_fully()
    ));
    match &foreign.unit {
        Some(unit) => start::stop_unit(cx, unit),
        None => stop(cx, foreign, replace),
    }
}

/// None also for a marker that cannot be read.
///
/// # Errors
/// Those of a probe.
pub fn running_marker<C>(cx: &Cx<C>, app_dir: &str) -> Result<Option<RunningMarker>, Error> {
    let output = cx
        .ssh("cat")
        .arg(format!("{app_dir}/{RUNNING_MARKER}"))
        .probe()?;
    Ok(output
        .ok()
        .then(|| serde_json::from_slice(&output.stdout).ok())
        .flatten())
}

/// Whether an earlier try of this run started this process.
fn started_by_this_run<C>(cx: &Cx<C>, app_dir: &str, found: &Listener) -> Result<bool, Error> {
    let marker = running_marker(cx, app_dir)?;
    Ok(marker.is_some_and(|marker| marker.run == cx.run_id() && marker.is_about(found)))
}

fn foreign(found: &Listener, replace: &Replace<'_>) -> Error {
    let known = match replace.known {
        [] => "nobody listened at preflight".to_owned(),
        known => {
            let known: Vec<String> = known.iter().map(Listener::describe).collect();
            format!("the service is {}", known.join(" and "))
        }
    };
    Error::failed(
        "restart.foreign-process",
        format!(
            "port {} belongs to {}, which is not the service ({known}); it was not touched: terminate it yourself, or set another `port`",
            replace.port,
            found.describe_fully(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, unit: Option<&str>) -> Listener {
        Listener {
            pid,
            start_ticks: 5,
            unit: unit.map(str::to_owned),
            ..Listener::default()
        }
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_or_by_its_unit() {
        let bare = [process(7, None)];
        assert!(is_known(&process(7, None), &bare));
        assert!(!is_known(&process(8, None), &bare));
        let kept = [process(7, Some("a.service"))];
        assert!(is_known(&process(8, Some("a.service")), &kept));
        assert!(!is_known(&process(8, Some("b.service")), &kept));
    }

    #[test]
    fn the_unit_is_that_of_the_process_or_of_its_predecessor() {
        let kept = [process(7, Some("a.service"))];
        assert_eq!(unit_of(None, &kept, None).as_deref(), Some("a.service"));
        assert_eq!(unit_of(Some(&process(8, None)), &kept, None), None);
    }

    #[test]
    fn a_unit_of_the_checkout_counts_when_nobody_listened() {
        let unit = Some("a.service");
        assert_eq!(unit_of(None, &[], unit).as_deref(), unit);
        assert_eq!(unit_of(None, &[process(7, None)], unit), None);
        assert_eq!(unit_of(Some(&process(7, None)), &[], unit), None);
    }
}
