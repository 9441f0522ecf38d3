//! The result of a job that ended, and the errors of one whose end is unknown.

use super::follow::Limit;
use super::output::JobOutput;
use vdeploy_core::capability::ssh::{Command, JobId, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

pub(super) fn ended(
    output: JobOutput,
    command: &Command,
    status: u32,
    by: Option<&str>,
) -> Result<Output, EffectError> {
    let program = &command.program;
    match by {
        None => Ok(output.output(status)),
        Some("limit") => Err(output.error(
            ErrorKind::Timeout,
            codes::SSH_TIMEOUT,
            &format!("`{program}` exceeded its time limit and the target stopped it"),
        )),
        Some(_) => Err(output.error(
            ErrorKind::Cancelled,
            codes::SSH_STOPPED,
            &format!("`{program}` was stopped before it ended"),
        )),
    }
}

/// How an operator inspects the job.
fn by_hand(job: &JobId) -> String {
    format!(
        "inspect it on the target: `tail ~/.vdeploy/jobs/{job}.out ~/.vdeploy/jobs/{job}.err`, \
         its status will be in ~/.vdeploy/jobs/{job}.end"
    )
}

pub(super) fn connection_lost(
    output: &JobOutput,
    command: &Command,
    job: &JobId,
    error: &EffectError,
) -> EffectError {
    let text = format!(
        "the connection was lost while `{}` ran: {}; it may still run as job {job}; {}",
        command.program,
        error.message,
        by_hand(job)
    );
    output.error(ErrorKind::Unavailable, codes::SSH_CLOSED, &text)
}

pub(super) fn lost(
    output: &JobOutput,
    command: &Command,
    job: &JobId,
    running: bool,
    stopped: Result<bool, String>,
) -> EffectError {
    let why = match (running, stopped) {
        (false, _) => "it or its recorder was killed, or the target was restarted",
        (true, Ok(true)) => "its recorder was killed; it still ran and was stopped",
        (true, _) => "its recorder was killed; it still runs and could not be stopped",
    };
    let text = format!(
        "the status of `{}` is lost: {why} (job {job})",
        command.program
    );
    output.error(ErrorKind::Failed, codes::SSH_JOB_LOST, &text)
}

/// The script's answer to a fenced run.
const FENCED: &str = "fenced";

pub(super) fn not_started(command: &Command, why: &str) -> EffectError {
    if why == FENCED {
        return EffectError::new(
            ErrorKind::Cancelled,
            codes::SSH_FENCED,
            format!(
                "`{}` was not started: this run has lost its lease on the target, and another \
                 run may be changing it",
                command.program
            ),
        );
    }
    EffectError::new(
        ErrorKind::Failed,
        codes::SSH_JOB,
        format!(
            "`{}` was not started: the target cannot keep a job: {why}; a change needs a \
             writable ~/.vdeploy with some free space",
            command.program
        ),
    )
}

pub(super) fn silent(
    output: &JobOutput,
    command: &Command,
    job: &JobId,
    noise: &str,
    started: bool,
) -> EffectError {
    let said = match noise.is_empty() {
        true => "nothing".to_owned(),
        false => format!("`{noise}`"),
    };
    let program = &command.program;
    if !started {
        return not_started(
            command,
            &format!("the user's login shell ended at once and printed {said}"),
        );
    }
    let text = format!(
        "the script that shows `{program}` ended repeatedly without a report (the shell printed {said}); it \
         may still run as job {job}; {}",
        by_hand(job)
    );
    output.error(ErrorKind::Unavailable, codes::SSH_CLOSED, &text)
}

pub(super) fn late(
    output: &JobOutput,
    command: &Command,
    job: &JobId,
    limit: Limit,
    stopped: Result<bool, String>,
) -> EffectError {
    let (code, what) = match limit {
        Limit::Total => (
            codes::SSH_TIMEOUT,
            format!("ran longer than {} s", command.timeout.as_secs_f64()),
        ),
        Limit::Idle(idle) => (
            codes::SSH_IDLE,
            format!("printed nothing for {} s", idle.as_secs_f64()),
        ),
    };
    let stopped = match stopped {
        Ok(true) => "was stopped".to_owned(),
        Ok(false) => format!("does not end, not even with KILL; {}", by_hand(job)),
        Err(why) => format!(
            "could not be stopped ({why}); the target stops it at its own limit; {}",
            by_hand(job)
        ),
    };
    let text = format!("`{}` {what} and {stopped}", command.program);
    output.error(ErrorKind::Timeout, code, &text)
}
