//! The script runs for real: each VM is a home directory of its own.

mod homes;
mod late;

use super::script::{Answer, Ask};
use super::*;
use homes::*;
use std::sync::atomic::Ordering;
use tokio::time::timeout;

#[tokio::test]
async fn of_two_takers_at_once_exactly_one_wins() {
    let homes = Homes::new();
    for round in 0..50 {
        homes.target.move_to(format!("vm-{round}").as_str().into());
        let (a, b) = tokio::join!(homes.take("01A"), homes.take("01B"));
        assert_eq!(winners(&[a, b]), 1, "round {round}");
    }
}

#[tokio::test]
async fn of_several_takers_of_an_expired_lease_exactly_one_wins() {
    let homes = Homes::new();
    assert_eq!(homes.take("01A").await, taken(1));
    for round in 0..50_u64 {
        homes.end_in("one", -2);
        let names = ["B", "C", "D"].map(|name| format!("{name}{round}"));
        let [b, c, d] = &names;
        let (b, c, d) = tokio::join!(homes.take(b), homes.take(c), homes.take(d));
        let answers = [b, c, d];
        assert_eq!(winners(&answers), 1, "round {round}: {answers:?}");
        // Each grant has the next token, and the losers left nothing.
        let token = round + 2;
        let next = |a: &&Answer| matches!(a, Answer::Taken { token: t, .. } if *t == token);
        assert_eq!(answers.iter().filter(next).count(), 1, "{answers:?}");
        assert_eq!(homes.records("one").len(), 1);
    }
}

#[tokio::test]
async fn a_renewal_and_a_takeover_at_once_do_not_both_succeed() {
    let homes = Homes::new();
    for round in 0..50 {
        homes.target.move_to(format!("vm-{round}").as_str().into());
        let run = &RunId::from("01A");
        assert_eq!(homes.take("01A").await, taken(1));
        homes.end_in(&format!("vm-{round}"), -2);
        let renew = homes.ask(Ask::Renew { run, token: 1 });
        match tokio::join!(renew, homes.take("01B")) {
            (Answer::Renewed, Answer::Held(holder)) => assert_eq!(holder.run, *run),
            (Answer::Lost(Some(holder)), Answer::Taken { token: 2, .. }) => {
                assert_eq!(holder.run.as_str(), "01B");
            }
            both => panic!("round {round}: {both:?}"),
        }
    }
}

#[tokio::test]
async fn a_lease_lasts_until_its_end_and_can_be_given_back() {
    let homes = Homes::new();
    let (a, b) = (&RunId::from("01A"), &RunId::from("01B"));
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
    assert!(homes.records("one").is_empty(), "a look leaves nothing");
    assert_eq!(homes.take("01A").await, taken(1));
    // Ends within the current second: not over yet.
    homes.end_in("one", 1);
    let Answer::Held(holder) = homes.take("01B").await else {
        panic!("taken from its holder");
    };
    assert_eq!(
        (holder.run.as_str(), holder.who.name.as_str()),
        ("01A", "who of 01A")
    );
    assert!(holder.since.is_some() && holder.ends_in <= Duration::from_secs(2));
    assert_eq!(
        homes.ask(Ask::Renew { run: a, token: 1 }).await,
        Answer::Renewed
    );
    let Answer::Held(holder) = homes.ask(Ask::Look).await else {
        panic!("renewed, yet free");
    };
    assert!(
        holder.ends_in > LONG - Duration::from_secs(10),
        "{holder:?}"
    );
    // Another process of the run may take it again, with a token that is larger.
    let first = homes.claim_of("01A");
    assert_eq!(homes.take("01A").await, taken(2));
    let claim = &first;
    let old = homes.ask(Ask::Release { run: a, claim }).await;
    assert!(matches!(old, Answer::Lost(Some(_))), "{old:?}");
    assert_eq!(homes.release("01A").await, Answer::Released);
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
    assert_eq!(
        homes.ask(Ask::Renew { run: a, token: 2 }).await,
        Answer::Lost(None)
    );
    assert_eq!(homes.take("01B").await, taken(3));
    let late = homes.release("01A").await;
    assert!(matches!(late, Answer::Lost(Some(holder)) if holder.run == *b));
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_hold_the_target_for_hours() {
    let homes = Homes::new();
    homes.take("01A").await;
    homes.end_in("one", 3600);
    assert_eq!(homes.take("01B").await, taken_after(2, &["01A"]));
}

#[tokio::test]
async fn nobody_else_on_the_target_may_read_or_write_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let homes = Homes::new();
    homes.take("01A").await;
    let dir = homes.home("one").join(".vdeploy-lease");
    let mode = std::fs::metadata(dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_named() {
    let homes = Homes::new();
    std::fs::create_dir_all(homes.home("one")).unwrap();
    std::fs::write(homes.home("one").join(".vdeploy-lease"), "").unwrap();
    let error = TargetLease::acquire(homes.claim("01A", LONG))
        .await
        .unwrap_err();
    let TargetLeaseError::Failed(why) = &error else {
        panic!("{error:?}");
    };
    assert!(why.contains(".vdeploy-lease"), "{why}");
}

#[tokio::test]
async fn a_lease_is_renewed_until_it_is_released() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(3);
    let lease = homes.acquire("01A", ttl).await;
    homes.calls_beyond(3).await;
    let holder = holder(&*homes, LONG).await.unwrap().unwrap();
    assert_eq!(holder.run.as_str(), "01A");
    let lost = lease.lost();
    lease.release().await.unwrap();
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
    // Released is not lost.
    assert!(timeout(ttl, lost).await.is_err());
}

#[tokio::test]
async fn a_foreign_token_is_a_loss() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(6);
    let lease = homes.acquire("01A", ttl).await;
    let dir = homes.home("one").join(".vdeploy-lease");
    std::fs::write(dir.join("who.01B"), "1\nwho of 01B\n").unwrap();
    let end = jiff::Timestamp::now().as_second() + 60;
    let record = dir.join("r.100000009999");
    std::os::unix::fs::symlink(format!("01B:7:other:{end}"), record).unwrap();
    let why = timeout(PATIENCE, lease.lost()).await.unwrap();
    assert_eq!(
        why.to_string(),
        "lost the lease on the target `infra` itself (fencing token 1); run 01B (who of 01B) \
         holds it now"
    );
    // Giving back what is lost leaves the new holder alone.
    lease.release().await.unwrap();
    assert!(matches!(homes.ask(Ask::Look).await, Answer::Held(_)));
}

#[tokio::test]
async fn a_broken_lease_is_a_loss_that_says_who_did_it() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(6);
    let lease = homes.acquire("01A", ttl).await;
    let (run, other) = (&RunId::from("01A"), &RunId::from("01B"));
    let by = "ada@desk pid 9 (its runner is gone)";
    // Only that of the run that was meant.
    let wrong = break_held(&*homes, other, by, LONG).await.unwrap();
    assert_eq!(wrong.unwrap_err().unwrap().run, *run);
    break_held(&*homes, run, by, LONG).await.unwrap().unwrap();
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
    let twice = break_held(&*homes, run, by, LONG).await.unwrap();
    assert_eq!(twice.unwrap_err(), None);
    // Also when another run has taken it meanwhile.
    assert_eq!(homes.take("01B").await, taken_after(2, &["01A"]));
    let why = timeout(PATIENCE, lease.lost()).await.unwrap();
    assert_eq!(
        why.to_string(),
        "lost the lease on the target `infra` itself (fencing token 1); ada@desk pid 9 (its \
         runner is gone) broke it"
    );
    // A run that takes it again after that is no broken one.
    assert_eq!(homes.release("01B").await, Answer::Released);
    assert_eq!(homes.take("01A").await, taken(3));
    let late = homes.ask(Ask::Renew { run, token: 1 }).await;
    assert!(matches!(late, Answer::Lost(Some(_))), "{late:?}");
}

#[tokio::test]
async fn a_target_that_is_cut_off_loses_the_lease() {
    for hangs in [true, false] {
        let homes = Homes::new();
        let ttl = Duration::from_secs(1);
        let lease = homes.acquire("01A", ttl).await;
        homes.hangs.store(hangs, Ordering::SeqCst);
        homes.away.store(!hangs, Ordering::SeqCst);
        let why = timeout(PATIENCE, lease.lost()).await.unwrap();
        assert!(matches!(why, LeaseLost::NotRenewed { .. }), "{why:?}");
    }
}

/// A busy one answers late, and every answer is an answer.
#[tokio::test]
async fn a_slow_target_keeps_the_lease() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(8);
    let lease = homes.acquire("01A", ttl).await;
    homes.slow.store(4_000, Ordering::SeqCst);
    assert!(timeout(ttl * 2, lease.lost()).await.is_err());
    assert!(matches!(homes.ask(Ask::Look).await, Answer::Held(_)));
}

/// The mark by which its jobs are refused.
#[tokio::test]
async fn who_loses_it_to_another_run_is_marked_until_it_has_it_again() {
    let homes = Homes::new();
    let mark = |run: &str| {
        homes
            .home("one")
            .join(".vdeploy-lease/lost.".to_owned() + run)
    };
    homes.take("01A").await;
    homes.end_in("one", -2);
    assert_eq!(homes.take("01B").await, taken_after(2, &["01A"]));
    assert!(mark("01A").is_symlink() && !mark("01B").is_symlink());
    homes.release("01B").await;
    assert_eq!(homes.take("01A").await, taken(3));
    assert!(!mark("01A").is_symlink());
    let run = &RunId::from("01A");
    break_held(&*homes, run, "ada", LONG)
        .await
        .unwrap()
        .unwrap();
    assert!(mark("01A").is_symlink());
}

/// A resumed run learns which run has changed something since.
#[tokio::test]
async fn who_has_changed_the_target_last_is_told_to_the_taker() {
    let homes = Homes::new();
    homes.take("01A").await;
    let link = homes.home("one").join(".vdeploy-lease/changed");
    std::os::unix::fs::symlink("01B", link).unwrap();
    homes.end_in("one", -2);
    homes.take("01C").await;
    homes.end_in("one", -2);
    let lease = homes.acquire("01A", LONG).await;
    assert_eq!(lease.changed_by(), Some(RunId::from("01B")));
    assert_eq!(lease.orphaned_runs(), [RunId::from("01C")]);
}

/// A taker that dies before it has ended what was left must not hide it.
#[tokio::test]
async fn what_is_left_of_a_run_is_told_until_it_is_settled() {
    let homes = Homes::new();
    homes.take("01A").await;
    homes.end_in("one", -2);
    assert_eq!(homes.take("01B").await, taken_after(2, &["01A"]));
    homes.end_in("one", -2);
    assert_eq!(homes.take("01C").await, taken_after(3, &["01A", "01B"]));
    let run = &RunId::from("01C");
    break_held(&*homes, run, "ada", LONG)
        .await
        .unwrap()
        .unwrap();
    let all = &["01A", "01B", "01C"];
    assert_eq!(homes.take("01D").await, taken_after(4, all));
    let settle = |run, token| {
        let left = [RunId::from("01A"), RunId::from("01C")];
        let (homes, run) = (homes.clone(), RunId::from(run));
        async move {
            let (run, left) = (&run, &left);
            homes.ask(Ask::Settle { run, token, left }).await
        }
    };
    // Only by who holds it.
    let other = settle("01C", 3).await;
    assert!(matches!(other, Answer::Fenced(_)), "{other:?}");
    assert_eq!(settle("01D", 4).await, Answer::Settled);
    // Who goes on looks after its own.
    assert_eq!(homes.take("01D").await, taken_after(5, &["01B"]));
    homes.release("01D").await;
    assert_eq!(homes.take("01B").await, taken(6));
}

#[tokio::test]
async fn who_takes_a_broken_lease_settles_what_its_run_left() {
    let homes = Homes::new();
    homes.take("01A").await;
    let run = &RunId::from("01A");
    break_held(&*homes, run, "ada", LONG)
        .await
        .unwrap()
        .unwrap();
    let lease = homes.acquire("01B", LONG).await;
    assert_eq!(lease.orphaned_runs(), [RunId::from("01A")]);
    lease.forget_orphans().await.unwrap();
    lease.release().await.unwrap();
    assert_eq!(homes.take("01C").await, taken(3));
}

#[tokio::test]
async fn a_short_cut_does_no_harm() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(9);
    let lease = homes.acquire("01A", ttl).await;
    homes.away.store(true, Ordering::SeqCst);
    homes.calls_beyond(2).await;
    homes.away.store(false, Ordering::SeqCst);
    let before = homes.calls.load(Ordering::SeqCst);
    homes.calls_beyond(before + 1).await;
    assert!(!lease.is_lost());
    assert!(matches!(homes.ask(Ask::Look).await, Answer::Held(_)));
}

#[tokio::test]
async fn a_target_that_stands_still_for_a_snapshot_keeps_the_lease() {
    let homes = Homes::new();
    let ttl = Duration::from_secs(1);
    let lease = homes.acquire("01A", ttl).await;
    let still = homes.target.stand_still();
    homes.hangs.store(true, Ordering::SeqCst);
    assert!(timeout(ttl * 2, lease.lost()).await.is_err());
    homes.hangs.store(false, Ordering::SeqCst);
    let before = homes.calls.load(Ordering::SeqCst);
    drop(still);
    homes.calls_beyond(before + 1).await;
    assert!(!lease.is_lost());
}

#[tokio::test]
async fn the_lease_follows_the_target_to_a_restored_vm() {
    let homes = Homes::new();
    // The disk of the snapshot: an earlier run held it then, and by the clock
    // it does so far longer than this test lasts.
    homes.target.move_to("two".into());
    homes.take("00Z").await;
    homes.end_in("two", 500);
    homes.target.move_to("one".into());

    let claim = homes.claim("01A", Duration::from_secs(6));
    let lease = TargetLease::acquire(claim).await.unwrap().unwrap();
    homes.target.move_to("two".into());
    let taken = async {
        loop {
            let before = homes.calls.load(Ordering::SeqCst);
            match homes.ask(Ask::Look).await {
                Answer::Held(holder) if holder.run.as_str() == "01A" => return,
                _ => homes.calls_beyond(before + 1).await,
            }
        }
    };
    timeout(PATIENCE, taken).await.unwrap();
    assert!(!lease.is_lost());
    lease.release().await.unwrap();
    assert_eq!(homes.ask(Ask::Look).await, Answer::Free);
}

#[tokio::test]
async fn a_vm_that_is_gone_does_not_stop_the_way_to_the_snapshot() {
    let homes = Homes::new();
    homes.away.store(true, Ordering::SeqCst);
    let ttl = Duration::from_secs(1);
    let mut claim = homes.claim("01A", ttl);
    claim.absence = Absence::Tolerated;
    let lease = TargetLease::after_a_move(claim.clone());
    assert!(timeout(ttl * 2, lease.lost()).await.is_err());
    assert_eq!(homes.calls.load(Ordering::SeqCst), 0);
    homes.away.store(false, Ordering::SeqCst);
    homes.target.move_to("two".into());
    homes.calls_beyond(1).await;
    assert!(matches!(homes.ask(Ask::Look).await, Answer::Held(_)));
    lease.release().await.unwrap();

    // The same for one that goes away while the lease is held.
    let lease = TargetLease::acquire(claim).await.unwrap().unwrap();
    homes.away.store(true, Ordering::SeqCst);
    assert!(timeout(ttl * 3, lease.lost()).await.is_err());
    homes.away.store(false, Ordering::SeqCst);
    homes.target.move_to("three".into());
    let before = homes.calls.load(Ordering::SeqCst);
    homes.calls_beyond(before + 1).await;
    assert!(matches!(homes.ask(Ask::Look).await, Answer::Held(_)));
}
