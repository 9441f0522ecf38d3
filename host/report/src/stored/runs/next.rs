//! The commands recommended after a stored run: those that the run printed at
//! its end, or others where its state is another now.

use super::State;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::event::Outcome;
use vdeploy_journal::RunView;
use vdeploy_journal::store::RunRecord;

pub(super) fn next_commands(record: &RunRecord, view: &RunView<'_>, state: State) -> Vec<String> {
    let run = &record.id;
    let first = record.rolls_back.as_ref();
    let changed = view.target_changed() && !record.dry_run;
    // A rollback cannot be rolled back; its run can be, once more.
    let back = format!("vdeploy rollback {}", first.unwrap_or(run));
    let repeat = match first {
        Some(_) => back.clone(),
        None => format!(
            "vdeploy run --plan {} --target {}",
            record.plan.name, record.target
        ),
    };
    let in_place = format!("{back} --to in-place");
    let to_snapshot =
        (first.is_some() || !view.snapshots.is_empty()).then(|| format!("{back} --to snapshot"));
    let resume = format!("vdeploy resume {run}");
    let abandon = format!("vdeploy abandon {run} --reason \"REASON\"");
    match state {
        State::Running | State::Reverted | State::Ended(Outcome::Rehearsed) => Vec::new(),
        State::Undone | State::Ended(Outcome::RolledBack) => vec![repeat],
        State::Killed if changed => vec![resume, back, abandon],
        State::Ended(Outcome::Interrupted) if changed => {
            let mut commands = vec![resume, in_place];
            commands.extend(to_snapshot);
            commands.push(abandon);
            commands
        }
        State::Killed | State::Ended(Outcome::Interrupted) if !record.dry_run => vec![resume],
        State::Ended(Outcome::Kept) if changed => [Some(in_place), to_snapshot]
            .into_iter()
            .flatten()
            .collect(),
        State::Ended(Outcome::RollbackFailed) if changed => {
            // A step that failed because the target was away may succeed later.
            let in_place = was_away(view).then_some(in_place);
            [in_place, to_snapshot].into_iter().flatten().collect()
        }
        _ if changed && first.is_none() => vec![back],
        State::Ended(Outcome::Deployed) => Vec::new(),
        _ => [Some(repeat), first.and(to_snapshot)]
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn was_away(view: &RunView<'_>) -> bool {
    let failures = view.functions.iter().filter_map(|f| f.end?.failure);
    let mut kinds = failures.map(|failure| failure.error.kind);
    kinds.any(|kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{intent, journal, record, started};
    use super::*;
    use vdeploy_core::capability::EffectError;
    use vdeploy_core::event::{Phase, Section, StepFailure};
    use vdeploy_journal::Entry;

    #[test]
    fn the_next_commands_are_those_that_the_run_printed() {
        let next = |entries: &[Entry], rolls_back: Option<&str>, state| -> Vec<String> {
            let record = RunRecord {
                rolls_back: rolls_back.map(Into::into),
                ..record()
            };
            let entries = journal(entries.to_vec());
            let commands = next_commands(&record, &RunView::of(&entries), state);
            let words = |c: String| c.strip_prefix("vdeploy ").unwrap().to_owned();
            commands.into_iter().map(words).collect()
        };
        let changed = vec![
            started("git-pull", Section::Steps, 1),
            intent(1, "git-pull"),
        ];
        let mut with_snapshot = vec![Entry::SnapshotTaken {
            snapshot: "c-1".into(),
            provider: None,
        }];
        with_snapshot.extend(changed.clone());
        let ended = State::Ended;
        let resume = "resume 01K0RUN";
        let in_place = "rollback 01K0RUN --to in-place";
        let snapshot = "rollback 01K0RUN --to snapshot";
        let abandon = "abandon 01K0RUN --reason \"REASON\"";
        let run = "run --plan default --target infra";
        let none: &[&str] = &[];
        for (entries, state, expected) in [
            (
                &changed,
                ended(Outcome::Deployed),
                &["rollback 01K0RUN"][..],
            ),
            (
                &changed,
                ended(Outcome::Interrupted),
                &[resume, in_place, abandon],
            ),
            (
                &with_snapshot,
                ended(Outcome::Interrupted),
                &[resume, in_place, snapshot, abandon],
            ),
            (&vec![], ended(Outcome::Interrupted), &[resume]),
            (&with_snapshot, ended(Outcome::Kept), &[in_place, snapshot]),
            (&with_snapshot, ended(Outcome::RollbackFailed), &[snapshot]),
            (&vec![], ended(Outcome::Refused), &[run]),
            (&changed, ended(Outcome::RolledBack), &[run]),
            (&changed, State::Undone, &[run]),
            (&changed, State::Running, none),
            (&vec![], ended(Outcome::Deployed), none),
        ] {
            assert_eq!(next(entries, None, state), expected, "{state:?}");
        }
        let back = next(&changed, Some("01K0OLD"), ended(Outcome::RollbackFailed));
        assert_eq!(back, ["rollback 01K0OLD --to snapshot"]);

        // The target was away, and may be back.
        let mut away = with_snapshot;
        away.push(Entry::StepFailed {
            step: "git-pull".into(),
            section: Section::Steps,
            phase: Phase::Run,
            failure: StepFailure {
                error: EffectError::new(ErrorKind::Unavailable, "ssh.lost", "no answer"),
                context: Vec::new(),
            },
        });
        let commands = next(&away, None, ended(Outcome::RollbackFailed));
        assert_eq!(commands, [in_place, snapshot]);
    }
}
