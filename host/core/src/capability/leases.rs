//! The leases that a run must hold while it sends a change. Whoever sends one
//! asks right before; while the answer is not known, the change waits. The
//! keeper of a lease is elsewhere (`lease`): here is only what it answers.
//!
//! A command on the target has its fence there (`ssh/job/job.sh`). A request of
//! HTTP and a call of the platform have none at the other end, so this is
//! theirs.

use async_trait::async_trait;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

/// How a lease was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseLoss {
    /// For a person.
    pub why: String,
    /// Whether the run can be resumed: nobody is known to hold the lease instead.
    pub mendable: bool,
}

impl LeaseLoss {
    /// Somebody else holds it, or broke it.
    pub fn for_good(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            mendable: false,
        }
    }

    /// It could not be renewed: another process may resume when it can be again.
    pub fn for_now(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            mendable: true,
        }
    }
}

/// Why a change was not sent, or is in doubt: a lease was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unguarded {
    pub how: LeaseLoss,
    /// Whether the change was on its way.
    pub begun: bool,
}

/// Where a lease is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseBackend {
    Store,
    Target,
}

/// One lease, as far as it is known to be held.
#[async_trait]
pub trait LeaseState: Send + Sync + Debug {
    /// Whether it is certain that it is held now.
    fn is_valid(&self) -> bool;
    /// A lost lease stays lost.
    fn loss(&self) -> Option<LeaseLoss>;
    /// Resolves when it is valid, or lost.
    async fn settled(&self);
}

/// A lease of this run, and where it is kept.
type Held = (LeaseBackend, Arc<dyn LeaseState>);

/// The leases that a run relies on; none where nothing is held. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<Vec<Held>>>);

impl Leases {
    fn all(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From now on a change is sent only while this one is held.
    pub fn rely_on(&self, backend: LeaseBackend, lease: impl LeaseState + 'static) {
        self.all().push((backend, Arc::new(lease)));
    }

    /// Those of now that the target itself has no part in.
    #[must_use]
    pub fn in_store(&self) -> Self {
        let all = self.all();
        let kept = all
            .iter()
            .filter(|(backend, _)| *backend == LeaseBackend::Store);
        Self(Arc::new(Mutex::new(kept.cloned().collect())))
    }

    /// Whether it is certain that all are held now.
    pub fn are_valid(&self) -> bool {
        self.all().iter().all(|(_, lease)| lease.is_valid())
    }

    /// How one was lost, if one was.
    pub fn loss(&self) -> Option<LeaseLoss> {
        self.all().iter().find_map(|(_, lease)| lease.loss())
    }

    /// Resolves when it is certain that all are held.
    ///
    /// # Errors
    /// One is lost: how.
    pub async fn ensure_valid(&self) -> Result<(), LeaseLoss> {
        loop {
            if let Some(how) = self.loss() {
                return Err(how);
            }
            let unsure = self.all().iter().find(|(_, l)| !l.is_valid()).cloned();
            match unsure {
                Some((_, lease)) => lease.settled().await,
                None => return Ok(()),
            }
        }
    }

    /// Makes `what`, and no step of it while it is not certain that all are held.
    ///
    /// # Errors
    /// One was lost before the end. What had begun may have had its effect.
    pub async fn guard<T>(&self, what: impl Future<Output = T>) -> Result<T, Unguarded> {
        let mut what = pin!(what);
        let mut begun = false;
        loop {
            self.ensure_valid()
                .await
                .map_err(|how| Unguarded { how, begun })?;
            begun = true;
            let step = poll_fn(|cx| match self.are_valid() {
                true => what.as_mut().poll(cx).map(Some),
                false => Poll::Ready(None),
            });
            if let Some(done) = step.await {
                return Ok(done);
            }
        }
    }
}
