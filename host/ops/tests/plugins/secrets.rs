//! A secret's value is in what goes to the target and nowhere else.

use crate::stage::{Stage, TOKEN, scripted};
use serde_json::{Value, json};
use vdeploy_core::event::Phase;

/// Calls that bring the value to the plugin in every way there is.
fn leaks() -> Value {
    json!([
        { "do": "reveal", "name": "token" },
        { "do": "exec", "argv": ["echo"], "secret": "token" },
        { "do": "exec", "argv": ["echo", TOKEN], "stdin": TOKEN },
        { "do": "http", "method": "GET", "url": "/leak", "secret": "token" },
        { "do": "http", "method": "GET", "url": format!("/x?token={TOKEN}") },
        { "do": "log", "text": format!("it is {TOKEN}") },
        { "do": "log", "text": format!("{}{TOKEN}", "x".repeat(8 * 1024 - 5)) },
        { "do": "check", "name": TOKEN, "detail": format!("found {TOKEN}"), "passes": true },
        { "do": "put", "key": "k", "value": format!("it is {TOKEN}"), "try": true },
        { "do": "put", "key": TOKEN, "value": "v", "try": true },
        { "do": "exec", "argv": ["false", TOKEN], "try": true },
    ])
}

#[tokio::test]
async fn no_journal_entry_and_no_event_has_the_value() {
    let stage = Stage::new().with_snapshot();
    let plugin = scripted();
    let seen = stage.run(&plugin, leaks()).await.unwrap();
    assert_eq!(seen[0], TOKEN, "a grant to reveal gives the value");
    assert_eq!(seen[1]["stdout"], " TOKEN=***\n");
    assert_eq!(seen[3]["body"], "your token is ***");
    assert_eq!(seen[8..10], ["state.secret", "state.secret"]);
    let fail = json!({ "do": "fail", "code": format!("a.{TOKEN}"), "message": TOKEN });
    let error = stage.run(&plugin, json!([fail])).await.unwrap_err();
    assert!(!error.to_string().contains(TOKEN), "{error}");
    // Writes what waits.
    stage.shared.waive_snapshot("flush").unwrap();

    let journal = serde_json::to_string(&stage.journal()).unwrap();
    let events = serde_json::to_string(&stage.events()).unwrap();
    for (name, text) in [("journal", &journal), ("events", &events)] {
        assert!(text.len() > 1_000, "{name} is there");
        assert!(!text.contains(TOKEN), "{name}: {text}");
        // The line that is cut in the middle of the value.
        assert!(!text.contains(&TOKEN[..5]), "{name}");
    }
    assert!(
        journal.contains("\"secret-env\":[[\"TOKEN\",\"token\"]]"),
        "{journal}"
    );
}

#[tokio::test]
async fn the_value_reaches_the_target_and_no_argument() {
    let stage = Stage::new().with_snapshot();
    let call = json!([{ "do": "exec", "argv": ["echo", "x"], "secret": "token" }]);
    stage.run(&scripted(), call).await.unwrap();
    let commands = stage.ssh.commands();
    assert_eq!(commands[0].args, ["x"]);
    assert_eq!(commands[0].secret_env[0].0, "TOKEN");
    assert_eq!(commands[0].secret_env[0].1.value.expose(), TOKEN);
}

#[tokio::test]
async fn the_story_of_a_fault_is_masked() {
    let stage = Stage::new().with_snapshot();
    let calls = json!([
        { "do": "log", "text": format!("it is {TOKEN}") },
        { "do": "exec", "argv": ["echo", TOKEN], "try": true },
        // Past the deadline: a fault and not an error of the plugin.
        { "do": "sleep", "ms": 10_000_000 },
    ]);
    let config = json!({ "run": calls });
    let returned = stage.call(&scripted(), Phase::Run, config).await;
    assert!(returned.result.is_err());
    let story = returned.context.join("\n");
    assert!(story.contains("log: it is ***"), "{story}");
    assert!(!story.contains(TOKEN), "{story}");
}

#[tokio::test]
async fn a_value_of_the_state_is_masked_where_it_is_a_secret() {
    let stage = Stage::new();
    let state = &stage.shared.world.state;
    let value = format!("token={TOKEN}");
    state
        .put(&"scripted".into(), &"infra".into(), "k", value.as_bytes())
        .unwrap();
    let seen = stage
        .run(&scripted(), json!([{ "do": "get", "key": "k" }]))
        .await
        .unwrap();
    assert_eq!(seen, ["token=***"]);
    stage.shared.waive_snapshot("flush").unwrap();
    let journal = serde_json::to_string(&stage.journal()).unwrap();
    assert!(!journal.contains(TOKEN), "{journal}");
}
