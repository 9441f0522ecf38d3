//! The lines that start, find or stop a job. Pure.
//!
//! Each line carries the whole script: nothing is installed on a target, so no
//! version on it can differ.

use crate::exec::command_line::{self, CommandLine, Launch};
use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::quote::sh;
use vdeploy_core::capability::ssh::{Command, JobId};

fn script() -> String {
    command_line::functions() + &command_line::compact(include_str!("job.sh"))
}

/// How much later than the host the target stops a command itself: the host
/// can report more about it.
const LATER: Duration = Duration::from_secs(15);

/// Bytes of both outputs that the host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) out: u64,
    pub(super) err: u64,
}

/// Starts the job, or attaches to it if it has started. `left` is the rest of
/// its total time.
pub(super) fn start(
    command: &Command,
    job: &JobId,
    mark: &str,
    left: Duration,
) -> Result<CommandLine, EffectError> {
    let Launch {
        read,
        become_it,
        words,
        secrets,
    } = command_line::launch(command, Some("\"$vd_setsid\""))?;
    let functions = format!("vd_secrets() {{\n{read}return 0\n}}\n{become_it}");
    let stdin = command_line::joined(&secrets, &command.stdin);
    let all = stdin.len();
    let limit = left.saturating_add(LATER).as_secs().min(i32::MAX as u64);
    let line = line(
        "start",
        job,
        mark,
        Offsets::default(),
        &format!("{limit} {} {all} {words}", command.stdin.len()),
        &functions,
    );
    command_line::check_length(&line)?;
    Ok(CommandLine { line, stdin })
}

/// Attaches to the job; its output continues at `seen`.
pub(super) fn attach(job: &JobId, mark: &str, seen: Offsets, left: Duration) -> String {
    let limit = left.saturating_add(LATER).as_secs().min(i32::MAX as u64);
    line("attach", job, mark, seen, &format!("{limit} 0 0"), "")
}

/// Stops the job, or makes sure that it never starts.
pub(super) fn stop(job: &JobId, mark: &str) -> String {
    line("stop", job, mark, Offsets::default(), "0 0 0", "")
}

/// On standard input: asks the script for new output.
pub(super) fn tick_line(mark: &str) -> Vec<u8> {
    format!("{mark} tick\n").into_bytes()
}

/// On standard input: asks the script to stop the command.
pub(super) fn stop_line(mark: &str) -> Vec<u8> {
    format!("{mark} stop\n").into_bytes()
}

/// Removes the files of a run's jobs, and files of runs older than a week.
///
/// Then nobody knows any more which numbers were used, so the run is fenced:
/// none of its jobs may start from now on. A start may still be under way, from a
/// process that was suspended before another one resumed its run.
pub(super) fn forget(run: &str) -> String {
    let run = sh(run);
    let script = format!(
        "run={run} lease=\"$HOME/.vdeploy-lease\"; \
         cd \"$HOME/.vdeploy/jobs\" 2>/dev/null || exit 0; \
         mark() {{ ln -s lost \"$lease/lost.$run\" 2>/dev/null; }}; \
         mark || full=yes; rm -rf -- \"$run\"; [ -z \"${{full:-}}\" ] || mark; \
         [ ! -d \"$lease\" ] || find \"$lease\" \\( -name 'lost.*' -o -name 'left.*' -o -name 'over.*' \\) \
         -mtime +7 -exec rm -f -- {{}} +; \
         find . -type d ! -name . -prune -mtime +7 -exec rm -rf -- {{}} +"
    );
    format!("exec sh -c {}", sh(&script))
}

fn line(mode: &str, job: &JobId, mark: &str, seen: Offsets, rest: &str, functions: &str) -> String {
    let script = sh(&format!("{functions}{}", script()));
    let JobId { run, effect } = job;
    let (run, mark) = (sh(run.as_str()), sh(mark));
    let Offsets { out, err } = seen;
    format!("exec sh -c {script} sh {mode} {run} {effect} {mark} {out} {err} {rest}")
}
