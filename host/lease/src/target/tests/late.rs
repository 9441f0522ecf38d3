//! Questions that arrive, or are answered, after their asker has given up waiting.

use super::*;
use vdeploy_core::capability::leases::LeaseState as _;

const SHORT: Duration = Duration::from_secs(4);

async fn is_free_for_others(homes: &Homes) {
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
    let taken = homes.take("01B").await;
    let Answer::Taken { left, .. } = &taken else {
        panic!("{taken:?}");
    };
    assert!(left.is_empty(), "given back is not lost: {left:?}");
}

/// A question of the lease is on its way when it is released, and its answer is
/// late. `begins` makes the lease ask.
async fn stays_released(question: &'static str, begins: impl Fn(&Homes)) {
    for what in [Late::Question, Late::Answer] {
        let homes = Homes::new();
        let lease = homes.acquire("01A", SHORT).await;
        let late = homes.hold_back(question, what);
        begins(&homes);
        late.sent().await;
        if what == Late::Answer {
            late.done().await;
        }
        lease.release().await.unwrap();
        assert_eq!(homes.ask(Ask::Look).await, Answer::Free, "{what:?}");
        late.go();
        if what == Late::Question {
            late.done().await;
        }
        is_free_for_others(&homes).await;
    }
}

#[tokio::test]
async fn a_renewal_on_its_way_does_not_bring_a_released_lease_back() {
    stays_released("renew", |_| ()).await;
}

/// On a VM that was just restored: the lease was taken on the one before.
#[tokio::test]
async fn a_take_on_its_way_does_not_bring_a_released_lease_back() {
    stays_released("take", |homes| homes.target.move_to("two".into())).await;
}

/// The same where it was never held: the run had come for the snapshot only.
#[tokio::test]
async fn a_first_take_on_its_way_does_not_outlast_the_run() {
    let homes = Homes::new();
    let lease = TargetLease::after_a_move(homes.claim("01A", SHORT));
    let late = homes.hold_back("take", Late::Question);
    homes.target.move_to("two".into());
    late.sent().await;
    lease.release().await.unwrap();
    late.go();
    late.done().await;
    is_free_for_others(&homes).await;
}

/// The lease that another run had on the disk of the snapshot may be held for
/// real by the time it is to be broken.
#[tokio::test]
async fn who_has_given_it_back_breaks_no_lease_of_others_later() {
    let homes = Homes::new();
    homes.target.move_to("two".into());
    homes.take("00Z").await;
    homes.target.move_to("one".into());
    let lease = homes.acquire("01A", SHORT).await;
    let late = homes.hold_back("break", Late::Question);
    homes.target.move_to("two".into());
    late.sent().await;
    lease.release().await.unwrap();
    late.go();
    late.done().await;
    let Answer::Held(holder) = homes.ask(Ask::Look).await else {
        panic!("broken by a run that is over");
    };
    assert_eq!(holder.run.as_str(), "00Z");
}

#[tokio::test]
async fn a_run_that_was_cut_off_while_it_took_the_lease_does_not_get_it_later() {
    let homes = Homes::new();
    let late = homes.hold_back("take", Late::CutOff);
    let error = TargetLease::acquire(homes.claim("01A", SHORT)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, TargetLeaseError::Unreached(_)), "{error:?}");
    late.go();
    late.done().await;
    is_free_for_others(&homes).await;
}

/// It would find a token that it does not know, and take itself for another run.
#[tokio::test]
async fn a_take_that_arrives_twice_does_not_lose_the_lease_to_itself() {
    let homes = Homes::new();
    let lease = homes.acquire("01A", SHORT).await;
    let late = homes.hold_back("take", Late::CutOff);
    homes.target.move_to("two".into());
    late.sent().await;
    // The second one is answered.
    let taken = async {
        while !lease.validity().is_valid() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, taken).await.unwrap();
    late.go();
    late.done().await;
    let before = homes.calls.load(Ordering::SeqCst);
    homes.calls_beyond(before + 2).await;
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
    is_free_for_others(&homes).await;
}

/// Whatever has ended a claim, its `take` comes too late.
#[tokio::test]
async fn a_claim_that_is_over_takes_nothing_more() {
    let homes = Homes::new();
    let (a, b) = (&RunId::from("01A"), &RunId::from("01B"));
    // Given back.
    homes.take("01A").await;
    let first = homes.claim_of("01A");
    homes.release("01A").await;
    let late = homes.take_as("01A", &first).await;
    assert_eq!(late, Answer::Lost(None));
    // Broken.
    homes.take("01A").await;
    let second = homes.claim_of("01A");
    break_held(&*homes, a, "ada", LONG).await.unwrap().unwrap();
    let late = homes.take_as("01A", &second).await;
    assert_eq!(late, Answer::Fenced("ada".to_owned()));
    // Taken by another process of the same run, which still has it.
    homes.take("01A").await;
    let third = homes.claim_of("01A");
    homes.take("01A").await;
    let late = homes.take_as("01A", &third).await;
    assert!(matches!(&late, Answer::Lost(Some(_))), "{late:?}");
    // Run out, and given back by the one that came after.
    let fourth = homes.claim_of("01A");
    homes.end_in("one", -2);
    assert!(matches!(homes.take("01B").await, Answer::Taken { .. }));
    homes.release("01B").await;
    let late = homes.take_as("01A", &fourth).await;
    assert_eq!(late, Answer::Lost(None));
    // A new process may have it all the same.
    assert!(matches!(homes.take("01A").await, Answer::Taken { .. }));
    let token = 1;
    let late = homes.ask(Ask::Renew { run: b, token }).await;
    assert!(matches!(late, Answer::Lost(Some(_))), "{late:?}");
}

/// The mark is made before the release looks, and looked for after the take.
#[tokio::test]
async fn of_a_take_and_a_release_at_once_nothing_is_left() {
    let homes = Homes::new();
    for round in 0..50 {
        homes.target.move_to(format!("vm-{round}").as_str().into());
        let (run, claim) = (&RunId::from("01A"), &ClaimId::generate());
        let release = homes.ask(Ask::Release { run, claim });
        let both = tokio::join!(homes.take_as("01A", claim), release);
        let look = homes.ask(Ask::Look).await;
        assert_eq!(look, Answer::Free, "round {round}: {both:?}");
    }
}
