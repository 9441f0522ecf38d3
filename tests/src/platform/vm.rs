//! A VM: a disk, a machine that runs on it, and the key that opens it. And
//! what is left of a VM in a snapshot: the disk, and what was running.
//!
//! On the platform the memory is in the snapshot. Here each process that
//! listens on a port is started again with the arguments, environment and
//! directory that it had.

use super::machine::{BUILDS, Machine};
use super::processes::{Process, Started};
use crate::base::wait_for;
use crate::binary::run;
use crate::kept;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A running VM. Dropping it ends its processes and removes its disk.
#[derive(Debug)]
pub struct Vm {
    /// What it runs on.
    pub machine: Machine,
    /// The private key of its login, in OpenSSH's form.
    pub login_key: String,
    // After the machine: fields end in this order.
    dir: OwnDir,
}

/// A directory that ends with its owner.
#[derive(Debug)]
struct OwnDir(PathBuf);

impl Drop for OwnDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A stored VM.
#[derive(Debug)]
pub struct Stored {
    disk: PathBuf,
    services: Vec<Started>,
}

/// An empty disk with a host key.
pub fn new_disk(disk: &Path) -> Result<Stored> {
    for part in PARTS {
        std::fs::create_dir_all(disk.join(part))?;
    }
    new_key(&disk.join("ssh/host_key"))?;
    Ok(Stored {
        disk: disk.to_owned(),
        services: Vec::new(),
    })
}

/// Shows the record of a lease that counts.
const NEWEST_LEASE: &str = "cd .vdeploy-lease && readlink \"$(ls -d r.* | sort | tail -n 1)\"";

/// The directories of a disk, and where they are seen inside.
const PARTS: [&str; 3] = ["root", "tmp", "ssh"];
const INSIDE: [&str; 3] = ["/root", "/tmp", "/etc/ssh"];

impl Vm {
    /// Starts what was stored, as a VM of its own below `dir`.
    pub fn start(dir: PathBuf, stored: &Stored, free_mib: Option<u64>) -> Result<Self> {
        let dir = OwnDir(dir);
        let disk = dir.0.join("disk");
        std::fs::create_dir_all(&disk)?;
        for part in PARTS {
            copy(&stored.disk.join(part), &disk.join(part))?;
        }
        let key = dir.0.join("login");
        new_key(&key)?;
        std::fs::copy(
            key.with_extension("pub"),
            disk.join("ssh").join("authorized_keys"),
        )?;
        std::fs::write(disk.join("ssh/sshd_config"), sshd_config())?;
        let vm = Self {
            machine: Machine::start(&disk, &kept::builds()?, free_mib)?,
            login_key: std::fs::read_to_string(&key)?,
            dir,
        };
        for service in &stored.services {
            vm.start_service(service)?;
        }
        Ok(vm)
    }

    fn start_service(&self, service: &Started) -> Result<()> {
        let directory = service.directory.to_str().context("an odd directory")?;
        let mut command = self.machine.command(directory, "setsid");
        command
            .args(["sh", "-c", "log=$1; shift; exec \"$@\" >>\"$log\" 2>&1 &"])
            .arg("service")
            .arg(&service.output)
            .args(&service.argv)
            .env_clear()
            .envs(service.environment.iter().cloned());
        run(&mut command).map(drop)
    }

    /// Stores the VM below `dir`. It stands still meanwhile.
    pub fn store(&self, dir: &Path) -> Result<Stored> {
        self.machine.freeze()?;
        let stored = self.store_frozen(dir);
        self.machine.thaw();
        stored
    }

    fn store_frozen(&self, dir: &Path) -> Result<Stored> {
        std::fs::create_dir_all(dir)?;
        for (part, inside) in PARTS.into_iter().zip(INSIDE) {
            copy(&self.machine.path(inside), &dir.join(part))?;
        }
        let services = self
            .machine
            .processes()
            .into_iter()
            .filter(|process| process.name() != "sshd" && process.listens())
            .map(|process| process.started())
            .collect::<Result<_>>()?;
        Ok(Stored {
            disk: dir.to_owned(),
            services,
        })
    }

    /// A shell script on the VM, as root in the home directory; what it prints.
    pub fn shell(&self, script: &str) -> Result<String> {
        let mut command = self.machine.command("/root", "sh");
        let output = run(command.args(["-c", script]).stderr(Stdio::piped()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The processes with this short name.
    pub fn processes_named(&self, name: &str) -> Vec<Process> {
        let all = self.machine.processes().into_iter();
        all.filter(|process| process.name() == name).collect()
    }

    /// Ends the processes with this short name at once, and waits for it.
    pub fn end(&self, name: &str) -> Result<()> {
        for process in self.processes_named(name) {
            process.signal(Signal::KILL);
        }
        wait_for(name, Duration::from_secs(30), || {
            self.processes_named(name).is_empty().then_some(())
        })
    }

    /// How many connections its SSH server has seen so far.
    pub fn connections(&self) -> Result<usize> {
        let count = "grep -c '^Connection from ' /run/sshd.log || true";
        Ok(self.shell(count)?.parse()?)
    }

    /// Who has the lease on it: the run, or `-` for nobody.
    pub fn lease(&self) -> Result<String> {
        let record = self.shell(NEWEST_LEASE)?;
        Ok(record.split(':').next().unwrap_or_default().to_owned())
    }

    /// Whether the last lease on it has run out.
    pub fn lease_is_over(&self) -> Result<bool> {
        let script = format!("lease=$({NEWEST_LEASE}) && echo \"${{lease##*:}} $(date +%s)\"");
        let told = self.shell(&script)?;
        let (end, now) = told.split_once(' ').context("no lease")?;
        Ok(now.parse::<u64>()? > end.parse::<u64>()?)
    }

    /// The file with the login key.
    pub fn key_file(&self) -> PathBuf {
        self.dir.0.join("login")
    }

    /// The fingerprint of the host key.
    pub fn host_key(&self) -> Result<String> {
        let output = run(Command::new("ssh-keygen")
            .args(["-l", "-E", "sha256", "-f"])
            .arg(self.machine.path("/etc/ssh/host_key.pub")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = text.split_whitespace().nth(1);
        Ok(word.context("no fingerprint")?.to_owned())
    }
}

/// The directory with all that is in it and all attributes; shares blocks where
/// the file system can.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    run(Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .arg(from.join("."))
        .arg(to))
    .map(drop)
}

fn new_key(path: &Path) -> Result<()> {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f"])
        .arg(path)
        .stdin(Stdio::null()))
    .map(drop)
}

/// Sessions get the tests' own PATH: node may be anywhere. Before it comes the
/// `node` that keeps builds. The log has a line
/// for each connection.
fn sshd_config() -> String {
    format!(
        "Port 22\nHostKey /etc/ssh/host_key\nAuthorizedKeysFile /etc/ssh/authorized_keys\n\
         PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
         LogLevel VERBOSE\nSetEnv \"PATH={BUILDS}/bin:{}\"\n",
        std::env::var("PATH").unwrap_or_default()
    )
}
