use super::*;
use vdeploy_core::ids::StepId;

/// Entries a second apart.
fn journal(entries: Vec<Entry>) -> Vec<Stored> {
    (1..)
        .zip(entries)
        .map(|(seq, entry)| Stored {
            seq,
            at: 1000 * seq,
            entry,
        })
        .collect()
}

fn started(step: &str) -> Entry {
    Entry::StepStarted {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        attempt: 1,
    }
}

fn finished(step: &str, output: Value) -> Entry {
    Entry::StepFinished {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        output: Some(output),
    }
}

fn failed(step: &str, code: &str) -> Entry {
    Entry::StepFailed {
        step: step.into(),
        section: Section::Steps,
        phase: Phase::Run,
        failure: StepFailure {
            error: EffectError::new(ErrorKind::Cancelled, code, "no"),
            context: Vec::new(),
        },
    }
}

fn intent(call: u64, function: &str) -> Entry {
    Entry::Intent {
        call,
        step: "a".into(),
        function: function.to_owned(),
        request: Value::Null,
        changes_target: function == "ssh.exec",
    }
}

fn result(call: u64, response: Result<Value, EffectError>) -> Entry {
    Entry::Result {
        call,
        step: "a".into(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        response,
    }
}

fn down() -> EffectError {
    EffectError::new(ErrorKind::Unavailable, "ssh.down", "no")
}

fn ended(outcome: Outcome) -> Entry {
    Entry::Finished {
        outcome,
        message: String::new(),
    }
}

fn resumed() -> Entry {
    Entry::Resumed {
        by: "ada".to_owned(),
        host_version: String::new(),
    }
}

fn snapshot(id: &str) -> Entry {
    Entry::SnapshotTaken {
        snapshot: id.into(),
        provider: None,
    }
}

#[test]
fn a_change_counts_unless_a_result_says_that_it_was_not_made() {
    let changed = |entries| RunView::of(&journal(entries)).target_changed();
    assert!(!changed(vec![
        intent(1, "http.send"),
        result(2, Ok(Value::Null))
    ]));
    assert!(changed(vec![intent(1, "ssh.exec")]));
    assert!(changed(vec![
        intent(1, "ssh.exec"),
        result(1, Ok(Value::Null))
    ]));
    let in_doubt = Err(down().in_doubt());
    assert!(changed(vec![intent(1, "ssh.exec"), result(1, in_doubt)]));
    let mut entries = vec![intent(1, "ssh.exec"), result(1, Err(down()))];
    assert!(!changed(entries.clone()));
    entries.push(intent(2, "ssh.exec"));
    assert!(changed(entries));
}

#[test]
fn a_run_is_unsettled_until_it_ends_or_is_abandoned() {
    let unsettled = |entries| RunView::of(&journal(entries)).is_unsettled();
    let not_made = || vec![intent(1, "ssh.exec"), result(1, Err(down()))];
    let made = || vec![intent(1, "ssh.exec")];
    assert!(!unsettled(vec![started("a")]));
    assert!(!unsettled(vec![intent(1, "clock.sleep-ms")]));
    assert!(unsettled(made()));
    // Killed: something else may be under way. Interrupted: all is known.
    assert!(unsettled(not_made()));
    let with = |mut entries: Vec<Entry>, more: Vec<Entry>| {
        entries.extend(more);
        unsettled(entries)
    };
    let interrupted = || ended(Outcome::Interrupted);
    assert!(!with(not_made(), vec![interrupted()]));
    assert!(with(made(), vec![interrupted()]));
    assert!(with(made(), vec![interrupted(), resumed()]));
    assert!(!with(made(), vec![ended(Outcome::Kept)]));
    let abandoned = || Entry::Abandoned {
        by: "ada".to_owned(),
        reason: "looked".to_owned(),
    };
    assert!(!with(made(), vec![abandoned()]));
    assert!(!with(made(), vec![abandoned(), snapshot("late")]));
    assert!(with(made(), vec![abandoned(), resumed()]));
}

#[test]
fn a_function_that_was_only_stopped_is_in_flight_and_opens_again() {
    let stopped = || vec![started("a"), failed("a", "gate.cancelled")];
    let journal_of = |more: Vec<Entry>| {
        let mut entries = stopped();
        entries.extend(more);
        journal(entries)
    };
    let entries = journal_of(vec![ended(Outcome::Interrupted)]);
    let view = RunView::of(&entries);
    assert_eq!(view.in_flight(), Some(0));
    assert!(view.functions[0].end.is_some());
    let entries = journal_of(vec![resumed(), finished("a", Value::from(1))]);
    let view = RunView::of(&entries);
    assert_eq!((view.in_flight(), view.functions.len()), (None, 1));
    let end = view.functions[0].end.unwrap();
    assert_eq!((end.at, end.failure.is_none()), (4000, true));
    // The rollback began: it stays failed.
    let back = Entry::RollbackStarted { cause: None };
    let entries = journal_of(vec![back, resumed()]);
    assert_eq!(RunView::of(&entries).in_flight(), None);
    // It failed for a reason of its own.
    let entries = journal(vec![started("a"), failed("a", "build.broken"), resumed()]);
    let view = RunView::of(&entries);
    assert_eq!(view.in_flight(), None);
    assert_eq!(view.current_step(), Some(&StepId::from("a")));
}

#[test]
fn a_snapshot_after_a_change_is_no_rollback_point() {
    let entries = journal(vec![
        intent(1, "ssh.exec"),
        result(1, Err(down())),
        snapshot("before"),
        intent(2, "ssh.exec"),
        snapshot("after"),
    ]);
    let view = RunView::of(&entries);
    assert_eq!(view.rollback_point(), Some(&"before".into()));
    assert_eq!(view.snapshots.last().unwrap().id, &"after".into());
    let view = RunView::of(&entries[3..]);
    assert_eq!(view.rollback_point(), None);
}

#[test]
fn the_last_output_of_a_step_counts() {
    let entries = journal(vec![
        started("a"),
        finished("a", Value::from(1)),
        started("a"),
        finished("a", Value::from(2)),
    ]);
    let view = RunView::of(&entries);
    assert_eq!(view.cloned_outputs(), [("a".into(), Value::from(2))].into());
    assert_eq!(view.functions[1].started_at, 3000);
}

#[test]
fn a_result_without_an_intent_is_of_a_probe() {
    let entries = journal(vec![
        started("a"),
        result(1, Ok(Value::Null)),
        intent(2, "snapshot.create"),
        snapshot("s"),
    ]);
    let view = RunView::of(&entries);
    assert_eq!(view.calls[&1].changes_target, None);
    assert_eq!(view.calls_of(0).count(), 2);
    assert!(matches!(&view.calls[&2].end, CallEnd::Done(done) if done["snapshot"] == "s"));
    assert_eq!(view.last_call(), 2);
}
