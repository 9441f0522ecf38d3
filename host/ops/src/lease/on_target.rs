//! The lease on the target itself, for a run: taken, renewed and watched.

use super::wait_for;
use std::sync::Arc;
use tokio::task::AbortHandle;
use vdeploy_core::capability::leases::LeaseBackend;
use vdeploy_core::event::{Level, Outcome, RunEvent};
use vdeploy_core::ids::RunId;
use vdeploy_gate::RunShared;
use vdeploy_lease::target::{self, Claim, TargetLeaseError};
use vdeploy_lease::wait::Wait;
use vdeploy_lease::{LeaseHolder, LeaseLost, TargetLease, orphans};

/// Watches for a loss until dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A lost lease closes the gate of the run.
pub fn break_off_when(
    lost: impl Future<Output = LeaseLost> + Send + 'static,
    shared: Arc<RunShared>,
) -> Watch {
    let task = tokio::spawn(async move {
        shared.lease_lost(&lost.await.loss());
    });
    Watch(task.abort_handle())
}

/// The lease on the target itself, renewed and watched.
#[derive(Debug)]
pub struct OnTarget {
    lease: TargetLease,
    watch: Watch,
}

impl OnTarget {
    fn new(lease: TargetLease, shared: &Arc<RunShared>) -> Self {
        let watch = break_off_when(lease.lost(), shared.clone());
        Self { lease, watch }
    }

    /// From now on a change is sent only while it is held. A lease that was
    /// relied on is not done without any more: the gate would take its end for
    /// a loss.
    fn relied_on(self, shared: &RunShared) -> Self {
        let leases = &shared.world.leases;
        leases.rely_on(LeaseBackend::Target, self.lease.validity());
        self
    }

    /// The run that had begun a change on the target last when it was taken.
    pub fn changed_by(&self) -> Option<RunId> {
        self.lease.changed_by()
    }

    /// Gives it back.
    pub async fn end(self) {
        drop(self.watch);
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the lease on the target could not be given back; it ends by \
                                    itself");
        }
    }
}

/// Takes the lease on the target; else how the run ends, and why. `takes_over`
/// says of another run, whose process is gone, why its lease may be broken.
pub async fn take(
    claim: &Claim,
    shared: &Arc<RunShared>,
    wait: &mut Wait,
    takes_over: &(dyn Fn(&RunId) -> Option<&'static str> + Sync),
) -> Result<OnTarget, (Outcome, String)> {
    loop {
        match TargetLease::acquire(claim.clone()).await {
            Ok(Ok(lease)) => {
                let lease = OnTarget::new(lease, shared);
                let doing = |text| shared.recorder.emit(RunEvent::Doing { text });
                return match orphans::end(&lease.lease, &*claim.ssh, doing).await {
                    Ok(_) => Ok(lease.relied_on(shared)),
                    Err(why) => {
                        lease.end().await;
                        Err((Outcome::Unreachable, why))
                    }
                };
            }
            Ok(Err(holder)) => {
                if broken(claim, &holder, takes_over).await {
                    continue;
                }
                let name = claim.target.facts().name;
                wait_for(&holder, &name, wait, shared).await?;
            }
            Err(error @ TargetLeaseError::Unreached(_)) => {
                return Err((Outcome::Unreachable, error.to_string()));
            }
            Err(error @ TargetLeaseError::Failed(_)) => {
                return Err((Outcome::Refused, error.to_string()));
            }
        }
    }
}

/// Breaks the lease on the target that nobody is there to renew, of a run that
/// this one takes over from.
async fn broken(
    claim: &Claim,
    holder: &LeaseHolder,
    takes_over: &(dyn Fn(&RunId) -> Option<&'static str> + Sync),
) -> bool {
    let Some(why) = takes_over(&holder.run).filter(|_| holder.is_gone()) else {
        return false;
    };
    let word = format!("{} ({why})", claim.who);
    let asked = target::break_held(&*claim.ssh, &holder.run, &word, claim.ttl);
    matches!(asked.await, Ok(Ok(())))
}

/// Takes it as soon as the target is another VM.
pub fn after_a_move(claim: Claim, shared: &Arc<RunShared>) -> OnTarget {
    OnTarget::new(TargetLease::after_a_move(claim), shared).relied_on(shared)
}

/// Takes nothing, and warns when another run holds it.
pub async fn preview(claim: &Claim, shared: &RunShared) {
    let message = match target::holder(&*claim.ssh, claim.ttl).await {
        Ok(None) => return,
        Ok(Some(holder)) => format!(
            "{}. A dry run only looks and goes on; what it sees may change",
            holder.sentence(&claim.target.facts().name)
        ),
        Err(error) => format!("whether another run holds the target is not known: {error}"),
    };
    shared.recorder.emit(RunEvent::Log {
        step: None,
        level: Level::Warn,
        message: shared.masker.mask(&message).into_owned(),
    });
}

#[cfg(test)]
#[path = "take_tests.rs"]
mod tests;
