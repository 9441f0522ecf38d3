use super::*;
use vdeploy_core::event::Outcome;

const NOW: u64 = 10_000_000;

fn run(id: &str) -> PruneCandidate {
    PruneCandidate {
        id: id.into(),
        target: "infra".into(),
        plan: "default".into(),
        started_at: NOW - 90_000,
        outcome: Some(Outcome::Deployed),
        dry_run: false,
        rolls_back: None,
        changed: true,
        unsettled: false,
        hold: Hold::Free,
        unrecorded_relocation: None,
        entries: 3,
        bytes: 400 << 10,
    }
}

#[test]
fn the_removed_the_kept_and_the_freed_space_are_listed() {
    let pruned = Pruned {
        dry_run: false,
        removed: &[run("01A"), run("01B")],
        kept: &[(run("01C"), KeepReason::Rollback)],
        before: 3 << 20,
        after: 1 << 20,
        not_smaller: None,
    };
    assert_eq!(
        text(&pruned, NOW),
        "2 runs removed, 1 matching run kept\n\nkept\n  01C  1m  infra  deployed  `vdeploy \
         rollback` would undo it\n2.0 MiB freed; the store has 1.0 MiB\n"
    );
    let value = json(&pruned);
    assert_eq!(value["given-back"], 2 << 20);
    assert_eq!(value["removed"][1]["id"], "01B");
    assert_eq!(value["removed"][1]["state"], "deployed");
    assert_eq!(value["kept"][0]["reason"], "rollback");
    assert_eq!(value["not-smaller"], Value::Null);
    assert_eq!(value["removed-bytes"], 800 << 10);

    let later = Pruned {
        after: 3 << 20,
        kept: &[],
        not_smaller: Some("run 01D is running"),
        ..pruned
    };
    assert_eq!(
        text(&later, NOW),
        "2 runs removed\n0 B freed; the store has 3.0 MiB\nthe space of the removed runs is not freed \
         yet; later runs reuse it: run 01D is running\n"
    );
}

#[test]
fn a_dry_run_lists_what_would_be_removed() {
    let pruned = Pruned {
        dry_run: true,
        removed: &[run("01A")],
        kept: &[],
        before: 1,
        after: 1,
        not_smaller: None,
    };
    assert_eq!(
        text(&pruned, NOW),
        "dry run: 1 run would be removed (about 400.0 KiB)\n\nto remove\n  01A  1m  default  \
         infra  deployed\n"
    );
    let none = Pruned {
        dry_run: false,
        removed: &[],
        ..pruned
    };
    assert_eq!(text(&none, NOW), "no run matches; nothing was removed\n");
}

#[test]
fn each_reason_has_its_own_word_and_sentence() {
    let reasons = [
        KeepReason::AtWork,
        KeepReason::RanOut,
        KeepReason::CutOff,
        KeepReason::Rollback,
        KeepReason::LastChange,
        KeepReason::Verified,
        KeepReason::RolledBackBy("01B".into()),
        KeepReason::Move("vm-2".into()),
        KeepReason::Beginning,
        KeepReason::Meanwhile,
    ];
    let run = run("01A");
    let mut said: Vec<_> = reasons
        .iter()
        .map(|why| (word(why), sentence(&run, why)))
        .collect();
    said.sort();
    said.dedup_by(|a, b| a.0 == b.0 || a.1 == b.1);
    assert_eq!(said.len(), reasons.len());
}

#[test]
fn an_interrupted_rollback_is_repeated_by_the_run_that_it_rolls_back() {
    let first = sentence(&run("01A"), &KeepReason::CutOff);
    assert!(first.contains("`vdeploy rollback 01A`"), "{first}");
    let back = PruneCandidate {
        rolls_back: Some("01A".into()),
        ..run("01B")
    };
    let said = sentence(&back, &KeepReason::CutOff);
    for way in [
        "`vdeploy resume 01B`",
        "`vdeploy rollback 01A`",
        "`vdeploy abandon 01B ",
    ] {
        assert!(said.contains(way), "no {way} in {said}");
    }
}
