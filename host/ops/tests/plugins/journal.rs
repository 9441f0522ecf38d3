//! What is in the journal, in which order, and what happens when it cannot be
//! written.

use crate::stage::{Parts, Stage, code, scripted};
use serde_json::json;
use std::sync::Arc;
use vdeploy_journal::doubles::FailsAfter;
use vdeploy_journal::{Entry, SqliteStore};

/// The calls in the journal: `intent 3 ssh.exec`, `result 3 ssh.exec ok`.
fn calls(stage: &Stage) -> Vec<String> {
    let line = |entry| match entry {
        Entry::Intent { call, function, .. } => Some(format!("intent {call} {function}")),
        Entry::Result {
            call,
            function,
            response,
            ..
        } => {
            let how = match response {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.code,
            };
            Some(format!("result {call} {function} {how}"))
        }
        Entry::SnapshotTaken { snapshot, .. } => Some(format!("snapshot {snapshot}")),
        Entry::TargetMoved { to, .. } => Some(format!("moved to {to}")),
        _ => None,
    };
    stage.journal().into_iter().filter_map(line).collect()
}

#[tokio::test]
async fn a_change_has_its_intent_before_and_its_result_after_it() {
    let stage = Stage::new();
    let exec = |word| json!({ "do": "exec", "argv": ["echo", word], "try": true });
    let plan = json!([
        { "do": "probe", "argv": ["echo", "look"] },
        exec("early"),
        { "do": "snapshot", "label": "before" },
        exec("fine"),
        exec("lost"),
        { "do": "put", "key": "k", "value": "v" },
        { "do": "restore", "id": "snapshot-1" },
        { "do": "now" },
    ]);
    stage.run(&scripted(), plan).await.unwrap();
    stage.shared.waive_snapshot("flush").unwrap();
    assert_eq!(
        calls(&stage),
        [
            "result 1 ssh.probe ok",
            "result 2 ssh.exec gate.no-snapshot",
            "intent 3 snapshot.create",
            "snapshot snapshot-1",
            "result 3 snapshot.create ok",
            "intent 4 ssh.exec",
            "result 4 ssh.exec ok",
            "intent 5 ssh.exec",
            "result 5 ssh.exec ssh.closed",
            "intent 6 state.put",
            "result 6 state.put ok",
            "intent 7 snapshot.restore",
            "moved to vm-of-snapshot-1-1",
            "result 7 snapshot.restore ok",
            "result 8 clock.now-unix-ms ok",
        ]
    );
    let changes_target: Vec<bool> = stage
        .journal()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Intent { changes_target, .. } => Some(changes_target),
            _ => None,
        })
        .collect();
    assert_eq!(changes_target, [false, true, true, false, true]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_closes_the_gate() {
    // The first write is the waiver, the next the intent.
    for (good, commands) in [(1, 0), (2, 1)] {
        let inner = Arc::new(SqliteStore::in_memory().unwrap());
        let store = Arc::new(FailsAfter::over(inner, good, false));
        let stage = Stage::of(Parts {
            store,
            ..Parts::default()
        })
        .with_snapshot();
        let plugin = scripted();
        let exec = json!([{ "do": "exec", "argv": ["echo", "x"] }]);
        let error = stage.run(&plugin, exec).await.unwrap_err();
        assert_eq!(code(&error), "gate.closed", "{error}");
        assert!(error.to_string().contains("disk full"), "{error}");
        let vdeploy_wasm::PluginError::Failed(error) = error else {
            panic!("{error}");
        };
        // Without its intent nothing was done.
        assert_eq!(error.maybe_applied, commands > 0);
        assert_eq!(stage.commands().len(), commands);
        assert!(stage.shared.cancellation.is_broken());
        let probe = json!([{ "do": "probe", "argv": ["echo", "x"] }]);
        let error = stage.run(&plugin, probe).await.unwrap_err();
        assert_eq!(code(&error), "gate.closed");
        assert_eq!(stage.commands().len(), commands);
    }
}
