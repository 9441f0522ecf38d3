//! When the target is asked again, and what its answers mean for the run.

use super::keeper::{Keeper, Kept};
use super::script::{TargetHolder, TargetLeaseError};
use super::{Absence, Claim};
use crate::lease::LeaseLost;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use vdeploy_core::capability::held::Moment;
use vdeploy_core::ids::VmId;
use vdeploy_core::target::TargetFacts;

/// First wait after a renewal that failed; doubles each time.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Longest such wait: a target that is back is soon asked for its lease holder.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

pub(super) type Moves = watch::Receiver<TargetFacts>;

/// A question that was answered.
struct Answered {
    started: Instant,
    moment: Moment,
    vm: Option<VmId>,
    kept: Result<Kept, TargetLeaseError>,
}

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
    /// Renews until that fails for good. `asked` is when the lease was asked
    /// for. A busy target may answer late: no question is given up before the
    /// lease ends, the next ones are asked beside it, and each answer counts
    /// from when its question was sent.
    pub(super) async fn renew_until_lost(
        self: Arc<Self>,
        mut moves: Moves,
        asked: Instant,
    ) -> LeaseLost {
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
