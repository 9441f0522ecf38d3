//! Holds the lease on a target while a run lasts: renews it in time and says
//! at once when it is lost. Knows the store's trait only; stopping the run is
//! the driver's part.
//!
//! The keeper's own clock is monotonic and counts from before the call that
//! renewed, so it gives up no later than the store lets another run in. The
//! last word is the store's: every journal write carries the token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout_at};
use vdeploy_core::capability::held::{Held, Loss, Moment};
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::store::{Granted, Holder, Store, StoreError};

/// How long a lease lasts without renewal, unless told otherwise. A killed run
/// blocks its target for this long at most.
pub const DEFAULT_TTL: Duration = Duration::from_secs(15);

/// First wait after a renewal that failed; doubles each time.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Why a lease is no longer ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseLost {
    /// The store gave the target to another run, or somebody released it.
    Fenced {
        /// What the store says.
        message: String,
    },
    /// The store could not be written in time: another run may have it.
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
    pub fn loss(&self) -> Loss {
        match self {
            Self::Fenced { .. } => Loss::for_good(self.to_string()),
            Self::NotRenewed { .. } => Loss::for_now(self.to_string()),
        }
    }
}

/// A lease that is held and renewed until it is released, lost or dropped.
/// Dropping stops the renewals and lets the lease run out.
#[derive(Debug)]
pub struct LeaseKeeper {
    store: Arc<dyn Store>,
    granted: Granted,
    held: Held,
    lost: watch::Receiver<Option<LeaseLost>>,
    renewals: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Takes the lease on `target` and renews it every third of `ttl` (see
    /// [`DEFAULT_TTL`]). `Ok(Err(holder))` when another run has it. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn acquire(
        store: Arc<dyn Store>,
        target: TargetName,
        run: RunId,
        who: String,
        ttl: Duration,
    ) -> Result<Result<Self, Holder>, StoreError> {
        let (asked, moment) = (Instant::now(), Moment::now());
        let taken = {
            let store = store.clone();
            on_own_thread(move || store.acquire_lease(&target, &run, &who, ttl)).await?
        };
        let granted = match taken {
            Ok(granted) => granted,
            Err(holder) => return Ok(Err(holder)),
        };
        let held = Held::default();
        held.renewed(moment, ttl);
        let (tell, lost) = watch::channel(None);
        let renewing = keep(store.clone(), granted.clone(), ttl, asked, held.clone());
        let losing = held.clone();
        let renewals = tokio::spawn(async move {
            let why = renewing.await;
            losing.lose(why.loss());
            tell.send_replace(Some(why));
        });
        Ok(Ok(Self {
            store,
            granted,
            held,
            lost,
            renewals,
        }))
    }

    /// The lease, for journal writes.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Whether it is surely held at a moment; what sends changes asks it.
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Resolves when the lease is lost, and never if it is not. Outlives the
    /// keeper and may be asked for many times.
    pub fn lost(&self) -> impl Future<Output = LeaseLost> + Send + 'static {
        when_lost(self.lost.clone())
    }

    /// Whether it is lost already.
    pub fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Gives the lease back; no error when it was lost already.
    ///
    /// # Errors
    /// What the store says; the lease then runs out by itself.
    pub async fn release(self) -> Result<(), StoreError> {
        self.held.lose(Loss::for_good("it was given back"));
        // A renewal that is on its way goes on: the store refuses the token of a
        // lease that was given back.
        self.renewals.abort();
        let (store, granted) = (self.store.clone(), self.granted.clone());
        on_own_thread(move || store.release_lease(&granted)).await
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.renewals.abort();
        self.held.lose(Loss::for_good("it was given back"));
    }
}

/// Resolves when a loss is told, and never if the teller goes away without.
pub(super) async fn when_lost(mut lost: watch::Receiver<Option<LeaseLost>>) -> LeaseLost {
    loop {
        if let Some(why) = lost.borrow_and_update().clone() {
            return why;
        }
        if lost.changed().await.is_err() {
            // The keeper is gone without a loss.
            return std::future::pending().await;
        }
    }
}

/// Renews until that fails for good. `asked` is when the lease was asked for.
async fn keep(
    store: Arc<dyn Store>,
    lease: Granted,
    ttl: Duration,
    asked: Instant,
    held: Held,
) -> LeaseLost {
    let mut renewed = asked;
    let mut next = asked + ttl / 3;
    let mut wait = BACK_OFF;
    let mut last: Option<String> = None;
    loop {
        let end = renewed + ttl;
        sleep_until(next.min(end)).await;
        let (started, moment) = (Instant::now(), Moment::now());
        let late = started >= end;
        if let (true, Some(last)) = (late, &last) {
            let last = last.clone();
            return LeaseLost::NotRenewed { after: ttl, last };
        }
        // Late without having tried: the process was stopped or starved. The
        // store knows whether somebody took the target meanwhile.
        let deadline = if late { started + ttl / 3 } else { end };
        let call = {
            let (store, lease) = (store.clone(), lease.clone());
            on_own_thread(move || store.renew_lease(&lease, ttl))
        };
        match timeout_at(deadline, call).await {
            Ok(Ok(())) => {
                held.renewed(moment, ttl);
                renewed = started;
                next = started + ttl / 3;
                wait = BACK_OFF;
                last = None;
            }
            Ok(Err(error @ StoreError::Fenced { .. })) => {
                return LeaseLost::Fenced {
                    message: error.to_string(),
                };
            }
            Ok(Err(error)) => {
                last = Some(error.to_string());
                next = Instant::now() + wait;
                wait = (wait * 2).min(ttl / 3);
            }
            Err(_) => {
                let last = last.unwrap_or_else(|| unanswered(&*store));
                return LeaseLost::NotRenewed { after: ttl, last };
            }
        }
    }
}

/// A call that does not return waits for somebody else.
fn unanswered(store: &dyn Store) -> String {
    format!(
        "{} does not answer: another process may have had it locked for too long, or its disk \
         stands still",
        store.place()
    )
}

/// Store calls may wait for another process: never on a runtime thread.
async fn on_own_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(call).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Database {
                path: "lease".to_owned(),
                message: "the runtime is shutting down".to_owned(),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use vdeploy_journal::SqliteStore;

    /// Far longer than anything here takes: a test that gets there hangs.
    const PATIENCE: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(150);

    struct Setup {
        store: Arc<SqliteStore>,
        /// Added to the store's clock, in milliseconds.
        ahead: Arc<AtomicU64>,
        /// How often the store has looked at its clock: once a write.
        looks: Arc<AtomicU64>,
        target: TargetName,
    }

    fn setup() -> Setup {
        let ahead = Arc::new(AtomicU64::new(0));
        let looks = Arc::new(AtomicU64::new(0));
        let (hand, look, start) = (ahead.clone(), looks.clone(), std::time::Instant::now());
        let store = SqliteStore::in_memory()
            .unwrap()
            .with_clock(Arc::new(move || {
                look.fetch_add(1, Ordering::SeqCst);
                let real = u64::try_from(start.elapsed().as_millis()).unwrap();
                1_000 + real + hand.load(Ordering::SeqCst)
            }));
        Setup {
            store: Arc::new(store),
            ahead,
            looks,
            target: "infra".into(),
        }
    }

    impl Setup {
        async fn keeper(&self, run: &str, ttl: Duration) -> Result<LeaseKeeper, Holder> {
            LeaseKeeper::acquire(
                self.store.clone(),
                self.target.clone(),
                run.into(),
                "me".to_owned(),
                ttl,
            )
            .await
            .unwrap()
        }

        fn expires(&self) -> u64 {
            let holder = self.store.lease_holder(&self.target).unwrap();
            holder.map_or(0, |holder| holder.expires)
        }
    }

    async fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "never happened: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_is_renewed_until_it_is_released() {
        let setup = setup();
        let keeper = setup.keeper("01A", Duration::from_secs(3)).await.unwrap();
        let first = keeper.granted().holder.expires;
        until("a renewal", || setup.expires() > first).await;
        let holder = setup.keeper("01B", SHORT).await.unwrap_err();
        assert_eq!(holder.run.as_str(), "01A");
        assert!(!keeper.is_lost());

        let lost = keeper.lost();
        keeper.release().await.unwrap();
        let next = setup.keeper("01B", SHORT).await.unwrap();
        assert_eq!(next.granted().token, 2);
        // Released is not lost.
        let waited = tokio::time::timeout(SHORT * 2, lost).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn a_takeover_is_noticed() {
        let setup = setup();
        let keeper = setup
            .keeper("01A", Duration::from_millis(600))
            .await
            .unwrap();
        // To the store's clock the keeper has slept for a minute.
        until("a takeover", || {
            setup.ahead.fetch_add(60_000, Ordering::SeqCst);
            let (target, run) = (&setup.target, "01B".into());
            let taken = setup.store.acquire_lease(target, &run, "ci", DEFAULT_TTL);
            taken.unwrap().is_ok()
        })
        .await;
        let why = tokio::time::timeout(PATIENCE, keeper.lost()).await.unwrap();
        assert_eq!(
            why,
            LeaseLost::Fenced {
                message: "lost the lease on `infra` (fencing token 1); run 01B (ci) holds it now"
                    .to_owned()
            }
        );
        assert!(keeper.is_lost());
        // Giving back what is lost leaves the new holder alone.
        keeper.release().await.unwrap();
        let holder = setup.store.lease_holder(&setup.target).unwrap().unwrap();
        assert_eq!(holder.run.as_str(), "01B");
    }

    #[tokio::test]
    async fn a_store_that_fails_loses_the_lease_in_time() {
        let setup = setup();
        let keeper = setup.keeper("01A", SHORT).await.unwrap();
        setup.store.execute("ALTER TABLE lease RENAME TO hidden");
        let why = tokio::time::timeout(PATIENCE, keeper.lost()).await.unwrap();
        let LeaseLost::NotRenewed { after, last } = &why else {
            panic!("{why:?}");
        };
        assert_eq!(*after, SHORT);
        assert!(last.contains("no such table: lease"));
        assert!(
            why.to_string()
                .starts_with("the lease could not be renewed")
        );
    }

    #[tokio::test]
    async fn a_store_that_fails_for_a_moment_does_not() {
        let setup = setup();
        let keeper = setup.keeper("01A", Duration::from_secs(3)).await.unwrap();
        let first = keeper.granted().holder.expires;
        setup.store.execute("ALTER TABLE lease RENAME TO hidden");
        let before = setup.looks.load(Ordering::SeqCst);
        until("a renewal that fails", || {
            setup.looks.load(Ordering::SeqCst) > before
        })
        .await;
        setup.store.execute("ALTER TABLE hidden RENAME TO lease");
        until("a renewal", || setup.expires() > first).await;
        assert!(!keeper.is_lost());
    }

    #[tokio::test]
    async fn a_store_that_hangs_loses_the_lease_in_time() {
        let setup = setup();
        let keeper = setup.keeper("01A", SHORT).await.unwrap();
        let (store, free) = (setup.store.clone(), std::sync::mpsc::channel::<()>());
        let (free, wait) = free;
        let blocker = std::thread::spawn(move || {
            store.hold(|| {
                let _ = wait.recv();
            });
        });
        let why = tokio::time::timeout(PATIENCE, keeper.lost()).await;
        free.send(()).unwrap();
        blocker.join().unwrap();
        let LeaseLost::NotRenewed { after, last } = why.unwrap() else {
            panic!("it was not the store");
        };
        assert_eq!(after, SHORT);
        assert!(
            last.starts_with("state database :memory: does not answer"),
            "{last}"
        );
    }

    #[tokio::test]
    async fn a_renewal_on_its_way_does_not_bring_a_released_lease_back() {
        let (entered, renewing) = std::sync::mpsc::channel();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let (may_go, calls) = (std::sync::Mutex::new(may_go), AtomicU64::new(0));
        // The second write is the first renewal: it stands still in the middle.
        let store = SqliteStore::in_memory()
            .unwrap()
            .with_clock(Arc::new(move || {
                if calls.fetch_add(1, Ordering::SeqCst) == 1 {
                    entered.send(()).unwrap();
                    may_go.lock().unwrap().recv().unwrap();
                }
                1_000
            }));
        let store = Arc::new(store);
        let (target, ttl) = (TargetName::from("infra"), Duration::from_millis(300));
        let keeper = LeaseKeeper::acquire(
            store.clone(),
            target.clone(),
            "01A".into(),
            "me".to_owned(),
            ttl,
        );
        let keeper = keeper.await.unwrap().unwrap();
        let (granted, held) = (keeper.granted().clone(), keeper.held());
        tokio::task::spawn_blocking(move || renewing.recv().unwrap())
            .await
            .unwrap();
        let releasing = tokio::spawn(keeper.release());
        tokio::task::yield_now().await;
        assert!(!held.is_sure(), "no change is sent from now on");
        go.send(()).unwrap();
        releasing.await.unwrap().unwrap();
        assert_eq!(store.lease_holder(&target).unwrap(), None);
        // One that comes later still.
        let late = store.renew_lease(&granted, ttl);
        assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
        assert_eq!(store.lease_holder(&target).unwrap(), None);
    }

    #[tokio::test]
    async fn dropping_stops_the_renewals() {
        let setup = setup();
        let keeper = setup.keeper("01A", SHORT).await.unwrap();
        drop(keeper);
        until("the task ends", || Arc::strong_count(&setup.store) == 1).await;
        until("the lease runs out", || setup.expires() == 0).await;
    }
}
