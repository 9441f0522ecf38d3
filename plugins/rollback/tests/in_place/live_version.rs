//! A rollback restores the live version, even if checkout or build had another
//! commit.

use std::fs;

use serde_json::json;
use vdeploy_plugin::testing::{self};
use vdeploy_preflight::Preflight;
use vdeploy_restart::Restart;
use vdeploy_rollback::Rollback;
use vdeploy_service::outputs::Baseline;
use vdeploy_service::testing::TOKEN;

use crate::deployment::*;

/// Version 1 is live, and a deploy of version 2 was interrupted after its build.
fn cut_off_after_the_build() -> (Deployment, String, String) {
    let (deployment, old) = version_1();
    let new = deployment.push("// version 2");
    deployment.deploy_without_restart("RUN2");
    assert_eq!(deployment.live(), "// version 2");
    (deployment, old, new)
}

#[test]
fn the_version_that_serves_comes_back_and_not_what_a_cut_off_run_left() {
    let (deployment, old, left) = cut_off_after_the_build();
    deployment.push("process.env.BROKEN = '/feed/events'; // version 3");
    let (outputs, error) = deployment.deploy("RUN3");
    assert_eq!(error, None);
    let before: Baseline = serde_json::from_value(outputs["preflight"].clone()).unwrap();
    assert_eq!((&before.sha, &before.head), (&old, &left));
    deployment.undo("RUN3", &outputs);
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 2", left)
    );
    let host = deployment.rollback_host("RUN3", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (deployment.live().as_str(), deployment.head()),
        ("// version 1", (old.clone(), "main".into()))
    );
    assert_eq!(back.sha, old);
    let short = &old[..7];
    assert!(
        back.summary.contains(&format!("{short} is live again")),
        "{}",
        back.summary
    );
    let said = host.warnings().join("\n");
    assert!(said.contains(&format!("{short} was live")), "{said}");
    assert!(said.contains(&format!("{short} is built again")), "{said}");
    deployment.smoke("RUN3", &outputs, &back).unwrap();
    let again = deployment.roll_back("RUN4", &outputs);
    assert!(again.untouched, "{}", again.summary);
}

#[test]
fn the_version_that_serves_comes_back_also_when_no_run_has_started_it() {
    let (deployment, old) = version_1();
    // As a restored VM or systemd starts it.
    deployment.stage.end(&deployment.service());
    deployment.stage.serve(&[]).unwrap();
    deployment.push("// version 2");
    deployment.deploy_without_restart("RUN2");
    deployment.push("// version 3");
    let (outputs, error) = deployment.deploy("RUN3");
    assert_eq!(error, None);
    deployment.undo("RUN3", &outputs);
    let back = deployment.roll_back("RUN3", &outputs);
    assert_eq!(back.sha, old);
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 1", old)
    );
}

#[test]
fn a_rollback_that_is_asked_for_wants_the_token_of_the_service() {
    let (deployment, _) = version_1();
    deployment.push("// version 2");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    let asked_for = |token: &str| {
        let mut host = deployment.stage.host().manifest(ROLLBACK).run_id("RUN3");
        for (step, output) in &outputs {
            host = host.rolled_back_output(step, output.clone());
        }
        host.secret("auth-token", token)
    };
    testing::check::<Rollback>(&asked_for(TOKEN)).unwrap();
    let other = asked_for("another");
    let error = testing::check::<Rollback>(&other).unwrap_err();
    assert_eq!(error.code, "rollback.other-token");
    assert!(
        error.message.contains("--set rollback.new-token=true"),
        "{error}"
    );
    testing::check::<Rollback>(&other.config(json!({"new-token": true}))).unwrap();
    // The rollback of a failed run is not refused.
    let failing = deployment
        .rollback_host("RUN2", &outputs)
        .secret("auth-token", "another");
    testing::check::<Rollback>(&failing).unwrap();
}

#[test]
fn the_old_version_with_another_token_is_not_live_already() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    let (outputs, _) = deployment.deploy("RUN2");
    let with = |token: &str, run: &str| {
        let host = deployment
            .rollback_host(run, &outputs)
            .secret("auth-token", token);
        testing::run::<Rollback>(&host).unwrap()
    };
    let wrong = with("another", "RUN3");
    let right = with(TOKEN, "RUN4");
    assert!(!right.untouched, "{}", right.summary);
    let (wrong, right) = (wrong.service.unwrap(), right.service.unwrap());
    assert!(!deployment.stage.runs(&wrong) && deployment.stage.runs(&right));
    let environment = fs::read_to_string(format!("/proc/{}/environ", right.pid)).unwrap();
    assert!(environment.contains(&format!("VERS_AUTH_TOKEN={TOKEN}")));
    assert_eq!(deployment.head().0, old);
}

#[test]
fn around_a_process_that_was_never_stopped_the_checkout_is_as_it_was() {
    let (deployment, old, left) = cut_off_after_the_build();
    deployment.push("// version 3");
    let outputs = deployment.deploy_without_restart("RUN3");
    let back = deployment.roll_back("RUN3", &outputs);
    assert!(back.untouched, "{}", back.summary);
    assert_eq!(back.sha, old);
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 2", left)
    );
}

#[test]
fn what_was_pulled_by_hand_is_not_what_served() {
    let (deployment, old) = version_1();
    let pulled = deployment.push("// version 2");
    git(&deployment.stage.path("app"), &["pull", "-q"]);
    deployment.push("// version 3");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    deployment.undo("RUN2", &outputs);
    assert_eq!(deployment.head().0, pulled);
    let host = deployment.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 1", old.clone())
    );
    assert_eq!(back.sha, old);
    // Its build is kept.
    assert!(!host.changes().iter().any(|line| line.contains("npm")));
}

#[test]
fn what_was_built_and_started_by_hand_comes_back() {
    let (deployment, _) = version_1();
    let by_hand = deployment.push("// version 2");
    let app = deployment.stage.path("app");
    git(&app, &["pull", "-q"]);
    fs::copy(app.join("src/server.js"), app.join("dist/server.js")).unwrap();
    deployment.stage.end(&deployment.service());
    deployment.stage.serve(&[]).unwrap();
    deployment.push("// version 3");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    assert_eq!(deployment.live(), "// version 3");
    deployment.undo("RUN2", &outputs);
    let host = deployment.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 2", by_hand.clone())
    );
    assert_eq!(back.sha, by_hand);
    assert!(!host.changes().iter().any(|line| line.contains("npm")));
}

#[test]
fn a_restart_without_a_pull_is_of_what_is_built() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    git(&deployment.stage.path("app"), &["pull", "-q"]);
    let mut outputs = Outputs::new();
    let preflight = deployment.step::<Preflight>("RUN2", PREFLIGHT, deployment.place(), &outputs);
    outputs.insert("preflight", preflight.unwrap());
    let config = json!({"ready-timeout": 20});
    let restart = deployment
        .step::<Restart>("RUN2", RESTART, config, &outputs)
        .unwrap();
    assert_eq!(restart["sha"], old.as_str());
    assert_eq!(deployment.stage.marker().unwrap().sha, old);
}
