//! The driver with real plugins: plans of the scripted step, and what the
//! steps are told of each other.

use crate::session::Runs;
use serde_json::{Value, json};
use std::time::Duration;
use vdeploy_core::event::RunEvent;
use vdeploy_core::event::{Phase, Section};
use vdeploy_core::plan::{Plan, Retry, Step};

/// A step whose id is also in every command that it gives.
pub fn step(id: &str, config: Value) -> Step {
    Step {
        id: id.into(),
        plugin: "scripted".into(),
        config: serde_json::from_value(config).unwrap(),
        timeout: Duration::from_secs(60),
        retry: Retry::default(),
        on_failure: None,
    }
}

/// `exec echo TEXT`.
pub fn exec(text: &str) -> Value {
    json!({ "do": "exec", "argv": ["echo", text] })
}

/// An error of the step's own.
pub fn fail() -> Value {
    json!({ "do": "fail", "code": "step.broke", "message": "it broke" })
}

/// A snapshot, then `steps`.
pub fn plan(steps: impl IntoIterator<Item = Step>) -> Plan {
    let snapshot = json!({ "run": [{ "do": "snapshot", "label": "before" }] });
    let mut plan = Plan::bare("default");
    plan.steps.push(step("snapshot", snapshot));
    plan.steps.extend(steps);
    plan
}

/// Steps as they ran: `run deploy`, `undo deploy`.
fn order(events: &[RunEvent]) -> Vec<String> {
    let line = |event: &RunEvent| match event {
        RunEvent::StepStarted { step, phase, .. } => match phase {
            Phase::Check => None,
            Phase::Run => Some(format!("run {step}")),
            Phase::Undo => Some(format!("undo {step}")),
        },
        RunEvent::RollbackStarted { cause, .. } => {
            let cause = cause.as_ref().map(|c| c.as_str());
            Some(format!("rollback because of {}", cause.unwrap_or("nobody")))
        }
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

fn output(events: &[RunEvent], id: &str) -> Value {
    let found = events.iter().find_map(|event| match event {
        RunEvent::StepFinished {
            step,
            phase: Phase::Run,
            output,
            ..
        } if step.as_str() == id => output.clone(),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no output of {id}"))
}

fn logs(events: &[RunEvent]) -> Vec<&str> {
    let mut lines = Vec::new();
    for event in events {
        if let RunEvent::Log { message, .. } = event {
            lines.push(message.as_str());
        }
    }
    lines
}

#[tokio::test]
async fn every_check_comes_before_the_first_run() {
    let runs = Runs::new();
    let mut plan = plan([step("deploy", json!({ "run": [exec("a")] }))]);
    plan.rollback.push(step("restore", json!({})));
    plan.finally.push(step("tell", json!({})));
    runs.execute(plan).await;
    let started: Vec<(Phase, Section)> = runs
        .events()
        .into_iter()
        .filter_map(|event| match event {
            RunEvent::StepStarted { phase, section, .. } => Some((phase, section)),
            _ => None,
        })
        .collect();
    let check = |section| (Phase::Check, section);
    assert_eq!(
        started,
        [
            check(Section::Steps),
            check(Section::Steps),
            check(Section::Rollback),
            check(Section::Finally),
            (Phase::Run, Section::Steps),
            (Phase::Run, Section::Steps),
            (Phase::Run, Section::Finally),
        ]
    );
}

#[tokio::test]
async fn a_failure_is_undone_in_reverse_and_then_rolled_back() {
    let runs = Runs::new();
    let told = json!([
        { "do": "rolled-back-output-of", "step": "one" },
        { "do": "rolled-back-output-of", "step": "two" },
        { "do": "facts" },
    ]);
    let mut plan = plan([
        step(
            "one",
            json!({ "run": [exec("1")], "undo": [exec("not 1")], "output": { "n": 1 } }),
        ),
        step(
            "two",
            json!({ "run": [exec("2"), fail()], "undo": [exec("not 2")] }),
        ),
        step("three", json!({ "run": [exec("3")] })),
    ]);
    plan.rollback.push(step("verify", json!({ "run": told })));
    plan.finally
        .push(step("tell", json!({ "run": [exec("told")] })));
    runs.execute(plan).await;

    let events = runs.events();
    assert_eq!(
        order(&events),
        [
            "run snapshot",
            "run one",
            "run two",
            "rollback because of two",
            "undo two",
            "undo one",
            "undo snapshot",
            "run verify",
            "run tell",
        ]
    );
    assert_eq!(
        runs.commands(),
        [
            "echo 1",
            "echo 2",
            "echo 'not 2'",
            "echo 'not 1'",
            "echo told"
        ]
    );
    let given: Vec<&str> = logs(&events)
        .into_iter()
        .filter_map(|line| line.strip_prefix("undo is given "))
        .collect();
    assert_eq!(given[0], "null", "two did not finish");
    assert!(given[1].contains("\"n\":1"), "{given:?}");
    let seen = &output(&events, "verify")["seen"];
    assert_eq!(seen[0]["n"], 1);
    assert_eq!(seen[1], Value::Null);
    assert_eq!(seen[2]["failed-step"], "two");
}

#[tokio::test]
async fn a_step_reads_what_the_steps_before_it_returned() {
    let runs = Runs::new();
    let plan = plan([
        step("one", json!({ "output": { "sha": "abc" } })),
        step(
            "two",
            json!({ "run": [
                { "do": "output-of", "step": "one" },
                { "do": "output-of", "step": "two" },
                { "do": "output-of", "step": "nobody" },
                { "do": "rolled-back-output-of", "step": "one" },
            ] }),
        ),
    ]);
    runs.execute(plan).await;
    let seen = &output(&runs.events(), "two")["seen"];
    assert_eq!(seen[0]["sha"], "abc");
    assert_eq!(*seen, json!([seen[0], null, null, null]));
}

#[tokio::test]
async fn a_rollback_of_an_earlier_run_reads_its_outputs() {
    let runs = Runs::new();
    let pull = json!({ "run": [exec("pull")], "output": { "old-sha": "abc" } });
    runs.execute(plan([step("git-pull", pull)])).await;
    let read = json!([{ "do": "rolled-back-output-of", "step": "git-pull" }]);
    let back = plan([step("git-back", json!({ "run": read }))]);
    runs.roll_back(back).await;
    let seen = &output(&runs.events(), "git-back")["seen"];
    assert_eq!(seen[0]["old-sha"], "abc");
}

#[tokio::test]
async fn a_retry_waits_counts_and_gives_up_on_what_cannot_help() {
    let retried = |fail: Value| {
        let mut retried = step("flaky", json!({ "run": [{ "do": "facts" }, fail] }));
        retried.retry = Retry {
            attempts: 3,
            delay: Duration::from_secs(7),
        };
        plan([retried])
    };
    let fail = |kind: &str, until: Option<u32>| json!({ "do": "fail", "kind": kind, "until": until, "code": "a.b", "message": "c" });
    for (call, attempts, succeeds) in [
        (fail("unavailable", Some(3)), 3, true),
        (fail("unavailable", None), 3, false),
        (fail("invalid", None), 1, false),
    ] {
        let runs = Runs::new();
        let before = runs.now();
        runs.execute(retried(call.clone())).await;
        let waited = runs.now() - before;
        let events = runs.events();
        let runs = order(&events).iter().filter(|l| *l == "run flaky").count();
        assert_eq!(runs, attempts, "{call}");
        // 7 s, then twice as long.
        assert_eq!(waited, if attempts == 3 { 21_000 } else { 0 }, "{call}");
        if succeeds {
            assert_eq!(output(&events, "flaky")["seen"][0]["attempt"], 3);
        }
    }
}

#[tokio::test]
async fn a_summary_is_shown_and_an_output_is_masked() {
    let runs = Runs::new();
    let reveal = json!([{ "do": "reveal", "name": "token" }]);
    let config = json!({ "run": reveal, "output": { "summary": "done" } });
    runs.execute(plan([step("a", config)])).await;
    let events = runs.events();
    assert!(events.iter().any(|event| matches!(
        event,
        RunEvent::StepFinished { summary: Some(summary), .. } if summary == "done"
    )));
    assert!(
        !serde_json::to_string(&events)
            .unwrap()
            .contains(crate::stage::TOKEN)
    );
    assert!(
        !serde_json::to_string(&runs.journal())
            .unwrap()
            .contains(crate::stage::TOKEN)
    );
}
