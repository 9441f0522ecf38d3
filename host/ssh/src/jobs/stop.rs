//! Stops jobs over a channel of their own, and removes their files.

use super::follow::Follower;
use super::{Jobs, protocol, request};
use crate::transport::{ChannelEvent, Endpoint, OpenError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use vdeploy_core::backoff::{Backoff, deadline};
use vdeploy_core::capability::ssh::JobId;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::RunId;

/// For detached jobs when the run ends.
const STOP_ON_CLOSE: Duration = Duration::from_secs(6);
/// For the removal of files.
const CLEANUP: Duration = Duration::from_secs(10);

impl Jobs<'_> {
    /// Stops detached jobs before the next change begins: two commands must not
    /// change the target at once.
    pub(super) async fn stop_detached(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<(), EffectError> {
        for job in self.detached.on(endpoint) {
            let stopped = self.stop_job(endpoint, &job, deadline).await;
            let why = match stopped {
                Ok(true) => {
                    self.detached.remove(endpoint, &job);
                    continue;
                }
                Ok(false) => "it does not end, not even with KILL".to_owned(),
                Err(why) => why,
            };
            return Err(EffectError::new(
                ErrorKind::Unavailable,
                codes::SSH_JOB,
                format!(
                    "an earlier command of this run may still run on the target ({job}): {why}; \
                     nothing was started beside it"
                ),
            ));
        }
        Ok(())
    }

    /// Stops one job. True when it has ended; an error when the target cannot
    /// tell.
    pub(super) async fn stop_job(
        &self,
        endpoint: &Endpoint,
        job: &JobId,
        until: Instant,
    ) -> Result<bool, String> {
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        loop {
            let asked = async {
                let opened = self.transport.open_channel(endpoint).await;
                let channel = opened.map_err(|e| e.error.message)?;
                let mark = protocol::mark();
                let line = request::stop(job, &mark);
                let started = Follower::start(channel, mark, line).await;
                let mut follower = started.ok_or("the connection is dead")?;
                let stopped = follower.stopped().await;
                follower.close().await;
                stopped
            };
            let why = match timeout_at(until, asked).await {
                Ok(Ok(stopped)) => return Ok(stopped),
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

    /// Stops detached jobs when the run ends.
    pub(crate) async fn close(&self) {
        if let Ok(endpoint) = self.transport.endpoint()
            && let Err(error) = self.stop_detached(&endpoint, deadline(STOP_ON_CLOSE)).await
        {
            tracing::warn!(%error, "a command may still run on the target");
        }
    }

    /// Removes the files of the run's jobs from the target.
    pub(crate) async fn remove_files(&self, run: &RunId) -> Result<(), EffectError> {
        let endpoint = self.transport.endpoint()?;
        if !self.detached.may_remove_files(&endpoint) {
            return Ok(());
        }
        let until = deadline(CLEANUP);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        loop {
            let error = match timeout_at(until, self.try_remove(&endpoint, run)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(status)) => {
                    let why = format!("rm ended with {status}");
                    return Err(EffectError::new(ErrorKind::Failed, codes::SSH_JOB, why));
                }
                Ok(Err(OpenError { error, is_final })) => match is_final {
                    true => return Err(error),
                    false => error,
                },
                Err(_) => {
                    EffectError::new(ErrorKind::Timeout, codes::SSH_TIMEOUT, "no answer in time")
                }
            };
            let wait = backoff.next_wait();
            if Instant::now() + wait >= until {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    /// One attempt; the status of the removal.
    async fn try_remove(&self, endpoint: &Endpoint, run: &RunId) -> Result<u32, OpenError> {
        let mut channel = self.transport.open_channel(endpoint).await?;
        let line = request::forget(run.as_str());
        if channel.writer.exec(&line).await.is_ok() {
            while let Some(event) = channel.reader.next().await {
                if let ChannelEvent::ExitStatus(status) = event {
                    return Ok(status);
                }
            }
        }
        channel.link.mark_dead();
        let text = "the connection was lost while files of jobs were removed";
        Err(OpenError {
            error: EffectError::new(ErrorKind::Unavailable, codes::SSH_CLOSED, text),
            is_final: false,
        })
    }
}
