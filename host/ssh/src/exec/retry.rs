//! Runs a probe, and again when the connection breaks: for how long, and what
//! the error is at last. Only for commands that are safe to repeat.

use super::command_line;
use super::probe::{self, ProbeEnd};
use crate::connection::session_pool::SessionError;
use crate::error::too_many_sessions;
use crate::{OUTAGE, RusshSsh};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use vdeploy_core::backoff::Backoff;
use vdeploy_core::capability::snapshot::NoProgress;
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

impl RusshSsh {
    /// Runs a command that is safe to repeat: a check, or one of the lease. A
    /// change is a job. Retries through an outage.
    pub(crate) async fn run_probe(
        &self,
        command: &Command,
        deadline: Instant,
        live: &dyn LiveOutput,
    ) -> Result<Output, EffectError> {
        let late = || {
            EffectError::new(
                ErrorKind::Timeout,
                codes::SSH_TIMEOUT,
                format!(
                    "`{}` could not be started within {} s",
                    command.program,
                    command.timeout.as_secs_f64()
                ),
            )
        };
        let line = command_line::build(command)?;
        let nothing = |why: &str| {
            EffectError::new(
                ErrorKind::Unavailable,
                codes::SSH_UNREACHABLE,
                format!("no session on the target: {why}; nothing was run"),
            )
        };
        let mut retry = Retry::until(deadline);
        loop {
            let connection = match timeout_at(deadline, self.connection()).await {
                Err(_) => return Err(retry.error().unwrap_or_else(late)),
                Ok(Ok(connection)) => connection,
                // It answered before: wait out a short outage. Nothing was
                // sent to the target yet, so this is safe.
                Ok(Err(error)) if self.reached.load(Ordering::Relaxed) && !error.is_final() => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.wait_reachable(left.min(OUTAGE), &NoProgress).await?;
                    timeout_at(deadline, self.connection())
                        .await
                        .map_err(|_| late())??
                }
                Ok(Err(error)) => return Err(error.into()),
            };
            let opened = match timeout_at(deadline, connection.session()).await {
                Err(_) => return Err(retry.error().unwrap_or_else(late)),
                Ok(Ok(session)) => session.take(),
                Ok(Err(SessionError::Refused(reason))) => {
                    return Err(too_many_sessions(&connection.endpoint, &reason));
                }
                // Nothing was sent to the target yet: a new connection is safe.
                Ok(Err(SessionError::Dead(why))) => {
                    connection.mark_dead();
                    retry.after(nothing(&why)).await?;
                    continue;
                }
            };
            let ran = match opened {
                Some((channel, _permit)) => {
                    probe::run(&connection, channel, &line, command, deadline, live).await
                }
                None => ProbeEnd::NotRun,
            };
            match ran {
                // The server may close a session that stays idle for long.
                ProbeEnd::NotRun => {
                    let why = "it was closed before the command";
                    retry.after(nothing(why)).await?;
                }
                ProbeEnd::Lost(error) => {
                    connection.mark_dead();
                    let doing = format!("{error}; retrying");
                    retry.after(error).await?;
                    live.doing(&doing);
                }
                ProbeEnd::Done(result) => {
                    if result.is_ok() {
                        connection.mark_active();
                    }
                    return result;
                }
            }
        }
    }
}

/// The attempts of one command.
struct Retry {
    deadline: Instant,
    since: Option<Instant>,
    error: Option<EffectError>,
    backoff: Backoff,
}

impl Retry {
    fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            since: None,
            error: None,
            backoff: Backoff::up_to(Duration::from_secs(2)),
        }
    }

    /// The error of the attempt that got furthest, if there was one.
    fn error(self) -> Option<EffectError> {
        self.error
    }

    /// Waits for the next attempt. From the first failure on there is as much
    /// time as an outage may last.
    async fn after(&mut self, error: EffectError) -> Result<(), EffectError> {
        let kept = self.error.take();
        let error = match kept {
            // That it may have run counts, not that the last attempt ran nothing.
            Some(kept) if kept.maybe_applied && !error.maybe_applied => kept,
            _ => error,
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = self.backoff.next_wait();
        if Instant::now() + wait >= self.deadline.min(since + OUTAGE) {
            return Err(error);
        }
        self.error = Some(error);
        sleep(wait).await;
        Ok(())
    }
}
