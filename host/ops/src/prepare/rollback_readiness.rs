//! Whether a run has a way back on a target whose platform takes no snapshots.
//! Asked before anything is touched; the gate asks again at every change.
//!
//! Makes no connection and reads no journal.

use crate::error::{OpsError, OpsErrorKind};
use vdeploy_config::Project;
use vdeploy_core::ids::{PlanName, TargetName};
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo, Step};
use vdeploy_scope::SnapshotScope;

/// The step that makes a snapshot, by convention.
const SNAPSHOT: &str = "snapshot";
/// The step that puts a plugin's own snapshot back, by convention: the step
/// `rollback` reads its output.
const RESTORE: &str = "restore";
/// What brings a version back where the platform takes no snapshots.
const ROLLBACK_SSH: &str = "rollback-ssh";

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// Where the run goes.
    pub target: &'a TargetName,
    /// Whether the platform takes snapshots of it.
    pub takes_snapshots: bool,
    /// Whether the plan has a step that may change the target.
    pub changes: bool,
    /// A rollback that a person asked for.
    pub is_rollback: bool,
    /// `--without-snapshot`.
    pub without: Option<&'a str>,
}

/// The plan of `vdeploy rollback`: where the platform takes no snapshots and
/// the project says nothing of its own, the one with archives.
pub fn rollback_plan(project: &Project, target: &TargetName) -> &'static str {
    let name = PlanName::from("rollback");
    let is_ours = Project::builtin()
        .is_ok_and(|builtin| builtin.plans.get(&name) == project.plans.get(&name));
    let target = project.targets.get(target);
    match target.is_some_and(|target| !target.kind().takes_snapshots()) && is_ours {
        true => ROLLBACK_SSH,
        false => "rollback",
    }
}

/// Refuses a run that could not go back, and leaves the snapshot step out where
/// the operator goes on without. Returns what a person should know.
/// `granted` says whether a step's plugin may do that with snapshots.
pub fn settle(
    plan: &mut Plan,
    question: &Question<'_>,
    granted: impl Fn(&Step, SnapshotScope) -> bool,
) -> Result<Vec<String>, OpsError> {
    if question.without.is_some_and(|why| why.trim().is_empty()) {
        return Err(OpsError::usage("--without-snapshot needs a reason")
            .hint("it is recorded with the run: --without-snapshot \"the disk is full\""));
    }
    if question.takes_snapshots || !question.changes {
        return Ok(Vec::new());
    }
    let own = |step: &&Step| granted(step, SnapshotScope::SelfManaged);
    let makes = plan
        .steps
        .iter()
        .filter(own)
        .any(|s| s.id.as_str() != RESTORE);
    let restores = match question.is_rollback {
        true => &plan.steps,
        false => &plan.rollback,
    };
    let restores = restores
        .iter()
        .filter(own)
        .any(|s| s.id.as_str() == RESTORE);
    let goes_back = question.is_rollback || plan.on_failure == OnFailure::Rollback;
    if plan.rollback_to == RollbackTo::Snapshot && goes_back {
        if question.without.is_some() && !question.is_rollback {
            return Err(refused(
                "--without-snapshot and a rollback to the snapshot exclude each other",
                "go back in place: add `--rollback-to in-place`",
            ));
        }
        if !restores {
            return Err(no_restore(plan, question));
        }
    }
    if question.without.is_some() {
        let is_snapshot = |step: &Step| {
            step.id.as_str() == SNAPSHOT
                && (granted(step, SnapshotScope::SelfManaged)
                    || granted(step, SnapshotScope::Create))
        };
        let steps = plan.steps.len();
        plan.steps.retain(|step| !is_snapshot(step));
        let left_out = steps != plan.steps.len();
        let note = "no snapshot is taken (--without-snapshot): the step `snapshot` is left out";
        return Ok(left_out.then(|| note.to_owned()).into_iter().collect());
    }
    match makes {
        true => Ok(Vec::new()),
        false => Err(no_snapshot(plan, question)),
    }
}

fn refused(message: impl Into<String>, hint: impl Into<String>) -> OpsError {
    let message = format!("{}; nothing was touched", message.into());
    OpsError::new(OpsErrorKind::Refused, message).hint(hint)
}

fn no_snapshot(plan: &Plan, question: &Question<'_>) -> OpsError {
    let Question { target, .. } = question;
    let name = &plan.name;
    let message = format!(
        "no platform takes snapshots of the target `{target}`, and no step of the plan `{name}` makes one of its own, so there would be no rollback point"
    );
    let ways = match question.is_rollback {
        true => format!(
            "either let the rollback archive what is there now: put into vdeploy.toml\n\
             \n[plans.rollback]\nextends = \"{ROLLBACK_SSH}\"\n\
             \nor continue without one, which is recorded: add `--without-snapshot \"REASON\"`"
        ),
        false => format!(
            "either let the plan archive the directories before it changes them: put into vdeploy.toml\n\
             \n[plans.{name}]\nextends = \"{}-ssh\"\n\
             \nor continue without one, which is recorded and leaves only git as the rollback point: add \
             `--without-snapshot \"REASON\"`",
            match name.as_str() {
                "restart" => "restart",
                _ => "default",
            }
        ),
    };
    refused(message, ways)
}

fn no_restore(plan: &Plan, question: &Question<'_>) -> OpsError {
    let Question { target, .. } = question;
    let message = format!(
        "the plan `{}` goes back to a snapshot, but no platform restores one of the target `{target}`, and no step `{RESTORE}` of the plan puts one back",
        plan.name
    );
    let hint = match question.is_rollback {
        true => format!(
            "go back in place: `--to in-place`; or put into vdeploy.toml\n\n[plans.rollback]\nextends = \"{ROLLBACK_SSH}\""
        ),
        false => format!(
            "go back in place: `--rollback-to in-place`; or put into vdeploy.toml\n\n[plans.{}]\nextends = \"default-ssh\"\nrollback-to = \"snapshot\"",
            plan.name
        ),
    };
    refused(message, hint)
}

#[cfg(test)]
#[path = "rollback_readiness_tests.rs"]
mod tests;
