//! Holds the lease on the target itself while a run lasts, so that runs whose
//! stores know nothing of each other exclude each other too. Knows the target
//! only as an SSH connection and a handle; stopping the run is the caller's
//! part.
//!
//! The target decides, by its own clock: it keeps the lease in
//! `~/.vdeploy-lease` (see `target_lease.sh`). Whether the lease could be
//! renewed in time is told by this machine's monotonic clock, from before the
//! call that renewed. Time during which the target stands still for a snapshot
//! does not count: nobody can take the lease then.
//!
//! A restored VM has the lease of the moment of its snapshot on its disk. The
//! lease follows the target there: it is taken anew. A copied one of another
//! run holds nobody off, since this run has just made the VM: it is broken.

mod script;
#[cfg(test)]
mod tests;

pub use script::{TargetHolder, TargetLeaseError};

use super::lease::{LeaseLost, when_lost};
use crate::capability::held::{Held, Loss, Moment};
use crate::capability::ssh::Ssh;
use crate::ids::{RunId, VmId};
use crate::target::{TargetFacts, TargetHandle};
use script::{Answer, Ask, ask};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a lease on a target lasts without renewal. Longer than the store's:
/// a busy target may answer late, and a run that has to end for it has done
/// harm. A killed run blocks its target for runs of other machines so long.
pub const TTL: Duration = Duration::from_secs(30);

/// First wait after a renewal that failed; doubles each time.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Longest such wait: a target that is back is asked soon who has it.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// Giving the lease back may take so long; after that it ends by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(10);

/// What a target that cannot be reached for the whole ttl means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absence {
    /// The lease is lost: another run may have it.
    Loses,
    /// The way back needs a snapshot and not this VM: go on, and take the
    /// lease where it can be taken. Another holder is a loss all the same.
    Tolerated,
}

/// For whom and how a lease is taken.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The run's connection.
    pub ssh: Arc<dyn Ssh>,
    /// Where the target is.
    pub target: TargetHandle,
    /// The run.
    pub run: RunId,
    /// user@machine pid, or the CI job.
    pub who: String,
    /// How long the lease lasts without renewal, such as [`TTL`]; whole seconds.
    pub ttl: Duration,
    /// What a target that is not reached means.
    pub absence: Absence,
}

/// A lease on the target that is held and renewed until it is released, lost
/// or dropped. Dropping stops the renewals and lets the lease run out.
#[derive(Debug)]
pub struct TargetLease {
    keeper: Arc<Keeper>,
    lost: watch::Receiver<Option<LeaseLost>>,
    renewals: JoinHandle<()>,
}

#[derive(Debug)]
struct Keeper {
    claim: Claim,
    held: Held,
    place: Mutex<Place>,
    /// The runs that have lost it before, of which something may still go on.
    left: Mutex<Vec<RunId>>,
    /// The run that had begun a change there last when it was taken.
    changed: Mutex<Option<RunId>>,
}

/// Where the lease was taken last, or could not be.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    vm: Option<VmId>,
    token: Option<u64>,
    /// The largest token so far.
    largest: u64,
}

/// A question that was answered.
struct Answered {
    started: Instant,
    moment: Moment,
    vm: Option<VmId>,
    kept: Result<Kept, TargetLeaseError>,
}

/// How an attempt to keep the lease went.
enum Kept {
    Yes,
    /// On a VM that is new to the run somebody else still has it.
    NotYet(TargetHolder),
    Lost(Option<TargetHolder>),
    /// Somebody broke it, and says who and why.
    Broken(String),
}

/// Who holds the target, if anybody does; only looks. Needs `ttl` to tell a
/// lease from the leftover of a clock that was set back.
///
/// # Errors
/// The target cannot be asked.
pub async fn holder(
    ssh: &dyn Ssh,
    ttl: Duration,
) -> Result<Option<TargetHolder>, TargetLeaseError> {
    match ask(ssh, Ask::Look, ttl, ttl).await? {
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
    ttl: Duration,
) -> Result<Result<(), Option<TargetHolder>>, TargetLeaseError> {
    match ask(ssh, Ask::Break { run, by }, ttl, ttl).await? {
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
    pub async fn take(claim: Claim) -> Result<Result<Self, TargetHolder>, TargetLeaseError> {
        let moves = claim.target.moves();
        let (asked, moment) = (Instant::now(), Moment::now());
        let keeper = Keeper::new(claim);
        let vm = keeper.place().vm.clone();
        match keeper.take(vm).await? {
            None => {
                keeper.held.renewed(moment, keeper.claim.ttl);
                Ok(Ok(Self::keep(keeper, moves, asked)))
            }
            Some(holder) => Ok(Err(holder)),
        }
    }

    /// Holds nothing yet: the lease is taken where the target moves to.
    pub fn after_a_move(claim: Claim) -> Self {
        let moves = claim.target.moves();
        let keeper = Keeper::new(claim);
        keeper.held.not_needed();
        Self::keep(keeper, moves, Instant::now())
    }

    fn keep(keeper: Keeper, moves: Moves, asked: Instant) -> Self {
        let keeper = Arc::new(keeper);
        let (tell, lost) = watch::channel(None);
        let renewing = keeper.clone();
        let renewals = tokio::spawn(async move {
            let held = renewing.held.clone();
            let why = renewing.renew_until_lost(moves, asked).await;
            held.lose(why.loss());
            tell.send_replace(Some(why));
        });
        Self {
            keeper,
            lost,
            renewals,
        }
    }

    /// Whether it is surely held at a moment; what sends changes asks it.
    pub fn held(&self) -> Held {
        self.keeper.held.clone()
    }

    /// Resolves when the lease is lost, and never if it is not. Outlives the
    /// lease and may be asked for many times.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        when_lost(self.lost.clone())
    }

    /// Whether it is lost already.
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Runs that had let it run out, or whose lease was broken. They start
    /// nothing on the target any more; what they began there may still go on.
    /// Who takes the lease ends that before its first change.
    pub fn left(&self) -> Vec<RunId> {
        self.keeper.left().clone()
    }

    /// The run that had begun a change on the target last when the lease was
    /// taken there; none where no run has.
    pub fn changed_by(&self) -> Option<RunId> {
        self.keeper.changed().clone()
    }

    /// Nothing of [`Self::left`] goes on any more: the next one is not told.
    ///
    /// # Errors
    /// The target cannot be asked, or the lease is lost.
    pub async fn settled(&self) -> Result<(), TargetLeaseError> {
        let Claim { ssh, run, ttl, .. } = &self.keeper.claim;
        let left = self.left();
        let Some(token) = self.keeper.place().token.filter(|_| !left.is_empty()) else {
            return Ok(());
        };
        let left = &left;
        match ask(&**ssh, Ask::Settle { run, token, left }, *ttl, *ttl).await? {
            Answer::Settled => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the lease back; no error when it was lost already. Costs one
    /// command on the target.
    ///
    /// # Errors
    /// The target cannot be asked; the lease then runs out by itself.
    pub async fn release(self) -> Result<(), TargetLeaseError> {
        self.renewals.abort();
        let claim = &self.keeper.claim;
        let place = self.keeper.place().clone();
        let Some(token) = place.token else {
            return Ok(());
        };
        if place.vm != claim.target.facts().vm {
            return Ok(());
        }
        let run = &claim.run;
        let release = Ask::Release { run, token };
        let asked = ask(&*claim.ssh, release, claim.ttl, RELEASE_WITHIN);
        match timeout(RELEASE_WITHIN, asked).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(TargetLeaseError::Failed("no answer in time".to_owned())),
        }
    }
}

impl Drop for TargetLease {
    fn drop(&mut self) {
        self.renewals.abort();
        self.keeper.held.lose(Loss::for_good("it was given back"));
    }
}

type Moves = watch::Receiver<TargetFacts>;

/// When the next attempt is due, and until when one must have gone well.
struct Schedule {
    next: Instant,
    end: Instant,
    wait: Duration,
    longest: Duration,
    last: Option<String>,
    /// The end had passed unseen, and the target was asked all the same.
    asked_late: bool,
}

impl Schedule {
    fn new(next: Instant, end: Instant) -> Self {
        Self {
            next,
            end,
            wait: BACK_OFF,
            longest: LONGEST_BACK_OFF,
            last: None,
            asked_late: false,
        }
    }

    /// Counts from when it was asked for: the target counts from later on.
    fn renewed(at: Instant, ttl: Duration) -> Self {
        Self::new(at + ttl / 4, at + ttl)
    }

    fn failed(&mut self, why: String) {
        self.last = Some(why);
        self.next = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(self.longest);
    }
}

impl Keeper {
    fn new(claim: Claim) -> Self {
        let place = Mutex::new(Place {
            vm: claim.target.facts().vm,
            token: None,
            largest: 0,
        });
        Self {
            claim,
            held: Held::default(),
            place,
            left: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn left(&self) -> MutexGuard<'_, Vec<RunId>> {
        self.left.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn changed(&self) -> MutexGuard<'_, Option<RunId>> {
        self.changed.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Renews until that fails for good. `asked` is when the lease was asked
    /// for. A busy target may answer late: no question is given up before the
    /// lease ends, the next ones are asked beside it, and each answer counts
    /// from when its question was sent.
    async fn renew_until_lost(self: Arc<Self>, mut moves: Moves, asked: Instant) -> LeaseLost {
        let (target, ttl) = (self.claim.target.clone(), self.claim.ttl);
        let mut schedule = Schedule::renewed(asked, ttl);
        let mut questions: JoinSet<Answered> = JoinSet::new();
        loop {
            let place = self.place().clone();
            let nothing_here = place.token.is_none() && place.vm == target.facts().vm;
            tokio::select! {
                _ = moves.changed() => {
                    self.held.unknown();
                    questions = JoinSet::new();
                    let now = Instant::now();
                    schedule = Schedule::new(now, now + ttl);
                }
                Some(answered) = questions.join_next() => {
                    if let Ok(answered) = answered
                        // Else nobody knows which VM answered; ask the new one.
                        && target.facts().vm == answered.vm
                        && let Some(lost) = self.heard(answered, &mut schedule)
                    {
                        return lost;
                    }
                    continue;
                }
                () = sleep_until(schedule.next.min(schedule.end)), if !nothing_here => {}
            }
            if target.stands_still() && self.held.is_sure() {
                self.stand_still().await;
                questions = JoinSet::new();
                let now = Instant::now();
                schedule = Schedule::new(now, now + ttl);
            }
            let (started, moment) = (Instant::now(), Moment::now());
            if started >= schedule.end {
                // Without having tried, or long after it: the process was
                // stopped or starved. The target knows whether somebody took it
                // meanwhile.
                let slept = started >= schedule.end + ttl / 4;
                let untried = schedule.last.is_none() && questions.is_empty();
                let why = match schedule.last.take() {
                    Some(last) => last,
                    None => "the target does not answer".to_owned(),
                };
                if schedule.asked_late || !(slept || untried) {
                    if self.claim.absence == Absence::Loses {
                        return LeaseLost::NotRenewed {
                            after: ttl,
                            last: why,
                        };
                    }
                    tracing::warn!(%why, "the lease on the target cannot be renewed; going on");
                    self.held.not_needed();
                    schedule.end = started + ttl;
                    (schedule.wait, schedule.longest) = (ttl / 3, ttl / 3);
                } else {
                    schedule.end = started + ttl / 3;
                    schedule.asked_late = true;
                }
            }
            let vm = target.facts().vm;
            let taking = place.token.is_none() || place.vm != vm;
            if taking && !questions.is_empty() {
                // Of two at once the older one may be answered last.
                schedule.next = schedule.end;
                continue;
            }
            schedule.next = started + ttl / 4;
            let keeper = self.clone();
            questions.spawn(async move {
                let kept = keeper.keep_on(vm.clone()).await;
                Answered {
                    started,
                    moment,
                    vm,
                    kept,
                }
            });
        }
    }

    /// Waits while the target stands still: nobody can take the lease then. A
    /// process that was stopped meanwhile does not know for how long that was
    /// so, and asks.
    async fn stand_still(&self) {
        let Claim { target, ttl, .. } = &self.claim;
        while self.held.is_sure() {
            self.held.renewed(Moment::now(), *ttl);
            if timeout(*ttl / 4, target.goes_on()).await.is_ok() {
                break;
            }
        }
        self.held.unknown();
    }

    /// What an answer means for the schedule; the loss, if it is one.
    fn heard(&self, answered: Answered, schedule: &mut Schedule) -> Option<LeaseLost> {
        let (started, ttl) = (answered.started, self.claim.ttl);
        if let Ok(Kept::Yes) = answered.kept {
            self.held.renewed(answered.moment, ttl);
        }
        match answered.kept {
            Ok(Kept::Yes) if started + ttl > schedule.end || schedule.asked_late => {
                *schedule = Schedule::renewed(started, ttl);
            }
            // A later question was answered before.
            Ok(Kept::Yes) => {}
            Ok(Kept::NotYet(holder)) => {
                if Instant::now() >= schedule.end {
                    return Some(self.fenced(&has_it_now(Some(&holder))));
                }
                schedule.failed(has_it_now(Some(&holder)));
            }
            Ok(Kept::Lost(holder)) => return Some(self.fenced(&has_it_now(holder.as_ref()))),
            Ok(Kept::Broken(by)) => return Some(self.fenced(&format!("{by} broke it"))),
            Err(error) => schedule.failed(error.to_string()),
        }
        None
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
            Answer::Lost(holder) => Ok(Kept::Lost(holder)),
            Answer::Fenced(by) => Ok(Kept::Broken(by)),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes it on a VM that this run has just made, whatever its disk says.
    async fn take_over(&self, vm: Option<VmId>) -> Result<Kept, TargetLeaseError> {
        let Claim { ssh, who, ttl, .. } = &self.claim;
        if let Some(copied) = self.take(vm.clone()).await? {
            let by = format!("{who}, which restored this VM from a snapshot,");
            let _ = break_held(&**ssh, &copied.run, &by, *ttl).await?;
            if let Some(holder) = self.take(vm).await? {
                return Ok(Kept::NotYet(holder));
            }
        }
        Ok(Kept::Yes)
    }

    /// Takes the lease, unless somebody else has it.
    async fn take(&self, vm: Option<VmId>) -> Result<Option<TargetHolder>, TargetLeaseError> {
        let Claim {
            ssh, run, who, ttl, ..
        } = &self.claim;
        let least = self.place().largest;
        let take = Ask::Take { run, least, who };
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
                Ok(None)
            }
            Answer::Held(holder) => Ok(Some(holder)),
            other => Err(unexpected(&other)),
        }
    }

    fn fenced(&self, why: &str) -> LeaseLost {
        let facts = self.claim.target.facts();
        let token = self.place().token;
        let token = token.map(|token| format!(" (fencing token {token})"));
        LeaseLost::Fenced {
            message: format!(
                "lost the lease on the target `{}` itself{}; {why}",
                facts.name,
                token.unwrap_or_default(),
            ),
        }
    }
}

fn has_it_now(holder: Option<&TargetHolder>) -> String {
    match holder {
        Some(holder) if holder.who.is_empty() => format!("run {} holds it now", holder.run),
        Some(holder) => format!("run {} ({}) holds it now", holder.run, holder.who),
        None => "nobody holds it now: it was released or ~/.vdeploy-lease was removed".to_owned(),
    }
}

fn unexpected(answer: &Answer) -> TargetLeaseError {
    TargetLeaseError::Failed(format!("an answer that does not fit: {answer:?}"))
}
