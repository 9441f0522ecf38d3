//! Rollbacks in place after deploys of a real checkout, with a real build and a
//! real process, by the steps of the default plan.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod deployment;
mod live_version;

use std::fs;

use serde_json::json;
use vdeploy_plugin::testing::{self};
use vdeploy_rollback::Rollback;
use vdeploy_service::outputs::Baseline;
use vdeploy_service::testing::TOKEN;

use deployment::*;

#[test]
fn after_the_undos_the_old_version_is_started_again_with_its_token() {
    let (deployment, old) = version_1();
    deployment.push("process.env.BROKEN = '/feed/events'; // version 2");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    deployment.undo("RUN2", &outputs);
    assert!(!deployment.stage.answers());
    let host = deployment.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (deployment.live().as_str(), deployment.head()),
        ("// version 1", (old.clone(), "main".into()))
    );
    let service = back.service.clone().unwrap();
    assert!(deployment.stage.runs(&service) && !service.is_same_process(&new));
    assert_eq!(back.sha, old);
    let environment = fs::read_to_string(format!("/proc/{}/environ", service.pid)).unwrap();
    assert!(environment.contains(&format!("VERS_AUTH_TOKEN={TOKEN}")));
    assert!(
        !host.changes().iter().any(|line| line.contains("npm")),
        "{:?}",
        host.changes()
    );
    deployment.smoke("RUN2", &outputs, &back).unwrap();

    let again = deployment.roll_back("RUN2", &outputs);
    assert!(again.service.unwrap().is_same_process(&service));
}

#[test]
fn a_rollback_of_its_own_does_what_no_undo_has_done() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    assert_eq!(deployment.live(), "// version 2");
    let back = deployment.roll_back("RUN3", &outputs);
    assert_eq!(
        (deployment.live().as_str(), deployment.head()),
        ("// version 1", (old, "main".into()))
    );
    assert!(!deployment.stage.runs(&new) && deployment.stage.answers());
    deployment.smoke("RUN3", &outputs, &back).unwrap();
}

#[test]
fn a_process_that_was_never_stopped_is_left_alone() {
    let (deployment, old) = version_1();
    let (first, _) = deployment.deploy("RUN1B");
    let before: Baseline = serde_json::from_value(first["preflight"].clone()).unwrap();
    let running = before.service.unwrap();
    deployment.push("process.env.CRASH = '1'; // version 2");
    let mut outputs = deployment.deploy_without_restart("RUN2");
    outputs.remove("restart");
    let back = deployment.roll_back("RUN2", &outputs);
    assert!(back.untouched && back.service.unwrap().is_same_process(&running));
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 1", old)
    );
    assert!(back.summary.contains("never stopped"), "{}", back.summary);
}

#[test]
fn a_crash_at_the_start_is_rolled_back() {
    let (deployment, _) = version_1();
    deployment.push("process.env.CRASH = '1'; // version 2");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error.unwrap().code, "restart.died");
    assert!(!deployment.stage.answers());
    deployment.undo("RUN2", &outputs);
    let back = deployment.roll_back("RUN2", &outputs);
    assert_eq!(deployment.live(), "// version 1");
    deployment.smoke("RUN2", &outputs, &back).unwrap();
}

#[test]
fn an_old_build_that_is_gone_is_made_again() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    let (outputs, _) = deployment.deploy("RUN2");
    fs::remove_dir_all(deployment.stage.path("app/.vdeploy/previous")).unwrap();
    let host = deployment.rollback_host("RUN3", &outputs);
    testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0.as_str()),
        ("// version 1", old.as_str())
    );
    assert!(
        host.warnings()[0].contains("the old build is gone"),
        "{:?}",
        host.warnings()
    );
    let again = deployment.rollback_host("RUN3", &outputs);
    testing::run::<Rollback>(&again).unwrap();
    assert!(
        !again.changes().iter().any(|line| line.contains("npm")),
        "{:?}",
        again.changes()
    );
}

#[test]
fn a_first_deploy_that_failed_leaves_nothing_running_and_says_so() {
    let deployment = Deployment::new();
    let (outputs, error) = deployment.deploy("RUN1");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    let back = deployment.roll_back("RUN1", &outputs);
    assert!(back.no_live_version && !deployment.stage.runs(&new) && !deployment.stage.answers());
    assert!(
        back.summary
            .contains("there is no old version to bring back"),
        "{}",
        back.summary
    );
    let smoke = deployment.smoke("RUN1", &outputs, &back).unwrap();
    assert_eq!(smoke["skipped"], 1);
    assert!(
        deployment
            .roll_back("RUN1", &outputs)
            .summary
            .ends_with("nothing runs")
    );
}

#[test]
fn a_foreign_process_on_the_port_is_not_ended() {
    let (deployment, _) = version_1();
    deployment.push("// version 2");
    let (outputs, _) = deployment.deploy("RUN2");
    deployment.undo("RUN2", &outputs);
    let foreign = deployment.stage.serve_in("elsewhere", &[]).unwrap();
    let error = testing::run::<Rollback>(&deployment.rollback_host("RUN2", &outputs)).unwrap_err();
    assert_eq!(error.code, "restart.foreign-process");
    assert!(error.message.contains(&foreign.describe()), "{error}");
    assert!(deployment.stage.runs(&foreign));
}

#[test]
fn a_service_that_somebody_started_again_is_replaced_by_the_old_version() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    let (outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    let restarted = service_of(&outputs);
    deployment.stage.end(&restarted);
    let by_hand = deployment.stage.serve(&[]).unwrap();
    let back = deployment.roll_back("RUN3", &outputs);
    assert!(!deployment.stage.runs(&by_hand) && deployment.stage.answers());
    assert_eq!(
        (deployment.live().as_str(), deployment.head().0),
        ("// version 1", old)
    );
    deployment.smoke("RUN3", &outputs, &back).unwrap();
}

#[test]
fn a_second_rollback_finds_the_old_version_live_and_leaves_it_alone() {
    let (deployment, _) = version_1();
    deployment.push("// version 2");
    let (outputs, _) = deployment.deploy("RUN2");
    let first = deployment.roll_back("RUN3", &outputs).service.unwrap();
    let again = deployment.roll_back("RUN4", &outputs);
    assert!(again.untouched, "{}", again.summary);
    assert!(again.service.unwrap().is_same_process(&first));
    assert!(again.summary.contains("live already"), "{}", again.summary);
}

#[test]
fn an_old_build_for_another_node_is_made_again() {
    let (deployment, old) = version_1();
    deployment.push("// version 2");
    let (mut outputs, error) = deployment.deploy("RUN2");
    assert_eq!(error, None);
    // Node was changed after the old version was built.
    let before = &mut outputs.get_mut("preflight").unwrap()["built"]["node"];
    let node = before.as_str().unwrap().to_owned();
    *before = json!("v8.0.0");
    let marker = "app/.vdeploy/previous/build.json";
    let text = deployment.stage.read(marker).replace(&node, "v8.0.0");
    fs::write(deployment.stage.path(marker), text).unwrap();
    let host = deployment.rollback_host("RUN3", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert!(
        host.warnings()[0].contains("for node v8.0.0"),
        "{:?}",
        host.warnings()
    );
    assert!(host.changes().iter().any(|line| line.contains("npm ci")));
    assert_eq!(
        (deployment.live().as_str(), back.sha),
        ("// version 1", old)
    );
    assert!(
        deployment
            .stage
            .read("app/.vdeploy/build.json")
            .contains(&node)
    );
}
