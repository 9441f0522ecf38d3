//! Jobs that nobody waits for any more: they must not go on unseen.

use super::follow::Follower;
use super::output::JobOutput;
use crate::transport::endpoint::Endpoint;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use vdeploy_core::capability::ssh::{JobId, LiveOutput, NoLiveOutput};

/// The jobs of a run that may still go on, and the VMs that had jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct DetachedJobs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    jobs: Vec<(Endpoint, JobId)>,
    used: BTreeSet<Endpoint>,
    /// An earlier process of the run had some.
    expected: bool,
    /// A person was told of files.
    kept: bool,
}

impl DetachedJobs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Those on this VM.
    pub(super) fn on(&self, vm: &Endpoint) -> Vec<JobId> {
        let known = self.lock();
        let here = known.jobs.iter().filter(|(of, _)| of == vm);
        here.map(|(_, job)| job.clone()).collect()
    }

    /// It has ended.
    pub(super) fn remove(&self, vm: &Endpoint, job: &JobId) {
        self.lock().jobs.retain(|(v, j)| v != vm || j != job);
    }

    /// A person was told where the files are: they stay.
    pub(super) fn keep_files(&self) {
        self.lock().kept = true;
    }

    /// Whether this VM had jobs and their files may go.
    pub(super) fn may_go(&self, vm: &Endpoint) -> bool {
        let known = self.lock();
        (known.expected || known.used.contains(vm)) && !known.kept
    }

    /// There may be jobs that this process has not started.
    pub(crate) fn expect(&self) {
        self.lock().expected = true;
    }
}

/// A job that is being waited for. When it is dropped before its end, the
/// command is ended with its group, at once where there is a channel and
/// before the next change where there is none.
pub(super) struct JobGuard {
    detached: DetachedJobs,
    vm: Endpoint,
    job: JobId,
    follower: Option<Follower>,
    /// The target was asked to start it, and its end is not known.
    runs: bool,
}

impl JobGuard {
    pub(super) fn new(detached: &DetachedJobs, vm: &Endpoint, job: &JobId) -> Self {
        Self {
            detached: detached.clone(),
            vm: vm.clone(),
            job: job.clone(),
            follower: None,
            runs: false,
        }
    }

    /// The target is about to be asked.
    pub(super) fn ask(&mut self) {
        self.runs = true;
        self.detached.lock().used.insert(self.vm.clone());
    }

    /// Through this channel it is seen from now on.
    pub(super) fn follow(&mut self, follower: Follower) -> &mut Follower {
        self.follower.insert(follower)
    }

    /// Ends it through the channel.
    pub(super) async fn stop(
        &mut self,
        heard: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> Option<bool> {
        self.follower.as_mut()?.stop(heard, live).await
    }

    /// The channel is of no use any more; the job goes on.
    pub(super) fn let_go(&mut self) {
        self.follower = None;
    }

    /// It does not run any more.
    pub(super) fn finished(&mut self) {
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
        let (vm, job) = (self.vm.clone(), self.job.clone());
        let detached = self.detached.clone();
        detached.lock().jobs.push((vm.clone(), job.clone()));
        let (Some(mut follower), Ok(runtime)) = (follower, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            let gone = follower
                .stop(&mut JobOutput::nothing(), &NoLiveOutput)
                .await;
            if gone == Some(true) {
                detached.remove(&vm, &job);
            }
            follower.close().await;
        });
    }
}
