//! Deploys of a real checkout with a real build and a real process, made by
//! the steps of the default plan, and what a rollback by git makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use vdeploy_git_pull::GitPull;
use vdeploy_npm_build::NpmBuild;
use vdeploy_plugin::testing::{self, FakeHost};
use vdeploy_plugin::{Error, Step};
use vdeploy_preflight::Preflight;
use vdeploy_restart::Restart;
use vdeploy_rollback::Rollback;
use vdeploy_service::baseline::{Baseline, Listener, Restarted};
use vdeploy_service::rolled_back::RolledBack;
use vdeploy_service::testing::{Stage, TOKEN};
use vdeploy_smoke::Smoke;

type Outputs = BTreeMap<&'static str, Value>;

struct World {
    stage: Stage,
    server: String,
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl World {
    /// A remote with version 1, and a clone of it that was never built.
    fn new() -> Self {
        let stage = Stage::new().unwrap();
        let server = stage.read("app/dist/server.js");
        fs::remove_dir_all(stage.path("app")).unwrap();
        git(
            &stage.path(""),
            &["init", "-q", "--bare", "-b", "main", "remote"],
        );
        git(&stage.path(""), &["clone", "-q", "remote", "author"]);
        let author = stage.path("author");
        fs::create_dir(author.join("src")).unwrap();
        let package = json!({"name": "app", "version": "1.0.0", "scripts": {
            "build": "mkdir -p dist && cp src/server.js dist/server.js"}});
        fs::write(author.join("package.json"), package.to_string()).unwrap();
        let lock = json!({"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {
            "": {"name": "app", "version": "1.0.0"}}});
        fs::write(author.join("package-lock.json"), lock.to_string()).unwrap();
        fs::write(author.join(".gitignore"), "dist\nnode_modules\ndata\n").unwrap();
        let world = Self { stage, server };
        world.push("// version 1");
        git(&world.stage.path(""), &["clone", "-q", "remote", "app"]);
        world
    }

    /// Publishes a version whose program begins with `line`.
    fn push(&self, line: &str) -> String {
        let author = self.stage.path("author");
        fs::write(
            author.join("src/server.js"),
            format!("{line}\n{}", self.server),
        )
        .unwrap();
        git(&author, &["add", "-A"]);
        git(&author, &["commit", "-qm", line]);
        git(&author, &["push", "-q", "origin", "HEAD:main"]);
        git(&author, &["rev-parse", "HEAD"])
    }

    fn host(&self, run: &str, manifest: &str, outputs: &Outputs) -> FakeHost {
        let mut host = self.stage.host().manifest(manifest).run_id(run);
        for (step, output) in outputs {
            host = host
                .output(step, output.clone())
                .rolled_back_output(step, output.clone());
        }
        host
    }

    fn place(&self) -> Value {
        json!({"app-dir": "app", "port": self.stage.port(), "log": self.stage.log()})
    }

    fn step<S: Step>(
        &self,
        run: &str,
        manifest: &str,
        config: Value,
        outputs: &Outputs,
    ) -> Result<Value, Error> {
        testing::run_json::<S>(&self.host(run, manifest, outputs).config(config))
    }

    /// The steps of a deploy up to the restart; the last error ends it.
    fn deploy(&self, run: &str) -> (Outputs, Option<Error>) {
        let mut outputs = Outputs::new();
        let npm = json!({"app-dir": "app", "port": self.stage.port(), "artifacts": ["dist"]});
        type Call<'a> = Box<dyn Fn(&Outputs) -> Result<Value, Error> + 'a>;
        let steps: [(&'static str, Call<'_>); 4] = [
            (
                "preflight",
                Box::new(|o| self.step::<Preflight>(run, PREFLIGHT, self.place(), o)),
            ),
            (
                "git-pull",
                Box::new(|o| self.step::<GitPull>(run, GIT_PULL, self.place(), o)),
            ),
            (
                "npm-build",
                Box::new(|o| self.step::<NpmBuild>(run, NPM_BUILD, npm.clone(), o)),
            ),
            (
                "restart",
                Box::new(|o| self.step::<Restart>(run, RESTART, json!({"ready-timeout": 20}), o)),
            ),
        ];
        for (name, step) in steps {
            match step(&outputs) {
                Ok(output) => outputs.insert(name, output),
                Err(error) => return (outputs, Some(error)),
            };
        }
        (outputs, None)
    }

    fn undo(&self, run: &str, outputs: &Outputs) {
        let host = |manifest, config| self.host(run, manifest, outputs).config(config);
        let npm = json!({"app-dir": "app", "port": self.stage.port(), "artifacts": ["dist"]});
        let output = |step| outputs.get(step).cloned();
        testing::undo::<Restart>(&host(RESTART, json!({})), output("restart")).unwrap();
        testing::undo::<NpmBuild>(&host(NPM_BUILD, npm), output("npm-build")).unwrap();
        testing::undo::<GitPull>(&host(GIT_PULL, self.place()), output("git-pull")).unwrap();
    }

    fn rollback_host(&self, run: &str, outputs: &Outputs) -> FakeHost {
        let config = json!({"artifacts": ["dist"], "ready-timeout": 20});
        self.host(run, ROLLBACK, outputs).config(config)
    }

    fn roll_back(&self, run: &str, outputs: &Outputs) -> RolledBack {
        testing::run::<Rollback>(&self.rollback_host(run, outputs)).unwrap()
    }

    fn smoke(&self, run: &str, outputs: &Outputs, back: &RolledBack) -> Result<Value, Error> {
        let mut outputs = outputs.clone();
        outputs.insert("rollback", serde_json::to_value(back).unwrap());
        let config =
            json!({"port": self.stage.port(), "stable-seconds": 0, "data-may-shrink": true});
        self.step::<Smoke>(run, SMOKE, config, &outputs)
    }

    fn live(&self) -> String {
        let program = self.stage.read("app/dist/server.js");
        program.lines().next().unwrap_or_default().to_owned()
    }

    fn head(&self) -> (String, String) {
        let app = self.stage.path("app");
        (
            git(&app, &["rev-parse", "HEAD"]),
            git(&app, &["rev-parse", "--abbrev-ref", "HEAD"]),
        )
    }
}

const PREFLIGHT: &str = include_str!("../../preflight/plugin.toml");
const GIT_PULL: &str = include_str!("../../git-pull/plugin.toml");
const NPM_BUILD: &str = include_str!("../../npm-build/plugin.toml");
const RESTART: &str = include_str!("../../restart/plugin.toml");
const SMOKE: &str = include_str!("../../smoke/plugin.toml");
const ROLLBACK: &str = include_str!("../plugin.toml");

/// Version 1 live by a deploy of ours.
fn version_1() -> (World, String) {
    let world = World::new();
    let (outputs, error) = world.deploy("RUN1");
    assert_eq!(error, None, "{outputs:#?}");
    let sha = world.head().0;
    (world, sha)
}

fn service_of(outputs: &Outputs) -> Listener {
    let restarted: Restarted = serde_json::from_value(outputs["restart"].clone()).unwrap();
    restarted.service
}

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
    assert!(back.nothing_left && !world.stage.runs(&new) && !world.stage.answers());
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

/// Version 1 serves, and a deploy of version 2 was cut off after its build.
fn cut_off_after_the_build() -> (World, String, String) {
    let (world, old) = version_1();
    let new = world.push("// version 2");
    world.deploy_without_restart("RUN2");
    assert_eq!(world.live(), "// version 2");
    (world, old, new)
}

#[test]
fn the_version_that_serves_comes_back_and_not_what_a_cut_off_run_left() {
    let (world, old, left) = cut_off_after_the_build();
    world.push("process.env.BROKEN = '/feed/events'; // version 3");
    let (outputs, error) = world.deploy("RUN3");
    assert_eq!(error, None);
    let before: Baseline = serde_json::from_value(outputs["preflight"].clone()).unwrap();
    assert_eq!((&before.sha, &before.head), (&old, &left));
    world.undo("RUN3", &outputs);
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 2", left)
    );
    let host = world.rollback_host("RUN3", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (world.live().as_str(), world.head()),
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
    assert!(said.contains(&format!("what served was {short}")), "{said}");
    assert!(said.contains(&format!("{short} is built again")), "{said}");
    world.smoke("RUN3", &outputs, &back).unwrap();
    let again = world.roll_back("RUN4", &outputs);
    assert!(again.untouched, "{}", again.summary);
}

#[test]
fn the_version_that_serves_comes_back_also_when_no_run_has_started_it() {
    let (world, old) = version_1();
    // As a restored VM or systemd starts it.
    world.stage.end(&world.service());
    world.stage.serve(&[]).unwrap();
    world.push("// version 2");
    world.deploy_without_restart("RUN2");
    world.push("// version 3");
    let (outputs, error) = world.deploy("RUN3");
    assert_eq!(error, None);
    world.undo("RUN3", &outputs);
    let back = world.roll_back("RUN3", &outputs);
    assert_eq!(back.sha, old);
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 1", old)
    );
}

#[test]
fn a_rollback_that_is_asked_for_wants_the_token_of_the_service() {
    let (world, _) = version_1();
    world.push("// version 2");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    let asked_for = |token: &str| {
        let mut host = world.stage.host().manifest(ROLLBACK).run_id("RUN3");
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
    // The run that fails is not refused.
    let failing = world
        .rollback_host("RUN2", &outputs)
        .secret("auth-token", "another");
    testing::check::<Rollback>(&failing).unwrap();
}

#[test]
fn the_old_version_with_another_token_is_not_live_already() {
    let (world, old) = version_1();
    world.push("// version 2");
    let (outputs, _) = world.deploy("RUN2");
    let with = |token: &str, run: &str| {
        let host = world
            .rollback_host(run, &outputs)
            .secret("auth-token", token);
        testing::run::<Rollback>(&host).unwrap()
    };
    let wrong = with("another", "RUN3");
    let right = with(TOKEN, "RUN4");
    assert!(!right.untouched, "{}", right.summary);
    let (wrong, right) = (wrong.service.unwrap(), right.service.unwrap());
    assert!(!world.stage.runs(&wrong) && world.stage.runs(&right));
    let environment = fs::read_to_string(format!("/proc/{}/environ", right.pid)).unwrap();
    assert!(environment.contains(&format!("VERS_AUTH_TOKEN={TOKEN}")));
    assert_eq!(world.head().0, old);
}

#[test]
fn around_a_process_that_was_never_stopped_the_checkout_is_as_it_was() {
    let (world, old, left) = cut_off_after_the_build();
    world.push("// version 3");
    let outputs = world.deploy_without_restart("RUN3");
    let back = world.roll_back("RUN3", &outputs);
    assert!(back.untouched, "{}", back.summary);
    assert_eq!(back.sha, old);
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 2", left)
    );
}

#[test]
fn what_was_pulled_by_hand_is_not_what_served() {
    let (world, old) = version_1();
    let pulled = world.push("// version 2");
    git(&world.stage.path("app"), &["pull", "-q"]);
    world.push("// version 3");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    world.undo("RUN2", &outputs);
    assert_eq!(world.head().0, pulled);
    let host = world.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 1", old.clone())
    );
    assert_eq!(back.sha, old);
    // Its kept build is there.
    assert!(!host.changes().iter().any(|line| line.contains("npm")));
}

#[test]
fn what_was_built_and_started_by_hand_comes_back() {
    let (world, _) = version_1();
    let by_hand = world.push("// version 2");
    let app = world.stage.path("app");
    git(&app, &["pull", "-q"]);
    fs::copy(app.join("src/server.js"), app.join("dist/server.js")).unwrap();
    world.stage.end(&world.service());
    world.stage.serve(&[]).unwrap();
    world.push("// version 3");
    let (outputs, error) = world.deploy("RUN2");
    assert_eq!(error, None);
    assert_eq!(world.live(), "// version 3");
    world.undo("RUN2", &outputs);
    let host = world.rollback_host("RUN2", &outputs);
    let back = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (world.live().as_str(), world.head().0),
        ("// version 2", by_hand.clone())
    );
    assert_eq!(back.sha, by_hand);
    assert!(!host.changes().iter().any(|line| line.contains("npm")));
}

#[test]
fn a_restart_without_a_pull_is_of_what_is_built() {
    let (world, old) = version_1();
    world.push("// version 2");
    git(&world.stage.path("app"), &["pull", "-q"]);
    let mut outputs = Outputs::new();
    let preflight = world.step::<Preflight>("RUN2", PREFLIGHT, world.place(), &outputs);
    outputs.insert("preflight", preflight.unwrap());
    let config = json!({"ready-timeout": 20});
    let restart = world
        .step::<Restart>("RUN2", RESTART, config, &outputs)
        .unwrap();
    assert_eq!(restart["sha"], old.as_str());
    assert_eq!(world.stage.marker().unwrap().sha, old);
}

impl World {
    /// The process that the last deploy has started.
    fn service(&self) -> Listener {
        let marker = self.stage.marker().unwrap();
        Listener {
            pid: marker.pid,
            start_ticks: marker.start_ticks,
            ..Listener::default()
        }
    }

    /// A deploy that never reached its restart.
    fn deploy_without_restart(&self, run: &str) -> Outputs {
        let mut outputs = Outputs::new();
        let npm = json!({"app-dir": "app", "port": self.stage.port(), "artifacts": ["dist"]});
        let preflight = self
            .step::<Preflight>(run, PREFLIGHT, self.place(), &outputs)
            .unwrap();
        outputs.insert("preflight", preflight);
        let pulled = self
            .step::<GitPull>(run, GIT_PULL, self.place(), &outputs)
            .unwrap();
        outputs.insert("git-pull", pulled);
        let built = self
            .step::<NpmBuild>(run, NPM_BUILD, npm, &outputs)
            .unwrap();
        outputs.insert("npm-build", built);
        outputs
    }
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
