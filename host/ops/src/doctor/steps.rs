//! What only the plan's steps know of their service: they look for themselves,
//! and each of their named checks is one of the report.

use super::project::Prepared;
use crate::checks::{Check, Report, Status};
use crate::execute::assembly::Assembly;
use crate::overlay::Overlay;
use std::sync::Arc;
use tokio::sync::mpsc;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::World;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::event::{CheckStatus, Level, RunEvent};
use vdeploy_core::ids::RunId;
use vdeploy_run::driver::StepProblem;

/// A detail that begins so is of a check that holds and is odd.
const WARNING: &str = "warning: ";
/// What follows in a detail is what to do.
const FIX: &str = "; fix: ";

/// For a check that failed and does not say what to do.
const LOOK: &str = "this is what is there now: look at the service and its log, or let a run (or \
                    `vdeploy rollback`) put a good version there";

/// Lets the steps look, and reports what they found.
pub(super) async fn check(
    prepared: Prepared,
    world: &World,
    masker: Masker,
    store: Arc<Overlay>,
    (run, actor): (RunId, &Actor),
    report: &mut Report<'_>,
) {
    let assembly = Assembly {
        run,
        target: world.target.facts().name,
        plan: prepared.plan,
        plugins: prepared.plugins,
        configs: prepared.configs,
        world: world.clone(),
        masker: Arc::new(masker),
        store,
        dry_run: true,
        rolled_back: None,
        resume_state: None,
    };
    if let Err(error) = assembly.store.create_run(&assembly.record(actor)) {
        return report.error("steps", &error.into());
    }
    let (events, mut happened) = mpsc::unbounded_channel();
    let shared = Arc::new(assembly.shared(events));
    let execution = assembly.execution(shared);
    let mut seen: Vec<Check> = Vec::new();
    let problems = execution
        .preview(|| tell(&mut happened, &mut seen, report))
        .await;
    for problem in problems {
        failure(problem, &seen, report);
    }
    if seen.is_empty() {
        report.pass("steps", "every step's check holds");
    }
}

/// Shows what happened since the last time.
fn tell(
    happened: &mut mpsc::UnboundedReceiver<RunEvent>,
    seen: &mut Vec<Check>,
    report: &mut Report<'_>,
) {
    while let Ok(event) = happened.try_recv() {
        let check = match event {
            RunEvent::Check {
                step,
                name,
                status,
                detail,
                ..
            } => named(step.to_string(), name, status, detail.unwrap_or_default()),
            RunEvent::Log {
                step: Some(step),
                level: Level::Warn | Level::Error,
                message,
            } => Check {
                step: Some(step.to_string()),
                name: "says".to_owned(),
                status: Status::Warned,
                detail: message,
                fix: None,
            },
            _ => continue,
        };
        // `check` and `run` may find the same; a check may be logged too.
        let known = seen.iter().any(|earlier| {
            let same = earlier.step == check.step;
            let logged = check.name == "says" && says_the_same(earlier, &check.detail);
            same && (*earlier == check || logged)
        });
        if !known {
            report.of_step(check.clone());
            seen.push(check);
        }
    }
}

fn says_the_same(earlier: &Check, message: &str) -> bool {
    let rest = message.strip_prefix(earlier.detail.as_str());
    rest.is_some_and(|rest| rest.trim_start_matches("; ") == earlier.fix.as_deref().unwrap_or(""))
}

fn named(step: String, name: String, status: CheckStatus, detail: String) -> Check {
    let (status, detail) = match (status, detail.strip_prefix(WARNING)) {
        (CheckStatus::Passed, Some(rest)) => (Status::Warned, rest.to_owned()),
        (CheckStatus::Passed, None) => (Status::Passed, detail),
        (CheckStatus::Failed, _) => (Status::Failed, detail),
        (CheckStatus::Skipped, _) => (Status::Skipped, detail),
    };
    let (detail, fix) = match detail.rsplit_once(FIX) {
        Some((detail, fix)) => (detail.to_owned(), Some(fix.to_owned())),
        None if status == Status::Failed => (detail, Some(LOOK.to_owned())),
        None => (detail, None),
    };
    Check {
        step: Some(step),
        name,
        status,
        detail,
        fix,
    }
}

/// A step that failed without a named check that says why.
fn failure(problem: StepProblem, seen: &[Check], report: &mut Report<'_>) {
    let step = Some(problem.step.to_string());
    let told = |check: &Check| check.step == step && check.status == Status::Failed;
    if seen.iter().any(told) {
        return;
    }
    let error = problem.failure.error;
    let (detail, fix) = crate::checks::split_fix(&error.message);
    report.of_step(Check {
        step,
        name: error.code.clone(),
        status: Status::Failed,
        detail: detail.to_owned(),
        fix: Some(fix.to_owned()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: CheckStatus, detail: &str) -> Check {
        named("s".into(), "n".into(), status, detail.to_owned())
    }

    #[test]
    fn a_detail_is_taken_apart_into_warning_and_fix() {
        let odd = of(CheckStatus::Passed, "warning: a; b; fix: c");
        assert_eq!(odd.status, Status::Warned);
        assert_eq!(
            (odd.detail.as_str(), odd.fix.as_deref()),
            ("a; b", Some("c"))
        );
        let bad = of(CheckStatus::Failed, "expected 1, found 2");
        assert_eq!(
            (bad.status, bad.fix.as_deref()),
            (Status::Failed, Some(LOOK))
        );
        assert_eq!(of(CheckStatus::Skipped, "x").status, Status::Skipped);
    }

    #[test]
    fn a_log_line_that_repeats_a_check_is_left_out() {
        let odd = of(CheckStatus::Passed, "warning: a; fix: b");
        assert!(says_the_same(&odd, "a; b"));
        assert!(!says_the_same(&odd, "a; c"));
    }
}
