//! One VM with its project file, state directory and git remote: the place of
//! one test.

use crate::base::{APP, Base, TOKEN, text, wait_for};
use crate::binary::git;
use crate::kept::REAL_COMPILER;
use crate::outcome::Ran;
use crate::remote::Remote;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A VM and what a person has beside it. The VM is deleted at the end, so that
/// no service of a finished test takes time from the others.
#[derive(Debug)]
pub struct Site<'a> {
    base: &'a Base,
    dir: PathBuf,
    /// The VM at the start.
    pub vm: String,
    /// Where the service comes from.
    pub remote: Remote,
}

/// VMs and snapshots that come from one VM.
#[derive(Debug, Default)]
pub struct Family {
    /// The VM itself too.
    pub vms: BTreeSet<String>,
    /// Of any of them.
    pub commits: Vec<String>,
}

impl<'a> Site<'a> {
    /// Writes a project file for `vm` in `dir`.
    pub fn new(base: &'a Base, dir: PathBuf, vm: String, remote: Remote) -> Result<Self> {
        let site = Self {
            base,
            dir,
            vm,
            remote,
        };
        site.write_project("")?;
        Ok(site)
    }

    /// Writes the project file: the target and `more`.
    pub fn write_project(&self, more: &str) -> Result<()> {
        let text = format!(
            "[targets.infra]\ntype = \"local\"\ndir = \"{}\"\nvm = \"{}\"\n\n{more}",
            self.base.cloud_dir().display(),
            self.vm
        );
        std::fs::write(self.dir.join("vdeploy.toml"), text)?;
        Ok(())
    }

    /// Writes a project file that reaches the VM as one of the platform,
    /// through `gateway`.
    pub fn write_platform_project(&self, gateway: &str, more: &str) -> Result<()> {
        let endpoints = self.base.endpoints()?;
        let key = self.dir.join("api-key");
        std::fs::write(&key, text(&endpoints, "api_key")?)?;
        let domain = text(&endpoints, "vm_domain")?;
        let project = format!(
            "[targets.infra]\ntype = \"vers\"\nvm = \"{}\"\nhost-key = \"first-use\"\n\
             api-url = \"{}\"\nvm-domain = \"{domain}\"\ngateway = \"{gateway}\"\n\
             ca-file = \"{}\"\nurl = \"https://{{vm}}.{domain}:{}\"\n\n\
             [secrets.vers-api-key]\nfile = \"{}\"\n\n{more}",
            self.vm,
            text(&endpoints, "api_url")?,
            text(&endpoints, "ca_file")?,
            self.base.router_port()?,
            key.display(),
        );
        std::fs::write(self.dir.join("vdeploy.toml"), project)?;
        Ok(())
    }

    /// The directory with the project file.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state directory of this site's runs.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// `vdeploy ARGS` as CI would call it: no terminal, no standard input, the
    /// token in the environment. Compiled plugins are shared between sites.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.base.program();
        command
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("CI", "true")
            .env("VDEPLOY_STATE", self.state())
            .envs(self.base.plugin_cache().clone())
            .env("VERS_AUTH_TOKEN", TOKEN);
        command
    }

    /// Runs `vdeploy ARGS` to its end.
    pub fn vdeploy(&self, args: &[&str]) -> Result<Ran> {
        let output = self.command(args).output()?;
        Ok(output.into())
    }

    /// `vdeploy run --plan default --json ARGS`, with a short stability window
    /// that still catches a crash after three seconds.
    pub fn deploy(&self, args: &[&str]) -> Result<Ran> {
        let mut all = vec!["run", "--plan", "default", "--json"];
        all.extend(args);
        self.vdeploy(&all)
    }

    /// From now on builds on its VM are made by the real compiler.
    pub fn ask_the_compiler(&self) -> Result<()> {
        let mark = self.home(&self.vm)?.join(REAL_COMPILER);
        Ok(std::fs::write(mark, "")?)
    }

    /// The home directory of a VM.
    pub fn home(&self, vm: &str) -> Result<PathBuf> {
        let vms = self.base.vms()?;
        let found = vms.into_iter().find(|(id, _)| id == vm);
        Ok(found.with_context(|| format!("no VM {vm}"))?.1)
    }

    /// The port on which this site's service listens on this machine.
    pub fn port(&self) -> Result<u64> {
        self.base.app_port(&self.vm)
    }

    /// The checkout on this site's VM.
    pub fn app_dir(&self) -> Result<PathBuf> {
        Ok(self.home(&self.vm)?.join(APP))
    }

    /// The log of the service.
    pub fn service_log(&self) -> Result<PathBuf> {
        let logs = self.home(&self.vm)?.join(".vdeploy/logs");
        Ok(logs.join(APP.replace('/', "%")).join("agent-services.log"))
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Result<String> {
        git(&self.app_dir()?, &["rev-parse", "HEAD"])
    }

    /// GET through the cloud's router, as from outside, with the token; status
    /// and body.
    pub fn get(&self, vm: &str, path: &str, token: Option<&str>) -> Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.base.router_port()?);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let mut request = agent.get(&url).header("Host", format!("{vm}.vm.localhost"));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call()?;
        let body = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), body))
    }

    /// The version that answers on a VM, if any does.
    pub fn version_on(&self, vm: &str) -> Option<String> {
        let (status, body) = self.get(vm, "/version", None).ok()?;
        let value: serde_json::Value = serde_json::from_str(&body).ok()?;
        (status == 200)
            .then(|| value.get("version")?.as_str().map(str::to_owned))
            .flatten()
    }

    /// The version that answers on this site's VM.
    pub fn version(&self) -> Option<String> {
        self.version_on(&self.vm)
    }

    /// Waits until the service answers.
    pub fn wait_for_service(&self) -> Result<String> {
        wait_for("the service", Duration::from_secs(30), || self.version())
    }

    /// Writes a task to the board, so that the data are not empty.
    pub fn add_task(&self, title: &str) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/board/tasks", self.base.router_port()?);
        ureq::post(&url)
            .header("Host", format!("{}.vm.localhost", self.vm))
            .header("Authorization", format!("Bearer {TOKEN}"))
            .header("Content-Type", "application/json")
            .send(format!(r#"{{"title":"{title}","createdBy":"test"}}"#))?;
        Ok(())
    }

    /// The VM of the site with those that come from it, and the snapshots of
    /// them all, as the cloud has them.
    pub fn family(&self) -> Result<Family> {
        let file = std::fs::read_to_string(self.base.cloud_dir().join("cloud.json"))?;
        let cloud: Value = serde_json::from_str(&file)?;
        let parents = |list: &str, key: &str| -> Vec<(String, String)> {
            let found = cloud.get(list).and_then(Value::as_object);
            found
                .into_iter()
                .flatten()
                .filter_map(|(id, of)| Some((id.clone(), of.get(key)?.as_str()?.to_owned())))
                .collect()
        };
        let mut vms = BTreeSet::from([self.vm.clone()]);
        let restored = parents("vms", "grandparent_vm_id");
        while let Some((id, _)) = restored
            .iter()
            .find(|(id, of)| vms.contains(of) && !vms.contains(id))
        {
            vms.insert(id.clone());
        }
        let commits = parents("commits", "parent_vm_id").into_iter();
        let commits = commits.filter(|(_, of)| vms.contains(of));
        let commits = commits.map(|(id, _)| id).collect();
        Ok(Family { vms, commits })
    }
}

/// They take time and room from others.
impl Drop for Site<'_> {
    fn drop(&mut self) {
        let family = self.family().unwrap_or_default();
        let vms = std::iter::once(&self.vm).chain(family.vms.iter().filter(|vm| **vm != self.vm));
        let vms = vms.map(|vm| format!("/vm/{vm}"));
        let commits = family.commits.iter().map(|id| format!("/commits/{id}"));
        // The first site of a cloud leaves its snapshot to all others.
        let commits = commits.filter(|_| self.base.is_complete());
        for path in vms.chain(commits) {
            if let Err(error) = self.base.api("DELETE", &path, None) {
                eprintln!("{path} was not deleted: {error:#}");
            }
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
