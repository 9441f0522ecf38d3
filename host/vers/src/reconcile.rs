//! Reconciles a call of an earlier process that got no answer: finds out whether it
//! had its effect. Only reads.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::commits::CLOCK_SKEW;
use super::progress::with_progress;
use jiff::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};
use vdeploy_core::backoff::Backoff;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::ids::{SnapshotId, VmId};

impl VersClient {
    /// Until when the effect of a call made at `since` (milliseconds since 1970) may
    /// still appear. The platform may work on it after the caller is gone.
    pub(super) fn may_appear_until(&self, since: u64) -> Instant {
        let asked = UNIX_EPOCH + Duration::from_millis(since);
        // The clock was set back: as if the call was made just now.
        let ago = SystemTime::now().duration_since(asked).unwrap_or_default();
        Instant::now() + self.reconcile_for.saturating_sub(ago)
    }

    /// The VM that was made from the commit since then and is not the target.
    pub(super) async fn earlier_restore(
        &self,
        commit: &SnapshotId,
        target: &VmId,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<VmId>, VersError> {
        let text = format!(
            "checking whether a VM was made from snapshot {commit} before the interruption"
        );
        let until = self.may_appear_until(since);
        let asked = i64::try_from(since).ok();
        let asked = asked.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let after = asked.and_then(|asked| asked.checked_sub(CLOCK_SKEW).ok());
        let looking = async {
            let mut poll = Poll::until(until);
            loop {
                let looked = self.made_of(commit, target, after).await;
                if matches!(looked, Ok(Some(_))) || !poll.wait().await {
                    return looked;
                }
            }
        };
        with_progress(progress, &text, looking).await
    }

    /// The one VM made from the commit after this time.
    async fn made_of(
        &self,
        commit: &SnapshotId,
        target: &VmId,
        after: Option<Timestamp>,
    ) -> Result<Option<VmId>, VersError> {
        let mut found = Vec::new();
        for vm in self.vms().await? {
            let older = matches!((vm.created_at, after), (Some(made), Some(after)) if made < after);
            if older || vm.vm_id == *target {
                continue;
            }
            if self.metadata(&vm.vm_id).await?.parent_commit_id.as_ref() == Some(commit) {
                found.push(vm.vm_id);
            }
        }
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            many => {
                let ids: Vec<&str> = many.iter().map(VmId::as_str).collect();
                Err(VersError::NotReady(format!(
                    "several VMs were made from the snapshot {commit} since then ({}), and which \
                     one is this run's is unknown; delete those that are not needed and resume again",
                    ids.join(", ")
                )))
            }
        }
    }
}

/// Polls for something that may still appear: at least once, and the last error
/// counts.
pub(super) struct Poll {
    until: Instant,
    backoff: Backoff,
}

impl Poll {
    pub(super) fn until(until: Instant) -> Self {
        Self {
            until,
            backoff: Backoff::up_to(Duration::from_secs(5)),
        }
    }

    /// Waits for the next poll; false when it cannot appear any more.
    pub(super) async fn wait(&mut self) -> bool {
        let wait = self.backoff.next_wait();
        if Instant::now() + wait >= self.until {
            return false;
        }
        sleep(wait).await;
        true
    }
}
