//! Detached jobs: nobody waits for them any more, so they are stopped before the
//! next change.

use super::follow::Follower;
use super::output::JobOutput;
use crate::transport::Endpoint;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use vdeploy_core::capability::ssh::{JobId, LiveOutput, NoLiveOutput};

/// The detached jobs of a run, and the endpoints that had jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct DetachedJobs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    jobs: Vec<(Endpoint, JobId)>,
    used: BTreeSet<Endpoint>,
    /// An earlier process of the run had some.
    expected: bool,
    /// A message names files of a job.
    kept: bool,
}

impl DetachedJobs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn on(&self, endpoint: &Endpoint) -> Vec<JobId> {
        let state = self.lock();
        let here = state.jobs.iter().filter(|(of, _)| of == endpoint);
        here.map(|(_, job)| job.clone()).collect()
    }

    /// The job has ended.
    pub(super) fn remove(&self, endpoint: &Endpoint, job: &JobId) {
        self.lock().jobs.retain(|(v, j)| v != endpoint || j != job);
    }

    /// A message names the files of a job, so they stay.
    pub(super) fn keep_files(&self) {
        self.lock().kept = true;
    }

    /// Whether there are files of jobs and no message names them.
    pub(super) fn may_remove_files(&self, endpoint: &Endpoint) -> bool {
        let state = self.lock();
        (state.expected || state.used.contains(endpoint)) && !state.kept
    }

    /// An earlier process of the run may have started jobs.
    pub(crate) fn expect(&self) {
        self.lock().expected = true;
    }
}

/// A job that is waited for. Dropped before the job ends, it detaches the job:
/// the command is stopped with its group, at once over the channel if there is
/// one, else before the next change.
pub(super) struct JobGuard {
    detached: DetachedJobs,
    endpoint: Endpoint,
    job: JobId,
    follower: Option<Follower>,
    /// The target was asked to start it, and its end is not known.
    runs: bool,
}

impl JobGuard {
    pub(super) fn new(detached: &DetachedJobs, endpoint: &Endpoint, job: &JobId) -> Self {
        Self {
            detached: detached.clone(),
            endpoint: endpoint.clone(),
            job: job.clone(),
            follower: None,
            runs: false,
        }
    }

    /// The target is about to be asked to start it.
    pub(super) fn mark_asked(&mut self) {
        self.runs = true;
        self.detached.lock().used.insert(self.endpoint.clone());
    }

    pub(super) fn follow(&mut self, follower: Follower) -> &mut Follower {
        self.follower.insert(follower)
    }

    /// Stops it over its channel. `None` when there is no answer: then the
    /// connection counts as dead.
    pub(super) async fn stop(
        &mut self,
        output: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> Option<bool> {
        let follower = self.follower.as_mut()?;
        let stopped = follower.stop(output, live).await;
        if stopped.is_none() {
            follower.mark_dead();
        }
        stopped
    }

    /// The channel is no longer usable; the job keeps running.
    pub(super) fn release_channel(&mut self) {
        self.follower = None;
    }

    pub(super) fn mark_ended(&mut self) {
        self.runs = false;
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        let follower = self.follower.take();
        if !self.runs {
            if let (Some(follower), Ok(runtime)) = (follower, tokio::runtime::Handle::try_current())
            {
                runtime.spawn(follower.close());
            }
            return;
        }
        let (endpoint, job) = (self.endpoint.clone(), self.job.clone());
        let detached = self.detached.clone();
        detached.lock().jobs.push((endpoint.clone(), job.clone()));
        let (Some(mut follower), Ok(runtime)) = (follower, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            let stopped = follower
                .stop(&mut JobOutput::discard(), &NoLiveOutput)
                .await;
            if stopped == Some(true) {
                detached.remove(&endpoint, &job);
            }
            follower.close().await;
        });
    }
}
