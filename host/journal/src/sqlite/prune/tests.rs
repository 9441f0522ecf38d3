use crate::doubles::FailsAfter;
use crate::prune::{Choice, Filter, Hold, KeepReason, PruneCandidate, choose};
use crate::sqlite::SqliteStore;
use crate::store::{Compacted, RunRecord, Store};
use crate::{Entry, StoreError, lease_breaks, relocations};
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vdeploy_core::event::{Outcome, Phase, Section};
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_core::plan::Plan;

const TTL: Duration = Duration::from_secs(15);

fn record(id: &str, at: u64) -> RunRecord {
    let plan = Plan::bare("default");
    RunRecord {
        started_at: at,
        ..RunRecord::bare(id, "infra", plan)
    }
}

fn started() -> Entry {
    Entry::StepStarted {
        step: "a".into(),
        section: Section::Steps,
        phase: Phase::Run,
        attempt: 1,
    }
}

fn intent() -> Entry {
    Entry::Intent {
        call: 1,
        step: "a".into(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        changes_target: true,
    }
}

/// The answer to a call: most of every journal.
fn result() -> Entry {
    Entry::Result {
        call: 1,
        step: "a".into(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        response: Ok(Value::from("x".repeat(200_000))),
    }
}

fn finished(outcome: Outcome) -> Entry {
    Entry::Finished {
        outcome,
        message: String::new(),
    }
}

fn add(store: &dyn Store, record: &RunRecord, entries: &[Entry]) {
    store.create_run(record).unwrap();
    store.append_all(&record.id, None, entries).unwrap();
}

/// A run that changed its target and ended well.
fn deploy(store: &dyn Store, id: &str, at: u64) {
    let entries = [started(), intent(), result(), finished(Outcome::Deployed)];
    add(store, &record(id, at), &entries);
}

fn infra() -> TargetName {
    "infra".into()
}

fn chosen(store: &dyn Store, keep: u32) -> Choice {
    let filter = Filter {
        keep: Some(keep),
        older_than: None,
    };
    choose(store.survey(None).unwrap(), &filter, 1_000_000)
}

fn ids(runs: &[PruneCandidate]) -> Vec<&str> {
    runs.iter().map(|run| run.id.as_str()).collect()
}

/// What is left, newest first; each can be read from its first entry to its
/// last.
fn left(store: &dyn Store) -> Vec<(String, usize)> {
    store
        .runs(None, u32::MAX)
        .unwrap()
        .into_iter()
        .map(|run| {
            store.run(run.id.as_str()).unwrap();
            let entries = store.journal(&run.id).unwrap().len();
            (run.id.to_string(), entries)
        })
        .collect()
}

fn surveyed(store: &dyn Store, id: &str) -> PruneCandidate {
    let runs = store.survey(None).unwrap();
    runs.into_iter().find(|run| run.id.as_str() == id).unwrap()
}

#[test]
fn a_survey_sees_what_matters() {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let hand = clock.clone();
    let store = SqliteStore::in_memory()
        .unwrap()
        .with_clock(Arc::new(move || hand.load(Ordering::SeqCst)));
    deploy(&store, "01A", 1);
    let moved = |from: &str| Entry::TargetMoved {
        from: Some(from.into()),
        to: "vm-9".into(),
    };
    relocations::record(&store, &infra(), &"vm-1".into(), &"vm-9".into()).unwrap();
    let back = RunRecord {
        rolls_back: Some("01A".into()),
        ..record("01B", 2)
    };
    add(&store, &back, &[started(), intent(), moved("vm-1")]);
    let cut_off = [
        started(),
        intent(),
        moved("vm-2"),
        finished(Outcome::Interrupted),
    ];
    add(&store, &record("01C", 3), &cut_off);

    let a = surveyed(&store, "01A");
    assert_eq!((a.changed, a.unsettled, a.hold), (true, false, Hold::Free));
    assert_eq!((a.entries, a.outcome), (4, Some(Outcome::Deployed)));
    assert!(a.bytes > 200_000, "{}", a.bytes);
    let b = surveyed(&store, "01B");
    assert_eq!(b.rolls_back, Some("01A".into()));
    assert!(b.changed && b.unsettled && b.unrecorded_relocation.is_none());
    let c = surveyed(&store, "01C");
    assert_eq!(c.unrecorded_relocation, Some("vm-9".into()));
    assert!(c.unsettled);
    let word = Entry::Abandoned {
        by: "me".to_owned(),
        reason: "looked".to_owned(),
    };
    store.append(&"01C".into(), None, &word).unwrap();
    assert!(!surveyed(&store, "01C").unsettled);

    // Only of the target that is asked for.
    assert!(store.survey(Some(&"other".into())).unwrap().is_empty());

    let hold = |id: &str| surveyed(&store, id).hold;
    let run = RunId::from("01B");
    let lease = store
        .acquire_lease(&infra(), &run, &"me".into(), TTL)
        .unwrap();
    assert_eq!(hold("01B"), Hold::AtWork);
    assert_eq!(hold("01A"), Hold::Free);
    clock.fetch_add(20_000, Ordering::SeqCst);
    assert_eq!(hold("01B"), Hold::RanOut);
    store.release_lease(&lease.unwrap()).unwrap();
    assert_eq!(hold("01B"), Hold::Free);
    let new = RunId::from("01D");
    store
        .acquire_lease(&infra(), &new, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    assert_eq!(hold("01A"), Hold::Beginning);
}

#[test]
fn a_removed_run_leaves_nothing_and_takes_nothing_else_along() {
    let store = SqliteStore::in_memory().unwrap();
    for (at, id) in (1..).zip(["01A", "01B", "01C"]) {
        deploy(&store, id, at);
    }
    let run = RunId::from("01A");
    let lease = store
        .acquire_lease(&infra(), &run, &"me".into(), TTL)
        .unwrap();
    store.break_lease(&infra(), &run, "ada", "gone").unwrap();
    drop(lease);
    let newest = lease_breaks::newest(&store, &infra()).unwrap();
    store
        .set_fact(&infra(), "recipe:default", Some("1"))
        .unwrap();
    let (plugin, key) = ("smoke".into(), "k");
    store
        .set_plugin_state(&plugin, &infra(), key, Some(b"v"))
        .unwrap();

    let choice = chosen(&store, 2);
    assert_eq!(ids(&choice.remove), ["01A"]);
    assert!(store.remove_run(&choice.remove[0]).unwrap());
    assert_eq!(left(&store), [("01C".into(), 4), ("01B".into(), 4)]);
    assert!(matches!(store.run("01A"), Err(StoreError::NoRun(_))));
    assert!(matches!(store.journal(&run), Err(StoreError::NoRun(_))));
    let count = "SELECT count(*) FROM journal WHERE run = '01A'";
    let rows: i64 = store.db().query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
    assert_eq!(lease_breaks::of_run(&store, &infra(), &run).unwrap(), None);

    assert_eq!(lease_breaks::newest(&store, &infra()).unwrap(), newest);
    let fact = store.fact(&infra(), "recipe:default").unwrap();
    assert_eq!(fact.as_deref(), Some("1"));
    let state = store.plugin_state(&plugin, &infra(), key).unwrap();
    assert_eq!(state.as_deref(), Some(&b"v"[..]));
    // The token goes on from where it was.
    let next = store.acquire_lease(&infra(), &"01D".into(), &"me".into(), TTL);
    assert_eq!(next.unwrap().unwrap().token, 2);
    // Another one that removes the same has not lost anything.
    assert!(store.remove_run(&choice.remove[0]).unwrap());
}

#[test]
fn what_is_needed_again_meanwhile_is_not_removed() {
    let store = SqliteStore::in_memory().unwrap();
    let stopped = [started(), finished(Outcome::Interrupted)];
    add(&store, &record("01A", 1), &stopped);
    deploy(&store, "01B", 2);
    deploy(&store, "01C", 3);
    let choice = chosen(&store, 1);
    let [b, a] = &choice.remove[..] else {
        panic!("{choice:?}");
    };
    let whole = [("01C", 4), ("01B", 4), ("01A", 2)].map(|(id, n)| (id.to_owned(), n));

    // A run has the target and is not stored yet: it may roll back either.
    let new = RunId::from("01D");
    let lease = store
        .acquire_lease(&infra(), &new, &"me".into(), TTL)
        .unwrap()
        .unwrap();
    assert!(!store.remove_run(b).unwrap());
    assert!(!store.remove_run(a).unwrap());
    assert_eq!(left(&store), whole);
    // Now it is, and it rolls back one of them.
    let back = RunRecord {
        rolls_back: Some("01B".into()),
        ..record("01D", 4)
    };
    store.create_run(&back).unwrap();
    assert!(!store.remove_run(b).unwrap());
    store.release_lease(&lease).unwrap();
    assert!(!store.remove_run(b).unwrap());

    // The other one is resumed: first it has the target only.
    let lease = store
        .acquire_lease(&infra(), &"01A".into(), &"me".into(), TTL)
        .unwrap()
        .unwrap();
    assert!(!store.remove_run(a).unwrap());
    store
        .append(&"01A".into(), Some(&lease), &started())
        .unwrap();
    store.release_lease(&lease).unwrap();
    assert!(!store.remove_run(a).unwrap());
    assert_eq!(left(&store).len(), 4);
}

#[test]
fn a_run_at_work_is_not_disturbed_by_the_removal_of_ended_ones() {
    let store = SqliteStore::in_memory().unwrap();
    deploy(&store, "01A", 1);
    deploy(&store, "01B", 2);
    let lease = store
        .acquire_lease(&infra(), &"01C".into(), &"me".into(), TTL)
        .unwrap()
        .unwrap();
    let record = record("01C", 3);
    add(&store, &record, &[started()]);
    store.append(&record.id, Some(&lease), &intent()).unwrap();
    let choice = chosen(&store, 0);
    assert_eq!(ids(&choice.remove), ["01A"]);
    let why: Vec<_> = choice.kept.iter().map(|(_, why)| why.clone()).collect();
    assert_eq!(why, [KeepReason::AtWork, KeepReason::Rollback]);
    assert!(store.remove_run(&choice.remove[0]).unwrap());
    store.renew_lease(&lease, TTL).unwrap();
    let seq = store.append(&record.id, Some(&lease), &finished(Outcome::RolledBack));
    assert_eq!(seq.unwrap(), 3);
    // Who comes back to a run that is gone can write nothing.
    let late = store.append(&"01A".into(), None, &started());
    assert!(matches!(late, Err(StoreError::NoRun(_))));
}

#[test]
fn wherever_it_is_killed_the_store_is_whole() {
    for late in [false, true] {
        for writes in 0..4 {
            let store = Arc::new(SqliteStore::in_memory().unwrap());
            for (at, id) in (1..).zip(["01A", "01B", "01C"]) {
                deploy(&*store, id, at);
            }
            let back = RunRecord {
                rolls_back: Some("01A".into()),
                ..record("01D", 4)
            };
            add(&*store, &back, &[intent(), finished(Outcome::Deployed)]);
            deploy(&*store, "01E", 5);
            let killed = FailsAfter::over(store.clone(), writes, late);
            let choice = chosen(&killed, 0);
            assert_eq!(ids(&choice.remove), ["01D", "01C", "01B", "01A"]);
            let done = choice
                .remove
                .iter()
                .try_for_each(|run| killed.remove_run(run).map(drop));
            assert!(done.is_err() && killed.has_failed());
            let gone = writes + usize::from(late);
            assert_eq!(left(&*store).len(), 5 - gone);
            // Each rollback still has what it rolls back.
            for run in store.survey(None).unwrap() {
                if let Some(first) = &run.rolls_back {
                    store.run(first.as_str()).unwrap();
                }
            }
            // The same again comes to its end.
            for run in chosen(&*store, 0).remove {
                assert!(store.remove_run(&run).unwrap());
            }
            assert_eq!(left(&*store), [("01E".to_owned(), 4)]);
        }
    }
}

#[test]
fn a_removal_that_fails_in_the_middle_removes_nothing() {
    let store = SqliteStore::in_memory().unwrap();
    deploy(&store, "01A", 1);
    deploy(&store, "01B", 2);
    // The journal goes first with all that hangs on it; then the database fails.
    store.execute(
        "CREATE TRIGGER fails AFTER DELETE ON journal WHEN old.seq = 3
         BEGIN SELECT RAISE(ABORT, 'the power is gone'); END",
    );
    let choice = chosen(&store, 1);
    let failed = store.remove_run(&choice.remove[0]).unwrap_err();
    assert!(failed.to_string().contains("the power is gone"), "{failed}");
    assert_eq!(left(&store), [("01B".into(), 4), ("01A".into(), 4)]);
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Eight runs of which seven are removed; what the file takes.
fn pruned(path: &Path) -> (SqliteStore, u64) {
    let store = SqliteStore::open(path).unwrap();
    for at in 1..=8 {
        deploy(&store, &format!("01A{at}"), at);
    }
    let before = store.size().unwrap();
    assert!(before > 8 * 200_000, "{before}");
    let choice = chosen(&store, 1);
    assert_eq!(choice.remove.len(), 7);
    for run in &choice.remove {
        assert!(store.remove_run(run).unwrap());
    }
    (store, before)
}

#[test]
fn the_room_is_given_back_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let (store, before) = pruned(&path);
    assert_eq!(store.compact().unwrap(), Compacted::Done);
    let after = store.size().unwrap();
    assert!(after < before / 4, "{after} of {before}");
    assert!(size(&path) <= after, "{}", size(&path));
    assert_eq!(left(&store), [("01A8".to_owned(), 4)]);
    // Nothing is free any more: it is not written again.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.db().busy_timeout(Duration::ZERO).unwrap();
    assert_eq!(store.compact().unwrap(), Compacted::Done);
    assert_eq!(store.size().unwrap(), after);
}

/// Also where the clock went back: the newest run is the one stored last.
#[test]
fn the_order_of_what_stays_is_that_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("state.db")).unwrap();
    for (id, at) in [("01A", 1), ("01D", 9), ("01B", 5), ("01C", 3)] {
        deploy(&store, id, at);
    }
    let first = |run: &PruneCandidate| run.id.as_str() == "01A";
    let survey = store.survey(None).unwrap();
    assert!(
        store
            .remove_run(survey.iter().find(|run| first(run)).unwrap())
            .unwrap()
    );
    assert_eq!(store.compact().unwrap(), Compacted::Done);
    deploy(&store, "01E", 2);
    let ids: Vec<String> = left(&store).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["01E", "01C", "01B", "01D"]);
}

#[test]
fn the_room_is_given_back_later_while_a_run_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let (store, _) = pruned(&path);
    let lease = store
        .acquire_lease(&infra(), &"01B".into(), &"me".into(), TTL)
        .unwrap()
        .unwrap();
    let Compacted::Later(why) = store.compact().unwrap() else {
        panic!("it was done beside a run");
    };
    assert!(why.contains("run 01B is running on `infra`"), "{why}");
    store.release_lease(&lease).unwrap();
    let large = store.size().unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.db().busy_timeout(Duration::ZERO).unwrap();
    let Compacted::Later(why) = store.compact().unwrap() else {
        panic!("it was done beside a writer");
    };
    assert!(why.contains("another process"), "{why}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.compact().unwrap(), Compacted::Done);
    assert!(store.size().unwrap() < large / 4);
}
