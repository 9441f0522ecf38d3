//! The store as a whole. Over 500 lines: one set of helpers for all its tables.

use super::*;
use crate::entry::FORMAT;
use crate::lease_breaks;
use std::sync::atomic::{AtomicU64, Ordering};
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, Section};
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Plan;

const TTL: Duration = Duration::from_secs(15);

fn record(id: &str, target: &str, started_at: u64) -> RunRecord {
    RunRecord {
        id: id.into(),
        configs: Default::default(),
        plan: Plan::bare("default"),
        target: target.into(),
        vm: Some("vm-1".to_owned()),
        url: None,
        plugins: [("smoke".into(), "00ff".into())].into(),
        rolls_back: None,
        started_by: "me@here".to_owned(),
        started_at,
        host_version: "0.1.0".to_owned(),
        dry_run: false,
    }
}

fn started(step: &str) -> Entry {
    Entry::StepStarted {
        step: StepId::from(step),
        section: Section::Steps,
        phase: Phase::Run,
        attempt: 1,
    }
}

fn finished(outcome: Outcome) -> Entry {
    Entry::Finished {
        outcome,
        message: String::new(),
    }
}

/// A store in memory with a clock that the test sets.
fn clocked() -> (SqliteStore, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let hand = clock.clone();
    let store = SqliteStore::in_memory()
        .unwrap()
        .with_clock(Arc::new(move || hand.load(Ordering::SeqCst)));
    (store, clock)
}

fn shown<T: fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_run_and_its_journal_survive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/vdeploy/state.db");
    let run = record("01A", "infra", 5);
    {
        let store = SqliteStore::open(&path).unwrap();
        store.create_run(&run).unwrap();
        assert_eq!(store.append(&run.id, None, &started("a")).unwrap(), 1);
        assert_eq!(store.append(&run.id, None, &started("b")).unwrap(), 2);
        store.set_fact(&run.target, "vm", Some("vm-2")).unwrap();
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.run("01A").unwrap(), run);
    let journal = store.journal(&run.id).unwrap();
    let found: Vec<_> = journal.iter().map(|s| (s.seq, s.entry.clone())).collect();
    assert_eq!(found, [(1, started("a")), (2, started("b"))]);
    assert_eq!(
        store.fact(&run.target, "vm").unwrap().as_deref(),
        Some("vm-2")
    );
    store.set_fact(&run.target, "vm", None).unwrap();
    assert_eq!(store.fact(&run.target, "vm").unwrap(), None);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/state.db");
    let store = SqliteStore::open(&path).unwrap();
    store.create_run(&record("01A", "infra", 5)).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("state/state.db-wal")), 0o600);
}

#[test]
fn every_commit_is_synced_and_write_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("state.db")).unwrap();
    let db = store.db();
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    assert_eq!(pragma("synchronous").unwrap(), 2);
    assert_eq!(pragma("foreign_keys").unwrap(), 1);
    let mode: String = db
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn many_openers_and_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let run = record("01A", "infra", 5);
    let barrier = std::sync::Barrier::new(6);
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let (path, run, barrier) = (&path, &run, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let store = SqliteStore::open(path).unwrap();
                if writer == 0 {
                    store.create_run(run).unwrap();
                }
                barrier.wait();
                for _ in 0..10 {
                    store.append(&run.id, None, &started("a")).unwrap();
                }
            });
        }
    });
    let store = SqliteStore::open(&path).unwrap();
    let seqs: Vec<_> = store
        .journal(&run.id)
        .unwrap()
        .iter()
        .map(|s| s.seq)
        .collect();
    assert_eq!(seqs, (1..=60).collect::<Vec<_>>());
}

#[test]
fn runs_are_found_by_id_prefix_and_latest() {
    let store = SqliteStore::in_memory().unwrap();
    assert_eq!(
        shown(store.run("latest")),
        "no run `latest`; `vdeploy runs list` shows them"
    );
    // The one that was stored last is the newest, whatever the clock said.
    for (id, at) in [("01AC", 30), ("01AB9", 20), ("01AB", 10)] {
        store.create_run(&record(id, "infra", at)).unwrap();
    }
    assert_eq!(store.run("latest").unwrap().id.as_str(), "01AB");
    assert_eq!(store.run("01AB").unwrap().id.as_str(), "01AB");
    assert_eq!(store.run("01ac").unwrap().id.as_str(), "01AC");
    assert_eq!(
        shown(store.run("01A")),
        "`01A` is the beginning of several runs: 01AB, 01AB9, 01AC"
    );
    for nothing in ["", "%", "01AX"] {
        assert!(matches!(store.run(nothing), Err(StoreError::NoRun(_))));
    }
    assert!(matches!(
        store.append(&"nope".into(), None, &started("a")),
        Err(StoreError::NoRun(_))
    ));
    assert!(matches!(
        store.journal(&"nope".into()),
        Err(StoreError::NoRun(_))
    ));
    let twice = shown(store.create_run(&record("01AB", "infra", 40)));
    assert!(twice.contains("there is a run `01AB` already"), "{twice}");
}

#[test]
fn the_list_is_newest_first_and_follows_the_outcome() {
    let (store, clock) = clocked();
    for (id, target, at) in [
        ("01A", "infra", 10),
        ("01B", "other", 20),
        ("01C", "infra", 20),
    ] {
        store.create_run(&record(id, target, at)).unwrap();
    }
    let ids = |target: Option<&str>, limit| {
        let target = target.map(TargetName::from);
        let runs = store.runs(target.as_ref(), limit).unwrap();
        runs.into_iter()
            .map(|run| run.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 9), ["01C", "01B", "01A"]);
    assert_eq!(ids(Some("infra"), 9), ["01C", "01A"]);
    assert_eq!(ids(None, 1), ["01C"]);

    let newest = || {
        let run = store.runs(None, 1).unwrap().remove(0);
        (run.finished_at, run.outcome)
    };
    assert_eq!(newest(), (None, None));
    clock.store(77, Ordering::SeqCst);
    let id = RunId::from("01C");
    store
        .append(&id, None, &finished(Outcome::Interrupted))
        .unwrap();
    assert_eq!(newest(), (Some(77), Some(Outcome::Interrupted)));
    // Resumed.
    store.append(&id, None, &started("a")).unwrap();
    assert_eq!(newest(), (None, None));
    store
        .append(&id, None, &finished(Outcome::Deployed))
        .unwrap();
    assert_eq!(newest(), (Some(77), Some(Outcome::Deployed)));
}

#[test]
fn one_run_a_target_and_the_token_grows() {
    let (store, clock) = clocked();
    let (infra, a, b) = (TargetName::from("infra"), "01A".into(), "01B".into());
    let first = store
        .acquire_lease(&infra, &a, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    assert_eq!(first.token, 1);
    assert_eq!(first.holder.expires, 1_015_000);
    let holder = store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap_err();
    assert_eq!(holder, first.holder);
    assert_eq!(
        store.lease_holder(&infra).unwrap(),
        Some(first.holder.clone())
    );
    // Another target is free.
    store
        .acquire_lease(&"other".into(), &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap();

    // Renewed, it outlives its first end; not renewed, it is taken over.
    clock.store(1_010_000, Ordering::SeqCst);
    store.renew_lease(&first, TTL).unwrap();
    clock.store(1_020_000, Ordering::SeqCst);
    store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap_err();
    clock.store(1_025_000, Ordering::SeqCst);
    assert_eq!(store.lease_holder(&infra).unwrap(), None);
    store.renew_lease(&first, TTL).unwrap(); // Nobody took it: still ours.
    clock.store(1_050_000, Ordering::SeqCst);
    let second = store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap();
    assert_eq!(second.token, 2);
    assert_eq!(
        shown(store.renew_lease(&first, TTL)),
        "lost the lease on `infra` (fencing token 1); run 01B (ci) holds it now"
    );

    // Releasing a lost lease does no harm; a release keeps the token.
    store.release_lease(&first).unwrap();
    assert_eq!(
        store.lease_holder(&infra).unwrap(),
        Some(second.holder.clone())
    );
    store.release_lease(&second).unwrap();
    assert_eq!(
        shown(store.renew_lease(&second, TTL)),
        "lost the lease on `infra` (fencing token 2); nobody holds it now"
    );
    let third = store
        .acquire_lease(&infra, &a, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    assert_eq!(third.token, 3);
}

#[test]
fn a_write_with_a_lost_lease_leaves_no_trace() {
    let (store, clock) = clocked();
    let run = record("01A", "infra", 1);
    store.create_run(&run).unwrap();
    let lease = store
        .acquire_lease(&run.target, &run.id, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    store.append(&run.id, Some(&lease), &started("a")).unwrap();
    clock.store(9_000_000, Ordering::SeqCst);
    store.append(&run.id, Some(&lease), &started("b")).unwrap();
    store
        .acquire_lease(&run.target, &"01B".into(), &"ci".into(), TTL)
        .unwrap()
        .unwrap();
    let refused = store.append(&run.id, Some(&lease), &finished(Outcome::Deployed));
    assert!(matches!(refused, Err(StoreError::Fenced { token: 1, .. })));
    assert_eq!(store.journal(&run.id).unwrap().len(), 2);
    assert_eq!(store.runs(None, 1).unwrap()[0].outcome, None);
}

#[test]
fn a_clock_set_back_does_not_hold_the_target_for_long() {
    let (store, clock) = clocked();
    let infra = TargetName::from("infra");
    clock.store(90_000_000, Ordering::SeqCst);
    store
        .acquire_lease(&infra, &"01A".into(), &"me".into(), TTL)
        .unwrap()
        .unwrap();
    clock.store(1_000_000, Ordering::SeqCst);
    let b = RunId::from("01B");
    let holder = store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap_err();
    assert_eq!(holder.expires, 1_015_000);
    clock.store(1_015_000, Ordering::SeqCst);
    store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap();
}

#[test]
fn a_broken_lease_fences_its_holder_and_is_recorded() {
    let (store, clock) = clocked();
    let run = record("01A", "infra", 1);
    store.create_run(&run).unwrap();
    let (infra, a, b) = (TargetName::from("infra"), run.id.clone(), "01B".into());
    let lease = store
        .acquire_lease(&infra, &a, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    // Only that of the run that was meant.
    let other = store.break_lease(&infra, &b, "ada", "wrong one").unwrap();
    assert_eq!(other, None);
    store.renew_lease(&lease, TTL).unwrap();

    // It ran out, and its holder may still come back: that is broken too.
    clock.fetch_add(60_000, Ordering::SeqCst);
    let broken = store.break_lease(&infra, &a, "ada", "its runner is gone");
    let broken = broken.unwrap().unwrap();
    assert_eq!((broken.who.as_str(), broken.by.as_str()), ("me", "ada"));
    assert_eq!(lease_breaks::newest(&store, &infra).unwrap(), Some(broken));
    let fenced = "lost the lease on `infra` (fencing token 1); ada broke it: its runner is gone; \
                  nobody holds it now";
    assert_eq!(shown(store.renew_lease(&lease, TTL)), fenced);
    assert_eq!(shown(store.append(&a, Some(&lease), &started("a"))), fenced);
    assert!(store.journal(&a).unwrap().is_empty());
    assert_eq!(store.lease_holder(&infra).unwrap(), None);
    let again = store.break_lease(&infra, &a, "ada", "again").unwrap();
    assert_eq!(again, None);
    let next = store
        .acquire_lease(&infra, &b, &"ci".into(), TTL)
        .unwrap()
        .unwrap();
    assert_eq!(next.token, 2);
    let lost = shown(store.renew_lease(&lease, TTL));
    assert!(lost.ends_with("ada broke it: its runner is gone; run 01B (ci) holds it now"));
}

#[test]
fn of_many_contenders_one_gets_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let infra = TargetName::from("infra");
    let winners = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (path, infra, winners) = (&path, &infra, &winners);
            scope.spawn(move || {
                let store = SqliteStore::open(path).unwrap();
                let run = RunId::new(format!("run-{number}"));
                let ttl = Duration::from_secs(3600);
                if store
                    .acquire_lease(infra, &run, &"me".into(), ttl)
                    .unwrap()
                    .is_ok()
                {
                    winners.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(winners.into_inner(), 1);
}

#[test]
fn a_store_of_another_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let run = record("01A", "infra", 1);
    let store = SqliteStore::open(&path).unwrap();
    store.create_run(&run).unwrap();
    let set = |format: u32| {
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", format).unwrap();
    };
    drop(store);
    set(FORMAT + 1);
    assert_eq!(
        shown(SqliteStore::open(&path)),
        format!(
            "the state database {} is written by a newer vdeploy (format {}, this one knows \
             {FORMAT}); update vdeploy",
            path.display(),
            FORMAT + 1
        )
    );
    set(1);
    assert_eq!(
        shown(SqliteStore::open(&path)),
        format!(
            "the state database {} is written by an older vdeploy (format 1, this one knows \
             {FORMAT} only); use that vdeploy with it, or choose another place with `--state`, or \
             move the file and its `-wal` and `-shm` away to start with an empty one",
            path.display()
        )
    );
    set(FORMAT);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.run("01A").unwrap(), run);
}

#[test]
fn a_hole_or_nonsense_in_the_journal_is_corrupt() {
    let store = SqliteStore::in_memory().unwrap();
    let run = record("01A", "infra", 1);
    store.create_run(&run).unwrap();
    for step in ["a", "b", "c"] {
        store.append(&run.id, None, &started(step)).unwrap();
    }
    store
        .db()
        .execute_batch("DELETE FROM journal WHERE seq = 2")
        .unwrap();
    assert_eq!(
        shown(store.journal(&run.id)),
        "stored journal entry 3 of run 01A cannot be read: entry 2 is missing before it; the \
         state database :memory: is damaged: bring a copy of it back, or move it and its `-wal` \
         and `-shm` files away to start with an empty one"
    );
    store
        .db()
        .execute_batch("DELETE FROM journal WHERE seq = 3; UPDATE journal SET entry = '{}'")
        .unwrap();
    assert!(matches!(
        store.journal(&run.id),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();

    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "not a database, only text ".repeat(100)).unwrap();
    let message = shown(SqliteStore::open(&garbage));
    assert!(message.contains("garbage.db"), "{message}");
    assert!(
        message.contains("no state database of vdeploy"),
        "{message}"
    );

    let message = shown(SqliteStore::open(&garbage.join("under/a/file.db")));
    assert!(
        message.contains("its directory cannot be made"),
        "{message}"
    );

    let message = shown(SqliteStore::open(dir.path()));
    assert!(message.contains("choose another place"), "{message}");

    let path = dir.path().join("state.db");
    let store = SqliteStore::open(&path).unwrap();
    let run = record("01A", "infra", 1);
    store.create_run(&run).unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.db().busy_timeout(Duration::ZERO).unwrap();
    let message = shown(store.append(&run.id, None, &started("a")));
    assert!(
        message.contains("another process has had it locked"),
        "{message}"
    );
    other.execute_batch("ROLLBACK").unwrap();

    let full = format!("PRAGMA max_page_count = {}", 1);
    store.db().query_row(&full, [], |_| Ok(())).unwrap();
    let large = vec![0; 1 << 20];
    let message = shown(store.set_plugin_state(&"p".into(), &run.target, "k", Some(&large)));
    assert!(message.contains("the disk is full"), "{message}");

    store.db().execute_batch("PRAGMA query_only = 1").unwrap();
    let message = shown(store.append(&run.id, None, &started("a")));
    assert!(message.contains("mend the permissions"), "{message}");
    store.db().execute_batch("PRAGMA query_only = 0").unwrap();

    // None of it left anything behind.
    assert_eq!(store.append(&run.id, None, &started("a")).unwrap(), 1);
}
