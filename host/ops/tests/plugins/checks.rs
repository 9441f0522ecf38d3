//! Named checks that failed fail their step, whatever it returns.

use crate::driver::{exec, plan, step};
use crate::session::Runs;
use crate::stage::{Stage, TOKEN, code, scripted};
use serde_json::{Value, json};
use vdeploy_core::event::{Outcome, Phase};
use vdeploy_core::plan::Plan;

fn check(name: &str, passes: bool) -> Value {
    json!({ "do": "check", "name": name, "detail": "expected 2, found 1", "passes": passes })
}

async fn outcome_of(plan: Plan) -> (Outcome, String) {
    let finished = Runs::new().execute(plan).await;
    (finished.outcome, finished.message)
}

#[tokio::test]
async fn a_step_that_passes_a_failed_check_over_has_failed() {
    let stage = Stage::new();
    let plugin = scripted();
    for phase in [Phase::Check, Phase::Run, Phase::Undo] {
        let name = serde_json::to_value(phase).unwrap();
        let call = |calls: Value| {
            let config = json!({ name.as_str().unwrap(): calls });
            stage.call(&plugin, phase, config)
        };
        let failed = call(json!([check("a", true), check("version", false)])).await;
        let error = failed.result.unwrap_err();
        assert_eq!(code(&error), "check.failed", "{phase:?}");
        let message = "the check `version` failed: expected 2, found 1";
        assert!(error.to_string().contains(message), "{error}");
        // The last status of a name counts.
        let again = call(json!([check("version", false), check("version", true)])).await;
        assert!(again.result.is_ok(), "{phase:?}: {:?}", again.result);
        // A step's own error is the one that is reported.
        let own = json!({ "do": "fail", "code": "a.b", "message": "no" });
        let own = call(json!([check("version", false), own])).await;
        assert_eq!(code(&own.result.unwrap_err()), "a.b", "{phase:?}");
    }
}

#[tokio::test]
async fn the_run_ends_as_with_any_failed_step() {
    let failed = || json!([check("version", false)]);
    let changes = |run: Value| json!({ "run": run, "undo": [exec("old")] });

    let refused = plan([step("look", json!({ "check": failed() }))]);
    let (outcome, message) = outcome_of(refused).await;
    assert_eq!(outcome, Outcome::Refused, "{message}");
    assert!(
        message.contains("the check of step `look`: the check `version` failed"),
        "{message}"
    );

    let unchanged = plan([step("look", json!({ "run": failed() }))]);
    assert_eq!(outcome_of(unchanged).await.0, Outcome::FailedUnchanged);

    let back = plan([step(
        "deploy",
        changes(json!([exec("new"), check("version", false)])),
    )]);
    let (outcome, message) = outcome_of(back).await;
    assert_eq!(outcome, Outcome::RolledBack, "{message}");
    assert!(message.contains("check.failed"), "{message}");

    // The check of a rollback step that failed: nobody has verified it.
    let mut unverified = plan([
        step("deploy", changes(json!([exec("new")]))),
        step("smoke", json!({ "run": failed() })),
    ]);
    unverified
        .rollback
        .push(step("verify", json!({ "run": failed() })));
    assert_eq!(outcome_of(unverified).await.0, Outcome::RollbackFailed);

    let undo = json!({ "run": [exec("new")], "undo": [check("gone", false)] });
    let not_undone = plan([
        step("deploy", undo),
        step("smoke", json!({ "run": failed() })),
    ]);
    assert_eq!(outcome_of(not_undone).await.0, Outcome::RollbackFailed);
}

#[tokio::test]
async fn a_retry_looks_anew_and_a_dry_run_is_no_excuse() {
    let mut flaky = step(
        "flaky",
        json!({ "run": [check("ready", false), { "do": "fail", "kind": "unavailable", "until": 2,
            "code": "a.b", "message": "not yet" }, check("ready", true)] }),
    );
    flaky.retry.attempts = 2;
    assert_eq!(outcome_of(plan([flaky])).await.0, Outcome::Deployed);

    let dry = Runs::new().dry();
    let looks = plan([step("look", json!({ "run": [check("version", false)] }))]);
    let finished = dry.execute(looks).await;
    assert_eq!(
        finished.outcome,
        Outcome::FailedUnchanged,
        "{}",
        finished.message
    );
    let well = plan([step("look", json!({ "run": [check("version", true)] }))]);
    let finished = dry.execute(well).await;
    assert_eq!(finished.outcome, Outcome::Rehearsed, "{}", finished.message);
}

#[tokio::test]
async fn the_names_in_the_error_are_masked() {
    let stage = Stage::new();
    let checks: Vec<Value> = (0..3)
        .map(|n| check(&format!("{TOKEN}{n}"), false))
        .collect();
    let error = stage.run(&scripted(), json!(checks)).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("3 checks failed: `***0`"), "{error}");
    assert!(!error.contains(TOKEN), "{error}");
}
