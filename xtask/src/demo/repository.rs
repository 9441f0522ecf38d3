//! The git repository that the VM pulls from, and the developer of the sample
//! service who pushes to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::copy_over;
use crate::command;

/// Where the default plan expects the checkout, from the login directory.
const CHECKOUT: &str = "workspace/vers-agent-services";

/// The branch that is deployed.
const BRANCH: &str = "main";

/// A bare repository and what goes into it.
#[derive(Debug)]
pub(super) struct Repository {
    /// The sample service, version 1.
    pub(super) sample: PathBuf,
    /// The files in which version 2 differs.
    pub(super) next: PathBuf,
    /// The repository.
    pub(super) bare: PathBuf,
    /// Where the developer works.
    pub(super) work: PathBuf,
}

impl Repository {
    /// Makes the repository, with version 1 in it.
    pub(super) fn create(&self) -> Result<()> {
        let branch = format!("--initial-branch={BRANCH}");
        command::run(
            git()
                .args(["init", "--quiet", "--bare", &branch])
                .arg(&self.bare),
        )?;
        command::run(git().args(["init", "--quiet", &branch]).arg(&self.work))?;
        copy_over(&self.sample, &self.work)?;
        self.publish("version 1")
    }

    /// Puts version 2 into the repository; the VM does not have it yet.
    pub(super) fn release_next(&self) -> Result<()> {
        copy_over(&self.next, &self.work)?;
        self.publish("version 2")
    }

    /// Clones the repository to where the plan expects it on the VM.
    pub(super) fn clone_to(&self, home: &Path) -> Result<()> {
        command::run(
            git()
                .args(["clone", "--quiet"])
                .arg(&self.bare)
                .arg(home.join(CHECKOUT)),
        )
    }

    fn publish(&self, message: &str) -> Result<()> {
        let git = || {
            let mut git = git();
            git.arg("-C").arg(&self.work);
            git
        };
        command::run(git().args(["add", "--all"]))?;
        command::run(git().args(["commit", "--quiet", "--message", message]))?;
        command::run(git().args(["push", "--quiet"]).arg(&self.bare).arg(BRANCH))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_vm_has_version_1_and_can_pull_version_2() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let repository = Repository {
            sample: at("sample"),
            next: at("next"),
            bare: at("remote.git"),
            work: at("work"),
        };
        for (files, version) in [(&repository.sample, "1"), (&repository.next, "2")] {
            fs::create_dir_all(files.join("src")).unwrap();
            fs::write(files.join("src/version"), version).unwrap();
        }
        fs::create_dir_all(repository.sample.join("node_modules")).unwrap();
        fs::write(repository.sample.join("node_modules/left"), "").unwrap();

        repository.create().unwrap();
        repository.clone_to(&at("home")).unwrap();
        repository.release_next().unwrap();

        let checkout = at("home").join(CHECKOUT);
        let version = || fs::read_to_string(checkout.join("src/version")).unwrap();
        assert_eq!(version(), "1");
        assert!(!checkout.join("node_modules").exists());
        command::run(git().arg("-C").arg(&checkout).args(["pull", "--quiet"])).unwrap();
        assert_eq!(version(), "2");
    }
}
