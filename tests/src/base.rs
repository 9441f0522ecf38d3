//! One local cloud for a whole test binary, with one VM on which the good
//! service was deployed by `vdeploy run --plan default`, and a snapshot of it.
//! Every test gets a VM of its own, restored from that snapshot.

use crate::binary::{git, run, vdeploy};
use crate::outcome::Ran;
use crate::remote::Remote;
use crate::site::Site;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
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
    remote: Remote,
    snapshot: String,
    /// How the first deploy went.
    pub first: Ran,
}

impl Base {
    /// Starts the cloud, deploys the good service to its first VM and takes a
    /// snapshot.
    pub fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let vdeploy = vdeploy()?;
        let remote = Remote::create(dir.path())?;
        run(Command::new(&vdeploy)
            .args(["local", "up", "--detach", "--dir"])
            .arg(dir.path().join("cloud")))?;
        let mut base = Self {
            dir,
            vdeploy,
            remote,
            snapshot: String::new(),
            first: Ran {
                code: -1,
                stdout: String::new(),
                stderr: String::new(),
            },
        };
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
        let first = site.deploy(&[])?.expect_code(0)?;
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

    /// The cloud's directory.
    pub fn cloud_dir(&self) -> PathBuf {
        self.dir.path().join("cloud")
    }

    /// The binary under test.
    pub fn vdeploy(&self) -> &Path {
        &self.vdeploy
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

    /// The cloud's router port.
    pub fn router_port(&self) -> Result<u64> {
        self.status()?
            .get("router-port")
            .and_then(Value::as_u64)
            .context("no router port")
    }

    fn status(&self) -> Result<Value> {
        let output = run(Command::new(&self.vdeploy)
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
        let down = run(Command::new(&self.vdeploy)
            .args(["local", "down", "--dir"])
            .arg(self.cloud_dir()));
        if let Err(error) = down {
            eprintln!("the local cloud was not stopped: {error:#}");
        }
    }
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
