use super::*;
use crate::script::{self, RUN};
use vdeploy_core::event::RunEvent;

fn failed_run(events: Vec<RunEvent>) -> RunModel {
    let mut all = vec![
        script::run_started(&["npm-build"], false),
        script::started("npm-build", Section::Steps, Phase::Run),
    ];
    all.extend(events);
    all.push(script::failed(
        "npm-build",
        Section::Steps,
        Phase::Run,
        None,
    ));
    script::model(&all)
}

/// Action and last lines of the command that the failure shows.
fn command(events: Vec<RunEvent>) -> Option<(String, Vec<String>)> {
    let command = failed_run(events).cause.unwrap().command?;
    Some((command.action, command.tail))
}

fn call(action: &str, line: Option<&str>, ok: bool, command_ok: Option<bool>) -> Vec<RunEvent> {
    let mut events = vec![script::call("npm-build", 1, action)];
    events.extend(line.map(|line| script::output("npm-build", line)));
    events.push(RunEvent::CallFinished {
        step: "npm-build".into(),
        call: 1,
        ok,
        not_made: false,
        command_ok,
        duration_ms: 1,
    });
    events
}

#[test]
fn a_command_that_succeeded_is_no_cause() {
    assert_eq!(
        command(call("git fetch", Some("x"), true, Some(true))),
        None
    );
    assert_eq!(command(call("http GET /", None, true, None)), None);
}

#[test]
fn the_command_that_failed_is_shown_and_not_one_after_it() {
    let failed = call("npm ci", Some("no such package"), true, Some(false));
    let look = call("df", Some("plenty of space"), true, Some(true));
    let is_missing = call("test -e marker", None, true, Some(false));
    let events = [failed, look, is_missing].concat();
    let shown = command(events.clone());
    let expected = ("npm ci".to_owned(), vec!["no such package".to_owned()]);
    assert_eq!(shown, Some(expected));

    // A call that failed itself says more than one whose command did.
    let lost = call("npm run build", Some("compiling"), false, None);
    let last = call("cat log", Some("no such file"), true, Some(false));
    let shown = command([events, lost, last].concat());
    let expected = ("npm run build".to_owned(), vec!["compiling".to_owned()]);
    assert_eq!(shown, Some(expected));
}

#[test]
fn a_call_that_never_returned_is_shown() {
    let mut events = call("npm ci", Some("warning"), true, Some(false));
    events.push(script::call("npm-build", 2, "npm run build"));
    let expected = ("npm run build".to_owned(), Vec::new());
    assert_eq!(command(events), Some(expected));
}

#[test]
fn a_retried_step_keeps_one_result_a_subject_and_its_earlier_failures() {
    let model = script::model(&script::rolled_back());
    let steps: Vec<_> = model
        .steps
        .iter()
        .map(|s| (s.section, s.step.as_str()))
        .collect();
    let expected = [
        (Section::Steps, "git-pull"),
        (Section::Steps, "smoke"),
        (Section::Steps, "announce"),
        (Section::Rollback, "verify"),
    ];
    assert_eq!(steps, expected);
    let smoke = &model.steps[1].results;
    assert_eq!(smoke.len(), 3);
    assert_eq!(smoke[1].subject, Subject::Check("auth".to_owned()));
    assert_eq!(smoke[1].earlier_failures, ["expected 401, found 500"]);
    assert!(model.steps[2].results.is_empty());
    assert_eq!(model.position(&"smoke".into()), Some((2, 3)));
    assert_eq!(model.position(&"verify".into()), None);
}

#[test]
fn the_model_of_a_finished_run() {
    let model = script::model(&script::rolled_back());
    assert_eq!(model.cause.unwrap().step, "smoke".into());
    assert!(model.rollback_failure.is_none());
    assert_eq!(model.moved_from, Some("vm-1".into()));
    assert_eq!(model.vm, Some("vm-2".into()));
    assert!(model.changed && !model.operator_requested && !model.resumed);
    let end = model.end.unwrap();
    assert_eq!((end.run, end.outcome), (RUN.into(), Outcome::RolledBack));
}

#[test]
fn the_check_of_a_step_that_two_lists_have_belongs_to_the_one_that_runs() {
    let check = || {
        script::check(
            "smoke",
            "health",
            vdeploy_core::event::CheckStatus::Passed,
            None,
        )
    };
    let model = script::model(&[
        script::run_started(&["smoke"], false),
        script::started("smoke", Section::Rollback, Phase::Run),
        check(),
        script::started("smoke", Section::Steps, Phase::Undo),
        check(),
    ]);
    let counts: Vec<_> = model.steps.iter().map(|step| step.results.len()).collect();
    assert_eq!(counts, [1, 1]);
}
