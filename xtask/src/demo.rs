//! `cargo xtask demo`: from a fresh clone to a verified deploy. Starts the
//! local cloud, puts version 1 of the sample service on a VM, releases version
//! 2, and has vdeploy deploy it. Everything is in `<target>/demo`; the cloud
//! stays up until it is stopped. Knows vdeploy only as a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{self, heading};
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// Where the default plan expects the checkout, from the login directory.
const CHECKOUT: &str = "workspace/vers-agent-services";

/// The branch that is deployed.
const BRANCH: &str = "main";

/// Paths of the demo.
#[derive(Debug)]
struct Demo {
    /// The program.
    vdeploy: PathBuf,
    /// The sample service, version 1.
    sample: PathBuf,
    /// The files in which version 2 differs.
    next: PathBuf,
    /// All that follows is in here.
    root: PathBuf,
    /// The bare repository that the VM pulls from.
    remote: PathBuf,
    /// Where the developer of the sample works.
    work: PathBuf,
    /// The directory of the local cloud.
    cloud: PathBuf,
    /// The project file, written by [`Demo::write_project`].
    project: PathBuf,
    /// The state directory of vdeploy: journal, leases, facts.
    state: PathBuf,
}

/// A VM of the local cloud.
#[derive(Debug, PartialEq, Eq)]
struct Vm {
    id: String,
    home: PathBuf,
    url: String,
}

/// Runs the demo.
///
/// # Errors
/// When something is missing, does not build, or the deploy does not succeed.
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
    let vm = demo.start_cloud()?;
    heading("version 1 on the VM");
    demo.create_remote()?;
    demo.provision(&vm)?;
    heading("version 2 in the repository");
    demo.release_next()?;
    heading("deploy");
    demo.write_project(&vm)?;
    let run_id = demo.deploy()?;
    print!("{}", demo.explanation(&vm, &run_id));
    Ok(())
}

impl Demo {
    fn new(workspace: &Workspace) -> Self {
        let root = workspace.target.join("demo");
        let fixtures = workspace.root.join("tests/fixtures");
        Self {
            vdeploy: workspace.debug_binary(),
            sample: fixtures.join("agent-services"),
            next: fixtures.join("variants/good-v2"),
            remote: root.join("remote.git"),
            work: root.join("work"),
            cloud: root.join("cloud"),
            project: root.join("vdeploy.toml"),
            state: root.join("state"),
            root,
        }
    }

    /// Stops the cloud of an earlier demo and removes all that it left.
    fn clear(&self) -> Result<()> {
        if self.cloud.exists() {
            command::run(&mut self.local("down"))?;
        }
        if self.root.exists() {
            fs::remove_dir_all(&self.root)
                .with_context(|| format!("cannot remove {}", self.root.display()))?;
        }
        fs::create_dir_all(&self.root)?;
        Ok(())
    }

    /// Starts the cloud, which returns when it is ready, and finds its VM.
    fn start_cloud(&self) -> Result<Vm> {
        command::run(self.local("up").arg("--detach"))?;
        let status = command::output(self.local("status").arg("--json"))?;
        first_vm(&status)
    }

    /// `vdeploy local VERB --dir DIR`.
    fn local(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.vdeploy);
        command.args(["local", verb, "--dir"]).arg(&self.cloud);
        command.stdin(Stdio::null());
        command
    }

    /// Makes the bare repository, with version 1 in it.
    fn create_remote(&self) -> Result<()> {
        let branch = format!("--initial-branch={BRANCH}");
        command::run(
            git()
                .args(["init", "--quiet", "--bare", &branch])
                .arg(&self.remote),
        )?;
        command::run(git().args(["init", "--quiet", &branch]).arg(&self.work))?;
        copy_over(&self.sample, &self.work)?;
        self.publish("version 1")
    }

    /// Puts version 2 into the repository; the VM does not have it yet.
    fn release_next(&self) -> Result<()> {
        copy_over(&self.next, &self.work)?;
        self.publish("version 2")
    }

    fn publish(&self, message: &str) -> Result<()> {
        let git = || {
            let mut git = git();
            git.arg("-C").arg(&self.work);
            git
        };
        command::run(git().args(["add", "--all"]))?;
        command::run(git().args(["commit", "--quiet", "--message", message]))?;
        command::run(
            git()
                .args(["push", "--quiet"])
                .arg(&self.remote)
                .arg(BRANCH),
        )
    }

    /// Clones the repository to where the plan expects it on the VM.
    fn provision(&self, vm: &Vm) -> Result<()> {
        command::run(
            git()
                .args(["clone", "--quiet"])
                .arg(&self.remote)
                .arg(vm.home.join(CHECKOUT)),
        )
    }

    /// Writes the project file: the local cloud's VM as target `local`.
    fn write_project(&self, vm: &Vm) -> Result<()> {
        let mut target = toml::Table::new();
        target.insert("vm".to_owned(), vm.id.as_str().into());
        target.insert("cloud".to_owned(), self.cloud.display().to_string().into());
        let mut targets = toml::Table::new();
        targets.insert("local".to_owned(), target.into());
        let mut project = toml::Table::new();
        project.insert("targets".to_owned(), targets.into());
        fs::write(&self.project, toml::to_string(&project)?)
            .with_context(|| format!("cannot write {}", self.project.display()))
    }

    /// Deploys, shown to the person as it goes, and returns the run's id.
    fn deploy(&self) -> Result<String> {
        let mut run = self.vdeploy();
        command::run(run.args(["run", "--plan", "default", "--target", "local"]))?;
        let mut runs = self.vdeploy();
        last_run(&command::output(runs.args(["runs", "--json"]))?)
    }

    /// `vdeploy` for this project and its state.
    fn vdeploy(&self) -> Command {
        let mut command = Command::new(&self.vdeploy);
        command.stdin(Stdio::null()).current_dir(&self.root);
        command.env("VDEPLOY_PROJECT", &self.project);
        command.env("VDEPLOY_STATE", &self.state);
        command
    }

    /// What was done and what can be done with it.
    fn explanation(&self, vm: &Vm, run_id: &str) -> String {
        let vdeploy = self.vdeploy.display();
        let project = self.project.display();
        let state = self.state.display();
        let cloud = self.cloud.display();
        let url = &vm.url;
        format!(
            "\nVersion 2 is live and verified.\n\
             \x20 service    {url}/version\n\
             \x20 run        {run_id}\n\
             \x20 roll back  {vdeploy} rollback {run_id} --project {project} --state {state}\n\
             \x20 stop       {vdeploy} local down --dir {cloud}\n"
        )
    }
}

/// The first VM in `{"vms": [{"id", "home", "url"}]}`.
fn first_vm(status: &str) -> Result<Vm> {
    let status: Value =
        serde_json::from_str(status).context("`vdeploy local status` did not print JSON")?;
    let vm = status
        .pointer("/vms/0")
        .context("the local cloud has no VM")?;
    Ok(Vm {
        id: text(vm, "id")?,
        home: PathBuf::from(text(vm, "home")?),
        url: text(vm, "url")?,
    })
}

/// The id of the newest run, which comes first in `{"runs": [{"id"}]}`.
fn last_run(runs: &str) -> Result<String> {
    let runs: Value = serde_json::from_str(runs).context("`vdeploy runs` did not print JSON")?;
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

/// git, without the settings of the person and with a name of its own.
fn git() -> Command {
    let mut git = Command::new("git");
    git.stdin(Stdio::null());
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.env("GIT_CONFIG_SYSTEM", "/dev/null");
    git.env_remove("GIT_DIR");
    git.env_remove("GIT_WORK_TREE");
    git.env_remove("GIT_INDEX_FILE");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "vdeploy demo");
        git.env(format!("GIT_{who}_EMAIL"), "demo@localhost");
    }
    git
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

    /// A demo with a sample of one file, in a directory of its own.
    fn small_demo(dir: &Path) -> Demo {
        let workspace = Workspace {
            root: dir.join("checkout"),
            target: dir.join("target"),
            plugins: dir.join("plugins"),
            members: Vec::new(),
        };
        let demo = Demo::new(&workspace);
        for (at, version) in [(&demo.sample, "1"), (&demo.next, "2")] {
            fs::create_dir_all(at.join("src")).unwrap();
            fs::write(at.join("src/version"), version).unwrap();
        }
        fs::create_dir_all(demo.sample.join("node_modules")).unwrap();
        fs::write(demo.sample.join("node_modules/left"), "").unwrap();
        demo
    }

    #[test]
    fn the_vm_has_version_1_and_can_pull_version_2() {
        let dir = tempfile::tempdir().unwrap();
        let demo = small_demo(dir.path());
        let vm = Vm {
            id: "vm-1".to_owned(),
            home: dir.path().join("home"),
            url: "http://localhost:1".to_owned(),
        };
        demo.clear().unwrap();
        demo.create_remote().unwrap();
        demo.provision(&vm).unwrap();
        demo.release_next().unwrap();

        let checkout = vm.home.join(CHECKOUT);
        let version = || fs::read_to_string(checkout.join("src/version")).unwrap();
        assert_eq!(version(), "1");
        assert!(!checkout.join("node_modules").exists());
        command::run(git().arg("-C").arg(&checkout).args(["pull", "--quiet"])).unwrap();
        assert_eq!(version(), "2");
    }

    #[test]
    fn the_project_file_names_the_vm() {
        let dir = tempfile::tempdir().unwrap();
        let demo = small_demo(dir.path());
        demo.clear().unwrap();
        let vm = first_vm(r#"{"vms": [{"id": "vm-1", "home": "/h", "url": "u"}]}"#).unwrap();
        demo.write_project(&vm).unwrap();
        let project: toml::Table = fs::read_to_string(&demo.project).unwrap().parse().unwrap();
        assert_eq!(project["targets"]["local"]["vm"].as_str(), Some("vm-1"));
    }

    #[test]
    fn a_cloud_without_a_vm_and_an_empty_history_are_said() {
        assert!(
            first_vm(r#"{"vms": []}"#)
                .unwrap_err()
                .to_string()
                .contains("no VM")
        );
        assert!(first_vm("up").is_err());
        assert_eq!(last_run(r#"{"runs": [{"id": "01J"}]}"#).unwrap(), "01J");
        assert!(last_run(r#"{"runs": []}"#).is_err());
    }
}
