//! The whole platform for one test binary: API, front, and a commit of a VM on
//! which the good service was deployed by `vdeploy run`. Each test gets an
//! account and a VM of its own, made from that commit.

use super::certificates;
use super::cloud::Cloud;
use super::front;
use super::machine;
use super::outer::{Outer, REGISTRY, REMOTE};
use super::place::{Kind, Place};
use super::vm::new_disk;
use crate::base::{APP, wait_for};
use crate::binary::{git, run, vdeploy};
use crate::fixtures;
use crate::kept::{self, PluginCache, REAL_COMPILER};
use crate::outcome::Ran;
use crate::remote::Remote;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Longer than a lease on a target lasts.
const LEASE: Duration = Duration::from_secs(60);

/// VMs are `{vm}.DOMAIN`.
pub const DOMAIN: &str = "vm.localhost";

/// The platform and what is needed to make places on it.
#[derive(Debug)]
pub struct World {
    pub(super) cloud: Arc<Cloud>,
    pub(super) runtime: Runtime,
    pub(super) ports: Ports,
    pub(super) ca_file: PathBuf,
    pub(super) plugin_cache: PluginCache,
    vdeploy: PathBuf,
    remote: Remote,
    packages: PathBuf,
    places: AtomicUsize,
    commit: Uuid,
    /// How the first deploy went.
    pub first: Option<Ran>,
    // Last: everything above has its files here.
    dir: TempDir,
}

/// What makes the builds of the sample service on the VMs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compiler {
    /// The real one, each time.
    Real,
    /// The real one once for each source; see [`kept`].
    Kept,
}

/// Where the platform listens, on the loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The API, by HTTPS.
    pub api: u16,
    /// SSH in TLS.
    pub ssh: u16,
    /// The services, in TLS.
    pub service: u16,
}

impl World {
    /// Starts the platform, deploys the good service to its first VM and stores
    /// that as a commit.
    pub fn start(compiler: Compiler) -> Result<Self> {
        machine::possible()?;
        let dir = TempDir::new()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let ca_file = dir.path().join("ca.pem");
        let tls = certificates::make(&ca_file, DOMAIN)?;
        let cloud = Arc::new(Cloud::new(dir.path().join("cloud")));
        let handle = runtime.handle();
        let ports = Ports {
            api: super::api::open(handle, cloud.clone(), tls.clone())?,
            ssh: front::open(handle, cloud.clone(), tls.clone(), front::SSH)?,
            service: front::open(handle, cloud.clone(), tls, front::SERVICE)?,
        };
        let packages = dir.path().join("packages");
        pack(&packages)?;
        let mut world = Self {
            cloud,
            ports,
            ca_file,
            plugin_cache: kept::plugins()?,
            vdeploy: vdeploy()?,
            remote: Remote::create(dir.path())?,
            packages,
            places: AtomicUsize::new(0),
            commit: Uuid::nil(),
            first: None,
            runtime,
            dir,
        };
        world.prepare(compiler)?;
        Ok(world)
    }

    /// The first deploy, to a VM with nothing but a checkout.
    fn prepare(&mut self, compiler: Compiler) -> Result<()> {
        let disk = self.dir.path().join("disk");
        let stored = new_disk(&disk)?;
        let home = disk.join("root");
        let npmrc = format!("registry={REGISTRY}\nfetch-retries=0\n");
        std::fs::write(home.join(".npmrc"), npmrc)?;
        self.fill_npm_cache(&home.join(".npm"))?;
        let checkout = home.join(APP);
        std::fs::create_dir_all(checkout.parent().context("no parent")?)?;
        let (from, to) = (self.remote.path().display(), checkout.display());
        git(
            self.dir.path(),
            &["clone", "--quiet", &from.to_string(), &to.to_string()],
        )?;
        git(&checkout, &["remote", "set-url", "origin", REMOTE])?;
        let (first, commit) = {
            let place = self.new_place(Kind::Vers)?;
            let vm = self.cloud.make_vm(&place.key, &stored, None)?;
            let place = place.at(vm)?;
            let mark = place.vm(vm)?.machine.path("/root").join(REAL_COMPILER);
            std::fs::write(&mark, "")?;
            let first = {
                let _one_at_a_time = kept::compile_plugins();
                place.deploy(&[])?.expect_code(0)?
            };
            if compiler == Compiler::Kept {
                std::fs::remove_file(mark)?;
            }
            // On a busy machine it may not have been given back in time; then it
            // runs out, and no copy of the VM may hold one.
            let free = || {
                let vm = place.vm(vm).ok()?;
                (vm.lease().ok()? == "-" || vm.lease_is_over().ok()?).then_some(())
            };
            wait_for("the lease of the first deploy", LEASE, free)?;
            let nothing = (None, None, None);
            let commit = self.cloud.commit(&place.key, vm, nothing)?;
            if let Some(commit) = self.cloud.state().commits.get_mut(&commit) {
                // Kept when the account is closed, and open to all others.
                commit.public = true;
                commit.owner = Uuid::nil();
            }
            (first, commit)
        };
        self.first = Some(first);
        self.commit = commit;
        Ok(())
    }

    /// The only time that packages come from the real registry.
    fn fill_npm_cache(&self, cache: &Path) -> Result<()> {
        let dir = self.dir.path().join("npm");
        std::fs::create_dir_all(&dir)?;
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            std::fs::copy(fixtures().join("agent-services").join(file), dir.join(file))?;
        }
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--cache"])
            .arg(cache)
            .current_dir(&dir))?;
        std::fs::remove_dir_all(&dir)?;
        Ok(())
    }

    /// An account with a directory and a remote, without a VM.
    fn new_place(&self, kind: Kind) -> Result<Place<'_>> {
        let number = self.places.fetch_add(1, Ordering::SeqCst);
        let dir = self.dir.path().join(format!("place-{number}"));
        std::fs::create_dir_all(&dir)?;
        let remote = Remote::copy_of(&self.remote, &dir)?;
        let outer = Arc::new(Outer::new(&dir, &self.packages));
        let key = self.cloud.open_account(outer.clone());
        Ok(Place::new(self, kind, dir, remote, outer, key))
    }

    /// A place of its own for one test: the good service runs there. With
    /// `free_mib`, its `/root` has only so much space left.
    pub fn place(&self, kind: Kind, free_mib: Option<u64>) -> Result<Place<'_>> {
        let place = self.new_place(kind)?;
        let commit = self.cloud.state().commits.get(&self.commit).cloned();
        let stored = commit.context("no first commit")?.stored;
        if let Some(account) = self.cloud.state().accounts.get_mut(&place.key) {
            account.free_mib = free_mib;
        }
        let vm = self.cloud.make_vm(&place.key, &stored, Some(self.commit))?;
        let place = place.at(vm)?;
        place.wait_for_service()?;
        Ok(place)
    }

    /// The binary under test.
    pub fn vdeploy(&self) -> &Path {
        &self.vdeploy
    }
}

/// Makes the tarballs of the packages that only the tests' registry has.
fn pack(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(fixtures().join("packages"))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("an odd name")?;
        // npm takes the first directory off, whatever it is called.
        run(Command::new("tar")
            .arg("--create")
            .arg("--gzip")
            .arg("--file")
            .arg(to.join(format!("{name}.tgz")))
            .arg("--directory")
            .arg(fixtures().join("packages"))
            .arg(name))?;
    }
    Ok(())
}
