//! Until when a lease is certainly held. Who renews it says so; who sends a
//! change asks right before ([`vdeploy_core::capability::leases`]). A host that
//! was stopped for longer than its lease, or a machine that was asleep, believes
//! nothing that it knew before.

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use vdeploy_core::capability::leases::{LeaseLoss, LeaseState};

/// A point in time by a clock that nobody sets and that goes on while the
/// machine sleeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BootInstant(Duration);

impl BootInstant {
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

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// It must be asked for first.
    Unknown,
    Until(BootInstant),
    /// Nobody else can take it, or it does not matter.
    NotNeeded,
    Lost(LeaseLoss),
}

impl State {
    fn is_valid(&self) -> bool {
        match self {
            Self::Until(end) => BootInstant::now() < *end,
            Self::NotNeeded => true,
            Self::Unknown | Self::Lost(_) => false,
        }
    }
}

/// One lease, as far as it is known to be held. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct LeaseValidity(Arc<watch::Sender<State>>);

impl Default for LeaseValidity {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Unknown)))
    }
}

impl LeaseValidity {
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
    pub fn renewed(&self, asked: BootInstant, ttl: Duration) {
        let end = BootInstant(asked.0 + ttl);
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

    /// Nobody else can take it now, or the run continues without it.
    pub fn not_needed(&self) {
        self.become_if(State::NotNeeded, |_| true);
    }

    /// It is not ours any more, for this reason.
    pub fn lose(&self, how: LeaseLoss) {
        self.become_if(State::Lost(how), |_| true);
    }
}

#[async_trait]
impl LeaseState for LeaseValidity {
    fn is_valid(&self) -> bool {
        self.0.borrow().is_valid()
    }

    fn loss(&self) -> Option<LeaseLoss> {
        match &*self.0.borrow() {
            State::Lost(how) => Some(how.clone()),
            _ => None,
        }
    }

    async fn settled(&self) {
        let settled = |state: &State| state.is_valid() || matches!(state, State::Lost(_));
        // The sender lives as long as this handle: there is no error to see.
        let _ = self.0.subscribe().wait_for(settled).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::timeout;
    use vdeploy_core::capability::leases::{LeaseBackend, Leases, Unguarded};

    const LONG: Duration = Duration::from_secs(600);
    /// Nothing comes within this time that does not come at once.
    const MOMENT: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn leases() -> (Leases, LeaseValidity, LeaseValidity) {
        let (leases, store, target) = (
            Leases::default(),
            LeaseValidity::default(),
            LeaseValidity::default(),
        );
        leases.rely_on(LeaseBackend::Store, store.clone());
        leases.rely_on(LeaseBackend::Target, target.clone());
        (leases, store, target)
    }

    fn ago(time: Duration) -> BootInstant {
        BootInstant(BootInstant::now().0.saturating_sub(time))
    }

    #[test]
    fn what_counts_is_when_it_was_asked_for() {
        let held = LeaseValidity::default();
        assert!(!held.is_valid());
        held.renewed(BootInstant::now(), LONG);
        assert!(held.is_valid());
        // An older answer that comes last takes nothing back.
        held.renewed(ago(Duration::from_secs(1)), Duration::ZERO);
        assert!(held.is_valid());
        held.unknown();
        assert!(!held.is_valid());
        held.renewed(ago(Duration::from_secs(1)), Duration::from_millis(1));
        assert!(!held.is_valid(), "it has run out");
        held.not_needed();
        assert!(held.is_valid());
        held.lose(LeaseLoss::for_good("gone"));
        held.renewed(BootInstant::now(), LONG);
        assert!(!held.is_valid(), "what is lost stays lost");
    }

    #[tokio::test]
    async fn a_change_waits_until_both_leases_are_held() {
        assert_eq!(
            Leases::default().ensure_valid().await,
            Ok(()),
            "nothing is held"
        );
        let (leases, store, target) = leases();
        store.renewed(BootInstant::now(), LONG);
        assert!(timeout(MOMENT, leases.ensure_valid()).await.is_err());
        let waits = tokio::spawn({
            let leases = leases.clone();
            async move { leases.ensure_valid().await }
        });
        target.renewed(BootInstant::now(), LONG);
        assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap(), Ok(()));
        target.unknown();
        let waits = tokio::spawn({
            let leases = leases.clone();
            async move { leases.guard(async {}).await.is_err() }
        });
        target.lose(LeaseLoss::for_now("the target does not answer"));
        assert!(timeout(PATIENCE, waits).await.unwrap().unwrap());
        let how = leases.ensure_valid().await.unwrap_err();
        assert_eq!(how, LeaseLoss::for_now("the target does not answer"));
        let never = leases.guard(async { panic!("it was sent") }).await;
        assert_eq!(never, Err::<(), _>(Unguarded { how, begun: false }));
    }

    #[tokio::test]
    async fn what_is_on_its_way_makes_no_further_step_without_a_lease() {
        let (leases, store, target) = leases();
        store.not_needed();
        target.renewed(BootInstant::now(), LONG);
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
        // Valid again: it continues.
        target.renewed(BootInstant::now(), LONG);
        timeout(PATIENCE, done(3)).await.unwrap();
        target.lose(LeaseLoss::for_good("it was taken"));
        ticks.notify_one();
        let lost = timeout(PATIENCE, guarded).await.unwrap().unwrap();
        let how = LeaseLoss::for_good("it was taken");
        assert_eq!(lost, Err(Unguarded { how, begun: true }));
        assert_eq!(steps.load(Ordering::SeqCst), 3);
    }
}
