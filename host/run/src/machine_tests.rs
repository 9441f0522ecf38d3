//! Table and property-like tests of the transition function.

use super::*;
use serde_json::Map;
use std::time::Duration;
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Retry;

fn step(id: &str) -> Step {
    Step {
        id: StepId::from(id),
        plugin: id.into(),
        config: Map::new(),
        timeout: Duration::from_secs(60),
        retry: Retry::default(),
        on_failure: None,
    }
}

fn plan() -> Plan {
    Plan {
        name: "default".into(),
        summary: String::new(),
        steps: ["preflight", "snapshot", "pull", "restart"]
            .map(step)
            .into(),
        rollback: ["rollback", "verify"].map(step).into(),
        finally: vec![step("notify")],
        on_failure: OnFailure::Rollback,
        rollback_to: RollbackTo::InPlace,
    }
}

fn traits() -> Traits {
    Traits {
        undoable: [2, 3].into(),
        may_change: [1, 2, 3].into(),
        is_rollback: false,
    }
}

/// Runs the machine against a world in which the named steps fail, and returns
/// the calls made and the outcome.
fn play(
    plan: &Plan,
    traits: &Traits,
    failing: &[&str],
    cancel_after: Option<usize>,
) -> (Vec<String>, Outcome) {
    let mut history = History::default();
    let mut calls = Vec::new();
    for turn in 0..200 {
        if cancel_after == Some(turn) && !history.rollback_begun {
            history.cancelled = true;
        }
        let name = |place: Place| {
            places(plan, place.section)
                .nth(place.index)
                .map(|(_, s)| s.id.to_string())
                .unwrap()
        };
        match next(plan, traits, &history) {
            Action::Check(place) => {
                let call = format!("check {}", name(place));
                history.checked(place, !failing.contains(&call.as_str()));
            }
            Action::Run(place, n) => {
                let id = name(place);
                calls.push(if n == 1 {
                    id.clone()
                } else {
                    format!("{id}#{n}")
                });
                if place.section == Section::Steps && place.index >= 2 {
                    history.target_changed = true;
                }
                let fails = failing.contains(&id.as_str());
                let ended = if fails {
                    Ended::Failed { retry: true }
                } else {
                    Ended::Finished
                };
                history.ran(place, n, ended);
            }
            Action::BeginRollback => {
                calls.push("BEGIN".into());
                history.rollback_begun();
            }
            Action::Undo(place) => {
                let call = format!("undo {}", name(place));
                history.undone(place.index, !failing.contains(&call.as_str()));
                calls.push(call);
            }
            Action::Done(outcome) => return (calls, outcome),
        }
    }
    panic!("the run did not end: {calls:?}");
}

#[test]
fn outcomes_of_the_default_shape() {
    let cases: &[(&[&str], &str, Outcome)] = &[
        (
            &[],
            "preflight snapshot pull restart notify",
            Outcome::Deployed,
        ),
        (&["check pull"], "", Outcome::Refused),
        (&["preflight"], "preflight notify", Outcome::Refused),
        (
            &["snapshot"],
            "preflight snapshot notify",
            Outcome::FailedUnchanged,
        ),
        (
            &["pull"],
            "preflight snapshot pull BEGIN undo pull rollback verify notify",
            Outcome::RolledBack,
        ),
        (
            &["restart"],
            "preflight snapshot pull restart BEGIN undo restart undo pull rollback verify notify",
            Outcome::RolledBack,
        ),
        (
            &["restart", "undo restart"],
            "preflight snapshot pull restart BEGIN undo restart undo pull rollback verify notify",
            Outcome::RollbackFailed,
        ),
        (
            &["restart", "rollback"],
            "preflight snapshot pull restart BEGIN undo restart undo pull rollback notify",
            Outcome::RollbackFailed,
        ),
        (
            &["restart", "verify"],
            "preflight snapshot pull restart BEGIN undo restart undo pull rollback verify notify",
            Outcome::RollbackFailed,
        ),
        (
            &["notify"],
            "preflight snapshot pull restart notify",
            Outcome::Deployed,
        ),
    ];
    for (failing, calls, outcome) in cases {
        let (made, ended) = play(&plan(), &traits(), failing, None);
        assert_eq!(
            (made.join(" ").as_str(), ended),
            (*calls, *outcome),
            "{failing:?}"
        );
    }
}

#[test]
fn keep_leaves_the_target_alone() {
    let mut plan = plan();
    plan.on_failure = OnFailure::Keep;
    let (calls, outcome) = play(&plan, &traits(), &["restart"], None);
    assert_eq!(outcome, Outcome::Kept);
    assert!(!calls.contains(&"BEGIN".to_owned()));
}

#[test]
fn a_step_overrides_the_plans_policy() {
    let mut plan = plan();
    plan.steps[3].on_failure = Some(OnFailure::Keep);
    assert_eq!(play(&plan, &traits(), &["restart"], None).1, Outcome::Kept);
    assert_eq!(
        play(&plan, &traits(), &["pull"], None).1,
        Outcome::RolledBack
    );
}

#[test]
fn a_rollback_to_the_snapshot_undoes_nothing_by_itself() {
    let mut plan = plan();
    plan.rollback_to = RollbackTo::Snapshot;
    let (calls, outcome) = play(&plan, &traits(), &["restart"], None);
    assert_eq!(outcome, Outcome::RolledBack);
    assert!(calls.iter().all(|c| !c.starts_with("undo")), "{calls:?}");
}

#[test]
fn a_step_is_tried_as_often_as_the_plan_says() {
    let mut plan = plan();
    plan.steps[0].retry.attempts = 3;
    let (calls, _) = play(&plan, &traits(), &["preflight"], None);
    assert_eq!(calls.join(" "), "preflight preflight#2 preflight#3 notify");
}

#[test]
fn a_stop_before_a_change_ends_interrupted_and_after_it_rolls_back() {
    let checks = 7;
    let (_, outcome) = play(&plan(), &traits(), &[], Some(checks + 1));
    assert_eq!(outcome, Outcome::Interrupted);
    let (calls, outcome) = play(&plan(), &traits(), &[], Some(checks + 3));
    assert_eq!(outcome, Outcome::RolledBack);
    assert_eq!(
        calls.join(" "),
        "preflight snapshot pull BEGIN undo pull rollback verify notify"
    );
}

#[test]
fn a_stop_while_the_last_step_ends_well_takes_nothing_back() {
    let (calls, outcome) = play(&plan(), &traits(), &[], Some(7 + 4));
    assert_eq!(outcome, Outcome::Deployed);
    assert_eq!(calls.join(" "), "preflight snapshot pull restart notify");
}

#[test]
fn a_stop_before_a_step_that_keeps_takes_nothing_back() {
    let mut plan = plan();
    plan.steps[3].on_failure = Some(OnFailure::Keep);
    let (calls, outcome) = play(&plan, &traits(), &[], Some(7 + 3));
    assert_eq!(outcome, Outcome::Interrupted);
    assert!(!calls.contains(&"BEGIN".to_owned()), "{calls:?}");
}

#[test]
fn a_failed_verification_of_an_asked_for_rollback_is_no_success() {
    let mut traits = traits();
    traits.is_rollback = true;
    let (_, outcome) = play(&plan(), &traits, &["restart"], None);
    assert_eq!(outcome, Outcome::RollbackFailed);
}

#[test]
fn checks_only_plans_fail_unchanged() {
    let smoke = Plan {
        steps: vec![step("smoke")],
        rollback: Vec::new(),
        finally: Vec::new(),
        on_failure: OnFailure::Keep,
        ..plan()
    };
    let (_, outcome) = play(&smoke, &Traits::default(), &["smoke"], None);
    assert_eq!(outcome, Outcome::FailedUnchanged);
}

/// Every combination of failing calls and stops: the run ends, undo runs in
/// reverse, nothing runs twice without a retry.
#[test]
fn every_history_ends_and_undoes_in_reverse() {
    let names = [
        "preflight",
        "snapshot",
        "pull",
        "restart",
        "rollback",
        "verify",
        "notify",
        "undo pull",
        "undo restart",
    ];
    for bits in 0..(1_u32 << names.len()) {
        let failing: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|(i, _)| bits & (1 << i) != 0)
            .map(|(_, n)| *n)
            .collect();
        for cancel in [None, Some(8), Some(9), Some(10), Some(11)] {
            let (calls, _) = play(&plan(), &traits(), &failing, cancel);
            let undos: Vec<&String> = calls.iter().filter(|c| c.starts_with("undo")).collect();
            let expected: Vec<String> = ["restart", "pull"]
                .iter()
                .filter(|s| undos.iter().any(|u| u.ends_with(**s)))
                .map(|s| format!("undo {s}"))
                .collect();
            assert_eq!(undos.into_iter().cloned().collect::<Vec<_>>(), expected);
            let mut unique = calls.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), calls.len(), "something ran twice: {calls:?}");
        }
    }
}
