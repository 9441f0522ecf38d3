//! Renews a lease until it is lost: when it is asked for again, and what an
//! answer, or none, means. Where the lease is kept is the [`Backend`]'s part;
//! stopping the run is the caller's.
//!
//! The schedule follows a monotonic clock and counts from before the question
//! that renewed, so a lease is given up no later than the backend lets another
//! run in. The last word is the backend's: it refuses an old token.

use crate::validity::{BootInstant, LeaseValidity};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use vdeploy_core::capability::leases::{LeaseLoss, LeaseState as _};
use vdeploy_core::ids::VmId;
use vdeploy_core::target::{TargetFacts, TargetHandle};

/// First wait after a renewal that failed; doubles each time.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Longest such wait: a backend that is back is soon asked for its lease holder.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// What a backend that does not answer for the whole ttl means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absence {
    /// The lease is lost: another run may have it.
    Loses,
    /// The rollback needs a snapshot and not this VM: continue, and take the
    /// lease where it can be taken. Another holder is a loss all the same.
    Tolerated,
}

/// Why a lease is no longer ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseLost {
    /// Another run has it, or somebody broke or released it; in these words.
    Fenced { message: String },
    /// It could not be renewed in time: another run may have it.
    NotRenewed {
        /// How long it was tried.
        after: Duration,
        /// The last error.
        last: String,
    },
}

impl fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced { message } => f.write_str(message),
            Self::NotRenewed { after, last } => {
                let secs = after.as_secs_f32();
                write!(f, "the lease could not be renewed for {secs:.1}s: {last}")
            }
        }
    }
}

impl std::error::Error for LeaseLost {}

impl LeaseLost {
    /// The same for who sends changes.
    pub fn loss(&self) -> LeaseLoss {
        match self {
            Self::Fenced { .. } => LeaseLoss::for_good(self.to_string()),
            Self::NotRenewed { .. } => LeaseLoss::for_now(self.to_string()),
        }
    }
}

/// The answer to one question.
pub(crate) enum Renewal {
    Done,
    /// On a VM that is new to the run somebody else still has it: who.
    NotYet(String),
    /// It is lost for good: why.
    Fenced(String),
    /// Nothing is known: the error.
    Failed(String),
}

/// Where a lease is kept, as the loop sees it.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Asks once. Takes the lease where the target is on a VM that is new to it.
    async fn renew(&self, vm: Option<VmId>) -> Renewal;

    /// Whether the next question waits for the answer to the one before it.
    fn asks_one_at_a_time(&self, vm: Option<&VmId>) -> bool;

    /// What an unanswered question is an error of.
    fn unanswered(&self) -> String;

    /// The whole message of a loss.
    fn fenced(&self, why: String) -> String {
        why
    }

    /// The target that keeps the lease, and may move; none where it is kept
    /// elsewhere.
    fn target(&self) -> Option<&TargetHandle> {
        None
    }

    /// Whether there is nothing to ask before the target moves.
    fn is_idle(&self, _vm: Option<&VmId>) -> bool {
        false
    }

    fn absence(&self) -> Absence {
        Absence::Loses
    }
}

/// The renewals of one lease, until they are stopped or the lease is lost.
/// Dropping stops them and lets the lease expire.
#[derive(Debug)]
pub(crate) struct Renewals {
    validity: LeaseValidity,
    lost: watch::Receiver<Option<LeaseLost>>,
    task: JoinHandle<()>,
}

/// The question that acquired the lease.
pub(crate) struct Asked {
    /// Before it was sent.
    pub at: Instant,
    /// Subscribed before it, so that no move is missed.
    pub moves: Option<watch::Receiver<TargetFacts>>,
}

impl Renewals {
    /// Needs a tokio runtime.
    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        validity: LeaseValidity,
        ttl: Duration,
        asked: Asked,
    ) -> Self {
        let (tell, lost) = watch::channel(None);
        let renewing = RenewLoop {
            backend,
            validity: validity.clone(),
            ttl,
            moves: asked.moves,
            schedule: Schedule::renewed(asked.at, ttl),
            questions: JoinSet::new(),
        };
        let losing = validity.clone();
        let task = tokio::spawn(async move {
            let why = renewing.until_lost().await;
            losing.lose(why.loss());
            tell.send_replace(Some(why));
        });
        Self {
            validity,
            lost,
            task,
        }
    }

    pub(crate) fn validity(&self) -> LeaseValidity {
        self.validity.clone()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Resolves when the lease is lost, and never if it is not.
    pub(crate) fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        let mut lost = self.lost.clone();
        async move {
            match lost.wait_for(Option::is_some).await.map(|why| why.clone()) {
                Ok(Some(why)) => why,
                // The renewals ended without a loss.
                _ => std::future::pending().await,
            }
        }
    }

    /// No change is sent, and no question begins after this. One that is on its
    /// way may still arrive; the backend refuses it.
    pub(crate) async fn stop(&mut self) {
        self.give_up();
        let _ = (&mut self.task).await;
    }

    fn give_up(&self) {
        self.validity.lose(LeaseLoss::for_good("it was given back"));
        self.task.abort();
    }
}

impl Drop for Renewals {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A question that was answered.
struct Answered {
    started: Instant,
    moment: BootInstant,
    vm: Option<VmId>,
    answer: Renewal,
}

/// When the next question is due, and until when one must have succeeded.
struct Schedule {
    next: Instant,
    end: Instant,
    wait: Duration,
    longest: Duration,
    last: Option<String>,
    /// The end had passed unseen, and the backend was asked all the same.
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

    /// Counts from when it was asked for: the backend counts from later on.
    fn renewed(at: Instant, ttl: Duration) -> Self {
        Self::new(at + ttl / 4, at + ttl)
    }

    /// Ask now.
    fn restarted(ttl: Duration) -> Self {
        let now = Instant::now();
        Self::new(now, now + ttl)
    }

    fn failed(&mut self, why: String) {
        self.last = Some(why);
        self.next = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(self.longest);
    }
}

struct RenewLoop {
    backend: Arc<dyn Backend>,
    validity: LeaseValidity,
    ttl: Duration,
    moves: Option<watch::Receiver<TargetFacts>>,
    schedule: Schedule,
    questions: JoinSet<Answered>,
}

impl RenewLoop {
    /// A busy target may answer late: no question is given up before the lease
    /// ends, the next ones are asked beside it where the backend allows that,
    /// and each answer counts from when its question was sent.
    async fn until_lost(mut self) -> LeaseLost {
        loop {
            let is_idle = self.backend.is_idle(self.vm().as_ref());
            let due = self.schedule.next.min(self.schedule.end);
            tokio::select! {
                biased;
                () = moved(&mut self.moves) => {
                    self.validity.unknown();
                    self.restart();
                }
                Some(answered) = self.questions.join_next() => {
                    if let Ok(answered) = answered
                        // Else nobody knows which VM answered; ask the new one.
                        && self.vm() == answered.vm
                        && let Some(lost) = self.apply(answered)
                    {
                        return lost;
                    }
                    continue;
                }
                () = sleep_until(due), if !is_idle => {}
            }
            self.wait_while_frozen().await;
            let (started, moment) = (Instant::now(), BootInstant::now());
            if started >= self.schedule.end
                && let Some(lost) = self.overdue(started)
            {
                return lost;
            }
            let vm = self.vm();
            if !self.questions.is_empty() && self.backend.asks_one_at_a_time(vm.as_ref()) {
                self.schedule.next = self.schedule.end;
                continue;
            }
            self.schedule.next = started + self.ttl / 4;
            let backend = self.backend.clone();
            self.questions.spawn(async move {
                let answer = backend.renew(vm.clone()).await;
                Answered {
                    started,
                    moment,
                    vm,
                    answer,
                }
            });
        }
    }

    fn vm(&self) -> Option<VmId> {
        self.backend.target().and_then(|target| target.facts().vm)
    }

    fn restart(&mut self) {
        self.questions = JoinSet::new();
        self.schedule = Schedule::restarted(self.ttl);
    }

    /// Waits while the target stands still: nobody can take the lease then. A
    /// process that was stopped meanwhile does not know for how long that was
    /// so, and asks.
    async fn wait_while_frozen(&mut self) {
        let Some(target) = self.backend.target() else {
            return;
        };
        if !target.stands_still() || !self.validity.is_valid() {
            return;
        }
        while self.validity.is_valid() {
            self.validity.renewed(BootInstant::now(), self.ttl);
            if timeout(self.ttl / 4, target.goes_on()).await.is_ok() {
                break;
            }
        }
        self.validity.unknown();
        self.restart();
    }

    /// The lease has ended by this process's clock. One late question is asked
    /// where none was, or long after the end: the process was stopped or
    /// starved, and the backend knows whether somebody took the lease meanwhile.
    fn overdue(&mut self, now: Instant) -> Option<LeaseLost> {
        let (ttl, schedule) = (self.ttl, &mut self.schedule);
        let slept = now >= schedule.end + ttl / 4;
        let untried = schedule.last.is_none() && self.questions.is_empty();
        let last = schedule.last.take();
        if !schedule.asked_late && (slept || untried) {
            schedule.end = now + ttl / 3;
            schedule.asked_late = true;
            return None;
        }
        let last = last.unwrap_or_else(|| self.backend.unanswered());
        if self.backend.absence() == Absence::Loses {
            return Some(LeaseLost::NotRenewed { after: ttl, last });
        }
        tracing::warn!(why = %last, "the lease cannot be renewed; continuing without it");
        self.validity.not_needed();
        schedule.end = now + ttl;
        (schedule.wait, schedule.longest) = (ttl / 3, ttl / 3);
        None
    }

    /// What an answer means for the schedule; the loss, if it is one.
    fn apply(&mut self, answered: Answered) -> Option<LeaseLost> {
        let (started, ttl, schedule) = (answered.started, self.ttl, &mut self.schedule);
        match answered.answer {
            Renewal::Done => {
                self.validity.renewed(answered.moment, ttl);
                // Else a later question was answered before.
                if started + ttl > schedule.end || schedule.asked_late {
                    *schedule = Schedule::renewed(started, ttl);
                }
                None
            }
            Renewal::NotYet(why) if Instant::now() >= schedule.end => Some(self.fenced(why)),
            Renewal::NotYet(why) | Renewal::Failed(why) => {
                schedule.failed(why);
                None
            }
            Renewal::Fenced(why) => Some(self.fenced(why)),
        }
    }

    fn fenced(&self, why: String) -> LeaseLost {
        LeaseLost::Fenced {
            message: self.backend.fenced(why),
        }
    }
}

/// Resolves when the target has moved.
async fn moved(moves: &mut Option<watch::Receiver<TargetFacts>>) {
    match moves {
        // The sender lives as long as the backend's handle: there is no error.
        Some(moves) => _ = moves.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "renew_tests.rs"]
mod tests;
