//! A change on the target as a job of its own: it outlives the connection and
//! is found again, so it runs once and its result arrives.
//!
//! Owns what happens between the connections: coming back, the limits, and
//! that a command which nobody waits for any more has ended before the next
//! change begins. The script that does it on the target is `job.sh`. Probes
//! are no jobs; they can be repeated.

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

pub(super) use detached::DetachedJobs;

use super::{OUTAGE, OpenError, OpenSession, RusshSsh};
use crate::transport::endpoint::Endpoint;
use detached::JobGuard;
use errors::{connection_lost, ended, late, lost, not_started, silent};
use follow::{ChannelEnd, Follower, JobEnd, JobLimits};
use output::JobOutput;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use vdeploy_core::backoff::{Backoff, deadline};
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::ids::RunId;

/// Scripts that end without a word before that is taken for the answer.
const SILENCES: usize = 3;
/// Times that a target may ask for a start to be sent again: it gives up what
/// it put aside only once.
const AGAINS: usize = 2;
/// Refused keys before a refusal is final: a server that comes up may refuse
/// for a moment.
const REFUSALS: usize = 5;
/// A command past its limit whose connection is gone: how long the target is
/// asked to end it over another one.
const LATE_STOP: Duration = Duration::from_secs(20);
/// The same when the run ends.
const LAST_STOP: Duration = Duration::from_secs(6);
/// Cleaning up may take so long.
const FORGET: Duration = Duration::from_secs(10);

/// What the target may know of the job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StartState {
    /// Nothing was asked of it.
    NotAsked,
    /// It may have been started. Starting it again is safe: only one wins.
    Asked,
    /// It was started and must never be again.
    Started,
}

impl RusshSsh {
    /// Runs `command` as the job, or finds what it has come to.
    pub(super) async fn run_job(
        &self,
        command: &Command,
        job: &JobId,
        live: &dyn LiveOutput,
    ) -> Result<Output, EffectError> {
        let limits = JobLimits {
            deadline: deadline(command.timeout),
            idle: command.idle_timeout,
        };
        let vm = self.place()?;
        self.stop_detached(&vm, limits.deadline).await?;
        let mut heard = JobOutput::new(command);
        let mut watched = JobGuard::new(&self.detached, &vm, job);
        let mut known = StartState::NotAsked;
        let mut away: Option<Instant> = None;
        let mut silences = 0;
        let mut agains = 0;
        loop {
            let mark = protocol::mark();
            let left = limits.deadline.saturating_duration_since(Instant::now());
            let (line, stdin) = match known {
                StartState::Started => (request::attach(job, &mark, heard.offsets(), left), None),
                _ => {
                    let built = request::start(command, job, &mark, left)?;
                    (built.line, Some(built.stdin))
                }
            };
            let opened = self.reconnect(&vm, command, limits.deadline, away, live);
            let opened = match opened.await {
                Ok(opened) => opened,
                Err(error) if known == StartState::NotAsked => return Err(error),
                Err(error) => {
                    self.detached.keep_files();
                    return Err(connection_lost(&heard, command, job, &error));
                }
            };
            let (connection, channel, permit) = opened.into_parts();
            // From here on it may run.
            watched.ask();
            known = known.max(StartState::Asked);
            let begun = Follower::begin(&connection, channel, permit, mark, line).await;
            let end = match begun {
                None => ChannelEnd::Dropped,
                Some(follower) => {
                    let follower = watched.follow(follower);
                    let stdin = stdin.as_ref().map_or(&[][..], |stdin| stdin.as_slice());
                    let end = follower.follow(stdin, limits, &mut heard, live).await;
                    if follower.has_begun() {
                        known = StartState::Started;
                        away = None;
                    }
                    end
                }
            };
            match end {
                ChannelEnd::Job(JobEnd::Ended { status, by }) => {
                    watched.finished();
                    connection.heard();
                    return ended(heard, command, status, by.as_deref());
                }
                ChannelEnd::Job(JobEnd::Lost { running }) => {
                    // Who waited for it is gone; it may have left the group.
                    let gone = match running {
                        true => self.stop_job(&vm, job, deadline(LATE_STOP)).await,
                        false => Ok(true),
                    };
                    match gone {
                        Ok(true) => watched.finished(),
                        _ => self.detached.keep_files(),
                    }
                    return Err(lost(&heard, command, job, running, gone));
                }
                ChannelEnd::Failed(why) => {
                    watched.finished();
                    return Err(not_started(command, &why));
                }
                ChannelEnd::Again => {
                    agains += 1;
                    if agains > AGAINS {
                        watched.finished();
                        return Err(not_started(
                            command,
                            "it asks for the start again and again",
                        ));
                    }
                    known = StartState::Asked;
                    live.doing(&format!(
                        "the disk of the target is full: it gave up the room that was put aside \
                         for that; starting `{}` again",
                        command.program
                    ));
                }
                ChannelEnd::Refused => {
                    watched.finished();
                    return Err(crate::exec::probe::refused());
                }
                ChannelEnd::Silent { noise, failed } => {
                    silences += 1;
                    let started = known == StartState::Started || !failed;
                    if silences >= SILENCES || !started {
                        match started {
                            true => self.detached.keep_files(),
                            false => watched.finished(),
                        }
                        return Err(silent(&heard, command, job, &noise, started));
                    }
                }
                ChannelEnd::Dropped => {
                    self.forget(&connection).await;
                    away = away.or(Some(Instant::now()));
                }
                ChannelEnd::Late(limit) => {
                    let gone = match watched.stop(&mut heard, live).await {
                        Some(gone) => Ok(gone),
                        None => {
                            self.forget(&connection).await;
                            self.stop_job(&vm, job, deadline(LATE_STOP)).await
                        }
                    };
                    match gone {
                        Ok(true) => watched.finished(),
                        _ => self.detached.keep_files(),
                    }
                    return Err(late(&heard, command, job, limit, gone));
                }
            }
            watched.let_go();
        }
    }

    /// A session on the target, again and again while it is away. `away` is
    /// since when.
    async fn reconnect(
        &self,
        vm: &Endpoint,
        command: &Command,
        deadline: Instant,
        away: Option<Instant>,
        live: &dyn LiveOutput,
    ) -> Result<OpenSession, EffectError> {
        let since = away.unwrap_or_else(Instant::now);
        let until = deadline.min(since + OUTAGE);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut refusals = 0;
        let what = match away {
            None => format!("waiting for the target to start `{}`", command.program),
            Some(_) => format!(
                "the connection was lost while `{}` ran; waiting for the target to go on with it",
                command.program
            ),
        };
        let waited = || {
            let so_long = since.elapsed().as_secs();
            format!("{what} (for {so_long} s)")
        };
        let mut last = "no answer".to_owned();
        if away.is_some() {
            live.doing(&waited());
        }
        loop {
            match timeout_at(until, self.open_session(vm)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(OpenError { error, last: true })) => return Err(error),
                Ok(Err(OpenError { error, .. })) => {
                    refusals += usize::from(error.code == "ssh.auth");
                    if refusals >= REFUSALS || !self.was_reached() {
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
            live.doing(&format!("{}: {last}", waited()));
            sleep(wait).await;
        }
    }

    /// Ends what nobody waits for any more, before the next change begins: two
    /// commands must not change the target at once.
    async fn stop_detached(&self, vm: &Endpoint, deadline: Instant) -> Result<(), EffectError> {
        for job in self.detached.on(vm) {
            let gone = self.stop_job(vm, &job, deadline).await;
            let why = match gone {
                Ok(true) => {
                    self.detached.remove(vm, &job);
                    continue;
                }
                Ok(false) => "it does not end, not even with KILL".to_owned(),
                Err(why) => why,
            };
            return Err(EffectError::new(
                ErrorKind::Unavailable,
                "ssh.job",
                format!(
                    "an earlier command of this run may still run on the target ({job}): {why}; \
                     nothing was started beside it"
                ),
            ));
        }
        Ok(())
    }

    /// Ends the job over a channel of its own. Says whether it is gone.
    async fn stop_job(&self, vm: &Endpoint, job: &JobId, until: Instant) -> Result<bool, String> {
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        loop {
            let asked = async {
                let opened = self.open_session(vm).await.map_err(|e| e.error.message)?;
                let (connection, channel, permit) = opened.into_parts();
                let mark = protocol::mark();
                let line = request::stop(job, &mark);
                let begun = Follower::begin(&connection, channel, permit, mark, line).await;
                let mut follower = begun.ok_or("the connection is dead")?;
                let gone = follower.stopped().await;
                follower.close().await;
                if gone.is_err() {
                    self.forget(&connection).await;
                }
                gone
            };
            let why = match timeout_at(until, asked).await {
                Ok(Ok(gone)) => return Ok(gone),
                Ok(Err(why)) => why,
                Err(_) => "the target does not answer".to_owned(),
            };
            let wait = backoff.next_wait();
            if Instant::now() + wait >= until {
                return Err(why);
            }
            sleep(wait).await;
        }
    }

    /// Ends what nobody waits for any more; for the end of the run.
    pub(super) async fn stop_detached_on_close(&self) {
        if let Ok(vm) = self.place()
            && let Err(error) = self.stop_detached(&vm, deadline(LAST_STOP)).await
        {
            tracing::warn!(%error, "a command may still run on the target");
        }
    }

    /// Removes what the jobs of the run left on the target.
    pub(super) async fn remove_jobs(&self, run: &RunId) -> Result<(), EffectError> {
        let vm = self.place()?;
        if !self.detached.may_go(&vm) {
            return Ok(());
        }
        let until = deadline(FORGET);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        loop {
            let error = match timeout_at(until, self.remove_files(&vm, run)).await {
                Ok(Ok(status)) => match status {
                    0 => return Ok(()),
                    _ => {
                        let why = format!("rm ended with {status}");
                        return Err(EffectError::new(ErrorKind::Failed, "ssh.job", why));
                    }
                },
                Ok(Err(OpenError { error, last: true })) => return Err(error),
                Ok(Err(OpenError { error, .. })) => error,
                Err(_) => EffectError::new(ErrorKind::Timeout, "ssh.timeout", "no answer in time"),
            };
            let wait = backoff.next_wait();
            if Instant::now() + wait >= until {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    /// Removes them in one session; how that ended.
    async fn remove_files(&self, vm: &Endpoint, run: &RunId) -> Result<u32, OpenError> {
        let (connection, mut channel, _permit) = self.open_session(vm).await?.into_parts();
        if channel
            .exec(true, request::forget(run.as_str()))
            .await
            .is_ok()
        {
            while let Some(message) = channel.wait().await {
                if let russh::ChannelMsg::ExitStatus { exit_status } = message {
                    return Ok(exit_status);
                }
            }
        }
        self.forget(&connection).await;
        let text = "the connection was lost while files of jobs were removed";
        let error = EffectError::new(ErrorKind::Unavailable, "ssh.closed", text);
        Err(OpenError { error, last: false })
    }
}

impl StartState {
    fn max(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            known => known,
        }
    }
}
