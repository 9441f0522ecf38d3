//! Holds the lease on the target itself while a run lasts, so that runs whose
//! stores know nothing of each other exclude each other too. Knows the target
//! only as an SSH connection and a handle; stopping the run is the caller's
//! part.
//!
//! The target decides, by its own clock: it keeps the lease in
//! `~/.vdeploy-lease` (see `target.sh`). Time during which the target stands
//! still for a snapshot does not count: nobody can take the lease then.
//!
//! Giving the lease back is final: questions that were sent before may arrive
//! later, and whoever asked them may have stopped waiting. The script refuses
//! them, since each carries its claim or its token.
//!
//! A restored VM has the lease of the moment of its snapshot on its disk. The
//! lease follows the target there: it is taken anew. A copied one of another
//! run holds nobody off, since this run has just made the VM: it is broken.

mod backend;
mod script;
#[cfg(test)]
mod tests;

pub use script::TargetLeaseError;

use crate::holder::LeaseHolder;
use crate::renew::{Absence, Asked, LeaseLost, Renewals};
use crate::validity::{BootInstant, LeaseValidity};
use backend::{TargetBackend, Took, unexpected};
use script::{Answer, Ask, ClaimId, ask};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::ssh::Ssh;
use vdeploy_core::ids::RunId;
use vdeploy_core::target::{TargetFacts, TargetHandle};

/// How long an answer is waited for by who only looks, or breaks a lease.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Giving the lease back may take so long; after that it ends by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);
/// The same for one that may have been taken without an answer: the target has
/// just been slow or away.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(3);

/// For whom and how a lease is taken.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The run's connection.
    pub ssh: Arc<dyn Ssh>,
    /// Where the target is.
    pub target: TargetHandle,
    /// The run.
    pub run: RunId,
    pub who: Actor,
    /// How long the lease lasts without renewal; whole seconds.
    pub ttl: Duration,
    /// What a target that is not reached means.
    pub absence: Absence,
}

/// A lease on the target that is held and renewed until it is released, lost
/// or dropped. Dropping stops the renewals and lets the lease run out.
#[derive(Debug)]
pub struct TargetLease {
    backend: Arc<TargetBackend>,
    renewals: Renewals,
}

/// Who holds the target, if anybody does; only looks. The answer is waited for
/// `within` this time.
///
/// # Errors
/// The target cannot be asked.
pub async fn holder(
    ssh: &dyn Ssh,
    within: Duration,
) -> Result<Option<LeaseHolder>, TargetLeaseError> {
    match ask(ssh, Ask::Look, within, within).await? {
        Answer::Held(holder) => Ok(Some(holder)),
        _ => Ok(None),
    }
}

/// Takes the lease away from `run`, also one that ran out; `by` says who does
/// it and why, for that run. Whether it had it; if not, who has it now. From
/// then on its next renewal fails.
///
/// # Errors
/// The target cannot be asked or cannot keep a lease.
pub async fn break_held(
    ssh: &dyn Ssh,
    run: &RunId,
    by: &str,
    within: Duration,
) -> Result<Result<(), Option<LeaseHolder>>, TargetLeaseError> {
    break_as(ssh, run, by, None, within).await
}

/// The same, unless `claim`, that of who asks, is over when it arrives.
async fn break_as(
    ssh: &dyn Ssh,
    run: &RunId,
    by: &str,
    claim: Option<&ClaimId>,
    within: Duration,
) -> Result<Result<(), Option<LeaseHolder>>, TargetLeaseError> {
    match ask(ssh, Ask::Break { run, by, claim }, within, within).await? {
        Answer::Broken => Ok(Ok(())),
        Answer::Held(holder) => Ok(Err(Some(holder))),
        Answer::Free => Ok(Err(None)),
        other => Err(unexpected(&other)),
    }
}

impl TargetLease {
    /// Takes the lease and renews it every quarter of the ttl.
    /// `Ok(Err(holder))` when another run has it. Costs one command on the
    /// target. Needs a tokio runtime.
    ///
    /// # Errors
    /// The target cannot be asked within the ttl or cannot keep a lease.
    pub async fn acquire(claim: Claim) -> Result<Result<Self, LeaseHolder>, TargetLeaseError> {
        let moves = claim.target.moves();
        let (at, moment) = (Instant::now(), BootInstant::now());
        let backend = TargetBackend::new(claim);
        let vm = backend.place().vm.clone();
        match backend.take(vm).await {
            Ok(Took::Yes) => {
                let validity = LeaseValidity::default();
                validity.renewed(moment, backend.claim.ttl);
                Ok(Ok(Self::keep(backend, validity, moves, at)))
            }
            Ok(Took::No(holder)) => Ok(Err(holder)),
            Ok(Took::Over(answer)) => Err(unexpected(&answer)),
            Err(error) => {
                if matches!(&error, TargetLeaseError::Unreached(e) if e.maybe_applied) {
                    // Nobody would use what a late answer has taken.
                    let _ = backend.give_back(GIVE_UP_WITHIN).await;
                }
                Err(error)
            }
        }
    }

    /// Holds nothing yet: the lease is taken where the target moves to.
    pub fn after_a_move(claim: Claim) -> Self {
        let moves = claim.target.moves();
        let validity = LeaseValidity::default();
        validity.not_needed();
        Self::keep(TargetBackend::new(claim), validity, moves, Instant::now())
    }

    fn keep(
        backend: TargetBackend,
        validity: LeaseValidity,
        moves: watch::Receiver<TargetFacts>,
        at: Instant,
    ) -> Self {
        let ttl = backend.claim.ttl;
        let backend = Arc::new(backend);
        let moves = Some(moves);
        let renewals = Renewals::start(backend.clone(), validity, ttl, Asked { at, moves });
        Self { backend, renewals }
    }

    /// Whether it is certainly held; what sends changes asks it.
    pub fn validity(&self) -> LeaseValidity {
        self.renewals.validity()
    }

    /// Resolves when the lease is lost, and never if it is not. Outlives the
    /// lease and may be asked for many times.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        self.renewals.lost()
    }

    /// Whether it is lost already.
    pub fn is_lost(&self) -> bool {
        self.renewals.is_lost()
    }

    /// Runs that had let it run out, or whose lease was broken. They start
    /// nothing on the target any more; what they began there may still go on.
    /// Who takes the lease ends that before its first change.
    pub fn orphaned_runs(&self) -> Vec<RunId> {
        self.backend.left().clone()
    }

    /// The run that had begun a change on the target last when the lease was
    /// taken there; none where no run has.
    pub fn changed_by(&self) -> Option<RunId> {
        self.backend.changed().clone()
    }

    /// Nothing of [`Self::orphaned_runs`] goes on any more: the next one is not told.
    ///
    /// # Errors
    /// The target cannot be asked, or the lease is lost.
    pub async fn forget_orphans(&self) -> Result<(), TargetLeaseError> {
        let Claim { ssh, run, ttl, .. } = &self.backend.claim;
        let left = self.orphaned_runs();
        let Some(token) = self.backend.place().token.filter(|_| !left.is_empty()) else {
            return Ok(());
        };
        let left = &left;
        match ask(&**ssh, Ask::Settle { run, token, left }, *ttl, *ttl).await? {
            Answer::Settled => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the lease back, also one whose answer is still on its way; no error
    /// when it was lost already. What arrives after it takes nothing. Costs one
    /// command on the target. A VM that was left on the way keeps its lease until
    /// that runs out.
    ///
    /// # Errors
    /// The target cannot be asked; the lease then runs out by itself.
    pub async fn release(mut self) -> Result<(), TargetLeaseError> {
        self.renewals.stop().await;
        self.backend.give_back(RELEASE_WITHIN).await
    }
}
