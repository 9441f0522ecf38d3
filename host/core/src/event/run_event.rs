//! The events of a run. Every report (terminal, plain lines, JSON, JUnit) derives
//! from them alone. Their texts are masked.

use super::outcome::Outcome;
use crate::capability::EffectError;
use crate::capability::ssh::Stream;
use crate::ids::{PlanName, PluginName, RunId, SnapshotId, StepId, TargetName, VmId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A function of a plugin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Preflight, without changes.
    Check,
    Run,
    /// Compensates a `run`.
    Undo,
}

/// The list of the plan that has a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    Steps,
    Rollback,
    Finally,
}

/// Importance of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Trace,
    /// For the plugin's author.
    Debug,
    Info,
    /// Also shown on a terminal, as an error is.
    Warn,
    Error,
}

/// Result of a named check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    Passed,
    Failed,
    /// Not checked.
    Skipped,
}

/// Why a step failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepFailure {
    /// From the plugin or the host.
    pub error: EffectError,
    /// Further lines: panic message, guest frames, last log lines, last call.
    pub context: Vec<String>,
}

/// Whether a step's output says that it removed the first deploy, so that nothing
/// is live.
pub fn says_no_live_version(output: &Value) -> bool {
    output.get("no-live-version") == Some(&Value::Bool(true))
}

/// Of the recorded answer of a call: whether its command exited with code 0. A
/// signal leaves no code.
pub fn command_ok(answer: &Value) -> Option<bool> {
    Some(*answer.get("exit-code")? == 0)
}

/// The run that a rollback undoes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Undoes {
    pub run: RunId,
    pub plan: PlanName,
    /// Milliseconds since 1970.
    pub started_at: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum RunEvent {
    /// First event of a run.
    RunStarted {
        run: RunId,
        plan: PlanName,
        target: TargetName,
        /// None for a target that is no VM.
        vm: Option<VmId>,
        /// Those of `Section::Steps`, in order.
        steps: Vec<StepId>,
        dry_run: bool,
    },
    /// Another process continues an interrupted run. Comes after `RunStarted`.
    RunResumed {
        run: RunId,
        /// Finished steps in order; they are not run again.
        finished: Vec<StepId>,
        /// The interrupted step.
        step: Option<StepId>,
        /// Calls of that step with a known result; they are not made again.
        recorded: usize,
        /// Changes of that step that may have happened. Each is reconciled first.
        in_doubt: usize,
        /// The run has changed the target, or may have.
        target_changed: bool,
        /// Taken before the run changed the target.
        snapshot: Option<SnapshotId>,
        /// The run is a rollback that the operator requested.
        operator_requested: bool,
        /// The run removed the first deploy: nothing is live.
        no_live_version: bool,
        /// The VM that was the target at the run's start, if it is another now.
        moved_from: Option<VmId>,
    },
    /// The host itself does something: connects, waits for a lease.
    Doing {
        /// Present tense, one line.
        text: String,
    },
    /// A plugin function is called.
    StepStarted {
        step: StepId,
        section: Section,
        phase: Phase,
        /// From 1.
        attempt: u32,
    },
    /// A capability call begins.
    CallStarted {
        step: StepId,
        /// Number of the call within the run.
        call: u64,
        /// For example `ssh git fetch origin`.
        action: String,
        /// It may change something.
        change: bool,
    },
    /// A capability call ended.
    CallFinished {
        step: StepId,
        /// Number of the call within the run.
        call: u64,
        ok: bool,
        /// In a dry run: the change was shown and not made.
        not_made: bool,
        /// Of a command: whether it exited with code 0. A call may be `ok` and
        /// its command not: the plugin decides what the code means.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command_ok: Option<bool>,
        duration_ms: u64,
    },
    /// A line of a command's output.
    Output {
        step: StepId,
        stream: Stream,
        /// Without the line end.
        line: String,
    },
    /// A plugin's log line.
    Log {
        /// None for the host itself.
        step: Option<StepId>,
        level: Level,
        message: String,
    },
    /// A named result inside a step.
    Check {
        step: StepId,
        name: String,
        status: CheckStatus,
        duration_ms: u64,
        /// What was expected and what was found.
        detail: Option<String>,
    },
    /// A plugin function returned.
    StepFinished {
        step: StepId,
        section: Section,
        phase: Phase,
        /// The output's `summary`, if it has one.
        summary: Option<String>,
        /// What `run` returned.
        output: Option<Value>,
        duration_ms: u64,
    },
    /// A plugin function failed.
    StepFailed {
        step: StepId,
        section: Section,
        phase: Phase,
        failure: StepFailure,
        /// None: it is not retried.
        retry_in_ms: Option<u64>,
        duration_ms: u64,
    },
    /// A snapshot of the target exists.
    SnapshotTaken {
        snapshot: SnapshotId,
        /// The plugin that made it itself; none for one of the platform.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<PluginName>,
        /// Taken before the run changed the target: the rollback point.
        before_changes: bool,
    },
    /// The run's target is another VM from now on.
    TargetMoved { from: Option<VmId>, to: VmId },
    RollbackStarted {
        /// The step that failed; none when the operator requested the rollback.
        cause: Option<StepId>,
        /// The run that the operator wants undone.
        #[serde(skip_serializing_if = "Option::is_none")]
        undoes: Option<Undoes>,
    },
    /// Last event of a run.
    RunFinished {
        run: RunId,
        outcome: Outcome,
        /// Nothing had to change.
        unchanged: bool,
        /// The run has changed the target, or may have.
        target_changed: bool,
        /// An interrupted run on the target that nobody has settled.
        blocking_run: Option<RunId>,
        /// Of the process.
        exit_code: u8,
        /// Lines for people: the cause and the state.
        message: String,
        /// Recommended commands.
        next: Vec<String>,
        /// Of the service.
        url: Option<String>,
        duration_ms: u64,
    },
}
