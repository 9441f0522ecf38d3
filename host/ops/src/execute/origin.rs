//! Where a run comes from, and what follows from that: how it is announced,
//! whose lease it may take over, and what is said when it does not begin.

use crate::operation::resume::Resumed;
use crate::operation::rollback::{Outputs, RolledBack};
use crate::operation::select;
use vdeploy_core::event::{Outcome, RunEvent};
use vdeploy_core::ids::RunId;
use vdeploy_gate::RunShared;
use vdeploy_journal::{Entry, Store};
use vdeploy_run::Finished;

/// What made the run begin, or continue.
#[derive(Debug)]
pub(crate) enum Origin {
    Deploy {
        without_snapshot: Option<String>,
    },
    Rollback {
        rolls_back: Box<RolledBack>,
        without_snapshot: Option<String>,
    },
    /// A run of either kind that was interrupted.
    Resumed(Box<Resumed>),
}

impl Origin {
    pub fn resumed(&self) -> Option<&Resumed> {
        match self {
            Self::Resumed(resumed) => Some(resumed),
            Self::Deploy { .. } | Self::Rollback { .. } => None,
        }
    }

    /// The run that is rolled back.
    pub fn rolls_back(&self) -> Option<&RolledBack> {
        match self {
            Self::Deploy { .. } => None,
            Self::Rollback { rolls_back, .. } => Some(rolls_back),
            Self::Resumed(resumed) => resumed.rolls_back.as_ref(),
        }
    }

    pub fn rolled_back_outputs(&self) -> Option<(RunId, Outputs)> {
        let back = self.rolls_back()?;
        Some((back.run.id.clone(), back.outputs.clone()))
    }

    /// Why the target is changed without a snapshot; a run that is resumed has
    /// it in its journal.
    pub fn without_snapshot(&self) -> Option<&str> {
        match self {
            Self::Deploy { without_snapshot }
            | Self::Rollback {
                without_snapshot, ..
            } => without_snapshot.as_deref(),
            Self::Resumed(_) => None,
        }
    }

    /// What is told right after the beginning.
    pub fn event(&self) -> Option<RunEvent> {
        match self {
            Self::Deploy { .. } => None,
            Self::Rollback { rolls_back, .. } => Some(rolls_back.event()),
            Self::Resumed(resumed) => Some(resumed.event()),
        }
    }

    /// Why this run, `run`, may break the lease of `holder` when the process of
    /// that one is gone.
    pub fn takes_over(
        &self,
        store: &dyn Store,
        run: &RunId,
        holder: &RunId,
    ) -> Option<&'static str> {
        match self {
            Self::Deploy { .. } => None,
            Self::Rollback { rolls_back, .. } => {
                select::takes_over(store, &rolls_back.run.id, holder)
            }
            Self::Resumed(_) => {
                (run == holder).then_some("its process is gone, and the run is resumed")
            }
        }
    }

    /// How the run ends when its store fails before anything was done.
    pub fn store_failed(&self, error: &impl ToString) -> Finished {
        let error = error.to_string();
        match self.resumed() {
            Some(resumed) => not_resumed(&resumed.record.id, Outcome::Internal, &error),
            None => refused(
                Outcome::Internal,
                format!("nothing was begun, and nothing was touched\n{error}"),
            ),
        }
    }

    /// How the run ends when its target cannot be used, for this reason. The end
    /// of a run that was recorded is recorded too.
    pub fn target_unusable(
        &self,
        shared: &RunShared,
        plan: &str,
        target: &str,
        outcome: Outcome,
        why: &str,
    ) -> Finished {
        let why = shared.masker.mask(why);
        if self.resumed().is_some() {
            return not_resumed(&shared.run, outcome, &why);
        }
        let message = match outcome {
            Outcome::Held | Outcome::Interrupted => why.into_owned(),
            _ => format!(
                "plan {plan}: the target `{target}` cannot be used, and nothing was changed\n{why}"
            ),
        };
        let entry = Entry::Finished {
            outcome,
            message: message.clone(),
        };
        if let Err(error) = shared.recorder.append(&entry) {
            tracing::warn!(%error, "the end of the run could not be recorded");
        }
        refused(outcome, message)
    }
}

fn not_resumed(run: &RunId, outcome: Outcome, why: &str) -> Finished {
    let message = format!("run {run} was not resumed; nothing changed\n{why}");
    Finished {
        next: vec![format!("vdeploy resume {run}")],
        ..refused(outcome, message)
    }
}

/// The end of a run that changed nothing.
pub(super) fn refused(outcome: Outcome, message: String) -> Finished {
    Finished {
        outcome,
        unchanged: false,
        target_changed: false,
        blocking_run: None,
        message,
        next: Vec::new(),
    }
}
