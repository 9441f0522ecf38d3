//! A plugin that asks without end: what each of its calls may use up, and that
//! the rollback has a budget of its own.

use crate::driver::{exec, fail, plan, step};
use crate::session::Runs;
use crate::stage::{Stage, code, load_with, scripted};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::doubles::RecordingHttp;
use vdeploy_core::capability::http::{HopPolicy, Http, Request, Response};
use vdeploy_core::codes;
use vdeploy_core::event::{Outcome, Phase};
use vdeploy_gate::{Budget, MAX_IN_FLIGHT};
use vdeploy_journal::Entry;
use vdeploy_wasm::Limits;

fn many(times: u32, call: Value) -> Value {
    json!({ "do": "many", "times": times, "call": call })
}

/// Runs in which one request has an answer of 1 MiB.
fn lavish() -> Runs {
    let body = vec![b'x'; 1 << 20];
    let http = RecordingHttp::new(move |_| {
        Ok(Response {
            status: 200,
            body: body.clone(),
            ..Response::default()
        })
    });
    Runs::new().with_http(http)
}

/// More than the journal takes of one call, in few calls.
fn greedily() -> Value {
    many(
        u32::MAX,
        json!({ "do": "http", "method": "GET", "url": "/x" }),
    )
}

fn results(stage: &Stage) -> usize {
    stage.shared.waive_snapshot("flush").unwrap();
    let is_result = |entry: &Entry| matches!(entry, Entry::Result { .. });
    stage
        .journal()
        .iter()
        .filter(|entry| is_result(entry))
        .count()
}

#[tokio::test]
async fn the_calls_of_a_step_have_an_end_also_for_one_that_passes_it_over() {
    for call in [
        json!({ "do": "now" }),
        json!({ "do": "get", "key": "k", "try": true }),
        json!({ "do": "probe", "argv": ["not", "granted"], "try": true }),
    ] {
        let stage = Stage::new().with_budget(Budget::new(50, u64::MAX));
        let ended = stage
            .run(&scripted(), json!([many(5000, call.clone())]))
            .await;
        let error = ended.unwrap_err();
        assert_eq!(code(&error), codes::GATE_TOO_MUCH, "{call}: {error}");
        assert!(error.to_string().contains("50 calls"), "{error}");
        assert_eq!(results(&stage), 50, "{call}");
    }
}

#[tokio::test]
async fn the_journal_of_a_step_has_an_end_in_answers_and_in_arguments() {
    let text = "x".repeat(10_000);
    let zeros = "\0".repeat(2_000);
    for call in [
        json!({ "do": "probe", "argv": ["echo", text], "try": true }),
        json!({ "do": "exec", "argv": ["echo", text], "try": true }),
        // The longest address is 8 KiB.
        json!({ "do": "http", "method": "GET", "url": format!("/{}", "x".repeat(8_000)), "try": true }),
        json!({ "do": "http", "method": "GET", "url": "/x", "read-back": ["/y", text], "try": true }),
        json!({ "do": "put", "key": "k", "value": zeros, "try": true }),
        json!({ "do": "get", "key": text, "try": true }),
    ] {
        let stage = Stage::new()
            .with_snapshot()
            .with_budget(Budget::new(u64::MAX, 200_000));
        let ended = stage
            .run(&scripted(), json!([many(200, call.clone())]))
            .await;
        let error = ended.unwrap_err();
        assert_eq!(code(&error), codes::GATE_TOO_MUCH, "{call}");
        assert!(error.to_string().contains("195 KiB"), "{error}");
        let journal = serde_json::to_string(&stage.journal()).unwrap();
        assert!(journal.len() < 400_000, "{} bytes", journal.len());
    }
}

#[tokio::test]
async fn of_a_change_whose_answer_is_too_long_the_change_is_known() {
    let stage = Stage::new()
        .with_snapshot()
        .with_budget(Budget::new(u64::MAX, 3_000));
    let call = json!([{ "do": "exec", "argv": ["echo", "x".repeat(2_000)], "try": true }]);
    let error = stage.run(&scripted(), call).await.unwrap_err();
    let vdeploy_wasm::PluginError::Failed(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.code, codes::GATE_TOO_MUCH);
    assert_eq!(stage.commands().len(), 1);
    assert!(stage.shared.snapshots.target_changed());
    let last = stage.journal().pop().unwrap();
    let Entry::Result {
        response: Err(kept),
        ..
    } = last
    else {
        panic!("{last:?}");
    };
    assert!(
        kept.maybe_applied && kept.code == codes::GATE_TOO_MUCH,
        "{kept:?}"
    );
}

#[tokio::test]
async fn who_used_up_the_budget_keeps_nobody_from_rolling_back() {
    let runs = lavish();
    let greedy = json!({
        "run": [exec("new"), greedily()],
        "undo": [exec("old")],
    });
    let mut plan = plan([step("greedy", greedy)]);
    plan.rollback.push(step(
        "verify",
        json!({ "run": [{ "do": "now" }, exec("look")] }),
    ));
    let finished = runs.execute(plan).await;
    assert_eq!(
        finished.outcome,
        Outcome::RolledBack,
        "{}",
        finished.message
    );
    assert!(
        finished.message.contains(codes::GATE_TOO_MUCH),
        "{}",
        finished.message
    );
    let commands = runs.commands();
    assert_eq!(commands, ["echo new", "echo old", "echo look"]);
}

#[tokio::test]
async fn it_is_not_tried_again() {
    let runs = lavish();
    let mut greedy = step("greedy", json!({ "run": [greedily()] }));
    greedy.retry.attempts = 3;
    let finished = runs.execute(plan([greedy])).await;
    assert_eq!(finished.outcome, Outcome::FailedUnchanged);
    let tries = runs.journal().into_iter().filter(|entry| {
        matches!(entry, Entry::StepStarted { step, phase: Phase::Run, .. } if step.as_str() == "greedy")
    });
    assert_eq!(tries.count(), 1);
}

/// Answers slowly, and counts how many ask at once.
#[derive(Debug, Default)]
struct Slow {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

#[async_trait]
impl Http for Slow {
    async fn send(&self, _: &Request, _: &dyn HopPolicy) -> Result<Response, EffectError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.all.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(Response {
            status: 200,
            body: b"slow".to_vec(),
            ..Response::default()
        })
    }
}

#[tokio::test]
async fn few_requests_are_in_flight_at_once_and_all_are_answered() {
    let slow = Arc::new(Slow::default());
    let stage = Stage::new().with_http(slow.clone());
    let urls: Vec<String> = (0..50).map(|n| format!("/{n}")).collect();
    let call = json!([{ "do": "http-all", "urls": urls }]);
    let seen = stage.run(&scripted(), call).await.unwrap();
    assert_eq!(seen[0], json!(vec!["slow"; 50]));
    assert_eq!(slow.most.load(Ordering::SeqCst), MAX_IN_FLIGHT);
}

#[tokio::test]
async fn room_for_every_answer_is_kept_before_the_first_request() {
    let slow = Arc::new(Slow::default());
    let stage = Stage::new().with_http(slow.clone());
    let limits = Limits {
        memory: 16 << 20,
        ..Limits::default()
    };
    let plugin = load_with("scripted", limits);
    let all = |count: usize| json!({ "do": "http-all", "urls": vec!["/x"; count] });
    // Each may be 1 MiB long.
    let seen = stage.run(&plugin, json!([all(20), all(10)])).await.unwrap();
    assert_eq!(seen[0], json!(vec!["http.no-room"; 20]));
    assert_eq!(seen[1], json!(vec!["slow"; 10]));
    assert_eq!(slow.all.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn a_huge_line_costs_neither_time_nor_the_rest_of_a_secret() {
    let stage = Stage::new();
    let token = crate::stage::TOKEN;
    let line = format!(
        "{}{token}{}",
        "x".repeat(16 * 1024 - 5),
        "%41".repeat(3 << 20)
    );
    let calls = json!([
        { "do": "log", "text": line },
        { "do": "check", "name": line, "detail": line },
        { "do": "fail", "code": line, "message": line },
    ]);
    let error = stage.run(&scripted(), calls).await.unwrap_err().to_string();
    assert!(!error.contains(&token[..5]));
    let events = serde_json::to_string(&stage.events()).unwrap();
    assert!(events.len() < 100_000, "{} bytes", events.len());
    assert!(!events.contains(&token[..5]));
    assert!(events.contains("logs too much"), "what came in is counted");
}

#[tokio::test]
async fn a_failing_step_without_a_change_is_still_only_a_failure() {
    let run = json!({ "run": [many(10, json!({ "do": "now" })), fail()] });
    let finished = Runs::new().execute(plan([step("a", run)])).await;
    assert!(
        finished.message.contains("step.broke"),
        "{}",
        finished.message
    );
}
