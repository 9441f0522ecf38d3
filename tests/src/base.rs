//! One local cloud for a whole test binary, with one VM on which the good
//! service was deployed by `vdeploy run --plan default`, and a snapshot of it.
//! Every test gets a VM of its own, restored from that snapshot.

use crate::binary::{git, profile_dir, run, vdeploy};
use crate::kept::{self, PluginCache, REAL_COMPILER};
use crate::outcome::Ran;
use crate::remote::Remote;
use crate::site::Site;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The token that every deployed service gets.
pub const TOKEN: &str = "e2e-token-0123456789-abcdef";
/// Where the service is checked out on a VM, below its home.
pub const APP: &str = "workspace/vers-agent-services";

/// The cloud and what is needed to make sites on it.
#[derive(Debug)]
pub struct Base {
    dir: TempDir,
    vdeploy: PathBuf,
    /// A program that runs another one in the namespaces of the cloud.
    enter: Option<PathBuf>,
    plugin_cache: PluginCache,
    remote: Remote,
    snapshot: String,
    /// How the first deploy went.
    pub first: Ran,
}

impl Base {
    /// Starts the cloud, deploys the good service to its first VM and takes a
    /// snapshot.
    pub fn start() -> Result<Self> {
        Self::start_in(None)
    }

    /// As [`Base::start`], with everything run by the program `enter`.
    pub fn start_in(enter: Option<PathBuf>) -> Result<Self> {
        let dir = TempDir::new()?;
        let vdeploy = vdeploy()?;
        let remote = Remote::create(dir.path())?;
        write_node(&dir.path().join("bin"))?;
        let mut base = Self {
            dir,
            vdeploy,
            enter,
            plugin_cache: kept::plugins()?,
            remote,
            snapshot: String::new(),
            first: Ran {
                code: -1,
                stdout: String::new(),
                stderr: String::new(),
            },
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(base.dir.path().join("bin")).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs)?;
        run(base
            .program()
            .args(["local", "up", "--detach", "--dir"])
            .arg(base.cloud_dir())
            .env("PATH", path))?;
        let vm = base
            .vms()?
            .first()
            .context("the cloud has no VM")?
            .0
            .clone();
        let dir = base.dir.path().join("first");
        std::fs::create_dir_all(&dir)?;
        let site = Site::new(
            &base,
            dir,
            vm.clone(),
            Remote::copy_of(&base.remote, base.dir.path().join("first").as_path())?,
        )?;
        let checkout = site.app_dir()?;
        std::fs::create_dir_all(checkout.parent().context("no parent")?)?;
        let remote = base.remote.path().display().to_string();
        git(
            base.dir.path(),
            &["clone", "--quiet", &remote, &checkout.display().to_string()],
        )?;
        site.ask_the_compiler()?;
        let first = {
            let _one_at_a_time = kept::compile_plugins();
            site.deploy(&[])?.expect_code(0)?
        };
        std::fs::remove_file(site.home(&site.vm)?.join(REAL_COMPILER))?;
        let id = base.api("POST", &format!("/vm/{vm}/commit"), Some("{}"))?;
        drop(site);
        base.first = first;
        base.snapshot = text(&id, "commit_id")?;
        Ok(base)
    }

    /// A site of its own for one test: a restored VM, a copy of the remote, an
    /// empty state directory. The good service runs on it.
    pub fn site(&self) -> Result<Site<'_>> {
        let body = format!(r#"{{"commit_id":"{}"}}"#, self.snapshot);
        let vm = text(&self.api("POST", "/vm/from_commit", Some(&body))?, "vm_id")?;
        let dir = self.dir.path().join(format!("site-{vm}"));
        std::fs::create_dir_all(&dir)?;
        let remote = Remote::copy_of(&self.remote, &dir)?;
        let site = Site::new(self, dir, vm, remote)?;
        let origin = site.remote.path().display().to_string();
        git(&site.app_dir()?, &["remote", "set-url", "origin", &origin])?;
        site.wait_for_service()?;
        Ok(site)
    }

    /// A VM of its own with a checkout and nothing built or running.
    pub fn bare_site(&self) -> Result<Site<'_>> {
        let vm = text(
            &self.api("POST", "/vm/new_root", Some(r#"{"vm_config":{}}"#))?,
            "vm_id",
        )?;
        let dir = self.dir.path().join(format!("site-{vm}"));
        std::fs::create_dir_all(&dir)?;
        let remote = Remote::copy_of(&self.remote, &dir)?;
        let site = Site::new(self, dir, vm, remote)?;
        let checkout = site.app_dir()?;
        std::fs::create_dir_all(checkout.parent().context("no parent")?)?;
        let origin = site.remote.path().display().to_string();
        git(
            self.dir.path(),
            &["clone", "--quiet", &origin, &checkout.display().to_string()],
        )?;
        Ok(site)
    }

    /// Whether the snapshot is there from which sites are made.
    pub(crate) fn is_complete(&self) -> bool {
        !self.snapshot.is_empty()
    }

    /// The cloud's directory.
    pub fn cloud_dir(&self) -> PathBuf {
        self.dir.path().join("cloud")
    }

    /// The binary under test.
    pub fn vdeploy(&self) -> &Path {
        &self.vdeploy
    }

    /// Variables that name where compiled plugins are kept.
    pub fn plugin_cache(&self) -> &PluginCache {
        &self.plugin_cache
    }

    /// A command that runs the binary under test beside the cloud.
    pub fn program(&self) -> Command {
        match &self.enter {
            None => Command::new(&self.vdeploy),
            Some(enter) => {
                let mut command = Command::new(enter);
                command.arg(&self.vdeploy);
                command
            }
        }
    }

    /// A node of another major version than the machine's: the real program,
    /// from the registry that the builds use. It is fetched once.
    pub fn other_node(&self) -> Result<PathBuf> {
        static FETCHED: Mutex<()> = Mutex::new(());
        let _one_at_a_time = FETCHED
            .lock()
            .map_err(|_| anyhow::anyhow!("a fetch panicked"))?;
        let own = run(Command::new("node").arg("--version"))?;
        let is_22 = String::from_utf8_lossy(&own.stdout).starts_with("v22.");
        let version = if is_22 { "20" } else { "22" };
        let machine = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "x64",
        };
        let name = format!("node-linux-{machine}");
        let dir = profile_dir()?.join("other-node");
        let node = dir.join("node_modules").join(&name).join("bin/node");
        if !node.is_file() {
            std::fs::create_dir_all(&dir)?;
            run(Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                ])
                .arg(&dir)
                .arg(format!("{name}@{version}")))?;
        }
        Ok(node)
    }

    /// VMs of the cloud with their home directories.
    pub fn vms(&self) -> Result<Vec<(String, PathBuf)>> {
        let status = self.status()?;
        let vms = status
            .get("vms")
            .and_then(Value::as_array)
            .context("no vms")?;
        vms.iter()
            .map(|vm| Ok((text(vm, "vm-id")?, PathBuf::from(text(vm, "home")?))))
            .collect()
    }

    /// The port on which a VM's service listens on this machine.
    pub fn app_port(&self, vm: &str) -> Result<u64> {
        let status = self.status()?;
        let vms = status
            .get("vms")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        vms.into_iter()
            .find(|found| found.get("vm-id").and_then(Value::as_str) == Some(vm))
            .and_then(|found| found.get("app-port")?.as_u64())
            .with_context(|| format!("no port of VM {vm} in {status}"))
    }

    /// The cloud's router port.
    pub fn router_port(&self) -> Result<u64> {
        self.status()?
            .get("router-port")
            .and_then(Value::as_u64)
            .context("no router port")
    }

    fn status(&self) -> Result<Value> {
        let output = run(self
            .program()
            .args(["local", "status", "--json", "--dir"])
            .arg(self.cloud_dir()))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Where the cloud is reached, and with which key.
    pub fn endpoints(&self) -> Result<Value> {
        let file = std::fs::read_to_string(self.cloud_dir().join("endpoints.json"))?;
        Ok(serde_json::from_str(&file)?)
    }

    /// A call of the cloud's REST API.
    pub fn api(&self, method: &str, path: &str, body: Option<&str>) -> Result<Value> {
        let endpoints = self.endpoints()?;
        let url = format!("{}/api/v1{path}", text(&endpoints, "api_url")?);
        let key = text(&endpoints, "api_key")?;
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .body(body.unwrap_or_default().to_owned())?;
        let mut answer = ureq::run(request).with_context(|| format!("{method} {path}"))?;
        let body = answer.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let down = run(self
            .program()
            .args(["local", "down", "--dir"])
            .arg(self.cloud_dir()));
        if let Err(error) = down {
            eprintln!("the local cloud was not stopped: {error:#}");
        }
    }
}

/// A `node` for the PATH of VMs: a VM's own one in `~/.node`, else the one that
/// keeps builds.
fn write_node(bin: &Path) -> Result<()> {
    std::fs::create_dir(bin)?;
    let script = format!(
        "#!/bin/sh\n[ -x \"$HOME/.node/node\" ] && exec \"$HOME/.node/node\" \"$@\"\nexec '{}' \"$@\"\n",
        kept::builds()?.join("bin/node").display()
    );
    kept::write_program(&bin.join("node"), &script)
}

/// A string of a JSON object.
pub fn text(value: &Value, key: &str) -> Result<String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("no `{key}` in {value}"))
}

/// Polls until `look` finds something, for at most `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        anyhow::ensure!(
            Instant::now() < until,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
