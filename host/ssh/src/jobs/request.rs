//! What goes over the wire to start, find or end a job. Pure.
//!
//! The script comes along with each command: there is nothing to install on a
//! target and no version of it to find there.

use crate::exec::command_line::{self, CommandLine, Launch};
use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::quote::sh;
use vdeploy_core::capability::ssh::{Command, JobId};

fn script() -> String {
    command_line::functions() + &command_line::compact(include_str!("job.sh"))
}

/// How much longer than the host the target waits before it ends a command:
/// the host has more to say about it.
const LATER: Duration = Duration::from_secs(15);

/// How much of both outputs was seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) out: u64,
    pub(super) err: u64,
}

/// Starts the job, or finds it when it was started before. `left` is its total
/// time from now on.
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

/// Finds the job and shows what was not seen yet.
pub(super) fn attach(job: &JobId, mark: &str, seen: Offsets, left: Duration) -> String {
    let limit = left.saturating_add(LATER).as_secs().min(i32::MAX as u64);
    line("attach", job, mark, seen, &format!("{limit} 0 0"), "")
}

/// Ends the job, or sees to it that it never starts.
pub(super) fn stop(job: &JobId, mark: &str) -> String {
    line("stop", job, mark, Offsets::default(), "0 0 0", "")
}

/// What the script reads on standard input when it is to look for output.
pub(super) fn tick(mark: &str) -> Vec<u8> {
    format!("{mark} tick\n").into_bytes()
}

/// The same when it is to end the command.
pub(super) fn ask_to_stop(mark: &str) -> Vec<u8> {
    format!("{mark} stop\n").into_bytes()
}

/// Removes what the jobs of a run left behind, and what runs left that ended
/// long ago without doing so. Nobody can know any more which numbers were used,
/// so nothing of the run may begin from then on: it gets the mark of a run that
/// has lost the target. A start may still be under way, from a process that was
/// stopped before another one went on with its run.
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
