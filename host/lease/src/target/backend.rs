//! What a run asks of the target about its lease, and what it knows of it. Knows
//! nothing of when it is asked.

use super::script::{Answer, Ask, ClaimId, TargetLeaseError, ask};
use super::{Claim, break_as};
use crate::holder::LeaseHolder;
use crate::renew::{Absence, Backend, Renewal};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::timeout;
use vdeploy_core::ids::{RunId, VmId};
use vdeploy_core::target::TargetHandle;

#[derive(Debug)]
pub(super) struct TargetBackend {
    pub(super) claim: Claim,
    id: ClaimId,
    /// Whether a target was ever asked for it: it may have it without an answer.
    asked: AtomicBool,
    place: Mutex<Place>,
    /// The runs that have lost it before, of which something may still go on.
    left: Mutex<Vec<RunId>>,
    /// The run that had begun a change there last when it was taken.
    changed: Mutex<Option<RunId>>,
}

/// Where the lease was taken last, or could not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) vm: Option<VmId>,
    pub(super) token: Option<u64>,
    /// The largest token so far.
    largest: u64,
}

/// How an attempt to take the lease went.
pub(super) enum Took {
    Yes,
    /// Somebody else has it.
    No(LeaseHolder),
    /// It was taken from this claim before.
    Over(Answer),
}

/// How an attempt to keep the lease went.
enum Kept {
    Yes,
    /// On a VM that is new to the run somebody else still has it.
    NotYet(LeaseHolder),
    Lost(Option<LeaseHolder>),
    /// Somebody broke it, and says who and why.
    Broken(String),
}

impl TargetBackend {
    pub(super) fn new(claim: Claim) -> Self {
        let place = Mutex::new(Place {
            vm: claim.target.facts().vm,
            token: None,
            largest: 0,
        });
        Self {
            claim,
            id: ClaimId::generate(),
            asked: AtomicBool::new(false),
            place,
            left: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    pub(super) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn left(&self) -> MutexGuard<'_, Vec<RunId>> {
        self.left.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn changed(&self) -> MutexGuard<'_, Option<RunId>> {
        self.changed.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Renews where the lease is held, takes it where the target moved to.
    async fn keep_on(&self, vm: Option<VmId>) -> Result<Kept, TargetLeaseError> {
        let Claim { ssh, run, ttl, .. } = &self.claim;
        let place = self.place().clone();
        let Some(token) = place.token.filter(|_| place.vm == vm) else {
            return self.take_over(vm).await;
        };
        match ask(&**ssh, Ask::Renew { run, token }, *ttl, *ttl).await? {
            Answer::Renewed => Ok(Kept::Yes),
            other => lost(other),
        }
    }

    /// Takes it on a VM that this run has just made, whatever its disk says.
    async fn take_over(&self, vm: Option<VmId>) -> Result<Kept, TargetLeaseError> {
        let Claim { ssh, who, ttl, .. } = &self.claim;
        let mut took = self.take(vm.clone()).await?;
        if let Took::No(copied) = &took {
            let by = format!("{who}, which restored this VM from a snapshot,");
            let _ = break_as(&**ssh, &copied.run, &by, Some(&self.id), *ttl).await?;
            took = self.take(vm).await?;
        }
        match took {
            Took::Yes => Ok(Kept::Yes),
            Took::No(holder) => Ok(Kept::NotYet(holder)),
            Took::Over(answer) => lost(answer),
        }
    }

    /// Takes the lease, unless somebody else has it.
    pub(super) async fn take(&self, vm: Option<VmId>) -> Result<Took, TargetLeaseError> {
        let Claim {
            ssh, run, who, ttl, ..
        } = &self.claim;
        let least = self.place().largest;
        let take = Ask::Take {
            run,
            least,
            who,
            claim: &self.id,
        };
        self.asked.store(true, Ordering::SeqCst);
        match ask(&**ssh, take, *ttl, *ttl).await? {
            Answer::Taken {
                token,
                changed,
                left,
            } => {
                *self.changed() = changed;
                *self.left() = left;
                *self.place() = Place {
                    vm,
                    token: Some(token),
                    largest: token,
                };
                Ok(Took::Yes)
            }
            Answer::Held(holder) => Ok(Took::No(holder)),
            over @ (Answer::Lost(_) | Answer::Fenced(_)) => Ok(Took::Over(over)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the claim where the target is now. Nothing has to be ended where no
    /// target was ever asked.
    pub(super) async fn give_back(&self, within: Duration) -> Result<(), TargetLeaseError> {
        if !self.asked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let Claim { ssh, run, ttl, .. } = &self.claim;
        let claim = &self.id;
        let asked = ask(&**ssh, Ask::Release { run, claim }, *ttl, within);
        match timeout(within, asked).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(TargetLeaseError::Failed("no answer in time".to_owned())),
        }
    }
}

#[async_trait]
impl Backend for TargetBackend {
    async fn renew(&self, vm: Option<VmId>) -> Renewal {
        match self.keep_on(vm).await {
            Ok(Kept::Yes) => Renewal::Done,
            Ok(Kept::NotYet(holder)) => Renewal::NotYet(has_it_now(Some(&holder))),
            Ok(Kept::Lost(holder)) => Renewal::Fenced(has_it_now(holder.as_ref())),
            Ok(Kept::Broken(by)) => Renewal::Fenced(format!("{by} broke it")),
            Err(error) => Renewal::Failed(error.to_string()),
        }
    }

    /// Of two that take it the older one may be answered last.
    fn asks_one_at_a_time(&self, vm: Option<&VmId>) -> bool {
        let place = self.place();
        place.token.is_none() || place.vm.as_ref() != vm
    }

    fn unanswered(&self) -> String {
        "the target does not answer".to_owned()
    }

    fn fenced(&self, why: String) -> String {
        let name = self.claim.target.facts().name;
        let token = self.place().token;
        let token = token.map(|token| format!(" (fencing token {token})"));
        format!(
            "lost the lease on the target `{name}` itself{}; {why}",
            token.unwrap_or_default()
        )
    }

    fn target(&self) -> Option<&TargetHandle> {
        Some(&self.claim.target)
    }

    fn is_idle(&self, vm: Option<&VmId>) -> bool {
        let place = self.place();
        place.token.is_none() && place.vm.as_ref() == vm
    }

    fn absence(&self) -> Absence {
        self.claim.absence
    }
}

fn has_it_now(holder: Option<&LeaseHolder>) -> String {
    match holder {
        Some(holder) if holder.who.name.is_empty() => format!("run {} holds it now", holder.run),
        Some(holder) => format!("run {} ({}) holds it now", holder.run, holder.who),
        None => "nobody holds it now: it was released or ~/.vdeploy-lease was removed".to_owned(),
    }
}

/// What an answer means that tells of a loss.
fn lost(answer: Answer) -> Result<Kept, TargetLeaseError> {
    match answer {
        Answer::Lost(holder) => Ok(Kept::Lost(holder)),
        Answer::Fenced(by) => Ok(Kept::Broken(by)),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(answer: &Answer) -> TargetLeaseError {
    TargetLeaseError::Failed(format!("an answer that does not fit: {answer:?}"))
}
