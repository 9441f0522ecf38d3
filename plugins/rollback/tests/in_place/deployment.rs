//! A real checkout with a real build and a real process, and the steps of the
//! default plan that deploy to it.

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
use vdeploy_service::listener::Listener;
use vdeploy_service::outputs::Restarted;
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::testing::Stage;
use vdeploy_smoke::Smoke;

pub type Outputs = BTreeMap<&'static str, Value>;

pub struct Deployment {
    pub stage: Stage,
    server: String,
}

pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Deployment {
    /// A remote with version 1, and a clone without a build.
    pub fn new() -> Self {
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
        let deployment = Self { stage, server };
        deployment.push("// version 1");
        git(
            &deployment.stage.path(""),
            &["clone", "-q", "remote", "app"],
        );
        deployment
    }

    /// Publishes a version whose program begins with `line`.
    pub fn push(&self, line: &str) -> String {
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

    pub fn host(&self, run: &str, manifest: &str, outputs: &Outputs) -> FakeHost {
        let mut host = self.stage.host().manifest(manifest).run_id(run);
        for (step, output) in outputs {
            host = host
                .output(step, output.clone())
                .rolled_back_output(step, output.clone());
        }
        host
    }

    pub fn place(&self) -> Value {
        json!({"app-dir": "app", "port": self.stage.port(), "log": self.stage.log()})
    }

    pub fn step<S: Step>(
        &self,
        run: &str,
        manifest: &str,
        config: Value,
        outputs: &Outputs,
    ) -> Result<Value, Error> {
        testing::run_json::<S>(&self.host(run, manifest, outputs).config(config))
    }

    /// The steps of a deploy up to the restart; stops at the first error.
    pub fn deploy(&self, run: &str) -> (Outputs, Option<Error>) {
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

    pub fn undo(&self, run: &str, outputs: &Outputs) {
        let host = |manifest, config| self.host(run, manifest, outputs).config(config);
        let npm = json!({"app-dir": "app", "port": self.stage.port(), "artifacts": ["dist"]});
        let output = |step| outputs.get(step).cloned();
        testing::undo::<Restart>(&host(RESTART, json!({})), output("restart")).unwrap();
        testing::undo::<NpmBuild>(&host(NPM_BUILD, npm), output("npm-build")).unwrap();
        testing::undo::<GitPull>(&host(GIT_PULL, self.place()), output("git-pull")).unwrap();
    }

    pub fn rollback_host(&self, run: &str, outputs: &Outputs) -> FakeHost {
        let config = json!({"artifacts": ["dist"], "ready-timeout": 20});
        self.host(run, ROLLBACK, outputs).config(config)
    }

    pub fn roll_back(&self, run: &str, outputs: &Outputs) -> RolledBack {
        testing::run::<Rollback>(&self.rollback_host(run, outputs)).unwrap()
    }

    pub fn smoke(&self, run: &str, outputs: &Outputs, back: &RolledBack) -> Result<Value, Error> {
        let mut outputs = outputs.clone();
        outputs.insert("rollback", serde_json::to_value(back).unwrap());
        let config =
            json!({"port": self.stage.port(), "stable-seconds": 0, "data-may-shrink": true});
        self.step::<Smoke>(run, SMOKE, config, &outputs)
    }

    pub fn live(&self) -> String {
        let program = self.stage.read("app/dist/server.js");
        program.lines().next().unwrap_or_default().to_owned()
    }

    pub fn head(&self) -> (String, String) {
        let app = self.stage.path("app");
        (
            git(&app, &["rev-parse", "HEAD"]),
            git(&app, &["rev-parse", "--abbrev-ref", "HEAD"]),
        )
    }

    /// The process that the last deploy started.
    pub fn service(&self) -> Listener {
        let marker = self.stage.marker().unwrap();
        Listener {
            pid: marker.pid,
            start_ticks: marker.start_ticks,
            ..Listener::default()
        }
    }

    /// A deploy without its restart.
    pub fn deploy_without_restart(&self, run: &str) -> Outputs {
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

pub const PREFLIGHT: &str = include_str!("../../../preflight/plugin.toml");
pub const GIT_PULL: &str = include_str!("../../../git-pull/plugin.toml");
pub const NPM_BUILD: &str = include_str!("../../../npm-build/plugin.toml");
pub const RESTART: &str = include_str!("../../../restart/plugin.toml");
pub const SMOKE: &str = include_str!("../../../smoke/plugin.toml");
pub const ROLLBACK: &str = include_str!("../../plugin.toml");

/// Version 1 is live, deployed by vdeploy.
pub fn version_1() -> (Deployment, String) {
    let deployment = Deployment::new();
    let (outputs, error) = deployment.deploy("RUN1");
    assert_eq!(error, None, "{outputs:#?}");
    let sha = deployment.head().0;
    (deployment, sha)
}

pub fn service_of(outputs: &Outputs) -> Listener {
    let restarted: Restarted = serde_json::from_value(outputs["restart"].clone()).unwrap();
    restarted.service
}
