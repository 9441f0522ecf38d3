//! The place of one test: an account, a VM, a git remote, a directory with
//! project file and state, and a way to look at the VM from outside.

use super::fault::{ApiFault, Call, How, VmFault};
use super::front;
use super::line::Line;
use super::outer::Outer;
use super::vm::Vm;
use super::watched::Counts;
use super::world::{DOMAIN, World};
use crate::base::{APP, TOKEN, wait_for};
use crate::outcome::Ran;
use crate::remote::Remote;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How the project reaches the VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// As a VM of the platform: through its API and its front.
    Vers,
    /// As any server: by plain TCP, with a key file.
    Ssh,
}

/// Everything that one test has. Its VMs end with it.
#[derive(Debug)]
pub struct Place<'a> {
    world: &'a World,
    kind: Kind,
    dir: PathBuf,
    /// Where the service comes from.
    pub remote: Remote,
    /// What its VMs find outside.
    pub outer: Arc<Outer>,
    /// The API key of its account.
    pub key: String,
    /// The VM at the start.
    pub vm: Uuid,
    /// Ports on the loopback that lead to the service of a VM.
    doors: Mutex<BTreeMap<Uuid, u16>>,
}

/// What the account has made on the platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    /// Commits.
    pub commits: usize,
    /// VMs, without the one that was there at the start.
    pub vms: usize,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        world: &'a World,
        kind: Kind,
        dir: PathBuf,
        remote: Remote,
        outer: Arc<Outer>,
        key: String,
    ) -> Self {
        Self {
            world,
            kind,
            dir,
            remote,
            outer,
            key,
            vm: Uuid::nil(),
            doors: Mutex::default(),
        }
    }

    /// Writes the project file for this VM.
    pub(super) fn at(mut self, vm: Uuid) -> Result<Self> {
        self.vm = vm;
        self.write_project()?;
        Ok(self)
    }

    /// Writes the project file.
    fn write_project(&self) -> Result<()> {
        self.write_target(&self.target(None)?, "")
    }

    /// Writes a project file whose VM is looked up in the registry of the
    /// service on it.
    pub fn write_registry_project(&self) -> Result<()> {
        let registry = format!("vm-registry = \"{}\"", self.door(self.vm)?);
        let target = self.vers_target(&registry, self.world.ports.ssh)?;
        self.write_target(&target, "")
    }

    /// Writes the project file with more keys of its target, which is perhaps
    /// reached over `line`.
    pub fn write_project_over(&self, line: Option<&Line>, keys: &str) -> Result<()> {
        let target = self.target(line)?;
        self.write_target(&format!("{target}{keys}"), "")
    }

    /// A line to where SSH is reached: the platform's port, or the server's.
    pub fn line(&self) -> Result<Line> {
        let port = match self.kind {
            Kind::Vers => self.world.ports.ssh,
            Kind::Ssh => self.ssh_port()?,
        };
        Line::to(self.world.runtime.handle(), port)
    }

    /// Writes the project file with a target of the test's own.
    pub fn write_target(&self, target: &str, more: &str) -> Result<()> {
        let text = format!("[targets.infra]\n{target}\n{more}");
        std::fs::write(self.dir.join("vdeploy.toml"), text)?;
        Ok(())
    }

    /// The target in the project file.
    fn target(&self, line: Option<&Line>) -> Result<String> {
        match (self.kind, line) {
            (Kind::Vers, _) => {
                let vm = format!("vm = \"{}\"", self.vm);
                let gateway = line.map_or(self.world.ports.ssh, |line| line.port);
                self.vers_target(&vm, gateway)
            }
            (Kind::Ssh, Some(line)) => self.ssh_target(line.port),
            (Kind::Ssh, None) => self.ssh_target(self.ssh_port()?),
        }
    }

    /// `which` says which VM it is.
    fn vers_target(&self, which: &str, gateway: u16) -> Result<String> {
        let ports = self.world.ports;
        Ok(format!(
            "type = \"vers\"\n{which}\nhost-key = \"{}\"\n\
             api-url = \"https://localhost:{}\"\nvm-domain = \"{DOMAIN}\"\n\
             gateway = \"127.0.0.1:{}\"\nurl = \"https://{{vm}}.{DOMAIN}:{}\"\n\
             ca-file = \"{}\"\n",
            self.vm(self.vm)?.host_key()?,
            ports.api,
            gateway,
            ports.service,
            self.world.ca_file.display(),
        ))
    }

    /// No configuration of the user and no agent: only what stands here.
    fn ssh_target(&self, port: u16) -> Result<String> {
        let vm = self.vm(self.vm)?;
        Ok(format!(
            "type = \"ssh\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\n\
             identity-file = \"{}\"\nagent = false\nssh-config = false\n\
             host-key = \"{}\"\nurl = \"{}\"\n",
            vm.key_file().display(),
            vm.host_key()?,
            self.door(self.vm)?,
        ))
    }

    /// A port on the loopback that leads to the VM's SSH server by plain TCP.
    pub fn ssh_port(&self) -> Result<u16> {
        let vm = self.vm(self.vm)?;
        front::open_plain(self.world.runtime.handle(), &vm, front::SSH)
    }

    /// Where the platform's API is, without a path.
    pub fn api_url(&self) -> String {
        format!("https://localhost:{}", self.world.ports.api)
    }

    /// The authority of the platform's certificates.
    pub fn ca_file(&self) -> &Path {
        &self.world.ca_file
    }

    /// The directory with the project file. It is the user's home too.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `vdeploy ARGS` as CI would call it: no terminal, no standard input, the
    /// secrets in the environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.world.vdeploy());
        command
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("CI", "true")
            .env("VDEPLOY_STATE", self.dir.join("state"))
            .envs(self.world.plugin_cache.clone())
            .env("VERS_AUTH_TOKEN", TOKEN);
        if self.kind == Kind::Vers {
            command.env("VERS_API_KEY", &self.key);
        }
        command
    }

    /// Runs `vdeploy ARGS` to its end.
    pub fn vdeploy(&self, args: &[&str]) -> Result<Ran> {
        Ok(self.command(args).output()?.into())
    }

    /// `vdeploy run --plan default --json ARGS`.
    pub fn deploy(&self, args: &[&str]) -> Result<Ran> {
        let mut all = vec!["run", "--plan", "default", "--json"];
        all.extend(args);
        self.vdeploy(&all)
    }

    /// A VM of the platform.
    pub fn vm(&self, id: Uuid) -> Result<Arc<Vm>> {
        let vm = self.world.cloud.vm(id);
        vm.with_context(|| format!("no VM {id}"))
    }

    /// Sets what goes wrong at the platform, instead of what was set before.
    pub fn set_faults(&self, api: &[ApiFault], vms: &[VmFault]) {
        let mut state = self.world.cloud.state();
        if let Some(account) = state.accounts.get_mut(&self.key) {
            account.faults.set(api, vms);
        }
    }

    /// Whether anything from outside reaches a VM.
    pub fn set_reachable(&self, id: Uuid, reachable: bool) {
        if let Some(entry) = self.world.cloud.state().vms.get_mut(&id) {
            entry.reachable = reachable;
        }
    }

    /// The platform freezes the VM.
    pub fn pause(&self) -> Result<()> {
        self.world.cloud.pause(self.vm)
    }

    /// What the platform says of the VM from now on; nothing reaches one that
    /// does not run.
    pub fn set_state(&self, state: &'static str) {
        self.world.cloud.set_state(self.vm, state);
    }

    /// Everything works again, and what was frozen or away is back.
    pub fn heal(&self) -> Result<()> {
        self.set_faults(&[], &[]);
        self.set_reachable(self.vm, true);
        self.outer.up()
    }

    /// The VMs of the account tell what happens on them, also those that are
    /// made later; `stop` has their commands stopped.
    pub fn watch(&self, stop: bool) -> Result<()> {
        if let Some(account) = self.world.cloud.state().accounts.get_mut(&self.key) {
            account.watched = Some(stop);
        }
        self.vms().iter().try_for_each(|vm| vm.watch(stop))
    }

    /// No command is stopped any more.
    pub fn stop_nothing(&self) -> Result<()> {
        if let Some(account) = self.world.cloud.state().accounts.get_mut(&self.key) {
            account.watched = account.watched.map(|_| false);
        }
        self.vms().iter().try_for_each(|vm| vm.stop_nothing())
    }

    /// The VMs of the account, oldest first.
    pub fn vms(&self) -> Vec<Arc<Vm>> {
        let state = self.world.cloud.state();
        let owner = state.accounts.get(&self.key).map(|account| account.owner);
        let mut own: Vec<_> = state
            .vms
            .values()
            .filter(|entry| Some(entry.owner) == owner)
            .collect();
        own.sort_by_key(|entry| entry.created_at);
        own.into_iter().map(|entry| entry.vm.clone()).collect()
    }

    /// How often each change happened on the VMs of the account.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for vm in self.vms() {
            vm.count(&mut counts);
        }
        counts
    }

    /// Every call of the account, with what went wrong with it.
    pub fn calls(&self) -> Vec<(Call, Option<How>)> {
        let state = self.world.cloud.state();
        let account = state.accounts.get(&self.key);
        account
            .map(|account| account.calls.clone())
            .unwrap_or_default()
    }

    /// What the account has made so far.
    pub fn made(&self) -> Made {
        let state = self.world.cloud.state();
        let owner = state.accounts.get(&self.key).map(|account| account.owner);
        let commits = state.commits.values();
        let vms = state.vms.values();
        Made {
            commits: commits.filter(|c| Some(c.owner) == owner).count(),
            vms: vms
                .filter(|v| Some(v.owner) == owner)
                .count()
                .saturating_sub(1),
        }
    }

    /// What the platform's list says of a VM.
    pub fn state_of(&self, id: Uuid) -> Option<&'static str> {
        self.world
            .cloud
            .state()
            .vms
            .get(&id)
            .map(|entry| entry.state)
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Result<String> {
        self.vm(self.vm)?
            .shell(&format!("git -C {APP} rev-parse HEAD"))
    }

    /// Where the service of a VM is reached from outside.
    pub fn door(&self, id: Uuid) -> Result<String> {
        let name = format!("{id}.{DOMAIN}");
        let vm = self.world.cloud.reached(&name).context("unreachable")?;
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let port = match doors.get(&id) {
            Some(port) => *port,
            None => {
                let handle = self.world.runtime.handle();
                let port = front::open_plain(handle, &vm, front::SERVICE)?;
                doors.insert(id, port);
                port
            }
        };
        Ok(format!("http://127.0.0.1:{port}"))
    }

    /// GET from outside, over IPv6 in the VM; status and body.
    pub fn get(&self, vm: Uuid, path: &str, token: Option<&str>) -> Result<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let mut request = agent.get(format!("{}{path}", self.door(vm)?));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call()?;
        let body = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), body))
    }

    /// POST from outside with the token.
    pub fn post(&self, path: &str, body: &str) -> Result<()> {
        ureq::post(format!("{}{path}", self.door(self.vm)?))
            .header("Authorization", format!("Bearer {TOKEN}"))
            .header("Content-Type", "application/json")
            .send(body)?;
        Ok(())
    }

    /// The version that answers on a VM, if any does.
    pub fn version(&self, vm: Uuid) -> Option<String> {
        let (status, body) = self.get(vm, "/version", None).ok()?;
        let value: serde_json::Value = serde_json::from_str(&body).ok()?;
        (status == 200)
            .then(|| value.get("version")?.as_str().map(str::to_owned))
            .flatten()
    }

    /// Waits until the service answers.
    pub fn wait_for_service(&self) -> Result<String> {
        let limit = Duration::from_secs(60);
        wait_for("the service", limit, || self.version(self.vm))
    }

    /// Writes a task to the board and waits until it is on the disk.
    pub fn add_task(&self, title: &str) -> Result<()> {
        let task = format!(r#"{{"title":"{title}","createdBy":"test"}}"#);
        self.post("/board/tasks", &task)?;
        let vm = self.vm(self.vm)?;
        let look = format!("grep -rqs '{title}' {APP}/data");
        wait_for("the task on the disk", Duration::from_secs(30), || {
            vm.shell(&look).ok()
        })?;
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.world.cloud.close_account(&self.key);
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
