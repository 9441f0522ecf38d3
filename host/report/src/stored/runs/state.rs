//! The state of a stored run: how it ended, and what later runs changed about
//! that.

use std::collections::BTreeMap;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::RunId;
use vdeploy_journal::effective;
use vdeploy_journal::store::RunSummary;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Ended(Outcome),
    /// It holds its target's lease, and its process is not known to be gone.
    Running,
    /// It has no end and is not running.
    Killed,
    /// It was interrupted, and the operator or a later run has settled it.
    Abandoned,
    /// A finished rollback that the operator requested.
    Reverted,
    /// A later rollback restored the version from before it.
    Undone,
}

impl State {
    /// From the stored outcome, if any.
    pub fn of(outcome: Option<Outcome>, running: bool) -> Self {
        match outcome {
            Some(outcome) => Self::Ended(outcome),
            None if running => Self::Running,
            None => Self::Killed,
        }
    }

    /// The same in text and JSON.
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

    /// Whether the changes of the run may be in effect, by its own journal.
    fn is_effective(self) -> bool {
        match self {
            Self::Ended(outcome) => effective::leaves_changes(Some(outcome)),
            Self::Killed | Self::Abandoned => true,
            Self::Running | Self::Reverted | Self::Undone => false,
        }
    }
}

/// What the journal of a run does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The runs that are running.
    pub running: &'a [RunId],
    /// The interrupted runs that were abandoned.
    pub abandoned: &'a [RunId],
    /// The undone runs, each with the rollback that did it.
    pub undone: Option<&'a BTreeMap<RunId, RunId>>,
}

impl Context<'_> {
    pub(super) fn state_of(&self, run: &RunSummary) -> State {
        let state = match self.abandoned.contains(&run.id) {
            true => State::Abandoned,
            false => State::of(run.outcome, self.running.contains(&run.id)),
        };
        self.state_now(&run.id, run.rolls_back.as_ref(), state)
    }

    /// From the state that the journal of the run tells.
    pub(super) fn state_now(&self, run: &RunId, rolls_back: Option<&RunId>, state: State) -> State {
        match state {
            State::Ended(Outcome::Deployed) if rolls_back.is_some() => State::Reverted,
            state if state.is_effective() && self.by(run).is_some() => State::Undone,
            state => state,
        }
    }

    pub(super) fn undone_by(&self, run: &RunId, state: State) -> Option<&RunId> {
        self.by(run).filter(|_| state == State::Undone)
    }

    fn by(&self, run: &RunId) -> Option<&RunId> {
        self.undone?.get(run)
    }
}
