//! The Vers API and the VM's state there.

use super::checkup::{Checkup, split_fix};
use crate::cli::exit::ExitCode;
use crate::cli::world::Route;
use crate::ids::VmId;
use crate::vers::{VersClient, VersError, VmState};
use std::time::{Duration, Instant};

const API: &str = "Vers API";
const VM: &str = "VM";
/// How long the platform may think about a question.
const PATIENCE: Duration = Duration::from_secs(15);
/// A slower answer is worth a word.
const SLOW: Duration = Duration::from_secs(3);

/// Asks for the VM's state: that takes the network, the key and the VM.
pub async fn look(route: &Route, vm: &VmId, up: &mut Checkup) -> Option<()> {
    let mut config = route.vers.clone();
    config.call_timeout = PATIENCE;
    let client = match VersClient::new(&config) {
        Ok(client) => client,
        Err(error) => {
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            up.fail(API, ExitCode::Usage, detail, fix);
            return None;
        }
    };
    let began = Instant::now();
    match client.status(vm).await {
        Ok(found) => {
            answered(&config.base_url, began.elapsed(), up);
            state(vm, &found.state, up)
        }
        Err(error @ (VersError::NotYours { .. } | VersError::NotFound { .. })) => {
            answered(&config.base_url, began.elapsed(), up);
            let moved = match *vm == route.vm {
                true => String::new(),
                false => format!(" (the target moved there from {})", route.vm),
            };
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            up.fail(VM, ExitCode::Unreachable, format!("{detail}{moved}"), fix);
            None
        }
        Err(error) => {
            let (detail, fix) = refusal(&error);
            up.fail(API, ExitCode::Unreachable, detail, fix);
            None
        }
    }
}

fn answered(root: &str, took: Duration, up: &mut Checkup) {
    let took_ms = took.as_millis();
    match took > SLOW {
        true => up.warn(
            API,
            format!("{root} answers, but slowly ({took_ms} ms)"),
            "the platform is slow now: a snapshot may take minutes",
        ),
        false => up.pass(
            API,
            format!("{root} answers in {took_ms} ms and takes the key"),
        ),
    }
}

fn refusal(error: &VersError) -> (String, String) {
    let text = error.to_string();
    let fix = match error {
        VersError::Status { status: 429, .. } => {
            "too many requests from this account: wait a minute, and see what else uses its key"
        }
        VersError::Status {
            status: 500..=599, ..
        } => {
            "the platform has a fault and nothing of yours is wrong: wait, look at its status page, try again"
        }
        VersError::Timeout { .. } | VersError::Dropped { .. } => {
            "the platform does not answer: wait and try again; if it stays so, check the network"
        }
        VersError::Key { .. } => {
            "check the secret with the API key and the account that it belongs to; `vers` on the command line tells whether the key is good"
        }
        VersError::Answer { .. } | VersError::Status { .. } => {
            "check `api-url`: something else than the Vers API answers there"
        }
        _ => {
            let (detail, fix) = split_fix(&text);
            return (detail.to_owned(), fix.to_owned());
        }
    };
    let detail = match error {
        VersError::Key { .. } => split_fix(&text).0.to_owned(),
        _ => text,
    };
    (detail, fix.to_owned())
}

fn state(vm: &VmId, state: &VmState, up: &mut Checkup) -> Option<()> {
    let fix = match state {
        VmState::Running => {
            up.pass(VM, format!("{vm} is running"));
            return Some(());
        }
        VmState::Paused | VmState::Sleeping => format!("resume it: vers resume {vm}"),
        VmState::Booting => {
            "wait until it is running; if it stays so for minutes, restore a snapshot: vdeploy rollback --to snapshot".to_owned()
        }
        VmState::Dead => {
            "it is lost: bring its last snapshot back as a new VM: vdeploy rollback --to snapshot --without-snapshot \"the VM is lost\"".to_owned()
        }
        VmState::Unknown | VmState::Other(_) => format!("look at it: vers status {vm}"),
    };
    up.fail(VM, ExitCode::Unreachable, format!("{vm} is {state}"), fix);
    None
}
