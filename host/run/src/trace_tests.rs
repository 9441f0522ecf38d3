use super::*;
use serde_json::json;
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::event::Section;
use vdeploy_core::plan::{OnFailure, Retry, RollbackTo, Step};

fn plan() -> Plan {
    let step = |id: &str| Step {
        id: id.into(),
        plugin: "p".into(),
        config: Default::default(),
        timeout: Duration::from_secs(1),
        retry: Retry::default(),
        on_failure: None,
    };
    Plan {
        name: "default".into(),
        summary: String::new(),
        steps: vec![step("a"), step("b")],
        rollback: vec![step("verify")],
        finally: Vec::new(),
        on_failure: OnFailure::Rollback,
        rollback_to: RollbackTo::InPlace,
    }
}

fn started(step: &str, section: Section, phase: Phase, attempt: u32) -> Entry {
    Entry::StepStarted {
        step: step.into(),
        section,
        phase,
        attempt,
    }
}

fn runs(step: &str, attempt: u32) -> Entry {
    started(step, Section::Steps, Phase::Run, attempt)
}

fn finished(step: &str) -> Entry {
    Entry::StepFinished {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        output: Some(json!({ "of": step })),
    }
}

fn failed(step: &str, kind: ErrorKind, code: &str) -> Entry {
    Entry::StepFailed {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        failure: StepFailure {
            error: EffectError::new(kind, code, "no"),
            context: Vec::new(),
        },
    }
}

fn intent(call: u64, step: &str, changes_target: bool) -> Entry {
    Entry::Intent {
        call,
        step: step.into(),
        function: "ssh.exec".to_owned(),
        request: json!({ "program": "x" }),
        changes_target,
    }
}

fn result(call: u64, step: &str, response: Result<Value, EffectError>) -> Entry {
    Entry::Result {
        call,
        step: step.into(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        response,
    }
}

fn read(entries: impl IntoIterator<Item = Entry>) -> Vec<Function> {
    let stored = entries.into_iter().zip(1..).map(|(entry, seq)| Stored {
        seq,
        at: seq * 10,
        entry,
    });
    functions(&plan(), &stored.collect::<Vec<_>>())
}

#[test]
fn each_function_has_its_own_calls_and_its_end() {
    let found = read([
        runs("a", 1),
        intent(1, "a", false),
        result(1, "a", Ok(json!("made"))),
        finished("a"),
        runs("b", 1),
        intent(2, "b", true),
        result(2, "b", Ok(json!("done"))),
        failed("b", ErrorKind::Failed, "b.broke"),
        Entry::RollbackStarted {
            cause: Some("b".into()),
        },
        started("a", Section::Steps, Phase::Undo, 1),
    ]);
    let names: Vec<&str> = found.iter().map(|f| f.step.as_str()).collect();
    assert_eq!(names, ["a", "b", "a"]);
    let calls = |at: usize| -> Vec<u64> { found[at].segment.calls.calls().map(|c| c.0).collect() };
    assert_eq!((calls(0), calls(1)), (vec![1], vec![2]));
    // A change has its arguments in its intent.
    let (_, call) = found[0].segment.calls.calls().next().unwrap();
    assert_eq!(call.request, json!({ "program": "x" }));
    assert!(found[0].segment.prepared.contains(&1));
    assert!(found[1].segment.prepared.is_empty());
    assert!(!found[1].segment.cut_off);
    assert_eq!(found[2].rollback, Some(Some("b".into())));
    assert!(found[2].segment.cut_off && found[2].ended.is_none());
}

#[test]
fn a_function_that_another_process_went_on_with_is_one() {
    let stop = || EffectError::new(ErrorKind::Cancelled, "gate.cancelled", "stopped");
    let resumed = || Entry::Resumed {
        by: "x".to_owned(),
        host_version: "0".to_owned(),
    };
    let found = read([
        runs("a", 1),
        intent(1, "a", true),
        result(1, "a", Ok(json!("one"))),
        result(2, "a", Err(stop())),
        failed("a", ErrorKind::Cancelled, "gate.cancelled"),
        resumed(),
        intent(2, "a", true),
        resumed(),
        result(2, "a", Ok(json!("two"))),
        finished("a"),
    ]);
    assert_eq!(found.len(), 1);
    let answers: Vec<CallOutcome> = found[0]
        .segment
        .calls
        .calls()
        .map(|(_, call)| call.outcome.clone())
        .collect();
    let ok = |text: &str| CallOutcome::Result(Ok(json!(text)));
    assert_eq!(answers, [ok("one"), ok("two")]);
    assert!(matches!(found[0].ended, Some(Ending::Finished(_))));
}

#[test]
fn until_a_step_means_all_its_attempts() {
    let found = read([
        started("a", Section::Steps, Phase::Check, 1),
        runs("a", 1),
        failed("a", ErrorKind::Failed, "x"),
        runs("a", 2),
        finished("a"),
        runs("b", 1),
    ]);
    assert_eq!(until(&found, &"a".into()), Some(3));
    assert_eq!(until(&found, &"b".into()), Some(4));
    assert_eq!(until(&found, &"verify".into()), None);
}

#[test]
fn a_function_whose_time_was_over_may_have_unanswered_calls() {
    let found = read([
        runs("a", 1),
        intent(1, "a", true),
        failed("a", ErrorKind::Failed, "plugin.deadline"),
    ]);
    assert!(found[0].segment.cut_off);
}
