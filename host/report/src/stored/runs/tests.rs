use super::*;
use std::collections::BTreeMap;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::{Phase, Section, StepFailure};
use vdeploy_core::ids::RunId;
use vdeploy_core::plan::Plan;
use vdeploy_journal::Entry;

const START: u64 = 1_700_000_000_000;

pub(super) fn record() -> RunRecord {
    RunRecord {
        id: "01K0RUN".into(),
        configs: Default::default(),
        plan: Plan::bare("default"),
        target: "infra".into(),
        vm: Some("vm-1".to_owned()),
        url: None,
        plugins: BTreeMap::new(),
        rolls_back: None,
        started_by: "me@here".to_owned(),
        started_at: START,
        host_version: "0.1.0".to_owned(),
        dry_run: false,
    }
}

fn summary(id: &str, outcome: Option<Outcome>) -> RunSummary {
    RunSummary {
        id: id.into(),
        plan: "default".into(),
        target: "infra".into(),
        started_by: "me@here".to_owned(),
        started_at: START,
        finished_at: outcome.map(|_| START + 65_000),
        outcome,
        dry_run: false,
        rolls_back: None,
    }
}

/// Entries a second apart.
pub(super) fn journal(entries: Vec<Entry>) -> Vec<Stored> {
    (1..)
        .zip(entries)
        .map(|(seq, entry)| Stored {
            seq,
            at: START + seq * 1_000,
            entry,
        })
        .collect()
}

pub(super) fn started(step: &str, section: Section, attempt: u32) -> Entry {
    Entry::StepStarted {
        step: step.into(),
        section,
        phase: Phase::Run,
        attempt,
    }
}

pub(super) fn intent(call: u64, step: &str) -> Entry {
    Entry::Intent {
        call,
        step: step.into(),
        function: "ssh.exec".to_owned(),
        request: json!({ "program": "git", "args": ["fetch"] }),
        changes_target: true,
    }
}

fn result(call: u64, response: Result<Value, EffectError>) -> Entry {
    Entry::Result {
        call,
        step: "git-pull".into(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        response,
    }
}

fn error() -> EffectError {
    EffectError::new(ErrorKind::Failed, "smoke.checks", "1 of 2 checks failed")
}

fn failed_run() -> Vec<Entry> {
    vec![
        Entry::SnapshotTaken {
            snapshot: "c-1".into(),
            provider: None,
        },
        started("git-pull", Section::Steps, 1),
        intent(1, "git-pull"),
        result(1, Ok(json!({ "exit-code": 0 }))),
        // A probe: no change.
        result(2, Ok(Value::Null)),
        intent(3, "git-pull"),
        result(3, Err(error().in_doubt())),
        Entry::StepFinished {
            step: "git-pull".into(),
            section: Section::Steps,
            phase: Phase::Run,
            output: None,
        },
        started("smoke", Section::Steps, 2),
        Entry::StepFailed {
            step: "smoke".into(),
            section: Section::Steps,
            phase: Phase::Run,
            failure: StepFailure {
                error: error(),
                context: Vec::new(),
            },
        },
        started("verify", Section::Rollback, 1),
        intent(4, "verify"),
    ]
}

#[test]
fn the_list_is_a_table() {
    let runs = [
        summary("01K0C", None),
        summary("01K0B", None),
        RunSummary {
            dry_run: true,
            ..summary("01K0A", Some(Outcome::RolledBack))
        },
    ];
    let expected = "\
RUN    AGE  PLAN     TARGET  OUTCOME                TOOK    WHO
01K0C  5m   default  infra   running                -       me@here
01K0B  5m   default  infra   killed                 -       me@here
01K0A  5m   default  infra   rolled-back (dry run)  1m 05s  me@here
";
    let context = Context {
        running: &["01K0C".into()],
        ..Context::default()
    };
    assert_eq!(list(&runs, None, context, START + 300_000), expected);
    assert_eq!(
        list(&[], None, Context::default(), START),
        "no runs yet; `vdeploy run --plan default` starts one\n"
    );
    assert_eq!(
        list(&[], Some(&"nope".into()), Context::default(), START),
        "no runs on the target `nope`; `vdeploy runs list` shows the runs of every target\n"
    );
    let json = list_json(&runs, context);
    assert_eq!(json["runs"][0]["state"], "running");
    assert_eq!(json["runs"][1]["state"], "killed");
    assert_eq!(json["runs"][2]["state"], "rolled-back");
    assert_eq!(json["runs"][2]["outcome"], "rolled-back");
    assert_eq!(json["runs"][2]["started-by"], "me@here");
}

#[test]
fn a_killed_run_shows_what_is_in_doubt() {
    let expected = "\
run       01K0RUN
plan      default
target    infra (vm-1)
started   2023-11-14 22:13:20 UTC, 1h ago, by me@here
vdeploy   0.1.0
snapshot  c-1 (before the changes)
outcome   none: the process was killed

steps
  ✓  git-pull         run              6.0s
  ✗  smoke            run (attempt 2)  1.0s          1 of 2 checks failed (smoke.checks)
  …  rollback verify  run              not finished

changes
  1  git-pull  ssh.exec  made                       {\"program\":\"git\",\"args\":[\"fetch\"]}
  3  git-pull  ssh.exec  failed, may have happened  {\"program\":\"git\",\"args\":[\"fetch\"]}
  4  verify    ssh.exec  in doubt                   {\"program\":\"git\",\"args\":[\"fetch\"]}

next
  vdeploy resume 01K0RUN
  vdeploy rollback 01K0RUN
  vdeploy abandon 01K0RUN --reason \"REASON\"
";
    let shown = show(
        &record(),
        &journal(failed_run()),
        Context::default(),
        START + 3_600_000,
    );
    assert_eq!(shown, expected);
}

#[test]
fn an_abandoned_run_says_who_and_why() {
    let mut entries = failed_run();
    entries.push(Entry::Abandoned {
        by: "you@there".to_owned(),
        reason: "looked at it".to_owned(),
    });
    let entries = journal(entries);
    let shown = show(&record(), &entries, Context::default(), START + 3_600_000);
    for line in [
        "abandoned by you@there\n",
        "outcome   abandoned: it was interrupted and will not be resumed\n          looked at it\n",
        "next\n  vdeploy rollback 01K0RUN\n",
    ] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
    let json = show_json(&record(), &entries, Context::default());
    assert_eq!(json["state"], "abandoned");
    assert_eq!(json["message"], "looked at it");
    let runs = [summary("01K0B", Some(Outcome::Interrupted))];
    let context = Context {
        abandoned: &["01K0B".into()],
        ..Context::default()
    };
    assert!(list(&runs, None, context, START).contains("abandoned"));
    assert_eq!(list_json(&runs, context)["runs"][0]["state"], "abandoned");
}

#[test]
fn an_ended_run_shows_its_outcome_and_message() {
    let mut entries = failed_run();
    entries.push(Entry::Finished {
        outcome: Outcome::RollbackFailed,
        message: "verify failed\nlook at \x1b[1mvm-1".to_owned(),
    });
    let shown = show(
        &record(),
        &journal(entries.clone()),
        Context::default(),
        START,
    );
    let expected = "\
outcome   ROLLBACK FAILED: it is unknown what is live (13.0s)
          verify failed
          look at vm-1
";
    assert!(shown.contains(expected), "{shown}");
    assert!(shown.ends_with("\nnext\n  vdeploy rollback 01K0RUN --to snapshot\n"));

    let json = show_json(&record(), &journal(entries), Context::default());
    assert_eq!(json["state"], "rollback-failed");
    assert_eq!(json["finished-at"], START + 13_000);
    assert_eq!(json["steps"][0]["duration-ms"], 6_000);
    assert_eq!(json["changes"][2]["fate"], "in doubt");
    assert_eq!(json["journal"].as_array().unwrap().len(), 13);
    assert_eq!(json["record"]["id"], "01K0RUN");
}

#[test]
fn a_run_that_changed_nothing_says_so() {
    let context = Context {
        running: &["01K0RUN".into()],
        ..Context::default()
    };
    let shown = show(&record(), &[], context, START);
    assert!(shown.contains("the run is running"), "{shown}");
    assert!(shown.ends_with("\nchanges: none\n"), "{shown}");
}

/// Run 01K0RUN was interrupted or succeeded, and 01K0BACK has undone it.
#[test]
fn a_rollback_deployed_nothing_and_the_run_before_it_is_undone() {
    let (run, back) = (RunId::from("01K0RUN"), RunId::from("01K0BACK"));
    let undone = [(run.clone(), back.clone())].into();
    let context = Context {
        abandoned: &["01K0RUN".into()],
        undone: Some(&undone),
        ..Context::default()
    };
    let deployed = Some(Outcome::Deployed);
    for (outcome, expected) in [
        (deployed, "undone by 01K0BACK"),
        (None, "undone by 01K0BACK"),
        (Some(Outcome::Interrupted), "undone by 01K0BACK"),
    ] {
        let abandoned: &[RunId] = match outcome {
            Some(Outcome::Interrupted) => &["01K0RUN".into()],
            _ => &[],
        };
        let context = Context {
            abandoned,
            ..context
        };
        let rollback = RunSummary {
            rolls_back: Some(run.clone()),
            ..summary("01K0BACK", deployed)
        };
        let runs = [rollback, summary("01K0RUN", outcome)];
        let text = list(&runs, None, context, START);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert!(lines[0].contains("reverted "), "{text}");
        assert!(lines[1].contains(expected), "{text}");
        let json = list_json(&runs, context);
        assert_eq!(json["runs"][0]["state"], "reverted");
        assert_eq!(json["runs"][0]["outcome"], "deployed");
        assert_eq!(json["runs"][0]["undoes"], "01K0RUN");
        assert_eq!(json["runs"][1]["state"], "undone");
        assert_eq!(json["runs"][1]["undone-by"], "01K0BACK");
    }
    // It had rolled back by itself.
    let runs = [summary("01K0RUN", Some(Outcome::RolledBack))];
    let plain = Context {
        abandoned: &[],
        ..context
    };
    assert_eq!(list_json(&runs, plain)["runs"][0]["state"], "rolled-back");

    let mut entries = failed_run();
    entries.push(Entry::Abandoned {
        by: "you@there".to_owned(),
        reason: "run 01K0BACK took its place".to_owned(),
    });
    let entries = journal(entries);
    let shown = show(&record(), &entries, context, START);
    for line in [
        "undone    by the rollback 01K0BACK, which restored the version from before it\n",
        "next\n  vdeploy run --plan default --target infra\n",
    ] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
    assert_eq!(show_json(&record(), &entries, context)["state"], "undone");
    let mut rollback = RunRecord {
        id: back,
        rolls_back: Some(run),
        ..record()
    };
    let ended = |output, outcome| {
        journal(vec![
            Entry::StepFinished {
                step: "rollback".into(),
                section: Section::Steps,
                phase: Phase::Run,
                output: Some(output),
            },
            Entry::Finished {
                outcome,
                message: String::new(),
            },
        ])
    };
    let done = |output| ended(output, Outcome::Deployed);
    let shown = show(&rollback, &done(json!({})), context, START);
    assert!(
        shown.contains("outcome   rolled back: the previous version is live"),
        "{shown}"
    );
    let nothing = done(json!({ "no-live-version": true }));
    let shown = show(&rollback, &nothing, context, START);
    assert!(
        shown.contains("outcome   rolled back: nothing was live before"),
        "{shown}"
    );
    rollback.dry_run = true;
    let rehearsed = ended(json!({ "no-live-version": true }), Outcome::Rehearsed);
    let shown = show(&rollback, &rehearsed, context, START);
    assert!(shown.contains("outcome   dry run:"), "{shown}");
}

#[test]
fn a_snapshot_says_whether_it_has_the_new_version() {
    let taken = |id: &str| Entry::SnapshotTaken {
        snapshot: id.into(),
        provider: (id == "own").then(|| "zfs".into()),
    };
    let entries = journal(vec![
        taken("own"),
        intent(1, "git-pull"),
        result(1, Err(error())),
        taken("still"),
        intent(2, "git-pull"),
        taken("after"),
    ]);
    let shown = show(&record(), &entries, Context::default(), START);
    for line in [
        "snapshot  own (before the changes, by the plugin zfs)\n",
        "snapshot  still (before the changes)\n",
        "snapshot  after (after the changes)\n",
    ] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
}

#[test]
fn a_state_has_the_word_of_its_outcome() {
    for outcome in [
        Outcome::Deployed,
        Outcome::Rehearsed,
        Outcome::Refused,
        Outcome::FailedUnchanged,
        Outcome::RolledBack,
        Outcome::RollbackFailed,
        Outcome::Kept,
        Outcome::Held,
        Outcome::Unreachable,
        Outcome::PluginRefused,
        Outcome::Interrupted,
        Outcome::Internal,
    ] {
        let word = serde_json::to_value(outcome).unwrap();
        assert_eq!(word, State::Ended(outcome).word());
    }
}
