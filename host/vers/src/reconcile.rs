//! What came of a call whose answer an earlier process of the run did not get.
//! Looks, and makes nothing.

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
    /// Until when the effect of a call that was made at `since` (milliseconds
    /// since 1970) may still appear. The platform may be at work on it after
    /// the caller has gone.
    pub(super) fn may_appear_until(&self, since: u64) -> Instant {
        let asked = UNIX_EPOCH + Duration::from_millis(since);
        // A clock that was set back: as if it was asked just now.
        let ago = SystemTime::now().duration_since(asked).unwrap_or_default();
        Instant::now() + self.reconcile_for.saturating_sub(ago)
    }

    /// The VM that was made of the commit since then, and is not the target.
    pub(super) async fn earlier_restore(
        &self,
        commit: &SnapshotId,
        target: &VmId,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<VmId>, VersError> {
        let text =
            format!("looking whether a VM was made from snapshot {commit} before the interruption");
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

    /// The one VM that was made of the commit, after this time.
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
                     is this run's is not known; delete those that are not needed and resume again",
                    ids.join(", ")
                )))
            }
        }
    }
}

/// Looks again and again for what may still appear. At least one look is made,
/// and the error of the last one counts.
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

    /// Waits for the next look; false when it cannot appear any more.
    pub(super) async fn wait(&mut self) -> bool {
        let wait = self.backoff.next_wait();
        if Instant::now() + wait >= self.until {
            return false;
        }
        sleep(wait).await;
        true
    }
}
