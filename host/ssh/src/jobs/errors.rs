//! What is said of a job that ended, and of one whose end is not known.

use super::follow::Limit;
use super::output::JobOutput;
use vdeploy_core::capability::ssh::{Command, JobId, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};

pub(super) fn ended(
    heard: JobOutput,
    command: &Command,
    status: u32,
    by: Option<&str>,
) -> Result<Output, EffectError> {
    let program = &command.program;
    match by {
        None => Ok(heard.output(status)),
        Some("limit") => Err(heard.error(
            ErrorKind::Timeout,
            "ssh.timeout",
            &format!("`{program}` ran longer than it may and was stopped by the target itself"),
        )),
        Some(_) => Err(heard.error(
            ErrorKind::Cancelled,
            "ssh.stopped",
            &format!("`{program}` was stopped before it ended"),
        )),
    }
}

/// How a person looks at the job.
fn by_hand(job: &JobId) -> String {
    format!(
        "look at it on the target: `tail ~/.vdeploy/jobs/{job}.out ~/.vdeploy/jobs/{job}.err`, \
         its status will be in ~/.vdeploy/jobs/{job}.end"
    )
}

pub(super) fn connection_lost(
    heard: &JobOutput,
    command: &Command,
    job: &JobId,
    error: &EffectError,
) -> EffectError {
    let text = format!(
        "the connection was lost while `{}` ran: {}; it may go on as the job {job}; {}",
        command.program,
        error.message,
        by_hand(job)
    );
    heard.error(ErrorKind::Unavailable, "ssh.closed", &text)
}

pub(super) fn lost(
    heard: &JobOutput,
    command: &Command,
    job: &JobId,
    running: bool,
    gone: Result<bool, String>,
) -> EffectError {
    let why = match (running, gone) {
        (false, _) => "it or what waited for it was killed, or the target was started anew",
        (true, Ok(true)) => "what waited for it was killed; it still ran and was stopped",
        (true, _) => "what waited for it was killed; it still runs and could not be stopped",
    };
    let text = format!(
        "`{}` is lost, nobody can tell its status: {why} (job {job})",
        command.program
    );
    heard.error(ErrorKind::Failed, "ssh.job-lost", &text)
}

/// What the script says to a run that has lost its lease.
const FENCED: &str = "fenced";

pub(super) fn not_started(command: &Command, why: &str) -> EffectError {
    if why == FENCED {
        return EffectError::new(
            ErrorKind::Cancelled,
            "ssh.fenced",
            format!(
                "`{}` was not started: this run has lost its lease on the target, and another \
                 one may be at work there",
                command.program
            ),
        );
    }
    EffectError::new(
        ErrorKind::Failed,
        "ssh.job",
        format!(
            "`{}` was not started: the target cannot keep a job: {why}; a change needs a \
             writable ~/.vdeploy with some free space",
            command.program
        ),
    )
}

pub(super) fn silent(
    heard: &JobOutput,
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
            &format!("the shell of the user ended at once and said {said}"),
        );
    }
    let text = format!(
        "what shows `{program}` ended again and again without a word (the shell said {said}); it \
         may go on as the job {job}; {}",
        by_hand(job)
    );
    heard.error(ErrorKind::Unavailable, "ssh.closed", &text)
}

pub(super) fn late(
    heard: &JobOutput,
    command: &Command,
    job: &JobId,
    limit: Limit,
    gone: Result<bool, String>,
) -> EffectError {
    let (code, what) = match limit {
        Limit::Total => (
            "ssh.timeout",
            format!("ran longer than {} s", command.timeout.as_secs_f64()),
        ),
        Limit::Idle(idle) => (
            "ssh.idle",
            format!("printed nothing for {} s", idle.as_secs_f64()),
        ),
    };
    let stopped = match gone {
        Ok(true) => "was stopped".to_owned(),
        Ok(false) => format!("does not end, not even with KILL; {}", by_hand(job)),
        Err(why) => format!(
            "could not be stopped ({why}); the target ends it by itself; {}",
            by_hand(job)
        ),
    };
    let text = format!("`{}` {what} and {stopped}", command.program);
    heard.error(ErrorKind::Timeout, code, &text)
}
