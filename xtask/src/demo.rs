//! `cargo xtask demo`: from a fresh clone to a verified deploy. Starts the
//! local cloud, has vdeploy deploy version 1 of the sample service to an empty
//! VM, then version 2 over it, and says how to look, roll back and stop.
//! Everything is in `<target>/demo`; the cloud stays up until it is stopped.
//! Knows vdeploy only as a program.

mod cloud;
mod explanation;
mod repository;
mod token;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use self::cloud::{Cloud, Vm};
use self::explanation::Explanation;
use self::repository::Repository;
use crate::command::{self, heading};
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// Paths of the demo.
#[derive(Debug)]
struct Demo {
    /// The program.
    vdeploy: PathBuf,
    /// All that follows is in here.
    root: PathBuf,
    repository: Repository,
    cloud: Cloud,
    /// The project file, written by [`Demo::write_project`].
    project: PathBuf,
    /// The state directory of vdeploy: journal, leases, facts.
    state: PathBuf,
    /// The file with the token that guards the service.
    token: PathBuf,
}

/// Runs the demo.
///
/// # Errors
/// When something is missing, does not build, or a deploy does not succeed.
pub fn run(workspace: &Workspace) -> Result<()> {
    heading("setup");
    setup::everything(workspace)?;
    heading("plugins");
    plugins::build(workspace)?;
    heading("host");
    // With `--workspace` the dependencies get the features that the tests give
    // them, so that `cargo xtask test` does not compile them again.
    command::run(command::cargo(&workspace.root).args([
        "build",
        "--locked",
        "--workspace",
        "--bin",
        "vdeploy",
    ]))?;

    let demo = Demo::new(workspace);
    heading("local cloud");
    demo.clear()?;
    let vm = demo.cloud.start()?;
    demo.write_project(&vm)?;
    let token = token::create(&demo.token)?;
    heading("version 1: the first deploy to an empty VM");
    demo.repository.create()?;
    demo.repository.clone_to(&vm.home)?;
    demo.deploy(&token)?;
    heading("version 2: a new commit, deployed over version 1");
    demo.repository.release_next()?;
    demo.deploy(&token)?;
    print!("{}", demo.explanation(&vm, &demo.last_run()?));
    Ok(())
}

impl Demo {
    fn new(workspace: &Workspace) -> Self {
        let root = workspace.target.join("demo");
        let fixtures = workspace.root.join("tests/fixtures");
        let vdeploy = workspace.debug_binary();
        Self {
            repository: Repository {
                sample: fixtures.join("agent-services"),
                next: fixtures.join("variants/good-v2"),
                bare: root.join("remote.git"),
                work: root.join("work"),
            },
            cloud: Cloud {
                vdeploy: vdeploy.clone(),
                dir: root.join("cloud"),
            },
            vdeploy,
            project: root.join("vdeploy.toml"),
            state: root.join("state"),
            token: root.join("token"),
            root,
        }
    }

    /// Stops the cloud of an earlier demo and removes all that it left.
    fn clear(&self) -> Result<()> {
        self.cloud.stop()?;
        if self.root.exists() {
            fs::remove_dir_all(&self.root)
                .with_context(|| format!("cannot remove {}", self.root.display()))?;
        }
        fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot create {}", self.root.display()))
    }

    /// Writes the project file: the local cloud's VM as target `local`.
    fn write_project(&self, vm: &Vm) -> Result<()> {
        let mut target = toml::Table::new();
        target.insert("type".to_owned(), "local".into());
        target.insert(
            "dir".to_owned(),
            self.cloud.dir.display().to_string().into(),
        );
        target.insert("vm".to_owned(), vm.id.as_str().into());
        let mut targets = toml::Table::new();
        targets.insert("local".to_owned(), target.into());
        let mut project = toml::Table::new();
        project.insert("default-target".to_owned(), "local".into());
        project.insert("targets".to_owned(), targets.into());
        fs::write(&self.project, toml::to_string(&project)?)
            .with_context(|| format!("cannot write {}", self.project.display()))
    }

    /// Deploys what is in the repository, shown to the person as it goes.
    fn deploy(&self, token: &str) -> Result<()> {
        let mut run = self.vdeploy(&["run", "--plan", "default"]);
        run.arg("--project").arg(&self.project);
        command::run(run.env(token::VARIABLE, token))
    }

    /// The id of the newest run.
    fn last_run(&self) -> Result<String> {
        let mut runs = self.vdeploy(&["runs", "list", "--limit", "1", "--json"]);
        newest(&command::output(&mut runs)?)
    }

    /// `vdeploy ARGS` with the state directory of the demo.
    fn vdeploy(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.vdeploy);
        command.stdin(Stdio::null()).current_dir(&self.root);
        command.args(args).arg("--state").arg(&self.state);
        command
    }

    fn explanation(&self, vm: &Vm, run: &str) -> String {
        Explanation {
            vdeploy: &self.vdeploy,
            project: &self.project,
            state: &self.state,
            cloud: &self.cloud.dir,
            token: &self.token,
            url: &vm.url,
            run,
        }
        .to_string()
    }
}

/// The id of the newest run, which comes first in `{"runs": [{"id"}]}`.
fn newest(runs: &str) -> Result<String> {
    let runs: Value =
        serde_json::from_str(runs).context("`vdeploy runs list` did not print JSON")?;
    let run = runs.pointer("/runs/0").context("vdeploy knows no run")?;
    text(run, "id")
}

fn text(value: &Value, key: &str) -> Result<String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("no text `{key}` in {value}"))
}

/// Copies the files of `from` over those of `to`, without what a build or a
/// run of the sample leaves.
fn copy_over(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if ["node_modules", "dist", "data"]
            .iter()
            .any(|left| name == *left)
        {
            continue;
        }
        let to = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_over(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(dir: &Path) -> Demo {
        Demo::new(&Workspace {
            root: dir.join("checkout"),
            target: dir.join("target"),
            plugins: dir.join("plugins"),
            members: Vec::new(),
        })
    }

    #[test]
    fn the_project_file_names_the_vm_and_the_cloud() {
        let dir = tempfile::tempdir().unwrap();
        let demo = demo(dir.path());
        demo.clear().unwrap();
        let vm = Vm {
            id: "vm-1".to_owned(),
            home: PathBuf::from("/h"),
            url: "u".to_owned(),
        };
        demo.write_project(&vm).unwrap();
        let project: toml::Table = fs::read_to_string(&demo.project).unwrap().parse().unwrap();
        let target = &project["targets"]["local"];
        assert_eq!(target["type"].as_str(), Some("local"));
        assert_eq!(target["vm"].as_str(), Some("vm-1"));
        assert_eq!(target["dir"].as_str(), demo.cloud.dir.to_str());
    }

    #[test]
    fn what_an_earlier_demo_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let demo = demo(dir.path());
        demo.clear().unwrap();
        fs::write(&demo.token, "old").unwrap();
        demo.clear().unwrap();
        assert!(!demo.token.exists() && demo.root.is_dir());
    }

    #[test]
    fn the_newest_run_comes_first_and_none_is_said() {
        assert_eq!(
            newest(r#"{"runs": [{"id": "01K"}, {"id": "01J"}]}"#).unwrap(),
            "01K"
        );
        assert!(newest(r#"{"runs": []}"#).is_err());
        assert!(newest("up").is_err());
    }
}
