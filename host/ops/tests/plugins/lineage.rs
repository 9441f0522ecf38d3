//! Which VMs a plugin may pause, and which snapshots it may restore.

use crate::stage::{Parts, Stage, scripted};
use serde_json::{Value, json};
use std::sync::Arc;
use vdeploy_core::ids::{RunId, VmId};
use vdeploy_core::plan::Plan;
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{Entry, SqliteStore, Store};

fn pause(vm: &str) -> Value {
    json!({ "do": "pause", "vm": vm, "try": true })
}

fn restore(id: &str) -> Value {
    json!({ "do": "restore", "id": id, "try": true })
}

#[tokio::test]
async fn only_a_vm_that_a_restore_of_this_run_has_left_is_paused() {
    let stage = Stage::new();
    let calls = json!([
        { "do": "snapshot", "label": "before" },
        pause("vm-1"),
        pause("vm-of-somebody"),
        { "do": "restore", "id": "snapshot-1" },
        pause("vm-of-somebody"),
        pause("vm-of-snapshot-1-1"),
        pause("vm-1"),
    ]);
    let seen = stage.run(&scripted(), calls).await.unwrap();
    let refused = "snapshot.not-left";
    assert_eq!(seen[1..3], [refused, refused]);
    assert_eq!(seen[4..6], [refused, refused]);
    assert_eq!(seen[6], Value::Null);
}

#[tokio::test]
async fn a_rollback_may_pause_and_restore_what_its_run_has_left_and_taken() {
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let first = RunId::generate();
    let record = RunRecord::bare(first.as_str(), "infra", Plan::bare("default"));
    store.create_run(&record).unwrap();
    let entries = [
        Entry::SnapshotTaken {
            snapshot: "snapshot-1".into(),
            provider: None,
        },
        Entry::TargetMoved {
            from: Some(VmId::from("vm-0")),
            to: VmId::from("vm-1"),
        },
    ];
    store.append_all(&first, None, &entries).unwrap();
    for rolls_back in [Some(first), None] {
        let stage = Stage::of(Parts {
            store: store.clone(),
            rolls_back: rolls_back.clone(),
            ..Parts::default()
        })
        .with_snapshot();
        stage.platform_has("before").await;
        let calls = json!([pause("vm-0"), restore("snapshot-1")]);
        let seen = stage.run(&scripted(), calls).await.unwrap();
        match rolls_back {
            Some(_) => assert_eq!(seen, [Value::Null, "vm-of-snapshot-1-1".into()]),
            None => assert_eq!(seen, ["snapshot.not-left", "snapshot.not-of-target"]),
        }
    }
}

#[tokio::test]
async fn in_a_dry_run_the_vm_that_a_restore_would_leave_may_be_named() {
    let stage = Stage::of(Parts {
        dry_run: true,
        ..Parts::default()
    });
    let calls = json!([
        restore("snapshot-1"),
        pause("vm-1"),
        pause("vm-of-somebody")
    ]);
    let seen = stage.run(&scripted(), calls).await.unwrap();
    assert_eq!(seen[1..], [Value::Null, "snapshot.not-left".into()]);
}
