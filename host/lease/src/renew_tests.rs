use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_millis(400);

/// Answers every question alike.
#[derive(Debug, Default)]
struct Fake {
    taken_away: AtomicBool,
    one_at_a_time: bool,
    slow: Duration,
    asked: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

#[async_trait]
impl Backend for Fake {
    async fn renew(&self, _: Option<VmId>) -> Renewal {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        sleep(self.slow).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
        match self.taken_away.load(Ordering::SeqCst) {
            true => Renewal::Fenced("run 01B holds it now".to_owned()),
            false => Renewal::Done,
        }
    }

    fn asks_one_at_a_time(&self, _: Option<&VmId>) -> bool {
        self.one_at_a_time
    }

    fn unanswered(&self) -> String {
        "no answer".to_owned()
    }
}

fn start(fake: Fake, ttl: Duration) -> (Arc<Fake>, Renewals) {
    let (fake, validity) = (Arc::new(fake), LeaseValidity::default());
    validity.renewed(BootInstant::now(), ttl);
    let (at, moves) = (Instant::now(), None);
    let renewals = Renewals::start(fake.clone(), validity, ttl, Asked { at, moves });
    (fake, renewals)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "never happened: {what}");
}

#[tokio::test]
async fn a_process_that_was_stopped_for_longer_than_its_lease_asks_before_it_gives_up() {
    for taken_away in [false, true] {
        let (fake, renewals) = start(Fake::default(), TTL);
        fake.taken_away.store(taken_away, Ordering::SeqCst);
        let validity = renewals.validity();
        // Nothing of this process runs meanwhile.
        std::thread::sleep(TTL * 2);
        assert!(!validity.is_valid(), "nothing was asked");
        if !taken_away {
            until("a renewal", || validity.is_valid()).await;
            assert!(!renewals.is_lost());
            continue;
        }
        let why = timeout(PATIENCE, renewals.lost()).await.unwrap();
        let message = "run 01B holds it now".to_owned();
        assert_eq!(why, LeaseLost::Fenced { message });
        assert!(!validity.loss().unwrap().mendable);
        assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn questions_overlap_only_where_the_backend_allows_it() {
    for one_at_a_time in [true, false] {
        let ttl = Duration::from_secs(2);
        let fake = Fake {
            one_at_a_time,
            slow: ttl / 3,
            ..Fake::default()
        };
        let (fake, renewals) = start(fake, ttl);
        until("questions", || fake.asked.load(Ordering::SeqCst) > 2).await;
        let most = fake.most_open.load(Ordering::SeqCst);
        assert_eq!(most == 1, one_at_a_time, "{most} at once");
        drop(renewals);
    }
}

#[tokio::test]
async fn a_stopped_renewal_is_lost_for_good_and_asks_nothing_more() {
    let (fake, mut renewals) = start(Fake::default(), TTL);
    until("a renewal", || fake.asked.load(Ordering::SeqCst) > 0).await;
    renewals.stop().await;
    let asked = fake.asked.load(Ordering::SeqCst);
    assert!(!renewals.validity().is_valid() && !renewals.is_lost());
    assert!(timeout(TTL * 2, renewals.lost()).await.is_err());
    assert_eq!(fake.asked.load(Ordering::SeqCst), asked);
}
