//! One entry of a run's journal. Everything in it is masked; no secret ever gets
//! here.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vdeploy_core::capability::EffectError;
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, Section, StepFailure};
use vdeploy_core::ids::{PluginName, SnapshotId, StepId, VmId};

/// The format of stored runs: of the database, its records and entries, and of
/// the entries in a recording. A reader accepts this one only; a change of any
/// of them is a new number.
pub const FORMAT: u32 = 3;

/// What the journal keeps of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(
    tag = "entry",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Entry {
    /// A plugin function is about to be called.
    StepStarted {
        /// The step.
        step: StepId,
        /// Its list.
        section: Section,
        /// The function.
        phase: Phase,
        /// From 1.
        attempt: u32,
    },
    /// A change is about to be made. Written and synced before it.
    Intent {
        /// Number of the call within the run, from 1.
        call: u64,
        /// The step.
        step: StepId,
        /// For example `ssh.exec`.
        function: String,
        /// The arguments, masked and bounded.
        request: Value,
        /// Whether it changes the target (and not only the host's store or a
        /// third party).
        changes_target: bool,
    },
    /// A call ended: a probe, or the change of the intent with this number.
    Result {
        /// Number of the call.
        call: u64,
        /// The step.
        step: StepId,
        /// For example `ssh.probe`.
        function: String,
        /// The arguments of a probe; null for a change, whose intent has them.
        request: Value,
        /// The answer as the plugin got it, masked and bounded.
        response: Result<Value, EffectError>,
    },
    /// A plugin function returned.
    StepFinished {
        /// The step.
        step: StepId,
        /// Its list.
        section: Section,
        /// The function.
        phase: Phase,
        /// What `run` returned.
        output: Option<Value>,
    },
    /// A plugin function failed.
    StepFailed {
        /// The step.
        step: StepId,
        /// Its list.
        section: Section,
        /// The function.
        phase: Phase,
        /// Why.
        failure: StepFailure,
    },
    /// The rollback point stands; from here on changes are allowed.
    SnapshotTaken {
        /// Its id.
        snapshot: SnapshotId,
        /// The plugin that made it by its own means; none for one of the
        /// platform.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<PluginName>,
    },
    /// The operator chose to continue without a snapshot.
    SnapshotWaived {
        /// The words given on the command line.
        reason: String,
    },
    /// The run's target is another VM from now on.
    TargetMoved {
        /// The VM before.
        from: Option<VmId>,
        /// The VM now.
        to: VmId,
    },
    /// Steps that are not done in this run: they need what is lost.
    LeftOut {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// Another process resumes the run.
    Resumed {
        /// Who.
        by: String,
        /// Version of vdeploy.
        host_version: String,
    },
    /// The run is not resumed, by the word of a person or because another
    /// run has taken its place.
    Abandoned {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The rollback begins.
    RollbackStarted {
        /// The step that failed.
        cause: Option<StepId>,
    },
    /// Last entry.
    Finished {
        /// How the run ended.
        outcome: Outcome,
        /// The message shown.
        message: String,
    },
}
