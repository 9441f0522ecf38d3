//! A real OpenSSH server of the benchmark's own, with and without TLS and delay
//! before it.

use super::{delay, front};
use anyhow::{Context as _, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_core::backoff::Backoff;

/// The key exchange of every connection that is measured, on both sides: the
/// server offers no other, for the post-quantum ones cost more than all else.
pub const KEX: &str = "curve25519-sha256";
/// The cipher of every connection that is measured.
pub const CIPHER: &str = "aes256-gcm@openssh.com";
/// Added to a round trip.
pub const FAR: Duration = Duration::from_millis(50);

/// The way to the server.
#[derive(Clone, Copy)]
pub struct Way {
    /// SSH.
    pub plain: SocketAddr,
    /// SSH in TLS.
    pub tls: SocketAddr,
}

/// A running server.
pub struct Sshd {
    pub near: Way,
    pub far: Way,
    pub user: String,
    dir: TempDir,
    server: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Sshd {
    pub fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let at = |name: &str| dir.path().join(name);
        for key in ["host_key", "key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(key))
                .status()
                .context("ssh-keygen; run `cargo xtask setup`")?;
            anyhow::ensure!(made.success(), "ssh-keygen: {made}");
        }
        // Only root needs it, and only root can make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let program = program()?;
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let config = format!(
                "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 MaxStartups 100\nLogLevel QUIET\nKexAlgorithms {KEX}\n\
                 Ciphers {CIPHER}\n\
                 SetEnv HOME={}\n",
                at("host_key").display(),
                at("key.pub").display(),
                dir.path().display(),
            );
            std::fs::write(at("config"), config)?;
            let mut server = Command::new(&program)
                .args(["-D", "-e", "-f"])
                .arg(at("config"))
                .stdin(Stdio::null())
                .spawn()?;
            // Another process may take the port in between: then it exits.
            if !listens(address, &mut server)? {
                continue;
            }
            let near = Way {
                plain: address,
                tls: front::start(address, &at("ca.pem"))?,
            };
            let far = Way {
                plain: delay::start(near.plain, FAR / 2)?,
                tls: delay::start(near.tls, FAR / 2)?,
            };
            let user = Command::new("id").arg("-un").output()?.stdout;
            let user = String::from_utf8(user)?.trim().to_owned();
            return Ok(Self {
                near,
                far,
                user,
                dir,
                server,
            });
        }
        bail!("sshd does not start")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `ssh` at its best fair settings, up to the address.
    pub fn ssh(&self, way: Way) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-T"]);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "PreferredAuthentications=publickey",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-o", &format!("KexAlgorithms={KEX}")]);
        ssh.arg("-i").arg(self.file("key"));
        ssh.args(["-p", &way.plain.port().to_string()]);
        ssh
    }

    /// Where `ssh` connects to.
    pub fn destination(&self) -> String {
        format!("{}@127.0.0.1", self.user)
    }

    /// What a reader of the figures must know.
    pub fn describe(&self) -> Result<()> {
        let version = Command::new("ssh").arg("-V").output()?.stderr;
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|l| l.strip_prefix("model name"));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!(
            "{} CPUs{}; load {}; {}; key exchange {KEX} and cipher {CIPHER} on every connection; vdeploy {}, {} build",
            std::thread::available_parallelism()?,
            model.unwrap_or_default().trim_start_matches([' ', '\t']),
            load.split(' ').next().unwrap_or_default(),
            String::from_utf8_lossy(&version).trim(),
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) {
                "UNOPTIMISED"
            } else {
                "optimised"
            },
        );
        Ok(())
    }
}

/// It insists on being started by its absolute path.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(servers)
        .map(|dir| dir.join("sshd"))
        .find(|file| file.is_absolute() && file.is_file())
        .context("no sshd on this machine: run `cargo xtask setup`")
}

fn listens(address: SocketAddr, server: &mut Child) -> Result<bool> {
    let mut backoff = Backoff::up_to(Duration::from_millis(200));
    for _ in 0..100 {
        if TcpStream::connect(address).is_ok() {
            return Ok(true);
        }
        if server.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(backoff.next_wait());
    }
    Ok(false)
}
