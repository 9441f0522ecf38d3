//! A change on the target runs as a job: it outlives the connection and is
//! found again, so it runs exactly once and its result arrives.
//!
//! Owns what happens between connections: reconnecting, the limits, and that a
//! detached job is stopped before the next change begins. The script on the
//! target is `job.sh`. Probes are no jobs; they can be repeated. Knows no SSH
//! library, only a [`Transport`].

mod detached;
mod errors;
mod follow;
mod list;
mod orphans;
mod output;
mod protocol;
mod request;
#[cfg(test)]
mod script_tests;
mod stop;
#[cfg(test)]
mod transport_tests;

pub(super) use detached::DetachedJobs;

use crate::OUTAGE;
use crate::exec::output::refused;
use crate::transport::{Channel, Endpoint, OpenError, Transport};
use detached::JobGuard;
use errors::{connection_lost, ended, late, lost, not_started, silent};
use follow::{ChannelEnd, Follower, JobEnd, JobLimits};
use output::JobOutput;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use vdeploy_core::backoff::{Backoff, deadline};
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};

/// Scripts in a row that end without a word before the job counts as unreachable.
const MAX_SILENCES: usize = 3;
/// How often a target may ask to send a start again: it gives up its reserve of
/// disk space only once.
const MAX_RESTARTS: usize = 2;
/// Refused keys before a refusal is final: a server that boots may refuse for a
/// moment.
const MAX_REFUSALS: usize = 5;
/// How long a late job whose connection is lost is stopped over another one.
const LATE_STOP: Duration = Duration::from_secs(20);

/// What the target may know of the job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StartState {
    NotAsked,
    /// It may have started. A second start is safe: only one wins.
    Asked,
    /// It has started and must never start again.
    Started,
}

/// The jobs of one run over one transport.
pub(crate) struct Jobs<'a> {
    pub(crate) transport: &'a dyn Transport,
    pub(crate) detached: &'a DetachedJobs,
}

impl Jobs<'_> {
    /// Runs `command` as the job, or finds the job and its result.
    pub(crate) async fn run(
        &self,
        command: &Command,
        job: &JobId,
        live: &dyn LiveOutput,
    ) -> Result<Output, EffectError> {
        let limits = JobLimits {
            deadline: deadline(command.timeout),
            idle: command.idle_timeout,
        };
        let endpoint = self.transport.endpoint()?;
        self.stop_detached(&endpoint, limits.deadline).await?;
        let mut output = JobOutput::new(command);
        let mut guard = JobGuard::new(self.detached, &endpoint, job);
        let mut state = StartState::NotAsked;
        let mut lost_since: Option<Instant> = None;
        let mut silences = 0;
        let mut restarts = 0;
        loop {
            let mark = protocol::mark();
            let left = limits.deadline.saturating_duration_since(Instant::now());
            let (line, stdin) = match state {
                StartState::Started => {
                    let line = request::attach(job, &mark, output.offsets(), left);
                    (line, None)
                }
                StartState::NotAsked | StartState::Asked => {
                    let built = request::start(command, job, &mark, left)?;
                    (built.line, Some(built.stdin))
                }
            };
            let opened = self.connect(&endpoint, command, limits.deadline, lost_since, live);
            let channel = match opened.await {
                Ok(channel) => channel,
                Err(error) if state == StartState::NotAsked => return Err(error),
                Err(error) => {
                    self.detached.keep_files();
                    return Err(connection_lost(&output, command, job, &error));
                }
            };
            // From here on it may run.
            guard.mark_asked();
            if state == StartState::NotAsked {
                state = StartState::Asked;
            }
            let end = match Follower::start(channel, mark, line).await {
                None => ChannelEnd::Dropped,
                Some(follower) => {
                    let follower = guard.follow(follower);
                    let stdin = stdin.as_ref().map_or(&[][..], |stdin| stdin.as_slice());
                    let end = follower.follow(stdin, limits, &mut output, live).await;
                    if follower.has_begun() {
                        state = StartState::Started;
                        lost_since = None;
                    }
                    end
                }
            };
            match end {
                ChannelEnd::Job(JobEnd::Ended { status, by }) => {
                    guard.mark_ended();
                    return ended(output, command, status, by.as_deref());
                }
                ChannelEnd::Job(JobEnd::Lost { running }) => {
                    // Its recorder is dead; the command may have left the group.
                    let stopped = match running {
                        true => self.stop_job(&endpoint, job, deadline(LATE_STOP)).await,
                        false => Ok(true),
                    };
                    self.note_stop(&stopped, &mut guard);
                    return Err(lost(&output, command, job, running, stopped));
                }
                ChannelEnd::Failed(why) => {
                    guard.mark_ended();
                    return Err(not_started(command, &why));
                }
                ChannelEnd::StartAgain => {
                    restarts += 1;
                    if restarts > MAX_RESTARTS {
                        guard.mark_ended();
                        return Err(not_started(
                            command,
                            "it asks for the start again and again",
                        ));
                    }
                    state = StartState::Asked;
                    live.doing(&format!(
                        "the disk of the target is full: it gave up its reserve of disk space; \
                         starting `{}` again",
                        command.program
                    ));
                }
                ChannelEnd::Refused => {
                    guard.mark_ended();
                    return Err(refused());
                }
                ChannelEnd::Silent { noise, failed } => {
                    silences += 1;
                    let started = state == StartState::Started || !failed;
                    if silences >= MAX_SILENCES || !started {
                        match started {
                            true => self.detached.keep_files(),
                            false => guard.mark_ended(),
                        }
                        return Err(silent(&output, command, job, &noise, started));
                    }
                }
                ChannelEnd::Dropped => {
                    lost_since = lost_since.or(Some(Instant::now()));
                }
                ChannelEnd::Late(limit) => {
                    let stopped = match guard.stop(&mut output, live).await {
                        Some(stopped) => Ok(stopped),
                        None => self.stop_job(&endpoint, job, deadline(LATE_STOP)).await,
                    };
                    self.note_stop(&stopped, &mut guard);
                    return Err(late(&output, command, job, limit, stopped));
                }
            }
            guard.release_channel();
        }
    }

    fn note_stop(&self, stopped: &Result<bool, String>, guard: &mut JobGuard) {
        match stopped {
            Ok(true) => guard.mark_ended(),
            Ok(false) | Err(_) => self.detached.keep_files(),
        }
    }

    /// Opens a channel, retrying through an outage. `lost_since` is when the
    /// connection of a running job was lost.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        command: &Command,
        deadline: Instant,
        lost_since: Option<Instant>,
        live: &dyn LiveOutput,
    ) -> Result<Channel, EffectError> {
        let since = lost_since.unwrap_or_else(Instant::now);
        let until = deadline.min(since + OUTAGE);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut refusals = 0;
        let what = match lost_since {
            None => format!("waiting for the target to start `{}`", command.program),
            Some(_) => format!(
                "the connection was lost while `{}` ran; waiting for the target to reattach",
                command.program
            ),
        };
        let waiting = || format!("{what} (for {} s)", since.elapsed().as_secs());
        let mut last = "no answer".to_owned();
        if lost_since.is_some() {
            live.doing(&waiting());
        }
        loop {
            match timeout_at(until, self.transport.open_channel(endpoint)).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(OpenError { error, is_final })) => {
                    refusals += usize::from(error.code == "ssh.auth");
                    if is_final || refusals >= MAX_REFUSALS || !self.transport.was_reached() {
                        return Err(error);
                    }
                    last = error.message;
                }
                Err(_) => {}
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= until {
                return Err(EffectError::new(
                    ErrorKind::Timeout,
                    "ssh.unreachable",
                    format!(
                        "the target did not come back within {} s: {last}",
                        since.elapsed().as_secs()
                    ),
                ));
            }
            live.doing(&format!("{}: {last}", waiting()));
            sleep(wait).await;
        }
    }
}
