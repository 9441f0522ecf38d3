use super::*;

const NOW: u64 = 1_000_000;

/// A run on `infra` that changed it, `age` seconds old.
fn run(id: &str, age: u64, outcome: Option<Outcome>) -> Surveyed {
    Surveyed {
        id: id.into(),
        target: "infra".into(),
        plan: "default".into(),
        started_at: NOW - age * 1000,
        outcome,
        dry_run: false,
        rolls_back: None,
        changed: true,
        unsettled: false,
        hold: Hold::Free,
        untold_move: None,
        entries: 3,
        bytes: 100,
    }
}

fn deployed(id: &str, age: u64) -> Surveyed {
    run(id, age, Some(Outcome::Deployed))
}

/// What goes, and what stays and why; the filter takes every run.
fn all(runs: Vec<Surveyed>) -> (Vec<String>, Vec<(String, Why)>) {
    let filter = Filter {
        keep: Some(0),
        older_than: None,
    };
    with(runs, &filter)
}

fn with(mut runs: Vec<Surveyed>, filter: &Filter) -> (Vec<String>, Vec<(String, Why)>) {
    runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
    let Choice { remove, kept } = choose(runs, filter, NOW);
    (
        remove.into_iter().map(|run| run.id.to_string()).collect(),
        kept.into_iter()
            .map(|(run, why)| (run.id.to_string(), why))
            .collect(),
    )
}

fn stays(id: &str, why: Why) -> (String, Why) {
    (id.to_owned(), why)
}

#[test]
fn the_newest_of_each_target_and_the_young_are_not_meant() {
    let runs = || {
        let mut runs: Vec<_> = (1..=4)
            .map(|n| deployed(&format!("A{n}"), n * 10))
            .collect();
        runs.extend((1..=2).map(|n| Surveyed {
            target: "other".into(),
            ..deployed(&format!("B{n}"), n * 10)
        }));
        runs
    };
    let went = |keep, older_than: Option<u64>| {
        let filter = Filter {
            keep,
            older_than: older_than.map(Duration::from_secs),
        };
        with(runs(), &filter).0
    };
    assert_eq!(went(Some(1), None), ["A2", "B2", "A3", "A4"]);
    assert_eq!(went(Some(3), None), ["A4"]);
    assert_eq!(went(Some(9), None), [""; 0]);
    assert_eq!(went(None, Some(20)), ["A3", "A4"]);
    assert_eq!(went(None, Some(19)), ["A2", "B2", "A3", "A4"]);
    assert_eq!(went(Some(3), Some(20)), ["A4"]);
    assert_eq!(went(Some(1), Some(30)), ["A4"]);
    // Longer ago than there is a time for.
    assert_eq!(went(None, Some(u64::MAX)), [""; 0]);
}

#[test]
fn what_rollback_would_undo_and_what_is_verified_stays() {
    let (gone, kept) = all(vec![
        deployed("A", 50),
        run("B", 40, Some(Outcome::Kept)),
        run("C", 30, Some(Outcome::RolledBack)),
        Surveyed {
            changed: false,
            ..run("D", 20, Some(Outcome::Refused))
        },
        Surveyed {
            dry_run: true,
            ..deployed("E", 10)
        },
    ]);
    assert_eq!(gone, ["E", "D"]);
    assert_eq!(
        kept,
        [
            stays("C", Why::LastChange),
            stays("B", Why::Rollback),
            stays("A", Why::Verified)
        ]
    );
}

#[test]
fn what_can_be_gone_on_with_does_not_count_as_the_newest() {
    let cut_off = |id: &str, age, outcome| Surveyed {
        unsettled: true,
        ..run(id, age, outcome)
    };
    let (gone, kept) = all(vec![
        deployed("A", 40),
        deployed("B", 30),
        cut_off("C", 20, Some(Outcome::Interrupted)),
        Surveyed {
            hold: Hold::AtWork,
            ..cut_off("D", 10, None)
        },
    ]);
    // D may end rolled back, and so may C: then B is what stands.
    assert_eq!(gone, ["A"]);
    assert_eq!(
        kept,
        [
            stays("D", Why::AtWork),
            stays("C", Why::CutOff),
            stays("B", Why::Rollback)
        ]
    );
}

#[test]
fn what_a_rollback_leaves_to_undo_stays_however_an_open_one_ends() {
    let back = |outcome, unsettled| Surveyed {
        rolls_back: Some("C".into()),
        unsettled,
        ..run("D", 10, outcome)
    };
    let deploys = || vec![deployed("A", 40), deployed("B", 30), deployed("C", 20)];
    let with = |back| {
        let mut runs = deploys();
        runs.push(back);
        all(runs)
    };
    let (gone, kept) = with(back(Some(Outcome::Deployed), false));
    assert_eq!(gone, ["A"]);
    assert_eq!(
        kept,
        [
            stays("D", Why::LastChange),
            stays("C", Why::RolledBackBy("D".into())),
            stays("B", Why::Rollback),
        ]
    );
    let (gone, kept) = with(back(Some(Outcome::Interrupted), true));
    assert_eq!(gone, ["A"]);
    assert_eq!(
        kept,
        [
            stays("D", Why::CutOff),
            stays("C", Why::Rollback),
            stays("B", Why::Rollback),
        ]
    );
}

#[test]
fn a_run_that_was_stopped_in_time_or_abandoned_may_go() {
    let early = Surveyed {
        changed: false,
        ..run("B", 20, Some(Outcome::Interrupted))
    };
    let killed = Surveyed {
        changed: false,
        ..run("C", 15, None)
    };
    let abandoned = run("D", 40, Some(Outcome::Interrupted));
    let (gone, kept) = all(vec![abandoned, early, killed, deployed("E", 10)]);
    assert_eq!(gone, ["C", "B", "D"]);
    assert_eq!(kept, [stays("E", Why::Rollback)]);
}

#[test]
fn a_rollback_that_stays_keeps_what_it_rolls_back() {
    let back = Surveyed {
        rolls_back: Some("A".into()),
        ..run("C", 10, Some(Outcome::RollbackFailed))
    };
    let older = Surveyed {
        rolls_back: Some("0".into()),
        ..deployed("B", 20)
    };
    let (gone, kept) = all(vec![
        deployed("0", 50),
        deployed("A", 40),
        deployed("A2", 30),
        older.clone(),
        back,
    ]);
    // B is the last that ended verified; it has undone A2 too.
    assert_eq!(gone, ["A2"]);
    assert_eq!(
        kept,
        [
            stays("C", Why::LastChange),
            stays("B", Why::Verified),
            stays("A", Why::RolledBackBy("C".into())),
            stays("0", Why::RolledBackBy("B".into())),
        ]
    );
    // A rollback goes before what it rolls back.
    let runs = vec![deployed("0", 50), older, deployed("D", 10)];
    assert_eq!(all(runs).0, ["B", "0"]);
    // One that is not meant keeps it too.
    let runs = vec![
        deployed("0", 50),
        Surveyed {
            rolls_back: Some("0".into()),
            ..deployed("B", 20)
        },
        deployed("D", 10),
    ];
    let filter = Filter {
        keep: Some(2),
        older_than: None,
    };
    let (gone, kept) = with(runs, &filter);
    assert_eq!(gone, [""; 0]);
    assert_eq!(kept, [stays("0", Why::RolledBackBy("B".into()))]);
}

#[test]
fn what_a_lease_names_or_no_fact_knows_stays() {
    let with_hold = |id: &str, age, hold| Surveyed {
        hold,
        dry_run: true,
        ..run(id, age, None)
    };
    let (gone, kept) = all(vec![
        Surveyed {
            untold_move: Some("vm-2".into()),
            ..run("A", 50, Some(Outcome::RolledBack))
        },
        with_hold("B", 40, Hold::Free),
        with_hold("C", 30, Hold::RanOut),
        with_hold("D", 20, Hold::Beginning),
        Surveyed {
            unsettled: true,
            hold: Hold::RanOut,
            ..run("E", 10, None)
        },
        deployed("F", 5),
    ]);
    assert_eq!(gone, ["B"]);
    assert_eq!(
        kept,
        [
            stays("F", Why::Rollback),
            stays("E", Why::CutOff),
            stays("D", Why::Beginning),
            stays("C", Why::RanOut),
            stays("A", Why::Move("vm-2".into())),
        ]
    );
}
