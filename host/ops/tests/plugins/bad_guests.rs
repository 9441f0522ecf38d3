//! Plugins that behave badly: each ends with its own error, and the host goes
//! on.

use crate::stage::{Stage, all, code, load, load_with};
use serde_json::{Value, json};
use std::time::Duration;

use vdeploy_core::event::Phase;
use vdeploy_core::event::RunEvent;
use vdeploy_wasm::{Limits, PluginError, Returned};

/// Little of everything but time, so that the tests are fast and the machine
/// may be slow.
fn patient() -> Limits {
    Limits {
        cpu: Duration::from_secs(60),
        ..little()
    }
}

/// Little of everything.
fn little() -> Limits {
    Limits {
        cpu: Duration::from_millis(200),
        memory: 32 << 20,
        log: 64 << 10,
        grace: Duration::from_millis(200),
        ..Limits::default()
    }
}

async fn bad_on(stage: &Stage, config: Value) -> Returned {
    let limits = match config["what"].as_str() {
        Some("spin" | "flood-log" | "flood-checks" | "poll" | "sleep") => little(),
        _ => patient(),
    };
    let plugin = load_with("bad-guests", limits);
    stage.call(&plugin, Phase::Run, config).await
}

/// Calls the bad guest, then sees that another call still works.
async fn bad(what: &str) -> Returned {
    let stage = Stage::new().with_snapshot();
    let returned = bad_on(&stage, json!({ "what": what })).await;
    let after = bad_on(&stage, json!({ "what": "many-calls", "times": 2 })).await;
    assert_eq!(after.result.unwrap()["text"], "called");
    returned
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_cpu_budget() {
    let error = bad("spin").await.result.unwrap_err();
    assert!(matches!(error, PluginError::Cpu { .. }), "{error}");
    assert!(error.to_string().contains("0.2 s"), "{error}");
}

#[tokio::test]
async fn an_endless_loop_does_not_hold_up_other_plugins() {
    let stage = Stage::new();
    let (spins, answers) = tokio::join!(
        bad_on(&stage, json!({ "what": "spin" })),
        bad_on(&stage, json!({ "what": "many-calls", "times": 3 })),
    );
    assert!(spins.result.is_err());
    assert!(answers.result.is_ok());
}

#[tokio::test]
async fn endless_recursion_is_a_fault_of_the_plugin() {
    let returned = bad("recurse").await;
    let error = returned.result.unwrap_err();
    assert!(matches!(error, PluginError::Trap { .. }), "{error}");
    let context = returned.context.join("\n");
    assert!(context.contains("recurse"), "{context}");
}

#[tokio::test]
async fn memory_has_an_end() {
    let error = bad("allocate").await.result.unwrap_err();
    assert!(matches!(error, PluginError::Memory { .. }), "{error}");
    assert!(error.to_string().contains("32 MiB"), "{error}");
}

#[tokio::test]
async fn what_the_host_holds_for_a_plugin_has_an_end_too() {
    let error = bad("hoard").await.result.unwrap_err();
    assert!(matches!(error, PluginError::Memory { .. }), "{error}");
}

#[tokio::test]
async fn what_was_sent_is_no_longer_held() {
    let stage = Stage::new();
    // Each call takes some hundred bytes while it lasts.
    let limits = Limits {
        memory: 4 << 20,
        ..patient()
    };
    let plugin = load_with("bad-guests", limits);
    let config = json!({ "what": "many-calls", "times": 10_000 });
    let returned = stage.call(&plugin, Phase::Run, config).await;
    assert_eq!(returned.result.unwrap()["text"], "called");
    assert_eq!(stage.commands().len(), 10_000);
}

#[tokio::test]
async fn a_panic_tells_its_message_its_last_words_and_its_last_call() {
    let returned = bad("panic").await;
    let error = returned.result.unwrap_err().to_string();
    assert!(
        error.contains("panicked: the pipe is blocked, at ") && error.contains("src/lib.rs:"),
        "{error}"
    );
    let context = returned.context.join("\n");
    assert!(context.contains("log: about to give up"), "{context}");
    assert!(
        context.contains("last call: ssh echo 'last words'"),
        "{context}"
    );
}

#[tokio::test]
async fn an_output_is_a_json_object_of_bounded_size() {
    for (what, words) in [
        ("huge-output", "at most 1048576 are kept"),
        ("not-json", "is no JSON object"),
        ("array", "is no JSON object"),
    ] {
        let error = bad(what).await.result.unwrap_err();
        assert!(
            matches!(error, PluginError::Output { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_flood_of_lines_or_checks_is_cut_and_ends_at_the_cpu_budget() {
    for what in ["flood-log", "flood-checks"] {
        let stage = Stage::new();
        let returned = bad_on(&stage, json!({ "what": what })).await;
        let error = returned.result.unwrap_err();
        assert!(matches!(error, PluginError::Cpu { .. }), "{what}: {error}");
        let events = stage.events();
        assert!(events.len() < 20, "{what}: {} events", events.len());
        let last = events.last().unwrap();
        assert!(
            matches!(last, RunEvent::Log { message, .. } if message.contains("logs too much")),
            "{what}: {last:?}"
        );
    }
}

#[tokio::test]
async fn a_huge_error_message_is_cut() {
    let error = bad("huge-error").await.result.unwrap_err();
    assert_eq!(code(&error), "bad.huge");
    assert!(error.to_string().len() < 70_000);
}

#[tokio::test]
async fn waiting_costs_no_cpu_time_in_one_piece_or_in_many() {
    let stage = Stage::with_real_time();
    for config in [
        json!({ "what": "sleep", "ms": 600 }),
        // Each return from a wait meets an epoch tick; 50 of them are more
        // ticks than the budget has.
        json!({ "what": "poll", "ms": 15, "times": 50 }),
    ] {
        let returned = bad_on(&stage, config.clone()).await;
        assert!(returned.result.is_ok(), "{config}: {:?}", returned.result);
    }
}

#[tokio::test]
async fn the_deadline_ends_a_sleep_and_with_it_the_step() {
    let stage = Stage::with_real_time().with_snapshot();
    let plugin = load_with("bad-guests", little());
    for what in ["sleep", "call-after-deadline"] {
        let config = json!({ "what": what, "ms": 60_000 });
        let timeout = Duration::from_millis(100);
        let returned = stage
            .call_within(&plugin, Phase::Run, config, timeout)
            .await;
        let error = returned.result.unwrap_err();
        assert!(
            matches!(error, PluginError::Deadline { .. }),
            "{what}: {error}"
        );
        assert!(
            error.to_string().contains("within 0.1 s"),
            "{what}: {error}"
        );
        assert!(
            returned
                .context
                .contains(&"last call: clock.sleep-ms 60000".to_owned()),
            "{:?}",
            returned.context
        );
    }
    assert!(stage.commands().is_empty(), "{:?}", stage.commands());
}

#[tokio::test]
async fn after_the_deadline_no_call_is_made() {
    let stage = Stage::new().with_snapshot();
    let plugin = load_with("bad-guests", little());
    let config = json!({ "what": "many-calls" });
    let returned = stage
        .call_within(&plugin, Phase::Run, config, Duration::ZERO)
        .await;
    assert_eq!(code(&returned.result.unwrap_err()), "gate.deadline");
    assert!(stage.commands().is_empty());
}

#[tokio::test]
async fn a_guest_that_computes_past_its_deadline_is_cut_off() {
    let stage = Stage::new();
    let plugin = load_with("bad-guests", patient());
    let timeout = Duration::from_millis(50);
    let returned = stage
        .call_within(&plugin, Phase::Run, json!({ "what": "spin" }), timeout)
        .await;
    let error = returned.result.unwrap_err();
    assert!(matches!(error, PluginError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn with_the_limits_of_the_contract_a_good_plugin_runs() {
    let stage = Stage::new();
    let plugin = load("version-check", &all()).unwrap();
    let returned = stage
        .call(&plugin, Phase::Run, json!({ "expect": "1.0.0" }))
        .await;
    assert_eq!(returned.result.unwrap()["version"], "1.0.0");
    let wrong = stage
        .call(&plugin, Phase::Run, json!({ "expect": "2.0.0" }))
        .await;
    let error = wrong.result.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected version 2.0.0, found 1.0.0"),
        "{error}"
    );
    let failed = stage.events().into_iter().any(|event| {
        matches!(event, RunEvent::Check { name, detail: Some(detail), .. }
            if name == "version" && detail.contains("found 1.0.0"))
    });
    assert!(failed);
}
