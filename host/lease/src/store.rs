//! The lease in the store, which excludes the other runs of this machine. The
//! store's word is the last one: every journal write carries the token.

use crate::renew::{Asked, Backend, LeaseLost, Renewal, Renewals};
use crate::validity::{BootInstant, LeaseValidity};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use vdeploy_core::actor::Actor;
use vdeploy_core::ids::{RunId, TargetName, VmId};
use vdeploy_journal::store::{Granted, Holder, Store, StoreError};

/// A lease that is held and renewed until it is released, lost or dropped.
/// Dropping stops the renewals and lets the lease expire.
#[derive(Debug)]
pub struct StoreLease {
    backend: Arc<StoreBackend>,
    renewals: Renewals,
}

#[derive(Debug)]
struct StoreBackend {
    store: Arc<dyn Store>,
    granted: Granted,
    ttl: Duration,
}

impl StoreLease {
    /// Takes the lease on `target` and renews it every quarter of `ttl`.
    /// `Ok(Err(holder))` when another run has it. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn acquire(
        store: Arc<dyn Store>,
        target: TargetName,
        run: RunId,
        who: Actor,
        ttl: Duration,
    ) -> Result<Result<Self, Holder>, StoreError> {
        let (at, moment) = (Instant::now(), BootInstant::now());
        let taken = {
            let store = store.clone();
            on_own_thread(move || store.acquire_lease(&target, &run, &who, ttl)).await?
        };
        let granted = match taken {
            Ok(granted) => granted,
            Err(holder) => return Ok(Err(holder)),
        };
        let validity = LeaseValidity::default();
        validity.renewed(moment, ttl);
        let backend = Arc::new(StoreBackend {
            store,
            granted,
            ttl,
        });
        let asked = Asked { at, moves: None };
        let renewals = Renewals::start(backend.clone(), validity, ttl, asked);
        Ok(Ok(Self { backend, renewals }))
    }

    /// The lease, for journal writes.
    pub fn granted(&self) -> &Granted {
        &self.backend.granted
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

    /// Gives the lease back; no error when it was lost already. The store
    /// refuses a renewal that arrives later.
    ///
    /// # Errors
    /// What the store says; the lease then expires by itself.
    pub async fn release(mut self) -> Result<(), StoreError> {
        self.renewals.stop().await;
        let backend = self.backend.clone();
        on_own_thread(move || backend.store.release_lease(&backend.granted)).await
    }
}

#[async_trait]
impl Backend for StoreBackend {
    async fn renew(&self, _: Option<VmId>) -> Renewal {
        let (store, granted, ttl) = (self.store.clone(), self.granted.clone(), self.ttl);
        match on_own_thread(move || store.renew_lease(&granted, ttl)).await {
            Ok(()) => Renewal::Done,
            Err(error @ StoreError::Fenced { .. }) => Renewal::Fenced(error.to_string()),
            Err(error) => Renewal::Failed(error.to_string()),
        }
    }

    /// Two would wait for the same lock.
    fn asks_one_at_a_time(&self, _: Option<&VmId>) -> bool {
        true
    }

    /// A call that does not return waits for somebody else.
    fn unanswered(&self) -> String {
        format!(
            "{} does not answer: another process may have had it locked for too long, or its \
             disk stands still",
            self.store.place()
        )
    }
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
    use vdeploy_core::capability::leases::LeaseState as _;
    use vdeploy_journal::SqliteStore;

    /// Far longer than anything here takes: a test that gets there hangs.
    const PATIENCE: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(15);
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
        async fn keeper(&self, run: &str, ttl: Duration) -> Result<StoreLease, Holder> {
            StoreLease::acquire(
                self.store.clone(),
                self.target.clone(),
                run.into(),
                "me".into(),
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
            let taken = setup.store.acquire_lease(target, &run, &"ci".into(), LONG);
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
        let keeper = StoreLease::acquire(
            store.clone(),
            target.clone(),
            "01A".into(),
            "me".into(),
            ttl,
        );
        let keeper = keeper.await.unwrap().unwrap();
        let (granted, held) = (keeper.granted().clone(), keeper.validity());
        tokio::task::spawn_blocking(move || renewing.recv().unwrap())
            .await
            .unwrap();
        let releasing = tokio::spawn(keeper.release());
        tokio::task::yield_now().await;
        assert!(!held.is_valid(), "no change is sent from now on");
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
