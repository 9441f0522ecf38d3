//! What a session can be asked to do to a target.

pub mod deploy;
pub mod interrupted;
pub mod resume;
pub mod rollback;
pub mod select;

use std::time::Duration;
use vdeploy_core::ids::RunId;
use vdeploy_core::plan::{OnFailure, RollbackTo};

/// One operation on one target.
#[derive(Clone, Debug)]
pub enum Operation {
    Deploy(Deploy),
    Rollback(Rollback),
    Resume(Resume),
}

/// Runs a plan.
#[derive(Clone, Debug)]
pub struct Deploy {
    pub plan: String,
    /// None is the project's only target, or its default.
    pub target: Option<String>,
    /// A branch, tag or commit, in place of what the plan says.
    pub reference: Option<String>,
    /// `STEP.KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// In place of what the plan says.
    pub on_failure: Option<OnFailure>,
    /// In place of what the plan says.
    pub rollback_to: Option<RollbackTo>,
    /// Shows every change and makes none.
    pub dry_run: bool,
    /// Why the target may be changed without a snapshot to go back to.
    pub without_snapshot: Option<String>,
    /// How long another run may be waited for.
    pub wait: Duration,
    /// The id of the run; ids sort by the time of their run. None makes one.
    pub run: Option<RunId>,
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            plan: "default".to_owned(),
            target: None,
            reference: None,
            set: Vec::new(),
            on_failure: None,
            rollback_to: None,
            dry_run: false,
            without_snapshot: None,
            wait: Duration::ZERO,
            run: None,
        }
    }
}

/// Brings back what was live before a run, and verifies it.
#[derive(Clone, Debug, Default)]
pub struct Rollback {
    /// An id or its beginning. None is the newest run of the target whose change
    /// is in effect.
    pub run: Option<String>,
    /// The target whose newest run is meant, where no run is named.
    pub target: Option<String>,
    /// In place of what the plan of that run says.
    pub to: Option<RollbackTo>,
    /// `STEP.KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// Also if the run was undone already.
    pub again: bool,
    pub dry_run: bool,
    /// Why there is no snapshot of the state as it is now.
    pub without_snapshot: Option<String>,
    pub wait: Duration,
}

/// Continues an interrupted run where it stopped.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// An id or its beginning. None is the target's interrupted run.
    pub run: Option<String>,
    /// The target, where no run is named.
    pub target: Option<String>,
    /// The lease of the interrupted process is waited for in any case.
    pub wait: Duration,
}
