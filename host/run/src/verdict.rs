//! The words at the end of a run: what happened, why, what is live, what to do
//! next.

use super::driver::{Execution, Finished, StepProblem};
use std::fmt::Write as _;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::event::Outcome;
use vdeploy_core::event::{Phase, Section};
use vdeploy_core::ids::RunId;
use vdeploy_gate::Broken;

/// What the verdict is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// Nothing had to change.
    pub unchanged: bool,
    /// The run.
    pub execution: &'a Execution,
    /// Failures, in order.
    pub problems: &'a [StepProblem],
    /// Why the gate was closed.
    pub broken: Option<Broken>,
    /// What the step that made a snapshot says of a restore by hand.
    pub by_hand: Option<&'a str>,
    /// The first deploy was taken away, and nothing is live.
    pub no_live_version: bool,
}

/// Outcome, message and next commands.
pub fn finished(facts: &Facts<'_>) -> Finished {
    let run = &facts.execution.shared.run;
    let target = facts.execution.shared.world.target.facts();
    let mut message = headline(facts);
    if let Some(by) = facts.execution.shared.stopped_by()
        && !went_through(facts.outcome)
    {
        let _ = write!(message, "\nthe run was asked to stop: {by}");
    }
    for problem in facts.problems {
        let _ = write!(message, "\n{}", describe(problem));
    }
    if let Some(broken) = &facts.broken {
        let _ = write!(message, "\n{}", broken.message);
        if broken.mendable && !facts.execution.shared.dry_run {
            let _ = write!(
                message,
                "\nwhen that is mended, `vdeploy resume {run}` goes on where the run stopped"
            );
        }
    }
    if let Some(state) = state_words(facts) {
        let _ = write!(message, "\n{state}");
    }
    let stands_changed = matches!(
        facts.outcome,
        Outcome::RollbackFailed | Outcome::Kept | Outcome::Interrupted
    ) && facts.execution.shared.target_changed();
    if let (true, Some(by_hand)) = (stands_changed, facts.by_hand) {
        let _ = write!(
            message,
            "\nto restore the snapshot by hand: {}",
            indented(by_hand)
        );
    }
    if let (true, Some(vm)) = (facts.outcome == Outcome::RollbackFailed, &target.vm) {
        let _ = write!(message, "\nthe target is the VM {vm}");
    }
    Finished {
        outcome: facts.outcome,
        unchanged: facts.unchanged,
        target_changed: may_have_changed(facts),
        blocking_run: None,
        message,
        next: next_commands(facts, run.as_str()),
    }
}

fn went_through(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Deployed | Outcome::Rehearsed)
}

fn headline(facts: &Facts<'_>) -> String {
    let plan = &facts.execution.plan.name;
    let text = match facts.outcome {
        Outcome::Rehearsed => "dry run: every change above was shown, and vdeploy made none",
        Outcome::Deployed if facts.execution.traits.is_rollback && facts.no_live_version => {
            "rolled back; nothing was live before, and nothing is live now"
        }
        Outcome::Deployed if facts.unchanged => {
            "nothing to do: this version is already live, and it was verified"
        }
        Outcome::Deployed if facts.execution.traits.is_rollback => "rolled back and verified",
        Outcome::Deployed if facts.execution.traits.may_change.is_empty() => "verified",
        Outcome::Deployed => "deployed and verified",
        Outcome::Refused => "refused before anything changed",
        Outcome::FailedUnchanged => "failed; the target is unchanged",
        Outcome::RolledBack if facts.no_live_version => {
            "failed and rolled back; nothing was live before, and nothing is live now"
        }
        Outcome::RolledBack => {
            "failed and rolled back; the target is as it was before the run, and verified"
        }
        Outcome::RollbackFailed => {
            "FAILED, AND THE ROLLBACK FAILED OR COULD NOT BE VERIFIED: look at the target now"
        }
        Outcome::Kept => "failed; the target is kept as it is, as the plan says",
        Outcome::Interrupted => "interrupted",
        Outcome::Held => "the target is held by another run",
        Outcome::Unreachable => "the target cannot be reached; nothing was changed",
        Outcome::PluginRefused => "a plugin was refused; nothing was changed",
        Outcome::Internal => "vdeploy failed",
    };
    format!("plan {plan}: {text}")
}

fn describe(problem: &StepProblem) -> String {
    let what = match (problem.section, problem.phase) {
        (_, Phase::Check) => "the check of step",
        (_, Phase::Undo) => "the undo of step",
        (Section::Steps, Phase::Run) => "step",
        (Section::Rollback, Phase::Run) => "rollback step",
        (Section::Finally, Phase::Run) => "finally step",
    };
    let error = indented(&problem.failure.error.to_string());
    let mut text = format!("{what} `{}`: {error}", problem.step);
    for line in &problem.failure.context {
        let _ = write!(text, "\n    {}", indented(line));
    }
    text
}

/// Further lines of a plugin's text, so that none passes for a line of the host.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

/// What is live now, from what the steps said.
fn state_words(facts: &Facts<'_>) -> Option<String> {
    let words = match facts.outcome {
        Outcome::Kept => "the failed version may be live; nothing was rolled back",
        Outcome::Interrupted if facts.execution.shared.target_changed() => {
            "the target was changed and is left as it is"
        }
        Outcome::Interrupted if may_have_changed(facts) => {
            "this process has not changed the target; who had it since may have"
        }
        Outcome::Interrupted => "the target is unchanged",
        _ => return None,
    };
    Some(words.to_owned())
}

/// Whether the target was changed in this run, or may have been: who took it may
/// have gone on with the run.
fn may_have_changed(facts: &Facts<'_>) -> bool {
    let shared = &facts.execution.shared;
    let lost = shared.world.leases.loss();
    shared.target_changed() || lost.is_some_and(|how| !how.mendable)
}

fn next_commands(facts: &Facts<'_>, run: &str) -> Vec<String> {
    let mut next = Vec::new();
    let snapshot = facts.execution.shared.snapshot_taken_id().is_some();
    if facts.outcome == Outcome::Interrupted && !facts.execution.shared.dry_run {
        next.push(format!("vdeploy resume {run}"));
    }
    match facts.outcome {
        Outcome::Deployed
            if facts.execution.shared.target_changed() && !facts.execution.traits.is_rollback =>
        {
            next.push(format!("vdeploy rollback {run}"));
        }
        Outcome::Kept | Outcome::Interrupted | Outcome::RollbackFailed
            if facts.execution.shared.target_changed() =>
        {
            // From a rollback there is no way back; its run has one more.
            let first = facts.execution.rolled_back_run.as_ref();
            let of = first.map_or(run, RunId::as_str);
            let only_away = |problem: &StepProblem| {
                matches!(
                    problem.failure.error.kind,
                    ErrorKind::Unavailable | ErrorKind::Timeout
                )
            };
            // What failed for a target that was away may work when it is back.
            if facts.outcome != Outcome::RollbackFailed || facts.problems.iter().any(only_away) {
                next.push(format!("vdeploy rollback {of} --to in-place"));
            }
            if snapshot || first.is_some() {
                next.push(format!("vdeploy rollback {of} --to snapshot"));
            }
        }
        _ => {}
    }
    if facts.outcome == Outcome::Interrupted && facts.execution.shared.target_changed() {
        next.push(format!("vdeploy abandon {run} --reason \"REASON\""));
    }
    if !went_through(facts.outcome) {
        next.push(format!("vdeploy runs show {run}"));
    }
    next
}
