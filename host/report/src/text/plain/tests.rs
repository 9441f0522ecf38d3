use super::*;
use crate::script::{self, Show as _};
use crate::sink::tests::Kept;
use std::sync::atomic::{AtomicU64, Ordering};
use vdeploy_core::event::{Outcome, Phase, Section};

/// A second passes between two events.
fn text(events: &[RunEvent], verbose: bool) -> String {
    let kept = Kept::default();
    let clock = AtomicU64::new(0);
    let elapsed = move || clock.fetch_add(1_000, Ordering::Relaxed);
    let sink = Sink::new(kept.clone());
    let mut reporter = PlainReporter::with_clock(sink, verbose, Box::new(elapsed));
    reporter.show(events);
    kept.text()
}

#[test]
fn success() {
    let expected = "\
[00:00] run 01K0RUN: plan default on infra (vm-1)
[00:00] steps: git-pull, smoke
[00:01] connecting to vm-1
[00:02] git-pull: check
[00:04] smoke: check
[00:06]   snapshot c-1 taken
[00:07] git-pull: run
[00:12]   warning: 2 files were changed by hand
[00:13] git-pull: done (1.2s): abc123 to def456
[00:14] smoke: run
[00:15]   pass health (35ms)
[00:16]   skip outside (35ms): no url is set
[00:17] smoke: done (1.2s)

done: the live version is verified
  live      the result of this run, verified
  vm        vm-1
  snapshot  c-1
  url       https://vm-1.example
  run       01K0RUN (1m 05s, exit code 0)
  next      vdeploy rollback 01K0RUN
";
    assert_eq!(text(&script::success(), false), expected);
}

#[test]
fn verbose_adds_calls_output_and_debug_logs() {
    let text = text(&script::success(), true);
    let expected = "\
[00:07] git-pull: run
[00:08]   call 1: ssh git fetch origin
[00:09]   | From example.org:app
[00:10]   call 1 ok (40ms)
[00:11]   debug: nothing to clean
[00:12]   warning: 2 files were changed by hand
";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("git-pull: check ok (1.2s)\n"), "{text}");
}

#[test]
fn failure_with_rollback() {
    let expected = "\
[00:00] run 01K0RUN: plan default on infra (vm-1)
[00:00] steps: git-pull, smoke, announce
[00:01] git-pull: run
[00:05] git-pull: done (1.2s)
[00:06] smoke: run
[00:07]   pass health (35ms)
[00:08]   FAIL auth (35ms): expected 401, found 500
[00:09] smoke: run failed (2.0s): 1 of 2 checks failed (smoke.checks)
[00:09]     last call: http GET /board
[00:09]     the change may have happened anyway
[00:09] smoke: retrying in 2.0s
[00:10] smoke: run
[00:11]   pass health (35ms)
[00:12]   FAIL auth (35ms): expected 401, found 200
[00:13] smoke: run failed (2.0s): 1 of 2 checks failed (smoke.checks)
[00:13]     last call: http GET /board
[00:14] rollback begins: smoke failed
[00:15] git-pull: undo
[00:16] git-pull: undone (1.2s)
[00:17] rollback verify: run
[00:18]   the target is now vm-2 (was vm-1)
[00:19]   pass health (35ms)
[00:20] rollback verify: done (1.2s)

rolled back: the target is as it was before the run, verified
  cause     smoke: 1 of 2 checks failed (smoke.checks)
            check auth: expected 401, found 200
  live      the version from before the run, verified
  vm        vm-2 (was vm-1)
  url       https://vm-1.example
  run       01K0RUN (1m 05s, exit code 11)
  next      vdeploy runs show 01K0RUN
            vdeploy run --plan default
";
    assert_eq!(text(&script::rolled_back(), false), expected);
}

#[test]
fn unchanged() {
    let expected = "\
[00:00] run 01K0RUN: plan default on infra (vm-1)
[00:00] steps: git-pull
[00:01] git-pull: run
[00:02] git-pull: done (1.2s): def456 stands

unchanged: this version was already live, and it is verified
  infra runs def456 already
  live      the same version as before, verified
  vm        vm-1
  url       https://vm-1.example
  run       01K0RUN (1m 05s, exit code 0)
";
    assert_eq!(text(&script::unchanged(), false), expected);
}

#[test]
fn a_failed_command_is_shown_with_its_last_lines() {
    let mut events = vec![
        script::run_started(&["npm-build"], false),
        script::started("npm-build", Section::Steps, Phase::Run),
        script::call("npm-build", 1, "ssh npm ci"),
        script::output("npm-build", "added 3 packages"),
        script::called("npm-build", 1, true, false),
        script::call("npm-build", 2, "ssh npm run build"),
    ];
    events.extend((1..=7).map(|n| script::output("npm-build", &format!("line {n}"))));
    events.extend([
        script::called("npm-build", 2, false, false),
        // A later command does not hide the one that failed.
        script::call("npm-build", 3, "ssh df"),
        script::output("npm-build", "plenty of space"),
        script::called("npm-build", 3, true, false),
        script::failed("npm-build", Section::Steps, Phase::Run, None),
        script::finished(
            Outcome::FailedUnchanged,
            10,
            "npm-build failed: 1 of 2 checks failed\nnothing was changed",
            &[],
        ),
    ]);
    let text = text(&events, false);
    let expected = "
failed: nothing was changed on the target
  npm-build failed: 1 of 2 checks failed
  nothing was changed
  cause     command ssh npm run build
              | line 3
              | line 4
              | line 5
              | line 6
              | line 7
  live      as before: this run changed nothing on the target
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_call_that_never_came_back_is_the_command() {
    let events = [
        script::run_started(&["npm-build"], false),
        script::started("npm-build", Section::Steps, Phase::Run),
        script::call("npm-build", 1, "ssh npm ci"),
        script::output("npm-build", "added 3 packages"),
        script::called("npm-build", 1, true, false),
        script::call("npm-build", 2, "ssh npm run build"),
        script::output("npm-build", "compiling"),
        script::failed("npm-build", Section::Steps, Phase::Run, None),
        script::finished(Outcome::FailedUnchanged, 10, "", &[]),
    ];
    let text = text(&events, false);
    let expected = "            command ssh npm run build\n              | compiling\n  live";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_failed_rollback_has_a_row_of_its_own() {
    let events = [
        script::run_started(&["smoke"], false),
        script::started("smoke", Section::Steps, Phase::Run),
        script::failed("smoke", Section::Steps, Phase::Run, None),
        script::started("verify", Section::Rollback, Phase::Run),
        script::failed("verify", Section::Rollback, Phase::Run, None),
        script::started("tidy", Section::Finally, Phase::Run),
        script::failed("tidy", Section::Finally, Phase::Run, None),
        script::finished(Outcome::RollbackFailed, 12, "", &[]),
    ];
    let text = text(&events, false);
    let expected = "
ROLLBACK FAILED: it is unknown what is live
  cause     smoke: 1 of 2 checks failed (smoke.checks)
  rollback  rollback verify: 1 of 2 checks failed (smoke.checks)
  live      unknown: check the target now
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_dry_run_shows_what_it_did_not_do() {
    let events = [
        script::run_started(&["git-pull"], true),
        script::started("git-pull", Section::Steps, Phase::Run),
        script::call("git-pull", 1, "ssh git reset --hard def456"),
        script::called("git-pull", 1, true, true),
        script::done("git-pull", Section::Steps, Phase::Run, None),
        script::finished(Outcome::Rehearsed, 0, "", &[]),
    ];
    let text = text(&events, false);
    assert!(text.starts_with("[00:00] dry run 01K0RUN:"), "{text}");
    assert!(
        text.contains("[00:03]   would do: ssh git reset --hard def456\n"),
        "{text}"
    );
    assert!(
        text.contains("\ndry run: the plan would go through\n"),
        "{text}"
    );
    assert!(text.contains("vdeploy changed nothing"), "{text}");
}

fn summary_of(events: Vec<RunEvent>, last: RunEvent) -> String {
    let mut all = vec![script::run_started(&["smoke"], false)];
    all.extend(events);
    all.push(last);
    let text = text(&all, false);
    let (_, summary) = text.split_once("\n\n").unwrap();
    summary.to_owned()
}

#[test]
fn a_plan_that_only_verifies_deployed_nothing() {
    let last = script::finished(Outcome::Deployed, 0, "plan smoke: verified", &[]);
    let summary = summary_of(Vec::new(), last);
    assert!(
        summary.starts_with("verified: nothing was changed\n"),
        "{summary}"
    );
    assert!(summary.contains("live      the same version as before, verified"));
}

#[test]
fn a_requested_rollback_makes_the_previous_version_live() {
    let last = script::finished(Outcome::Deployed, 0, "rolled back and verified", &[]);
    let events = vec![
        RunEvent::RollbackStarted {
            cause: None,
            undoes: None,
        },
        script::call("rollback", 1, "ssh sh -s -- restore"),
    ];
    let summary = summary_of(events, last);
    assert!(
        summary.starts_with("rolled back: the previous version is live and verified\n"),
        "{summary}"
    );
    assert!(summary.contains("live      the previous version, verified"));
}

#[test]
fn the_summary_names_the_rollback_point() {
    let taken = |id: &str, before_changes| RunEvent::SnapshotTaken {
        snapshot: id.into(),
        provider: None,
        before_changes,
    };
    let last = script::finished(Outcome::Deployed, 0, "deployed", &[]);
    let events = vec![taken("before", true), taken("after", false)];
    let summary = summary_of(events, last.clone());
    assert!(summary.contains("snapshot  before\n"), "{summary}");
    // None was taken before the changes: there is no rollback point.
    let summary = summary_of(vec![taken("after", false)], last);
    assert!(!summary.contains("snapshot"), "{summary}");
}

/// What an earlier process of the run did.
fn resumed(target_changed: bool, operator_requested: bool, no_live_version: bool) -> RunEvent {
    RunEvent::RunResumed {
        run: script::RUN.into(),
        finished: Vec::new(),
        step: None,
        recorded: 0,
        in_doubt: 0,
        target_changed,
        snapshot: Some("before".into()),
        operator_requested,
        no_live_version,
        moved_from: Some("vm-0".into()),
    }
}

#[test]
fn a_resumed_run_has_the_summary_of_one_that_was_not_interrupted() {
    let after = RunEvent::SnapshotTaken {
        snapshot: "after".into(),
        provider: None,
        before_changes: false,
    };
    let last = script::finished(Outcome::Deployed, 0, "deployed and verified", &[]);
    let summary = summary_of(vec![resumed(true, false, false), after], last.clone());
    assert_eq!(
        summary,
        "\
done: the live version is verified
  deployed and verified
  live      the result of this run, verified
  vm        vm-1 (was vm-0)
  snapshot  before
  url       https://vm-1.example
  run       01K0RUN (1m 05s, exit code 0)
"
    );
    let summary = summary_of(vec![resumed(true, true, false)], last.clone());
    assert!(
        summary.starts_with("rolled back: the previous version is live and verified\n"),
        "{summary}"
    );
    assert!(summary.contains("live      the previous version, verified\n"));
    let summary = summary_of(vec![resumed(false, false, false)], last);
    assert!(summary.starts_with("verified: nothing was changed\n"));
}

#[test]
fn a_removed_first_deploy_leaves_nothing_live() {
    let removed = || RunEvent::StepFinished {
        step: "rollback".into(),
        section: Section::Rollback,
        phase: Phase::Run,
        summary: None,
        output: Some(serde_json::json!({ "no-live-version": true })),
        duration_ms: 1,
    };
    let requested = || RunEvent::RollbackStarted {
        cause: None,
        undoes: None,
    };
    let last = |outcome| script::finished(outcome, 0, "", &[]);
    let deployed = Outcome::Deployed;
    let summaries = [
        summary_of(vec![requested(), removed()], last(deployed)),
        summary_of(vec![resumed(true, true, true)], last(deployed)),
        summary_of(vec![removed()], last(Outcome::RolledBack)),
    ];
    for summary in summaries {
        assert!(
            summary.starts_with("rolled back: nothing was live before, and nothing is live now\n"),
            "{summary}"
        );
        assert!(summary.contains("live      nothing"), "{summary}");
    }
}

#[test]
fn what_is_live_is_known_only_where_nothing_was_changed() {
    let interrupted = || script::finished(Outcome::Interrupted, 40, "", &[]);
    let summary = summary_of(Vec::new(), interrupted());
    assert!(
        summary.contains("live      as before: this run changed nothing on the target\n"),
        "{summary}"
    );
    let mut changed = interrupted();
    if let RunEvent::RunFinished { target_changed, .. } = &mut changed {
        *target_changed = true;
    }
    let resumed = || resumed(true, false, false);
    for (events, last) in [
        (Vec::new(), changed),
        (vec![resumed()], interrupted()),
        (
            vec![resumed()],
            script::finished(Outcome::Refused, 3, "", &[]),
        ),
    ] {
        let summary = summary_of(events, last);
        let live = summary.lines().find(|line| line.contains("  live "));
        assert!(live.is_some_and(|l| l.contains("known")), "{summary}");
    }
    let mut refused = script::finished(Outcome::Refused, 3, "", &[]);
    if let RunEvent::RunFinished { blocking_run, .. } = &mut refused {
        *blocking_run = Some("01K0CUT".into());
    }
    let summary = summary_of(Vec::new(), refused);
    assert!(
        summary.contains("live      unknown: run 01K0CUT was interrupted"),
        "{summary}"
    );
}

#[test]
fn the_output_of_a_command_does_not_explain_a_stop() {
    let mut stopped = script::failed("smoke", Section::Steps, Phase::Run, None);
    if let RunEvent::StepFailed { failure, .. } = &mut stopped {
        failure.error.code = "gate.cancelled".to_owned();
        failure.error.message = "the run is being stopped".to_owned();
    }
    let events = vec![
        script::call("smoke", 1, "ssh npm ci"),
        script::output("smoke", "added 12 packages"),
        stopped,
    ];
    let message = "the run was asked to stop: SIGTERM\nthe run is being stopped";
    let last = script::finished(Outcome::RolledBack, 11, message, &[]);
    let summary = summary_of(events, last);
    assert!(summary.contains("asked to stop: SIGTERM"), "{summary}");
    assert!(!summary.contains("npm ci"), "{summary}");
}
