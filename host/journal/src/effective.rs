//! Which change of a target is in effect: what `vdeploy rollback` undoes where no
//! run is named, and what pruning must keep for it.
//!
//! Pure: one fold over the runs of a target, the one that was stored last first.

use super::store::RunSummary;
use std::collections::BTreeMap;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, TargetName};

/// What a run means for its target now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunEffect {
    /// It left nothing.
    None,
    /// A rollback that ended well.
    Reverts,
    /// A newer rollback that ended well has undone it.
    Undone,
    /// What it changed is in effect, if it changed something.
    InEffect,
}

/// The fold over the runs of one target.
#[derive(Debug, Default)]
pub struct Effects {
    /// Everything down to this run is undone.
    undone_to: Option<RunId>,
}

impl Effects {
    /// The effect of the next older run. A rollback that ended well undoes its
    /// run and whatever came after that.
    pub fn next(
        &mut self,
        run: &RunId,
        rolls_back: Option<&RunId>,
        outcome: Option<Outcome>,
        dry_run: bool,
    ) -> RunEffect {
        if let Some(first) = &self.undone_to {
            if run == first {
                self.undone_to = None;
            }
            return RunEffect::Undone;
        }
        match rolls_back {
            _ if dry_run => RunEffect::None,
            Some(first) if outcome == Some(Outcome::Deployed) => {
                self.undone_to = Some(first.clone());
                RunEffect::Reverts
            }
            None if leaves_changes(outcome) => RunEffect::InEffect,
            _ => RunEffect::None,
        }
    }

    /// The same of a run as the store lists it.
    pub fn next_run(&mut self, run: &RunSummary) -> RunEffect {
        self.next(&run.id, run.rolls_back.as_ref(), run.outcome, run.dry_run)
    }
}

/// The runs that were undone, each with the newest rollback that did it. `runs`
/// of one target or more, newest first.
pub fn undone(runs: &[RunSummary]) -> BTreeMap<RunId, RunId> {
    let mut targets: BTreeMap<&TargetName, (Effects, Option<&RunId>)> = BTreeMap::new();
    let mut undone = BTreeMap::new();
    for run in runs {
        let (effects, by) = targets.entry(&run.target).or_default();
        match effects.next_run(run) {
            RunEffect::Reverts => *by = Some(&run.id),
            RunEffect::Undone if !run.dry_run => {
                undone.extend(by.map(|by| (run.id.clone(), by.clone())));
            }
            _ => {}
        }
    }
    undone
}

/// Whether a run with this outcome did not take back itself what it changed.
pub fn leaves_changes(outcome: Option<Outcome>) -> bool {
    !matches!(
        outcome,
        Some(Outcome::RolledBack | Outcome::FailedUnchanged | Outcome::Refused)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newest first: id, the run that it rolls back, how it ended.
    fn walked(runs: &[(&str, Option<&str>, Outcome)]) -> Vec<RunEffect> {
        let mut effects = Effects::default();
        runs.iter()
            .map(|(id, rolls_back, outcome)| {
                let rolls_back: Option<RunId> = rolls_back.map(RunId::from);
                effects.next(
                    &RunId::from(*id),
                    rolls_back.as_ref(),
                    Some(*outcome),
                    false,
                )
            })
            .collect()
    }

    #[test]
    fn a_rollback_that_ended_well_undoes_its_run_and_what_came_after_it() {
        use Outcome::{Deployed, RollbackFailed, RolledBack};
        assert_eq!(
            walked(&[
                ("5", None, RolledBack),
                ("4", Some("2"), Deployed),
                ("3", None, Deployed),
                ("2", None, Deployed),
                ("1", None, Deployed),
            ]),
            [
                RunEffect::None,
                RunEffect::Reverts,
                RunEffect::Undone,
                RunEffect::Undone,
                RunEffect::InEffect
            ]
        );
        // Of two in a row the newer one counts: it brought 2 back.
        assert_eq!(
            walked(&[
                ("5", Some("3"), Deployed),
                ("4", Some("2"), Deployed),
                ("3", None, Deployed),
                ("2", None, Deployed),
            ]),
            [
                RunEffect::Reverts,
                RunEffect::Undone,
                RunEffect::Undone,
                RunEffect::InEffect
            ]
        );
        // Of each target by itself.
        let run = |id: &str, target: &str, rolls_back: Option<&str>, dry_run| RunSummary {
            id: id.into(),
            plan: "default".into(),
            target: target.into(),
            started_by: String::new(),
            started_at: 0,
            finished_at: None,
            outcome: Some(Deployed),
            dry_run,
            rolls_back: rolls_back.map(RunId::from),
        };
        let undone = undone(&[
            run("6", "a", Some("2"), false),
            run("5", "b", None, false),
            run("4", "a", None, true),
            run("3", "a", None, false),
            run("2", "a", None, false),
            run("1", "a", None, false),
        ]);
        let by_6 = |id: &str| (RunId::from(id), RunId::from("6"));
        assert_eq!(undone, [by_6("2"), by_6("3")].into());
        assert_eq!(
            walked(&[
                ("3", Some("2"), RollbackFailed),
                ("2", None, Deployed),
                ("1", None, Deployed),
            ]),
            [RunEffect::None, RunEffect::InEffect, RunEffect::InEffect]
        );
    }
}
