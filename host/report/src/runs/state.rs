//! How a run stands: how it ended, and what later runs have made of it.

use std::collections::BTreeMap;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::RunId;
use vdeploy_journal::effective;
use vdeploy_journal::store::RunSummary;

/// How a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It ended with this outcome.
    Ended(Outcome),
    /// It holds its target's lease.
    Running,
    /// It neither ended nor runs: killed.
    Killed,
    /// It was cut off, and a person or a later run has settled it.
    Abandoned,
    /// A rollback that a person asked for, and that is done.
    Reverted,
    /// A later run has brought back what was live before it.
    Undone,
}

impl State {
    /// From the outcome stored, if any, and whether the run holds a lease.
    pub fn of(outcome: Option<Outcome>, running: bool) -> Self {
        match outcome {
            Some(outcome) => Self::Ended(outcome),
            None if running => Self::Running,
            None => Self::Killed,
        }
    }

    /// One word, the same in text and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Abandoned => "abandoned",
            Self::Reverted => "reverted",
            Self::Undone => "undone",
            Self::Ended(outcome) => match outcome {
                Outcome::Deployed => "deployed",
                Outcome::Rehearsed => "rehearsed",
                Outcome::Refused => "refused",
                Outcome::FailedUnchanged => "failed-unchanged",
                Outcome::RolledBack => "rolled-back",
                Outcome::RollbackFailed => "rollback-failed",
                Outcome::Kept => "kept",
                Outcome::Held => "held",
                Outcome::Unreachable => "unreachable",
                Outcome::PluginRefused => "plugin-refused",
                Outcome::Interrupted => "interrupted",
                Outcome::Internal => "internal",
            },
        }
    }

    /// Whether what the run has changed may be live, as far as it knows itself.
    fn stands(self) -> bool {
        match self {
            Self::Ended(outcome) => effective::leaves_changes(Some(outcome)),
            Self::Killed | Self::Abandoned => true,
            Self::Running | Self::Reverted | Self::Undone => false,
        }
    }
}

/// What cannot be seen in a run itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing<'a> {
    /// The runs that are at work.
    pub running: &'a [RunId],
    /// Those that were cut off and abandoned.
    pub abandoned: &'a [RunId],
    /// The runs that were undone, each with the rollback that did it.
    pub undone: Option<&'a BTreeMap<RunId, RunId>>,
}

impl Standing<'_> {
    pub(crate) fn of(&self, run: &RunSummary) -> State {
        let state = match self.abandoned.contains(&run.id) {
            true => State::Abandoned,
            false => State::of(run.outcome, self.running.contains(&run.id)),
        };
        self.seen_from_now(&run.id, run.rolls_back.as_ref(), state)
    }

    /// What has become of a run that its journal says this of.
    pub(crate) fn seen_from_now(
        &self,
        run: &RunId,
        rolls_back: Option<&RunId>,
        state: State,
    ) -> State {
        match state {
            State::Ended(Outcome::Deployed) if rolls_back.is_some() => State::Reverted,
            state if state.stands() && self.by(run).is_some() => State::Undone,
            state => state,
        }
    }

    /// The rollback that has undone it.
    pub(crate) fn undone_by(&self, run: &RunId, state: State) -> Option<&RunId> {
        self.by(run).filter(|_| state == State::Undone)
    }

    fn by(&self, run: &RunId) -> Option<&RunId> {
        self.undone?.get(run)
    }
}
