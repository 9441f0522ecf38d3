//! The step against real processes of this machine.

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, Call, FakeHost};
use vdeploy_service::testing::{Stage, TOKEN};

use vdeploy_service::outputs::BuildMarker;

use super::*;

const MANIFEST: &str = include_str!("../plugin.toml");
const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";

fn baseline_of(stage: &Stage, service: Option<&Listener>) -> Baseline {
    Baseline {
        app_dir: stage.app(),
        port: stage.port(),
        log: stage.log(),
        sha: OLD.to_owned(),
        service: service.cloned(),
        ..Baseline::default()
    }
}

fn host(stage: &Stage, before: &Baseline, config: Value) -> FakeHost {
    let pulled = Pulled {
        old_sha: OLD.to_owned(),
        new_sha: NEW.to_owned(),
        ..Pulled::default()
    };
    stage
        .host()
        .manifest(MANIFEST)
        .config(config)
        .output("preflight", serde_json::to_value(before).unwrap())
        .output("git-pull", serde_json::to_value(pulled).unwrap())
}

fn run(stage: &Stage, before: &Baseline, config: Value) -> Result<Restarted, Error> {
    testing::run::<Restart>(&host(stage, before, config))
}

fn undo(stage: &Stage, before: &Baseline, output: Option<&Restarted>) -> Result<(), Error> {
    let output = output.map(|output| serde_json::to_value(output).unwrap());
    testing::undo::<Restart>(&host(stage, before, json!({})), output)
}

#[test]
fn the_old_process_makes_room_for_the_new_one_and_undo_stops_only_that() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let before = baseline_of(&stage, Some(&old));
    let host = host(&stage, &before, json!({}));
    let output = testing::run::<Restart>(&host).unwrap();
    assert!(!stage.runs(&old) && stage.runs(&output.service) && stage.answers());
    assert_eq!(output.old.as_ref().map(|old| old.pid), Some(old.pid));
    assert_eq!(output.service.cwd, stage.app());
    assert_eq!(
        output.summary,
        format!(
            "pid {} serves port {} in place of pid {}",
            output.service.pid,
            stage.port(),
            old.pid
        )
    );
    let marker = stage.marker().unwrap();
    assert!(marker.is_about(&output.service) && marker.sha == NEW);

    // The token is only in the environment of the start.
    for command in host.commands() {
        assert!(!command.line().contains(TOKEN) && !command.stdin_text().contains(TOKEN));
        let with_token = !command.secret_env.is_empty();
        assert_eq!(
            with_token,
            command.script() == Some("start"),
            "{}",
            command.line()
        );
    }

    undo(&stage, &before, Some(&output)).unwrap();
    assert!(!stage.answers());
    undo(&stage, &before, Some(&output)).unwrap();
}

#[test]
fn our_writes_have_settled_before_term() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let host = host(&stage, &baseline_of(&stage, Some(&old)), json!({}));
    testing::run::<Restart>(&host).unwrap();
    let commands = host.commands();
    let at = |name: &str| {
        commands
            .iter()
            .find(|c| c.script() == Some(name))
            .unwrap()
            .now_ms
    };
    assert!(at("stop") >= at("listener") + 200);
}

#[test]
fn a_foreign_process_is_named_and_left_alone() {
    let stage = Stage::new().unwrap();
    let foreign = stage.serve(&[]).unwrap();
    let known = Listener {
        pid: 1,
        start_ticks: 5,
        argv: vec!["node".into()],
        ..Listener::default()
    };
    for (service, said) in [
        (None, "nobody listened at preflight"),
        (Some(&known), "the service is pid 1 (node)"),
    ] {
        let host = host(&stage, &baseline_of(&stage, service), json!({}));
        let error = testing::run::<Restart>(&host).unwrap_err();
        assert_eq!(error.code, "restart.foreign-process");
        assert!(
            error.message.contains(&foreign.describe()) && error.message.contains(said),
            "{error}"
        );
        assert_eq!(host.changes(), Vec::<String>::new());
    }
    assert!(stage.runs(&foreign));
}

#[test]
fn a_foreign_process_is_ended_when_preflight_named_it_and_was_allowed_to() {
    let stage = Stage::new().unwrap();
    let foreign = stage.serve_in("elsewhere", &[]).unwrap();
    let before = Baseline {
        foreign: Some(foreign.clone()),
        ..baseline_of(&stage, None)
    };
    let host = host(&stage, &before, json!({}));
    let output = testing::run::<Restart>(&host).unwrap();
    assert!(!stage.runs(&foreign) && stage.runs(&output.service));
    assert!(
        host.warnings()[0].contains(&format!("pid {}", foreign.pid))
            && host.warnings()[0].contains("/elsewhere"),
        "{:?}",
        host.warnings()
    );
    // A later process is not the named one.
    stage.end(&output.service);
    let later = stage.serve_in("elsewhere", &[]).unwrap();
    let error = run(&stage, &before, json!({})).unwrap_err();
    assert_eq!(error.code, "restart.foreign-process");
    assert!(stage.runs(&later));
}

#[test]
fn modules_for_another_node_are_named_before_the_service_is_stopped() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let before = Baseline {
        node: "v22.1.0".to_owned(),
        built: Some(BuildMarker {
            node: "v20.20.2".to_owned(),
            ..BuildMarker::default()
        }),
        ..baseline_of(&stage, Some(&old))
    };
    let error = run(&stage, &before, json!({})).unwrap_err();
    assert_eq!(error.code, "restart.other-node");
    assert!(
        error.message.contains("v20.20.2") && error.message.contains("v22.1.0"),
        "{error}"
    );
    assert!(stage.runs(&old));
    // A build in this run installed them again.
    let host = host(&stage, &before, json!({})).output("npm-build", json!({"node": "v22.1.0"}));
    testing::run::<Restart>(&host).unwrap();
}

#[test]
fn a_reused_pid_is_foreign() {
    let stage = Stage::new().unwrap();
    let now = stage.serve(&[]).unwrap();
    let then = Listener {
        start_ticks: now.start_ticks - 1,
        ..now.clone()
    };
    let error = run(&stage, &baseline_of(&stage, Some(&then)), json!({})).unwrap_err();
    assert_eq!(error.code, "restart.foreign-process");
    assert!(stage.runs(&now));
}

#[test]
fn a_process_that_ignores_term_is_killed_with_a_warning() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[("STUBBORN", "1")]).unwrap();
    let host = host(
        &stage,
        &baseline_of(&stage, Some(&old)),
        json!({"stop-timeout": 1}),
    );
    testing::run::<Restart>(&host).unwrap();
    assert!(!stage.runs(&old) && stage.answers());
    assert!(host.warnings()[0].contains("did not end within 1 s of TERM and was killed"));
}

#[test]
fn a_second_try_keeps_the_process_of_the_first() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let before = baseline_of(&stage, Some(&old));
    let first = run(&stage, &before, json!({})).unwrap();
    let again = run(&stage, &before, json!({})).unwrap();
    assert!(again.service.is_same_process(&first.service));
    assert_eq!(again.old.map(|old| old.pid), Some(old.pid));
}

#[test]
fn an_unchanged_service_is_not_touched() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let before = Baseline {
        unchanged: true,
        ..baseline_of(&stage, Some(&old))
    };
    let host = host(&stage, &before, json!({}));
    let output = testing::run::<Restart>(&host).unwrap();
    assert!(output.skipped && output.service.is_same_process(&old));
    assert_eq!(host.calls(), Vec::<Call>::new());
    undo(&stage, &before, Some(&output)).unwrap();
    assert!(stage.runs(&old));
}

#[test]
fn a_server_without_a_token_is_not_left_running() {
    let stage = Stage::new().unwrap();
    let config = json!({"start": "FORGET_TOKEN=1 node dist/server.js"});
    let error = run(&stage, &baseline_of(&stage, None), config).unwrap_err();
    assert_eq!(error.code, "restart.open-server");
    assert!(!stage.answers());
}

#[test]
fn a_crash_is_reported_with_the_log_and_undo_has_nothing_to_stop() {
    let stage = Stage::new().unwrap();
    let before = baseline_of(&stage, None);
    let config = json!({"start": "CRASH=1 node dist/server.js"});
    let error = run(&stage, &before, config).unwrap_err();
    assert_eq!(error.code, "restart.died");
    assert!(
        error.message.contains("exit code 3") && error.message.contains("no such table"),
        "{error}"
    );
    undo(&stage, &before, None).unwrap();
}

#[test]
fn undo_without_an_output_stops_what_this_run_started_and_nothing_else() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let before = baseline_of(&stage, Some(&old));
    undo(&stage, &before, None).unwrap();
    assert!(stage.runs(&old));
    let new = run(&stage, &before, json!({})).unwrap();
    undo(&stage, &before, None).unwrap();
    assert!(!stage.runs(&new.service));
}

#[test]
fn a_dry_run_stops_and_starts_nothing() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let host = host(&stage, &baseline_of(&stage, Some(&old)), json!({})).dry_run(true);
    let output = testing::run::<Restart>(&host).unwrap();
    assert_eq!(output.summary, "would start node dist/server.js");
    assert!(stage.runs(&old));
}

#[test]
fn a_service_with_another_token_is_not_stopped_unless_preflight_was_told_so() {
    let stage = Stage::new().unwrap();
    let old = stage.serve(&[]).unwrap();
    let mut before = baseline_of(&stage, Some(&old));
    let host = |before: &Baseline| host(&stage, before, json!({})).secret("auth-token", "another");
    let refused = host(&before);
    let error = testing::run::<Restart>(&refused).unwrap_err();
    assert_eq!(error.code, "restart.other-token");
    assert!(error.message.contains("it has another token"), "{error}");
    assert_eq!(refused.changes(), Vec::<String>::new());
    assert!(stage.runs(&old));
    before.new_token = true;
    testing::run::<Restart>(&host(&before)).unwrap();
    assert!(!stage.runs(&old));
}

#[test]
fn check_wants_the_token_and_run_wants_preflight() {
    let host = FakeHost::new().manifest(MANIFEST);
    assert_eq!(
        testing::check::<Restart>(&host).unwrap_err().code,
        "secret.missing"
    );
    let host = host.secret("auth-token", TOKEN);
    assert_eq!(testing::check::<Restart>(&host), Ok(()));
    assert_eq!(
        testing::run::<Restart>(&host).unwrap_err().code,
        "restart.no-baseline"
    );
}

#[test]
fn undo_stops_a_process_of_this_run_that_does_not_listen() {
    let stage = Stage::new().unwrap();
    let new = run(&stage, &baseline_of(&stage, None), json!({})).unwrap();
    let other_port = Baseline {
        port: std::net::TcpListener::bind("[::]:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port(),
        ..baseline_of(&stage, None)
    };
    undo(&stage, &other_port, None).unwrap();
    assert!(!stage.runs(&new.service));
}
