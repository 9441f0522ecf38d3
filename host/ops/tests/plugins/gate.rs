//! The gate's rules as a plugin meets them.

use crate::stage::{Parts, Stage, all, code, load, scripted};
use serde_json::{Value, json};
use std::sync::Arc;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output, Ssh};
use vdeploy_core::event::Phase;
use vdeploy_core::event::RunEvent;
use vdeploy_journal::Entry;

fn exec(word: &str) -> Value {
    json!({ "do": "exec", "argv": ["echo", word], "try": true })
}

#[tokio::test]
async fn check_may_probe_and_not_change() {
    let stage = Stage::new().with_snapshot();
    let plugin = scripted();
    for (call, refused) in [
        (json!({ "do": "probe", "argv": ["echo", "hello"] }), false),
        (json!({ "do": "http", "method": "GET", "url": "/x" }), false),
        (json!({ "do": "get", "key": "k" }), false),
        (json!({ "do": "exec", "argv": ["echo", "hello"] }), true),
        (json!({ "do": "snapshot", "label": "a" }), true),
        (json!({ "do": "restore", "id": "snapshot-1" }), true),
        (json!({ "do": "put", "key": "k", "value": "v" }), true),
        (
            json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com/x" }),
            true,
        ),
    ] {
        let config = json!({ "check": [call] });
        let result = stage.call(&plugin, Phase::Check, config).await.result;
        match refused {
            true => assert_eq!(code(&result.unwrap_err()), "gate.check", "{call}"),
            false => assert!(result.is_ok(), "{call}: {result:?}"),
        }
    }
    assert_eq!(stage.commands(), ["echo hello"]);
    assert!(!stage.shared.snapshots.target_changed());
}

#[tokio::test]
async fn the_target_is_changed_only_after_a_snapshot() {
    let stage = Stage::new();
    let plugin = scripted();
    let seen = stage
        .run(
            &plugin,
            json!([
                exec("early"),
                { "do": "snapshot", "label": "before" },
                { "do": "snapshot", "label": "before" },
                { "do": "snapshot", "label": "other" },
                exec("late"),
            ]),
        )
        .await
        .unwrap();
    assert_eq!(seen[0], "gate.no-snapshot");
    assert_eq!(seen[1], "snapshot-1");
    assert_eq!(seen[2], "snapshot-1");
    assert_eq!(seen[3], "snapshot-2");
    assert_eq!(seen[4]["stdout"], "late\n");
    assert_eq!(stage.commands(), ["echo late"]);
    assert!(stage.shared.snapshots.target_changed());
}

#[tokio::test]
async fn a_change_elsewhere_needs_no_snapshot() {
    let stage = Stage::new();
    let seen = stage
        .run(
            &scripted(),
            json!([
                { "do": "put", "key": "last", "value": "abc" },
                { "do": "get", "key": "last" },
                { "do": "http", "method": "POST", "url": "https://hooks.example.com/x" },
            ]),
        )
        .await
        .unwrap();
    assert_eq!(seen[1], "abc");
    assert_eq!(seen[2]["status"], 200);
    assert!(!stage.shared.snapshots.target_changed());
}

#[tokio::test]
async fn a_dry_run_probes_and_only_shows_its_changes() {
    let stage = Stage::of(Parts {
        dry_run: true,
        ..Parts::default()
    });
    let seen = stage
        .run(
            &scripted(),
            json!([
                { "do": "facts" },
                { "do": "probe", "argv": ["echo", "look"] },
                { "do": "snapshot", "label": "before" },
                exec("change"),
                { "do": "put", "key": "k", "value": "v" },
                { "do": "get", "key": "k" },
            ]),
        )
        .await
        .unwrap();
    assert_eq!(seen[0]["dry-run"], true);
    assert_eq!(seen[1]["stdout"], "look\n");
    assert_eq!(seen[3], json!({ "exit": 0, "stdout": "", "stderr": "" }));
    assert_eq!(seen[5], Value::Null);
    assert_eq!(stage.commands(), ["echo look"]);
    assert!(!stage.shared.snapshots.target_changed() && !stage.shared.snapshots.allows_changes());
    let not_made = stage
        .events()
        .into_iter()
        .filter(|event| matches!(event, RunEvent::CallFinished { not_made: true, .. }));
    // `state.put` is quiet.
    assert_eq!(not_made.count(), 2);
}

#[tokio::test]
async fn near_misses_of_a_grant_are_refused() {
    let stage = Stage::new().with_snapshot();
    let plugin = scripted();
    for (call, expected) in [
        (
            json!({ "do": "exec", "argv": ["echoes", "x"] }),
            "ssh.denied",
        ),
        (
            json!({ "do": "exec", "argv": ["/bin/echo", "x"] }),
            "ssh.denied",
        ),
        (
            json!({ "do": "exec", "argv": ["cat", "/var/log/x"] }),
            "ssh.denied",
        ),
        (
            json!({ "do": "probe", "argv": ["cat", "/var/log/../../etc/shadow"] }),
            "ssh.denied",
        ),
        (
            json!({ "do": "http", "method": "DELETE", "url": "/x" }),
            "http.denied",
        ),
        (
            json!({ "do": "http", "method": "GET", "url": "https://vm-1.example.com/x" }),
            "http.denied",
        ),
        (
            json!({ "do": "http", "method": "GET", "url": "http://vm-1.example.com:3000/x" }),
            "http.denied",
        ),
        (
            json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com.evil.org/" }),
            "http.denied",
        ),
        (
            json!({ "do": "http", "method": "BREW", "url": "/x" }),
            "http.invalid",
        ),
        (
            json!({ "do": "http", "method": "GET", "url": "nowhere" }),
            "http.invalid",
        ),
        (
            json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com/", "secret": "token" }),
            "secret.denied",
        ),
        (json!({ "do": "reveal", "name": "other" }), "secret.denied"),
    ] {
        let error = stage.run(&plugin, json!([call])).await.unwrap_err();
        assert_eq!(code(&error), expected, "{call}: {error}");
        if expected.ends_with(".denied") {
            assert!(
                error.to_string().contains("[plugins.scripted.grants]"),
                "{error}"
            );
        }
    }
    assert!(stage.commands().is_empty());
    assert!(stage.http.requests().is_empty());
    assert!(!stage.shared.snapshots.target_changed());
}

#[tokio::test]
async fn a_known_label_needs_the_grant_too() {
    let stage = Stage::new();
    let call = json!([{ "do": "snapshot", "label": "before" }]);
    stage.run(&scripted(), call.clone()).await.unwrap();
    let mut grants = all();
    grants
        .snapshot
        .retain(|scope| scope.to_string() == "restore");
    let restricted = load("scripted", &grants).unwrap();
    let error = stage.run(&restricted, call).await.unwrap_err();
    assert_eq!(code(&error), "snapshot.denied");
}

#[tokio::test]
async fn a_secret_goes_to_ssh_only_when_granted() {
    let stage = Stage::new().with_snapshot();
    let mut grants = all();
    grants.secrets.retain(|scope| !scope.allows_ssh());
    let plugin = load("scripted", &grants).unwrap();
    let call = json!([{ "do": "exec", "argv": ["echo"], "secret": "token" }]);
    let error = stage.run(&plugin, call).await.unwrap_err();
    assert_eq!(code(&error), "secret.denied");
    assert!(error.to_string().contains("token@ssh"), "{error}");
    assert!(stage.commands().is_empty());
}

#[tokio::test]
async fn requests_at_once_answer_in_order_and_a_refused_one_alone() {
    let stage = Stage::new();
    let urls = ["/a", "https://elsewhere.example.org/", "not a url", "/b"];
    let call = json!([{ "do": "http-all", "urls": urls }]);
    let seen = stage.run(&scripted(), call).await.unwrap();
    assert_eq!(
        seen[0],
        json!(["this is /a", "http.denied", "http.invalid", "this is /b"])
    );
}

#[tokio::test]
async fn a_restore_moves_the_target_and_its_grants_with_it() {
    let stage = Stage::new();
    let seen = stage
        .run(
            &scripted(),
            json!([
                { "do": "snapshot", "label": "before" },
                { "do": "restore", "id": "snapshot-1" },
                { "do": "facts" },
                { "do": "http", "method": "GET", "url": "/x" },
                {
                    "do": "http", "method": "GET", "url": "https://vm-1.example.com:3000/x",
                    "try": true,
                },
            ]),
        )
        .await
        .unwrap();
    assert_eq!(seen[2]["vm"], "vm-of-snapshot-1-1");
    assert_eq!(seen[3]["status"], 200);
    assert_eq!(seen[4], "http.denied");
}

#[tokio::test]
async fn a_stopped_run_makes_no_call_and_a_rollback_is_not_stopped() {
    let stage = Stage::new().with_snapshot();
    let plugin = scripted();
    stage.shared.cancellation.cancel();
    let calls = json!([{ "do": "probe", "argv": ["echo", "a"] }]);
    let error = stage.run(&plugin, calls.clone()).await.unwrap_err();
    assert_eq!(code(&error), "gate.cancelled");
    stage.shared.cancellation.finish_undisturbed();
    stage.shared.cancellation.cancel();
    stage.run(&plugin, calls).await.unwrap();
    assert_eq!(stage.commands(), ["echo a"]);
}

#[tokio::test]
async fn a_stop_ends_a_sleep() {
    let stage = Stage::with_real_time();
    let plugin = scripted();
    let calls = json!([
        { "do": "sleep", "ms": 30_000 },
        { "do": "probe", "argv": ["echo", "a"] },
    ]);
    let (result, ()) = tokio::join!(stage.run(&plugin, calls), async {
        // The journal of a sleep is written at its end: its event tells.
        loop {
            let started = |event| matches!(event, RunEvent::CallStarted { .. });
            if stage.events().into_iter().any(started) {
                break stage.shared.cancellation.cancel();
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(code(&result.unwrap_err()), "gate.cancelled");
    // It is slept to its end when the run is resumed.
    let slept = |entry: &Entry| matches!(entry, Entry::Result { function, .. } if function == "clock.sleep-ms");
    assert!(!stage.journal().iter().any(slept));
}

/// Never answers.
#[derive(Debug)]
struct Mute;

#[async_trait::async_trait]
impl Ssh for Mute {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }
    async fn run(&self, _: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        std::future::pending().await
    }
    async fn close(&self) {}
}

#[tokio::test]
async fn what_only_looks_is_not_waited_for_when_the_run_is_stopped_or_broken() {
    for broken in [false, true] {
        let stage = Stage::new().with_ssh(Arc::new(Mute));
        let plugin = scripted();
        let calls = json!([{ "do": "probe", "argv": ["echo", "a"] }]);
        let (result, ()) = tokio::join!(stage.run(&plugin, calls), async {
            loop {
                let started = |event| matches!(event, RunEvent::CallStarted { .. });
                if stage.events().into_iter().any(started) {
                    break match broken {
                        true => stage.shared.cancellation.break_off("lost"),
                        false => stage.shared.cancellation.cancel(),
                    };
                }
                tokio::task::yield_now().await;
            }
        });
        let expected = ["gate.cancelled", "gate.closed"][usize::from(broken)];
        assert_eq!(code(&result.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn a_change_that_surely_did_not_happen_leaves_the_target_unchanged() {
    for (word, changed) in [("unreachable", false), ("lost", true)] {
        let stage = Stage::new().with_snapshot();
        stage.run(&scripted(), json!([exec(word)])).await.unwrap();
        assert_eq!(stage.shared.snapshots.target_changed(), changed, "{word}");
    }
    let stage = Stage::new().with_snapshot();
    let calls = json!([exec("fine"), exec("unreachable")]);
    stage.run(&scripted(), calls).await.unwrap();
    assert!(stage.shared.snapshots.target_changed());
}
