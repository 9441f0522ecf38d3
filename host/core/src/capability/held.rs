//! Whether the run surely holds its target at this moment. Who renews a lease
//! says until when it is held; who sends a change asks right before. While the
//! answer is not known it waits: a host that was stopped for longer than its
//! lease, or a machine that was asleep, believes nothing that it knew before.
//!
//! A command on the target has its fence there (`ssh/jobs/job.sh`). A request of
//! HTTP and a call of the platform have none at the other end, so this is
//! theirs.

use rustix::time::{ClockId, clock_gettime};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// A point in time by a clock that nobody sets and that goes on while the
/// machine sleeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let now = clock_gettime(CLOCK);
        Self(Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        ))
    }
}

/// How a lease was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// For a person.
    pub why: String,
    /// Whether the run can be gone on with: nobody is known to have it instead.
    pub mendable: bool,
}

impl Loss {
    /// Somebody else has it, or took it away.
    pub fn for_good(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            mendable: false,
        }
    }

    /// It could not be renewed: another process may go on when it can be again.
    pub fn for_now(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            mendable: true,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// It must be asked for first.
    Unknown,
    Until(Moment),
    /// Nobody else can take it, or it does not matter.
    NotNeeded,
    Lost(Loss),
}

impl State {
    fn is_sure(&self) -> bool {
        match self {
            Self::Until(end) => Moment::now() < *end,
            Self::NotNeeded => true,
            Self::Unknown | Self::Lost(_) => false,
        }
    }
}

/// One lease, as far as it is known to be held. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct Held(Arc<watch::Sender<State>>);

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }
}

impl Held {
    fn become_if(&self, new: State, wanted: impl FnOnce(&State) -> bool) {
        self.0.send_if_modified(|state| {
            let changes = !matches!(state, State::Lost(_)) && wanted(state);
            if changes {
                *state = new;
            }
            changes
        });
    }

    /// It was granted for so long when it was asked for at `asked`, or later.
    pub fn renewed(&self, asked: Moment, ttl: Duration) {
        let end = Moment(asked.0 + ttl);
        self.become_if(State::Until(end), |state| match state {
            // Of two answers the older one may come last.
            State::Until(known) => *known < end,
            _ => true,
        });
    }

    /// Whether it is still held must be asked again.
    pub fn unknown(&self) {
        self.become_if(State::Unknown, |_| true);
    }

    /// Nobody else can take it now, or it is gone on without it.
    pub fn not_needed(&self) {
        self.become_if(State::NotNeeded, |_| true);
    }

    /// It is not ours any more, for this reason.
    pub fn lose(&self, how: Loss) {
        self.become_if(State::Lost(how), |_| true);
    }

    /// Whether it is surely held now.
    pub fn is_sure(&self) -> bool {
        self.0.borrow().is_sure()
    }

    fn lost(&self) -> Option<Loss> {
        match &*self.0.borrow() {
            State::Lost(how) => Some(how.clone()),
            _ => None,
        }
    }

    /// Resolves when it is surely held, or lost.
    async fn settled(&self) {
        let settled = |state: &State| state.is_sure() || matches!(state, State::Lost(_));
        // The sender lives as long as this handle: there is no error to see.
        let _ = self.0.subscribe().wait_for(settled).await;
    }
}

/// Why a change was not sent, or is in doubt: a lease was lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// How it was lost.
    pub how: Loss,
    /// Whether the change was on its way.
    pub begun: bool,
}

/// Where a lease is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// In the store.
    Store,
    /// On the target itself.
    Target,
}

/// The leases that a run relies on; none where nothing is held. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<Vec<(Keeps, Held)>>>);

impl Leases {
    fn all(&self) -> MutexGuard<'_, Vec<(Keeps, Held)>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From now on a change is sent only while this one is held.
    pub fn rely_on(&self, keeps: Keeps, held: Held) {
        self.all().push((keeps, held));
    }

    /// Those of now that the target itself has no part in.
    #[must_use]
    pub fn in_store(&self) -> Self {
        let all = self.all();
        let kept = all.iter().filter(|(keeps, _)| *keeps == Keeps::Store);
        Self(Arc::new(Mutex::new(kept.cloned().collect())))
    }

    /// Whether all are surely held now.
    pub fn are_sure(&self) -> bool {
        self.all().iter().all(|(_, held)| held.is_sure())
    }

    /// How one was lost, if one was.
    pub fn lost(&self) -> Option<Loss> {
        self.all().iter().find_map(|(_, held)| held.lost())
    }

    /// Resolves when all are surely held.
    ///
    /// # Errors
    /// One is lost: how.
    pub async fn sure(&self) -> Result<(), Loss> {
        loop {
            if let Some(how) = self.lost() {
                return Err(how);
            }
            let unsure = self.all().iter().find(|(_, held)| !held.is_sure()).cloned();
            match unsure {
                Some((_, held)) => held.settled().await,
                None => return Ok(()),
            }
        }
    }

    /// Makes `what`, and no step of it while it is not sure that all are held.
    ///
    /// # Errors
    /// One was lost before the end. What had begun may have had its effect.
    pub async fn guard<T>(&self, what: impl Future<Output = T>) -> Result<T, Lost> {
        let mut what = pin!(what);
        let mut begun = false;
        loop {
            self.sure().await.map_err(|how| Lost { how, begun })?;
            begun = true;
            let step = poll_fn(|cx| match self.are_sure() {
                true => what.as_mut().poll(cx).map(Some),
                false => Poll::Ready(None),
            });
            if let Some(done) = step.await {
                return Ok(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(600);
    /// Nothing comes within this time that does not come at once.
    const MOMENT: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn leases() -> (Leases, Held, Held) {
        let (leases, store, target) = (Leases::default(), Held::default(), Held::default());
        leases.rely_on(Keeps::Store, store.clone());
        leases.rely_on(Keeps::Target, target.clone());
        (leases, store, target)
    }

    fn ago(time: Duration) -> Moment {
        Moment(Moment::now().0.saturating_sub(time))
    }

    #[test]
    fn what_counts_is_when_it_was_asked_for() {
        let held = Held::default();
        assert!(!held.is_sure());
        held.renewed(Moment::now(), LONG);
        assert!(held.is_sure());
        // An older answer that comes last takes nothing back.
        held.renewed(ago(Duration::from_secs(1)), Duration::ZERO);
        assert!(held.is_sure());
        held.unknown();
        assert!(!held.is_sure());
        held.renewed(ago(Duration::from_secs(1)), Duration::from_millis(1));
        assert!(!held.is_sure(), "it has run out");
        held.not_needed();
        assert!(held.is_sure());
        held.lose(Loss::for_good("gone"));
        held.renewed(Moment::now(), LONG);
        assert!(!held.is_sure(), "what is lost stays lost");
    }

    #[tokio::test]
    async fn a_change_waits_until_both_leases_are_held() {
        assert_eq!(Leases::default().sure().await, Ok(()), "nothing is held");
        let (leases, store, target) = leases();
        store.renewed(Moment::now(), LONG);
        assert!(timeout(MOMENT, leases.sure()).await.is_err());
        let waits = tokio::spawn({
            let leases = leases.clone();
            async move { leases.sure().await }
        });
        target.renewed(Moment::now(), LONG);
        assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap(), Ok(()));
        target.unknown();
        let waits = tokio::spawn({
            let leases = leases.clone();
            async move { leases.guard(async {}).await.is_err() }
        });
        target.lose(Loss::for_now("the target does not answer"));
        assert!(timeout(PATIENCE, waits).await.unwrap().unwrap());
        let how = leases.sure().await.unwrap_err();
        assert_eq!(how, Loss::for_now("the target does not answer"));
        let never = leases.guard(async { panic!("it was sent") }).await;
        assert_eq!(never, Err::<(), _>(Lost { how, begun: false }));
    }

    #[tokio::test]
    async fn what_is_on_its_way_makes_no_further_step_without_a_lease() {
        let (leases, store, target) = leases();
        store.not_needed();
        target.renewed(Moment::now(), LONG);
        let steps = Arc::new(AtomicUsize::new(0));
        let ticks = Arc::new(tokio::sync::Notify::new());
        let guarded = tokio::spawn({
            let (leases, steps, ticks) = (leases.clone(), steps.clone(), ticks.clone());
            async move {
                let what = async {
                    loop {
                        steps.fetch_add(1, Ordering::SeqCst);
                        ticks.notified().await;
                    }
                };
                leases.guard::<()>(what).await
            }
        });
        let done = |count| {
            let steps = steps.clone();
            async move {
                while steps.load(Ordering::SeqCst) < count {
                    tokio::task::yield_now().await;
                }
            }
        };
        timeout(PATIENCE, done(1)).await.unwrap();
        ticks.notify_one();
        timeout(PATIENCE, done(2)).await.unwrap();
        target.unknown();
        ticks.notify_one();
        assert!(timeout(MOMENT, done(3)).await.is_err());
        // Held again: it goes on.
        target.renewed(Moment::now(), LONG);
        timeout(PATIENCE, done(3)).await.unwrap();
        target.lose(Loss::for_good("it was taken"));
        ticks.notify_one();
        let lost = timeout(PATIENCE, guarded).await.unwrap().unwrap();
        let how = Loss::for_good("it was taken");
        assert_eq!(lost, Err(Lost { how, begun: true }));
        assert_eq!(steps.load(Ordering::SeqCst), 3);
    }
}
