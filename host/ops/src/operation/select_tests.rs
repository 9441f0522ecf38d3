use super::*;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Plan;
use vdeploy_journal::{Entry, SqliteStore};

/// A store with runs, of which each changed the target.
struct Runs(SqliteStore);

impl Runs {
    fn new() -> Self {
        Self(SqliteStore::in_memory().unwrap())
    }

    fn deploy(&self, id: &str, outcome: Outcome) -> RunRecord {
        self.ended(id, None, RollbackTo::InPlace, 60_000, outcome)
    }

    fn back(&self, id: &str, of: &str, to: RollbackTo) {
        self.ended(id, Some(of), to, 60_000, Outcome::Deployed);
    }

    fn ended(
        &self,
        id: &str,
        rolls_back: Option<&str>,
        rollback_to: RollbackTo,
        started_at: u64,
        outcome: Outcome,
    ) -> RunRecord {
        let plan = Plan {
            rollback_to,
            ..Plan::bare("default")
        };
        let record = RunRecord {
            rolls_back: rolls_back.map(RunId::from),
            started_at,
            ..RunRecord::bare(id, "infra", plan)
        };
        self.0.create_run(&record).unwrap();
        let intent = Entry::Intent {
            call: 1,
            step: StepId::from("a"),
            function: "ssh.exec".to_owned(),
            request: serde_json::Value::Null,
            changes_target: true,
        };
        let end = Entry::Finished {
            outcome,
            message: String::new(),
        };
        self.0.append_all(&record.id, None, &[intent, end]).unwrap();
        record
    }

    fn chosen(&self) -> Result<Candidate, OpsError> {
        let target = TargetName::from("infra");
        Candidates::of(&self.0, &target).unwrap().select(&target)
    }

    fn undoes(&self) -> String {
        self.chosen().unwrap().change.id.to_string()
    }
}

#[test]
fn no_run_is_undone_twice_where_none_is_named() {
    let runs = Runs::new();
    let nothing = runs.chosen().unwrap_err();
    assert!(nothing.message.contains("no run has changed the target"));
    runs.deploy("01A", Outcome::Deployed);
    runs.deploy("01B", Outcome::Deployed);
    runs.deploy("01C", Outcome::RolledBack);
    assert_eq!(runs.undoes(), "01B");
    runs.back("01D", "01B", RollbackTo::InPlace);
    assert_eq!(runs.undoes(), "01A");
    runs.deploy("01E", Outcome::Deployed);
    assert_eq!(runs.undoes(), "01E");
    runs.back("01F", "01E", RollbackTo::InPlace);
    assert_eq!(runs.undoes(), "01A");
    runs.back("01G", "01A", RollbackTo::InPlace);
    let left = runs.chosen().unwrap_err();
    assert_eq!(left.kind, OpsErrorKind::Usage);
    assert_eq!(
        left.to_string(),
        "nothing is left to undo on the target `infra`: run 01A was undone by the rollback \
         01G (1970-01-01 00:01:00 UTC); nothing was touched\nhint: `vdeploy runs list` shows the \
         runs; to go back from one of them all the same, name it: `vdeploy rollback RUN`"
    );
}

#[test]
fn a_rollback_that_failed_has_undone_nothing() {
    let runs = Runs::new();
    runs.deploy("01A", Outcome::Deployed);
    for (id, outcome) in [
        ("01B", Outcome::RollbackFailed),
        ("01C", Outcome::Interrupted),
    ] {
        runs.ended(id, Some("01A"), RollbackTo::InPlace, 1, outcome);
        assert_eq!(runs.undoes(), "01A", "{outcome:?}");
    }
}

#[test]
fn the_newest_run_is_the_one_that_was_stored_last() {
    let runs = Runs::new();
    let (to, deployed) = (RollbackTo::InPlace, Outcome::Deployed);
    runs.ended("01A", None, to, 90_000_000, deployed);
    // The clock was set back.
    runs.ended("01B", None, to, 1_000, deployed);
    assert_eq!(runs.undoes(), "01B");
    assert_eq!(runs.0.run("latest").unwrap().id.as_str(), "01B");
    let listed = runs.0.runs(None, 1).unwrap();
    assert_eq!(listed[0].id.as_str(), "01B");
}

#[test]
fn a_second_one_in_a_row_takes_nothing_that_was_written_since() {
    let runs = Runs::new();
    runs.deploy("01A", Outcome::Deployed);
    runs.deploy("01B", Outcome::Deployed);
    runs.chosen().unwrap().check(RollbackTo::Snapshot).unwrap();
    runs.back("01C", "01B", RollbackTo::Snapshot);
    let chosen = runs.chosen().unwrap();
    chosen.check(RollbackTo::InPlace).unwrap();
    let refused = chosen.check(RollbackTo::Snapshot).unwrap_err().to_string();
    for said in [
        "run 01B was undone by the rollback 01C",
        "nothing was touched",
        "`vdeploy rollback 01A --to snapshot`",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
}

#[test]
fn a_named_run_is_not_undone_twice_in_the_same_way() {
    let runs = Runs::new();
    runs.deploy("01A", Outcome::Deployed);
    let named = runs.deploy("01B", Outcome::Deployed);
    let why_not = |to| already_undone(&runs.0, &named, to);
    assert_eq!(why_not(RollbackTo::InPlace), None);
    runs.back("01C", "01B", RollbackTo::InPlace);
    let why = why_not(RollbackTo::InPlace).unwrap();
    for said in [
        "run 01B was undone by the rollback 01C",
        "`vdeploy rollback 01A`",
        "`vdeploy rollback 01B --to in-place --again`",
    ] {
        assert!(why.contains(said), "{why}");
    }
    // The other way is another one.
    assert_eq!(why_not(RollbackTo::Snapshot), None);
    // A newer change is undone with it.
    runs.deploy("01D", Outcome::Deployed);
    assert_eq!(why_not(RollbackTo::InPlace), None);
}

#[test]
fn a_rollback_takes_over_from_its_run_and_from_an_earlier_rollback_of_it() {
    let runs = Runs::new();
    runs.deploy("01A", Outcome::Interrupted);
    let (to, cut) = (RollbackTo::InPlace, Outcome::Interrupted);
    runs.ended("01B", Some("01A"), to, 1, cut);
    runs.deploy("01C", Outcome::Interrupted);
    let run = RunId::from("01A");
    for (holder, does) in [("01A", true), ("01B", true), ("01C", false), ("01X", false)] {
        let why = takes_over(&runs.0, &run, &holder.into());
        assert_eq!(why.is_some(), does, "{holder}");
    }
}
