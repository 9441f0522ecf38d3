use super::*;

const NOW: u64 = 1_000_000;

/// A run on `infra` that changed it, `age` seconds old.
fn run(id: &str, age: u64, outcome: Option<Outcome>) -> PruneCandidate {
    PruneCandidate {
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
        unrecorded_relocation: None,
        entries: 3,
        bytes: 100,
    }
}

fn deployed(id: &str, age: u64) -> PruneCandidate {
    run(id, age, Some(Outcome::Deployed))
}

/// What goes, and what stays and why; the filter takes every run.
fn all(runs: Vec<PruneCandidate>) -> (Vec<String>, Vec<(String, KeepReason)>) {
    let filter = Filter {
        keep: Some(0),
        older_than: None,
    };
    with(runs, &filter)
}

fn with(
    mut runs: Vec<PruneCandidate>,
    filter: &Filter,
) -> (Vec<String>, Vec<(String, KeepReason)>) {
    runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
    let Choice { remove, kept } = choose(runs, filter, NOW);
    (
        remove.into_iter().map(|run| run.id.to_string()).collect(),
        kept.into_iter()
            .map(|(run, why)| (run.id.to_string(), why))
            .collect(),
    )
}

fn stays(id: &str, why: KeepReason) -> (String, KeepReason) {
    (id.to_owned(), why)
}

#[test]
fn the_newest_of_each_target_and_the_young_are_not_meant() {
    let runs = || {
        let mut runs: Vec<_> = (1..=4)
            .map(|n| deployed(&format!("A{n}"), n * 10))
            .collect();
        runs.extend((1..=2).map(|n| PruneCandidate {
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
        PruneCandidate {
            changed: false,
            ..run("D", 20, Some(Outcome::Refused))
        },
        PruneCandidate {
            dry_run: true,
            ..deployed("E", 10)
        },
    ]);
    assert_eq!(gone, ["E", "D"]);
    assert_eq!(
        kept,
        [
            stays("C", KeepReason::LastChange),
            stays("B", KeepReason::Rollback),
            stays("A", KeepReason::Verified)
        ]
    );
}

#[test]
fn what_can_be_gone_on_with_does_not_count_as_the_newest() {
    let cut_off = |id: &str, age, outcome| PruneCandidate {
        unsettled: true,
        ..run(id, age, outcome)
    };
    let (gone, kept) = all(vec![
        deployed("A", 40),
        deployed("B", 30),
        cut_off("C", 20, Some(Outcome::Interrupted)),
        PruneCandidate {
            hold: Hold::AtWork,
            ..cut_off("D", 10, None)
        },
    ]);
    // D may end rolled back, and so may C: then B is what stands.
    assert_eq!(gone, ["A"]);
    assert_eq!(
        kept,
        [
            stays("D", KeepReason::AtWork),
            stays("C", KeepReason::CutOff),
            stays("B", KeepReason::Rollback)
        ]
    );
}

#[test]
fn what_a_rollback_leaves_to_undo_stays_however_an_open_one_ends() {
    let back = |outcome, unsettled| PruneCandidate {
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
            stays("D", KeepReason::LastChange),
            stays("C", KeepReason::RolledBackBy("D".into())),
            stays("B", KeepReason::Rollback),
        ]
    );
    let (gone, kept) = with(back(Some(Outcome::Interrupted), true));
    assert_eq!(gone, ["A"]);
    assert_eq!(
        kept,
        [
            stays("D", KeepReason::CutOff),
            stays("C", KeepReason::Rollback),
            stays("B", KeepReason::Rollback),
        ]
    );
}

#[test]
fn a_run_that_was_stopped_in_time_or_abandoned_may_go() {
    let early = PruneCandidate {
        changed: false,
        ..run("B", 20, Some(Outcome::Interrupted))
    };
    let killed = PruneCandidate {
        changed: false,
        ..run("C", 15, None)
    };
    let abandoned = run("D", 40, Some(Outcome::Interrupted));
    let (gone, kept) = all(vec![abandoned, early, killed, deployed("E", 10)]);
    assert_eq!(gone, ["C", "B", "D"]);
    assert_eq!(kept, [stays("E", KeepReason::Rollback)]);
}

#[test]
fn a_rollback_that_stays_keeps_what_it_rolls_back() {
    let back = PruneCandidate {
        rolls_back: Some("A".into()),
        ..run("C", 10, Some(Outcome::RollbackFailed))
    };
    let older = PruneCandidate {
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
            stays("C", KeepReason::LastChange),
            stays("B", KeepReason::Verified),
            stays("A", KeepReason::RolledBackBy("C".into())),
            stays("0", KeepReason::RolledBackBy("B".into())),
        ]
    );
    // A rollback goes before what it rolls back.
    let runs = vec![deployed("0", 50), older, deployed("D", 10)];
    assert_eq!(all(runs).0, ["B", "0"]);
    // One that is not meant keeps it too.
    let runs = vec![
        deployed("0", 50),
        PruneCandidate {
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
    assert_eq!(kept, [stays("0", KeepReason::RolledBackBy("B".into()))]);
}

#[test]
fn what_a_lease_names_or_no_fact_knows_stays() {
    let with_hold = |id: &str, age, hold| PruneCandidate {
        hold,
        dry_run: true,
        ..run(id, age, None)
    };
    let (gone, kept) = all(vec![
        PruneCandidate {
            unrecorded_relocation: Some("vm-2".into()),
            ..run("A", 50, Some(Outcome::RolledBack))
        },
        with_hold("B", 40, Hold::Free),
        with_hold("C", 30, Hold::RanOut),
        with_hold("D", 20, Hold::Beginning),
        PruneCandidate {
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
            stays("F", KeepReason::Rollback),
            stays("E", KeepReason::CutOff),
            stays("D", KeepReason::Beginning),
            stays("C", KeepReason::RanOut),
            stays("A", KeepReason::Move("vm-2".into())),
        ]
    );
}
