//! Scripted runs for the tests of all reporters.

use crate::{Reporter, RunModel};
use serde_json::json;
use vdeploy_core::capability::ssh::Stream;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::Outcome;
use vdeploy_core::event::RunEvent;
use vdeploy_core::event::{CheckStatus, Level, Phase, Section, StepFailure};

pub(super) fn model(events: &[RunEvent]) -> RunModel {
    let mut model = RunModel::default();
    events.iter().for_each(|event| model.apply(event));
    model
}

/// As the bus calls a reporter.
pub(super) trait Show: Reporter {
    fn show(&mut self, events: &[RunEvent]) {
        self.show_with(&mut RunModel::default(), events);
    }

    fn show_with(&mut self, model: &mut RunModel, events: &[RunEvent]) {
        for event in events {
            model.apply(event);
            self.event(model, event);
        }
    }
}

impl<R: Reporter> Show for R {}

pub(super) const RUN: &str = "01K0RUN";

pub(super) fn run_started(steps: &[&str], dry_run: bool) -> RunEvent {
    RunEvent::RunStarted {
        run: RUN.into(),
        plan: "default".into(),
        target: "infra".into(),
        vm: Some("vm-1".into()),
        steps: steps.iter().map(|step| (*step).into()).collect(),
        dry_run,
    }
}

pub(super) fn started(step: &str, section: Section, phase: Phase) -> RunEvent {
    RunEvent::StepStarted {
        step: step.into(),
        section,
        phase,
        attempt: 1,
    }
}

pub(super) fn done(step: &str, section: Section, phase: Phase, summary: Option<&str>) -> RunEvent {
    RunEvent::StepFinished {
        step: step.into(),
        section,
        phase,
        summary: summary.map(str::to_owned),
        output: summary.map(|text| json!({ "summary": text })),
        duration_ms: 1_250,
    }
}

pub(super) fn failed(step: &str, section: Section, phase: Phase, retry: Option<u64>) -> RunEvent {
    let mut error = EffectError::new(ErrorKind::Failed, "smoke.checks", "1 of 2 checks failed");
    error.maybe_applied = retry.is_some();
    RunEvent::StepFailed {
        step: step.into(),
        section,
        phase,
        failure: StepFailure {
            error,
            context: vec!["last call: http GET /board".to_owned()],
        },
        retry_in_ms: retry,
        duration_ms: 2_000,
    }
}

pub(super) fn call(step: &str, call: u64, action: &str) -> RunEvent {
    RunEvent::CallStarted {
        step: step.into(),
        call,
        action: action.to_owned(),
        change: true,
    }
}

pub(super) fn called(step: &str, call: u64, ok: bool, not_made: bool) -> RunEvent {
    RunEvent::CallFinished {
        step: step.into(),
        call,
        ok,
        not_made,
        command_ok: None,
        duration_ms: 40,
    }
}

pub(super) fn output(step: &str, line: &str) -> RunEvent {
    RunEvent::Output {
        step: step.into(),
        stream: Stream::Stdout,
        line: line.to_owned(),
    }
}

pub(super) fn check(step: &str, name: &str, status: CheckStatus, detail: Option<&str>) -> RunEvent {
    RunEvent::Check {
        step: step.into(),
        name: name.to_owned(),
        status,
        duration_ms: 35,
        detail: detail.map(str::to_owned),
    }
}

pub(super) fn log(step: Option<&str>, level: Level, message: &str) -> RunEvent {
    RunEvent::Log {
        step: step.map(Into::into),
        level,
        message: message.to_owned(),
    }
}

pub(super) fn finished(outcome: Outcome, exit_code: u8, message: &str, next: &[&str]) -> RunEvent {
    RunEvent::RunFinished {
        run: RUN.into(),
        outcome,
        unchanged: false,
        target_changed: false,
        blocking_run: None,
        exit_code,
        message: message.to_owned(),
        next: next.iter().map(|&text| text.to_owned()).collect(),
        url: Some("https://vm-1.example".to_owned()),
        duration_ms: 65_000,
    }
}

/// Everything goes well.
pub(super) fn success() -> Vec<RunEvent> {
    use Phase::{Check, Run};
    use Section::Steps;
    vec![
        run_started(&["git-pull", "smoke"], false),
        RunEvent::Doing {
            text: "connecting to vm-1".to_owned(),
        },
        started("git-pull", Steps, Check),
        done("git-pull", Steps, Check, None),
        started("smoke", Steps, Check),
        done("smoke", Steps, Check, None),
        RunEvent::SnapshotTaken {
            snapshot: "c-1".into(),
            provider: None,
            before_changes: true,
        },
        started("git-pull", Steps, Run),
        call("git-pull", 1, "ssh git fetch origin"),
        output("git-pull", "From example.org:\x1b[1mapp\x1b[0m"),
        called("git-pull", 1, true, false),
        log(Some("git-pull"), Level::Debug, "nothing to clean"),
        log(
            Some("git-pull"),
            Level::Warn,
            "2 files were changed by hand",
        ),
        done("git-pull", Steps, Run, Some("abc123 to def456")),
        started("smoke", Steps, Run),
        check("smoke", "health", CheckStatus::Passed, None),
        check(
            "smoke",
            "outside",
            CheckStatus::Skipped,
            Some("no url is set"),
        ),
        done("smoke", Steps, Run, None),
        finished(Outcome::Deployed, 0, "", &["vdeploy rollback 01K0RUN"]),
    ]
}

/// A check fails twice, the old version comes back.
pub(super) fn rolled_back() -> Vec<RunEvent> {
    use Phase::{Run, Undo};
    use Section::{Rollback, Steps};
    vec![
        run_started(&["git-pull", "smoke", "announce"], false),
        started("git-pull", Steps, Run),
        call("git-pull", 1, "ssh git fetch origin"),
        output("git-pull", "fetched"),
        called("git-pull", 1, true, false),
        done("git-pull", Steps, Run, None),
        started("smoke", Steps, Run),
        check("smoke", "health", CheckStatus::Passed, None),
        check(
            "smoke",
            "auth",
            CheckStatus::Failed,
            Some("expected 401, found 500"),
        ),
        failed("smoke", Steps, Run, Some(2_000)),
        started("smoke", Steps, Run),
        check("smoke", "health", CheckStatus::Passed, None),
        check(
            "smoke",
            "auth",
            CheckStatus::Failed,
            Some("expected 401, found 200"),
        ),
        failed("smoke", Steps, Run, None),
        RunEvent::RollbackStarted {
            cause: Some("smoke".into()),
            undoes: None,
        },
        started("git-pull", Steps, Undo),
        done("git-pull", Steps, Undo, None),
        started("verify", Rollback, Run),
        RunEvent::TargetMoved {
            from: Some("vm-1".into()),
            to: "vm-2".into(),
        },
        check("verify", "health", CheckStatus::Passed, None),
        done("verify", Rollback, Run, None),
        finished(
            Outcome::RolledBack,
            11,
            "",
            &["vdeploy runs show 01K0RUN", "vdeploy run --plan default"],
        ),
    ]
}

/// Nothing had to be done.
pub(super) fn unchanged() -> Vec<RunEvent> {
    let mut end = finished(Outcome::Deployed, 0, "infra runs def456 already", &[]);
    if let RunEvent::RunFinished { unchanged, .. } = &mut end {
        *unchanged = true;
    }
    vec![
        run_started(&["git-pull"], false),
        started("git-pull", Section::Steps, Phase::Run),
        done(
            "git-pull",
            Section::Steps,
            Phase::Run,
            Some("def456 stands"),
        ),
        end,
    ]
}
