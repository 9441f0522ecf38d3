//! What happens in a run, one value a happening. Every report (terminal, plain
//! lines, JSON, JUnit) derives from these events alone. Texts are masked
//! before they get here.

use super::outcome::Outcome;
use crate::capability::EffectError;
use crate::capability::ssh::Stream;
use crate::ids::{PlanName, PluginName, RunId, SnapshotId, StepId, TargetName, VmId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which of a plugin's functions is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Preflight without effects.
    Check,
    /// Do it.
    Run,
    /// Compensate it.
    Undo,
}

/// Which list of the plan a step stands in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// The plan's steps.
    Steps,
    /// The rollback steps.
    Rollback,
    /// The finally steps.
    Finally,
}

/// Importance of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Finest.
    Trace,
    /// For the plugin's author.
    Debug,
    /// Progress.
    Info,
    /// Shown at once.
    Warn,
    /// Shown at once.
    Error,
}

/// Result of a named check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// Not looked at.
    Skipped,
}

/// Why a step failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepFailure {
    /// The error as reported by the plugin or the host.
    pub error: EffectError,
    /// Further lines: panic message, guest frames, last log lines, last call.
    pub context: Vec<String>,
}

/// Whether a step's output says that the first deploy was taken away, so that
/// nothing is live.
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
    /// The run.
    pub run: RunId,
    /// Its plan.
    pub plan: PlanName,
    /// When it began, in milliseconds since 1970.
    pub started_at: u64,
}

/// One happening.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum RunEvent {
    /// First event of a run.
    RunStarted {
        /// The run.
        run: RunId,
        /// The plan.
        plan: PlanName,
        /// The target.
        target: TargetName,
        /// The VM, if it is one.
        vm: Option<VmId>,
        /// Ids of the plan's steps, in order.
        steps: Vec<StepId>,
        /// Whether no change is made.
        dry_run: bool,
    },
    /// Another process goes on with the run.
    RunResumed {
        /// The run.
        run: RunId,
        /// The steps that had finished, in order; they are not run again.
        finished: Vec<StepId>,
        /// The step that was cut off.
        step: Option<StepId>,
        /// Calls of it whose results are known: they are not made again.
        recorded: usize,
        /// Changes of it that may have happened; what came of each is found out
        /// first.
        in_doubt: usize,
        /// Whether the run has changed the target, or may have.
        target_changed: bool,
        /// The snapshot that was taken before it did.
        snapshot: Option<SnapshotId>,
        /// Whether the run is a rollback that a person asked for.
        operator_requested: bool,
        /// Whether the run has taken the first deploy away, so that nothing is
        /// live.
        no_live_version: bool,
        /// The VM that was the target at the run's start, if it is another now.
        moved_from: Option<VmId>,
    },
    /// The host does something of its own: connects, waits for a lease.
    Doing {
        /// Present tense, one line.
        text: String,
    },
    /// A plugin function is called.
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
    /// A capability call begins.
    CallStarted {
        /// The step.
        step: StepId,
        /// Number of the call within the run.
        call: u64,
        /// What is done, for example `ssh git fetch origin`.
        action: String,
        /// Whether it may change something.
        change: bool,
    },
    /// A capability call ended.
    CallFinished {
        /// The step.
        step: StepId,
        /// Number of the call within the run.
        call: u64,
        /// Whether it succeeded.
        ok: bool,
        /// In a dry run: the change was shown and not made.
        not_made: bool,
        /// Of a command: whether it exited with code 0. A call may be `ok` and
        /// its command not: the plugin decides what the code means.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command_ok: Option<bool>,
        /// In milliseconds.
        duration_ms: u64,
    },
    /// A line of a command's output.
    Output {
        /// The step.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// Without the line end.
        line: String,
    },
    /// A plugin's log line.
    Log {
        /// The step; none for the host itself.
        step: Option<StepId>,
        /// Importance.
        level: Level,
        /// The line.
        message: String,
    },
    /// A named result inside a step.
    Check {
        /// The step.
        step: StepId,
        /// Its name.
        name: String,
        /// Its result.
        status: CheckStatus,
        /// In milliseconds.
        duration_ms: u64,
        /// Expected and found.
        detail: Option<String>,
    },
    /// A plugin function returned.
    StepFinished {
        /// The step.
        step: StepId,
        /// Its list.
        section: Section,
        /// The function.
        phase: Phase,
        /// The output's `summary`, if it has one.
        summary: Option<String>,
        /// What `run` returned.
        output: Option<Value>,
        /// In milliseconds.
        duration_ms: u64,
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
        /// Whether it is tried again, and after how many milliseconds.
        retry_in_ms: Option<u64>,
        /// In milliseconds.
        duration_ms: u64,
    },
    /// The rollback point stands.
    SnapshotTaken {
        /// Its id.
        snapshot: SnapshotId,
        /// The plugin that made it by its own means; none for one of the
        /// platform.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<PluginName>,
        /// Whether it was taken before the run changed the target.
        before_changes: bool,
    },
    /// The run's target is another VM from now on.
    TargetMoved {
        /// The VM before.
        from: Option<VmId>,
        /// The VM now.
        to: VmId,
    },
    /// The rollback begins.
    RollbackStarted {
        /// The step that failed; none when a person asked for it.
        cause: Option<StepId>,
        /// The run that a person wants undone.
        #[serde(skip_serializing_if = "Option::is_none")]
        undoes: Option<Undoes>,
    },
    /// Last event of a run.
    RunFinished {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
        /// Nothing had to change.
        unchanged: bool,
        /// Whether the run has changed the target, or may have.
        target_changed: bool,
        /// A run that was cut off on the target and that nobody has settled.
        blocking_run: Option<RunId>,
        /// The process's exit code.
        exit_code: u8,
        /// One or more lines for a person: the cause and the state.
        message: String,
        /// Commands a person may want next.
        next: Vec<String>,
        /// Where the service is reached.
        url: Option<String>,
        /// In milliseconds.
        duration_ms: u64,
    },
}
