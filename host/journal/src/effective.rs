//! Which change of a target stands: what `vdeploy rollback` undoes where no run
//! is named, and what pruning must keep for it.
//!
//! Pure: walks through the runs of one target, the one that was stored last
//! first.

use super::store::RunSummary;
use std::collections::BTreeMap;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, TargetName};

/// A walk through the runs of one target.
#[derive(Debug, Default)]
pub struct Walk {
    /// Everything down to this run is undone.
    undone_to: Option<RunId>,
}

/// What matters of a run here.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// Its id.
    pub id: &'a RunId,
    /// The run that it rolls back.
    pub rolls_back: Option<&'a RunId>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whether no change was made.
    pub dry_run: bool,
}

impl<'a> From<&'a RunSummary> for Passed<'a> {
    fn from(run: &'a RunSummary) -> Self {
        Self {
            id: &run.id,
            rolls_back: run.rolls_back.as_ref(),
            outcome: run.outcome,
            dry_run: run.dry_run,
        }
    }
}

/// What such a run is to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Is {
    /// It left nothing.
    Nothing,
    /// A rollback that ended well.
    Back,
    /// A newer rollback that ended well has undone it.
    Undone,
    /// What it has changed stands, if it changed something.
    Stands,
}

impl Walk {
    /// The next older one. A rollback that ended well undoes its run and
    /// whatever came after that.
    pub fn next(&mut self, run: Passed<'_>) -> Is {
        if let Some(first) = &self.undone_to {
            if run.id == first {
                self.undone_to = None;
            }
            return Is::Undone;
        }
        match run.rolls_back {
            _ if run.dry_run => Is::Nothing,
            Some(first) if run.outcome == Some(Outcome::Deployed) => {
                self.undone_to = Some(first.clone());
                Is::Back
            }
            None if stands(run.outcome) => Is::Stands,
            _ => Is::Nothing,
        }
    }
}

/// The runs that were undone, each with the newest rollback that did it. `runs`
/// of one target or more, newest first.
pub fn undone(runs: &[RunSummary]) -> BTreeMap<RunId, RunId> {
    let mut walks: BTreeMap<&TargetName, (Walk, Option<&RunId>)> = BTreeMap::new();
    let mut undone = BTreeMap::new();
    for run in runs {
        let (walk, by) = walks.entry(&run.target).or_default();
        match walk.next(run.into()) {
            Is::Back => *by = Some(&run.id),
            Is::Undone if !run.dry_run => {
                undone.extend(by.map(|by| (run.id.clone(), by.clone())));
            }
            _ => {}
        }
    }
    undone
}

/// Whether what a run with this outcome has changed was not taken back by the
/// run itself.
pub fn stands(outcome: Option<Outcome>) -> bool {
    !matches!(
        outcome,
        Some(Outcome::RolledBack | Outcome::FailedUnchanged | Outcome::Refused)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newest first: id, the run that it rolls back, how it ended.
    fn walked(runs: &[(&str, Option<&str>, Outcome)]) -> Vec<Is> {
        let mut walk = Walk::default();
        runs.iter()
            .map(|(id, rolls_back, outcome)| {
                let rolls_back: Option<RunId> = rolls_back.map(RunId::from);
                walk.next(Passed {
                    id: &RunId::from(*id),
                    rolls_back: rolls_back.as_ref(),
                    outcome: Some(*outcome),
                    dry_run: false,
                })
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
            [Is::Nothing, Is::Back, Is::Undone, Is::Undone, Is::Stands]
        );
        // Of two in a row the newer one counts: it brought 2 back.
        assert_eq!(
            walked(&[
                ("5", Some("3"), Deployed),
                ("4", Some("2"), Deployed),
                ("3", None, Deployed),
                ("2", None, Deployed),
            ]),
            [Is::Back, Is::Undone, Is::Undone, Is::Stands]
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
            [Is::Nothing, Is::Stands, Is::Stands]
        );
    }
}
