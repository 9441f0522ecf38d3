//! A recorded run again: from its journal alone, with a world that refuses
//! everything.

use crate::driver::{exec, fail, plan, step};
use crate::session::{Runs, session};
use crate::stage::{Stage, TOKEN, all, load};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use vdeploy_core::event::{Outcome, Phase, RunEvent};
use vdeploy_core::plan::{Plan, Retry};
use vdeploy_journal::Entry;
use vdeploy_journal::recording::Recording;
use vdeploy_journal::store::Stored;
use vdeploy_ops::Replay;
use vdeploy_run::Replayed;
use vdeploy_run::replay::What;
use vdeploy_run::trace::Ending;
use vdeploy_scope::Grants;
use vdeploy_wasm::Plugin;

/// What a replay came to, and what it told.
pub struct Repeated {
    pub replayed: Replayed,
    pub events: Vec<RunEvent>,
}

/// Repeats a run; nothing but its recording is left of it.
pub async fn repeat(recording: &Recording) -> Repeated {
    let session = session([], Grants::default());
    let replay = Replay {
        recording: recording.clone(),
        until: None,
        plugins: BTreeMap::new(),
    };
    let prepared = session.prepare_replay(replay).await.unwrap();
    let (sender, mut seen) = unbounded_channel();
    let replayed = prepared.execute(sender).await;
    Repeated {
        replayed,
        events: std::iter::from_fn(|| seen.try_recv().ok()).collect(),
    }
}

/// A run with this plan, as it is exported.
async fn record(plan: Plan) -> Recording {
    let runs = Runs::new();
    runs.execute(plan).await;
    runs.recording()
}

/// Every kind of call, in every function, with every kind of end.
fn everything() -> Plan {
    let tried = |mut call: Value| {
        call["try"] = true.into();
        call
    };
    let http = |method: &str, url: &str| json!({ "do": "http", "method": method, "url": url });
    let probe = |text: &str| json!({ "do": "probe", "argv": ["echo", text] });
    let secret = json!({ "do": "exec", "argv": ["echo", "x"], "secret": "token",
        "stdin": "a\nscript\n" });
    let with_token = json!({ "do": "http", "method": "GET", "url": "/leak", "secret": "token" });
    let mut flaky = step(
        "flaky",
        json!({ "run": [{ "do": "facts" }, { "do": "fail", "kind": "unavailable", "until": 3,
            "code": "a.b", "message": "not yet" }] }),
    );
    flaky.retry = Retry {
        attempts: 3,
        delay: Duration::from_secs(7),
    };
    let mut plan = plan([
        step(
            "look",
            json!({
                "check": [probe("checked"), tried(exec("a change in check"))],
                "run": [probe("look"), { "do": "now" }, { "do": "log", "text": "a line" },
                    { "do": "check", "name": "n", "detail": "d", "passes": true },
                    { "do": "sleep", "ms": 5000 }, { "do": "now" }],
                "output": { "n": 1.1, "big": 1e300, "text": "ü\n" },
            }),
        ),
        flaky,
        step(
            "change",
            json!({
                "run": [exec("live=2"), secret, tried(exec("lost")), tried(exec("unreachable")),
                    tried(json!({ "do": "exec", "argv": ["rm", "-rf"] })),
                    { "do": "reveal", "name": "token" },
                    http("GET", "/version"), with_token,
                    http("POST", "https://hooks.example.com/x"),
                    tried(http("GET", "https://elsewhere.example.com/")),
                    { "do": "http-all", "urls": ["/a", "/b", "/c", "https://no.example.com/"] },
                    { "do": "get", "key": "k" }, { "do": "put", "key": "k", "value": "v" },
                    { "do": "get", "key": "k" },
                    { "do": "snapshot", "label": "second" }, { "do": "snapshot", "label": "second" },
                    tried(json!({ "do": "snapshot", "label": "" })),
                    { "do": "output-of", "step": "look" }],
                "undo": [exec("live=1"), { "do": "facts" }],
            }),
        ),
        step("smoke", json!({ "run": [probe("x"), fail()] })),
    ]);
    plan.rollback.push(step(
        "restore",
        json!({ "run": [{ "do": "rolled-back-output-of", "step": "change" }, { "do": "facts" },
            { "do": "restore", "id": "snapshot-1" }, { "do": "facts" },
            http("GET", "/version"), exec("on the new VM")] }),
    ));
    plan.finally.push(step(
        "tell",
        json!({ "run": [exec("told"), { "do": "facts" }] }),
    ));
    plan
}

/// The events that say what plugins did and what came of it, without their times.
fn told(events: &[RunEvent]) -> Vec<Value> {
    let is_told = |event: &&RunEvent| {
        matches!(
            event,
            RunEvent::StepStarted { .. }
                | RunEvent::StepFinished { .. }
                | RunEvent::StepFailed { .. }
                | RunEvent::SnapshotTaken { .. }
                | RunEvent::TargetMoved { .. }
        )
    };
    let events = events.iter().filter(is_told).map(|event| {
        let mut event = serde_json::to_value(event).unwrap();
        let members = event.as_object_mut().unwrap();
        members.remove("duration-ms");
        // A replay makes no change.
        members.remove("before-changes");
        event
    });
    events.collect()
}

fn results(journal: &[Stored]) -> usize {
    let is_result = |stored: &&Stored| matches!(stored.entry, Entry::Result { .. });
    journal.iter().filter(is_result).count()
}

#[tokio::test]
async fn every_kind_of_call_is_repeated_bit_for_bit_without_a_world() {
    let runs = Runs::new();
    let finished = runs.execute(everything()).await;
    assert_eq!(finished.outcome, Outcome::RolledBack);
    let run = runs.recording();
    let text = run.lines().unwrap().join("\n");
    assert!(!text.contains(TOKEN));
    let read = Recording::read(&text).unwrap();
    assert_eq!(read, run);
    let again = repeat(&read).await;
    assert_eq!(again.replayed.difference, None);
    assert_eq!(again.replayed.cut_off, None);
    assert_eq!(again.replayed.calls, results(&run.journal));
    // The whole story, texts and numbers: what was returned, what failed.
    assert_eq!(told(&again.events), told(&runs.events()));
    let revealed = again.events.iter().any(|event| {
        matches!(event, RunEvent::Log { message, .. } if message.contains("in no recording"))
    });
    assert!(revealed, "a reveal is not said to be a guess");
}

#[tokio::test]
async fn a_dry_run_and_a_rollback_of_an_earlier_run_are_repeated_too() {
    let dry = Runs::new().dry();
    dry.execute(everything()).await;
    let again = repeat(&dry.recording()).await;
    assert_eq!(again.replayed.difference, None);
    assert_eq!(told(&again.events), told(&dry.events()));

    let runs = Runs::new();
    let pull = json!({ "run": [exec("pull")], "output": { "old-sha": "abc" } });
    runs.execute(plan([step("git-pull", pull)])).await;
    let read = json!([{ "do": "rolled-back-output-of", "step": "git-pull" }, exec("back")]);
    runs.roll_back(plan([step("git-back", json!({ "run": read }))]))
        .await;
    let mut run = runs.recording();
    assert_eq!(repeat(&run).await.replayed.difference, None);
    // Without them the step returns something else.
    run.rolled_back = None;
    let again = repeat(&run).await;
    assert_eq!(again.replayed.difference.unwrap().step.as_str(), "git-back");
}

/// The request of an entry, to be changed.
fn request(entry: &mut Entry) -> Option<(u64, &mut Value)> {
    match entry {
        Entry::Intent { call, request, .. } | Entry::Result { call, request, .. } => {
            Some((*call, request))
        }
        _ => None,
    }
}

#[tokio::test]
async fn whichever_request_was_another_is_the_difference_that_is_shown() {
    let run = record(everything()).await;
    let mut cases = 0;
    for at in 0..run.journal.len() {
        let mut changed = run.clone();
        let entry = &mut changed.journal[at].entry;
        let Some((call, request)) = request(entry) else {
            continue;
        };
        // The arguments of a change are in its intent, and the clock has none.
        if request.is_null() {
            continue;
        }
        *request = json!({ "changed": true });
        let again = repeat(&changed).await;
        let found = again.replayed.difference.unwrap();
        let What::Call {
            call: differs,
            recorded: Some((_, recorded)),
            now: Some((_, now)),
        } = &found.what
        else {
            panic!("{found:?}");
        };
        assert_eq!(*differs, call);
        assert_eq!(*recorded, json!({ "changed": true }));
        assert_ne!(now, recorded);
        cases += 1;
    }
    assert!(cases > 30, "{cases}");
}

#[tokio::test]
async fn another_end_is_a_difference_too() {
    let run = record(everything()).await;
    let mut cases = 0;
    for at in 0..run.journal.len() {
        let mut changed = run.clone();
        let entry = &mut changed.journal[at].entry;
        let step = match entry {
            Entry::StepFinished {
                step,
                output: Some(output),
                ..
            } => {
                output["more"] = 1.into();
                step.clone()
            }
            Entry::StepFailed { step, failure, .. } => {
                failure.error.message.push('!');
                step.clone()
            }
            _ => continue,
        };
        let again = repeat(&changed).await;
        let found = again.replayed.difference.unwrap();
        assert_eq!(found.step, step);
        assert!(matches!(found.what, What::End { .. }), "{found:?}");
        cases += 1;
    }
    assert!(cases >= 9, "{cases}");
}

#[tokio::test]
async fn a_plugin_that_asks_for_more_or_less_differs_there() {
    let with = |calls: Value| plan([step("deploy", json!({ "run": calls }))]);
    let run = record(with(json!([exec("a"), exec("b")]))).await;
    // As if it had been recorded with other calls.
    let as_if = |calls: Value| {
        let mut other = run.clone();
        other.record.plan = with(calls);
        other.record.configs.clear();
        other
    };
    for (calls, call, recorded, now) in [
        (json!([exec("a")]), 3, true, false),
        (json!([exec("a"), exec("b"), exec("c")]), 4, false, true),
        (json!([exec("a"), exec("c")]), 3, true, true),
        (json!([exec("a"), { "do": "now" }]), 3, true, true),
    ] {
        let found = repeat(&as_if(calls)).await.replayed;
        let Some(What::Call {
            call: differs,
            recorded: was,
            now: is,
        }) = found.difference.map(|difference| difference.what)
        else {
            panic!("no call differs");
        };
        assert_eq!(
            (differs, was.is_some(), is.is_some()),
            (call, recorded, now)
        );
    }
    // The same calls, and another end.
    let other = as_if(json!([exec("a"), exec("b"), fail()]));
    let found = repeat(&other).await.replayed;
    let Some(What::End { recorded, now }) = found.difference.map(|d| d.what) else {
        panic!("the end does not differ");
    };
    assert!(matches!(recorded, Ending::Finished(_)));
    assert!(matches!(now, Ending::Failed(_)));
}

#[tokio::test]
async fn where_a_recording_breaks_off_is_said_and_no_difference() {
    let run = record(everything()).await;
    let mut cut_off = 0;
    for length in 1..run.journal.len() {
        let mut short = run.clone();
        short.journal.truncate(length);
        let again = repeat(&short).await.replayed;
        assert_eq!(again.difference, None, "after {length} entries");
        cut_off += usize::from(again.cut_off.is_some());
    }
    assert!(cut_off > 40, "{cut_off}");
}

#[tokio::test]
async fn a_step_whose_time_was_over_is_repeated_without_waiting() {
    let runs = Runs::new().with_real_time();
    let mut slow = step(
        "slow",
        json!({ "run": [exec("a"), { "do": "sleep", "ms": 600_000 }] }),
    );
    slow.timeout = Duration::from_secs(2);
    let finished = runs.execute(plan([slow])).await;
    assert_eq!(finished.outcome, Outcome::RolledBack);
    let again = repeat(&runs.recording()).await;
    assert_eq!(again.replayed.difference, None);
    assert_eq!(told(&again.events), told(&runs.events()));
}

#[tokio::test]
async fn what_is_not_granted_any_more_does_not_matter_and_reaches_nothing() {
    let run = record(everything()).await;
    let error = load("scripted", &Grants::default()).unwrap_err();
    assert!(error.to_string().contains("grants"), "{error}");
    let engine = crate::stage::engine();
    let bytes = crate::stage::bytes("scripted");
    let plugin = Plugin::load_to_replay(&engine, &"scripted".into(), &bytes).unwrap();
    assert_eq!(*plugin.grants, Grants::default());
    assert_ne!(all(), Grants::default());
    let again = repeat(&run).await;
    assert_eq!(again.replayed.difference, None);
    // Without a recording it can do nothing at all.
    let stage = Stage::new();
    let probe = json!({ "run": [{ "do": "probe", "argv": ["echo", "x"] }] });
    let ran = stage.call(&plugin, Phase::Run, probe).await;
    assert_eq!(crate::stage::code(&ran.result.unwrap_err()), "ssh.denied");
    assert!(stage.commands().is_empty());
}
