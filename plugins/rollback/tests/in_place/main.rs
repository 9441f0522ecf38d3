//! Deploys of a real checkout with a real build and a real process, made by
//! the steps of the default plan, and what a rollback by git makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod served;
mod world;

use std::fs;

use serde_json::json;
use vdeploy_plugin::testing::{self};
use vdeploy_rollback::Rollback;
use vdeploy_service::outputs::Baseline;
use vdeploy_service::testing::TOKEN;

use world::*;

#[test]
fn after_the_undos_the_old_version_is_started_again_with_its_token() {
    let (world, old) = version_1();
    world.push("process.env.BROKEN = '/feed/events'; // version 2");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    world.undo("RUN2", &outputs);
    assert!(!world.stage.answers());
    let host = world.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (world.live().as_str(), world.head()),
        ("// version 1", (old.clone(), "main".into()))
    );
    let service = back.service.clone().unwrap();
    assert!(world.stage.runs(&service) && !service.is_same_process(&new));
    assert_eq!(back.sha, old);
    let environment = fs::read_to_string(format!("/proc/{}/environ", service.pid)).unwrap();
    assert!(environment.contains(&format!("VERS_AUTH_TOKEN={TOKEN}")));
    assert!(
        !host.changes().iter().any(|line| line.contains("npm")),
        "{:?}",
        host.changes()
    );
    world.smoke("RUN2", &outputs, &back).unwrap();

    let again = world.roll_back("RUN2", &outputs);
    assert!(again.service.unwrap().is_same_process(&service));
}

#[test]
fn a_rollback_of_its_own_does_what_no_undo_has_done() {
    let (world, old) = version_1();
    world.push("// version 2");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    assert_eq!(world.live(), "// version 2");
    let back = world.roll_back("RUN3", &outputs);
    assert_eq!(
        (world.live().as_str(), world.head()),
        ("// version 1", (old, "main".into()))
    );
    assert!(!world.stage.runs(&new) && world.stage.answers());
    world.smoke("RUN3", &outputs, &back).unwrap();
}

#[test]
fn a_process_that_was_never_stopped_is_left_alone() {
    let (world, old) = version_1();
    let (first, _) = world.deploy("RUN1B");
    let before: Baseline = serde_json::from_value(first["preflight"].clone()).unwrap();
    let running = before.service.unwrap();
    world.push("process.env.CRASH = '1'; // version 2");
    let mut outputs = world.deploy_without_restart("RUN2");
    outputs.remove("restart");
    let back = world.roll_back("RUN2", &outputs);
    assert!(back.untouched && back.service.unwrap().is_same_process(&running));
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 1", old)
    );
    assert!(back.summary.contains("never stopped"), "{}", back.summary);
}

#[test]
fn a_crash_at_the_start_is_rolled_back() {
    let (world, _) = version_1();
    world.push("process.env.CRASH = '1'; // version 2");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error.unwrap().code, "restart.died");
    assert!(!world.stage.answers());
    world.undo("RUN2", &outputs);
    let back = world.roll_back("RUN2", &outputs);
    assert_eq!(world.live(), "// version 1");
    world.smoke("RUN2", &outputs, &back).unwrap();
}

#[test]
fn an_old_build_that_is_gone_is_made_again() {
    let (world, old) = version_1();
    world.push("// version 2");
    let (outputs, _) = world.deploy("RUN2");
    fs::remove_dir_all(world.stage.path("app/.vdeploy/previous")).unwrap();
    let host = world.rollback_host("RUN3", &outputs);
    testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (world.live().as_str(), world.head().0.as_str()),
        ("// version 1", old.as_str())
    );
    assert!(
        host.warnings()[0].contains("the old build is gone"),
        "{:?}",
        host.warnings()
    );
    let again = world.rollback_host("RUN3", &outputs);
    testing::run::<Rollback>(&again).unwrap();
    assert!(
        !again.changes().iter().any(|line| line.contains("npm")),
        "{:?}",
        again.changes()
    );
}

#[test]
fn a_first_deploy_that_failed_leaves_nothing_running_and_says_so() {
    let world = World::new();
    let (outputs, error) = world.deploy("RUN1");
    assert_eq!(error, None);
    let new = service_of(&outputs);
    let back = world.roll_back("RUN1", &outputs);
    assert!(back.no_live_version && !world.stage.runs(&new) && !world.stage.answers());
    assert!(
        back.summary
            .contains("there is no old version to bring back"),
        "{}",
        back.summary
    );
    let smoke = world.smoke("RUN1", &outputs, &back).unwrap();
    assert_eq!(smoke["skipped"], 1);
    assert!(
        world
            .roll_back("RUN1", &outputs)
            .summary
            .ends_with("nothing runs")
    );
}

#[test]
fn a_foreign_process_on_the_port_is_not_ended() {
    let (world, _) = version_1();
    world.push("// version 2");
    let (outputs, _) = world.deploy("RUN2");
    world.undo("RUN2", &outputs);
    let foreign = world.stage.serve_in("elsewhere", &[]).unwrap();
    let error = testing::run::<Rollback>(&world.rollback_host("RUN2", &outputs)).unwrap_err();
    assert_eq!(error.code, "restart.foreign-process");
    assert!(error.message.contains(&foreign.describe()), "{error}");
    assert!(world.stage.runs(&foreign));
}

#[test]
fn a_service_that_somebody_started_again_is_replaced_by_the_old_version() {
    let (world, old) = version_1();
    world.push("// version 2");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    let restarted = service_of(&outputs);
    world.stage.end(&restarted);
    let by_hand = world.stage.serve(&[]).unwrap();
    let back = world.roll_back("RUN3", &outputs);
    assert!(!world.stage.runs(&by_hand) && world.stage.answers());
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 1", old)
    );
    world.smoke("RUN3", &outputs, &back).unwrap();
}

#[test]
fn a_second_rollback_finds_the_old_version_live_and_leaves_it_alone() {
    let (world, _) = version_1();
    world.push("// version 2");
    let (outputs, _) = world.deploy("RUN2");
    let first = world.roll_back("RUN3", &outputs).service.unwrap();
    let again = world.roll_back("RUN4", &outputs);
    assert!(again.untouched, "{}", again.summary);
    assert!(again.service.unwrap().is_same_process(&first));
    assert!(again.summary.contains("live already"), "{}", again.summary);
}

#[test]
fn an_old_build_for_another_node_is_made_again() {
    let (world, old) = version_1();
    world.push("// version 2");
    let (mut outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    // Node was changed after the old version was built.
    let before = &mut outputs.get_mut("preflight").unwrap()["built"]["node"];
    let node = before.as_str().unwrap().to_owned();
    *before = json!("v8.0.0");
    let marker = "app/.vdeploy/previous/build.json";
    let text = world.stage.read(marker).replace(&node, "v8.0.0");
    fs::write(world.stage.path(marker), text).unwrap();
    let host = world.rollback_host("RUN3", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert!(
        host.warnings()[0].contains("for node v8.0.0"),
        "{:?}",
        host.warnings()
    );
    assert!(host.changes().iter().any(|line| line.contains("npm ci")));
    assert_eq!((world.live().as_str(), back.sha), ("// version 1", old));
    assert!(world.stage.read("app/.vdeploy/build.json").contains(&node));
}
