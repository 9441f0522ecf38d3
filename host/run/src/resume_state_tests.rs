use super::*;
use crate::machine::{Action, Traits, next};
use serde_json::json;
use std::time::Duration;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::StepFailure;
use vdeploy_core::plan::{OnFailure, Retry, RollbackTo, Step};
use vdeploy_journal::Entry;

fn step(id: &str) -> Step {
    Step {
        id: id.into(),
        plugin: "p".into(),
        config: Default::default(),
        timeout: Duration::from_secs(60),
        retry: Retry::default(),
        on_failure: None,
    }
}

/// Steps `snapshot` and `deploy`, one rollback and one finally step.
fn record() -> RunRecord {
    let plan = Plan {
        name: "default".into(),
        summary: String::new(),
        steps: vec![step("snapshot"), step("deploy")],
        rollback: vec![step("verify")],
        finally: vec![step("tell")],
        on_failure: OnFailure::Rollback,
        rollback_to: RollbackTo::InPlace,
    };
    RunRecord {
        vm: Some("vm-1".to_owned()),
        ..RunRecord::bare("01A", "infra", plan)
    }
}

fn read(entries: Vec<Entry>) -> ResumeState {
    let stored: Vec<Stored> = (1..)
        .zip(entries)
        .map(|(seq, entry)| Stored {
            seq,
            at: 1000 * seq,
            entry,
        })
        .collect();
    ResumeState::of(&record(), &stored)
}

fn action(state: &ResumeState) -> Action {
    let traits = Traits {
        undoable: [1].into(),
        may_change: [0, 1].into(),
        is_rollback: false,
    };
    let mut history = state.history.clone();
    history.observe(state.gate.target_changed, false);
    next(&record().plan, &traits, &history)
}

fn place(section: Section, index: usize) -> Place {
    Place { section, index }
}

fn started(step: &str, section: Section, phase: Phase) -> Entry {
    Entry::StepStarted {
        step: step.into(),
        section,
        phase,
        attempt: 1,
    }
}

fn finished(step: &str, section: Section, phase: Phase, output: Option<Value>) -> Entry {
    Entry::StepFinished {
        step: step.into(),
        section,
        phase,
        output,
    }
}

fn failed(step: &str, error: EffectError) -> Entry {
    Entry::StepFailed {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        failure: StepFailure {
            error,
            context: Vec::new(),
        },
    }
}

fn intent(call: u64, step: &str, function: &str, request: Value) -> Entry {
    Entry::Intent {
        call,
        step: step.into(),
        function: function.to_owned(),
        request,
        changes_target: function == "ssh.exec" || function == "snapshot.restore",
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

fn error(kind: ErrorKind, code: &str) -> EffectError {
    EffectError::new(kind, code, "no")
}

/// Every check done, the snapshot taken with call 1.
fn until_deploy() -> Vec<Entry> {
    let mut entries = Vec::new();
    for (step, section) in [
        ("snapshot", Section::Steps),
        ("deploy", Section::Steps),
        ("verify", Section::Rollback),
        ("tell", Section::Finally),
    ] {
        entries.push(started(step, section, Phase::Check));
        entries.push(finished(step, section, Phase::Check, None));
    }
    entries.extend([
        started("snapshot", Section::Steps, Phase::Run),
        intent(1, "snapshot", "snapshot.create", json!({ "label": "pre" })),
        Entry::SnapshotTaken {
            snapshot: "s-1".into(),
            provider: None,
        },
        result(1, "snapshot", Ok(json!({ "snapshot": "s-1" }))),
        finished(
            "snapshot",
            Section::Steps,
            Phase::Run,
            Some(json!({ "id": "s-1" })),
        ),
        started("deploy", Section::Steps, Phase::Run),
    ]);
    entries
}

#[test]
fn nothing_recorded_is_the_beginning() {
    let sum = read(Vec::new());
    assert_eq!(action(&sum), Action::Check(place(Section::Steps, 0)));
    assert_eq!(sum.vm, Some("vm-1".into()));
    assert_eq!((sum.gate.calls, sum.in_flight), (0, None));
}

#[test]
fn a_call_is_known_or_in_doubt() {
    let mut entries = until_deploy();
    entries.extend([
        intent(2, "deploy", "ssh.exec", json!("build")),
        result(2, "deploy", Ok(json!("built"))),
        intent(3, "deploy", "ssh.exec", json!("swap")),
    ]);
    let at = 1000 * entries.len() as u64;
    let sum = read(entries);
    assert_eq!(action(&sum), Action::Run(place(Section::Steps, 1), 1));
    assert_eq!(sum.in_flight.unwrap().step.as_str(), "deploy");
    assert_eq!(sum.gate.calls, 1, "the next call of the step is number 2");
    let calls: Vec<(u64, CallOutcome)> = sum
        .gate
        .recorded
        .calls()
        .map(|(call, recorded)| (call, recorded.outcome.clone()))
        .collect();
    assert_eq!(
        calls,
        [
            (2, CallOutcome::Result(Ok(json!("built")))),
            (3, CallOutcome::InDoubt(at))
        ]
    );
    assert!(sum.gate.target_changed);
    assert_eq!(sum.outputs[&"snapshot".into()], json!({ "id": "s-1" }));
    let snapshots = sum.gate.snapshots;
    assert!(snapshots.stands);
    assert_eq!(snapshots.by_label["pre"], "s-1".into());
}

#[test]
fn the_rollback_point_is_the_snapshot_from_before_the_changes() {
    let taken = |id: &str| Entry::SnapshotTaken {
        snapshot: id.into(),
        provider: None,
    };
    let build = intent(2, "deploy", "ssh.exec", json!("build"));
    let mut entries = until_deploy();
    entries.extend([build.clone(), taken("after")]);
    assert_eq!(read(entries).gate.snapshots.first, Some("s-1".into()));
    let waived = Entry::SnapshotWaived {
        reason: String::new(),
    };
    let sum = read(vec![waived, build, taken("after")]);
    assert_eq!(sum.gate.snapshots.first, None, "it has the new version");
}

#[test]
fn an_entry_of_the_effect_stands_for_a_missing_result() {
    let mut entries = until_deploy();
    // Cut off between the snapshot's own entry and the call's result.
    entries.truncate(11);
    let sum = read(entries);
    let (call, recorded) = sum.gate.recorded.calls().next().unwrap();
    assert_eq!(call, 1);
    assert_eq!(
        recorded.outcome,
        CallOutcome::Done(json!({ "snapshot": "s-1" }))
    );
    assert_eq!(sum.gate.snapshots.by_label["pre"], "s-1".into());

    let mut entries = until_deploy();
    entries.extend([
        intent(
            2,
            "deploy",
            "snapshot.restore",
            json!({ "snapshot": "s-1" }),
        ),
        Entry::TargetMoved {
            from: Some("vm-1".into()),
            to: "vm-2".into(),
        },
    ]);
    let sum = read(entries);
    let recorded = sum.gate.recorded.calls().next().unwrap().1;
    assert_eq!(recorded.outcome, CallOutcome::Done(json!({ "vm": "vm-2" })));
    assert_eq!(sum.vm, Some("vm-2".into()));
    assert_eq!(sum.relocations, [("vm-1".into(), "vm-2".into())]);
    assert_eq!(sum.gate.as_of, Some("vm-1".into()), "as the plugin saw it");
}

#[test]
fn a_step_that_was_only_stopped_goes_on() {
    let mut entries = until_deploy();
    entries.extend([
        intent(2, "deploy", "ssh.exec", json!("build")),
        result(2, "deploy", Ok(json!("built"))),
        result(
            3,
            "deploy",
            Err(error(ErrorKind::Cancelled, "gate.cancelled")),
        ),
        failed("deploy", error(ErrorKind::Cancelled, "gate.cancelled")),
    ]);
    let sum = read(entries.clone());
    assert_eq!(action(&sum), Action::Run(place(Section::Steps, 1), 1));
    assert_eq!(
        sum.gate.recorded.len(),
        1,
        "the call that was refused is free"
    );
    assert!(sum.problems.is_empty());

    // Not so when the rollback has begun: it goes on.
    entries.push(Entry::RollbackStarted { cause: None });
    let sum = read(entries);
    assert_eq!(action(&sum), Action::Undo(place(Section::Steps, 1)));
    assert!(sum.gate.finishing);
}

#[test]
fn a_step_that_failed_has_failed() {
    let mut entries = until_deploy();
    entries.extend([
        intent(2, "deploy", "ssh.exec", json!("build")),
        result(2, "deploy", Err(error(ErrorKind::Unavailable, "ssh.down"))),
        failed("deploy", error(ErrorKind::Failed, "build.broken")),
    ]);
    let sum = read(entries);
    assert!(!sum.gate.target_changed, "the one change did not happen");
    assert_eq!(sum.problems.len(), 1);
    assert_eq!(action(&sum), Action::Run(place(Section::Finally, 0), 1));
}

#[test]
fn what_a_finally_step_changes_begins_no_rollback() {
    let mut entries = until_deploy();
    entries.extend([
        failed("deploy", error(ErrorKind::Failed, "build.broken")),
        started("tell", Section::Finally, Phase::Run),
        intent(2, "tell", "ssh.exec", json!("tell")),
    ]);
    let sum = read(entries);
    assert!(sum.gate.target_changed);
    assert_eq!(action(&sum), Action::Run(place(Section::Finally, 0), 1));
}

#[test]
fn a_second_interruption_is_read_like_the_first() {
    let mut entries = until_deploy();
    entries.extend([
        intent(2, "deploy", "ssh.exec", json!("build")),
        Entry::Resumed {
            by: String::new(),
            host_version: String::new(),
        },
        result(2, "deploy", Ok(json!("built"))),
        intent(3, "deploy", "ssh.exec", json!("swap")),
    ]);
    let sum = read(entries);
    assert_eq!(sum.gate.recorded.len(), 2);
    assert_eq!(sum.gate.calls, 1);
}
