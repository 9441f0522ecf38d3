//! The step against real services of this machine, each with one fault.

use serde_json::{Value, json};
use vdeploy_plugin::CheckStatus;
use vdeploy_plugin::testing::{self, CheckReport, FakeHost, FakeResponse};
use vdeploy_service::outputs::Counts;
use vdeploy_service::testing::Stage;

use super::*;

const MANIFEST: &str = include_str!("../plugin.toml");

fn host(stage: &Stage) -> FakeHost {
    with(stage, FakeHost::new(), json!({}))
}

fn with(stage: &Stage, host: FakeHost, mut config: Value) -> FakeHost {
    config["port"] = json!(stage.port());
    config["log"] = json!(stage.log());
    for (key, value) in [("stable-seconds", json!(0)), ("outside-timeout", json!(0))] {
        if config.get(key).is_none() {
            config[key] = value;
        }
    }
    stage.behind(host).manifest(MANIFEST).config(config)
}

fn failed(host: &FakeHost) -> Vec<CheckReport> {
    let failed = host
        .checks()
        .into_iter()
        .filter(|check| check.status == CheckStatus::Failed);
    failed.collect()
}

/// Runs the step and returns its only failed check with the error.
fn only_failure(host: &FakeHost) -> (String, String, String) {
    let error = testing::run::<Smoke>(host).unwrap_err();
    assert_eq!(error.code, "smoke.failed", "{error}");
    let failed = failed(host);
    assert_eq!(failed.len(), 1, "{failed:#?}");
    let detail = failed[0].detail.clone().unwrap();
    assert!(
        error
            .message
            .starts_with(&format!("{}: {detail}", failed[0].name)),
        "{error}"
    );
    (failed[0].name.clone(), detail, error.message)
}

fn before(stage: &Stage, service: &Listener, counts: &[(&str, u64)]) -> Value {
    let counts = counts
        .iter()
        .map(|&(store, n)| (store.to_owned(), n))
        .collect();
    serde_json::to_value(Baseline {
        port: stage.port(),
        log: stage.log(),
        service: Some(service.clone()),
        counts: Counts(counts),
        ..Baseline::default()
    })
    .unwrap()
}

fn restarted(service: &Listener) -> Value {
    serde_json::to_value(Restarted {
        service: service.clone(),
        ..Restarted::default()
    })
    .unwrap()
}

#[test]
fn a_good_service_passes_every_check_in_a_plan_of_its_own() {
    let stage = Stage::new().unwrap();
    let service = stage.serve(&[]).unwrap();
    let host = host(&stage);
    let output = testing::run::<Smoke>(&host).unwrap();
    assert!(output.service.unwrap().is_same_process(&service));
    let names: Vec<String> = host.checks().into_iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "health from inside",
            "health from inside over IPv6",
            "no open-server warning in the log",
            "process",
            "working directory",
            "health from outside",
            "GET /board/tasks with the token",
            "GET /board/tasks without a token",
            "GET /board/tasks with a wrong token",
            "GET /feed/events with the token",
            "GET /feed/events without a token",
            "GET /feed/events with a wrong token",
            "GET /registry/vms with the token",
            "GET /registry/vms without a token",
            "GET /registry/vms with a wrong token",
            "GET /commits with the token",
            "GET /commits without a token",
            "GET /commits with a wrong token",
            "data did not shrink",
            "stays up for 0 s",
        ]
    );
    assert_eq!(host.changes(), Vec::<String>::new());
    assert_eq!(output.skipped, 20 - output.passed);
}

#[test]
fn a_server_that_lets_everybody_in_fails_for_every_endpoint() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("OPEN", "1")]).unwrap();
    let host = host(&stage);
    let error = testing::run::<Smoke>(&host).unwrap_err();
    assert_eq!(failed(&host).len(), 8);
    assert!(error.message.contains("open to everybody"), "{error}");
    assert!(
        error
            .message
            .contains("; 7 more failed: GET /board/tasks with a wrong token"),
        "{error}"
    );
    assert!(
        error.message.contains("vers-agent-services running on"),
        "{error}"
    );
}

#[test]
fn a_warning_in_the_log_is_seen() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("VERS_AUTH_TOKEN", "")]).unwrap();
    let host = host(&stage);
    testing::run::<Smoke>(&host).unwrap_err();
    assert_eq!(failed(&host)[0].name, "no open-server warning in the log");
}

#[test]
fn a_401_with_the_right_token_is_a_failure() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("VERS_AUTH_TOKEN", "another")]).unwrap();
    let host = host(&stage);
    testing::run::<Smoke>(&host).unwrap_err();
    let failed = failed(&host);
    assert_eq!(failed.len(), 4);
    assert!(
        failed[0]
            .detail
            .as_ref()
            .unwrap()
            .contains("rejects the token"),
        "{failed:#?}"
    );
}

#[test]
fn a_broken_or_changed_endpoint_is_named() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("BROKEN", "/feed/events")]).unwrap();
    let (name, detail, _) = only_failure(&host(&stage));
    assert_eq!(name, "GET /feed/events with the token");
    assert_eq!(detail, "expected 200, found 500: Internal Server Error");

    let stage = Stage::new().unwrap();
    stage.serve(&[("SHAPELESS", "/board/tasks")]).unwrap();
    let (name, detail, _) = only_failure(&host(&stage));
    assert_eq!(name, "GET /board/tasks with the token");
    assert!(
        detail.contains("the body has no key `tasks`, only: items"),
        "{detail}"
    );
}

#[test]
fn the_old_process_must_not_answer_for_the_new_one() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let new = Listener {
        pid: 1,
        start_ticks: 1,
        argv: vec!["node".into()],
        ..Listener::default()
    };
    let host = host(&stage).output("restart", restarted(&new));
    let (name, detail, _) = only_failure(&host);
    assert_eq!(name, "process");
    assert!(
        detail.contains("expected pid 1 (node) on the port, found pid"),
        "{detail}"
    );

    // A third-party plugin restarts: then at least the old process must be gone.
    let host = with(&stage, FakeHost::new(), json!({}))
        .output("preflight", before(&stage, &old, &[]))
        .output("git-pull", json!({}));
    let (_, detail, _) = only_failure(&host);
    assert!(
        detail.contains("the old one") && detail.contains("was not restarted"),
        "{detail}"
    );
}

#[test]
fn after_a_rollback_the_process_that_it_named_counts() {
    let stage = Stage::new().unwrap();
    let service = stage.serve(&[]).unwrap();
    let gone = Listener {
        pid: 1,
        ..Listener::default()
    };
    let back = RolledBack {
        service: Some(service),
        log: stage.log(),
        ..RolledBack::default()
    };
    let host = host(&stage)
        .output("restart", restarted(&gone))
        .output("rollback", serde_json::to_value(back).unwrap());
    testing::run::<Smoke>(&host).unwrap();
}

#[test]
fn a_dry_run_of_a_first_deploy_has_nothing_to_test() {
    let before = vdeploy_service::outputs::Baseline::default();
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .dry_run(true)
        .output("preflight", serde_json::to_value(before).unwrap());
    let output = testing::run::<Smoke>(&host).unwrap();
    assert_eq!((output.passed, output.skipped), (0, 1));
    assert!(
        output
            .summary
            .contains("no service runs, and a dry run starts none")
    );
}

#[test]
fn a_dry_run_of_a_rollback_does_not_test_the_version_to_undo() {
    let stage = Stage::new().unwrap();
    let service = stage.serve(&[]).unwrap();
    let before = Listener {
        pid: 1,
        start_ticks: 5,
        ..Listener::default()
    };
    let dry = |back: RolledBack| {
        host(&stage)
            .dry_run(true)
            .rolled_back_output("preflight", self::before(&stage, &before, &[]))
            .output("rollback", serde_json::to_value(back).unwrap())
    };
    let output = testing::run::<Smoke>(&dry(RolledBack::default())).unwrap();
    assert_eq!((output.passed, output.skipped), (0, 1));
    assert!(
        output.summary.contains("does not start the old version"),
        "{}",
        output.summary
    );
    // The old version is live already: that one is tested.
    let live = RolledBack {
        service: Some(service.clone()),
        ..RolledBack::default()
    };
    let output = testing::run::<Smoke>(&dry(live)).unwrap();
    assert!(output.service.unwrap().is_same_process(&service));
}

#[test]
fn the_other_token_of_a_process_that_was_never_stopped_is_no_failed_rollback() {
    let stage = Stage::new().unwrap();
    let service = stage.serve(&[]).unwrap();
    let back = |untouched| {
        let back = RolledBack {
            service: Some(service.clone()),
            untouched,
            port: stage.port(),
            log: stage.log(),
            ..RolledBack::default()
        };
        host(&stage)
            .secret("auth-token", "another")
            .output("preflight", before(&stage, &service, &[("board", 0)]))
            .output("rollback", serde_json::to_value(back).unwrap())
    };
    let host = back(true);
    testing::run::<Smoke>(&host).unwrap();
    let skipped = host.checks().into_iter();
    let skipped = skipped.filter(|check| {
        let detail = check.detail.as_deref().unwrap_or_default();
        check.status == CheckStatus::Skipped && detail.contains("never stopped")
    });
    assert_eq!(skipped.count(), 5);
    // A started process must accept the token.
    let error = testing::run::<Smoke>(&back(false)).unwrap_err();
    assert!(error.message.contains("found 401"), "{error}");
}

#[test]
fn a_first_deploy_that_was_rolled_back_leaves_nothing_to_test() {
    let back = RolledBack {
        no_live_version: true,
        ..RolledBack::default()
    };
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .output("rollback", serde_json::to_value(back).unwrap());
    assert_eq!(testing::run::<Smoke>(&host).unwrap().skipped, 1);
    assert!(host.calls().is_empty());
}

#[test]
fn a_crash_within_the_window_is_seen_with_its_reason() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("CRASH_AFTER", "2500")]).unwrap();
    let host = with(&stage, FakeHost::new(), json!({"stable-seconds": 30}));
    let (name, detail, message) = only_failure(&host);
    assert_eq!(name, "stays up for 30 s");
    assert!(detail.contains("it crashed after its start"), "{detail}");
    assert!(message.contains("out of luck"), "{message}");
}

#[test]
fn data_must_not_shrink_unless_the_plan_allows_it() {
    let stage = Stage::new().unwrap();
    let service = stage.serve(&[]).unwrap();
    let counts = [("board", 3), ("feed", 0)];
    let output = before(&stage, &service, &counts);
    let feed = |host: FakeHost| {
        host.on_http(
            "GET",
            "/feed/stats",
            FakeResponse::json(200, &json!({"total": 0})),
        )
    };
    let strict = with(&stage, feed(FakeHost::new()), json!({})).output("preflight", output.clone());
    let (name, detail, _) = only_failure(&strict);
    assert_eq!(name, "data did not shrink");
    assert!(detail.contains("board 3 before and 0 now"), "{detail}");

    let lax = with(
        &stage,
        feed(FakeHost::new()),
        json!({"data-may-shrink": true}),
    );
    testing::run::<Smoke>(&lax.output("preflight", output)).unwrap();
}

#[test]
fn a_service_on_ipv4_only_is_named() {
    let stage = Stage::new().unwrap();
    stage.serve(&[("HOST", "0.0.0.0")]).unwrap();
    if !std::fs::read_to_string("/proc/net/if_inet6")
        .unwrap_or_default()
        .contains(" lo")
    {
        return;
    }
    let (name, detail, _) = only_failure(&host(&stage));
    assert_eq!(name, "health from inside over IPv6");
    assert!(
        detail.contains("listens on IPv4 only; let it listen on `::`"),
        "{detail}"
    );
    let host = with(&stage, FakeHost::new(), json!({"ipv6": false}));
    testing::run::<Smoke>(&host).unwrap();
}

#[test]
fn unreachable_from_outside_says_that_inside_answers() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let refused = || {
        Error::new(
            vdeploy_plugin::ErrorKind::Unavailable,
            "http.connect",
            "refused",
        )
    };
    let outside = FakeHost::new().http(move |_| Err::<FakeResponse, _>(refused()));
    let host = with(&stage, outside, json!({}));
    let error = testing::run::<Smoke>(&host).unwrap_err();
    assert!(
        error
            .message
            .starts_with("health from outside: expected an answer from"),
        "{error}"
    );
    assert!(
        error.message.contains("refused; inside it answers"),
        "{error}"
    );
}

#[test]
fn nobody_listening_fails_every_check_but_still_reports_them() {
    let stage = Stage::new().unwrap();
    let host = host(&stage);
    let error = testing::run::<Smoke>(&host).unwrap_err();
    assert_eq!(host.checks().len(), 20);
    assert!(
        error
            .message
            .starts_with("health from inside: expected 200 from 127.0.0.1:"),
        "{error}"
    );
    assert!(error.message.contains("found no answer"), "{error}");
}

#[test]
fn a_service_in_the_wrong_directory_is_named() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let relative = with(&stage, FakeHost::new(), json!({"app-dir": "app"}));
    testing::run::<Smoke>(&relative).unwrap();
    let elsewhere = with(
        &stage,
        FakeHost::new(),
        json!({"app-dir": "/root/workspace/app"}),
    );
    let (name, detail, _) = only_failure(&elsewhere);
    assert_eq!(name, "working directory");
    assert!(
        detail.ends_with(&format!(
            "found {}: it would use another `data`",
            stage.app()
        )),
        "{detail}"
    );
}

#[test]
fn check_refuses_what_cannot_work() {
    let bad = FakeHost::new()
        .manifest(MANIFEST)
        .secret("auth-token", "x")
        .config(json!({"endpoints": [{"path": "/x", "expect": "{"}]}));
    let error = testing::check::<Smoke>(&bad).unwrap_err();
    assert!(error.message.starts_with("the endpoint `/x`:"), "{error}");
    let nowhere = FakeHost::new()
        .manifest(MANIFEST)
        .secret("auth-token", "x")
        .target_url(None);
    assert_eq!(
        testing::check::<Smoke>(&nowhere).unwrap_err().code,
        "target.no-url"
    );
}
