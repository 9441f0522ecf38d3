//! A plugin that makes a snapshot by its own means: what it may do before, and
//! what its word opens.

use crate::driver::{exec, step};
use crate::session::Runs;
use crate::stage::{Parts, Stage, all, code, load};
use serde_json::{Value, json};
use vdeploy_core::event::{Outcome, Phase, RunEvent};
use vdeploy_core::plan::{Plan, Step};
use vdeploy_journal::Entry;
use vdeploy_scope::{Grants, SnapshotScope};
use vdeploy_wasm::Plugin;

fn grants() -> Grants {
    Grants {
        snapshot: vec![SnapshotScope::SelfManaged],
        ..all()
    }
}

/// The scripted step with the grant, as the plugin `scripted`.
fn maker() -> Plugin {
    load("scripted", &grants()).unwrap()
}

fn plan(steps: impl IntoIterator<Item = Step>) -> Plan {
    let mut plan = Plan::bare("default");
    plan.steps.extend(steps);
    plan
}

fn tried(mut call: Value) -> Value {
    call["try"] = json!(true);
    call
}

fn declare(id: &str) -> Value {
    json!({ "do": "declare", "id": id, "label": "before" })
}

fn taken(stage: &Stage) -> Vec<(String, Option<String>)> {
    let taken = stage.journal().into_iter().filter_map(|entry| match entry {
        Entry::SnapshotTaken { snapshot, provider } => {
            Some((snapshot.to_string(), provider.map(|p| p.to_string())))
        }
        _ => None,
    });
    taken.collect()
}

#[tokio::test]
async fn the_archive_is_made_before_it_is_declared_and_is_no_change() {
    let stage = Stage::new();
    let post = json!({ "do": "http", "method": "POST", "url": "/x" });
    let seen = stage
        .run(
            &maker(),
            json!([
                exec("tar"),
                tried(post),
                declare("a-1"),
                declare("a-1"),
                exec("prune"),
                declare("a-2")
            ]),
        )
        .await
        .unwrap();
    assert_eq!(seen[0]["stdout"], "tar\n");
    assert_eq!(seen[1], "http.denied");
    assert_eq!(stage.commands(), ["echo tar", "echo prune"]);
    // Said twice is said once, and it is in the journal who said it.
    let by = || Some("scripted".to_owned());
    let expected = [("a-1".to_owned(), by()), ("a-2".to_owned(), by())];
    assert_eq!(taken(&stage), expected);
    let told: Vec<bool> = stage
        .events()
        .iter()
        .filter_map(|event| match event {
            RunEvent::SnapshotTaken { before_changes, .. } => Some(*before_changes),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true, false], "the second has the changes in it");
    assert!(stage.shared.snapshots.allows_changes());
    assert_eq!(stage.shared.snapshots.rollback_point(), Some("a-1".into()));
    // What came before it was no change of the target; what came after it is.
    let intents: Vec<bool> = stage
        .journal()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Intent {
                function,
                changes_target,
                ..
            } if function == "ssh.exec" => Some(changes_target),
            _ => None,
        })
        .collect();
    assert_eq!(intents, [false, true]);
    assert!(stage.shared.snapshots.target_changed());
}

#[tokio::test]
async fn until_it_is_declared_the_gate_stays_closed_for_everybody_else() {
    let stage = Stage::new();
    stage.run(&maker(), json!([exec("tar")])).await.unwrap();
    assert!(!stage.shared.snapshots.allows_changes() && !stage.shared.snapshots.target_changed());
    let mut grants = all();
    grants.snapshot = vec![SnapshotScope::Create, SnapshotScope::Restore];
    let other = load("scripted", &grants).unwrap();
    let seen = stage
        .run(
            &other,
            json!([tried(exec("deploy")), tried(declare("a-1"))]),
        )
        .await
        .unwrap();
    assert_eq!(seen, ["gate.no-snapshot", "snapshot.denied"]);
    stage.run(&maker(), json!([declare("a-1")])).await.unwrap();
    stage.run(&other, json!([exec("deploy")])).await.unwrap();
    assert_eq!(stage.commands(), ["echo tar", "echo deploy"]);
}

#[tokio::test]
async fn check_and_undo_have_no_part_in_it_and_a_dry_run_pretends() {
    let stage = Stage::new();
    for (phase, key, call, expected) in [
        (Phase::Check, "check", exec("tar"), "gate.check"),
        (Phase::Check, "check", declare("a-1"), "gate.check"),
        (Phase::Undo, "undo", exec("tar"), "gate.no-snapshot"),
    ] {
        let call = json!({ key: [call] });
        let result = stage.call(&maker(), phase, call).await.result;
        assert_eq!(code(&result.unwrap_err()), expected, "{phase:?}");
    }
    let dry = Stage::of(Parts {
        dry_run: true,
        ..Parts::default()
    });
    let calls = json!([exec("tar"), declare("a-1")]);
    dry.run(&maker(), calls).await.unwrap();
    assert!(dry.commands().is_empty() && stage.commands().is_empty());
    assert!(!dry.shared.snapshots.allows_changes() && taken(&dry).is_empty());
}

#[tokio::test]
async fn an_id_that_cannot_be_shown_is_refused() {
    let stage = Stage::new();
    let calls = json!([declare("a\u{1b}[2Jb")]);
    let error = stage.run(&maker(), calls).await.unwrap_err();
    assert_eq!(code(&error), "snapshot.invalid");
    assert!(!stage.shared.snapshots.allows_changes());
}

#[tokio::test]
async fn a_step_that_never_declares_fails_and_nothing_after_it_runs() {
    let runs = Runs::new().with_grants(grants());
    let plan = plan([
        step("snapshot", json!({ "run": [exec("tar")] })),
        step("deploy", json!({ "run": [exec("new")] })),
    ]);
    let finished = runs.execute(plan).await;
    assert_eq!(finished.outcome, Outcome::FailedUnchanged);
    assert!(
        finished.message.contains("gate.not-declared"),
        "{}",
        finished.message
    );
    assert_eq!(runs.commands(), ["echo tar"]);
}

#[tokio::test]
async fn a_failure_after_the_archive_and_before_any_change_leaves_the_target_unchanged() {
    let runs = Runs::new().with_grants(grants());
    let fails = json!({ "do": "fail", "code": "a.b", "message": "no" });
    let run = json!([exec("tar"), declare("a-1")]);
    let plan = plan([
        step("snapshot", json!({ "run": run })),
        step("deploy", json!({ "run": [fails, exec("new")] })),
    ]);
    let finished = runs.execute(plan).await;
    assert_eq!(
        finished.outcome,
        Outcome::FailedUnchanged,
        "{}",
        finished.message
    );
    assert_eq!(runs.commands(), ["echo tar"]);
}
