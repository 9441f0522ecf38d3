//! A real run on the local cloud, made by the built program, and what a person
//! saw before and after it.

use crate::matrix::script::{Change, Script, word};
use crate::matrix::target::{Target, read_back};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use vdeploy_config::Project;
use vdeploy_core::plan::RollbackTo;
use vdeploy_journal::recording::Recording;
use vdeploy_ops::Deploy;
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::{Base, Remote, Site, fixtures};

/// One setting of the deploys: a short stability window.
const SET: &str = "smoke.stable-seconds=1";

/// A deploy that is interrupted everywhere.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For the name of the trial.
    pub name: &'static str,
    /// What is deployed.
    pub push: fn(&Remote) -> Result<String>,
    /// How it goes back.
    pub rollback_to: RollbackTo,
    /// The exit code of the program.
    pub code: u8,
    /// What answers in the end.
    pub live: &'static str,
    /// Whether the target is another VM then.
    pub moves: bool,
}

#[rustfmt::skip]
pub const DEPLOYS: [Scenario; 3] = [
    Scenario { name: "a_good_app", push: good, rollback_to: RollbackTo::InPlace, code: 0, live: "2.0.0", moves: false },
    Scenario { name: "a_bad_app_back_by_git", push: bad, rollback_to: RollbackTo::InPlace, code: 11, live: "1.0.0", moves: false },
    Scenario { name: "a_bad_app_back_by_snapshot", push: bad, rollback_to: RollbackTo::Snapshot, code: 11, live: "1.0.0", moves: true },
];

/// A good version whose modules are installed anew.
fn good(remote: &Remote) -> Result<String> {
    let lock = std::fs::read_to_string(fixtures().join("agent-services/package-lock.json"))?;
    let version = "export const VERSION: string = \"2.0.0\";\n";
    let files = [
        ("src/version.ts", version),
        ("package-lock.json", &format!("{lock}\n")),
    ];
    remote.push_files("good", &files)
}

fn bad(remote: &Remote) -> Result<String> {
    remote.push_variant("wrong-json")
}

/// What is kept of the run.
#[derive(Debug)]
pub struct Recorded {
    /// Record and journal.
    pub recording: Recording,
    /// What the target did.
    pub script: Arc<Script>,
    /// The version that answered before it.
    pub before: String,
    /// And after it.
    pub after: String,
    /// The VM that was the target after it.
    pub vm: String,
    /// The program's exit code.
    pub code: u8,
    /// The project that it read.
    pub project: Project,
    rollback_to: RollbackTo,
}

impl Recorded {
    /// Makes the run.
    pub fn make(base: &Base, deploy: Scenario) -> Result<Self> {
        let site = base.site()?;
        site.add_task("keep me")?;
        let before = site.version().context("nothing answers before the run")?;
        (deploy.push)(&site.remote)?;
        let to = match deploy.rollback_to {
            RollbackTo::InPlace => "in-place",
            RollbackTo::Snapshot => "snapshot",
        };
        let args = ["--set", SET, "--rollback-to", to];
        let ran = site.deploy(&args)?.expect_code(i32::from(deploy.code))?;
        let vm = match ran.event("target-moved") {
            Ok(moved) => text(&moved, "to")?,
            Err(_) => site.vm.clone(),
        };
        ensure!((vm != site.vm) == deploy.moves, "the target is {vm}");
        let after = site.version_on(&vm).context("nothing answers after it")?;
        ensure!(after == deploy.live, "{after} answers\n{}", ran.text());
        let file = site
            .vdeploy(&["runs", "export", "latest"])?
            .expect_code(0)?;
        let recording = Recording::read(&file.stdout)?;
        let recorded = Self {
            script: Arc::new(Script::read(&recording)?),
            recording,
            before,
            after,
            vm,
            code: deploy.code,
            project: Project::load(Some(Path::new("vdeploy.toml")), site.dir())?,
            rollback_to: deploy.rollback_to,
        };
        let compared = recorded.compare_entries(&site);
        if deploy.moves {
            base.api("DELETE", &format!("/vm/{}", recorded.vm), None)?;
        }
        compared?;
        Ok(recorded)
    }

    /// What the program was asked for.
    pub fn deploy(&self) -> Deploy {
        Deploy {
            set: vec![SET.to_owned()],
            rollback_to: Some(self.rollback_to),
            ..Deploy::default()
        }
    }

    /// What the target of the trials answers of its own is what the real
    /// service answers: to the looks that find out whether a request arrived.
    fn compare_entries(&self, site: &Site<'_>) -> Result<()> {
        let target = Target::new(self.script.clone());
        let mut compared = 0;
        for post in &self.script.posts {
            for url in read_back(post) {
                let Some((_, path)) = url.split_once(&self.vm) else {
                    continue;
                };
                let path = path
                    .find('/')
                    .and_then(|at| path.get(at..))
                    .context("no path")?;
                let ours = |why| target.entry_of(&target.place(), &url).context(why);
                if compared == 0 {
                    ensure!(
                        ours("unknown")?.is_none(),
                        "{url}: there before it was sent"
                    );
                }
                target
                    .post(&post.request)
                    .map_err(|e| anyhow::anyhow!("{e}"))?;
                let ours = ours("unknown")?.context("it did not arrive")?;
                let (status, real) = site.get(&self.vm, path, Some(TOKEN))?;
                let text = self.what_tells(post);
                ensure!(
                    ours.get("status") == Some(&status.into())
                        && word(&ours, "body").contains(&text)
                        && real.contains(&text),
                    "{url}: the service answers {status} {real}, the double {ours}"
                );
                compared += 1;
            }
        }
        let (status, _) = site.get(&self.vm, "/commits/nobody-knows-it", Some(TOKEN))?;
        ensure!(status == 404, "an entry that is not there: {status}");
        ensure!(compared > 0, "no entry was compared");
        Ok(())
    }

    /// The text by which a request is known to have arrived.
    fn what_tells(&self, post: &Change) -> String {
        let declared = post
            .request
            .pointer("/read-back/text")
            .and_then(Value::as_str);
        let body = serde_json::from_str::<Value>(word(&post.request, "body")).unwrap_or_default();
        declared.unwrap_or(word(&body, "commitId")).to_owned()
    }
}
