//! Each way in which a run can end, with real plugins.

use crate::driver::{exec, fail, plan, step};
use crate::session::Runs;
use serde_json::{Value, json};
use std::sync::Arc;
use vdeploy_core::event::Outcome;
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo};
use vdeploy_journal::doubles::FailsAfter;
use vdeploy_journal::{Entry, SqliteStore};
use vdeploy_run::Finished;

/// A plan whose step `deploy` changes the target and then does `last`.
fn deploy(last: Value) -> Plan {
    let run = json!({ "run": [exec("new"), last], "undo": [exec("old")] });
    let mut plan = plan([step("deploy", run)]);
    plan.rollback.push(step("verify", json!({})));
    plan
}

/// Executes it, and sees that the journal ends with the same outcome.
async fn ends(plan: Plan, outcome: Outcome, code: u8) -> (Runs, Finished) {
    let runs = Runs::new();
    let finished = runs.execute(plan).await;
    assert_eq!(finished.outcome, outcome, "{}", finished.message);
    assert_eq!(finished.outcome.exit_code(), code);
    let last = runs.journal().pop().unwrap();
    assert!(
        matches!(&last, Entry::Finished { outcome: o, .. } if *o == outcome),
        "{last:?}"
    );
    (runs, finished)
}

#[tokio::test]
async fn deployed_is_0() {
    let (_, finished) = ends(deploy(exec("more")), Outcome::Deployed, 0).await;
    assert!(!finished.unchanged);
    let (_, finished) = ends(plan([]), Outcome::Deployed, 0).await;
    assert!(finished.unchanged, "{}", finished.message);
}

#[tokio::test]
async fn a_failed_check_is_3_and_nothing_runs() {
    let mut plan = deploy(exec("more"));
    let check = json!({ "check": [{ "do": "fail", "code": "a.b", "message": "no disk" }] });
    plan.rollback.push(step("preflight", check));
    let (runs, finished) = ends(plan, Outcome::Refused, 3).await;
    assert!(finished.message.contains("no disk"), "{}", finished.message);
    assert!(runs.commands().is_empty());
}

#[tokio::test]
async fn a_failure_before_any_change_is_10() {
    let plan = plan([step("build", json!({ "run": [fail(), exec("new")] }))]);
    let (runs, finished) = ends(plan, Outcome::FailedUnchanged, 10).await;
    assert!(
        finished.message.contains("it broke (step.broke)"),
        "{}",
        finished.message
    );
    assert!(runs.commands().is_empty());
}

#[tokio::test]
async fn a_change_that_never_reached_the_target_is_10_too() {
    let plan = plan([step("deploy", json!({ "run": [exec("unreachable")] }))]);
    ends(plan, Outcome::FailedUnchanged, 10).await;
}

#[tokio::test]
async fn a_failure_that_was_rolled_back_is_11() {
    let (runs, _) = ends(deploy(fail()), Outcome::RolledBack, 11).await;
    assert_eq!(runs.commands(), ["echo new", "echo old"]);
    // In doubt counts as changed.
    let plan = plan([step("deploy", json!({ "run": [exec("lost")] }))]);
    ends(plan, Outcome::RolledBack, 11).await;
}

#[tokio::test]
async fn a_rollback_to_a_snapshot_undoes_nothing() {
    let mut plan = deploy(fail());
    plan.rollback_to = RollbackTo::Snapshot;
    let (runs, _) = ends(plan, Outcome::RolledBack, 11).await;
    assert_eq!(runs.commands(), ["echo new"]);
}

#[tokio::test]
async fn a_failed_undo_is_12_and_the_rest_is_still_rolled_back() {
    let mut broken = deploy(fail());
    let run = json!({ "run": [exec("1")], "undo": [fail()] });
    broken.steps.insert(1, step("first", run));
    broken
        .rollback
        .push(step("start", json!({ "run": [exec("start")] })));
    let (runs, finished) = ends(broken, Outcome::RollbackFailed, 12).await;
    assert_eq!(
        runs.commands(),
        ["echo 1", "echo new", "echo old", "echo start"]
    );
    assert!(
        finished.message.contains("the undo of step `first`"),
        "{}",
        finished.message
    );
}

#[tokio::test]
async fn a_failed_rollback_step_is_12() {
    let mut plan = deploy(fail());
    plan.rollback
        .push(step("smoke", json!({ "run": [fail()] })));
    ends(plan, Outcome::RollbackFailed, 12).await;
}

#[tokio::test]
async fn a_failed_step_of_a_rollback_run_is_12_and_is_not_rolled_back() {
    let runs = Runs::new();
    runs.execute(deploy(exec("more"))).await;
    let finished = runs.roll_back(deploy(fail())).await;
    assert_eq!(finished.outcome, Outcome::RollbackFailed);
    assert_eq!(runs.commands(), ["echo new", "echo more", "echo new"]);
}

#[tokio::test]
async fn kept_by_policy_is_13() {
    let mut whole = deploy(fail());
    whole.on_failure = OnFailure::Keep;
    let mut one_step = deploy(fail());
    one_step.steps[1].on_failure = Some(OnFailure::Keep);
    for plan in [whole, one_step] {
        let (runs, _) = ends(plan, Outcome::Kept, 13).await;
        assert_eq!(runs.commands(), ["echo new"]);
    }
}

#[tokio::test]
async fn finally_is_done_whatever_happens_and_does_not_replace_the_cause() {
    for (last, outcome, code) in [
        (exec("more"), Outcome::Deployed, 0),
        (fail(), Outcome::RolledBack, 11),
    ] {
        let mut plan = deploy(last);
        let tell = json!({ "run": [exec("told"), fail()] });
        plan.finally.push(step("tell", tell));
        let (runs, finished) = ends(plan, outcome, code).await;
        assert_eq!(runs.commands().last().unwrap(), "echo told");
        assert!(finished.message.contains("`tell`"), "{}", finished.message);
    }
}

#[tokio::test]
async fn what_a_finally_step_changes_does_not_change_the_outcome() {
    let mut plan = plan([step("build", json!({ "run": [fail(), exec("new")] }))]);
    plan.finally
        .push(step("tell", json!({ "run": [exec("told")] })));
    let (runs, _) = ends(plan, Outcome::FailedUnchanged, 10).await;
    assert_eq!(runs.commands(), ["echo told"]);
}

/// Stops a run once its journal has such an entry.
async fn until(runs: &Runs, wanted: fn(&Entry) -> bool, by: &'static str) -> &'static str {
    while !runs.journal().iter().any(wanted) {
        tokio::task::yield_now().await;
    }
    by
}

#[tokio::test]
async fn a_stop_before_any_change_is_40_and_finally_is_still_done() {
    let runs = Runs::new().with_real_time();
    let sleep = json!({ "do": "sleep", "ms": 60_000 });
    let run = json!({ "run": [sleep, exec("new")] });
    let mut plan = plan([step("deploy", run)]);
    plan.finally
        .push(step("tell", json!({ "run": [exec("told")] })));
    // Nothing was changed when the snapshot stands.
    let is_taken = |entry: &Entry| matches!(entry, Entry::SnapshotTaken { .. });
    let stop = until(&runs, is_taken, "SIGINT (Ctrl-C)");
    let finished = runs.execute_until(plan, stop).await;
    assert_eq!(
        finished.outcome,
        Outcome::Interrupted,
        "{}",
        finished.message
    );
    let why = "the run was asked to stop: SIGINT (Ctrl-C)";
    assert!(finished.message.contains(why), "{}", finished.message);
    assert_eq!(runs.commands(), ["echo told"]);
}

#[tokio::test]
async fn a_stop_after_a_change_is_rolled_back() {
    let runs = Runs::new().with_real_time();
    let sleep = json!({ "do": "sleep", "ms": 60_000 });
    let mut plan = deploy(sleep);
    plan.steps
        .push(step("after", json!({ "run": [exec("never")] })));
    let is_change =
        |entry: &Entry| matches!(entry, Entry::Result { function, .. } if function == "ssh.exec");
    let stop = until(&runs, is_change, "SIGTERM");
    let finished = runs.execute_until(plan, stop).await;
    assert_eq!(
        finished.outcome,
        Outcome::RolledBack,
        "{}",
        finished.message
    );
    let why = "the run was asked to stop: SIGTERM";
    assert!(finished.message.contains(why), "{}", finished.message);
    assert_eq!(runs.commands(), ["echo new", "echo old"]);
}

#[tokio::test]
async fn a_lost_journal_is_40_and_nothing_more_is_done() {
    // Each number of writes that succeed ends the run somewhere else.
    for writes in 1..14 {
        let inner = Arc::new(SqliteStore::in_memory().unwrap());
        let runs = Runs::over(Arc::new(FailsAfter::over(inner, writes, false)));
        let finished = runs.execute(deploy(fail())).await;
        assert_eq!(finished.outcome, Outcome::Interrupted, "after {writes}");
        assert!(
            finished.message.contains("disk full"),
            "{}",
            finished.message
        );
        let done = runs.commands().len();
        assert!(done <= writes, "{done} commands after {writes} writes");
    }
}

#[tokio::test]
async fn an_empty_plan_is_deployed() {
    let (_, finished) = ends(Plan::bare("default"), Outcome::Deployed, 0).await;
    assert!(finished.next.is_empty(), "{:?}", finished.next);
}
