//! A machine made of Linux namespaces: its own files at `/root`, `/tmp` and
//! `/etc/ssh`, its own processes, its own network with nothing but a loopback.
//! A real `sshd` listens on its port 22.
//!
//! Knows nothing of the platform: no ids, no API, no snapshots.

use super::processes::{self, Process};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::base::wait_for;

/// Where a machine has the directory with kept builds.
pub const BUILDS: &str = "/run/builds";

/// How long a part of a machine may take to start or to end.
const GRACE: Duration = Duration::from_secs(30);

/// A running machine. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
    init: u32,
    network: Arc<File>,
}

/// Fails with what is missing when machines cannot be made here.
pub fn possible() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "these tests make machines of Linux namespaces, which needs root: run them as root \
         (for example with `sudo -E env PATH=\"$PATH\" cargo xtask test -p vdeploy-tests`)"
    );
    let made = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--fork", "--mount-proc"])
        .args(["ip", "link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .output()
        .context("cannot start `unshare`: run `cargo xtask setup`")?;
    ensure!(
        made.status.success(),
        "no namespaces can be made here (a container without CAP_SYS_ADMIN?): {}",
        String::from_utf8_lossy(&made.stderr).trim()
    );
    sshd().map(drop)
}

/// Where the SSH server is. It insists on being started by its absolute path.
fn sshd() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(servers)
        .map(|dir| dir.join("sshd"))
        .find(|file| file.is_absolute() && file.is_file())
        .context("no sshd on this machine: run `cargo xtask setup`")
}

impl Machine {
    /// Starts a machine on a disk with `root`, `tmp` and `ssh` in it. `builds` is
    /// seen inside at [`BUILDS`]. With `free_mib`, `/root` is a copy on a file
    /// system with only so much left.
    pub fn start(disk: &Path, builds: &Path, free_mib: Option<u64>) -> Result<Self> {
        let size = free_mib.map(|mib| mib.to_string()).unwrap_or_default();
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "--mount-proc"])
            .args(["--kill-child=KILL", "sh", "-c", include_str!("init.sh")])
            .arg("init")
            .arg(disk)
            .arg(builds)
            .arg(BUILDS)
            .arg(size)
            .arg(sshd()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `unshare`: run `cargo xtask setup`")?;
        let mut line = String::new();
        if let Some(stdout) = unshare.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim() != "up" {
            let mut said = String::new();
            drop(unshare.stdin.take());
            if let Some(mut stderr) = unshare.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            unshare.wait()?;
            anyhow::bail!("a machine does not start: {}", said.trim());
        }
        let found = processes::child_of(unshare.id()).and_then(|init| {
            let network = File::open(format!("/proc/{init}/ns/net"))?;
            Ok((init, Arc::new(network)))
        });
        let (init, network) = match found {
            Ok(found) => found,
            Err(error) => {
                unshare.kill()?;
                unshare.wait()?;
                return Err(error);
            }
        };
        let machine = Self {
            unshare,
            init,
            network,
        };
        let ssh = SocketAddr::from(([127, 0, 0, 1], 22));
        wait_for("sshd", GRACE, || machine.network().connect(ssh).ok())?;
        Ok(machine)
    }

    /// A path on the machine, as seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// The network of the machine.
    pub fn network(&self) -> Network {
        Network(self.network.clone())
    }

    /// A program on the machine, in `dir`, with nothing in its environment but
    /// what a login has.
    pub fn command(&self, dir: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--pid", "--net"])
            .arg(format!("--wdns={dir}"))
            .args(["--", program])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/root")
            .stdin(Stdio::null());
        command
    }

    /// Every process, but for the two that hold the machine.
    pub fn processes(&self) -> Vec<Process> {
        processes::of_namespace(self.init)
    }

    /// Stops every process until [`Machine::thaw`].
    pub fn freeze(&self) -> Result<()> {
        wait_for("all processes to stop", GRACE, || {
            let active: Vec<_> = self
                .processes()
                .into_iter()
                .filter(|process| !process.is_stopped())
                .collect();
            for process in &active {
                process.signal(Signal::STOP);
            }
            active.is_empty().then_some(())
        })
    }

    /// Lets every process go on.
    pub fn thaw(&self) {
        for process in self.processes() {
            process.signal(Signal::CONT);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(init) = Pid::from_raw(self.init.cast_signed()) {
            let _ = rustix::process::kill_process(init, Signal::KILL);
        }
        drop(self.unshare.kill());
        drop(self.unshare.wait());
    }
}

/// The network of a machine; outlives it.
#[derive(Clone, Debug)]
pub struct Network(Arc<File>);

impl Network {
    /// Connects to an address inside.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.inside(move || TcpStream::connect_timeout(&address, Duration::from_secs(5)))
    }

    /// Listens on an address inside.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.inside(move || TcpListener::bind(address))
    }

    /// A socket belongs for ever to the network in which it was made, so a
    /// thread of its own goes there to make it.
    fn inside<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let network = self.0.clone();
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            make()
        });
        let ended = thread.join();
        ended.map_err(|_| io::Error::other("the thread in the network panicked"))?
    }
}
