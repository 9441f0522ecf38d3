use super::*;
use std::time::Duration;
use vdeploy_core::event::Outcome;
use vdeploy_core::plan::Plan;
use vdeploy_journal::SqliteStore;
use vdeploy_lease::process::doubles::{dead_pid, with_pid};

fn store_with(id: &str, target: &str, rolls_back: Option<&str>, entries: &[Entry]) -> SqliteStore {
    let store = SqliteStore::in_memory().unwrap();
    let plan = Plan::bare("default");
    let record = RunRecord {
        rolls_back: rolls_back.map(RunId::from),
        ..RunRecord::bare(id, target, plan)
    };
    store.create_run(&record).unwrap();
    store.append_all(&record.id, None, entries).unwrap();
    store
}

fn change() -> Entry {
    Entry::Intent {
        call: 1,
        step: "a".into(),
        function: "ssh.exec".to_owned(),
        request: serde_json::Value::Null,
        changes_target: true,
    }
}

/// What is said when a process that is gone has the lease of run 01A.
fn said(store: &SqliteStore) -> String {
    let holder = LeaseHolder {
        run: "01A".into(),
        who: with_pid(dead_pid()),
        since: None,
        ends_in: Duration::from_secs(7),
    };
    holder.message(&"infra".into(), dead_run(store, &holder).as_ref())
}

#[test]
fn the_ways_of_a_run_whose_process_is_gone_are_named_at_once() {
    let text = said(&store_with("01A", "infra", None, &[change()]));
    assert!(
        text.ends_with(
            "that need not wait for its lease. One of:\n  vdeploy resume 01A   go on where it \
             stopped\n  vdeploy rollback 01A   bring back what was live before it\n  vdeploy \
             abandon 01A --reason \"REASON\"   leave the target as it is"
        ),
        "{text}"
    );
    // A rollback has no rollback point.
    let text = said(&store_with("01A", "infra", Some("010"), &[change()]));
    assert!(text.contains("  vdeploy rollback 010   bring"), "{text}");
    let text = said(&store_with("01A", "infra", None, &[]));
    assert!(
        text.ends_with("ends in 7 s; start again then, or resume it now: `vdeploy resume 01A`"),
        "{text}"
    );
    // One that has ended only has not given its lease back, and another store
    // has never heard of it.
    let end = Entry::Finished {
        outcome: Outcome::Deployed,
        message: String::new(),
    };
    for store in [
        store_with("01A", "infra", None, &[change(), end]),
        SqliteStore::in_memory().unwrap(),
    ] {
        let text = said(&store);
        assert!(
            text.ends_with("Its lease ends in 7 s; start again then"),
            "{text}"
        );
    }
}

#[test]
fn a_run_that_was_cut_off_on_another_target_is_named() {
    let store = store_with("01A", "local", None, &[change()]);
    let error = find(&store, None, &"infra".into(), "resume").unwrap_err();
    assert_eq!(
        error.hint.as_deref(),
        Some("interrupted: run 01A on the target `local`; name it")
    );
    let found = find(&store, None, &"local".into(), "resume").unwrap();
    assert_eq!(found.id.as_str(), "01A");
}
