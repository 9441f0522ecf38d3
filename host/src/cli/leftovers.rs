//! Commands of other runs that still run on the target when a run has taken the
//! lease there: they are ended before its first change.

use crate::event::{Level, Outcome, RunEvent};
use crate::gate::RunShared;
use crate::ids::RunId;

/// Ends them; else how the run ends, and why.
pub async fn end(shared: &RunShared) -> Result<(), (Outcome, String)> {
    let found = shared.world.ssh.end_other_jobs(&shared.run).await;
    let found = found.map_err(|error| (Outcome::Unreachable, error.to_string()))?;
    for run in &found.ended {
        shared.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message: shared.masker.mask(&ended(run)).into_owned(),
        });
    }
    match found.stay.first() {
        None => Ok(()),
        Some(run) => Err((Outcome::Refused, stays(run))),
    }
}

fn ended(run: &RunId) -> String {
    format!(
        "a command of run {run} still ran on the target; it was ended with everything that it had \
         started, before this run changes anything"
    )
}

fn stays(run: &RunId) -> String {
    format!(
        "a command of run {run} still runs on the target and does not end, not even with KILL; \
         nothing is changed beside it. Its process is in ~/.vdeploy/jobs/{run}/*.run there, second \
         line; start again when it is gone"
    )
}
